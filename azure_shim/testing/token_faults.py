"""Faults that a test asks of a `TokenService`: refusals, answers that are none, connections that break."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from azure_shim.testing.application import wrong_secret
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.token_requests import RefusedError

__all__ = ["PRESETS", "TokenFault", "token_fault"]

_WIRE = ("reset", "stall")
_REFUSALS: dict[str, Callable[[str], RefusedError]] = {
    "throttled": lambda _: RefusedError(
        429,
        "temporarily_unavailable",
        "There are too many incoming requests. This exception is thrown for blocked tenants.",
        90055,
    ),
    "unavailable": lambda _: RefusedError(
        503, "temporarily_unavailable", "A transient error has occurred. Please try again.", 90033
    ),
    "server_error": lambda _: RefusedError(500, "server_error", "There was an error issuing a token.", 50000),
    "invalid_client": wrong_secret,
}
_ANSWERS = {
    "empty": ("application/json", b""),
    "cut": ("application/json; charset=utf-8", b'{"token_type":"Bearer","expires_in":3599,"access_token":"eyJ0eXAiOi'),
    "html": ("text/html", b"<html><head><title>Sign in</title></head><body>Sign in to continue</body></html>"),
    # An identity endpoint says the same in a text; azure-identity makes a number of either.
    "no_token": ("application/json; charset=utf-8", b'{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599}'),
}
PRESETS = tuple(sorted((*_REFUSALS, *_ANSWERS, *_WIRE)))
"""The names that `TokenService.fail_next` knows."""


@dataclass(eq=False)
class TokenFault:
    """A fault that waits for its requests, or has met them.

    ``reached`` is set when a request has met it. `release` ends a ``stall``. ``times`` is how many requests it still
    waits for, None for all.
    """

    name: str
    status: int | None = None
    times: int | None = 1
    retry_after: int | None = None
    reached: threading.Event = field(default_factory=threading.Event, repr=False)
    released: threading.Event = field(default_factory=threading.Event, repr=False)

    def release(self) -> None:
        """Let the requests that a ``stall`` holds go on."""
        self.released.set()

    @property
    def wire(self) -> str:
        """What happens to the connection, ``""`` for an ordinary answer."""
        return self.name if self.name in _WIRE else ""

    def answer(self, client_id: str | None, refused: Callable[[RefusedError], FakeResponse]) -> FakeResponse:
        """The answer instead of a token; ``refused`` gives a refusal the shape of the endpoint."""
        if self.name in _ANSWERS:
            content_type, body = _ANSWERS[self.name]
            response = FakeResponse(self.status or 200, {"content-type": content_type}, body)
        else:
            reason = _REFUSALS.get(self.name, self._of_status)(client_id or "")
            response = refused(reason)
            response.status = self.status or reason.status
        return response if self.retry_after is None else response.with_headers([("retry-after", str(self.retry_after))])

    def _of_status(self, _client_id: str) -> RefusedError:
        status = self.status or 500
        error = "invalid_request" if status < 500 else "server_error"
        return RefusedError(status, error, f"The test asked for the status {status}.")


def token_fault(preset: str | None, status: int | None, times: int | None, retry_after: int | None) -> TokenFault:
    """The fault that a test asks for.

    Raises:
        ValueError: no such preset, neither a preset nor a status, ``times`` below 1.
    """
    if times is not None and times < 1:
        raise ValueError(f"times is {times}; expected 1 or more, or None for every request")
    if preset is None:
        if status is None:
            raise ValueError("fail_next() needs a preset or a status")
        return TokenFault(str(status), status, times, retry_after)
    if preset not in PRESETS:
        raise ValueError(f"no preset {preset!r}; there are: {', '.join(PRESETS)}")
    if preset == "throttled" and retry_after is None:
        retry_after = 1
    return TokenFault(preset, status, times, retry_after)
