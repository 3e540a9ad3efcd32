"""Calls of a client that blocks: CPU time per call over a null transport and over loopback, and time to first chunk."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import answers
from .clients import AZURE, CONTENDERS, build, close
from .effort import Effort
from .measure import Measured, Sample, cpu_s, interleave, per_slice
from .null import null_client
from .processes import Server
from .table import Row, ratios

__all__ = ["CHAT", "chat", "embeddings", "stream", "vision"]

Call = Callable[[Any], object]

CHAT: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "You answer in one word."},
        {"role": "user", "content": "How much is two and two? " * 8},
    ],
}
_NULL_ENDPOINT = "https://resource.openai.azure.com"


class _Work(NamedTuple):
    """A call, what answers it over loopback (the server's name for it) and over the null transport."""

    name: str
    call: Call
    answer: str
    null_answer: bytes | list[bytes]


def chat(effort: Effort) -> Iterator[Row]:
    """A small chat completion: CPU time."""
    work = _Work("small chat", lambda client: client.chat.completions.create(**CHAT), "chat", answers.chat())
    yield from _null_and_loopback(work, effort, 0.97)
    yield ratios(f"{work.name}, null, v1 and deployments", _over_null(work, effort, mapped=True)["cpu"])


def vision(effort: Effort) -> Iterator[Row]:
    """A chat completion with an image of several MB in its body: CPU time."""
    url = "data:image/png;base64," + "A" * effort.vision_bytes
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    arguments: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]}
    name = f"{effort.vision_bytes / 1e6:g} MB vision"
    work = _Work(name, lambda client: client.chat.completions.create(**arguments), "chat", answers.chat())
    yield from _null_and_loopback(work, effort, 1.0)
    yield ratios(f"{name}, null, v1 and deployments", _over_null(work, effort, mapped=True)["cpu"])


def embeddings(effort: Effort) -> Iterator[Row]:
    """Embeddings of many inputs with a small answer, and with as many vectors in the answer: CPU time."""
    inputs = [f"The input of number {number}, which is one sentence long." for number in range(effort.embeddings)]
    arguments: Any = {"model": "text-embedding-3-small", "input": inputs}
    call: Call = lambda client: client.embeddings.create(**arguments)  # noqa: E731
    name = f"{effort.embeddings} embeddings"
    small = _Work(f"{name}, inputs", call, "embeddings", answers.embeddings(1, effort.dimensions))
    yield ratios(f"{small.name}, null", _over_null(small, effort)["cpu"])
    vectors = answers.embeddings(effort.embeddings, effort.dimensions)
    yield from _null_and_loopback(_Work(f"{name}, vectors", call, "embeddings", vectors), effort, None)


def stream(effort: Effort) -> Iterator[Row]:
    """A streamed chat completion: CPU time of all of it, and the time from the call to the first chunk."""
    chunks = answers.chunks(effort.chunks)
    work = _Work(f"{effort.chunks}-chunk stream", _read_stream, "stream", chunks)
    # Over loopback a stream lasts a quarter of a second, nearly all of it waiting.
    longer = dataclasses.replace(effort, budget_s=3 * effort.budget_s)
    for place, compared, long_enough in (("null", _over_null, effort), ("loopback", _over_loopback, longer)):
        measured = compared(work, long_enough, turn=_stream_turn)
        yield ratios(f"{work.name}, {place}", measured["cpu"], 1.0)
        yield ratios(f"{work.name}, {place}, first chunk", measured["first chunk"], 1.05)


def _read_stream(client: Any) -> float:
    """The wall time from the call to the first chunk; the rest is read too."""
    start = time.perf_counter()
    chunks = iter(client.chat.completions.create(**CHAT, stream=True))
    next(chunks)
    first_s = time.perf_counter() - start
    for _ in chunks:
        pass
    return first_s


Turn = Callable[[Any, Call, int], Callable[[], Sample]]


def _cpu_turn(client: Any, call: Call, count: int) -> Callable[[], Sample]:
    return lambda: {"cpu": cpu_s(lambda: [call(client) for _ in range(count)]) / count}


def _stream_turn(client: Any, call: Call, count: int) -> Callable[[], Sample]:
    def turn() -> Sample:
        first: list[float] = []
        cpu = cpu_s(lambda: first.extend(_read_stream(client) for _ in range(count)))
        return {"cpu": cpu / count, "first chunk": sorted(first)[len(first) // 2]}

    return turn


def _null_and_loopback(work: _Work, effort: Effort, target: float | None) -> Iterator[Row]:
    yield ratios(f"{work.name}, null", _over_null(work, effort)["cpu"], target)
    yield ratios(f"{work.name}, loopback", _over_loopback(work, effort)["cpu"], target)


def _over_null(work: _Work, effort: Effort, *, mapped: bool = False, turn: Turn = _cpu_turn) -> dict[str, Measured]:
    given = [null_client(work.null_answer) for _ in CONTENDERS]
    clients = {
        name: build(name, _NULL_ENDPOINT, given=http, mapped=mapped)
        for name, http in zip(CONTENDERS, given, strict=True)
    }
    try:
        return _compared(clients, work, effort, turn)
    finally:
        close([*clients.values(), *given])


def _over_loopback(work: _Work, effort: Effort, *, turn: Turn = _cpu_turn) -> dict[str, Measured]:
    """Connections stay open: two rounds take less than the five seconds after which an idle one is dropped."""
    with Server(effort) as server:
        clients = {name: build(name, server.endpoint(work.answer)) for name in CONTENDERS}
        try:
            return _compared(clients, work, effort, turn)
        finally:
            close(clients.values())


def _compared(clients: dict[str, Any], work: _Work, effort: Effort, turn: Turn) -> dict[str, Measured]:
    count = per_slice(effort, lambda: work.call(clients[AZURE]))
    turns = {name: turn(client, work.call, count) for name, client in clients.items()}
    return interleave(turns, AZURE, effort)
