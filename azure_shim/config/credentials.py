"""Arguments and environment variables -> the credential of a target, with the cloud and the scope that belong to it."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from typing import Any

from azure_shim.auth.identities import MODES, Identity, is_awaited, machine_has_identity, machine_of
from azure_shim.auth.providers import awaits
from azure_shim.auth.secrets import fault_of, shown, shown_path, without_bearer
from azure_shim.auth.source import TokenSource
from azure_shim.auth.tokens import slot_for
from azure_shim.clouds import CLOUDS, cloud_of_authority, cloud_of_scope, scope_of
from azure_shim.config.reader import Reader
from azure_shim.observe.log import log_token_event
from azure_shim.values import STAND_IN, Credential, Endpoint

__all__ = ["CREDENTIAL_ARGUMENTS", "IDENTITY_ARGUMENTS", "KEY_VARIABLE", "SIGNING_HEADERS", "CredentialReader"]

CREDENTIAL_ARGUMENTS = ("api_key", "azure_ad_token", "azure_ad_token_provider", "credential", "azure_auth_mode")
"""What signs; one of them."""
IDENTITY_ARGUMENTS = (
    "azure_entra_tenant_id",
    "azure_entra_client_id",
    "azure_entra_client_secret",
    "azure_entra_certificate_path",
    "azure_entra_certificate_password",
    "azure_managed_client_id",
    "azure_managed_object_id",
    "azure_managed_resource_id",
    "azure_workload_client_id",
)
"""Who signs, for an ``azure_auth_mode`` or a credential."""
SIGNING_HEADERS = ("authorization", "api-key", "ocp-apim-subscription-key")
"""Headers that sign a request, in lower case; the last is API Management's."""
# Who may be named with what. A credential object, the CLI and the chain of credentials may serve several tenants.
_BELONGS = {
    "credential": ("azure_entra_tenant_id",),
    "entra": IDENTITY_ARGUMENTS[:5],
    "managed": ("azure_managed_client_id", "azure_managed_object_id", "azure_managed_resource_id"),
    "workload": ("azure_entra_tenant_id", "azure_workload_client_id"),
    "default": ("azure_entra_tenant_id", "azure_managed_client_id"),
    "cli": ("azure_entra_tenant_id",),
}
_TENANT = "azure_entra_tenant_id"
# Read in this order when no credential is passed, as openai.AzureOpenAI does: a token before a key.
_TOKEN_VARIABLE, KEY_VARIABLE = "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY"
_OPENAI_VARIABLE = "OPENAI_API_KEY"
_AUTHORITY_VARIABLE = "AZURE_AUTHORITY_HOST"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TENANT_ID = re.compile(r"[A-Za-z0-9.-]+")
_AUTHORITY = re.compile(r"(?:https://)?[A-Za-z0-9.-]+(?::\d+)?/*", re.IGNORECASE)
_SCOPE = re.compile(r"[A-Za-z0-9_.:/-]+")  # what azure-identity takes for one
_IMPLICIT = (
    f"\n(No key is set, so that the identity of this machine was asked. For a key, pass api_key or set {KEY_VARIABLE}.)"
)


