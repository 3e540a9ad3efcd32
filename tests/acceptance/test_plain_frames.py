"""Streams read by code that knows OpenAI alone, over sockets: every chunk has a choice, and nothing waits (P6, B33)."""

from __future__ import annotations

import gzip
import importlib
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.conftest import LIBRARIES, Colour
from tests.servers import LAST_CHUNK, MESSAGES, ScriptedServer, Seen, answer, chunk, chunked

DOSES = ["constructor", "azure class", *(f"http_client of {library}" for library in LIBRARIES), "patch", "wrap"]
ON = {"drop_empty_choice_chunks": True}
PROMPT = (
    b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,'
    b'"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}\n\n'
)
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[%s]%s}\n\n'
DONE = b"data: [DONE]\n\n"

Build = Callable[..., Any]


def said(content: str) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return CHUNK % (json.dumps(choice).encode(), b"")


USAGE = CHUNK % (b"", b',"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}')


@pytest.fixture(params=DOSES)
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def build(dose: str, colour: Colour) -> Iterator[Build]:
    """Makes a client by ``dose``, with the switch on unless it is said otherwise; by a patch it is on by itself."""

    def make(**arguments: Any) -> Any:
        wanted = {**ON, **arguments}
        if dose == "constructor":
            return colour.client(max_retries=0, **wanted)
        if dose.startswith("http_client"):
            given = colour.http_client(library=dose.rpartition(" ")[2], **wanted)
            return colour.plain(api_key="sk-of-nobody", http_client=given, max_retries=0)
        if dose == "azure class":
            client = (azure_shim.AsyncAzureOpenAI if colour.is_async else azure_shim.AzureOpenAI)(
                max_retries=0, **wanted
            )
        elif dose == "wrap":
            plain = colour.plain(api_key="sk-of-nobody", max_retries=0)
            colour._made.append(plain)  # whose connections are used
            client = azure_shim.wrap(plain, **arguments)
        else:
            azure_shim.patch(**arguments)
            client = colour.plain(max_retries=0)
        colour._made.append(client)
        return client

    yield make
    azure_shim.unpatch()


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    models = {"gpt-4o": "gpt-4o", "text": "gpt-35-turbo-instruct"}
    with FakeAzure({"eastus": models, "westus": models}) as found:
        yield found
        assert found.leaks == []


@pytest.fixture
def east(azure: FakeAzure) -> Resource:
    return azure["eastus"]


@pytest.fixture(params=["classic", "v1"])
def surface(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"api_version": "2024-10-21"} if request.param == "classic" else {}


def at(resource: Resource, **more: Any) -> dict[str, Any]:
    return {"azure_endpoint": resource.endpoint, "api_key": resource.api_key, **more}


def at_server(server: ScriptedServer, **more: Any) -> dict[str, Any]:
    return {"azure_endpoint": server.url, "api_key": "k", **more}


def stream(colour: Colour, client: Any, **more: Any) -> Any:
    call: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, "stream": True, **more}
    return colour.call(client.chat.completions.create, **call)


def chunks_of(colour: Colour, client: Any, **more: Any) -> list[Any]:
    return colour.list(stream(colour, client, **more))


# -- what the service sends


@pytest.mark.parametrize("async_filter", [False, True])
@pytest.mark.parametrize("with_usage", [False, True])
def test_every_chunk_of_a_chat_can_be_read(
    async_filter: bool, with_usage: bool, surface: Any, build: Build, colour: Colour, east: Resource
) -> None:
    east.async_filter = async_filter
    options = {"stream_options": {"include_usage": True}} if with_usage else {}
    chunks = chunks_of(colour, build(**at(east, **surface)), **options)
    if with_usage:
        usage = chunks.pop()
        assert (usage.choices, usage.usage.total_tokens > 0) == ([], True)
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Hello from eastus/gpt-4o: hi"
    assert [each.choices[0].finish_reason for each in chunks if each.choices[0].finish_reason] == ["stop"]
    assert chunks[0].choices[0].delta.role == "assistant"
    verdicts = [each.prompt_filter_results for each in chunks if getattr(each, "prompt_filter_results", None)]
    assert [verdict[0]["prompt_index"] for verdict in verdicts] == [0]
    assert chunks[0].prompt_filter_results == verdicts[0]


