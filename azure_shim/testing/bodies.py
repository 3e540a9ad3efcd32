"""Request bodies: kept in memory while they are small, on disk while they are not; and what a multipart body holds."""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import tempfile
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Union

__all__ = ["BadBodyError", "Body", "Content", "Form", "Part", "read_form"]

View = Union[bytes, mmap.mmap]
_CHUNK_BYTES = 64 * 1024
_BOUNDARY = re.compile(r'^multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_DISPOSITION = re.compile(r'^form-data((?:\s*;\s*[^\s=;]+=(?:"[^"]*"|[^;"]*))*)\s*$', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([^\s=;]+)=(?:"([^"]*)"|([^;"]*))')


class BadBodyError(ValueError):
    """The body is not what its Content-Type says."""


class Body:
    """The bytes of one request body.

    ``start`` is the first ``limit_bytes`` of it; what is longer is on disk from there on, until `discard`. The hash
    and the size are of all of it.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._start = bytearray()
        self._hash = hashlib.sha256()
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._lock = threading.Lock()
        self.size_bytes = 0
        self.is_kept = False

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        self._hash.update(chunk)
        self.size_bytes += len(chunk)
        if self._file is None and self.size_bytes > self._limit_bytes:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by discard, or when nobody has the body any more
            weakref.finalize(self, self._file.close)
            self._file.write(self._start)
        room = self._limit_bytes - len(self._start)
        if room > 0:
            self._start += chunk[:room]
        if self._file is not None:
            self._file.write(chunk)

    @property
    def start(self) -> bytes:
        return bytes(self._start)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def view(self) -> View:
        """All of the body, to search and to slice."""
        if self._file is None:
            return self.start
        with self._lock:
            if self._map is None:
                self._file.flush()
                self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            return self._map

    def discard(self) -> None:
        """Give the disk back what a longer body has there, unless a file of the resource is in it."""
        if self._file is not None and not self.is_kept:
            if self._map is not None:
                self._map.close()
            self._file.close()


@dataclass(frozen=True, slots=True)
class Content:
    """A stretch of a body: what was uploaded as one file."""

    body: Body
    start: int
    size_bytes: int

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Content that no request brought."""
        body = Body(len(data))
        body.write(data)
        return cls(body, 0, len(data))

    def keep(self) -> Content:
        """Let the body outlive its request."""
        self.body.is_kept = True
        return self

    def read(self) -> bytes:
        return bytes(self.body.view()[self.start : self.start + self.size_bytes])

    def chunks(self) -> Iterator[bytes]:
        view, end = self.body.view(), self.start + self.size_bytes
        for at in range(self.start, end, _CHUNK_BYTES):
            yield bytes(view[at : min(at + _CHUNK_BYTES, end)])


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body; ``filename`` is None for a field."""

    name: str
    filename: str | None
    content_type: str
    content: Content


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart/form-data body. Names with ``[]`` are lists, ``a[b]`` is a mapping ``a``, as the SDK writes them."""

    parts: tuple[Part, ...]

    @property
    def fields(self) -> dict[str, Any]:
        """The text fields."""
        fields: dict[str, Any] = {}
        for part in self.parts:
            if part.filename is None:
                _put(fields, part)
        return fields

    def file(self, *names: str) -> Part | None:
        """The first file under one of these names."""
        return next((p for p in self.parts if p.filename is not None and p.name in names), None)

    def files(self, *names: str) -> list[Part]:
        """Every file under one of these names."""
        return [p for p in self.parts if p.filename is not None and p.name in names]


def _put(fields: dict[str, Any], part: Part) -> None:
    value: Any = part.content.read().decode("utf-8", "replace")
    if part.content_type.startswith("application/json"):
        try:
            value = json.loads(value)
        except ValueError:
            raise BadBodyError(f"the part {part.name!r} is not JSON") from None
    name, bracket, inner = part.name.partition("[")
    if not bracket:
        fields[name] = value
    elif inner == "]":
        fields.setdefault(name, []).append(value)
    else:
        fields.setdefault(name, {})[inner.rstrip("]")] = value


def read_form(body: Body, content_type: str) -> Form:
    """Read a multipart/form-data body strictly (RFC 7578, RFC 2046 section 5.1.1).

    Raises:
        BadBodyError: no boundary, a body that does not begin and end with it, a part without a name.
    """
    match = _BOUNDARY.match(content_type)
    if match is None:
        raise BadBodyError("the Content-Type names no boundary")
    view, delimiter = body.view(), b"--" + (match[1] or match[2]).encode()
    at, parts = 0, []
    if view[: len(delimiter)] != delimiter:
        raise BadBodyError("the body does not begin with its boundary")
    while view[at + len(delimiter) : at + len(delimiter) + 2] != b"--":
        head_end = view.find(b"\r\n\r\n", at)
        end = view.find(b"\r\n" + delimiter, head_end + 2)
        if head_end < 0 or end < 0:
            raise BadBodyError("the body does not end with its boundary")
        head = bytes(view[at + len(delimiter) : head_end])
        start = head_end + 4
        parts.append(_part(head, Content(body, start, max(0, end - start))))
        at = end + 2
    return Form(tuple(parts))


def _part(head: bytes, content: Content) -> Part:
    headers = {}
    for line in head.decode("utf-8", "replace").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    disposition = _DISPOSITION.match(headers.get("content-disposition", ""))
    given = _PARAMETER.findall(disposition[1]) if disposition else []
    parameters = {key.lower(): quoted or plain for key, quoted, plain in given}
    if "name" not in parameters:
        raise BadBodyError("a part has no name")
    return Part(parameters["name"], parameters.get("filename"), headers.get("content-type", "text/plain"), content)
