"""Real credentials for a TokenService, and what a token says."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azure_shim.testing import TokenService

__all__ = ["CLASSIC", "V1", "claims_of", "clear", "environment_of", "identities", "line", "token_of"]

CLASSIC = "https://cognitiveservices.azure.com/.default"
V1 = "https://ai.azure.com/.default"


def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take out of the environment what azure-identity and ``requests`` would go by."""
    for name in os.environ:
        if name.startswith(("AZURE_", "IDENTITY_", "IMDS_", "MSI_")) or name.endswith("_CA_BUNDLE"):
            monkeypatch.delenv(name)


def line(service: TokenService) -> dict[str, Any]:
    """How a credential comes to the service; azure-core does not try again."""
    return {
        "authority": service.authority,
        "disable_instance_discovery": True,
        "connection_verify": service.ca_file,
        "retry_total": 0,
    }


def identities(service: TokenService, module: Any) -> dict[str, Callable[..., Any]]:
    """Credentials of ``azure.identity`` or ``azure.identity.aio`` that the service takes."""
    who = {"tenant_id": service.tenant_id, "client_id": service.client_id, **line(service)}
    return {
        "client_secret": lambda: module.ClientSecretCredential(client_secret=service.client_secret, **who),
        "certificate": lambda: module.CertificateCredential(certificate_path=service.certificate_file, **who),
        "workload": lambda: module.WorkloadIdentityCredential(token_file_path=service.federated_token_file, **who),
    }


def environment_of(
    service: TokenService, kind: str, monkeypatch: pytest.MonkeyPatch, arc_key_folder: Path | None = None
) -> None:
    """Set the variables of one kind of machine; for Arc, both libraries look for keys in ``arc_key_folder``."""
    if kind == "arc":
        from azure.identity._credentials import azure_arc
        from msal import managed_identity

        service.arc_key_folder = arc_key_folder
        monkeypatch.setattr(azure_arc, "_get_key_file_path", lambda: str(arc_key_folder))
        monkeypatch.setitem(
            managed_identity._supported_arc_platforms_and_their_prefixes, sys.platform, str(arc_key_folder)
        )
    for name, value in service.environment(kind).items():
        monkeypatch.setenv(name, value)


def claims_of(token: str) -> Any:
    """What a token says."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def token_of(credential: Any, *scopes: str) -> str:
    """A token of a credential of either kind, which is closed."""
    if not hasattr(credential, "__aenter__"):
        with credential:
            return str(credential.get_token(*scopes).token)

    async def main() -> str:
        async with credential:
            return str((await credential.get_token(*scopes)).token)

    return asyncio.run(main())
