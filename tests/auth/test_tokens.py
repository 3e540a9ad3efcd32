"""One token per credential, scope and tenant: when it is asked for, by whom, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azure_shim.auth import tokens
from azure_shim.auth.identities import Identity
from azure_shim.auth.source import TokenSource
from azure_shim.auth.tokens import Flight, FlightLost, Token, TokenSlot, reset_tokens, slot_for
from azure_shim.values import TokenEvent

SCOPE = "https://cognitiveservices.azure.com/.default"
NOW, EPOCH = 5_000.0, 1_700_000_000.0
HOUR = 3600.0


class Given:
    """An access token of azure-core, as far as anybody looks."""

    def __init__(self, token: str, expires_on: float, refresh_on: float | None = None) -> None:
        self.token, self.expires_on, self.refresh_on = token, expires_on, refresh_on


class Time:
    """A monotonic clock and a wall clock, which run together unless one is moved alone."""

    def __init__(self) -> None:
        self.clock, self.wall = NOW, EPOCH

    def pass_by(self, seconds: float) -> None:
        self.clock += seconds
        self.wall += seconds

    def until(self, clock: float) -> None:
        self.pass_by(clock - self.clock)


class Script:
    """A credential: what it gives next is set by ``gives`` or by ``raises``."""

    def __init__(self, time: Time) -> None:
        self.time, self.asked, self.closed = time, [], 0  # type: ignore[var-annotated]
        self.answer: Any = None
        self.gives("canary-1", HOUR)

    def gives(self, token: str, life_s: float, refresh_s: float | None = None) -> None:
        now = self.time.wall
        self.answer = Given(token, now + life_s, None if refresh_s is None else now + refresh_s)

    def raises(self, error: BaseException) -> None:
        self.answer = error

    def get_token_info(self, *scopes: str, options: dict[str, Any]) -> Given:
        self.asked.append(options)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    def close(self) -> None:
        self.closed += 1


class User:
    """Whoever needs a slot."""


class Desk:
    """A slot with a time, a credential and a user, and the two ways in which it is asked."""

    def __init__(self, *, chance: float = 0.0, patience_s: float = 30.0, is_ours: bool = False) -> None:
        self.time, self.chance = Time(), chance
        self.credential = Script(self.time)
        self.events: list[TokenEvent] = []
        given, identity = (None, Identity("managed")) if is_ours else (self.credential, None)
        self.source = TokenSource(SCOPE, given=given, identity=identity)
        self.slot = TokenSlot(
            self.source,
            patience_s=patience_s,
            clock=lambda: self.time.clock,
            wall=lambda: self.time.wall,
            chance=lambda: self.chance,
            report=self.events.append,
        )
        self.user = User()
        self.slot.enter(self.user)

    def fetch(self) -> Token:
        """The token, asked for here and now if nobody has it."""
        flight, is_ours = self.slot.board()
        if is_ours:
            self.land(flight)
        return flight.future.result(0)

    def land(self, flight: Flight) -> None:
        """What its thread does."""
        self.slot._fly(flight)

    def take_off(self) -> Flight:
        flight, is_ours = self.slot.board()
        assert is_ours
        return flight

    @property
    def value(self) -> str | None:
        token = self.slot.valid()
        return None if token is None else token.value

    @property
    def is_due(self) -> bool:
        token = self.slot.valid()
        assert token is not None
        return self.slot.is_due(token)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose credential is one of ours, made from an identity."""
    found = Desk(is_ours=True)
    monkeypatch.setattr(Identity, "credential", lambda identity: found.credential)
    return found


