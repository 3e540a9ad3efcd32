"""Which calls go the short way, and what the short way hands over where it does not go well (`routing.first`)."""

from __future__ import annotations

import gc
import json
from typing import Any

import httpx
import pytest

from azure_shim.plan import Group, Plan, Rules
from azure_shim.routing.first import is_plain, try_first
from azure_shim.routing.fleet import Fleet
from azure_shim.routing.route import Call
from azure_shim.values import Answered, Credential, Failed, Send
from tests.routing.trips import (
    CHAT,
    GENERATE,
    IMAGE,
    Clock,
    Down,
    Reply,
    balance,
    branches,
    call,
    fallback,
    fleet,
    get,
    key_of,
    openai,
    target,
)

A, B = target("a"), target("b")


def chat(**more: Any) -> bytes:
    return json.dumps({"messages": [], "model": "gpt-4o", **more}).encode()


@pytest.fixture
def two() -> Fleet:
    return fleet(fallback(A, B))


# -- which calls


def test_a_chat_that_asks_for_nothing_in_particular_is_plain(two: Fleet) -> None:
    assert is_plain(two, call())
    assert is_plain(two, call(chat(temperature=0.5, tools=[], metadata={"x": "y"}, stream=False)))


@pytest.mark.parametrize(
    "more",
    [
        {"stream": True},
        {"store": True},
        {"store": False},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "assistant-1"}}]}]},
        {"prompt_cache_key": "session-1"},
        {"user": "somebody"},
    ],
)
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
def test_what_tells_anything_of_another_kind_is_not(more: Any, separators: Any, two: Fleet) -> None:
    content = json.dumps({"messages": [], "model": "gpt-4o", **more}, separators=separators).encode()
    assert not is_plain(two, call(content))


def test_a_member_at_the_end_of_a_long_body_is_found(two: Fleet) -> None:
    padding = "x" * 200_000
    assert is_plain(two, call(chat(padding=padding)))
    assert not is_plain(two, call(chat(padding=padding, prompt_cache_key="k")))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"retry": 1}, False),
        ({"explicit": ((b"api-key", b"of-the-caller"),)}, False),
        ({"content": None}, False),
        ({"content": b"x" * (1 << 18)}, True),
        ({"content": b"x" * ((1 << 18) + 1)}, False),
        ({"limit_s": 3.0}, True),
        ({"headers": [(b"x-team", b"1")]}, True),
    ],
    ids=str,
)
def test_the_rest_of_a_call_decides_too(given: dict[str, Any], expected: bool, two: Fleet) -> None:
    assert is_plain(two, call(**given)) == expected


@pytest.mark.parametrize("encoding", ["gzip", "br", "x"])
def test_a_packed_body_is_not(encoding: str, two: Fleet) -> None:
    """Its members cannot be seen."""
    assert not is_plain(two, call()._replace(content_encoding=encoding))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/chat/completions", True),
        ("/v1/completions", True),
        ("/v1/embeddings", True),
        ("/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", True),
        ("/v1/responses", False),
        ("/v1/responses/resp_1/cancel", False),
        ("/v1/images/generations", False),
        ("/v1/files", False),
        ("/v1/batches", False),
        ("/v1/fine_tuning/jobs", False),
        ("/v1/vector_stores", False),
        ("/v1/threads/runs", False),
        ("/v1/conversations", False),
        ("/v1/containers", False),
        ("/v1/audio/speech", False),
        ("/v1/nobody/knows/this", False),
    ],
)
def test_what_leaves_something_behind_or_is_no_text_is_not(path: str, expected: bool, two: Fleet) -> None:
    for _ in range(2):  # what is known of a line is kept
        assert is_plain(two, call(path=path)) == expected


@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/v1/responses/resp_1", "/v1/chat/completions/chatcmpl-1"])
def test_a_call_without_a_body_is_not(path: str, two: Fleet) -> None:
    assert not is_plain(two, get(path))


@pytest.mark.parametrize(
    "rules",
    [
        {"replay": "never"},
        {"replay": "always"},
        {"attempts": 3},
        {"on_exhausted": "wait"},
        {"residency": {"zone": "eu"}},
        {"content_filter": "b"},
        {"session_header": "x-session"},
    ],
    ids=str,
)
def test_a_plan_with_a_rule_has_no_short_way(rules: dict[str, Any]) -> None:
    tagged = [target(name, tags={"zone": "eu"}) for name in "ab"]
    assert not is_plain(fleet(fallback(*tagged), **rules), call())


