"""Where a call goes and who signs it, by what the program and the patch say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azure_shim.client import PLACEHOLDER
from azure_shim.patching.legacy import clients
from azure_shim.patching.legacy.error import AuthenticationError, InvalidAPIType, InvalidRequestError
from azure_shim.patching.legacy.module_settings import Wishes, service_for
from azure_shim.testing import FakeAzure
from azure_shim.testing.resource import Resource
from tests.conftest import AMBIENT_KEY, Colour
from tests.patching.legacy.conftest import MESSAGES
from tests.servers import ScriptedServer

Call = Callable[..., Any]


def served(answer: Any) -> str:
    """Which resource and deployment an answer is from."""
    return str(answer.choices[0].message.content).removeprefix("Hello from ").partition(":")[0]


def test_without_a_word_from_the_program_it_is_the_patch_s(call: Call) -> None:
    assert served(call("ChatCompletion.create", model="gpt-4o", messages=MESSAGES)) == "eastus/prod"


@pytest.mark.parametrize("name", ["engine", "deployment_id"])
def test_an_engine_is_a_deployment_whatever_the_mapping(name: str, call: Call) -> None:
    """``gpt-4o`` is a model that the mapping has, and a deployment too."""
    answer = call("ChatCompletion.create", **{name: "gpt-4o"}, model="gpt-4o", messages=MESSAGES)
    assert (served(answer), answer.engine) == ("eastus/gpt-4o", "gpt-4o")


def test_an_engine_beats_the_default_deployment_and_the_strict_mapping(call: Call, settings: dict[str, Any]) -> None:
    settings["unmapped_models"] = "error"
    assert served(call("ChatCompletion.create", engine="gpt-4o", messages=MESSAGES)) == "eastus/gpt-4o"
    del settings["deployments"], settings["unmapped_models"]
    settings["azure_deployment"] = "prod"
    assert served(call("ChatCompletion.create", engine="gpt-4o", messages=MESSAGES)) == "eastus/gpt-4o"
    assert served(call("ChatCompletion.create", model="anything", messages=MESSAGES)) == "eastus/prod"


def test_an_engine_with_several_targets(call: Call, settings: dict[str, Any], azure: FakeAzure) -> None:
    targets = [
        {"name": r.name, "azure_endpoint": r.endpoint, "api_key": r.api_key, "deployments": {"x": "prod"}}
        for r in azure
    ]
    settings.clear()
    settings["config"] = {"strategy": {"mode": "fallback"}, "targets": targets}
    azure["eastus"].fail_next("503")
    assert served(call("ChatCompletion.create", engine="gpt-4o", messages=MESSAGES)) == "westus/gpt-4o"
    assert served(call("ChatCompletion.create", model="x", messages=MESSAGES)) == "westus/prod"


@pytest.mark.parametrize("api_type", ["azure", "Azure", "azure_ad", "azuread"])
def test_the_program_s_own_azure(api_type: str, call: Call, legacy: Any, azure: FakeAzure) -> None:
    """Its endpoint with its key, or its token; nothing of the patch's goes there."""
    west = azure["westus"]
    is_token = api_type.lower() != "azure"
    legacy.api_type, legacy.api_base = api_type, west.endpoint
    legacy.api_key = azure.token if is_token else west.api_key
    assert served(call("ChatCompletion.create", engine="prod", messages=MESSAGES)) == "westus/prod"
    signed = west.requests[0].headers
    assert ("authorization" in signed, "api-key" in signed) == (is_token, not is_token)


def test_a_call_s_own_words_win(call: Call, legacy: Any, azure: FakeAzure, east: Resource) -> None:
    legacy.api_type, legacy.api_base, legacy.api_key = "azure", east.endpoint, "wrong"
    west = azure["westus"]
    own = {"api_base": west.endpoint, "api_key": west.api_key, "api_version": "2024-10-21"}
    answer = call(
        "ChatCompletion.create", engine="prod", messages=MESSAGES, **own, headers={"x-own": "1"}, user="u", timeout=9
    )
    assert served(answer) == "westus/prod"
    assert answer.api_version == "2024-10-21"
    seen = west.requests[0]
    assert (seen.query, seen.headers["x-own"]) == ({"api-version": "2024-10-21"}, "1")
    assert seen.json() == {"model": "prod", "messages": MESSAGES, "user": "u"}


def test_the_environment_s_own_azure(monkeypatch: pytest.MonkeyPatch, module: Any, azure: FakeAzure) -> None:
    """0.x took Azure's key from ``OPENAI_API_KEY`` as well: here the environment says that it is Azure's."""
    from azure_shim.patching.legacy import install

    west = azure["westus"]
    for name, value in {"TYPE": "azure", "BASE": west.endpoint, "KEY": west.api_key, "VERSION": "2024-10-21"}.items():
        monkeypatch.setenv(f"OPENAI_API_{name}", value)
    undo = install(module, dict)
    try:
        assert (module.api_type, module.api_base, module.api_key) == ("azure", west.endpoint, west.api_key)
        assert served(module.ChatCompletion.create(engine="prod", messages=MESSAGES)) == "westus/prod"
    finally:
        undo()


