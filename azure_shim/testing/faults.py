"""Faults that a test asks for: answers of Azure's that are errors, and connections that break."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Protocol, TypeVar

from azure_shim.testing import errors
from azure_shim.testing.recorded import Recorded
from azure_shim.testing.response import FakeResponse, HeadersLike
from azure_shim.testing.sse import frame

__all__ = ["PRESETS", "Fault", "FaultOptions", "FaultQueue", "fault_of"]

Normal = Callable[[], FakeResponse]
Answer = Callable[[Recorded, Normal], FakeResponse]
_HTML = b"<html><head><title>%s</title></head><body><h1>%s</h1></body></html>"


@dataclass(eq=False)
class Fault:
    """A fault that waits for its requests, or has met them.

    ``reached`` is set when a request has met it. `release` ends a ``stall``. ``wire`` is what happens to a loopback
    connection, ``""`` for an ordinary answer. ``times`` is how many requests it still waits for, None for all.
    """

    answer: Answer = field(repr=False)
    name: str
    wire: str = ""
    times: int | None = 1
    reached: threading.Event = field(default_factory=threading.Event, repr=False)
    released: threading.Event = field(default_factory=threading.Event, repr=False)

    def release(self) -> None:
        """Let the requests that a ``stall`` holds go on."""
        self.released.set()

    def apply(self, request: Recorded, normal: Normal) -> FakeResponse:
        """The answer to ``request``, whose answer without a fault is ``normal()``."""
        self.reached.set()
        response = self.answer(request, normal)
        return FakeResponse(response.status, response.headers, response.body, self if self.wire else response.fault)


@dataclass(frozen=True, slots=True)
class FaultOptions:
    """What `Resource.fail_next` was told; None stands for the preset's own."""

    status: int | None = None
    code: str | None = None
    message: str | None = None
    headers: HeadersLike = None
    retry_after: int | None = None
    location: str | None = None


Builder = Callable[[FaultOptions], Answer]


class Queued(Protocol):
    """What a queue has to know of a fault; see `Fault`."""

    times: int | None

    @property
    def wire(self) -> str:
        """What happens to the connection, ``""`` for an ordinary answer."""
        ...

    def release(self) -> None:
        """Let the requests go on that the fault holds."""


_FaultT = TypeVar("_FaultT", bound=Queued)


