"""What sound requests are refused for: parameters that are missing, ids that this resource does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from azure_shim.testing import FakeAzure, Resource

Send = Callable[..., Any]
DATED = "?api-version=2025-04-01-preview"


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/openai/v1/chat/completions", {"model": "gpt-4o", "messages": []}, "messages"),
        ("/openai/v1/files", {"purpose": "batch"}, "file"),
        ("/openai/v1/fine_tuning/jobs", {"model": "gpt-4o"}, "training_file"),
        ("/openai/v1/fine_tuning/alpha/graders/validate", {"a": 1}, "grader"),
        ("/openai/v1/images/edits", {"model": "gpt-image-1", "prompt": "x"}, "image"),
        ("/openai/v1/audio/transcriptions", {"model": "whisper"}, "file"),
        ("/openai/v1/skills", {"a": 1}, "files"),
        ("/openai/v1/videos", {"model": "sora-2"}, "prompt"),
        (f"/openai/uploads{DATED}", {"bytes": 1}, "filename"),
    ],
)
def test_a_parameter_that_an_operation_needs(east: Resource, send: Send, path: str, body: Any, name: str) -> None:
    response = send(east, "POST", path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == name
    assert east.requests[-1].refused == "missing_required_parameter"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/openai/v1/responses/resp_x"),
        ("DELETE", "/openai/v1/files/file-x"),
        ("GET", "/openai/v1/files/file-x/content"),
        ("POST", "/openai/v1/batches/batch_x/cancel"),
        ("GET", "/openai/v1/fine_tuning/jobs/ftjob-x/checkpoints"),
        ("GET", "/openai/v1/vector_stores/vs_x/files"),
        ("POST", "/openai/v1/vector_stores/vs_x/search"),
        ("GET", "/openai/v1/conversations/conv_x/items"),
        ("GET", "/openai/v1/evals/eval_x/runs"),
        ("POST", "/openai/v1/containers/cntr_x/files"),
        ("GET", "/openai/v1/skills/skill_x/content"),
        ("POST", "/openai/v1/videos/video_x/remix"),
        ("DELETE", "/openai/v1/chat/completions/chatcmpl-x"),
        ("POST", "/openai/v1/realtime/calls/rtc_x/hangup"),
        ("POST", f"/openai/threads/thread_x/messages{DATED}"),
        ("GET", f"/openai/threads/thread_x/runs/run_x{DATED}"),
        ("POST", f"/openai/uploads/upload_x/parts{DATED}"),
        ("DELETE", f"/openai/operations/images/x{DATED}"),
        ("PUT", "/openai/v1/files/file-x"),
    ],
)
def test_an_id_that_the_resource_does_not_know(east: Resource, send: Send, method: str, path: str) -> None:
    response = send(east, method, path, json={} if method == "POST" else None)
    assert response.status_code == 404
    if method != "PUT":
        assert "x" in response.json()["error"]["message"]


def made(send: Send, resource: Resource, path: str, body: Any = None) -> Any:
    response = send(resource, "POST", path, json={} if body is None else body)
    assert response.status_code in (200, 201), response.text
    return response.json()


def test_what_a_known_object_is_refused(east: Resource, send: Send) -> None:
    conversation = made(send, east, "/openai/v1/conversations")["id"]
    path = f"/openai/v1/conversations/{conversation}/items"
    assert send(east, "POST", path, json={"a": 1}).json()["error"]["param"] == "items"
    assert send(east, "GET", f"{path}/msg_x").status_code == 404
    assert send(east, "DELETE", f"{path}/msg_x").status_code == 404
    body = {"model": "gpt-4o", "input": "x", "conversation": "conv_x"}
    assert send(east, "POST", "/openai/v1/responses", json=body).status_code == 404
    store = made(send, east, "/openai/v1/vector_stores")["id"]
    path = f"/openai/v1/vector_stores/{store}"
    assert send(east, "POST", f"{path}/search", json={"a": 1}).json()["error"]["param"] == "query"
    assert send(east, "POST", f"{path}/files", json={"file_id": "file-x"}).status_code == 404
    container = made(send, east, "/openai/v1/containers")["id"]
    assert send(east, "POST", f"/openai/v1/containers/{container}/files", json={"file_id": "file-x"}).status_code == 404
    thread = made(send, east, f"/openai/threads{DATED}")["id"]
    message = f"/openai/threads/{thread}/messages{DATED}"
    assert send(east, "POST", message, json={"role": "user"}).json()["error"]["param"] == "content"
    upload = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    path = f"/openai/uploads/{made(send, east, f'/openai/uploads{DATED}', upload)['id']}"
    assert send(east, "POST", f"{path}/parts{DATED}", json={"a": 1}).json()["error"]["param"] == "data"
    assert send(east, "POST", f"{path}/complete{DATED}", json={"part_ids": ["part_x"]}).status_code == 404


def test_an_upload_needs_a_purpose(east: Resource, send: Send) -> None:
    response = send(east, "POST", "/openai/v1/files", files={"file": ("a", b"x")})
    assert response.json()["error"]["param"] == "purpose"


def test_a_batch_has_one_window_and_a_job_a_file(east: Resource, send: Send) -> None:
    body = {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "1h"}
    assert send(east, "POST", "/openai/v1/batches", json=body).json()["error"]["param"] == "completion_window"
    job = {"model": "gpt-4o", "training_file": "file-x"}
    assert send(east, "POST", "/openai/v1/fine_tuning/jobs", json=job).status_code == 404


def test_ids_are_one_resources(azure: FakeAzure, east: Resource, west: Resource, send: Send) -> None:
    made_here = made(send, east, "/openai/v1/responses", {"model": "gpt-4o", "input": "x"})["id"]
    assert send(east, "GET", f"/openai/v1/responses/{made_here}").status_code == 200
    assert send(west, "GET", f"/openai/v1/responses/{made_here}").status_code == 404
    assert [request.resource for request in azure.refused] == ["westus"]


def test_the_fields_of_a_form_are_read_as_the_sdk_writes_them(east: Resource, send: Send) -> None:
    fields = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600", "a[]": "1"}
    assert send(east, "POST", "/openai/v1/files", data=fields, files={"file": ("a", b"x")}).status_code == 201
    session = (None, '{"type":"realtime","model":"gone"}', "application/json")
    files = {"sdp": (None, "v=0", "application/sdp"), "session": session}
    assert send(east, "POST", "/openai/v1/realtime/calls", files=files).status_code == 404
    assert east.requests[-1].refused == "DeploymentNotFound"
    files["session"] = (None, "{", "application/json")
    response = send(east, "POST", "/openai/v1/realtime/calls", files=files)
    assert response.json()["error"]["code"] == "invalid_multipart"


@pytest.mark.parametrize("kind", ["batch", "assistants", "evals", "fine-tune"])
def test_files_of_every_purpose(east: Resource, send: Send, kind: str) -> None:
    made_here = send(east, "POST", "/openai/v1/files", data={"purpose": kind}, files={"file": ("a", b"")})
    assert made_here.json()["purpose"] == kind
    assert send(east, "GET", f"/openai/v1/files/{made_here.json()['id']}/content").content == b""
