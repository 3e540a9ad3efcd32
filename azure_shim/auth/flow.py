"""The sub-machine that attaches a target's credential to an attempt, and answers one 401 with one fresh token.

The transport and `AzureAuth` both drive it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, Union

from azure_shim.auth.challenge import claims_of
from azure_shim.auth.secrets import fault_of, looks_like_token, scrubbed, text_of, without_bearer
from azure_shim.auth.tokens import FlightLost, FlightOverdue, Token, TokenSlot
from azure_shim.values import (
    Address,
    Answered,
    Ask,
    Body,
    Credential,
    Discard,
    Effect,
    Failed,
    Fetch,
    Header,
    Late,
    Refusal,
    Send,
)

__all__ = ["Renewals", "Signing", "attach", "drop", "header_of", "renew", "send_signed"]

# Flights that end with their event loop, after which a call gives up: one is bad luck.
_LOST_FLIGHTS = 2
_VAIN_S = 30.0

Signing = Generator[Union[Ask, Fetch], Any, Union[Header, Refusal, Late]]


def attach(credential: Credential) -> Signing:
    """The header that signs one attempt, or why there is none.

    A provider is asked once per attempt, so that the SDK's own retries carry a token of their own. A credential is
    asked when its token is over; while it is only due, it goes on serving and nobody waits.
    """
    tokens = credential.tokens
    if tokens is not None:
        token = tokens.valid()
        if token is None:
            return (yield from _fetched(tokens, credential.note))
        if tokens.is_due(token):
            yield Fetch(tokens, waits=False)
        header: Header = token.header
        return header
    if credential.value is not None:
        return header_of(credential, credential.value)
    if credential.provider is None:
        return _refusal(f"{credential.source} carry none, and the client has no other")
    asked = yield Ask(credential.provider)
    if asked.error is not None:
        reason = scrubbed(text_of(asked.error))
        return _refusal(
            f"{credential.source} raised {type(asked.error).__name__}{': ' + reason if reason else ''}", asked.error
        )
    value = asked.value
    if isinstance(value, str) and credential.is_token:
        value = without_bearer(value)
    fault = fault_of(value, is_key=not credential.is_token)
    if fault is not None:
        return _refusal(f"what {credential.source} returned {fault}")
    assert isinstance(value, str)
    return header_of(credential, value)


def _fetched(tokens: TokenSlot, note: str) -> Signing:
    """The token of a credential that has none just now."""
    asked = yield Fetch(tokens)
    for _ in range(_LOST_FLIGHTS):
        if not isinstance(asked.error, FlightLost):
            break
        asked = yield Fetch(tokens)
    if asked.error is None:
        assert isinstance(asked.value, Token)
        return asked.value.header
    if isinstance(asked.error, FlightOverdue):
        source = tokens.source
        return Late(f"{source.name} got no token for {source.scope} from {source.authority} in time: {asked.error}")
    return _refusal(tokens.source.failure(asked.error) + note, asked.error)


class Renewals:
    """What a client has learnt of its target's 401s.

    A principal without a role gets one for every token. Where a fresh token was refused too, more of them would only
    take the tokens away from other clients that use the same credential.
    """

    __slots__ = ("_clock", "_vain_until")

    def __init__(self, clock: Callable[[], float] = lambda: time.monotonic()) -> None:
        self._clock, self._vain_until = clock, float("-inf")

    @property
    def are_vain(self) -> bool:
        """Whether a fresh token was refused a short while ago."""
        return self._clock() < self._vain_until

    def note(self, status: int) -> None:
        """Azure answered with ``status`` to a fresh token."""
        self._vain_until = self._clock() + _VAIN_S if status == 401 else float("-inf")


def renew(credential: Credential, used: Header, challenge: str, renewals: Renewals, *, can_repeat: bool) -> Signing:
    """After a 401 to ``used``: another header to try once with, or why there is none.

    An API key has no other. A token is dropped even where the request cannot be repeated, so that the next call gets a
    fresh one.
    """
    if used[0] != b"Authorization" or (credential.tokens is None and credential.provider is None):
        return _NO_OTHER
    claims = claims_of(challenge)
    if renewals.are_vain and claims is None:
        return _NO_OTHER
    if credential.tokens is not None:
        credential.tokens.drop(used, claims)
    if not can_repeat:
        return _NO_OTHER
    fresh = yield from attach(credential)
    return _NO_OTHER if fresh == used else fresh


def drop(credential: Credential, challenge: str) -> None:
    """Azure refused the token that there is just now, where nothing can be sent again: the next one is a fresh one."""
    if credential.tokens is None:
        return
    token = credential.tokens.valid()
    if token is not None:
        credential.tokens.drop(token.header, claims_of(challenge))


def send_signed(
    credential: Credential,
    address: Address,
    headers: list[Header] | None,
    body: Body | None,
    renewals: Renewals,
    limit_s: float | None = None,
    head_s: float | None = None,
    takes_in: bool = False,
) -> Generator[Effect, Any, Answered | Failed | Refusal | Late]:
    """Send with the credential, and once more with a fresh token if Azure refuses the first one (401).

    Where no other can be had, the caller gets Azure's own 401.
    """
    header = yield from attach(credential)
    if isinstance(header, (Refusal, Late)):
        return header
    outcome = yield Send(address, headers, (header,), body, False, limit_s, head_s, takes_in)
    assert isinstance(outcome, (Answered, Failed))
    if isinstance(outcome, Failed) or outcome.status != 401:
        return outcome
    fresh = yield from renew(credential, header, outcome.challenge, renewals, can_repeat=outcome.can_repeat)
    if isinstance(fresh, (Refusal, Late)):
        return outcome
    yield Discard(outcome.response)
    again = yield Send(address, headers, (fresh,), body, True, limit_s, head_s, takes_in)
    assert isinstance(again, (Answered, Failed))
    if isinstance(again, Answered):
        renewals.note(again.status)
    return again


def header_of(credential: Credential, value: str) -> Header:
    """A key goes into the target's own header, a token into ``Authorization``; never both (Azure rejects both)."""
    if credential.is_token or (looks_like_token(value) and credential.header == "api-key"):
        return b"Authorization", b"Bearer " + value.encode()
    return credential.header.encode(), value.encode()


def _refusal(message: str, cause: BaseException | None = None) -> Refusal:
    return Refusal(401, "CredentialUnavailable", f"No credential for this request: {message.rstrip('.')}.", cause)


_NO_OTHER = Refusal(401, "CredentialUnavailable", "There is no other credential.")
