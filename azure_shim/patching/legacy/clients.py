"""The clients behind the 0.x API: one for all calls of equal settings, and never one per call."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import openai

from azure_shim.client import AsyncOpenAI, OpenAI
from azure_shim.construction import forget_ambient
from azure_shim.http import ConfigurationError
from azure_shim.patching.legacy.error import AuthenticationError, InvalidRequestError
from azure_shim.patching.legacy.loops import close_with_loop, running_loop
from azure_shim.patching.legacy.module_settings import Service

__all__ = ["client_for", "forget_clients"]

# A program that passes a token with each call has new settings with each token.
_KEPT = 32
_lock = threading.Lock()
# Each with its arguments, which the key knows by their identity.
_clients: OrderedDict[tuple[Any, ...], tuple[Any, Mapping[str, Any]]] = OrderedDict()


def client_for(service: Service, module: ModuleType, *, is_async: bool) -> Any:
    """The client for a service.

    Those that block are shared by all threads; those that await belong to one event loop and are closed with it.
    """
    arguments = _arguments(service, module, is_async=is_async)
    loop = running_loop() if is_async else None
    home = (os.getpid(), None if loop is None else weakref.ref(loop))
    key = (is_async, service.is_azure, *home, *sorted((name, *_identity(value)) for name, value in arguments.items()))
    with _lock:
        if key in _clients:
            _clients.move_to_end(key)
            return _clients[key][0]
    made, http_client = _make(service, arguments, is_async=is_async)
    if loop is not None:
        close_with_loop(made, http_client, loop)
    elif http_client is not None and not is_async:
        weakref.finalize(made, http_client.close)
    with _lock:
        made, _ = _clients.setdefault(key, (made, arguments))  # another thread may have been faster
        while len(_clients) > _KEPT:
            _clients.popitem(last=False)  # dropped, not closed: a stream may still come from it
    return made


def forget_clients() -> None:
    """Drop all of them; those in use live on until they are done."""
    with _lock:
        _clients.clear()


def _arguments(service: Service, module: ModuleType, *, is_async: bool) -> dict[str, Any]:
    # 0.x tried nothing twice but the opening of a connection: its programs have loops of their own around each call,
    # and two loops multiply. Who wants the SDK's says max_retries to the patch.
    arguments = {"max_retries": 0, **{name: value for name, value in service.arguments.items() if value is not None}}
    if hasattr(arguments.get("http_client"), "aclose") != is_async:
        arguments.pop("http_client", None)  # the patch has one for calls of the other kind
    proxy = _proxy(module, arguments)
    if proxy is not None:
        arguments["openai.proxy"] = proxy
    return arguments


def _make(service: Service, arguments: Mapping[str, Any], *, is_async: bool) -> tuple[Any, Any]:
    """The client, and the HTTP client that was made for it, which it does not close."""
    given = dict(arguments)
    proxy = given.pop("openai.proxy", None)
    if proxy is None:
        return _client(service, given, is_async=is_async), None
    http_client = (openai.DefaultAsyncHttpxClient if is_async else openai.DefaultHttpxClient)(proxy=proxy)
    return _client(service, {**given, "http_client": http_client}, is_async=is_async), http_client


def _client(service: Service, given: Mapping[str, Any], *, is_async: bool) -> Any:
    if not service.is_azure:
        plain = (openai.AsyncOpenAI if is_async else openai.OpenAI)(**given)
        forget_ambient(plain, given)  # 0.x knew no projects and no default headers
        return plain
    try:
        return (AsyncOpenAI if is_async else OpenAI)(**given)
    except ConfigurationError as error:
        if service.is_signed:
            raise InvalidRequestError(str(error), None) from error
        raise AuthenticationError(str(error)) from error


def _proxy(module: ModuleType, arguments: Mapping[str, Any]) -> str | None:
    """``openai.proxy``, a URL or one per scheme, as the proxy for one endpoint."""
    proxy = getattr(module, "proxy", None)
    if proxy is None or "http_client" in arguments:
        return None
    if isinstance(proxy, str):
        return proxy
    if not isinstance(proxy, Mapping):
        raise ValueError(
            "'openai.proxy' must be specified as either a string URL or a dict with string URL under the https and/or "
            "http keys."
        )
    base = str(arguments.get("azure_endpoint") or arguments.get("base_url") or "")
    found: str | None = proxy.get(urlsplit(base).scheme or "https")
    return found


def warn_of_sessions(module: ModuleType) -> None:
    """Say that a session of requests has no use here, where one is set: it may have had certificates or proxies."""
    if getattr(module, "requestssession", None) is not None:
        warnings.warn(
            "openai.requestssession is not used: calls are sent by httpx; give azure_shim.patch() an http_client",
            UserWarning,
            stacklevel=2,
        )


def _identity(value: Any) -> tuple[str, Any]:
    if isinstance(value, (str, int, float)):
        return type(value).__name__, value
    return "id", id(value)
