"""The 0.x API in today's openai: code that was written for 0.27 or 0.28 runs unchanged."""

from __future__ import annotations

from azure_shim.patching.legacy.engine_argument import accept_engine
from azure_shim.patching.legacy.installing import install

__all__ = ["accept_engine", "install"]
