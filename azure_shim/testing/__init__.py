"""A test double of Azure OpenAI that code using `azure_shim`, or any other Azure client, can be tested against.

    from azure_shim.testing import FakeAzure

    with FakeAzure({"eastus": ["gpt-4o"], "westus": {"prod-4o": "gpt-4o"}}) as azure:
        east = azure["eastus"]
        client = openai.AzureOpenAI(azure_endpoint=east.endpoint, api_key=east.api_key, api_version="2024-10-21")
        east.fail_next("429_token_rate", retry_after=7)
        ...
        assert east.requests[-1].json()["messages"]
        assert azure.leaks == []

See `FakeAzure` and `Resource` for all of it, and `TokenService` for Azure's sign-in. Nothing here imports ``openai`` or
an HTTP library until `FakeAzure.transport` is called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure_shim.testing.fake_azure import FakeAzure as FakeAzure
    from azure_shim.testing.faults import Fault as Fault
    from azure_shim.testing.leaks import Leak as Leak
    from azure_shim.testing.recorded import Recorded as Recorded
    from azure_shim.testing.resource import Resource as Resource
    from azure_shim.testing.response import FakeResponse as FakeResponse
    from azure_shim.testing.token_faults import TokenFault as TokenFault
    from azure_shim.testing.token_requests import TokenRequest as TokenRequest
    from azure_shim.testing.token_service import TokenService as TokenService

_HOMES = {
    "FakeAzure": "fake_azure",
    "FakeResponse": "response",
    "Fault": "faults",
    "Leak": "leaks",
    "Recorded": "recorded",
    "Resource": "resource",
    "TokenFault": "token_faults",
    "TokenRequest": "token_requests",
    "TokenService": "token_service",
}

__all__ = [
    "FakeAzure",
    "FakeResponse",
    "Fault",
    "Leak",
    "Recorded",
    "Resource",
    "TokenFault",
    "TokenRequest",
    "TokenService",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
