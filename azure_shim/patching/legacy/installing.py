"""Put the 0.x API into the module ``openai``, and take it out again."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from azure_shim.patching.legacy import embeddings_utils, error, media, module_settings, objects, stored, texts
from azure_shim.patching.legacy.clients import forget_clients
from azure_shim.patching.legacy.module_settings import OPENAI_BASE, Installation, installed

__all__ = ["install"]

_ABSENT: Any = object()
_lock = threading.RLock()
_aiosession: ContextVar[Any] = ContextVar("aiohttp-session", default=None)

_RESOURCES = {
    "Audio": media.Audio,
    "ChatCompletion": texts.ChatCompletion,
    "Completion": texts.Completion,
    "Embedding": texts.Embedding,
    "ErrorObject": objects.ErrorObject,
    "File": stored.File,
    "FineTuningJob": stored.FineTuningJob,
    "Image": media.Image,
    "Model": stored.Model,
    "Moderation": texts.Moderation,
}


def install(openai_module: ModuleType, client_arguments: Callable[[], Mapping[str, Any] | None]) -> Callable[[], None]:
    """Let code that was written for openai 0.27 or 0.28 run with ``openai_module``, which is today's.

    ``openai.ChatCompletion`` and its like, ``openai.error``, and the settings that 0.28 had in the module come to be
    there; what today's module has under other names stays. Of 0.28's settings, ``requestssession``, ``aiosession``,
    ``verify_ssl_certs``, ``app_info``, ``debug``, ``log``, ``ca_bundle_path`` and ``enable_telemetry`` have no effect:
    they belonged to requests and aiohttp, or had none in 0.28.

    Args:
        openai_module: the module ``openai``.
        client_arguments: gives the arguments for `azure_shim.OpenAI`; it is called for each call. None means that
            0.x does not serve where it is called from (another context than that of a patch that is limited to one).

    Returns:
        What undoes it: every attribute is put back, unless somebody else has replaced it since. Of several
        installations the newest serves that has arguments, and the last that is undone puts the attributes back.
    """
    installation = Installation(openai_module, client_arguments)
    with _lock:
        if not installed():
            _placed.place(openai_module)
        installed().append(installation)

    def undo() -> None:
        with _lock:
            if installation not in installed():
                return
            installed().remove(installation)
            if not installed():
                _placed.put_back()
                forget_clients()

    return undo


class _Placed:
    """What was put where, and what had been there."""

    def __init__(self) -> None:
        self._attributes: list[tuple[ModuleType, str, Any, Any]] = []
        self._modules: list[tuple[str, ModuleType, Any]] = []

    def place(self, module: ModuleType) -> None:
        modules = _modules()
        for name, made in modules.items():
            self._modules.append((f"openai.{name}", made, sys.modules.get(f"openai.{name}", _ABSENT)))
            sys.modules[f"openai.{name}"] = made
        errors = {"InvalidRequestError": error.InvalidRequestError}
        submodules = {name: made for name, made in modules.items() if "." not in name}
        settings = {name: value for name, value in _settings().items() if getattr(module, name, None) is None}
        for name, value in {**_RESOURCES, **errors, **submodules, **settings}.items():
            # The module's own dict: some of today's attributes are proxies, which answer for what they stand for.
            self._attributes.append((module, name, value, vars(module).get(name, _ABSENT)))
            setattr(module, name, value)

    def put_back(self) -> None:
        for module, name, ours, before in self._attributes:
            if vars(module).get(name, _ABSENT) is not ours:
                continue
            if before is _ABSENT:
                delattr(module, name)
            else:
                setattr(module, name, before)
        for name, made, before in self._modules:
            if sys.modules.get(name) is not made:
                continue
            if before is _ABSENT:
                del sys.modules[name]
            else:
                sys.modules[name] = before
        self._attributes.clear()
        self._modules.clear()


_placed = _Placed()


def _settings() -> dict[str, Any]:
    """What 0.28's settings were at first. Those that today's module has too keep a value that they have."""
    return {
        "api_key": os.environ.get("OPENAI_API_KEY"),
        "api_key_path": os.environ.get("OPENAI_API_KEY_PATH"),
        "organization": os.environ.get("OPENAI_ORGANIZATION"),
        "api_base": os.environ.get("OPENAI_API_BASE", OPENAI_BASE),
        "api_type": os.environ.get("OPENAI_API_TYPE", "open_ai"),
        "api_version": os.environ.get("OPENAI_API_VERSION"),
        "verify_ssl_certs": True,
        "proxy": None,
        "app_info": None,
        "enable_telemetry": False,
        "ca_bundle_path": None,
        "debug": False,
        "log": None,
        "requestssession": None,
        "aiosession": _aiosession,
    }


def _modules() -> dict[str, ModuleType]:
    """The modules that 0.28 had and today's package has not, by their names below ``openai``."""
    contents: dict[str, dict[str, Any]] = {
        "api_resources": _RESOURCES,
        "openai_object": {"OpenAIObject": objects.OpenAIObject},
        "util": {
            "ApiType": module_settings.ApiType,
            "convert_to_dict": objects.convert_to_dict,
            "convert_to_openai_object": objects.convert_to_openai_object,
        },
    }
    for name, kind in _RESOURCES.items():
        if kind.__module__.startswith("openai."):
            contents[kind.__module__.removeprefix("openai.")] = {name: kind}
    made: dict[str, ModuleType] = {"error": error, "embeddings_utils": embeddings_utils}
    for name, members in contents.items():
        module = ModuleType(f"openai.{name}", "Of openai 0.28.")
        vars(module).update(members)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(made[parent], child, module)
        else:
            vars(module)["__path__"] = []  # a package, so that what is below it can be imported
        made[name] = module
    return made
