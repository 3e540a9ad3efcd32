"""A trip through several targets without any I/O: a clock that moves when told, answers as they are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Union

import httpx

from azure_shim.config.leaves import parse_openai
from azure_shim.plan import Branch, Group, Node, Plan, Rules
from azure_shim.routing.failover import Trip
from azure_shim.routing.fleet import Fleet, Wishes
from azure_shim.routing.route import Call
from azure_shim.values import (
    Answered,
    Ask,
    Asked,
    Credential,
    Discard,
    Failed,
    Fetch,
    Header,
    Inspect,
    Late,
    Pause,
    Peek,
    Refusal,
    Send,
    Target,
)
from azure_shim.wire.bodies import wants_stream
from azure_shim.wire.endpoints import parse
from azure_shim.wire.request_line import read

WALL = 1_700_000_000.0
CHAT = b'{"messages":[],"model":"gpt-4o"}'
STREAM = b'{"messages":[],"model":"gpt-4o","stream":true}'
IMAGE = b'{"model":"gpt-image-1","prompt":"x"}'
GENERATE = "/v1/images/generations"
TOKENS = (b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n', b"data: [DONE]\n\n")
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Clock:
    """Seconds that pass only when somebody says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Reply:
    """What a target does with one request: an answer with ``chunks``, of which ``breaks`` is the end if it is cut,
    or after which nothing comes if it ``stalls``.

    ``after_s`` is how long it takes. ``can_repeat`` is false for a body that can be read only once.
    """

    def __init__(
        self,
        status: int = 200,
        body: Any = None,
        *,
        chunks: Sequence[bytes] | None = None,
        breaks: Exception | None = None,
        kind: str = "application/json",
        after_s: float = 0.0,
        can_repeat: bool = True,
        challenge: str = "",
        stalls: bool = False,
        **headers: str,
    ) -> None:
        if body is None:
            body = {"id": "x"} if status < 400 else {"error": {"code": str(status), "message": f"error {status}"}}
        self.status_code, self.kind, self.breaks, self.after_s = status, kind, breaks, after_s
        self.chunks = list(chunks) if chunks is not None else [json.dumps(body).encode()]
        self.headers = httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()})
        self.can_repeat, self.challenge = can_repeat, challenge
        self.is_closed, self.stalls = False, stalls

    def __repr__(self) -> str:
        return f"{self.status_code} {self.kind}"

    def outcome(self) -> Answered:
        self.is_closed = False
        told = [self.headers[name].encode() for name in LIMITS if name in self.headers]
        return Answered(self.status_code, self.kind, self, self.challenge, self.can_repeat, limits=told)

    def inspected(self, feed: Callable[[bytes], bool]) -> bool | Failed:
        """As a driver does it: True at the end, where the connection is free again."""
        if any(map(feed, self.chunks)):
            return False
        self.is_closed = True
        return True if self.breaks is None else Failed(self.breaks, self.can_repeat)


LIMITS = ("x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens", "azure-openai-deployment-utilization")


def events(*frames: Any, **fields: Any) -> Reply:
    """A streamed answer."""
    chunks = [frame if isinstance(frame, bytes) else b"data: %s\n\n" % json.dumps(frame).encode() for frame in frames]
    return Reply(kind="text/event-stream", chunks=chunks, **fields)


class Down:
    """No answer: an error of the HTTP library's."""

    def __init__(
        self, error: type[Exception] = httpx.ConnectError, *, after_s: float = 0.0, can_repeat: bool = True
    ) -> None:
        self.error, self.after_s = error("down"), after_s
        self.can_repeat = can_repeat or isinstance(self.error, UNSENT)

    def __repr__(self) -> str:
        return type(self.error).__name__

    def outcome(self) -> Failed:
        return Failed(self.error, self.can_repeat)


Does = Union[Reply, Down]
Script = Union[Mapping[str, Sequence[Does]], Callable[[str, Send], Does]]


def key_of(name: str) -> bytes:
    return f"key-of-{name}-0123456789abcdef".encode()


def target(name: str, version: str | None = None, **fields: Any) -> Target:
    fields.setdefault("credential", Credential("api_key", value=key_of(name).decode()))
    return Target(name, parse(f"https://{name}.openai.azure.com").endpoint, version, **fields)


def openai(name: str = "openai", **fields: Any) -> Target:
    fields.setdefault(
        "credential", Credential("api_key", header="Authorization", is_token=True, value=key_of(name).decode())
    )
    return Target(name, parse_openai("https://api.openai.com"), None, provider="openai", **fields)


def branches(*children: Node | Branch) -> tuple[Branch, ...]:
    return tuple(child if isinstance(child, Branch) else Branch(child) for child in children)


def fallback(*children: Node | Branch, **fields: Any) -> Group:
    return Group("fallback", branches(*children), **fields)


def balance(*children: Node | Branch, **fields: Any) -> Group:
    return Group("loadbalance", branches(*children), **fields)


def fleet(root: Node, clock: Clock | None = None, *, seed: int = 7, **rules: Any) -> Fleet:
    return Fleet(Plan(root, Rules(**rules)), clock or Clock(), Random(seed))


def call(
    content: bytes | None = CHAT,
    path: str = "/v1/chat/completions",
    *,
    method: str = "POST",
    headers: Sequence[Header] = (),
    explicit: tuple[Header, ...] = (),
    content_type: str = "application/json",
    limit_s: float | None = None,
    retry: int = 0,
) -> Call:
    return Call(
        read(method, path),
        list(headers),
        explicit,
        content_type,
        "",
        content,
        limit_s,
        retry=retry,
        streams=wants_stream(content),
    )


