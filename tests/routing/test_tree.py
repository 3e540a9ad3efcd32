"""In which order a tree of targets is asked, for every mode of its groups, and how it goes on after each answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from azure_shim.plan import Branch, Condition, Group, Node, targets_of
from azure_shim.routing.conditions import context_of
from azure_shim.routing.health import Health
from azure_shim.routing.tree import Came, Hold, Tree, Wanted
from tests.routing.trips import Clock, balance, fallback, target

MOVES, STAYS = Came(500, True), Came(400, False)
DRAWS = 10_000


class Walker:
    """A tree with its health; ``names`` are its targets from left to right."""

    def __init__(self, root: Node, *, seed: int = 7) -> None:
        self.names = [one.name for one in targets_of(root)]
        self.clock = Clock()
        self.health = Health(list(targets_of(root)), self.clock, Random(seed))
        self.tree = Tree(root, self.health)

    def walk(self, came: Callable[[str], Came | None] = lambda _: None, **wanted: Any) -> list[str]:
        """Who is asked, if each target comes back with ``came``; a `Hold` is shown by its seconds."""
        asked: list[str] = []
        walk = self.tree.walk(Wanted(**wanted))
        answer: Came | None = None
        try:
            while True:
                step = walk.send(answer)
                if isinstance(step, Hold):
                    asked.append(f"wait {step.seconds:g}")
                    answer = None
                else:
                    asked.append(self.names[step])
                    answer = came(asked[-1])
        except StopIteration as end:
            self.end = end.value
        return asked

    def draws(self, count: int = DRAWS, **wanted: Any) -> list[list[str]]:
        return [self.walk(**wanted) for _ in range(count)]


def all_of(*names: str) -> list[Any]:
    return [target(name) for name in names]


def weighted(**weights: float) -> list[Branch]:
    return [Branch(target(name), weight) for name, weight in weights.items()]


def shares(draws: Sequence[Sequence[str]], place: int = 0) -> dict[str, float]:
    counted = Counter(draw[place] for draw in draws)
    return {name: count / len(draws) for name, count in counted.items()}


# -- single, fallback


def test_one_target_is_asked_once() -> None:
    walker = Walker(target("a"))
    assert walker.walk(lambda _: MOVES) == ["a"]
    assert walker.end == MOVES


def test_single_asks_its_first_child_and_no_other() -> None:
    walker = Walker(Group("single", tuple(Branch(one) for one in all_of("a", "b"))))
    assert walker.walk(lambda _: MOVES) == ["a"]


def test_fallback_asks_in_order_and_stops_where_nobody_else_can_help() -> None:
    walker = Walker(fallback(*all_of("a", "b", "c")))
    assert walker.walk(lambda _: MOVES) == ["a", "b", "c"]
    assert walker.end == MOVES
    assert walker.walk(lambda name: STAYS if name == "b" else MOVES) == ["a", "b"]
    assert walker.end == STAYS
    assert walker.walk() == ["a", "b", "c"], "who was not asked does not stop it"
    assert walker.end is None


def test_tiers_are_asked_one_after_the_other() -> None:
    walker = Walker(fallback(balance(*all_of("a", "b")), balance(*all_of("c", "d")), target("e")))
    for _ in range(50):
        asked = walker.walk(lambda _: MOVES)
        assert [set(asked[:2]), set(asked[2:4]), set(asked[4:])] == [{"a", "b"}, {"c", "d"}, {"e"}]


def test_a_balanced_group_inside_a_fallback_stops_all_of_it() -> None:
    walker = Walker(fallback(balance(*all_of("a", "b")), target("c")))
    for _ in range(20):
        asked = walker.walk(lambda _: STAYS)
        assert len(asked) == 1
        assert walker.end == STAYS


def test_a_fallback_inside_a_balanced_group_fails_over_inside_itself_first() -> None:
    walker = Walker(balance(fallback(*all_of("a", "b")), fallback(*all_of("c", "d"))))
    found = {tuple(walker.walk(lambda _: MOVES)) for _ in range(100)}
    assert found == {("a", "b", "c", "d"), ("c", "d", "a", "b")}


# -- weights


def test_the_first_and_the_second_are_drawn_by_weight_without_replacement() -> None:
    weights = {"a": 6.0, "b": 3.0, "c": 1.0}
    draws = Walker(balance(*weighted(**weights))).draws()
    assert all(sorted(draw) == ["a", "b", "c"] for draw in draws)
    first = shares(draws)
    for name, weight in weights.items():
        assert first[name] == pytest.approx(weight / 10, abs=0.015)
    # The second is drawn from what is left: P(second = x) = sum over y of P(y) * w(x) / (1 - w(y)).
    second = shares(draws, 1)
    for name, weight in weights.items():
        wanted = sum(w / 10 * weight / (10 - w) for other, w in weights.items() if other != name)
        assert second[name] == pytest.approx(wanted, abs=0.015)
    after_a = shares([draw for draw in draws if draw[0] == "a"], 1)
    assert after_a["b"] == pytest.approx(0.75, abs=0.02)


def test_weights_are_relative() -> None:
    small, large = (shares(Walker(balance(*weighted(a=a, b=b))).draws()) for a, b in ((0.005, 0.015), (1000, 3000)))
    assert small["a"] == pytest.approx(0.25, abs=0.015)
    assert large["a"] == pytest.approx(0.25, abs=0.015)


def test_equal_weights_draw_all_orders_alike() -> None:
    draws = Counter(tuple(draw) for draw in Walker(balance(*all_of("a", "b", "c"))).draws())
    assert len(draws) == 6
    assert all(count == pytest.approx(DRAWS / 6, rel=0.1) for count in draws.values())


@pytest.mark.parametrize("by", ["weight", "load", "latency", "round_robin"])
def test_a_weight_of_zero_comes_last_and_only_then(by: str) -> None:
    walker = Walker(balance(*weighted(zero=0.0, a=1.0, none=0.0, b=2.0), by=by))
    for draw in walker.draws(200):
        assert set(draw[:2]) == {"a", "b"}
        assert draw[2:] == ["zero", "none"], "in the order in which they are written"
    for session in map(str, range(50)):
        assert set(walker.walk(session=session)[:2]) == {"a", "b"}


def test_one_target_with_a_weight_serves_all_that_it_can() -> None:
    walker = Walker(balance(*weighted(a=1.0, b=0.0)))
    assert walker.draws(50) == [["a", "b"]] * 50


def test_a_fallback_s_weight_of_zero_comes_last_too() -> None:
    assert Walker(fallback(*weighted(a=0.0, b=1.0, c=1.0))).walk(lambda _: MOVES) == ["b", "c", "a"]


def test_the_weight_of_a_group_is_the_group_s() -> None:
    root = balance(Branch(balance(*all_of("a", "b")), 3.0), Branch(target("c"), 1.0))
    first = shares(Walker(root).draws())
    assert first["c"] == pytest.approx(0.25, abs=0.015)
    assert first["a"] == pytest.approx(0.375, abs=0.015)


def test_who_has_just_recovered_is_asked_first_less_often() -> None:
    walker = Walker(balance(*all_of("a", "b")))
    walker.health.went_wrong(
        0, None, walker.clock.now, cools="resource", is_fault=False, told_s=1.0, reason="connect failed"
    )
    walker.clock.now += 2
    walker.health.went_well(0, None, walker.clock.now, 0.1)
    now = shares(walker.draws(4000))
    assert now["a"] == pytest.approx(0.1 / 1.1, abs=0.02)
    walker.clock.now += 5
    assert shares(walker.draws(4000))["a"] == pytest.approx(0.5 / 1.5, abs=0.03)
    walker.clock.now += 5
    assert shares(walker.draws(4000))["a"] == pytest.approx(0.5, abs=0.03)


# -- the other ways to choose


def test_round_robin_begins_with_each_in_turn() -> None:
    walker = Walker(balance(*all_of("a", "b", "c"), by="round_robin"))
    assert walker.draws(4) == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_round_robin_turns_are_each_group_s_own() -> None:
    walker = Walker(
        fallback(balance(*all_of("a", "b"), by="round_robin"), balance(*all_of("c", "d"), by="round_robin"))
    )
    assert walker.draws(2) == [["a", "b", "c", "d"], ["b", "a", "d", "c"]]


def test_of_two_random_choices_the_one_with_less_load_comes_first() -> None:
    walker = Walker(balance(*all_of("a", "b", "c", "d"), by="load"))
    for _ in range(10):
        walker.health.enter(0)
    draws = walker.draws(4000)
    # It is first only if it is compared with nobody, and two are always compared.
    assert "a" not in shares(draws)
    assert all(sorted(draw) == ["a", "b", "c", "d"] for draw in draws)
    assert shares(draws)["b"] == pytest.approx(1 / 3, abs=0.03)


def test_load_is_measured_by_weight() -> None:
    walker = Walker(balance(*weighted(small=1.0, large=4.0), by="load"))
    for at, count in ((0, 2), (1, 4)):
        for _ in range(count):
            walker.health.enter(at)
    assert walker.draws(50) == [["large", "small"]] * 50


def test_two_random_choices_keep_loads_even() -> None:
    walker = Walker(balance(*all_of(*"abcdefgh"), by="load"))
    for _ in range(800):
        walker.health.enter(walker.names.index(walker.walk()[0]))
    loads = [walker.health.load(at) for at in range(8)]
    assert max(loads) - min(loads) <= 5


def test_the_fastest_comes_first_and_who_was_never_measured_before_it() -> None:
    walker = Walker(balance(*all_of("slow", "fast", "new"), by="latency"))
    walker.health.went_well(0, None, walker.clock.now, 3.0)
    walker.health.went_well(1, None, walker.clock.now, 0.2)
    assert walker.draws(20) == [["new", "fast", "slow"]] * 20
    walker.health.went_well(2, None, walker.clock.now, 1.0)
    assert walker.draws(20) == [["fast", "new", "slow"]] * 20
    for _ in range(9):
        walker.health.enter(1)
    assert walker.walk()[0] == "new", "what is in flight already makes it slower"


def test_who_is_as_fast_comes_first_as_often() -> None:
    walker = Walker(balance(*all_of("a", "b"), by="latency"))
    assert shares(walker.draws(2000))["a"] == pytest.approx(0.5, abs=0.05)


# -- conditions


def conditional(default: str | None = None) -> Walker:
    rules = (
        Condition({"params.model": {"$regex": "^o3"}}, "thinkers"),
        Condition({"metadata.plan": {"$in": ["pro", "team"]}}, "pro"),
        Condition({"url.pathname": "/v1/embeddings"}, "e"),
    )
    children = (
        Branch(fallback(*all_of("t1", "t2")), name="thinkers"),
        Branch(target("p"), name="pro"),
        Branch(target("e")),
        Branch(target("rest")),
    )
    return Walker(Group("conditional", children, conditions=rules, default=default))


def context(content: bytes = b"{}", metadata: str | None = None, path: str = "/v1/chat/completions") -> Any:
    return lambda: context_of(content, metadata, path)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (context(b'{"model":"o3-mini"}'), ["t1", "t2"]),
        (context(b'{"model":"gpt-4o"}', '{"plan":"team"}'), ["p"]),
        (context(b'{"model":"o3"}', '{"plan":"team"}'), ["t1", "t2"]),
        (context(path="/v1/embeddings"), ["e"]),
        (context(), ["rest"]),
        (context(b"no json", "no json"), ["rest"]),
    ],
)
def test_the_first_condition_that_fits_names_the_branch(given: Any, asked: list[str]) -> None:
    walker = conditional("rest")
    assert walker.walk(lambda _: MOVES, context=given) == asked, "and no other branch is asked after it"


def test_without_a_default_what_fits_nothing_is_nobody_s() -> None:
    walker = conditional()
    assert walker.walk(context=context()) == []
    assert walker.end is None


def test_the_context_is_read_only_where_there_are_conditions() -> None:
    def unread() -> Any:
        raise AssertionError("nobody asks for it")

    assert Walker(fallback(*all_of("a", "b"))).walk(context=unread) == ["a", "b"]


def test_a_condition_inside_a_fallback_goes_on_to_the_next_tier() -> None:
    chosen = Group("conditional", (Branch(target("a")),), conditions=(Condition({"params.x": 1}, "a"),))
    walker = Walker(fallback(chosen, target("b")))
    assert walker.walk(lambda _: MOVES, context=context(b'{"x":1}')) == ["a", "b"]
    assert walker.walk(lambda _: MOVES, context=context(b'{"x":2}')) == ["b"]


# -- lists of statuses


@pytest.mark.parametrize("grouped", [fallback, balance])
@pytest.mark.parametrize(
    ("came", "count"),
    [
        (Came(429, True), 2),
        (Came(404, False), 2),
        (Came(500, True), 1),
        (Came(400, False), 1),
        (Came(None, True), 2),
        (Came(None, False), 1),
        (None, 2),
    ],
)
def test_a_list_of_statuses_is_obeyed_as_written(grouped: Any, came: Came | None, count: int) -> None:
    walker = Walker(grouped(*all_of("a", "b"), on_status_codes=frozenset((404, 429))))
    assert len(walker.walk(lambda _: came)) == count


def test_an_inner_list_that_stops_does_not_stop_the_outer_one_that_goes_on() -> None:
    inner = fallback(*all_of("a", "b"), on_status_codes=frozenset((429,)))
    goes_on = Walker(fallback(inner, target("c"), on_status_codes=frozenset((500,))))
    assert goes_on.walk(lambda _: MOVES) == ["a", "c"]
    unlisted = Walker(fallback(inner, target("c")))
    assert unlisted.walk(lambda _: MOVES) == ["a"], "without a list of its own it does as the inner one does"


# -- waiting


def test_a_group_that_waits_does_so_before_it_goes_on() -> None:
    walker = Walker(fallback(*all_of("ptu", "paygo"), wait_s=3.0))
    left = {0: 2.0}
    waits_for = lambda at: left.get(at, 0.0)  # noqa: E731
    assert walker.walk(waits_for=waits_for) == ["ptu", "wait 2", "ptu", "paygo"]
    assert walker.walk(lambda _: MOVES, waits_for=waits_for) == ["ptu", "wait 2", "ptu", "paygo"]
    assert walker.walk(lambda _: STAYS, waits_for=waits_for) == ["ptu"]
    for too_long in (3.1, 0.0, float("inf")):
        left[0] = too_long
        assert walker.walk(waits_for=waits_for) == ["ptu", "paygo"]


def test_a_group_waits_for_the_first_of_a_tier_that_recovers_and_never_for_the_last_tier() -> None:
    walker = Walker(fallback(fallback(*all_of("a", "b")), target("c"), wait_s=3.0))
    left = {0: 9.0, 1: 1.5, 2: 1.0}
    assert walker.walk(waits_for=lambda at: left[at]) == ["a", "b", "wait 1.5", "a", "b", "c"]


def test_no_group_waits_that_was_not_told_to() -> None:
    assert Walker(fallback(*all_of("a", "b"))).walk(waits_for=lambda _: 0.1) == ["a", "b"]


# -- calls that are bound to a place


@pytest.mark.parametrize("by", ["weight", "load", "latency", "round_robin"])
def test_a_fixed_call_takes_the_written_order(by: str) -> None:
    walker = Walker(balance(*weighted(a=1.0, b=9.0, c=0.0, d=1.0), by=by))
    walker.health.went_well(0, None, walker.clock.now, 9.0)
    assert walker.draws(20, is_fixed=True, session="s") == [["a", "b", "d", "c"]] * 20


# -- sessions


def test_a_session_keeps_its_order() -> None:
    walker = Walker(balance(*all_of("a", "b", "c")))
    for session in ("s1", "s2", "s3", "s4"):
        assert len({tuple(draw) for draw in walker.draws(50, session=session)}) == 1
    firsts = shares([walker.walk(session=str(number)) for number in range(3000)])
    assert all(share == pytest.approx(1 / 3, abs=0.04) for share in firsts.values())


def test_sessions_are_spread_by_weight() -> None:
    walker = Walker(balance(*weighted(a=3.0, b=1.0)))
    firsts = shares([walker.walk(session=str(number)) for number in range(4000)])
    assert firsts["a"] == pytest.approx(0.75, abs=0.03)


def test_a_session_leaves_a_target_that_is_too_busy() -> None:
    walker = Walker(balance(*all_of("a", "b", "c")))
    first, second, _ = walker.walk(session="s")
    for _ in range(20):
        walker.health.enter(walker.names.index(first))
    assert walker.walk(session="s")[0] == second
    for _ in range(20):
        walker.health.leave(walker.names.index(first))
    assert walker.walk(session="s")[0] == first


def test_a_session_keeps_to_its_part_of_a_nested_tree_as_well() -> None:
    walker = Walker(fallback(balance(*all_of("a", "b")), balance(*all_of("c", "d"))))
    assert len({tuple(draw) for draw in walker.draws(50, session="s")}) == 1


# -- determinism


@pytest.mark.parametrize("by", ["weight", "load", "latency", "round_robin"])
def test_the_same_seed_gives_the_same_orders(by: str) -> None:
    def drawn(seed: int) -> list[list[str]]:
        walker = Walker(balance(*weighted(a=1.0, b=2.0, c=3.0), by=by), seed=seed)
        for at in range(3):
            walker.health.went_well(at, None, walker.clock.now, 1.0)
        return walker.draws(200)

    assert drawn(1) == drawn(1)
    if by != "round_robin":
        assert drawn(1) != drawn(2)
