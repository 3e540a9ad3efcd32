"""Token slots: one token per credential, scope and tenant, asked for by one caller and used by all.

A slot never waits. Whoever needs a token that is not there boards a `Flight` and waits for it in a way of its own, with
threads, in an event loop, or with a deadline; the flight itself lands in any case. No lock is held while a credential
works, and nothing belongs to an event loop, but for a flight of a caller's own aio credential, which is the loop's that
asked first.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
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
# How long a credential may take before it is asked anew and its callers are told; and how many times that once it has
# been asked a second time, in vain as well.
PATIENCE_S, _SECOND_PATIENCE = 30.0, 10
_REPEATS = 6  # 64 s, which is over RETRY_S
_KEPT = 64


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

    __slots__ = ("claims", "epoch", "future", "is_lost", "number", "overdue_at", "refused", "task")

    def __init__(self, number: int, overdue_at: float, epoch: int, refused: str | None, claims: str | None) -> None:
        self.future: Future[Token] = Future()
        self.future.set_running_or_notify_cancel()  # so that nobody who stops waiting can cancel it for the others
        self.number, self.overdue_at, self.epoch = number, overdue_at, epoch
        self.refused, self.claims = refused, claims
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
        clock: Callable[[], float] = lambda: time.monotonic(),
        wall: Callable[[], float] = lambda: time.time(),
        chance: Callable[[], float] = random.random,
        report: Callable[[TokenEvent], None] | None = None,
    ) -> None:
        self.source, self.patience_s = source, patience_s
        self._clock, self._wall, self._chance, self._report = clock, wall, chance, report
        self._token: Token | None = None
        self._token_number = 0  # of the flight that brought it
        self._refused: str | None = None
        self._claims: str | None = None
        self._retry_at = float("-inf")
        self._repeats = 0
        self._numbers = itertools.count(1)
        self._epoch = 0  # a flight of an earlier one brings what is not wanted any more
        self.after_fork()
        _slots.add(self)

    def after_fork(self) -> None:
        """The child has the token; not the parent's threads, nor what they hold."""
        self._lock = threading.Lock()
        self._flights: list[Flight] = []
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
        return now >= token.due_at and now >= self._retry_at and self._awaited_flight(now) is None

    def board(self) -> tuple[Flight, bool]:
        """The flight to wait for, and whether the caller has to start it."""
        now = self._clock()
        with self._lock:
            flight = self._awaited_flight(now)
            if flight is not None:
                return flight, False
            token = self.valid()
            if token is not None and (now < token.due_at or now < self._retry_at):  # it has just come
                landed = self._new_flight(now)
                landed.future.set_result(token)
                return landed, False
            flight = self._new_flight(now)
            self._flights = [*(f for f in self._flights if not f.is_lost()), flight]
            return flight, True

    def _awaited_flight(self, now: float) -> Flight | None:
        """The newest that may still bring what is wanted, and in time."""
        for flight in reversed(self._flights):
            if flight.epoch == self._epoch and not flight.is_lost():
                return flight if now < flight.overdue_at else None
        return None

    def _new_flight(self, now: float) -> Flight:
        # A service that answers nobody is not asked by one thread more every half minute.
        is_another = any(flight.epoch == self._epoch and not flight.is_lost() for flight in self._flights)
        overdue_at = now + self.patience_s * (_SECOND_PATIENCE if is_another else 1)
        return Flight(next(self._numbers), overdue_at, self._epoch, self._refused, self._claims)

    def launch(self, flight: Flight) -> None:
        """Start ``flight`` in a thread that lives as long as the question does."""
        thread = threading.Thread(target=self._fly, args=(flight,), daemon=True, name="azure-shim-token")
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is about to end
            self._fail(flight, error)

    def _fly(self, flight: Flight) -> None:
        try:
            token = self._adopt(flight, self.source.ask(flight.refused, flight.claims))
        except AwaitedInstead:
            self.lose(flight)
        except BaseException as error:  # noqa: BLE001  whatever it is, whoever waits must learn of it
            self._fail(flight, error)
        else:
            flight.future.set_result(token)

    async def fly(self, flight: Flight) -> None:
        """`launch` for a credential that is awaited, in the running event loop."""
        try:
            token = self._adopt(flight, await self.source.ask_async(flight.refused, flight.claims))
        except Exception as error:  # noqa: BLE001  as above
            self._fail(flight, error)
        except BaseException as error:
            if _is_the_credentials_own(error):
                self._fail(flight, error)
                return
            self.lose(flight)
            raise
        else:
            flight.future.set_result(token)

    def lose(self, flight: Flight) -> None:
        """``flight`` will not land here; whoever waits for it asks again. Nothing happens if it has landed."""
        if not flight.future.done():
            with self._lock:
                self._over(flight)
            flight.future.set_exception(FlightLost("the event loop in which it was asked for has ended"))

    def _fail(self, flight: Flight, error: BaseException) -> None:
        with self._lock:
            self._over(flight)
            is_wanted = flight.epoch == self._epoch
            if is_wanted:
                self._retry_at = self._clock() + RETRY_S
            is_unseen = is_wanted and (self.valid() is not None or flight.refused is not None)
        flight.future.set_exception(error)
        if is_unseen:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        if self._report is not None and self._users:
            source = self.source
            self._report(TokenEvent(source.name, source.scope, source.authority, source.failure(error)))

    def _adopt(self, flight: Flight, granted: Granted) -> Token:
        """Take a token over, unless a later flight brought one before, or it is not wanted any more."""
        with self._lock:
            self._over(flight)
            token = self._token_of(granted, flight)
            if flight.epoch == self._epoch and flight.number > self._token_number:
                self._token, self._token_number = token, flight.number
                self._refused = self._claims = None
                self._retry_at = float("-inf")
            elif flight.epoch == self._epoch:
                token = self.valid() or token
        if granted.instead is not None:
            self._tell(granted.instead)
        return token

    def _over(self, flight: Flight) -> None:
        self._flights = [other for other in self._flights if other is not flight]

    def _token_of(self, granted: Granted, flight: Flight) -> Token:
        before = self._token
        if flight.epoch == self._epoch:
            is_repeated = before is not None and before.value == granted.token
            self._repeats = min(self._repeats + 1, _REPEATS) if is_repeated else 0
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
                self._repeats = 0
                self._epoch += 1

    def forget(self) -> None:
        """Ask the credential again next time, and make it anew if it is ours."""
        with self._lock:
            self._token = self._refused = self._claims = None
            self._retry_at, self._repeats = float("-inf"), 0
            self._epoch += 1
        self.source.forget()

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


