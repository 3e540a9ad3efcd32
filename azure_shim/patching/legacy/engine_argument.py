"""``engine=`` and ``deployment_id=`` of 0.x, in the calls of today's clients."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import openai
import wrapt

from azure_shim.routing.fleet import DEPLOYMENT

__all__ = ["accept_engine"]

# The methods that take a model, of openai's resource classes and of their async twins.
_METHODS = {
    "openai.resources.chat.completions:Completions": ("create", "parse", "stream"),
    "openai.resources.completions:Completions": ("create",),
    "openai.resources.embeddings:Embeddings": ("create",),
    "openai.resources.images:Images": ("generate", "edit", "create_variation"),
    "openai.resources.audio.speech:Speech": ("create",),
    "openai.resources.audio.transcriptions:Transcriptions": ("create",),
    "openai.resources.audio.translations:Translations": ("create",),
    "openai.resources.responses:Responses": ("create", "parse", "stream"),
}
_ARGUMENTS = ("engine", "deployment_id")
# Whose frames are not the caller's.
_BETWEEN = (
    os.path.abspath(__file__),
    *(os.path.join(os.path.dirname(str(module.__file__)), "") for module in (openai, wrapt)),
)


def accept_engine(takes_engine: Callable[[Any], bool]) -> Callable[[], None]:
    """Let the methods that take a ``model`` take an ``engine`` or a ``deployment_id`` instead, with a warning.

    Only for clients of which ``takes_engine`` is true; other clients' calls pass as they are. An engine wins over a
    model, as in 0.x. The method's signature stays.

    Returns:
        What undoes it. A wrapper that somebody else has put around ours stays, and ours does nothing then.
    """
    state = {"is_on": True}

    def wrapper(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if ("engine" in kwargs or "deployment_id" in kwargs) and takes_engine(getattr(instance, "_client", None)):
            kwargs = _with_model(kwargs)
        return wrapped(*args, **kwargs)

    placed: list[tuple[type, str, Any, Any]] = []
    for owner, name in _methods():
        before = vars(owner)[name]
        ours = wrapt.FunctionWrapper(before, wrapper, enabled=lambda: state["is_on"])
        setattr(owner, name, ours)
        placed.append((owner, name, ours, before))

    def undo() -> None:
        state["is_on"] = False
        for owner, name, ours, before in placed:
            if vars(owner).get(name) is ours:
                setattr(owner, name, before)
        placed.clear()

    return undo


def _methods() -> Iterator[tuple[type, str]]:
    for place, names in _METHODS.items():
        home, _, kind = place.partition(":")
        for owner in (getattr(import_module(home), kind), getattr(import_module(home), f"Async{kind}")):
            for name in names:
                if name in vars(owner):
                    yield owner, name


def _with_model(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with the deployment as their model."""
    rest = {name: value for name, value in kwargs.items() if name not in _ARGUMENTS}
    given = {name: kwargs[name] for name in _ARGUMENTS if kwargs.get(name) is not None}
    if len(set(given.values())) > 1:
        named = " and ".join(f"{name}={value!r}" for name, value in given.items())
        raise TypeError(f"{named} are two deployments: pass one of them, as model")
    for name, value in given.items():
        warnings.warn(
            f"{name}={value!r} is of openai 0.x: write model={value!r}", DeprecationWarning, stacklevel=_stacklevel()
        )
        rest["model"] = value
        if isinstance(value, str) and value.isascii():  # a deployment, which no target maps as if it were a model
            rest["extra_headers"] = {**(rest.get("extra_headers") or {}), DEPLOYMENT: value}
        break
    return rest


def _stacklevel() -> int:
    """That of the frame which called the SDK, for a warning of this function's caller."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and os.path.abspath(frame.f_code.co_filename).startswith(_BETWEEN):
        frame, level = frame.f_back, level + 1
    return level
