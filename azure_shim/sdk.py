"""The one place that uses what the openai SDK does not document; tested against the oldest and newest of each major.

Methods that the SDK calls on its own subclasses (``_prepare_url``, ``_make_status_error``, ...) are overridden in
client.py, as openai's own Azure client does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import openai
from openai._legacy_response import LegacyAPIResponse

__all__ = [
    "MAJOR",
    "LegacyAPIResponse",
    "ambient_headers",
    "custom_query_of",
    "default_base_url",
    "default_headers_of",
    "http_client_of",
    "set_default_headers",
    "set_http_client",
    "without_ambient",
]

MAJOR = int(openai.__version__.partition(".")[0])


def http_client_of(client: Any) -> Any:
    """The HTTP library's client that an SDK client sends with (``_client``, 1.0 to 3.54)."""
    return client._client


def default_base_url() -> str:
    """Where a client goes that is not told: ``OPENAI_BASE_URL``, else OpenAI's own (1.0 to 3.57)."""
    return os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"


def default_headers_of(client: Any) -> Mapping[str, Any]:
    """What ``default_headers`` added to the SDK's own headers (``_custom_headers``, 1.0 to 3.54)."""
    found: Mapping[str, Any] = client._custom_headers
    return found


def custom_query_of(client: Any) -> Mapping[str, Any]:
    """What ``default_query`` adds to every request (``_custom_query``, 1.0 to 3.57)."""
    found: Mapping[str, Any] = client._custom_query
    return found


def set_default_headers(client: Any, headers: Mapping[str, str]) -> None:
    """Replace what ``default_headers`` adds to the SDK's own headers (``_custom_headers``, 1.0 to 3.57).

    The argument alone will not do: openai 2 and 3 merge ``OPENAI_CUSTOM_HEADERS`` below it, and 3.5x remembers which
    credential came from there (``_ambient_authorizations``).
    """
    client._custom_headers = dict(headers)
    if "_ambient_authorizations" in vars(client):
        client._ambient_authorizations = frozenset()


def ambient_headers() -> dict[str, str]:
    """What ``OPENAI_CUSTOM_HEADERS`` adds to every client, by names in lower case; for OpenAI's own service."""
    lines = (line.partition(":") for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n"))
    return {name.strip().lower(): value.strip() for name, colon, value in lines if colon}


def without_ambient(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Default headers of a client without those that the SDK has from the environment."""
    ambient = ambient_headers()
    return {name: value for name, value in headers.items() if ambient.get(name.lower()) != value}


def set_http_client(client: Any, http_client: Any) -> None:
    """Let an SDK client send with another one (``_client``, 1.0 to 3.57)."""
    client._client = http_client
