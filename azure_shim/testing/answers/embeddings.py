"""Embeddings: vectors that depend on the text and on nothing else."""

from __future__ import annotations

import base64
import json
import math
import random
import struct
from typing import Any

from azure_shim.testing.answers.shared import count_tokens
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse

__all__ = ["ANSWERERS", "vector_of"]

_DIMENSIONS = {"text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS = 1536


def vector_of(text: str, dimensions: int) -> list[float]:
    """A vector of length 1; the same text has the same one everywhere."""
    generator = random.Random(text)
    values = [generator.random() - 0.5 for _ in range(dimensions)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def create(call: Call) -> FakeResponse:
    inputs = _inputs(call.fields["input"])
    dimensions = int(call.fields.get("dimensions") or _DIMENSIONS.get(call.model or "", _DEFAULT_DIMENSIONS))
    is_base64 = call.fields.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(inputs):
        vector: Any = vector_of(text, dimensions)
        if is_base64:
            vector = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = sum(map(count_tokens, inputs))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return FakeResponse.json({"object": "list", "data": data, "model": call.model, "usage": usage})


def _inputs(given: Any) -> list[str]:
    """One text for each input: a string, tokens, or a list of either."""
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return [item if isinstance(item, str) else json.dumps(item) for item in given]
    return [given if isinstance(given, str) else json.dumps(given)]


ANSWERERS = {"POST /embeddings": create, "POST /models/embeddings": create}
