"""What the engine needs of an HTTP library. httpx and httpx2 share their public names, so one class serves both."""

from __future__ import annotations

import socket
import ssl
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import anyio

from azure_shim.transport.private import is_replayable

__all__ = ["Library", "Peeked", "Streams"]

# What a socket, TLS or a third-party transport may raise where httpx would raise its own.
_FOREIGN = (
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
    socket.gaierror,
    EOFError,
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)


class Streams(NamedTuple):
    """The classes of bodies of one colour: a request's, and an answer's."""

    resumed: Any
    bounded: Any
    begun: Any
    watched: Any


class Peeked:
    """The start of a request's body, which was looked at, and the iterator over the rest until somebody sends it."""

    __slots__ = ("chunks", "rest")

    def __init__(self, rest: Any) -> None:
        self.chunks: list[bytes] = []
        self.rest: Any = rest

    def take(self) -> Any:
        """The rest, for the one attempt that sends it."""
        rest, self.rest = self.rest, None
        return rest


class Library:
    """One HTTP library: its classes, and streams and errors of its own kind."""

    def __init__(self, module: ModuleType) -> None:
        self.module: Any = module
        self.name = module.__name__
        self.Request: Any = module.Request
        self.Response: Any = module.Response
        self.Headers: Any = module.Headers
        self.URL: Any = module.URL
        self.ChunkStream = _chunk_stream(module)
        self.OwnStream = _own_stream(module)
        self.errors = (module.TransportError, *_FOREIGN)
        self.ResumedStream, self.AsyncResumedStream = _resumed_streams(module)
        bounded, async_bounded = _bounded_streams(module)
        begun, async_begun = _begun_streams(module)
        watched, async_watched = _watched_streams(module)
        self.streams = Streams(self.ResumedStream, bounded, begun, watched)
        self.async_streams = Streams(self.AsyncResumedStream, async_bounded, async_begun, async_watched)
        self.SignedHeaders = _signed_headers(module)

    def owns(self, transport: object) -> bool:
        """Whether ``transport`` is one of this library's, sync or async."""
        return isinstance(transport, (self.module.BaseTransport, self.module.AsyncBaseTransport))

    def can_repeat(self, request: Any) -> bool:
        """Whether the body of ``request``, which has been sent, can be sent once more from its beginning."""
        return self.is_repeatable(request.stream)

    def is_repeatable(self, stream: Any) -> bool:
        """Whether a request's body can be sent once more from its beginning."""
        if isinstance(stream, (self.module.ByteStream, self.ChunkStream)):
            return True
        if isinstance(stream, (self.ResumedStream, self.AsyncResumedStream)):
            return not stream.is_spent
        return is_replayable(stream)

    def late(self, message: str, request: Any) -> Exception:
        """A timeout before anything was sent, which the SDK makes its own `APITimeoutError` of."""
        error: Exception = self.module.ConnectTimeout(message, request=request)
        return error

    def mapped(self, error: Exception) -> Exception:
        """``error`` as this library's own, so that the SDK sees a connection error or a timeout and not a stranger."""
        module = self.module
        if isinstance(error, module.TransportError):
            return error  # type: ignore[no-any-return]
        if isinstance(error, TimeoutError):
            kind = module.ReadTimeout
        elif isinstance(error, (ssl.SSLError, ConnectionRefusedError, socket.gaierror)):
            kind = module.ConnectError
        else:
            kind = module.ReadError
        mapped: Exception = kind(f"{type(error).__name__}: {error}")
        mapped.__cause__ = error
        return mapped


def _chunk_stream(module: Any) -> Any:
    """A request body that is in memory in a few pieces, and can be sent any number of times."""

    class ChunkStream(module.SyncByteStream, module.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, chunks: tuple[bytes, ...]) -> None:
            self.chunks = chunks

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self.chunks:
                if chunk:
                    yield chunk

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in filter(None, self.chunks):
                yield chunk

    return ChunkStream


