"""The sub-machine that attaches a target's credential to one attempt. The transport and `AzureAuth` both drive it."""

from __future__ import annotations

from collections.abc import Generator

from azure_shim.auth.secrets import fault_of, looks_like_token, scrubbed, without_bearer
from azure_shim.values import Ask, Asked, Credential, Header, Refusal

__all__ = ["attach", "header_of"]


def attach(credential: Credential) -> Generator[Ask, Asked, Header | Refusal]:
    """The header that signs one attempt, or why there is none.

    A provider is asked once per attempt, so that the SDK's own retries carry a token of their own.
    """
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


def header_of(credential: Credential, value: str) -> Header:
    """A key goes into the target's own header, a token into ``Authorization``; never both (Azure rejects both)."""
    if credential.is_token or (looks_like_token(value) and credential.header == "api-key"):
        return b"Authorization", b"Bearer " + value.encode()
    return credential.header.encode(), value.encode()


def _refusal(message: str, cause: Exception | None = None) -> Refusal:
    return Refusal(401, "CredentialUnavailable", f"No credential for this request: {message}.", cause)
