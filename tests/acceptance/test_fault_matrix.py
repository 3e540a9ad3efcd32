"""Each fault of a real socket, in both colours and libraries, for an answer in JSON, a stream and a form.

Two targets, asked in order, the first of which is faulty. `ROWS` says of each fault who serves, what the first target
is spared for, and what its attempt is called; everything else follows from that.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple

import openai
import pytest
import trustme

import azure_shim
from tests.conftest import OWN_LIBRARY, Colour
from tests.fleets import at_server, fleet_of, plan
from tests.servers import CHAT, FIN, LAST_CHUNK, MESSAGES, RESET, ScriptedServer, Seen, answer, chunk, chunked, event

SHAPES = ("json", "stream", "multipart")
MODELS = {"json": "gpt-4o", "stream": "gpt-4o", "multipart": "whisper"}
AUDIO = bytes(range(256)) * 64
PATIENCE_S = 10.0
"""The callers' timeout where nothing is to run into it."""

Wire = Iterable[bytes]
Fault = Callable[[str, threading.Event], Wire]
"""What the first target writes to a request of a shape; it may wait on the event, which is set when the test ends."""


# -- what is well said


def frame(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields, ensure_ascii=False).encode() + b"\n\n"


def said(content: str | None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": None, **fields}
    return frame(id="c", object="chat.completion.chunk", created=1, model="gpt-4o", choices=[choice])


# As Azure begins (wire notes, section 7): nothing of it is a token.
PREAMBLE = frame(id="", object="", created=0, model="", choices=[], prompt_filter_results=[{"prompt_index": 0}]) + said(
    None, delta={"role": "assistant", "content": ""}
)


def body_of(shape: str, who: str) -> bytes:
    """A whole answer, in which ``who`` is named."""
    if shape == "json":
        return b"\n " + json.dumps({**CHAT, "id": f"chatcmpl-{who}", "extra": ["ü", 1e3]}, indent=1).encode() + b"\n"
    if shape == "multipart":
        return json.dumps({"text": f"heard by {who}"}).encode()
    tokens = [said(f"{who} "), b": a comment\n\n", said("tokén"), said("😀"), said(None, finish_reason="stop")]
    return PREAMBLE + b"".join(tokens) + b"data: [DONE]\n\n"


def good(shape: str, who: str) -> list[bytes]:
    """A whole answer on the wire; a stream in pieces that know nothing of its frames."""
    body, request_id = body_of(shape, who), {"x-request-id": f"request-{who}"}
    if shape != "stream":
        return [answer(body, headers=request_id)]
    head = b"HTTP/1.1 200 X\r\nx-request-id: request-%s\r\n" % who.encode() + chunked().partition(b"\r\n")[2]
    return [head, *(chunk(body[at : at + 97]) for at in range(0, len(body), 97)), LAST_CHUNK]


def frames(body: bytes) -> list[Any]:
    """The frames of a stream, by an independent reader."""
    data = [part.removeprefix(b"data: ") for part in body.split(b"\n\n") if part.startswith(b"data: ")]
    return [json.loads(one) for one in data if one != b"[DONE]"]


# -- what goes wrong


def error(code: str, message: str = "No.") -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def status(status: int, body: bytes, kind: str = "application/json", **headers: str) -> Fault:
    """An error; an underscore in a header's name is a hyphen."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    whole = answer(body, status, {"content-type": kind, "x-request-id": "request-first", **fields})
    return lambda shape, gate: [whole]


def ends(*how: bytes) -> Fault:
    """No whole head."""
    return lambda shape, gate: how


def begun(shape: str) -> bytes:
    """A chunked answer as far as its first bytes, which are no token yet."""
    kind = "text/event-stream" if shape == "stream" else "application/json"
    return chunked(kind) + chunk(PREAMBLE if shape == "stream" else body_of(shape, "first")[:9])


def breaks(how: bytes) -> Fault:
    """An answer that ends in its body, whose last chunk never comes."""
    return lambda shape, gate: [begun(shape), how]


def breaks_in_a_chunk(shape: str, gate: threading.Event) -> Wire:
    return [begun(shape) + b"ff\r\ndata: {", FIN]


def breaks_in_a_frame(shape: str, gate: threading.Event) -> Wire:
    """A stream that ends as HTTP has it, and in the middle of an event as the events have it."""
    return [chunked() + chunk(PREAMBLE + said("never")[:-40]) + LAST_CHUNK]


def is_short(shape: str, gate: threading.Event) -> Wire:
    """A Content-Length that promises more."""
    kind = "text/event-stream" if shape == "stream" else "application/json"
    body = PREAMBLE if shape == "stream" else body_of(shape, "first")[:9]
    return [answer(body, headers={"content-type": kind, "content-length": "99999"}), FIN]


def stalls(shape: str, gate: threading.Event) -> Iterator[bytes]:
    gate.wait(PATIENCE_S)
    yield FIN


def stalls_in_the_body(shape: str, gate: threading.Event) -> Iterator[bytes]:
    yield begun(shape)
    yield from stalls(shape, gate)


def pings(shape: str, gate: threading.Event) -> Iterator[bytes]:
    """Signs of life, and never a token."""
    yield chunked() + chunk(PREAMBLE)
    while not gate.wait(0.02):
        yield chunk(b": ping\n\n")


def trickles(shape: str, gate: threading.Event) -> Iterator[bytes]:
    """Headers that come one by one."""
    first, *rest = good(shape, "first")
    head, _, start = first.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        yield line + b"\r\n"
        gate.wait(0.03)
    yield b"\r\n" + start
    yield from rest


def refuses(status_code: int, how: Fault, **headers: str) -> Fault:
    """An error's head, and a body of which only the start comes."""
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status_code} X\r\ncontent-type: application/json\r\ncontent-length: 999\r\n{fields}\r\n"

    def fault(shape: str, gate: threading.Event) -> Iterator[bytes]:
        yield head.encode() + b'{"error": {"code": '
        yield from how(shape, gate)

    return fault


