"""WebSockets, which pass no HTTP transport: their URL and their credential are given to the SDK's own connections.

The SDK dials what ``websocket_base_url`` and ``connect(model=, extra_query=)`` say, and signs with ``auth_headers``, in
every version from 1.109 on.
"""

from __future__ import annotations

from typing import Any

import openai
from openai.resources.beta import AsyncBeta, Beta
from openai.resources.beta.realtime import AsyncRealtime as AsyncBetaRealtime
from openai.resources.beta.realtime import Realtime as BetaRealtime
from openai.resources.realtime import AsyncRealtime, Realtime
from openai.resources.responses import AsyncResponses, Responses

from azure_shim.values import Refusal, Target
from azure_shim.wire.deployments import resolve
from azure_shim.wire.operations import Operation, find
from azure_shim.wire.request_line import RequestLine, refusal_of

__all__ = ["beta_of", "realtime_of", "responses_of"]


def _operation(path: str) -> Operation:
    operation = find("WS", path)
    assert operation is not None, f"the table has no WebSocket {path}"
    return operation


def _check(client: Any, path: str) -> Target:
    """The client's target, if it has this WebSocket."""
    target: Target = client.azure_shim_settings.target
    refusal = refusal_of(RequestLine(_operation(path), path), target)
    if refusal is not None:
        raise openai.OpenAIError(refusal.message)
    return target


def _realtime(client: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``realtime.connect`` as the target wants them."""
    target = _check(client, "/realtime")
    model = kwargs.get("model")
    if not isinstance(model, str):  # a SIP call is named by its id alone
        return kwargs
    deployment = resolve(target, model, "/realtime")
    if isinstance(deployment, Refusal):
        raise openai.OpenAIError(deployment.message)
    if not target.is_classic:
        return {**kwargs, "model": deployment}
    # The preview surface names the deployment in a parameter of its own (Microsoft Learn, "Realtime API reference").
    query = {"api-version": target.api_version, "deployment": deployment, **(kwargs.get("extra_query") or {})}
    return {**kwargs, "model": deployment, "extra_query": query}


class _Realtime(Realtime):
    def connect(self, **kwargs: Any) -> Any:
        return super().connect(**_realtime(self._client, kwargs))


class _AsyncRealtime(AsyncRealtime):
    def connect(self, **kwargs: Any) -> Any:
        return super().connect(**_realtime(self._client, kwargs))


class _BetaRealtime(BetaRealtime):
    def connect(self, **kwargs: Any) -> Any:
        return super().connect(**_beta_realtime(self._client, kwargs))


class _AsyncBetaRealtime(AsyncBetaRealtime):
    def connect(self, **kwargs: Any) -> Any:
        return super().connect(**_beta_realtime(self._client, kwargs))


def _beta_realtime(client: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    target: Target = client.azure_shim_settings.target
    if not target.is_classic:
        raise openai.OpenAIError(
            "Azure OpenAI has beta.realtime only under a dated api-version (since 2024-10-01-preview), and target "
            f"{target.name!r} uses the v1 surface: use client.realtime, or create the client with a dated api_version."
        )
    return _realtime(client, kwargs)


class _Beta(Beta):
    @property
    def realtime(self) -> BetaRealtime:
        return _BetaRealtime(self._client)


class _AsyncBeta(AsyncBeta):
    @property
    def realtime(self) -> AsyncBetaRealtime:
        return _AsyncBetaRealtime(self._client)


class _Responses(Responses):
    def connect(self, *args: Any, **kwargs: Any) -> Any:
        _check(self._client, "/responses")
        return super().connect(*args, **kwargs)


class _AsyncResponses(AsyncResponses):
    def connect(self, *args: Any, **kwargs: Any) -> Any:
        _check(self._client, "/responses")
        return super().connect(*args, **kwargs)


def realtime_of(client: Any) -> Any:
    """``client.realtime`` for a client of ours."""
    return _AsyncRealtime(client) if isinstance(client, openai.AsyncOpenAI) else _Realtime(client)


def beta_of(client: Any) -> Any:
    """``client.beta`` for a client of ours."""
    return _AsyncBeta(client) if isinstance(client, openai.AsyncOpenAI) else _Beta(client)


def responses_of(client: Any) -> Any:
    """``client.responses`` for a client of ours."""
    return _AsyncResponses(client) if isinstance(client, openai.AsyncOpenAI) else _Responses(client)
