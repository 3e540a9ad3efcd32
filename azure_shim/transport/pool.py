"""Connections that clients of like settings share: one pool, one TLS context, closed when the last of them is.

A pool is a plain client of the library, built as the SDK builds its own, so that proxies, ``NO_PROXY``, mounts and
certificates work as they do there.
"""

from __future__ import annotations

import asyncio
import collections
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Union

import anyio.to_thread

from azure_shim.transport.library import Library
from azure_shim.transport.private import selector_of

__all__ = ["AsyncLease", "Lease", "SyncLease", "lease", "release_when_dropped"]

# Idle connections are kept for longer than the library's five seconds: a call every six seconds would else pay for a
# new TLS connection each time. httpcore 1, below httpx, looks at every idle connection on every request, so that there
# what a burst has left must not stay for long.
KEEPALIVE_EXPIRY_S = {"httpx": 10.0, "httpx2": 60.0}
MAX_CONNECTIONS, MAX_KEEPALIVE_CONNECTIONS = 1000, 100  # the SDK's (openai/_constants.py)
# What the libraries read from the environment when they build a client.
_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")

Lease = Union["SyncLease", "AsyncLease"]
_Key = tuple[Any, ...]

_lock = threading.Lock()
_pools: weakref.WeakValueDictionary[_Key, Any] = weakref.WeakValueDictionary()
# Kept although nobody may use them now: code that makes a client per call would else read the certificates each time.
_contexts: dict[_Key, Any] = {}
_KEPT_CONTEXTS = 16


# What dropped clients have left: a finalizer runs wherever the collector does, perhaps inside a section that holds the
# lock, and so must not wait for it.
_dropped: collections.deque[Callable[[], None]] = collections.deque()


def release_when_dropped(closers: list[Callable[[], Any]], release: Callable[[], None]) -> None:
    """Give back the share of a transport that was dropped without being closed, which is when it has ``closers`` left.

    At once where that cannot block, else with the next share that is asked for.
    """
    if not closers:
        return
    closers.clear()
    if _lock.acquire(blocking=False):
        _lock.release()
        release()
    else:
        _dropped.append(release)


def _release_dropped() -> None:
    while _dropped:
        try:
            release = _dropped.popleft()
        except IndexError:  # another thread was faster
            return
        release()


class _Connections:
    """One client of the library, and how many leases use it. Whoever leaves it last has to close it."""

    __slots__ = ("client", "leases", "select")

    def __init__(self, client: Any) -> None:
        self.client, self.select, self.leases = client, selector_of(client), 1

    def leave(self) -> bool:
        """One lease less; True for the last one, after which no other is given."""
        with _lock:
            self.leases -= 1
            return not self.leases


class _Pool:
    """The connections for one set of options: one for clients that block, one per event loop for those that await.

    A connection lives and dies with the loop that it was opened in.
    """

    def __init__(self, make: Callable[[], Any], context: Callable[[], Any]) -> None:
        self._make, self._context = make, context
        self.forget()

    def read_certificates(self) -> None:
        """Make the TLS context, once, however many threads want it."""
        with self.entering:
            self._context()

    def forget(self) -> None:
        """After a fork: the parent's connections are not this process's to use."""
        self.generation = object()
        self.entering = threading.Lock()
        self._shared: _Connections | None = None
        self._by_loop: weakref.WeakKeyDictionary[Any, _Connections] = weakref.WeakKeyDictionary()

    def connections(self, loop: Any) -> _Connections:
        """Those of this loop (or of this run of trio), None for callers that block, with one lease more."""
        _release_dropped()
        with _lock:
            found = self._leased(loop)
        if found is not None:
            return found
        made = _Connections(self._make())
        with _lock:
            found = self._leased(loop)  # another thread may have been faster
            if found is None:
                found = made
                _drop_ended(self._by_loop)
                if loop is None:
                    self._shared = made
                else:
                    self._by_loop[loop] = made
            return found

    def _leased(self, loop: Any) -> _Connections | None:
        found = self._shared if loop is None else self._by_loop.get(loop)
        if found is None or not found.leases:
            return None
        found.leases += 1
        return found


# The parent's connections in a forked child, which nobody there uses or closes: dropped, each would be warned of.
_inherited: list[Any] = []