def begins_with(frame: bytes) -> Fault:
    """A stream whose first word is ``frame``."""
    return lambda shape, gate: [chunked(), chunk(PREAMBLE), chunk(frame) + LAST_CHUNK]


PAGE = b"<!doctype html><html><body>Sign in</body></html>"
RATE = error("429", "Requests to the ChatCompletions_Create Operation have exceeded call rate limit.")
FILTERED = error("content_filter", "The response was filtered.")
LOST = error("500", "The server had an error.")
NETWORK = error("403", "Access denied due to Virtual Network/Firewall rules.")


class Row(NamedTuple):
    """What must come of a fault.

    ``then`` is who serves, or the status or the exception that the caller gets, in which case the second target is
    asked for nothing. ``reason`` is what the first attempt is called. ``cools`` is what of the first target is left
    alone for how many seconds, at least and at most. ``first`` are more keys of the first target. ``asked`` is how
    many requests the first target gets.
    """

    fault: Fault | str
    then: Any
    reason: str
    cools: tuple[str, float, float] | None = None
    shapes: tuple[str, ...] = SHAPES
    timeout_s: float = PATIENCE_S
    first: Mapping[str, Any] = MappingProxyType({})
    asked: int = 1


RESOURCE, DEPLOYMENT, CREDENTIAL = ("resource", 1.0, 1.1), ("deployment", 2.0, 2.2), ("credential", 30.0, 33.0)
STREAM, WHOLE = ("stream",), ("json", "multipart")

ROWS = {
    "well": Row(good, "first", "served"),
    # There is no connection, so that nothing was asked.
    "refused": Row("closed port", "second", "connect failed", RESOURCE, asked=0),
    "untrusted certificate": Row("tls", "second", "tls failed", RESOURCE, asked=0),
    # It ends before its head.
    "FIN before the head": Row(ends(FIN), "second", "connection reset", RESOURCE),
    "RST before the head": Row(ends(RESET), "second", "connection reset", RESOURCE),
    "FIN within the head": Row(ends(b"HTTP/1.1 200 X\r\ncontent-ty", FIN), "second", "connection reset", RESOURCE),
    # It ends in its body, before a token.
    "FIN in the body": Row(breaks(FIN), "second", "answer cut"),
    "RST in the body": Row(breaks(RESET), "second", "answer cut"),
    "cut chunk": Row(breaks_in_a_chunk, "second", "answer cut"),
    "short body": Row(is_short, "second", "answer cut"),
    "cut event": Row(breaks_in_a_frame, "second", "answer cut", shapes=STREAM),
    "empty stream": Row(status(200, b"", "text/event-stream"), "second", "answer cut", shapes=STREAM),
    # It says nothing. Who waits for a whole answer may be waiting for a long one, which is paid for (P53).
    "stall": Row(stalls, openai.APITimeoutError, "read timed out", shapes=WHOLE, timeout_s=0.25),
    "stall in the body": Row(
        stalls_in_the_body, openai.APITimeoutError, "read timed out", shapes=WHOLE, timeout_s=0.25
    ),
    "stall, target's timeout": Row(stalls, "second", "read timed out", first={"timeout": 0.1}),
    "stall in the body, target's timeout": Row(stalls_in_the_body, "second", "read timed out", first={"timeout": 0.1}),
    "stall before a token": Row(stalls, "second", "read timed out", shapes=STREAM, timeout_s=0.5),
    "stall after the head": Row(stalls_in_the_body, "second", "read timed out", shapes=STREAM, timeout_s=0.5),
    "pings without a token": Row(pings, "second", "read timed out", shapes=STREAM, timeout_s=0.5),
    # Slow is no fault.
    "slow headers": Row(trickles, "first", "served"),
    # It says what is no answer.
    "HTML as 200": Row(status(200, PAGE, "text/html"), "second", "answer malformed"),
    "error event": Row(begins_with(b"data: " + LOST + b"\n\n"), "second", "error in the stream", shapes=STREAM),
    "rate event": Row(begins_with(b"data: " + RATE + b"\n\n"), "second", "rate limited", DEPLOYMENT, shapes=STREAM),
    "filter event": Row(begins_with(b"data: " + FILTERED + b"\n\n"), openai.APIError, "content filter", shapes=STREAM),
    # What is no JSON is not ours to understand: it is handed on, and the SDK has its own word for it.
    "event without JSON": Row(begins_with(b"data: {nonsense\n\n"), json.JSONDecodeError, "served", shapes=STREAM),
    # It refuses.
    "429": Row(status(429, RATE, retry_after="7"), "second", "rate limited", ("deployment", 7.0, 7.7)),
    "429 in ms": Row(status(429, RATE, retry_after_ms="1500"), "second", "rate limited", ("deployment", 1.5, 1.65)),
    "429 that says nothing": Row(status(429, RATE), "second", "rate limited", DEPLOYMENT),
    "503 text": Row(status(503, b"Service Unavailable", "text/plain"), "second", "unavailable", DEPLOYMENT),
    "503 with retry-after": Row(
        status(503, b"", "text/plain", retry_after="20"), "second", "unavailable", ("deployment", 20.0, 22.0)
    ),
    "503 upstream": Row(
        status(503, b"upstream connect error or disconnect/reset before headers", "text/plain"),
        "second",
        "upstream lost",
        DEPLOYMENT,
    ),
    "500": Row(status(500, LOST), "second", "server error"),
    "502 HTML": Row(status(502, PAGE, "text/html"), "second", "bad gateway"),
    "500 of 2 MB": Row(status(500, b"x" * 2_000_000, "text/plain"), "second", "server error"),
    "500 whose body is cut": Row(refuses(500, ends(RESET)), "second", "server error"),
    "500 whose body stalls": Row(refuses(500, stalls), "second", "server error", timeout_s=0.4),
    "429 whose body is cut": Row(
        refuses(429, ends(RESET), retry_after="7"), "second", "rate limited", ("deployment", 7.0, 7.7)
    ),
    "504": Row(status(504, b"", ""), "second", "gateway timeout"),
    "408": Row(status(408, error("Timeout", "The operation was timeout.")), "second", "operation timed out"),
    "401": Row(status(401, error("401", "Access denied.")), "second", "credential refused", CREDENTIAL),
    "401 role": Row(status(401, error("PermissionDenied")), "second", "no permission", CREDENTIAL),
    "403 network": Row(status(403, NETWORK), "second", "forbidden", CREDENTIAL),
    "404 deployment": Row(status(404, error("DeploymentNotFound")), "second", "deployment not found"),
    # Nobody else would say otherwise.
    "404 of a gateway": Row(
        status(404, b'{"statusCode": 404, "message": "Resource not found"}'), 404, "not found at the gateway"
    ),
    "404 path": Row(status(404, error("404", "Resource not found")), 404, "not found"),
    "400": Row(status(400, error("BadRequest")), 400, "bad request"),
    "400 content filter": Row(status(400, FILTERED), 400, "content filter"),
    "409": Row(status(409, error("Conflict")), 409, "conflict"),
    "413": Row(status(413, error("413", "Maximum content size limit exceeded.")), 413, "too large"),
    "422": Row(status(422, error("422")), 422, "unprocessable"),
}
CASES = [pytest.param(name, shape, id=f"{name}-{shape}") for name, row in ROWS.items() for shape in row.shapes]


