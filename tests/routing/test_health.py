"""What is known of each target: who cools down and for how long, who goes first after that, and who is slow or busy."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from azure_shim.routing.health import MAX_COOLDOWN_S, Health, State, TargetHealth
from tests.hasty_threads import turns_taken_often
from tests.routing.trips import Clock, target

GPT, O3 = "gpt-4o", "o3"


def health(count: int = 2, seed: int = 7, clock: Clock | None = None) -> tuple[Health, Clock]:
    clock = clock or Clock()
    found = Health([target(f"t{number}", region=f"r{number}") for number in range(count)], clock, Random(seed))
    return found, clock


def cool(
    to: Health, cools: str | None = "deployment", told_s: float | None = None, *, at: int = 0, is_fault: bool = False,
    deployment: str | None = GPT,
) -> float:  # fmt: skip
    return to.went_wrong(at, deployment, to.clock(), cools=cools, is_fault=is_fault, told_s=told_s, reason=f"{cools}!")


def until(to: Health, deployment: str | None = GPT, at: int = 0) -> float:
    """Seconds until the target may be asked."""
    return max(0.0, to.state(at, deployment, to.clock()).until - to.clock())


# -- cells


def test_at_first_everybody_may_be_asked() -> None:
    to, clock = health()
    assert to.state(0, GPT, clock.now) == State()
    assert to.claim(0, GPT, clock.now)
    assert not to.is_soft(0, GPT, clock.now)
    assert to.share(0, clock.now) == 1.0


@pytest.mark.parametrize(
    ("cools", "others", "neighbours"),
    [("deployment", False, False), ("resource", True, False), ("credential", True, False)],
)
def test_what_cools_is_the_deployment_or_all_of_the_target_and_never_another(
    cools: str, others: bool, neighbours: bool
) -> None:
    to, _ = health()
    cool(to, cools, 20.0)
    assert until(to) >= 20.0
    assert (until(to, O3) > 0) == others
    assert (until(to, None) > 0) == others
    assert (until(to, at=1) > 0) == neighbours


def test_nothing_cools_where_nothing_is_to() -> None:
    to, clock = health()
    assert cool(to, None) == 0.0
    assert cool(to, None, is_fault=True) == 0.0
    assert to.state(0, GPT, clock.now) == State()


def test_the_longest_of_several_pauses_counts() -> None:
    to, _ = health()
    cool(to, "resource", 5.0)
    cool(to, "deployment", 50.0)
    assert until(to) >= 50.0
    assert 5.0 <= until(to, O3) <= 5.5


# -- how long


@pytest.mark.parametrize(
    ("cools", "first_s", "longest_s"), [("deployment", 2.0, 60.0), ("resource", 1.0, 30.0), ("credential", 30.0, 300.0)]
)
def test_guessed_pauses_double_up_to_a_cap(cools: str, first_s: float, longest_s: float) -> None:
    to, _ = health()
    for number in range(40):
        pause_s = cool(to, cools)
        wanted = min(longest_s, first_s * 2**number)
        # a shorter pause never replaces a longer one, so that the jitter of an earlier one may stand
        assert wanted <= pause_s <= wanted * 1.1
    assert not to.state(0, GPT, to.clock()).told


def test_a_success_starts_the_pauses_anew() -> None:
    to, clock = health()
    for _ in range(4):
        cool(to)
    clock.now += 100
    assert to.claim(0, GPT, clock.now)
    to.went_well(0, GPT, clock.now, 0.1)
    assert to.state(0, GPT, clock.now) == State()
    assert 2.0 <= cool(to) <= 2.2


@pytest.mark.parametrize("told_s", [0.0, 0.001, 0.5, 1.0, 7.0, 59.0, 61.0, 540.0, 599.0, 600.0])
def test_the_service_s_own_word_is_never_cut_short(told_s: float) -> None:
    for seed in range(50):
        to, _ = health(seed=seed)
        pause_s = cool(to, told_s=told_s)
        assert told_s - 1e-9 <= pause_s <= min(told_s * 1.1, MAX_COOLDOWN_S) + 1e-9
        assert to.state(0, GPT, to.clock()).told == (told_s > 0)


def test_pauses_are_spread_so_that_not_all_come_back_at_once() -> None:
    pauses = [cool(health(seed=seed)[0], told_s=10.0) for seed in range(50)]
    assert len(set(pauses)) == 50
    assert max(pauses) - min(pauses) > 0.5


@pytest.mark.parametrize("told_s", [601.0, 3600.0, 86400.0, 1e9, float("inf")])
def test_no_word_of_the_service_parks_a_target_for_longer_than_ten_minutes(told_s: float) -> None:
    """ "Please retry after 86400 seconds" is seen in practice (P13)."""
    to, clock = health()
    assert cool(to, told_s=told_s) == pytest.approx(MAX_COOLDOWN_S) == 600.0
    clock.now += 600.1
    assert to.state(0, GPT, clock.now).is_probe


def test_a_shorter_pause_never_replaces_a_longer_one() -> None:
    to, clock = health()
    cool(to, told_s=30.0)
    clock.now += 1
    left = cool(to, told_s=2.0)
    assert 29.0 <= left <= 32.0
    assert until(to) == pytest.approx(left)


def test_a_success_that_began_before_the_failure_ends_no_pause() -> None:
    to, clock = health()
    cool(to, told_s=30.0)
    to.went_well(0, GPT, clock.now, 0.1)
    assert until(to) >= 30.0


# -- the probe


def test_after_a_pause_one_call_goes_first() -> None:
    to, clock = health()
    cool(to, told_s=5.0)
    clock.now += 5.6
    assert to.state(0, GPT, clock.now) == State(is_probe=True)
    assert to.claim(0, GPT, clock.now)
    assert not to.claim(0, GPT, clock.now)
    assert to.state(0, GPT, clock.now).until > clock.now
    to.went_well(0, GPT, clock.now, 0.1)
    assert to.state(0, GPT, clock.now) == State()


def test_nobody_has_the_probe_of_a_target_that_still_cools() -> None:
    to, clock = health()
    cool(to, told_s=5.0)
    assert not to.claim(0, GPT, clock.now)


def test_the_probe_of_one_deployment_is_not_that_of_another() -> None:
    to, clock = health()
    for deployment in (GPT, O3):
        cool(to, told_s=5.0, deployment=deployment)
    clock.now += 6
    assert to.claim(0, GPT, clock.now)
    assert to.claim(0, O3, clock.now)


def test_a_resource_has_one_probe_for_all_of_its_deployments() -> None:
    to, clock = health()
    cool(to, "resource", 5.0)
    clock.now += 6
    assert to.claim(0, GPT, clock.now)
    assert not to.claim(0, O3, clock.now)


@pytest.mark.parametrize("cools", ["deployment", "resource", "credential"])
def test_a_probe_that_fails_makes_the_pause_longer(cools: str) -> None:
    to, clock = health()
    first = cool(to, cools)
    clock.now += first
    assert to.claim(0, GPT, clock.now)
    second = cool(to, cools)
    assert second >= 1.8 * first
    assert not to.claim(0, GPT, clock.now)


def test_a_probe_that_says_nothing_of_the_target_is_another_s_at_once() -> None:
    to, clock = health()
    cool(to, told_s=5.0)
    clock.now += 6
    assert to.claim(0, GPT, clock.now)
    to.gave_up(0, GPT)
    assert to.claim(0, GPT, clock.now)


def test_a_probe_that_is_lost_is_given_to_another_after_a_while() -> None:
    """Whoever had it was killed, say: the target must not be parked for good (B40)."""
    to, clock = health()
    cool(to, told_s=5.0)
    clock.now += 6
    assert to.claim(0, GPT, clock.now)
    clock.now += 61
    assert to.claim(0, GPT, clock.now)


def test_only_one_of_many_threads_gets_the_probe() -> None:
    to, clock = health()
    for _ in range(50):
        cool(to, told_s=1.0)
        clock.now += 2
        start, got = threading.Barrier(8), []

        def claim(start: threading.Barrier = start, got: list[bool] = got) -> None:
            start.wait()
            got.append(to.claim(0, GPT, clock.now))

        threads = [threading.Thread(target=claim) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == [False] * 7 + [True]
        to.went_well(0, GPT, clock.now, 0.1)


# -- slow start


def test_a_target_that_has_recovered_gets_its_share_back_by_and_by() -> None:
    to, clock = health()
    cool(to, told_s=5.0)
    clock.now += 6
    to.went_well(0, GPT, clock.now, 0.1)
    shares = []
    for _ in range(12):
        shares.append(to.share(0, clock.now))
        clock.now += 1
    assert shares[0] == 0.1
    assert shares == sorted(shares)
    assert 0.4 <= shares[5] <= 0.6
    assert shares[10:] == [1.0, 1.0]
    assert to.share(1, clock.now) == 1.0


def test_a_success_without_a_failure_before_it_is_no_recovery() -> None:
    to, clock = health()
    to.went_well(0, GPT, clock.now, 0.1)
    assert to.share(0, clock.now) == 1.0


# -- the circuit


def fail(to: Health, times: int, at: int = 0) -> list[float]:
    return [cool(to, None, is_fault=True, at=at) for _ in range(times)]


def test_too_many_faults_open_the_circuit_of_the_whole_target() -> None:
    to, clock = health()
    cooled = fail(to, 10)
    assert cooled[:9] == [0.0] * 9, "fewer than ten calls say nothing"
    assert 10.0 <= cooled[9] <= 11.0
    assert until(to, "anything") > 0
    assert until(to, at=1) == 0
    assert to.snapshot()[0].reason == "error rate"
    clock.now += 11.1
    assert to.state(0, GPT, clock.now).is_probe


def test_the_circuit_s_pause_is_a_guess_of_ours() -> None:
    """Only the service's own word is `told`: a guess is worth less than an answer when nobody else is left."""
    to, clock = health()
    fail(to, 10)
    assert not to.state(0, GPT, clock.now).told
    broken, _ = health()
    for _ in range(10):
        broken.penalize(0, clock.now)
    assert broken.state(0, GPT, clock.now).until > clock.now
    assert not broken.state(0, GPT, clock.now).told