class TestTimes:
    @pytest.mark.parametrize(
        ("life_s", "refresh_s", "chance", "due_s"),
        [
            # What the service itself says.
            (HOUR, 1800.0, 0.5, 1800.0),
            (24 * HOUR, 12 * HOUR, 0.5, 12 * HOUR),
            # But not after the time that is good for any token:
            (HOUR, 3599.0, 0.5, 3315.0),
            (HOUR, 2 * HOUR, 0.5, 3315.0),
            (60.0, 50.0, 0.5, 40.0),
            # Else 300 s ahead, later by up to a tenth of what is left and 30 s at most.
            (HOUR, None, 0.0, 3300.0),
            (HOUR, None, 0.5, 3315.0),
            (HOUR, None, 1.0, 3330.0),
            (24 * HOUR, None, 1.0, 24 * HOUR - 270.0),
            (400.0, None, 0.0, 100.0),
            (400.0, None, 1.0, 110.0),
            # Of a life that is no longer than that, two thirds.
            (300.0, None, 0.5, 200.0),
            (60.0, None, 0.5, 40.0),
            (3.0, None, 0.5, 2.0),
            # One that should have been refreshed already is looked at again in a second.
            (HOUR, 0.0, 0.5, 1.0),
            (HOUR, -60.0, 0.5, 1.0),
            (1.0, -60.0, 0.5, 0.5),
        ],
    )
    def test_when_a_token_is_due(self, life_s: float, refresh_s: float | None, chance: float, due_s: float) -> None:
        desk = Desk(chance=chance)
        desk.credential.gives("t", life_s, refresh_s)
        assert desk.fetch().due_at == pytest.approx(NOW + due_s)

    def test_a_token_is_due_from_that_time_on_and_serves_on(self, desk: Desk) -> None:
        desk.credential.gives("t", HOUR, 1800.0)
        desk.fetch()
        desk.time.pass_by(1799.9)
        assert (desk.value, desk.is_due) == ("t", False)
        desk.time.pass_by(0.1)
        assert (desk.value, desk.is_due) == ("t", True)

    @pytest.mark.parametrize(("life_s", "serves_s"), [(HOUR, 3595.0), (100.0, 95.0), (60.0, 57.0), (2.0, 1.9)])
    def test_a_token_ends_a_little_early_for_it_has_a_way_to_go(
        self, life_s: float, serves_s: float, desk: Desk
    ) -> None:
        desk.credential.gives("t", life_s)
        token = desk.fetch()
        assert token.ends_at == pytest.approx(NOW + serves_s)
        assert token.ends_on == pytest.approx(EPOCH + serves_s)
        desk.time.pass_by(serves_s - 0.01)
        assert desk.value == "t"
        desk.time.pass_by(0.02)
        assert desk.value is None

    def test_a_token_that_is_over_is_asked_for_anew(self, desk: Desk) -> None:
        desk.fetch()
        desk.time.pass_by(HOUR)
        desk.credential.gives("canary-2", HOUR)
        assert desk.fetch().value == "canary-2"
        assert len(desk.credential.asked) == 2

    def test_the_header_is_the_token_s(self, desk: Desk) -> None:
        assert desk.fetch().header == (b"Authorization", b"Bearer canary-1")


class TestClocks:
    def test_a_wall_clock_that_jumps_ahead_ends_the_token(self, desk: Desk) -> None:
        desk.fetch()
        desk.time.wall += 2 * HOUR
        assert desk.value is None
        desk.credential.gives("canary-2", HOUR)
        assert desk.fetch().value == "canary-2"
        assert desk.value == "canary-2"

    def test_a_wall_clock_that_jumps_back_does_not_prolong_it(self, desk: Desk) -> None:
        desk.fetch()
        desk.time.wall -= 24 * HOUR
        desk.time.pass_by(3594.0)
        assert desk.value == "canary-1"
        desk.time.pass_by(2.0)
        assert desk.value is None

    def test_a_machine_that_was_suspended_asks_anew(self, desk: Desk) -> None:
        """Its monotonic clock stood still."""
        desk.fetch()
        desk.time.pass_by(10.0)
        desk.time.wall += 8 * HOUR
        assert desk.value is None
        desk.credential.gives("canary-2", 2 * HOUR)
        desk.fetch()
        assert desk.value == "canary-2"
        assert len(desk.credential.asked) == 2

    @pytest.mark.parametrize("late_s", [0.0, 1.0, 600.0, 24 * HOUR])
    def test_a_token_that_is_over_when_it_comes_is_for_azure_to_judge(self, late_s: float, desk: Desk) -> None:
        """One of the two clocks is wrong."""
        desk.credential.gives("t", -late_s)
        token = desk.fetch()
        assert desk.value == "t"
        assert (token.due_at, token.ends_at) == (pytest.approx(NOW + 20.0), pytest.approx(NOW + 28.5))
        desk.time.pass_by(28.6)
        assert desk.value is None


