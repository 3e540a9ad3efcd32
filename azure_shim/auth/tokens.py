"""Token slots: one token per credential, scope and tenant, asked for by one caller and used by all.

A slot never waits. Whoever needs a token that is not there boards a `Flight` and waits for it in a way of its own, with
threads, in an event loop, or with a deadline; the flight itself lands in any case. No lock is held while a credential
works, and nothing belongs to an event loop, but for a flight of a caller's own aio credential, which is the loop's that
asked first.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from azure_shim.auth.source import AwaitedInstead, Granted, TokenSource
from azure_shim.values import Header, TokenEvent

__all__ = ["Flight", "FlightLost", "FlightOverdue", "Token", "TokenSlot", "reset_tokens", "slot_for"]

# azure-identity itself asks again from 300 s before the end on, at most every 30 s (azure.identity._constants); to ask
# it earlier would only get its cached token.
REFRESH_AHEAD_S, RETRY_S = 300.0, 30.0
# A token that is over when it comes is one by a wrong clock, ours or the service's: Azure decides, for this long.
_DOUBTFUL_S = 30.0
# How long a credential may take before it is asked anew and its callers are told.
PATIENCE_S = 30.0


class FlightLost(Exception):  # noqa: N818  not an error: whoever waited asks again
    """The event loop in which a token was asked for ended before it came, or it has to be asked for in one."""


class FlightOverdue(Exception):  # noqa: N818  of whoever stopped waiting; the flight goes on
    """A token did not come within the time that its caller had for it."""


class Token(NamedTuple):
    """A token as a header; ``due_at`` and ``ends_at`` are on the slot's monotonic clock, ``ends_on`` is Unix time.

    A machine that was suspended has a monotonic clock that stood still, and one whose date is set has a wall clock that
    jumped: a token is over when either says so.
    """

    header: Header
    value: str
    due_at: float
    ends_at: float
    ends_on: float

    def __repr__(self) -> str:
        return f"Token(due_at={self.due_at}, ends_at={self.ends_at})"


class Flight:
    """One question to a credential. ``future`` yields a `Token`, or why there is none."""

    __slots__ = ("claims", "epoch", "future", "is_lost", "overdue_at", "refused", "task")

    def __init__(self, overdue_at: float, epoch: int, refused: str | None, claims: str | None) -> None:
        self.future: Future[Token] = Future()
        self.future.set_running_or_notify_cancel()  # so that nobody who stops waiting can cancel it for the others
        self.overdue_at, self.epoch, self.refused, self.claims = overdue_at, epoch, refused, claims
        self.is_lost: Callable[[], bool] = lambda: False
        """Whether it can never land, for a loop that was left; set by whoever started it there."""
        self.task: Any = None
        """What a loop would else forget."""


class TokenSlot:
    """The token of one credential for one scope in one tenant. All times are in seconds.

    ``patience_s`` is how long a credential may take before it is asked anew and its callers are told. ``report`` gets
    the failures that no caller sees: of a refresh while the token was still good, or after a 401.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        report: Callable[[TokenEvent], None] | None = None,
    ) -> None:
        self.source, self.patience_s = source, patience_s
        self._clock, self._wall, self._chance, self._report = clock, wall, chance, report
        self._token: Token | None = None
        self._refused: str | None = None
        self._claims: str | None = None
        self._retry_at = float("-inf")
        self._repeats = 0
        self._epoch = 0  # a flight of an earlier one brings what is not wanted any more
        self.after_fork()
        _slots.add(self)

    def after_fork(self) -> None:
        """The child has the token; not the parent's threads, nor what they hold."""
        self._lock = threading.Lock()
        self._flight: Flight | None = None
        self._users: weakref.WeakSet[Any] = weakref.WeakSet(getattr(self, "_users", ()))

    def __repr__(self) -> str:
        return f"<TokenSlot of {self.source!r}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenSlot:
        return self

    def valid(self) -> Token | None:
        """The token, if it is good now."""
        token = self._token
        if token is not None and self._clock() < token.ends_at and self._wall() < token.ends_on:
            return token
        return None

    def is_due(self, token: Token) -> bool:
        """Whether it is time to ask for the next one, while ``token`` still serves."""
        now = self._clock()
        return now >= token.due_at and now >= self._retry_at and self._flight is None

    def board(self) -> tuple[Flight, bool]:
        """The flight to wait for, and whether the caller has to start it."""
        now = self._clock()
        with self._lock:
            flight = self._flight
            if flight is not None and now < flight.overdue_at and not flight.is_lost():
                return flight, False
            token = self.valid()
            if token is not None and (now < token.due_at or now < self._retry_at):  # it has just come
                landed = self._new_flight(now)
                landed.future.set_result(token)
                return landed, False
            flight = self._flight = self._new_flight(now)
            return flight, True

    def _new_flight(self, now: float) -> Flight:
        return Flight(now + self.patience_s, self._epoch, self._refused, self._claims)

    def launch(self, flight: Flight) -> None:
        """Start ``flight`` in a thread that lives as long as the question does."""
        thread = threading.Thread(target=self._fly, args=(flight,), daemon=True, name="azure-shim-token")
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is about to end
            self._land(flight, error)

    def _fly(self, flight: Flight) -> None:
        try:
            granted = self.source.ask(flight.refused, flight.claims)
        except AwaitedInstead:
            self._land(flight, FlightLost())
        except BaseException as error:  # noqa: BLE001  whatever it is, whoever waits must learn of it
            self._land(flight, error)
        else:
            self._land(flight, granted)

    async def fly(self, flight: Flight) -> None:
        """`launch` for a credential that is awaited, in the running event loop."""
        outcome: Granted | BaseException = FlightLost()
        try:
            outcome = await self.source.ask_async(flight.refused, flight.claims)
        except Exception as error:  # noqa: BLE001  as above; a cancellation passes, and the flight is lost
            outcome = error
        finally:
            self._land(flight, outcome)

    def _land(self, flight: Flight, outcome: Granted | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._fail(flight, outcome)
        else:
            token = self._adopt(flight, outcome)
            if outcome.instead is not None:
                self._tell(outcome.instead)
            flight.future.set_result(token)

    def _fail(self, flight: Flight, error: BaseException) -> None:
        with self._lock:
            self._over(flight)
            if not isinstance(error, FlightLost):
                self._retry_at = self._clock() + RETRY_S
            is_unseen = bool(self._users) and (self.valid() is not None or flight.refused is not None)
        if is_unseen and not isinstance(error, FlightLost):
            self._tell(error)
        flight.future.set_exception(error)

    def _tell(self, error: BaseException) -> None:
        if self._report is not None:
            source = self.source
            self._report(TokenEvent(source.name, source.scope, source.authority, source.failure(error)))

    def _adopt(self, flight: Flight, granted: Granted) -> Token:
        """Take a token over, unless a better one has come by another flight, or it is not wanted any more."""
        with self._lock:
            self._over(flight)
            before = self._token
            if flight.epoch != self._epoch:
                return self._token_of(granted)
            self._repeats = self._repeats + 1 if before is not None and before.value == granted.token else 0
            token = self._token_of(granted)
            if before is not None and before.value != token.value and before.ends_at > token.ends_at:
                return before
            self._token, self._refused, self._claims = token, None, None
            self._retry_at = float("-inf")
            return token

    def _over(self, flight: Flight) -> None:
        if self._flight is flight:
            self._flight = None

    def _token_of(self, granted: Granted) -> Token:
        now, wall = self._clock(), self._wall()
        life_s = granted.expires_on - wall
        if life_s <= 0:
            life_s = _DOUBTFUL_S
        if life_s > REFRESH_AHEAD_S:
            spread_s = min(RETRY_S, (life_s - REFRESH_AHEAD_S) / 10)  # so that a fleet does not ask all at once
            until_due_s = life_s - REFRESH_AHEAD_S + spread_s * self._chance()
        else:
            until_due_s = life_s * 2 / 3
        if granted.refresh_on is not None:
            until_due_s = min(until_due_s, granted.refresh_on - wall)
        if until_due_s <= 0 or self._repeats:
            # The credential's own cache, or the machine's, has nothing newer yet: soon again, then less and less often.
            until_due_s = max(until_due_s, min(RETRY_S, life_s / 2, 2.0**self._repeats))
        header = (b"Authorization", b"Bearer " + granted.token.encode("ascii"))
        serves_s = life_s - min(5.0, life_s / 20)  # less the way to the service
        return Token(header, granted.token, now + until_due_s, now + serves_s, wall + serves_s)

    def drop(self, header: Header, claims: str | None) -> None:
        """Azure refused ``header``: forget it, if it is still the token here, and ask for another with these claims."""
        with self._lock:
            if self._token is not None and self._token.header == header:
                self._refused, self._token, self._claims = self._token.value, None, claims
                self._flight, self._repeats = None, 0
                self._epoch += 1

    def forget(self) -> None:
        """Ask the credential again next time, and make it anew if it is ours."""
        with self._lock:
            self._token = self._refused = self._claims = self._flight = None
            self._retry_at, self._repeats = float("-inf"), 0
            self._epoch += 1
        self.source.close()

    def enter(self, user: object) -> None:
        """``user`` needs this slot until it leaves, or is no more."""
        with self._lock:
            self._users.add(user)

    def leave(self, user: object) -> None:
        """After the last one, a credential of ours is closed. It is made anew if it is needed again."""
        with self._lock:
            self._users.discard(user)
            if self._users:
                return
        self.source.close()


_slots: weakref.WeakSet[TokenSlot] = weakref.WeakSet()
_by_source: weakref.WeakValueDictionary[TokenSource, TokenSlot] = weakref.WeakValueDictionary()
_registry_lock = threading.Lock()


def slot_for(source: TokenSource, report: Callable[[TokenEvent], None] | None = None) -> TokenSlot:
    """The slot of ``source``, which all clients with the same credential, scope and tenant share."""
    with _registry_lock:
        slot = _by_source.get(source)
        if slot is None:
            slot = _by_source[source] = TokenSlot(source, report=report)
        return slot


def reset_tokens() -> None:
    """Forget every token, for instance after ``az login`` as another user. The next call asks its credential anew."""
    for slot in list(_slots):
        slot.forget()


def _after_fork() -> None:
    global _registry_lock
    _registry_lock = threading.Lock()
    for slot in list(_slots):
        slot.after_fork()
        slot.source.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
