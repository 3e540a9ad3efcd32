"""Auth modes -> azure-identity credentials, and what can be said of a credential without using it."""

from __future__ import annotations

import inspect
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from azure_shim.clouds import cloud_of_authority

__all__ = ["MODES", "Identity", "authority_of", "is_awaited", "machine_has_identity", "machine_of", "secrets_of"]

MODES = ("entra", "managed", "workload", "default", "cli")
# The defaults of azure-core are 300 s and ten more tries, for a question that takes less than one second.
_LINE = {"connection_timeout": 10, "read_timeout": 20, "retry_total": 3}
# What azure-identity reads to find an identity (azure.identity._constants.EnvironmentVariables).
_SIGNS_IN_ENVIRONMENT = (
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_USERNAME",
    "IDENTITY_ENDPOINT",
    "MSI_ENDPOINT",
)
_SECRETS_IN_ENVIRONMENT = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_PASSWORD")
# The asset tag that every virtual machine of Azure has (Microsoft Learn, "Detect Azure virtual machines").
_AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
_ASSET_TAG_FILE = "/sys/class/dmi/id/chassis_asset_tag"
# What a developer who signed in has: folders in the home directory, and the tools that made them.
_FOLDERS, _COMMANDS = (".azure", ".azd", ".Azure"), ("az", "azd")
_SECRET_NAME = re.compile(r"secret|password|client_credential|assertion", re.IGNORECASE)
# What the identity of a machine is known by; a process in which it changes has become another one.
_MACHINE = (
    *_SIGNS_IN_ENVIRONMENT,
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CONFIG_DIR",
    "HOME",
    "IDENTITY_HEADER",
    "IMDS_ENDPOINT",
    "MSI_SECRET",
    "PATH",
)


def machine_of(variable: Callable[[str], str | None]) -> int:
    """What tells one machine's identity from another's; it says nothing of the variables' values."""
    return hash(tuple(map(variable, _MACHINE)))


class Identity(NamedTuple):
    """What an azure-identity credential is made of. Equal ones share a credential and its tokens."""

    mode: str
    authority: str | None = None
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    certificate_path: str | None = None
    certificate_password: str | None = None
    object_id: str | None = None
    resource_id: str | None = None
    token_file: str | None = None

    def __repr__(self) -> str:
        return f"Identity({self.mode!r}, tenant_id={self.tenant_id!r}, client_id={self.client_id!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never show."""
        own = (self.client_secret, self.certificate_password)
        environ = () if self.mode == "entra" else map(os.environ.get, _SECRETS_IN_ENVIRONMENT)
        return tuple(secret for secret in (*own, *environ) if secret)

    @property
    def kind(self) -> str:
        """The class of azure-identity that it becomes."""
        if self.mode == "entra":
            return "CertificateCredential" if self.certificate_path else "ClientSecretCredential"
        return {
            "managed": "ManagedIdentityCredential",
            "workload": "WorkloadIdentityCredential",
            "cli": "AzureCliCredential",
            "default": "DefaultAzureCredential",
        }[self.mode]

    def credential(self) -> Any:
        """A new credential of azure-identity, of the kind that blocks: it belongs to no event loop.

        Raises:
            whatever azure-identity raises for settings that cannot work, such as a certificate that cannot be read.
        """
        import azure.identity

        return getattr(azure.identity, self.kind)(**self._options())

    def _options(self) -> dict[str, Any]:
        if self.mode == "cli":
            return {"tenant_id": self.tenant_id} if self.tenant_id else {}
        if self.mode == "managed":
            # Connections to the machine's own endpoint keep azure-identity's limits, which differ by the machine.
            named = {"object_id": self.object_id, "resource_id": self.resource_id}
            config = {name: value for name, value in named.items() if value}
            return {"client_id": self.client_id, **({"identity_config": config} if config else {})}
        options = {**_LINE, **self._sign_in_service()}
        if self.mode == "default":
            # A limit for connecting would replace the short one by which it tells that there is no managed identity.
            del options["connection_timeout"]
            if self.client_id:
                options["managed_identity_client_id"] = self.client_id
            if self.tenant_id:
                options["additionally_allowed_tenants"] = [self.tenant_id]
            return options
        options |= {"tenant_id": self.tenant_id, "client_id": self.client_id}
        if self.mode == "workload":
            return {**options, "token_file_path": self.token_file}
        if self.certificate_path is None:
            return {**options, "client_secret": self.client_secret}
        return {**options, "certificate_path": self.certificate_path, "password": self.certificate_password}

    def _sign_in_service(self) -> dict[str, Any]:
        if self.authority is None:
            return {}
        if cloud_of_authority(self.authority) is not None:
            return {"authority": self.authority}
        # A private authority is not among those that Microsoft's public one would vouch for.
        return {"authority": self.authority, "disable_instance_discovery": True}


def machine_has_identity(environ: Mapping[str, str]) -> bool:
    """Whether anything here speaks for an Azure identity: variables, Azure's own machine, or its tools.

    No network, no process: it is what tells a forgotten key from a machine that needs none.
    """
    if any(environ.get(name, "").strip() for name in _SIGNS_IN_ENVIRONMENT):
        return True
    try:
        if Path(_ASSET_TAG_FILE).read_text(encoding="ascii").strip() == _AZURE_ASSET_TAG:
            return True
    except (OSError, ValueError):  # no such file, or not for us to read
        pass
    home = environ.get("HOME") or environ.get("USERPROFILE")
    if home and any((Path(home) / folder).is_dir() for folder in _FOLDERS):
        return True
    if os.name == "nt" and Path("C:/WindowsAzure").is_dir():
        return True
    path = environ.get("PATH")
    return any(shutil.which(command, path=path) for command in _COMMANDS if path)


def is_awaited(credential: object) -> bool:
    """Whether asking ``credential`` for a token is known to return an awaitable."""
    methods = [getattr(credential, name, None) for name in ("get_token_info", "get_token")]
    found = [method for method in methods if method is not None]
    return bool(found) and all(inspect.iscoroutinefunction(method) for method in found)


def authority_of(credential: object) -> str | None:
    """The sign-in service of a caller's credential, if it shows one.

    azure-identity keeps it in attributes that it does not document; it is for a message alone.
    """
    for holder in (credential, getattr(credential, "_client", None)):
        authority = getattr(holder, "_authority", None)
        if isinstance(authority, str) and authority:
            return authority
    return None


def secrets_of(credential: object, depth: int = 3) -> tuple[str, ...]:
    """The secrets that a caller's credential holds, to be masked in what it says; from the same kind of attributes."""
    found: list[str] = []
    for name, value in {**getattr(type(credential), "__dict__", {}), **getattr(credential, "__dict__", {})}.items():
        if isinstance(value, str) and value and _SECRET_NAME.search(name):
            found.append(value)
    if depth:
        inner = [getattr(credential, name, None) for name in ("_credential", "_client")]
        chain = getattr(credential, "credentials", None)
        for each in (*inner, *(chain if isinstance(chain, (list, tuple)) else ())):
            if each is not None:
                found += secrets_of(each, depth - 1)
    return tuple(found)
