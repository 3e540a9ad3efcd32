"""Promise 4: streams stay streams, are closed when they are dropped, and are cancelled cleanly."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.conftest import Colour
from tests.fleets import at_server, plan
from tests.servers import FIN, LAST_CHUNK, MESSAGES, ScriptedServer, Seen, answer, chunk, chunked, event

SETTINGS: dict[str, Any] = {"api_key": "k" * 32, "api_version": "2024-10-21", "deployments": {"gpt-4o": "prod"}}


def client_of(colour: Colour, server: ScriptedServer, dose: str, **options: Any) -> Any:
    if dose == "constructor":
        return colour.client(azure_endpoint=server.url, max_retries=0, **SETTINGS, **options)
    http_client = colour.http_client(azure_endpoint=server.url, **SETTINGS)
    return colour.plain(api_key="unused", http_client=http_client, max_retries=0, **options)


@pytest.fixture(params=["constructor", "http_client"])
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_chunk_is_handed_on_before_the_next_one_is_written(colour: Colour, server: ScriptedServer, dose: str) -> None:
    """The server writes a chunk only after the one before it has been read: a buffer would wait for ever."""
    got = threading.Semaphore(0)

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked() + event("0")
        for n in range(1, 5):
            assert got.acquire(timeout=10), "the chunk before was not handed on"
            yield event(str(n))
        yield chunk(b"data: [DONE]\n\n") + LAST_CHUNK

    server.script = script
    client = client_of(colour, server, dose)
    stream = colour.iterate(colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True))
    for n in range(5):
        assert colour.next(stream).choices[0].delta.content == str(n)
        got.release()
    colour.close(client)


# Not every gateway names the type of a stream; and a media type is the same in any case (RFC 9110, section 8.3.1).
TYPES = ["Text/Event-Stream", "text/plain; charset=utf-8", "application/json", ""]


def several(colour: Colour, server: ScriptedServer, other: ScriptedServer, dose: str) -> Any:
    config = plan("fallback", at_server("a", server), at_server("b", other), deployments={"gpt-4o": "prod"})
    if dose == "constructor":
        return colour.client(config=config, max_retries=0)
    return colour.plain(api_key="unused", http_client=colour.http_client(config=config), max_retries=0)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("targets", [1, 2])
def test_a_stream_is_one_whatever_its_answer_says_that_it_is(
    targets: int, kind: str, colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer, dose: str
) -> None:
    got = threading.Semaphore(0)

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked(kind).replace(b"content-type: \r\n", b"") + event("0")
        for n in range(1, 4):
            assert got.acquire(timeout=10), "the chunk before was not handed on"
            yield event(str(n))
        yield chunk(b"data: [DONE]\n\n") + LAST_CHUNK

    server.script = script
    client = client_of(colour, server, dose) if targets == 1 else several(colour, server, elsewhere, dose)
    stream = colour.iterate(colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True))
    for n in range(4):
        assert colour.next(stream).choices[0].delta.content == str(n)
        got.release()
    colour.close(client)


def transcript(kind: str, got: threading.Semaphore) -> Iterator[bytes]:
    """A streamed transcription, each piece of which is written when the one before it has been read."""
    yield chunked(kind).replace(b"content-type: \r\n", b"")
    for n in range(4):
        yield chunk(b'data: {"type":"transcript.text.delta","delta":"%d"}\n\n' % n)
        assert got.acquire(timeout=10), "the chunk before was not handed on"
    yield chunk(b"data: [DONE]\n\n") + LAST_CHUNK


def read_transcript(colour: Colour, client: Any, got: threading.Semaphore) -> None:
    create = client.audio.transcriptions.create
    stream = colour.iterate(colour.call(create, model="gpt-4o", file=("a.wav", b"RIFF"), stream=True))
    for n in range(4):
        assert colour.next(stream).delta == str(n)
        got.release()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("targets", [1, 2])
def test_a_stream_that_a_form_asks_for_is_one_too(
    targets: int, kind: str, colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer, dose: str
) -> None:
    got = threading.Semaphore(0)
    server.script = lambda seen: transcript(kind, got)
    client = client_of(colour, server, dose) if targets == 1 else several(colour, server, elsewhere, dose)
    read_transcript(colour, client, got)
    colour.close(client)


@pytest.mark.parametrize("kind", TYPES)
def test_a_form_that_a_hook_has_read_asks_for_one_as_well(
    kind: str, colour: Colour, library: Any, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    async def awaited(request: Any) -> None:
        await request.aread()

    hook: Any = awaited if colour.is_async else lambda request: request.read()
    given = colour.library_client(library, event_hooks={"request": [hook]})
    got = threading.Semaphore(0)
    server.script = lambda seen: transcript(kind, got)
    config = plan("fallback", at_server("a", server), at_server("b", elsewhere), deployments={"gpt-4o": "prod"})
    client = colour.client(config=config, max_retries=0, http_client=given)
    read_transcript(colour, client, got)
    colour.close(client)
    colour.close(given)


INNER = [
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"stream": True}}}}]},
    {"extra_body": {"data_sources": [{"type": "x", "parameters": {"stream": True}}]}},
]


@pytest.mark.parametrize("more", INNER)
def test_a_call_with_the_word_within_is_no_stream(
    more: dict[str, Any], colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer, dose: str
) -> None:
    """An answer in one piece that is cut is replaced by another target's."""
    server.script = lambda seen: [
        b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
        FIN,
    ]
    client = several(colour, server, elsewhere, dose)
    found = colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, **more)
    assert found.choices[0].message.content == "hello"
    assert len(elsewhere.requests) == 1


