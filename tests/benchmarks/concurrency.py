"""Calls of a client that awaits, some in flight at once: CPU time per call, on the default engine and on aiohttp's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai

from . import answers
from .calls import CHAT
from .clients import AZURE, CONTENDERS, build
from .effort import Effort
from .measure import Measured, Sample, cpu_s, interleave, per_slice
from .null import null_client
from .processes import Server
from .table import Row, ratios

__all__ = ["aiohttp_engine", "default_engine"]

_DEFAULT_TARGETS = {1: 0.97}
_AIOHTTP_TARGETS = {1: 0.80, 32: 0.75, 256: 0.65}
_BASELINE = "AzureOpenAI on its default engine"

Given = dict[str, Callable[[], Any]]


def default_engine(effort: Effort) -> Iterator[Row]:
    """On the engine that a client has if nobody asks for another: CPU time."""
    null: Given = {name: lambda: null_client(answers.chat(), is_async=True) for name in CONTENDERS}
    measured = _compared("https://resource.openai.azure.com", null, AZURE, 1, effort)
    yield ratios("async chat, 1 in flight, null", measured, _DEFAULT_TARGETS[1])
    with Server(effort) as server:
        for in_flight in effort.in_flight:
            own: Given = {name: lambda: None for name in CONTENDERS}
            measured = _compared(server.endpoint("chat"), own, AZURE, in_flight, effort)
            yield ratios(f"async chat, {in_flight} in flight", measured, _DEFAULT_TARGETS.get(in_flight))


def aiohttp_engine(effort: Effort) -> Iterator[Row]:
    """All contenders on aiohttp, as ratios to ``AzureOpenAI`` on its default engine: CPU time."""
    made: Any = getattr(openai, "DefaultAioHttpClient", None)
    if made is None or not _works(made):
        yield Row("async chat on aiohttp", note="openai's aiohttp extra is not installed")
        return
    with Server(effort) as server:
        for in_flight in effort.in_flight:
            given: Given = {_BASELINE: lambda: None, **dict.fromkeys(CONTENDERS, made)}
            measured = _compared(server.endpoint("chat"), given, _BASELINE, in_flight, effort)
            yield ratios(f"async chat on aiohttp, {in_flight} in flight", measured, _AIOHTTP_TARGETS.get(in_flight))


def _works(made: Callable[[], Any]) -> bool:
    try:
        client = made()
    except RuntimeError:
        return False
    asyncio.run(client.aclose())
    return True


async def _calls(client: Any, in_flight: int, each: int) -> None:
    async def caller() -> None:
        for _ in range(each):
            await client.chat.completions.create(**CHAT)

    await asyncio.gather(*(caller() for _ in range(in_flight)))


async def _close(clients: list[Any], given: list[Any]) -> None:
    for client in clients:
        await client.close()
    for http in given:
        if http is not None:
            await http.aclose()


def _compared(endpoint: str, given: Given, baseline: str, in_flight: int, effort: Effort) -> Measured:
    """One event loop for all; a turn begins with a call of each caller for nothing, which connects."""
    https = {name: make() for name, make in given.items()}
    clients = {
        name: build(AZURE if name == _BASELINE else name, endpoint, given=https[name], is_async=True) for name in given
    }
    loop = asyncio.new_event_loop()

    def run(client: Any, each: int) -> None:
        loop.run_until_complete(_calls(client, in_flight, each))

    def turn_of(client: Any, each: int) -> Callable[[], Sample]:
        def turn() -> Sample:
            run(client, 1)
            return {"cpu": cpu_s(lambda: run(client, each)) / (each * in_flight)}

        return turn

    try:
        each = per_slice(effort, lambda: run(clients[baseline], 1))
        return interleave({name: turn_of(clients[name], each) for name in given}, baseline, effort)["cpu"]
    finally:
        loop.run_until_complete(_close(list(clients.values()), list(https.values())))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
