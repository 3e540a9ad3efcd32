"""Code that demands ``OPENAI_API_KEY`` finds one, which is never sent; what is real is never replaced."""

from __future__ import annotations

import os
from collections.abc import Callable

import openai
import pytest

import azure_shim
from azure_shim.testing import Resource
from azure_shim.values import PLACEHOLDER
from tests.conftest import AMBIENT_KEY, MAJOR, Colour
from tests.patching.support import MESSAGES, OWN_KEY, at, chat, is_routed, openais
from tests.servers import ScriptedServer

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture
def without_key(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def demanded() -> str:
    """What nine frameworks do before they build a client."""
    key = os.environ.get("OPENAI_API_KEY")
    if not key:
        raise ValueError("OPENAI_API_KEY is not set")
    return key


def test_code_that_demands_a_key_finds_one_while_patched(
    without_key: pytest.MonkeyPatch, colour: Colour, patch: Patch, east: Resource
) -> None:
    patch()
    key = demanded()
    assert not key.startswith("sk-")
    for client in (openais(colour), openais(colour, api_key=key)):
        assert is_routed(colour, client, east)
    assert key not in str([request.headers.raw for request in east.requests])
    patch()
    assert demanded() == key
    azure_shim.unpatch()
    assert "OPENAI_API_KEY" not in os.environ
    with pytest.raises(openai.OpenAIError, match="OPENAI_API_KEY"):
        colour.plain()


def test_an_empty_one_is_none_and_is_empty_afterwards(without_key: pytest.MonkeyPatch, patch: Patch) -> None:
    without_key.setenv("OPENAI_API_KEY", "")
    patch()
    assert demanded()
    azure_shim.unpatch()
    assert os.environ["OPENAI_API_KEY"] == ""


def test_a_real_one_is_never_replaced(patch: Patch) -> None:
    patch()
    assert os.environ["OPENAI_API_KEY"] == AMBIENT_KEY
    azure_shim.unpatch()
    assert os.environ["OPENAI_API_KEY"] == AMBIENT_KEY


def test_one_that_the_program_sets_meanwhile_stays(without_key: pytest.MonkeyPatch, patch: Patch) -> None:
    patch()
    os.environ["OPENAI_API_KEY"] = OWN_KEY
    azure_shim.unpatch()
    assert os.environ["OPENAI_API_KEY"] == OWN_KEY


def test_one_that_the_program_deletes_meanwhile_is_gone(without_key: pytest.MonkeyPatch, patch: Patch) -> None:
    patch()
    del os.environ["OPENAI_API_KEY"]
    azure_shim.unpatch()
    assert "OPENAI_API_KEY" not in os.environ


def test_a_client_of_another_service_does_not_sign_with_it(
    without_key: pytest.MonkeyPatch, colour: Colour, patch: Patch, elsewhere: ScriptedServer
) -> None:
    """Without the patch it could not be built, or would be without a key."""
    without_key.delenv("OPENAI_CUSTOM_HEADERS")
    with pytest.raises(openai.OpenAIError, match="OPENAI_API_KEY"):
        colour.plain(base_url=elsewhere.url)
    patch()
    with pytest.raises(openai.OpenAIError, match="OPENAI_API_KEY"):
        colour.plain(base_url=elsewhere.url)


def test_a_client_of_another_service_that_has_asked_for_a_key_of_its_own_is_built(
    without_key: pytest.MonkeyPatch, colour: Colour, patch: Patch, elsewhere: ScriptedServer
) -> None:
    """The usual lines for Ollama, vLLM and their like, whose word for none the placeholder stands before."""
    without_key.delenv("OPENAI_CUSTOM_HEADERS")
    patch()
    client = openais(colour, base_url=elsewhere.url, api_key=os.getenv("OPENAI_API_KEY", "ollama"))
    chat(colour, client)
    assert elsewhere.requests[0].header("authorization") == f"Bearer {PLACEHOLDER}"


if MAJOR >= 2:

    def test_a_workload_identity_of_another_service_needs_no_key(
        without_key: pytest.MonkeyPatch, colour: Colour, patch: Patch, elsewhere: ScriptedServer
    ) -> None:
        patch()
        identity = {
            "client_id": "c",
            "identity_provider_id": "i",
            "service_account_id": "s",
            "provider": {"token_type": "jwt", "get_token": lambda: "t"},
        }
        client = openais(colour, base_url=elsewhere.url, workload_identity=identity)
        assert client.workload_identity is not None


def test_a_scope_has_one_too(without_key: pytest.MonkeyPatch, east: Resource) -> None:
    with azure_shim.patched(**at(east)):
        assert demanded()


class TestModule:
    def test_its_globals_are_what_they_were(self, without_key: pytest.MonkeyPatch, patch: Patch) -> None:
        names = ("api_key", "http_client", "api_type", "base_url", "_client", "azure_endpoint", "api_version")
        before = [vars(openai)[name] for name in names]
        patch()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert openai.http_client is None
        assert openai.api_type is None
        azure_shim.unpatch()
        assert [vars(openai)[name] for name in names] == before

    def test_a_program_that_reads_its_key_back_sees_no_secret(self, patch: Patch, east: Resource) -> None:
        patch()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert openai.api_key != east.api_key

    def test_a_client_that_was_in_use_comes_back(
        self, patch: Patch, elsewhere: ScriptedServer, without_key: pytest.MonkeyPatch
    ) -> None:
        openai.base_url, openai.api_key = f"{elsewhere.url}/v1/", "theirs"
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        used, http_client = openai._client, openai.http_client
        openai.base_url = None
        patch()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        azure_shim.unpatch()
        assert openai._client is used
        assert openai.http_client is http_client
        assert openai.api_key == "theirs"
        openai.base_url = f"{elsewhere.url}/v1/"
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert len(elsewhere.requests) == 2
        assert elsewhere.requests[1].headers == elsewhere.requests[0].headers
