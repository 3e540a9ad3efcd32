"""Thousands of calls over three regions, with a clock of their own: who is lost, who is left alone, what comes back.

Each region is a bucket of tokens that answers 429 with Retry-After when it is empty, and may be out for a while. Every
call is a trip of its own, driven step by step, so that calls overlap as they do in a service.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import pytest

from azure_shim.plan import Branch
from azure_shim.routing.fleet import Wishes
from azure_shim.values import Pause, Refusal, Send
from tests.routing.trips import Clock, Does, Down, Reply, Run, balance, call, fallback, fleet, target

START = 1000.0


@dataclass
class Region:
    """``capacity`` is in requests per second; ``outages`` are from and until when, in seconds from the start.

    After an outage it has a tenth of its capacity at first, and all of it again after ``recovers_s``.
    """

    name: str
    capacity: float
    weight: float = 1.0
    outages: tuple[tuple[float, float], ...] = ()
    recovers_s: float = 0.0
    latency_s: float = 0.2
    tokens: float = 0.0
    filled_at: float = START
    promised: float = 0.0
    is_down: bool = False
    probes: int = 0

    def is_out(self, at: float) -> bool:
        return any(start <= at < end for start, end in self.outages)

    def rate(self, at: float) -> float:
        ended = max((end for _, end in self.outages if end <= at), default=None)
        if ended is None or not self.recovers_s or at - ended >= self.recovers_s:
            return self.capacity
        return self.capacity * (0.1 + 0.9 * (at - ended) / self.recovers_s)

    def does(self, now: float) -> tuple[Does, float]:
        """What it does with a request that comes now, and for how long."""
        at = now - START
        if self.is_out(at):
            return Down(httpx.ConnectError), 0.05
        rate = self.rate(at)
        self.tokens = min(rate, self.tokens + (now - self.filled_at) * rate)
        self.filled_at = now
        if self.tokens < 1:
            wait_s = (1 + 0.2 * rate - self.tokens) / rate
            return Reply(429, retry_after_ms=str(int(wait_s * 1000) + 1)), 0.03
        self.tokens -= 1
        return Reply(), self.latency_s


@dataclass
class Sent:
    """One request: to whom, when, and what came of it."""

    region: str
    at: float
    status: int | None
    is_probe: bool


@dataclass
class Done:
    """One call: when it began and ended, and the caller's answer."""

    began: float
    ended: float
    status: int | None
    region: str | None
    retry_s: float | None
    asked: list[str] = field(default_factory=list)


