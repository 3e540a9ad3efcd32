"""A large multipart upload from a file: CPU time, and how far it lifts the memory's peak."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .clients import AZURE, CONTENDERS, SHIM, build, close
from .effort import Effort
from .measure import Sample, cpu_s, interleave
from .processes import Server, probe
from .table import Row, ratios

__all__ = ["upload"]


def upload(effort: Effort) -> Iterator[Row]:
    """``files.create`` from an open file, to a server that counts and discards."""
    name = f"{effort.upload_bytes / 1e6:g} MB upload"
    with tempfile.TemporaryDirectory() as folder, Server(effort) as server:
        small, large = _hollow(Path(folder, "small"), 1_000_000), _hollow(Path(folder, "large"), effort.upload_bytes)
        endpoint = server.endpoint("files")
        probed = CONTENDERS if effort.every_contender else (SHIM,)
        peaks = {contender: probe("upload", contender, endpoint, small, large)["mb"] for contender in probed}
        yield Row(f"{name}, peak of memory", peaks, "MB", 10.0)
        clients = {contender: build(contender, endpoint) for contender in CONTENDERS}
        try:
            turns = {contender: _turn(client, large) for contender, client in clients.items()}
            yield ratios(f"{name}, CPU", interleave(turns, AZURE, effort)["cpu"])
        finally:
            close(clients.values())


def _hollow(path: Path, size_bytes: int) -> Path:
    """A file of zeros that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return path


def _turn(client: Any, path: Path) -> Callable[[], Sample]:
    def send() -> None:
        with path.open("rb") as file:
            received = client.files.create(file=file, purpose="batch").bytes
        assert received > path.stat().st_size, "the server got less than the file"

    return lambda: {"cpu": cpu_s(send)}