class CredentialReader:
    """Reads who signs. ``endpoint`` is None where that was no good; ``is_classic`` tells which surface it is for."""

    def __init__(self, reader: Reader, endpoint: Endpoint | None, *, is_classic: bool, is_async: bool) -> None:
        self._reader, self._endpoint, self._is_classic, self._is_async = reader, endpoint, is_classic, is_async
        self._arguments = reader.arguments

    def read(self, *, signs: bool) -> Credential | None:
        """The credential, or None after a problem was noted. ``signs``: the caller's headers sign by themselves."""
        given = [name for name in CREDENTIAL_ARGUMENTS if name in self._arguments]
        if len(given) > 1:
            self._reader.problem(f"{' and '.join(given)} are mutually exclusive: pass one credential")
            return None
        header = self._key_header()
        self._scope()  # what is wrong with it is told whatever else is
        if not given:
            self._check_belongs(None)
            return self._from_environment(header, signs=signs)
        name, value = given[0], self._arguments[given[0]]
        if name == "credential":
            return self._given(value, header)
        if name == "azure_auth_mode":
            return self._mode(value, header)
        self._check_belongs(name)
        if name == "api_key":
            if callable(value):
                return self._provided(name, value, header, is_token=False)
            return self._checked(name, value, header, is_token=False)
        if name == "azure_ad_token":
            return self._checked(name, value, header, is_token=True)
        if not callable(value):
            self._reader.problem(
                f"{name}: is of type {type(value).__name__}; expected a callable that returns a token"
                + ("; pass it as credential" if hasattr(value, "get_token") else "")
            )
            return None
        return self._provided(name, value, header, is_token=True)

    def read_openai(self, *, signs: bool) -> Credential | None:
        """As `read`, for OpenAI itself: one key, which goes out as a bearer token."""
        label, value = "api_key", self._arguments.get("api_key")
        if value is None and signs:
            return Credential("the caller's own headers")
        if value is None:
            label, value = _OPENAI_VARIABLE, self._reader.variable(_OPENAI_VARIABLE)
        if value is None or value == STAND_IN:  # which a patched process has there for code that demands one
            self._reader.problem(
                f"Missing credentials: give the target an api_key, or set {_OPENAI_VARIABLE} (which is not set); it "
                "inherits one from a node with provider='openai' only"
            )
            return None
        if callable(value):
            return self._provided(label, value, "api-key", is_token=True)
        return self._checked(label, value, "api-key", is_token=True, is_key=True)

    def _key_header(self) -> str:
        name = self._arguments.get("api_key_header", "api-key")
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            self._reader.problem("api_key_header: is no header name; expected one such as 'Ocp-Apim-Subscription-Key'")
            return "api-key"
        return name

    def _from_environment(self, header: str, *, signs: bool) -> Credential | None:
        if signs:
            return Credential("the caller's own headers", header)
        for variable, argument in ((_TOKEN_VARIABLE, "azure_ad_token"), (KEY_VARIABLE, "api_key")):
            value = self._reader.variable(variable)
            if value is not None:
                return self._checked(variable, value, header, is_token=argument == "azure_ad_token")
        if machine_has_identity(self._reader.environ):
            # Kept as if it had been passed, so that a copy is of this client and not of a machine that has changed.
            self._arguments["azure_auth_mode"] = "default"
            return self._identity(self._default(), header, note=_IMPLICIT)
        self._reader.problem(
            "Missing credentials: pass one of api_key, azure_ad_token, azure_ad_token_provider, credential or "
            f"azure_auth_mode, or set {_TOKEN_VARIABLE} or {KEY_VARIABLE} (neither is set, and this machine shows no "
            "Azure identity)"
        )
        return None

    def _checked(
        self, label: str, value: object, header: str, *, is_token: bool, is_key: bool = False
    ) -> Credential | None:
        """``is_token`` says that it goes out as a bearer token, which OpenAI's key does as well."""
        if is_token and isinstance(value, str):
            value = without_bearer(value)
        fault = fault_of(value, is_key=is_key or not is_token)
        if fault is not None:
            self._reader.problem(f"{label}: {fault}")
            return None
        return Credential(label, header, is_token=is_token, value=str(value))

    def _provided(self, name: str, value: Callable[[], Any], header: str, *, is_token: bool) -> Credential | None:
        if not self._is_async and awaits(value):
            self._reader.wrong_colour(
                f"{name}: is a coroutine function, which OpenAI cannot await; pass it to AsyncOpenAI"
            )
            return None
        return Credential(f"the {name} function", header, is_token=is_token, provider=value)

    def _given(self, value: Any, header: str) -> Credential | None:
        """A caller's credential object."""
        self._check_belongs("credential")
        kind = value.__name__ if inspect.isclass(value) else type(value).__name__
        if inspect.isclass(value):
            self._reader.problem(f"credential: is the class {kind}; expected an instance, {kind}(...)")
        elif isinstance(value, str):
            self._reader.problem("credential: is of type str; pass a key as api_key, a token as azure_ad_token")
        elif hasattr(value, "key") and not hasattr(value, "get_token"):
            self._reader.problem(f"credential: is of type {kind}, which holds a key; pass that as api_key")
        elif not callable(getattr(value, "get_token_info", None)) and not callable(getattr(value, "get_token", None)):
            advice = "; pass a function as azure_ad_token_provider" if callable(value) else ""
            self._reader.problem(
                f"credential: is of type {kind}, which has no get_token; expected one of azure.identity{advice}"
            )
        elif not self._is_async and is_awaited(value):
            self._reader.wrong_colour(
                f"credential: is the async {type(value).__module__}.{kind}, which OpenAI cannot await; pass it to "
                "AsyncOpenAI, or pass one of azure.identity (not azure.identity.aio), which serves both"
            )
        else:
            scope = self._scope()
            if scope is not None:
                return self._sourced("credential", header, scope, given=value, tenant_id=self._tenant())
        return None

    def _mode(self, value: object, header: str) -> Credential | None:
        mode = value.strip().lower() if isinstance(value, str) else None
        if mode not in MODES:
            expected = ", ".join(repr(known) for known in MODES)
            self._reader.problem(f"azure_auth_mode: is {shown(value)}, which is unknown; expected one of {expected}")
            return None
        before = len(self._reader.problems)
        self._check_belongs(mode)
        identity = self._identity_of(mode)
        credential = self._identity(identity, header)
        return credential if len(self._reader.problems) == before else None

    def _identity_of(self, mode: str) -> Identity:
        if mode == "entra":
            return self._entra()
        if mode == "managed":
            return self._managed()
        if mode == "workload":
            return self._workload()
        if mode == "default":
            return self._default()
        return Identity("cli", tenant_id=self._tenant())

    def _identity(self, identity: Identity, header: str, note: str = "") -> Credential | None:
        scope = self._scope()
        if scope is None:
            return None
        tenant_id = identity.tenant_id if identity.mode == "default" else None
        source = f"azure_auth_mode={identity.mode!r}"
        # Two of these three are made of what azure-identity reads of the process, and the CLI of who uses it.
        machine = machine_of(self._reader.variable) if identity.mode in ("managed", "default", "cli") else 0
        return self._sourced(source, header, scope, note, identity=identity, tenant_id=tenant_id, machine=machine)

    def _sourced(self, label: str, header: str, scope: str, note: str = "", **source: Any) -> Credential:
        slot = slot_for(TokenSource(scope, **source), log_token_event)
        return Credential(label, header, is_token=True, tokens=slot, note=note)

    def _entra(self) -> Identity:
        names = ("azure_entra_client_secret", "azure_entra_certificate_path", "azure_entra_certificate_password")
        secret, certificate, password = map(self._text, names)
        label = names[1]
        if secret is not None and certificate is not None:
            self._reader.problem(f"{names[0]} and {names[1]} are mutually exclusive: pass one of them")
        elif names[0] not in self._arguments and names[1] not in self._arguments:
            secret, label = self._variable("AZURE_CLIENT_SECRET"), "AZURE_CLIENT_CERTIFICATE_PATH"
            certificate = None if secret else self._variable(label)
            password = password or self._variable("AZURE_CLIENT_CERTIFICATE_PASSWORD")
            if secret is None and certificate is None:
                self._reader.problem(
                    f"azure_auth_mode='entra' needs {names[0]} or {names[1]} (or AZURE_CLIENT_SECRET or {label}, "
                    "neither of which is set)"
                )
        if certificate is not None and not _can_be_read(certificate):
            self._reader.problem(f"{label}: is {shown_path(certificate)}, which is no file that can be read")
        if names[2] in self._arguments and certificate is None:
            self._reader.problem(f"{names[2]}: goes with {names[1]}")
        return Identity(
            "entra",
            authority=self._authority(),
            tenant_id=self._needed("entra", _TENANT, "AZURE_TENANT_ID"),
            client_id=self._needed("entra", "azure_entra_client_id", "AZURE_CLIENT_ID"),
            client_secret=secret,
            certificate_path=certificate,
            certificate_password=password,
        )

    def _managed(self) -> Identity:
        named = {name: self._text(name) for name in _BELONGS["managed"]}
        given = [name for name, value in named.items() if value is not None]
        if len(given) > 1:
            self._reader.problem(f"{' and '.join(given)} are mutually exclusive: an identity has one name")
        client_id, object_id, resource_id = named.values()
        return Identity("managed", client_id=client_id, object_id=object_id, resource_id=resource_id)

    def _workload(self) -> Identity:
        file = self._variable("AZURE_FEDERATED_TOKEN_FILE")
        if file is None:
            self._reader.problem(
                "azure_auth_mode='workload' needs AZURE_FEDERATED_TOKEN_FILE, which is not set: does the pod have the "
                'label azure.workload.identity/use: "true"?'
            )
        return Identity(
            "workload",
            authority=self._authority(),
            tenant_id=self._needed("workload", _TENANT, "AZURE_TENANT_ID"),
            client_id=self._needed("workload", "azure_workload_client_id", "AZURE_CLIENT_ID"),
            token_file=file,
        )

    def _default(self) -> Identity:
        return Identity(
            "default",
            authority=self._authority(),
            tenant_id=self._tenant(),
            client_id=self._text("azure_managed_client_id"),
        )

    def _check_belongs(self, to: str | None) -> None:
        """Note a problem for each name of an identity that what signs has no use for."""
        for name in IDENTITY_ARGUMENTS:
            if name in self._arguments and name not in _BELONGS.get(to or "", ()):
                uses = [f"azure_auth_mode={mode!r}" for mode in MODES if name in _BELONGS[mode]]
                if name in _BELONGS["credential"]:
                    uses.append("credential")
                signing = f"azure_auth_mode is {to!r}" if to in MODES else f"what signs is {to}"
                self._reader.problem(
                    f"{name}: is used with {' or '.join(uses)}, but {signing if to else 'no credential was passed'}"
                )

    def _text(self, name: str) -> str | None:
        """An argument that must be a str with something in it."""
        value = self._arguments.get(name)
        if value is None:
            return None
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str):
            self._reader.problem(f"{name}: is of type {type(value).__name__}; expected a str")
            return None
        if not value.strip():
            self._reader.problem(f"{name}: is empty")
            return None
        return value.strip()

    def _tenant(self) -> str | None:
        """The id or the domain of a tenant; azure-identity takes no other characters."""
        value = self._text(_TENANT)
        if value is not None and not _TENANT_ID.fullmatch(value):
            self._reader.problem(f"{_TENANT}: is {shown(value)}; expected a tenant's id or its domain")
            return None
        return value

    def _variable(self, name: str) -> str | None:
        value = self._reader.variable(name)
        return None if value is None else value.strip()

    def _needed(self, mode: str, name: str, variable: str) -> str | None:
        value = self._tenant() if name == _TENANT else self._text(name)
        if value is None and name not in self._arguments:
            value = self._variable(variable)
            if value is None:
                self._reader.problem(f"azure_auth_mode={mode!r} needs {name} (or {variable}, which is not set)")
        return value

    def _authority(self) -> str:
        """The sign-in service: what the environment says, else the cloud's."""
        cloud = self._reader.cloud(self._endpoint)
        authority = self._variable(_AUTHORITY_VARIABLE)
        if authority is None:
            return CLOUDS[cloud or "public"].authority
        if not _AUTHORITY.fullmatch(authority):
            self._reader.problem(
                f"{_AUTHORITY_VARIABLE}: is no https URL of a host, as azure-identity wants it; expected one such as "
                "'https://login.microsoftonline.com'"
            )
        theirs = cloud_of_authority(authority)
        if cloud is not None and theirs not in (None, cloud):
            self._reader.problem(
                f"{_AUTHORITY_VARIABLE}: signs for the {theirs} cloud, but the client is for the {cloud} cloud, whose "
                f"authority is {CLOUDS[cloud].authority}"
            )
        return authority.rstrip("/")

    def _scope(self) -> str | None:
        """What tokens are asked for: what was passed, or what the endpoint's cloud and surface take."""
        known = self._reader.cloud(self._endpoint)
        text = self._text("azure_entra_scope")
        if text is None:
            if "azure_entra_scope" in self._arguments or self._endpoint is None:
                return None
            authority = self._variable(_AUTHORITY_VARIABLE)
            cloud = CLOUDS[known or (cloud_of_authority(authority) if authority else None) or "public"]
            if self._endpoint.is_project:
                return cloud.project_scope
            return cloud.classic_scope if self._is_classic else cloud.v1_scope
        if not _SCOPE.fullmatch(text):
            self._reader.problem(
                "azure_entra_scope: is no scope; expected one such as 'https://cognitiveservices.azure.com/.default'"
            )
            return None
        theirs = cloud_of_scope(text)
        if known is not None and theirs not in (None, known):
            self._reader.problem(
                f"azure_entra_scope: {text!r} is for the {theirs} cloud, but the client is for the {known} cloud: its "
                "token would be sent to the wrong one"
            )
            return None
        return scope_of(text)


def _can_be_read(path: str) -> bool:
    try:
        return os.access(path, os.R_OK)
    except ValueError:  # a character that no path has
        return False
