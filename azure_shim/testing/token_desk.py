"""Where a `TokenService` takes its requests, one after the other: records, faults, checks and tokens."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from azure_shim.testing.bodies import Body
from azure_shim.testing.connection import Gone
from azure_shim.testing.faults import Fault, FaultQueue
from azure_shim.testing.recorded import Recorded
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.token_faults import TokenFault
from azure_shim.testing.token_ledger import TokenLedger
from azure_shim.testing.token_requests import Issued, RefusedError, SignIn, TokenRequest

if TYPE_CHECKING:
    from azure_shim.testing.token_service import TokenService

__all__ = ["Desk", "Port"]

_STALL_CHECK_S = 0.02
_BODY_BYTES = 1024 * 1024


class Desk:
    """What all the endpoints of one service share."""

    def __init__(self, service: TokenService) -> None:
        self.ledger = TokenLedger()
        self.faults: FaultQueue[TokenFault] = FaultQueue()
        self._service = service
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._connections = itertools.count(1)
        self._requests: dict[int, TokenRequest] = {}
        self._lookups: list[str] = []

    @property
    def requests(self) -> list[TokenRequest]:
        """What was asked for a token, in the order of its arrival."""
        with self._lock:
            return list(self._requests.values())

    @property
    def lookups(self) -> list[str]:
        """The paths of what else was asked."""
        with self._lock:
            return list(self._lookups)

    def forget(self) -> None:
        """Drop the records so far."""
        with self._lock:
            self._requests.clear()
            self._lookups.clear()
        self.ledger.forget()

    def next_connection(self) -> int:
        """The number of a new connection."""
        return next(self._connections)

    def issue(self, scope: str, client_id: str) -> Issued:
        """A new token."""
        service = self._service
        return self.ledger.issue(
            scope,
            tenant_id=service.tenant_id,
            client_id=client_id,
            now=int(service.now()),
            lifetime_s=service.lifetime_s,
            refresh_in_s=service.refresh_in_s,
        )

    def answer(self, side: SignIn, request: Recorded, has_gone: Gone) -> FakeResponse:
        """Take down a request to an endpoint of ``side``, and answer it."""
        asked = side.read(request)
        if asked is None:
            with self._lock:
                self._lookups.append(request.path)
            return side.look_up(request)
        with self._lock:
            number = next(self._numbers)
            self._requests[number] = asked
            fault = self.faults.take()
        if fault is not None:
            fault.reached.set()
        if self._service.delay_s:
            self._service.wait(self._service.delay_s)
        if fault is not None and fault.wire:
            if fault.wire == "reset" or not _is_released(fault, has_gone):
                return _broken_off()
            fault = None
        if self._service.is_closing:
            return _broken_off()
        response, token = self._decide(side, request, asked, fault)
        with self._lock:
            if number in self._requests:
                self._requests[number] = replace(asked, status=response.status, token=token)
        return response

    def _decide(
        self, side: SignIn, request: Recorded, asked: TokenRequest, fault: TokenFault | None
    ) -> tuple[FakeResponse, str | None]:
        if fault is not None:
            return fault.answer(asked.client_id, lambda reason: side.refused(asked, request, reason)), None
        try:
            side.check(asked, request)
        except RefusedError as reason:
            return side.refused(asked, request, reason), None
        issued = self.issue(str(asked.scope), asked.client_id or self._service.client_id)
        return side.granted(asked, issued), issued.token


class Port:
    """The `Front` of the endpoints that share a port."""

    name = "TokenService"
    chunk_delay_s = 0.0
    sleep: Callable[[float], Any] | None = None

    def __init__(self, desk: Desk, side: SignIn) -> None:
        self._desk, self._side = desk, side

    @property
    def is_stopped(self) -> bool:
        """Never: what is held is held by the desk."""
        return False

    def next_connection(self) -> int:
        """The number of a new connection."""
        return self._desk.next_connection()

    def new_body(self) -> Body:
        """Where the body of a request that is coming in goes."""
        return Body(_BODY_BYTES)

    def record(self, request: Recorded) -> None:
        """Nothing: what did not come whole asked for nothing."""

    def answer(self, request: Recorded, has_gone: Gone) -> FakeResponse:
        """Take down a request, and answer it."""
        return self._desk.answer(self._side, request, has_gone)


def _broken_off() -> FakeResponse:
    """No answer but the end of the connection."""
    return FakeResponse(0, fault=Fault(lambda _request, normal: normal(), "reset", wire="reset"))


def _is_released(fault: TokenFault, has_gone: Gone) -> bool:
    """Wait for the end of a stall; False if the client goes first."""
    while not fault.released.wait(_STALL_CHECK_S):
        if has_gone():
            return False
    return True
