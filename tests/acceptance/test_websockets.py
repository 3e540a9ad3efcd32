"""WebSockets pass no transport: their host, their path and their credential are right all the same (P16, B4)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from azure.core.credentials import AccessToken
from websockets.asyncio.server import ServerConnection, serve

import azure_shim
from tests.conftest import AMBIENT_KEY, MAJOR, Colour

KEY = "azure-key-of-this-resource"


class SocketServer:
    """Answers each connection with one event that says how it was dialled."""

    def __init__(self) -> None:
        self.dialled: list[tuple[str, dict[str, str]]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self) -> SocketServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with serve(self._answer, "127.0.0.1", 0, process_request=self._respond) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    redirect: str | None = None
    refused: str | None = None
    """A credential that it does not take, as the whole value of ``Authorization``."""

    def _respond(self, connection: ServerConnection, request: Any) -> Any:
        if self.refused is not None and request.headers.get("Authorization") == self.refused:
            return connection.respond(401, "")
        if self.redirect is None:
            return None
        self.dialled.append((request.path, {name.lower(): value for name, value in request.headers.raw_items()}))
        response = connection.respond(302, "")
        response.headers["Location"] = self.redirect
        return response

    async def _answer(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = {name.lower(): value for name, value in connection.request.headers.raw_items()}
        self.dialled.append((connection.request.path, headers))
        await connection.send(json.dumps({"type": "session.created", "event_id": "e", "session": {"id": "s"}}))
        with contextlib.suppress(Exception):
            await connection.recv()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def server() -> Iterator[SocketServer]:
    with SocketServer() as found:
        yield found


def dial(colour: Colour, manager: Any) -> Any:
    """Connect and return the first event."""
    if not colour.is_async:
        with manager as connection:
            return connection.recv()

    async def connect() -> Any:
        async with manager as connection:
            return await connection.recv()

    return colour.run(connect())


async def coroutine() -> str:
    return "provided"


@pytest.mark.parametrize(
    ("credential", "header"),
    [
        ({"api_key": KEY}, ("api-key", KEY)),
        ({"azure_ad_token": "token"}, ("authorization", "Bearer token")),
        ({"azure_ad_token_provider": lambda: "provided"}, ("authorization", "Bearer provided")),
        ({"azure_ad_token_provider": coroutine}, ("authorization", "Bearer provided")),
    ],
)
def test_realtime_goes_to_the_target_with_its_deployment_and_credential(
    credential: dict[str, Any], header: tuple[str, str], colour: Colour, server: SocketServer
) -> None:
    if credential.get("azure_ad_token_provider") is coroutine and not colour.is_async:
        credential = {"azure_ad_token": "provided"}
    client = colour.client(azure_endpoint=server.url, deployments={"gpt-realtime": "voice"}, **credential)
    assert dial(colour, client.with_options(timeout=9).realtime.connect(model="gpt-realtime")).type == "session.created"
    ((path, headers),) = server.dialled
    assert path == "/openai/v1/realtime?model=voice"
    signed = {name: headers[name] for name in ("api-key", "authorization") if name in headers}
    assert signed == {header[0]: header[1]}
    assert AMBIENT_KEY not in str(headers)
    assert "openai-organization" not in headers


def test_the_classic_surface_names_version_and_deployment_in_the_query(colour: Colour, server: SocketServer) -> None:
    client = colour.client(
        azure_endpoint=server.url, api_key=KEY, api_version="2024-10-01-preview", deployments={"gpt-realtime": "voice"}
    )
    for realtime in (client.realtime, client.beta.realtime):
        dial(colour, realtime.connect(model="gpt-realtime"))
    for path, headers in server.dialled:
        assert path.startswith("/openai/realtime?")
        assert {"api-version=2024-10-01-preview", "deployment=voice"} <= set(path.partition("?")[2].split("&"))
        assert headers["api-key"] == KEY
        assert "authorization" not in headers


@pytest.mark.parametrize("credential", [{"azure_ad_token": "token"}, {"api_key": KEY}])
@pytest.mark.parametrize("name", ["Authorization", "authorization"])
def test_an_explicit_authorization_of_a_connection_wins_and_is_the_only_one(
    name: str, credential: dict[str, str], colour: Colour, server: SocketServer
) -> None:
    client = colour.client(azure_endpoint=server.url, **credential)
    dial(colour, client.realtime.connect(model="m", extra_headers={name: "Bearer ephemeral"}))
    headers = server.dialled[0][1]
    assert headers["authorization"] == "Bearer ephemeral"
    assert "api-key" not in headers


@pytest.mark.parametrize("credential", [{"azure_ad_token": "token"}, {"api_key": KEY}])
def test_a_handshake_that_is_redirected_elsewhere_takes_no_credential_along(
    credential: dict[str, str], colour: Colour, server: SocketServer
) -> None:
    """`websockets` follows, and takes at most Authorization off."""
    client = colour.client(azure_endpoint=server.url, **credential)
    with SocketServer() as elsewhere:
        server.redirect = elsewhere.url.replace("http", "ws") + "/steal"
        with pytest.raises(Exception, match=r"."):
            dial(colour, client.realtime.connect(model="m"))
        assert len(server.dialled) == 1
        assert elsewhere.dialled == []


def test_a_websocket_base_url_that_was_assigned_later_gets_no_credential(colour: Colour, server: SocketServer) -> None:
    client = colour.client(azure_endpoint="http://127.0.0.1:1", api_key=KEY)
    client.websocket_base_url = server.url.replace("http", "ws")
    with pytest.raises(Exception, match="which the credential belongs to"):
        dial(colour, client.realtime.connect(model="m"))
    assert server.dialled == []


def test_a_connection_without_a_model_is_of_the_default_deployment(colour: Colour, server: SocketServer) -> None:
    client = colour.client(azure_endpoint=server.url, api_key=KEY, azure_deployment="voice")
    dial(colour, client.realtime.connect(**({} if MAJOR >= 2 else {"model": "voice"})))
    assert server.dialled[0][0] == "/openai/v1/realtime?model=voice"


def test_the_preview_realtime_is_refused_on_v1(colour: Colour, server: SocketServer) -> None:
    client = colour.client(azure_endpoint=server.url, api_key=KEY)
    with pytest.raises(openai.OpenAIError, match=r"beta\.realtime only under a dated api-version"):
        client.beta.realtime.connect(model="m")
    assert server.dialled == []


if MAJOR >= 2:  # openai 1 has no WebSocket of the Responses API

    class TestResponses:
        def test_they_go_to_the_target_with_its_credential(self, colour: Colour, server: SocketServer) -> None:
            client = colour.client(azure_endpoint=server.url, api_key=KEY)
            if colour.is_async:

                async def connect() -> None:
                    async with client.responses.connect():
                        pass

                colour.run(connect())
            else:
                with client.responses.connect():
                    pass
            ((path, headers),) = server.dialled
            assert path == "/openai/v1/responses"
            assert headers["api-key"] == KEY
            assert "authorization" not in headers

        def test_the_beta_ones_name_azures_preview(self, colour: Colour, server: SocketServer) -> None:
            client = colour.client(azure_endpoint=server.url, api_key=KEY)
            if not hasattr(client.beta, "responses") or not hasattr(client.beta.responses, "connect"):
                assert MAJOR == 2
                return
            if colour.is_async:

                async def connect() -> None:
                    async with client.beta.responses.connect():
                        pass

                colour.run(connect())
            else:
                with client.beta.responses.connect():
                    pass
            ((path, headers),) = server.dialled
            assert path.startswith("/openai/v1/responses?")
            assert "api-version=preview" in path
            assert headers["api-key"] == KEY
            classic = client.copy(api_version="2025-04-01-preview")
            with pytest.raises(openai.OpenAIError, match="only on the v1 surface"):
                classic.beta.responses.connect()

        def test_they_are_refused_on_the_classic_surface(self, colour: Colour, server: SocketServer) -> None:
            client = colour.client(azure_endpoint=server.url, api_key=KEY, api_version="2024-10-21")
            with pytest.raises(openai.OpenAIError, match="only on the v1 surface"):
                client.responses.connect()
            assert server.dialled == []


def test_a_credential_that_cannot_be_had_is_an_error_before_anything_is_dialled(
    colour: Colour, server: SocketServer
) -> None:
    client = colour.client(azure_endpoint=server.url, azure_ad_token_provider=lambda: "")
    with pytest.raises(openai.OpenAIError, match="is empty"):
        dial(colour, client.realtime.connect(model="m"))
    assert server.dialled == []


def test_a_websocket_base_url_at_another_host_is_refused(colour: Colour) -> None:
    for url in ("wss://evil.example/v1", "ws://r.openai.azure.com/openai/v1"):
        with pytest.raises(azure_shim.ConfigurationError, match="websocket_base_url: is at another host or scheme"):
            colour.client(azure_endpoint="r.openai.azure.com", api_key=KEY, websocket_base_url=url)


class Tokens:
    """A credential that gives another token whenever it is asked, or says why not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked, self.error = 0, error

    def get_token(self, *scopes: str, **options: Any) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return AccessToken(f"token-{self.asked}", 4102444800)


