"""The tokens that a `TokenService` has issued: made like Entra's, known one by one."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from azure_shim.testing.token_requests import Issued

__all__ = ["TokenLedger", "jwt_like"]

_SIGNATURE_BYTES = 256


class _Entry(NamedTuple):
    audience: str
    expires_on: int


def jwt_like(claims: dict[str, Any], *, key_id: str) -> str:
    """A text in the form of a signed JWT; its signature is made up, for whoever made it knows it."""
    header = {"typ": "JWT", "alg": "RS256", "x5t": key_id, "kid": key_id}
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    return ".".join(_base64(part) for part in [*parts, secrets.token_bytes(_SIGNATURE_BYTES)])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenLedger:
    """Issues tokens, and tells whether one is good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._revoked: set[str] = set()
        self._forgotten = 0
        self._key_id = secrets.token_urlsafe(20)

    @property
    def tokens(self) -> list[str]:
        """Those issued since the last `forget`, in order."""
        with self._lock:
            return list(self._entries)[self._forgotten :]

    def issue(
        self,
        scope: str,
        *,
        tenant_id: str,
        client_id: str,
        now: int,
        lifetime_s: int,
        refresh_in_s: int | None,
    ) -> Issued:
        """A new token for a scope or a resource."""
        audience = scope.removesuffix("/.default").rstrip("/")
        expires_on = now + lifetime_s
        token = jwt_like(
            {
                "aud": audience,
                "iss": f"https://sts.windows.net/{tenant_id}/",
                "iat": now,
                "nbf": now,
                "exp": expires_on,
                "appid": client_id,
                "idtyp": "app",
                "tid": tenant_id,
                "uti": secrets.token_urlsafe(16),
                "ver": "1.0",
            },
            key_id=self._key_id,
        )
        with self._lock:
            self._entries[token] = _Entry(audience, expires_on)
        return Issued(token, now, expires_on, refresh_in_s)

    def revoke(self, token: str) -> None:
        """Call a token no good from now on.

        Raises:
            ValueError: it was not issued here.
        """
        with self._lock:
            if token not in self._entries:
                raise ValueError("no such token was issued here")
            self._revoked.add(token)

    def is_valid(self, token: str, audiences: Iterable[str] | None, now: float) -> bool:
        """Whether a token was issued here, for one of ``audiences``, and is neither over nor revoked."""
        with self._lock:
            entry = self._entries.get(token)
            if entry is None or token in self._revoked:
                return False
        if now >= entry.expires_on:
            return False
        return audiences is None or _host(entry.audience) in {_host(audience) for audience in audiences}

    def forget(self) -> None:
        """List the tokens that there are no longer; they stay as good as they are."""
        with self._lock:
            self._forgotten = len(self._entries)


def _host(audience: str) -> str:
    """The host of a resource's URL, or of its bare name; the id of an application is itself."""
    return (urlsplit(audience if "://" in audience else f"//{audience}").hostname or "").lower()
