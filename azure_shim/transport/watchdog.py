"""A limit for a blocking read that is not the read's own.

How long the first token of a stream may take is less than how long the gap between two tokens may be, while a blocking
socket has one timeout, which the HTTP library sets when the body begins. So one thread for the whole process shuts a
socket down when its time is over, which wakes up whoever reads from it.
"""

from __future__ import annotations

import heapq
import itertools
import os
import socket
import threading
import time
from typing import Any

__all__ = ["Watchdog", "watchdog"]


class _Watched:
    """One read that has to come by a time."""

    __slots__ = ("is_over", "socket")

    def __init__(self, watched: Any) -> None:
        self.socket = watched
        self.is_over = False


class Watchdog:
    """Shuts sockets down that are not disarmed in time. Its thread is started when it is first needed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: list[tuple[float, int, _Watched]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def arm(self, response: Any, seconds: float) -> _Watched | None:
        """Watch the connection of ``response``; None if it cannot be watched, or serves other calls as well."""
        stream = response.extensions.get("network_stream")
        is_shared = response.extensions.get("http_version") == b"HTTP/2"
        found = None if stream is None or is_shared else stream.get_extra_info("socket")
        if not isinstance(found, socket.socket):
            return None
        watched = _Watched(found)
        with self._changed:
            heapq.heappush(self._queue, (time.monotonic() + seconds, next(self._numbers), watched))
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="azure-shim-watchdog", daemon=True)
                self._thread.start()
            self._changed.notify()
        return watched

    def disarm(self, watched: _Watched) -> bool:
        """Leave the socket alone from now on; whether it was shut down already."""
        with self._changed:
            was_over, watched.is_over, watched.socket = watched.is_over, True, None
        return was_over

    def _watch(self) -> None:
        with self._changed:
            while True:
                while self._queue and self._queue[0][2].is_over:
                    heapq.heappop(self._queue)
                if not self._queue:
                    self._changed.wait()
                    continue
                left = self._queue[0][0] - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                watched = heapq.heappop(self._queue)[2]
                watched.is_over = True
                try:
                    # That of the plain socket: TLS has its own, which would pull the rug from under the reader.
                    socket.socket.shutdown(watched.socket, socket.SHUT_RDWR)
                except OSError:  # it was closed meanwhile
                    continue


watchdog = Watchdog()


def _after_fork() -> None:
    watchdog.__init__()  # type: ignore[misc]  # the thread is the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
