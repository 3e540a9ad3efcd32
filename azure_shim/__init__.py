"""Code written for the official ``openai`` client runs on Azure OpenAI, unchanged but for one line."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure_shim.attempts import attempts as attempts
    from azure_shim.auth.tokens import reset_tokens as reset_tokens
    from azure_shim.azure_client import AsyncAzureOpenAI as AsyncAzureOpenAI
    from azure_shim.azure_client import AzureOpenAI as AzureOpenAI
    from azure_shim.client import AsyncOpenAI as AsyncOpenAI
    from azure_shim.client import OpenAI as OpenAI
    from azure_shim.errors import AsyncCredentialError as AsyncCredentialError
    from azure_shim.errors import AzureShimError as AzureShimError
    from azure_shim.errors import ConfigurationError as ConfigurationError
    from azure_shim.errors import CredentialError as CredentialError
    from azure_shim.http import async_http_client as async_http_client
    from azure_shim.http import http_client as http_client
    from azure_shim.patching.process import patch as patch
    from azure_shim.patching.process import patched as patched
    from azure_shim.patching.process import unpatch as unpatch
    from azure_shim.patching.wrapping import wrap as wrap
    from azure_shim.routing.health import TargetHealth as TargetHealth
    from azure_shim.targets import AzureTarget as AzureTarget
    from azure_shim.targets import Conditional as Conditional
    from azure_shim.targets import Fallback as Fallback
    from azure_shim.targets import LoadBalance as LoadBalance
    from azure_shim.targets import OpenAITarget as OpenAITarget
    from azure_shim.transport.on_httpx2 import AsyncAzureTransport as AsyncAzureTransport
    from azure_shim.transport.on_httpx2 import AzureAuth as AzureAuth
    from azure_shim.transport.on_httpx2 import AzureTransport as AzureTransport
    from azure_shim.values import Attempt as Attempt
    from azure_shim.values import Served as Served

__version__ = "0.1.0"

# Loaded when they are first used: importing this package imports neither openai nor an HTTP library.
_HOMES = {
    "AsyncAzureOpenAI": "azure_shim.azure_client",
    "AsyncCredentialError": "azure_shim.errors",
    "AsyncOpenAI": "azure_shim.client",
    "Attempt": "azure_shim.values",
    "AzureOpenAI": "azure_shim.azure_client",
    "AzureShimError": "azure_shim.errors",
    "AzureTarget": "azure_shim.targets",
    "Conditional": "azure_shim.targets",
    "ConfigurationError": "azure_shim.errors",
    "CredentialError": "azure_shim.errors",
    "Fallback": "azure_shim.targets",
    "LoadBalance": "azure_shim.targets",
    "OpenAI": "azure_shim.client",
    "OpenAITarget": "azure_shim.targets",
    "Served": "azure_shim.values",
    "TargetHealth": "azure_shim.routing.health",
    "async_http_client": "azure_shim.http",
    "attempts": "azure_shim.attempts",
    "http_client": "azure_shim.http",
    "patch": "azure_shim.patching.process",
    "patched": "azure_shim.patching.process",
    "reset_tokens": "azure_shim.auth.tokens",
    "unpatch": "azure_shim.patching.process",
    "wrap": "azure_shim.patching.wrapping",
}
# Of the library that the installed openai is built on; those for the other are in azure_shim.transport.on_*.
_OF_THE_LIBRARY = ("AsyncAzureTransport", "AzureAuth", "AzureTransport")

__all__ = [
    "AsyncAzureOpenAI",
    "AsyncAzureTransport",
    "AsyncCredentialError",
    "AsyncOpenAI",
    "Attempt",
    "AzureAuth",
    "AzureOpenAI",
    "AzureShimError",
    "AzureTarget",
    "AzureTransport",
    "Conditional",
    "ConfigurationError",
    "CredentialError",
    "Fallback",
    "LoadBalance",
    "OpenAI",
    "OpenAITarget",
    "Served",
    "TargetHealth",
    "__version__",
    "async_http_client",
    "attempts",
    "http_client",
    "patch",
    "patched",
    "reset_tokens",
    "unpatch",
    "wrap",
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
