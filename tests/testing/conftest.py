"""Clients of every kind for one FakeAzure: raw ones of both libraries and the SDK's own, by socket and in process."""

from __future__ import annotations

import importlib
import os
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from azure_shim.testing import FakeAzure, Resource

Client = Callable[..., Any]
DATED = "2025-04-01-preview"
IS_OPENAI_1 = openai.__version__.startswith("1.")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official clients read it all, so here nothing is in it that they would send."""
    for name in os.environ:
        if name.upper().startswith(("OPENAI_", "AZURE_OPENAI_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-poison")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "poison")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://poison.invalid")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    models = ("gpt-4o", "text-embedding-3-small", "gpt-image-1", "whisper", "tts", "sora-2", "gpt-35-turbo-instruct")
    with FakeAzure({"eastus": models, "westus": {"prod-4o": "gpt-4o"}}) as azure:
        yield azure


@pytest.fixture
def east(azure: FakeAzure) -> Resource:
    return azure["eastus"]


@pytest.fixture
def west(azure: FakeAzure) -> Resource:
    return azure["westus"]


@pytest.fixture(params=["loopback", "in process"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


@pytest.fixture
def openais_library() -> Any:
    """The HTTP library that the installed openai is built on."""
    return importlib.import_module("httpx" if int(openai.__version__.partition(".")[0]) < 3 else "httpx2")


@pytest.fixture(scope="session")
def trust() -> ssl.SSLContext:
    """One for all clients; each would else read the certificates of this machine anew."""
    return ssl.create_default_context()


@pytest.fixture
def send(azure: FakeAzure, way: str, library: Any, trust: ssl.SSLContext) -> Iterator[Client]:
    """``send(resource, method, path, **arguments)``: a raw request, signed with the resource's key or not."""
    transport = azure.transport(library.__name__) if way == "in process" else None
    with library.Client(transport=transport, verify=trust) as client:

        def send(resource: Resource, method: str, path: str, *, key: bool = True, **arguments: Any) -> Any:
            base = resource.host_endpoint if way == "in process" else resource.endpoint
            origin = base.removesuffix(resource.prefix)
            headers = {resource.api_key_header: resource.api_key} if key else {}
            headers.update(arguments.pop("headers", {}))
            return client.request(method, origin + path, headers=headers, **arguments)

        yield send


@pytest.fixture
def classic(azure: FakeAzure, way: str, openais_library: Any, trust: ssl.SSLContext) -> Iterator[Client]:
    """``classic(resource)``: the official client of the dated surface."""
    clients = []

    def classic(resource: Resource, **arguments: Any) -> openai.AzureOpenAI:
        resource.accepts_key_twice = IS_OPENAI_1
        in_process = way == "in process"
        arguments = {"api_version": DATED, "api_key": resource.api_key, "max_retries": 0, **arguments}
        transport = azure.transport() if in_process else None
        http_client = openais_library.Client(transport=transport, verify=trust)
        endpoint = resource.host_endpoint if in_process else resource.endpoint
        client = openai.AzureOpenAI(azure_endpoint=endpoint, http_client=http_client, **arguments)
        clients.append(client)
        return client

    yield classic
    for client in clients:
        client.close()


@pytest.fixture
def v1(azure: FakeAzure, way: str, openais_library: Any, trust: ssl.SSLContext) -> Iterator[Client]:
    """``v1(resource)``: the official client, pointed at the v1 surface."""
    clients = []

    def v1(resource: Resource, **arguments: Any) -> openai.OpenAI:
        in_process = way == "in process"
        arguments = {"api_key": resource.api_key, "max_retries": 0, **arguments}
        transport = azure.transport() if in_process else None
        http_client = openais_library.Client(transport=transport, verify=trust)
        base = f"{resource.host_endpoint}/openai/v1" if in_process else resource.v1_url
        client = openai.OpenAI(base_url=base, http_client=http_client, **arguments)
        clients.append(client)
        return client

    yield v1
    for client in clients:
        client.close()


@pytest.fixture(params=["classic", "v1"])
def client(request: pytest.FixtureRequest, classic: Client, v1: Client, east: Resource) -> Any:
    return {"classic": classic, "v1": v1}[request.param](east)