def test_the_environment_s_openai_key_is_not_azure_s(call: Call, legacy: Any, azure: FakeAzure) -> None:
    """The fixtures look for the key in all that was sent."""
    legacy.api_type, legacy.api_base = "azure", azure["westus"].endpoint
    assert legacy.api_key == AMBIENT_KEY
    with pytest.raises(AuthenticationError, match="AZURE_OPENAI_API_KEY"):
        call("ChatCompletion.create", engine="prod", messages=MESSAGES)
    assert azure.requests == []


def test_azure_s_own_variables_sign_for_a_program_without_a_key(
    call: Call, legacy: Any, azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy.api_type, legacy.api_base = "azure", azure["westus"].endpoint
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", azure["westus"].api_key)
    assert served(call("ChatCompletion.create", engine="prod", messages=MESSAGES)) == "westus/prod"


def test_an_openai_key_is_not_sent_to_azure_s_hosts(call: Call, legacy: Any) -> None:
    legacy.api_type, legacy.api_base = "azure", "https://my-resource.openai.azure.com"
    with pytest.raises(AuthenticationError, match=r"not sent to my-resource\.openai\.azure\.com"):
        call("ChatCompletion.create", engine="prod", messages=MESSAGES, api_key="sk-explicit")


def test_a_gateway_s_own_key_may_look_like_openai_s(module: Any) -> None:
    wishes = Wishes(api_key="sk-gateway", api_base="https://gateway.example", api_type="azure")
    assert service_for(module, {}, wishes).arguments["api_key"] == "sk-gateway"


def test_the_endpoint_of_the_patch_named_again(call: Call, legacy: Any, east: Resource) -> None:
    """It is the patch's, with all that the patch says of it; a key of the program's wins."""
    legacy.api_type, legacy.api_base = "azure", east.endpoint + "/"
    assert served(call("ChatCompletion.create", model="gpt-4o", messages=MESSAGES)) == "eastus/prod"
    legacy.api_key = "wrong-key"
    with pytest.raises(AuthenticationError, match="invalid subscription key"):
        call("ChatCompletion.create", engine="prod", messages=MESSAGES)


def test_azure_without_an_endpoint_is_the_patch_s(
    call: Call, legacy: Any, east: Resource, settings: dict[str, Any]
) -> None:
    """The program's key signs only if nothing else does."""
    legacy.api_type, legacy.api_key, legacy.api_version = "azure", "not-a-key", "2024-10-21"
    assert served(call("ChatCompletion.create", engine="prod", messages=MESSAGES)) == "eastus/prod"
    assert east.requests[0].query == {"api-version": "2024-10-21"}
    del settings["api_key"]
    legacy.api_key = east.api_key
    assert served(call("ChatCompletion.create", engine="prod", messages=MESSAGES)) == "eastus/prod"


def test_another_host_is_asked_by_plain_openai(
    call: Call, legacy: Any, elsewhere: ScriptedServer, azure: FakeAzure
) -> None:
    legacy.api_base, legacy.api_key, legacy.organization = elsewhere.url + "/v1", "EMPTY", "org-local"
    assert call("ChatCompletion.create", model="llama", messages=MESSAGES).choices[0].message.content == "hello"
    call("ChatCompletion.create", engine="llama/2", messages=MESSAGES)
    first, second = elsewhere.requests
    assert (first.target, second.target) == ("/v1/chat/completions", "/v1/engines/llama%2F2/chat/completions")
    assert first.header("authorization") == "Bearer EMPTY"
    assert (first.header("openai-organization"), first.header("openai-project")) == ("org-local", None)
    assert first.header("x-ambient") is None
    assert azure.requests == []


def test_another_host_without_a_key(call: Call, legacy: Any, elsewhere: ScriptedServer) -> None:
    legacy.api_base, legacy.api_key = elsewhere.url + "/v1", PLACEHOLDER
    with pytest.raises(AuthenticationError, match="No API key provided"):
        call("ChatCompletion.create", model="llama", messages=MESSAGES)


def test_a_key_in_a_file(call: Call, legacy: Any, elsewhere: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-of-a-file\n")
    legacy.api_base, legacy.api_key_path = elsewhere.url + "/v1", str(path)
    call("ChatCompletion.create", model="llama", messages=MESSAGES)
    assert elsewhere.requests[0].header("authorization") == "Bearer sk-of-a-file"
    path.write_text("something else")
    with pytest.raises(ValueError, match="Malformed API key in"):
        call("ChatCompletion.create", model="llama", messages=MESSAGES)


def test_an_azure_key_in_a_file(call: Call, legacy: Any, azure: FakeAzure, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(azure["westus"].api_key)
    legacy.api_type, legacy.api_base, legacy.api_key_path = "azure", azure["westus"].endpoint, str(path)
    assert served(call("ChatCompletion.create", engine="prod", messages=MESSAGES)) == "westus/prod"


def test_an_unknown_type(call: Call, legacy: Any) -> None:
    legacy.api_type = "asure"
    with pytest.raises(InvalidAPIType, match="'azure', 'azure_ad', 'open_ai'"):
        call("ChatCompletion.create", model="gpt-4o", messages=MESSAGES)


@pytest.mark.parametrize(("api_type", "other"), [("azure", "deployment_id"), ("open_ai", "model")])
def test_neither_an_engine_nor_a_model(api_type: str, other: str, call: Call) -> None:
    named = "<class 'openai.api_resources.chat_completion.ChatCompletion'>"
    with pytest.raises(InvalidRequestError) as caught:
        call("ChatCompletion.create", api_type=api_type, messages=MESSAGES)
    assert str(caught.value) == f"Must provide an 'engine' or '{other}' parameter to create a {named}"
    assert caught.value.param == "engine"


def test_settings_that_cannot_work(call: Call, settings: dict[str, Any]) -> None:
    settings["api_version"] = "yesterday"
    with pytest.raises(InvalidRequestError, match="api_version: 'yesterday' is no api-version"):
        call("ChatCompletion.create", model="gpt-4o", messages=MESSAGES)


def test_headers_are_a_dict_of_strings(call: Call) -> None:
    for headers, words in (([], "must be a dict"), ({1: "x"}, "keys must be"), ({"x": 1}, "values must be")):
        with pytest.raises(TypeError, match=words):
            call("ChatCompletion.create", engine="prod", messages=MESSAGES, headers=headers)


def test_a_request_id_is_sent(call: Call, east: Resource) -> None:
    call("ChatCompletion.create", engine="prod", messages=MESSAGES, request_id="mine")
    assert east.requests[0].headers["x-request-id"] == "mine"


@pytest.mark.parametrize("by_scheme", [False, True])
def test_a_proxy(by_scheme: bool, call: Call, legacy: Any, server: ScriptedServer, azure: FakeAzure) -> None:
    legacy.proxy = {"http": server.url, "https": "http://127.0.0.1:9"} if by_scheme else server.url
    call("ChatCompletion.create", engine="prod", messages=MESSAGES)
    assert server.requests[0].target == f"{azure['eastus'].endpoint}/openai/v1/chat/completions"
    assert azure.requests == []


def test_a_proxy_that_is_none(call: Call, legacy: Any) -> None:
    legacy.proxy = 8080
    with pytest.raises(ValueError, match=r"'openai\.proxy' must be specified as"):
        call("ChatCompletion.create", engine="prod", messages=MESSAGES)


def test_a_session_of_requests_is_said_to_be_of_no_use(call: Call, legacy: Any) -> None:
    legacy.requestssession = object()
    with pytest.warns(UserWarning, match="requestssession is not used"):
        call("ChatCompletion.create", engine="prod", messages=MESSAGES)


def test_clients_are_kept_while_settings_are_equal(
    call: Call, legacy: Any, azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no longer than there is room for them: a program may have a new token for each call."""
    made = []
    make = clients._make
    monkeypatch.setattr(clients, "_make", lambda *args, **kwargs: made.append(1) or make(*args, **kwargs))
    for _ in range(3):
        call("ChatCompletion.create", model="gpt-4o", messages=MESSAGES)
    assert len(made) == 1
    legacy.api_type, legacy.api_base = "azure_ad", azure["westus"].endpoint
    for number in range(clients._KEPT):
        azure["westus"].tokens.add(f"token-{number}")
        call("ChatCompletion.create", model="prod", messages=MESSAGES, api_key=f"token-{number}")
    assert len(clients._clients) == clients._KEPT
    made.clear()
    legacy.api_type, legacy.api_base = "open_ai", None
    call("ChatCompletion.create", model="gpt-4o", messages=MESSAGES)
    assert len(made) == 1


def test_an_async_client_is_closed_with_its_loop(legacy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    make = clients._client
    monkeypatch.setattr(clients, "_client", lambda *args, **kwargs: made.append(make(*args, **kwargs)) or made[-1])

    async def main() -> None:
        await legacy.ChatCompletion.acreate(model="gpt-4o", messages=MESSAGES)
        assert not made[-1].is_closed()

    asyncio.run(main())
    asyncio.run(main())
    assert [client.is_closed() for client in made] == [True, True]


def test_where_the_patch_is_not_in_effect(module: Any, colour: Colour) -> None:
    """None for the settings says so, and so does the undoing, to who has kept a class."""
    import openai

    from azure_shim.patching.legacy import install

    undo = install(module, lambda: None)
    kept = module.ChatCompletion
    method = kept.acreate if colour.is_async else kept.create
    with pytest.raises(openai.OpenAIError, match=r"openai\.ChatCompletion is of openai 0\.x"):
        colour.call(method, model="gpt-4o", messages=MESSAGES)
    undo()
    with pytest.raises(openai.OpenAIError, match=r"openai\.ChatCompletion is of openai 0\.x"):
        colour.call(method, model="gpt-4o", messages=MESSAGES)
