"""Answers to sound requests, one module for each family of operations."""

from __future__ import annotations

from collections.abc import Callable

from azure_shim.testing import errors
from azure_shim.testing.answers import (
    assistants,
    audio,
    batches,
    chat,
    completions,
    containers,
    conversations,
    embeddings,
    evals,
    files,
    fine_tuning,
    images,
    kept,
    models,
    realtime,
    responses,
    skills,
    uploads,
    vector_stores,
    videos,
)
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.wire.operations import Operation

__all__ = ["answer_call", "answerer_of"]

Answerer = Callable[[Call], FakeResponse]

_FAMILIES = (
    assistants,
    audio,
    batches,
    chat,
    completions,
    containers,
    conversations,
    embeddings,
    evals,
    files,
    fine_tuning,
    images,
    models,
    realtime,
    responses,
    skills,
    uploads,
    vector_stores,
    videos,
)
_ANSWERERS: dict[str, Answerer] = {}
for _family in _FAMILIES:
    _ANSWERERS.update(_family.ANSWERERS)


def answerer_of(operation: Operation) -> Answerer | None:
    """What answers this operation: its family, or else what keeps objects of any kind; None for a WebSocket."""
    return _ANSWERERS.get(str(operation)) or kept.answerer_of(operation)


def answer_call(call: Call) -> FakeResponse:
    """The answer to ``call``.

    Raises:
        AzureError: what was asked for is not there, or FakeAzure does not simulate it.
    """
    answerer = answerer_of(call.address.operation)
    if answerer is None:
        raise errors.not_simulated(str(call.address.operation))
    return answerer(call)
