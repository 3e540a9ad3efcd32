"""Where a `TokenService` takes its requests, one after the other: records, faults, checks and tokens."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from azure_shim.testing.response import FakeResponse
from azure_shim.testing.token_faults import TokenFault, TokenFaults
from azure_shim.testing.token_ledger import TokenLedger
from azure_shim.testing.token_requests import Incoming, Issued, RefusedError, SignIn, TokenRequest
from azure_shim.testing.token_server import Gone

if TYPE_CHECKING:
    from azure_shim.testing.token_service import TokenService

__all__ = ["Desk"]

_STALL_CHECK_S = 0.02


class Desk:
    """What all the endpoints of one service share."""

    def __init__(self, service: TokenService) -> None:
        self.ledger = TokenLedger()
        self.faults = TokenFaults()
        self._service = service
        self._lock = threading.Lock()
        self._numbers = itertools.count()
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

    def at(self, side: SignIn) -> Callable[[Incoming, Gone], FakeResponse | None]:
        """What answers the requests to the endpoints of ``side``; an answer of None breaks the connection off."""
        return lambda incoming, has_gone: self._answer(side, incoming, has_gone)

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

    def _answer(self, side: SignIn, incoming: Incoming, has_gone: Gone) -> FakeResponse | None:
        asked = side.read(incoming)
        if asked is None:
            with self._lock:
                self._lookups.append(incoming.path)
            return side.look_up(incoming)
        with self._lock:
            number = next(self._numbers)
            self._requests[number] = asked
            fault = self.faults.take()
        if self._service.delay_s:
            self._service.wait(self._service.delay_s)
        if fault is not None and fault.is_on_wire:
            if fault.name == "reset" or not _is_released(fault, has_gone):
                return None
            fault = None
        if self._service.is_closing:
            return None
        response, token = self._decide(side, incoming, asked, fault)
        with self._lock:
            if number in self._requests:
                self._requests[number] = replace(asked, status=response.status, token=token)
        return response

    def _decide(
        self, side: SignIn, incoming: Incoming, asked: TokenRequest, fault: TokenFault | None
    ) -> tuple[FakeResponse, str | None]:
        if fault is not None:
            return fault.answer(asked.client_id, lambda reason: side.refused(asked, incoming, reason)), None
        try:
            side.check(asked, incoming)
        except RefusedError as reason:
            return side.refused(asked, incoming, reason), None
        issued = self.issue(str(asked.scope), asked.client_id or self._service.client_id)
        return side.granted(asked, issued), issued.token


def _is_released(fault: TokenFault, has_gone: Gone) -> bool:
    """Wait for the end of a stall; False if the client goes first."""
    while not fault.released.wait(_STALL_CHECK_S):
        if has_gone():
            return False
    return True
