"""Find one text field of a multipart/form-data body from the chunks at its start, before any upload in it is read.

httpx and openai write text fields before files (RFC 7578 leaves the order free), so the field is known long before the
first byte of a file has to be read.
"""

from __future__ import annotations

import re

__all__ = ["FieldFinder", "boundary_of"]

_BOUNDARY = re.compile(r'^multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILE = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE)
# Text fields are prompts and options; a body that has more than this before its files is not searched further.
_SEARCHED_BYTES = 4 * 1024 * 1024


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names, or None if it is not multipart/form-data."""
    match = _BOUNDARY.match(content_type)
    return (match[1] or match[2]).encode() if match else None


class FieldFinder:
    """Give it the chunks of a body with `feed` until it returns True; then ``value`` is the field's text, or None.

    ``peeked`` is what it was given; `replaced` and `dropped` are that, with the field changed.
    """

    def __init__(self, boundary: bytes, name: str) -> None:
        self._delimiter = b"--" + boundary
        self._name = name.encode()
        self._buffer = bytearray()
        self._part_start = 0
        self._field: tuple[int, int, int] | None = None
        self.value: str | None = None
        self.met_file = False

    def feed(self, chunk: bytes) -> bool:
        """Take the next chunk; True when the search has ended."""
        self._buffer += chunk
        while True:
            done = self._read_part()
            if done is not None:
                return done or len(self._buffer) > _SEARCHED_BYTES

    @property
    def peeked(self) -> bytes:
        return bytes(self._buffer)

    def replaced(self, value: str) -> bytes:
        """What was peeked at, with ``value`` as the field's text."""
        assert self._field is not None, "there is no field to replace"
        _, start, end = self._field
        return bytes(self._buffer[:start]) + value.encode() + bytes(self._buffer[end:])

    def dropped(self) -> bytes:
        """What was peeked at, without the field."""
        assert self._field is not None, "there is no field to drop"
        part, _, end = self._field
        return bytes(self._buffer[:part]) + bytes(self._buffer[end + 2 :])

    def added(self, value: str) -> bytes | None:
        """What was peeked at, with the field put before everything else; None if it does not begin as a form."""
        if not self._buffer.startswith(self._delimiter):
            return None
        part = b'%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n' % (self._delimiter, self._name)
        return part + value.encode() + b"\r\n" + bytes(self._buffer)

    def _read_part(self) -> bool | None:
        """Read the part at ``_part_start``: True ends the search, False needs more bytes, None goes on to the next."""
        buffer, start = self._buffer, self._part_start
        if not buffer.startswith(self._delimiter, start):
            # Fewer bytes than a delimiter may still become one; anything else is no multipart body.
            return len(buffer) - start >= len(self._delimiter)
        head_start = start + len(self._delimiter)
        if buffer.startswith(b"--", head_start):
            return True
        head_end = buffer.find(b"\r\n\r\n", head_start)
        if head_end < 0:
            return False
        head = bytes(buffer[head_start:head_end])
        if _FILE.search(head):
            self.met_file = True
            return True
        value_start = head_end + 4
        value_end = buffer.find(b"\r\n" + self._delimiter, value_start)
        if value_end < 0:
            return False
        name = _NAME.search(head)
        # The delimiter's own end decides whether this was the last part, so wait for two more bytes.
        if len(buffer) < value_end + 4 + len(self._delimiter):
            return False
        if name is not None and name[1] == self._name:
            self.value = bytes(buffer[value_start:value_end]).decode("utf-8", "replace")
            self._field = (start, value_start, value_end)
            return True
        self._part_start = value_end + 2
        return None
