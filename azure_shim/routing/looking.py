"""What an outcome is, for the table of verdicts: an error's body is read, and a success that is none is recognized."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from azure_shim.values import Answered, Effect, Failed, Inspect, Late, Refusal
from azure_shim.wire.bodies import unpacked
from azure_shim.wire.events import FirstEvents
from azure_shim.wire.request_line import RequestLine
from azure_shim.wire.verdict import SEEN_200, Seen, failure_of, read_error

__all__ = ["WHOLE_200", "Looked", "is_text", "look"]

# An error says what it is in some hundred bytes; what is longer is not kept while others are asked.
_ERROR_BYTES = 1 << 20


class Looked(NamedTuple):
    """``is_open`` says that the answer still has its connection, since not all of it was read."""

    seen: Seen
    is_open: bool = False


# What they answer is JSON or subtitles, and small either way.
_TEXTS = ("/audio/transcriptions", "/audio/translations")
_OPEN_200, WHOLE_200 = Looked(SEEN_200, is_open=True), Looked(SEEN_200)
Looking = Generator[Effect, Any, Looked]


def is_text(line: RequestLine) -> bool:
    """Whether the operation answers a text that comes whole, but for a stream of events."""
    operation = line.operation
    return operation is not None and (operation.answers_json or operation.path in _TEXTS)


def look(
    outcome: Answered | Failed | Refusal | Late,
    line: RequestLine,
    *,
    is_replaceable: bool,
    streams: bool = False,
    token_s: float | None = None,
    error_s: float | None = None,
) -> Looking:
    """Look at an outcome; into the body of a success only if another target's answer could take its place.

    ``streams`` says that a stream was asked for: its events are looked at whatever the answer calls itself, since not
    every gateway names their type. ``token_s`` is how long it has for its first token, ``error_s`` how long an error's
    body may take.

    To have no credential, or none in time, is to be refused.
    """
    if isinstance(outcome, Refusal):
        return Looked(Seen(status=401, code=outcome.code, message=outcome.message))
    if isinstance(outcome, Late):
        return Looked(Seen(status=401, message=outcome.message))
    if isinstance(outcome, Failed):
        return Looked(Seen(failure=failure_of(outcome.error)))
    if outcome.status >= 400:
        content, ended = yield from _read(outcome, error_s)
        code, message, from_gateway = read_error(unpacked(content, _encoding(outcome)))
        return Looked(Seen(outcome.status, code, message, from_gateway=from_gateway), ended is False)
    if not is_text(line) or not 200 <= outcome.status < 300:
        return Looked(Seen(outcome.status), is_open=True)
    if outcome.content_type.startswith("text/html"):
        _, ended = yield from _read(outcome, error_s)
        return Looked(Seen(failure="malformed"), ended is False)
    if is_replaceable and (streams or outcome.content_type.startswith("text/event-stream")):
        return (yield from _look_at_events(outcome, token_s))
    taken_in = outcome.taken_in
    if isinstance(taken_in, Failed):
        return Looked(Seen(failure=failure_of(taken_in.error, in_body=True)))
    return WHOLE_200 if taken_in else _OPEN_200


def _look_at_events(outcome: Answered, limit_s: float | None) -> Looking:
    """A stream up to its first token: until then it may turn out to be an error, or break off (P37)."""
    if _encoding(outcome):
        return _OPEN_200
    events = FirstEvents()
    ended = yield Inspect(outcome.response, lambda chunk: events.feed(chunk) is not None, limit_s)
    if isinstance(ended, Failed):
        return Looked(Seen(failure=failure_of(ended.error, in_body=True)))
    found = events.end() if ended else events.feed(b"")
    if found == "error":
        code, message, _ = read_error(events.error_body)
        return Looked(Seen(None, code, message, "error_event"), is_open=not ended)
    return Looked(Seen(failure="cut") if found == "empty" else SEEN_200, is_open=not ended)


def _read(outcome: Answered, limit_s: float | None) -> Generator[Effect, Any, tuple[bytes, bool | Failed]]:
    """The start of an answer's body, which its caller still gets, and whether it has ended or broken off."""
    chunks: list[bytes] = []
    size = 0

    def feed(chunk: bytes) -> bool:
        nonlocal size
        chunks.append(chunk)
        size += len(chunk)
        return size > _ERROR_BYTES

    ended = yield Inspect(outcome.response, feed, limit_s)
    return b"".join(chunks), ended


def _encoding(outcome: Answered) -> str:
    return outcome.response.headers.get("content-encoding") or ""
