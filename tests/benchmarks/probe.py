"""What can be measured but once in a process, or only in one that has done nothing else; prints JSON.

``python -m tests.benchmarks.probe construct|memory|upload CONTENDER ...``
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import azure_shim.client  # noqa: F401  with it comes all that a constructor needs, but for the HTTP library's binding

from .clients import build, clear_environment

__all__ = ["construct", "memory", "upload"]

_ENDPOINT = "https://resource.openai.azure.com"


@contextlib.contextmanager
def _counting_contexts() -> Iterator[list[int]]:
    """Counts the TLS contexts that are made meanwhile."""
    original, made = ssl.SSLContext.__new__, [0]

    def counting(cls: Any, *args: Any, **kwargs: Any) -> Any:
        made[0] += 1
        return original(cls, *args, **kwargs)

    ssl.SSLContext.__new__ = counting  # type: ignore[method-assign]
    try:
        yield made
    finally:
        ssl.SSLContext.__new__ = original  # type: ignore[method-assign]


def _status_bytes(name: str) -> int | None:
    """``VmRSS`` or ``VmHWM`` of this process; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _forget_peak() -> None:
    """Let the peak begin anew, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    """The most memory that this process ever had.

    ``ru_maxrss`` is a second choice: on Linux it is no less than what the parent had when it started this process.
    """
    peak = _status_bytes("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit if peak is None else peak


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd"))


def construct(name: str) -> dict[str, Any]:
    """The time for the first client of this process, and for a second one; `azure_shim.client` is loaded before."""
    start = time.perf_counter()
    clients = [build(name, _ENDPOINT)]
    first_s = time.perf_counter() - start
    later = []
    for _ in range(5):
        start = time.perf_counter()
        clients.append(build(name, _ENDPOINT))
        later.append(time.perf_counter() - start)
    with _counting_contexts() as made:
        clients.append(build(name, _ENDPOINT))
    return {"first_ms": first_s * 1e3, "second_ms": sorted(later)[2] * 1e3, "contexts": made[0]}


def memory(name: str, count: str) -> dict[str, Any]:
    """What ``count`` more clients take that all live at once, each."""
    clients = [build(name, _ENDPOINT)]
    gc.collect()
    before_bytes, before_fds = _status_bytes("VmRSS") or _peak_bytes(), _descriptors()
    with _counting_contexts() as made:
        clients += [build(name, _ENDPOINT) for _ in range(int(count))]
    gc.collect()
    grown_bytes = (_status_bytes("VmRSS") or _peak_bytes()) - before_bytes
    fds, each = _descriptors() - before_fds, len(clients) - 1
    return {"kb": grown_bytes / 1024 / each, "descriptors": fds / each, "contexts": made[0] / each}


def upload(name: str, endpoint: str, small: str, large: str) -> dict[str, Any]:
    """How far the upload of ``large`` lifts the memory's peak, after one of ``small``."""
    client = build(name, endpoint)
    with open(small, "rb") as file:
        client.files.create(file=file, purpose="batch")
    gc.collect()
    _forget_peak()
    before = _peak_bytes()
    with open(large, "rb") as file:
        client.files.create(file=file, purpose="batch")
    return {"mb": (_peak_bytes() - before) / 1e6}


if __name__ == "__main__":
    clear_environment()
    probes: dict[str, Callable[..., dict[str, Any]]] = {"construct": construct, "memory": memory, "upload": upload}
    print(json.dumps(probes[sys.argv[1]](*sys.argv[2:])))
