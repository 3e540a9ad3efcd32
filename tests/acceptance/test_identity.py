"""Every way to be without a key, through the real azure-identity, against a token service on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import azure.identity
import azure.identity.aio
import openai
import pytest

import azure_shim
from azure_shim.testing import TokenService
from tests.conftest import LIBRARIES, Colour
from tests.identities import chat, client_secret, line

CLASSIC, V1 = "https://cognitiveservices.azure.com/.default", "https://ai.azure.com/.default"
MANAGED = ("app_service", "imds", "arc")


@pytest.fixture
def environment_of(service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the variables of one kind of machine, as its platform does."""

    def set_variables(kind: str) -> None:
        if kind == "arc":
            service.arc_key_folder = str(tmp_path)
            # The agent's folder is root's; both libraries look at nothing but its name.
            from azure.identity._credentials import azure_arc
            from msal import managed_identity

            monkeypatch.setattr(azure_arc, "_get_key_file_path", lambda: str(tmp_path))
            monkeypatch.setitem(
                managed_identity._supported_arc_platforms_and_their_prefixes, sys.platform, str(tmp_path)
            )
        for name, value in service.environment(kind).items():
            monkeypatch.setenv(name, value)

    return set_variables


def entra(service: TokenService) -> dict[str, Any]:
    return {
        "azure_auth_mode": "entra",
        "azure_entra_tenant_id": service.tenant_id,
        "azure_entra_client_id": service.client_id,
    }


@pytest.mark.parametrize("kind", ["client_secret", "certificate"])
@pytest.mark.parametrize("spelling", ["settings", "environment"])
def test_a_service_principal(
    kind: str,
    spelling: str,
    colour: Colour,
    service: TokenService,
    endpoint: str,
    environment_of: Any,
    monkeypatch: Any,
) -> None:
    environment_of(kind)
    arguments: dict[str, Any] = {"azure_auth_mode": "entra"}
    if spelling == "settings":
        for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "CLIENT_CERTIFICATE_PATH"):
            monkeypatch.delenv(f"AZURE_{name}", raising=False)
        arguments = entra(service)
        if kind == "certificate":
            arguments["azure_entra_certificate_path"] = service.certificate_file
        else:
            arguments["azure_entra_client_secret"] = service.client_secret
    client = colour.client(azure_endpoint=endpoint, **arguments)
    assert [chat(colour, client), chat(colour, client)]
    (asked,) = service.requests
    assert (asked.endpoint, asked.grant, asked.tenant, asked.client_id, asked.scope) == (
        "entra",
        kind,
        service.tenant_id,
        service.client_id,
        V1,
    )


@pytest.mark.parametrize("kind", MANAGED)
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({}, (None, None, None)),
        ({"azure_managed_client_id": "the-client"}, ("the-client", None, None)),
        ({"azure_managed_object_id": "the-object"}, (None, "the-object", None)),
        ({"azure_managed_resource_id": "/sub/the-resource"}, (None, None, "/sub/the-resource")),
    ],
)
def test_a_managed_identity(
    kind: str,
    arguments: dict[str, Any],
    shown: tuple[Any, ...],
    colour: Colour,
    service: TokenService,
    endpoint: str,
    environment_of: Any,
) -> None:
    environment_of(kind)
    client = colour.client(azure_endpoint=endpoint, azure_auth_mode="managed", **arguments)
    assert [chat(colour, client), chat(colour, client)]
    (asked,) = service.requests
    assert (asked.endpoint, asked.grant, asked.scope) == (kind, "managed", V1.removesuffix("/.default"))
    assert (asked.client_id, asked.object_id, asked.resource_id) == shown


@pytest.mark.parametrize("client_id", ["argument", "environment"])
def test_a_workload_identity_follows_its_rotated_file(
    client_id: str, colour: Colour, service: TokenService, endpoint: str, environment_of: Any, monkeypatch: Any
) -> None:
    """P57: the assertion is azure-identity's to read, whenever it needs one; nothing of ours keeps it."""
    environment_of("workload")
    arguments = {}
    if client_id == "argument":
        monkeypatch.setenv("AZURE_CLIENT_ID", "another")
        arguments = {"azure_workload_client_id": service.client_id}
    client = colour.client(azure_endpoint=endpoint, azure_auth_mode="workload", **arguments)
    chat(colour, client)
    service.rotate_federated_token()
    azure_shim.reset_tokens()
    chat(colour, client)
    assert [(asked.grant, asked.client_id, asked.status) for asked in service.requests] == [
        ("federated", service.client_id, 200)
    ] * 2


@pytest.mark.parametrize("kind", ["client_secret", "certificate", "workload", "app_service", "imds"])
@pytest.mark.parametrize("mode", ["default", "environment alone"])
def test_the_environment_alone_is_enough(
    kind: str, mode: str, colour: Colour, service: TokenService, endpoint: str, environment_of: Any, monkeypatch: Any
) -> None:
    environment_of(kind)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    client = colour.client(**({"azure_auth_mode": "default"} if mode == "default" else {}))
    chat(colour, client)
    # IMDS is probed first by DefaultAzureCredential, which a token service sees as a question too.
    assert {asked.scope for asked in service.requests if asked.status == 200} <= {
        CLASSIC,
        CLASSIC.removesuffix("/.default"),
    }
    assert service.tokens


async def closed(*credentials: Any) -> None:
    for credential in credentials:
        await credential.close()


