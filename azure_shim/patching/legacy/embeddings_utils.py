"""``openai.embeddings_utils``, what of it needs neither numpy nor pandas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from azure_shim.patching.legacy.texts import Embedding

__all__ = ["aget_embedding", "aget_embeddings", "cosine_similarity", "get_embedding", "get_embeddings"]

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


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _inputs(texts: Sequence[str]) -> list[str]:
    if len(texts) > _MOST:
        raise ValueError(f"The batch size should not be larger than {_MOST}.")
    return [text.replace("\n", " ") for text in texts]


def _vectors(answer: Any) -> list[list[float]]:
    return [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]
