"""Threads that take turns a hundred times as often as Python has them do, so that what can come between does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def turns_taken_often() -> Iterator[None]:
    """For as long as this is entered. Threads that begin in it have no tracer: to install one is not safe at such a
    pace (before Python 3.12, "Cannot install a trace function while another trace function is being installed")."""
    interval, tracer = sys.getswitchinterval(), threading.gettrace()
    threading.settrace(None)
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        threading.settrace(tracer)