class TestTheSameTokenAgain:
    def test_it_is_asked_for_less_and_less_often(self, desk: Desk) -> None:
        """The credential's own cache has nothing newer yet."""
        desk.credential.gives("t", 12 * HOUR, 6 * HOUR)
        desk.fetch()
        desk.time.pass_by(6 * HOUR)
        waits = []
        for _ in range(8):
            asked_at = desk.time.clock
            assert desk.is_due
            due_at = desk.fetch().due_at
            waits.append(due_at - asked_at)
            desk.time.until(due_at - 0.01)
            assert not desk.is_due
            desk.time.until(due_at)
        assert waits == pytest.approx([2, 4, 8, 16, 30, 30, 30, 30])

    def test_one_that_always_says_soon_is_not_taken_at_its_word(self, desk: Desk) -> None:
        waits = []
        for _ in range(6):
            desk.credential.gives("t", HOUR, 1.0)
            due_at = desk.fetch().due_at
            waits.append(due_at - desk.time.clock)
            desk.time.until(due_at)
        assert waits == pytest.approx([1, 2, 4, 8, 16, 30])

    def test_it_is_asked_for_more_often_towards_its_end(self, desk: Desk) -> None:
        """Without a time of the service's to go by, after two thirds of what is left."""
        desk.fetch()
        desk.time.pass_by(3300.0)
        desk.fetch()
        desk.time.pass_by(199.0)
        assert not desk.is_due
        desk.time.pass_by(1.0)
        assert desk.is_due
        desk.fetch()
        desk.time.pass_by(100.0 * 2 / 3)
        assert desk.is_due
        assert desk.value == "canary-1"

    def test_another_token_ends_that(self, desk: Desk) -> None:
        desk.credential.gives("t", HOUR, 0.0)
        first = desk.fetch()
        desk.time.until(first.due_at)
        desk.time.until(desk.fetch().due_at)
        desk.credential.gives("canary-2", HOUR, 0.0)
        assert desk.fetch().due_at - desk.time.clock == pytest.approx(1.0)