def test_fewer_faults_than_half_open_nothing() -> None:
    to, clock = health()
    for _ in range(200):
        to.went_well(0, GPT, clock.now, 0.1)
        to.went_well(0, GPT, clock.now, 0.1)
        assert fail(to, 1) == [0.0]
    assert until(to) == 0


def test_faults_of_long_ago_do_not_count() -> None:
    to, clock = health()
    for _ in range(30):
        assert fail(to, 1) == [0.0]
        clock.now += 4.0
    assert until(to) == 0


def test_what_is_no_fault_does_not_count() -> None:
    to, clock = health()
    for _ in range(30):
        cool(to, "deployment", 0.1)
    clock.now += 1
    assert until(to, O3) == 0, "rate limits are no errors of the resource"


def test_answers_that_break_off_open_the_circuit_as_well() -> None:
    to, clock = health()
    for _ in range(9):
        to.penalize(0, clock.now)
    assert until(to) == 0
    assert to.is_soft(0, GPT, clock.now)
    to.penalize(0, clock.now)
    assert 10.0 <= until(to) <= 11.0


# -- put off


def test_a_fault_puts_a_target_off_for_a_few_seconds() -> None:
    to, clock = health()
    fail(to, 1)
    assert to.is_soft(0, GPT, clock.now)
    assert to.is_soft(0, O3, clock.now)
    assert not to.is_soft(1, GPT, clock.now)
    clock.now += 5.1
    assert not to.is_soft(0, GPT, clock.now)


