"""Which call of its client a request belongs to, whichever of the SDK's retries it is."""

from __future__ import annotations

import contextvars
from typing import Any

from azure_shim.transport.exchange import CALL

__all__ = ["mark", "note"]

# The call whose request is being made in this context.
_called: contextvars.ContextVar[str | None] = contextvars.ContextVar("azure_shim_called", default=None)


def note(options: Any) -> None:
    """The SDK has begun to make the request of a call; its key is the same in every retry."""
    _called.set(options.idempotency_key)


def mark(request: Any) -> None:
    """Write onto ``request`` which call it belongs to."""
    request.extensions[CALL] = _called.get()
