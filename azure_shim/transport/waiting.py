"""Waiting for a token that is on its way, with a deadline: in a thread, or in an event loop without blocking it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import anyio

from azure_shim.auth.tokens import Flight, FlightOverdue, TokenSlot
from azure_shim.values import Asked, Fetch

__all__ = ["fetch", "fetch_async"]


def fetch(effect: Fetch, limit_s: float | None) -> Asked | None:
    """Get a token for a caller that blocks."""
    tokens: TokenSlot = effect.tokens
    if tokens.source.is_awaited:
        error = TypeError("it has to be awaited, which a client that blocks cannot do")
        return Asked(error=error) if effect.waits else None
    flight, is_ours = tokens.board()
    if is_ours:
        tokens.launch(flight)
    if not effect.waits:
        return None
    limit_s = _limit(tokens, limit_s)
    try:
        flight.future.exception(limit_s)
    except FutureTimeoutError:
        return Asked(error=FlightOverdue(f"{limit_s:g} s"))
    return _landed(flight.future)


async def fetch_async(effect: Fetch, limit_s: float | None) -> Asked | None:
    """Get a token without blocking the event loop, whatever the credential does."""
    tokens: TokenSlot = effect.tokens
    flight, is_ours = tokens.board()
    if is_ours:
        if tokens.source.is_awaited:
            _start_here(tokens, flight)
        else:
            tokens.launch(flight)
    if not effect.waits:
        return None
    limit_s = _limit(tokens, limit_s)
    landed = anyio.Event()
    wake = _waker(landed)
    flight.future.add_done_callback(lambda future: wake())  # noqa: ARG005
    with anyio.move_on_after(limit_s):
        await landed.wait()
    if not flight.future.done():
        return Asked(error=FlightOverdue(f"{limit_s:g} s"))
    return _landed(flight.future)


def _limit(tokens: TokenSlot, limit_s: float | None) -> float:
    return tokens.patience_s if limit_s is None else min(limit_s, tokens.patience_s)


def _landed(future: Future[Any]) -> Asked:
    error = future.exception()
    return Asked(future.result()) if error is None else Asked(error=error)


def _start_here(tokens: TokenSlot, flight: Flight) -> None:
    """Ask an awaited credential in a task of the running loop, which goes on when its first caller is cancelled."""
    loop = _running_asyncio()
    if loop is None:
        import trio

        trio.lowlevel.spawn_system_task(tokens.fly, flight)
        return
    flight.is_lost = lambda: not loop.is_running()
    flight.task = loop.create_task(tokens.fly(flight))
    # A task that is cancelled before its first step runs none of its own code.
    flight.task.add_done_callback(lambda _: tokens.lose(flight))


def _waker(event: anyio.Event) -> Callable[[], None]:
    """What sets an event of the running loop from any thread; nothing if that loop has ended meanwhile."""
    loop = _running_asyncio()
    wake: Callable[[Callable[[], Any]], Any]
    gone: type[Exception]
    if loop is None:
        import trio

        wake, gone = trio.lowlevel.current_trio_token().run_sync_soon, trio.RunFinishedError
    else:
        wake, gone = loop.call_soon_threadsafe, RuntimeError

    def set_event() -> None:
        with contextlib.suppress(gone):
            wake(event.set)

    return set_event


def _running_asyncio() -> asyncio.AbstractEventLoop | None:
    """The running loop of asyncio; None under trio, which is the other one that httpx runs on."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