@pytest.mark.parametrize("kind", TYPES)
def test_an_error_before_its_first_token_moves_on_whatever_it_says_that_it_is(
    kind: str, colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer, dose: str
) -> None:
    head = chunked(kind).replace(b"content-type: \r\n", b"")
    error = chunk(b'data: {"error":{"code":"server_error","message":"x"}}\n\n')
    server.script = lambda seen: [head, error, LAST_CHUNK]
    elsewhere.script = lambda seen: [head, event("b"), chunk(b"data: [DONE]\n\n"), LAST_CHUNK]
    client = several(colour, server, elsewhere, dose)
    chunks = colour.list(colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True))
    assert [each.choices[0].delta.content for each in chunks] == ["b"]


@pytest.mark.parametrize("kind", TYPES)
def test_frames_without_a_choice_are_taken_out_whatever_the_stream_says_that_it_is(
    kind: str, colour: Colour, server: ScriptedServer
) -> None:
    head = chunked(kind).replace(b"content-type: \r\n", b"")
    first = chunk(b'data: {"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[]}\n\n')
    server.script = lambda seen: [head, first, event("a"), chunk(b"data: [DONE]\n\n"), LAST_CHUNK]
    client = client_of(colour, server, "constructor", drop_empty_choice_chunks=True)
    chunks = colour.list(colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True))
    assert [[choice.delta.content for choice in each.choices] for each in chunks] == [["a"]]


def test_an_answer_in_pieces_where_a_stream_was_asked_for_is_not_kept_back(
    colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer, dose: str
) -> None:
    """A gateway may answer JSON all the same: it is the caller's to read as it comes."""
    got = threading.Semaphore(0)

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked("application/json") + chunk(b'{"id":')
        assert got.acquire(timeout=10), "the head of the answer was kept back"
        yield chunk(b'"x"}') + LAST_CHUNK

    server.script = script
    client = several(colour, server, elsewhere, dose)
    stream = colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True)
    got.release()
    assert colour.list(stream) == []


