"""A client that is aimed at another service sends, under the patch, what it would have sent without it (P31, P59)."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.conftest import MAJOR, Colour
from tests.patching.support import (
    MESSAGES,
    OPENAI_URL,
    OWN_KEY,
    chat,
    depth,
    is_routed,
    kept,
    openais,
    seen,
    streamed,
    taken,
)
from tests.servers import ScriptedServer, answer

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")


def built(how: str, colour: Colour, url: str) -> Any:
    """A client of another service, built as ``how`` says."""
    options: dict[str, Any] = {"max_retries": 0}
    if how == "base_url":
        return colour.plain(base_url=f"{url}/v1", api_key="ollama", **options)
    if how == "base_url of the library":
        library = type(colour.plain()._base_url)
        return colour.plain(base_url=library(f"{url}/v1"), api_key="ollama", **options)
    if how == "OPENAI_BASE_URL":
        return colour.plain(**options)
    if how == "many options":
        more = {"organization": "org-theirs", "project": "proj-theirs", "timeout": 7, "default_query": {"a": "b"}}
        return colour.plain(base_url=url, api_key="k", default_headers={"X-Mine": "1"}, **more, **options)
    if how == "AzureOpenAI":
        return colour.azure(azure_endpoint=url, api_key="their-key", api_version="2024-10-21", **options)
    if how == "AzureOpenAI with a token":
        return colour.azure(azure_endpoint=url, azure_ad_token="their-token", api_version="2024-10-21", **options)
    if how == "BedrockOpenAI":
        kind = openai.AsyncBedrockOpenAI if colour.is_async else openai.BedrockOpenAI
        return kind(base_url=f"{url}/v1", api_key="bedrock", aws_region="us-east-1", **options)
    from openai.providers import bedrock, vertex

    if how == "provider=bedrock":
        provider = bedrock(base_url=f"{url}/v1", api_key="bedrock", region="us-east-1")
        return colour.plain(provider=provider, **options)
    assert how == "provider=vertex"

    async def token() -> str:
        return "google"

    return colour.plain(
        provider=vertex(base_url=f"{url}/v1", token_provider=token if colour.is_async else lambda: "google"), **options
    )


WAYS = ["base_url", "base_url of the library", "OPENAI_BASE_URL", "many options", "AzureOpenAI"]
WAYS += ["AzureOpenAI with a token"]
WAYS += ["BedrockOpenAI"] if hasattr(openai, "BedrockOpenAI") else []
WAYS += ["provider=bedrock", "provider=vertex"] if MAJOR >= 3 else []
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-4o",
    "status": "completed",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


def told(how: str, colour: Colour, elsewhere: ScriptedServer) -> list[Any]:
    """What a client says in a call, a copy's call, and one with an own Authorization; and the states of the client."""
    client = kept(colour, built(how, colour, elsewhere.url))
    copied = client.with_options(timeout=8)
    states: list[Any] = []
    others = [client.copy()] if "provider" in how else [client.copy(), client.copy(api_key="another")]
    for each in (client, copied, *others):
        states += [str(each.base_url), each.api_key, each.organization, each.project, dict(each._custom_headers)]
        states += [str(each.websocket_base_url), each.timeout, each.max_retries, type(each), depth(each._client)]
    for each in (client, copied):
        if "Bedrock" in how or "provider" in how:
            colour.call(each.responses.create, model="gpt-4o", input="Hello")
        else:
            chat(colour, each)
            chat(colour, each, extra_headers={"Authorization": "Bearer own"})
            colour.list(colour.call(each.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True))
    return [seen(taken(elsewhere)), states]


@pytest.mark.parametrize("how", WAYS)
def test_what_it_sends_is_what_it_would_send_without_a_patch(
    how: str,
    colour: Colour,
    patch: Patch,
    azure: FakeAzure,
    elsewhere: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere.script = lambda seen: [
        answer(
            RESPONSE
            if "responses" in seen.target
            else {
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}]
            }
        )
    ]
    if how == "OPENAI_BASE_URL":
        monkeypatch.setenv("OPENAI_BASE_URL", f"{elsewhere.url}/v1")
    before = told(how, colour, elsewhere)
    assert before[0]
    patch()
    assert told(how, colour, elsewhere) == before
    azure_shim.unpatch()
    assert told(how, colour, elsewhere) == before
    assert azure.requests == []


