"""A 401 is answered with one fresh token, once, and only where that can help (P2)."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import azure.identity
import azure.identity.aio
import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure, FakeResponse, TokenService
from tests.conftest import LIBRARIES, Colour
from tests.identities import chat, client_secret, sent, until
from tests.servers import MESSAGES

pytestmark = pytest.mark.usefixtures("service_principal")

CLAIMS = {"access_token": {"nbf": {"essential": True, "value": "1700000000"}}}


Make = Callable[..., Any]
CASES = [
    (name, kind)
    for name in ("sync", "async")
    for kind in ("settings", "managed", "sync credential", "aio credential")
    if (name, kind) != ("sync", "aio credential")
]
with_each_credential = pytest.mark.parametrize(("colour", "kind"), CASES, indirect=["colour"])


@pytest.fixture
def kind() -> str:
    raise AssertionError("for tests with_each_credential")


@pytest.fixture
def make(
    kind: str, colour: Colour, service: TokenService, azure_openai: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    credential: Any = None
    if kind == "sync credential":
        credential = client_secret(service, azure.identity)
    elif kind == "aio credential":
        credential = client_secret(service, azure.identity.aio)
    elif kind == "managed":
        for name, value in service.environment("app_service").items():
            monkeypatch.setenv(name, value)
    settings = {"settings": {"azure_auth_mode": "entra"}, "managed": {"azure_auth_mode": "managed"}}

    def build(**options: Any) -> Any:
        given = settings.get(kind, {"credential": credential})
        return colour.client(azure_endpoint=azure_openai["eastus"].endpoint, **given, **options)

    yield build
    if credential is not None:
        closed = credential.close()
        if closed is not None:
            colour.run(closed)


@with_each_credential
def test_a_revoked_token_is_dropped_and_the_call_goes_on_with_a_fresh_one(
    make: Make, colour: Colour, service: TokenService, azure_openai: FakeAzure
) -> None:
    """The credential's own cache has the revoked one too, and must not give it out again."""
    client = make()
    chat(colour, client)
    service.revoke(service.tokens[0])
    chat(colour, client)
    chat(colour, client)
    first, second = service.tokens
    assert sent(azure_openai) == [first, first, second, second]
    # A stream, and a file that can be read again.
    service.revoke(second)
    assert colour.list(chat(colour, client, stream=True))
    service.revoke(service.tokens[2])
    colour.call(client.audio.transcriptions.create, model="whisper", file=("a.wav", io.BytesIO(b"RIFF" * 1000)))
    whole = azure_openai.requests[-1]
    assert whole.refused is None
    assert azure_openai.requests[-2].sha256 == whole.sha256
    assert len(service.tokens) == 4


@with_each_credential
def test_never_twice(make: Make, colour: Colour, service: TokenService, azure_openai: FakeAzure) -> None:
    client = make()
    azure_openai["eastus"].fail_next("401_rbac", times=None)
    with pytest.raises(openai.AuthenticationError) as caught:
        chat(colour, client)
    assert caught.value.body["code"] == "PermissionDenied"  # type: ignore[index]
    assert len(azure_openai.requests) == 2
    assert sent(azure_openai) == service.tokens
    azure_openai["eastus"].heal()
    chat(colour, client)


@with_each_credential
def test_the_claims_of_a_challenge_are_asked_for(
    kind: str, make: Make, colour: Colour, service: TokenService, azure_openai: FakeAzure
) -> None:
    """Continuous access evaluation."""
    client = make()
    chat(colour, client)
    encoded = base64.b64encode(json.dumps(CLAIMS).encode()).decode()
    challenge = (
        'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
        f'error="insufficient_claims", claims="{encoded}"'
    )
    refusal = FakeResponse(401, {"www-authenticate": challenge}, b'{"error":{"code":"401","message":"claims"}}')
    azure_openai["eastus"].answer_next(lambda request: refusal)
    chat(colour, client)
    assert len(set(sent(azure_openai))) == 2
    if kind != "managed":  # an identity endpoint takes no claims
        asked = service.requests[-1].claims
        assert asked is not None
        assert asked["access_token"]["nbf"] == CLAIMS["access_token"]["nbf"]
        assert asked["access_token"]["xms_cc"] == {"values": ["CP1"]}


