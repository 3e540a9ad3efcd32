"""`with_options`, `copy` and what frameworks do to clients keep endpoint, version, deployments and credential (P4)."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.client import PLACEHOLDER
from tests.conftest import OWN_LIBRARY, Colour
from tests.fleets import at_server, plan
from tests.servers import CHAT, MESSAGES, ScriptedServer

PATH = "/openai/deployments/prod-4o/chat/completions?api-version=2024-10-21"


@pytest.fixture
def client(colour: Colour, server: ScriptedServer) -> Any:
    return colour.client(
        azure_endpoint=server.url,
        api_key="first-key",
        api_version="2024-10-21",
        deployments={"gpt-4o": "prod-4o"},
        default_headers={"x-default": "1"},
        max_retries=0,
    )


def chat(colour: Colour, client: Any, **options: Any) -> Any:
    return colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, **options)


@pytest.mark.parametrize(
    "derive",
    [
        lambda c: c.with_options(timeout=3),
        lambda c: c.copy(max_retries=1),
        lambda c: c.with_options(timeout=3).with_options(max_retries=2).copy(default_query={"x": "1"}),
        lambda c: c.with_options(default_headers={"x-more": "2"}),
        lambda c: c.with_options(base_url=c.base_url),
        lambda c: c.with_options(base_url=str(c.base_url)),
        lambda c: c.with_options(api_key=c.api_key),
        lambda c: c.with_options(http_client=c._client),
        lambda c: copy.copy(c),
        lambda c: type(c)(api_key=c.api_key, base_url=c.base_url, http_client=c._client, max_retries=0),
        lambda c: c.with_options(),
    ],
)
def test_a_copy_has_the_same_endpoint_version_deployments_and_credential(
    derive: Any, colour: Colour, client: Any, server: ScriptedServer
) -> None:
    derived = derive(client)
    assert type(derived) is type(client)
    assert derived.base_url == client.base_url
    chat(colour, derived)
    (seen,) = server.requests
    assert seen.target.replace("&x=1", "").replace("?x=1&", "?") == PATH
    assert seen.header("api-key") == "first-key"
    assert seen.header("authorization") is None
    chat(colour, client)
    assert server.requests[1].target == PATH


def test_a_copy_shares_connections_and_default_headers(colour: Colour, client: Any, server: ScriptedServer) -> None:
    for each in (client, client.with_options(timeout=3), client.copy(api_key="second-key")):
        chat(colour, each)
    assert server.connections == 1
    assert [seen.header("x-default") for seen in server.requests] == ["1"] * 3
    assert [seen.header("api-key") for seen in server.requests] == ["first-key", "first-key", "second-key"]


@pytest.mark.parametrize(
    ("changes", "target", "header"),
    [
        ({"api_key": "second"}, PATH, ("api-key", "second")),
        ({"azure_ad_token": "token"}, PATH, ("authorization", "Bearer token")),
        ({"azure_ad_token_provider": lambda: "provided"}, PATH, ("authorization", "Bearer provided")),
        ({"api_version": "v1"}, "/openai/v1/chat/completions", ("api-key", "first-key")),
        (
            {"deployments": {"gpt-4o": "other"}},
            PATH.replace("prod-4o", "other"),
            ("api-key", "first-key"),
        ),
    ],
)
def test_a_copy_changes_what_is_given_and_nothing_else(
    changes: dict[str, Any], target: str, header: tuple[str, str], colour: Colour, client: Any, server: ScriptedServer
) -> None:
    chat(colour, client.with_options(**changes))
    chat(colour, client)
    first, second = server.requests
    assert (first.target, first.header(header[0])) == (target, header[1])
    assert (second.target, second.header("api-key")) == (PATH, "first-key")
    signed = [name for name in ("api-key", "authorization") if first.header(name)]
    assert signed == [header[0]]


def test_a_copy_goes_to_a_new_endpoint(
    colour: Colour, client: Any, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    derived = client.copy(azure_endpoint=elsewhere.url, api_key="second-key")
    chat(colour, derived)
    assert elsewhere.requests[0].header("api-key") == "second-key"
    assert str(derived.base_url) == f"{elsewhere.url}/openai/"
    assert [seen.target for seen in elsewhere.requests] == [PATH]
    assert server.requests == []


def test_a_key_does_not_follow_a_copy_to_another_endpoint(client: Any, elsewhere: ScriptedServer) -> None:
    with pytest.raises(azure_shim.ConfigurationError, match=r"api_key: the one of .* is not sent to") as caught:
        client.copy(azure_endpoint=elsewhere.url)
    assert "first-key" not in str(caught.value)


def test_a_copy_to_openai_itself_is_refused(client: Any) -> None:
    with pytest.raises(azure_shim.ConfigurationError, match="base_url: is OpenAI's own service"):
        client.with_options(base_url="https://api.openai.com/v1")


def test_a_new_http_client_is_wrapped_too(colour: Colour, client: Any, library: Any) -> None:
    seen: list[Any] = []

    def handler(request: Any) -> Any:
        seen.append(request)
        return library.Response(200, json=CHAT)

    given = colour.library_client(library, transport=colour.mock_transport(library, handler))
    chat(colour, client.with_options(http_client=given))
    assert seen[0].url.raw_path.decode() == PATH
    assert seen[0].headers["api-key"] == "first-key"


def test_with_raw_response_and_with_streaming_response(colour: Colour, client: Any, server: ScriptedServer) -> None:
    raw = colour.call(client.with_raw_response.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    assert raw.parse().choices[0].message.content == "hello"
    manager = client.with_streaming_response.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    if colour.is_async:

        async def read() -> Any:
            async with manager as response:
                return await response.parse()

        parsed = colour.run(read())
    else:
        with manager as response:
            parsed = response.parse()
    assert parsed.choices[0].message.content == "hello"
    assert [seen.target for seen in server.requests] == [PATH] * 2


def test_a_context_manager_closes_the_client(colour: Colour, server: ScriptedServer) -> None:
    client = colour.client(azure_endpoint=server.url, api_key="k")
    if colour.is_async:

        async def use() -> None:
            async with client as entered:
                assert entered is client
                await client.models.list()

        colour.run(use())
    else:
        with client as entered:
            assert entered is client
            client.models.list()
    assert client.is_closed()


def test_per_call_options_reach_azure(colour: Colour, client: Any, server: ScriptedServer) -> None:
    chat(
        colour,
        client,
        extra_headers={"x-call": "1"},
        extra_query={"y": "ü"},
        extra_body={"data_sources": [{"type": "azure_search"}]},
        timeout=7,
    )
    (seen,) = server.requests
    assert seen.header("x-call") == "1"
    assert seen.target in (
        "/openai/deployments/prod-4o/chat/completions?y=%C3%BC&api-version=2024-10-21",
        "/openai/deployments/prod-4o/chat/completions?api-version=2024-10-21&y=%C3%BC",
    )
    assert seen.json()["data_sources"] == [{"type": "azure_search"}]
    assert seen.header("x-stainless-read-timeout") == "7"


def test_an_explicit_api_version_of_one_call_wins(colour: Colour, client: Any, server: ScriptedServer) -> None:
    chat(colour, client, extra_query={"api-version": "2025-04-01-preview"})
    assert server.requests[0].target.endswith("/chat/completions?api-version=2025-04-01-preview")


def test_the_clients_are_openais_own_and_show_no_secret(colour: Colour, client: Any) -> None:
    assert isinstance(client, openai.AsyncOpenAI if colour.is_async else openai.OpenAI)
    assert not isinstance(client, (openai.AzureOpenAI, openai.AsyncAzureOpenAI))
    assert client.api_key == PLACEHOLDER
    assert client.organization is None
    assert client.project is None
    for shown in (repr(client), repr(client._client), repr(client.azure_shim_settings), str(vars(client))):
        assert "first-key" not in shown


@pytest.mark.parametrize("name", ["OpenAI", "AsyncOpenAI"])
def test_the_constructor_takes_all_that_openais_two_clients_take(name: str) -> None:
    """Frameworks filter arguments by the signature (autogen), or key caches by it (litellm)."""
    own = inspect.signature(getattr(azure_shim, name).__init__).parameters
    for theirs in (getattr(openai, name), getattr(openai, name.replace("Open", "AzureOpen"))):
        missing = set(inspect.signature(theirs.__init__).parameters) - set(own)
        assert missing == set()
    assert all(p.kind is not p.VAR_KEYWORD for p in own.values())


@pytest.mark.parametrize("argument", ["provider", "data_residency", "workload_identity", "admin_api_key"])
def test_what_is_for_another_service_is_refused_in_words(argument: str, colour: Colour) -> None:
    with pytest.raises(azure_shim.ConfigurationError, match=f"{argument}: is not for Azure OpenAI"):
        colour.client(azure_endpoint="r.openai.azure.com", api_key="k", **{argument: {"secret": "canary"}})


def test_an_organization_that_was_asked_for_is_kept_and_not_sent(colour: Colour, server: ScriptedServer) -> None:
    client = colour.client(azure_endpoint=server.url, api_key="k", organization="org-mine", project="proj-mine")
    colour.call(client.models.list)
    assert (client.organization, client.project) == ("org-mine", "proj-mine")
    assert server.requests[0].header("openai-organization") is None
    assert server.requests[0].header("openai-project") is None


def test_the_default_client_is_of_openais_own_library(client: Any) -> None:
    assert type(client._client).__mro__[1].__module__.partition(".")[0] == OWN_LIBRARY


def test_the_signature_of_copy_shows_all_that_a_constructor_takes(client: Any) -> None:
    """openai-python's own test of this, for code that looks before it passes something on."""
    built, copied = inspect.signature(type(client).__init__).parameters, inspect.signature(client.copy).parameters
    assert set(built) - {"self", "_strict_response_validation"} <= set(copied)
    sdk = openai.AsyncOpenAI if isinstance(client, openai.AsyncOpenAI) else openai.OpenAI
    assert set(inspect.signature(sdk.copy).parameters) - {"self"} <= set(copied)
    assert client.with_options.__func__ is client.copy.__func__


