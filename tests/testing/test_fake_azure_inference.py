"""Inference through the official SDK; each answer has all the members that its typed model wants."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from azure_shim.testing import Resource
from tests.testing.typed import needs, whole

Client = Callable[..., Any]
MESSAGES = [{"role": "user", "content": "hi there"}]


def test_chat(client: Any) -> None:
    answer = whole(client.chat.completions.create(model="gpt-4o", messages=MESSAGES, n=2))
    assert [c.message.content for c in answer.choices] == ["Hello from eastus/gpt-4o: hi there"] * 2
    assert answer.model == "gpt-4o-2024-11-20"
    assert answer.prompt_filter_results[0]["prompt_index"] == 0
    assert answer.choices[0].content_filter_results["hate"] == {"filtered": False, "severity": "safe"}


def test_the_model_in_an_answer_is_the_one_behind_the_deployment(classic: Client, west: Resource) -> None:
    answer = classic(west).chat.completions.create(model="prod-4o", messages=MESSAGES)
    assert answer.model == "gpt-4o-2024-11-20"
    assert answer.choices[0].message.content == "Hello from westus/prod-4o: hi there"


def test_chat_with_parts_of_text_echoes_the_last_user(client: Any) -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    messages = [*MESSAGES, {"role": "assistant", "content": "x"}, {"role": "user", "content": parts}]
    answer = client.chat.completions.create(model="gpt-4o", messages=messages)
    assert answer.choices[0].message.content == "Hello from eastus/gpt-4o: look"


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        },
    },
}


@pytest.mark.parametrize(
    ("text", "choice", "is_called"),
    [
        ("hi", "auto", False),
        ("please get_weather", "auto", True),
        ("use the tool", "auto", True),
        ("hi", "required", True),
        ("hi", {"type": "function", "function": {"name": "get_weather"}}, True),
        ("get_weather", "none", False),
    ],
)
def test_chat_calls_tools_when_forced_or_asked(client: Any, text: str, choice: Any, is_called: bool) -> None:
    messages = [{"role": "user", "content": text}]
    create = client.chat.completions.create
    answer = whole(create(model="gpt-4o", messages=messages, tools=[WEATHER], tool_choice=choice))
    assert answer.choices[0].finish_reason == ("tool_calls" if is_called else "stop")
    if is_called:
        function = answer.choices[0].message.tool_calls[0].function
        assert function.name == "get_weather"
        assert json.loads(function.arguments) == {"city": "eastus/gpt-4o", "days": 2}


def test_chat_goes_on_after_a_tools_result(client: Any) -> None:
    called = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "get_weather"},
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    answer = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content == "Hello from eastus/gpt-4o: get_weather sunny"


class Leaf(BaseModel):
    kind: str
    weight: float


class Tree(BaseModel):
    name: str
    leaves: list[Leaf]
    parent: Tree | None
    is_old: bool


def test_structured_outputs_match_their_schema(client: Any) -> None:
    answer = client.chat.completions.parse(model="gpt-4o", messages=MESSAGES, response_format=Tree)
    tree = answer.choices[0].message.parsed
    assert tree.name == "eastus/gpt-4o"
    assert tree.leaves[0].weight == 1.0
    answer = client.responses.parse(model="gpt-4o", input="hi", text_format=Tree)
    assert answer.output_parsed.is_old is True


def test_stored_chat_completions(client: Any) -> None:
    made = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, store=True, metadata={"a": "b"})
    stored = client.chat.completions
    assert whole(stored.retrieve(made.id)).id == made.id
    assert [c.id for c in whole(stored.list()).data] == [made.id]
    assert stored.update(made.id, metadata={"a": "c"}).metadata == {"a": "c"}
    assert [m.content for m in stored.messages.list(made.id).data] == ["hi there"]
    assert whole(stored.delete(made.id)).deleted is True
    with pytest.raises(openai.NotFoundError):
        stored.retrieve(made.id)


def test_completions(client: Any) -> None:
    answer = whole(client.completions.create(model="gpt-35-turbo-instruct", prompt=["a", "b"]))
    assert [c.text for c in answer.choices] == [f"Hello from eastus/gpt-35-turbo-instruct: {x}" for x in "ab"]
    chunks = list(client.completions.create(model="gpt-35-turbo-instruct", prompt="a", stream=True))
    assert chunks[0].choices == []
    assert "".join(c.choices[0].text for c in chunks[1:]) == "Hello from eastus/gpt-35-turbo-instruct: a"


def test_embeddings_depend_on_the_text_alone(client: Any) -> None:
    create = client.embeddings.create
    answer = whole(create(model="text-embedding-3-small", input=["a", "b", "a"]))
    first, second, third = (item.embedding for item in answer.data)
    assert len(first) == 1536
    assert first == third != second
    assert sum(x * x for x in first) == pytest.approx(1)
    floats = create(model="text-embedding-3-small", input="a", encoding_format="float").data[0].embedding
    assert floats == pytest.approx(first, rel=1e-5), "the SDK asks for base64 by default"
    assert len(create(model="text-embedding-3-small", input=[1, 2], dimensions=8).data[0].embedding) == 8


def test_images(v1: Client, east: Resource) -> None:
    images = v1(east).images
    answer = whole(images.generate(model="gpt-image-1", prompt="a cat", n=2))
    assert len(answer.data) == 2
    assert answer.data[0].b64_json.startswith("iVBOR")
    assert answer.data[0].revised_prompt == "eastus/gpt-image-1: a cat"
    assert images.generate(model="gpt-image-1", prompt="a", response_format="url").data[0].url.startswith("https://")
    answer = whole(images.edit(model="gpt-image-1", prompt="a cat", image=("a.png", b"png", "image/png")))
    assert len(answer.data) == 1
    events = list(images.generate(model="gpt-image-1", prompt="a", stream=True, partial_images=1))
    assert [e.type for e in events] == ["image_generation.partial_image", "image_generation.completed"]


def test_speech(client: Any, east: Resource) -> None:
    with client.audio.speech.with_streaming_response.create(model="tts", voice="alloy", input="hi") as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        data = b"".join(answer.iter_bytes())
    assert data.startswith(b"ID3Hello from eastus/tts: hi")
    assert len(data) == 4096


def test_transcriptions_in_every_format(client: Any) -> None:
    def transcribe(**arguments: Any) -> Any:
        create = client.audio.transcriptions.create
        return create(model="whisper", file=("a.mp3", b"ID3", "audio/mpeg"), **arguments)

    text = "Hello from eastus/whisper: a.mp3"
    assert transcribe().text == text
    assert transcribe(response_format="text") == text + "\n"
    assert transcribe(response_format="srt").startswith("1\n00:00:00,000 -->")
    assert transcribe(response_format="vtt").startswith("WEBVTT")
    verbose = transcribe(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert verbose.words[0].word == "Hello"
    assert verbose.segments[0].text == text
    events = list(transcribe(stream=True))
    assert "".join(e.delta for e in events[:-1]) == text
    assert events[-1].type == "transcript.text.done"
    with pytest.raises(openai.BadRequestError, match="Invalid response_format"):
        transcribe(response_format="xml")


def test_translations(client: Any) -> None:
    answer = whole(client.audio.translations.create(model="whisper", file=("a.mp3", b"ID3", "audio/mpeg")))
    assert answer.text == "Hello from eastus/whisper: a.mp3"


def test_responses_are_kept(client: Any) -> None:
    first = whole(client.responses.create(model="gpt-4o", input="hi there"))
    assert first.output_text == "Hello from eastus/gpt-4o: hi there"
    second = client.responses.create(model="gpt-4o", input="go on", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert whole(client.responses.retrieve(first.id)).output_text == first.output_text
    items = client.responses.input_items.list(first.id).data
    assert items[0].content[0].text == "hi there"
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match=f"Response with id '{first.id}' not found"):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="gpt-4o", input="go on", previous_response_id=first.id)
    assert caught.value.code == "previous_response_not_found"
    unkept = client.responses.create(model="gpt-4o", input="hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_responses_call_functions(client: Any) -> None:
    tool = {"type": "function", **WEATHER["function"], "strict": True}
    answer = whole(client.responses.create(model="gpt-4o", input="hi", tools=[tool], tool_choice="required"))
    call = answer.output[0]
    assert call.type == "function_call"
    assert json.loads(call.arguments)["days"] == 2
    outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    answer = client.responses.create(model="gpt-4o", input=outputs, previous_response_id=answer.id, tools=[tool])
    assert answer.output_text == "Hello from eastus/gpt-4o: sunny"
    events = list(
        client.responses.create(model="gpt-4o", input="hi", tools=[tool], tool_choice="required", stream=True)
    )
    assert "response.function_call_arguments.done" in [e.type for e in events]


def test_responses_of_v1_only(v1: Client, east: Resource) -> None:
    client = v1(east)
    answer = client.responses.create(model="gpt-4o", input="hi", background=True)
    assert answer.status == "queued"
    assert client.responses.retrieve(answer.id).status == "completed"
    assert client.responses.cancel(answer.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(client.responses.create(model="gpt-4o", input="hi").id)
    counted = needs(client, "responses.input_tokens").count(model="gpt-4o", input="hi")
    assert whole(counted).input_tokens > 0
    compacted = whole(needs(client, "responses.compact")(model="gpt-4o", input="hi"))
    assert compacted.output[-1].type == "compaction"


def test_conversations_hold_what_responses_said(v1: Client, east: Resource) -> None:
    client = v1(east)
    conversations = needs(client, "conversations")
    message = {"type": "message", "role": "user", "content": "before"}
    made = whole(conversations.create(items=[message], metadata={"a": "b"}))
    client.responses.create(model="gpt-4o", input="hi", conversation=made.id)
    items = whole(conversations.items.list(made.id, order="asc")).data
    assert [i.content[0].text for i in items] == ["before", "hi", "Hello from eastus/gpt-4o: hi"]
    created = conversations.items.create(made.id, items=[message])
    assert whole(conversations.items.retrieve(created.data[0].id, conversation_id=made.id))
    assert whole(conversations.items.delete(created.data[0].id, conversation_id=made.id)).id == made.id
    assert whole(conversations.update(made.id, metadata={"a": "c"})).metadata == {"a": "c"}
    assert whole(conversations.delete(made.id)).deleted is True
    with pytest.raises(openai.NotFoundError):
        conversations.items.list(made.id)
