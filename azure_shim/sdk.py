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
    "custom_query_of",
    "default_base_url",
    "default_headers_of",
    "http_client_of",
    "set_default_headers",
    "set_http_client",
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
    """Replace what ``default_headers`` adds to the SDK's own headers (``_custom_headers``, 1.0 to 3.54).

    The argument alone will not do: openai 2 and 3 merge ``OPENAI_CUSTOM_HEADERS`` below it.
    """
    client._custom_headers = dict(headers)


def set_http_client(client: Any, http_client: Any) -> None:
    """Let an SDK client send with another one (``_client``, 1.0 to 3.57)."""
    client._client = http_client
