"""One request of the caller's client, and what the engine does with it in terms of one HTTP library."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from azure_shim.observe.spans import note_server
from azure_shim.routing.failover import Trip
from azure_shim.routing.fleet import Site
from azure_shim.routing.route import Naming
from azure_shim.transport.library import Library, Peeked, Streams
from azure_shim.transport.private import set_host, telling_values
from azure_shim.transport.watch import ATTEMPTS, FrameWatch, Watch, mark, mark_first
from azure_shim.values import Answered, Body, Failed, Header, Late, Refusal, Send
from azure_shim.wire.request_line import RequestLine
from azure_shim.wire.verdict import failure_of

if TYPE_CHECKING:
    from azure_shim.transport.engine import Engine

__all__ = ["CALL", "EXPLICIT", "EXTENSION", "REFUSED", "SHOWN", "Exchange", "limit_of", "local_answer", "origin_of"]

EXTENSION = "azure_shim"
"""Where a request's `Served` is found in its ``extensions``."""
EXPLICIT = "azure_shim.explicit"
"""Set in the ``extensions`` of a request whose client writes no credential: one in it is then its caller's wish."""
CALL = "azure_shim.call"
"""Where the ``extensions`` of a request say which call of their client it belongs to, whichever retry it is."""
SHOWN = "azure_shim.shown"
"""Set to True there by a client that knows the body's fields, if none binds the call to a target or wants a stream."""
REFUSED = "x-azure-shim-refused"
"""The header of an answer that this package made itself; its value is the error's code."""

# What an answer says is left of its target's quota.
_REMAINING = frozenset((b"x-ratelimit-remaining-requests", b"x-ratelimit-remaining-tokens"))
# And what else in its head is read; our own names mean that somebody uses them too.
_TELLING = _REMAINING | {b"azure-openai-deployment-utilization", b"x-azure-shim-target", b"x-azure-shim-attempts"}
# Failures before which nothing of a body was read.
UNSENT = frozenset(("connect", "dns", "tls", "connect_timeout", "pool_timeout"))
_NEVER = float("inf")
_WITH_FRAMES = ("/chat/completions", "/completions")


