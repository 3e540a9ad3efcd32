"""Every check that FakeAzure makes, and Azure's own error for it, on a socket and in process, with both libraries."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from azure_shim.testing import FakeAzure, Resource

Send = Callable[..., Any]
CHAT = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
V1_CHAT = "/openai/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "hi"}]}
V1_BODY = {**BODY, "model": "gpt-4o"}
NOT_FOUND = {"error": {"code": "404", "message": "Resource not found"}}


def error_of(response: Any, status: int) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()["error"]


def test_a_sound_request_is_answered_with_azures_headers(azure: FakeAzure, east: Resource, send: Send) -> None:
    response = send(east, "POST", CHAT, json=BODY, headers={"x-ms-client-request-id": "mine"})
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello from eastus/gpt-4o: hi"
    assert response.json()["model"] == "gpt-4o-2024-11-20"
    assert response.headers["x-ms-client-request-id"] == "mine"
    assert response.headers["x-ms-region"] == "eastus"
    assert int(response.headers["x-ratelimit-remaining-requests"]) == 999
    assert int(response.headers["x-ratelimit-remaining-tokens"]) < 1_000_000
    for name in ("apim-request-id", "x-request-id", "azureml-model-session"):
        assert response.headers[name]
    assert azure.refused == []
    assert azure.leaks == []


def test_a_client_request_id_that_was_not_sent_is_the_request_id(east: Resource, send: Send) -> None:
    headers = send(east, "GET", "/openai/v1/models").headers
    assert headers["x-ms-client-request-id"] == headers["apim-request-id"]
    assert "azureml-model-session" not in headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/openai/v1/moderations"),
        ("POST", "/openai/v1/nothing"),
        ("POST", "/openai//v1/chat/completions"),
        ("POST", "/openai/v1/chat/completions/"),
        ("GET", "/openai/v1/files/"),
        ("GET", "/openai/v1/files/%2e%2e"),
        ("GET", "/openai/v1/assistants"),
        ("PATCH", "/openai/v1/chat/completions"),
        ("POST", "/openai/chat/completions?api-version=2024-10-21"),
        ("POST", "/openai/deployments/gpt-4o/responses?api-version=2025-04-01-preview"),
        ("POST", "/openai/deployments//chat/completions?api-version=2024-10-21"),
        ("POST", "/openai/deployments/gpt-4o/batches?api-version=2024-10-21"),
        ("POST", "/openai/realtime/sessions?api-version=2025-04-01-preview"),
        ("POST", "/openai/v1/realtimeapi/sessions"),
        ("POST", "/chat/completions?api-version=2024-10-21"),
        ("GET", "/"),
        ("POST", "/api/projects/p/openai/v1/embeddings"),
        ("POST", "/api/projects/p/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"),
    ],
)
def test_a_path_that_azure_does_not_have_is_not_found(east: Resource, send: Send, method: str, path: str) -> None:
    response = send(east, method, path, json=BODY) if method != "GET" else send(east, method, path)
    assert response.status_code == 404
    assert response.json() == NOT_FOUND
    assert east.requests[-1].refused == "404"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?api-version=",
        "?api-version=preview",
        "?api-version=v1",
        "?api-version=2024-10",
        "?api-version=2024-10-21-alpha",
        "?api-version=2024-10-21&api-version=2024-10-21",
        "?version=2024-10-21",
    ],
)
def test_the_classic_surface_wants_one_dated_version(east: Resource, send: Send, query: str) -> None:
    assert send(east, "POST", CHAT.partition("?")[0] + query, json=BODY).json() == NOT_FOUND


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/openai/responses?api-version=2024-10-21"),
        ("GET", "/openai/files?api-version=2022-01-01"),
        ("GET", "/openai/deployments?api-version=2024-10-21"),
    ],
)
def test_a_version_that_does_not_have_the_operation_is_not_found(
    east: Resource, send: Send, method: str, path: str
) -> None:
    assert send(east, method, path).json() == NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "preview", "latest"])
def test_v1_takes_its_own_versions(east: Resource, send: Send, version: str) -> None:
    assert send(east, "POST", f"{V1_CHAT}?api-version={version}", json=V1_BODY).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (f"{V1_CHAT}?api-version=2024-10-21", 400, "not allowed when using /v1 path"),
        (f"{V1_CHAT}?api-version=preview&api-version=preview", 400, "not allowed when using /v1 path"),
        (f"{V1_CHAT}?api-version=v2", 400, "API version not supported"),
        ("/api/projects/p/openai/v1/responses?api-version=preview", 400, "not allowed when using /v1 path"),
        ("/openai/v1/realtime/client_secrets?api-version=preview", 401, "Access token is missing"),
        ("/openai/v1/responses?beta=true", 400, "please use api-version=preview"),
        ("/openai/v1/responses?beta=true&api-version=v1", 400, "please use api-version=preview"),
    ],
)
def test_v1_refuses_other_versions(east: Resource, send: Send, path: str, status: int, message: str) -> None:
    assert message in error_of(send(east, "POST", path, json={**V1_BODY, "input": "hi"}), status)["message"]


def test_beta_responses_and_project_paths_are_served(east: Resource, send: Send) -> None:
    body = {"model": "gpt-4o", "input": "hi"}
    assert send(east, "POST", "/openai/v1/responses?beta=true&api-version=preview", json=body).status_code == 200
    assert send(east, "POST", "/api/projects/p/openai/v1/responses", json=body).status_code == 200


def test_model_inference_paths_are_below_the_host(east: Resource, send: Send) -> None:
    path = "/models/chat/completions?api-version=2024-05-01-preview"
    assert send(east, "POST", path, json=V1_BODY).status_code == 200
    assert send(east, "POST", path, json={**V1_BODY, "model": "gone"}).status_code == 404


def test_no_credential_and_a_wrong_one_are_unauthorized(azure: FakeAzure, east: Resource, send: Send) -> None:
    missing = error_of(send(east, "POST", CHAT, json=BODY, key=False), 401)
    assert missing["code"] == "401"
    assert "Access token is missing" in missing["message"]
    key = error_of(send(east, "POST", CHAT, json=BODY, headers={"api-key": "wrong"}), 401)
    assert key["message"].startswith("Access denied due to invalid subscription key or wrong API endpoint.")
    for value in ("Bearer wrong", f"Basic {azure.token}", "Bearer", azure.token):
        headers = {"Authorization": value}
        token = error_of(send(east, "POST", CHAT, json=BODY, key=False, headers=headers), 401)
        assert "audience is incorrect" in token["message"]


def test_a_token_is_accepted_and_another_resources_is_not(azure: FakeAzure, east: Resource, send: Send) -> None:
    headers = {"Authorization": f"Bearer {azure.token}"}
    assert send(east, "POST", CHAT, json=BODY, key=False, headers=headers).status_code == 200
    east.tokens = {"its-own"}
    assert send(east, "POST", CHAT, json=BODY, key=False, headers=headers).status_code == 401
    headers = {"Authorization": "bearer its-own"}
    assert send(east, "POST", CHAT, json=BODY, key=False, headers=headers).status_code == 200


def test_the_key_as_a_bearer_is_good_on_v1_only(east: Resource, send: Send) -> None:
    headers = {"Authorization": f"Bearer {east.api_key}"}
    assert send(east, "POST", V1_CHAT, json=V1_BODY, key=False, headers=headers).status_code == 200
    assert send(east, "POST", CHAT, json=BODY, key=False, headers=headers).status_code == 401


def test_two_credentials_are_one_too_many(azure: FakeAzure, east: Resource, send: Send) -> None:
    headers = {"Authorization": f"Bearer {azure.token}"}
    error = error_of(send(east, "POST", CHAT, json=BODY, headers=headers), 400)
    assert error["code"] == "MultipleCredentials"
    assert [leak.kind for leak in azure.leaks] == ["two-credentials"]


def test_the_same_key_twice_is_good_where_a_test_allows_it(azure: FakeAzure, east: Resource, send: Send) -> None:
    headers = {"Authorization": f"Bearer {east.api_key}"}
    assert send(east, "POST", CHAT, json=BODY, headers=headers).status_code == 400
    east.accepts_key_twice = True
    assert send(east, "POST", CHAT, json=BODY, headers=headers).status_code == 200
    assert send(east, "POST", CHAT, json=BODY, headers={"Authorization": f"Bearer {azure.token}"}).status_code == 400


def test_the_header_of_the_key_may_be_another(east: Resource, send: Send) -> None:
    east.api_key_header = "Ocp-Apim-Subscription-Key"
    assert send(east, "POST", CHAT, json=BODY).status_code == 200
    assert send(east, "POST", CHAT, json=BODY, key=False, headers={"api-key": east.api_key}).status_code == 401
    assert send(east, "POST", CHAT, json=BODY, headers={"api-key": east.api_key}).status_code == 400


@pytest.mark.parametrize("headers", [{}, {"x-ms-oai-image-generation-deployment": "gone"}])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/openai/deployments/gone/chat/completions?api-version=2024-10-21", BODY),
        ("/openai/deployments/gone/chat/completions?api-version=2024-10-21", None),
        (V1_CHAT, {**BODY, "model": "gone"}),
        ("/openai/responses?api-version=2025-04-01-preview", {"model": "gone", "input": "hi"}),
        ("/openai/v1/realtime/client_secrets", {"session": {"type": "realtime", "model": "gone"}}),
    ],
)
def test_a_deployment_that_does_not_exist(
    east: Resource, send: Send, path: str, body: Any, headers: dict[str, str]
) -> None:
    error = error_of(send(east, "POST", path, json=body, headers=headers), 404)
    assert error["code"] == "DeploymentNotFound"
    assert error["message"].startswith("The API deployment for this resource does not exist.")


def test_the_deployment_of_a_form(east: Resource, send: Send) -> None:
    files = {"file": ("a.mp3", b"ID3", "audio/mpeg")}
    path = "/openai/v1/audio/transcriptions"
    assert send(east, "POST", path, data={"model": "whisper"}, files=files).status_code == 200
    assert east.requests[-1].deployment == "whisper"
    assert send(east, "POST", path, data={"model": "gone"}, files=files).status_code == 404
    assert error_of(send(east, "POST", path, files=files), 400)["message"] == "you must provide a model parameter"


def test_a_deployment_is_one_segment_percent_encoded(azure: FakeAzure, east: Resource, send: Send) -> None:
    assert east.deployments is not None
    east.deployments["a/b ü"] = "gpt-4o"
    response = send(east, "POST", CHAT.replace("gpt-4o", "a%2Fb%20%C3%BC"), json=BODY)
    assert response.json()["choices"][0]["message"]["content"] == "Hello from eastus/a/b ü: hi"
    assert send(east, "POST", CHAT.replace("gpt-4o", "a/b"), json=BODY).json() == NOT_FOUND


@pytest.mark.parametrize("model", [None, "", 7, ["gpt-4o"]])
def test_v1_wants_a_model(east: Resource, send: Send, model: Any) -> None:
    body = {**BODY, "model": model} if model is not None else BODY
    assert error_of(send(east, "POST", V1_CHAT, json=body), 400)["message"] == "you must provide a model parameter"


def test_classic_images_refuse_a_model_in_the_body(east: Resource, send: Send) -> None:
    path = "/openai/deployments/gpt-image-1/images/generations?api-version=2025-04-01-preview"
    error = error_of(send(east, "POST", path, json={"prompt": "x", "model": "gpt-image-1"}), 400)
    assert error["message"] == "The model 'gpt-image-1' does not exist."
    assert send(east, "POST", path, json={"prompt": "x"}).status_code == 200
    assert send(east, "POST", CHAT, json=V1_BODY).status_code == 200, "other operations ignore it"


def test_a_model_that_embeds_does_not_chat(east: Resource, send: Send) -> None:
    error = error_of(send(east, "POST", V1_CHAT, json={**BODY, "model": "text-embedding-3-small"}), 400)
    assert error["code"] == "OperationNotSupported"
    error = error_of(send(east, "POST", "/openai/v1/embeddings", json={"input": "x", "model": "gpt-4o"}), 400)
    assert error["message"].startswith("The embeddings operation does not work with the specified model, gpt-4o.")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"a":1}x', b"[" * 100_000])
def test_a_body_that_is_not_json(east: Resource, send: Send, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    error = error_of(send(east, "POST", V1_CHAT, content=content, headers=headers), 400)
    assert error["code"] == "invalid_json"
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"--x\r\n", "multipart/form-data"),
        (b"--y\r\n", "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n', "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Type: text/plain\r\n\r\nwhisper\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nwhisper\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (json.dumps(V1_BODY).encode(), "multipart/form-data; boundary=x"),
    ],
)
def test_a_body_that_is_not_multipart(east: Resource, send: Send, content: bytes, content_type: str) -> None:
    headers = {"content-type": content_type}
    response = send(east, "POST", "/openai/v1/audio/transcriptions", content=content, headers=headers)
    assert error_of(response, 400)["code"] == "invalid_multipart"


def test_a_body_of_another_type(east: Resource, send: Send) -> None:
    for headers in ({"content-type": "text/plain"}, {}):
        response = send(east, "POST", V1_CHAT, content=json.dumps(V1_BODY).encode(), headers=headers)
        assert error_of(response, 415)["code"] == "UnsupportedMediaType"


def test_gzipped_json_is_read(east: Resource, send: Send) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    content = gzip.compress(json.dumps(V1_BODY).encode())
    assert send(east, "POST", V1_CHAT, content=content, headers=headers).status_code == 200
    assert send(east, "POST", V1_CHAT, content=content[:-4], headers=headers).status_code == 415
    assert send(east, "POST", V1_CHAT, json=V1_BODY, headers={"content-encoding": "br"}).status_code == 415


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (V1_CHAT, {"model": "gpt-4o"}, "messages"),
        ("/openai/v1/embeddings", {"model": "text-embedding-3-small"}, "input"),
        ("/openai/v1/batches", {"endpoint": "/chat/completions"}, "input_file_id"),
    ],
)
def test_a_parameter_that_is_missing(east: Resource, send: Send, path: str, body: Any, name: str) -> None:
    assert error_of(send(east, "POST", path, json=body), 400)["message"] == f"Missing required parameter: '{name}'."


def test_a_gateway_with_a_prefix(east: Resource, send: Send) -> None:
    east.prefix = "/apim/za"
    assert send(east, "POST", "/apim/za" + CHAT, json=BODY).status_code == 200
    assert send(east, "POST", "/apim/za" + V1_CHAT, json=V1_BODY).status_code == 200
    assert send(east, "POST", CHAT, json=BODY).json() == NOT_FOUND
    assert send(east, "POST", "/apim/zab" + CHAT, json=BODY).json() == NOT_FOUND
    assert east.endpoint.endswith("/apim/za")
    assert east.host_endpoint == "https://eastus.openai.azure.com/apim/za"


def test_a_gateway_without_the_openai_segment(east: Resource, send: Send) -> None:
    east.prefix, east.bare = "/apim", True
    assert send(east, "POST", "/apim" + CHAT.removeprefix("/openai"), json=BODY).status_code == 200
    assert send(east, "POST", "/apim/v1/chat/completions", json=V1_BODY).status_code == 200
    assert send(east, "POST", "/apim/chat/completions", json=V1_BODY).status_code == 200
    assert send(east, "GET", "/apim/files?api-version=2024-10-21").status_code == 200
    assert send(east, "POST", "/apim" + CHAT, json=BODY).json() == NOT_FOUND
    assert east.v1_url == east.endpoint + "/v1"


def test_a_resource_named_without_deployments_has_them_all(library: Any) -> None:
    azure = FakeAzure(["one", "two"])
    client = library.Client(transport=azure.transport(library.__name__))
    for resource in azure:
        url = resource.host_endpoint + CHAT.replace("gpt-4o", "anything")
        response = client.post(url, json=BODY, headers={"api-key": resource.api_key})
        assert response.json()["choices"][0]["message"]["content"] == f"Hello from {resource.name}/anything: hi"
    assert len(azure) == 2
    assert azure["one"].deployments is None


def test_a_websocket_is_checked_and_not_simulated(east: Resource, send: Send) -> None:
    headers = {"upgrade": "websocket"}
    response = send(east, "GET", "/openai/v1/realtime?model=gpt-4o", headers=headers)
    assert error_of(response, 501)["code"] == "NotSimulated"
    assert send(east, "GET", "/openai/v1/realtime", headers={**headers, "api-key": "wrong"}).status_code == 401
    assert send(east, "GET", "/openai/v1/realtime").json() == NOT_FOUND