def test_a_token_that_is_refused_is_another_one_at_the_next_dialling(colour: Colour, server: SocketServer) -> None:
    client = colour.client(azure_endpoint=server.url, credential=Tokens())
    server.refused = "Bearer token-1"
    with pytest.raises(Exception, match="401"):
        dial(colour, client.realtime.connect(model="gpt-realtime"))
    dial(colour, client.realtime.connect(model="gpt-realtime"))
    dial(colour, client.realtime.connect(model="gpt-realtime"))
    assert [headers["authorization"] for _, headers in server.dialled] == ["Bearer token-2"] * 2


def test_a_token_that_cannot_be_had_is_openais_own_error_without_the_credentials_words(
    colour: Colour, server: SocketServer
) -> None:
    secret = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5"
    client = colour.client(azure_endpoint=server.url, credential=Tokens(RuntimeError(f"bad token {secret}")))
    with pytest.raises(openai.AuthenticationError, match="Tokens got no token for") as caught:
        dial(colour, client.realtime.connect(model="gpt-realtime"))
    assert secret not in "".join(traceback.format_exception(caught.value))
    assert server.dialled == []


def test_a_token_that_does_not_come_in_time_is_openais_timeout(colour: Colour, server: SocketServer) -> None:
    asked, ended = threading.Event(), threading.Event()

    class Silent:
        def get_token(self, *scopes: str, **options: Any) -> Any:
            asked.set()
            ended.wait(20)
            raise RuntimeError("too late")

    client = colour.client(azure_endpoint=server.url, credential=Silent())
    client.azure_shim_settings.target.credential.tokens.patience_s = 0.1
    with pytest.raises(openai.APITimeoutError):
        dial(colour, client.realtime.connect(model="gpt-realtime"))
    assert asked.is_set()
    ended.set()
