"""``openai.chat.completions.create`` has a client for each patch, whatever api_type says and the SDK has kept."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.patching.support import MESSAGES, OPENAI, OWN_KEY, Guard, at, places
from tests.servers import ScriptedServer

pytestmark = pytest.mark.usefixtures("clean")
# "open_ai" is 0.x's name for OpenAI; whatever the SDK does not know is OpenAI as well.
TYPES = [None, "openai", "open_ai", "OpenAI", "azure_ad"]


def ask() -> None:
    openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)


def fails(guard: Guard) -> None:
    """A call that goes to OpenAI."""
    with pytest.raises(openai.APIConnectionError):
        ask()
    assert set(guard.take()) == {OPENAI}


@pytest.fixture(params=TYPES, autouse=True)
def kind(request: pytest.FixtureRequest, clean: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    openai.api_key, openai.max_retries = OWN_KEY, 0
    openai.api_type = request.param
    return request.param


@pytest.mark.parametrize("legacy", [False, True])
def test_a_client_that_was_kept_before_serves_no_patch(
    legacy: bool, guard: Guard, azure: FakeAzure, east: Resource, west: Resource
) -> None:
    fails(guard)
    azure_shim.patch(**at(east), legacy=legacy)
    ask()
    with azure_shim.patched(**at(west), legacy=legacy):
        ask()
    ask()
    azure_shim.unpatch()
    assert places(azure) == ["eastus", "westus", "eastus"]
    fails(guard)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_newer_patch_has_a_client_of_its_own(legacy: bool, azure: FakeAzure, east: Resource, west: Resource) -> None:
    azure_shim.patch(**at(east), legacy=legacy)
    ask()
    azure_shim.patch(**at(west), legacy=legacy)
    ask()
    with azure_shim.patched(**at(east), legacy=legacy):
        ask()
    ask()
    assert places(azure) == ["eastus", "westus", "eastus", "westus"]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("is_outside_first", [False, True])
def test_contexts_share_no_client(
    is_outside_first: bool, legacy: bool, guard: Guard, azure: FakeAzure, east: Resource
) -> None:
    outside = contextvars.copy_context()
    with azure_shim.patched(**at(east), legacy=legacy):
        if is_outside_first:
            outside.run(fails, guard)
        ask()
        outside.run(fails, guard)
        ask()
    assert places(azure) == ["eastus", "eastus"]
    fails(guard)


@pytest.mark.parametrize("is_patched_first", [False, True])
def test_a_program_that_says_azure_later_gets_no_client_of_openai(
    is_patched_first: bool,
    guard: Guard,
    patch: Callable[..., None],
    azure: FakeAzure,
    elsewhere: ScriptedServer,
) -> None:
    """The SDK would go on with the client that it has kept."""
    fails(guard)
    patch()
    if is_patched_first:
        ask()
    openai.api_type, openai.azure_endpoint, openai.api_version = "azure", elsewhere.url, "2024-10-21"
    ask()
    assert [request.header("api-key") for request in elsewhere.requests] == [OWN_KEY]
    assert len(azure.requests) == is_patched_first
    openai.api_type = "openai"
    ask()
    assert len(azure.requests) == is_patched_first + 1


def test_azure_s_class_too_is_made_for_each_patch(azure: FakeAzure, east: Resource, west: Resource) -> None:
    openai.api_type, openai.azure_endpoint, openai.api_version = "azure", "https://nowhere.example", "2024-10-21"
    azure_shim.patch(**at(east), include_azure=True)
    ask()
    azure_shim.patch(**at(west), include_azure=True)
    ask()
    with azure_shim.patched(**at(east), include_azure=True):
        ask()
    assert places(azure) == ["eastus", "westus", "eastus"]
