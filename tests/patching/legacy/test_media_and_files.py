"""Pictures, recordings, moderations, and what a resource keeps."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from azure_shim.patching.legacy.error import InvalidRequestError
from azure_shim.testing import FakeAzure
from azure_shim.testing.resource import Resource
from azure_shim.testing.response import FakeResponse
from tests.servers import ScriptedServer

Call = Callable[..., Any]
PICTURE = b"\x89PNG picture"


def recording() -> io.BytesIO:
    file = io.BytesIO(b"RIFF sound")
    file.name = "/home/me/speech.wav"
    return file


@pytest.mark.parametrize("named", [{}, {"engine": "pictures"}, {"deployment_id": "pictures"}, {"model": "pictures"}])
def test_a_picture(named: dict[str, str], call: Call, east: Resource) -> None:
    """Which needs no model, as in 0.x; it is ``dall-e-2`` then, which the mapping has."""
    answer = call("Image.create", prompt="a cat", n=1, size="1024x1024", **named)
    assert answer["data"][0]["revised_prompt"] == "eastus/pictures: a cat"
    assert east.requests[0].deployment == "pictures"
    assert east.requests[0].json()["prompt"] == "a cat"


def test_an_edited_picture(call: Call, east: Resource) -> None:
    assert call("Image.create_edit", io.BytesIO(PICTURE), mask=PICTURE, prompt="a hat", engine="pictures").data
    body = east.requests[0].body
    assert body.count(PICTURE) == 2
    assert b'name="mask"; filename="mask"' in body


def test_variations_are_refused(call: Call, azure: FakeAzure) -> None:
    with pytest.raises(InvalidRequestError, match="does not offer POST /v1/images/variations"):
        call("Image.create_variation", PICTURE, n=1)
    assert azure.requests == []


@pytest.mark.parametrize("action", ["transcribe", "translate"])
def test_a_recording(action: str, call: Call, east: Resource) -> None:
    answer = call(f"Audio.{action}", "whisper-1", recording(), deployment_id="ears")
    assert answer["text"] == "Hello from eastus/ears: speech.wav"
    answer = call(f"Audio.{action}_raw", "ears", b"RIFF", "x.wav", response_format="verbose_json", language="de")
    assert answer.text == "Hello from eastus/ears: x.wav"
    assert b"RIFF sound" in east.requests[0].body
    assert b"/home/me" not in east.requests[0].body


def test_a_recording_as_plain_text(call: Call) -> None:
    assert call("Audio.transcribe", "ears", recording(), response_format="text") == (
        "Hello from eastus/ears: speech.wav\n"
    )


def test_positional_words_on_where_to(call: Call, azure: FakeAzure) -> None:
    west = azure["westus"]
    answer = call("Audio.transcribe", "ears", recording(), west.api_key, west.endpoint, "azure", "2024-10-21")
    assert answer.text == "Hello from westus/ears: speech.wav"
    with pytest.raises(TypeError, match="5 positional arguments at most"):
        call("Image.create", *"123456")


def test_moderations_are_refused_in_words(call: Call, azure: FakeAzure) -> None:
    with pytest.raises(InvalidRequestError, match="Azure AI Content Safety"):
        call("Moderation.create", "some text")
    assert azure.requests == []


def test_another_host_may_moderate(call: Call, legacy: Any, elsewhere: ScriptedServer) -> None:
    legacy.api_base, legacy.api_key = elsewhere.url + "/v1", "EMPTY"
    call("Moderation.create", "some text", "text-moderation-latest")
    seen = elsewhere.requests[0]
    assert (seen.target, seen.json()) == ("/v1/moderations", {"input": "some text", "model": "text-moderation-latest"})


def test_files_come_and_go(call: Call) -> None:
    made = call("File.create", file=io.BytesIO(b'{"a": 1}\n'), purpose="fine-tune", user_provided_filename="x.jsonl")
    assert (made.object, made.filename) == ("file", "x.jsonl")
    assert [item["id"] for item in call("File.list")["data"]] == [made.id]
    assert call("File.retrieve", made.id).purpose == "fine-tune"
    assert call("File.download", made.id) == b'{"a": 1}\n'
    assert call("File.delete", made.id).deleted is True
    with pytest.raises(InvalidRequestError, match="No such File"):
        call("File.retrieve", made.id)


def test_models(call: Call) -> None:
    found = call("Model.list").data
    assert call("Model.retrieve", found[0].id).object == "model"


def test_jobs(call: Call, east: Resource) -> None:
    file = call("File.create", file=b'{"a": 1}\n', purpose="fine-tune")
    job = call("FineTuningJob.create", training_file=file.id, model="gpt-35-turbo-0613", request_timeout=5)
    assert east.requests[-1].json() == {"training_file": file.id, "model": "gpt-35-turbo-0613"}
    assert call("FineTuningJob.retrieve", job.id).id == job.id
    assert [item.id for item in call("FineTuningJob.list", limit=5).data] == [job.id]
    assert call("FineTuningJob.list_events", id=job.id, limit=2).object == "list"
    assert east.requests[-1].query == {"limit": "2"}
    call("FineTuningJob.cancel", job.id)
    assert east.requests[-1].path == f"/openai/v1/fine_tuning/jobs/{job.id}/cancel"


def test_pages_begin_behind_an_item(call: Call, east: Resource) -> None:
    east.answer_next(lambda _request: FakeResponse.json({"data": []}))
    call("FineTuningJob.list", limit=2, starting_after="job-1")
    assert east.requests[-1].query == {"limit": "2", "after": "job-1"}