@pytest.mark.parametrize("call", ["speech", "file"])
def test_binary_answers_are_handed_on_as_they_come(
    colour: Colour, server: ScriptedServer, dose: str, call: str
) -> None:
    got = threading.Semaphore(0)
    pieces = [bytes([n]) * 1000 for n in range(4)]

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked("audio/mpeg") + chunk(pieces[0])
        for piece in pieces[1:]:
            assert got.acquire(timeout=10), "the piece before was not handed on"
            yield chunk(piece)
        yield LAST_CHUNK

    server.script = script
    client = client_of(colour, server, dose)
    if call == "speech":
        manager = client.audio.speech.with_streaming_response.create(model="gpt-4o", voice="alloy", input="hi")
    else:
        manager = client.files.with_streaming_response.content("file-1")

    if colour.is_async:

        async def read() -> list[bytes]:
            found = []
            async with manager as response:
                async for piece in response.iter_bytes():
                    found.append(piece)
                    got.release()
            return found

        assert colour.run(read()) == pieces
    else:
        with manager as response:
            found = []
            for piece in response.iter_bytes():
                found.append(piece)
                got.release()
        assert found == pieces
    colour.close(client)


def test_a_dropped_stream_closes_its_connection(colour: Colour, server: ScriptedServer, dose: str) -> None:
    stop = threading.Event()

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked()
        while not stop.is_set():
            yield event("x" * 1000)

    server.script = script
    client = client_of(colour, server, dose)
    stream = colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True)
    colour.next(colour.iterate(stream))
    colour.close(stream)
    assert server.closed.wait(10), "the server could write on after the stream was closed"
    stop.set()
    colour.close(client)


def test_a_cancelled_call_closes_its_connection_and_is_not_sent_again(server: ScriptedServer, dose: str) -> None:
    colour = Colour("async")
    arrived, release = threading.Event(), threading.Event()

    def script(seen: Seen) -> Iterator[bytes]:
        arrived.set()
        release.wait(10)
        while True:
            yield chunked() + event("late" * 1000)

    server.script = script
    client = client_of(colour, server, dose)

    async def cancelled() -> None:
        task = asyncio.ensure_future(client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True))
        await asyncio.to_thread(arrived.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    colour.run(cancelled())
    release.set()
    assert server.closed.wait(10), "the connection stayed open after the cancellation"
    assert len(server.requests) == 1
    colour.close(client)
    colour.finish()


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/problem+json"])
def test_an_answer_that_trickles_is_stopped_by_the_timeout(
    kind: str, colour: Colour, server: ScriptedServer, dose: str
) -> None:
    """Each byte comes in time for the read timeout, the answer never ends; the whole of it is bounded."""
    stop = threading.Event()

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked(kind)
        while not stop.wait(0.05):
            yield chunk(b" ")

    server.script = script
    client = client_of(colour, server, dose, timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    stop.set()
    colour.close(client)


def test_a_file_of_json_may_take_longer_than_the_timeout(colour: Colour, server: ScriptedServer, dose: str) -> None:
    """What is downloaded may be of any length; only the gap between two reads is bounded."""
    pause = threading.Event()

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked("application/json")
        for _ in range(8):
            pause.wait(0.05)
            yield chunk(b"{}\n")
        yield LAST_CHUNK

    server.script = script
    client = client_of(colour, server, dose, timeout=0.3)
    assert colour.call(client.files.content, "file-1").content == b"{}\n" * 8
    colour.close(client)


def test_a_stream_may_take_longer_than_the_timeout(colour: Colour, server: ScriptedServer, dose: str) -> None:
    """Only the gap between two chunks is bounded by it, as in the SDK."""
    pause = threading.Event()

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked()
        for n in range(8):
            pause.wait(0.05)
            yield event(str(n))
        yield chunk(b"data: [DONE]\n\n") + LAST_CHUNK

    server.script = script
    client = client_of(colour, server, dose, timeout=0.3)
    stream = colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True)
    assert [c.choices[0].delta.content for c in colour.list(stream)] == [str(n) for n in range(8)]
    colour.close(client)


def test_a_broken_stream_hands_on_what_came_and_then_raises(colour: Colour, server: ScriptedServer, dose: str) -> None:
    server.script = lambda seen: [chunked() + event("a") + event("b"), b""]
    client = client_of(colour, server, dose)
    stream = colour.iterate(colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True))
    assert [colour.next(stream).choices[0].delta.content for _ in range(2)] == ["a", "b"]
    with pytest.raises(Exception, match=r"(?i)peer closed|incomplete|disconnected|connection error"):
        colour.next(stream)
    assert len(server.requests) == 1
    colour.close(client)


