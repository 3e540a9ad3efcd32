"""Configs with several targets on loopback, and what a test looks at in the clients that are made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azure_shim.testing import Recorded, Resource
from tests.conftest import LIBRARIES, Colour
from tests.servers import ScriptedServer, Seen

MODEL = "gpt-4o"
MESSAGES: list[Any] = [{"role": "user", "content": "Hello Azure"}]
PIN = "x-azure-shim-target"
DOSES = ["constructor", *(f"http_client of {library}" for library in LIBRARIES)]


def at(resource: Resource, **more: Any) -> dict[str, Any]:
    """The target that is a resource of `FakeAzure`."""
    keys = {"azure_endpoint": resource.endpoint, "api_key": resource.api_key, "api_version": "2024-10-21"}
    return {"name": resource.name, **keys, **more}


def at_server(name: str, server: ScriptedServer, **more: Any) -> dict[str, Any]:
    """The target that is a `ScriptedServer`."""
    keys = {"azure_endpoint": server.url, "api_key": f"key-of-{name}-0123456789", "api_version": "2024-10-21"}
    return {"name": name, **keys, **more}


def plan(mode: str, *targets: Any, **rules: Any) -> dict[str, Any]:
    """The config of these targets; ``by`` and ``wait_s`` are the strategy's."""
    strategy = {"mode": mode, **{key: rules.pop(key) for key in ("by", "wait_s") if key in rules}}
    return {"strategy": strategy, "targets": list(targets), **rules}


def connect(dose: str, colour: Colour, config: Any, **options: Any) -> Any:
    """A client for ``config``: ours, or a plain one over an HTTP client of ours, as ``dose`` says."""
    if dose == "constructor":
        return colour.client(config=config, **options)
    http_client = colour.http_client(config=config, library=dose.rpartition(" ")[2])
    return colour.plain(api_key="sk-of-nobody", organization="org-of-nobody", http_client=http_client, **options)


def chat(colour: Colour, client: Any, **more: Any) -> str:
    """The content of the answer to a chat, which is the region and the deployment at a `FakeAzure`."""
    call: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, **more}
    return str(colour.call(client.chat.completions.create, **call).choices[0].message.content)


def raw_chat(colour: Colour, client: Any, **more: Any) -> Any:
    """The raw answer to a chat."""
    call: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, **more}
    return colour.call(client.chat.completions.with_raw_response.create, **call)


def pin(name: str) -> dict[str, Any]:
    """The argument that sends a call to one target."""
    return {"extra_headers": {PIN: name}}


def failure(call: Callable[[], Any], kind: type[BaseException] | tuple[type[BaseException], ...]) -> Any:
    """The error that a call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind} was raised")


def names_of(request: Seen | Recorded) -> set[str]:
    """The names of the headers that came, in lower case."""
    raw = request.headers.raw if isinstance(request, Recorded) else request.headers
    return {name.lower() for name, _ in raw}


def assert_nothing_of_ours(*requests: Seen | Recorded) -> None:
    """No header of this package's own, and none of OpenAI's for its own service, reached a server."""
    for request in requests:
        found = {name for name in names_of(request) if "azure-shim" in name or "azure_shim" in name}
        assert not found, f"{found} reached a server"
        assert names_of(request).isdisjoint(("cookie", "openai-organization", "openai-project", "x-portkey-metadata"))


def fleet_of(client: Any) -> Any:
    """What the clients of equal configs share."""
    return client._client.azure_shim_fleet


class Clock:
    """Stands still until it is told."""

    def __init__(self, client: Any) -> None:
        self.now = 1000.0
        fleet = fleet_of(client)
        fleet.clock = fleet.health.clock = self

    def __call__(self) -> float:
        return self.now
