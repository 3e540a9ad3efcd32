"""FakeAzure as a transport of httpx or httpx2: no socket, one chunk at a time, as lazily as the caller reads."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from azure_shim.clouds import cloud_of
from azure_shim.testing import core
from azure_shim.testing.recorded import Headers, Recorded

if TYPE_CHECKING:
    from azure_shim.testing.fake_azure import FakeAzure
    from azure_shim.testing.resource import Resource

__all__ = ["transport_classes"]

_LIBRARIES = ("httpx", "httpx2")


def transport_classes(library: str | None) -> tuple[Any, Any]:
    """The sync and the async transport class for this library, or for the one that the installed openai is built on.

    Raises:
        ValueError: another library.
    """
    if library is None:
        from azure_shim.http import library_of_openai

        library = library_of_openai()
    if library not in _LIBRARIES:
        raise ValueError(f"no library {library!r}; expected 'httpx' or 'httpx2'")
    return _classes(library)


@cache
def _classes(library: str) -> tuple[Any, Any]:
    module: Any = importlib.import_module(library)
    stream, async_stream = _streams(module)

    class FakeAzureTransport(module.BaseTransport):  # type: ignore[misc]
        def __init__(self, azure: FakeAzure) -> None:
            self._exchange = _Exchange(module, azure)

        def handle_request(self, request: Any) -> Any:
            recorded = self._exchange.recorded(request)
            for chunk in request.stream:
                recorded.content.write(chunk)
            return self._exchange.answered(request, recorded, stream)

    class FakeAzureAsyncTransport(module.AsyncBaseTransport):  # type: ignore[misc]
        def __init__(self, azure: FakeAzure) -> None:
            self._exchange = _Exchange(module, azure)

        async def handle_async_request(self, request: Any) -> Any:
            recorded = self._exchange.recorded(request)
            async for chunk in request.stream:
                recorded.content.write(chunk)
            return self._exchange.answered(request, recorded, async_stream)

    return FakeAzureTransport, FakeAzureAsyncTransport


class _Exchange:
    """What both transports do around reading the request's body."""

    def __init__(self, module: Any, azure: FakeAzure) -> None:
        self._module = module
        self._azure = azure

    def recorded(self, request: Any) -> Recorded:
        headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
        return Recorded(request.method, request.url.raw_path.decode("ascii"), headers, self._azure.new_body())

    def answered(self, request: Any, recorded: Recorded, stream: Any) -> Any:
        host = request.url.host
        resource = self._azure.resource_at(host)
        if resource is None:
            self._azure.record_unresolved(recorded, host)
            raise self._module.ConnectError("[Errno -2] Name or service not known", request=request)
        if resource.is_stopped or (request.url.scheme == "http" and cloud_of(host)):
            raise self._module.ConnectError("[Errno 111] Connection refused", request=request)
        response = core.answer(self._azure, resource, recorded)
        wire = response.fault.wire if response.fault is not None else ""
        if wire == "reset":
            recorded.finish(False)
            raise self._module.ReadError("[Errno 104] Connection reset by peer", request=request)
        if wire == "stall":
            recorded.finish(False)
            raise self._module.ReadTimeout("The read operation timed out", request=request)
        headers = response.pairs
        body = response.body
        if isinstance(body, bytes):
            if not any(name.lower() == "content-length" for name, _ in headers):
                headers.append(("content-length", str(len(body))))
            body = iter([body] if body else [])
        else:
            headers.append(("transfer-encoding", "chunked"))
        body = self._with_fault(body, wire)
        return self._module.Response(
            response.status,
            headers=headers,
            stream=stream(body, resource, recorded),
            extensions={"http_version": b"HTTP/1.1"},
        )

    def _with_fault(self, body: Iterator[bytes], wire: str) -> Iterator[bytes]:
        if wire == "trickle":
            yield from (chunk[i : i + 1] for chunk in body for i in range(len(chunk)))
        elif wire in ("reset_mid_body", "stall_mid_body"):
            chunks = list(body)
            if len(chunks) == 1:
                chunks = [chunks[0][: len(chunks[0]) // 2], b""]
            yield from chunks[: len(chunks) // 2]
            if wire == "stall_mid_body":
                raise self._module.ReadTimeout("The read operation timed out")
            raise self._module.ReadError("[Errno 104] Connection reset by peer")
        else:
            yield from body


def _streams(module: Any) -> tuple[Any, Any]:
    class Stream(module.SyncByteStream):  # type: ignore[misc]
        def __init__(self, body: Iterator[bytes], resource: Resource, recorded: Recorded) -> None:
            self._body, self._resource, self._recorded = body, resource, recorded

        def __iter__(self) -> Iterator[bytes]:
            is_first = True
            for chunk in self._body:
                if not is_first and _pauses(self._resource):
                    (self._resource.sleep or time.sleep)(self._resource.chunk_delay_s)
                is_first = False
                yield chunk
            self._recorded.finish(True)

        def close(self) -> None:
            self._recorded.finish(False)

    class AsyncStream(module.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, body: Iterator[bytes], resource: Resource, recorded: Recorded) -> None:
            self._body, self._resource, self._recorded = body, resource, recorded

        async def __aiter__(self) -> AsyncIterator[bytes]:
            import anyio

            is_first = True
            for chunk in self._body:
                if not is_first and _pauses(self._resource):
                    waiting = (self._resource.sleep or anyio.sleep)(self._resource.chunk_delay_s)
                    if inspect.isawaitable(waiting):
                        await waiting
                is_first = False
                yield chunk
            self._recorded.finish(True)

        async def aclose(self) -> None:
            self._recorded.finish(False)

    return Stream, AsyncStream


def _pauses(resource: Resource) -> bool:
    return bool(resource.chunk_delay_s) or resource.sleep is not None
