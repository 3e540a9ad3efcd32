"""What was sent: one request as the service received it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from azure_shim.testing.bodies import Body

if TYPE_CHECKING:
    from azure_shim.testing.leaks import Leak

__all__ = ["Connection", "Headers", "Recorded"]

_SECRET = ("api-key", "authorization", "cookie", "ocp-apim-subscription-key")


class Headers(Mapping[str, str]):
    """Headers by name in any case. A name that was sent more than once has its values joined with ``", "``.

    ``raw`` is what was sent: (name, value) in the order and the case it came. The repr shows no credential.
    """

    def __init__(self, raw: Iterable[tuple[str, str]]) -> None:
        self.raw = tuple(raw)
        self._values: dict[str, list[str]] = {}
        for name, value in self.raw:
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def all(self, name: str) -> list[str]:
        """Every value that was sent under this name."""
        return list(self._values.get(name.lower(), ()))

    def __repr__(self) -> str:
        return f"Headers({[(n, '[secret]' if n.lower() in _SECRET else v) for n, v in self.raw]})"


@dataclass(frozen=True, slots=True)
class Connection:
    """How a request came: in process (``number`` 0), or over a loopback connection, numbered from 1 per FakeAzure."""

    number: int = 0
    client: tuple[str, int] | None = None
    tls: bool = False


@dataclass(eq=False)
class Recorded:
    """One request.

    Attributes:
        method, raw_path, path, query, raw_query: ``raw_path`` as it was sent; ``path`` is the part before the query,
            still percent-encoded; ``query`` maps each decoded key to its last decoded value.
        resource: the name of the resource that it came to; for a host that is no resource, that host.
        connection: which connection it came over.
        is_complete: whether the whole body came before the client went away.
        refused: the code of the error with which Azure would refuse it (``"DeploymentNotFound"``), None for a sound
            request; also set where a fault answered instead.
        leaks: what it gave away (see `FakeAzure.leaks`).
        deployment: what the path or the body named.
        delivered: True when the client took the whole answer, False when it or the connection broke off, None before.
        done: set with ``delivered``.
    """

    method: str
    raw_path: str
    headers: Headers
    content: Body = field(repr=False)
    resource: str = ""
    connection: Connection = field(default_factory=Connection)
    is_complete: bool = True
    refused: str | None = None
    leaks: list[Leak] = field(default_factory=list)
    deployment: str | None = None
    delivered: bool | None = None
    done: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def path(self) -> str:
        return self.raw_path.partition("?")[0]

    @property
    def raw_query(self) -> str:
        return self.raw_path.partition("?")[2]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    @property
    def body(self) -> bytes:
        """The body; of one longer than `FakeAzure`'s ``body_limit_bytes`` (1 MiB), that much of it."""
        return self.content.start

    @property
    def size_bytes(self) -> int:
        """Of the whole body."""
        return self.content.size_bytes

    @property
    def sha256(self) -> str:
        """Of the whole body, in hexadecimal."""
        return self.content.sha256

    def json(self) -> Any:
        """The body read as JSON.

        Raises:
            ValueError: it is none, or is longer than what was kept.
        """
        return json.loads(self.body)

    def finish(self, delivered: bool) -> None:
        """The answer has been taken, or broke off; the first of the two counts."""
        if not self.done.is_set():
            self.delivered = delivered
            self.done.set()
