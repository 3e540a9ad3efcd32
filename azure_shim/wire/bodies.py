"""Read the model that a request's body names, and change that alone: in JSON, compressed JSON and multipart forms."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator
from typing import Protocol

from azure_shim.values import Body, Peek, Refusal
from azure_shim.wire import json_model
from azure_shim.wire.multipart import FieldFinder, boundary_of

__all__ = ["ModelInBody", "read_model", "unpacked", "wants_stream"]

# A body that needs more once unpacked is not unpacked: a kilobyte of gzip can stand for a gigabyte.
_UNPACKED_BYTES = 64 * 1024 * 1024
_SLICE_BYTES = 65_536
_STREAMING_FORM = b'name="stream"\r\n\r\ntrue\r\n'


class ModelInBody(Protocol):
    """The model that a body names, and the bodies that differ from it by nothing else."""

    @property
    def value(self) -> str | None:
        """The name, or None if the body has none."""
        ...

    @property
    def is_present(self) -> bool:
        """Whether there is such a member or field, whatever its value."""
        ...

    @property
    def is_unread(self) -> bool:
        """Whether there may be a model in a part of the body that was not read."""
        ...

    def unchanged(self) -> Body | None: ...
    def replaced(self, name: str) -> Body: ...
    def dropped(self) -> Body: ...
    def added(self, name: str) -> Body | None:
        """With the model that it does not name; None for what is no object or form."""
        ...


def wants_stream(content: bytes | None) -> bool:
    """Whether a body that is in memory asks for the answer as a stream of events."""
    if content is None or b'"stream"' not in content:
        return False
    if content.startswith(b"--"):
        return _STREAMING_FORM in content
    member = json_model.find(content, ("stream",))
    return member is not None and content[member.start : member.end] == b"true"


def read_model(
    content: bytes | None, content_type: str, content_encoding: str, at: tuple[str, ...]
) -> Generator[Peek, None, ModelInBody | Refusal | None]:
    """The model at ``at`` of a body; ``content`` is None where the body has to be peeked at.

    None means that the body is of a kind that names no model, or of one that is not understood, which passes as it is.
    """
    boundary = boundary_of(content_type)
    if boundary is not None:
        # A form spells nested members as 'session[model]'.
        finder = FieldFinder(boundary, at[0] + "".join(f"[{name}]" for name in at[1:]))
        if content is None:
            yield Peek(finder.feed)
            return _InForm(finder, None)
        for start in range(0, len(content), _SLICE_BYTES):
            if finder.feed(content[start : start + _SLICE_BYTES]):
                break
        return _InForm(finder, content)
    if content is None:
        return None
    if content_encoding in ("", "identity"):
        return _InJson(content, at, "")
    try:
        unpacked = _unpacked(content, content_encoding)
    except (zlib.error, EOFError):
        return None  # not what its Content-Encoding says; the service will say so
    return None if unpacked is None else _InJson(unpacked, at, content_encoding, content)


def unpacked(content: bytes, encoding: str) -> bytes:
    """An answer's body as it was before it was packed; nothing of it if that cannot be undone here."""
    if not encoding:
        return content
    try:
        return _unpacked(content, encoding.strip().lower()) or b""
    except (zlib.error, EOFError):
        return b""


def _unpacked(content: bytes, encoding: str) -> bytes | None:
    bits = {"gzip": 31, "x-gzip": 31, "deflate": 15}.get(encoding)
    if bits is None:
        return None
    unpacker = zlib.decompressobj(bits)
    unpacked = unpacker.decompress(content, _UNPACKED_BYTES)
    if not unpacker.eof and not unpacker.unconsumed_tail:
        raise EOFError("the compressed body ends early")
    # A second member behind the first is rare, and passes unread rather than half.
    return unpacked if unpacker.eof and not unpacker.unused_data else None


class _InJson:
    __slots__ = ("_at", "_body", "_encoding", "_member", "_sent")

    def __init__(self, body: bytes, at: tuple[str, ...], encoding: str, sent: bytes | None = None) -> None:
        self._body, self._at, self._encoding = body, at, encoding
        self._member = json_model.find(body, at)
        self._sent = body if sent is None else sent

    @property
    def value(self) -> str | None:
        return None if self._member is None else self._member.value

    @property
    def is_present(self) -> bool:
        return self._member is not None

    is_unread = False

    def unchanged(self) -> None:
        return None

    def replaced(self, name: str) -> Body:
        assert self._member is not None, "there is no member to replace"
        return self._packed(*self._member.replaced(self._body, name))

    def dropped(self) -> Body:
        assert self._member is not None, "there is no member to drop"
        return self._packed(json_model.without(self._body, self._member))

    def added(self, name: str) -> Body | None:
        body = json_model.with_member(self._body, self._at, name)
        return None if body is None else self._packed(body)

    def _packed(self, *chunks: bytes) -> Body:
        if self._encoding in ("gzip", "x-gzip"):
            chunks = (gzip.compress(b"".join(chunks), mtime=0),)
        elif self._encoding == "deflate":
            chunks = (zlib.compress(b"".join(chunks)),)
        return Body(chunks, whole=True, grown_bytes=sum(map(len, chunks)) - len(self._sent))


class _InForm:
    __slots__ = ("_content", "_finder")

    def __init__(self, finder: FieldFinder, content: bytes | None) -> None:
        self._finder, self._content = finder, content

    @property
    def value(self) -> str | None:
        return self._finder.value

    @property
    def is_present(self) -> bool:
        return self._finder.value is not None

    @property
    def is_unread(self) -> bool:
        return self._finder.value is None and self._finder.met_file

    def unchanged(self) -> Body | None:
        return self._body(self._finder.peeked) if self._content is None else None

    def replaced(self, name: str) -> Body:
        return self._body(self._finder.replaced(name))

    def dropped(self) -> Body:
        return self._body(self._finder.dropped())

    def added(self, name: str) -> Body | None:
        start = self._finder.added(name)
        return self.unchanged() if start is None else self._body(start)

    def _body(self, start: bytes) -> Body:
        grown = len(start) - len(self._finder.peeked)
        if self._content is None:
            return Body((start,), whole=False, grown_bytes=grown)
        return Body((start, self._content[len(self._finder.peeked) :]), whole=True, grown_bytes=grown)
