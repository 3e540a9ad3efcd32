"""Azure's clouds. Endpoint suffix, authority and scope travel together: what one cloud signs, no other one takes.

Sources: azure-rest-api-specs (`servers`), Microsoft Learn "Azure Government" and "Switch between endpoints",
Azure.AI.OpenAI's ``AzureOpenAIAudience``, ``azure.identity.AzureAuthorityHosts``.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["CLOUDS", "Cloud", "cloud_of", "cloud_of_authority", "cloud_of_scope", "scope_of", "spelled"]


class Cloud(NamedTuple):
    """One of Azure's clouds.

    ``suffixes`` are those of Azure OpenAI's hosts. ``classic_scope`` is what tokens for the dated surface are asked
    for, ``v1_scope`` and ``project_scope`` for the v1 surface of a resource and of a Foundry project. ``spellings`` are
    what the Azure CLI and others call it.
    """

    name: str
    suffixes: tuple[str, ...]
    authority: str
    classic_scope: str
    v1_scope: str
    project_scope: str
    spellings: tuple[str, ...]


CLOUDS = {
    cloud.name: cloud
    for cloud in (
        Cloud(
            "public",
            ("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"),
            "login.microsoftonline.com",
            "https://cognitiveservices.azure.com/.default",
            "https://ai.azure.com/.default",
            "https://ai.azure.com/.default",
            ("azurecloud", "azurepubliccloud", "azurepublic"),
        ),
        Cloud(
            "usgov",
            ("openai.azure.us", "cognitiveservices.azure.us", "services.ai.azure.us"),
            "login.microsoftonline.us",
            "https://cognitiveservices.azure.us/.default",
            # A resource takes either audience there (its own 401 says so); this one is the documented one.
            "https://cognitiveservices.azure.us/.default",
            "https://ai.azure.us/.default",
            ("azureusgovernment", "azuregovernment", "usgovernment", "government"),
        ),
        Cloud(
            "china",
            ("openai.azure.cn", "cognitiveservices.azure.cn", "services.ai.azure.cn"),
            "login.chinacloudapi.cn",
            "https://cognitiveservices.azure.cn/.default",
            # No other audience is known there.
            "https://cognitiveservices.azure.cn/.default",
            "https://cognitiveservices.azure.cn/.default",
            ("azurechinacloud", "azurechina"),
        ),
    )
}
# Other names of the authorities, which older configurations have.
_AUTHORITIES = {
    **{cloud.authority: cloud.name for cloud in CLOUDS.values()},
    "login.windows.net": "public",
    "login.microsoft.com": "public",
    "sts.windows.net": "public",
    "login.partner.microsoftonline.cn": "china",
}
_TOP_LEVELS = {"azure.com": "public", "azure.us": "usgov", "azure.cn": "china"}


def spelled(text: str) -> Cloud | None:
    """The cloud that ``text`` names, in one of the spellings that Azure's own tools use."""
    name = text.strip().lower().replace("_", "").replace("-", "")
    for cloud in CLOUDS.values():
        if name == cloud.name or name in cloud.spellings:
            return cloud
    return None


def cloud_of(host: str) -> str | None:
    """The cloud whose Azure OpenAI suffix this host has, on a dot boundary; None for a gateway or a private name."""
    host = host.removesuffix(".").lower()
    for cloud in CLOUDS.values():
        if any(host.endswith("." + suffix) for suffix in cloud.suffixes):
            return cloud.name
    return None


def cloud_of_authority(authority: str) -> str | None:
    """The cloud whose sign-in service ``authority`` (a host, or its URL) is; None for a private one."""
    return _AUTHORITIES.get(_host(authority if "://" in authority else f"https://{authority}"))


def cloud_of_scope(scope: str) -> str | None:
    """The cloud whose services ``scope`` is for; None if its host tells nothing."""
    host = _host(scope)
    for suffix, name in _TOP_LEVELS.items():
        if host == suffix or host.endswith("." + suffix):
            return name
    return None


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:  # brackets that are no address
        return ""


def scope_of(text: str) -> str:
    """``text`` as a scope: a resource, such as ``https://cognitiveservices.azure.com/``, gets its ``/.default``."""
    text = text.strip()
    if text.rstrip("/").endswith("/.default"):
        return text.rstrip("/")
    scheme, mark, rest = text.rpartition("://")
    head, _, tail = rest.strip().partition("/")
    if tail.strip("/"):
        return text  # names a permission of the resource
    return f"{scheme}{mark}{head}/.default"
