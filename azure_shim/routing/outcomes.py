"""Of the outcomes of a call's attempts, the one that its caller gets if nobody serves it; and what he hears if none."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Union

from azure_shim.routing.bounds import Bounds
from azure_shim.routing.fleet import Fleet
from azure_shim.values import Answered, Failed, Late, Refusal
from azure_shim.wire.verdict import Verdict

__all__ = ["Outcome", "Outcomes", "all_cooling", "copied", "is_retried", "nobody_serves", "used_up"]

Outcome = Union[Answered, Failed, Refusal, Late]
# What the SDK sends again by itself (openai/_base_client.py), and so reads the headers for retries of.
_RETRIED = frozenset((408, 409, 429))


class Outcomes:
    """What came of the attempts so far. ``best`` is for a caller who gets nothing better."""

    __slots__ = ("_unsure", "best", "latest")

    def __init__(self) -> None:
        self.best: Outcome | None = None
        self.latest: Outcome | None = None
        self._unsure: Outcome | None = None

    def add(self, outcome: Outcome, verdict: Verdict, status: int | None, bounds: Bounds) -> None:
        """Note an outcome.

        The caller gets a real answer rather than none; one that a retry may cure rather than what would stay as it is;
        and of a thing that nobody has, the answer of where it would be.
        """
        self.latest = outcome
        best = self.best
        if bounds.lost and status != 404:
            self._unsure = outcome
        is_kept = isinstance(best, Answered) and (
            bool(bounds.lost)
            or not isinstance(outcome, Answered)
            or (is_retried(best.status) and not is_retried(outcome.status))
        )
        if not is_kept and not (verdict.skips and best is not None):
            self.best = outcome

    def dropped(self, response: object) -> None:
        """An answer is closed, for its connection is needed: nobody can get it any more."""
        if isinstance(self.best, Answered) and self.best.response is response:
            self.best = None

    def final(self, bounds: Bounds, *, is_anyone_parked: bool) -> Outcome | None:
        """The outcome for the caller after all targets were asked; None if there is none."""
        best = self.best
        if bounds.lost and isinstance(best, Answered) and best.status == 404:
            # It is missing where it was looked for, but may be where nobody could look.
            return self._unsure or (None if is_anyone_parked else best)
        return best


def is_retried(status: int) -> bool:
    """Whether the SDK sends again what was answered so."""
    return status in _RETRIED or status >= 500


def copied(error: Exception) -> Exception:
    """An error to raise once more: one object raised by many calls would gather all of their tracebacks."""
    try:
        return copy(error)
    except Exception:  # noqa: BLE001  a class that cannot be made again
        return error


def all_cooling(names: list[str], retry_s: float) -> Refusal:
    """The answer where nobody was asked, since all are cooling down: what Azure itself would say."""
    return Refusal(
        429,
        "429",
        f"All targets that serve this call are cooling down: {', '.join(names)}. Please retry after "
        f"{max(1, round(retry_s))} seconds.",
        retry_after_s=retry_s,
    )


def nobody_serves(fleet: Fleet, refusals: Mapping[int, Refusal]) -> Refusal:
    """Why no target serves the call: one reason if all have the same, else who has what (P40)."""
    if not refusals:
        return Refusal(404, "NoTarget", "No target is left for this call: no condition of the plan fits it.")
    found = list(refusals.values())
    if len({(refusal.status, refusal.code) for refusal in found}) == 1 and found[0].status == 400:
        return found[0]
    reasons = "\n".join(f"  {fleet.sites[at].name}: {refusal.message}" for at, refusal in sorted(refusals.items()))
    return Refusal(404, "NoTargetServes", f"No target serves this call:\n{reasons}")


def used_up(fleet: Fleet) -> Refusal:
    """The answer to a retry of the SDK's for which no attempts are left."""
    return Refusal(
        503,
        "AttemptsExhausted",
        f"The plan's attempts for one call ({fleet.rules.attempts}) are used up by the retries before this.",
    )
