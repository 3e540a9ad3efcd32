"""``wrap``: a routed copy of a client that exists already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.construction import PLACEHOLDER
from azure_shim.testing import Resource
from tests.conftest import Colour
from tests.patching import early
from tests.patching.support import (
    OPENAI_URL,
    OWN_KEY,
    at,
    chat,
    depth,
    is_routed,
    kept,
    openais,
    streamed,
)
from tests.servers import ScriptedServer

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")


def used(colour: Colour, client: Any) -> Any:
    """``client``, whose resources were looked at, which the SDK then keeps."""
    for name in ("chat", "responses", "embeddings", "beta", "realtime", "files", "with_raw_response"):
        getattr(client, name)
    return client


def assert_routed(colour: Colour, client: Any, resource: Resource) -> None:
    """Chats, streams, responses and copies of ``client`` go to ``resource``."""
    before = len(resource.requests)
    assert is_routed(colour, client, resource)
    assert streamed(colour, client)
    assert colour.call(client.responses.create, model="gpt-4o", input="a").output_text
    assert is_routed(colour, client.with_options(timeout=6), resource)
    assert len(resource.requests) == before + 4
    assert client.api_key == PLACEHOLDER
    assert str(client.base_url) == f"{resource.endpoint}/openai/v1/"
    assert depth(client._client) == 1
    for request in resource.requests[before:]:
        assert request.headers["api-key"] == resource.api_key
        assert "authorization" not in request.headers


def wrapped_of(colour: Colour, client: Any, **settings: Any) -> Any:
    return kept(colour, azure_shim.wrap(client, **settings))


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("is_patched", [False, True])
def test_a_client_that_exists_is_routed_by_its_copy_and_stays_as_it_is(
    is_patched: bool, is_used: bool, colour: Colour, patch: Patch, east: Resource, elsewhere: ScriptedServer
) -> None:
    client = openais(colour, base_url=elsewhere.url, api_key=OWN_KEY)
    if is_used:
        used(colour, client)
    if is_patched:
        patch()
        wrapped = wrapped_of(colour, client)
    else:
        wrapped = wrapped_of(colour, client, **at(east))
    assert_routed(colour, wrapped, east)
    assert isinstance(wrapped, type(client))
    chat(colour, client)
    assert client.api_key == OWN_KEY
    assert elsewhere.requests[0].header("authorization") is not None
    assert len(elsewhere.requests) == 1
    assert str(client.base_url).startswith(elsewhere.url)
    assert depth(client._client) == 0


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("by", ["process", "scope", "nothing"])
def test_a_client_of_a_patch_may_be_routed_to_another_resource(
    by: str, is_used: bool, colour: Colour, patch: Patch, east: Resource, west: Resource
) -> None:
    patch()
    client = openais(colour)
    if is_used:
        used(colour, client)
    if by == "nothing":
        azure_shim.unpatch()
    if by == "scope":
        with azure_shim.patched(**at(west)):
            wrapped = wrapped_of(colour, client)
    else:
        wrapped = wrapped_of(colour, client, **at(west))
    assert_routed(colour, wrapped, west)
    assert is_routed(colour, client, east)


def test_a_client_that_a_patch_has_left_alone_may_be_routed(
    colour: Colour, patch: Patch, east: Resource, west: Resource, elsewhere: ScriptedServer
) -> None:
    patch()
    client = used(colour, openais(colour, base_url=elsewhere.url, api_key="theirs"))
    assert_routed(colour, wrapped_of(colour, client), east)
    assert_routed(colour, wrapped_of(colour, client, **at(west)), west)
    chat(colour, client)
    assert len(elsewhere.requests) == 1


def test_a_wrapped_client_may_be_wrapped_again(colour: Colour, east: Resource, west: Resource) -> None:
    client = openais(colour)
    once = wrapped_of(colour, client, **at(east))
    assert_routed(colour, wrapped_of(colour, once, **at(west)), west)
    assert_routed(colour, once, east)
    shim = colour.client(**at(east))
    assert_routed(colour, wrapped_of(colour, shim, **at(west)), west)


def test_a_subclass_stays_one(colour: Colour, east: Resource) -> None:
    kind = early.AsyncSubclass if colour.is_async else early.Subclass
    client = used(colour, kept(colour, kind(label="mine", api_key=OWN_KEY, max_retries=0)))
    wrapped = wrapped_of(colour, client, **at(east))
    assert isinstance(wrapped, kind)
    assert wrapped.label == "mine"
    assert type(wrapped).__name__ == kind.__name__
    assert type(wrapped).__module__ == kind.__module__
    assert is_routed(colour, wrapped, east)


def test_it_keeps_the_options_of_its_client(colour: Colour, east: Resource) -> None:
    client = openais(
        colour,
        api_key=OWN_KEY,
        timeout=13,
        max_retries=4,
        default_headers={"x-mine": "1", "Authorization": f"Bearer {OWN_KEY}"},
        default_query={"mine": "2"},
        organization="org-mine",
    )
    wrapped = wrapped_of(colour, client, **at(east))
    assert (wrapped.timeout, wrapped.max_retries) == (13, 4)
    assert is_routed(colour, wrapped, east)
    (request,) = east.requests
    assert request.headers["x-mine"] == "1"
    assert request.query["mine"] == "2"
    assert request.headers["x-stainless-read-timeout"] in ("13", "13.0")
    assert "authorization" not in request.headers


def test_its_connections_are_its_clients_to_close(colour: Colour, east: Resource, library: Any) -> None:
    given = kept(colour, colour.library_client(library, headers={"x-given": "1"}))
    client = openais(colour, http_client=given)
    wrapped = wrapped_of(colour, client, **at(east))
    assert is_routed(colour, wrapped, east)
    assert east.requests[0].headers["x-given"] == "1"
    colour.close(wrapped)
    assert not given.is_closed
    assert is_routed(colour, wrapped_of(colour, client, **at(east)), east)
    other = openais(colour)
    colour.close(azure_shim.wrap(other, **at(east)))
    assert not other.is_closed()


def test_the_environments_settings_are_enough(colour: Colour, east: Resource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", east.endpoint)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", east.api_key)
    wrapped = wrapped_of(colour, openais(colour, base_url=OPENAI_URL))
    assert chat(colour, wrapped, model="prod-4o")


def test_what_is_no_client_of_openais_is_a_type_error(colour: Colour) -> None:
    azure = kept(colour, colour.azure(azure_endpoint="http://127.0.0.1:1", api_key="k", api_version="v"))
    for wrong, named in ((azure, "AzureOpenAI"), (object(), "object"), (None, "NoneType"), (openai, "module")):
        with pytest.raises(TypeError, match=named):
            azure_shim.wrap(wrong, azure_endpoint="https://r.openai.azure.com", api_key="k")
    if hasattr(openai, "BedrockOpenAI"):
        kind = openai.AsyncBedrockOpenAI if colour.is_async else openai.BedrockOpenAI
        client = kept(colour, kind(base_url="http://127.0.0.1:1", api_key="k", aws_region="us-east-1"))
        with pytest.raises(TypeError, match="Bedrock"):
            azure_shim.wrap(client, azure_endpoint="https://r.openai.azure.com", api_key="k")


def test_bad_settings_are_told(colour: Colour) -> None:
    with pytest.raises(azure_shim.ConfigurationError, match="azure_endpont"):
        azure_shim.wrap(openais(colour), azure_endpont="https://r.openai.azure.com")
    with pytest.raises(azure_shim.ConfigurationError, match="azure_endpoint"):
        azure_shim.wrap(openais(colour))
