"""What a stream of Azure's looks like, frame by frame, and that it comes as it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from azure_shim.testing import FakeAzure, Resource

Client = Callable[..., Any]
CHAT = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
MESSAGES = [{"role": "user", "content": "hi there"}]
STREAM = {"messages": MESSAGES, "stream": True}


def frames_of(response: Any) -> list[Any]:
    """The data of the events, the last of which says that it is the last."""
    assert response.headers["content-type"].startswith("text/event-stream")
    *frames, done, end = response.text.split("\n\n")
    assert done == "data: [DONE]"
    assert end == ""
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def test_a_stream_begins_with_the_verdict_on_the_prompt(east: Resource, send: Client) -> None:
    first, role, *deltas, end = frames_of(send(east, "POST", CHAT, json=STREAM))
    assert list(first) == ["choices", "created", "id", "model", "object", "prompt_filter_results"]
    assert {name: first[name] for name in list(first)[:5]} == {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
    }
    assert first["prompt_filter_results"][0]["prompt_index"] == 0
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    text = "".join(frame["choices"][0]["delta"]["content"] for frame in deltas)
    assert text == "Hello from eastus/gpt-4o: hi there"
    assert deltas[0]["choices"][0]["content_filter_results"]["hate"]["severity"] == "safe"
    assert (end["choices"][0]["delta"], end["choices"][0]["finish_reason"]) == ({}, "stop")
    assert role["model"] == "gpt-4o-2024-11-20"
    assert "usage" not in role


def test_usage_is_in_a_frame_without_choices(east: Resource, send: Client) -> None:
    body = {**STREAM, "stream_options": {"include_usage": True}}
    _, *middle, last = frames_of(send(east, "POST", CHAT, json=body))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0
    assert all(frame["usage"] is None for frame in middle)


def test_the_asynchronous_filter_speaks_after_the_text_and_after_the_end(east: Resource, send: Client) -> None:
    east.async_filter = True
    _, *frames = frames_of(send(east, "POST", CHAT, json=STREAM))
    verdicts = [frame for frame in frames if frame["id"] == ""]
    assert len(verdicts) == 2
    assert frames[-1] is verdicts[-1]
    assert frames[-2]["choices"][0]["finish_reason"] == "stop"
    for verdict in verdicts:
        assert (verdict["model"], verdict["created"]) == ("", 0)
        assert "delta" not in verdict["choices"][0]
        assert set(verdict["choices"][0]["content_filter_offsets"]) == {"check_offset", "start_offset", "end_offset"}
    texts = [frame for frame in frames if frame["id"] and "content" in frame["choices"][0]["delta"]]
    assert all("content_filter_results" not in frame["choices"][0] for frame in texts)


def test_the_official_client_reads_a_filtered_stream(v1: Client, east: Resource) -> None:
    east.async_filter = True
    chunks = list(v1(east).chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True))
    choices = [choice for chunk in chunks for choice in chunk.choices if getattr(choice, "delta", None)]
    assert "".join(choice.delta.content or "" for choice in choices) == "Hello from eastus/gpt-4o: hi there"


@pytest.mark.parametrize("count", [1, 3, 10_000])
def test_the_text_comes_in_as_many_chunks_as_asked_for(east: Resource, send: Client, count: int) -> None:
    east.chunks = count
    text = "Hello from eastus/gpt-4o: hi there"
    contents = [
        frame["choices"][0]["delta"]["content"] for frame in frames_of(send(east, "POST", CHAT, json=STREAM))[2:-1]
    ]
    assert len(contents) == min(count, len(text))
    assert "".join(contents) == text


def test_a_stream_of_several_choices_and_of_tools(east: Resource, v1: Client) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}}
    chunks = v1(east).chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, n=2, tools=[tool], tool_choice="required"
    )
    arguments = {0: "", 1: ""}
    ends = []
    for chunk in chunks:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or []:
                arguments[choice.index] += call.function.arguments
            ends += [choice.finish_reason] if choice.finish_reason else []
    assert arguments == dict.fromkeys((0, 1), '{"a": "eastus/gpt-4o"}')
    assert ends == ["tool_calls"] * 2


def test_a_stream_of_responses_has_its_events_in_order(v1: Client, east: Resource) -> None:
    east.chunks = 2
    client = v1(east)
    events = list(client.responses.create(model="gpt-4o", input="hi there", stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    final = events[-1].response
    assert final.output_text == "Hello from eastus/gpt-4o: hi there"
    assert client.responses.retrieve(final.id).output_text == final.output_text
    again = list(client.responses.retrieve(final.id, stream=True))
    assert again[-1].response.id == final.id
    with client.responses.stream(model="gpt-4o", input="hi there") as stream:
        assert stream.get_final_response().output_text == final.output_text


def test_the_pause_between_chunks_is_the_tests_own(east: Resource, send: Client) -> None:
    pauses: list[float] = []
    east.chunk_delay_s, east.sleep = 3600.0, pauses.append
    frames = frames_of(send(east, "POST", CHAT, json=STREAM))
    assert pauses == [3600.0] * len(frames), "one before each frame but the first, [DONE] included"


def test_a_chunk_is_there_before_the_next_one_is_made(azure: FakeAzure, openais_library: Any, east: Resource) -> None:
    """A reader that has the first frame while the server waits to make the second one was not kept waiting for it."""
    import threading

    may_go_on = threading.Event()
    east.sleep = lambda seconds: may_go_on.wait(10)
    with openais_library.Client() as client:
        headers = {"api-key": east.api_key}
        with client.stream("POST", east.endpoint + CHAT, json=STREAM, headers=headers) as response:
            lines = response.iter_lines()
            assert "prompt_filter_results" in next(lines)
            assert east.requests[-1].delivered is None
            may_go_on.set()
            assert "[DONE]" in "".join(lines)
    assert east.requests[-1].done.wait(10)
    assert east.requests[-1].delivered is True


def test_legacy_and_sdk_helpers_accumulate(v1: Client, east: Resource) -> None:
    helper = v1(east).chat.completions
    if not hasattr(helper, "stream"):
        pytest.skip(f"openai {openai.__version__} has the helper elsewhere")
    with helper.stream(model="gpt-4o", messages=MESSAGES) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Hello from eastus/gpt-4o: hi there"
