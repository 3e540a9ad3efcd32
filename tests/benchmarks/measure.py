"""The method: interleaved rounds in one process, each contender's cost as a ratio to the baseline's of that round."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from .effort import Effort

__all__ = ["Measured", "Sample", "cpu_s", "interleave", "per_slice"]

Sample = Mapping[str, float]
"""What one contender took in one round, by metric: ``{"cpu": 0.0012}``, per call and in seconds."""


class Measured(NamedTuple):
    """Of one metric: each contender's ratios to the baseline, round by round, and the baseline's median in seconds."""

    ratios: dict[str, list[float]]
    baseline_s: float

    def median(self, name: str) -> float:
        return statistics.median(self.ratios[name])

    def interval(self, name: str) -> tuple[float, float]:
        """Where the true median lies with a confidence of about 95 %, by the order of the rounds' ratios."""
        ordered = sorted(self.ratios[name])
        rank = math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered)))
        rank = max(rank, 0)
        return ordered[rank], ordered[-1 - rank]


@contextmanager
def _own_garbage() -> Iterator[None]:
    """Collect no garbage while a contender works, and all that it left at the end of its turn.

    Else a collection that one contender made due would fall on another.
    """
    gc.collect()
    gc.disable()
    try:
        yield
        gc.collect()
    finally:
        gc.enable()


def cpu_s(work: Callable[[], object]) -> float:
    """The CPU time of this process for ``work`` and its garbage."""
    start = 0.0
    with _own_garbage():
        start = time.process_time()
        work()
    return time.process_time() - start


def per_slice(effort: Effort, work: Callable[[], object]) -> int:
    """How many times ``work``, done twice here to see, fits in a slice."""
    work()
    start = time.process_time()
    work()
    return max(1, math.floor(effort.slice_s / max(time.process_time() - start, 1e-6)))


def interleave(works: Mapping[str, Callable[[], Sample]], baseline: str, effort: Effort) -> dict[str, Measured]:
    """Let the contenders work in turns, first once for nothing, and compare them round by round."""
    # What lives by now lives on: let no turn pay for looking at it.
    gc.collect()
    gc.freeze()
    try:
        start = time.perf_counter()
        for work in works.values():
            work()
        gc.freeze()
        round_s = time.perf_counter() - start
        rounds = min(effort.rounds, max(effort.fewest_rounds, math.floor(effort.budget_s / round_s)))
        played = [{name: works[name]() for name in _order(list(works), turn)} for turn in range(rounds)]
    finally:
        gc.unfreeze()
    return {metric: _compared(played, metric, baseline) for metric in played[0][baseline]}


def _order(names: list[str], turn: int) -> list[str]:
    """Every contender comes first, last, and after every other equally often."""
    first = turn // 2 % len(names)
    rotated = names[first:] + names[:first]
    return rotated[::-1] if turn % 2 else rotated


def _compared(played: Sequence[Mapping[str, Sample]], metric: str, baseline: str) -> Measured:
    ratios = {name: [r[name][metric] / r[baseline][metric] for r in played] for name in played[0]}
    return Measured(ratios, statistics.median(r[baseline][metric] for r in played))
