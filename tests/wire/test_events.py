"""The first token of a stream is told from its preamble and from an error, however the bytes are split (P37, P38)."""

from __future__ import annotations

import json
import time
from random import Random
from typing import Any

import pytest

from azure_shim.wire.events import FirstEvents
from azure_shim.wire.verdict import read_error

FILTER = {"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}
ROLE = {"id": "c", "choices": [{"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": ""}}]}
SERVER_ERROR = {"error": {"message": "The server had an error ü sorry", "type": "server_error", "code": None}}
CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress", "error": None, "output": []}}


def frame(data: Any, event: str = "", newline: str = "\n") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    lines = ([f"event: {event}"] if event else []) + [f"data: {text}", "", ""]
    return newline.join(lines).encode()


def chat(delta: Any, **choice: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, **choice}]}


def decide(body: bytes, cuts: tuple[int, ...] = ()) -> tuple[str, bytes]:
    events = FirstEvents()
    for start, end in zip((0, *cuts), (*cuts, len(body)), strict=True):
        events.feed(body[start:end])
    return events.end(), events.error_body


PREAMBLE = {
    "nothing": b"",
    "a comment": b": ping\n\n",
    "blank lines": b"\n\r\n\r\n\r",
    "an id and a retry": b"id: 1\nretry: 3000\n\n",
    "a name without data": b"event: ping\n\n",
    "a byte order mark": b"\xef\xbb\xbf: ping\n\n" + frame(ROLE),
    "the prompt's filter": frame(FILTER),
    "no choices at all": frame({"choices": None, "usage": None}),
    "a role": frame(ROLE),
    "a role, all else null": frame(chat({"role": "assistant", "content": None, "refusal": None, "tool_calls": None})),
    "empty log probabilities": frame(chat({"content": ""}, logprobs={"content": [], "refusal": None})),
    "no delta, but the filter's offsets": frame(
        {"choices": [{"index": 0, "content_filter_results": {"hate": {"severity": "safe"}}, "finish_reason": None}]}
    ),
    "no text": frame({"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": None, "logprobs": None}]}),
    "created": frame(CREATED, "response.created"),
    "created, by its name alone": frame({"response": {}}, "response.created"),
    "queued": frame({"type": "response.queued", "response": {}}),
    "in progress": frame({"type": "response.in_progress", "response": {"error": None}}),
    "an empty message": frame(
        {
            "type": "response.output_item.added",
            "item": {"id": "m", "type": "message", "status": "in_progress", "role": "assistant", "content": []},
        }
    ),
    "an empty reasoning": frame(
        {"type": "response.output_item.added", "item": {"id": "m", "type": "reasoning", "summary": []}}
    ),
    "an empty part": frame(
        {"type": "response.content_part.added", "part": {"type": "output_text", "text": "", "annotations": []}}
    ),
    "a frame that broke off": b'data: {"choices":[{"delta":{"content":"Hel',
    "a frame without its end that is preamble": frame(ROLE).rstrip(b"\n"),
}
CONTENT = {
    "a token": frame(chat({"content": "Hallo ü😀"})),
    "a tool's call": frame(chat({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": ""}}]})),
    "a function's call": frame(chat({"function_call": {"name": "f"}})),
    "a refusal": frame(chat({"refusal": "No"})),
    "a thought": frame(chat({"reasoning_content": "Hm"})),
    "a citation": frame(chat({"role": "assistant", "context": {"citations": [{"content": "x"}]}})),
    "an end": frame(chat({}, finish_reason="content_filter")),
    "the second choice's token": frame(
        {"choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "x"}}]}
    ),
    "the usage": frame({"choices": [], "usage": {"total_tokens": 3}}),
    "done": frame("[DONE]"),
    "done without an end": b"data: [DONE]",
    "a text": frame({"choices": [{"index": 0, "text": "x"}]}),
    "a token without its frame's end": frame(chat({"content": "x"})).rstrip(b"\n"),
    "a text's delta": frame({"type": "response.output_text.delta", "delta": "x"}, "response.output_text.delta"),
    "completed": frame({"type": "response.completed", "response": {}}),
    "incomplete": frame({"type": "response.incomplete", "response": {}}),
    "a function's item": frame(
        {
            "type": "response.output_item.added",
            "item": {"id": "f", "type": "function_call", "name": "f", "arguments": ""},
        }
    ),
    "a message that has text": frame(
        {"type": "response.output_item.added", "item": {"type": "message", "content": [{"type": "text", "text": "x"}]}}
    ),
    "a part that has text": frame(
        {"type": "response.content_part.added", "part": {"type": "output_text", "text": "x"}}
    ),
    "no item": frame({"type": "response.output_item.added"}),
    "an image": frame({"type": "image_generation.partial_image", "b64_json": "AAAA"}),
    "speech": frame({"type": "speech.audio.delta", "audio": "AAAA"}),
    "an assistant's run that failed": frame({"id": "run", "error": {"code": "x"}}, "thread.run.failed"),
    "a choice and an error": frame({**chat({"content": "x"}), **SERVER_ERROR}),
    "an empty object": frame({}),
    "a list": frame([1]),
    "a type that is none": frame({"type": ["response.created"]}),
    "choices that are none": frame({"choices": 5}),
    "a choice that is none": frame({"choices": [None]}),
    "a delta that is none": frame({"choices": [{"delta": "x"}]}),
    "no JSON": frame("hello"),
    "no UTF-8": b"data: \xff\xfe\n\n",
    "empty data": b"data:\n\n",
    "data without a colon": b"data\n\n",
    "another protocol": b"hello: world\n",
    "JSON lines": b'{"choices": []}\n',
    "JSON beyond reason": b"data: " + b"[" * 20_000 + b"\n\n",
}
ERRORS: dict[str, tuple[bytes, Any]] = {
    "Azure's": (frame(SERVER_ERROR), SERVER_ERROR["error"]),
    "with empty choices": (frame({"id": "", "choices": [], **SERVER_ERROR}), SERVER_ERROR["error"]),
    "with an id and empty choices": (frame({"id": "c", "choices": [], **SERVER_ERROR}), SERVER_ERROR["error"]),
    "a text": (frame({"error": "No."}), {"message": "No."}),
    "of the Responses API": (
        frame({"type": "error", "code": "too_many_requests", "message": "Slow.", "sequence_number": 2}, "error"),
        {"code": "too_many_requests", "message": "Slow."},
    ),
    "of the Responses API, nested": (
        frame({"type": "error", "error": {"type": "t", "code": "too_many_requests", "message": "Slow."}}),
        {"type": "t", "code": "too_many_requests", "message": "Slow."},
    ),
    "a response that failed": (
        frame(
            {"type": "response.failed", "response": {"id": "r", "error": {"code": "server_error", "message": "Oh."}}}
        ),
        {"code": "server_error", "message": "Oh."},
    ),
    "a response that failed without saying why": (
        frame({"type": "response.failed", "response": {"error": None}}),
        {"message": "The response failed."},
    ),
    "a failed response without one": (frame({"response": 1}, "response.failed"), {"message": "The response failed."}),
    "by its name": (frame({"error": {"code": "x"}}, "error"), {"code": "x"}),
    "by its name, flat": (frame({"code": "x", "message": "y"}, "error"), {"code": "x", "message": "y"}),
    "by its name, no JSON": (frame("sorry", "error"), {"message": "sorry"}),
    "by its name, a string": (frame('"sorry"', "error"), {"message": "sorry"}),
    "by its name, no data": (b"event: error\n\n", {"message": ""}),
    "on several lines": (b'data: {"error":\r\ndata:  {"code": "x"}\ndata:}\r\r', {"code": "x"}),
    "without an end": (frame(SERVER_ERROR).rstrip(b"\n"), SERVER_ERROR["error"]),
}
SAMPLES: dict[str, tuple[bytes, str, Any]] = {
    **{f"preamble: {name}": (body, "empty", None) for name, body in PREAMBLE.items()},
    **{f"content: {name}": (body, "content", None) for name, body in CONTENT.items()},
    **{f"error: {name}": (body, "error", error) for name, (body, error) in ERRORS.items()},
    "a chat that begins": (
        b": ping\n\n" + frame(FILTER) + frame(ROLE) + frame(chat({"content": "é"})) + frame(SERVER_ERROR),
        "content",
        None,
    ),
    "a chat that fails first": (frame(FILTER) + frame(ROLE) + frame(SERVER_ERROR), "error", SERVER_ERROR["error"]),
    "a response that fails first": (
        frame(CREATED, "response.created") + ERRORS["a response that failed"][0],
        "error",
        {"code": "server_error", "message": "Oh."},
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_the_decision_does_not_depend_on_the_split(name: str, newline: bytes) -> None:
    body, decision, error = SAMPLES[name]
    body = body.replace(b"\n", newline) if b"\r" not in body else body
    result, error_body = decide(body)
    assert result == decision
    assert error_body == (json.dumps({"error": error}).encode() if error is not None else b"")
    if len(body) < 2000:
        for cut in range(len(body) + 1):
            assert decide(body, (cut,)) == (result, error_body), body[:cut]
        assert decide(body, tuple(range(1, len(body)))) == (result, error_body)


@pytest.mark.parametrize("name", PREAMBLE)
def test_preamble_keeps_waiting_and_what_follows_it_decides(name: str) -> None:
    if "broke off" in name or "without its end" in name:
        return
    events = FirstEvents()
    assert events.feed(PREAMBLE[name]) is None
    assert events.feed(b"") is None
    assert events.feed(b"\n" + frame(SERVER_ERROR)) == "error"


@pytest.mark.parametrize(("first", "second"), [(CONTENT["a token"], ERRORS["Azure's"][0])])
def test_a_decision_stays(first: bytes, second: bytes) -> None:
    events = FirstEvents()
    assert [events.feed(first), events.feed(second), events.feed(b""), events.end()] == ["content"] * 4
    assert events.error_body == b""
    events = FirstEvents()
    assert [events.feed(second), events.feed(first), events.feed(b""), events.end()] == ["error"] * 4
    assert events.error_body


def test_the_token_is_told_with_its_frame_and_not_later() -> None:
    events = FirstEvents()
    body = frame(chat({"content": "x"}))
    assert events.feed(body[:-1]) is None
    assert events.feed(body[-1:]) == "content"


@pytest.mark.parametrize("size", [1, 7, 65_535, 65_536, 65_537, 200_000])
def test_too_much_preamble_is_handed_on(size: int) -> None:
    """Even if an error follows, and wherever the chunks end."""
    for body in (b": ping\n\n" * 8192, b":" * 65_536, b"data: " + b"1" * 65_530):
        events = FirstEvents()
        stream = body[:-1]
        assert {events.feed(stream[at : at + size]) for at in range(0, len(stream), size)} == {None}
        assert events.feed(body[-1:]) == "content"
        assert FirstEvents().feed(body + b"\n\n" + frame(SERVER_ERROR)) == "content"


def test_the_error_is_read_as_an_answer_is() -> None:
    _, error_body = decide(ERRORS["of the Responses API"][0])
    assert read_error(error_body) == ("too_many_requests", "Slow.", False)


def test_each_byte_is_looked_at_once() -> None:
    started_s = time.perf_counter()
    for body in (b"data: " + b"1" * 65_000, b":" * 65_000, b"\n" * 65_000, b"data:\r" * 10_000):
        events = FirstEvents()
        for at in range(len(body)):
            assert events.feed(body[at : at + 1]) is None
    assert time.perf_counter() - started_s < 2.0


def test_no_bytes_break_it_and_no_split_matters() -> None:
    random = Random(37)
    bodies = [body for body, *_ in SAMPLES.values() if len(body) < 2000]
    for _ in range(4000):
        body = bytearray(random.choice(bodies) + random.choice(bodies))
        for _ in range(random.randrange(3)):
            body.insert(random.randrange(len(body) + 1), random.choice(b'\r\n:{}[]",\xff\xc3 \\x0'))
        cuts = tuple(sorted(random.randrange(len(body) + 1) for _ in range(random.randrange(5))))
        assert decide(bytes(body)) == decide(bytes(body), cuts), bytes(body)