def credentials(service: TokenService, module: Any) -> dict[str, Any]:
    """One of each that needs no environment, sync or aio."""
    who, own = (service.tenant_id, service.client_id), line(service)
    secret = client_secret(service, module)
    return {
        "secret": secret,
        "certificate": module.CertificateCredential(*who, certificate_path=service.certificate_file, **own),
        "workload": module.WorkloadIdentityCredential(
            tenant_id=who[0], client_id=who[1], token_file_path=service.federated_token_file, **own
        ),
        "chain": module.ChainedTokenCredential(client_secret(service, module), module.AzureCliCredential()),
    }


@pytest.mark.parametrize("name", ["secret", "certificate", "workload", "chain"])
@pytest.mark.parametrize("module", [azure.identity, azure.identity.aio], ids=["sync", "aio"])
@pytest.mark.parametrize("dose", ["constructor", *LIBRARIES])
def test_a_credential_object(
    name: str, module: Any, dose: str, colour: Colour, service: TokenService, endpoint: str
) -> None:
    made = credentials(service, module)
    credential, is_aio = made[name], module is azure.identity.aio
    try:
        arguments: dict[str, Any] = {"azure_endpoint": endpoint, "credential": credential}
        build = colour.client if dose == "constructor" else colour.http_client
        if dose != "constructor":
            arguments["library"] = dose
        if is_aio and not colour.is_async:
            with pytest.raises(azure_shim.AsyncCredentialError, match="pass it to AsyncOpenAI") as caught:
                build(**arguments)
            assert isinstance(caught.value, (TypeError, ValueError))
            assert service.requests == []
            return
        client = build(**arguments)
        if dose != "constructor":
            client = colour.plain(api_key="sk-plain", http_client=client)
        assert [chat(colour, client), chat(colour, client)]
        assert [asked.scope for asked in service.requests] == [V1]
        colour.close(client)
        # The caller's credential is the caller's to close: it still works.
        azure_shim.reset_tokens()
        again = colour.client(azure_endpoint=endpoint, api_version="2024-10-21", credential=credential)
        chat(colour, again)
        assert [asked.scope for asked in service.requests] == [V1, CLASSIC]
        colour.close(again)
    finally:
        if not is_aio:
            for each in made.values():
                each.close()
        elif colour.is_async:
            for each in made.values():
                colour.run(each.close())
        else:  # which were never used, and so belong to no loop
            asyncio.run(closed(*made.values()))


def test_a_wrapper_of_an_aio_credential_need_not_look_like_one(
    colour: Colour, service: TokenService, endpoint: str
) -> None:
    inner = credentials(service, azure.identity.aio)["secret"]

    class Wrapper:
        def get_token(self, *scopes: str, **options: Any) -> Any:
            return inner.get_token(*scopes, **options)

    client = colour.client(azure_endpoint=endpoint, credential=Wrapper())
    if colour.is_async:
        assert [chat(colour, client), chat(colour, client)]
        assert len(service.requests) == 1
        colour.run(inner.close())
    else:
        with pytest.raises(openai.AuthenticationError, match="it has to be awaited"):
            chat(colour, client)
        asyncio.run(closed(inner))


@pytest.mark.parametrize("mode", ["entra", "managed", "workload", "default", "credential"])
@pytest.mark.parametrize("spelled", [V1, "https://ai.azure.com/", "https://ai.azure.com"])
def test_the_scope_can_be_overridden_in_every_mode(
    mode: str, spelled: str, colour: Colour, service: TokenService, endpoint: str, environment_of: Any
) -> None:
    environment_of({"managed": "app_service", "workload": "workload"}.get(mode, "client_secret"))
    arguments: dict[str, Any] = {"azure_auth_mode": mode}
    if mode == "credential":
        arguments = {"credential": azure.identity.EnvironmentCredential(disable_instance_discovery=True)}
    client = colour.client(azure_endpoint=endpoint, api_version="2024-10-21", azure_entra_scope=spelled, **arguments)
    chat(colour, client)
    assert {asked.scope for asked in service.requests} == {V1 if mode != "managed" else V1.removesuffix("/.default")}
    if mode == "credential":
        arguments["credential"].close()


def test_another_tenant_of_a_credential_is_another_token(colour: Colour, service: TokenService, endpoint: str) -> None:
    other = service.tenant_id.upper()  # the same to the service, and another one to whoever asks
    with client_secret(service, azure.identity, additionally_allowed_tenants=["*"]) as credential:
        given: dict[str, Any] = {"azure_endpoint": endpoint, "credential": credential}
        chat(colour, colour.client(**given))
        chat(colour, colour.client(**given, azure_entra_tenant_id=other))
        chat(colour, colour.client(**given))
    assert [asked.tenant for asked in service.requests] == [service.tenant_id, other]


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: TokenService) -> Path:
    """An Azure CLI that is signed in: a program that answers like it and counts how often it ran."""
    log = tmp_path / "runs"
    answer = {"accessToken": service.issue(V1), "expires_on": 4102444800, "tokenType": "Bearer"}
    program = tmp_path / "az"
    program.write_text(f"#!/bin/sh\necho \"$*\" >> '{log}'\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return log


@pytest.mark.parametrize("spelling", ["settings", "credential"])
def test_the_azure_cli_is_asked_once_for_a_tokens_life(spelling: str, colour: Colour, endpoint: str, az: Path) -> None:
    """P22: the CLI is a process of 300 ms, and azure-identity keeps nothing of it."""
    arguments: dict[str, Any] = {"azure_auth_mode": "cli"}
    if spelling == "credential":
        arguments = {"credential": azure.identity.AzureCliCredential()}
    client = colour.client(azure_endpoint=endpoint, **arguments)
    for _ in range(100):
        chat(colour, client)
    assert len(az.read_text().splitlines()) == 1
    azure_shim.reset_tokens()
    chat(colour, client)
    assert len(az.read_text().splitlines()) == 2
