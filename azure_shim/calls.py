"""Which call of its client a request belongs to, whichever of the SDK's retries it is."""

from __future__ import annotations

import contextvars
from typing import Any

from azure_shim.transport.exchange import CALL, SHOWN

__all__ = ["mark", "note"]

# The call whose request is being made in this context: its key, and what its fields show.
_called: contextvars.ContextVar[tuple[str | None, bool]] = contextvars.ContextVar(
    "azure_shim_called", default=(None, False)
)
_NONE_OF_THEM = frozenset(("stream", "store", "prompt_cache_key", "user"))


def note(options: Any) -> None:
    """The SDK has begun to make the request of a call; its key is the same in every retry."""
    fields = options.json_data
    is_told = type(fields) is dict and not options.extra_json and _NONE_OF_THEM.isdisjoint(fields)
    _called.set((options.idempotency_key, is_told))


def mark(request: Any) -> None:
    """Write onto ``request`` which call it belongs to."""
    request.extensions[CALL], request.extensions[SHOWN] = _called.get()
