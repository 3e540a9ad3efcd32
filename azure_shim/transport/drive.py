"""The only loops: perform what a machine yields, once for callers that block and once for those that await."""

from __future__ import annotations

import inspect
import time
from contextlib import nullcontext
from typing import Any

import anyio
import anyio.to_thread
from typing_extensions import assert_never

from azure_shim.auth.flow import Signing
from azure_shim.auth.providers import awaits
from azure_shim.transport.exchange import Exchange
from azure_shim.transport.library import Peeked
from azure_shim.transport.private import hurried
from azure_shim.transport.waiting import fetch, fetch_async
from azure_shim.values import (
    Answered,
    Ask,
    Asked,
    Discard,
    Effect,
    Failed,
    Fetch,
    Header,
    Inspect,
    Late,
    Pause,
    Peek,
    Provider,
    Refusal,
    Send,
)

__all__ = ["AsyncDriver", "SyncDriver", "ask", "ask_async", "settle", "settle_async"]


# What is looked at while it comes, and not first taken in.
_NOT_WHOLE = ("text/event-stream", "text/html")
# Of a longer answer the rest is handed on as it comes.
_ANSWER_BYTES = 8 << 20


class SyncDriver:
    """Runs the machine of one request of a client that blocks."""

    __slots__ = ("_exchange", "_open")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._open: Any = None

    def run(self) -> Any:
        exchange = self._exchange
        machine = exchange.engine.machine(exchange)
        try:
            effect = next(machine)
            while True:
                effect = machine.send(self._perform(effect))
        except StopIteration as stop:
            result = stop.value
        except BaseException:
            machine.close()  # which undoes what it had begun, however long the traceback keeps it
            if self._open is not None:  # an answer that the caller, who gave up, will not get
                self._open.close()
            raise
        misplaced = exchange.misplaced(result)
        if misplaced is not None:
            result.response.close()
            return exchange.finish(misplaced)
        return exchange.finish(result)

    def _perform(self, effect: Effect) -> Asked | Answered | Failed | bool | None:
        if isinstance(effect, Send):
            transport, request = self._exchange.attempt(effect)
            try:
                response = self._open = transport.handle_request(request)
                content_type = (response.headers.get("content-type") or "").lower()
                if effect.takes_in and response.status_code == 200 and not content_type.startswith(_NOT_WHOLE):
                    return self._take_in(response, content_type)
                return self._exchange.answered(response, content_type)
            except self._exchange.library.errors as error:
                return self._exchange.failed(error)
        if isinstance(effect, Inspect):
            return self._inspect(effect)
        if isinstance(effect, (Ask, Fetch)):
            return _asked(effect, self._exchange.limit_s)
        if isinstance(effect, Peek):
            peeked = self._exchange.peeked
            if peeked is None or peeked.rest is None:  # sent meanwhile, and so read anew
                peeked = self._exchange.peeked = Peeked(iter(self._exchange.body))
            elif any(map(effect.feed, peeked.chunks)):
                return None
            for chunk in peeked.rest:
                peeked.chunks.append(chunk)
                if effect.feed(chunk):
                    break
            return None
        if isinstance(effect, Discard):
            effect.response.close()
            self._open = None
            return None
        if isinstance(effect, Pause):
            time.sleep(effect.seconds)
            return None
        assert_never(effect)

    def _take_in(self, response: Any, content_type: str) -> Answered:
        """Read a text whole, unless it is long."""
        exchange, upstream = self._exchange, response.stream
        exchange.reads_on()
        rest = iter(upstream)
        chunks: list[bytes] = []
        size, clock, ends_at = 0, exchange.clock, exchange.ends_at
        try:
            for chunk in rest:
                chunks.append(chunk)
                size += len(chunk)
                if clock() > ends_at:
                    raise exchange.overdue("the answer did not end within the read timeout after it began")
                if size > _ANSWER_BYTES:
                    exchange.inspected(response, chunks, rest, None)
                    exchange.bound(response)
                    return exchange.taken_in(response, content_type, False)
        except exchange.library.errors as error:
            failed = exchange.failed(error)
            exchange.inspected(response, chunks, None, failed.error)
            upstream.close()
            self._open = None
            return exchange.taken_in(response, content_type, failed)
        upstream.close()
        self._open = None
        response.stream = exchange.library.ChunkStream(tuple(chunks))
        return exchange.taken_in(response, content_type, True)

    def _inspect(self, effect: Inspect) -> bool | Failed:
        exchange, response, limit_s = self._exchange, effect.response, effect.limit_s
        chunks: list[bytes] = []
        upstream = response.stream
        rest = iter(upstream)
        error: Exception | None = None
        with nullcontext() if limit_s is None else hurried(response, limit_s):
            try:
                for chunk in rest:
                    chunks.append(chunk)
                    if effect.feed(chunk):
                        break
                else:
                    rest = None
            except exchange.library.errors as raised:
                error = raised
        if error is None and rest is not None:
            exchange.inspected(response, chunks, rest, None)
            return False
        failed = None if error is None else exchange.failed(error)
        exchange.inspected(response, chunks, None, None if failed is None else failed.error)
        upstream.close()
        self._open = None
        return True if failed is None else failed


