"""Events as records of the standard library's logging, below the logger ``azure_shim``."""

from __future__ import annotations

import logging

from azure_shim.values import CoolingEvent, TokenEvent

__all__ = ["log_cooling", "log_token_event"]

_tokens = logging.getLogger("azure_shim.tokens")
_targets = logging.getLogger("azure_shim.targets")


def log_token_event(event: TokenEvent) -> None:
    """A warning whose record has the event as ``record.azure_shim``."""
    _tokens.warning("No fresh token; the next call asks again. %s", event.message, extra={"azure_shim": event})


def log_cooling(event: CoolingEvent) -> None:
    """As `log_token_event`, of a target that is left alone for a while."""
    _targets.warning(
        "Target %s gets no calls for %.1f s: %s.",
        event.target,
        event.seconds,
        event.reason,
        extra={"azure_shim": event},
    )