# -- who asks


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    found = threading.Event()
    yield found
    found.set()


@pytest.fixture(scope="module")
def untrusted() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def closed_port() -> Iterator[str]:
    """A URL that refuses connections; the port stays taken, so that no other server gets it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def first(gate: threading.Event, server: ScriptedServer) -> ScriptedServer:
    return server


@pytest.fixture
def second(gate: threading.Event, elsewhere: ScriptedServer) -> ScriptedServer:
    return elsewhere


class Two:
    """The plan of two targets, a client of one colour and library for it, and what it gets."""

    def __init__(self, colour: Colour, library: Any, urls: tuple[str, str], **rules: Any) -> None:
        keys_of_first = rules.pop("first", {})
        client_options = {"max_retries": rules.pop("max_retries", 0), "timeout": rules.pop("timeout", PATIENCE_S)}
        targets = [
            {"provider": "azure-openai", "name": "first", "azure_endpoint": urls[0], "api_key": "key-1"},
            {"provider": "azure-openai", "name": "second", "azure_endpoint": urls[1], "api_key": "key-2"},
        ]
        targets[0].update(keys_of_first)
        self.colour = colour
        self.config = {"strategy": {"mode": "fallback"}, "targets": targets, **rules}
        self.response: Any = None
        self._watcher = colour.client(config=self.config)
        if library.__name__ == OWN_LIBRARY:
            self.client = self._watcher.with_options(**client_options)
        else:
            http_client = colour.http_client(config=self.config, library=library.__name__)
            self.client = colour.plain(api_key="unused", http_client=http_client, **client_options)

    def health(self) -> Any:
        """The same from every client of equal targets."""
        return self._watcher.health()

    def start(self, shape: str) -> Any:
        """A raw response, or a stream of which nothing was read."""
        call, client = self.colour.call, self.client
        if shape == "json":
            return call(client.chat.completions.with_raw_response.create, model="gpt-4o", messages=MESSAGES)
        if shape == "stream":
            return call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True)
        file = ("a.wav", AUDIO)
        return call(client.audio.transcriptions.with_raw_response.create, model="whisper", file=file)

    def ask(self, shape: str) -> tuple[Any, Any]:
        """The answer, of which everything was read, and its content: frames, or bytes."""
        found = self.start(shape)
        if shape == "stream":
            self.response = found.response
            try:
                return self.response, [chunk.to_dict() for chunk in self.colour.list(found)]
            finally:
                self.colour.close(found)  # which openai 1 leaves to its caller if it cannot read a frame
        found.parse()
        return found.http_response, found.http_response.content


def expected(shape: str, who: str) -> Any:
    body = body_of(shape, who)
    return frames(body) if shape == "stream" else body


def script_of(fault: Fault, shape: str, gate: threading.Event) -> Callable[[Seen], Wire]:
    return lambda seen: fault(shape, gate)


def count(server: ScriptedServer, expected: int) -> int:
    """How many requests came; of those that are expected, a busy machine may read one after its client has given up."""
    for _ in range(expected):
        server.arrived.acquire(timeout=PATIENCE_S)
    return len(server.requests)


def assert_health(two: Two, row: Row, shape: str, cooled_s: float) -> None:
    of_first, of_second = two.health()
    assert (of_second.state, of_second.deployments, of_second.in_flight) == ("healthy", {}, 0)
    assert of_first.in_flight == 0
    part, at_least_s, at_most_s = row.cools or ("", 0.0, 0.0)
    assert at_least_s - 0.01 <= cooled_s <= at_most_s + 0.01
    if part in ("resource", "credential"):
        assert of_first.state in ("cooling", "half-open")  # the latter on a machine that is slow
        assert (of_first.reason, of_first.deployments) == (row.reason, {})
    else:
        assert (of_first.state, of_first.reason) == ("healthy", None)
        assert list(of_first.deployments) == ([MODELS[shape]] if part else [])


@pytest.mark.parametrize(("fault", "shape"), CASES)
def test_matrix(
    fault: str,
    shape: str,
    colour: Colour,
    library: Any,
    first: ScriptedServer,
    second: ScriptedServer,
    gate: threading.Event,
    closed_port: str,
    untrusted: ssl.SSLContext,
) -> None:
    row = ROWS[fault]
    url = first.url
    if row.fault == "closed port":
        url = closed_port
    elif row.fault == "tls":
        first.tls = untrusted
        url = first.url
    elif row.fault is good:
        first.script = lambda seen: good(shape, "first")
    else:
        assert not isinstance(row.fault, str)
        first.script = script_of(row.fault, shape, gate)
    second.script = lambda seen: good(shape, "second")
    two = Two(colour, library, (url, second.url), timeout=row.timeout_s, first=row.first)
    if isinstance(row.then, str):
        response, content = two.ask(shape)
        assert content == expected(shape, row.then)
        assert response.headers["x-request-id"] == f"request-{row.then}"
        assert response.headers["x-azure-shim-target"] == row.then
        assert isinstance(response, library.Response)
        attempts = azure_shim.attempts(response)
    elif isinstance(row.then, int):
        with pytest.raises(openai.APIStatusError) as caught:
            two.ask(shape)
        assert caught.value.status_code == row.then
        assert [caught.value.response.content] == [wire.partition(b"\r\n\r\n")[2] for wire in row.fault(shape, gate)]
        assert caught.value.request_id == "request-first"
        attempts = azure_shim.attempts(caught.value)
    else:
        with pytest.raises(row.then) as failed:
            two.ask(shape)
        # What the SDK makes of a frame is its own error, whose attempts are those of the response.
        attempts = azure_shim.attempts(failed.value) or azure_shim.attempts(two.response)
    is_moved = row.then == "second"
    assert (count(first, row.asked), len(second.requests)) == (row.asked, int(is_moved))
    told = [(one.target, one.reason) for one in attempts]
    assert told == [("first", row.reason)] + [("second", "served")] * is_moved
    assert_health(two, row, shape, attempts[0].cooled_s)
    sent = [*first.requests, *second.requests]
    assert [seen.header("api-key") for seen in sent] == ["key-1"] * row.asked + ["key-2"] * is_moved
    assert len({seen.body for seen in sent}) <= 1, "the second target got another body"
    assert all(seen.body.count(AUDIO) == 1 for seen in sent if shape == "multipart")


# -- byte for byte


@pytest.mark.parametrize("fault", ["well", "refused", "RST in the body", "cut event", "error event", "500", "408"])
def test_a_stream_is_handed_on_byte_for_byte(
    fault: str,
    colour: Colour,
    library: Any,
    first: ScriptedServer,
    second: ScriptedServer,
    gate: threading.Event,
    closed_port: str,
) -> None:
    """Comments and frames without a token too are the server's own; nothing of the first one's comes through."""
    row = ROWS[fault]
    if callable(row.fault):
        who = str(row.then)
        first.script = (
            (lambda seen: good("stream", "first")) if row.fault is good else script_of(row.fault, "stream", gate)
        )
    else:
        who = "second"
    second.script = lambda seen: good("stream", "second")
    two = Two(colour, library, (closed_port if fault == "refused" else first.url, second.url))
    create = two.client.chat.completions.with_streaming_response.create
    manager = create(model="gpt-4o", messages=MESSAGES, stream=True)
    assert read(colour, manager) == body_of("stream", who)


def read(colour: Colour, manager: Any) -> bytes:
    """The bytes of a streamed response."""
    if not colour.is_async:
        with manager as response:
            return b"".join(response.iter_bytes())

    async def all_of_it() -> bytes:
        async with manager as response:
            return b"".join([piece async for piece in response.iter_bytes()])

    return bytes(colour.run(all_of_it()))


# -- after the first token


def cut_after(*end: bytes) -> Fault:
    """Two tokens, and how it goes on."""
    return lambda shape, gate: [chunked() + chunk(PREAMBLE + said("a")) + chunk(said("b")), *end]


def stalls_after(shape: str, gate: threading.Event) -> Iterator[bytes]:
    yield from cut_after()(shape, gate)
    yield from stalls(shape, gate)


CUTS = {
    "FIN": cut_after(FIN),
    "RST": cut_after(RESET),
    "cut chunk": cut_after(b"ff\r\ndata: {", FIN),
    "stall": stalls_after,
}


@pytest.mark.parametrize("cut", CUTS)
def test_after_the_first_token_nobody_takes_over(
    cut: str, colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer, gate: threading.Event
) -> None:
    """What came is delivered, then the error as it is (P38); and the next call prefers who has not failed."""
    first.script = script_of(CUTS[cut], "stream", gate)
    second.script = lambda seen: good("stream", "second")
    two = Two(colour, library, (first.url, second.url), timeout=0.5 if cut == "stall" else PATIENCE_S)
    stream = two.start("stream")
    iterator = colour.iterate(stream)
    delivered = [colour.next(iterator).to_dict() for _ in range(4)]
    assert delivered == frames(PREAMBLE + said("a") + said("b"))
    with pytest.raises((openai.APIConnectionError, library.TransportError)) as failed:
        colour.next(iterator)
    if cut == "stall":
        assert isinstance(failed.value, (openai.APITimeoutError, library.ReadTimeout))
    assert second.requests == []
    assert [one.in_flight for one in two.health()] == [0, 0]
    reason = "read timed out" if cut == "stall" else "answer cut"
    for told_by, said_of in ((stream.response, "served"), (failed.value, reason)):
        assert [(one.target, one.reason) for one in azure_shim.attempts(told_by)] == [("first", said_of)]
    _, content = two.ask("stream")
    assert content == expected("stream", "second")
    assert (len(first.requests), len(second.requests)) == (1, 1)


@pytest.mark.parametrize("fault", ["well", "stall before a token"])
def test_a_gap_between_tokens_may_be_as_long_as_the_callers_timeout(
    fault: str, colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer, gate: threading.Event
) -> None:
    """The half of it is for the first token, of which there may be another one elsewhere."""

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked() + chunk(said("a"))
        gate.wait(0.4)
        yield chunk(said("b")) + LAST_CHUNK

    first.script = script if fault == "well" else script_of(stalls, "stream", gate)
    second.script = script
    two = Two(colour, library, (first.url, second.url), timeout=0.6)
    response, content = two.ask("stream")
    assert [frame["choices"][0]["delta"]["content"] for frame in content] == ["a", "b"]
    assert response.headers["x-azure-shim-target"] == ("first" if fault == "well" else "second")


def test_a_token_is_handed_on_before_the_next_one_is_written(
    colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer, gate: threading.Event
) -> None:
    """What was peeked at waits for nothing."""
    got = threading.Semaphore(0)

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked() + event("0")
        for n in range(1, 4):
            assert got.acquire(timeout=PATIENCE_S), "the token before was not handed on"
            yield event(str(n))
        yield LAST_CHUNK

    first.script = script_of(breaks(RESET), "stream", gate)
    second.script = script
    two = Two(colour, library, (first.url, second.url))
    iterator = colour.iterate(two.start("stream"))
    for n in range(4):
        assert colour.next(iterator).choices[0].delta.content == str(n)
        got.release()


# -- what may be sent again

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda c: c.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES),
    "completion": lambda c: c.completions.with_raw_response.create(model="gpt-35-turbo-instruct", prompt="hi"),
    "embedding": lambda c: c.embeddings.with_raw_response.create(model="ada", input="hi", encoding_format="float"),
    "transcription": lambda c: c.audio.transcriptions.with_raw_response.create(model="whisper", file=("a.wav", AUDIO)),
    "response, not stored": lambda c: c.responses.with_raw_response.create(model="gpt-4o", input="hi", store=False),
    "list": lambda c: c.models.with_raw_response.list(),
    "response": lambda c: c.responses.with_raw_response.create(model="gpt-4o", input="hi"),
    "background response": lambda c: c.responses.with_raw_response.create(
        model="gpt-4o", input="hi", store=False, background=True
    ),
    "stored chat": lambda c: c.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES, store=True),
    "image": lambda c: c.images.with_raw_response.generate(model="gpt-image-1", prompt="a cat"),
    "file": lambda c: c.files.with_raw_response.create(file=("b.jsonl", AUDIO), purpose="batch"),
    "batch": lambda c: c.batches.with_raw_response.create(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-of-nobody"
    ),
    "fine-tuning": lambda c: c.fine_tuning.jobs.with_raw_response.create(
        model="gpt-4o", training_file="file-of-nobody"
    ),
}
PURE = ("chat", "completion", "embedding", "transcription", "response, not stored")
ACTING = ("response", "background response", "stored chat", "image", "file", "batch", "fine-tuning")
MAY_HAVE_RUN: dict[str, Any] = {
    "500": openai.InternalServerError,
    "408": openai.APIStatusError,
    "503 upstream": openai.InternalServerError,
    "FIN before the head": openai.APIConnectionError,
    "RST before the head": openai.APIConnectionError,
    "stall, target's timeout": openai.APITimeoutError,
    "RST in the body": openai.APIConnectionError,
    "HTML as 200": openai.APIStatusError,
}
HAS_NOT_RUN = ("refused", "untrusted certificate", "429", "503 text", "401", "403 network", "404 deployment")


def outcomes() -> Iterator[Any]:
    """Operation, replay, fault, and what the caller gets: None for the second target's answer."""
    for operation in PURE:
        for fault in ("500", "RST before the head", "429"):
            yield operation, "safe", fault, None
    for operation in ACTING:
        for fault in ("500", "RST before the head"):
            yield operation, "safe", fault, MAY_HAVE_RUN[fault]
    for fault in MAY_HAVE_RUN.keys() - {"500", "RST before the head"}:
        yield "image", "safe", fault, MAY_HAVE_RUN[fault]
    for fault in HAS_NOT_RUN:
        yield "image", "safe", fault, None
    yield "file", "safe", "429", None
    yield "file", "safe", "refused", None
    for fault in ("500", "RST before the head", "RST in the body"):
        yield "image", "always", fault, None
        yield "chat", "never", fault, MAY_HAVE_RUN[fault]
    for fault in ("429", "refused"):
        yield "chat", "never", fault, None


