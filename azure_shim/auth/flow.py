"""The sub-machine that attaches a target's credential to an attempt, and answers one 401 with one fresh token.

The transport and `AzureAuth` both drive it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Union

from azure_shim.auth.challenge import claims_of
from azure_shim.auth.secrets import fault_of, looks_like_token, scrubbed, without_bearer
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

__all__ = ["Signing", "attach", "header_of", "renew", "send_signed"]

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
            return (yield from _fetched(tokens))
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
        reason = scrubbed(str(asked.error))
        return _refusal(
            f"{credential.source} raised {type(asked.error).__name__}{': ' + reason if reason else ''}", asked.error
        )
    value = asked.value
    if isinstance(value, str) and credential.is_token:
        value = without_bearer(value)
    fault = fault_of(value)
    if fault is not None:
        return _refusal(f"what {credential.source} returned {fault}")
    assert isinstance(value, str)
    return header_of(credential, value)


def _fetched(tokens: TokenSlot) -> Signing:
    """The token of a credential that has none just now."""
    while True:
        asked = yield Fetch(tokens)
        if not isinstance(asked.error, FlightLost):
            break
    if asked.error is None:
        assert isinstance(asked.value, Token)
        return asked.value.header
    if isinstance(asked.error, FlightOverdue):
        source = tokens.source
        return Late(f"{source.name} got no token for {source.scope} from {source.authority} in time: {asked.error}")
    return _refusal(tokens.source.failure(asked.error), asked.error)


def renew(credential: Credential, used: Header, challenge: str, *, can_repeat: bool) -> Signing:
    """After a 401 to ``used``: another header to try once with, or why there is none.

    An API key has no other. A token is dropped in any case, so that the next call gets a fresh one.
    """
    if credential.tokens is not None:
        credential.tokens.drop(used, claims_of(challenge))
    elif credential.provider is None or used[0] != b"Authorization":
        return _NO_OTHER
    if not can_repeat:
        return _NO_OTHER
    fresh = yield from attach(credential)
    return _NO_OTHER if fresh == used else fresh


def send_signed(
    credential: Credential, address: Address, headers: list[Header] | None, body: Body | None
) -> Generator[Effect, Any, Answered | Failed | Refusal | Late]:
    """Send with the credential, and once more with a fresh token if Azure refuses the first one (401).

    Where no other can be had, the caller gets Azure's own 401.
    """
    header = yield from attach(credential)
    if isinstance(header, (Refusal, Late)):
        return header
    outcome = yield Send(address, headers, (header,), body)
    assert isinstance(outcome, (Answered, Failed))
    if isinstance(outcome, Failed) or outcome.status != 401:
        return outcome
    fresh = yield from renew(credential, header, outcome.challenge, can_repeat=outcome.can_repeat)
    if isinstance(fresh, (Refusal, Late)):
        return outcome
    yield Discard(outcome.response)
    again = yield Send(address, headers, (fresh,), body, again=True)
    assert isinstance(again, (Answered, Failed))
    return again


def header_of(credential: Credential, value: str) -> Header:
    """A key goes into the target's own header, a token into ``Authorization``; never both (Azure rejects both)."""
    if credential.is_token or (looks_like_token(value) and credential.header == "api-key"):
        return b"Authorization", b"Bearer " + value.encode()
    return credential.header.encode(), value.encode()


def _refusal(message: str, cause: BaseException | None = None) -> Refusal:
    return Refusal(401, "CredentialUnavailable", f"No credential for this request: {message.rstrip('.')}.", cause)


_NO_OTHER = Refusal(401, "CredentialUnavailable", "There is no other credential.")
