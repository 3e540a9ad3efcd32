"""Who was asked for an answer, and what came of each: the log of one call's attempts."""

from __future__ import annotations

from typing import Any

from azure_shim.values import Attempt, Served

__all__ = ["attempts"]

_CARRIERS = ("response", "http_response", "_response", "_raw_response", "__cause__", "__context__", "request")
_DEPTH = 6


def attempts(response_or_error: Any) -> tuple[Attempt, ...]:
    """The attempts at an answer, in their order; the last one is the one that served, or that failed at last.

    Args:
        response_or_error: a response of httpx or httpx2, a raw or streamed one of the SDK
            (``client.chat.completions.with_raw_response.create(...)``, ``stream=True``), or an ``openai.OpenAIError``
            or an error of the HTTP library that a call raised.

    The attempts are those of the last time that the SDK sent the call; its retries before that have answers of their
    own. Empty for what did not come through azure_shim. Of a client of one endpoint there is no attempt but that one.
    """
    return _found(response_or_error, _DEPTH)


def _found(value: Any, depth: int) -> tuple[Attempt, ...]:
    if value is None or depth == 0:
        return ()
    own = getattr(value, "azure_shim_attempts", None)
    if isinstance(own, tuple):
        return own
    extensions = getattr(value, "extensions", None)
    if isinstance(extensions, dict):
        listed = extensions.get("azure_shim.attempts")
        if isinstance(listed, tuple):
            return listed
        only = _only(value)
        if only:
            return only
    for name in _CARRIERS:
        try:
            carrier = getattr(value, name, None)
        except RuntimeError:  # as the libraries' errors and responses say of a request that they do not have
            continue
        found = _found(carrier, depth - 1)
        if found:
            return found
    return ()


def _only(response: Any) -> tuple[Attempt, ...]:
    """The one attempt of a client of one endpoint, as its request tells it."""
    request = getattr(response, "_request", None)
    status = getattr(response, "status_code", None)
    served = None if request is None else request.extensions.get("azure_shim")
    if not isinstance(served, Served) or not isinstance(status, int):
        return ()
    elapsed = getattr(response, "_elapsed", None)
    duration_s = 0.0 if elapsed is None else elapsed.total_seconds()
    reason = "served" if status < 400 else "refused"
    return (Attempt(served.target, None, served.deployment, status, reason, 0.0, duration_s),)