OUTCOMES = [
    pytest.param(*one, id=f"{one[0]}, {one[1]}, {one[2]}") for one in sorted(outcomes(), key=lambda one: one[:3])
]


@pytest.mark.parametrize(("operation", "replay", "fault", "kind"), OUTCOMES)
def test_what_may_have_run_is_sent_again_only_if_that_does_no_harm(
    operation: str,
    replay: str,
    fault: str,
    kind: Any,
    colour: Colour,
    library: Any,
    first: ScriptedServer,
    second: ScriptedServer,
    gate: threading.Event,
    closed_port: str,
    untrusted: ssl.SSLContext,
) -> None:
    row = ROWS[fault]
    if fault == "untrusted certificate":
        first.tls = untrusted
    elif callable(row.fault):
        first.script = script_of(row.fault, "json", gate)
    served = {"id": "made-1", "text": "second", "data": []}
    second.script = lambda seen: [answer(served)]
    url = closed_port if fault == "refused" else first.url
    two = Two(colour, library, (url, second.url), first=row.first, replay=replay)
    if kind is None:
        raw = colour.run(OPERATIONS[operation](two.client))
        assert raw.content == json.dumps(served).encode()
        assert raw.headers["x-azure-shim-target"] == "second"
    else:
        with pytest.raises(kind):
            colour.run(OPERATIONS[operation](two.client))
    assert (count(first, row.asked), len(second.requests)) == (row.asked, int(kind is None))
    assert len({seen.body for seen in [*first.requests, *second.requests]}) == 1


