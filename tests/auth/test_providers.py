"""What is known of a provider before it is called."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from azure_shim.auth.providers import awaits


async def coroutine() -> str:
    return "token"


def plain() -> str:
    return "token"


class Callable:
    def __call__(self) -> str:
        return "token"

    async def method(self) -> str:
        return "token"

    async def get_token(self) -> str:
        return "token"


class Awaits:
    async def __call__(self) -> str:
        return "token"


@pytest.mark.parametrize(
    "provider",
    [coroutine, Awaits(), Callable().method, functools.partial(coroutine)],
    ids=["function", "object", "method", "partial"],
)
def test_a_coroutine_function_is_known_to_await(provider: Any) -> None:
    assert awaits(provider)


@pytest.mark.parametrize(
    "provider",
    [plain, Callable(), functools.partial(plain), lambda: "token", str, Awaits],
    ids=["function", "object", "partial", "lambda", "type", "class of awaiting objects"],
)
def test_nothing_is_known_of_any_other_callable(provider: Any) -> None:
    assert not awaits(provider)


def test_a_provider_is_not_called_to_find_out() -> None:
    def provider() -> str:
        raise AssertionError("called")

    assert not awaits(provider)
