"""One target asked: when it may be, how long it may take, what its answer means, and whether another may follow."""

from __future__ import annotations

from collections.abc import Callable, Generator
from hashlib import blake2b
from typing import Any, NamedTuple, Union

from azure_shim.auth.flow import send_signed
from azure_shim.routing.bounds import FREE
from azure_shim.routing.fleet import Fleet, Site
from azure_shim.routing.looking import WHOLE_200, is_text, look
from azure_shim.routing.naming import name_at
from azure_shim.routing.noting import note_failure, steer
from azure_shim.routing.outcomes import Outcome, Outcomes, used_up
from azure_shim.routing.replay import may_repeat
from azure_shim.routing.route import Call, Naming, name_deployment
from azure_shim.routing.tree import Came
from azure_shim.values import (
    Answered,
    Attempt,
    Discard,
    Effect,
    Failed,
    Late,
    Pause,
    Refusal,
    Send,
    Target,
)
from azure_shim.wire.retry_after import retry_after_s
from azure_shim.wire.verdict import SEEN_200, SERVED, Seen, Verdict, judge

__all__ = ["OVER", "Asking", "First", "Parked", "Steps", "budget_of"]

_RETRY_ATTEMPTS = 2  # of a retry of the SDK's, whose first run has asked everybody
_WAITED_ATTEMPTS = 50  # of a call that waits for as long as its caller does
_ERROR_S = 2.0  # for an error's body, where its status is enough to ask another target
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 60.0

OVER = Came(None, moves_on=False)
"""It is decided what the caller gets."""
Steps = Generator[Effect, Any, Union[Came, None]]


class Parked(NamedTuple):
    """A target that would serve the call but for its cooling down."""

    at: int
    until: float
    told: bool


class First(NamedTuple):
    """An attempt that was made: what came of which target."""

    site: Site
    naming: Naming
    outcome: Outcome
    started: float


