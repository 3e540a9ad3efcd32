"""What a `TokenService` is asked and how it refuses: the vocabulary that its endpoints share."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl

from azure_shim.testing.recorded import Recorded
from azure_shim.testing.response import FakeResponse

__all__ = ["Issued", "RefusedError", "SignIn", "TokenRequest", "claims_of", "form_of"]


@dataclass(frozen=True)
class TokenRequest:
    """One request for a token.

    Attributes:
        endpoint: who was asked: ``"entra"``, ``"app_service"``, ``"imds"`` or ``"arc"``.
        grant: what with: ``"client_secret"``, ``"certificate"``, ``"federated"`` or ``"managed"``; None: with nothing.
        scope: the scope, or the resource of a managed identity, as it was sent.
        tenant: the tenant in the path, as it was sent; None for a managed identity.
        client_id, object_id, resource_id: which identity, as it was sent; the last two are a managed one's.
        claims: the parsed ``claims`` parameter.
        at: when it came, by `time.monotonic`.
        status: of the answer; None before there is one, and if there was none.
        token: the one that it got; None if it got none.
    """

    endpoint: str
    grant: str | None
    scope: str | None
    tenant: str | None = None
    client_id: str | None = None
    object_id: str | None = None
    resource_id: str | None = None
    claims: dict[str, Any] | None = None
    at: float = field(default_factory=time.monotonic)
    status: int | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Issued:
    """A token, with what is said of it when it is given out; times are seconds since 1970 by the service's clock."""

    token: str = field(repr=False)
    issued_on: int
    expires_on: int
    refresh_in_s: int | None

    @property
    def expires_in_s(self) -> int:
        """How long it is good for."""
        return self.expires_on - self.issued_on


def form_of(request: Recorded) -> dict[str, str]:
    """The parameters in a form's body."""
    return dict(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True))


class RefusedError(Exception):
    """Why there is no token: the status, OAuth's word for it, and Entra's own number (``AADSTS...``)."""

    def __init__(self, status: int, error: str, message: str, code: int = 90100) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message
        self.code = code


class SignIn(Protocol):
    """The endpoints that share a port. What `read` takes for a look-up goes to `look_up`, all else through `check`."""

    def read(self, request: Recorded) -> TokenRequest | None:
        """What is asked for; None if it is no token."""
        ...

    def look_up(self, request: Recorded) -> FakeResponse:
        """The answer to what is no request for a token."""
        ...

    def check(self, asked: TokenRequest, request: Recorded) -> None:
        """Return if a token may be issued.

        Raises:
            RefusedError: it may not.
        """

    def granted(self, asked: TokenRequest, issued: Issued) -> FakeResponse:
        """The answer with a token."""
        ...

    def refused(self, asked: TokenRequest, request: Recorded, reason: RefusedError) -> FakeResponse:
        """The answer without one."""
        ...


def claims_of(text: str | None) -> dict[str, Any] | None:
    """The ``claims`` parameter, parsed; None if there is none or it is no JSON object."""
    try:
        value = json.loads(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
