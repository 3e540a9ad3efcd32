"""`wrap`: a routed copy of a client that exists already."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, TypeVar, Union

import openai

from azure_shim.client import AsyncOpenAI, OpenAI
from azure_shim.construction import base_url_of, websocket_url
from azure_shim.http import SIGNING_HEADERS, build_client, own_settings, validated
from azure_shim.patching.seats import SEAT
from azure_shim.patching.state import Patch, current
from azure_shim.sdk import (
    default_headers_of,
    http_client_of,
    set_default_headers,
    set_http_client,
    without_ambient,
)

__all__ = ["wrap"]

_Client = TypeVar("_Client", bound=Union[openai.OpenAI, openai.AsyncOpenAI])
_MADE_ANEW = frozenset(("api_key", "_client", "base_url", SEAT))


def wrap(client: _Client, **settings: Any) -> _Client:
    """A copy of ``client`` whose calls run on Azure OpenAI: of the same class, with the same connections and options.

    Args:
        client: an ``openai.OpenAI`` or ``AsyncOpenAI``, or an object of a subclass. It is not changed, and its
            connections remain its own to close.
        settings: as for `azure_shim.patch`; without any those of the patch that is in force, or else the environment's.

    Raises:
        ConfigurationError: the settings cannot work.
        TypeError: ``client`` is no client of OpenAI's, or one of another service.
    """
    wrapped: _Client = _wrapped(client, settings)
    return wrapped


def _wrapped(client: Any, settings: dict[str, Any]) -> Any:
    if isinstance(client, (OpenAI, AsyncOpenAI)):
        return client.with_options(**settings)
    is_async = isinstance(client, openai.AsyncOpenAI)
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    if not is_async and not isinstance(client, openai.OpenAI):
        raise TypeError(f"client is a {kind}; expected an openai.OpenAI or openai.AsyncOpenAI")
    own = next(each for each in type(client).__mro__ if each.__module__.partition(".")[0] == "openai")
    if own not in (openai.OpenAI, openai.AsyncOpenAI):
        raise TypeError(f"client is a {kind}, which is made for another service than OpenAI's; build a client anew")
    in_force = current()
    patch = in_force if in_force is not None and not settings else validated(lambda: Patch(settings))
    found = validated(lambda: patch.settings(is_async=is_async))
    shim = AsyncOpenAI if is_async else OpenAI
    wrapped = shim.__new__(_class_of(type(client), shim))  # type: ignore[arg-type]
    for name, value in vars(client).items():
        if name not in _MADE_ANEW and not _is_cached(type(client), name):
            vars(wrapped)[name] = value
    given = http_client_of(client)
    if own_settings(given) is not None:
        given = given.azure_shim_given
    wrapped.azure_shim_settings, wrapped._kept_urls = found, {}  # noqa: SLF001  our own class
    set_http_client(wrapped, build_client(found, is_async=is_async, given=given, signs_nothing=True))
    wrapped.base_url, wrapped.websocket_base_url = base_url_of(found), websocket_url(found)
    wrapped.admin_api_key = None
    # The SDK has mixed OPENAI_CUSTOM_HEADERS into them, and on our client a credential would be the caller's wish.
    kept = without_ambient(default_headers_of(client))
    kept = {name: value for name, value in kept.items() if name.lower() not in SIGNING_HEADERS}
    set_default_headers(wrapped, kept)
    return wrapped


@cache
def _class_of(kind: Any, shim: Any) -> Any:
    """The client's own class on our engine."""
    if kind in (openai.OpenAI, openai.AsyncOpenAI):
        return shim
    made = type(kind.__name__, (shim, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})
    made.__qualname__ = kind.__qualname__
    return made


def _is_cached(kind: type, name: str) -> bool:
    """Whether an attribute was left by a cached property: a resource that belongs to the client it was used on."""
    found = type(inspect.getattr_static(kind, name, None))
    return hasattr(found, "__get__") and not hasattr(found, "__set__")
