"""What code that knows OpenAI alone cannot read in Azure's streams is made plain, and every other byte stays."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk

import azure_shim
from azure_shim.testing import FakeAzure
from azure_shim.wire import plain_frames
from azure_shim.wire.plain_frames import PlainFrames

quick = settings(max_examples=300, deadline=None, database=None, derandomize=True)

SAFE = {"hate": {"filtered": False, "severity": "safe"}}
VERDICT = [{"prompt_index": 0, "content_filter_results": SAFE}]
HOLLOW = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
PROMPT = {**HOLLOW, "prompt_filter_results": VERDICT}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
USAGE = {**CHUNK, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
FILTER_CHOICE = {
    "index": 0,
    "finish_reason": None,
    "content_filter_results": SAFE,
    "content_filter_offsets": {"check_offset": 44, "start_offset": 44, "end_offset": 198},
}
FILTER = {**HOLLOW, "choices": [FILTER_CHOICE], "usage": None}
ERROR = {"error": {"message": "The server had an error", "type": "server_error"}}
DONE = b"data: [DONE]\n\n"
BOM = b"\xef\xbb\xbf"


def frame(data: Any, newline: str = "\n") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}{newline}{newline}".encode()


def chat(content: str | None = "Hello", **more: Any) -> dict[str, Any]:
    return {**CHUNK, "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}], **more}


def text(content: str = "Hello", **more: Any) -> dict[str, Any]:
    choice = {"text": content, "index": 0, "finish_reason": None, "logprobs": None}
    return {**CHUNK, "object": "text_completion", "choices": [choice], **more}


SEVERAL = [
    [FILTER_CHOICE, {"index": 1, "delta": {"content": "b"}, "finish_reason": None}],
    [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}, FILTER_CHOICE],
    [{"index": 0, "delta": None}, {"index": 1, "delta": {"content": "b"}}],
]


@pytest.mark.parametrize("choices", SEVERAL)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_one_choice_of_several_without_a_delta_gets_one(choices: list[Any], newline: str) -> None:
    stream = frame(chat("a"), newline) + frame({**CHUNK, "choices": choices}, newline) + DONE
    for cuts in ((), (5,), range(0, len(stream), 7)):
        out = plain(stream, cuts)
        last = json.loads(out.split(b"data: ")[2])
        assert all(isinstance(choice["delta"], dict) for choice in last["choices"])
        assert sorted(choice["delta"].get("content") or "" for choice in last["choices"]) == ["", "b"]


def plain(stream: bytes, cuts: Iterable[int] = ()) -> bytes:
    frames = PlainFrames()
    ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {len(stream)})
    out = [frames.feed(stream[start:end]) for start, end in zip((0, *ends), ends, strict=False)]
    return b"".join(out) + frames.end()


def pieces(*chunks: bytes) -> list[bytes]:
    """What comes out at each chunk, and at the end."""
    frames = PlainFrames()
    return [*map(frames.feed, chunks), frames.end()]


def events(stream: bytes) -> list[Any]:
    """The data of each event, as the SDK reads them."""
    datas = [event.data for event in SSEDecoder().iter_bytes(iter([stream]))]
    return [data if data == "[DONE]" else json.loads(data) for data in datas if data]


def bare(data: dict[str, Any], start: str = "data: ") -> bytes:
    """A frame whose JSON no other serialiser would write so."""
    return f"{start}{json.dumps(data, indent=1)}".replace("\n", "\r\ndata:").encode() + b"\r\n\r\n"


# Frames without a choice


def test_the_prompts_verdict_becomes_part_of_the_first_frame_with_a_choice():
    out = pieces(frame(PROMPT), frame(chat()), DONE)

    assert out == [b"", frame(chat(prompt_filter_results=VERDICT)), DONE, b""]


def test_the_older_name_and_names_that_are_not_known_stay():
    news = {"model_router": {"chosen": "gpt-4o"}, "prompt_annotations": VERDICT, "nothing": None}
    (first, _) = events(plain(frame({**HOLLOW, **news}) + frame(chat()) + DONE))

    assert first == chat(model_router={"chosen": "gpt-4o"}, prompt_annotations=VERDICT)


@pytest.mark.parametrize(
    "hollow",
    [
        HOLLOW,
        {**HOLLOW, "usage": None, "system_fingerprint": "fp", "service_tier": "default", "obfuscation": "x"},
        {**HOLLOW, "choices": None},
        {**HOLLOW, "prompt_filter_results": None, "error": None},
    ],
    ids=["nothing", "what every frame has", "null choices", "null results"],
)
def test_a_frame_that_says_nothing_leaves_nothing(hollow):
    assert plain(frame(hollow) + frame(chat()) + DONE) == frame(chat()) + DONE


def test_several_are_merged_in_their_order():
    second = [{"prompt_index": 1, "content_filter_results": {}}]
    first = {**PROMPT, "router": "a"}
    stream = [
        first,
        {**PROMPT, "prompt_filter_results": []},
        {**PROMPT, "prompt_filter_results": second, "router": "b"},
    ]

    merged = plain(b"".join(map(frame, [*stream, chat()])))

    assert events(merged) == [chat(prompt_filter_results=VERDICT + second, router="b")]


def test_what_the_frame_with_a_choice_says_itself_stands():
    own = chat(prompt_filter_results=[])

    assert plain(frame(PROMPT) + frame(own)) == frame(own)


def test_a_name_is_the_same_however_it_is_written():
    prompt = b'data: {"cho\\u0069ces":[],"r\\u00f6uter":1}\n\n'
    own = frame({**chat(), "röuter": 2})

    assert plain(prompt + own) == own
    assert events(plain(prompt + frame(chat()))) == [{**chat(), "röuter": 1}]


def test_what_the_frame_with_a_choice_has_as_null_is_said():
    stream = frame(PROMPT) + frame({"prompt_filter_results": None, **chat()})

    assert plain(stream) == frame({"prompt_filter_results": VERDICT, **chat()})


@pytest.mark.parametrize(
    "last",
    [
        b"",
        DONE,
        frame(ERROR),
        frame({**HOLLOW, **ERROR}),
        b"event: error\ndata: {}\n\n",
        b"event: error\n\n",
        frame("nonsense"),
        frame(PROMPT)[:-4] + b"\xff" + frame(PROMPT)[-4:],
        frame("[" * 100_000),
        frame([]),
        frame({"choices": "none"}),
        frame({"type": "response.created"}),
        frame(USAGE) + DONE,
        b": ping\n\n" + DONE,
        b"data: " + b"x" * plain_frames._LIMIT_BYTES + b"\n\n",
        frame(chat())[:-1],
        frame(chat())[:40],
    ],
    ids=lambda last: repr(last[:40]),
)
def test_where_no_choice_comes_all_goes_out_as_it_came(last):
    stream = BOM + frame(PROMPT, "\r\n") + last

    assert plain(stream) == stream
    assert plain(stream, range(len(BOM + frame(PROMPT, "\r\n")) + 2)) == stream


@pytest.mark.parametrize(
    "error",
    [
        frame(ERROR),
        frame({**HOLLOW, **ERROR}),
        frame({**chat(), **ERROR}),
        b"event:error\n" + frame(HOLLOW),
        b"event: error\r\n\n",
        frame("nonsense"),
    ],
)
def test_an_error_is_behind_what_was_kept_back(error):
    assert pieces(frame(PROMPT), error, frame(chat())) == [b"", frame(PROMPT) + error, frame(chat()), b""]


def test_a_byte_order_mark_is_before_the_first_line():
    assert plain(BOM + frame(PROMPT) + frame(chat())) == frame(chat(prompt_filter_results=VERDICT))
    assert plain(BOM + frame(FILTER)) == BOM + plain(frame(FILTER))


def test_the_usage_stays_byte_for_byte():
    usage = bare(USAGE)

    assert pieces(frame(chat()), usage, DONE) == [frame(chat()), usage, DONE, b""]
    assert pieces(frame(PROMPT), usage, frame(chat()), DONE) == [
        b"",
        b"",
        usage + frame(chat(prompt_filter_results=VERDICT)),
        DONE,
        b"",
    ]


def test_lines_that_hold_for_the_stream_stay_and_the_events_own_do_not():
    prompt = b": note\r\nid: 7\revent: message\nretry: 9\n" + frame(PROMPT)
    merged = frame(chat(prompt_filter_results=VERDICT))

    assert plain(prompt + BOM + b"id: 8\n" + frame(chat())) == BOM + b": note\r\nid: 7\rretry: 9\nid: 8\n" + merged


def test_for_no_more_than_a_limit_is_anything_kept_back():
    kept = [frame({**HOLLOW, "filler": "x" * 400_000})] * 2 + [b": ping\n\n"] * 1000
    frames = PlainFrames()
    out = [frames.feed(each) for each in kept]

    assert any(out)
    assert b"".join(out) + frames.end() == b"".join(kept)


# Choices without what they consist of


def test_a_choice_without_a_delta_gets_one():
    filled = {**FILTER, "choices": [{**FILTER_CHOICE, "delta": {}}]}

    assert plain(frame(chat()) + frame(FILTER) + DONE) == frame(chat()) + frame(filled) + DONE


def test_a_choice_without_a_text_gets_one_where_the_frames_before_had():
    bare_choice = {"index": 0, "content_filter_results": SAFE}
    filter_ = frame({**FILTER, "choices": [bare_choice]})
    filled = {**FILTER, "choices": [{**bare_choice, "text": "", "finish_reason": None, "logprobs": None}]}

    assert plain(frame(PROMPT) + frame(text()) + filter_) == (
        frame(text(prompt_filter_results=VERDICT)) + frame(filled)
    )


@pytest.mark.parametrize(
    ("before", "member"),
    [
        ([], "delta"),
        ([chat(object="")], "delta"),
        ([text()], "text"),
        ([text(object="")], "text"),
        ([text(choices=[])], "text"),
        ([text(), chat()], "delta"),
        ([text(), {**FILTER, "object": "chat.completion.chunk"}], "delta"),
        ([{**FILTER, "object": "text_completion"}], "text"),
        ([{**FILTER, "object": 7}], "delta"),
    ],
)
def test_what_a_choice_consists_of_is_known_from_the_frames_before(before, member):
    *_, last = events(plain(b"".join(map(frame, [*before, FILTER]))))

    assert {"delta", "text"} & last["choices"][0].keys() == {member}


def test_null_is_as_good_as_nothing():
    assert plain(frame({**CHUNK, "choices": [{"index": 0, "delta": None}]})) == frame(
        {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": None}]}
    )


def test_every_choice_that_lacks_it_gets_it():
    choices = [{}, {"index": 1, "delta": None, "finish_reason": "stop"}, {"index": 2, "finish_reason": None}, "?"]
    filled = [
        {"delta": {}, "finish_reason": None},
        {"index": 1, "delta": {}, "finish_reason": "stop"},
        {"index": 2, "finish_reason": None, "delta": {}},
        "?",
    ]

    assert plain(frame({**FILTER, "choices": choices})) == frame({**FILTER, "choices": filled})


def test_the_sdks_objects_have_the_attributes_that_are_read():
    chunk, verdict = (ChatCompletionChunk.construct(**data) for data in events(plain(frame(chat()) + frame(FILTER))))
    completion = Completion.construct(**events(plain(frame(text()) + frame(FILTER)))[1])

    assert chunk.choices[0].delta.content == "Hello"
    assert verdict.choices[0].delta.content is None
    assert verdict.choices[0].finish_reason is None
    assert (completion.choices[0].text, completion.choices[0].logprobs) == ("", None)


# What is changed, and nothing else


def test_a_changed_frame_keeps_its_lines_its_line_ends_and_its_numbers():
    # Of an integer with so many digits Python makes an error.
    numbers = f'"big":{"9" * 5000},\ndata: "small":1.0e-7,"huge":1e999,'
    data = (
        ": note\r\nid: 1\rdata:{ " + numbers + '\r\ndata:"é\\u00e9\\"delta\\":{" : "😀", "choices":[ {"index":0 } ]'
        "\revent: message\ndata:\t}\n\r\n"
    )
    changed = data.replace('"index":0', '"index":0,"delta":{},"finish_reason":null')

    assert plain(data.encode()) == changed.encode()
    merged = changed.replace(" ]\revent", ' ],"prompt_filter_results":[1e-7, "ä\\u2028"]\revent')
    prompt = '{"choices":[],\ndata: "prompt_filter_results":[1e-7,\ndata:"ä\\u2028"]}'
    assert plain(frame(prompt) + data.encode()) == merged.encode()


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_kinds_are_kept(newline):
    stream = b"".join(frame(data, newline) for data in [PROMPT, chat("ü😀"), FILTER, USAGE, "[DONE]"])
    filled = {**FILTER, "choices": [{**FILTER_CHOICE, "delta": {}}]}
    wanted = [chat("ü😀", prompt_filter_results=VERDICT), filled, USAGE, "[DONE]"]

    for size in (1, 2, 3, len(stream)):
        assert plain(stream, range(0, len(stream), size)) == b"".join(frame(data, newline) for data in wanted)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\n",
        b"\r",
        b"\n\r\n\r\r\n\n",
        b": ping\n\n:\n\nevent: x\n\nid: 1\nretry: 5\n\n",
        BOM + frame(chat()),
        frame(chat()) + b"\n\n" + frame(chat("")) + b"\r\r" + DONE,
        b"data\n\ndata:\n\n",
        b"data: {\n\n",
        b"event: response.output_text.delta\n" + frame({"type": "response.output_text.delta", "delta": "Hi"}),
        frame({"text": "no choices"}),
        b'ID3\x04\x00\x00\n\n\xff\xfb\x90\r\n\r\n\x00data: \xff\n\ndata: {"choices":\xff}\r\r\r',
        b"\xff" * 100,
    ],
    ids=lambda stream: repr(stream[:30]),
)
def test_all_else_stays_byte_for_byte(stream):
    for size in range(1, 5):
        assert plain(stream, range(0, len(stream), size)) == stream


def test_texts_that_look_like_members_do_not_pass_for_them():
    said = '"delta":{ "choices":[] "usage":{"a":1} "error":{} \\"delta\\":{ "text":"'
    looks_done = {**PROMPT, "note": said}
    looks_full = {**FILTER, "choices": [{**FILTER_CHOICE, "note": said}]}
    stream = [looks_done, chat(said), looks_full, text(said), looks_full]

    first, second, third, fourth = events(plain(b"".join(map(frame, stream))))

    assert first == chat(said, prompt_filter_results=VERDICT, note=said)
    assert second["choices"][0] == {**FILTER_CHOICE, "note": said, "delta": {}}
    assert third == text(said)
    assert fourth["choices"][0] == {**FILTER_CHOICE, "note": said, "text": "", "logprobs": None}


def test_a_mark_in_a_comment_or_on_another_line_is_none():
    prompt = b': "delta":{\n' + frame(PROMPT)
    parts = [b'"choices":[]', b'"prompt_filter_results":[{"delta":{}}]']

    assert plain(prompt + frame(chat())) == b': "delta":{\n' + frame(chat(prompt_filter_results=VERDICT))
    for first, second in (parts, parts[::-1]):
        two_lines = b"data: {%s,\ndata: %s}\n\n" % (first, second)
        assert plain(two_lines + frame(chat())) == frame(chat(prompt_filter_results=[{"delta": {}}]))


# When, and at what cost


def test_whole_frames_that_pass_are_the_same_object():
    chunk = frame(chat()) * 3

    assert PlainFrames().feed(chunk) is chunk


def test_a_frame_goes_out_at_its_end():
    whole = frame(chat())
    for newline in ("\n", "\r\n", "\r"):
        whole = frame(chat(), newline)
        early = len(whole) - (newline == "\r\n")  # a line feed may come or not
        frames = PlainFrames()
        assert b"".join(frames.feed(whole[at : at + 1]) for at in range(early)) == whole[:early]
        assert frames.feed(whole[early:]) == whole[early:]


def test_a_frame_with_a_delta_is_not_parsed(monkeypatch):
    def refuse(*args: Any) -> None:
        raise AssertionError("parsed")

    stream = frame(chat()) + frame(chat(), "\r\n") + b"data: " + json.dumps(chat()).encode() + b"\n\n"
    monkeypatch.setattr(plain_frames, "_decoder", type("Decoder", (), {"decode": refuse}))

    for size in (1, 100, len(stream)):
        assert plain(stream, range(0, len(stream), size)) == stream
    with pytest.raises(AssertionError, match="parsed"):
        plain(frame(FILTER))


def test_the_end_is_given_once():
    frames = PlainFrames()
    frames.feed(frame(PROMPT) + b"data: {")

    assert frames.end() == frame(PROMPT) + b"data: {"
    assert frames.end() == b""


def test_a_frame_without_an_end_is_handed_on_from_a_limit_on(monkeypatch):
    monkeypatch.setattr(plain_frames, "_LIMIT_BYTES", 300)
    long = b"data: " + json.dumps({**FILTER, "filler": "x" * 400}).encode()
    stream = frame(HOLLOW) + long + b"\r\n\r\n" + frame(FILTER)
    wanted = stream[: -len(frame(FILTER))] + plain(frame(FILTER))
    frames = PlainFrames()

    assert frames.feed(frame(HOLLOW) + long[:301]) == frame(HOLLOW) + long[:301]
    assert frames.feed(long[301:303]) == long[301:303]
    assert [frames.feed(long[303:304]), frames.end(), frames.end()] == [long[303:304], b"", b""]
    for size in range(1, len(stream)):
        assert plain(stream, range(0, len(stream), size)) == wanted


def test_memory_is_bounded():
    frames = PlainFrames()
    chunk = b"x" * 65_536
    tracemalloc.start()
    try:
        out = sum(len(frames.feed(chunk)) for _ in range(160))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert out + len(frames.end()) == 160 * 65_536
    assert peak < 4 * plain_frames._LIMIT_BYTES


# Any stream, cut anywhere

words = st.one_of(
    st.sampled_from(['"delta":{', '"choices":[]', '"text":"', "[DONE]", "\\", '\\"', "ü€😀", "\u2028\n\r"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
members = st.dictionaries(
    st.sampled_from(["prompt_filter_results", "prompt_annotations", "model_router", "ü"]),
    st.one_of(words, st.lists(words, max_size=2), st.floats(), st.integers(), st.none()),
    max_size=2,
)
newlines = st.sampled_from(["\n", "\r\n", "\r"])
chats = st.builds(lambda content, more: chat(content, **more), st.one_of(words, st.none()), members)
contents = st.one_of(chats, st.builds(lambda content, more: text(content, **more), words, members))
odd = st.one_of(members.map(lambda more: {**HOLLOW, **more}), st.just(FILTER))
usages = words.map(lambda word: {**USAGE, "system_fingerprint": word})


lines_beside = st.sampled_from([": ping", ":", "event: message", "retry: 3", "data", "x: y"])


@st.composite
def written(draw: st.DrawFn, datas: st.SearchStrategy[Any]) -> bytes:
    """A frame as a service may write it: in lines or not, with line ends of any kind and with other lines."""
    indent = draw(st.sampled_from([None, None, None, 0]))
    dumped = json.dumps(draw(datas), indent=indent, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        dumped = dumped.replace(": {", ":{")
    lines = [draw(st.sampled_from(["data:", "data: "])) + line for line in dumped.split("\n")]
    for line in draw(st.lists(lines_beside, max_size=1)):
        lines.insert(draw(st.integers(0, len(lines))), line)
    event = "".join(line + draw(newlines) for line in lines)
    return (event + ("\r" if event.endswith("\r") else draw(newlines))).encode()


besides = st.sampled_from([b": ping\n\n", b"\n", b"\r\n", b"\r", b"event: x\r\n\r\n", b"retry: 1\n\n"])
ends = st.one_of(
    st.just(DONE), written(st.just(ERROR)), st.just(b""), st.binary(max_size=20), chats.map(frame).map(lambda f: f[:-9])
)
cuts = st.lists(st.integers(0, 1 << 30), max_size=12)


@given(st.lists(st.one_of(written(chats), written(odd), written(usages), besides), max_size=8), ends, cuts)
@quick
def test_what_goes_out_does_not_depend_on_the_cuts(frames, end, cuts):
    stream = b"".join([*frames, end])

    whole = plain(stream)

    assert plain(stream, cuts) == whole
    assert plain(stream, range(len(stream))) == whole


@given(st.lists(st.one_of(written(chats), written(usages), besides), max_size=8), ends, cuts)
@quick
def test_a_stream_without_odd_frames_stays_byte_for_byte(frames, end, cuts):
    stream = b"".join([*frames, end])

    assert plain(stream, cuts) == stream


@given(st.lists(st.one_of(written(chats), written(odd), written(usages), besides), max_size=8), ends, cuts)
@quick
def test_an_end_before_any_choice_loses_nothing(frames, end, cuts):
    stream = b"".join([each for each in frames if b"index" not in each] + [end])

    assert plain(stream, cuts) == stream


@given(st.lists(st.one_of(written(contents), written(odd), written(usages), besides), max_size=8), cuts)
@quick
def test_every_chunk_but_the_usage_has_a_choice_and_nothing_is_lost(frames, cuts):
    stream = b"".join([*frames, frame(chat("."))])

    # Of floats there may be one that is no number, and is not equal to itself.
    assert repr(events(plain(stream, cuts))) == repr(list(expected(events(stream))))


def expected(came: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same, of events instead of bytes."""
    filling: dict[str, Any] = {"delta": {}, "finish_reason": None}
    said: dict[str, Any] = {}
    for event in came:
        if event["object"] == "text_completion":
            filling = {"text": "", "finish_reason": None, "logprobs": None}
        elif event["object"]:
            filling = {"delta": {}, "finish_reason": None}
        if event["choices"]:
            unsaid = {key: value for key, value in said.items() if event.get(key) is None}
            choices = [filled(choice, filling) for choice in event["choices"]]
            yield {**event, "choices": choices, **unsaid}
            said = {}
        elif event.get("usage"):
            yield event
        else:
            for key, value in event.items():
                if key not in HOLLOW and value is not None:
                    both_lists = isinstance(said.get(key), list) and isinstance(value, list)
                    said[key] = said[key] + value if both_lists else value


