"""No connection leaves this machine: whoever tries one gets an error, and so does the test that it happens in."""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
from typing import Any

__all__ = ["Guard", "LeftTheMachine"]

# What of an event's arguments names the host.
_EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}


class LeftTheMachine(AssertionError):
    """Something wanted to reach a host that is not this one."""


class Guard:
    """While ``is_on``, every connection and every ``getaddrinfo`` but of this machine is refused and noted.

    It listens to the interpreter's own audit events, so that no library's way to a socket is missed. There is one per
    process: what listens to those events cannot be taken off again.
    """

    def __init__(self) -> None:
        self.is_on = False
        self._lock = threading.Lock()
        self._refused: list[str] = []
        sys.addaudithook(self._hear)

    def take_refused(self) -> list[str]:
        """The hosts that were refused since the last call."""
        with self._lock:
            found, self._refused = self._refused, []
        return found

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or event not in _EVENTS:
            return
        host = _host_of(arguments[_EVENTS[event]])
        if host is None or _is_local(host):
            return
        with self._lock:
            self._refused.append(host)
        raise LeftTheMachine(f"{event}: {host} is not this machine")


def _host_of(where: Any) -> str | None:
    """The host in an address; None for a socket of the file system and for "any of mine"."""
    if isinstance(where, tuple):
        where = where[0]
    elif isinstance(where, str) and where.startswith(("/", "\0")):
        return None
    if isinstance(where, (bytes, bytearray)):
        where = bytes(where).decode(errors="replace")
        return None if where.startswith(("/", "\0")) else where
    return where if isinstance(where, str) else None


def _is_local(host: str) -> bool:
    if host.lower().rstrip(".") in ("", "localhost", socket.gethostname().lower()):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
