"""A process whose ``openai`` is as it was once the test has ended, and which reaches nothing but this machine."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.patching.support import MODELS, Guard, assert_clean, at, attributes


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Guard]:
    found = Guard(monkeypatch)
    yield found
    assert found.tried == []


@pytest.fixture
def clean(guard: Guard) -> Iterator[None]:
    """After the test ``openai`` has the very same attributes as before; what the SDK keeps in its module is reset."""
    before, module = attributes(), dict(vars(openai))
    yield
    azure_shim.unpatch()
    after = attributes()
    if sorted(after) != sorted(before):
        gc.collect()  # a scope is undone when the last context that knows it is gone
        after = attributes()
    for name in set(vars(openai)) - set(module):
        delattr(openai, name)
    for name, value in module.items():
        if vars(openai)[name] is not value:
            setattr(openai, name, value)
    assert sorted(after) == sorted(before)


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": MODELS, "westus": MODELS}) as found:
        yield found
        assert_clean(found)


@pytest.fixture
def east(azure: FakeAzure) -> Resource:
    return azure["eastus"]


@pytest.fixture
def west(azure: FakeAzure) -> Resource:
    return azure["westus"]


@pytest.fixture
def patch(clean: None, east: Resource) -> Callable[..., None]:
    """``azure_shim.patch`` to the first resource, undone when the test ends."""

    def patch_to_east(**more: Any) -> None:
        azure_shim.patch(**at(east, **more))

    return patch_to_east
