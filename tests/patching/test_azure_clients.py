"""``include_azure``: the SDK's own Azure clients go to the patch's targets as well, whatever theirs say (P59)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.conftest import Colour
from tests.patching.support import MESSAGES, at, chat, depth, is_routed, kept, openais, streamed
from tests.servers import ScriptedServer

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")
THEIR_KEY = "the-key-of-an-old-resource-0123456789"


def azures(colour: Colour, url: str, **more: Any) -> Any:
    arguments = {"azure_endpoint": url, "api_key": THEIR_KEY, "api_version": "2024-10-21", "max_retries": 0, **more}
    return kept(colour, colour.azure(**arguments))


@pytest.mark.parametrize("version", [None, "2024-10-21"], ids=["v1", "classic"])
def test_they_go_to_the_patchs_target(
    version: Any, colour: Colour, patch: Patch, east: Resource, elsewhere: ScriptedServer
) -> None:
    patch(include_azure=True, api_version=version)
    client = azures(colour, elsewhere.url)
    for each in (client, client.with_options(timeout=4), client.copy(api_key="another"), openais(colour)):
        assert is_routed(colour, each, east)
    assert streamed(colour, client)
    assert colour.call(client.embeddings.create, model="text-embedding-3-small", input="a").data
    uploaded = colour.call(client.files.create, file=("a.jsonl", b"{}\n"), purpose="assistants")
    assert colour.call(client.files.retrieve, uploaded.id).id == uploaded.id
    assert {request.refused for request in east.requests} == {None}
    for request in east.requests:
        assert request.headers["api-key"] == east.api_key
        assert "authorization" not in request.headers
        assert THEIR_KEY not in str(request.headers.raw)
    assert elsewhere.requests == []
    assert type(client) is (openai.AsyncAzureOpenAI if colour.is_async else openai.AzureOpenAI)
    assert depth(client._client) == 1


def test_a_deployment_of_their_own_is_the_deployment(
    colour: Colour, patch: Patch, east: Resource, elsewhere: ScriptedServer
) -> None:
    patch(include_azure=True)
    chat(colour, azures(colour, elsewhere.url, azure_deployment="prod-4o"), model="anything")
    assert east.requests[0].deployment == "prod-4o"
    assert east.requests[0].refused is None


def test_a_token_of_theirs_stays_here(colour: Colour, patch: Patch, east: Resource, elsewhere: ScriptedServer) -> None:
    patch(include_azure=True)
    asked: list[str] = []

    def provider() -> str:
        asked.append("asked")
        return "their-token"

    client = azures(colour, elsewhere.url, api_key=None, azure_ad_token_provider=provider)
    assert is_routed(colour, client, east)
    assert "their-token" not in str(east.requests[0].headers.raw)


def test_without_it_they_go_where_they_went(
    colour: Colour, patch: Patch, azure: FakeAzure, elsewhere: ScriptedServer
) -> None:
    patch()
    chat(colour, azures(colour, elsewhere.url))
    assert elsewhere.requests[0].header("api-key") == THEIR_KEY
    assert azure.requests == []


def test_it_ends_with_the_patch(colour: Colour, patch: Patch, azure: FakeAzure, elsewhere: ScriptedServer) -> None:
    patch(include_azure=True)
    patch()
    chat(colour, azures(colour, elsewhere.url))
    azure_shim.unpatch()
    chat(colour, azures(colour, elsewhere.url))
    with azure_shim.patched(**at(azure["westus"]), include_azure=True):
        assert is_routed(colour, azures(colour, elsewhere.url), azure["westus"])
    chat(colour, azures(colour, elsewhere.url))
    assert len(elsewhere.requests) == 3


def test_the_module_with_azures_settings_goes_there_too(
    patch: Patch, east: Resource, elsewhere: ScriptedServer
) -> None:
    openai.api_type, openai.azure_endpoint, openai.api_version = "azure", elsewhere.url, "2024-10-21"
    openai.api_key = THEIR_KEY
    patch(include_azure=True)
    assert openai.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices
    assert [request.refused for request in east.requests] == [None]
    assert THEIR_KEY not in str(east.requests[0].headers.raw)
    assert elsewhere.requests == []
    assert openai.api_type == "azure"


def test_a_client_of_a_scope_keeps_to_it(
    colour: Colour, east: Resource, elsewhere: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_CUSTOM_HEADERS")
    with azure_shim.patched(**at(east), include_azure=True):
        client = azures(colour, elsewhere.url)
    for each in (client, client.copy(), client.with_options(timeout=3)):
        assert is_routed(colour, each, east)
    assert elsewhere.requests == []
