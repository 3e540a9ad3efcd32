"""That the benchmarks still run; what they measure is nobody's to assert."""

from __future__ import annotations

import math

import pytest

from .clients import SHIM
from .effort import SMOKE
from .suite import BENCHMARKS
from .table import line


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "idle"])
def test_a_benchmark_runs_and_has_a_number_for_the_shim(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_VERSION", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    rows = list(BENCHMARKS[name](SMOKE))
    assert rows
    for row in rows:
        assert row.note.endswith("not installed") or math.isfinite(row.cells[SHIM]), line(row)