@with_each_credential
def test_where_no_fresh_token_can_be_had_the_caller_gets_azures_own_answer(
    make: Make, colour: Colour, service: TokenService, azure_openai: FakeAzure, caplog: pytest.LogCaptureFixture
) -> None:
    client = make()
    chat(colour, client)
    service.revoke(service.tokens[0])
    service.fail_next(status=400, times=None)
    with pytest.raises(openai.AuthenticationError) as caught:
        chat(colour, client)
    assert "x-azure-shim-refused" not in caught.value.response.headers
    assert len(azure_openai.requests) == 2
    until(lambda: [record for record in caplog.records if record.name == "azure_shim.tokens"])


@with_each_credential
def test_a_body_that_is_gone_is_not_sent_again_but_the_token_is_dropped(
    make: Make, colour: Colour, service: TokenService, azure_openai: FakeAzure
) -> None:
    client = make()
    chat(colour, client)
    service.revoke(service.tokens[0])

    class OneShot(io.RawIOBase):
        """A pipe: it can be read once."""

        def __init__(self) -> None:
            self.left = [b"RIFF" * 1000]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            chunk = self.left.pop() if self.left else b""
            buffer[: len(chunk)] = chunk
            return len(chunk)

    with pytest.raises(openai.AuthenticationError):
        colour.call(
            client.audio.transcriptions.create, model="whisper", file=("a.wav", io.BufferedReader(OneShot(), 65536))
        )
    assert len(azure_openai.requests) == 2
    chat(colour, client)
    assert sent(azure_openai)[-1] == service.tokens[1]


@pytest.mark.parametrize(
    "arguments",
    [{"api_key": "a-key"}, {"api_key": lambda: "a-key"}, {"azure_ad_token": "opaque"}, {"api_key": "eyJh.eyJz.c2ln"}],
    ids=["key", "key function", "token", "token as key"],
)
def test_what_has_no_other_is_sent_once(arguments: dict[str, Any], colour: Colour, azure_openai: FakeAzure) -> None:
    client = colour.client(azure_endpoint=azure_openai["eastus"].endpoint, **arguments)
    with pytest.raises(openai.AuthenticationError):
        chat(colour, client)
    assert len(azure_openai.requests) == 1


def test_a_callers_own_authorization_is_the_callers_to_renew(
    colour: Colour, service: TokenService, azure_openai: FakeAzure
) -> None:
    client = colour.client(azure_endpoint=azure_openai["eastus"].endpoint, azure_auth_mode="entra")
    with pytest.raises(openai.AuthenticationError):
        chat(colour, client, extra_headers={"Authorization": "Bearer theirs"})
    assert sent(azure_openai) == ["theirs"]
    assert service.requests == []


@pytest.mark.parametrize("changes", [True, False])
def test_a_function_that_provides_tokens_is_asked_once_more(
    changes: bool, colour: Colour, azure_openai: FakeAzure
) -> None:
    east = azure_openai["eastus"]
    given = iter(["stale", next(iter(east.tokens))] if changes else ["stale", "stale"])
    client = colour.client(azure_endpoint=east.endpoint, azure_ad_token_provider=lambda: next(given))
    if changes:
        chat(colour, client)
    else:
        with pytest.raises(openai.AuthenticationError):
            chat(colour, client)
    assert len(azure_openai.requests) == 1 + changes


