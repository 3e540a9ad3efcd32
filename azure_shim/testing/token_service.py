"""The public test double of Azure's sign-in: Entra and the identity endpoints of Azure's machines, on loopback."""

from __future__ import annotations

import ssl
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from typing_extensions import Self

from azure_shim.testing.application import Application
from azure_shim.testing.certificates import server_context
from azure_shim.testing.entra import Entra
from azure_shim.testing.identity_endpoints import PATHS, IdentityEndpoints
from azure_shim.testing.server import Server
from azure_shim.testing.token_desk import Desk, Port
from azure_shim.testing.token_faults import TokenFault, token_fault
from azure_shim.testing.token_requests import TokenRequest

__all__ = ["TokenService"]

_KINDS = ("client_secret", "certificate", "workload", "app_service", "imds", "arc")


class TokenService:
    """One tenant of Entra with one application, and one machine with managed identities; the real azure-identity asks.

    Args:
        tls: the context with which Entra's port speaks TLS, for ``localhost`` or ``127.0.0.1``; by default one with a
            certificate that is made for the occasion.
        ca_file: what vouches for the certificate in ``tls``; they go together.

    Used as a context manager it listens while it is open. All other arguments are attributes, which a test may set at
    any time:

    Attributes:
        lifetime_s: how long the tokens from now on are good for.
        refresh_in_s: what is said of when to refresh them; None says nothing.
        clock_skew_s: how far the service's clock is ahead of this machine's: absolute times, and what is over.
        delay_s: how long a request for a token takes; look-ups take none.
        wait: what waits that long; by default it ends when the service is closed.
        identities: the ids of the user-assigned identities that the machine has; None has any.
        arc_key_folder: where Arc's agent leaves its key files; None is a folder of the service's own. azure-identity
            and MSAL take none but those in ``/var/opt/azcmagent/tokens``; a test without rights there changes that.
        tenant_id, client_id, client_secret: made up.
    """

    def __init__(
        self,
        lifetime_s: int = 3600,
        refresh_in_s: int | None = None,
        clock_skew_s: float = 0,
        delay_s: float = 0.0,
        tls: ssl.SSLContext | None = None,
        ca_file: str | None = None,
    ) -> None:
        if (tls is None) != (ca_file is None):
            raise ValueError("tls and ca_file go together: a client has to know who vouches for the certificate")
        self.lifetime_s = lifetime_s
        self.refresh_in_s = refresh_in_s
        self.clock_skew_s = clock_skew_s
        self.delay_s = delay_s
        self.identities: set[str] | None = None
        self.arc_key_folder: str | Path | None = None
        self.application = Application()
        self.tenant_id = str(uuid.uuid4())
        self._tls = tls
        self._given_ca_file = ca_file
        self._ca_file: str | None = None
        self._machine = IdentityEndpoints(self)
        self._desk = Desk(self)
        self._closing = threading.Event()
        self.wait: Callable[[float], object] = self._closing.wait
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._servers: list[Server] = []

    def __repr__(self) -> str:
        return f"<TokenService {f'at {self.authority}' if self._servers else 'that does not listen'}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen on loopback, and write the files."""
        self._closing.clear()
        self._folder = tempfile.TemporaryDirectory(prefix="azure-shim-")
        folder = Path(self._folder.name)
        self.application.open(folder)
        tls, self._ca_file = self._tls, self._given_ca_file
        if tls is None:
            tls, path = server_context(folder)
            self._ca_file = str(path)
        desk = self._desk
        self._servers = [Server(Port(desk, Entra(self)), tls), Server(Port(desk, self._machine), None)]

    def close(self) -> None:
        """Stop listening, whatever clients wait for, and remove the files."""
        self._closing.set()
        self.heal()
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        self._machine.close()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    @property
    def authority(self) -> str:
        """Entra's address: ``https://localhost:{port}``."""
        return f"https://localhost:{self._port(0)}"

    @property
    def ca_file(self) -> str:
        """The file, in PEM, of the authority that vouches for Entra's certificate."""
        if self._ca_file is None:
            raise _not_running()
        return self._ca_file

    @property
    def client_id(self) -> str:
        """The application's id, and that of the machine's own identity."""
        return self.application.client_id

    @property
    def client_secret(self) -> str:
        """The application's secret."""
        return self.application.client_secret

    @property
    def certificate_file(self) -> str:
        """The application's private key and certificate, in PEM."""
        return str(self.application.certificate_file)

    @property
    def federated_token_file(self) -> str:
        """The file with the token of a Kubernetes service account that the application trusts."""
        return str(self.application.federated_token_file)

    def rotate_federated_token(self) -> str:
        """Write a new token into `federated_token_file` and return it; older ones are refused from now on."""
        return self.application.rotate()

    def environment(self, kind: str) -> dict[str, str]:
        """The variables of a machine that signs in here.

        Args:
            kind: ``"client_secret"``, ``"certificate"`` or ``"workload"`` for Entra, ``"app_service"``, ``"imds"`` or
                ``"arc"`` for a managed identity.

        Raises:
            ValueError: no such kind.
            RuntimeError: the service is not running.
        """
        if kind not in _KINDS:
            raise ValueError(f"no kind {kind!r}; there are: {', '.join(_KINDS)}")
        machine = f"http://127.0.0.1:{self._port(1)}"
        if kind == "imds":
            return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": machine}
        if kind == "app_service":
            return {"IDENTITY_ENDPOINT": machine + PATHS[kind], "IDENTITY_HEADER": self._machine.identity_header}
        if kind == "arc":
            return {"IDENTITY_ENDPOINT": machine + PATHS[kind], "IMDS_ENDPOINT": machine}
        found = {
            "AZURE_AUTHORITY_HOST": self.authority,
            "AZURE_TENANT_ID": self.tenant_id,
            "AZURE_CLIENT_ID": self.client_id,
            "REQUESTS_CA_BUNDLE": self.ca_file,
        }
        if kind == "client_secret":
            return {**found, "AZURE_CLIENT_SECRET": self.client_secret}
        if kind == "certificate":
            return {**found, "AZURE_CLIENT_CERTIFICATE_PATH": self.certificate_file}
        return {**found, "AZURE_FEDERATED_TOKEN_FILE": self.federated_token_file}

    @property
    def requests(self) -> list[TokenRequest]:
        """What was asked for a token, in the order of its arrival."""
        return self._desk.requests

    @property
    def lookups(self) -> list[str]:
        """The paths of what else was asked: a tenant's configuration, Arc's challenge."""
        return self._desk.lookups

    @property
    def tokens(self) -> list[str]:
        """The tokens that were issued, in order."""
        return self._desk.ledger.tokens

    def forget(self) -> None:
        """Drop the records of requests and tokens so far; the tokens stay good."""
        self._desk.forget()

    def issue(self, scope: str) -> str:
        """A token for ``scope`` that nobody asked for by HTTP, as the Azure CLI would print it."""
        return self._desk.issue(scope, self.client_id).token

    def revoke(self, token: str) -> None:
        """Let `is_valid` say no from now on.

        Raises:
            ValueError: the token was not issued here.
        """
        self._desk.ledger.revoke(token)

    def is_valid(self, token: str, audiences: Iterable[str] | None = None) -> bool:
        """Whether a resource would take the token: it was issued here, and is neither over nor revoked.

        Args:
            token: as it was issued.
            audiences: hosts, or URLs, one of which the token has to be for; None takes any.
        """
        return self._desk.ledger.is_valid(token, audiences, self.now())

    def now(self) -> float:
        """The time by the service's clock, in seconds since 1970."""
        return time.time() + self.clock_skew_s

    def fail_next(
        self,
        preset: str | None = None,
        *,
        status: int | None = None,
        times: int | None = 1,
        retry_after: int | None = None,
    ) -> TokenFault:
        """Let the next ``times`` requests for a token fail, after the faults that wait already; None: until `heal`.

        Args:
            preset: ``throttled`` (429), ``unavailable`` (503), ``server_error`` (500), ``invalid_client`` (401),
                ``empty`` (200 and no body), ``cut`` (200 and half of the JSON), ``html`` (200 and a page), ``no_token``
                (200 and all but the token), ``reset`` (the connection breaks), ``stall`` (nothing comes until the
                `TokenFault`'s ``release()``, `heal` or the end, and then what is right).
            status: instead of the preset's, or without one: of an error of the test's own.
            times: how many requests fail; None for all of them.
            retry_after: seconds, for ``Retry-After``; ``throttled`` has 1 unless given.

        Raises:
            ValueError: no such preset, or not enough was said.
        """
        return self._desk.faults.add(token_fault(preset, status, times, retry_after))

    def heal(self) -> None:
        """Forget the faults that wait, and release the requests that a stall holds."""
        self._desk.faults.clear()

    def key_folder(self) -> Path:
        """Where Arc's key files go."""
        if self.arc_key_folder is not None:
            return Path(self.arc_key_folder)
        if self._folder is None:
            raise _not_running()
        return Path(self._folder.name)

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called last."""
        return self._closing.is_set()

    def _port(self, number: int) -> int:
        if not self._servers:
            raise _not_running()
        return self._servers[number].port


def _not_running() -> RuntimeError:
    return RuntimeError("the TokenService is not running: enter it, or start() it")