def test_a_seed_is_no_rule() -> None:
    assert is_plain(fleet(fallback(A, B), seed=1), call())
    assert is_plain(Fleet(Plan(fallback(A, B), Rules(seed=2))), call())


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (A, False),
        (fallback(A), False),
        (fallback(A, B), True),
        (balance(A, B, by="round_robin"), True),
        (balance(A, B, by="load"), True),
        (fallback(openai(), A), True),
        (fallback(A, B, on_status_codes=frozenset((429,))), True),
        (fallback(A, B, wait_s=1.0), False),
        (fallback(balance(A, B), openai()), False),
        (fallback(A, fallback(B)), False),
        (Group("conditional", branches(A, B), default="a"), False),
    ],
    ids=[
        "lone",
        "one",
        "fallback",
        "round robin",
        "load",
        "openai",
        "statuses",
        "wait",
        "nested",
        "deep",
        "conditional",
    ],
)
def test_only_one_group_of_several_has_a_short_way(root: Any, expected: bool) -> None:
    assert is_plain(fleet(root), call()) == expected


def test_a_list_of_statuses_still_holds_on_the_short_way() -> None:
    """It says what moves on, and nothing else does."""
    to = fleet(fallback(A, B, on_status_codes=frozenset((429,))))
    assert Ride(to, {"a": [Reply(500)]}).names == ["a"]
    to = fleet(fallback(A, B, on_status_codes=frozenset((429,))))
    assert Ride(to, {"a": [Reply(429)], "b": [Reply()]}).names == ["a", "b"]


# -- the way itself


class Held:
    """What an `Exchange` is to `try_first`."""

    def __init__(self) -> None:
        self.first: Any = None
        self.trip: Any = None


class Ride:
    """Drives one call to its end, as the drivers do it for texts; ``script`` is of `tests.routing.trips.Run`."""

    def __init__(self, to: Fleet, script: Any, given: Call | None = None) -> None:
        self.held, self.sends, self.busy = Held(), [], []
        script = {name: list(does) for name, does in script.items()}
        given = given or call()
        assert is_plain(to, given)
        machine, answer = try_first(to, given, self.held), None
        try:
            while True:
                effect: Any = machine.send(answer)
                answer = None
                if isinstance(effect, Send):
                    self.sends.append(effect)
                    self.busy.append([each.in_flight for each in to.health.snapshot()])
                    answer = self._sent(effect, script[effect.address.served.target].pop(0))
                elif type(effect).__name__ == "Inspect":
                    answer = effect.response.inspected(effect.feed)
        except StopIteration as done:
            self.result = done.value

    @staticmethod
    def _sent(send: Send, does: Any) -> Answered | Failed:
        outcome = does.outcome()
        if send.takes_in and isinstance(outcome, Answered) and outcome.status == 200 and does.kind != "text/html":
            return outcome._replace(taken_in=does.inspected(lambda _: False))
        return outcome

    @property
    def names(self) -> list[str]:
        return [send.address.served.target for send in self.sends]


def in_flight(to: Fleet) -> list[int]:
    return [each.in_flight for each in to.health.snapshot()]


def test_a_first_attempt_that_serves_needs_no_trip(two: Fleet) -> None:
    ride = Ride(two, {"a": [Reply()]})
    assert ride.names == ["a"]
    assert ride.busy == [[1, 0]]
    assert in_flight(two) == [0, 0]
    assert ride.held.trip is None
    site, naming, duration_s = ride.held.first
    assert (site.name, naming.deployment) == ("a", "gpt-4o")
    assert duration_s >= 0
    assert [each.latency_s is not None for each in two.health.snapshot()] == [True, False]
    (send,) = ride.sends
    assert send.takes_in
    assert list(send.credential) == [(b"api-key", key_of("a"))]


@pytest.mark.parametrize(
    "does",
    [Reply(429), Reply(500), Reply(401), Reply(breaks=httpx.ReadError("cut")), Reply(kind="text/html"), Down()],
    ids=["429", "500", "401", "cut", "page", "down"],
)
def test_one_that_does_not_is_the_first_of_a_trip_and_is_not_made_again(does: Any, two: Fleet) -> None:
    ride = Ride(two, {"a": [does], "b": [Reply()]})
    assert ride.names == ["a", "b"]
    assert ride.busy == [[1, 0], [0, 1]]
    assert ride.held.first is None
    attempts = ride.held.trip.attempts
    assert [each.target for each in attempts] == ["a", "b"]
    assert attempts[1].reason == "served"
    assert ride.held.trip.served.name == "b"
    ride.held.trip.leave()
    assert in_flight(two) == [0, 0]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_one_that_nobody_can_cure_ends_there(status: int, two: Fleet) -> None:
    ride = Ride(two, {"a": [Reply(status)]})
    assert ride.names == ["a"]
    assert ride.result.status == status
    assert [each.status for each in ride.held.trip.attempts] == [status]
    assert in_flight(two) == [0, 0]


