"""The only loops: perform what a machine yields, once for callers that block and once for those that await."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio.to_thread
from typing_extensions import assert_never

from azure_shim.auth.flow import attach
from azure_shim.auth.providers import awaits
from azure_shim.transport.exchange import Exchange
from azure_shim.values import Answered, Ask, Asked, Credential, Effect, Failed, Header, Peek, Provider, Refusal, Send

__all__ = ["AsyncDriver", "SyncDriver", "ask", "ask_async", "sign", "sign_async"]


class SyncDriver:
    """Runs the machine of one request of a client that blocks."""

    __slots__ = ("_exchange", "_rest")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._rest: Iterator[bytes] | None = None

    def run(self) -> Any:
        exchange = self._exchange
        machine = exchange.engine.machine(exchange)
        try:
            effect = next(machine)
            while True:
                effect = machine.send(self._perform(effect))
        except StopIteration as stop:
            result = stop.value
        misplaced = exchange.misplaced(result)
        if misplaced is not None:
            result.response.close()
            return exchange.finish(misplaced)
        return exchange.finish(result)

    def _perform(self, effect: Effect) -> Asked | Answered | Failed | None:
        if isinstance(effect, Send):
            transport, request = self._exchange.attempt(effect, self._rest)
            try:
                return self._exchange.answered(transport.handle_request(request))
            except self._exchange.library.errors as error:
                return Failed(self._exchange.library.mapped(error))
        if isinstance(effect, Ask):
            return ask(effect.provider)
        if isinstance(effect, Peek):
            self._rest = iter(self._exchange.request.stream)
            for chunk in self._rest:
                if effect.feed(chunk):
                    break
            return None
        assert_never(effect)


class AsyncDriver:
    """Runs the machine of one request of a client that awaits."""

    __slots__ = ("_exchange", "_rest")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._rest: AsyncIterator[bytes] | None = None

    async def run(self) -> Any:
        exchange = self._exchange
        machine = exchange.engine.machine(exchange)
        try:
            effect = next(machine)
            while True:
                effect = machine.send(await self._perform(effect))
        except StopIteration as stop:
            result = stop.value
        misplaced = exchange.misplaced(result)
        if misplaced is not None:
            await result.response.aclose()
            return exchange.finish(misplaced)
        return exchange.finish(result)

    async def _perform(self, effect: Effect) -> Asked | Answered | Failed | None:
        if isinstance(effect, Send):
            transport, request = self._exchange.attempt(effect, self._rest)
            try:
                return self._exchange.answered(await transport.handle_async_request(request))
            except self._exchange.library.errors as error:
                return Failed(self._exchange.library.mapped(error))
        if isinstance(effect, Ask):
            return await ask_async(effect.provider)
        if isinstance(effect, Peek):
            self._rest = aiter(self._exchange.request.stream)
            async for chunk in self._rest:
                if effect.feed(chunk):
                    break
            return None
        assert_never(effect)


def sign(credential: Credential) -> Header | Refusal:
    """The header that signs one request, for who sends it without a transport."""
    machine = attach(credential)
    try:
        machine.send(ask(next(machine).provider))
    except StopIteration as stop:
        signed: Header | Refusal = stop.value
        return signed
    raise AssertionError("one question is all that it asks")


async def sign_async(credential: Credential) -> Header | Refusal:
    """As `sign`, without blocking the event loop."""
    machine = attach(credential)
    try:
        machine.send(await ask_async(next(machine).provider))
    except StopIteration as stop:
        signed: Header | Refusal = stop.value
        return signed
    raise AssertionError("one question is all that it asks")


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
