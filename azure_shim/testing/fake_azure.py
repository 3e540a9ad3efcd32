"""The public test double: several Azure OpenAI resources, in process and on loopback."""

from __future__ import annotations

import itertools
import secrets
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Union

from typing_extensions import Self

from azure_shim.clouds import cloud_of
from azure_shim.testing import leaks
from azure_shim.testing.bodies import Body
from azure_shim.testing.leaks import Leak
from azure_shim.testing.recorded import Recorded
from azure_shim.testing.resource import Resource

if TYPE_CHECKING:
    from azure_shim.testing.token_service import TokenService

__all__ = ["FakeAzure"]

Deployments = Union[Iterable[str], Mapping[str, str]]
Resources = Union[Iterable[str], Mapping[str, Deployments]]


class FakeAzure:
    """Several Azure OpenAI resources that check each request as Azure would and answer in Azure's shapes.

    A request is checked for its path, its api-version, exactly one credential, its deployment and its body, in this
    order; what fails is answered with Azure's own error. Each resource keeps what is made on it, and no other
    knows it. On loopback every resource has a port of its own, so an origin of its own; in process it has the public
    host names.

    Args:
        resources: names (each then serves every deployment), or name -> deployments, where the deployments are names
            or deployment -> model.
        tls: the context with which the loopback servers speak TLS; None for plain http.
        body_limit_bytes: how much of a request's body is recorded, and kept in memory.
        token_service: whose tokens every resource accepts too, while they are good and for its audience.

    Used as a context manager it listens on loopback while it is open; `transport` works without that.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        tls: ssl.SSLContext | None = None,
        body_limit_bytes: int = 1024 * 1024,
        token_service: TokenService | None = None,
    ) -> None:
        self.token = secrets.token_hex(24)
        self.tls = tls
        self.token_service = token_service
        self._body_limit_bytes = body_limit_bytes
        self._lock = threading.Lock()
        self._requests: list[Recorded] = []
        self._unresolved: list[Recorded] = []
        self._numbers = itertools.count(1)
        named: dict[str, dict[str, str] | None]
        if isinstance(resources, Mapping):
            named = {name: _deployments(given) for name, given in resources.items()}
        else:
            named = dict.fromkeys([resources] if isinstance(resources, str) else resources)
        self._resources = {name: Resource(self, name, deployments) for name, deployments in named.items()}

    def __getitem__(self, name: str) -> Resource:
        return self._resources[name]

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._resources.values())

    def __len__(self) -> int:
        return len(self._resources)

    def __repr__(self) -> str:
        return f"<FakeAzure {', '.join(self._resources)}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen on loopback with every resource."""
        for resource in self:
            resource.start()

    def close(self) -> None:
        """Stop every resource, whatever its connections are doing, and forget what they keep."""
        for resource in self:
            resource.close()
            resource.store.clear()

    @property
    def requests(self) -> list[Recorded]:
        """What was sent to any resource, in the order of its arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def unresolved(self) -> list[Recorded]:
        """What was sent in process to hosts that are no resource."""
        with self._lock:
            return list(self._unresolved)

    @property
    def leaks(self) -> list[Leak]:
        """What any request gave away that it should not: a credential to the wrong place, OpenAI's own headers."""
        with self._lock:
            return [leak for request in (*self._requests, *self._unresolved) for leak in request.leaks]

    @property
    def refused(self) -> list[Recorded]:
        """The requests that Azure would refuse (`Recorded.refused`)."""
        return [request for request in self.requests if request.refused is not None]

    def forget(self) -> None:
        """Drop what was recorded so far."""
        with self._lock:
            self._requests.clear()
            self._unresolved.clear()

    def transport(self, library: str | None = None) -> Any:
        """A transport for ``httpx.Client`` or ``httpx2.Client`` that answers in process.

        Every resource answers at ``https://{name}.openai.azure.com``, ``.cognitiveservices.azure.com`` and
        ``.services.ai.azure.com``; any other host does not resolve.

        Args:
            library: ``"httpx"`` or ``"httpx2"``; by default the one that the installed openai is built on.
        """
        from azure_shim.testing.in_process import transport_classes

        return transport_classes(library)[0](self)

    def async_transport(self, library: str | None = None) -> Any:
        """A transport for ``httpx.AsyncClient`` or ``httpx2.AsyncClient``; as `transport`."""
        from azure_shim.testing.in_process import transport_classes

        return transport_classes(library)[1](self)

    def resource_at(self, host: str) -> Resource | None:
        """The resource that a host name leads to in process."""
        host = host.rstrip(".").lower()
        for resource in self:
            if host in resource.hosts:
                return resource
        name, _, suffix = host.partition(".")
        found = {r.name.lower(): r for r in self}.get(name)
        # `cloud_of` wants something before the suffix, which is the name and nothing else.
        return found if found is not None and cloud_of(host) and cloud_of(suffix) is None else None

    def new_body(self) -> Body:
        """Where the body of a request that is coming in goes."""
        return Body(self._body_limit_bytes)

    def next_connection(self) -> int:
        """The number of a new connection."""
        return next(self._numbers)

    def record(self, request: Recorded, resource: Resource) -> None:
        """Take down a request that came to ``resource``."""
        request.resource = resource.name
        request.leaks.extend(leaks.of_request(request, resource, self))
        with self._lock:
            self._requests.append(request)

    def record_unresolved(self, request: Recorded, host: str) -> None:
        """Take down a request to a host that is no resource."""
        request.resource = host
        request.leaks.extend(leaks.of_stranger(request, host, self))
        with self._lock:
            self._unresolved.append(request)


def _deployments(given: Deployments) -> dict[str, str]:
    if isinstance(given, Mapping):
        return dict(given)
    return {name: name for name in ([given] if isinstance(given, str) else given)}
