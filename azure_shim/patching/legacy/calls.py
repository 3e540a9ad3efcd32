"""Send a call of the 0.x API with a client of today's, and make of its answer what 0.28 made."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus

import openai

from azure_shim.http import library_of_openai
from azure_shim.patching.legacy.answers import content_of, legacy_error, network_errors, organization_of, response_ms_of
from azure_shim.patching.legacy.clients import client_for, warn_of_sessions
from azure_shim.patching.legacy.module_settings import ApiType, Wishes, current_module, in_effect, service_for
from azure_shim.patching.legacy.objects import convert_to_dict, convert_to_openai_object
from azure_shim.routing.fleet import DEPLOYMENT

__all__ = ["Call", "api_type_of", "asend", "headers_of", "send"]


@dataclass(frozen=True)
class Call:
    """A call before it is known where it goes.

    ``path`` begins below ``/v1``. ``symbol`` is the name in the module ``openai`` that it was made by. ``deployment``
    names a deployment of Azure's and no model. ``files`` makes the body a form. With ``is_binary`` the answer is its
    bytes. ``finish`` changes an answer, and ``refuse`` raises what is wrong with the call for a client.
    """

    symbol: str
    path: str
    wishes: Wishes
    method: str = "POST"
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    files: Sequence[tuple[str, Any]] = field(default=(), repr=False)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: Any = None
    stream: bool = False
    deployment: str | None = None
    is_binary: bool = False
    finish: Callable[[Any], None] | None = None
    refuse: Callable[[Any], None] | None = None


def send(call: Call) -> Any:
    """The answer's object, or a generator of objects for a stream, which closes the connection when it is closed."""
    client, call = _prepared(call, is_async=False)
    with _legacy_errors():
        answer = getattr(client, call.method.lower())(call.path, **_arguments(call, openai.Stream[object]))
    if not call.stream:
        return _finished(call, answer)
    chunks = _chunks(call, answer)
    next(chunks)
    return chunks


async def asend(call: Call) -> Any:
    """As `send`, with an async generator for a stream."""
    client, call = _prepared(call, is_async=True)
    with _legacy_errors():
        answer = await getattr(client, call.method.lower())(call.path, **_arguments(call, openai.AsyncStream[object]))
    if not call.stream:
        return _finished(call, answer)
    chunks = _async_chunks(call, answer)
    await anext(chunks)
    return chunks


def api_type_of(wishes: Wishes) -> ApiType:
    """The kind of service that a call is for."""
    return wishes.type_in(current_module())


def headers_of(headers: Mapping[str, str] | None, request_id: str | None) -> dict[str, str]:
    """A call's own headers.

    Raises:
        TypeError: they are no dict of strings.
    """
    if not isinstance(headers, (dict, type(None))):
        raise TypeError("Headers must be a dictionary")
    for name, value in (headers or {}).items():
        if not isinstance(name, str):
            raise TypeError("Header keys must be strings")
        if not isinstance(value, str):
            raise TypeError("Header values must be strings")
    return {**({} if request_id is None else {"X-Request-Id": request_id}), **(headers or {})}


def _prepared(call: Call, *, is_async: bool) -> tuple[Any, Call]:
    """The client, and the call as that client takes it."""
    found = in_effect()
    if found is None:
        raise openai.OpenAIError(
            f"openai.{call.symbol} is of openai 0.x, and serves only where azure_shim.patch(legacy=True) is in effect."
        )
    module, settings = found
    service = service_for(module, settings, call.wishes)
    warn_of_sessions(module)
    client = client_for(service, module, is_async=is_async)
    if call.refuse is not None:
        call.refuse(client)
    if call.deployment is None:
        return client, call
    if not service.is_azure:
        return client, replace(call, path=f"/engines/{quote_plus(call.deployment)}{call.path}")
    # The deployment stands where the SDK has a model, and no target maps it.
    body = {**(call.body or {}), "model": call.deployment}
    return client, replace(call, body=body, headers={**call.headers, DEPLOYMENT: call.deployment})


def _arguments(call: Call, stream_class: Any) -> dict[str, Any]:
    """Those of the client's ``post``, ``get`` or ``delete``."""
    headers = {**({"Content-Type": "multipart/form-data"} if call.files else {}), **call.headers}
    query = {name: value for name, value in call.query.items() if value is not None}
    options = {"headers": headers, "params": query, "timeout": _timeout(call.timeout)}
    arguments: dict[str, Any] = {"options": {name: value for name, value in options.items() if value}}
    if call.method == "POST":
        # Of plain dicts: a message of an earlier answer is one of our objects, which not every encoder knows.
        arguments["body"] = None if call.body is None else convert_to_dict(call.body)
        arguments["files"] = list(call.files) or None
    if call.stream:
        return {**arguments, "cast_to": object, "stream": True, "stream_cls": stream_class}
    # The response itself: today's models have no place for some of what is in it.
    return {**arguments, "cast_to": importlib.import_module(library_of_openai()).Response}


def _timeout(timeout: Any) -> Any:
    """0.28's ``request_timeout``, in seconds: one for all, or (to connect, to read)."""
    if not isinstance(timeout, tuple):
        return timeout
    connect, read = timeout
    return openai.Timeout(read, connect=connect)


@contextlib.contextmanager
def _legacy_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, (openai.OpenAIError, json.JSONDecodeError, *network_errors())):
            raise legacy_error(error) from error
        raise


def _finished(call: Call, response: Any) -> Any:
    if call.is_binary:
        return response.content
    found = _converted(call, content_of(response), response.headers)
    if call.finish is not None:
        call.finish(found)
    return found


def _converted(call: Call, data: Any, headers: Mapping[str, str]) -> Any:
    return convert_to_openai_object(
        data,
        api_version=call.wishes.api_version,
        organization=organization_of(headers),
        engine=call.deployment,
        response_ms=response_ms_of(headers),
    )


# A generator that has not begun has no ``finally`` to run when it is closed or dropped: these are begun by who makes
# them, and give nothing first.


def _chunks(call: Call, stream: Any) -> Generator[Any, None, None]:
    try:
        yield None
        with _legacy_errors():
            for data in stream:
                yield _converted(call, data, stream.response.headers)
    finally:
        stream.close()


async def _async_chunks(call: Call, stream: Any) -> AsyncGenerator[Any, None]:
    try:
        yield None
        with _legacy_errors():
            async for data in stream:
                yield _converted(call, data, stream.response.headers)
    finally:
        await stream.close()
