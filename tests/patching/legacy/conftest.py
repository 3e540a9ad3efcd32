"""A process in which the 0.x API is installed for two resources, one of which the patch names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from azure_shim.patching.legacy import install
from azure_shim.testing import FakeAzure
from azure_shim.testing.resource import Resource
from tests.conftest import Colour

DEPLOYMENTS = {
    "prod": "gpt-4o",
    "gpt-4o": "gpt-4",
    "vectors": "text-embedding-ada-002",
    "instruct": "gpt-35-turbo-instruct",
    "pictures": "dall-e-3",
    "ears": "whisper-1",
}
MESSAGES: list[Any] = [{"role": "user", "content": "Say this is a test"}]


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": DEPLOYMENTS, "westus": DEPLOYMENTS}) as found:
        yield found
        assert found.leaks == []


@pytest.fixture
def east(azure: FakeAzure) -> Resource:
    return azure["eastus"]


@pytest.fixture
def module() -> Iterator[Any]:
    """The module ``openai``, put back whatever a program assigns to it."""
    before = dict(vars(openai))
    yield openai
    for name in set(vars(openai)) - set(before):
        delattr(openai, name)
    for name, value in before.items():
        if vars(openai)[name] is not value:
            setattr(openai, name, value)


@pytest.fixture
def settings(east: Resource) -> dict[str, Any]:
    """What the patch was told; a test may change it before its first call."""
    mapping = {"gpt-4o": "prod", "gpt-3.5-turbo": "prod", "text-embedding-ada-002": "vectors", "dall-e-2": "pictures"}
    return {"azure_endpoint": east.endpoint, "api_key": east.api_key, "deployments": mapping}


@pytest.fixture
def legacy(module: Any, settings: dict[str, Any]) -> Iterator[Any]:
    """The module ``openai`` with the 0.x API in it."""
    undo = install(module, lambda: settings)
    yield module
    undo()


@pytest.fixture
def call(legacy: Any, colour: Colour) -> Callable[..., Any]:
    """``call("ChatCompletion.create", ...)``: the method, or its async twin awaited."""

    def made(method: str, *args: Any, **kwargs: Any) -> Any:
        kind, _, name = method.partition(".")
        return colour.call(getattr(getattr(legacy, kind), f"a{name}" if colour.is_async else name), *args, **kwargs)

    return made
