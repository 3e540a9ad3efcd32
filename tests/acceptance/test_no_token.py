"""When no token can be had: openai's own errors, in words, in time, and never a secret (points 5, 7 and 12)."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import threading
import time
import traceback
from typing import Any

import azure.identity
import azure.identity.aio
import openai
import pytest

from azure_shim.testing import FakeAzure, TokenService
from tests.conftest import Colour
from tests.identities import chat, client_secret

pytestmark = pytest.mark.usefixtures("service_principal")


def unretried(service: TokenService) -> Any:
    """The real credential without azure-core's own back-off, which is seconds."""
    return client_secret(service, azure.identity, retry_total=0)


def test_the_error_names_credential_scope_authority_and_reason(
    colour: Colour, service: TokenService, azure_openai: FakeAzure, endpoint: str
) -> None:
    client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra", max_retries=5)
    service.fail_next("invalid_client", times=None)
    with pytest.raises(openai.AuthenticationError) as caught:
        chat(colour, client)
    for part in ("ClientSecretCredential", "https://ai.azure.com/.default", service.authority, "AADSTS7000215"):
        assert part in str(caught.value)
    assert caught.value.status_code == 401
    assert caught.value.body["code"] == "CredentialUnavailable"  # type: ignore[index]
    assert len(service.requests) == 1, "it was tried again"
    assert azure_openai.requests == []


def test_a_chain_has_one_line_for_each_of_its_links(
    colour: Colour, service: TokenService, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "/nowhere")
    chain = azure.identity.ChainedTokenCredential(
        azure.identity.EnvironmentCredential(), azure.identity.AzureCliCredential(), unretried(service)
    )
    service.fail_next("invalid_client")
    with chain:
        client = colour.client(azure_endpoint=endpoint, credential=chain)
        with pytest.raises(openai.AuthenticationError) as caught:
            chat(colour, client)
    lines = str(caught.value).splitlines()
    for link in ("EnvironmentCredential: ", "AzureCliCredential: ", "ClientSecretCredential: "):
        assert len([line for line in lines if line.startswith(link)]) == 1, lines


@pytest.mark.parametrize("preset", ["empty", "cut", "html"])
@pytest.mark.parametrize("times", [1, None])
def test_an_answer_that_is_none_is_asked_for_once_more(
    preset: str, times: int | None, colour: Colour, service: TokenService, endpoint: str
) -> None:
    with unretried(service) as credential:
        client = colour.client(azure_endpoint=endpoint, credential=credential)
        service.fail_next(preset, times=times)
        if times == 1:
            chat(colour, client)
        else:
            with pytest.raises(openai.AuthenticationError) as caught:
                chat(colour, client)
            assert "ClientSecretCredential" in str(caught.value)
        assert len(service.requests) == 2


@pytest.mark.parametrize("preset", ["throttled", "unavailable", "server_error", "reset", "no_token"])
def test_a_service_that_is_down_is_an_authentication_error_too(
    preset: str, colour: Colour, service: TokenService, azure_openai: FakeAzure, endpoint: str
) -> None:
    with unretried(service) as credential:
        client = colour.client(azure_endpoint=endpoint, credential=credential)
        service.fail_next(preset, times=None)
        with pytest.raises(openai.AuthenticationError, match="ClientSecretCredential got no token"):
            chat(colour, client)
        if preset in ("reset", "no_token"):  # of the others MSAL keeps the answer for a minute
            service.heal()
            chat(colour, client)
    assert len(azure_openai.requests) == (preset in ("reset", "no_token"))


def test_a_throttled_service_is_given_the_time_that_it_asks_for(
    colour: Colour, service: TokenService, endpoint: str
) -> None:
    """By azure-identity, while the caller waits; nobody else asks meanwhile."""
    client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra")
    service.fail_next("throttled", retry_after=1)
    start = time.monotonic()
    chat(colour, client)
    assert time.monotonic() - start >= 1
    assert [asked.status for asked in service.requests] == [429, 200]


