"""WebSockets pass no transport: a patched client's are dialled at Azure and signed for it all the same (P16)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import azure_shim
from tests.acceptance.test_websockets import SocketServer, dial
from tests.conftest import AMBIENT_KEY, MAJOR, Colour
from tests.fleets import PIN, failure, plan
from tests.patching import early
from tests.patching.support import OPENAI, OPENAI_URL, OWN_KEY, Guard, kept, openais

pytestmark = pytest.mark.usefixtures("clean")
KEY = "azure-key-of-this-resource"
CLASSIC = "2025-04-01-preview"
MODEL = "gpt-realtime"
KINDS = ["realtime", "beta.realtime"]
KINDS += ["responses"] if hasattr(openai.OpenAI(api_key="k").responses, "connect") else []
KINDS += ["beta.responses"] if hasattr(getattr(openai.OpenAI(api_key="k").beta, "responses", None), "connect") else []
OURS = ("api-key", "authorization")


@pytest.fixture
def server() -> Iterator[SocketServer]:
    with SocketServer() as found:
        yield found


@pytest.fixture
def other() -> Iterator[SocketServer]:
    with SocketServer() as found:
        yield found


def settings(server: SocketServer, kind: str = "realtime", **more: Any) -> dict[str, Any]:
    wanted = {"azure_endpoint": server.url, "deployments": {MODEL: "voice"}, "api_key": KEY, **more}
    return {**wanted, **({"api_version": CLASSIC} if kind == "beta.realtime" else {})}


def connect(colour: Colour, client: Any, kind: str, **more: Any) -> Any:
    resource = client
    for name in kind.split("."):
        resource = getattr(resource, name)
    return dial(colour, resource.connect(**({"model": MODEL} if kind.endswith("realtime") else {}), **more))


def signed(server: SocketServer, number: int = -1) -> dict[str, str]:
    headers = server.dialled[number][1]
    assert AMBIENT_KEY not in str(headers)
    assert OWN_KEY not in str(headers)
    assert "openai-organization" not in headers
    assert "x-ambient" not in headers
    return {name: headers[name] for name in OURS if name in headers}


PATHS = {
    "realtime": "/openai/v1/realtime?model=voice",
    "beta.realtime": "/openai/realtime?",
    "responses": "/openai/v1/responses",
    "beta.responses": "/openai/v1/responses?",
}


@pytest.mark.parametrize("kind", KINDS)
def test_they_go_to_azure_with_its_credential(kind: str, colour: Colour, server: SocketServer) -> None:
    azure_shim.patch(**settings(server, kind))
    subclass = early.AsyncSubclass if colour.is_async else early.Subclass
    client = openais(colour, api_key=OWN_KEY, websocket_base_url="wss://api.openai.com/v1")
    for each in (client, client.with_options(timeout=9).copy(), kept(colour, subclass(label="a"))):
        connect(colour, each, kind)
        connect(colour, each, kind)
        path = server.dialled[-1][0]
        assert path.startswith(PATHS[kind])
        if kind == "beta.realtime":
            assert {f"api-version={CLASSIC}", "deployment=voice"} <= set(path.partition("?")[2].split("&"))
        assert signed(server) == {"api-key": KEY}
    assert len(server.dialled) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_the_modules_go_there_too(kind: str, server: SocketServer) -> None:
    azure_shim.patch(**settings(server, kind))
    connect(Colour("sync"), openai, kind)
    assert server.dialled[0][0].startswith(PATHS[kind])
    assert signed(server) == {"api-key": KEY}


async def coroutine() -> str:
    return "provided"


@pytest.mark.parametrize(
    ("credential", "header"),
    [
        ({"azure_ad_token": "token"}, "Bearer token"),
        ({"azure_ad_token_provider": lambda: "provided"}, "Bearer provided"),
        ({"azure_ad_token_provider": coroutine}, "Bearer provided"),
    ],
)
def test_tokens_sign_them(credential: dict[str, Any], header: str, colour: Colour, server: SocketServer) -> None:
    if credential.get("azure_ad_token_provider") is coroutine and not colour.is_async:
        credential = {"azure_ad_token": "provided"}
    azure_shim.patch(**settings(server, api_key=None, **credential))
    connect(colour, openais(colour), "realtime")
    assert signed(server) == {"authorization": header}


def test_a_credential_that_cannot_be_had_is_an_error_before_anything_is_dialled(
    colour: Colour, server: SocketServer
) -> None:
    azure_shim.patch(**settings(server, api_key=None, azure_ad_token_provider=lambda: ""))
    with pytest.raises(openai.OpenAIError, match="is empty"):
        connect(colour, openais(colour), "realtime")
    assert server.dialled == []


def test_the_preview_is_refused_on_v1(colour: Colour, server: SocketServer) -> None:
    azure_shim.patch(**settings(server))
    with pytest.raises(openai.OpenAIError, match=r"beta\.realtime only under a dated api-version"):
        connect(colour, openais(colour), "beta.realtime")
    assert server.dialled == []


@pytest.mark.parametrize("kind", [each for each in KINDS if "beta" not in each])
def test_with_several_targets_one_that_is_fit_is_dialled_with_its_own_credential(
    kind: str, colour: Colour, server: SocketServer, other: SocketServer
) -> None:
    targets = [
        {"name": "a", "azure_endpoint": server.url, "api_key": "key-of-a-0123456789"},
        {"name": "b", "azure_endpoint": other.url, "api_key": "key-of-b-0123456789"},
    ]
    azure_shim.patch(config=plan("fallback", *targets, deployments={MODEL: "voice"}))
    client = openais(colour)
    for each in (client, client.copy(), openais(colour)):
        connect(colour, each, kind)
        assert signed(server) == {"api-key": "key-of-a-0123456789"}
        connect(colour, each, kind, extra_headers={PIN: "b"})
        assert signed(other) == {"api-key": "key-of-b-0123456789"}
        assert other.dialled[-1][0] == PATHS[kind]
    assert (len(server.dialled), len(other.dialled)) == (3, 3)
    assert PIN not in other.dialled[0][1]
    connect(Colour("sync"), openai, kind, extra_headers={PIN: "b"})
    assert signed(other) == {"api-key": "key-of-b-0123456789"}


# -- elsewhere


def dialled_ports(colour: Colour, client: Any, kind: str, guard: Guard) -> list[int]:
    """The ports that a connection is tried at, whatever comes of it: without a URL of its own it speaks TLS."""
    guard.dialled.clear()
    with contextlib.suppress(Exception):
        connect(colour, client, kind)
    return sorted(set(guard.dialled))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["OpenAI", "AzureOpenAI"])
def test_those_of_another_service_are_left_alone(
    how: str, kind: str, colour: Colour, server: SocketServer, other: SocketServer
) -> None:
    url = other.url.replace("http", "ws")

    def told() -> list[Any]:
        if how == "AzureOpenAI":
            more = {"azure_endpoint": other.url, "api_version": CLASSIC, "websocket_base_url": f"{url}/openai"}
            client = colour.azure(api_key="theirs", **more)
        else:
            client = colour.plain(base_url=f"{other.url}/v1", api_key="theirs", websocket_base_url=url)
        connect(colour, kept(colour, client), kind)
        connect(colour, client.with_options(timeout=9), kind)
        found, other.dialled = other.dialled, []
        return [
            (path, {n: v for n, v in headers.items() if not n.startswith("sec-websocket")}) for path, headers in found
        ]

    before = told()
    azure_shim.patch(**settings(server, kind))
    assert told() == before
    assert server.dialled == []


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_is_aimed_elsewhere_later_dials_there_without_azures_key(
    kind: str, is_used: bool, colour: Colour, server: SocketServer, other: SocketServer, guard: Guard
) -> None:
    azure_shim.patch(**settings(server, kind))
    client = openais(colour)
    if is_used:
        connect(colour, client, kind)
    server.dialled.clear()
    client.base_url = f"{other.url}/v1"
    for each in (client, client.with_options(timeout=9), client.copy(base_url=f"{other.url}/v1")):
        assert dialled_ports(colour, each, kind, guard) == [other.port]
    client.websocket_base_url = f"{other.url.replace('http', 'ws')}/v1"
    connect(colour, client, kind)
    path, headers = other.dialled[-1]
    assert path.startswith("/v1/")
    assert "api-key" not in headers
    assert KEY not in str(headers)
    assert server.dialled == []


@pytest.mark.parametrize("is_used", [False, True])
def test_it_dials_azure_again_when_it_is_aimed_back(
    is_used: bool, colour: Colour, server: SocketServer, other: SocketServer, guard: Guard
) -> None:
    azure_shim.patch(**settings(server))
    client = openais(colour)
    client.base_url = f"{other.url}/v1"
    if is_used:
        dialled_ports(colour, client, "realtime", guard)
    client.base_url = OPENAI_URL
    connect(colour, client, "realtime")
    assert signed(server) == {"api-key": KEY}


def test_a_client_of_another_service_that_is_aimed_at_openai_later_dials_azure(
    colour: Colour, server: SocketServer, other: SocketServer, guard: Guard
) -> None:
    azure_shim.patch(**settings(server))
    for is_used in (False, True):
        client = openais(colour, base_url=other.url, api_key="theirs")
        if is_used:
            dialled_ports(colour, client, "realtime", guard)
        client.base_url = OPENAI_URL
        connect(colour, client, "realtime")
        assert server.dialled[-1][0] == PATHS["realtime"]
        assert signed(server) == {"api-key": KEY}
    assert len(server.dialled) == 2


def test_a_handshake_that_is_redirected_elsewhere_takes_no_credential_along(
    colour: Colour, server: SocketServer, other: SocketServer
) -> None:
    azure_shim.patch(**settings(server))
    server.redirect = other.url.replace("http", "ws") + "/steal"
    failure(lambda: connect(colour, openais(colour), "realtime"), Exception)
    assert len(server.dialled) == 1
    assert other.dialled == []


# -- for how long


@pytest.mark.parametrize("how", ["a patch", "a scope"])
@pytest.mark.parametrize("is_used", [False, True])
def test_a_client_goes_to_azure_for_good(how: str, is_used: bool, colour: Colour, server: SocketServer) -> None:
    def built() -> Any:
        client = openais(colour)
        if is_used:
            connect(colour, client, "realtime")
        return client

    if how == "a patch":
        azure_shim.patch(**settings(server))
        client = built()
        azure_shim.unpatch()
    else:
        with azure_shim.patched(**settings(server)):
            client = built()
    connect(colour, client, "realtime")
    assert signed(server) == {"api-key": KEY}
    assert server.dialled[-1][0] == PATHS["realtime"]


def test_azures_own_clients_go_there_if_they_are_included(
    colour: Colour, server: SocketServer, other: SocketServer
) -> None:
    azure_shim.patch(**settings(server, include_azure=True))
    client = kept(colour, colour.azure(azure_endpoint=other.url, api_key="theirs", api_version=CLASSIC))
    connect(colour, client, "realtime")
    assert other.dialled == []
    assert server.dialled[0][0] == PATHS["realtime"]
    assert signed(server) == {"api-key": KEY}


if MAJOR >= 3:

    @pytest.mark.parametrize("kind", ["live", "realtime.translations"])
    def test_newer_ones_never_go_to_openai(kind: str, colour: Colour, server: SocketServer, guard: Any) -> None:
        """Azure is not known to have them: they are dialled there, signed for it, or refused."""
        azure_shim.patch(**settings(server))
        resource: Any = openais(colour)
        for name in kind.split("."):
            resource = getattr(resource, name)
        with contextlib.suppress(openai.OpenAIError):
            dial(colour, resource.connect(**({} if kind == "live" else {"model": MODEL})))
        assert OPENAI not in guard.tried
        for number in range(len(server.dialled)):
            assert signed(server, number) == {"api-key": KEY}

    @pytest.mark.parametrize("kind", ["live", "realtime.translations"])
    def test_newer_ones_are_dialled_where_the_caller_pins_them(
        kind: str, colour: Colour, server: SocketServer, other: SocketServer
    ) -> None:
        targets = [
            {"name": "a", "azure_endpoint": server.url, "api_key": "key-of-a-0123456789"},
            {"name": "b", "azure_endpoint": other.url, "api_key": "key-of-b-0123456789"},
        ]
        azure_shim.patch(config=plan("fallback", *targets, deployments={MODEL: "voice"}))
        resource: Any = openais(colour)
        for name in kind.split("."):
            resource = getattr(resource, name)
        dial(colour, resource.connect(**({} if kind == "live" else {"model": MODEL}), extra_headers={PIN: "b"}))
        assert server.dialled == []
        assert signed(other) == {"api-key": "key-of-b-0123456789"}
        assert other.dialled[0][0].endswith(
            "/live/sessions" if kind == "live" else "/realtime/translations?model=voice"
        )
        assert PIN not in other.dialled[0][1]