@pytest.mark.parametrize(("reset_s", "for_s"), [(3.0, 3.0), (None, 10.0), (0.0, 10.0), (3600.0, 10.0)])
def test_a_used_up_limit_puts_its_deployment_off_until_it_resets(reset_s: float | None, for_s: float) -> None:
    to, clock = health()
    to.spend(0, GPT, clock.now, reset_s)
    clock.now += for_s - 0.1
    assert to.is_soft(0, GPT, clock.now)
    assert not to.is_soft(0, O3, clock.now)
    assert to.state(0, GPT, clock.now) == State(), "it may be asked all the same"
    clock.now += 0.2
    assert not to.is_soft(0, GPT, clock.now)


def test_a_limit_that_is_whole_again_counts_no_more() -> None:
    to, clock = health()
    assert not to.has_spent(0)
    to.spend(0, GPT, clock.now, 8.0)
    assert to.has_spent(0)
    to.refill(0, GPT)
    to.refill(0, GPT)
    assert not to.is_soft(0, GPT, clock.now)
    assert not to.has_spent(0)


# -- load and latency


def test_calls_in_flight_are_counted() -> None:
    to, _ = health()
    for _ in range(3):
        to.enter(0)
    assert (to.load(0), to.load(1)) == (3, 0)
    for _ in range(3):
        to.leave(0)
    assert to.load(0) == 0
    to.leave(0)
    assert to.load(0) == 0, "a call that began before a fork is the parent's to count"


def test_who_is_slow_is_known_and_forgotten() -> None:
    to, clock = health()
    assert to.expected_s(0, clock.now) == 0.0, "who was never measured is tried"
    to.went_well(0, GPT, clock.now, 2.0)
    assert to.expected_s(0, clock.now) == pytest.approx(2.0)
    to.went_well(0, GPT, clock.now, 1.0)
    assert 1.0 < to.expected_s(0, clock.now) < 2.0
    before = to.expected_s(0, clock.now)
    to.enter(0)
    assert to.expected_s(0, clock.now) == pytest.approx(2 * before)
    to.leave(0)
    clock.now += 60
    assert to.expected_s(0, clock.now) < before / 2, "so that it is measured again"


