"""One call through several targets: in which order they are asked, and what the caller gets where none has served.

A `Trip` is the state of one call, a `Fleet` what all calls share. As in `route`, nothing here does I/O.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

from azure_shim.routing.asking import OVER, Asking, First, Parked, Steps, budget_of
from azure_shim.routing.bounds import bounds_of
from azure_shim.routing.conditions import context_of
from azure_shim.routing.fleet import Fleet, Wishes
from azure_shim.routing.homes import answer_ids
from azure_shim.routing.outcomes import Outcome, all_cooling, copied, is_retried, nobody_serves
from azure_shim.routing.route import Call, Naming, Route
from azure_shim.routing.sessions import session_of
from azure_shim.routing.tree import Came, Hold, Tree, Wanted
from azure_shim.values import Answered, Effect, Failed, Refusal
from azure_shim.wire.verdict import Seen, failure_of, judge

__all__ = ["Trip"]

_LEAST_WAIT_S = 0.02
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_PROBE_WAITS_S = (0.05, 0.1, 0.2, 0.4)


class Trip(Asking):
    """One call on its way.

    ``order`` is the one in which the targets are to be asked, where that was drawn already.
    """

    __slots__ = ("_drawn", "_session", "_wishes", "retry_s")

    def __init__(
        self,
        fleet: Fleet,
        call: Call,
        wishes: Wishes,
        wall: Callable[[], float] = time.time,
        first: First | None = None,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__(fleet, call, wall, first)
        self._wishes, self._drawn = wishes, order
        self._session: str | None = None
        self.retry_s: float | None = None
        """How long until the first target recovers, where all of them are cooling down."""

    def run(self) -> Route:
        """Ask one target after the other; the answer for the caller."""
        fleet, call = self._fleet, self._call
        bounds = bounds_of(fleet, call, self._wishes)
        if isinstance(bounds, Refusal):
            return bounds
        self._bounds = bounds
        if call.retry:
            # What the SDK sends again here may have run already, or has no attempts left.
            ran = fleet.ran.get(self._key(), call.retry, is_own_key=call.key is not None)
            if ran is not None and (ran.may_have_run or self._budget <= 0):
                self.attempts += ran.attempts
                return Failed(copied(ran.error))
        self._session = session_of(call.content, call.headers or (), fleet.rules.session_header)
        backoff_s = _FIRST_WAIT_S
        while True:
            yield from self._round()
            if self._final is not None:
                final, self._final = self._final, None  # whose stream will refer to this trip
                return final
            if fleet.rules.on_exhausted != "wait" or self._budget <= 0:
                break
            wait_s = self._recovery_s()
            if wait_s is None:
                if not (self.attempts and self._is_another_free()):
                    break
                # Nobody says when, and nobody need be left alone: less and less often, as the SDK would.
                wait_s = min(backoff_s, (self._deadline - fleet.clock()) / 2)
                if wait_s < min(_FIRST_WAIT_S, (call.limit_s or _FIRST_WAIT_S) / 4):
                    break
                backoff_s = min(2 * backoff_s, _LONGEST_WAIT_S)
            wait_s = max(wait_s, _LEAST_WAIT_S)
            if fleet.clock() + wait_s >= self._deadline:
                break
            yield from self._pause(wait_s)
            self._deferred, self._parked = [], {}
        return self._exhausted()

    def _round(self) -> Generator[Effect, Any, None]:
        """Ask every target that may be asked once, until one has served or nobody may be asked any more."""
        fleet, asked = self._fleet, len(self.attempts)
        stop = yield from self._walk()
        if stop is OVER:
            return
        if stop is not None and not stop.moves_on:
            self._stop()
            return
        for at in self._deferred:
            came = yield from self._ask(at, is_soft=False)
            if came is OVER:
                return
            if came is not None and not fleet.tree.moves_on(at, came):
                self._stop()
                return
        yield from self._wait_for_probes()
        # Whose time is a guess of ours is asked before the call is lost: its answer is worth more than the guess. Who
        # has recovered and is being tried by another call, and a lone target whatever it has said, are asked as well if
        # nobody else was: to park them then would help nobody.
        probed, is_lone = self._probed(fleet.clock()), len(self._parked) == 1
        for at in sorted(self._parked, key=lambda at: self._parked[at].until):
            told = self._look_again(at).told  # another call may have heard more meanwhile
            was_nobody_asked = len(self.attempts) == asked
            if (told and not (is_lone and was_nobody_asked)) or (at in probed and not was_nobody_asked):
                continue
            came = yield from self._ask(at, is_soft=False, is_forced=True)
            if came is OVER:
                return
            if came is not None and not fleet.tree.moves_on(at, came):
                self._stop()
                return

    def _look_again(self, at: int) -> Parked:
        naming, health = self._namings[at], self._fleet.health
        assert isinstance(naming, Naming)
        found = self._parked[at] = Parked(at, *health.parked(at, naming.deployment, self._fleet.clock()))
        return found

    def _wait_for_probes(self) -> Generator[Effect, Any, None]:
        """Where all that is left has recovered, but another call is the first to try it: give that one a moment.

        Half-open says that others come first, not that nobody is asked: a slow answer would turn all other calls away.
        """
        fleet = self._fleet
        for seconds in _PROBE_WAITS_S:
            now = fleet.clock()
            before = self._probed(now)
            if not before or now + seconds >= self._deadline:
                return
            yield from self._pause(seconds)
            if self._probed(fleet.clock()) != before:
                break
        for at in self._parked:
            self._look_again(at)

    def _probed(self, now: float) -> list[int]:
        """The parked targets whose probe is on its way."""
        health = self._fleet.health
        return [
            at
            for at in self._parked
            if isinstance(naming := self._namings[at], Naming) and health.is_probed(at, naming.deployment, now)
        ]

    def _walk(self) -> Steps:
        """The plan's own order, or that of a call which is bound to a place."""
        only = self._bounds.only
        if only is not None:
            return (yield from self._ask(only, is_soft=False, is_forced=True))
        tree = self._fleet.tree
        came = yield from self._walk_flat(tree) if tree.is_flat else self._walk_tree(tree)
        if self._bounds.lost and (came is None or came.moves_on):
            # The plan would not have asked everybody; where a thing is, it does not say.
            tried = {attempt.target for attempt in self.attempts}
            for site in self._fleet.sites:
                if site.name in tried or site.at in self._parked or site.at in self._deferred:
                    continue
                came = (yield from self._ask(site.at)) or came
                if came is OVER:
                    break
        return came

    def _walk_tree(self, tree: Tree) -> Steps:
        content, metadata, path = self._call.content, self._wishes.metadata, "/v1" + self._call.line.path
        walk = tree.walk(
            Wanted(
                is_fixed=self._bounds.is_fixed,
                session=self._session,
                context=lambda: context_of(content, metadata, path),
                waits_for=self._waits_for,
            )
        )
        try:
            step = next(walk)
            while True:
                came: Came | None = None
                if isinstance(step, Hold):
                    yield from self._hold(step.seconds)
                else:
                    came = yield from self._ask(step)
                if came is OVER:
                    return came
                step = walk.send(came)
        except StopIteration as end:
            found: Came | None = end.value
            return found

    def _walk_flat(self, tree: Tree) -> Steps:
        """The order of most plans, which is known at once."""
        last: Came | None = None
        first, order = self._first, self._drawn
        self._drawn = None  # of a call that waits and begins again the next one is another
        for at in tree.flat(self._session, is_fixed=self._bounds.is_fixed) if order is None else order:
            if first is not None and at == first.site.at:
                self._namings[at] = first.naming
                came: Came | None = yield from self._try(first.site, first.naming, is_probe=False)
            else:
                came = yield from self._ask(at)
            if came is OVER:
                return came
            if came is not None:
                last = came
                if not tree.moves_on(at, came):
                    return came._replace(moves_on=False)
        return last

    def _waits_for(self, at: int) -> float:
        """How long until a target recovers that may serve this call; 0 if it need not, endless if it never will."""
        naming = self._namings.get(at)
        if not isinstance(naming, Naming) or not self._bounds.allow(at):
            return float("inf")
        return self._fleet.health.recovery_s(at, naming.deployment, self._fleet.clock())

    def _hold(self, seconds: float) -> Generator[Effect, Any, None]:
        """Wait for a target rather than overflow into the next; to ask it once more is not one of the attempts."""
        if self._fleet.clock() + seconds < self._deadline:
            self._budget += self._fleet.rules.attempts is None
            yield from self._pause(seconds)

    # -- while the caller reads the answer

    @property
    def ids(self) -> Any:
        """What finds the ids of stored things in the answer; None if it has none."""
        return answer_ids(self._call.line, self._call.content)

    @property
    def must_not_retry(self) -> bool:
        """Whether the SDK would send again what must not run twice, or for which no attempts are left."""
        if self.served is not None:
            return False
        return (self._may_have_run and not self._repeats()) or self._is_used_up()

    def _is_used_up(self) -> bool:
        """Whether another retry of the SDK's could ask nobody."""
        return budget_of(self._fleet, self._call.retry + 1) <= 0

    def saw(self, id_: str) -> None:
        assert self.served is not None
        self._fleet.homes.saw(id_, self.served.name)

    def leave(self) -> None:
        assert self.served is not None
        self._fleet.health.leave(self.served.at)

    def broke(self, error: Exception) -> None:
        """The answer broke off while its caller read it."""
        assert self.served is not None
        self.attempts[-1] = self.attempts[-1]._replace(reason=judge(Seen(failure=failure_of(error, in_body=True))).name)
        self._fleet.health.penalize(self.served.at, self._fleet.clock())
        if not self._repeats():
            self._note_ran(error)

    # -- when nobody has served

    def _recovery_s(self) -> float | None:
        """How long until the first of the targets that may serve the call recovers; None if one need not."""
        now, soonest = self._fleet.clock(), None
        for site in self._fleet.sites:
            naming = self._namings.get(site.at)
            if not isinstance(naming, Naming) or not self._bounds.allow(site.at):
                continue
            recovery_s = self._fleet.health.recovery_s(site.at, naming.deployment, now)
            if not recovery_s:
                return None
            soonest = recovery_s if soonest is None else min(soonest, recovery_s)
        return soonest

    def _is_another_free(self) -> bool:
        """Whether a target may be asked again that is not the last one that was."""
        now, last = self._fleet.clock(), self.attempts[-1].target
        return any(
            site.name != last
            and isinstance(naming := self._namings.get(site.at), Naming)
            and self._bounds.allow(site.at)
            and not self._fleet.health.recovery_s(site.at, naming.deployment, now)
            for site in self._fleet.sites
        )

    def _exhausted(self) -> Outcome:
        self.retry_s = self._recovery_s()
        final = self._outcomes.final(self._bounds, is_anyone_parked=bool(self._parked))
        if final is not None:
            if isinstance(final, Answered) and not is_retried(final.status):
                self.retry_s = None
            elif self.retry_s is None and self._is_another_free():
                self.retry_s = 0.0  # who answered has to be left alone for longer, but another need not be
            if isinstance(final, Failed) and self._is_used_up():
                self._note_ran(final.error, may_have_run=False)
            return final
        if self._parked:
            return all_cooling([self._fleet.sites[at].name for at in self._parked], self.retry_s or 0.0)
        return nobody_serves(self._fleet, self._refusals)