class FaultQueue(Generic[_FaultT]):
    """The faults of one service, first in, first out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_FaultT] = []
        self._met: list[_FaultT] = []

    def add(self, fault: _FaultT) -> _FaultT:
        """Put a fault at the end of the line."""
        with self._lock:
            self._waiting.append(fault)
        return fault

    def take(self) -> _FaultT | None:
        """The fault for the next request, if there is one."""
        with self._lock:
            if not self._waiting:
                return None
            fault = self._waiting[0]
            if fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    self._waiting.pop(0)
            if fault.wire:
                self._met.append(fault)
            return fault

    def clear(self) -> None:
        """Forget those that wait, and release those that hold a request."""
        with self._lock:
            faults = [*self._waiting, *self._met]
            self._waiting, self._met = [], []
        for fault in faults:
            fault.release()


def _error(make: Callable[[], errors.AzureError]) -> Builder:
    return lambda options: _of_error(make(), options)


def _throttle(make: Callable[[int], errors.AzureError]) -> Builder:
    return lambda options: _of_error(make(1 if options.retry_after is None else options.retry_after), options)


def _of_error(error: errors.AzureError, options: FaultOptions) -> Answer:
    body = dict(error.error)
    if options.code is not None:
        body["code"] = options.code
    if options.message is not None:
        body["message"] = options.message
    status = options.status or error.status
    return lambda _request, _normal: FakeResponse.json({"error": body}, status, error.headers)


def _fixed(status: int, content_type: str, body: bytes) -> Builder:
    def build(options: FaultOptions) -> Answer:
        return lambda _request, _normal: FakeResponse(options.status or status, {"content-type": content_type}, body)

    return build


def _redirect(options: FaultOptions) -> Answer:
    if options.location is None:
        raise ValueError("fail_next('redirect') needs a location")
    headers = {"location": options.location}
    return lambda _request, _normal: FakeResponse(options.status or 307, headers)


def _error_in_stream(_options: FaultOptions) -> Answer:
    """The first frames of a stream, then an error where the next one should be; other answers become a 500."""

    def answer(_request: Recorded, normal: Normal) -> FakeResponse:
        response = normal()
        if isinstance(response.body, bytes):
            return errors.server_error().response()
        return FakeResponse(response.status, response.headers, frames(response.body))

    def frames(body: Iterator[bytes]) -> Iterator[bytes]:
        yield from islice(body, 3)
        yield frame({"error": errors.server_error().error})

    return answer


def _normal(_options: FaultOptions) -> Answer:
    return lambda _request, normal: normal()


_ANSWERS: dict[str, Builder] = {
    "401_key": _error(errors.wrong_key),
    "401_rbac": _error(errors.lacks_role),
    "401_token": _error(errors.wrong_token),
    "403_network": _error(errors.network_denied),
    "404_deployment": _error(errors.deployment_not_found),
    "408": _error(errors.timeout),
    "429_call_rate": _throttle(errors.call_rate),
    "429_high_demand": _throttle(errors.high_demand),
    "429_token_rate": _throttle(errors.token_rate),
    "500": _error(errors.server_error),
    "502_html": _fixed(502, "text/html", _HTML % (b"502 Bad Gateway", b"502 Bad Gateway")),
    "503": _error(errors.unavailable),
    "503_plain": _fixed(503, "text/plain", b"upstream connect error or disconnect/reset before headers"),
    "content_filter": _error(errors.content_filter),
    "cut_json_200": _fixed(
        200, "application/json", b'{"id":"chatcmpl-cut","object":"chat.completion","choices":[{"ind'
    ),
    "error_in_stream": _error_in_stream,
    "html_200": _fixed(200, "text/html", _HTML % (b"Sign in", b"Sign in to continue")),
    "redirect": _redirect,
}
_WIRE = ("reset", "reset_mid_body", "stall", "stall_mid_body", "trickle")
PRESETS = tuple(sorted((*_ANSWERS, *_WIRE)))
"""The names that `Resource.fail_next` knows."""


def fault_of(preset: str | None, options: FaultOptions, times: int | None) -> Fault:
    """The fault that a test asks for.

    Raises:
        ValueError: no such preset, neither a preset nor a status, ``times`` below 1, a redirect to nowhere.
    """
    if times is not None and times < 1:
        raise ValueError(f"times is {times}; expected 1 or more, or None for every request")
    if preset is None:
        if options.status is None:
            raise ValueError("fail_next() needs a preset or a status")
        status, code = options.status, options.code or str(options.status)
        build = _error(lambda: errors.plain(status, code, options.message or f"Fault {code}"))
    elif preset in _WIRE:
        build = _normal
    elif preset in _ANSWERS:
        build = _ANSWERS[preset]
    else:
        raise ValueError(f"no preset {preset!r}; there are: {', '.join(PRESETS)}")
    inner, extra = build(options), _extra_headers(options)

    def answer(request: Recorded, normal: Normal) -> FakeResponse:
        response = inner(request, normal)
        return FakeResponse(response.status, extra, response.body).with_headers(response.pairs) if extra else response

    name = preset or str(options.status)
    return Fault(answer, name, wire=name if name in _WIRE else "", times=times)


def _extra_headers(options: FaultOptions) -> list[tuple[str, str]]:
    extra = FakeResponse(0, options.headers).pairs
    names = {name.lower() for name, _ in extra}
    if options.retry_after is not None and not names & {"retry-after", "retry-after-ms"}:
        extra += [("retry-after", str(options.retry_after)), ("retry-after-ms", str(options.retry_after * 1000))]
    return extra