def test_a_401_where_a_redirect_led_to_is_no_word_about_the_token(
    colour: Colour, service: TokenService, azure_openai: FakeAzure
) -> None:
    with FakeAzure(["elsewhere"]) as other:
        client = colour.client(azure_endpoint=azure_openai["eastus"].endpoint, azure_auth_mode="entra")
        azure_openai["eastus"].fail_next("redirect", location=f"{other['elsewhere'].endpoint}/x", status=302)
        with pytest.raises(openai.APIStatusError):
            colour.call(client.models.list)
        assert all("authorization" not in request.headers for request in other.requests)
    colour.call(client.models.list)
    assert len(service.requests) == 1


def test_a_resource_that_refuses_every_token_takes_none_from_others_for_long(
    colour: Colour, service: TokenService, azure_openai: FakeAzure
) -> None:
    """A principal without a role there gets a 401 for a token that is as good as any elsewhere."""
    with FakeAzure({"barred": {"gpt-4o": "gpt-4o"}}, token_service=service) as other:
        other["barred"].fail_next("401_rbac", times=None)
        allowed = colour.client(azure_endpoint=azure_openai["eastus"].endpoint, azure_auth_mode="entra")
        barred = colour.client(azure_endpoint=other["barred"].endpoint, azure_auth_mode="entra")
        for _ in range(5):
            chat(colour, allowed)
            with pytest.raises(openai.AuthenticationError):
                chat(colour, barred)
        assert len(other.requests) == 6
    assert len(service.requests) == 2
    assert set(sent(azure_openai)) == set(service.tokens)


def test_a_call_that_is_cancelled_while_it_waits_for_another_token_leaves_no_connection_behind(
    service: TokenService, azure_openai: FakeAzure
) -> None:
    """Promise 4: the answer that was the reason to ask is closed."""

    async def main() -> None:
        client = azure_shim.AsyncOpenAI(azure_endpoint=azure_openai["eastus"].endpoint, azure_auth_mode="entra")
        async with client:
            ask = {"model": "gpt-4o", "messages": MESSAGES}
            await client.chat.completions.create(**ask)
            service.revoke(service.tokens[0])
            held = service.fail_next("stall")
            calling = asyncio.create_task(client.chat.completions.create(**ask))
            while not held.reached.is_set():
                await asyncio.sleep(0.005)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            engine = client._client._transport._engine
            pool = engine.selects[0](engine.url(str(client.base_url)))._pool
            assert [connection for connection in pool.connections if not connection.is_idle()] == []
            held.release()

    asyncio.run(main())


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_auth_hook_does_the_same(name: str, colour: Colour, service: TokenService, azure_openai: FakeAzure) -> None:
    import importlib

    module = importlib.import_module(name)
    endpoint = azure_openai["eastus"].endpoint
    hook = importlib.import_module(f"azure_shim.transport.on_{name}").AzureAuth(
        azure_endpoint=endpoint, azure_auth_mode="entra"
    )
    client = colour.library_client(module, auth=hook)
    url = f"{endpoint}/openai/v1/chat/completions"
    body = {"model": "gpt-4o", "messages": MESSAGES}
    assert colour.call(client.post, url, json=body).status_code == 200
    service.revoke(service.tokens[0])
    assert colour.call(client.post, url, json=body).status_code == 200
    azure_openai["eastus"].fail_next("401_rbac", times=None)
    assert colour.call(client.post, url, json=body).status_code == 401
    assert len(azure_openai.requests) == 5
    first, second, third = service.tokens
    assert sent(azure_openai) == [first, first, second, second, third]
    # The fresh one was refused too: it is left to its other users for a while.
    assert colour.call(client.post, url, json=body).status_code == 401
    assert sent(azure_openai)[5:] == [third]
    assert len(service.requests) == 3
    azure_openai["eastus"].heal()
    service.fail_next("invalid_client", times=None)
    azure_shim.reset_tokens()
    with pytest.raises(azure_shim.CredentialError, match="AADSTS7000215"):
        colour.call(client.post, url, json=body)
    colour.close(client)