class Asking:
    """What came of one call so far, and the next target that it is asked of.

    ``attempts`` are those that were made; ``served`` is the site that has answered. ``first`` is the attempt that the
    call begins with, where that was made already.
    """

    __slots__ = (
        "_bounds",
        "_budget",
        "_call",
        "_deadline",
        "_deferred",
        "_final",
        "_first",
        "_fleet",
        "_has_waited",
        "_held",
        "_last_sent_at",
        "_may_have_run",
        "_may_repeat",
        "_namings",
        "_outcomes",
        "_parked",
        "_refusals",
        "attempts",
        "served",
        "wall",
    )

    def __init__(self, fleet: Fleet, call: Call, wall: Callable[[], float], first: First | None) -> None:
        self._fleet, self._call, self.wall = fleet, call, wall
        self._first = first
        started = fleet.clock() if first is None else first.started
        self._deadline = float("inf") if call.limit_s is None else started + call.limit_s
        self.attempts: list[Attempt] = []
        self.served: Site | None = None
        self._namings: dict[int, Naming | Refusal] = {}
        self._refusals: dict[int, Refusal] = {}
        self._deferred: list[int] = []
        self._parked: dict[int, Parked] = {}
        self._final: Outcome | None = None
        self._outcomes = Outcomes()
        self._held: Any = None
        self._last_sent_at = started
        self._may_repeat: bool | None = None
        self._budget = budget_of(fleet, call.retry)
        self._bounds = FREE
        self._may_have_run = self._has_waited = False

    def _stop(self) -> Came:
        """The last outcome is one that no other target can cure."""
        return self._end(self._outcomes.best if self._bounds.lost else self._outcomes.latest)

    def _end(self, outcome: Outcome | None) -> Came:
        """It is decided what the caller gets."""
        self._final = outcome
        return OVER

    def _pause(self, seconds: float) -> Generator[Effect, Any, None]:
        yield from self._let_go()
        self._has_waited = True
        yield Pause(seconds)

    def _named(self, site: Site) -> Generator[Effect, Any, Naming | Refusal]:
        """What the call is at this target, or why it cannot be there."""
        if site.is_plain:
            found = site.addresses.refusal(self._call.line) or (
                yield from name_deployment(self._call, site.target, wants_name=True)
            )
        else:
            found = yield from name_at(site, self._call)
            self._may_repeat = None  # what is sent decides, and here it may be another body
        self._namings[site.at] = found
        if isinstance(found, Refusal):
            self._refusals[site.at] = found
        return found

    # -- asking

    def _ask(self, at: int, *, is_soft: bool = True, is_forced: bool = False) -> Steps:
        """Ask a target if it serves the call and is fit; None if it was not asked."""
        if not self._bounds.allow(at):
            return None
        if self.attempts and not self._bounds.moves:
            return self._stop()
        fleet, site = self._fleet, self._fleet.sites[at]
        naming = self._namings.get(at)
        if naming is None:
            naming = yield from self._named(site)
        if isinstance(naming, Refusal):
            return None
        deployment, now = naming.deployment, fleet.clock()
        is_probe = False
        if not is_forced and self._bounds.moves and not fleet.health.is_fit(at, deployment, now):
            state = fleet.health.state(at, deployment, now)
            is_probe = state.is_probe and fleet.health.claim(at, deployment, now)
            if state.until > now or (state.is_probe and not is_probe):
                self._parked[at] = Parked(at, *fleet.health.parked(at, deployment, now))
                return None
            if is_soft and not state.is_probe and fleet.health.is_soft(at, deployment, now):
                self._deferred.append(at)
                return None
        if self._budget <= 0 or now >= self._deadline:
            if is_probe:
                fleet.health.gave_up(at, deployment)
            return self._end(self._outcomes.best or self._nothing_left(now))
        return (yield from self._try(site, naming, is_probe=is_probe))

    def _try(self, site: Site, naming: Naming, *, is_probe: bool) -> Steps:
        fleet, target, left = self._fleet, site.target, site.target.retries
        while True:
            yield from self._let_go()
            self._budget -= 1
            first, self._first = self._first, None
            started = fleet.clock() if first is None else first.started
            if first is None:
                fleet.health.enter(site.at)
            try:
                limit_s, head_s = self._limits_s(target)
                can_follow = self._untried() > 1 and self._bounds.moves
                is_replaceable = can_follow and self._repeats() and is_text(self._call.line)
                outcome: Outcome = (
                    (
                        yield from self._sending(
                            site, naming, limit_s, head_s, takes_in=is_replaceable and not self._call.streams
                        )
                    )
                    if first is None
                    else first.outcome
                )
                if isinstance(outcome, Answered) and outcome.taken_in is True:
                    seen, is_open = WHOLE_200
                else:
                    token_s = None if head_s is None else max(started + head_s - fleet.clock(), 0.001)
                    error_s = max(min(_ERROR_S, (self._deadline - fleet.clock()) / 2), 0.001) if can_follow else None
                    seen, is_open = yield from look(
                        outcome,
                        self._call.line,
                        is_replaceable=is_replaceable,
                        streams=self._call.streams,
                        token_s=token_s,
                        error_s=error_s,
                    )
            except BaseException:
                fleet.health.leave(site.at)
                if is_probe:
                    fleet.health.gave_up(site.at, naming.deployment)
                raise
            now = fleet.clock()
            verdict = SERVED if seen is SEEN_200 else judge(seen)
            if verdict.action == "serve":
                assert isinstance(outcome, Answered)
                self._serve(site, naming, outcome, started, now)
                if is_probe:
                    fleet.health.gave_up(site.at, naming.deployment)
                return OVER
            fleet.health.leave(site.at)
            if is_open and isinstance(outcome, Answered):
                self._held = outcome.response
            told_s = self._told_s(outcome)
            cooled_s = note_failure(fleet, site, naming.deployment, verdict, told_s, now)
            if is_probe:
                fleet.health.gave_up(site.at, naming.deployment)
                is_probe = False
            self._record(site, naming, outcome, verdict.name, started, now, cooled_s)
            came = self._came(outcome, seen, verdict)
            if came is not OVER and verdict.name == "content filter":
                came = (yield from self._filtered(site)) or came
            if came is OVER:
                return came
            if not left or seen.status not in target.retry_statuses or verdict.action != "next" or self._budget <= 0:
                return came
            left -= 1
            wait_s = told_s if target.honours_retry_after and told_s is not None else self._backoff_s(target, left)
            if fleet.clock() + wait_s >= self._deadline or wait_s > _LONGEST_BACKOFF_S:
                return came
            yield from self._pause(wait_s)

    def _sending(
        self, site: Site, naming: Naming, limit_s: float | None, head_s: float | None, *, takes_in: bool
    ) -> Generator[Effect, Any, Outcome]:
        """The machine that sends the call to a target, with what signs it there."""
        call, target = self._call, site.target
        there = site.addresses.address(call.line, naming)
        headers, body = site.headers(call.headers), naming.body
        if call.explicit or (target.credential.is_absent and target.headers):
            return _sent(Send(there, headers, call.explicit, body, False, limit_s, head_s, takes_in))
        return send_signed(target.credential, there, headers, body, site.addresses.renewals, limit_s, head_s, takes_in)

    def _nothing_left(self, now: float) -> Outcome:
        if now >= self._deadline:
            return Late("the call's timeout was over before a target could be asked")
        return used_up(self._fleet)

    # -- how long it may take, and what may follow

    def _limits_s(self, target: Target) -> tuple[float | None, float | None]:
        """How long this attempt may wait for each sign of life; and for a stream's first token, if that is less.

        The caller's limit is one for all attempts, but of a stream: there it is the gap between two tokens, and the one
        limit is that of the first token. Where that can still come from another target, a target that stalls gets half
        of what is left. An answer that comes whole is not cut short so, for it may be a long one, and paid for (P53).
        """
        own, limit = target.timeout_s, self._call.limit_s
        if limit is None:
            return own, None
        streams = self._call.streams
        if not streams and not self.attempts and not self._has_waited:
            return own, None
        left = max(self._deadline - self._fleet.clock(), 0.001)
        if not streams:
            return left if own is None else min(own, left), None
        if self._budget > 0 and self._can_move() and self._untried() > 1:
            left /= 2
        return own, left if own is None else min(own, left)

    def _untried(self) -> int:
        """How many targets may be asked yet, this one among them."""
        if not self.attempts and not self._refusals and self._bounds.allowed is None:
            return len(self._fleet.sites)
        tried = {attempt.target for attempt in self.attempts}
        return sum(
            site.name not in tried and site.at not in self._refusals and self._bounds.allow(site.at)
            for site in self._fleet.sites
        )

    def _repeats(self) -> bool:
        """Whether the call may be sent again after it may have run."""
        if self._may_repeat is None:
            call, policy = self._call, self._fleet.rules.replay
            sent = [
                b"".join(naming.body.chunks)
                for at, naming in self._namings.items()
                if self._fleet.sites[at].others and isinstance(naming, Naming) and naming.body is not None
            ]
            # What is packed cannot be looked into, and so may say that it is to be stored.
            is_packed = call.content_encoding not in ("", "identity") and policy != "always"
            self._may_repeat = not is_packed and all(
                may_repeat(call.line, content, policy) for content in (call.content, *sent)
            )
        return self._may_repeat

    def _can_move(self) -> bool:
        """Whether what may have run may be asked of another target."""
        return self._bounds.moves and self._repeats()

    def _note_ran(self, error: Exception, *, may_have_run: bool = True) -> None:
        """Remember that the SDK's retries of this call are not to be sent, and how it failed."""
        call = self._call
        self._fleet.ran.put(
            self._key(),
            tuple(self.attempts),
            error,
            retry=call.retry,
            is_own_key=call.key is not None,
            may_have_run=may_have_run,
        )

    def _key(self) -> bytes:
        """What the SDK's retries of one call have in common.

        A client of ours says which call a request belongs to. Of others it is the line and the body, or its length.
        """
        call = self._call
        if call.key is not None:
            return call.key.encode()
        line = f"{call.line.operation} {call.line.path}\0".encode()
        return blake2b(line + (call.content_length if call.content is None else call.content), digest_size=16).digest()

    def _let_go(self) -> Generator[Effect, Any, None]:
        """Close an answer that still has its connection, before another one is opened or waited for."""
        if self._held is not None:
            held, self._held = self._held, None
            self._outcomes.dropped(held)
            yield Discard(held)

    # -- what came of it

    def _serve(self, site: Site, naming: Naming, outcome: Answered, started: float, now: float) -> None:
        health = self._fleet.health
        self._held = None
        health.went_well(site.at, naming.deployment, now, now - started)
        steer(self._fleet, site, naming.deployment, outcome, now)
        self._record(site, naming, outcome, "served", started, now, 0.0)
        self.served = site
        for id_ in self._bounds.lost:
            self._fleet.homes.saw(id_, site.name)
        asked, sent = naming.model, naming.deployment
        if site.target.is_openai and asked is not None and sent is not None and asked != sent:
            outcome = outcome._replace(renamed=(sent, asked))
        self._end(outcome)

    def _came(self, outcome: Outcome, seen: Seen, verdict: Verdict) -> Came:
        """Whether another target may be asked; if not in any case, what the caller gets."""
        status = seen.status
        self._outcomes.add(outcome, verdict, status, self._bounds)
        moves_on = verdict.action == "next" and self._bounds.moves
        if self._bounds.lost:
            # Where the thing is, neither this nor a plan's list of statuses says.
            status, moves_on = None, True
        if self._bounds.is_fixed and seen.code == "previous_response_not_found":
            moves_on = True
        self._may_have_run |= verdict.may_have_run and verdict.action == "next"
        can_repeat = isinstance(outcome, (Refusal, Late)) or outcome.can_repeat
        ran = verdict.may_have_run and not self._repeats() and verdict.name != "content filter"
        if ran or not can_repeat:
            if ran and isinstance(outcome, Failed):
                self._note_ran(outcome.error)
            return self._end(outcome)
        return Came(status, moves_on)

    def _filtered(self, site: Site) -> Steps:
        """What a content filter refused goes to the target that the plan names for it, if it does."""
        name = self._fleet.rules.content_filter
        other = self._fleet.by_name.get(name) if name is not None else None
        if other is None or other is site or not self._bounds.moves:
            return None
        before = self._outcomes.best
        found = yield from self._ask(other.at, is_soft=False, is_forced=True)
        return found if found is OVER else self._end(self._outcomes.best or before)

    def _told_s(self, outcome: Outcome) -> float | None:
        if not isinstance(outcome, Answered) or outcome.status not in (429, 503):
            return None
        return retry_after_s(outcome.response.headers.get, self.wall())

    def _record(
        self, site: Site, naming: Naming, outcome: Outcome, reason: str, started: float, now: float, cooled_s: float
    ) -> None:
        status = outcome.status if isinstance(outcome, Answered) else None
        waited_s = started - self._last_sent_at
        self._last_sent_at = now
        self.attempts.append(
            Attempt(site.name, site.target.region, naming.deployment, status, reason, waited_s, now - started, cooled_s)
        )

    def _backoff_s(self, target: Target, left: int) -> float:
        done = target.retries - left - 1
        return min(_FIRST_BACKOFF_S * 2.0**done, _LONGEST_BACKOFF_S) * (
            0.75 + 0.25 * self._fleet.health.random.random()
        )


def _sent(send: Send) -> Generator[Effect, Any, Outcome]:
    outcome = yield send
    assert isinstance(outcome, (Answered, Failed))
    return outcome


def budget_of(fleet: Fleet, retry: int) -> int:
    """How many attempts this run of the call has, of all that the plan grants to the call and its retries.

    A retry of the SDK's comes without any memory of what was sent before it. So each is counted as if it had used what
    it was given, and the sum over them never exceeds the plan's bound.
    """
    bound, share = fleet.rules.attempts, fleet.share
    if fleet.rules.on_exhausted == "wait":
        bound = share = _WAITED_ATTEMPTS if bound is None else bound
    if bound is not None:
        return max(0, min(share, bound - retry * share))
    return min(_RETRY_ATTEMPTS, share) if retry else share
