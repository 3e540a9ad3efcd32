"""Models and, under the oldest versions, deployments."""

from __future__ import annotations

from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse

__all__ = ["ANSWERERS"]

_ANY = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")
_CREATED = 1700000000


def _names(call: Call) -> list[str]:
    deployments = call.resource.deployments
    return list(_ANY) if deployments is None else sorted(set(deployments.values()))


def _model(name: str) -> dict[str, Any]:
    """A base model as Azure lists it, with its own members beside OpenAI's."""
    embeds = name.startswith("text-embedding")
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "created_at": _CREATED,
        "owned_by": "system",
        "status": "succeeded",
        "lifecycle_status": "generally-available",
        "capabilities": {
            "fine_tune": False,
            "inference": True,
            "completion": False,
            "chat_completion": not embeds,
            "embeddings": embeds,
        },
        "deprecation": {"inference": 1900000000},
    }


def list_all(call: Call) -> FakeResponse:
    return FakeResponse.json({"object": "list", "data": [_model(name) for name in _names(call)]})


def retrieve(call: Call) -> FakeResponse:
    if call.resource.deployments is not None and call.ids[0] not in _names(call):
        message = f"The model '{call.ids[0]}' does not exist."
        raise errors.model_error(404, message, param="model", code="model_not_found")
    return FakeResponse.json(_model(call.ids[0]))


def list_deployments(call: Call) -> FakeResponse:
    data = [
        {"id": name, "object": "deployment", "model": model, "status": "succeeded", "created_at": _CREATED}
        for name, model in (call.resource.deployments or {}).items()
    ]
    return FakeResponse.json({"object": "list", "data": data})


ANSWERERS = {"GET /models": list_all, "GET /models/{model}": retrieve, "GET /deployments": list_deployments}
