"""Events as records of the standard library's logging, below the logger ``azure_shim``."""

from __future__ import annotations

import logging

from azure_shim.values import TokenEvent

__all__ = ["log_token_event"]

_tokens = logging.getLogger("azure_shim.tokens")


def log_token_event(event: TokenEvent) -> None:
    """A warning whose record has the event as ``record.azure_shim``."""
    _tokens.warning("No fresh token; the next call asks again. %s", event.message, extra={"azure_shim": event})