class World:
    """``demand`` gives the calls per second at a time; ``limit_s`` is how long callers wait."""

    def __init__(
        self, regions: list[Region], demand: Callable[[float], float], seconds: float, *, seed: int = 11,
        grouped: Any = balance, limit_s: float | None = None, **rules: Any,
    ) -> None:  # fmt: skip
        by = {"by": rules.pop("by")} if "by" in rules else {}
        self.regions = {region.name: region for region in regions}
        self.clock, self.random, self.limit_s = Clock(START), Random(seed), limit_s
        children = [Branch(target(region.name), region.weight) for region in regions]
        self.fleet = fleet(grouped(*children, **by), self.clock, seed=seed, **rules)
        self.sent: list[Sent] = []
        self.done: list[Done] = []
        self.early: list[str] = []
        self.crowds: list[str] = []
        for region in regions:
            region.tokens = region.capacity
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        at = 0.0
        while True:
            at += self.random.expovariate(demand(at))
            if at >= seconds:
                break
            self._later(START + at, self._begin)
        while self._events:
            self.clock.now, _, happens = heapq.heappop(self._events)
            happens()
        assert [self.fleet.health.load(at) for at in range(len(regions))] == [0] * len(regions)

    def _later(self, at: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), happens))

    def _begin(self) -> None:
        run = Run(self.fleet, call(limit_s=self.limit_s), stepwise=True, wishes=Wishes())
        done = Done(self.clock.now - START, 0.0, None, None, None)
        self._go_on(run, done, run.step())

    def _go_on(self, run: Run, done: Done, at: Send | Pause | None) -> None:
        now = self.clock.now
        if isinstance(at, Pause):
            self._later(now + at.seconds, lambda: self._go_on(run, done, run.resume()))
        elif isinstance(at, Send):
            self._send(run, done, at.address.served.target)
        else:
            done.ended, done.status, done.region = now - START, run.status, run.served_by
            done.retry_s, done.asked = run.trip.retry_s, run.names
            if isinstance(run.result, Refusal):
                done.retry_s = run.result.retry_after_s
            elif done.retry_s is None and run.status == 429:
                done.retry_s = int(run.result.response.headers["retry-after-ms"]) / 1000
            self.done.append(done)
            if run.served_by is not None:
                self._later(now + 0.1, run.trip.leave)

    def _send(self, run: Run, done: Done, name: str) -> None:
        now, region = self.clock.now, self.regions[name]
        others = [other for other in self.regions.values() if other is not region]
        is_last = all(other.is_down or other.name in run.names[:-1] for other in others)
        if now < region.promised and not is_last:
            self.early.append(f"{name} at {now - START:.3f}, before {region.promised - START:.3f}")
        is_probe = region.is_down
        if is_probe:
            if region.probes and not is_last:
                self.crowds.append(f"{name} at {now - START:.3f}")
            region.probes += 1
        does, takes_s = region.does(now)
        sent = Sent(name, now - START, does.status_code if isinstance(does, Reply) else None, is_probe)
        self.sent.append(sent)

        def comes() -> None:
            region.probes -= is_probe
            if sent.status == 200:
                if self.clock.now >= region.promised:
                    region.is_down = False
            else:
                region.is_down = True
            if isinstance(does, Reply) and sent.status == 429:
                told_s = int(does.headers["retry-after-ms"]) / 1000
                region.promised = max(region.promised, self.clock.now + told_s)
            run.script = lambda *_: does
            self._go_on(run, done, run.step())

        self._later(now + takes_s, comes)

    # -- what came of it

    @property
    def lost(self) -> list[Done]:
        return [done for done in self.done if done.status != 200]

    def shares(self, start: float, end: float) -> dict[str, float]:
        """Who served what began from ``start`` to ``end``."""
        served = Counter(done.region for done in self.done if start <= done.began < end and done.region)
        return {name: served[name] / max(1, served.total()) for name in self.regions}

    def count(self, name: str, start: float, end: float) -> int:
        return sum(sent.region == name and start <= sent.at < end for sent in self.sent)

    def check(self, *, is_crowded: bool = False) -> None:
        """What holds in any world.

        Where everybody has just recovered, a call that nobody else can take goes beside the probe after a moment.
        """
        assert self.early == [], "a region was asked before the time that it had named"
        assert is_crowded or self.crowds == [], "more than one probe at a time"


def steady(rate: float) -> Callable[[float], float]:
    return lambda _: rate


def test_without_trouble_the_load_is_shared_by_weight() -> None:
    world = World([Region("a", 100, 5), Region("b", 100, 3), Region("c", 100, 2)], steady(40), 60)
    assert len(world.done) > 2000
    assert world.lost == []
    assert len(world.sent) == len(world.done), "everybody was served at once"
    for name, share in {"a": 0.5, "b": 0.3, "c": 0.2}.items():
        assert world.shares(0, 60)[name] == pytest.approx(share, abs=0.03)
    world.check()


@pytest.mark.parametrize("by", ["weight", "load", "round_robin", "latency"])
def test_nothing_is_lost_while_a_region_is_out_and_its_load_comes_back(by: str) -> None:
    regions = [Region("a", 100, outages=((20, 40),), recovers_s=8), Region("b", 80), Region("c", 80)]
    world = World(regions, steady(30), 90, by=by)
    assert world.lost == []
    world.check()
    # While it is out it gets the calls of its first moment, and then one probe after each pause.
    assert world.count("a", 20.5, 40) <= 8
    back = min(done.began for done in world.done if done.region == "a" and done.began > 40)
    assert back <= 40 + 33, "no pause is longer than half a minute"
    if by in ("weight", "load"):
        assert world.shares(80, 90)["a"] == pytest.approx(1 / 3, abs=0.08)


def test_the_load_comes_back_by_and_by() -> None:
    """Slow start: a tenth of its share at first, all of it after ten seconds."""
    regions = [Region("a", 200, outages=((10, 16),)), Region("b", 200), Region("c", 200)]
    world = World(regions, steady(60), 50)
    assert world.lost == []
    back = min(done.began for done in world.done if done.region == "a" and done.began > 16)
    assert back < 26
    curve = [world.shares(back + second, back + second + 2)["a"] for second in (0.5, 4, 8, 12)]
    assert curve[0] < 0.12
    assert curve[0] < curve[1] < curve[2]
    assert curve[1] == pytest.approx(0.5 / 2.5, abs=0.07)
    assert curve[3] == pytest.approx(1 / 3, abs=0.09)
    world.check()


