"""The service that each framework's tests run against, the clients they put in, and the guard around all of it.

``python -m tests.acceptance.frameworks`` runs these modules, each in an environment that has its framework; no other
run collects them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.catalogue import FRAMEWORKS
from tests.acceptance.frameworks.guard import Guard
from tests.acceptance.frameworks.support import DEPLOYMENTS, Gate

T = TypeVar("T")

_wanted = FRAMEWORKS.get(os.environ.get("AZURE_SHIM_FRAMEWORK", ""))
collect_ignore_glob = [f.module for f in FRAMEWORKS.values() if _wanted is None or f.module != _wanted.module]

_guard = Guard()
# In a framework's own run also between the tests, and while it is imported.
_guard.is_on = _wanted is not None


@pytest.fixture(autouse=True)
def guard() -> Iterator[Guard]:
    """Refuses what is not loopback; a test in which anything tried it fails, whoever swallowed the error."""
    _guard.take_refused()
    _guard.is_on = True
    yield _guard
    _guard.is_on = _wanted is not None
    assert _guard.take_refused() == [], "these hosts are not this machine"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """Azure with one resource, "eastus"; all that comes to it has to be sound."""
    with FakeAzure({"eastus": {deployment: model for model, deployment in DEPLOYMENTS.items()}}) as found:
        yield found
        assert found.leaks == []
        assert found.refused == []
        for request in found.requests:
            assert request.deployment is None or request.deployment in DEPLOYMENTS.values(), request


@pytest.fixture
def eastus(azure: FakeAzure) -> Resource:
    return azure["eastus"]


@pytest.fixture
def arguments(eastus: Resource) -> dict[str, Any]:
    """Azure's arguments of whatever dose: this endpoint with its key, on the v1 surface."""
    return {"azure_endpoint": eastus.endpoint, "api_key": eastus.api_key, "deployments": DEPLOYMENTS}


@pytest.fixture
def classic(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same with a dated api-version: deployments are in the path."""
    return {**arguments, "api_version": "2024-10-21"}


@pytest.fixture
def run() -> Iterator[Callable[[Awaitable[T]], T]]:
    """Runs an awaitable in the one event loop of the test; async clients of the fixtures are closed in it."""
    loop = asyncio.new_event_loop()

    async def awaited(one: Awaitable[T]) -> T:
        return await one

    try:
        yield lambda one: loop.run_until_complete(awaited(one))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


@pytest.fixture
def client(arguments: dict[str, Any]) -> Iterator[azure_shim.OpenAI]:
    with azure_shim.OpenAI(**arguments) as found:
        yield found


@pytest.fixture
def async_client(arguments: dict[str, Any], run: Callable[[Any], Any]) -> Iterator[azure_shim.AsyncOpenAI]:
    found = azure_shim.AsyncOpenAI(**arguments)
    yield found
    run(found.close())


@pytest.fixture
def azure_client(classic: dict[str, Any], run: Callable[[Any], Any]) -> Iterator[azure_shim.AsyncAzureOpenAI]:
    """For whoever asks whether his client is an ``openai.AsyncAzureOpenAI``; on the classic surface."""
    found = azure_shim.AsyncAzureOpenAI(**classic)
    yield found
    run(found.close())


@pytest.fixture
def http_client(arguments: dict[str, Any]) -> Iterator[Any]:
    """For ``http_client=`` of whoever builds an ``openai.OpenAI`` of his own."""
    with azure_shim.http_client(**arguments) as found:
        yield found


@pytest.fixture
def async_http_client(arguments: dict[str, Any], run: Callable[[Any], Any]) -> Iterator[Any]:
    found = azure_shim.async_http_client(**arguments)
    yield found
    run(found.aclose())


@pytest.fixture
def plain_client(http_client: Any) -> openai.OpenAI:
    """openai's own client around our HTTP client."""
    return openai.OpenAI(api_key="unused", http_client=http_client)


@pytest.fixture
def plain_async_client(async_http_client: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="unused", http_client=async_http_client)


@pytest.fixture
def patched(arguments: dict[str, Any]) -> Iterator[None]:
    """Clients that this test's code builds go to Azure: ``with azure_shim.patched(...)``."""
    with azure_shim.patched(**arguments):
        yield


@pytest.fixture
def patch(arguments: dict[str, Any]) -> Iterator[None]:
    """Clients that anybody builds go to Azure: ``azure_shim.patch(...)``."""
    azure_shim.patch(**arguments)
    yield
    azure_shim.unpatch()


@pytest.fixture
def gate(eastus: Resource) -> Iterator[Gate]:
    """To be opened at the first words of a streamed answer to `LONG`."""
    found = Gate()
    eastus.sleep = found.wait
    yield found
    found.open()
    assert found.was_reached, "no stream has come to the gate"
    assert not found.is_late, "the stream was read to its end before anything of it was passed on"
