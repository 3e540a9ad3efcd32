"""The endpoints that Azure's machines have for their managed identity, over plain http: App Service, IMDS, Arc.

Shapes: Microsoft Learn "Use managed identities for App Service" (REST endpoint reference), "Use managed identities on a
virtual machine to acquire access token", "Authenticate against Azure resources with Azure Arc-enabled servers".
"""

from __future__ import annotations

import hmac
import secrets
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure_shim.testing.recorded import Recorded
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.token_requests import Issued, RefusedError, TokenRequest

if TYPE_CHECKING:
    from azure_shim.testing.token_service import TokenService

__all__ = ["PATHS", "IdentityEndpoints"]

PATHS = {"app_service": "/msi/token", "imds": "/metadata/identity/oauth2/token", "arc": "/arc/identity/oauth2/token"}
_ENDPOINTS = {path: name for name, path in PATHS.items()}
_APP_SERVICE_VERSION = "2019-08-01"
_RESOURCE_ID_SPELLINGS = ("mi_res_id", "msi_res_id")


class IdentityEndpoints:
    """All three, for one machine."""

    def __init__(self, service: TokenService) -> None:
        self.identity_header = str(uuid.uuid4()).upper()
        self._service = service
        self._lock = threading.Lock()
        self._arc_keys: dict[str, Path] = {}

    def close(self) -> None:
        """Remove the key files that nobody used."""
        with self._lock:
            paths, self._arc_keys = list(self._arc_keys.values()), {}
        for path in paths:
            path.unlink(missing_ok=True)

    def read(self, request: Recorded) -> TokenRequest | None:
        """A request to one of the three; the first of Arc's two, which brings no key, is a look-up."""
        endpoint = _ENDPOINTS.get(request.path)
        if endpoint is None or request.method != "GET":
            return None
        if endpoint == "arc" and "authorization" not in request.headers:
            return None
        query = request.query
        return TokenRequest(
            endpoint=endpoint,
            grant="managed",
            scope=query.get("resource"),
            client_id=query.get("client_id"),
            object_id=query.get("object_id") or query.get("principal_id"),
            resource_id=next((query[name] for name in _RESOURCE_ID_SPELLINGS if name in query), None),
        )

    def look_up(self, request: Recorded) -> FakeResponse:
        """Arc's challenge: a file that only those may read who may have the machine's tokens."""
        if _ENDPOINTS.get(request.path) != "arc":
            return FakeResponse.json({"error": "Not found"}, 404)
        if request.headers.get("metadata") != "true":
            return _oauth(_no_metadata())
        key = secrets.token_urlsafe(48)
        path = self._service.key_folder() / f"{uuid.uuid4()}.key"
        path.touch(mode=0o600)
        path.write_text(key, encoding="ascii")
        with self._lock:
            self._arc_keys[key] = path
        return FakeResponse(401, {"www-authenticate": f"Basic realm={path}"})

    def check(self, asked: TokenRequest, request: Recorded) -> None:
        """Check that a process of this machine asks, for a resource, as an identity that the machine has."""
        version = request.query.get("api-version")
        if asked.endpoint == "app_service":
            if not hmac.compare_digest(request.headers.get("x-identity-header", "").encode(), self._header):
                raise RefusedError(401, "unauthorized_client", "The X-IDENTITY-HEADER is missing or incorrect.")
            if version != _APP_SERVICE_VERSION:
                raise RefusedError(400, "invalid_request", f"The api-version '{version}' is not supported.")
        else:
            if request.headers.get("metadata") != "true":
                raise _no_metadata()
            if not version:
                raise RefusedError(400, "invalid_request", "Required query variable 'api-version' is missing")
            if asked.endpoint == "arc":
                self._check_arc_key(request.headers["authorization"])
        if not asked.scope:
            raise RefusedError(400, "invalid_request", "Required query variable 'resource' is missing")
        known, given = self._service.identities, (asked.client_id, asked.object_id, asked.resource_id)
        if known is not None and any(one is not None and one not in known for one in given):
            raise RefusedError(400, "invalid_request", "Identity not found")

    def granted(self, asked: TokenRequest, issued: Issued) -> FakeResponse:
        """Times in texts, and absolute ones by this machine's clock; Arc confirms whose token it is."""
        body: dict[str, Any] = {
            "access_token": issued.token,
            "client_id": asked.client_id or self._service.client_id,
            "expires_on": str(issued.expires_on),
            "resource": asked.scope,
            "token_type": "Bearer",
        }
        if asked.endpoint != "app_service":
            body["expires_in"] = str(issued.expires_in_s)
            body["ext_expires_in"] = str(issued.expires_in_s)
            body["not_before"] = str(issued.issued_on)
        if asked.endpoint == "arc":
            named = {"object_id": asked.object_id, "msi_res_id": asked.resource_id}
            body.update({name: value for name, value in named.items() if value})
        if issued.refresh_in_s is not None:
            body["refresh_in"] = str(issued.refresh_in_s)
        return FakeResponse.json(body)

    def refused(self, asked: TokenRequest, request: Recorded, reason: RefusedError) -> FakeResponse:
        """Each in its own shape."""
        if asked.endpoint != "app_service":
            return _oauth(reason)
        body = {"statusCode": reason.status, "message": reason.message, "correlationId": str(uuid.uuid4())}
        return FakeResponse.json(body, reason.status)

    @property
    def _header(self) -> bytes:
        return self.identity_header.encode()

    def _check_arc_key(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        with self._lock:
            path = self._arc_keys.pop(key, None) if scheme == "Basic" else None
        if path is None:
            raise RefusedError(401, "unauthorized_client", "The key in the Authorization header is not valid.")
        path.unlink(missing_ok=True)


def _no_metadata() -> RefusedError:
    return RefusedError(400, "invalid_request", "Required metadata header not specified")


def _oauth(reason: RefusedError) -> FakeResponse:
    return FakeResponse.json({"error": reason.error, "error_description": reason.message}, reason.status)
