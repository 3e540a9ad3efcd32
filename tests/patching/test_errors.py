"""What goes wrong is openai's own error with the reason, or one ConfigurationError where the patch is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.patching.process import patch_late, refuse
from azure_shim.testing import FakeAzure, Resource
from tests.conftest import Colour
from tests.fleets import at as target
from tests.fleets import plan
from tests.patching.support import MESSAGES, chat, is_routed, openais, places, streamed

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")
ENDPOINT = "https://r.openai.azure.com"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"api_key": "k"}, "azure_endpoint"),
        ({"azure_endpoint": "nowhere at all", "api_key": "k"}, "azure_endpoint"),
        ({"azure_endpoint": ENDPOINT}, "api_key"),
        ({"azure_endpoint": ENDPOINT, "api_key": "k", "api_version": "yesterday"}, "api_version"),
        ({"azure_endpoint": ENDPOINT, "api_key": "k", "azure_ad_token": "t"}, "azure_ad_token"),
        ({"azure_endpoint": ENDPOINT, "api_key": "k", "deployments": 7}, "deployments"),
        ({"azure_endpoint": ENDPOINT, "api_key": "k", "azure_endpont": ENDPOINT}, "azure_endpont"),
        ({"azure_endpoint": ENDPOINT, "api_key": "k", "http_client": None, "timeout": 3}, "timeout"),
        ({"config": {"targets": []}}, "targets"),
    ],
)
def test_bad_settings_are_one_error_where_they_are_given(settings: dict[str, Any], named: str) -> None:
    for make in (azure_shim.patch, lambda **given: azure_shim.patched(**given).__enter__()):
        with pytest.raises(azure_shim.ConfigurationError, match=named) as caught:
            make(**settings)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, openai.OpenAIError)
    assert str(openai.OpenAI().base_url) == "https://api.openai.com/v1/"


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(azure_shim.ConfigurationError) as caught:
        azure_shim.patch(azure_endpoint="nowhere at all", api_key="k", api_version="yesterday")
    assert "azure_endpoint" in str(caught.value)
    assert "api_version" in str(caught.value)


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(azure_shim.ConfigurationError, match="did you mean azure_endpoint"):
        azure_shim.patch(azure_endpont=ENDPOINT, api_key="k")


def test_the_environments_settings_are_enough(colour: Colour, east: Resource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", east.endpoint)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", east.api_key)
    azure_shim.patch(azure_deployment="prod-4o")
    assert is_routed(colour, openais(colour), east)


def test_a_credential_that_fails_is_an_authentication_error_with_the_reason(colour: Colour, east: Resource) -> None:
    class Broken:
        def get_token(self, *scopes: str, **options: Any) -> Any:
            raise RuntimeError("az login has expired")

    azure_shim.patch(azure_endpoint=east.endpoint, credential=Broken())
    with pytest.raises(openai.AuthenticationError, match="Broken got no token"):
        chat(colour, openais(colour, max_retries=2))
    azure_shim.patch(azure_endpoint=east.endpoint, azure_ad_token_provider=lambda: "")
    with pytest.raises(openai.AuthenticationError, match="is empty"):
        chat(colour, openais(colour))
    assert east.requests == []


def test_a_wrong_key_is_azures_own_error(colour: Colour, east: Resource) -> None:
    azure_shim.patch(azure_endpoint=east.endpoint, api_key="wrong-0123456789")
    with pytest.raises(openai.AuthenticationError) as caught:
        chat(colour, openais(colour))
    assert caught.value.status_code == 401
    assert "wrong-0123456789" not in str(caught.value)


def test_a_provider_that_awaits_serves_clients_that_await(east: Resource) -> None:
    async def provider() -> str:
        return next(iter(east.tokens))

    azure_shim.patch(azure_endpoint=east.endpoint, azure_ad_token_provider=provider, azure_deployment="prod-4o")
    with pytest.raises(azure_shim.ConfigurationError, match="azure_ad_token_provider"):
        openai.OpenAI()
    colour = Colour("async")
    assert is_routed(colour, openais(colour), east)
    colour.finish()


def test_a_deployment_that_is_not_there_says_what_to_do(colour: Colour, patch: Patch) -> None:
    patch()
    with pytest.raises(openai.NotFoundError, match="deployment") as caught:
        chat(colour, openais(colour), model="gpt-9")
    assert "gpt-9" in str(caught.value)
    assert str(caught.value).count("deployments has: dall-e-3, gpt-4o") == 1


def test_the_module_says_it_too(patch: Patch) -> None:
    patch()
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        openai.chat.completions.create(model="gpt-9", messages=MESSAGES)


def test_a_model_that_is_not_mapped_may_be_an_error(colour: Colour, patch: Patch, azure: FakeAzure) -> None:
    patch(unmapped_models="error")
    with pytest.raises(openai.APIStatusError, match="gpt-9"):
        chat(colour, openais(colour), model="gpt-9")
    assert azure.requests == []


def test_what_azure_does_not_have_is_refused_here(colour: Colour, patch: Patch, azure: FakeAzure) -> None:
    patch()
    with pytest.raises(openai.NotFoundError, match="does not offer"):
        colour.call(openais(colour).moderations.create, input="a")
    assert azure.requests == []


@pytest.mark.parametrize("retries", [0, 2])
def test_retries_are_the_sdks_own_and_bounded(retries: int, colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    east.fail_next("429_token_rate", times=None, headers={"retry-after-ms": "1"})
    with pytest.raises(openai.RateLimitError):
        chat(colour, openais(colour, max_retries=retries))
    assert len(east.requests) == retries + 1
    counts = [request.headers.get("x-stainless-retry-count") for request in east.requests]
    assert counts == [str(number) for number in range(retries + 1)]


class TestFleets:
    @pytest.fixture
    def config(self, azure: FakeAzure) -> dict[str, Any]:
        return plan("fallback", target(azure["eastus"]), target(azure["westus"]), deployments={"gpt-4o": "prod-4o"})

    def test_another_target_answers(self, config: Any, colour: Colour, azure: FakeAzure, east: Resource) -> None:
        azure_shim.patch(config=config)
        client = openais(colour)
        assert chat(colour, client)
        east.fail_next("429_token_rate", retry_after=60)
        assert chat(colour, client)
        assert streamed(colour, client.with_options(timeout=9))
        assert places(azure) == ["eastus", "eastus", "westus", "westus"]
        assert azure.refused == []

    def test_a_region_that_dies_is_left(self, config: Any, colour: Colour, azure: FakeAzure, east: Resource) -> None:
        azure_shim.patch(config=config)
        client = openais(colour)
        chat(colour, client)
        east.stop()
        assert chat(colour, client)
        assert chat(colour, openais(colour))
        assert places(azure) == ["eastus", "westus", "westus"]

    def test_the_module_fails_over_too(self, config: Any, azure: FakeAzure, east: Resource) -> None:
        azure_shim.patch(config=config)
        east.fail_next(status=503, code="ServiceUnavailable", message="down")
        assert openai.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices
        assert places(azure) == ["eastus", "westus"]

    def test_attempts_are_bounded(self, config: Any, colour: Colour, azure: FakeAzure) -> None:
        azure_shim.patch(config={**config, "attempts": 3})
        for resource in azure:
            resource.fail_next("429_token_rate", times=None, headers={"retry-after-ms": "1"})
        with pytest.raises(openai.RateLimitError):
            chat(colour, openais(colour, max_retries=5))
        assert 2 <= len(azure.requests) <= 3

    def test_a_target_may_be_named_in_a_call(self, config: Any, colour: Colour, azure: FakeAzure) -> None:
        azure_shim.patch(config=config)
        chat(colour, openais(colour), extra_headers={"x-azure-shim-target": "westus"})
        chat(colour, openais(colour, default_headers={"x-azure-shim-target": "westus"}))
        assert places(azure) == ["westus", "westus"]


# -- what AZURE_SHIM_AUTOPATCH turns on


def test_a_late_patch_reads_the_environment_when_a_client_is_built(
    colour: Colour, east: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_late()
    with pytest.raises(azure_shim.ConfigurationError, match="azure_endpoint") as caught:
        colour.plain()
    assert isinstance(caught.value, openai.OpenAIError)
    with pytest.raises(azure_shim.ConfigurationError, match="azure_endpoint"):
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", east.endpoint)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", east.api_key)
    assert chat(colour, openais(colour), model="prod-4o")
    assert openai.chat.completions.create(model="prod-4o", messages=MESSAGES).choices
    assert len(east.requests) == 2


def test_a_late_patch_without_settings_leaves_other_services_alone(colour: Colour, elsewhere: Any) -> None:
    patch_late()
    chat(colour, openais(colour, base_url=elsewhere.url, api_key="theirs"))
    assert len(elsewhere.requests) == 1


def test_an_explicit_patch_takes_the_place_of_a_late_one(colour: Colour, patch: Patch, east: Resource) -> None:
    for automatic in (patch_late, lambda: refuse("because")):
        automatic()
        patch()
        assert is_routed(colour, openais(colour), east)


def test_a_refusal_is_an_error_of_every_client_that_would_go_to_openai(
    colour: Colour, elsewhere: Any, east: Resource
) -> None:
    refuse("AZURE_SHIM_AUTOPATCH: is 'yes'")
    with pytest.raises(azure_shim.ConfigurationError, match="is 'yes'"):
        colour.plain()
    with pytest.raises(azure_shim.ConfigurationError, match="is 'yes'"):
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    client = openais(colour, base_url=elsewhere.url, api_key="theirs")
    chat(colour, client)
    client.base_url = "https://api.openai.com/v1"
    with pytest.raises(azure_shim.ConfigurationError, match="is 'yes'"):
        chat(colour, client)
    with pytest.raises(azure_shim.ConfigurationError, match="is 'yes'"):
        client.copy()
    colour.client(azure_endpoint=east.endpoint, api_key=east.api_key)
    client.base_url = elsewhere.url
    azure_shim.unpatch()
    assert str(openais(colour).base_url) == "https://api.openai.com/v1/"
