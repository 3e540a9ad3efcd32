"""Find one string member of a JSON object in its bytes, to read or to replace it and leave every other byte alone.

A body may be megabytes of base64, so nothing here parses it. The member is found at the front (openai 3.54 writes
``model`` first) or from the back (openai 2.x writes it after ``messages``), each proved to be at the top level, and
only else by parsing the values before it.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

__all__ = ["Member", "find", "with_member", "without"]

_FIRST = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')
_STRING = rb'"(?:[^"\\]|\\.)*"'
_STRING_RE = re.compile(_STRING, re.DOTALL)
# The end of an object, from the colon after a key on: the values are flat, so nothing but that object is closed.
_FLAT_END = re.compile(
    rb"[ \t\r\n]*:[ \t\r\n]*%(string)s"
    rb"(?:[ \t\r\n]*,[ \t\r\n]*%(string)s[ \t\r\n]*:[ \t\r\n]*(?:%(string)s|[-+.0-9eE]+|true|false|null))*"
    rb"[ \t\r\n]*\}[ \t\r\n]*\Z" % {b"string": _STRING}
)
_SPACES = re.compile(r"[ \t\r\n]*")
# Numbers stay text: nobody asks for them, and of those with thousands of digits Python makes an error.
_parse = json.JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=str).raw_decode
_SPACE = b" \t\r\n"
# How much of the end of a body is worth parsing to prove where a member stands, and how many candidates to try.
# Below this many bytes a match costs less than a parse.
_FLAT_BYTES = 1024
_TAIL_BYTES = 65_536
_TAIL_CANDIDATES = 8


class Member(NamedTuple):
    """A member of an object: where its key starts, where its value starts and ends, and the value if a string."""

    key_start: int
    start: int
    end: int
    value: str | None

    def replaced(self, body: bytes, value: str) -> tuple[bytes, bytes]:
        """``body`` with this member's value replaced by the string ``value``, in two pieces to spare a copy."""
        start, middle, end = body[: self.start], json.dumps(value).encode(), body[self.end :]
        return (start + middle, end) if len(start) < len(end) else (start, middle + end)


def find(body: bytes, path: tuple[str, ...]) -> Member | None:
    """The member at ``path`` of the JSON object ``body``; None when there is none, or no JSON object.

    A key that stands twice makes no sense in a request (RFC 7493, section 2.3); which of them is found is open.
    """
    try:
        return _find(body, path)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested beyond reason: the service will say so
        return None


def _find(body: bytes, path: tuple[str, ...]) -> Member | None:
    if len(path) == 1:
        member = _find_quickly(body, path[0])
        if member is not None:
            return member
    start, end = 0, len(body)
    member = None
    for name in path:
        member = _scan(body, start, end, name)
        if member is None:
            return None
        start, end = member.start, member.end
    return member


def without(body: bytes, member: Member) -> bytes:
    """``body`` without ``member`` and the one comma that belongs to it."""
    end = _skip_space(body, member.end)
    if body[end : end + 1] == b",":
        return body[: member.key_start] + body[_skip_space(body, end + 1) :]
    before = body[: member.key_start].rstrip(_SPACE)
    return before.removesuffix(b",") + body[member.end :]


def with_member(body: bytes, path: tuple[str, ...], value: str) -> bytes | None:
    """``body`` with the string ``value`` as its first member; None if it is no object, or ``path`` leads deeper."""
    start = _skip_space(body, 0)
    if len(path) != 1 or body[start : start + 1] != b"{":
        return None
    rest = body[_skip_space(body, start + 1) :]
    comma = b"" if rest.startswith(b"}") else b","
    return b"".join((body[: start + 1], json.dumps(path[0]).encode(), b":", json.dumps(value).encode(), comma, rest))


def _find_quickly(body: bytes, name: str) -> Member | None:
    key = b'"%s"' % name.encode()
    first = _FIRST.match(body, 0, 4096)
    if first is not None and first[1] == key:
        return Member(first.start(1), first.start(2), first.end(2), _text(first[2]))
    return _from_the_back(body, key)


def _text(literal: bytes) -> str:
    """The text of a JSON string literal."""
    return json.loads(literal) if b"\\" in literal else literal[1:-1].decode()


def _from_the_back(body: bytes, key: bytes) -> Member | None:
    """The last ``key`` of the body, if what follows it closes exactly one object."""
    position = len(body)
    for _ in range(_TAIL_CANDIDATES):
        position = body.rfind(key, max(0, len(body) - _TAIL_BYTES), position)
        if position < 0:
            return None
        # Inside a string a quote has a backslash before it; a key has a comma or a brace.
        if body[max(0, position - 64) : position].rstrip(_SPACE)[-1:] not in (b",", b"{"):
            continue
        if len(body) - position > _FLAT_BYTES or _FLAT_END.match(body, position + len(key)) is None:
            try:
                json.loads(b"{" + body[position:])
            except (ValueError, RecursionError):
                continue
        return _whole_member(body, position, _skip_space(body, position + len(key)) + 1, len(body))
    return None


def _skip_space(body: bytes, position: int) -> int:
    while body[position : position + 1] in (b" ", b"\t", b"\r", b"\n"):
        position += 1
    return position


def _string_end(body: bytes, start: int) -> int:
    """The position after the closing quote of the string that opens at ``start``."""
    match = _STRING_RE.match(body, start)
    if match is None:
        raise ValueError("an open string")
    return match.end()


def _scan(body: bytes, start: int, end: int, name: str) -> Member | None:
    """The last member called ``name`` of the object in ``body[start:end]``, by one parse of each of its values.

    As Latin-1 every byte is a character, so that the parser's positions are those of the bytes.
    """
    text = body[start:end].decode("latin-1")
    at = _SPACES.match(text, 0).end()  # type: ignore[union-attr]
    if text[at : at + 1] != "{":
        return None
    found: Member | None = None
    at = _SPACES.match(text, at + 1).end()  # type: ignore[union-attr]
    while text[at : at + 1] == '"':
        key, after = _parse(text, at)
        colon = _SPACES.match(text, after).end()  # type: ignore[union-attr]
        if text[colon : colon + 1] != ":":
            return None
        value_at = _SPACES.match(text, colon + 1).end()  # type: ignore[union-attr]
        _, value_end = _parse(text, value_at)
        if key == name:
            string = _text(body[start + value_at : start + value_end]) if text[value_at] == '"' else None
            found = Member(start + at, start + value_at, start + value_end, string)
        comma = _SPACES.match(text, value_end).end()  # type: ignore[union-attr]
        if text[comma : comma + 1] != ",":
            return found
        at = _SPACES.match(text, comma + 1).end()  # type: ignore[union-attr]
    return found


def _whole_member(body: bytes, key_start: int, after_colon: int, end: int) -> Member:
    start = _skip_space(body, after_colon)
    if body[start : start + 1] == b'"':
        stop = _string_end(body, start)
        return Member(key_start, start, stop, _text(body[start:stop]))
    _, length = _parse(body[start:end].decode("latin-1"), 0)
    return Member(key_start, start, start + length, None)
