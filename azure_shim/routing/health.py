"""What is known of each target's state: who is cooling down and until when, who is slow, who is busy.

One `Health` is shared by all clients of one plan, whatever thread or event loop they run in. The path of a call that
goes well takes no lock: it reads numbers, and counts what is in flight by the length of a deque, whose ends are atomic.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from math import exp
from random import Random
from typing import Any, NamedTuple

from azure_shim.values import Target

__all__ = ["MAX_COOLDOWN_S", "SLOW_START_S", "Health", "Record", "State", "TargetHealth"]

MAX_COOLDOWN_S = 600.0
"""The longest that any target is left alone, whatever its Retry-After says ("86400" is seen in practice)."""
# From the first failure in a row to the longest pause, where the service does not say how long.
_PAUSES_S = {"deployment": (2.0, 60.0), "resource": (1.0, 30.0), "credential": (30.0, 300.0)}
_JITTER = 0.1
_CELLS = 1000
_LOOK_AGAIN_S = 1.0
_PROBE_S = 60.0  # a probe that has not come back by then does not count
_SUSPECT_S = 5.0
SLOW_START_S = 10.0
_WINDOW_S, _SAMPLE, _ERROR_RATE, _OPEN_S = 30.0, 10, 0.5, 10.0
_LATENCY_S = 60.0
_SPENT_S = 10.0  # a limit that says nothing of its reset is looked at again after this


class State(NamedTuple):
    """Whether a target may be sent a call: ``until`` is when, if not now; ``is_probe`` that it would be a probe.

    ``told`` says that the service itself named the time.
    """

    until: float = 0.0
    is_probe: bool = False
    told: bool = False


_OPEN = State()


class TargetHealth(NamedTuple):
    """One target as ``client.health()`` shows it; times are seconds from now.

    ``state`` is ``"healthy"``, ``"cooling"`` (for ``cooling_s``, because of ``reason``) or ``"half-open"``, which is
    when a single call goes first. ``deployments`` has the ones that cool down alone. ``error_rate`` is that of the last
    half minute, None for too few calls.
    """

    target: str
    region: str | None
    state: str
    cooling_s: float
    reason: str | None
    deployments: dict[str, float]
    in_flight: int
    latency_s: float | None
    error_rate: float | None


class _Cell:
    """What cools down as one: a deployment, a resource, or a credential."""

    __slots__ = ("failures", "probed_until", "reason", "told", "until")

    def __init__(self) -> None:
        self.until = self.probed_until = 0.0
        self.failures = 0
        self.told = False
        self.reason = ""


class Record:
    """What is known of one target; its numbers are read as they are, and changed by `Health`."""

    __slots__ = (
        "credential",
        "deployments",
        "errors",
        "in_flight",
        "is_troubled",
        "latency_s",
        "lock",
        "measured_at",
        "recovered_at",
        "resource",
        "spent",
        "suspect_until",
        "target",
        "total",
        "window_at",
    )

    def __init__(self, target: Target) -> None:
        self.target = target
        self.lock = threading.Lock()
        self.resource, self.credential = _Cell(), _Cell()
        self.deployments: dict[str | None, _Cell] = {}
        self.spent: dict[str | None, float] = {}
        self.in_flight: deque[None] = deque()
        self.latency_s: float | None = None
        self.measured_at = self.suspect_until = self.window_at = 0.0
        self.recovered_at = float("-inf")
        self.total = self.errors = 0
        self.is_troubled = False  # whether any cell has failures: a look at one flag is all that most calls need

    def is_fit(self, deployment: str | None, now: float) -> bool:
        """Whether the target may be sent a call, and there is no reason to ask others first."""
        if self.is_troubled or self.suspect_until > now:
            return False
        return not self.spent or self.spent.get(deployment, 0.0) <= now

    def leave(self) -> None:
        """A call is over."""
        if self.in_flight:  # one that began before a fork is the parent's to count
            self.in_flight.pop()

    def cells(self, deployment: str | None) -> list[_Cell]:
        """The cells of a call that have ever failed."""
        found = [self.resource] if self.resource.failures else []
        if self.credential.failures:
            found.append(self.credential)
        own = self.deployments.get(deployment)
        if own is not None and own.failures:
            found.append(own)
        return found


class Health:
    """The state of the targets of one plan, by their numbers in it.

    ``clock`` gives monotonic seconds: a wall clock that jumps would park a target for good.
    """

    def __init__(
        self, targets: Sequence[Target], clock: Callable[[], float] = time.monotonic, random: Random | None = None
    ) -> None:
        self.clock, self.random = clock, random or Random()  # noqa: S311  it spreads load, it protects nothing
        self.records = [Record(target) for target in targets]
        self.recovered_at = float("-inf")

    # -- what a call asks

    def is_fit(self, at: int, deployment: str | None, now: float) -> bool:
        """Whether target ``at`` may be sent a call, and there is no reason to ask others first."""
        return self.records[at].is_fit(deployment, now)

    def state(self, at: int, deployment: str | None, now: float) -> State:
        """Whether target ``at`` may be sent a call for ``deployment``."""
        site = self.records[at]
        cells = site.cells(deployment) if site.is_troubled else None
        if not cells:
            return _OPEN
        worst = max(cells, key=_free_at)
        free_at = _free_at(worst)
        if free_at > now:
            return State(free_at, told=worst.told)
        return State(is_probe=True)

    def parked(self, at: int, deployment: str | None, now: float) -> tuple[float, bool]:
        """Until when a target is left alone, and whether it said so itself.

        While another call is its probe, a moment: what comes of it is known soon.
        """
        cells = self.records[at].cells(deployment)
        if not cells:
            return now, False
        worst = max(cells, key=lambda cell: cell.until)
        return (worst.until, worst.told) if worst.until > now else (now + _LOOK_AGAIN_S, False)

    def is_probed(self, at: int, deployment: str | None, now: float) -> bool:
        """Whether a target's time is over, and another call is the first to try it."""
        cells = self.records[at].cells(deployment)
        return any(cell.probed_until > now for cell in cells) and all(cell.until <= now for cell in cells)

    def recovery_s(self, at: int, deployment: str | None, now: float) -> float:
        """How long until a target may be asked; 0 for now."""
        if self.state(at, deployment, now).until <= now:
            return 0.0
        return self.parked(at, deployment, now)[0] - now

    def claim(self, at: int, deployment: str | None, now: float) -> bool:
        """Take the single probe of a target whose time is over; False if another call has it."""
        site = self.records[at]
        with site.lock:
            cells = site.cells(deployment)
            if any(_free_at(cell) > now for cell in cells):
                return False
            for cell in cells:
                cell.probed_until = now + _PROBE_S
            return True

    def is_soft(self, at: int, deployment: str | None, now: float) -> bool:
        """Whether others should be asked first: a limit is used up, or something went wrong a moment ago."""
        site = self.records[at]
        if site.suspect_until > now:
            return True
        spent = site.spent
        return bool(spent) and spent.get(deployment, 0.0) > now

    def load(self, at: int) -> int:
        return len(self.records[at].in_flight)

    def is_even(self, now: float) -> bool:
        """Whether no target has recovered a moment ago, so that all of them get their whole weight."""
        return now - self.recovered_at >= SLOW_START_S

    def share(self, at: int, now: float) -> float:
        """From 0 to 1: how much of its weight a target gets, less just after it has recovered."""
        since = now - self.records[at].recovered_at
        return 1.0 if since >= SLOW_START_S else max(0.1, since / SLOW_START_S)

    def expected_s(self, at: int, now: float) -> float:
        """How long an answer takes, with what is in flight already; a measurement fades, so that it is made again."""
        site = self.records[at]
        if site.latency_s is None:
            return 0.0
        return site.latency_s * exp((site.measured_at - now) / _LATENCY_S) * (len(site.in_flight) + 1)

    # -- what a call tells

    def enter(self, at: int) -> None:
        self.records[at].in_flight.append(None)

    def leave(self, at: int) -> None:
        self.records[at].leave()

    def went_well(self, at: int, deployment: str | None, now: float, duration_s: float) -> None:
        """Note that target ``at`` has answered, after so many seconds."""
        site = self.records[at]
        known = site.latency_s
        site.latency_s = duration_s if known is None else known + 0.2 * (duration_s - known)
        site.measured_at = now
        if now - site.window_at > _WINDOW_S:
            self._count(site, now, is_fault=False)
        else:
            site.total += 1
        if not site.is_troubled:
            return
        with site.lock:
            for cell in site.cells(deployment):
                if cell.until <= now:  # what another call has met meanwhile stands
                    cell.failures, cell.probed_until = 0, 0.0
                    site.recovered_at = self.recovered_at = now
            site.is_troubled = any(c.failures for c in (site.resource, site.credential, *site.deployments.values()))

    def went_wrong(
        self, at: int, deployment: str | None, now: float, *, cools: str | None, is_fault: bool, told_s: float | None,
        reason: str,
    ) -> float:  # fmt: skip
        """Note a failure; for how many seconds the target, or a part of it, gets no calls now.

        ``cools`` says which part, ``told_s`` is the service's own word, ``is_fault`` whether it counts as an error.
        """
        site = self.records[at]
        cooled = 0.0
        if is_fault:
            site.suspect_until = now + _SUSPECT_S
            if self._count(site, now, is_fault=True) and cools is None:
                return self._open(site, now)
        if cools is not None:
            cooled = self._cool(site, self._cell(site, cools, deployment), cools, now, told_s, reason)
        return cooled

    def gave_up(self, at: int, deployment: str | None) -> None:
        """The call that was the target's probe has ended without success: the next probe is another's."""
        site = self.records[at]
        for cell in site.cells(deployment):
            cell.probed_until = 0.0

    def spend(self, at: int, deployment: str | None, now: float, reset_s: float | None) -> None:
        """The target's limit for ``deployment`` is used up until it resets."""
        spent = self.records[at].spent
        if len(spent) >= _CELLS:
            spent.clear()
        spent[deployment] = now + min(reset_s or _SPENT_S, _SPENT_S)

    def has_spent(self, at: int) -> bool:
        """Whether a limit of the target was used up and has not been seen whole again."""
        return bool(self.records[at].spent)

    def refill(self, at: int, deployment: str | None) -> None:
        """The target's limit for ``deployment`` is not used up, or no longer."""
        self.records[at].spent.pop(deployment, None)

    def penalize(self, at: int, now: float) -> None:
        """An answer broke off in its middle."""
        site = self.records[at]
        site.suspect_until = now + _SUSPECT_S
        if self._count(site, now, is_fault=True):
            self._open(site, now)

    # -- how it is kept

    def _cell(self, site: Record, cools: str, deployment: str | None) -> _Cell:
        if cools == "resource":
            return site.resource
        if cools == "credential":
            return site.credential
        with site.lock:
            if len(site.deployments) >= _CELLS:
                # Names come from callers. What has never failed goes first, then what has recovered longest ago.
                kept = sorted(site.deployments.items(), key=lambda item: item[1].until)[_CELLS // 2 :]
                site.deployments = dict(kept)
            return site.deployments.setdefault(deployment, _Cell())

    def _open(self, site: Record, now: float) -> float:
        """Open the circuit: too many of the last calls were faults."""
        return self._cool(site, site.resource, "resource", now, None, "error rate", _OPEN_S)

    def _cool(
        self,
        site: Record,
        cell: _Cell,
        cools: str,
        now: float,
        told_s: float | None,
        reason: str,
        least_s: float = 0.0,
    ) -> float:
        first_s, longest_s = _PAUSES_S[cools]
        first_s = max(first_s, least_s)
        with site.lock:
            cell.failures += 1
            site.is_troubled = True
            pause_s = told_s if told_s is not None else min(longest_s, first_s * 2.0 ** min(cell.failures - 1, 16))
            pause_s = min(pause_s * (1 + _JITTER * self.random.random()), MAX_COOLDOWN_S)
            if now + pause_s >= cell.until:
                cell.until, cell.reason, cell.told = now + pause_s, reason, told_s is not None
            return cell.until - now

    def _count(self, site: Record, now: float, *, is_fault: bool) -> bool:
        """Count a call; whether too many of the last ones were faults. Threads may lose a count, which is no harm."""
        if now - site.window_at > _WINDOW_S:
            site.window_at, site.total, site.errors = now, 0, 0
        site.total += 1
        if not is_fault:
            return False
        site.errors += 1
        if site.total < _SAMPLE or site.errors < _ERROR_RATE * site.total:
            return False
        site.window_at, site.total, site.errors = now, 0, 0
        return True

    # -- what people ask

    def snapshot(self) -> tuple[TargetHealth, ...]:
        now = self.clock()
        return tuple(_shown(site, now) for site in self.records)

    def forget_parent(self) -> None:
        """After a fork: what is in flight is the parent's, and a lock may be held by a thread that is not here."""
        for site in self.records:
            site.lock = threading.Lock()
            site.in_flight.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> Health:
        return self


def _free_at(cell: _Cell) -> float:
    return max(cell.until, cell.probed_until)


def _shown(site: Record, now: float) -> TargetHealth:
    whole = [cell for cell in (site.resource, site.credential) if cell.failures]
    worst = max(whole, key=_free_at, default=None)
    cooling_s = max(0.0, worst.until - now) if worst is not None else 0.0
    state = "healthy" if worst is None else "cooling" if cooling_s else "half-open"
    own = {
        name or "": round(cell.until - now, 3)
        for name, cell in list(site.deployments.items())
        if cell.failures and cell.until > now
    }
    rate = site.errors / site.total if site.total >= _SAMPLE else None
    return TargetHealth(
        site.target.name,
        site.target.region,
        state,
        round(cooling_s, 3),
        worst.reason if worst is not None else None,
        own,
        len(site.in_flight),
        site.latency_s,
        rate,
    )
