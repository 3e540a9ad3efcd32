"""Where a 0.x call goes and who signs it: the settings of the module ``openai`` as 0.28 read them.

============  ==========================  ================================================================
api_type      api_base                    the call goes to
============  ==========================  ================================================================
``open_ai``   OpenAI's, or none           the Azure of the patch's settings, signed as they say
``open_ai``   another host                that host, by plain openai with openai.api_key, as in 0.x
``azure``     a host                      that Azure resource, signed with openai.api_key
``azure_ad``  a host                      that Azure resource, signed with openai.api_key as an Entra token
``azure...``  OpenAI's, or none           the Azure of the patch's settings; see `_at_patch`
============  ==========================  ================================================================

0.x programs put Azure's key where OpenAI's is, into openai.api_key or ``OPENAI_API_KEY``. Which of the two it is shows
in what else they say. It is sent to Azure if api_type says Azure, but never if it begins with ``sk-``, as OpenAI's keys
do and Azure's do not, and is the environment's, or the host is Azure's own: that one is left from another setup.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from azure_shim.clouds import cloud_of
from azure_shim.config.credentials import CREDENTIAL_ARGUMENTS, IDENTITY_ARGUMENTS
from azure_shim.config.settings import ENDPOINT_ARGUMENTS
from azure_shim.construction import PLACEHOLDER
from azure_shim.patching.legacy.error import AuthenticationError, InvalidAPIType
from azure_shim.patching.seats import is_openais_host
from azure_shim.wire.endpoints import EndpointError, of_resource, parse

__all__ = [
    "OPENAI_BASE",
    "ApiType",
    "Installation",
    "Service",
    "Wishes",
    "current_module",
    "in_effect",
    "installed",
    "service_for",
]

OPENAI_BASE = "https://api.openai.com/v1"
# What a patch's settings say of any endpoint; all else of them belongs to their own.
_CARRIED = ("timeout", "max_retries", "http_client", "deployments", "unmapped_models", "drop_empty_choice_chunks")
_SIGNING = (*CREDENTIAL_ARGUMENTS, *IDENTITY_ARGUMENTS)
_NO_KEY = (
    "No API key provided. You can set your API key in code using 'openai.api_key = <API-KEY>', or you can set the "
    "environment variable OPENAI_API_KEY=<API-KEY>). If your API key is stored in a file, you can point the openai "
    "module at it with 'openai.api_key_path = <PATH>'."
)


class ApiType(Enum):
    AZURE = 1
    OPEN_AI = 2
    AZURE_AD = 3

    @staticmethod
    def from_str(label: str) -> ApiType:
        known = {
            "azure": ApiType.AZURE,
            "azure_ad": ApiType.AZURE_AD,
            "azuread": ApiType.AZURE_AD,
            "open_ai": ApiType.OPEN_AI,
            "openai": ApiType.OPEN_AI,
        }
        try:
            return known[label.lower()]
        except KeyError:
            raise InvalidAPIType(
                "The API type provided in invalid. Please select one of the supported API types: 'azure', 'azure_ad', "
                "'open_ai'"
            ) from None


@dataclass(frozen=True, eq=False)
class Installation:
    """One `install`: the module, the patch's settings, and what stood where the facade is now."""

    module: ModuleType
    client_arguments: Callable[[], Mapping[str, Any] | None] = field(repr=False)


_installations: list[Installation] = []


def installed() -> list[Installation]:
    """Those that have not been undone, the newest last."""
    return _installations


def current_module() -> ModuleType | None:
    """The module that has the settings."""
    return next((each.module for each in reversed(_installations)), None)


def in_effect() -> tuple[ModuleType, Mapping[str, Any]] | None:
    """The module, and the patch's settings where this is called from: those of the newest patch that has any here."""
    for each in reversed(list(_installations)):
        settings = each.client_arguments()
        if settings is not None:
            return each.module, settings
    return None


@dataclass(frozen=True)
class Wishes:
    """What a call says itself of where it goes; None is for the module to say."""

    api_key: str | None = field(default=None, repr=False)
    api_base: str | None = None
    api_type: str | None = None
    api_version: str | None = None
    organization: str | None = None

    @classmethod
    def of(cls, args: Sequence[Any], params: Mapping[str, Any]) -> tuple[Wishes, dict[str, Any]]:
        """Those among a call's arguments, in the order of the fields, and the rest of ``params``."""
        names = [each.name for each in fields(cls)]
        if len(args) > len(names):
            raise TypeError(f"expected {len(names)} positional arguments at most ({', '.join(names)})")
        own = dict(zip(names, args, strict=False))
        rest = dict(params)
        own.update({name: rest.pop(name) for name in names if name in rest})
        return cls(**own), rest

    def type_in(self, module: ModuleType | None) -> ApiType:
        return ApiType.from_str(self.api_type or getattr(module, "api_type", None) or "open_ai")