class Exchange:
    """The library's side of one request.

    The caller's request itself is not sent. It is brought up to date with what is sent (URL, host, body) but for the
    credential, since it is what the caller later finds in ``response.request``, in logs, and in a redirect.
    """

    __slots__ = (
        "_after_head",
        "_begun",
        "_bounded",
        "_broken",
        "_can_repeat",
        "_deadline",
        "_length",
        "_original",
        "_own_s",
        "_resumed",
        "_watched",
        "clock",
        "engine",
        "first",
        "library",
        "line",
        "peeked",
        "request",
        "streams",
        "trip",
    )

    def __init__(self, engine: Engine, request: Any, streams: Streams) -> None:
        self.engine, self.library, self.request = engine, engine.library, request
        self.line: RequestLine | None = None
        self.trip: Trip | None = None
        self.first: tuple[Site, Naming, float] | None = None
        """The attempt that was all that the call needed."""
        self.clock: Callable[[], float] = time.monotonic
        self._deadline = _NEVER
        """The call's way through several targets, if there are several."""
        self._resumed, self._bounded, self._begun, self._watched = streams
        self.peeked: Peeked | None = None
        """What was read of the caller's body before it is sent."""
        self.streams = False
        """Whether a stream was asked for. Not every gateway says so of its answer, and the SDK reads it as one."""
        self._after_head: tuple[dict[str, float | None], float | None] | None = None
        self._broken: tuple[Exception, ...] = ()
        self._original: Any = None
        self._can_repeat = False
        self._length: str | None = None
        self._own_s: float | None = None

    @property
    def limit_s(self) -> float | None:
        """How long the caller waits for anything, a token too."""
        return limit_of(self.request)

    def begin(self, limit_s: float | None, clock: Callable[[], float], *, is_in_memory: bool) -> None:
        """Remember the body that each of several targets gets, and until when they may take."""
        stream = self.request.stream
        self._can_repeat = is_in_memory or self.library.is_repeatable(stream)
        self._original = stream if self._can_repeat else self.library.OwnStream(stream)
        self.clock, self._deadline = clock, _NEVER if limit_s is None else clock() + limit_s

    @property
    def body(self) -> Any:
        """The stream of the caller's own body, whatever is sent instead of it."""
        return self.request.stream if self._original is None else self._original

    def attempt(self, send: Send) -> tuple[Any, Any]:
        """The transport to use and a request of its own for this attempt."""
        request, library, address = self.request, self.library, send.address
        url = self.engine.url(address.url)
        if not send.again:
            self._set_body(send.body)
        if request.url is not url:
            if self.engine.netloc(request.url) != self.engine.netloc(url):
                set_host(request.headers, address.authority)
                # openai 1.x names the host that it spelled, which is no longer the one that TLS is spoken with.
                request.extensions.pop("sni_hostname", None)
            request.url = url
        request.extensions[EXTENSION] = address.served
        if send.headers is None:
            headers = library.Headers(request.headers)
        else:
            headers = library.Headers([(b"Host", address.authority.encode()), *_resized(send, request)])
        if self.engine.has_plain_frames and self._names_frames() and self.streams:
            headers["Accept-Encoding"] = "identity"  # a packed stream could not be read on its way
        for name, value in send.credential:
            headers[name.decode()] = value.decode()
        extensions = request.extensions
        self._own_s = send.limit_s
        if send.limit_s is not None or send.head_s is not None:
            extensions = self._limited(send)
        attempt = library.Request(request.method, url, headers=headers, stream=request.stream, extensions=extensions)
        if send.body is None and _is_empty(request, library):
            attempt.read()  # an adapter to another engine streams, and so chunks, whatever is not known to be nothing
        return self.engine.selects[address.at](url), attempt

    def _limited(self, send: Send) -> dict[str, Any]:
        """The extensions of an attempt that waits no longer than it says for the head, and then for each chunk."""
        own = {"connect": None, "read": None, "write": None, "pool": None, **self.request.extensions.get("timeout", {})}
        limit = send.limit_s
        later = own["read"] if limit is None else min(limit, own["read"] or limit)
        first = limit if send.head_s is None else send.head_s
        assert first is not None
        timeout: dict[str, float | None] = {name: min(first, each or first) for name, each in own.items()}
        self._after_head = (timeout, later)
        return {**self.request.extensions, "timeout": timeout}

    def _set_body(self, body: Body | None) -> None:
        """Give the request the body for this attempt: the caller's own, or what is to be sent instead of it."""
        request, peeked = self.request, self.peeked
        if self._original is not None:
            request.stream = self._original
            if self._length is not None:
                request.headers["Content-Length"] = self._length
        if body is None:
            if peeked is not None and peeked.rest is not None:  # another target wanted to see its start
                start = b"".join(peeked.chunks)
                request.stream = self._resumed(start, peeked.take(), request.stream, len(start))
            return
        if body.whole:
            request.stream = self.library.ChunkStream(body.chunks)
        else:
            start = b"".join(body.chunks)
            rest = None if peeked is None else peeked.take()
            request.stream = self._resumed(start, rest, request.stream, len(start) - body.grown_bytes)
        if body.grown_bytes:
            if self._length is None:
                self._length = request.headers.get("content-length")
            if self._length is not None:
                request.headers["Content-Length"] = str(int(self._length) + body.grown_bytes)

    def reads_on(self) -> None:
        """The head of an answer is here: its body may take longer."""
        if self._after_head is not None:
            timeout, timeout["read"] = self._after_head  # which the library looks at when the body begins
            self._after_head = None

    def taken_in(self, response: Any, content_type: str, is_whole: bool | Failed) -> Answered:
        """An answer whose body was read at once, or as much of it as came."""
        told = telling_values(response.headers, _TELLING, _REMAINING)
        return Answered(response.status_code, content_type, response, "", self._can_repeat, None, is_whole, told)

    def answered(self, response: Any, content_type: str) -> Answered:
        """The head of a response, before anybody has read its body."""
        self.reads_on()
        if self._answers_json() and not content_type.startswith("text/event-stream") and not self.streams:
            self.bound(response)
        status = response.status_code
        if status != 401:
            if self._original is None:
                return Answered(status, content_type, response)
            told = telling_values(response.headers, _TELLING, _REMAINING)
            return Answered(status, content_type, response, "", self._can_repeat, None, None, told)
        challenge = ", ".join(response.headers.get_list("www-authenticate"))
        return Answered(401, content_type, response, challenge, self.library.can_repeat(self.request))

    def bound(self, response: Any) -> None:
        """Let the body of an answer that comes whole end in time."""
        limit_s = self.limit_s if self._original is None else self._left_s()
        if limit_s is not None:
            response.stream = self._bounded(response.stream, limit_s)

    @property
    def ends_at(self) -> float:
        """Until when, by `clock`, an answer that comes whole may take."""
        own, deadline = self._own_s, self._deadline
        if own is None:
            return deadline
        return min(deadline, self.clock() + own)

    def _left_s(self) -> float | None:
        """How long an answer that comes whole may take from its head on: the call's deadline, or the target's own."""
        ends_at = self.ends_at
        return None if ends_at == _NEVER else max(ends_at - self.clock(), 0.001)

    def failed(self, error: Exception) -> Failed:
        """No answer; whether the body can be sent again. One that was never begun can, even if only once.

        Raises the error of the caller's own body as it is: no target is to blame for that.
        """
        if isinstance(self._original, self.library.OwnStream) and self._original.error is not None:
            raise self._original.error
        mapped = self.library.mapped(error)
        if self._original is None:
            return Failed(mapped)
        if failure_of(mapped) not in UNSENT:
            return Failed(mapped, self._can_repeat)
        if self.peeked is not None and isinstance(self.request.stream, self._resumed):
            self.peeked.rest = self.request.stream.give_back()
        return Failed(mapped, can_repeat=True)

    def overdue(self, what: str) -> Exception:
        """What did not come in time, though the head of an answer did."""
        error: Exception = self.library.module.ReadTimeout(what)
        return error

    def inspected(self, response: Any, chunks: list[bytes], rest: Any, error: Exception | None) -> None:
        """Give back to an answer what was read of its body."""
        if rest is None and error is None:
            response.stream = self.library.ChunkStream(tuple(chunks))
        else:
            response.stream = self._begun(chunks, rest, response.stream, error)
            if error is not None:
                self._broken = (*self._broken, error)

    def finish(self, result: Answered | Failed | Refusal | Late) -> Any:
        """The response for the caller's client; raises the library's error if there is none."""
        if isinstance(result, (Late, Failed)):
            error = self.library.late(result.message, self.request) if isinstance(result, Late) else result.error
            if self.trip is not None:
                error.azure_shim_attempts = tuple(self.trip.attempts)  # type: ignore[attr-defined]
            raise error
        response = local_answer(self.library, result) if isinstance(result, Refusal) else result.response
        if isinstance(result, Answered):
            note_server(self.request.url)
        if self.first is not None:
            assert isinstance(result, Answered), "what was served at once is an answer"
            mark_first(response, *self.first, is_clean=not result.limits)
        elif self.trip is not None:
            for error in self._broken:
                error.azure_shim_attempts = tuple(self.trip.attempts)  # type: ignore[attr-defined]
            mark(response, self.trip)
            # Of an error among a stream's events the SDK shows the request alone.
            self.request.extensions[ATTEMPTS] = response.extensions[ATTEMPTS]
            if isinstance(result, Answered) and self.trip.served is not None:
                self._watch(result, self.trip)
        if self.engine.has_plain_frames and isinstance(result, Answered) and self._has_frames(result):
            response.stream = self._watched(response.stream, FrameWatch())
        return response

    def _has_frames(self, result: Answered) -> bool:
        """Whether an answer is a stream of chat or text completions; a packed one is the caller's to unpack."""
        if not self._names_frames():
            return False
        is_stream = result.content_type.startswith("text/event-stream") or self.streams
        return is_stream and not result.response.headers.get("content-encoding")

    def _names_frames(self) -> bool:
        operation = None if self.line is None else self.line.operation
        return operation is not None and operation.path in _WITH_FRAMES

    def _watch(self, result: Answered, trip: Trip) -> None:
        """Notice what passes in the body; of one that is here already, at once."""
        response, renamed, ids = result.response, result.renamed, trip.ids
        is_whole = isinstance(response.stream, self.library.ChunkStream)
        if is_whole and renamed is None and ids is None:
            trip.leave()
            return
        if renamed is not None and response.headers.get("content-encoding"):
            renamed = None  # a packed answer is the caller's to unpack
        if renamed is not None and "content-length" in response.headers:
            del response.headers["content-length"]  # the other name may be longer
        watch = Watch(trip, ids, renamed)
        if is_whole:
            content = b"".join(map(watch.pass_on, response.stream.chunks)) + watch.end()
            response.stream = self.library.ChunkStream((content,))
        else:
            response.stream = self._watched(response.stream, watch)

    def misplaced(self, result: Answered | Failed | Refusal | Late) -> Refusal | None:
        """Why a success is none: a page where the operation answers JSON, from a proxy, a portal or a wrong endpoint.

        The SDK would hand the page to the caller as a str.
        """
        if not isinstance(result, Answered) or not 200 <= result.status < 300:
            return None
        if not self._answers_json() or not result.content_type.startswith("text/html"):
            return None
        if self.trip is not None and self.trip.served is not None:
            self.trip.leave()
        return Refusal(
            502,
            "NotAnAnswer",
            f"{origin_of(self.request.url)} answered {self.request.method} {self.request.url.path} with "
            f"{result.status} and a text/html page where Azure OpenAI answers JSON; a proxy, a sign-in page or a wrong "
            "endpoint answers like that.",
        )

    def _answers_json(self) -> bool:
        """Whether the operation is known to answer JSON (or events), and not a file or speech of any length."""
        return self.line is not None and self.line.operation is not None and self.line.operation.answers_json


def origin_of(url: Any) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def local_answer(library: Library, refusal: Refusal) -> Any:
    """The answer that this package makes itself where nothing is sent."""
    body = {"error": {"code": refusal.code, "message": refusal.message, "param": None, "type": "azure_shim"}}
    headers = {"content-type": "application/json", REFUSED: refusal.code}
    if refusal.retry_after_s is None:
        headers["x-should-retry"] = "false"
    content = json.dumps(body).encode()
    return library.Response(refusal.status, headers=headers, content=content, extensions={EXTENSION: refusal})


def limit_of(request: Any) -> float | None:
    """How long its caller waits between two signs of life, in seconds."""
    limit: float | None = request.extensions.get("timeout", {}).get("read")
    return limit


def _is_empty(request: Any, library: Library) -> bool:
    try:
        return not request.content
    except library.module.RequestNotRead:
        return False


def _resized(send: Send, request: Any) -> list[Header]:
    """The headers of ``send`` with the length of a body that became longer or shorter; a chunked one has none."""
    headers = send.headers or []
    if send.body is None or not send.body.grown_bytes:
        return headers
    length = request.headers.get("content-length", "").encode()
    return [(name, length if name.lower() == b"content-length" else value) for name, value in headers]
