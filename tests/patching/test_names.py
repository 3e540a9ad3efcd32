"""Whatever name a program has for the client, and whenever it took that name, the patch meets it (B12, P31)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.construction import PLACEHOLDER
from azure_shim.testing import FakeAzure, Resource
from tests.conftest import AMBIENT_KEY, Colour
from tests.patching import early
from tests.patching.support import MESSAGES, OWN_KEY, at, chat, is_routed, kept, streamed

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")


def named(colour: Colour, sync: str, awaited: str, module: Any = openai) -> Any:
    return getattr(module, awaited if colour.is_async else sync)


NAMES = [
    (openai, "OpenAI", "AsyncOpenAI"),
    (openai, "Client", "AsyncClient"),
    (early, "OpenAI", "AsyncOpenAI"),
    (early, "Client", "AsyncClient"),
    (early, "Subclass", "AsyncSubclass"),
]


@pytest.mark.parametrize(("module", "sync", "awaited"), NAMES)
def test_a_client_of_every_name_goes_to_azure(
    module: Any, sync: str, awaited: str, colour: Colour, patch: Patch, east: Resource
) -> None:
    patch()
    client = kept(colour, named(colour, sync, awaited, module)())
    assert is_routed(colour, client, east)
    assert streamed(colour, client)
    for request in east.requests:
        assert request.path == "/openai/v1/chat/completions"
        assert request.headers["api-key"] == east.api_key
        assert "authorization" not in request.headers
        assert request.json()["model"] == "prod-4o"
    assert str(client.base_url) == f"{east.endpoint}/openai/v1/"
    assert client.api_key == PLACEHOLDER
    assert client.organization is client.project is None


@pytest.mark.parametrize("key", [OWN_KEY, ""])
def test_what_a_program_passes_for_openai_stays_here(key: str, colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    client = kept(colour, colour.plain(api_key=key or None, organization="org-mine", project="proj-mine"))
    assert is_routed(colour, client, east)
    assert client.api_key == PLACEHOLDER
    headers = east.requests[0].headers
    assert "openai-organization" not in headers
    assert "openai-project" not in headers


def test_a_key_that_is_a_function_is_not_asked(colour: Colour, patch: Patch, east: Resource) -> None:
    asked: list[str] = []

    def key() -> str:
        asked.append("asked")
        return OWN_KEY

    async def awaited() -> str:
        return key()

    patch()
    client = kept(colour, colour.plain(api_key=awaited if colour.is_async else key))
    assert is_routed(colour, client, east)
    assert asked == []


def test_a_subclass_keeps_its_constructor_and_what_it_sets(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    kind = named(colour, "Subclass", "AsyncSubclass", early)
    client = kept(colour, kind(label="mine", timeout=17.0, max_retries=5, default_headers={"x-mine": "1"}))
    assert type(client) is kind
    assert (client.label, client.timeout, client.max_retries) == ("mine", 17.0, 5)
    assert is_routed(colour, client, east)
    assert east.requests[0].headers["x-mine"] == "1"


def test_subclasses_may_override_what_the_sdk_calls(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    called: list[str] = []

    class Sync(openai.OpenAI):
        def _prepare_request(self, request: Any) -> None:
            called.append("prepared")
            super()._prepare_request(request)

        @property
        def default_headers(self) -> Any:
            return {**super().default_headers, "x-mine": "1"}

        @property
        def auth_headers(self) -> Any:
            return {**super().auth_headers}

    class Awaited(openai.AsyncOpenAI):
        async def _prepare_request(self, request: Any) -> None:
            called.append("prepared")
            await super()._prepare_request(request)

        @property
        def default_headers(self) -> Any:
            return {**super().default_headers, "x-mine": "1"}

        @property
        def auth_headers(self) -> Any:
            return {**super().auth_headers}

    client = kept(colour, (Awaited if colour.is_async else Sync)())
    assert is_routed(colour, client, east)
    assert called == ["prepared"]
    assert east.requests[0].headers["x-mine"] == "1"


def test_the_classes_are_the_same_and_look_the_same(patch: Patch) -> None:
    def looks() -> list[Any]:
        kinds = (openai.OpenAI, openai.AsyncOpenAI, early.OpenAI, early.Subclass)
        found: list[Any] = [openai.OpenAI, openai.Client, openai.AsyncOpenAI, openai.AsyncClient]
        for kind in kinds:
            found += [inspect.signature(kind), inspect.getfullargspec(kind.__init__), kind.__init__.__doc__]
            found += [inspect.signature(kind.copy), inspect.signature(kind.with_options), kind.__mro__, kind.__doc__]
            found += [kind.__init__.__name__, kind.__init__.__qualname__, kind.__module__, kind.__init__.__defaults__]
        return found

    before = looks()
    patch()
    assert looks() == before
    assert issubclass(openai.AzureOpenAI, openai.OpenAI)
    assert issubclass(openai.AsyncAzureOpenAI, openai.AsyncOpenAI)


def test_a_client_is_of_openais_own_class(colour: Colour, patch: Patch) -> None:
    patch()
    client = kept(colour, colour.plain())
    assert type(client) is (openai.AsyncOpenAI if colour.is_async else openai.OpenAI)
    assert not isinstance(client, (openai.AzureOpenAI, openai.AsyncAzureOpenAI))
    azure_clients = kept(colour, colour.azure(azure_endpoint="http://127.0.0.1:1", api_key="k", api_version="v"))
    assert isinstance(azure_clients, openai.AsyncOpenAI if colour.is_async else openai.OpenAI)


def test_options_of_the_sdk_mean_what_they_meant(colour: Colour, patch: Patch, east: Resource) -> None:
    plain = kept(colour, colour.plain())
    patch()
    client = kept(colour, colour.plain())
    assert (client.timeout, client.max_retries) == (plain.timeout, plain.max_retries)
    client = kept(
        colour, colour.plain(timeout=11, max_retries=1, default_query={"mine": "1"}, default_headers={"x-mine": "2"})
    )
    assert is_routed(colour, client, east)
    assert (client.timeout, client.max_retries) == (11, 1)
    assert east.requests[0].query["mine"] == "1"
    assert east.requests[0].headers["x-mine"] == "2"
    assert east.requests[0].headers["x-stainless-read-timeout"] in ("11", "11.0")


# -- the module


class TestModule:
    def test_its_functions_go_to_azure(self, patch: Patch, east: Resource) -> None:
        patch()
        chat = openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert chat.choices[0].message.content
        with openai.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True) as stream:
            assert [chunk for chunk in stream if chunk.choices]
        assert openai.embeddings.create(model="text-embedding-3-small", input="a").data
        assert openai.responses.create(model="gpt-4o", input="a").output_text
        assert openai.images.generate(model="dall-e-3", prompt="a").data
        uploaded = openai.files.create(file=("a.jsonl", b"{}\n"), purpose="assistants")
        assert openai.files.content(uploaded.id).read() == b"{}\n"
        assert {request.refused for request in east.requests} == {None}
        assert len(east.requests) == 7

    def test_an_early_name_of_its_goes_there_too(self, patch: Patch, east: Resource) -> None:
        create, chat_ = openai.chat.completions.create, openai.chat
        del create
        patch()
        assert chat_.completions.create(model="gpt-4o", messages=MESSAGES)
        assert len(east.requests) == 1

    def test_azures_variables_do_not_make_it_ambiguous(
        self, patch: Patch, east: Resource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", east.endpoint)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", east.api_key)
        azure_shim.patch(deployments={"gpt-4o": "prod-4o"})
        assert openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert [request.refused for request in east.requests] == [None]
        assert openai.api_type is None

    def test_it_takes_no_key_of_openais_along(self, patch: Patch, east: Resource) -> None:
        openai.api_key, openai.organization, openai.project = OWN_KEY, "org-mine", "proj-mine"
        patch()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert AMBIENT_KEY not in str(east.requests[0].headers.raw)
        assert openai.api_key == OWN_KEY  # it is the program's own

    def test_its_settings_go_on_to_count(self, patch: Patch, east: Resource) -> None:
        patch()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        openai.default_headers, openai.timeout = {"x-mine": "1"}, 19.0
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert east.requests[1].headers["x-mine"] == "1"
        assert east.requests[1].headers["x-stainless-read-timeout"] == "19.0"

    def test_who_resets_it_gets_another(self, patch: Patch, east: Resource) -> None:
        """As test suites do, whose settings are read when a client is made."""
        patch()
        openai.default_query = {"a": "1"}
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        openai.default_query = None
        openai._reset_client()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert ["a=1" in request.raw_path for request in east.requests] == [True, False]

    def test_a_later_patch_moves_it(self, patch: Patch, east: Resource, west: Resource, azure: FakeAzure) -> None:
        patch()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        azure_shim.patch(**at(west))
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert [request.resource for request in azure.requests] == ["eastus", "westus"]


def test_other_clients_of_this_package_go_where_they_were_told(
    colour: Colour, patch: Patch, west: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_CUSTOM_HEADERS")  # which are a plain client's own
    patch()
    client = colour.client(azure_endpoint=west.endpoint, api_key=west.api_key, deployments={"gpt-4o": "prod-4o"})
    assert is_routed(colour, client, west)
    assert is_routed(colour, client.with_options(timeout=3), west)
    http_client = colour.http_client(
        azure_endpoint=west.endpoint, api_key=west.api_key, deployments={"gpt-4o": "prod-4o"}
    )
    for plain in (colour.plain(http_client=http_client), colour.plain(http_client=http_client).with_options(timeout=3)):
        assert is_routed(colour, kept(colour, plain), west)


def test_a_client_that_was_there_before_is_left_alone(colour: Colour, patch: Patch, guard: Any) -> None:
    client = kept(colour, colour.plain(max_retries=0))
    own = client._client
    patch()
    assert client._client is own
    assert str(client.base_url) == "https://api.openai.com/v1/"
    with pytest.raises(openai.APIConnectionError):
        chat(colour, client)
    assert set(guard.take()) == {"api.openai.com"}
