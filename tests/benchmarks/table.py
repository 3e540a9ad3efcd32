"""What was measured, as rows of one table."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .clients import AZURE, CONTENDERS, SHIM
from .measure import Measured

__all__ = ["Row", "as_json", "heading", "line", "ratios", "versions"]

_WIDTH = 46
_PACKAGES = (
    "openai",
    "httpx",
    "httpcore",
    "httpx2",
    "httpcore2",
    "aiohttp",
    "httpx-aiohttp",
    "anyio",
    "pydantic",
    "azure-identity",
    "azure-core",
    "msal",
)


@dataclass(frozen=True)
class Row:
    """One work, and what each contender took for it: a ratio to ``openai.AzureOpenAI`` if there is no unit.

    ``target`` is for `SHIM`, the most that it should take. ``interval`` is where its median lies with 95 % confidence.
    """

    work: str
    cells: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""
    target: float | None = None
    interval: tuple[float, float] | None = None
    note: str = ""

    def verdict(self) -> str:
        value = self.cells.get(SHIM)
        if value is None:
            return "not measured"
        if self.target is None:
            return "no target"
        low, high = self.interval or (value, value)
        sure = "" if high <= self.target or low > self.target else ", within the noise"
        if value <= self.target:
            return f"met{sure}"
        return f"missed by {_shown(value - self.target, self.unit)}{sure}"


def ratios(work: str, measured: Measured, target: float | None = None) -> Row:
    """The row of a work that was measured in rounds."""
    low, high = measured.interval(SHIM)
    rounds = len(measured.ratios[SHIM])
    note = f"1 = {measured.baseline_s * 1e3:.3g} ms; {SHIM} {low:.3f} to {high:.3f} in {rounds} rounds"
    cells = {name: measured.median(name) for name in CONTENDERS if name in measured.ratios}
    return Row(work, cells, target=target, interval=(low, high), note=note)


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if not unit:
        return f"{value:.3f}"
    return f"{value:.3g} {unit}".strip("# ") if abs(value) < 100 else f"{value:.0f} {unit}".strip("# ")


def versions() -> dict[str, str]:
    """Of everything that the numbers depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "cpus": str(os.cpu_count())}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def heading() -> str:
    """The head of the table."""
    columns = "".join(f"{name:>24}" for name in CONTENDERS)
    title = f"{'work':<{_WIDTH}}{columns}{'target':>10}  verdict"
    return f"{title}\n{'-' * (len(title) + 24)}"


def line(row: Row) -> str:
    """One row of the table."""
    cells = "".join(f"{_shown(row.cells.get(name), row.unit):>24}" for name in CONTENDERS)
    target = "" if row.target is None else f"{row.target:g}"
    verdict = f"{row.verdict()}  ({row.note})" if row.note else row.verdict()
    return f"{row.work:<{_WIDTH}}{cells}{target:>10}  {verdict}"


def as_json(rows: list[Row]) -> dict[str, Any]:
    """All of it, for a comparison with another day or machine."""
    return {
        "versions": versions(),
        "ratios_to": AZURE,
        "rows": [{**asdict(row), "verdict": row.verdict()} for row in rows],
    }