def test_the_verdicts_of_an_asynchronous_filter_are_there(build: Build, colour: Colour, east: Resource) -> None:
    east.async_filter = True
    chunks = chunks_of(colour, build(**at(east)))
    offsets = [getattr(each.choices[0], "content_filter_offsets", None) for each in chunks]
    assert len([each for each in offsets if each]) == 2


@pytest.mark.parametrize("async_filter", [False, True])
def test_every_chunk_of_a_completion_can_be_read(
    async_filter: bool, surface: Any, build: Build, colour: Colour, east: Resource
) -> None:
    east.async_filter = async_filter
    client = build(**at(east, **surface))
    chunks = colour.list(colour.call(client.completions.create, model="text", prompt="hi", stream=True))
    assert "".join(each.choices[0].text for each in chunks) == "Hello from eastus/text: hi"
    assert chunks[0].prompt_filter_results[0]["prompt_index"] == 0


def test_tools_and_several_choices(build: Build, colour: Colour, east: Resource) -> None:
    east.async_filter = True
    client = build(**at(east))
    chunks = chunks_of(colour, client, n=2)
    for index in (0, 1):
        text = "".join(c.delta.content or "" for each in chunks for c in each.choices if c.index == index)
        assert text == "Hello from eastus/gpt-4o: hi"
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    choice = {"type": "function", "function": {"name": "weather"}}
    called = chunks_of(colour, client, tools=[tool], tool_choice=choice)
    names = [call.function.name for each in called for call in each.choices[0].delta.tool_calls or []]
    assert [name for name in names if name] == ["weather"]


def test_the_stream_helper_of_the_sdk(build: Build, colour: Colour, east: Resource) -> None:
    east.async_filter = True
    client = build(**at(east))
    helper = getattr(client.chat.completions, "stream", None) or client.beta.chat.completions.stream
    if colour.is_async:

        async def read() -> str:
            async with helper(model="gpt-4o", messages=MESSAGES) as events:
                return str((await events.get_final_completion()).choices[0].message.content)

        assert colour.run(read()) == "Hello from eastus/gpt-4o: hi"
        return
    with helper(model="gpt-4o", messages=MESSAGES) as events:
        assert events.get_final_completion().choices[0].message.content == "Hello from eastus/gpt-4o: hi"


