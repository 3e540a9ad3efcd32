"""Microsoft Entra's endpoints for tokens, over TLS.

Shapes: Microsoft Learn "OAuth 2.0 client credentials flow" and "Microsoft Entra authentication and authorization error
codes"; what MSAL looks up before it asks.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from azure_shim.testing.application import grant_of
from azure_shim.testing.recorded import Recorded
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.token_requests import Issued, RefusedError, TokenRequest, claims_of, form_of

if TYPE_CHECKING:
    from azure_shim.testing.token_service import TokenService

__all__ = ["Entra"]

_TOKEN = re.compile(r"/([^/]+)/oauth2/v2\.0/token")
_CONFIGURATION = re.compile(r"/([^/]+)/v2\.0/\.well-known/openid-configuration")
_NEVER_STORE = {"cache-control": "no-store, no-cache", "pragma": "no-cache"}


class Entra:
    """The sign-in service of one tenant, which has one application."""

    def __init__(self, service: TokenService) -> None:
        self._service = service

    def read(self, request: Recorded) -> TokenRequest | None:
        """A request to the token endpoint, whatever it says."""
        found = _TOKEN.fullmatch(request.path)
        if found is None or request.method != "POST":
            return None
        form = form_of(request)
        return TokenRequest(
            endpoint="entra",
            grant=grant_of(form),
            scope=form.get("scope"),
            tenant=found[1],
            client_id=form.get("client_id"),
            claims=claims_of(form.get("claims")),
        )

    def look_up(self, request: Recorded) -> FakeResponse:
        """The tenant's configuration, and where one is found."""
        found = _CONFIGURATION.fullmatch(request.path)
        if found is not None:
            if not self._is_tenant(found[1]):
                return _refused(request, _no_tenant(found[1]))
            return FakeResponse.json(_configuration(_base(request), found[1]))
        if request.path == "/common/discovery/instance":
            return FakeResponse.json(self._discovery(request))
        return FakeResponse(
            404, {"content-type": "text/html"}, b"<html><body>404 - File or directory not found.</body>"
        )

    def check(self, asked: TokenRequest, request: Recorded) -> None:
        """Check tenant, grant, application and scope, in this order."""
        form = form_of(request)
        if not self._is_tenant(str(asked.tenant)):
            raise _no_tenant(str(asked.tenant))
        kind = form.get("grant_type", "")
        if kind != "client_credentials":
            raise RefusedError(
                400, "unsupported_grant_type", f"The app requested an unsupported grant type '{kind}'.", 70003
            )
        self._service.application.check(form, _base(request) + request.path, self._service.now())
        if not asked.scope:
            raise RefusedError(
                400, "invalid_request", "The request body must contain the following parameter: 'scope'.", 900144
            )
        if not asked.scope.endswith("/.default") or " " in asked.scope:
            raise RefusedError(
                400,
                "invalid_scope",
                f"The provided value for scope {asked.scope} is not valid. Client credential flows must have a scope "
                "value with /.default suffixed to the resource identifier (application ID URI).",
                1002012,
            )

    def granted(self, asked: TokenRequest, issued: Issued) -> FakeResponse:
        """Times in numbers."""
        body: dict[str, Any] = {
            "token_type": "Bearer",
            "expires_in": issued.expires_in_s,
            "ext_expires_in": issued.expires_in_s,
        }
        if issued.refresh_in_s is not None:
            body["refresh_in"] = issued.refresh_in_s
        return FakeResponse.json({**body, "access_token": issued.token}, headers=_NEVER_STORE)

    def refused(self, asked: TokenRequest, request: Recorded, reason: RefusedError) -> FakeResponse:
        """An OAuth error with the numbers that Entra's support asks for."""
        return _refused(request, reason)

    def _is_tenant(self, tenant: str) -> bool:
        return tenant.lower() == self._service.tenant_id

    def _discovery(self, request: Recorded) -> dict[str, Any]:
        base = _base(request)
        host = base.partition("://")[2]
        return {
            "tenant_discovery_endpoint": f"{base}/{self._service.tenant_id}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }


def entra_error(request: Recorded, reason: RefusedError) -> dict[str, Any]:
    """The JSON of one of Entra's refusals."""
    trace_id = str(uuid.uuid4())
    correlation_id = request.headers.get("client-request-id") or str(uuid.uuid4())
    timestamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    return {
        "error": reason.error,
        "error_description": f"AADSTS{reason.code}: {reason.message} Trace ID: {trace_id} "
        f"Correlation ID: {correlation_id} Timestamp: {timestamp}",
        "error_codes": [reason.code],
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": f"https://login.microsoftonline.com/error?code={reason.code}",
    }


def _refused(request: Recorded, reason: RefusedError) -> FakeResponse:
    return FakeResponse.json(entra_error(request, reason), reason.status, _NEVER_STORE)


def _no_tenant(tenant: str) -> RefusedError:
    return RefusedError(
        400,
        "invalid_request",
        f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant.",
        90002,
    )


def _base(request: Recorded) -> str:
    """The origin, by the name that the client used: ``localhost`` or ``127.0.0.1``."""
    return f"https://{request.headers.get('host', '')}"


def _configuration(base: str, tenant: str) -> dict[str, Any]:
    root = f"{base}/{tenant}"
    return {
        "token_endpoint": f"{root}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": f"{root}/discovery/v2.0/keys",
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "issuer": f"{root}/v2.0",
        "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
        "end_session_endpoint": f"{root}/oauth2/v2.0/logout",
        "tenant_region_scope": None,
    }