NOT_PLAIN = {
    "openai": openai("a"),
    "override_params": target("a", override_params={"temperature": 0.5}),
    "own headers": target("a", headers={"api-key": "own"}, credential=Credential("none", value=None)),
    "another model": target("a", deployments={"gpt-35": "x"}, unmapped="error"),
}


def test_own_headers_are_no_credential() -> None:
    """The test's own target is what the configuration makes of one that is signed by its headers."""
    assert NOT_PLAIN["own headers"].credential.is_absent


@pytest.mark.parametrize("kind", NOT_PLAIN)
@pytest.mark.parametrize("by", ["round_robin", "weight", "load", "latency"])
def test_the_order_is_drawn_once_and_handed_over(by: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first target is not one for the short way."""
    to = fleet(balance(NOT_PLAIN[kind], B, by=by))
    drawn: list[list[int]] = []
    draw = to.tree.next_order

    def noted(now: float) -> Any:
        drawn.append(list(draw(now)))
        return drawn[-1]

    def again(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("drawn again")

    asked = []
    for _ in range(8):
        with monkeypatch.context() as patched:
            patched.setattr(to.tree, "next_order", noted)
            if by == "weight":  # else `next_order` itself asks it
                patched.setattr(to.tree, "flat", again)
            ride = Ride(to, {"a": [Reply()], "b": [Reply()]})
        asked.append(ride.names)
        if ride.held.trip is not None:
            ride.held.trip.leave()
    assert len(drawn) == 8
    names = [["ab"[at] for at in order] for order in drawn]
    expected = [["b"]] * 8 if kind == "another model" else [[order[0]] for order in names]
    assert asked == expected
    assert in_flight(to) == [0, 0]
    if by == "round_robin":
        assert [order[0] for order in names] == ["a", "b"] * 4


def test_a_first_target_that_cools_is_left_out(two: Fleet) -> None:
    ride = Ride(two, {"a": [Reply(429)], "b": [Reply()]})
    ride.held.trip.leave()
    ride = Ride(two, {"b": [Reply()]})
    assert ride.names == ["b"]
    assert [each.target for each in ride.held.trip.attempts] == ["b"]


def test_a_trip_that_goes_on_keeps_the_calls_own_start() -> None:
    """The first attempt's time is the call's: the deadline is one for all."""
    clock = Clock()
    to = fleet(fallback(A, B), clock)
    held = Held()
    machine = try_first(to, call(limit_s=10.0), held)
    assert isinstance(next(machine), Send)
    clock.now += 4.0
    second: Any = machine.send(Failed(ConnectionError("down"), can_repeat=True))
    assert isinstance(second, Send)
    assert second.limit_s == pytest.approx(6.0)
    assert held.trip._deadline - to.clock() == pytest.approx(6.0)
    machine.close()


def test_a_call_whose_time_is_over_asks_nobody_else() -> None:
    clock = Clock()
    to = fleet(fallback(A, B), clock)
    machine = try_first(to, call(limit_s=10.0), Held())
    assert isinstance(next(machine), Send)
    clock.now += 11.0
    with pytest.raises(StopIteration) as done:
        machine.send(Failed(ConnectionError("down"), can_repeat=True))
    assert isinstance(done.value.value, Failed)
    assert in_flight(to) == [0, 0]


class Interrupted(BaseException):
    """Whatever a driver is given up by."""


def test_what_is_given_up_leaves_nobody_busy(two: Fleet) -> None:
    machine = try_first(two, call(), Held())
    next(machine)
    assert in_flight(two) == [1, 0]
    machine.close()
    assert in_flight(two) == [0, 0]
    machine = try_first(two, call(), Held())
    next(machine)
    with pytest.raises(Interrupted):
        machine.throw(Interrupted())
    assert in_flight(two) == [0, 0]


def test_what_is_dropped_leaves_nobody_busy(two: Fleet) -> None:
    machine = try_first(two, call(), Held())
    next(machine)
    del machine
    gc.collect()
    assert in_flight(two) == [0, 0]


def test_what_is_given_up_while_another_target_is_asked_leaves_nobody_busy(two: Fleet) -> None:
    machine = try_first(two, call(), Held())
    next(machine)
    second: Any = machine.send(Failed(ConnectionError("down"), can_repeat=True))
    assert second.address.served.target == "b"
    assert in_flight(two) == [0, 1]
    machine.close()
    assert in_flight(two) == [0, 0]


def test_limits_that_are_used_up_send_the_next_call_elsewhere(two: Fleet) -> None:
    spent = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "60s"}
    assert Ride(two, {"a": [Reply(**spent)]}).names == ["a"]
    assert two.health.has_spent(0)
    ride = Ride(two, {"b": [Reply()]})
    assert ride.names == ["b"]


def test_images_are_not_for_this_way(two: Fleet) -> None:
    assert not is_plain(two, call(IMAGE, GENERATE))
    assert not is_plain(two, call(CHAT, GENERATE))
