"""Uploads are streamed: the model of a form is read from its start, and no file is ever held in memory."""

from __future__ import annotations

import io
import tracemalloc
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import Colour
from tests.servers import ScriptedServer, Seen, answer

KEY = "k" * 32
TEXT = answer({"text": "hello"})
IMAGE = answer({"created": 1, "data": [{"b64_json": "AAAA"}]})


def parts(seen: Seen) -> dict[str, list[bytes]]:
    """The fields of a form, by an independent parser."""
    head = f"Content-Type: {seen.header('content-type')}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + seen.body)
    found: dict[str, list[bytes]] = {}
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition")
        found.setdefault(name, []).append(part.get_payload(decode=True))
    return found


def named(content: bytes, name: str) -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name
    return file


@pytest.mark.parametrize("operation", ["transcriptions", "translations"])
@pytest.mark.parametrize("version", ["2024-10-21", "v1"])
def test_a_forms_model_becomes_the_deployment(
    version: str, operation: str, colour: Colour, server: ScriptedServer
) -> None:
    server.script = lambda seen: [TEXT]
    client = colour.client(
        azure_endpoint=server.url, api_key=KEY, api_version=version, deployments={"whisper-1": "höre/zu"}
    )
    audio = bytes(range(256)) * 4
    colour.call(getattr(client.audio, operation).create, model="whisper-1", file=named(audio, "a.wav"), prompt="so")
    (seen,) = server.requests
    form = parts(seen)
    if version == "v1":
        assert seen.target == f"/openai/v1/audio/{operation}"
        assert form["model"] == ["höre/zu".encode()]
    else:
        assert seen.target == f"/openai/deployments/h%C3%B6re%2Fzu/audio/{operation}?api-version=2024-10-21"
        assert form["model"] == [b"whisper-1"]
    assert form["file"] == [audio]
    assert form["prompt"] == [b"so"]
    assert int(seen.header("content-length") or 0) == len(seen.body)
    colour.close(client)


@pytest.mark.parametrize("version", ["2025-04-01-preview", "v1"])
def test_an_image_edit_keeps_its_model_on_v1_and_loses_it_on_the_classic_surface(
    version: str, colour: Colour, server: ScriptedServer
) -> None:
    server.script = lambda seen: [IMAGE]
    client = colour.client(azure_endpoint=server.url, api_key=KEY, api_version=version)
    images = [named(b"one" * 100, "1.png"), named(b"two" * 100, "2.png")]
    colour.call(client.images.edit, model="gpt-image-1", image=images, prompt="a cat")
    (seen,) = server.requests
    form = parts(seen)
    if version == "v1":
        assert seen.target == "/openai/v1/images/edits"
        assert form["model"] == [b"gpt-image-1"]
    else:
        assert seen.target == "/openai/deployments/gpt-image-1/images/edits?api-version=2025-04-01-preview"
        assert "model" not in form
    assert form["image[]"] == [b"one" * 100, b"two" * 100]
    assert form["prompt"] == [b"a cat"]
    assert int(seen.header("content-length") or 0) == len(seen.body)
    colour.close(client)


def test_a_generated_images_model_leaves_the_body_on_the_classic_surface(
    colour: Colour, server: ScriptedServer
) -> None:
    """A deployment whose name is no model's is else answered with 400 (openai-python issue 2892)."""
    server.script = lambda seen: [IMAGE]
    client = colour.client(azure_endpoint=server.url, api_key=KEY, api_version="2025-04-01-preview")
    colour.call(client.images.generate, model="gpt-image-1-5", prompt="a cat", size="1024x1024")
    (seen,) = server.requests
    assert seen.target.startswith("/openai/deployments/gpt-image-1-5/images/generations?")
    assert seen.json() == {"prompt": "a cat", "size": "1024x1024"}
    colour.close(client)


def test_an_image_without_a_model_is_an_error_before_any_byte_or_goes_to_the_default(
    colour: Colour, server: ScriptedServer
) -> None:
    server.script = lambda seen: [IMAGE]
    settings: dict[str, Any] = {"azure_endpoint": server.url, "api_key": KEY, "api_version": "2025-04-01-preview"}
    client = colour.client(**settings)
    with pytest.raises(openai.BadRequestError, match="names no model"):
        colour.call(client.images.generate, prompt="a cat")
    assert server.requests == []
    client = client.copy(azure_deployment="pictures")
    colour.call(client.images.generate, prompt="a cat")
    assert server.requests[0].target.startswith("/openai/deployments/pictures/images/generations?")
    colour.close(client)


def test_a_file_that_cannot_be_rewound_is_sent_whole(colour: Colour, server: ScriptedServer) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self._rest = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self._rest.read(size)

        def seekable(self) -> bool:
            return False

    server.script = lambda seen: [TEXT]
    client = colour.client(azure_endpoint=server.url, api_key=KEY, api_version="2024-10-21", max_retries=0)
    content = b"0123456789" * 30_000
    colour.call(client.audio.transcriptions.create, model="w", file=("a.wav", Pipe(content)))
    assert parts(server.requests[0])["file"] == [content]
    colour.close(client)


@pytest.mark.parametrize("call", ["files", "transcriptions"])
def test_an_upload_costs_no_memory(call: str, colour: Colour, server: ScriptedServer, tmp_path: Path) -> None:
    """The 300 MB of the benchmark are 120 here; the extra memory does not depend on it."""
    server.keep_bodies = False
    server.script = lambda seen: [TEXT if "transcriptions" in seen.target else answer({"id": "file-1"})]
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(120_000_000)
    client = colour.client(
        azure_endpoint=server.url, api_key=KEY, api_version="v1", deployments={"w": "whisper"}, max_retries=0
    )
    colour.call(client.models.list)
    with path.open("rb") as file:
        tracemalloc.start()
        try:
            if call == "files":
                colour.call(client.files.create, file=file, purpose="batch")
            else:
                colour.call(client.audio.transcriptions.create, model="w", file=file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert server.requests[-1].size > 120_000_000
    assert peak < 10_000_000
    colour.close(client)


def test_the_callers_objects_are_not_changed(colour: Colour, server: ScriptedServer) -> None:
    server.script = lambda seen: [IMAGE]
    client = colour.client(azure_endpoint=server.url, api_key=KEY, api_version="2025-04-01-preview")
    body = {"model": "gpt-image-1", "prompt": "a cat", "nested": {"model": "inner", "n": 12345678901234567890}}
    headers = {"x-mine": "1"}
    before = (dict(body), dict(headers))
    colour.call(client.post, "/images/generations", cast_to=object, body=body, options={"headers": headers})
    assert (body, headers) == before
    assert server.requests[0].body == b'{"prompt":"a cat","nested":{"model":"inner","n":12345678901234567890}}'
    assert server.requests[0].header("x-mine") == "1"
    colour.close(client)
