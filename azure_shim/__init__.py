"""Code written for the official ``openai`` client runs on Azure OpenAI, unchanged but for one line."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure_shim.auth.tokens import reset_tokens as reset_tokens
    from azure_shim.client import AsyncOpenAI as AsyncOpenAI
    from azure_shim.client import OpenAI as OpenAI
    from azure_shim.errors import AsyncCredentialError as AsyncCredentialError
    from azure_shim.errors import AzureShimError as AzureShimError
    from azure_shim.errors import ConfigurationError as ConfigurationError
    from azure_shim.errors import CredentialError as CredentialError
    from azure_shim.http import async_http_client as async_http_client
    from azure_shim.http import http_client as http_client
    from azure_shim.transport.on_httpx2 import AsyncAzureTransport as AsyncAzureTransport
    from azure_shim.transport.on_httpx2 import AzureAuth as AzureAuth
    from azure_shim.transport.on_httpx2 import AzureTransport as AzureTransport
    from azure_shim.values import Served as Served

__version__ = "0.1.0"

# Loaded when they are first used: importing this package imports neither openai nor an HTTP library.
_HOMES = {
    "AsyncCredentialError": "azure_shim.errors",
    "AsyncOpenAI": "azure_shim.client",
    "AzureShimError": "azure_shim.errors",
    "ConfigurationError": "azure_shim.errors",
    "CredentialError": "azure_shim.errors",
    "OpenAI": "azure_shim.client",
    "Served": "azure_shim.values",
    "async_http_client": "azure_shim.http",
    "http_client": "azure_shim.http",
    "reset_tokens": "azure_shim.auth.tokens",
}
# Of the library that the installed openai is built on; those for the other are in azure_shim.transport.on_*.
_OF_THE_LIBRARY = ("AsyncAzureTransport", "AzureAuth", "AzureTransport")

__all__ = [
    "AsyncAzureTransport",
    "AsyncCredentialError",
    "AsyncOpenAI",
    "AzureAuth",
    "AzureShimError",
    "AzureTransport",
    "ConfigurationError",
    "CredentialError",
    "OpenAI",
    "Served",
    "__version__",
    "async_http_client",
    "http_client",
    "reset_tokens",
]


def __getattr__(name: str) -> Any:
    if name in _OF_THE_LIBRARY:
        library = importlib.import_module("azure_shim.http").library_of_openai()
        home = f"azure_shim.transport.on_{library}"
    elif name in _HOMES:
        home = _HOMES[name]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