@dataclass(frozen=True, eq=False)
class Service:
    """The arguments of the client that serves a call: one of `azure_shim`'s, or plain openai's."""

    is_azure: bool
    arguments: Mapping[str, Any] = field(repr=False)
    is_signed: bool = True


def service_for(module: ModuleType, settings: Mapping[str, Any], wishes: Wishes) -> Service:
    """Where a call goes; ``settings`` are those of the patch.

    Raises:
        AuthenticationError: there is no key, or one that is not for this host.
        InvalidAPIType: there is no such type.
    """
    kind = wishes.type_in(module)
    base = wishes.api_base or getattr(module, "api_base", None) or OPENAI_BASE
    is_openai = is_openais_host(_host(base))
    if kind is ApiType.OPEN_AI:
        if is_openai:
            return Service(is_azure=True, arguments=dict(settings))
        key = _key(module, wishes, checks=True)
        if not key:
            raise AuthenticationError(_NO_KEY)
        organization = wishes.organization or getattr(module, "organization", None)
        return Service(is_azure=False, arguments={"base_url": base, "api_key": key, "organization": organization})
    signed = "azure_ad_token" if kind is ApiType.AZURE_AD else "api_key"
    version = wishes.api_version or getattr(module, "api_version", None)
    key = _azure_key(module, wishes, None if is_openai else _host(base))
    found = _at_patch(settings, signed, key) if is_openai else _at(base, settings, signed, key)
    if version and (not is_openai or "api_version" not in found):
        found["api_version"] = version
    return Service(is_azure=True, arguments=found, is_signed=key is not None)


def _at(base: str, settings: Mapping[str, Any], signed: str, key: str | None) -> dict[str, Any]:
    """The client's arguments for a resource that the program names itself.

    The patch's settings speak for it if they name the same one; without a key they, or the environment, sign.
    """
    if _is_endpoint_of(settings, base):
        found = {name: value for name, value in settings.items() if not (key and name in _SIGNING)}
    else:
        found = {name: settings[name] for name in _CARRIED if name in settings}
        found["azure_endpoint"] = base
    if key:
        found[signed] = key
    return found


def _at_patch(settings: Mapping[str, Any], signed: str, key: str | None) -> dict[str, Any]:
    """The client's arguments for a program that says Azure but not where: the patch's settings say it.

    They sign too. The program's key is used only if nothing else is there: it says of itself that it is Azure's, and
    there is one endpoint that it can be for.
    """
    found = dict(settings)
    others = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_SHIM_CONFIG")
    is_signed = any(name in settings for name in ("config", *CREDENTIAL_ARGUMENTS))
    if key and not is_signed and not any(os.environ.get(name) for name in others):
        found[signed] = key
    return found


def _key(module: ModuleType, wishes: Wishes, *, checks: bool) -> str | None:
    """The key as 0.28 finds it: the call's, the file's, the module's."""
    path = getattr(module, "api_key_path", None)
    if wishes.api_key or not path:
        found: str | None = wishes.api_key or getattr(module, "api_key", None)
        return None if found == PLACEHOLDER else found
    with open(path) as file:
        key = file.read().strip()
    if checks and not key.startswith("sk-"):
        raise ValueError(f"Malformed API key in {path}.")
    return key


def _azure_key(module: ModuleType, wishes: Wishes, host: str | None) -> str | None:
    """The key for an Azure resource, if the program has one; ``host`` is the one that it names itself."""
    key = _key(module, wishes, checks=False)
    if not key or not key.startswith("sk-"):
        return key or None
    if key == os.environ.get("OPENAI_API_KEY") or host is None:
        return None
    if cloud_of(host) is not None:
        raise AuthenticationError(
            f"The API key is one of OpenAI's ('sk-...'), which is not sent to {host}: set openai.api_key to a key of "
            "that resource."
        )
    return key  # a gateway may have keys of its own


def _host(url: str) -> str:
    try:
        return urlsplit(url if "://" in url else f"https://{url}").hostname or ""
    except ValueError:
        return ""


def _is_endpoint_of(settings: Mapping[str, Any], base: str) -> bool:
    """Whether the patch's settings name the same origin as ``base``."""
    named = next(((name, str(settings[name])) for name in ENDPOINT_ARGUMENTS if settings.get(name)), None)
    if named is None:
        return False
    try:
        theirs = of_resource(named[1]) if named[0] == "resource_name" else parse(named[1])
        return theirs.endpoint.origin == parse(base).endpoint.origin
    except EndpointError:  # the client's constructor says so in full
        return False
