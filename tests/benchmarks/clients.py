"""The contenders: the same call on two clients of openai's and on two of azure_shim's."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from typing import Any

import openai

import azure_shim

__all__ = ["AZURE", "CONTENDERS", "HTTP", "HTTP_CLIENT", "OPENAI", "SHIM", "build", "clear_environment", "close"]

OPENAI = "openai.OpenAI"
AZURE = "openai.AzureOpenAI"
SHIM = "azure_shim.OpenAI"
HTTP_CLIENT = "azure_shim.http_client"
CONTENDERS = (OPENAI, AZURE, SHIM, HTTP_CLIENT)

HTTP: Any = importlib.import_module("httpx2" if int(openai.__version__.partition(".")[0]) >= 3 else "httpx")
"""The library that the installed openai is built on."""

_KEY = "k" * 32
_API_VERSION = "2024-10-21"
_AMBIENT = ("OPENAI_", "AZURE_OPENAI_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def clear_environment() -> None:
    """Let no variable of the environment change where a client goes."""
    for name in list(os.environ):
        if name.startswith(_AMBIENT) or name.upper() in _PROXIES:
            del os.environ[name]


def build(name: str, endpoint: str, *, given: Any = None, mapped: bool = False, is_async: bool = False) -> Any:
    """The client of one contender at ``endpoint``; ``given`` is what it gets as ``http_client``.

    All for Azure speak the classic surface with the model's name as the deployment's, as ``AzureOpenAI`` does.
    ``mapped`` lets the shim's speak the v1 surface with a mapping from models to deployments, and change the body.
    """
    azure: dict[str, Any] = {"azure_endpoint": endpoint, "api_key": _KEY}
    mapping = {"deployments": {"gpt-4o": "our-deployment", "text-embedding-3-small": "our-embeddings"}}
    surface = mapping if mapped else {"api_version": _API_VERSION}
    # An error is to be seen, not retried.
    sdk: dict[str, Any] = {"max_retries": 0, "http_client": given}
    if name == OPENAI:
        kind = openai.AsyncOpenAI if is_async else openai.OpenAI
        return kind(api_key=_KEY, base_url=f"{endpoint}/v1", **sdk)
    if name == AZURE:
        azure_kind: Any = openai.AsyncAzureOpenAI if is_async else openai.AzureOpenAI
        return azure_kind(api_version=_API_VERSION, **azure, **sdk)
    if name == SHIM:
        shim_kind: Any = azure_shim.AsyncOpenAI if is_async else azure_shim.OpenAI
        return shim_kind(**azure, **surface, **sdk)
    make = azure_shim.async_http_client if is_async else azure_shim.http_client
    kind = openai.AsyncOpenAI if is_async else openai.OpenAI
    return kind(api_key="unused", max_retries=0, http_client=make(**azure, **surface, http_client=given))


def close(clients: Iterable[Any]) -> None:
    """Close clients of either kind of HTTP client, whichever they are."""
    for client in clients:
        client.close()
