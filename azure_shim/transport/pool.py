"""Connections that clients of like settings share: one pool, one TLS context, closed when the last of them is.

A pool is a plain client of the library, built as the SDK builds its own, so that proxies, ``NO_PROXY``, mounts and
certificates work as they do there.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Union

from azure_shim.transport.library import Library
from azure_shim.transport.private import selector_of

__all__ = ["AsyncPool", "Pool", "SyncPool", "shared_pool"]

# Idle connections are kept for a minute, not for the library's five seconds: a call every six seconds would else pay
# for a new TLS connection each time.
KEEPALIVE_EXPIRY_S = 60.0
MAX_CONNECTIONS, MAX_KEEPALIVE_CONNECTIONS = 1000, 100  # the SDK's (openai/_constants.py)
# What the libraries read from the environment when they build a client.
_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")

Pool = Union["SyncPool", "AsyncPool"]
_Key = tuple[Any, ...]

_lock = threading.Lock()
_pools: weakref.WeakValueDictionary[_Key, Any] = weakref.WeakValueDictionary()
# Kept although nobody may use them now: code that makes a client per call would else read the certificates each time.
_contexts: dict[_Key, Any] = {}
_KEPT_CONTEXTS = 16


class _SharedPool:
    """Counts its users. A pool whose last user has gone is closed and takes no new one."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self.users = 0
        self.is_closed = False

    def _is_last(self) -> bool:
        with _lock:
            self.users -= 1
            self.is_closed = self.is_closed or self.users == 0
            return self.users == 0


class SyncPool(_SharedPool):
    """The connections of clients that block."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__(make)
        self._open()

    def _open(self) -> None:
        self._client = self._make()
        self._select = selector_of(self._client)

    def select(self, url: Any) -> Any:
        """The transport that leads to ``url``."""
        return self._select(url)

    def forget(self) -> None:
        """After a fork: the parent's connections are not this process's to use."""
        self._open()

    def release(self) -> None:
        """One user less; the last one closes the connections."""
        if self._is_last():
            self._client.close()

    closer = property(lambda self: self.release)


class AsyncPool(_SharedPool):
    """The connections of clients that await, one set per event loop: a connection lives and dies with its loop."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__(make)
        self.forget()

    def forget(self) -> None:
        """After a fork: the parent's connections are not this process's to use."""
        self._by_loop: weakref.WeakKeyDictionary[Any, tuple[Any, Any]] = weakref.WeakKeyDictionary()
        self._elsewhere: tuple[Any, Any] | None = None

    def select(self, url: Any) -> Any:
        """The transport that leads to ``url`` from the running event loop."""
        return self._current()[1](url)

    def _current(self) -> tuple[Any, Any]:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio, which has one set for all its runs
            if self._elsewhere is None:
                self._elsewhere = self._made()
            return self._elsewhere
        found = self._by_loop.get(loop)
        if found is None:
            found = self._by_loop[loop] = self._made()
        return found

    def _made(self) -> tuple[Any, Any]:
        client = self._make()
        return client, selector_of(client)

    def release(self) -> None:
        """For a client that was dropped without being closed: nothing can be awaited, the sockets go with the pool."""
        self._is_last()

    async def arelease(self) -> None:
        """Close what belongs to this loop; another loop's connections cannot be awaited from here and are dropped."""
        if self._is_last():
            client = self._current()[0]
            self.forget()
            await client.aclose()

    closer = property(lambda self: self.arelease)


def shared_pool(library: Library, *, is_async: bool, options: Mapping[str, Any]) -> Pool:
    """A lease of the pool for these options of the library's client: the caller has to release it once.

    ``options`` are ``verify``, ``cert``, ``trust_env``, ``proxy``, ``mounts``, ``http1``, ``http2`` and ``limits``.
    """
    environment = tuple(os.environ.get(v) or os.environ.get(v.lower()) for v in _VARIABLES)
    key = (library.name, is_async, environment, *((name, _hashable(options[name])) for name in sorted(options)))
    kind: Any = AsyncPool if is_async else SyncPool
    try:
        hash(key)
    except TypeError:
        key = (object(),)  # an option that cannot be compared is shared with nobody
    pool = _leased(key)
    if pool is None:
        made = _new(kind, library, options, environment, is_async=is_async)
        pool = _leased(key, made)
    return pool  # type: ignore[no-any-return]


def _leased(key: _Key, made: Any = None) -> Any:
    """The open pool under ``key``, or ``made`` put there, with one user more."""
    with _lock:
        pool = _pools.get(key)
        if pool is None or pool.is_closed:
            if made is None:
                return None
            pool = _pools[key] = made
        pool.users += 1
        return pool


def _hashable(value: Any) -> Any:
    limits = ("max_connections", "max_keepalive_connections", "keepalive_expiry")
    if all(hasattr(value, name) for name in limits):
        return tuple(getattr(value, name) for name in limits)
    return value


def _new(kind: Any, library: Library, options: Mapping[str, Any], environment: _Key, *, is_async: bool) -> Any:
    module = library.module
    settings = dict(options)
    settings.setdefault(
        "limits",
        module.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_KEEPALIVE_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_EXPIRY_S,
        ),
    )
    settings["verify"] = _context(library, settings, environment)
    settings.pop("cert", None)
    make = module.AsyncClient if is_async else module.Client
    return kind(lambda: make(**settings))


def _context(library: Library, settings: Mapping[str, Any], environment: _Key) -> Any:
    """The TLS context for these settings; reading the certificates for one takes 10 to 40 ms."""
    verify, cert, trust_env = settings.get("verify", True), settings.get("cert"), settings.get("trust_env", True)
    if not isinstance(verify, (bool, str)):
        return verify
    key = (library.name, verify, cert, trust_env, environment[-2:])
    with _lock:
        context = _contexts.get(key)
    if context is None:
        made = library.module.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
        with _lock:
            if len(_contexts) >= _KEPT_CONTEXTS:
                _contexts.clear()
            context = _contexts.setdefault(key, made)
    return context


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for pool in list(_pools.values()):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
