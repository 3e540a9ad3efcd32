"""``openai.embeddings_utils``, what of it needs neither numpy nor pandas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from azure_shim.patching.legacy.texts import Embedding

__all__ = [
    "aget_embedding",
    "aget_embeddings",
    "cosine_similarity",
    "distances_from_embeddings",
    "get_embedding",
    "get_embeddings",
    "indices_of_nearest_neighbors_from_distances",
]

_MOST = 2048


def get_embedding(text: str, engine: str = "text-similarity-davinci-001", **kwargs: Any) -> list[float]:
    return get_embeddings([text], engine, **kwargs)[0]


async def aget_embedding(text: str, engine: str = "text-similarity-davinci-001", **kwargs: Any) -> list[float]:
    return (await aget_embeddings([text], engine, **kwargs))[0]


def get_embeddings(
    list_of_text: Sequence[str], engine: str = "text-similarity-babbage-001", **kwargs: Any
) -> list[list[float]]:
    """The vectors of some texts, in their order; line breaks count as spaces."""
    return _vectors(Embedding.create(input=_inputs(list_of_text), engine=engine, **kwargs))


async def aget_embeddings(
    list_of_text: Sequence[str], engine: str = "text-similarity-babbage-001", **kwargs: Any
) -> list[list[float]]:
    """As `get_embeddings`."""
    return _vectors(await Embedding.acreate(input=_inputs(list_of_text), engine=engine, **kwargs))


def cosine_similarity(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two vectors of one length."""
    return float(_dot(a, b) / math.sqrt(_dot(a, a) * _dot(b, b)))


_DISTANCES: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "cosine": lambda a, b: 1.0 - cosine_similarity(a, b),
    "L1": lambda a, b: math.fsum(abs(x - y) for x, y in zip(a, b, strict=True)),
    "L2": lambda a, b: math.dist(a, b),
    "Linf": lambda a, b: max(abs(x - y) for x, y in zip(a, b, strict=True)),
}


def distances_from_embeddings(
    query_embedding: Sequence[float], embeddings: Sequence[Sequence[float]], distance_metric: str = "cosine"
) -> list[float]:
    """How far each vector is from one; by ``"cosine"``, ``"L1"``, ``"L2"`` or ``"Linf"``."""
    return [float(_DISTANCES[distance_metric](query_embedding, each)) for each in embeddings]


def indices_of_nearest_neighbors_from_distances(distances: Sequence[float]) -> list[int]:
    """The numbers of the distances, the nearest first; 0.28 had them in an array of numpy's."""
    return sorted(range(len(distances)), key=distances.__getitem__)


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _inputs(texts: Sequence[str]) -> list[str]:
    if len(texts) > _MOST:
        raise ValueError(f"The batch size should not be larger than {_MOST}.")
    return [text.replace("\n", " ") for text in texts]


def _vectors(answer: Any) -> list[list[float]]:
    return [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]