# -- what is kept


def test_names_of_deployments_do_not_fill_the_memory() -> None:
    """They come from callers (B41)."""
    to, clock = health()
    for number in range(3000):
        cool(to, told_s=1.0, deployment=f"d{number}")
        to.spend(0, f"d{number}", clock.now, 1.0)
        clock.now += 0.1
    site = to.records[0]
    assert len(site.deployments) <= 2000
    assert len(site.spent) <= 2000
    assert until(to, "d2999") > 0, "the ones that still cool are kept"


def test_a_clock_that_starts_at_zero_or_far_away_is_fine() -> None:
    for now in (0.0, 1e-9, 1e12):
        to, clock = health(clock=Clock(now))
        assert to.state(0, GPT, clock.now) == State()
        assert to.share(0, clock.now) == 1.0
        assert not to.is_soft(0, GPT, clock.now)
        cool(to, told_s=5.0)
        assert until(to) > 4.9


def test_copies_share_what_is_known() -> None:
    to, _ = health()
    assert copy.deepcopy(to) is to


# -- the snapshot


def test_the_snapshot_shows_each_target() -> None:
    to, clock = health(3)
    assert to.snapshot()[0] == TargetHealth("t0", "r0", "healthy", 0.0, None, {}, 0, None, None)
    cool(to, "resource", 20.0)
    cool(to, told_s=7.0, at=1)
    to.enter(1)
    to.went_well(2, GPT, clock.now, 0.25)
    down, limited, fine = to.snapshot()
    assert (down.state, down.reason) == ("cooling", "resource!")
    assert 20.0 <= down.cooling_s <= 22.0
    assert (limited.state, limited.cooling_s, limited.in_flight) == ("healthy", 0.0, 1)
    assert 7.0 <= limited.deployments[GPT] <= 7.7
    assert (fine.state, fine.latency_s, fine.error_rate) == ("healthy", 0.25, None)
    clock.now += 23
    down, limited, _ = to.snapshot()
    assert (down.state, down.cooling_s) == ("half-open", 0.0)
    assert limited.deployments == {}
    to.went_well(0, GPT, clock.now, 0.1)
    assert to.snapshot()[0].state == "healthy"


def test_the_snapshot_has_an_error_rate_for_enough_calls() -> None:
    to, clock = health()
    for _ in range(8):
        to.went_well(0, GPT, clock.now, 0.1)
    fail(to, 1)
    assert to.snapshot()[0].error_rate is None
    fail(to, 1)
    assert to.snapshot()[0].error_rate == pytest.approx(0.2)


def test_the_snapshot_shows_no_secret() -> None:
    to, _ = health()
    cool(to, "credential")
    assert "key-of" not in repr(to.snapshot())


# -- threads


@pytest.fixture
def quick_switches() -> Iterator[None]:
    with turns_taken_often():
        yield


def test_32_threads_may_tell_and_ask_whatever_they_like_at_once(quick_switches: None) -> None:
    """Field note B21: all targets flip to 429 while everybody chooses."""
    to, clock = health(3)
    errors: list[BaseException] = []
    start = threading.Barrier(32)

    def hammer(seed: int) -> None:
        random = Random(seed)
        try:
            start.wait()
            for turn in range(600):
                at, deployment = random.randrange(3), random.choice([GPT, O3, None, f"d{turn % 100}"])
                now = clock.now
                state = to.state(at, deployment, now)
                if state.is_probe:
                    to.claim(at, deployment, now)
                to.enter(at)
                does: Any = random.choice(["well", "429", "down", "fault", "nothing", "cut"])
                if does == "well":
                    to.went_well(at, deployment, now, random.random())
                elif does == "nothing":
                    to.gave_up(at, deployment)
                elif does == "cut":
                    to.penalize(at, now)
                else:
                    cools = {"429": "deployment", "down": "resource", "fault": None}[does]
                    cool(to, cools, random.choice([None, 1.0]), at=at, is_fault=does == "fault", deployment=deployment)
                to.spend(at, deployment, now, 1.0)
                to.is_soft(at, deployment, now)
                to.leave(at)
                if turn % 10 == 0:
                    assert len(to.snapshot()) == 3
                    clock.now += 0.01
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [to.load(at) for at in range(3)] == [0, 0, 0]
    clock.now += MAX_COOLDOWN_S + 61
    for at in range(3):
        assert to.claim(at, GPT, clock.now), "nobody is parked for good"
