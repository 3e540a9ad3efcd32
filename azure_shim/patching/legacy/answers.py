"""From an answer, or from today's exception, to what 0.28 made of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import openai

from azure_shim.patching.legacy import error as legacy

__all__ = ["content_of", "legacy_error", "network_errors", "organization_of", "response_ms_of"]

_TEXT = ("text/plain", "text/vtt", "application/x-subrip")
_LIBRARIES = ("httpx", "httpx2")


def content_of(response: Any) -> Any:
    """The JSON of an answer, or its text where the service says that it is text; None of an empty one (204)."""
    if response.status_code == 204:
        return None
    text = response.text
    if response.headers.get("content-type", "").startswith(_TEXT):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise _unreadable(response.status_code, text, response.headers) from error


def response_ms_of(headers: Mapping[str, str]) -> int | None:
    """How long the service worked on an answer, if its headers say so."""
    try:
        return round(float(headers["openai-processing-ms"]))
    except (KeyError, ValueError):
        return None


def organization_of(headers: Mapping[str, str]) -> str | None:
    return headers.get("openai-organization")


def network_errors() -> tuple[type[Exception], ...]:
    """What the HTTP libraries that are in use raise while an answer streams; not every SDK has its own error for it."""
    loaded = [sys.modules[name] for name in _LIBRARIES if name in sys.modules]
    return tuple(module.TransportError for module in loaded)


def legacy_error(error: Exception) -> legacy.OpenAIError:
    """What 0.28 raised instead of an exception of today's SDK or of its HTTP library."""
    if isinstance(error, legacy.OpenAIError):
        return error
    if isinstance(error, json.JSONDecodeError):  # of an event in a stream
        return _unreadable(200, error.doc, {})
    if isinstance(error, openai.APIStatusError):
        response = error.response
        return _of_status(response.status_code, response.text, response.headers)
    if isinstance(error, openai.APITimeoutError) or "Timeout" in type(error).__name__:
        return legacy.Timeout(f"Request timed out: {_reason(error)}")
    if isinstance(error, (openai.APIConnectionError, *network_errors())):
        return legacy.APIConnectionError(f"Error communicating with OpenAI: {_reason(error)}")
    if isinstance(error, openai.APIError):
        return _of_stream(error)
    return legacy.OpenAIError(str(error))


def _reason(error: BaseException) -> str:
    """The words of what lies behind an error, such as "Connection refused"."""
    return str(error.__cause__ or error) or type(error.__cause__ or error).__name__


def _of_status(status: int, text: str, headers: Mapping[str, str]) -> legacy.OpenAIError:
    """An error by its status, as ``api_requestor.handle_error_response`` has it."""
    if status == 503:
        overloaded = "The server is overloaded or not ready yet."
        return legacy.ServiceUnavailableError(overloaded, text, status, headers=headers)
    try:
        body: Any = text if headers.get("content-type", "").startswith("text/plain") else json.loads(text)
    except ValueError:
        return _unreadable(status, text, headers)
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        invalid = f"Invalid response object from API: {text!r} (HTTP response code was {status})"
        return legacy.APIError(invalid, text, status, body, headers)
    message, code = error.get("message"), error.get("code")
    if status in (400, 404, 415):
        return legacy.InvalidRequestError(message, error.get("param"), code, text, status, body, headers)
    by_status = {
        401: legacy.AuthenticationError,
        403: legacy.PermissionError,
        409: legacy.TryAgain,
        429: legacy.RateLimitError,
    }
    if status in by_status:
        # Their ``code`` was always None in 0.28; the service's is in ``error.code`` as well.
        return by_status[status](message, text, status, body, headers, code)
    return legacy.APIError(f"{message} {text} {status} {body} {dict(headers)}", text, status, body, headers, code)


def _of_stream(error: openai.APIError) -> legacy.OpenAIError:
    """An error within a stream, whose status was 200."""
    member = error.body if isinstance(error.body, dict) else {"message": error.message}
    body = {"error": member}
    message = f"{member.get('message') or error.message} (Error occurred while streaming.)"
    return legacy.APIError(message, json.dumps(body), 200, body, None, member.get("code"))


def _unreadable(status: int, text: str, headers: Mapping[str, str]) -> legacy.OpenAIError:
    return legacy.APIError(f"HTTP code {status} from API ({text})", text, status, headers=headers)
