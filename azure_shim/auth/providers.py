"""What can be known of a provider of keys or tokens before it is called."""

from __future__ import annotations

import inspect

from azure_shim.values import Provider

__all__ = ["awaits"]


def awaits(provider: Provider) -> bool:
    """Whether calling ``provider`` is known to return an awaitable at once."""
    if inspect.iscoroutinefunction(provider):
        return True
    return inspect.iscoroutinefunction(getattr(type(provider), "__call__", None))  # noqa: B004  its kind, not whether
