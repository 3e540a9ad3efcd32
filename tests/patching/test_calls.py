"""Every kind of call of a program that was written for OpenAI, on real sockets, with nothing of OpenAI's in it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import openai
import pydantic
import pytest

from azure_shim.construction import PLACEHOLDER
from azure_shim.testing import Resource
from tests.conftest import Colour
from tests.patching.support import MESSAGES, OPENAI_URL, chat, openais, streamed

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Weather(pydantic.BaseModel):
    city: str
    degrees: int


@pytest.fixture(params=[None, "2025-04-01-preview"], ids=["v1", "classic"])
def client(request: pytest.FixtureRequest, colour: Colour, patch: Patch, east: Resource) -> Any:
    """A patched client, on each surface; what it sends is refused by nobody."""
    patch(api_version=request.param)
    made = openais(colour)
    assert made.api_key == PLACEHOLDER
    assert str(made.base_url).startswith(east.endpoint)
    yield made
    assert {each.refused for each in east.requests} == {None}


def test_chat_in_one_piece_and_as_a_stream(client: Any, colour: Colour, east: Resource) -> None:
    assert chat(colour, client)
    assert streamed(colour, client)
    chunks = colour.list(colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True))
    assert all(chunk.choices for chunk in chunks)  # Azure's first one has none, which the program does not expect
    assert [each.json()["messages"] for each in east.requests] == [MESSAGES] * 3


def test_azures_own_first_chunk_is_there_for_who_wants_it(colour: Colour, patch: Patch) -> None:
    patch(drop_empty_choice_chunks=False)
    made = openais(colour)
    chunks = colour.list(colour.call(made.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True))
    assert chunks[0].choices == []


def test_tools_and_structured_outputs(client: Any, colour: Colour) -> None:
    asked = [{"role": "user", "content": "use the tool"}]
    answer = colour.call(client.chat.completions.create, model="gpt-4o", messages=asked, tools=[TOOL])
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "weather"
    # openai 1 has it in beta as well, and there alone at first
    parse = client.chat.completions.parse
    parsed = colour.call(parse, model="gpt-4o", messages=MESSAGES, response_format=Weather)
    assert isinstance(parsed.choices[0].message.parsed, Weather)


def test_a_stream_helper(client: Any, colour: Colour) -> None:
    manager = client.chat.completions.stream(model="gpt-4o", messages=MESSAGES)
    if colour.is_async:

        async def read() -> list[Any]:
            async with manager as stream:
                return [event async for event in stream]

        events = colour.run(read())
    else:
        with manager as stream:
            events = list(stream)
    assert events[-1].type in ("content.done", "chunk")


def test_embeddings_and_images(client: Any, colour: Colour, east: Resource) -> None:
    embedded = colour.call(client.embeddings.create, model="text-embedding-3-small", input=["a", "b"])
    assert len(embedded.data) == 2
    assert isinstance(embedded.data[0].embedding[0], float)
    assert colour.call(client.images.generate, model="dall-e-3", prompt="a").data
    assert [each.deployment for each in east.requests] == ["vectors", "pictures"]


def test_an_upload_of_sound(client: Any, colour: Colour, east: Resource) -> None:
    sound = bytes(range(256)) * 64
    heard = colour.call(client.audio.transcriptions.create, model="whisper-1", file=("a.wav", sound))
    assert heard.text
    (request,) = east.requests
    assert sound in request.body
    assert request.deployment == "ears"


def test_files(client: Any, colour: Colour) -> None:
    content = b'{"custom_id": "1"}\n' * 100
    uploaded = colour.call(client.files.create, file=("a.jsonl", content), purpose="assistants")
    assert uploaded.id in [file.id for file in colour.run(client.files.list()).data]
    assert colour.call(client.files.content, uploaded.id).content == content
    assert colour.call(client.files.delete, uploaded.id).deleted


def test_responses(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    client = openais(colour)
    answer = colour.call(client.responses.create, model="gpt-4o", input="Hello")
    assert answer.output_text
    assert colour.call(client.responses.retrieve, answer.id).id == answer.id
    events = colour.list(colour.call(client.responses.create, model="gpt-4o", input="Hello", stream=True))
    assert events[-1].type == "response.completed"
    assert {each.refused for each in east.requests} == {None}


def test_raw_and_streamed_raw_responses(client: Any, colour: Colour, east: Resource) -> None:
    raw = colour.call(client.chat.completions.with_raw_response.create, model="gpt-4o", messages=MESSAGES)
    assert str(raw.http_request.url).startswith(east.endpoint)
    assert raw.http_request.headers["host"] == east.endpoint.removeprefix("http://")
    assert east.api_key not in str(raw.http_request.headers) + repr(raw) + repr(client)
    manager = client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=MESSAGES)
    if colour.is_async:

        async def read() -> Any:
            async with manager as response:
                return await response.parse()

        assert colour.run(read()).choices
    else:
        with manager as response:
            assert response.parse().choices


def test_paths_and_urls_of_a_programs_own(colour: Colour, patch: Patch, east: Resource) -> None:
    """``client.post`` with OpenAI's full URL stays with Azure as well."""
    patch()
    client = openais(colour)
    for path in ("/chat/completions", f"{OPENAI_URL}/chat/completions"):
        answer = colour.call(client.post, path, cast_to=object, body={"model": "gpt-4o", "messages": MESSAGES})
        assert answer["choices"]
    assert [each.path for each in east.requests] == ["/openai/v1/chat/completions"] * 2


def test_credentials_that_a_call_brings_along_stay_here(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    headers = {"Authorization": "Bearer sk-of-the-program-0123456789", "OpenAI-Organization": "org-mine"}
    client = openais(colour, default_headers=headers)
    chat(colour, client)
    chat(colour, client, extra_headers=headers)
    client.api_key = "sk-of-the-program-0123456789"
    chat(colour, client)
    for request in east.requests:
        assert request.headers["api-key"] == east.api_key
        assert "authorization" not in request.headers


def test_several_threads_share_a_client(patch: Patch, east: Resource) -> None:
    patch()
    with openai.OpenAI() as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda _: client.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices[0].message.content,
            range(24),
        )
        assert all(answers)
    assert len(east.requests) == 24


def test_a_client_for_every_call_shares_the_connections_of_others(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    chat(colour, openais(colour))
    for _ in range(10):
        client = colour.plain()
        chat(colour, client)
        colour.close(client)
    assert len(east.requests) == 11
    assert len({each.connection.number for each in east.requests}) == 1
