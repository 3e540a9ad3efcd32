"""Faults of a TokenService: what the real azure-identity makes of each, and what happens to connections."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import azure.identity
import azure.identity.aio
import pytest
import requests
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.identity import CredentialUnavailableError

from azure_shim.testing import TokenService
from azure_shim.testing.token_faults import PRESETS
from tests.testing.tokens import CLASSIC, clear, environment_of, identities, token_of

STATUSES = {
    "throttled": 429,
    "unavailable": 503,
    "server_error": 500,
    "invalid_client": 401,
    "empty": 200,
    "cut": 200,
    "html": 200,
    "no_token": 200,
    "reset": None,
}
BOTH = pytest.mark.parametrize("module", [azure.identity, azure.identity.aio], ids=["sync", "aio"])


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenService]:
    clear(monkeypatch)
    with TokenService() as service:
        yield service


def ask(service: TokenService, **form: str) -> requests.Response:
    """What a client of its own sends."""
    url = f"{service.authority}/{service.tenant_id}/oauth2/v2.0/token"
    sound = {
        "grant_type": "client_credentials",
        "client_id": service.client_id,
        "client_secret": service.client_secret,
        "scope": CLASSIC,
    }
    return requests.post(url, data={**sound, **form}, verify=service.ca_file, timeout=10)


def test_these_are_the_presets() -> None:
    assert set(PRESETS) == {*STATUSES, "stall"}


# Python 3.10's asyncio does not take a TLS transport for closed whose connection was reset.
@pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
@BOTH
@pytest.mark.parametrize("preset", STATUSES)
def test_entra_gives_no_token(preset: str, module: Any, service: TokenService) -> None:
    fault = service.fail_next(preset)
    assert not fault.reached.is_set()
    # Errors of the JSON parser come through where it blocks, and of the missing key where it awaits.
    with pytest.raises((AzureError, ValueError, KeyError)):
        token_of(identities(service, module)["client_secret"](), CLASSIC)
    assert fault.reached.is_set()
    assert [(asked.status, asked.token) for asked in service.requests] == [(STATUSES[preset], None)]
    assert service.tokens == []
    token_of(identities(service, module)["client_secret"](), CLASSIC)
    assert len(service.tokens) == 1


@BOTH
@pytest.mark.parametrize("kind", ["app_service", "imds", "arc"])
@pytest.mark.parametrize("preset", STATUSES)
def test_a_machine_gives_no_token(
    preset: str, kind: str, module: Any, service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment_of(service, kind, monkeypatch, tmp_path)
    service.fail_next(preset, times=None)
    with pytest.raises((AzureError, ValueError)):
        token_of(module.ManagedIdentityCredential(retry_total=0, retry_status=0), CLASSIC)
    assert {asked.status for asked in service.requests} == {STATUSES[preset]}
    assert service.tokens == []


@BOTH
def test_an_invalid_client_has_entras_words(module: Any, service: TokenService) -> None:
    service.fail_next("invalid_client")
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215: Invalid client secret provided") as caught:
        token_of(identities(service, module)["client_secret"](), CLASSIC)
    if caught.value.response is not None:  # MSAL's look-up leaves it out
        assert caught.value.response.status_code == 401


def test_errors_have_entras_shape(service: TokenService) -> None:
    for preset, error, code in (
        ("throttled", "temporarily_unavailable", 90055),
        ("unavailable", "temporarily_unavailable", 90033),
        ("server_error", "server_error", 50000),
        ("invalid_client", "invalid_client", 7000215),
    ):
        service.fail_next(preset)
        answer = ask(service)
        body = answer.json()
        assert (answer.status_code, body["error"], body["error_codes"]) == (STATUSES[preset], error, [code])
        assert set(body) >= {"error_description", "timestamp", "trace_id", "correlation_id"}
        assert body["error_description"].startswith(f"AADSTS{code}: ")


def test_answers_that_are_none(service: TokenService) -> None:
    service.fail_next("empty")
    assert ask(service).content == b""
    service.fail_next("cut")
    cut = ask(service)
    assert cut.headers["content-length"] == str(len(cut.content))
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut.content)
    service.fail_next("html")
    assert ask(service).headers["content-type"] == "text/html"
    service.fail_next("no_token")
    assert ask(service).json() == {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599}


def test_retry_after(service: TokenService) -> None:
    service.fail_next("throttled")
    assert ask(service).headers["retry-after"] == "1"
    service.fail_next("throttled", retry_after=30)
    assert ask(service).headers["retry-after"] == "30"
    service.fail_next("unavailable")
    assert "retry-after" not in ask(service).headers
    service.fail_next("unavailable", retry_after=3)
    assert ask(service).headers["retry-after"] == "3"


@BOTH
def test_azure_core_tries_again_when_it_is_told_to(module: Any, service: TokenService) -> None:
    service.fail_next("throttled", retry_after=0)
    credential = module.ClientSecretCredential(
        service.tenant_id,
        service.client_id,
        service.client_secret,
        authority=service.authority,
        disable_instance_discovery=True,
        connection_verify=service.ca_file,
        retry_backoff_factor=0,
    )
    token_of(credential, CLASSIC)
    assert [asked.status for asked in service.requests] == [429, 200]


def test_a_status_of_the_tests_own(service: TokenService) -> None:
    service.fail_next(status=403)
    assert (ask(service).status_code, ask(service).status_code) == (403, 200)
    service.fail_next("server_error", status=502)
    assert ask(service).status_code == 502
    service.fail_next("empty", status=204)
    assert ask(service).status_code == 204
    service.fail_next(status=500)
    assert ask(service).json()["error"] == "server_error"
    assert [asked.status for asked in service.requests] == [403, 200, 502, 204, 500]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "needs a preset or a status"),
        ({"preset": "nothing"}, "no preset 'nothing'; there are: cut, empty"),
        ({"preset": "cut", "times": 0}, "times is 0"),
    ],
)
def test_faults_that_there_are_not(arguments: dict[str, Any], reason: str, service: TokenService) -> None:
    with pytest.raises(ValueError, match=reason):
        service.fail_next(**arguments)


def test_faults_wait_in_line(service: TokenService) -> None:
    service.fail_next("throttled", times=2)
    service.fail_next("server_error")
    assert [ask(service).status_code for _ in range(4)] == [429, 429, 500, 200]
    service.fail_next("unavailable", times=None)
    assert [ask(service).status_code for _ in range(3)] == [503] * 3
    service.heal()
    assert ask(service).status_code == 200


def test_a_fault_meets_no_look_up(service: TokenService) -> None:
    fault = service.fail_next("server_error")
    url = f"{service.authority}/{service.tenant_id}/v2.0/.well-known/openid-configuration"
    assert requests.get(url, verify=service.ca_file, timeout=10).ok
    assert not fault.reached.is_set()


class Asking(threading.Thread):
    """A client that waits for its answer in a thread of its own."""

    def __init__(self, service: TokenService, module: Any = azure.identity) -> None:
        super().__init__()
        self._credential = identities(service, module)["client_secret"]()
        self.token = ""
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.token = token_of(self._credential, CLASSIC)
        except BaseException as error:
            self.error = error


@BOTH
@pytest.mark.parametrize("how", ["release", "heal"])
def test_a_stall_ends_with_the_right_answer(how: str, module: Any, service: TokenService) -> None:
    fault = service.fail_next("stall")
    asking = Asking(service, module)
    assert fault.reached.wait(10)
    assert [(asked.status, asked.token) for asked in service.requests] == [(None, None)]
    assert service.tokens == []
    token_of(identities(service, module)["client_secret"](), CLASSIC)
    fault.release() if how == "release" else service.heal()
    asking.join(10)
    assert asking.token == service.tokens[1]
    assert [asked.token for asked in service.requests] == [asking.token, service.tokens[0]]


@pytest.mark.parametrize("waits", [True, False])
def test_a_stall_of_a_machine(waits: bool, service: TokenService) -> None:
    machine = urlsplit(service.environment("imds")["AZURE_POD_IDENTITY_AUTHORITY_HOST"])
    fault, listening = service.fail_next("stall"), set(threads_of_services())
    target = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://ai.azure.com"
    with socket.create_connection((machine.hostname, machine.port), timeout=10) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nMetadata: true\r\n\r\n".encode())
        assert fault.reached.wait(10)
        (serving,) = set(threads_of_services()) - listening
        if waits:
            fault.release()
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    serving.join(10)
    assert len(service.tokens) == int(waits)


def test_a_client_that_does_not_wait_gets_no_token(service: TokenService) -> None:
    fault, listening = service.fail_next("stall"), set(threads_of_services())

    async def main() -> None:
        async with identities(service, azure.identity.aio)["client_secret"]() as credential:
            asking = asyncio.ensure_future(credential.get_token(CLASSIC))
            await asyncio.to_thread(fault.reached.wait, 10)
            asking.cancel()
            (serving,) = set(threads_of_services()) - listening
            with pytest.raises(asyncio.CancelledError):
                await asking
            # The loop has to live until aiohttp has seen the end of the connection.
            await asyncio.to_thread(serving.join, 10)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not serving.is_alive()

    asyncio.run(main())
    fault.release()
    assert service.tokens == []


def threads_of_services() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.endswith("TokenService")]


@pytest.mark.parametrize("how", ["stall", "delay", "idle"])
def test_it_closes_at_once_whatever_clients_do(
    how: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clear(monkeypatch)
    with TokenService() as service:
        silent = socket.create_connection(("127.0.0.1", int(service.authority.rpartition(":")[2])))
        if how == "delay":
            service.delay_s = 60
        fault = service.fail_next("stall") if how == "stall" else service.fail_next("throttled", retry_after=0)
        asking = Asking(service)
        assert fault.reached.wait(10)
        start = time.monotonic()
    assert time.monotonic() - start < 1
    asking.join(10)
    assert isinstance(asking.error, (HttpResponseError, AzureError, requests.RequestException))
    assert silent.recv(1) == b""
    silent.close()
    assert service.tokens == []
    assert threads_of_services() == []
    assert capfd.readouterr().err == ""


def test_a_client_that_does_not_shake_hands_holds_up_nobody(service: TokenService) -> None:
    address = ("127.0.0.1", int(service.authority.rpartition(":")[2]))
    with socket.create_connection(address), socket.create_connection(address) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert ask(service).ok


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab",
        b"",
    ],
)
def test_what_is_no_http_ends_the_connection(sent: bytes, service: TokenService) -> None:
    machine = urlsplit(service.environment("imds")["AZURE_POD_IDENTITY_AUTHORITY_HOST"])
    with socket.create_connection((machine.hostname, machine.port), timeout=10) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(100)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert service.lookups == []


def test_a_connection_serves_many_requests(service: TokenService) -> None:
    url = f"{service.authority}/{service.tenant_id}/v2.0/.well-known/openid-configuration"
    context = ssl.create_default_context(cafile=service.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # Python's default since 3.13
    head = f"GET {url[len(service.authority) :]} HTTP/1.1\r\nHost: localhost\r\n"
    address = ("localhost", int(service.authority.rpartition(":")[2]))
    with (
        context.wrap_socket(socket.create_connection(address), server_hostname="localhost") as client,
        client.makefile("rb") as reader,
    ):
        for ending in ("", "", "Connection: close\r\n"):
            client.sendall(f"{head}{ending}\r\n".encode())
            assert reader.readline().startswith(b"HTTP/1.1 200 OK")
            headers = dict(line.decode().strip().split(": ", 1) for line in iter(reader.readline, b"\r\n"))
            assert json.loads(reader.read(int(headers["content-length"])))["issuer"]
        assert reader.read() == b""


def test_a_test_that_waits_wrongly_is_told(service: TokenService, capfd: pytest.CaptureFixture[str]) -> None:
    def wait(_seconds: float) -> None:
        raise LookupError("of the test's own")

    service.wait, service.delay_s = wait, 1.0
    answer = ask(service)
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "LookupError: of the test's own")
    assert "LookupError" in capfd.readouterr().err


def test_many_at_once_get_a_token_each(service: TokenService) -> None:
    asking = [Asking(service) for _ in range(16)]
    for client in asking:
        client.join(30)
    assert [client.error for client in asking] == [None] * 16
    assert sorted(client.token for client in asking) == sorted(service.tokens)
    assert len({asked.token for asked in service.requests}) == 16


@pytest.mark.skipif(sys.platform == "win32", reason="the agent's key files are another user's there")
def test_an_agent_that_answers_with_a_lie_is_not_believed(
    service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the libraries check of Arc's key file is real here: a key in another folder is none."""
    environment_of(service, "arc", monkeypatch, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    service.arc_key_folder = tmp_path / "elsewhere"
    with pytest.raises((ClientAuthenticationError, CredentialUnavailableError, OSError)):
        token_of(azure.identity.ManagedIdentityCredential(), CLASSIC)
    with pytest.raises(ClientAuthenticationError, match="Unexpected file path"):
        token_of(azure.identity.aio.ManagedIdentityCredential(), CLASSIC)