def test_small_regions_give_what_they_can_and_the_rest_is_served_elsewhere() -> None:
    """429 storms: each region is left alone for as long as it says, and none of the demand is lost."""
    regions = [Region("small", 4), Region("middle", 15), Region("large", 90)]
    world = World(regions, steady(50), 60)
    assert world.lost == []
    world.check()
    served = Counter(done.region for done in world.done)
    assert served["small"] <= 4 * 61
    assert served["middle"] <= 15 * 61
    assert served["small"] >= 0.4 * 4 * 60, "what is there is used"
    assert served["middle"] >= 0.4 * 15 * 60
    refused = sum(sent.status == 429 for sent in world.sent)
    assert refused <= 0.2 * len(world.sent), "and nobody is hammered"


def test_provisioned_throughput_comes_first_and_the_rest_overflows() -> None:
    regions = [Region("ptu", 20), Region("paygo", 100)]
    world = World(regions, steady(40), 40, grouped=fallback)
    assert world.lost == []
    world.check()
    served = Counter(done.region for done in world.done)
    assert served["ptu"] >= 0.5 * 20 * 40
    calm = World([Region("ptu", 60), Region("paygo", 100)], steady(30), 20, grouped=fallback)
    assert {done.region for done in calm.done} == {"ptu"}


def test_a_flapping_region_costs_nobody_a_call() -> None:
    flaps = tuple((start, start + 3.0) for start in range(5, 60, 6))
    world = World([Region("a", 80, outages=flaps), Region("b", 80), Region("c", 80)], steady(30), 60)
    assert world.lost == []
    world.check()


def test_while_one_region_is_healthy_nothing_is_lost_whichever_it_is() -> None:
    """Outages that follow each other: the one that comes back is still parked when the last one goes."""
    regions = [
        Region("a", 80, outages=((10, 30),)),
        Region("b", 80, outages=((10, 20), (30, 50))),
        Region("c", 80, outages=((20, 40),)),
    ]
    world = World(regions, steady(25), 70)
    assert [(lost.began, lost.asked) for lost in world.lost] == []
    assert world.early == []


def test_when_all_are_out_calls_fail_at_once_and_are_served_as_soon_as_one_is_back() -> None:
    regions = [Region("a", 80, outages=((10, 20),)), Region("b", 80, outages=((10, 40),))]
    world = World(regions, steady(20), 50)
    assert all(10 - 0.3 <= lost.began <= 20 for lost in world.lost), [lost.began for lost in world.lost][-3:]
    assert all(lost.ended - lost.began < 0.5 for lost in world.lost), "waiting is the SDK's"
    assert all(lost.status in (None, 429) for lost in world.lost)


def test_more_than_all_can_bear_is_refused_with_the_soonest_time_and_only_while_it_lasts() -> None:
    def demand(at: float) -> float:
        return 120.0 if 10 <= at < 20 else 15.0

    regions = [Region("a", 10), Region("b", 20), Region("c", 15)]
    world = World(regions, demand, 45)
    assert world.lost, "45 per second cannot serve 120"
    assert all(9.9 <= lost.began <= 23 for lost in world.lost), [lost.began for lost in world.lost][-3:]
    world.check(is_crowded=True)
    for lost in world.lost:
        assert lost.status == 429
        assert lost.retry_s is not None
        assert lost.retry_s <= 5, "the soonest recovery, and nobody is sent away for a minute"
    served = sum(done.status == 200 and 10 <= done.began < 20 for done in world.done)
    assert served >= 0.4 * 45 * 10, "what there is is used"
    refused = sum(sent.status == 429 and 10 <= sent.at < 20 for sent in world.sent)
    assert refused <= 400, "those that have no more are left alone"


def test_who_waits_when_all_are_exhausted_is_served_within_its_limit() -> None:
    """Twice as much as all can bear, for two seconds: callers that wait for half a minute get their answers."""

    def demand(at: float) -> float:
        return 60.0 if 5 <= at < 7 else 8.0

    regions = [Region("a", 10), Region("b", 10), Region("c", 10)]
    world = World(regions, demand, 30, limit_s=30.0, on_exhausted="wait")
    assert all(done.ended - done.began <= 30.5 for done in world.done)
    assert world.lost == []
    world.check()


def test_a_simulation_is_repeatable() -> None:
    def served(seed: int) -> list[Any]:
        world = World([Region("a", 9), Region("b", 30, 2, outages=((3, 6),))], steady(20), 12, seed=seed)
        return [(done.ended, done.region) for done in world.done]

    assert served(5) == served(5)
    assert served(5) != served(6)
