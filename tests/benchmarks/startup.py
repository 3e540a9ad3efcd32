"""What a program pays before its first call: imports, constructors, and the memory of a client."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .clients import CONTENDERS, HTTP_CLIENT, OPENAI, SHIM
from .effort import Effort
from .processes import fresh, install, probe
from .table import Row

__all__ = ["clients_in_memory", "constructors", "imports"]

_IMPORT = """
import time
start = time.process_time()
import openai
of_openai = time.process_time()
import azure_shim
ours = time.process_time()
from azure_shim import OpenAI
print(of_openai - start, ours - of_openai, time.process_time() - of_openai)
"""
_TARGET_IMPORT_MS = 10.0


def imports(effort: Effort) -> Iterator[Row]:
    """The CPU time of an import in a fresh interpreter that has imported openai; beside it that of openai.

    The package loads its modules when they are first used, so that its own name alone says little; the second row is
    what a program pays that goes on to make a client.
    """
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        printed = [fresh("-c", _IMPORT, first=Path(folder)) for _ in range(effort.processes)]
    took = [[float(word) for word in line.split()] for line in printed]
    of_openai, package, client = (statistics.median(times) * 1e3 for times in zip(*took, strict=True))
    for statement, ours in (("import azure_shim", package), ("from azure_shim import OpenAI", client)):
        yield Row(f"{statement}, after openai", {OPENAI: of_openai, SHIM: ours}, "ms", _TARGET_IMPORT_MS)


def _contenders(effort: Effort) -> tuple[str, ...]:
    return CONTENDERS if effort.every_contender else (SHIM,)


def constructors(effort: Effort) -> Iterator[Row]:
    """The wall time of the first client of a process and of a second one with the same settings; TLS contexts made."""
    probed = {
        name: [probe("construct", name) for _ in range(max(1, effort.processes // 2))] for name in _contenders(effort)
    }
    works = (
        ("first client of a process", "first_ms", "ms", None),
        ("second client, same settings", "second_ms", "ms", 1.0),
        ("TLS contexts that a second client makes", "contexts", "#", 0.0),
    )
    for work, metric, unit, target in works:
        cells = {name: statistics.median(found[metric] for found in several) for name, several in probed.items()}
        yield Row(work, cells, unit, target)


def clients_in_memory(effort: Effort) -> Iterator[Row]:
    """What a client takes of a process that holds many of the same settings."""
    # Each of the SDK's own reads the certificates and keeps half a megabyte: a tenth of them tells as much.
    counts = {SHIM: effort.clients, HTTP_CLIENT: effort.clients}
    probed = {name: probe("memory", name, counts.get(name, -(-effort.clients // 10))) for name in _contenders(effort)}
    works = {"memory": ("kb", "kB"), "descriptors": ("descriptors", "#"), "TLS contexts": ("contexts", "#")}
    for work, (metric, unit) in works.items():
        cells = {name: found[metric] for name, found in probed.items()}
        yield Row(f"{work} per client, of {effort.clients}", cells, unit)