@pytest.mark.parametrize("fault", ["500", "408", "RST before the head", "stall, target's timeout"])
def test_the_sdks_own_retries_run_nothing_twice_either(
    fault: str,
    colour: Colour,
    library: Any,
    first: ScriptedServer,
    second: ScriptedServer,
    gate: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    row = ROWS[fault]
    assert callable(row.fault)
    first.script = script_of(row.fault, "json", gate)
    second.script = lambda seen: [answer({"created": 1, "data": []})]
    two = Two(colour, library, (first.url, second.url), first=row.first, max_retries=1)
    with pytest.raises(MAY_HAVE_RUN[fault]):
        colour.run(OPERATIONS["image"](two.client))
    assert (count(first, 1), len(second.requests)) == (1, 0)


def test_a_later_call_that_is_the_same_to_the_byte_has_retries_of_its_own(
    colour: Colour,
    library: Any,
    first: ScriptedServer,
    second: ScriptedServer,
    gate: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The SDK's retries say how often a call was sent, and not which call it is."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    first.script = script_of(ROWS["RST before the head"].fault, "json", gate)
    two = Two(colour, library, (first.url, second.url), max_retries=2)
    with pytest.raises(openai.APIConnectionError):
        colour.run(OPERATIONS["image"](two.client))
    asked = count(first, 1)

    ran = fleet_of(two._watcher).ran
    ran._clock = lambda: time.monotonic() + 20  # when nobody waits for a retry any more
    first.script = lambda seen: [answer({}, 429, {"retry-after-ms": "1"})]
    answers = [answer({}, 429, {"retry-after-ms": "1"}), answer({"created": 1, "data": []})]
    second.script = lambda seen: [answers.pop(0)]
    raw = colour.run(OPERATIONS["image"](two.client))
    assert raw.headers["x-azure-shim-target"] == "second"
    assert len(second.requests) == 2
    assert asked == 1


def test_one_that_was_refused_takes_no_equal_calls_place(
    colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retry of a call that has not run comes between those of an equal one that may have."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    first.script = lambda seen: [RESET]
    second.script = lambda seen: [answer({"created": 1, "data": []})]
    two = Two(colour, library, (first.url, second.url), max_retries=1)
    ran = fleet_of(two._watcher).ran
    refused: list[Any] = []
    get = ran.get

    def both(key: bytes, retry: int, **more: Any) -> Any:
        refused.append(get(key, retry, **more))  # the other call's, as it would be asked for
        return get(key, retry, **more)

    monkeypatch.setattr(ran, "get", both)
    with pytest.raises(openai.APIConnectionError):
        colour.run(OPERATIONS["image"](two.client))
    assert len(refused) == 1
    assert (len(first.requests), len(second.requests)) == (1, 0)


def test_a_call_that_may_have_run_is_remembered_for_as_long_as_it_is_tried(
    colour: Colour, first: ScriptedServer, second: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    first.script = second.script = lambda seen: [RESET]
    config = plan("fallback", at_server("first", first), at_server("second", second))
    client = colour.client(config=config, max_retries=9)
    now = [0.0]

    def clock() -> float:
        now[0] += 4.0
        return now[0]

    fleet_of(client).ran._clock = clock
    with pytest.raises(openai.APIConnectionError):
        colour.run(OPERATIONS["image"](client))
    assert now[0] > 60, "longer than the SDK is waited for at once"
    assert (len(first.requests), len(second.requests)) == (1, 0)


def test_of_many_equal_calls_none_is_run_twice(
    colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    first.script = second.script = lambda seen: [RESET]
    two = Two(colour, library, (first.url, second.url), max_retries=2)

    def one() -> None:
        with contextlib.suppress(openai.APIConnectionError):
            OPERATIONS["image"](two.client)

    async def awaited() -> None:
        with contextlib.suppress(openai.APIConnectionError):
            await OPERATIONS["image"](two.client)

    async def all_at_once() -> None:
        await asyncio.gather(*(awaited() for _ in range(80)))

    if colour.is_async:
        colour.run(all_at_once())
    else:
        with ThreadPoolExecutor(80) as pool:
            list(pool.map(lambda _: one(), range(80)))
    assert len(first.requests) + len(second.requests) == 80


# -- bodies that can be read once


class Pipe(io.RawIOBase):
    """A file without a way back."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(size)

    def seekable(self) -> bool:
        return False


ONCE = {
    "refused": None,
    "429": 429,
    "500": 500,
    "RST before the head": openai.APIConnectionError,
    "FIN before the head": openai.APIConnectionError,
    "stall, target's timeout": openai.APITimeoutError,
}


def form(model: str) -> list[bytes]:
    """The pieces of a form, whose file comes in several."""
    fields = f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'.encode()
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return [fields, file, *[AUDIO] * 4, b"\r\n--b--\r\n"]


JSON_PIECES = [b'{"model":"gpt-4o","messages":[{"role":"user","content":"', *[b"0123456789" * 1000] * 8, b'"}]}']


@pytest.mark.parametrize("kind", ["JSON", "form, v1", "form, 2024-10-21"])
@pytest.mark.parametrize("fault", ONCE)
def test_a_generator_is_sent_once_unless_nothing_was_read_of_it(
    fault: str,
    kind: str,
    colour: Colour,
    library: Any,
    first: ScriptedServer,
    second: ScriptedServer,
    gate: threading.Event,
    closed_port: str,
) -> None:
    """A form's start is looked at for its model, which takes nothing away from what the second target gets."""
    row, then = ROWS[fault], ONCE[fault]
    if callable(row.fault):
        first.script = script_of(row.fault, "json", gate)
    second.script = lambda seen: good("json", "second")
    version = kind.rpartition(" ")[2] if kind != "JSON" else "v1"
    of_first: dict[str, Any] = {"name": "first", "azure_endpoint": first.url, **row.first}
    if fault == "refused":
        of_first["azure_endpoint"] = closed_port
    of_second: dict[str, Any] = {"name": "second", "azure_endpoint": second.url}
    if kind != "JSON":
        of_first["deployments"], of_second["deployments"] = {"whisper": "one"}, {"whisper": "the-other"}
    targets = [{"api_key": "key", "api_version": version, **one} for one in (of_first, of_second)]
    config = {"strategy": {"mode": "fallback"}, "targets": targets}
    client = colour.http_client(config=config, library=library.__name__, timeout=PATIENCE_S)
    pieces = JSON_PIECES if kind == "JSON" else form("whisper")
    url = "https://api.openai.com/v1/" + ("chat/completions" if kind == "JSON" else "audio/transcriptions")
    headers = {"content-type": "application/json" if kind == "JSON" else "multipart/form-data; boundary=b"}

    async def awaited() -> Any:
        for piece in pieces:
            yield piece

    body = awaited() if colour.is_async else iter(pieces)
    if isinstance(then, type):
        with pytest.raises(library.ReadTimeout if then is openai.APITimeoutError else library.TransportError):
            colour.call(client.post, url, content=body, headers=headers)
    else:
        response = colour.call(client.post, url, content=body, headers=headers)
        assert response.status_code == (then or 200)
    assert (count(first, row.asked), len(second.requests)) == (row.asked, int(then is None))
    for seen, model in [*((one, "one") for one in first.requests), *((one, "the-other") for one in second.requests)]:
        is_in_form = kind == "form, v1"
        assert seen.body == b"".join(form(model) if is_in_form else pieces)
        assert (f"/deployments/{model}/" in seen.target) == (kind == "form, 2024-10-21")


@pytest.mark.parametrize("fault", ONCE)
def test_a_file_without_a_way_back_is_sent_once_unless_nothing_was_read_of_it(
    fault: str,
    colour: Colour,
    library: Any,
    first: ScriptedServer,
    second: ScriptedServer,
    gate: threading.Event,
    closed_port: str,
) -> None:
    row, then = ROWS[fault], ONCE[fault]
    if callable(row.fault):
        first.script = script_of(row.fault, "multipart", gate)
    second.script = lambda seen: good("multipart", "second")
    two = Two(colour, library, (closed_port if fault == "refused" else first.url, second.url), first=row.first)
    call = two.client.audio.transcriptions.with_raw_response.create
    if then is None:
        assert colour.call(call, model="whisper", file=("a.wav", Pipe(AUDIO))).content == body_of("multipart", "second")
    else:
        with pytest.raises(then if isinstance(then, type) else openai.APIStatusError):
            colour.call(call, model="whisper", file=("a.wav", Pipe(AUDIO)))
    assert (count(first, row.asked), len(second.requests)) == (row.asked, int(then is None))
    assert all(seen.body.count(AUDIO) == 1 for seen in [*first.requests, *second.requests])


# -- all of them fail


def told(status_code: int, who: str, **headers: str) -> Callable[[Seen], Wire]:
    """An error that names its target."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    body = error(str(status_code), f"{who} says no")
    return lambda seen: [answer(body, status_code, {"x-request-id": f"request-{who}", **fields})]


def resets(seen: Seen) -> Wire:
    return [RESET]


ALL_FAIL = {
    "500, 503": (told(500, "first"), told(503, "second"), 503, "second"),
    "503, 500": (told(503, "first"), told(500, "second"), 500, "second"),
    "429, 500": (told(429, "first"), told(500, "second"), 500, "second"),
    "401, 403": (told(401, "first"), told(403, "second"), 403, "second"),
    "reset, 500": (resets, told(500, "second"), 500, "second"),
    # An answer says more than that there was none.
    "500, reset": (told(500, "first"), resets, 500, "first"),
    "429, reset": (told(429, "first"), resets, 429, "first"),
    # The second one's answer is about the request itself.
    "500, 400": (told(500, "first"), told(400, "second"), 400, "second"),
    "reset, 400": (resets, told(400, "second"), 400, "second"),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", ALL_FAIL)
def test_if_all_fail_the_caller_gets_the_last_real_answer(
    case: str, shape: str, colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer
) -> None:
    first.script, second.script, status_code, who = ALL_FAIL[case]
    two = Two(colour, library, (first.url, second.url))
    with pytest.raises(openai.APIStatusError) as caught:
        two.ask(shape)
    response = caught.value.response
    assert caught.value.status_code == status_code
    assert response.content == error(str(status_code), f"{who} says no")
    assert caught.value.request_id == f"request-{who}"
    assert response.headers["x-azure-shim-attempts"] == "2"
    assert [one.target for one in azure_shim.attempts(caught.value)] == ["first", "second"]
    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert [one.in_flight for one in two.health()] == [0, 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_without_any_answer_the_caller_gets_the_last_error(
    shape: str, colour: Colour, library: Any, second: ScriptedServer, closed_port: str
) -> None:
    second.script = resets
    two = Two(colour, library, (closed_port, second.url))
    with pytest.raises(openai.APIConnectionError) as failed:
        two.ask(shape)
    assert isinstance(failed.value.__cause__, (library.ReadError, library.RemoteProtocolError))
    told = [(one.target, one.reason) for one in azure_shim.attempts(failed.value)]
    assert told == [("first", "connect failed"), ("second", "connection reset")]
    assert len(second.requests) == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [("7", "3"), ("3", "7")])
def test_if_all_cool_down_the_retry_headers_say_when_the_first_one_is_back(
    order: tuple[str, str], shape: str, colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer
) -> None:
    first.script = told(429, "first", retry_after=order[0])
    second.script = told(429, "second", retry_after=order[1])
    two = Two(colour, library, (first.url, second.url))
    with pytest.raises(openai.RateLimitError) as caught:
        two.ask(shape)
    headers = caught.value.response.headers
    assert caught.value.request_id == "request-second"
    assert 2000 < int(headers["retry-after-ms"]) <= 3300
    assert int(headers["retry-after"]) in (3, 4)
    with pytest.raises(openai.RateLimitError, match="cooling down: first, second") as parked:
        two.ask(shape)
    assert 1500 < int(parked.value.response.headers["retry-after-ms"]) <= int(headers["retry-after-ms"])
    assert parked.value.response.headers["x-azure-shim-refused"] == "429"
    assert azure_shim.attempts(parked.value) == ()
    assert (len(first.requests), len(second.requests)) == (1, 1), "who told when to come back was asked before that"


# -- storms and flapping


def test_a_429_storm_loses_no_call_and_mixes_none_up(
    colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer
) -> None:
    """Thirty at once, of which each gets the answer to its own question."""

    def echo(seen: Seen) -> Wire:
        asked = seen.json()["messages"][0]["content"]
        return [answer({**CHAT, "id": asked})]

    first.script, second.script = told(429, "first", retry_after="5"), echo
    two = Two(colour, library, (first.url, second.url))
    create = two.client.chat.completions.create
    asked = [f"question {n}" for n in range(30)]
    messages: list[list[Any]] = [[{"role": "user", "content": content}] for content in asked]
    if colour.is_async:

        async def all_at_once() -> list[Any]:
            return await asyncio.gather(*(create(model="gpt-4o", messages=each) for each in messages))

        found = colour.run(all_at_once())
    else:
        with ThreadPoolExecutor(10) as pool:
            found = list(pool.map(lambda each: create(model="gpt-4o", messages=each), messages))
    assert [one.id for one in found] == asked
    assert sorted(seen.json()["messages"][0]["content"] for seen in second.requests) == sorted(asked)
    assert 1 <= len(first.requests) <= 30
    assert [one.in_flight for one in two.health()] == [0, 0]
    before = len(first.requests)
    colour.call(create, model="gpt-4o", messages=MESSAGES)
    assert len(first.requests) == before, "who is cooling down was asked"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_target_that_flaps_is_used_each_time_that_it_is_well(
    shape: str, colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer
) -> None:
    """429 every other time, which says itself that it is over at once: a probe, served, a 429, and so on."""

    def flaps(seen: Seen) -> Wire:
        return told(429, "first", retry_after_ms="0")(seen) if len(first.requests) % 2 else good(shape, "first")

    first.script = flaps
    second.script = lambda seen: good(shape, "second")
    two = Two(colour, library, (first.url, second.url))
    for who in ("second", "first") * 3:
        response, content = two.ask(shape)
        assert content == expected(shape, who)
        assert response.headers["x-azure-shim-target"] == who
    assert (len(first.requests), len(second.requests)) == (6, 3)


@pytest.mark.parametrize("fault", ["500", "RST before the head", "RST in the body"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_target_that_flaps_with_errors_is_spared_for_a_while(
    shape: str,
    fault: str,
    colour: Colour,
    library: Any,
    first: ScriptedServer,
    second: ScriptedServer,
    gate: threading.Event,
) -> None:
    """It fails every other time; after the first time the healthy one is asked first, and no call is lost."""
    row = ROWS[fault]
    assert callable(row.fault)
    fails = script_of(row.fault, shape, gate)
    first.script = lambda seen: fails(seen) if len(first.requests) % 2 else good(shape, "first")
    second.script = lambda seen: good(shape, "second")
    two = Two(colour, library, (first.url, second.url))
    for _ in range(4):
        _, content = two.ask(shape)
        assert content == expected(shape, "second")
    assert (len(first.requests), len(second.requests)) == (1, 4)


def test_a_429_leaves_the_targets_other_deployments_alone(
    colour: Colour, library: Any, first: ScriptedServer, second: ScriptedServer
) -> None:
    """Quotas are a deployment's own (P35)."""
    vectors = answer({"object": "list", "data": [], "model": "ada", "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    limited = told(429, "first", retry_after="30")
    first.script = lambda seen: limited(seen) if "chat" in seen.target else [vectors]
    second.script = lambda seen: good("json", "second")
    two = Two(colour, library, (first.url, second.url))
    assert two.ask("json")[1] == expected("json", "second")
    found = colour.run(OPERATIONS["embedding"](two.client))
    assert found.headers["x-azure-shim-target"] == "first"
