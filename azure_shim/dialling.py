"""What signs a WebSocket: the SDK dials with ``auth_headers``, which no HTTP request of ours may carry."""

from __future__ import annotations

import contextvars
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from azure_shim.auth.flow import attach
from azure_shim.construction import PLACEHOLDER
from azure_shim.sdk import http_client_of
from azure_shim.transport.drive import settle, settle_async
from azure_shim.transport.exchange import local_answer
from azure_shim.values import Header, Late, Refusal

__all__ = ["building_http", "headers_of", "headers_of_async", "is_building_http", "refresh"]

# The credential of the WebSocket that is being dialled in this context, with the client it belongs to.
_dialled: contextvars.ContextVar[tuple[Any, Header] | None] = contextvars.ContextVar("azure_shim_dialled", default=None)
_building_http: contextvars.ContextVar[bool] = contextvars.ContextVar("azure_shim_building_http", default=False)


@contextmanager
def building_http() -> Iterator[None]:
    """While the headers of an HTTP request are put together, for which openai 1 asks ``auth_headers`` too."""
    building = _building_http.set(True)
    try:
        yield
    finally:
        _building_http.reset(building)


def is_building_http() -> bool:
    return _building_http.get()


def headers_of(client: Any) -> dict[str, str]:
    """The headers that sign a WebSocket of a client that blocks."""
    if _is_signed_by_headers(client):
        return {}
    name, value = _signed(client, settle(attach(client.azure_shim_settings.target.credential)))
    return {name.decode(): value.decode()}


def headers_of_async(client: Any) -> dict[str, str]:
    """As `headers_of`, of a client that awaits: what `refresh` has fetched, else what there is without awaiting."""
    if _is_signed_by_headers(client):
        return {}
    dialled = _dialled.get()
    if dialled is not None and dialled[0]() is client:
        _dialled.set(None)  # for one dialling alone: the next one wants a fresh token
        return {dialled[1][0].decode(): dialled[1][1].decode()}
    return headers_of(client)


async def refresh(client: Any) -> str:
    """Fetch what signs the WebSocket that is about to be dialled; what the SDK takes for the key."""
    if not _is_signed_by_headers(client):
        signed = await settle_async(attach(client.azure_shim_settings.target.credential))
        _dialled.set((weakref.ref(client), _signed(client, signed)))
    return PLACEHOLDER


def _is_signed_by_headers(client: Any) -> bool:
    """Whether a target has its credential in headers of its own."""
    target = client.azure_shim_settings.target
    return target.credential.is_absent and bool(target.headers)


def _signed(client: Any, result: Header | Refusal | Late) -> Header:
    """The header, or openai's own error for what a request by HTTP would have got instead."""
    if not isinstance(result, (Refusal, Late)):
        return result
    library = http_client_of(client).azure_shim_library
    request = library.Request("GET", str(client.base_url))
    if isinstance(result, Late):
        raise openai.APITimeoutError(request=request) from library.late(result.message, request)
    response = local_answer(library, result)
    response.request = request
    body = response.json()["error"]
    message = f"Error code: {result.status} - {body}"
    raise client._make_status_error(message, body=body, response=response) from None  # noqa: SLF001  the SDK's own hook