@pytest.mark.parametrize(
    ("colour", "kind"),
    [
        ("sync", "settings"),
        ("sync", "sync credential"),
        ("async", "settings"),
        ("async", "sync credential"),
        ("async", "aio credential"),
    ],
    indirect=["colour"],
)
def test_a_silent_service_holds_a_call_no_longer_than_its_timeout(
    kind: str, colour: Colour, service: TokenService, azure_openai: FakeAzure, endpoint: str
) -> None:
    """The token has a deadline of its own: it still comes, and the next call has it."""
    given: dict[str, Any] = {"azure_auth_mode": "entra"}
    if kind != "settings":
        module = azure.identity.aio if kind == "aio credential" else azure.identity
        given = {"credential": client_secret(service, module)}
    client = colour.client(azure_endpoint=endpoint, max_retries=0, **given)
    held = service.fail_next("stall")
    start = time.monotonic()
    with pytest.raises(openai.APITimeoutError) as caught:
        chat(colour, client, timeout=0.3)
    assert time.monotonic() - start < 5
    assert "ClientSecretCredential got no token" in str(caught.value.__cause__)
    held.release()
    chat(colour, client)
    assert len(service.requests) == 1
    assert len(azure_openai.requests) == 1
    if kind != "settings":
        closed = given["credential"].close()
        if closed is not None:
            colour.run(closed)


