"""What is answered, before it becomes bytes on a connection or a response of an HTTP library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from azure_shim.testing.faults import Fault

__all__ = ["FakeResponse", "HeadersLike", "StreamBody"]

HeadersLike = Union[Mapping[str, str], Iterable[tuple[str, str]], None]
StreamBody = Iterator[bytes]


@dataclass(eq=False)
class FakeResponse:
    """One answer.

    ``body`` is bytes, sent with their length, or an iterator whose items are sent as they come, each as one chunk.
    ``headers`` may be a mapping or pairs. ``fault`` is a fault of the connection to go with it.
    """

    status: int
    headers: HeadersLike = None
    body: Union[bytes, StreamBody] = b""
    fault: Fault | None = field(default=None, repr=False)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: HeadersLike = None) -> FakeResponse:
        """An answer in JSON."""
        body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        return cls(status, [("content-type", "application/json"), *_pairs(headers)], body)

    @classmethod
    def events(cls, frames: StreamBody) -> FakeResponse:
        """An answer in server-sent events."""
        return cls(200, [("content-type", "text/event-stream; charset=utf-8"), ("x-accel-buffering", "no")], frames)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The headers as pairs."""
        return _pairs(self.headers)

    def with_headers(self, more: Iterable[tuple[str, str]]) -> FakeResponse:
        """The same answer with those of ``more`` that it has not itself."""
        own = self.pairs
        names = {name.lower() for name, _ in own}
        return FakeResponse(self.status, [*own, *(p for p in more if p[0].lower() not in names)], self.body, self.fault)


def _pairs(headers: HeadersLike) -> list[tuple[str, str]]:
    if headers is None:
        return []
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    return [(str(name), str(value)) for name, value in pairs]
