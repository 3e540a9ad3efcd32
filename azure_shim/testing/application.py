"""The application that signs in at a `TokenService`: its secret, its certificate, its federated token."""

from __future__ import annotations

import hmac
import secrets
import string
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure_shim.testing.certificates import client_certificate
from azure_shim.testing.token_ledger import jwt_like
from azure_shim.testing.token_requests import RefusedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = ["Application", "grant_of"]

# What Entra allows the clocks of two machines to differ by.
_LEEWAY_S = 300
# The algorithms of "Microsoft identity platform application authentication certificate credentials".
_ALGORITHMS = ["PS256", "RS256"]
_SECRET_CHARACTERS = string.ascii_letters + string.digits + "._~-"


class Application:
    """An app registration with one credential of each kind. Ids and secret are made up."""

    def __init__(self) -> None:
        self.client_id = str(uuid.uuid4())
        # As the portal makes them: three characters, a digit, "Q~" and 34 more.
        self.client_secret = f"{_characters(3)}8Q~{_characters(34)}"
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._public_key: RSAPublicKey | None = None
        self._federated: list[str] = []

    def open(self, folder: Path) -> None:
        """Keep the files in ``folder`` from now on."""
        with self._lock:
            self._folder, self._public_key = folder, None
        self.rotate()

    @property
    def certificate_file(self) -> Path:
        """Private key and certificate in PEM; made when they are first needed, for it takes a while."""
        self._key()
        return self._in_folder("client.pem")

    @property
    def federated_token_file(self) -> Path:
        """Where Kubernetes would put the token of the service account."""
        return self._in_folder("azure-identity-token")

    def rotate(self) -> str:
        """Write a new federated token, the only one that is good from now on."""
        claims = {
            "aud": ["api://AzureADTokenExchange"],
            "iss": "https://oidc.prod-aks.azure.com/",
            "jti": str(uuid.uuid4()),
            "sub": "system:serviceaccount:default:workload-identity",
        }
        token = jwt_like(claims, key_id=secrets.token_urlsafe(20))
        with self._lock:
            self._federated.append(token)
        # Whoever reads meanwhile gets the old one or the new one.
        new = self._in_folder("azure-identity-token.new")
        new.write_text(token, encoding="ascii")
        new.replace(self.federated_token_file)
        return token

    def check(self, form: dict[str, str], url: str, now: float) -> None:
        """Return if ``form``, sent to ``url``, shows that it is this application's.

        Raises:
            RefusedError: it does not.
        """
        client_id = form.get("client_id", "")
        if client_id.lower() != self.client_id:
            raise RefusedError(
                400,
                "unauthorized_client",
                f"Application with identifier '{client_id}' was not found in the directory 'azure_shim'. This can "
                "happen if the application has not been installed by the administrator of the tenant or consented to "
                "by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
                700016,
            )
        grant = grant_of(form)
        if grant is None:
            raise RefusedError(
                401,
                "invalid_client",
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
                7000218,
            )
        if grant == "client_secret":
            if not hmac.compare_digest(form["client_secret"].encode(), self.client_secret.encode()):
                raise wrong_secret(client_id)
        elif grant == "certificate":
            self._check_signed(form["client_assertion"], url, now)
        else:
            self._check_federated(form["client_assertion"])

    def _check_signed(self, assertion: str, url: str, now: float) -> None:
        import jwt

        try:
            claims = jwt.decode(
                assertion,
                self._key(),
                algorithms=_ALGORITHMS,
                # These are checked below, by the service's own clock.
                options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.PyJWTError:
            raise RefusedError(
                401,
                "invalid_client",
                "The certificate with identifier used to sign the client assertion is not registered on application. "
                "[Reason - The key was not found.]",
                700027,
            ) from None
        if claims.get("sub") != claims.get("iss"):
            raise RefusedError(
                401,
                "invalid_client",
                "Client assertion application identifier doesn't match 'client_id' parameter.",
                700021,
            )
        if str(claims.get("aud")).lower() != url.lower():
            raise RefusedError(
                401, "invalid_client", "Client assertion audience claim does not match Realm issuer.", 700023
            )
        if not claims.get("nbf", 0) - _LEEWAY_S <= now <= claims.get("exp", 0) + _LEEWAY_S:
            raise out_of_time()

    def _check_federated(self, assertion: str) -> None:
        with self._lock:
            known = assertion in self._federated
            current = known and assertion == self._federated[-1]
        if not known:
            raise RefusedError(
                401,
                "invalid_client",
                "No matching federated identity record found for presented assertion subject. Check your federated "
                "identity credential Subject, Audience and Issuer against the presented assertion.",
                700213,
            )
        if not current:
            raise out_of_time()

    def _key(self) -> RSAPublicKey:
        with self._lock:
            if self._public_key is None:
                self._public_key = client_certificate(self._in_folder("client.pem"))
            return self._public_key

    def _in_folder(self, name: str) -> Path:
        if self._folder is None:
            raise RuntimeError("the TokenService is not running: enter it, or start() it")
        return self._folder / name


def grant_of(form: dict[str, str]) -> str | None:
    """What a form signs in with: ``"client_secret"``, ``"certificate"`` or ``"federated"``; None if with nothing.

    An assertion that the application issued itself is signed by its certificate; any other issuer is a federated one.
    """
    if "client_assertion" in form:
        return (
            "certificate" if _unverified(form["client_assertion"]).get("iss") == form.get("client_id") else "federated"
        )
    return "client_secret" if form.get("client_secret") else None


def wrong_secret(client_id: str) -> RefusedError:
    """What Entra says to a secret that is not the application's."""
    return RefusedError(
        401,
        "invalid_client",
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not "
        f"the client secret ID, for a secret added to app '{client_id}'.",
        7000215,
    )


def out_of_time() -> RefusedError:
    """What Entra says to an assertion that is over, or not good yet."""
    return RefusedError(
        401,
        "invalid_client",
        "Client assertion is not within its valid time range. Review the documentation at "
        "https://learn.microsoft.com/entra/identity-platform/certificate-credentials .",
        700024,
    )


def _unverified(assertion: str) -> dict[str, Any]:
    import jwt

    try:
        return jwt.decode(assertion, options={"verify_signature": False})
    except jwt.PyJWTError:
        return {}


def _characters(count: int) -> str:
    return "".join(secrets.choice(_SECRET_CHARACTERS) for _ in range(count))