def test_several_targets(build: Build, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    targets = [{"name": each.name, **at(each, api_version="2024-10-21")} for each in azure]
    client = build(config={"strategy": {"mode": "fallback"}, "targets": targets})
    for each in azure:
        each.async_filter = True
    east.fail_next("503")
    for _ in range(2):
        chunks = chunks_of(colour, client, stream_options={"include_usage": True})
        assert (chunks[-1].choices, chunks[-1].usage is not None) == ([], True)
        text = "".join(each.choices[0].delta.content or "" for each in chunks[:-1])
        assert text == "Hello from westus/gpt-4o: hi"
        assert chunks[0].prompt_filter_results


# -- the switch


def test_without_it_the_stream_is_azure_s(surface: Any, colour: Colour, east: Resource) -> None:
    chunks = chunks_of(colour, colour.client(**at(east, **surface)))
    assert chunks[0].choices == []
    with pytest.raises(IndexError):
        chunks[0].choices[0].delta.content  # noqa: B018  what code that knows OpenAI alone does


def test_it_is_switched_off(dose: str, build: Build, colour: Colour, east: Resource) -> None:
    assert chunks_of(colour, build(**at(east, drop_empty_choice_chunks=False)))[0].choices == []


def test_a_copy_switches_it(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    several = {"strategy": {"mode": "fallback"}, "targets": [{"name": each.name, **at(each)} for each in azure]}
    for arguments in (at(east), {"config": several}):
        client = colour.client(**arguments, **ON)
        off = client.with_options(drop_empty_choice_chunks=False)
        again = off.copy(drop_empty_choice_chunks=True)
        kept = client.with_options(timeout=5)
        colour._made.extend([off, again, kept])
        firsts = [chunks_of(colour, each)[0] for each in (client, off, again, kept)]
        assert [bool(first.choices) for first in firsts] == [True, False, True, True]


def test_a_copy_of_a_patched_client_keeps_it(colour: Colour, east: Resource) -> None:
    azure_shim.patch(**at(east))
    try:
        client = colour.plain()
        colour._made.append(client)
        for each in (client.with_options(timeout=5), client.copy(max_retries=0)):
            assert chunks_of(colour, each)[0].choices
    finally:
        azure_shim.unpatch()


@pytest.mark.parametrize("wrong", ["yes", 1, 0, "", []])
def test_another_type_is_an_error(wrong: Any, dose: str, build: Build, east: Resource) -> None:
    with pytest.raises(azure_shim.ConfigurationError) as caught:
        build(**at(east, drop_empty_choice_chunks=wrong))
    assert isinstance(caught.value, openai.OpenAIError)
    assert [each.partition(":")[0] for each in caught.value.problems] == ["drop_empty_choice_chunks"]


# -- time and connections


def test_nothing_is_delayed(build: Build, colour: Colour, server: ScriptedServer) -> None:
    """The verdict on the prompt waits for the first word, and no word waits for the next."""
    got, late = threading.Semaphore(0), []

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked()
        yield chunk(PROMPT)
        for word in ("one", "two", "three"):
            yield chunk(said(word))
            if not got.acquire(timeout=10):
                late.append(word)
        yield chunk(USAGE)
        if not got.acquire(timeout=10):
            late.append("usage")
        yield chunk(DONE) + LAST_CHUNK

    server.script = script
    found: list[Any] = []
    iterator = colour.iterate(stream(colour, build(**at_server(server))))
    for _ in range(4):
        found.append(colour.next(iterator))
        got.release()
    assert late == []
    assert [each.choices[0].delta.content for each in found[:3]] == ["one", "two", "three"]
    assert found[3].usage.total_tokens == 3
    assert colour.list(iterator) == []


@pytest.mark.parametrize("size", [1, 7, 64])
def test_it_does_not_matter_how_the_bytes_are_cut(
    size: int, build: Build, colour: Colour, server: ScriptedServer
) -> None:
    body = PROMPT + b": a comment\n\n" + said("grüße") + said("😀") + USAGE + DONE
    server.script = lambda seen: [
        chunked(),
        *(chunk(body[at : at + size]) for at in range(0, len(body), size)),
        LAST_CHUNK,
    ]
    chunks = chunks_of(colour, build(**at_server(server)))
    assert [each.choices[0].delta.content for each in chunks[:-1]] == ["grüße", "😀"]
    assert chunks[-1].usage is not None


def test_an_early_end_closes_the_connection(build: Build, colour: Colour, server: ScriptedServer) -> None:
    stop = threading.Event()

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked() + chunk(PROMPT)
        while not stop.is_set():
            yield chunk(said("x" * 1000))

    server.script = script
    found = stream(colour, build(**at_server(server)))
    assert colour.next(colour.iterate(found)).choices
    colour.close(found)
    assert server.closed.wait(10), "the server could write on after the stream was closed"
    stop.set()


def test_a_stream_that_breaks_is_an_error(build: Build, colour: Colour, server: ScriptedServer) -> None:
    server.script = lambda seen: [chunked(), chunk(PROMPT), chunk(said("one")), b""]
    iterator = colour.iterate(stream(colour, build(**at_server(server))))
    assert colour.next(iterator).choices[0].delta.content == "one"
    with pytest.raises((openai.OpenAIError, *(importlib.import_module(each).HTTPError for each in LIBRARIES))):
        colour.list(iterator)


def test_an_error_in_the_stream_is_the_sdk_s(build: Build, colour: Colour, server: ScriptedServer) -> None:
    error = b'data: {"error":{"message":"The server had an error","type":"server_error"}}\n\n'
    server.script = lambda seen: [chunked(), chunk(PROMPT + said("one") + error), LAST_CHUNK]
    iterator = colour.iterate(stream(colour, build(**at_server(server))))
    assert colour.next(iterator).choices[0].delta.content == "one"
    with pytest.raises(openai.APIError, match="The server had an error"):
        colour.list(iterator)


# -- what is no such stream


def raw_of(colour: Colour, manager: Any, came: Callable[[], None] = lambda: None) -> bytes:
    """The body of an answer; ``came`` is called for each piece of it."""
    found: list[bytes] = []
    if not colour.is_async:
        with manager as response:
            for piece in filter(None, response.iter_bytes()):
                found.append(piece)
                came()
        return b"".join(found)

    async def read() -> None:
        async with manager as response:
            async for piece in response.iter_bytes():
                if piece:
                    found.append(piece)
                    came()

    colour.run(read())
    return b"".join(found)


EVENTS = (
    b'event: response.created\r\ndata: {"type":"response.created","choices":[]}\r\n\r\n'
    + PROMPT
    + b': note\n\nevent: response.output_text.delta\ndata: {"type":  "x", "choices": [{"index":0}]}\n\n'
    + b"data: not json\n\ndata: [DONE]\n\ntail without an end"
)


def test_a_stream_of_responses_is_as_it_came(build: Build, colour: Colour, server: ScriptedServer) -> None:
    server.script = lambda seen: [chunked(), *(chunk(EVENTS[n : n + 9]) for n in range(0, len(EVENTS), 9)), LAST_CHUNK]
    client = build(**at_server(server))
    manager = client.responses.with_streaming_response.create(model="gpt-4o", input="hi", stream=True)
    assert raw_of(colour, manager) == EVENTS


def test_an_answer_in_one_piece_is_as_it_came(build: Build, colour: Colour, server: ScriptedServer) -> None:
    body = b'{"id":"c","object":"chat.completion","choices":[ ],"created":1,"model":"m","prompt_filter_results":[]}'
    server.script = lambda seen: [answer(body)]
    client = build(**at_server(server))
    manager = client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=MESSAGES)
    assert raw_of(colour, manager) == body


def test_a_chat_without_azure_s_frames_is_as_it_came(build: Build, colour: Colour, server: ScriptedServer) -> None:
    body = said("one") + b": note\r\n\r\n" + said("two") + USAGE + DONE
    server.script = lambda seen: [chunked(), *(chunk(body[n : n + 11]) for n in range(0, len(body), 11)), LAST_CHUNK]
    client = build(**at_server(server))
    manager = client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=MESSAGES, stream=True)
    assert raw_of(colour, manager) == body


