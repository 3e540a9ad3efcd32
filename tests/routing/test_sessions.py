"""Which session a request belongs to, and which target it keeps to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from azure_shim.routing.sessions import preferred, session_of

SESSIONS = [f"session-{number}" for number in range(10_000)]
EVEN = [("east", 1.0), ("west", 1.0), ("north", 1.0), ("south", 1.0)]


def idle(_: str) -> int:
    return 0


@pytest.mark.parametrize(
    ("content", "session"),
    [
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"user":"u1"}', "u1"),
        (b'{"model":"m","user":"u1","prompt_cache_key":"k1","messages":[{"role":"user"}]}', "k1"),
        (b'{ "prompt_cache_key" : "k\\u00e91" }', "ké1"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}]}', None),
        (b'{"metadata":{"user":"u1","prompt_cache_key":"k1"},"messages":[]}', None),
        (b'{"messages":[{"content":"\\"user\\":\\"u1\\""}]}', None),
        (b'{"prompt_cache_key":"","user":"u1"}', "u1"),
        (b'{"prompt_cache_key":null,"user":7}', None),
        (b'--b\r\n\r\n{"user":"u1"}', None),
        (b'{"user":', None),
        (b"", None),
        (None, None),
    ],
)
def test_the_body_says_the_session(content: bytes | None, session: str | None) -> None:
    assert session_of(content, (), None) == session


def test_a_header_wins_over_the_body_if_it_is_there() -> None:
    content = b'{"user":"u1"}'
    headers = [(b"Accept", b"*/*"), (b"X-Session", b" s1 ")]
    assert session_of(content, headers, "x-session") == "s1"
    assert session_of(None, headers, "X-SESSION") == "s1"
    assert session_of(content, headers, "x-other") == "u1"
    assert session_of(content, [(b"x-session", b" ")], "x-session") == "u1"
    assert session_of(content, headers, None) == "u1"


def test_each_target_is_first_for_its_share_of_the_sessions() -> None:
    first = Counter(preferred(session, EVEN, idle)[0] for session in SESSIONS)
    assert all(abs(first[name] - 2500) < 150 for name, _ in EVEN)
    weighted = [("east", 5.0), ("west", 3.0), ("north", 2.0)]
    first = Counter(preferred(session, weighted, idle)[0] for session in SESSIONS)
    assert all(abs(first[name] - 1000 * weight) < 150 for name, weight in weighted)


def test_a_target_that_goes_moves_its_own_sessions_only_and_each_to_its_next() -> None:
    for session in SESSIONS:
        before = preferred(session, EVEN, idle)
        after = preferred(session, [pair for pair in EVEN if pair[0] != "west"], idle)
        assert after == [name for name in before if name != "west"]


def test_a_target_that_comes_takes_its_share_and_moves_no_other_session() -> None:
    moved = 0
    for session in SESSIONS:
        before = preferred(session, EVEN, idle)[0]
        after = preferred(session, [*EVEN, ("new", 1.0)], idle)[0]
        assert after in (before, "new")
        moved += after == "new"
    assert abs(moved - 2000) < 150


def test_a_heavier_weight_only_draws_sessions_towards_it() -> None:
    for session in SESSIONS[:1000]:
        before = preferred(session, EVEN, idle)[0]
        after = preferred(session, [("east", 2.0), *EVEN[1:]], idle)[0]
        assert after in (before, "east")


def test_the_order_of_the_configuration_does_not_matter() -> None:
    for session in SESSIONS[:100]:
        assert preferred(session, EVEN, idle) == preferred(session, EVEN[::-1], idle)


def test_the_order_is_the_same_in_every_process() -> None:
    assert preferred("session-0", EVEN, idle) == ["north", "west", "south", "east"]
    code = (
        "from azure_shim.routing.sessions import preferred;"
        f"print(*(preferred(f's{{n}}', {EVEN!r}, lambda _: 0)[0] for n in range(50)))"
    )
    here = " ".join(preferred(f"s{n}", EVEN, idle)[0] for n in range(50))
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


def test_a_target_over_its_share_of_the_load_comes_after_those_with_room() -> None:
    ranked = preferred("s", EVEN, idle)
    loads = dict.fromkeys(ranked, 10) | {ranked[0]: 20}  # a share is 12.5, the bound 1.25 * 13.5
    assert preferred("s", EVEN, loads.__getitem__) == [*ranked[1:], ranked[0]]
    assert preferred("s", EVEN, loads.__getitem__, slack=2) == ranked
    loads = dict.fromkeys(ranked, 0) | {ranked[0]: 30, ranked[2]: 30}
    assert preferred("s", EVEN, loads.__getitem__) == [ranked[1], ranked[3], ranked[0], ranked[2]]


def test_two_calls_at_once_do_not_break_a_session() -> None:
    ranked = preferred("s", EVEN[:2], idle)
    assert preferred("s", EVEN[:2], ({ranked[0]: 2, ranked[1]: 0}).__getitem__) == ranked


def test_the_bound_follows_the_weights() -> None:
    weighted = [("big", 9.0), ("small", 1.0)]
    session = next(s for s in SESSIONS if preferred(s, weighted, idle)[0] == "big")
    assert preferred(session, weighted, {"big": 90, "small": 10}.__getitem__) == ["big", "small"]
    assert preferred(session, weighted, {"big": 10, "small": 90}.__getitem__) == ["big", "small"]


def test_the_load_stays_bounded_while_one_session_does_all_the_work() -> None:
    loads = Counter[str]()
    for _ in range(400):
        loads[preferred("s", EVEN, loads.__getitem__)[0]] += 1
    assert max(loads.values()) <= 1.25 * (100 + 1) + 1


def test_weight_nothing_comes_last() -> None:
    for session in SESSIONS[:100]:
        assert preferred(session, [("spare", 0.0), ("east", 1.0), ("west", 0.1)], idle)[-1] == "spare"
    assert preferred("s", [("b", 0.0), ("a", 0.0)], {"a": 9, "b": 0}.__getitem__) == ["b", "a"]


def test_few_or_odd_names_are_no_trouble() -> None:
    assert preferred("s", [], idle) == []
    assert preferred("s", [("east", 1.0)], {}.__getitem__) == ["east"]
    assert len(preferred("\ud800", EVEN, idle)) == 4
