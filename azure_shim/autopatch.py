"""The patch of a process that does not ask for it itself: what ``AZURE_SHIM_AUTOPATCH`` turns on while Python starts.

``azure_shim_autopatch.pth`` in site-packages calls `enable` if the variable is set; where Python reads no such file,
`azure_shim.cli` puts ``azure_shim/startup`` on the path, whose ``sitecustomize`` does. Nothing here may fail: Python
would start with a traceback, or without the patch.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

__all__ = ["LEGACY", "OFF", "ON", "VARIABLE", "enable"]

VARIABLE = "AZURE_SHIM_AUTOPATCH"
ON, LEGACY = "1", "legacy"
OFF = ("", "0", "false")

_done: list[str] = []


def enable() -> None:
    """Patch this process as ``AZURE_SHIM_AUTOPATCH`` says; it imports no openai, prints nothing and raises nothing.

    What goes wrong comes up where a client would be built that goes to api.openai.com: there the settings are read, so
    that a program may still set them itself, and a wrong value of the variable is an error too.
    """
    value = os.environ.get(VARIABLE, "").strip().lower()
    if value in OFF or _done:
        return
    _done.append(value)
    try:
        patching = importlib.import_module("azure_shim.patching")
        if value in (ON, "true", LEGACY):
            patching.patch_late(legacy=value == LEGACY)
        else:
            patching.refuse(
                f"{VARIABLE}: is {os.environ[VARIABLE]!r}; expected 1, true or legacy to patch openai, or 0 or false "
                "to leave it as it is"
            )
    except Exception as error:  # noqa: BLE001  whatever is wrong with this installation, Python starts
        sys.meta_path.insert(0, _NoOpenAI(f"{type(error).__name__}: {error}"))


class _NoOpenAI:
    """A finder that refuses ``openai``: without the patch its clients would go to api.openai.com."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "openai":
            raise ImportError(
                f"{VARIABLE} is set, but azure_shim cannot patch openai here ({self._reason}); unset it to use openai "
                "as it is",
                name=name,
            )
