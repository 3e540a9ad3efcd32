"""What the tests of the patch share: a guard on the network, what of ``openai`` may change, and calls."""

from __future__ import annotations

import importlib
import ipaddress
import socket
from types import ModuleType
from typing import Any

import openai

from azure_shim.testing import FakeAzure, Resource
from tests.conftest import AMBIENT_KEY, Colour
from tests.servers import MESSAGES, ScriptedServer, Seen

MODELS = {
    "prod-4o": "gpt-4o",
    "vectors": "text-embedding-3-small",
    "pictures": "dall-e-3",
    "ears": "whisper-1",
}
DEPLOYMENTS = {"gpt-4o": "prod-4o", "text-embedding-3-small": "vectors", "dall-e-3": "pictures", "whisper-1": "ears"}
OPENAI = "api.openai.com"
OPENAI_URL = f"https://{OPENAI}/v1"
OWN_KEY = "sk-of-the-program-0123456789"
"""What a program that was written for OpenAI passes."""


class Guard:
    """Lets nothing out of this machine: other hosts do not resolve, and are refused.

    ``tried`` are the hosts that were wanted; a test that expects some takes them. ``dialled`` are the ports of this
    machine that were.
    """

    def __init__(self, monkeypatch: Any) -> None:
        self.tried: list[str] = []
        self.dialled: list[int] = []
        resolve = socket.getaddrinfo
        connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

        def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._is_here(host):
                raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is not for a test")
            return resolve(host, *args, **kwargs)

        def guarded(self_: socket.socket, address: Any) -> None:
            self._check(address)
            connect(self_, address)

        def guarded_ex(self_: socket.socket, address: Any) -> int:
            self._check(address)
            return connect_ex(self_, address)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(socket.socket, "connect", guarded)
        monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)

    def take(self) -> list[str]:
        tried, self.tried = self.tried, []
        return tried

    def _is_here(self, host: Any) -> bool:
        name = host.decode() if isinstance(host, bytes) else host
        if name in (None, "", "localhost"):
            return True
        try:
            is_here = ipaddress.ip_address(name).is_loopback
        except ValueError:
            is_here = False
        if not is_here:
            self.tried.append(name)
        return is_here

    def _check(self, address: Any) -> None:
        if not isinstance(address, tuple):
            return
        if not self._is_here(address[0]):
            raise ConnectionRefusedError(f"{address[0]} is not for a test")
        self.dialled.append(address[1])


def owners() -> list[Any]:
    """What the patch changes attributes of."""
    found = [openai, importlib.import_module("openai._module_client"), openai.OpenAI, openai.AsyncOpenAI]
    found += [openai._ModuleClient, openai.AzureOpenAI, openai.AsyncAzureOpenAI]
    return [*found, openai.OpenAI.__mro__[1], openai.AsyncOpenAI.__mro__[1]]


_GLOBALS = {"api_key", "organization", "project", "admin_api_key", "webhook_secret", "default_headers", "default_query"}
_GLOBALS |= {"api_type", "api_version", "azure_endpoint", "base_url", "http_client", "timeout"}
_GLOBALS |= {"max_retries", "_client"}
"""What the SDK itself keeps in the module, or imports there when it is needed."""


def attributes(*, with_globals: bool = False) -> list[tuple[str, str, int]]:
    """Every attribute of `owners` by its identity, but for submodules, which are imported when they are needed."""
    return [
        (getattr(owner, "__qualname__", owner.__name__), name, id(value))
        for owner in owners()
        for name, value in list(vars(owner).items())
        # `isinstance` would wake the proxies of the module-level client.
        if type(value) is not ModuleType
        and name not in ("__slotnames__", "resources")
        and (with_globals or owner is not openai or name not in _GLOBALS)
    ]


def at(resource: Resource, **more: Any) -> dict[str, Any]:
    """The settings of a patch that leads to a resource."""
    keys = {"azure_endpoint": resource.endpoint, "api_key": resource.api_key, "deployments": DEPLOYMENTS}
    return {**keys, **more}


def kept(colour: Colour, client: Any) -> Any:
    """``client``, closed when the test ends."""
    colour._made.append(client)
    return client


def openais(colour: Colour, **arguments: Any) -> Any:
    """A client as a program for OpenAI builds it; closed when the test ends."""
    return kept(colour, colour.plain(**{"max_retries": 0, **arguments}))


def chat(colour: Colour, client: Any, **more: Any) -> str:
    call: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, **more}
    return str(colour.call(client.chat.completions.create, **call).choices[0].message.content)


def streamed(colour: Colour, client: Any, **more: Any) -> str:
    call: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, "stream": True, **more}
    chunks = colour.list(colour.call(client.chat.completions.create, **call))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def places(azure: FakeAzure) -> list[str]:
    """Which resources were asked, in order."""
    return [request.resource for request in azure.requests]


def is_routed(colour: Colour, client: Any, resource: Resource) -> bool:
    """Whether a chat of ``client`` goes to ``resource``, which believes it."""
    before = len(resource.requests)
    chat(colour, client)
    assert [request.refused for request in resource.requests[before:]] == [None] * (len(resource.requests) - before)
    return len(resource.requests) == before + 1


def assert_clean(azure: FakeAzure) -> None:
    """No header, path or body that came to Azure has anything of the environment's for OpenAI, or of ours."""
    assert azure.leaks == []
    for request in azure.requests:
        text = f"{request.raw_path} {request.headers.raw} {request.body[:4096]!r}"
        for secret in (AMBIENT_KEY, OWN_KEY, "org-ambient", "proj-ambient", "sk-admin", "azure-shim-"):
            assert secret not in text, f"{secret!r} reached {request.resource}"
        names = {name.lower() for name, _ in request.headers.raw}
        assert "x-ambient" not in names, "OPENAI_CUSTOM_HEADERS reached Azure"
        assert not [name for name in names if "azure-shim" in name]


def seen(requests: list[Seen]) -> list[tuple[str, str, list[tuple[str, str]], bytes]]:
    """Requests byte for byte, to be compared."""
    return [(each.method, each.target, each.headers, each.body) for each in requests]


def taken(server: ScriptedServer) -> list[Seen]:
    """What came to a server since the last time."""
    found = list(server.requests)
    server.requests.clear()
    return found


def depth(http_client: Any) -> int:
    """How many transports of ours a request of an HTTP client passes."""
    if not _is_ours(http_client._transport):
        return 0
    given = http_client.azure_shim_given
    while given is not None and _is_ours(given._transport):  # of which the connections alone are used
        given = given.azure_shim_given
    if given is None:
        return 1
    below = http_client.azure_shim_select(http_client.azure_shim_library.module.URL("https://r.openai.azure.com"))
    return 1 + _is_ours(below)


def _is_ours(transport: Any) -> bool:
    return type(transport).__module__.startswith("azure_shim")