def test_another_base_url_is_where_a_client_goes_from_then_on(
    colour: Colour, client: Any, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    client = colour.client(base_url=f"{server.url}/v1", api_key="first-key", max_retries=0)
    same = str(client.base_url)
    client.base_url = same
    assert str(client.base_url) == same
    client.base_url = f"{server.url}/v2"
    assert str(client.base_url) == f"{server.url}/v2/"
    chat(colour, client)
    assert server.requests[-1].target == "/v2/chat/completions"
    assert client.websocket_base_url == f"{server.url}/v2".replace("http", "ws")
    client.base_url = f"{elsewhere.url}/v1"
    client.base_url = client.base_url
    for each in (client, client.copy(), client.with_options(timeout=3)):
        with pytest.raises(openai.PermissionDeniedError):
            chat(colour, each)
    assert elsewhere.requests == []
    chat(colour, client.with_options(azure_endpoint=elsewhere.url, api_key="theirs"))
    assert [seen.header("api-key") for seen in elsewhere.requests] == ["theirs"]
    client.base_url = f"{server.url}/v1"
    chat(colour, client)
    assert server.requests[-1].target == "/v1/chat/completions"


@pytest.mark.parametrize(
    "signing",
    [{"azure_ad_token": "t"}, {"azure_ad_token_provider": lambda: "t"}, {"api_key": lambda: "k"}, {"config": True}],
)
def test_a_credential_does_not_follow_a_base_url_to_another_origin(
    signing: dict[str, Any], colour: Colour, elsewhere: ScriptedServer, server: ScriptedServer, monkeypatch: Any
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "ambient-azure-key")
    if "config" in signing:
        arguments: dict[str, Any] = {"config": plan("fallback", at_server("a", server), at_server("b", server))}
    else:
        arguments = {"azure_endpoint": server.url, **signing}
    client = colour.client(**arguments, max_retries=0)
    client.base_url = f"{elsewhere.url}/openai/v1"
    for each in (client, client.copy()):
        with pytest.raises(openai.PermissionDeniedError):
            chat(colour, each)
    assert (elsewhere.requests, server.requests) == ([], [])


@pytest.mark.parametrize("path", ["/{tenant}", "/a b", "/ü", "/x%20y"])
def test_a_path_that_is_spelled_otherwise_by_httpx_is_no_other_place(
    path: str, colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    client = colour.client(base_url=server.url + path, api_key="first-key", max_retries=0)
    assert client.with_options(timeout=3)._client is client.with_options(timeout=4)._client is client._client
    chat(colour, client.with_options(azure_endpoint=elsewhere.url, api_key="theirs"))
    assert [seen.header("api-key") for seen in elsewhere.requests] == ["theirs"]


def test_a_base_url_may_be_set_as_often_as_one_likes(colour: Colour, server: ScriptedServer) -> None:
    client = colour.client(base_url=f"{server.url}/v1", api_key="first-key", max_retries=0)
    for turn in range(1200):
        client.base_url = f"{server.url}/v{turn % 3}"
    chat(colour, client)
    assert server.requests[-1].target == "/v2/chat/completions"


def test_copy_takes_all_that_its_signature_shows(client: Any) -> None:
    shown = inspect.signature(client.copy).parameters
    for name, each in shown.items():
        client.copy(**{name: each.default})
