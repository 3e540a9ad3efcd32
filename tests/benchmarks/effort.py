"""How long to measure, and on how much."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "SMOKE", "Effort"]


@dataclass(frozen=True)
class Effort:
    """Rounds, and sizes of the works.

    A slice is what one contender does in one round without a break; a work gets as many rounds, up to ``rounds``, as
    fit in ``budget_s``, but no fewer than ``fewest_rounds``.
    """

    rounds: int = 100
    fewest_rounds: int = 9
    slice_s: float = 0.03
    budget_s: float = 15.0
    vision_bytes: int = 5_000_000
    chunks: int = 200
    embeddings: int = 2_048
    dimensions: int = 1_536
    in_flight: tuple[int, ...] = (1, 32, 256)
    idle_s: float = 6.0
    idle_rounds: int = 3
    processes: int = 11
    clients: int = 1_000
    upload_bytes: int = 300_000_000
    refresh_s: float = 3.0
    refreshes: int = 7
    burst: int = 40  # calls of each of the most callers at once
    # In processes of their own, of which each takes a second to start.
    every_contender: bool = True


FULL = Effort()
QUICK = Effort(rounds=40, fewest_rounds=5, budget_s=5.0, processes=5, clients=200, refreshes=3, burst=15)
SMOKE = Effort(
    rounds=1,
    fewest_rounds=1,
    slice_s=0.0,
    budget_s=0.0,
    vision_bytes=50_000,
    chunks=5,
    embeddings=8,
    dimensions=16,
    in_flight=(1, 4),
    idle_s=0.0,
    idle_rounds=1,
    processes=1,
    clients=3,
    upload_bytes=2_000_000,
    refresh_s=1.0,
    refreshes=1,
    burst=2,
    every_contender=False,
)