def _own_stream(module: Any) -> Any:
    """A caller's body that can be read only once; ``error`` is what it raised itself, which is not the network's."""

    class OwnStream(module.SyncByteStream, module.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, upstream: Any) -> None:
            self._upstream = upstream
            self.error: BaseException | None = None

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._upstream
            except GeneratorExit:
                raise
            except BaseException as error:
                self.error = error
                raise

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._upstream:
                    yield chunk
            except GeneratorExit:
                raise
            except BaseException as error:
                self.error = error
                raise

        def close(self) -> None:
            self._upstream.close()

        async def aclose(self) -> None:
            await self._upstream.aclose()

    return OwnStream


def _resumed_streams(module: Any) -> tuple[Any, Any]:
    """Request bodies whose start was read, and perhaps changed, before they were sent.

    ``start`` replaces the first ``peeked_bytes``; ``rest`` goes on behind them. Sent a second time, after a redirect,
    such a body is read from ``upstream`` again if that can be.
    """

    class _Resumed:
        def __init__(self, start: bytes, rest: Any, upstream: Any, peeked_bytes: int) -> None:
            self._start, self._upstream, self._peeked_bytes = start, upstream, peeked_bytes
            self._rest: Any = rest

        @property
        def is_spent(self) -> bool:
            """Whether it was sent and cannot be sent again."""
            return self._rest is None and not is_replayable(self._upstream)

        def give_back(self) -> Any:
            """The rest, if nobody has begun to read it; None otherwise."""
            rest, self._rest = self._rest, None
            return rest

        def _behind(self, chunk: bytes, skipped: int) -> tuple[bytes, int]:
            """What of ``chunk`` lies behind the peeked bytes, of which ``skipped`` are over."""
            over = min(len(chunk), self._peeked_bytes - skipped)
            return chunk[over:], skipped + over

    class ResumedStream(_Resumed, module.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            rest, self._rest = self._rest, None
            skipped = self._peeked_bytes
            if rest is None:
                if self.is_spent:
                    raise module.StreamConsumed()
                rest, skipped = iter(self._upstream), 0
            if self._start:
                yield self._start
            for chunk in rest:
                chunk, skipped = self._behind(chunk, skipped)
                if chunk:
                    yield chunk

        def close(self) -> None:
            self._upstream.close()

    class AsyncResumedStream(_Resumed, module.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            rest, self._rest = self._rest, None
            skipped = self._peeked_bytes
            if rest is None:
                if self.is_spent:
                    raise module.StreamConsumed()
                rest, skipped = aiter(self._upstream), 0
            if self._start:
                yield self._start
            async for chunk in rest:
                chunk, skipped = self._behind(chunk, skipped)
                if chunk:
                    yield chunk

        async def aclose(self) -> None:
            await self._upstream.aclose()

    return ResumedStream, AsyncResumedStream


def _begun_streams(module: Any) -> tuple[Any, Any]:
    """Answers whose first ``chunks`` were read already: then comes ``rest``, or the ``error`` that broke them off."""

    class BegunStream(module.SyncByteStream):  # type: ignore[misc]
        def __init__(self, chunks: list[bytes], rest: Any, upstream: Any, error: Exception | None) -> None:
            self._chunks, self._rest, self._upstream, self._error = chunks, rest, upstream, error

        def __iter__(self) -> Iterator[bytes]:
            while self._chunks:
                yield self._chunks.pop(0)
            if self._error is not None:
                raise self._error
            yield from self._rest

        def close(self) -> None:
            self._upstream.close()

    class AsyncBegunStream(module.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, chunks: list[bytes], rest: Any, upstream: Any, error: Exception | None) -> None:
            self._chunks, self._rest, self._upstream, self._error = chunks, rest, upstream, error
            # An abandoned answer is garbage all at once, and asyncio closes every generator of it in the order in which
            # they were begun. What was begun before is closed by this one alone, else two would close it at a time.
            weakref.finalize(self, _no_longer, rest).atexit = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                while self._chunks:
                    yield self._chunks.pop(0)
                if self._error is not None:
                    raise self._error
                async for chunk in self._rest:
                    yield chunk
            finally:
                if isinstance(self._rest, AsyncGenerator):
                    await self._rest.aclose()

        async def aclose(self) -> None:
            await self._upstream.aclose()

    return BegunStream, AsyncBegunStream


def _watched_streams(module: Any) -> tuple[Any, Any]:
    """Answers that a `Watch` is told of: each chunk, the end, the break, and that nobody reads on."""

    class WatchedStream(module.SyncByteStream):  # type: ignore[misc]
        def __init__(self, upstream: Any, watch: Any) -> None:
            self._upstream, self._watch = upstream, watch

        def __iter__(self) -> Iterator[bytes]:
            try:
                if self._watch.only_waits:
                    yield from self._upstream
                    return
                for chunk in self._upstream:
                    passed = self._watch.pass_on(chunk)
                    if passed:
                        yield passed
            except Exception as error:
                self._watch.broke(error)
                raise
            finally:  # also where nobody reads on, or closes
                self._watch.leave()
            last = self._watch.end()
            if last:
                yield last

        def close(self) -> None:
            self._watch.leave()
            self._upstream.close()

    class AsyncWatchedStream(module.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, upstream: Any, watch: Any) -> None:
            self._upstream, self._watch = upstream, watch

        async def __aiter__(self) -> AsyncIterator[bytes]:
            pass_on = None if self._watch.only_waits else self._watch.pass_on
            try:
                async for chunk in self._upstream:
                    passed = chunk if pass_on is None else pass_on(chunk)
                    if passed:
                        yield passed
            except Exception as error:
                self._watch.broke(error)
                raise
            finally:
                self._watch.leave()
            last = self._watch.end()
            if last:
                yield last

        async def aclose(self) -> None:
            self._watch.leave()
            await self._upstream.aclose()

    return WatchedStream, AsyncWatchedStream


def _no_longer(_rest: Any) -> None:
    """Nothing needs ``rest`` any more."""


def _signed_headers(module: Any) -> Any:
    """Headers with a credential that goes out with them and is left behind when they are copied.

    A redirect copies a request's headers, and both libraries take off only ``Authorization`` when it leads elsewhere,
    not ``api-key``; a repr shows all but ``authorization``.
    """

    class SignedHeaders(module.Headers):  # type: ignore[misc]
        def __init__(self, headers: Any, credential: tuple[bytes, bytes]) -> None:
            super().__init__(headers)
            self._credential = credential

        @property
        def raw(self) -> list[tuple[bytes, bytes]]:
            return [*super().raw, self._credential]

        def __getitem__(self, key: str) -> str:
            return self._credential[1].decode() if self._is_credential(key) else str(super().__getitem__(key))

        def __contains__(self, key: Any) -> bool:
            return self._is_credential(key) or super().__contains__(key)

        def _is_credential(self, key: Any) -> bool:
            return isinstance(key, str) and key.lower() == self._credential[0].decode().lower()

    return SignedHeaders


def _bounded_streams(module: Any) -> tuple[Any, Any]:
    """Response bodies that must end by a deadline: a server that trickles never trips a timeout between two reads."""

    def check(deadline: float, clock: Callable[[], float]) -> None:
        if clock() > deadline:
            raise module.ReadTimeout("the answer did not end within the read timeout after it began")

    class BoundedStream(module.SyncByteStream):  # type: ignore[misc]
        def __init__(self, upstream: Any, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
            self._upstream, self._clock = upstream, clock
            self._deadline = clock() + limit_s

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self._upstream:
                check(self._deadline, self._clock)
                yield chunk

        def close(self) -> None:
            self._upstream.close()

    class AsyncBoundedStream(module.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, upstream: Any, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
            self._upstream, self._clock = upstream, clock
            self._deadline = clock() + limit_s

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._upstream:
                check(self._deadline, self._clock)
                yield chunk

        async def aclose(self) -> None:
            await self._upstream.aclose()

    return BoundedStream, AsyncBoundedStream
