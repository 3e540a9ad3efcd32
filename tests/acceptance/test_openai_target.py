"""OpenAI as a target, played by a loopback server: it gets its own key and model, and nothing that is Azure's."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure
from tests.conftest import AMBIENT_KEY, Colour
from tests.fleets import (
    DOSES,
    MESSAGES,
    MODEL,
    PIN,
    assert_nothing_of_ours,
    at,
    chat,
    connect,
    failure,
    names_of,
    pin,
    plan,
    raw_chat,
)
from tests.servers import CHAT, LAST_CHUNK, ScriptedServer, Seen, answer, chunk, chunked

KEY = "sk-of-the-platform-0123456789"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": [MODEL]}) as found:
        yield found
        assert found.leaks == []


@pytest.fixture(params=DOSES)
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def platform(server: ScriptedServer, **more: Any) -> dict[str, Any]:
    return {"provider": "openai", "name": "platform", "base_url": f"{server.url}/v1", "api_key": KEY, **more}


def both(azure: FakeAzure, server: ScriptedServer, **more: Any) -> dict[str, Any]:
    """Azure first, OpenAI if that cannot serve."""
    return plan("fallback", at(azure["eastus"]), platform(server, **more))


def assert_is_openais(seen: Seen, azure: FakeAzure) -> None:
    assert seen.header("authorization") == f"Bearer {KEY}"
    assert names_of(seen).isdisjoint(("api-key", "ocp-apim-subscription-key", "cookie"))
    text = f"{seen.target}{seen.headers}{seen.body!r}"
    for secret in (azure["eastus"].api_key, azure.token, AMBIENT_KEY, "of-nobody"):
        assert secret not in text
    assert "api-version" not in seen.target
    assert not {name for name in names_of(seen) if "azure-shim" in name}


@pytest.mark.parametrize("version", ["2024-10-21", "v1"])
def test_a_call_that_azure_cannot_serve_goes_to_openai_as_one_of_its_own(
    version: str, dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    config = plan("fallback", at(azure["eastus"], api_version=version), platform(server))
    client = connect(dose, colour, config)
    azure["eastus"].fail_next("429_call_rate")
    answered = raw_chat(colour, client)
    assert answered.headers[PIN] == "platform"
    (seen,) = server.requests
    assert (seen.method, seen.target) == ("POST", "/v1/chat/completions")
    assert seen.json() == {"model": MODEL, "messages": MESSAGES}
    assert_is_openais(seen, azure)


def test_typed_and_nested_as_the_last_resort(colour: Colour, azure: FakeAzure, server: ScriptedServer) -> None:
    east = azure_shim.AzureTarget(**at(azure["eastus"]))
    last = {key: value for key, value in platform(server).items() if key != "provider"}
    config = azure_shim.Fallback([azure_shim.LoadBalance([east]), azure_shim.OpenAITarget(**last)])
    client = colour.client(config=config)
    assert chat(colour, client).startswith("Hello from eastus")
    assert server.connections == 0
    azure["eastus"].stop()
    assert chat(colour, client) == "hello"
    assert_is_openais(server.requests[0], azure)


def test_openai_is_no_target_unless_it_is_one(dose: str, colour: Colour, azure: FakeAzure) -> None:
    """Although its key is in the environment."""
    client = connect(dose, colour, plan("fallback", at(azure["eastus"])), max_retries=0)
    azure["eastus"].stop()
    failure(lambda: chat(colour, client), openai.APIConnectionError)
    assert azure.requests == []


def test_a_target_of_openais_takes_its_key_from_the_environment(
    colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    target = platform(server)
    del target["api_key"]
    client = colour.client(config=plan("fallback", at(azure["eastus"]), target))
    assert chat(colour, client).startswith("Hello from eastus")
    assert AMBIENT_KEY not in str(azure.requests[0].headers.raw)
    assert chat(colour, client, **pin("platform")) == "hello"
    assert server.requests[0].header("authorization") == f"Bearer {AMBIENT_KEY}"


def test_a_service_that_speaks_like_it_keeps_its_path(colour: Colour, server: ScriptedServer) -> None:
    client = colour.client(config=plan("single", platform(server, base_url=f"{server.url}/proxy/of/ours/v1")))
    assert chat(colour, client) == "hello"
    assert server.requests[0].target == "/proxy/of/ours/v1/chat/completions"


def test_a_path_without_v1_is_kept_too(colour: Colour, server: ScriptedServer) -> None:
    client = colour.client(config=plan("single", platform(server, base_url=f"{server.url}/api")))
    assert chat(colour, client) == "hello"
    assert server.requests[0].target == "/api/chat/completions"


def test_organization_and_project_go_to_it_alone(
    dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    config = both(azure, server, organization="org-of-ours", project="proj-of-ours")
    client = connect(dose, colour, config)
    chat(colour, client)
    chat(colour, client, **pin("platform"))
    (seen,) = server.requests
    assert (seen.header("openai-organization"), seen.header("openai-project")) == ("org-of-ours", "proj-of-ours")
    assert_is_openais(seen, azure)
    assert_nothing_of_ours(*azure.requests)


def test_the_ambient_organization_goes_nowhere(colour: Colour, azure: FakeAzure, server: ScriptedServer) -> None:
    client = colour.client(config=both(azure, server))
    chat(colour, client, **pin("platform"))
    assert names_of(server.requests[0]).isdisjoint(("openai-organization", "openai-project", "x-ambient"))


def test_openais_own_azure_client_gets_through_to_it(
    colour: Colour, library: Any, azure: FakeAzure, server: ScriptedServer
) -> None:
    """It writes the deployment into the path; OpenAI wants a model in the body."""
    http_client = colour.http_client(config=both(azure, server), library=library.__name__)
    client = colour.azure(
        azure_endpoint="https://somewhere.openai.azure.com",
        api_key="a-key-of-somewhere",
        api_version="2023-05-15",
        http_client=http_client,
    )
    azure["eastus"].fail_next("503")
    assert chat(colour, client) == "hello"
    (seen,) = server.requests
    assert seen.target == "/v1/chat/completions"
    assert seen.json()["model"] == MODEL
    assert_is_openais(seen, azure)
    assert "a-key-of-somewhere" not in str(seen)


# -- override_params, and the model's name


def test_override_params_are_merged_over_json_for_it_alone(
    dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    override = {"model": "gpt-4-turbo", "temperature": 0.5, "service_tier": "flex"}
    client = connect(dose, colour, both(azure, server, override_params=override))
    azure["eastus"].fail_next("429_call_rate")
    chat(colour, client, temperature=1.0, max_tokens=5)
    assert azure.requests[0].json() == {"model": MODEL, "messages": MESSAGES, "temperature": 1.0, "max_tokens": 5}
    (seen,) = server.requests
    assert seen.json() == {"messages": MESSAGES, "max_tokens": 5, **override}
    assert seen.header("content-length") == str(len(seen.body))


@pytest.mark.parametrize("how", ["at once", "after Azure"])
def test_override_params_are_merged_over_a_form(
    how: str, dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    server.script = lambda seen: [answer({"text": "hello"})]
    client = connect(dose, colour, both(azure, server, override_params={"model": "whisper-1", "language": "de"}))
    sound = io.BytesIO(b"RIFF" + bytes(range(256)) * 8)
    sound.name = "a.wav"
    azure["eastus"].deployments = {"whisper": "whisper"}
    azure["eastus"].fail_next("429_call_rate")
    call = {"model": "whisper", "file": sound, "language": "en", "prompt": "p"}
    more = pin("platform") if how == "at once" else {}
    made = colour.call(client.audio.transcriptions.create, **call, **more)
    assert made.text == "hello"
    (seen,) = server.requests
    assert seen.target == "/v1/audio/transcriptions"
    parts = parts_of(seen)
    assert parts["model"] == b"whisper-1"
    assert parts["language"] == b"de"
    assert parts["prompt"] == b"p"
    assert parts["file"] == sound.getvalue()
    assert seen.header("content-length") == str(len(seen.body))
    assert_is_openais(seen, azure)
    for request in azure.requests:
        assert b"whisper-1" not in request.body
        assert sound.getvalue() in request.body
    assert len(azure.requests) == (how == "after Azure")


def parts_of(seen: Seen) -> dict[str, bytes]:
    """The fields of a form, which are all there once."""
    boundary = (seen.header("content-type") or "").partition("boundary=")[2].encode()
    found: dict[str, bytes] = {}
    for part in seen.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        assert name not in found
        found[name] = content
    return found


def said(model: str, text: str = "hello") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {**CHAT, "model": model, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


@pytest.mark.parametrize("how", ["override_params", "deployments"])
@pytest.mark.parametrize("answered", ["gpt-4", "gpt-4-0613"])
def test_the_answer_has_the_name_that_the_caller_used(
    answered: str, how: str, dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    server.script = lambda seen: [answer(said(answered, f'I am "model": "{answered}"'))]
    more: dict[str, Any] = (
        {"override_params": {"model": "gpt-4"}} if how == "override_params" else {"deployments": {MODEL: "gpt-4"}}
    )
    client = connect(dose, colour, both(azure, server, **more))
    azure["eastus"].fail_next("429_call_rate")
    made = colour.call(client.chat.completions.create, model=MODEL, messages=MESSAGES)
    assert server.requests[0].json()["model"] == "gpt-4"
    assert made.model == MODEL
    assert made.choices[0].message.content == f'I am "model": "{answered}"'


def test_a_stream_has_the_name_that_the_caller_used(
    dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    events = [
        {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt-4-0613",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
        }
        for text in ("gpt-4", ' "model": "gpt-4"')
    ]
    body = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events) + b"data: [DONE]\n\n"
    server.script = lambda seen: [chunked(), *(chunk(body[at : at + 7]) for at in range(0, len(body), 7)), LAST_CHUNK]
    client = connect(dose, colour, both(azure, server, override_params={"model": "gpt-4"}))
    azure["eastus"].fail_next("429_call_rate")
    stream = colour.call(client.chat.completions.create, model=MODEL, messages=MESSAGES, stream=True)
    chunks = colour.list(stream)
    assert {one.model for one in chunks} == {MODEL}
    assert "".join(one.choices[0].delta.content for one in chunks) == 'gpt-4 "model": "gpt-4"'


def test_an_answer_of_azures_keeps_the_name_that_azure_gave(
    dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    client = connect(dose, colour, both(azure, server, override_params={"model": "gpt-4"}))
    made = colour.call(client.chat.completions.create, model=MODEL, messages=MESSAGES)
    assert made.model.startswith(MODEL)
    assert server.connections == 0


# -- what only Azure knows

SEARCH = {"data_sources": [{"type": "azure_search", "parameters": {"endpoint": "https://s", "index_name": "i"}}]}


def test_data_sources_are_refused_by_name_and_not_sent(
    dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    client = connect(dose, colour, plan("single", platform(server)))
    error = failure(lambda: chat(colour, client, extra_body=SEARCH), openai.BadRequestError)
    assert "data_sources" in str(error)
    assert server.connections == 0


def test_data_sources_stay_with_azure_when_it_cannot_serve(
    dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    client = connect(dose, colour, both(azure, server), max_retries=0)
    azure["eastus"].fail_next("429_call_rate", retry_after=3)
    error = failure(lambda: chat(colour, client, extra_body=SEARCH), openai.RateLimitError)
    assert [a.target for a in azure_shim.attempts(error)] == ["eastus"]
    assert server.connections == 0
    assert azure.requests[0].json()["data_sources"] == SEARCH["data_sources"]


def test_data_sources_pinned_to_openai_are_refused(colour: Colour, azure: FakeAzure, server: ScriptedServer) -> None:
    client = colour.client(config=both(azure, server))
    error = failure(
        lambda: chat(colour, client, extra_body=SEARCH, extra_headers={PIN: "platform"}), openai.BadRequestError
    )
    assert "data_sources" in str(error)
    assert server.connections == 0
    assert azure.requests == []


def test_words_that_only_look_like_it_are_sent(colour: Colour, azure: FakeAzure, server: ScriptedServer) -> None:
    client = colour.client(config=both(azure, server))
    messages = [{"role": "user", "content": 'what is "data_sources": []?'}]
    assert chat(colour, client, messages=messages, metadata={"data_sources": "x"}, **pin("platform")) == "hello"


# -- when it fails


def test_openais_errors_are_the_callers_and_its_key_is_in_none(
    dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    body = {"error": {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}}
    server.script = lambda seen: [answer(body, 429)]
    client = connect(dose, colour, both(azure, server), max_retries=0)
    azure["eastus"].fail_next("429_call_rate")
    error = failure(lambda: chat(colour, client), openai.RateLimitError)
    assert error.code == "insufficient_quota"
    assert [(a.target, a.status) for a in azure_shim.attempts(error)] == [("eastus", 429), ("platform", 429)]
    for text in (str(error), repr(error), repr(error.request.headers), repr(error.response.request.headers)):
        assert KEY not in text
        assert azure["eastus"].api_key not in text


def test_a_key_that_openai_refuses_cools_it_down(colour: Colour, azure: FakeAzure, server: ScriptedServer) -> None:
    server.script = lambda seen: [answer({"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}, 401)]
    client = colour.client(config=plan("fallback", platform(server), at(azure["eastus"])), max_retries=0)
    for _ in range(3):
        assert chat(colour, client).startswith("Hello from eastus")
    assert len(server.requests) == 1
    assert client.health()[0].state == "cooling"


def test_a_redirect_between_azure_and_openai_takes_no_key_along(
    dose: str, colour: Colour, azure: FakeAzure, server: ScriptedServer
) -> None:
    server.script = lambda seen: [answer({"object": "list", "data": []})]
    client = connect(dose, colour, both(azure, server), max_retries=0)
    azure["eastus"].fail_next("redirect", location=f"{server.url}/v1/models")
    colour.call(client.models.list, **pin("eastus"))
    (seen,) = server.requests
    assert names_of(seen).isdisjoint(("authorization", "api-key"))
    assert azure["eastus"].api_key not in str(seen)
    assert KEY not in str(seen)
    server.script = lambda seen: [answer(b"", 307, {"location": f"{azure['eastus'].v1_url}/models"})]
    failure(lambda: colour.call(client.models.list, **pin("platform")), openai.AuthenticationError)
    assert set(azure.requests[-1].headers).isdisjoint(("authorization", "api-key"))
