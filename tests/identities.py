"""Credentials of the real azure-identity for a TokenService, and calls that use them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from azure_shim.testing import FakeAzure, TokenService
from tests.conftest import Colour
from tests.servers import MESSAGES


def line(service: TokenService) -> dict[str, Any]:
    """How a credential comes to the service."""
    return {"authority": service.authority, "disable_instance_discovery": True, "connection_verify": service.ca_file}


def client_secret(service: TokenService, module: Any, **options: Any) -> Any:
    """A ``ClientSecretCredential`` of ``azure.identity`` or ``azure.identity.aio``."""
    who = (service.tenant_id, service.client_id, service.client_secret)
    return module.ClientSecretCredential(*who, **line(service), **options)


def chat(colour: Colour, client: Any, **options: Any) -> Any:
    return colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, **options)


def sent(azure_openai: FakeAzure) -> list[str]:
    """The tokens of the requests that came to any resource."""
    return [request.headers["authorization"].removeprefix("Bearer ") for request in azure_openai.requests]


def until(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.005)