@pytest.mark.parametrize("how", ["base_url", "AzureOpenAI"])
def test_it_has_the_very_http_client_that_it_was_given(
    how: str, colour: Colour, patch: Patch, elsewhere: ScriptedServer, library: Any
) -> None:
    patch()
    given = kept(colour, colour.library_client(library))
    arguments = {"http_client": given, "api_key": "k"}
    if how == "base_url":
        client = colour.plain(base_url=elsewhere.url, **arguments)
    else:
        client = colour.azure(azure_endpoint=elsewhere.url, api_version="v", **arguments)
    assert client._client is given
    assert client.with_options(timeout=3)._client is given
    other = kept(colour, colour.library_client(library))
    assert client.with_options(http_client=other)._client is other
    client._client = other
    assert client._client is other
    assert depth(other) == 0


def test_it_closes_the_http_client_as_the_sdk_does(
    colour: Colour, patch: Patch, elsewhere: ScriptedServer, library: Any
) -> None:
    patch()
    given = colour.library_client(library)
    colour.close(colour.plain(base_url=elsewhere.url, api_key="k", http_client=given))
    assert given.is_closed


def test_an_http_client_of_a_routed_client_takes_nothing_of_azure_elsewhere(
    colour: Colour, patch: Patch, azure: FakeAzure, elsewhere: ScriptedServer, library: Any
) -> None:
    patch()
    given = kept(colour, colour.library_client(library))
    for routed in (openais(colour), openais(colour, http_client=given)):
        client = openais(colour, base_url=elsewhere.url, api_key="theirs", http_client=routed._client)
        chat(colour, client)
        (request,) = taken(elsewhere)
        assert request.target == "/chat/completions"
        assert request.header("api-key") is None
    assert azure.requests == []


