"""A transport that goes nowhere: what is left is the cost of the SDK, the HTTP client and the shim."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from .clients import HTTP

__all__ = ["null_client"]


class _Pieces(HTTP.SyncByteStream, HTTP.AsyncByteStream):  # type: ignore[misc]
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


class _Null(HTTP.BaseTransport, HTTP.AsyncBaseTransport):  # type: ignore[misc]
    """Reads a request to its end and answers at once."""

    def __init__(self, answer: bytes | list[bytes]) -> None:
        if isinstance(answer, bytes):
            self._headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
            self._pieces = [answer]
        else:
            self._headers = [(b"content-type", b"text/event-stream")]
            self._pieces = answer

    def _response(self) -> Any:
        return HTTP.Response(200, headers=self._headers, stream=_Pieces(self._pieces))

    def handle_request(self, request: Any) -> Any:
        for _ in request.stream:
            pass
        return self._response()

    async def handle_async_request(self, request: Any) -> Any:
        async for _ in request.stream:
            pass
        return self._response()


def null_client(answer: bytes | list[bytes], *, is_async: bool = False) -> Any:
    """A client of the library that openai is built on, whose every request gets ``answer``, a body or its pieces."""
    transport = _Null(answer)
    return HTTP.AsyncClient(transport=transport) if is_async else HTTP.Client(transport=transport)
