"""What every test starts from: an environment that would leak if anything read it, and both colours and libraries."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.auth import identities
from tests.servers import ScriptedServer

if sys.version_info < (3, 12):
    # What measures coverage is installed into each thread that begins, and Python 3.11 may refuse that to one while
    # another gets it ("Cannot install a trace function while another trace function is being installed").
    _settrace = sys.settrace

    def _set_in_turn(function: Any) -> None:
        for _ in range(10_000):
            try:
                return _settrace(function)
            except RuntimeError:
                time.sleep(0)
        return _settrace(function)

    sys.settrace = _set_in_turn

MAJOR = int(openai.__version__.partition(".")[0])
# openai 1 takes clients of httpx alone.
LIBRARIES = ("httpx",) if MAJOR == 1 else ("httpx", "httpx2")
OWN_LIBRARY = "httpx2" if MAJOR >= 3 else "httpx"

AMBIENT_KEY = "sk-ambient-openai-key-that-must-never-leave"
POISON = {
    "OPENAI_API_KEY": AMBIENT_KEY,
    "OPENAI_ADMIN_KEY": "sk-admin-ambient-key-that-must-never-leave",
    "OPENAI_ORG_ID": "org-ambient",
    "OPENAI_PROJECT_ID": "proj-ambient",
    "OPENAI_BASE_URL": "https://api.openai.com/v1",
    "OPENAI_CUSTOM_HEADERS": f"Authorization: Bearer {AMBIENT_KEY}\nX-Ambient: 1",
}
CLEARED = (
    "AZURE_OPENAI_ENDPOINT",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_AD_TOKEN",
    "AZURE_SHIM_CONFIG",
    "OPENAI_API_VERSION",
    "OPENAI_API_TYPE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_USERNAME",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's own settings in the environment, none of Azure's, no proxies, no identity of this machine's."""
    for name, nothing in {"_ASSET_TAG_FILE": os.devnull, "_FOLDERS": (), "_COMMANDS": ()}.items():
        monkeypatch.setattr(identities, name, nothing)
    azure_shim.reset_tokens()  # clients of an earlier test may still be about
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)
    for name, value in POISON.items():
        monkeypatch.setenv(name, value)
    assert "AZURE_OPENAI_ENDPOINT" not in os.environ


class Colour:
    """Runs the same scenario with clients that block and with clients that await."""

    def __init__(self, name: str) -> None:
        self.is_async = name == "async"
        self._loop = asyncio.new_event_loop() if self.is_async else None
        self._made: list[Any] = []

    def client(self, **arguments: Any) -> Any:
        """An `azure_shim` client, closed when the test ends."""
        self._made.append((azure_shim.AsyncOpenAI if self.is_async else azure_shim.OpenAI)(**arguments))
        return self._made[-1]

    def plain(self, **arguments: Any) -> Any:
        """One of openai's own."""
        return (openai.AsyncOpenAI if self.is_async else openai.OpenAI)(**arguments)

    def azure(self, **arguments: Any) -> Any:
        """openai's own Azure client."""
        return (openai.AsyncAzureOpenAI if self.is_async else openai.AzureOpenAI)(**arguments)

    def http_client(self, **arguments: Any) -> Any:
        """One of `azure_shim.http_client`, closed when the test ends."""
        self._made.append((azure_shim.async_http_client if self.is_async else azure_shim.http_client)(**arguments))
        return self._made[-1]

    def library_client(self, module: Any, **arguments: Any) -> Any:
        return (module.AsyncClient if self.is_async else module.Client)(**arguments)

    def mock_transport(self, module: Any, handler: Callable[[Any], Any]) -> Any:
        async def awaited(request: Any) -> Any:
            return handler(request)

        return module.MockTransport(awaited if self.is_async else handler)

    def run(self, result: Any) -> Any:
        """The value of a call, awaited where it has to be."""
        if self._loop is None:
            return result
        return self._loop.run_until_complete(result)

    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self.run(function(*args, **kwargs))

    def list(self, stream: Any) -> list[Any]:
        """The items of a stream."""
        if self._loop is None:
            return list(stream)

        async def collect() -> list[Any]:
            return [item async for item in stream]

        return self._loop.run_until_complete(collect())  # type: ignore[no-any-return]

    def next(self, iterator: Any) -> Any:
        return self.run(anext(iterator)) if self.is_async else next(iterator)

    def iterate(self, stream: Any) -> Any:
        return aiter(stream) if self.is_async else iter(stream)

    def close(self, client: Any) -> None:
        if self.is_async:
            self.run((getattr(client, "aclose", None) or client.close)())
        else:
            client.close()

    def finish(self) -> None:
        for client in self._made:
            self.close(client)
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Iterator[Colour]:
    found = Colour(request.param)
    yield found
    found.finish()


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    """Each HTTP library that the installed openai takes a client of."""
    return importlib.import_module(request.param)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as found:
        yield found


@pytest.fixture
def elsewhere() -> Iterator[ScriptedServer]:
    """A second origin, which no client is configured for."""
    with ScriptedServer() as found:
        yield found
