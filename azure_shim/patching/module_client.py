"""The module-level client behind ``openai.chat.completions.create``: one of its own for each patch."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

import openai
import wrapt

from azure_shim.construction import PLACEHOLDER
from azure_shim.patching.places import Places
from azure_shim.patching.seats import seat_of
from azure_shim.patching.state import Patch, current

__all__ = ["forget", "take_module"]

_lock = threading.RLock()


def take_module(places: Places) -> None:
    """Let the module ``openai`` find the client of the patch that is in force where it is called."""
    # By name: `openai._module_client` is a lazy object of the package itself in some versions.
    for owner in (openai, importlib.import_module("openai._module_client")):
        if "_load_client" in vars(owner):
            places.take(owner, "_load_client", lambda original: wrapt.FunctionWrapper(original, _load))


def forget() -> None:
    """Take back what the SDK has kept in the module while a patch was in force."""
    module: Any = openai
    if module.api_key == PLACEHOLDER:
        module.api_key = None
    # Whoever had the SDK's own `_load_client` by name before has it keep a client of the patch there.
    if module._client is not None and seat_of(module._client) is not None:  # noqa: SLF001
        module._client = None  # noqa: SLF001
    if hasattr(module.http_client, "azure_shim_seat"):
        module.http_client = module.http_client.azure_shim_given


def _load(wrapped: Callable[[], Any], _instance: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
    patch = current()
    if patch is None or (openai.api_type not in (None, "openai") and not patch.include_azure):
        return wrapped()
    with _lock:
        if patch.module_client is None:
            patch.module_client = _made(wrapped, patch)
        return patch.module_client


def _made(load: Callable[[], Any], patch: Patch) -> Any:
    """A module-level client of ``patch``, made by the SDK itself, which keeps it and its connections in the module."""
    module: Any = openai
    kept, shared, api_type = module._client, module.http_client, module.api_type  # noqa: SLF001
    module._client = None  # noqa: SLF001
    if not patch.include_azure or api_type is None:
        module.api_type = "openai"  # or Azure's variables would make it choose, or find the choice ambiguous
    try:
        client = load()
        made = module.http_client
    finally:
        module._client, module.http_client, module.api_type = kept, shared, api_type  # noqa: SLF001
    vars(client)["_client"], vars(client)["azure_shim_shared"] = made, shared
    return client