class TestFailures:
    def test_a_failed_refresh_keeps_the_token_is_told_once_and_waits(self, desk: Desk) -> None:
        desk.fetch()
        desk.time.pass_by(3300.0)
        desk.credential.raises(OSError("it is down"))
        flight = desk.take_off()
        desk.land(flight)
        assert isinstance(flight.future.exception(0), OSError)
        assert desk.value == "canary-1"
        (event,) = desk.events
        assert event == TokenEvent("Script", SCOPE, "login.microsoftonline.com", event.message)
        assert event.message.endswith("OSError: it is down")
        desk.time.pass_by(29.9)
        assert not desk.is_due
        assert desk.fetch().value == "canary-1"
        assert len(desk.credential.asked) == 2
        desk.time.pass_by(0.1)
        assert desk.is_due
        desk.credential.gives("canary-2", HOUR)
        assert desk.fetch().value == "canary-2"
        assert len(desk.events) == 1

    def test_a_failure_that_a_caller_sees_is_no_event(self, desk: Desk) -> None:
        desk.credential.raises(OSError("it is down"))
        with pytest.raises(OSError, match="it is down"):
            desk.fetch()
        assert desk.events == []
        assert desk.value is None

    def test_without_a_token_the_next_call_asks_at_once(self, desk: Desk) -> None:
        desk.credential.raises(OSError("it is down"))
        for _ in range(3):
            with pytest.raises(OSError, match="down"):
                desk.fetch()
        assert len(desk.credential.asked) == 3

    def test_a_failure_after_a_refused_token_is_an_event(self, desk: Desk) -> None:
        """The caller gets Azure's own 401, which says nothing of it."""
        desk.slot.drop(desk.fetch().header, None)
        desk.credential.raises(OSError("it is down"))
        with pytest.raises(OSError, match="down"):
            desk.fetch()
        assert len(desk.events) == 1

    def test_why_a_credential_gave_the_refused_token_again_is_an_event(self, desk: Desk) -> None:
        desk.slot.drop(desk.fetch().header, None)

        def get_token_info(*scopes: str, options: dict[str, Any]) -> Given:
            if "claims" in options:
                raise TypeError("takes no claims")
            return Given("canary-1", EPOCH + HOUR)

        desk.credential.get_token_info = get_token_info  # type: ignore[method-assign]
        assert desk.fetch().value == "canary-1"
        (event,) = desk.events
        assert event.message.endswith("TypeError: takes no claims")

    def test_with_no_user_left_nobody_is_told(self, desk: Desk) -> None:
        desk.fetch()
        desk.time.pass_by(3300.0)
        desk.slot.leave(desk.user)
        desk.credential.raises(OSError("it is down"))
        desk.land(desk.take_off())
        assert desk.events == []

    def test_the_event_has_no_secret(self, desk: Desk) -> None:
        desk.credential.client_secret = "canary~pw"  # type: ignore[attr-defined]
        desk.fetch()
        desk.time.pass_by(3300.0)
        desk.credential.raises(OSError("the secret canary~pw is wrong"))
        desk.land(desk.take_off())
        assert "canary" not in repr(desk.events)
        assert "***" in desk.events[0].message

    def test_even_what_is_no_exception_reaches_who_waits(self, desk: Desk) -> None:
        desk.credential.raises(SystemExit(3))
        flight = desk.take_off()
        desk.land(flight)
        assert isinstance(flight.future.exception(0), SystemExit)

    def test_a_thread_that_cannot_start_is_a_failure(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
        flight = desk.take_off()
        desk.slot.launch(flight)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            flight.future.result(0)


class Gate(Script):
    """A credential that works until it is let go."""

    def __init__(self, time: Time) -> None:
        super().__init__(time)
        self.open = threading.Event()

    def get_token_info(self, *scopes: str, options: dict[str, Any]) -> Given:
        answer = super().get_token_info(*scopes, options=options)
        assert self.open.wait(10)
        return answer


class TestFlights:
    @pytest.mark.parametrize("state", ["none", "due", "over"])
    def test_fifty_threads_ask_once(self, state: str) -> None:
        desk = Desk()
        if state != "none":
            desk.fetch()
            desk.time.pass_by(3300.0 if state == "due" else 2 * HOUR)
        desk.source.given = credential = Gate(desk.time)
        credential.gives("canary-2", HOUR)
        everybody, seen = threading.Barrier(51), []

        def call() -> None:
            everybody.wait(10)
            flight, is_ours = desk.slot.board()
            if is_ours:
                desk.slot.launch(flight)
            everybody.wait(10)
            seen.append((is_ours, flight.future.result(10).value))

        threads = [threading.Thread(target=call) for _ in range(50)]
        for thread in threads:
            thread.start()
        everybody.wait(10)
        everybody.wait(10)  # all have boarded, and the credential still works
        assert desk.value == (None if state != "due" else "canary-1")
        credential.open.set()
        for thread in threads:
            thread.join(10)
        assert sorted(seen) == [(False, "canary-2")] * 49 + [(True, "canary-2")]
        assert len(credential.asked) == 1

    def test_while_one_refreshes_nobody_else_does(self, desk: Desk) -> None:
        desk.fetch()
        desk.time.pass_by(3300.0)
        assert desk.is_due
        flight = desk.take_off()
        assert not desk.is_due
        assert desk.slot.board() == (flight, False)
        desk.land(flight)
        assert not desk.is_due

    def test_who_comes_too_late_gets_the_token_that_has_just_come(self, desk: Desk) -> None:
        token = desk.fetch()
        flight, is_ours = desk.slot.board()
        assert not is_ours
        assert flight.future.result(0) is token
        assert len(desk.credential.asked) == 1

    def test_no_lock_is_held_while_a_credential_works(self, desk: Desk) -> None:
        held = []

        def get_token_info(*scopes: str, options: Any) -> Given:
            held.append((desk.slot._lock.locked(), desk.source._lock.locked(), tokens._registry_lock.locked()))
            return Given("t", EPOCH + HOUR)

        desk.credential.get_token_info = get_token_info  # type: ignore[method-assign]
        desk.fetch()
        assert held == [(False, False, False)]

    def test_a_waiting_caller_cannot_cancel_the_flight_for_the_others(self, desk: Desk) -> None:
        flight = desk.take_off()
        assert not flight.future.cancel()
        desk.land(flight)
        assert flight.future.result(0).value == "canary-1"

    def test_a_flight_that_is_overdue_is_replaced(self) -> None:
        desk = Desk(patience_s=10.0)
        old = desk.take_off()
        desk.time.pass_by(9.9)
        assert desk.slot.board() == (old, False)
        desk.time.pass_by(0.1)
        new = desk.take_off()
        assert new is not old
        desk.land(new)
        assert new.future.result(0).value == "canary-1"
        assert not old.future.done()

    def test_a_late_landing_is_taken_while_there_is_nothing_better(self) -> None:
        desk = Desk(patience_s=10.0)
        old = desk.take_off()
        desk.time.pass_by(10.0)
        new = desk.take_off()
        desk.credential.gives("late", 1800.0)
        desk.land(old)
        assert (desk.value, old.future.result(0).value) == ("late", "late")
        desk.credential.gives("longer", HOUR)
        desk.land(new)
        assert (desk.value, new.future.result(0).value) == ("longer", "longer")

    def test_a_late_landing_with_an_older_token_changes_nothing(self) -> None:
        desk = Desk(patience_s=10.0)
        old = desk.take_off()
        desk.time.pass_by(10.0)
        desk.credential.gives("longer", HOUR)
        desk.land(desk.take_off())
        desk.credential.gives("late", 1800.0)
        desk.land(old)
        assert (desk.value, old.future.result(0).value) == ("longer", "longer")

    def test_a_late_landing_does_not_end_the_flight_that_replaced_it(self) -> None:
        desk = Desk(patience_s=10.0)
        old = desk.take_off()
        desk.time.pass_by(10.0)
        new = desk.take_off()
        desk.credential.raises(OSError("it is down"))
        desk.land(old)
        assert desk.slot.board() == (new, False)


class TestStuck:
    """Nothing that a credential or a hook does leaves a slot that answers nobody."""

    def test_the_same_token_for_years(self, desk: Desk) -> None:
        for _ in range(3000):
            desk.credential.gives("static", -1.0)
            desk.time.pass_by(60.0)
            desk.fetch()
        assert desk.value == "static"

    def test_a_fresh_token_with_a_shorter_life_is_taken(self, desk: Desk) -> None:
        desk.credential.gives("long", 24 * HOUR, 12 * HOUR)
        desk.fetch()
        desk.time.pass_by(12 * HOUR)
        desk.credential.gives("short", HOUR)
        token = desk.fetch()
        assert (desk.value, desk.slot.is_due(token)) == ("short", False)

    def test_a_report_that_fails_costs_nobody_the_answer(self) -> None:
        desk = Desk()

        def report(event: TokenEvent) -> None:
            raise RuntimeError("of the hook's own")

        desk.slot._report = report
        desk.fetch()
        desk.time.pass_by(HOUR - 200)
        desk.credential.raises(OSError("it is down"))
        flight = desk.take_off()
        with pytest.raises(RuntimeError, match="of the hook's own"):
            desk.slot._fly(flight)
        assert isinstance(flight.future.exception(0), OSError)
        assert desk.slot.board()[1] is False

    def test_a_refresh_that_hangs_is_tried_again_after_a_while_and_not_by_ever_more_threads(self) -> None:
        desk = Desk(patience_s=10.0)
        token = desk.fetch()
        desk.time.pass_by(HOUR - 200)
        assert desk.slot.is_due(token)
        first = desk.take_off()
        assert not desk.slot.is_due(token)
        desk.time.pass_by(10.0)
        assert desk.slot.is_due(token)
        second = desk.take_off()
        assert second is not first
        desk.time.pass_by(10.0)
        assert desk.slot.board() == (second, False)
        desk.time.pass_by(90.0)
        assert desk.slot.board()[1] is True

    def test_a_stale_failure_after_forgetting_is_no_event_and_no_delay(self, desk: Desk) -> None:
        desk.fetch()
        flight = desk.slot._new_flight(0.0)
        desk.slot.forget()
        token = desk.fetch()
        desk.slot._fail(flight, OSError("stale"))
        assert desk.events == []
        desk.time.pass_by(HOUR - 200)
        assert desk.slot.is_due(token)


class TestDropping:
    def test_a_refused_token_is_dropped_and_another_one_asked_for(self, desk: Desk) -> None:
        token = desk.fetch()
        desk.slot.drop(token.header, None)
        assert desk.value is None
        flight = desk.take_off()
        assert (flight.refused, flight.claims) == ("canary-1", None)
        desk.credential.gives("canary-2", HOUR)
        desk.land(flight)
        assert desk.value == "canary-2"

    def test_the_claims_of_the_refusal_go_with_the_next_question_alone(self, desk: Desk) -> None:
        desk.slot.drop(desk.fetch().header, '{"a":1}')
        desk.credential.raises(OSError("it is down"))
        for _ in range(2):
            with pytest.raises(OSError, match="down"):
                desk.fetch()
        desk.credential.gives("canary-2", HOUR)
        desk.fetch()
        desk.time.pass_by(2 * HOUR)
        desk.credential.gives("canary-3", HOUR)
        desk.fetch()
        assert [options.get("claims") for options in desk.credential.asked] == [None, *['{"a":1}'] * 3, None]
        assert desk.value == "canary-3"

    def test_only_the_token_that_was_refused_is_dropped(self, desk: Desk) -> None:
        first = desk.fetch()
        desk.time.pass_by(3300.0)
        desk.credential.gives("canary-2", HOUR)
        second = desk.fetch()
        for header in (first.header, (b"Authorization", b"Bearer x"), (b"api-key", b"canary-2"), (b"", b"")):
            desk.slot.drop(header, '{"a":1}')
            assert desk.slot.valid() is second
        desk.slot.drop(second.header, None)
        assert desk.slot.valid() is None
        desk.slot.drop(second.header, '{"a":1}')  # by another call that had it too
        assert desk.take_off().claims is None

    def test_fifty_calls_with_one_refused_token_ask_once(self, desk: Desk) -> None:
        token = desk.fetch()
        flights = []
        for _ in range(50):
            desk.slot.drop(token.header, None)
            flights.append(desk.slot.board())
        assert [is_ours for _, is_ours in flights] == [True] + [False] * 49
        assert len({id(flight) for flight, _ in flights}) == 1

    @pytest.mark.parametrize("how", ["drop", "forget"])
    def test_a_flight_from_before_is_its_callers_alone(self, how: str, desk: Desk) -> None:
        token = desk.fetch()
        desk.time.pass_by(3300.0)
        before = desk.take_off()
        if how == "drop":
            desk.slot.drop(token.header, None)
        else:
            desk.slot.forget()
        after = desk.take_off()
        assert after is not before
        desk.credential.gives("from-before", 2 * HOUR)
        desk.land(before)
        assert before.future.result(0).value == "from-before"
        assert desk.value is None
        desk.credential.gives("from-after", HOUR)
        desk.land(after)
        assert desk.value == "from-after"

    def test_the_same_token_again_is_given_to_who_asked(self, desk: Desk) -> None:
        """It is Azure's to refuse once more."""
        desk.slot.drop(desk.fetch().header, None)
        assert desk.fetch().value == "canary-1"

    def test_a_drop_while_a_failed_refresh_waits_asks_at_once(self, desk: Desk) -> None:
        token = desk.fetch()
        desk.time.pass_by(3300.0)
        desk.credential.raises(OSError("it is down"))
        desk.land(desk.take_off())
        desk.slot.drop(token.header, None)
        desk.credential.gives("canary-2", HOUR, -1.0)
        assert desk.fetch().value == "canary-2"
        desk.time.pass_by(1.0)
        assert desk.is_due  # the new token waits for nothing that failed before it


class TestForgetting:
    def test_a_forgotten_token_is_asked_for_without_a_word_of_the_old_one(self, own: Desk) -> None:
        own.slot.drop(own.fetch().header, '{"a":1}')
        own.slot.forget()
        assert own.value is None
        flight = own.take_off()
        assert (flight.refused, flight.claims) == (None, None)
        assert own.credential.closed == 1

    def test_all_slots_are_forgotten_at_once(self) -> None:
        desks = [Desk(), Desk()]
        for desk in desks:
            desk.fetch()
        reset_tokens()
        assert [desk.value for desk in desks] == [None, None]
        assert [desk.fetch().value for desk in desks] == ["canary-1", "canary-1"]
        assert [desk.credential.closed for desk in desks] == [0, 0]  # the caller's

    def test_a_failed_refresh_is_forgotten_too(self, desk: Desk) -> None:
        desk.fetch()
        desk.time.pass_by(3300.0)
        desk.credential.raises(OSError("it is down"))
        desk.land(desk.take_off())
        desk.slot.forget()
        desk.credential.gives("t", HOUR, -1.0)
        desk.fetch()
        desk.time.pass_by(1.0)
        assert desk.is_due


class TestUsers:
    def test_the_last_user_closes_a_credential_of_ours_once(self, own: Desk) -> None:
        other = User()
        own.slot.enter(other)
        own.slot.enter(other)
        own.fetch()
        own.slot.leave(own.user)
        own.slot.leave(own.user)
        assert own.credential.closed == 0
        own.slot.leave(other)
        assert own.credential.closed == 1
        own.slot.leave(other)
        assert own.credential.closed == 1

    def test_the_token_outlives_its_credential(self, own: Desk) -> None:
        """So that clients that come and go ask once."""
        own.fetch()
        own.slot.leave(own.user)
        again = User()
        own.slot.enter(again)
        assert own.fetch().value == "canary-1"
        assert len(own.credential.asked) == 1
        own.time.pass_by(2 * HOUR)
        own.credential.gives("canary-2", HOUR)
        assert own.fetch().value == "canary-2"

    def test_a_user_that_is_no_more_holds_nothing_open(self, own: Desk) -> None:
        other = User()
        own.slot.enter(other)
        own.fetch()
        del other
        gc.collect()
        own.slot.leave(own.user)
        assert own.credential.closed == 1

    def test_a_caller_s_credential_is_not_closed(self, desk: Desk) -> None:
        desk.fetch()
        desk.slot.leave(desk.user)
        assert desk.credential.closed == 0


class TestSharing:
    def test_slots_are_shared_by_credential_scope_and_tenant(self) -> None:
        credential, other = Script(Time()), Script(Time())
        first = slot_for(TokenSource(SCOPE, given=credential))
        assert slot_for(TokenSource(SCOPE, given=credential)) is first
        identity = slot_for(TokenSource(SCOPE, identity=Identity("cli")))
        assert slot_for(TokenSource(SCOPE, identity=Identity("cli"))) is identity
        others = [
            slot_for(TokenSource(SCOPE, given=other)),
            slot_for(TokenSource("https://ai.azure.com/.default", given=credential)),
            slot_for(TokenSource(SCOPE, given=credential, tenant_id="t")),
            slot_for(TokenSource(SCOPE, identity=Identity("cli", tenant_id="t"))),
        ]
        assert len({id(slot) for slot in (first, identity, *others)}) == 6

    def test_fifty_threads_get_one_slot(self) -> None:
        credential, everybody, found = Script(Time()), threading.Barrier(50), []

        def look() -> None:
            everybody.wait(10)
            found.append(slot_for(TokenSource(SCOPE, given=credential)))

        threads = [threading.Thread(target=look) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len({id(slot) for slot in found}) == 1

    def test_a_slot_is_kept_for_the_next_client_while_its_token_is_good(self) -> None:
        """Code that makes a client for each call would else ask for a token each time."""
        credential, time = Script(Time()), Time()
        slot = slot_for(TokenSource(SCOPE, given=credential))
        slot._clock, slot._wall = (lambda: time.clock), (lambda: time.wall)
        slot._fly(slot.board()[0])
        reference = weakref.ref(slot)
        del slot
        gc.collect()
        assert slot_for(TokenSource(SCOPE, given=credential)) is reference()
        time.pass_by(10 * HOUR)
        slot_for(TokenSource("https://other/.default", given=Script(Time())))
        gc.collect()
        assert reference() is None

    def test_no_more_than_a_few_are_kept(self) -> None:
        made = [slot_for(TokenSource(f"https://r{number}/.default", given=Script(Time()))) for number in range(100)]
        for slot in made:
            slot._fly(slot.board()[0])
            slot_for(slot.source)
        assert len(tokens._kept) == tokens._KEPT
        reset_tokens()
        assert not tokens._kept

    def test_a_copy_of_what_holds_a_slot_shares_it(self, desk: Desk) -> None:
        assert copy.deepcopy([desk.slot])[0] is desk.slot


@contextlib.contextmanager
def held(*locks: Any) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lock)
        yield


def in_child(check: Callable[[], object]) -> bool:
    """Whether ``check`` is true in a forked child."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # from Python 3.12 on, if any thread is left over
class TestForking:
    def test_a_child_keeps_the_token(self, desk: Desk) -> None:
        desk.fetch()

        def check() -> bool:
            return desk.value == "canary-1" and desk.fetch().value == "canary-1" and len(desk.credential.asked) == 1

        assert in_child(check)

    def test_a_lock_that_the_parent_held_is_free_in_the_child(self, own: Desk) -> None:
        own.fetch()
        own.time.pass_by(3300.0)
        own.credential.gives("canary-2", HOUR)

        def check() -> bool:
            locks = (own.slot._lock, own.source._lock, tokens._registry_lock)
            shared = slot_for(TokenSource(SCOPE, given=own.credential))
            return not any(lock.locked() for lock in locks) and shared is not None and own.fetch().value == "canary-2"

        with held(own.slot._lock, own.source._lock, tokens._registry_lock):
            assert in_child(check)
        assert own.value == "canary-1"

    def test_a_flight_of_the_parent_s_is_not_the_child_s(self, desk: Desk) -> None:
        flight = desk.take_off()

        def check() -> bool:
            mine, is_ours = desk.slot.board()
            if is_ours:
                desk.slot.launch(mine)
            return is_ours and mine is not flight and mine.future.result(10).value == "canary-1"

        assert in_child(check)
        assert desk.slot.board() == (flight, False)

    def test_a_credential_of_ours_is_made_anew_in_the_child(self, monkeypatch: pytest.MonkeyPatch) -> None:
        desk, made = Desk(is_ours=True), []
        monkeypatch.setattr(Identity, "credential", lambda identity: made.append(1) or desk.credential)
        desk.fetch()
        desk.time.pass_by(2 * HOUR)
        desk.credential.gives("canary-2", HOUR)
        assert in_child(lambda: desk.fetch().value == "canary-2" and len(made) == 2 and desk.credential.closed == 0)
        assert len(made) == 1

    def test_a_child_has_its_parent_s_users_and_its_own(self, own: Desk) -> None:
        own.fetch()

        def check() -> bool:
            own.source._made = own.credential
            other = User()
            own.slot.enter(other)
            own.slot.leave(other)
            still_open = own.credential.closed == 0
            own.slot.leave(own.user)
            return still_open and own.credential.closed == 1

        assert in_child(check)
        assert own.credential.closed == 0


class Awaited(Script):
    """A credential that is awaited, and works until ``open`` is set."""

    def __init__(self, time: Time) -> None:
        super().__init__(time)
        self.started, self.open = asyncio.Event(), asyncio.Event()

    async def get_token_info(self, *scopes: str, options: dict[str, Any]) -> Given:  # type: ignore[override]
        answer = super().get_token_info(*scopes, options=options)
        self.started.set()
        await self.open.wait()
        return answer


class TestEventLoops:
    @pytest.fixture
    def awaited(self, desk: Desk) -> Awaited:
        desk.source.given = Awaited(desk.time)
        return desk.source.given

    async def start(self, desk: Desk) -> Flight:
        """What the transport does in a loop, until the credential works."""
        flight, loop = desk.take_off(), asyncio.get_running_loop()
        flight.is_lost = lambda: not loop.is_running()
        flight.task = loop.create_task(desk.slot.fly(flight))
        await desk.source.given.started.wait()
        return flight

    def test_a_flight_lands_in_its_loop(self, desk: Desk, awaited: Awaited) -> None:
        async def main() -> str:
            flight = await self.start(desk)
            assert desk.slot.board() == (flight, False)
            awaited.open.set()
            return (await asyncio.wrap_future(flight.future)).value

        assert asyncio.run(main()) == "canary-1"
        assert desk.value == "canary-1"

    def test_a_failure_lands_as_one(self, desk: Desk, awaited: Awaited) -> None:
        awaited.raises(OSError("it is down"))

        async def main() -> None:
            flight = desk.take_off()
            await desk.slot.fly(flight)
            assert isinstance(flight.future.exception(0), OSError)

        asyncio.run(main())
        assert desk.slot.board()[1]

    def test_a_flight_is_lost_when_its_loop_ends(self, desk: Desk, awaited: Awaited) -> None:
        """Which is no failure: nobody is told, and the next call asks at once."""
        flight = asyncio.run(self.start(desk))
        assert isinstance(flight.future.exception(0), FlightLost)
        assert desk.events == []
        assert desk.slot.board()[1]

    def test_a_lost_refresh_is_asked_again_at_once(self) -> None:
        desk = Desk()
        desk.fetch()
        desk.time.pass_by(3300.0)
        desk.source.given = Awaited(desk.time)
        asyncio.run(self.start(desk))
        assert (desk.value, desk.is_due, desk.events) == ("canary-1", True, [])

    def test_a_flight_in_a_loop_that_was_left_is_replaced(self, desk: Desk, awaited: Awaited) -> None:
        """One that is stopped between two calls, as in a notebook; it may go on, and then the token is as good."""
        loop = asyncio.new_event_loop()
        flight = loop.run_until_complete(self.start(desk))
        assert flight.is_lost()
        replacement = desk.take_off()
        assert replacement is not flight
        awaited.open.set()
        loop.run_until_complete(flight.task)
        loop.close()
        assert (flight.future.result(0).value, desk.value) == ("canary-1", "canary-1")
        assert desk.slot.board() != (replacement, True)

    def test_a_credential_that_turns_out_to_be_awaited_is_asked_again_in_a_loop(self, desk: Desk) -> None:
        class Hidden:
            def get_token(self, *scopes: str) -> Any:
                return self._later()

            async def _later(self) -> Given:
                return Given("canary-2", EPOCH + HOUR)

        desk.source.given = Hidden()
        flight = desk.take_off()
        desk.land(flight)
        assert isinstance(flight.future.exception(0), FlightLost)
        assert desk.source.is_awaited
        again = desk.take_off()
        asyncio.run(desk.slot.fly(again))
        assert (again.future.result(0).value, desk.events) == ("canary-2", [])

    def test_three_loops_one_after_the_other_share_one_token(self, desk: Desk, awaited: Awaited) -> None:
        async def main() -> str:
            awaited.open = asyncio.Event()
            awaited.open.set()
            flight, is_ours = desk.slot.board()
            if is_ours:
                await desk.slot.fly(flight)
            return (await asyncio.wrap_future(flight.future)).value

        assert [asyncio.run(main()) for _ in range(3)] == ["canary-1"] * 3
        assert len(awaited.asked) == 1


def test_no_repr_shows_a_token(desk: Desk) -> None:
    token = desk.fetch()
    desk.slot.drop(token.header, '{"canary":1}')
    flight = desk.take_off()
    desk.land(flight)
    for found in (token, desk.slot, flight, flight.future, desk.source, [token, desk.slot]):
        for text in (repr(found), str(found), f"{found}"):
            assert "canary" not in text
    assert SCOPE in repr(desk.slot)
