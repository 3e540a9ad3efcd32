"""The process dose: what is changed in the openai package itself, and how it is put back. Imports no openai."""

from __future__ import annotations

from azure_shim.patching.process import patch, patch_late, patched, refuse, unpatch

__all__ = ["patch", "patch_late", "patched", "refuse", "unpatch"]
