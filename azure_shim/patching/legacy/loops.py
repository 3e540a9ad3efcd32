"""Clients that end with their event loop, as 0.x closed its session at the end of each call."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator
from typing import Any

__all__ = ["close_with_loop", "running_loop"]

_lock = threading.Lock()
_Clients = weakref.WeakKeyDictionary[Any, Any]
# By loop: what waits in it, and its clients, each with an HTTP client that was made for it, if one was.
_keepers: weakref.WeakKeyDictionary[Any, tuple[AsyncGenerator[None, None], _Clients]] = weakref.WeakKeyDictionary()


def running_loop() -> Any:
    """The running loop of asyncio; None under trio, which 0.x did not know and whose clients nobody closes."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def close_with_loop(client: Any, http_client: Any, loop: Any) -> None:
    """Close ``client`` and its ``http_client`` when ``loop``, which is running, is shut down, if they are still there.

    By an async generator that waits in the loop: ``asyncio.run`` closes those that are left, and lets them await.
    """
    with _lock:
        if loop not in _keepers:
            clients: _Clients = weakref.WeakKeyDictionary()
            keeper = _keep(clients)
            with contextlib.suppress(StopIteration):
                keeper.__anext__().send(None)  # up to its yield, where nothing is awaited
            _keepers[loop] = keeper, clients
        _keepers[loop][1][client] = http_client


async def _keep(clients: _Clients) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        for client, http_client in list(clients.items()):
            await client.close()
            if http_client is not None:
                await http_client.aclose()
