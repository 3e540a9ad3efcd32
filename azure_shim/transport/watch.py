"""What is noticed of an answer's body while its caller reads it, where there are several targets."""

from __future__ import annotations

import math
from typing import Any

from azure_shim.routing.failover import Trip
from azure_shim.routing.fleet import Site, marks_of
from azure_shim.routing.homes import AnswerIds
from azure_shim.routing.route import Naming
from azure_shim.transport.private import add_headers
from azure_shim.values import Attempt
from azure_shim.wire.model_names import ModelBack
from azure_shim.wire.plain_frames import PlainFrames

__all__ = ["ATTEMPTS", "FrameWatch", "Watch", "mark", "mark_first"]

ATTEMPTS = "azure_shim.attempts"
"""Where a response's attempts are found in its ``extensions``; on an error without a response, an attribute."""


class Watch:
    """One body on its way to its caller: a target that is busy until the end, ids to remember, a name to give back."""

    __slots__ = ("_back", "_ids", "_is_over", "_trip")

    def __init__(self, trip: Trip, ids: AnswerIds | None, renamed: tuple[str, str] | None) -> None:
        self._trip, self._ids = trip, ids
        self._back = ModelBack(*renamed) if renamed is not None else None
        self._is_over = False

    @property
    def only_waits(self) -> bool:
        """Whether nothing is looked for in the chunks, nor changed."""
        return self._ids is None and self._back is None

    def pass_on(self, chunk: bytes) -> bytes:
        if self._ids is not None:
            for id_ in self._ids.feed(chunk):
                self._trip.saw(id_)
        return chunk if self._back is None else self._back.feed(chunk)

    def end(self) -> bytes:
        """What was kept back to the last."""
        self.leave()
        return b"" if self._back is None else self._back.end()

    def broke(self, error: Exception) -> None:
        """The body broke off; the caller gets that error, and the target is trusted less."""
        if not self._is_over:
            self._trip.broke(error)
        error.azure_shim_attempts = tuple(self._trip.attempts)  # type: ignore[attr-defined]
        self.leave()

    def leave(self) -> None:
        """The body is over, read or not."""
        if not self._is_over:
            self._is_over = True
            self._trip.leave()

    def __del__(self) -> None:
        self.leave()  # an answer that was dropped without being closed keeps nobody busy


class FrameWatch:
    """One stream of completions on its way to a caller who does not expect what only Azure sends."""

    __slots__ = ("_frames",)

    only_waits = False

    def __init__(self) -> None:
        self._frames = PlainFrames()

    def pass_on(self, chunk: bytes) -> bytes:
        return self._frames.feed(chunk)

    def end(self) -> bytes:
        return self._frames.end()

    def broke(self, error: Exception) -> None:
        """The caller gets the error; what was kept back had no choice in it."""

    def leave(self) -> None:
        """Nothing is held for a stream."""


def mark_first(response: Any, site: Site, naming: Naming, duration_s: float, *, is_clean: bool) -> None:
    """As `mark`, of a call that its first attempt has served; ``is_clean`` if the server uses none of our names."""
    response.extensions[ATTEMPTS] = (
        Attempt(site.name, site.region, naming.deployment, 200, "served", 0.0, duration_s),
    )
    add_headers(response.headers, site.marks, replaces=not is_clean)


def mark(response: Any, trip: Trip) -> None:
    """Write who served, and what was tried, onto a response; and when to come again if nobody can serve now."""
    attempts = tuple(trip.attempts)
    response.extensions[ATTEMPTS] = attempts
    added = marks_of(attempts[-1].target if attempts else None, len(attempts))
    if trip.retry_s is not None:
        wait_s = max(trip.retry_s, 0.0)
        headers = response.headers
        headers["retry-after-ms"] = str(math.ceil(wait_s * 1000))
        headers["retry-after"] = str(math.ceil(wait_s))
        if "x-ms-retry-after-ms" in headers:
            headers["x-ms-retry-after-ms"] = headers["retry-after-ms"]
    if trip.must_not_retry:
        response.headers["x-should-retry"] = "false"
    add_headers(response.headers, added)