def filled(choice: dict[str, Any], filling: dict[str, Any]) -> dict[str, Any]:
    if next(iter(filling)) in choice:
        return choice
    return {**choice, **{key: value for key, value in filling.items() if key not in choice}}


# What the service sends


@pytest.mark.parametrize("async_filter", [False, True])
@pytest.mark.parametrize("size", [None, 1, 7])
def test_chats_of_the_service_read_as_openais(async_filter, size):
    with FakeAzure({"eastus": {"gpt-4o": "gpt-4o"}}) as azure:
        resource = azure["eastus"]
        resource.async_filter = async_filter
        with azure_shim.OpenAI(azure_endpoint=resource.endpoint, api_key=resource.api_key) as client:
            create = client.chat.completions.with_streaming_response.create
            asked: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Grüße 😀"}], "stream": True}
            with create(**asked, stream_options={"include_usage": True}) as response:
                stream = b"".join(response.iter_bytes())
        assert azure.leaks == []

    out = plain(stream, range(0, len(stream), size) if size else ())
    *chunks, usage = [ChatCompletionChunk.construct(**data) for data in events(out)[:-1]]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).endswith("Grüße 😀")
    assert chunks[0].model_extra["prompt_filter_results"]
    assert (usage.choices, usage.usage.total_tokens > 0) == ([], True)
    assert out.endswith(DONE)
    assert len(events(out)) == len(events(stream)) - 1


def test_completions_of_the_service_read_as_openais():
    with FakeAzure({"eastus": {"gpt-35-turbo-instruct": "gpt-35-turbo-instruct"}}) as azure:
        resource = azure["eastus"]
        with azure_shim.OpenAI(
            azure_endpoint=resource.endpoint, api_key=resource.api_key, api_version="2024-10-21"
        ) as client:
            create = client.completions.with_streaming_response.create
            with create(model="gpt-35-turbo-instruct", prompt="Hello", stream=True) as response:
                stream = b"".join(response.iter_bytes())

    chunks = [Completion.construct(**data) for data in events(plain(stream))[:-1]]

    assert "".join(chunk.choices[0].text for chunk in chunks).endswith("Hello")
    assert chunks[0].model_extra["prompt_filter_results"]