class SyncLease:
    """A blocking client's share of a pool."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._generation: object = None
        self._connections: _Connections

    def _enter(self) -> _Connections:
        with self._pool.entering:
            generation = self._pool.generation
            if self._generation is not generation:  # another thread may have been faster
                if self._generation is not None:
                    _inherited.append(self._connections)
                self._connections = self._pool.connections(None)
                self._generation = generation
            return self._connections

    def select(self, url: Any) -> Any:
        """The transport that leads to ``url``."""
        if self._generation is not self._pool.generation:
            return self._enter().select(url)
        return self._connections.select(url)

    def release(self) -> None:
        """Give the share back; the last one closes the connections."""
        if self._generation is self._pool.generation and self._connections.leave():
            self._connections.client.close()

    closer = release


class AsyncLease:
    """An async client's share of a pool, entered in each event loop that it is used in."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._forget()

    def _forget(self) -> None:
        self._generation = self._pool.generation
        self._by_loop: weakref.WeakKeyDictionary[Any, _Connections] = weakref.WeakKeyDictionary()
        self._elsewhere: _Connections | None = None

    async def get_ready(self) -> None:
        """Read the machine's certificates, which takes 10 to 50 ms, where no event loop waits for it."""
        await anyio.to_thread.run_sync(self._pool.read_certificates)

    def select(self, url: Any) -> Any:
        """The transport that leads to ``url`` from the running event loop."""
        if self._generation is not self._pool.generation:
            _inherited.append((dict(self._by_loop), self._elsewhere))
            self._forget()
        loop = _running_loop()
        found = self._elsewhere if loop is None else self._by_loop.get(loop)
        if found is None:
            found = self._pool.connections(loop)
            _drop_ended(self._by_loop)
            if loop is None:
                self._elsewhere = found
            else:
                self._by_loop[loop] = found
        return found.select(url)

    def release(self) -> None:
        """For a client that was dropped without being closed: nothing can be awaited, so nothing is closed."""
        for found in [*self._by_loop.values(), *filter(None, [self._elsewhere])]:
            found.leave()
        self._forget()

    async def closer(self) -> None:
        """Give the share back. Connections of other loops cannot be closed from this one; they go with their loop."""
        loop = _running_loop()
        mine = self._elsewhere if loop is None else self._by_loop.pop(loop, None)
        if loop is None:
            self._elsewhere = None
        self.release()
        if mine is not None and mine.leave():
            await mine.client.aclose()


def _drop_ended(by_loop: weakref.WeakKeyDictionary[Any, _Connections]) -> None:
    """Forget connections of loops that have ended: they keep their loop alive, and nobody can await their end."""
    for loop in [loop for loop in by_loop if isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed()]:
        del by_loop[loop]


def _running_loop() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        trio = sys.modules.get("trio")
        return trio.lowlevel.current_trio_token() if trio is not None else None


def lease(library: Library, *, is_async: bool, options: Mapping[str, Any], of: str = "") -> Lease:
    """A share of the pool for these options of the library's client; its ``closer`` has to be called once.

    ``options`` are ``verify``, ``cert``, ``trust_env``, ``proxy``, ``mounts``, ``http1``, ``http2`` and ``limits``;
    ``of`` is the target that the pool is for, if there are several.
    """
    environment = tuple(os.environ.get(v) or os.environ.get(v.lower()) for v in _VARIABLES)
    key = (library.name, is_async, of, environment, *((name, _hashable(options[name])) for name in sorted(options)))
    try:
        hash(key)
    except TypeError:
        key = (object(),)  # an option that cannot be compared is shared with nobody
    with _lock:
        pool = _pools.get(key)
    if pool is None:
        made = _Pool(*_makers(library, options, environment, is_async=is_async))
        with _lock:
            pool = _pools.setdefault(key, made)
    return AsyncLease(pool) if is_async else SyncLease(pool)


def _hashable(value: Any) -> Any:
    limits = ("max_connections", "max_keepalive_connections", "keepalive_expiry")
    if all(hasattr(value, name) for name in limits):
        return tuple(getattr(value, name) for name in limits)
    return value


def _makers(
    library: Library, options: Mapping[str, Any], environment: _Key, *, is_async: bool
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What opens a client of the library with these options and the SDK's defaults, and what makes its TLS context."""
    module = library.module
    settings = dict(options)
    settings.setdefault(
        "limits",
        module.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_KEEPALIVE_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_EXPIRY_S[library.name],
        ),
    )
    # Plain http is for loopback alone, where a proxy is never on the way.
    settings["mounts"] = {"http://": None, **(settings.get("mounts") or {})}
    make = module.AsyncClient if is_async else module.Client

    def opened() -> Any:
        return make(**{k: v for k, v in settings.items() if k != "cert"}, verify=context())

    def context() -> Any:
        return _context(library, {**options, "trust_env": settings.get("trust_env", True)}, environment)

    settings.pop("verify", None)
    if "verify" in options or "cert" in options:
        context()  # what is wrong with them is told at once; the certificates of the machine can wait
    return opened, context


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
