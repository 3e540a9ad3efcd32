"""The module-level client behind ``openai.chat.completions.create``: one of its own for each patch."""

from __future__ import annotations

import importlib
import inspect
import os
import threading
from collections.abc import Callable
from typing import Any

import openai
import wrapt

from azure_shim.patching.places import Places
from azure_shim.patching.seats import seat_of
from azure_shim.patching.state import current

__all__ = ["forget", "take_module"]

_locks = [threading.RLock()]
_set: list[tuple[str, Any, Any]] = []  # settings of the module that our client has set: name, before, and now
_OTHER_SERVICES = ("azure", "amazon-bedrock")  # of `openai.api_type`, as the SDK's own loading knows them
# What the SDK makes its module-level client of (`_load_client`, 1.109 to 3.57).
_SETTINGS = (
    "api_key",
    "admin_api_key",
    "organization",
    "project",
    "webhook_secret",
    "base_url",
    "timeout",
    "max_retries",
    "default_headers",
    "default_query",
    "http_client",
)


def take_module(places: Places) -> None:
    """Let the module ``openai`` find the client of the patch that is in force where it is called."""
    # By name: `openai._module_client` is a lazy object of the package itself in some versions.
    for owner in (openai, importlib.import_module("openai._module_client")):
        if "_load_client" in vars(owner):
            places.take(owner, "_load_client", lambda original: wrapt.FunctionWrapper(original, _load))
    if "_reset_client" in vars(openai):
        places.take(openai, "_reset_client", lambda original: wrapt.FunctionWrapper(original, _reset))


def forget() -> None:
    """Take back what the SDK has kept in the module while a patch was in force."""
    module: Any = openai
    while _set:
        name, before, value = _set.pop()
        if getattr(module, name) is value:
            setattr(module, name, before)
    # Whoever had the SDK's own `_load_client` by name before has it keep a client of the patch there.
    if _is_of_a_patch(module._client):  # noqa: SLF001
        module._client = None  # noqa: SLF001
    if hasattr(module.http_client, "azure_shim_seat"):
        module.http_client = module.http_client.azure_shim_given


def _load(wrapped: Callable[[], Any], _instance: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
    module: Any = openai
    # Whatever else it is, the SDK takes it for OpenAI; 0.x called that "open_ai".
    kind = openai.api_type if openai.api_type in _OTHER_SERVICES else "openai"
    patch = current()
    with _locks[0]:
        if patch is None:
            if _is_of_a_patch(module._client):  # noqa: SLF001
                module._client = None  # noqa: SLF001
            return wrapped()
        found = patch.module_clients.get(kind)
        if found is None:
            found = patch.module_clients[kind] = _made() if kind == "openai" else _made_by(wrapped)
        return found


def _reset(wrapped: Callable[[], Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    patch = current()
    if patch is not None:
        patch.module_clients.clear()
    return wrapped(*args, **kwargs)


def _is_of_a_patch(client: Any) -> bool:
    return client is not None and seat_of(client) is not None


def _made_by(load: Callable[[], Any]) -> Any:
    """What the SDK itself would make now; it keeps one for good, which may be for OpenAI, or of another patch."""
    module: Any = openai
    kept, module._client = module._client, None  # noqa: SLF001
    try:
        return load()
    finally:
        module._client = kept  # noqa: SLF001


def _made() -> Any:
    """A module-level client of the patch that is in force, as the SDK makes its own, which stays as it is.

    The SDK's own loading would decide between OpenAI and Azure by variables that are both there, and keep the client.
    """
    module: Any = openai
    known = inspect.signature(openai.OpenAI.__init__).parameters
    arguments = {name: getattr(module, name) for name in _SETTINGS if name in known and hasattr(module, name)}
    if "_enforce_credentials" in known:
        arguments["_enforce_credentials"] = False  # `openai.api_key` may be set later
    before = {name: getattr(module, name) for name in arguments if hasattr(module, name)}
    client = module._ModuleClient(**arguments)  # noqa: SLF001
    # The SDK's constructor sets the client's attributes, which are the module's, by the environment.
    _set.extend((n, value, getattr(module, n)) for n, value in before.items() if getattr(module, n) is not value)
    vars(client)["azure_shim_shared"] = module.http_client
    return client


def _renew_locks() -> None:
    _locks[:] = [threading.RLock()]


if hasattr(os, "register_at_fork"):  # what another thread of the parent holds is never released in the child
    os.register_at_fork(after_in_child=_renew_locks)
