"""Give an answer the model's name that the caller asked for, where another was sent, while the answer streams.

Bytes pass at once, whatever the chunks they come in. The one thing that has to wait is the string of a ``model``, from
its opening quote to its closing one, for only then is it known whether it is the name that was sent.
"""

from __future__ import annotations

import json
import re

__all__ = ["ModelBack"]

# A model that is named by its family answers with its version: gpt-4o-2024-08-06, gpt-4-0613.
_VERSION = r"(?:-\d{4}(?:-\d{2}-\d{2})?)?"
# A longer string is nobody's name, and does not wait for its end.
_HELD_BYTES = 1024
_DATA = b"data:"
_LINES = re.compile(rb"\r\n|\r|\n|[^\r\n]+")
_SPACES = re.compile(rb"[ \t\r\n]*")
_MEMBERS = re.compile(rb'["{}\[\],]')
_BRACKETS = re.compile(rb'["{}\[\]]')


class ModelBack:
    """Feed it the chunks of a JSON answer or an event stream, unpacked; what it returns has ``asked`` for ``sent``.

    Only the ``model`` at the top of a document or event is replaced, or that of its ``response`` (Responses events),
    and only if it is ``sent`` or a dated version of it. The length changes.
    """

    def __init__(self, sent: str, asked: str) -> None:
        self._names = re.compile(re.escape(sent) + _VERSION)
        self._asked = json.dumps(asked).encode()
        self._is_json: bool | None = None
        self._document = _Document(self._names, self._asked)
        self._field = b""
        self._after_cr = False

    def feed(self, chunk: bytes) -> bytes:
        """What of the answer can be passed on with the next ``chunk`` of it."""
        if self._is_json is None:
            first = chunk.lstrip()[:1]
            self._is_json = first in (b"{", b"[") if first else None
        if self._is_json:
            return self._document.feed(chunk)
        return b"".join([self._line_end(p) if p[0] in b"\r\n" else self._text(p) for p in _LINES.findall(chunk)])

    def end(self) -> bytes:
        """What was held back when the answer ended."""
        return self._document.release()

    def _line_end(self, line_end: bytes) -> bytes:
        is_second_half = line_end == b"\n" and self._after_cr
        self._after_cr = line_end == b"\r"
        if is_second_half:
            return line_end
        held = self._document.release()  # no string runs over the end of a line
        if not self._field:  # an empty line ends the event (WHATWG HTML, section 9.2.6)
            self._document = _Document(self._names, self._asked)
        self._field = b""
        return held + line_end

    def _text(self, text: bytes) -> bytes:
        """Of a line, or a part of one: only the value of a ``data`` field is looked at."""
        self._after_cr = False
        rest = len(_DATA) - len(self._field)
        self._field += text[:rest]
        return text[:rest] + self._document.feed(text[rest:]) if self._field == _DATA else text


class _Document:
    """One JSON document, scanned as it comes: which object, member and string the next byte belongs to."""

    __slots__ = (
        "_asked",
        "_below",
        "_escaped",
        "_is_over",
        "_key",
        "_level",
        "_literal",
        "_names",
        "_string",
        "_wants_key",
    )

    def __init__(self, names: re.Pattern[str], asked: bytes) -> None:
        self._names, self._asked = names, asked
        self._is_over = False  # nothing is left to be replaced
        self._level = 0  # 1 in the document's object, 2 in that of its ``response``
        self._below = 0  # brackets that are open in a value that does not matter
        self._key, self._wants_key = b"", False
        self._string = ""  # the open string, if any: "key", "model" or "other"
        self._literal, self._escaped = bytearray(), False

    def feed(self, chunk: bytes) -> bytes:
        passed: list[bytes] = []
        start = at = 0  # what is before ``start`` has been passed on or held back
        while at < len(chunk) and not self._is_over:
            if not self._string:
                at = self._step(chunk, at)
                if self._holds:
                    passed.append(chunk[start : at - 1])
                    start = at
                continue
            quote = self._closing_quote(chunk, at)
            end = len(chunk) if quote < 0 else quote
            if self._string != "other":
                self._literal += chunk[at:end]
            at = end if quote < 0 else end + 1
            if self._holds:
                start = at
                if quote >= 0:
                    passed.append(self._answer())
                elif len(self._literal) > _HELD_BYTES:
                    passed.append(self.release())
            elif quote >= 0:
                self._key = bytes(self._literal) if self._string == "key" else b""
                self._string, self._wants_key = "", False
        return b"".join((*passed, chunk[start:])) if passed or start else chunk

    @property
    def _holds(self) -> bool:
        return self._string == "model" and not self._is_over

    def release(self) -> bytes:
        """What was held back, which then is no name."""
        if not self._holds:
            return b""
        self._is_over = True
        return b'"' + self._literal

    def _answer(self) -> bytes:
        """The string that has been held back, or the one that stands for it."""
        literal = self.release() + b'"'
        try:
            name = json.loads(literal)
        except ValueError:
            return literal
        return self._asked if self._names.fullmatch(name) else literal

    def _step(self, chunk: bytes, at: int) -> int:
        """Go on behind the next byte that matters, outside of strings."""
        if self._level == 0:
            at = _SPACES.match(chunk, at).end()  # type: ignore[union-attr]
            if at < len(chunk):
                self._is_over = chunk[at : at + 1] != b"{"
                self._level, self._wants_key = 1, True
            return at + 1
        found = (_BRACKETS if self._below else _MEMBERS).search(chunk, at)
        if found is None:
            return len(chunk)
        sign = found[0]
        if sign == b'"':
            self._open_string()
        elif sign == b",":
            self._key, self._wants_key = b"", True
        elif sign in b"{[":
            self._open(sign)
        elif self._below:
            self._below -= 1
        else:
            self._level -= 1
            self._is_over = self._level == 0
        return found.end()

    def _open_string(self) -> None:
        self._literal.clear()
        if self._below:
            self._string = "other"
        elif self._wants_key:
            self._string = "key"
        else:
            self._string = "model" if self._key == b"model" else "other"

    def _open(self, bracket: bytes) -> None:
        if not self._below and self._level == 1 and self._key == b"response" and bracket == b"{":
            self._level, self._key, self._wants_key = 2, b"", True
        else:
            self._below += 1

    def _closing_quote(self, chunk: bytes, at: int) -> int:
        """Where the open string is closed, or -1 if it goes on in the next chunk."""
        if self._escaped:
            self._escaped = False
            at += 1
        while True:
            quote = chunk.find(b'"', at)
            run = chunk[at:] if quote < 0 else chunk[at:quote]
            is_escape_open = (len(run) - len(run.rstrip(b"\\"))) % 2 == 1
            if quote < 0:
                self._escaped = is_escape_open
                return -1
            if not is_escape_open:
                return quote
            at = quote + 1
