"""Faults: each preset's answer, how often, in which order, and what happens to a connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from azure_shim.testing import FakeAzure, FakeResponse, Recorded, Resource
from azure_shim.testing.faults import PRESETS

Client = Callable[..., Any]
CHAT = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
BODY = {"messages": [{"role": "user", "content": "hi there"}]}
STREAM = {**BODY, "stream": True}


@pytest.mark.parametrize(
    ("preset", "status", "code", "text"),
    [
        ("401_key", 401, "401", "invalid subscription key"),
        ("401_rbac", 401, "PermissionDenied", "lacks the required data action"),
        ("401_token", 401, "401", "audience is incorrect"),
        ("403_network", 403, "403", "Virtual Network/Firewall rules"),
        ("404_deployment", 404, "DeploymentNotFound", "does not exist"),
        ("408", 408, "Timeout", "The operation was timeout."),
        ("429_call_rate", 429, "429", "exceeded call rate limit"),
        ("429_high_demand", 429, "429", "high demand"),
        ("429_token_rate", 429, "429", "exceeded token rate limit"),
        ("500", 500, None, "The server had an error processing your request."),
        ("503", 503, "ServiceUnavailable", "temporarily unable"),
        ("content_filter", 400, "content_filter", "content management policy"),
    ],
)
def test_an_error_has_azures_body(
    east: Resource, send: Client, preset: str, status: int, code: str | None, text: str
) -> None:
    fault = east.fail_next(preset)
    assert not fault.reached.is_set()
    response = send(east, "POST", CHAT, json=BODY)
    assert fault.reached.is_set()
    assert response.status_code == status
    assert response.headers["apim-request-id"]
    assert response.json()["error"]["code"] == code
    assert text in response.json()["error"]["message"]
    assert east.requests[-1].refused is None, "the request was sound"
    assert send(east, "POST", CHAT, json=BODY).status_code == 200


def test_what_a_filter_says_has_its_details(east: Resource, send: Client) -> None:
    east.fail_next("content_filter")
    error = send(east, "POST", CHAT, json=BODY).json()["error"]
    assert error["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert error["innererror"]["content_filter_result"]["sexual"] == {"filtered": True, "severity": "high"}


@pytest.mark.parametrize(
    ("preset", "status", "kind", "text"),
    [
        ("502_html", 502, "text/html", "Bad Gateway"),
        ("503_plain", 503, "text/plain", "upstream connect error"),
        ("html_200", 200, "text/html", "Sign in"),
        ("cut_json_200", 200, "application/json", '{"id":"chatcmpl-cut"'),
    ],
)
def test_answers_that_are_no_errors_of_azures(
    east: Resource, send: Client, preset: str, status: int, kind: str, text: str
) -> None:
    east.fail_next(preset)
    response = send(east, "POST", CHAT, json=BODY)
    assert (response.status_code, response.headers["content-type"]) == (status, kind)
    assert text in response.text


def test_retry_after_is_in_both_headers_and_in_the_text(east: Resource, send: Client) -> None:
    east.fail_next("429_token_rate", retry_after=7)
    response = send(east, "POST", CHAT, json=BODY)
    assert (response.headers["retry-after"], response.headers["retry-after-ms"]) == ("7", "7000")
    assert "Please retry after 7 seconds" in response.json()["error"]["message"]
    east.fail_next("503", retry_after=3, headers={"x-should-retry": "false"})
    response = send(east, "POST", CHAT, json=BODY)
    assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("3", "false")
    east.fail_next("429_call_rate", headers={"Retry-After": "86400", "retry-after-ms": "1"})
    response = send(east, "POST", CHAT, json=BODY)
    assert response.headers.get_list("retry-after") == ["86400"]


def test_a_status_of_the_tests_own(east: Resource, send: Client) -> None:
    east.fail_next(status=424, code="FailedDependency", message="no")
    response = send(east, "POST", CHAT, json=BODY)
    assert response.status_code == 424
    assert response.json() == {"error": {"code": "FailedDependency", "message": "no"}}
    east.fail_next("503", status=504, code="GatewayTimeout")
    response = send(east, "POST", CHAT, json=BODY)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "GatewayTimeout")


def test_a_redirect(east: Resource, send: Client) -> None:
    east.fail_next("redirect", location="https://elsewhere.invalid/x", status=308)
    response = send(east, "POST", CHAT, json=BODY)
    assert (response.status_code, response.headers["location"]) == (308, "https://elsewhere.invalid/x")
    with pytest.raises(ValueError, match="needs a location"):
        east.fail_next("redirect")


def test_faults_wait_in_line(east: Resource, send: Client) -> None:
    east.fail_next("429_token_rate", times=2)
    east.fail_next("500")
    statuses = [send(east, "POST", CHAT, json=BODY).status_code for _ in range(4)]
    assert statuses == [429, 429, 500, 200]
    east.fail_next("503", times=None)
    assert [send(east, "POST", CHAT, json=BODY).status_code for _ in range(3)] == [503] * 3
    east.heal()
    assert send(east, "POST", CHAT, json=BODY).status_code == 200


def test_a_fault_is_one_resources(east: Resource, west: Resource, send: Client) -> None:
    west.fail_next("500")
    assert send(east, "POST", CHAT, json=BODY).status_code == 200
    assert send(west, "POST", CHAT.replace("gpt-4o", "prod-4o"), json=BODY).status_code == 500


def test_what_cannot_be_asked_for(east: Resource) -> None:
    with pytest.raises(ValueError, match="no preset '418'; there are: 401_key"):
        east.fail_next("418")
    with pytest.raises(ValueError, match="needs a preset or a status"):
        east.fail_next()
    with pytest.raises(ValueError, match="times is 0"):
        east.fail_next("500", times=0)
    assert "reset" in PRESETS


def test_a_fault_does_not_hide_a_request_that_azure_would_refuse(
    azure: FakeAzure, east: Resource, send: Client
) -> None:
    east.fail_next("503")
    assert send(east, "POST", CHAT.replace("gpt-4o", "gone"), json=BODY).status_code == 503
    assert [request.refused for request in azure.refused] == ["DeploymentNotFound"]


def test_an_answer_of_the_tests_own(east: Resource, send: Client) -> None:
    def answer(request: Recorded) -> FakeResponse:
        return FakeResponse.json({"path": request.path}, 201, {"x-mine": "1"})

    east.answer_next(answer)
    response = send(east, "GET", "/any/path")
    assert (response.status_code, response.json(), response.headers["x-mine"]) == (201, {"path": "/any/path"}, "1")
    east.answer_next(lambda request: FakeResponse(200, {"content-type": "text/plain"}, iter([b"a", b"b"])))
    assert send(east, "GET", "/any/path").text == "ab"


def test_an_error_in_a_stream(v1: Client, east: Resource) -> None:
    east.fail_next("error_in_stream")
    stream = v1(east).chat.completions.create(model="gpt-4o", **STREAM)
    chunks = []
    with pytest.raises(openai.APIError, match="The server had an error"):
        chunks.extend(stream)
    east.fail_next("error_in_stream")
    with pytest.raises(openai.InternalServerError):
        v1(east).chat.completions.create(model="gpt-4o", **BODY)


def test_a_reset_connection(library: Any, east: Resource, send: Client) -> None:
    east.fail_next("reset")
    with pytest.raises((library.ReadError, library.RemoteProtocolError)):
        send(east, "POST", CHAT, json=BODY)
    assert east.requests[-1].done.wait(10)
    assert east.requests[-1].delivered is False
    assert send(east, "POST", CHAT, json=BODY).status_code == 200


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
def test_a_reset_in_the_middle_of_a_body(library: Any, east: Resource, send: Client, body: Any) -> None:
    east.fail_next("reset_mid_body")
    with pytest.raises((library.ReadError, library.RemoteProtocolError)):
        send(east, "POST", CHAT, json=body)
    assert east.requests[-1].done.wait(10)
    assert east.requests[-1].delivered is False


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
def test_a_trickle_is_the_whole_answer(east: Resource, send: Client, body: Any) -> None:
    pauses: list[float] = []
    east.sleep = pauses.append
    east.fail_next("trickle")
    response = send(east, "POST", CHAT, json=body)
    assert response.status_code == 200
    assert "eastus" in response.text


@pytest.mark.parametrize("preset", ["stall", "stall_mid_body"])
def test_a_stall_times_out(library: Any, east: Resource, send: Client, preset: str) -> None:
    fault = east.fail_next(preset)
    with pytest.raises(library.ReadTimeout):
        send(east, "POST", CHAT, json=BODY, timeout=0.05)
    assert fault.reached.is_set()
    assert east.requests[-1].done.wait(10), "the server sees the client go"
    assert east.requests[-1].delivered is False


@pytest.mark.parametrize("preset", ["stall", "stall_mid_body"])
@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
def test_a_stall_that_is_released_goes_on(openais_library: Any, east: Resource, preset: str, body: Any) -> None:
    fault = east.fail_next(preset)
    answers = []

    def call() -> None:
        with openais_library.Client() as client:
            answers.append(client.post(east.endpoint + CHAT, json=body, headers={"api-key": east.api_key}))

    thread = threading.Thread(target=call)
    thread.start()
    assert fault.reached.wait(10)
    fault.release()
    thread.join(10)
    assert answers[0].status_code == 200
    assert "eastus" in answers[0].text
