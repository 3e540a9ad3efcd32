"""A token service and the resource that believes it, for the tests of clients without a key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from azure_shim.testing import FakeAzure, TokenService


@pytest.fixture
def service() -> Iterator[TokenService]:
    with TokenService() as found:
        yield found


@pytest.fixture
def service_principal(service: TokenService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a machine that signs in with a client secret."""
    for name, value in service.environment("client_secret").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def azure_openai(service: TokenService) -> Iterator[FakeAzure]:
    models = {"gpt-4o": "gpt-4o", "whisper": "whisper"}
    with FakeAzure({"eastus": models}, token_service=service) as found:
        yield found
        assert found.leaks == []


@pytest.fixture
def endpoint(azure_openai: FakeAzure) -> str:
    return azure_openai["eastus"].endpoint