def test_a_page_in_place_of_json_is_an_openai_error(colour: Colour, server: ScriptedServer, dose: str) -> None:
    server.script = lambda seen: [answer(b"<html>sign in</html>", headers={"content-type": "text/html; charset=utf-8"})]
    client = client_of(colour, server, dose)
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError, match="text/html") as caught:
            colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=stream)
        assert caught.value.response.headers["x-azure-shim-refused"] == "NotAnAnswer"
    assert len(server.requests) == 2
    colour.close(client)


def test_html_that_is_the_content_of_a_file_passes(colour: Colour, server: ScriptedServer, dose: str) -> None:
    server.script = lambda seen: [answer(b"<p>mine</p>", headers={"content-type": "text/html"})]
    client = client_of(colour, server, dose)
    assert colour.call(client.files.content, "file-1").content == b"<p>mine</p>"
    colour.close(client)


@pytest.mark.parametrize("body", [b'{"id": "chatcmpl-1", "choices": [', b"", b"not json", b"\xff\xfe{}"])
def test_cut_json_is_an_openai_error(colour: Colour, server: ScriptedServer, body: bytes) -> None:
    server.script = lambda seen: [answer(body)]
    client = client_of(colour, server, "constructor")
    with pytest.raises(openai.APIResponseValidationError, match="no complete JSON") as caught:
        colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    assert caught.value.response.status_code == 200
    assert len(server.requests) == 1
    raw = colour.call(client.chat.completions.with_raw_response.create, model="gpt-4o", messages=MESSAGES)
    with pytest.raises(openai.APIResponseValidationError, match="no complete JSON"):
        raw.parse()
    colour.close(client)


def test_text_in_place_of_json_is_an_openai_error(colour: Colour, server: ScriptedServer) -> None:
    server.script = lambda seen: [answer(b"hello", headers={"content-type": "text/plain"})]
    client = client_of(colour, server, "constructor")
    with pytest.raises(openai.APIResponseValidationError, match="no JSON"):
        colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    raw = colour.call(client.chat.completions.with_raw_response.create, model="gpt-4o", messages=MESSAGES)
    with pytest.raises(openai.APIResponseValidationError, match="no JSON"):
        raw.parse()
    assert colour.call(client.get, "/models", cast_to=str) == "hello"
    colour.close(client)


@pytest.mark.parametrize("targets", [1, 2])
def test_streams_that_are_dropped_in_their_middle_make_no_noise(
    targets: int, server: ScriptedServer, elsewhere: ScriptedServer, dose: str
) -> None:
    """Python closes each generator of an abandoned stream by itself: none may be closed by two at a time."""
    left = threading.Event()

    def script(seen: Seen) -> Iterator[bytes]:
        yield chunked() + event("0") + event("1")
        assert left.wait(10)

    server.script = script
    noise: list[Any] = []
    colour = Colour("async")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
        client = client_of(colour, server, dose) if targets == 1 else several(colour, server, elsewhere, dose)
        for _ in range(12):
            stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
            async for each in stream:
                assert each.choices
                break
            del stream, each
            await asyncio.sleep(0)
        gc.collect()
        for _ in range(50):  # the loop begins a task for each generator, and each may begin others
            await asyncio.sleep(0)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
        await client.close()

    try:
        colour.run(main())
        gc.collect()
        assert noise == []
    finally:
        left.set()
        colour.finish()