class AsyncDriver:
    """Runs the machine of one request of a client that awaits."""

    __slots__ = ("_exchange", "_open")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._open: Any = None

    async def run(self) -> Any:
        exchange = self._exchange
        machine = exchange.engine.machine(exchange)
        try:
            effect = next(machine)
            while True:
                effect = machine.send(await self._perform(effect))
        except StopIteration as stop:
            result = stop.value
        except BaseException:
            machine.close()  # which undoes what it had begun, however long the traceback keeps it
            if self._open is not None:  # an answer that the caller, who gave up, will not get
                with anyio.CancelScope(shield=True):
                    await self._open.aclose()
            raise
        misplaced = exchange.misplaced(result)
        if misplaced is not None:
            await result.response.aclose()
            return exchange.finish(misplaced)
        return exchange.finish(result)

    async def _perform(self, effect: Effect) -> Asked | Answered | Failed | bool | None:
        if isinstance(effect, Send):
            transport, request = self._exchange.attempt(effect)
            try:
                response = self._open = await transport.handle_async_request(request)
                content_type = (response.headers.get("content-type") or "").lower()
                if effect.takes_in and response.status_code == 200 and not content_type.startswith(_NOT_WHOLE):
                    return await self._take_in(response, content_type)
                return self._exchange.answered(response, content_type)
            except self._exchange.library.errors as error:
                return self._exchange.failed(error)
        if isinstance(effect, Inspect):
            return await self._inspect(effect)
        if isinstance(effect, (Ask, Fetch)):
            return await _asked_async(effect, self._exchange.limit_s)
        if isinstance(effect, Peek):
            peeked = self._exchange.peeked
            if peeked is None or peeked.rest is None:  # sent meanwhile, and so read anew
                peeked = self._exchange.peeked = Peeked(aiter(self._exchange.body))
            elif any(map(effect.feed, peeked.chunks)):
                return None
            async for chunk in peeked.rest:
                peeked.chunks.append(chunk)
                if effect.feed(chunk):
                    break
            return None
        if isinstance(effect, Discard):
            await effect.response.aclose()
            self._open = None
            return None
        if isinstance(effect, Pause):
            await anyio.sleep(effect.seconds)
            return None
        assert_never(effect)

    async def _take_in(self, response: Any, content_type: str) -> Answered:
        """Read a text whole, unless it is long."""
        exchange, upstream = self._exchange, response.stream
        exchange.reads_on()
        rest = aiter(upstream)
        chunks: list[bytes] = []
        size, clock, ends_at = 0, exchange.clock, exchange.ends_at
        try:
            async for chunk in rest:
                chunks.append(chunk)
                size += len(chunk)
                if clock() > ends_at:
                    raise exchange.overdue("the answer did not end within the read timeout after it began")
                if size > _ANSWER_BYTES:
                    exchange.inspected(response, chunks, rest, None)
                    exchange.bound(response)
                    return exchange.taken_in(response, content_type, False)
        except exchange.library.errors as error:
            failed = exchange.failed(error)
            exchange.inspected(response, chunks, None, failed.error)
            await upstream.aclose()
            self._open = None
            return exchange.taken_in(response, content_type, failed)
        await upstream.aclose()
        self._open = None
        response.stream = exchange.library.ChunkStream(tuple(chunks))
        return exchange.taken_in(response, content_type, True)

    async def _inspect(self, effect: Inspect) -> bool | Failed:
        exchange, response, limit_s = self._exchange, effect.response, effect.limit_s
        chunks: list[bytes] = []
        upstream = response.stream
        rest = aiter(upstream)
        error: Exception | None = None
        with anyio.move_on_after(limit_s) as scope:
            try:
                async for chunk in rest:
                    chunks.append(chunk)
                    if effect.feed(chunk):
                        break
                else:
                    rest = None
            except exchange.library.errors as raised:
                error = raised
        if scope.cancelled_caught:
            error = exchange.overdue("no token came in time, and another target may be faster")
        if error is None and rest is not None:
            exchange.inspected(response, chunks, rest, None)
            return False
        failed = None if error is None else exchange.failed(error)
        exchange.inspected(response, chunks, None, None if failed is None else failed.error)
        await upstream.aclose()
        self._open = None
        return True if failed is None else failed


def settle(machine: Signing, limit_s: float | None = None) -> Header | Refusal | Late:
    """Drive a machine that asks for credentials and sends nothing, for who sends without a transport."""
    try:
        effect = next(machine)
        while True:
            effect = machine.send(_asked(effect, limit_s))
    except StopIteration as stop:
        signed: Header | Refusal | Late = stop.value
        return signed


async def settle_async(machine: Signing, limit_s: float | None = None) -> Header | Refusal | Late:
    """As `settle`, without blocking the event loop."""
    try:
        effect = next(machine)
        while True:
            effect = machine.send(await _asked_async(effect, limit_s))
    except StopIteration as stop:
        signed: Header | Refusal | Late = stop.value
        return signed


def _asked(effect: Ask | Fetch, limit_s: float | None) -> Asked | None:
    if isinstance(effect, Fetch):
        return fetch(effect, limit_s)
    return ask(effect.provider)


async def _asked_async(effect: Ask | Fetch, limit_s: float | None) -> Asked | None:
    if isinstance(effect, Fetch):
        return await fetch_async(effect, limit_s)
    return await ask_async(effect.provider)


def ask(provider: Provider) -> Asked:
    """Call a provider from a thread that may block."""
    try:
        value = provider()
    except Exception as error:  # noqa: BLE001  whatever a caller's function raises is why there is no credential
        return Asked(error=error)
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        return Asked(error=TypeError("it returned an awaitable, which a client that blocks cannot await"))
    return Asked(value)


async def ask_async(provider: Provider) -> Asked:
    """Call a provider without ever blocking the event loop: one that does not say that it awaits runs in a thread."""
    try:
        value = provider() if awaits(provider) else await anyio.to_thread.run_sync(provider, abandon_on_cancel=True)
        if inspect.isawaitable(value):
            value = await value
    except Exception as error:  # noqa: BLE001  as above; a cancellation is no Exception and passes
        return Asked(error=error)
    return Asked(value)
