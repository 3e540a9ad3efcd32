"""What frameworks do to a client after it was built: another ``base_url``, another ``_client``, copies (B3, B14)."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.construction import PLACEHOLDER
from azure_shim.testing import FakeAzure, Resource
from tests.conftest import AMBIENT_KEY, Colour
from tests.patching.support import (
    MESSAGES,
    OPENAI_URL,
    OWN_KEY,
    at,
    chat,
    depth,
    is_routed,
    kept,
    openais,
    streamed,
    taken,
)
from tests.servers import ScriptedServer

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")


# -- base_url


def test_a_base_url_elsewhere_that_is_assigned_later_counts(
    colour: Colour, patch: Patch, east: Resource, elsewhere: ScriptedServer
) -> None:
    patch()
    client = openais(colour)
    assert is_routed(colour, client, east)
    client.base_url = f"{elsewhere.url}/v1"
    chat(colour, client)
    (request,) = taken(elsewhere)
    assert request.target == "/v1/chat/completions"
    assert request.json()["model"] == "gpt-4o"
    assert request.header("api-key") is None
    assert east.api_key not in str(request.headers)
    assert len(east.requests) == 1
    for url in (OPENAI_URL, f"{east.endpoint}/openai/v1/"):
        client.base_url = url
        assert is_routed(colour, client, east)


def test_a_client_aimed_elsewhere_may_be_aimed_at_openai_later(
    colour: Colour, patch: Patch, east: Resource, elsewhere: ScriptedServer, library: Any
) -> None:
    patch()
    given = kept(colour, colour.library_client(library))
    for client in (
        openais(colour, base_url=elsewhere.url, api_key=OWN_KEY),
        openais(colour, base_url=elsewhere.url, api_key=OWN_KEY, http_client=given),
    ):
        client.base_url = OPENAI_URL
        assert is_routed(colour, client, east)
        client.base_url = elsewhere.url
        chat(colour, client)
        (request,) = taken(elsewhere)
        assert request.header("api-key") is None
    assert client._client is given


def test_a_copy_that_is_aimed_elsewhere_takes_nothing_of_azure_along(
    colour: Colour, patch: Patch, azure: FakeAzure, elsewhere: ScriptedServer, library: Any
) -> None:
    patch()
    given = kept(colour, colour.library_client(library))
    for client in (openais(colour), openais(colour, http_client=given)):
        for copy in (client.copy, client.with_options):
            other = kept(colour, copy(base_url=f"{elsewhere.url}/v1", api_key="theirs"))
            chat(colour, other)
            (request,) = taken(elsewhere)
            assert request.target == "/v1/chat/completions"
            assert request.header("api-key") is None
            assert request.header("authorization") in ("Bearer theirs", f"Bearer {AMBIENT_KEY}")
            assert depth(other._client) == 0
            assert other.websocket_base_url is None
    assert other._client is given
    assert azure.requests == []


def test_a_copy_of_a_client_elsewhere_that_is_aimed_at_openai_is_routed(
    colour: Colour, patch: Patch, east: Resource, elsewhere: ScriptedServer
) -> None:
    patch()
    client = openais(colour, base_url=elsewhere.url, api_key=OWN_KEY)
    copied = kept(colour, client.copy(base_url=OPENAI_URL))
    assert is_routed(colour, copied, east)
    assert copied.api_key == PLACEHOLDER
    chat(colour, client)
    assert len(taken(elsewhere)) == 1


# -- copies

FORMS: list[dict[str, Any]] = [
    {},
    {"timeout": 7},
    {"max_retries": 3},
    {"api_key": OWN_KEY},
    {"organization": "org-mine", "project": "proj-mine"},
    {"base_url": OPENAI_URL},
    {"base_url": None},
    {"default_headers": {"x-mine": "1"}},
    {"set_default_headers": {"x-mine": "1"}},
    {"default_query": {"mine": "1"}},
]


@pytest.mark.parametrize("form", FORMS, ids=[", ".join(form) or "nothing" for form in FORMS])
def test_a_copy_goes_where_its_client_goes(form: dict[str, Any], colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    client = openais(colour, default_headers={"x-first": "1"})
    for copied in (
        client.copy(**form),
        client.with_options(**form),
        client.with_options(**form).copy().with_options(timeout=4).copy(**form),
    ):
        assert is_routed(colour, copied, east)
        assert type(copied) is type(client)
        assert str(copied.base_url) == f"{east.endpoint}/openai/v1/"
        assert copied.api_key == PLACEHOLDER
        assert depth(copied._client) == 1
        request = east.requests[-1]
        assert ("x-first" in request.headers) == ("set_default_headers" not in form)
        assert ("x-mine" in request.headers) == any("headers" in name for name in form)
        assert request.query.get("mine") == ("1" if "default_query" in form else None)
    assert client.with_options(timeout=7).timeout == 7
    assert client.with_options(max_retries=3).max_retries == 3


def test_a_copy_stays_with_its_client_when_the_patch_has_moved(
    colour: Colour, patch: Patch, east: Resource, west: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_CUSTOM_HEADERS")  # which copies take up where nothing is patched
    patch()
    client = openais(colour)
    azure_shim.patch(**at(west))
    assert is_routed(colour, client, east)
    assert is_routed(colour, client.with_options(timeout=3), east)
    assert is_routed(colour, openais(colour), west)
    azure_shim.unpatch()
    assert is_routed(colour, client, east)
    assert is_routed(colour, client.with_options(timeout=3), east)
    assert is_routed(colour, client.copy(base_url=OPENAI_URL), east)


def test_a_copy_with_another_http_client_goes_through_that(
    colour: Colour, patch: Patch, east: Resource, library: Any
) -> None:
    patch()
    used: list[str] = []

    def hook(request: Any) -> None:
        used.append(str(request.url))

    async def awaited(request: Any) -> None:
        used.append(str(request.url))

    hooks = {"request": [awaited if colour.is_async else hook]}
    given = kept(colour, colour.library_client(library, event_hooks=hooks))
    client = openais(colour)
    for copied in (client.with_options(http_client=given), client.copy(http_client=given).copy()):
        assert is_routed(colour, copied, east)
        assert used
        used.clear()
    # pydantic-ai's way
    assert is_routed(colour, client.with_options(http_client=client._client), east)
    other = openais(colour, http_client=given)
    again = client.with_options(http_client=other._client)
    assert is_routed(colour, again, east)
    assert used
    assert depth(again._client) == 1
    assert not given.is_closed


# -- _client


def test_an_http_client_that_is_assigned_later_speaks_to_azure(
    colour: Colour, patch: Patch, east: Resource, library: Any
) -> None:
    patch()
    client = openais(colour)
    own = client._client
    raw = kept(colour, colour.library_client(library, headers={"x-raw": "1"}))
    client._client = raw
    assert is_routed(colour, client, east)
    assert east.requests[-1].headers["x-raw"] == "1"
    assert is_routed(colour, client.with_options(timeout=3), east)
    client._client = client._client
    assert is_routed(colour, client, east)
    assert depth(client._client) == 1
    client._client = own
    assert is_routed(colour, client, east)
    assert "x-raw" not in east.requests[-1].headers


def test_an_http_client_of_another_resource_of_this_package_may_be_assigned(
    colour: Colour, patch: Patch, east: Resource, west: Resource
) -> None:
    """Somebody who assigns one knows where it goes."""
    patch()
    client = openais(colour)
    own = client._client
    client._client = colour.http_client(
        azure_endpoint=west.endpoint, api_key=west.api_key, deployments={"gpt-4o": "prod-4o"}
    )
    assert is_routed(colour, client, west)
    client._client = own
    assert is_routed(colour, client, east)


def test_many_clients_share_one_http_client_that_is_wrapped_once_each(
    colour: Colour, patch: Patch, east: Resource, library: Any
) -> None:
    patch()
    given = colour.library_client(library)
    transport = given._transport
    clients = [openais(colour, http_client=given) for _ in range(5)]
    clients += [colour.plain(http_client=each._client) for each in clients]
    clients += [each.with_options(max_retries=0, http_client=given) for each in clients]
    for client in clients:
        assert is_routed(colour, client, east)
        assert depth(client._client) == 1
    assert given._transport is transport
    assert len({request.connection.number for request in east.requests}) == 1
    for client in clients:
        colour.close(client)
    gc.collect()
    assert not given.is_closed
    fresh = openais(colour, http_client=given)
    assert is_routed(colour, fresh, east)
    colour.close(given)


def test_the_timeout_and_hooks_of_a_given_http_client_count(
    colour: Colour, patch: Patch, east: Resource, library: Any
) -> None:
    patch()
    given = kept(colour, colour.library_client(library, timeout=library.Timeout(23.0), headers={"x-mine": "1"}))
    client = openais(colour, http_client=given)
    assert is_routed(colour, client, east)
    assert east.requests[0].headers["x-stainless-read-timeout"] == "23.0"
    assert east.requests[0].headers["x-mine"] == "1"


def test_a_given_http_client_of_the_wrong_colour_is_a_type_error(colour: Colour, patch: Patch, library: Any) -> None:
    patch()
    wrong = library.Client() if colour.is_async else library.AsyncClient()
    with pytest.raises(TypeError, match="http_client"):
        colour.plain(http_client=wrong)


def test_a_module_level_http_client_that_is_assigned_later_is_used(patch: Patch, east: Resource, library: Any) -> None:
    patch()
    openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    with library.Client(headers={"x-mine": "1"}) as given:
        openai.http_client = given
        for _ in range(2):
            openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
            assert east.requests[-1].headers["x-mine"] == "1"
    assert len(east.requests) == 3


def test_streams_of_copies(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    assert streamed(colour, openais(colour).with_options(timeout=9).copy())
    assert len(east.requests) == 1