def get(path: str, **fields: Any) -> Call:
    return call(None, path, method="GET", content_type="", **fields)


class Run:
    """Drives one trip: ``script`` says what each target does with its first, second, ... request.

    ``step`` goes as far as the next `Send` or `Pause`, which is then ``at``; what it does comes with the next step.
    Whatever has a connection open while another is opened, or is waited with, fails the test.
    """

    def __init__(
        self,
        to: Fleet,
        given: Call,
        script: Script | None = None,
        *,
        wishes: Wishes | None = None,
        asked: Callable[[Ask | Fetch], Asked | None] | None = None,
        chunks: Sequence[bytes] = (),
        stepwise: bool = False,
    ) -> None:
        self.fleet, self.clock = to, to.clock
        self.script = script if callable(script) else {name: list(does) for name, does in (script or {}).items()}
        self.trip = Trip(to, given, wishes or Wishes(), wall=lambda: WALL + to.clock())
        self.machine = self.trip.run()
        self.effects: list[str] = []
        self.sends: list[Send] = []
        self.sent_at: list[float] = []
        self.pauses: list[float] = []
        self.discarded: list[Reply] = []
        self.result: Any = None
        self.is_done = False
        self.at: Send | Pause | None = None
        self._asked, self._left = asked, list(chunks)
        self._open: Reply | None = None
        self._answer: Any = None
        while not self.is_done and not stepwise:
            self.step()

    def step(self) -> Send | Pause | None:
        if isinstance(self.at, Send):
            self._answer = self._sent(self.at)
        elif isinstance(self.at, Pause):
            assert isinstance(self.clock, Clock)
            self.clock.now += self.at.seconds
        self.at = None
        try:
            while self.at is None:
                effect = self.machine.send(self._answer)
                self._answer = None
                self.effects.append(type(effect).__name__)
                if isinstance(effect, (Send, Pause)):
                    assert self._open is None, f"{effect} while an answer is open"
                    self.at = effect
                    self._note(effect)
                else:
                    self._answer = self._performed(effect)
        except StopIteration as done:
            self.result, self.is_done = done.value, True
            if self._open is not None:
                assert isinstance(self.result, Answered), "an answer is left open"
                assert self.result.response is self._open, "another answer is left open"
        return self.at

    def resume(self) -> Send | Pause | None:
        """A step after a pause for which the clock was moved already."""
        assert isinstance(self.at, Pause)
        self.at = None
        return self.step()

    def _note(self, effect: Send | Pause) -> None:
        if isinstance(effect, Send):
            self.sends.append(effect)
            self.sent_at.append(self.clock())
        else:
            self.pauses.append(effect.seconds)

    def _sent(self, send: Send) -> Answered | Failed:
        name = send.address.served.target
        does = self.script(name, send) if callable(self.script) else self.script[name].pop(0)
        if does.after_s:
            assert isinstance(self.clock, Clock)
            self.clock.now += does.after_s
        outcome = does.outcome()
        if isinstance(does, Reply):
            self._open = does
        if send.takes_in and isinstance(outcome, Answered) and outcome.status == 200:
            return self._taken_in(outcome)
        return outcome

    def _taken_in(self, outcome: Answered) -> Answered:
        """The answer with its body read, as the drivers read a text."""
        if outcome.content_type.startswith(("text/event-stream", "text/html")):
            return outcome
        taken_in = self._performed(Inspect(outcome.response, lambda _: False))
        return outcome._replace(taken_in=taken_in)

    def _performed(self, effect: Any) -> Any:
        if isinstance(effect, Inspect):
            assert effect.response is self._open, "looked into a closed answer"
            result = self._inspected(effect)
            if effect.response.is_closed:
                self._open = None
            return result
        if isinstance(effect, Discard):
            assert not effect.response.is_closed, "closed twice"
            effect.response.is_closed = True
            self.discarded.append(effect.response)
            if effect.response is self._open:
                self._open = None
            return None
        if isinstance(effect, Peek):
            while self._left and not effect.feed(self._left.pop(0)):
                pass
            return None
        assert isinstance(effect, (Ask, Fetch))
        assert self._asked is not None, "a credential was asked for"
        return self._asked(effect)

    def _inspected(self, effect: Inspect) -> bool | Failed:
        response = effect.response
        result: bool | Failed = response.inspected(effect.feed)
        if result is True and response.stalls:
            assert effect.limit_s is not None, "nobody ends this wait"
            assert isinstance(self.clock, Clock)
            self.clock.now += effect.limit_s
            return Failed(httpx.ReadTimeout("stalled"), response.can_repeat)
        return result

    @property
    def names(self) -> list[str]:
        """Who was asked, in order."""
        return [send.address.served.target for send in self.sends]

    @property
    def status(self) -> int | None:
        """The status of the caller's answer; None if it gets an exception."""
        return self.result.status if isinstance(self.result, (Answered, Refusal)) else None

    @property
    def refusal(self) -> Refusal:
        assert isinstance(self.result, Refusal), self.result
        return self.result

    @property
    def error(self) -> Exception:
        assert isinstance(self.result, Failed), self.result
        return self.result.error

    @property
    def late(self) -> Late:
        assert isinstance(self.result, Late), self.result
        return self.result

    @property
    def served_by(self) -> str | None:
        return self.trip.served.name if self.trip.served is not None else None
