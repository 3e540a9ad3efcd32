"""Streams come as they are sent, and end when their reader ends."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from azure_shim.patching.legacy import error as errors
from azure_shim.testing.resource import Resource
from tests.conftest import Colour
from tests.patching.legacy.conftest import MESSAGES
from tests.servers import FIN, ScriptedServer, Seen, chunk, chunked, event

Call = Callable[..., Any]


@pytest.fixture
def settings(server: ScriptedServer) -> dict[str, Any]:
    return {"azure_endpoint": server.url, "api_key": "key"}


def stream(call: Call) -> Any:
    return call("ChatCompletion.create", engine="prod", messages=MESSAGES, stream=True)


def test_a_chunk_is_there_when_it_was_sent(call: Call, colour: Colour, server: ScriptedServer) -> None:
    """Nothing is buffered: the server sends the second chunk only once the first was read."""
    was_read = threading.Event()

    def script(_seen: Seen) -> Iterable[bytes]:
        yield chunked() + event("one")
        assert was_read.wait(10)
        yield event("two") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    server.script = script
    chunks = stream(call)
    assert colour.next(chunks).choices[0].delta.content == "one"
    was_read.set()
    assert [c["choices"][0]["delta"]["content"] for c in colour.list(chunks)] == ["two"]
    assert server.requests[0].json()["stream"] is True


def endless(_seen: Seen) -> Iterable[bytes]:
    yield chunked()
    while True:
        yield event("more " * 1000)


@pytest.mark.parametrize("chunks_read", [0, 1])
def test_closing_it_closes_the_connection(chunks_read: int, call: Call, colour: Colour, server: ScriptedServer) -> None:
    server.script = endless
    chunks = stream(call)
    for _ in range(chunks_read):
        colour.next(chunks)
    colour.close(chunks)
    assert server.closed.wait(10)


async def settle() -> None:
    """Let the loop do what it does with async generators that were dropped in it."""
    await asyncio.sleep(0)
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    for _ in range(8):  # a transport that was closed lets go of its socket in a later turn of the loop
        await asyncio.sleep(0)


@pytest.mark.parametrize("chunks_read", [0, 1])
def test_dropping_it_closes_the_connection(
    chunks_read: int, call: Call, colour: Colour, server: ScriptedServer
) -> None:
    server.script = endless
    chunks = stream(call)
    for _ in range(chunks_read):
        colour.next(chunks)
    del chunks
    gc.collect()
    if colour.is_async:
        colour.run(settle())
    assert server.closed.wait(10)


@pytest.mark.parametrize(
    ("data", "words", "code"),
    [
        (b'{"error": {"message": "Broken.", "code": "server_error"}}', "Broken. (Error occurred", "server_error"),
        (b'{"id": "c", "choi', 'HTTP code 200 from API ({"id": "c", "choi)', None),
    ],
)
def test_an_error_among_the_chunks(
    data: bytes, words: str, code: str | None, call: Call, colour: Colour, server: ScriptedServer
) -> None:
    server.script = lambda _seen: [chunked() + event("one") + chunk(b"data: " + data + b"\n\n")]
    chunks = stream(call)
    colour.next(chunks)
    with pytest.raises(errors.APIError) as caught:
        colour.list(chunks)
    assert words in str(caught.value)
    assert (caught.value.http_status, caught.value.code) == (200, code)
    assert caught.value.json_body == (json.loads(data) if code else None)


def test_a_connection_that_breaks_off(call: Call, colour: Colour, server: ScriptedServer) -> None:
    server.script = lambda _seen: [chunked() + event("one"), FIN]
    chunks = stream(call)
    assert colour.next(chunks).choices
    with pytest.raises(errors.APIConnectionError):
        colour.list(chunks)


def test_a_server_that_falls_silent(call: Call, colour: Colour, server: ScriptedServer) -> None:
    is_over = threading.Event()

    def script(_seen: Seen) -> Iterable[bytes]:
        yield chunked() + event("one")
        is_over.wait(10)

    server.script = script
    chunks = call("ChatCompletion.create", engine="prod", messages=MESSAGES, stream=True, request_timeout=0.2)
    colour.next(chunks)
    with pytest.raises(errors.Timeout):
        colour.list(chunks)
    is_over.set()


def test_an_error_instead_of_a_stream_is_the_call_s(call: Call, east: Resource, settings: dict[str, Any]) -> None:
    settings.update(azure_endpoint=east.endpoint, api_key=east.api_key)
    east.fail_next("429_token_rate")
    with pytest.raises(errors.RateLimitError):
        stream(call)