def test_a_credential_that_hangs_is_asked_anew_after_its_own_deadline(
    colour: Colour, endpoint: str, service: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()

    class Hangs:
        asked = 0

        def get_token(self, *scopes: str, **options: Any) -> Any:
            self.asked += 1
            if self.asked == 1:
                hanging.wait(20)
            return ours.get_token(*scopes)

    with unretried(service) as ours:
        client = colour.client(azure_endpoint=endpoint, credential=Hangs(), max_retries=0)
        client.azure_shim_settings.target.credential.tokens.patience_s = 0.2
        with pytest.raises(openai.APITimeoutError):
            chat(colour, client)
        chat(colour, client)
        hanging.set()
        chat(colour, client)


@pytest.mark.parametrize(
    "credential_type",
    [
        type("Raises", (), {"get_token": lambda self, *s, **o: 1 / 0}),
        type("Nothing", (), {"get_token": lambda self, *s, **o: None}),
        type("Empty", (), {"get_token": lambda self, *s, **o: azure_token("")}),
        type("Broken", (), {"get_token": lambda self, *s, **o: azure_token("a\nb")}),
        type("Endless", (), {"get_token": lambda self, *s, **o: azure_token("token", "never")}),
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_credential_that_gives_no_token_is_named(credential_type: Any, colour: Colour, endpoint: str) -> None:
    client = colour.client(azure_endpoint=endpoint, credential=credential_type())
    with pytest.raises(openai.AuthenticationError, match=f"{credential_type.__name__} got no token for https://ai"):
        chat(colour, client)


def azure_token(token: str, expires_on: Any = 4102444800) -> Any:
    from azure.core.credentials import AccessToken

    return AccessToken(token, expires_on)


def test_openais_error_chain_has_nothing_of_azure_core_in_it(
    colour: Colour, service: TokenService, endpoint: str
) -> None:
    """Point 12: today ``azure.core.exceptions.ClientAuthenticationError`` escapes from the SDK's call."""
    client = colour.client(azure_endpoint=endpoint, azure_auth_mode="entra")
    service.fail_next("invalid_client", times=None)
    with pytest.raises(openai.AuthenticationError) as caught:
        chat(colour, client)
    link: BaseException | None = caught.value
    while link is not None:
        assert not type(link).__module__.startswith(("azure.", "msal")), link
        link = link.__cause__ or link.__context__


def test_each_link_of_azures_own_chain_keeps_its_name(
    colour: Colour, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credential's attributes tell what to mask in what it says; its name is none of it."""
    for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "/nowhere")
    line = {"exclude_managed_identity_credential": True, "exclude_broker_credential": True}
    with azure.identity.DefaultAzureCredential(**line) as credential:
        client = colour.client(azure_endpoint=endpoint, credential=credential)
        with pytest.raises(openai.AuthenticationError) as caught:
            chat(colour, client)
    lines = str(caught.value).splitlines()
    for link in ("EnvironmentCredential: ", "WorkloadIdentityCredential: ", "AzureCliCredential: "):
        assert len([line for line in lines if line.startswith(link)]) == 1, lines
    assert "***" not in str(caught.value)


@pytest.mark.parametrize("preset", ["empty", "cut", "html"])
def test_an_aio_credential_is_asked_once_more_too(preset: str, service: TokenService, endpoint: str) -> None:
    colour = Colour("async")
    credential = client_secret(service, azure.identity.aio, retry_total=0)
    client = colour.client(azure_endpoint=endpoint, credential=credential)
    service.fail_next(preset)
    chat(colour, client)
    assert len(service.requests) == 2
    colour.run(credential.close())
    colour.finish()


class Sink(logging.Handler):
    """Everything that any logger says, with tracebacks, arguments and extras."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        self.text.write(f"{self.format(record)} {record.args!r} {record.__dict__!r}\n")


PATHS = [
    "fine",
    "revoked",
    "invalid_client",
    "unavailable",
    "cut",
    "empty",
    "no_token",
    "html",
    "stall",
    "refused",
    "down",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("how", ["client_secret", "certificate", "workload", "app_service", "key", "token", "header"])
def test_no_path_shows_a_secret(
    path: str, how: str, colour: Colour, service: TokenService, azure_openai: FakeAzure, endpoint: str, monkeypatch: Any
) -> None:
    """Promise 9: keys, tokens, client secrets, assertions and headers, over logs, reprs, errors, notes and pickles."""
    key, header = "canarykey0123456789abcdefCANARY", "canaryheader0123456789abcdefCANARY"
    arguments: dict[str, Any] = {"azure_endpoint": endpoint, "max_retries": 0, "timeout": 5}
    if how == "key":
        arguments["api_key"] = key
    elif how == "token":
        arguments["azure_ad_token"] = f"eyJh.eyJz.{key}"
    elif how == "header":
        arguments |= {"api_key": key, "default_headers": {"Ocp-Apim-Subscription-Key": header}}
    else:
        mode = {"workload": "workload", "app_service": "managed"}.get(how, "entra")
        for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"):
            monkeypatch.delenv(name, raising=False)
        for name, value in service.environment(how).items():
            monkeypatch.setenv(name, value)
        arguments["azure_auth_mode"] = mode
    root, sink = logging.getLogger(), Sink()
    before = root.level
    root.addHandler(sink)
    root.setLevel(logging.DEBUG)
    shown: list[str] = []
    try:
        client = colour.client(**arguments)
        if path == "revoked" and how not in ("key", "token", "header"):
            chat(colour, client)
            service.revoke(service.tokens[-1])
        elif path == "stall":
            service.fail_next("stall", times=None)
            client = client.with_options(timeout=0.2)
        elif path == "refused":
            azure_openai["eastus"].fail_next("401_token", times=None)
        elif path == "down":
            azure_openai["eastus"].stop()
        elif path in ("invalid_client", "unavailable", "cut", "empty", "no_token", "html"):
            service.fail_next(path, times=None)
            client = client.with_options(timeout=1)
        try:
            answer = chat(colour, client)
            shown += [repr(answer), str(answer)]
        except openai.OpenAIError as error:
            shown += everything(error)
        for thing in (client, client.azure_shim_settings, client._client, client.azure_shim_settings.target):
            shown += [repr(thing), str(thing)]
            try:
                shown.append(repr(pickle.dumps(thing)))
            except Exception as error:
                shown += everything(error)
        shown.append(repr(copy.copy(client.azure_shim_settings)))
    finally:
        root.removeHandler(sink)
        root.setLevel(before)
        service.heal()
        azure_openai["eastus"].start()
    text = "\n".join([*shown, sink.text.getvalue()])
    with open(service.federated_token_file, encoding="utf-8") as file:
        federated = file.read().strip()
    if how == "header":  # a header that the caller sets on its own requests is shown by what shows a request's headers
        text = "\n".join(line for line in text.splitlines() if not line.startswith("Headers("))
    secrets = [key, header, service.client_secret, federated, *service.tokens]
    secrets += [token.rpartition(".")[2] for token in service.tokens]
    found = [secret[:12] for secret in secrets if secret and secret in text]
    assert found == [], [line for line in text.splitlines() for secret in secrets if secret in line][:3]


def everything(error: BaseException) -> list[str]:
    """All that an error shows, and those behind it."""
    shown: list[str] = []
    link: BaseException | None = error
    while link is not None:
        shown += [repr(link), str(link), repr(link.args), repr(getattr(link, "__notes__", ())), repr(link.__dict__)]
        link = link.__cause__ or link.__context__
    shown.append("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    response = getattr(error, "response", None)
    if response is not None:
        shown += [repr(response), repr(response.headers), repr(response.request), repr(response.request.headers)]
        shown += [response.text, repr(response.extensions)]
    return shown
