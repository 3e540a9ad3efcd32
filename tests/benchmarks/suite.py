"""Every benchmark by the name that the command line has for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import calls, concurrency, idle, many, startup, tokens, upload
from .effort import Effort
from .table import Row

__all__ = ["BENCHMARKS"]

BENCHMARKS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    "chat": calls.chat,
    "vision": calls.vision,
    "stream": calls.stream,
    "embeddings": calls.embeddings,
    "async": concurrency.default_engine,
    "aiohttp": concurrency.aiohttp_engine,
    "idle": idle.idle,
    "imports": startup.imports,
    "constructors": startup.constructors,
    "memory": startup.clients_in_memory,
    "upload": upload.upload,
    "refreshes": tokens.refreshes,
    "signing": tokens.signing,
    "many": many.overhead,
    "contention": many.contention,
}
