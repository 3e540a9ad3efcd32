"""The caller's own name in an answer of a model that was sent under another, in chunks of every size."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_shim.wire.model_names import ModelBack

SENT, ASKED = "gpt-4o", "house-model"
MARK = re.compile(rb'"<([^>"]*)>"')
CHAT = (
    b'data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-4o-2024-08-06","choices":[{"index":0,'
    b'"delta":{"content":"say \\"model\\":\\"gpt-4o\\" {["},"model":"gpt-4o"}],"usage":null}\n\n'
)
# Answers, with a mark on the names that are to be replaced.
REPLACED = {
    "json": b'{"id":"c1","model":"<gpt-4o>","choices":[]}',
    "a version": b'{"model":"<gpt-4o-2024-08-06>"}',
    "an old version": b'{"model":"<gpt-4o-0613>"}',
    "spaces": b' \r\n{ "model"\t:\n "<gpt-4o>" , "x" : 1 }\n',
    "escapes": b'{"model":"<gpt\\u002d4o>"}',
    "at the end": b'{"object":"list","data":[{"embedding":[0.1,-2e5],"model":"gpt-4o"}],"model":"<gpt-4o>"}',
    "behind strings with everything in them": (
        b'{"a":"}]\\\\","b":"\\"model\\":\\"gpt-4o\\"","c":["model","gpt-4o"],"d":"\\\\\\"","model":"<gpt-4o>"}'
    ),
    "behind values of every kind": b'{"a":null,"b":[[]],"c":{},"d":-1.5e3,"e":[{"f":[1,"2"]}],"model":"<gpt-4o>"}',
    "behind one that is no string": b'{"model":null,"x":"gpt-4o","model":"<gpt-4o>"}',
    "behind a response that is no object": b'{"response":[{"model":"gpt-4o"}],"model":"<gpt-4o>"}',
    "a response's": b'{"type":"x","response":{"id":"r","tools":[{"model":"gpt-4o"}],"model":"<gpt-4o>"}}',
    "events": (
        b': "model":"gpt-4o"\n\nevent: x\ndata: {"model":"<gpt-4o>"}\n\ndata:{"model":"<gpt-4o>"}\n\ndata: [DONE]\n\n'
    ),
    "events of responses": (
        b'event: response.created\ndata: {"type":"response.created","response":{"model":"<gpt-4o>","output":[]}}\n\n'
        b'event: response.output_text.delta\ndata: {"type":"x","delta":"\\"model\\": \\"gpt-4o\\""}\n\n'
        b'event: response.completed\ndata: {"type":"y","response":{"output":[],"model":"<gpt-4o-2024-08-06>"}}\n\n'
    ),
    "events with CRLF": b'data: {"model":"<gpt-4o>"}\r\n\r\nid: 1\r\ndata: {"model":"<gpt-4o>"}\r\n\r\n',
    "events with CR": b'\rdata: {"model":"<gpt-4o>"}\r\rdata: {"model":"<gpt-4o>"}\r\r',
    "an event of several lines": b'data: {"id":1,\r\ndata: "model":\r\ndata: "<gpt-4o>"}\r\n\r\n',
    "an event behind a broken one": b'data: {"a":"open\n\ndata: {"model":"gpt-4o\n\ndata: {"model":"<gpt-4o>"}\n\n',
    "an annotation first": b'data: {"id":"","model":"","choices":[]}\n\ndata: {"model":"<gpt-4o>"}\n\n',
}
KEPT = {
    "another model": b'{"model":"gpt-4o-mini"}',
    "another version": b'{"model":"gpt-4o-2024-08-06-x"}',
    "a longer name": b'{"model":"my-gpt-4o"}',
    "deeper": b'{"choices":[{"model":"gpt-4o"}],"x":{"model":"gpt-4o","response":{"model":"gpt-4o"}}}',
    "below a response": b'{"response":{"x":{"model":"gpt-4o"},"response":{"model":"gpt-4o"}}}',
    "a value": b'{"x":"model","y":"gpt-4o","z":["model","gpt-4o"]}',
    "another key": b'{"models":"gpt-4o","Model":"gpt-4o","\\"model":"gpt-4o"}',
    "an object": b'{"model":{"x":"gpt-4o"}}',
    "an array": b'[{"model":"gpt-4o"}]',
    "a string": b'data: "model","gpt-4o"\n\n',
    "text": b'data: hello {"model":"gpt-4o"}\n\n',
    "another field": b'event: {"model":"gpt-4o"}\ndatas: {"model":"gpt-4o"}\nData: {"model":"gpt-4o"}\n\n',
    "an empty body": b"",
    "no JSON at all": b'<html>"model":"gpt-4o"</html>',
    "a cut name": b'{"model":"gpt-4o',
    "a cut escape": b'{"model":"gpt-4o\\',
    "a broken name": b'{"model":"gpt-4o\\x"}',
    "bytes that are no text": b'{"model":"gpt-4o\xff","\xfe":1}',
    "two documents": b'{"x":1}{"model":"gpt-4o"}',
    "more than is closed": b'{"x":1}}}]]{"model":"gpt-4o"}',
}
SAMPLES = {
    **{name: (MARK.sub(rb'"\1"', text), text) for name, text in REPLACED.items()},
    **{name: (text, text) for name, text in KEPT.items()},
}


def expected(text: bytes, asked: str = ASKED) -> bytes:
    """What the marked text of a sample is to become."""
    return MARK.sub(json.dumps(asked).encode(), text)


def fed(*chunks: bytes, asked: str = ASKED) -> bytes:
    back = ModelBack(SENT, asked)
    return b"".join([back.feed(chunk) for chunk in chunks]) + back.end()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_name_is_replaced_wherever_the_answer_is_cut(name: str) -> None:
    answer, marked = SAMPLES[name]
    wanted = expected(marked)

    assert fed(answer) == wanted
    assert fed(*(answer[i : i + 1] for i in range(len(answer)))) == wanted
    for cut in range(len(answer) + 1):
        assert fed(answer[:cut], answer[cut:]) == wanted, answer[:cut]
        assert fed(answer[:cut], b"", answer[cut : cut + 1], answer[cut + 1 :]) == wanted, answer[:cut]


@pytest.mark.parametrize("asked", ['a "quoted" name', "d\u00e9p\\loy", "\N{ROBOT FACE}", "x" * 300, "g"])
def test_the_name_that_comes_back_is_json(asked: str) -> None:
    assert json.loads(fed(b'{"model":"gpt-4o"}', asked=asked)) == {"model": asked}


def test_the_name_that_was_sent_is_no_pattern() -> None:
    back = ModelBack("gpt-3.5", "m")
    assert back.feed(b'data: {"model":"gpt-3x5"}\n\n') == b'data: {"model":"gpt-3x5"}\n\n'
    assert back.feed(b'data: {"model":"gpt-3.5"}\n\n') == b'data: {"model":"m"}\n\n'


def test_a_chunk_that_ends_an_event_is_passed_on_whole_at_once() -> None:
    back = ModelBack(SENT, ASKED)
    for _ in range(3):
        assert back.feed(CHAT) == CHAT.replace(b"gpt-4o-2024-08-06", b"house-model", 1)
    assert back.end() == b""


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_but_the_string_of_a_model_is_ever_held_back(name: str) -> None:
    """What has been returned is all that came, but for a string that is still open."""
    answer, marked = SAMPLES[name]
    wanted = expected(marked)
    for cut in range(len(answer) + 1):
        back = ModelBack(SENT, ASKED)
        returned = back.feed(answer[:cut])
        held = back.end()

        assert wanted.startswith(returned)
        assert answer[:cut].endswith(held)
        assert re.fullmatch(rb'"[^"]{0,25}|', held, re.DOTALL)
        if ASKED.encode() not in returned:
            assert returned + held == answer[:cut]


def test_a_string_that_is_no_name_does_not_wait_for_its_end() -> None:
    back = ModelBack(SENT, ASKED)
    start = b'{"model":"' + b"x" * 3000
    assert back.feed(start) == start
    assert back.feed(b'","model":"gpt-4o"}') == b'","model":"gpt-4o"}'


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats(allow_nan=False)
        | st.sampled_from([SENT, "model", "\\", '"'])
        | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["model", "response", "x", "\\", '"model"']) | st.text(), inner, max_size=4
            )
        ),
        max_leaves=20,
    ),
    st.booleans(),
    st.data(),
)
def test_any_document_is_the_same_but_for_the_name(value: object, as_event: bool, data: st.DataObject) -> None:
    answer = json.dumps({"first": value}).encode() if not isinstance(value, dict) else json.dumps(value).encode()
    document = json.loads(answer)
    where = [document]
    if isinstance(document.get("response"), dict):
        where.append(document["response"])
    named = [o for o in where if isinstance(o.get("model"), str)]
    if len(named) == 1 and named[0]["model"] == SENT:
        named[0]["model"] = ASKED
    elif len(named) > 1:
        return  # no answer has two
    if as_event:
        answer = b"data: " + answer + b"\n\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=5)))
    got = fed(*(answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)))

    assert json.loads(got.removeprefix(b"data: ")) == document


@pytest.mark.parametrize(
    "part",
    [b"A" * 100, b'\\"\\n' * 30, b"\\\\" * 50, b'"' + b'","' * 30 + b'"', b'","x":[' + b"1.5," * 30 + b'0],"y":"'],
    ids=["plain", "quotes", "backslashes", "strings", "numbers"],
)
def test_the_work_grows_with_the_length_alone(part: bytes) -> None:
    def took(count: int) -> float:
        body = b'{"x":["' + part * count + b'"],"model":"gpt-4o"}'
        start = time.process_time()
        ModelBack(SENT, ASKED).feed(body)
        return time.process_time() - start

    small, large = (min(took(count) for _ in range(3)) for count in (1_000, 10_000))
    assert large < 60 * small + 0.05
