"""The one place that uses what an HTTP library does not document.

A client's proxies and mounts are chosen per host by ``Client._transport_for_url`` (httpx 0.27 and 0.28, httpx2 2.x).
The documented way to the same choice is ``Client.send``, which costs 40 to 70 us more per request; it is the fallback.
Headers are kept in ``Headers._list`` as triples of name, name in lower case and value (both libraries); to set one by
the documented way looks through all of them and costs 3 us. A body is read with the one timeout that its connection
finds when the body begins; for the wait for a first token, which is less, `hurried` stands in front of the reads of the
documented ``network_stream``. What a form says is looked up in ``MultipartStream.fields``, for it is read only once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "add_headers",
    "always",
    "form_says",
    "hurried",
    "is_replayable",
    "selector_of",
    "set_host",
    "telling_values",
]


def selector_of(client: Any) -> Callable[[Any], Any]:
    """A function from a URL to the transport that ``client`` would use for it, its proxies and mounts included."""
    chosen: Callable[[Any], Any] | None = getattr(client, "_transport_for_url", None)
    if chosen is not None:
        return chosen
    return always(_ThroughClient(client))


def is_replayable(stream: Any) -> bool:
    """Whether a multipart body can be read from its beginning again (``MultipartStream.fields`` of both libraries)."""
    fields = getattr(stream, "fields", None)
    if fields is None:
        return False
    files = [field.file for field in fields if hasattr(field, "file")]
    return all(isinstance(file, (bytes, str)) or (hasattr(file, "seekable") and file.seekable()) for file in files)


def form_says(stream: Any, name: str, value: str) -> bool:
    """Whether a multipart body has a field that is exactly this (``MultipartStream.fields`` of both libraries)."""
    fields = getattr(stream, "fields", None)
    return isinstance(fields, list) and any(
        getattr(field, "name", None) == name and getattr(field, "value", None) in (value, value.encode())
        for field in fields
    )


def add_headers(headers: Any, added: list[tuple[bytes, bytes, bytes]], *, replaces: bool = True) -> None:
    """Set headers of a response: name, name in lower case, value.

    What a server has said by such a name goes, but is not looked for if not ``replaces``.
    """
    kept = getattr(headers, "_list", None)
    if isinstance(kept, list) and (not kept or len(kept[0]) == 3):
        if replaces:
            names = [name for _, name, _ in added]
            kept[:] = [entry for entry in kept if entry[1] not in names]
        kept += added
        return
    for name, _, value in added:
        headers[name.decode()] = value.decode("latin-1")


def set_host(headers: Any, host: str) -> None:
    """Let a request's ``Host``, which both libraries write first, be ``host``."""
    kept = getattr(headers, "_list", None)
    if isinstance(kept, list) and kept and kept[0][1] == b"host" and len(kept[0]) == 3:
        kept[0] = (b"Host", b"host", host.encode())
    else:
        headers["Host"] = host


def telling_values(headers: Any, read: frozenset[bytes], counts: frozenset[bytes]) -> list[bytes]:
    """Of the headers by the names ``read``, in lower case, the values that have to be looked at.

    Those of ``counts``, which are some of them, need not if they are a number above 0.
    """
    kept = getattr(headers, "_list", None)
    if isinstance(kept, list) and (not kept or len(kept[0]) == 3):
        return [v for _, n, v in kept if n in read and (n not in counts or v == b"0" or not v.isdigit())]
    raw = [(name.lower(), value) for name, value in headers.raw]
    return [v for n, v in raw if n in read and (n not in counts or v == b"0" or not v.isdigit())]


@contextmanager
def hurried(response: Any, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Let the blocking reads of an answer's body end after ``seconds`` in all, for as long as the context lasts.

    Nothing is done to a connection that serves other calls as well, or that does not say what it reads from.
    """
    stream = response.extensions.get("network_stream")
    read = getattr(stream, "read", None)
    is_own = "read" in getattr(stream, "__dict__", ())  # somebody else stands there already
    if seconds is None or read is None or is_own or response.extensions.get("http_version") == b"HTTP/2":
        yield
        return
    until = clock() + seconds

    def read_in_time(max_bytes: int, timeout: float | None = None) -> Any:
        left = max(until - clock(), 0.001)
        return read(max_bytes, timeout=left if timeout is None else min(timeout, left))

    try:
        stream.read = read_in_time
    except AttributeError:  # a class with slots
        yield
        return
    try:
        yield
    finally:
        del stream.read


def always(transport: Any) -> Callable[[Any], Any]:
    """The same transport for every URL."""
    return lambda url: transport  # noqa: ARG005


class _ThroughClient:
    """A client as a transport, by its public methods."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def handle_request(self, request: Any) -> Any:
        return self._client.send(request, stream=True, auth=None, follow_redirects=False)

    async def handle_async_request(self, request: Any) -> Any:
        return await self._client.send(request, stream=True, auth=None, follow_redirects=False)
