"""``azure_shim.patch(legacy=True)``: what it is told for the calls of 0.x, and who takes engine=."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.patching.legacy.embeddings_utils import (
    distances_from_embeddings,
    indices_of_nearest_neighbors_from_distances,
)
from azure_shim.testing.resource import Resource
from tests.conftest import OWN_LIBRARY, Colour
from tests.patching.legacy.conftest import MESSAGES

pytestmark = pytest.mark.usefixtures("clean")


def chat(colour: Colour, **more: Any) -> Any:
    kind: Any = openai.ChatCompletion  # type: ignore[attr-defined]
    return colour.call(kind.acreate if colour.is_async else kind.create, engine="prod", messages=MESSAGES, **more)


@pytest.mark.parametrize("retries", [None, 0, 2])
def test_max_retries_are_those_of_the_patch(
    retries: int | None, colour: Colour, east: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    azure_shim.patch(legacy=True, azure_endpoint=east.endpoint, api_key=east.api_key, max_retries=retries)
    east.fail_next("500", times=2)
    if retries:
        assert chat(colour).choices
        assert len(east.requests) == 3
    else:
        with pytest.raises(openai.error.APIError):  # type: ignore[attr-defined]
            chat(colour)
        assert len(east.requests) == 1


def test_timeout_and_http_client_are_those_of_the_patch(colour: Colour, east: Resource) -> None:
    seen: list[Any] = []

    async def noted(request: Any) -> None:
        seen.append(request)

    hook: Any = noted if colour.is_async else seen.append
    given = colour.library_client(importlib.import_module(OWN_LIBRARY), event_hooks={"request": [hook]})
    azure_shim.patch(legacy=True, azure_endpoint=east.endpoint, api_key=east.api_key, timeout=17, http_client=given)
    chat(colour)
    assert len(seen) == 1
    assert east.requests[0].headers["x-stainless-read-timeout"] in ("17", "17.0")
    other = Colour("sync" if colour.is_async else "async")
    try:
        chat(other)  # which has no use for it
    finally:
        other.finish()
    assert len(seen) == 1
    colour.close(given)


@pytest.mark.parametrize("name", ["max_retries", "timeout", "http_client"])
def test_without_the_calls_of_0x_they_are_each_clients_own(name: str, east: Resource) -> None:
    with pytest.raises(azure_shim.ConfigurationError, match=f"^{name}: goes with legacy=True only"):
        azure_shim.patch(azure_endpoint=east.endpoint, api_key=east.api_key, **{name: 1})


@pytest.mark.parametrize("how", ["constructor", "azure", "wrap", "patched"])
def test_every_client_that_goes_to_azure_takes_an_engine(how: str, colour: Colour, east: Resource) -> None:
    settings = {"azure_endpoint": east.endpoint, "api_key": east.api_key, "deployments": {"gpt-4o": "prod"}}
    azure_shim.patch(legacy=True, **settings)
    if how == "constructor":
        client = colour.client(**settings)
    elif how == "azure":
        client = (azure_shim.AsyncAzureOpenAI if colour.is_async else azure_shim.AzureOpenAI)(**settings)
    else:
        client = colour.plain()
        client = azure_shim.wrap(client, **settings) if how == "wrap" else client
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert colour.call(client.chat.completions.create, engine="gpt-4o", messages=MESSAGES).choices
    assert "model='gpt-4o'" in str(caught[0].message)
    assert "/gpt-4o" in east.requests[0].path or b'"gpt-4o"' in east.requests[0].body
    colour.close(client)


@pytest.mark.parametrize("base", ["https://api.openai.com/v1", "https://eu.api.openai.com/v1", "api.openai.com./v1"])
def test_openais_own_host_is_the_patchs_azure_however_it_is_spelled(base: str, colour: Colour, east: Resource) -> None:
    azure_shim.patch(legacy=True, azure_endpoint=east.endpoint, api_key=east.api_key)
    before, openai.api_base = openai.api_base, base  # type: ignore[attr-defined]
    assert chat(colour).choices
    openai.api_base = before  # type: ignore[attr-defined]
    assert [request.refused for request in east.requests] == [None]


def test_distances_of_embeddings() -> None:
    points = [[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]
    assert distances_from_embeddings([1.0, 0.0], points) == pytest.approx([0.0, 1.0, 0.4])
    assert distances_from_embeddings([1.0, 0.0], points, "L1") == pytest.approx([0.0, 3.0, 6.0])
    assert distances_from_embeddings([1.0, 0.0], points, distance_metric="L2") == pytest.approx([0.0, 5**0.5, 20**0.5])
    assert distances_from_embeddings([1.0, 0.0], points, "Linf") == pytest.approx([0.0, 2.0, 4.0])
    assert indices_of_nearest_neighbors_from_distances([0.4, 0.0, 1.0]) == [1, 0, 2]