def test_a_packed_stream_passes_as_it_comes(build: Build, colour: Colour, server: ScriptedServer) -> None:
    """To look into it would be to unpack it, and so to change it."""
    pieces = [PROMPT, said("one"), said("two"), DONE]
    got, late, packer = threading.Semaphore(0), [], zlib.compressobj(wbits=31)

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked().replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
        for piece in pieces:
            yield chunk(packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH))
            if not got.acquire(timeout=10):
                late.append(piece)
        yield chunk(packer.flush()) + LAST_CHUNK

    server.script = script
    client = build(**at_server(server))
    manager = client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=MESSAGES, stream=True)
    assert raw_of(colour, manager, got.release) == b"".join(pieces)
    assert late == []


def test_a_stream_that_is_to_be_read_on_its_way_is_asked_for_unpacked(colour: Colour, server: ScriptedServer) -> None:
    first = chunk(b'data: {"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[]}\n\n')

    def script(seen: Seen) -> Iterator[bytes]:
        if b'"stream"' not in seen.body:
            yield answer()
            return
        wants = seen.header("accept-encoding") or ""
        if "gzip" in wants:  # as a gateway does
            yield answer(
                gzip.compress(first), headers={"content-type": "text/event-stream", "content-encoding": "gzip"}
            )
        else:
            yield chunked() + first + chunk(said("a")) + chunk(b"data: [DONE]\n\n") + LAST_CHUNK

    server.script = script
    client = colour.client(**at_server(server), drop_empty_choice_chunks=True)
    assert [each.choices[0].delta.content for each in chunks_of(colour, client)] == ["a"]
    colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    asked = [seen.header("accept-encoding") for seen in server.requests]
    assert asked[0] == "identity"
    assert asked[1] != "identity"