@pytest.mark.parametrize(
    "url", [OPENAI_URL, f"{OPENAI_URL}/", "https://API.openai.com/v1", "https://eu.api.openai.com/v1", None]
)
def test_openais_own_url_goes_to_azure_however_it_is_said(
    url: Any, colour: Colour, patch: Patch, east: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch()
    for client in (openais(colour, base_url=url), openais(colour, base_url=url, api_key=OWN_KEY)):
        assert is_routed(colour, client, east)
        assert str(client.base_url) == f"{east.endpoint}/openai/v1/"
    if url is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        assert is_routed(colour, openais(colour), east)
        monkeypatch.setenv("OPENAI_BASE_URL", "")
        assert is_routed(colour, openais(colour), east)


@pytest.mark.parametrize("host", ["https://api.openai.com.example.test/v1", "https://notopenai.com/v1"])
def test_hosts_that_look_like_openais_are_not_openais(host: str, colour: Colour, patch: Patch) -> None:
    patch()
    client = openais(colour, base_url=host, api_key="theirs")
    assert (str(client.base_url), client.api_key, depth(client._client)) == (f"{host}/", "theirs", 0)


def test_azures_own_v1_url_with_a_key_is_somebody_elses_client(
    colour: Colour, patch: Patch, west: Resource, east: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microsoft's own way to use ``openai.OpenAI`` with Azure; it is aimed already."""
    monkeypatch.delenv("OPENAI_CUSTOM_HEADERS")
    monkeypatch.delenv("OPENAI_ORG_ID")
    monkeypatch.delenv("OPENAI_PROJECT_ID")
    patch()
    for resource in (west, east):  # the second has the very URL of the patch
        before = len(resource.requests)
        client = openais(colour, base_url=resource.v1_url, api_key=next(iter(resource.tokens)))
        assert chat(colour, client, model="prod-4o")
        assert resource.requests[before].headers["authorization"].startswith("Bearer ")
        assert len(resource.requests) == before + 1


if MAJOR >= 2:

    def test_a_copy_with_a_provider_is_the_providers(
        colour: Colour, patch: Patch, azure: FakeAzure, guard: Any
    ) -> None:
        import openai.providers as providers

        patch()
        client = openais(colour)
        copy = client.with_options(provider=providers.bedrock(region="us-east-1", api_key="theirs"))
        assert "amazonaws" in str(copy.base_url) or ".aws" in str(copy.base_url)
        with pytest.raises(openai.APIConnectionError):
            chat(colour, copy)
        assert all(host.endswith((".aws", ".amazonaws.com")) for host in guard.take())
        assert azure.requests == []
        assert is_routed(colour, client, azure["eastus"])


def test_websockets_that_are_aimed_elsewhere_alone_are_refused_in_words(colour: Colour, patch: Patch) -> None:
    patch()
    with pytest.raises(azure_shim.ConfigurationError, match=r"^websocket_base_url: "):
        openais(colour, websocket_base_url="wss://elsewhere.example/v1")
    assert openais(colour, websocket_base_url="wss://api.openai.com/v1")
    with azure_shim.patched(azure_endpoint="https://X.openai.azure.com:443", api_key="k"):
        for host in ("x.openai.azure.com", "X.openai.azure.com:443"):
            assert openais(colour, websocket_base_url=f"wss://{host}/openai/v1")
    assert openais(colour, base_url="https://elsewhere.example/v1", websocket_base_url="wss://elsewhere.example/v1")


# -- the module


class TestModule:
    def test_one_that_is_aimed_elsewhere_is_left_alone(
        self, patch: Patch, azure: FakeAzure, elsewhere: ScriptedServer
    ) -> None:
        def told() -> Any:
            openai._reset_client()
            openai.base_url, openai.api_key = f"{elsewhere.url}/v1/", "theirs"
            openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
            return seen(taken(elsewhere))

        before = told()
        patch()
        assert told() == before
        assert azure.requests == []

    def test_one_that_is_aimed_by_the_environment_is_left_alone(
        self, patch: Patch, azure: FakeAzure, elsewhere: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{elsewhere.url}/v1")
        patch()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert elsewhere.requests[0].target == "/v1/chat/completions"
        assert azure.requests == []

    def test_it_may_be_aimed_elsewhere_and_back_later(
        self, patch: Patch, east: Resource, elsewhere: ScriptedServer
    ) -> None:
        patch()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        openai.base_url = f"{elsewhere.url}/v1/"
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert elsewhere.requests[0].target == "/v1/chat/completions"
        assert elsewhere.requests[0].header("api-key") is None
        assert len(east.requests) == 1
        for url in (None, f"{OPENAI_URL}/"):
            openai.base_url = url
            openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert len(east.requests) == 3
        azure_shim.unpatch()
        gc.collect()  # whatever it leaves open is told here

    def test_azure_of_its_own_is_left_alone(self, patch: Patch, azure: FakeAzure, west: Resource) -> None:
        west.accepts_key_twice = True
        openai.api_type, openai.azure_endpoint, openai.api_version = "azure", west.endpoint, "2024-10-21"
        openai.api_key, openai.organization, openai.default_headers = west.api_key, None, {}
        patch()
        with pytest.MonkeyPatch.context() as environment:
            for name in ("OPENAI_CUSTOM_HEADERS", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
                environment.delenv(name)
            openai.chat.completions.create(model="prod-4o", messages=MESSAGES)
        assert [request.resource for request in azure.requests] == ["westus"]
        assert west.requests[0].path == "/openai/deployments/prod-4o/chat/completions"


def test_a_stream_of_another_service_is_its_own(colour: Colour, patch: Patch, elsewhere: ScriptedServer) -> None:
    body = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[]}\n\ndata: [DONE]\n\n'
    elsewhere.script = lambda seen: [answer(body, headers={"content-type": "text/event-stream"})]
    patch()
    client = openais(colour, base_url=elsewhere.url, api_key="theirs")
    chunks = colour.list(colour.call(client.chat.completions.create, model="m", messages=MESSAGES, stream=True))
    assert [chunk.choices for chunk in chunks] == [[]]  # the patch hides Azure's alone
    assert streamed(colour, client) == ""