def _is_the_credentials_own(cancelled: BaseException) -> bool:
    """Whether a credential that was awaited raised a cancellation by itself, and nobody cancelled the task."""
    if not isinstance(cancelled, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    cancelling = getattr(task, "cancelling", None)  # Python 3.11
    return cancelling is not None and not cancelling()


_slots: weakref.WeakSet[TokenSlot] = weakref.WeakSet()
_by_source: weakref.WeakValueDictionary[TokenSource, TokenSlot] = weakref.WeakValueDictionary()
# Those that were asked for last, although nobody may use them now: code that makes a client for each call would else
# ask for a token for each, and an Azure CLI is a process.
_kept: collections.OrderedDict[TokenSlot, None] = collections.OrderedDict()
_registry_lock = threading.Lock()


def slot_for(source: TokenSource, report: Callable[[TokenEvent], None] | None = None) -> TokenSlot:
    """The slot of ``source``, which all clients with the same credential, scope and tenant share."""
    with _registry_lock:
        slot = _by_source.get(source)
        if slot is None:
            slot = _by_source[source] = TokenSlot(source, report=report)
        _kept[slot] = None
        _kept.move_to_end(slot)
        for other in [other for other in _kept if other is not slot and other.valid() is None]:
            del _kept[other]
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
        return slot


def reset_tokens() -> None:
    """Forget every token, for instance after ``az login`` as another user. The next call asks its credential anew."""
    with _registry_lock:
        _kept.clear()
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
