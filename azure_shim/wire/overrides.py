"""Merge a target's ``override_params`` over a request's body, and leave every byte of the rest as it came.

The gateway merges them over JSON alone (gateway-config.md); here forms have them too. What a caller wrote twice is
overridden twice, so that it does not matter which of them a service reads (RFC 7493, section 2.3).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from azure_shim.values import Refusal
from azure_shim.wire.multipart import boundary_of

__all__ = ["is_json", "overridden"]

_JSON = re.compile(r"\s*application/(?:[^\s;/]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n]*")
# Values are parsed to find where they end. Numbers stay text: of those with thousands of digits Python makes an error.
_parse = json.JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=str).raw_decode

_LINE_END = re.compile(rb"(--)|[ \t]*\r\n")
_DISPOSITION = re.compile(rb"\r\ncontent-disposition:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)
# Read from the left, so that what looks like a parameter inside of a quoted one is none.
_PARAMETER = re.compile(rb';\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', re.DOTALL)

_Edit = tuple[int, int, bytes]
"""Where a piece of the body starts and ends, and what stands there instead."""


class _Member(NamedTuple):
    name: str
    start: int
    end: int


class _Part(NamedTuple):
    """A part of a form: the name of its field, whether it is an upload, and where its content starts and ends."""

    name: bytes
    is_file: bool
    start: int
    end: int


def is_json(content_type: str) -> bool:
    """Whether a body of this Content-Type is JSON (RFC 6839, section 3.1, for the suffix)."""
    return _JSON.match(content_type) is not None


def overridden(content: bytes, content_type: str, params: Mapping[str, Any]) -> bytes | Refusal:
    """``content`` with ``params``: members of a JSON object, merged deeply, or text fields of a multipart form.

    A member or field that is there gets the new value, another is added behind all others. None is JSON's null. A form
    has a string as it is and any other value as JSON. Any other body, and one that is broken, is returned as it is: the
    service will say so. Refused are values that are no JSON, a value for an upload, and nesting beyond what Python
    reads, which would else carry a member past its override.
    """
    if not params:
        return content
    boundary = boundary_of(content_type)
    try:
        if boundary is not None:
            return _with_fields(content, boundary, params)
        return _with_members(content, params) if is_json(content_type) else content
    except RecursionError:
        return Refusal(400, "InvalidBody", "the body is nested too deeply for override_params to be merged over it")
    except _InvalidOverrideError as error:
        return Refusal(400, "InvalidOverride", str(error))


class _InvalidOverrideError(Exception):
    """A value of ``override_params`` cannot be written; the message says which and why."""


def _with_members(content: bytes, params: Mapping[str, Any]) -> bytes:
    # As Latin-1 every byte is a character, so that the parser's positions are those of the bytes.
    text = content.decode("latin-1")
    start = _after_space(text, 0)
    try:
        members, end = _members(content, text, start)
    except ValueError:
        return content
    if _after_space(text, end) != len(text):
        return content
    return _edited(content, _edits(content, text, start, members, params))


def _edits(content: bytes, text: str, start: int, members: list[_Member], params: Mapping[str, Any]) -> Iterator[_Edit]:
    """What makes the object that opens at ``start`` have ``params``, from its first byte to its last."""
    missing = dict(params)
    for name, value_start, value_end in members:
        if name not in params:
            continue
        missing.pop(name, None)
        value = params[name]
        if isinstance(value, Mapping) and text[value_start] == "{":
            nested, _ = _members(content, text, value_start)
            yield from _edits(content, text, value_start, nested, value)
        else:
            yield value_start, value_end, _dumped(name, value)
    if missing:
        added = b",".join(_dumped(name, name) + b":" + _dumped(name, value) for name, value in missing.items())
        behind = members[-1].end if members else start + 1
        yield behind, behind, b"," + added if members else added


def _members(content: bytes, text: str, start: int) -> tuple[list[_Member], int]:
    """The members of the object that opens at ``start``, with the position behind it.

    Raises:
        ValueError: there is no object, or a broken one.
    """
    found: list[_Member] = []
    at = _after(text, start, "{")
    if text[at : at + 1] == "}":
        return found, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise ValueError("no key")
        _, key_end = _parse(text, at)
        name, _ = _parse(content[at:key_end].decode("utf-8", "replace"), 0)
        value_start = _after(text, _after_space(text, key_end), ":")
        _, value_end = _parse(text, value_start)
        found.append(_Member(name, value_start, value_end))
        at = _after_space(text, value_end)
        if text[at : at + 1] == "}":
            return found, at + 1
        at = _after(text, at, ",")


def _after(text: str, at: int, sign: str) -> int:
    """Where the next token starts behind ``sign``, which has to stand at ``at``."""
    if text[at : at + 1] != sign:
        raise ValueError(f"no {sign!r}")
    return _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    match = _SPACES.match(text, at)
    assert match is not None, "no space is space enough"
    return match.end()


def _with_fields(content: bytes, boundary: bytes, params: Mapping[str, Any]) -> bytes:
    delimiter = b"--" + boundary
    parts, closing = _parts(content, delimiter)
    if closing is None:
        return content
    values = {_field_name(name): _field_text(name, value) for name, value in params.items()}
    edits: list[_Edit] = []
    missing = dict(values)
    for part in parts:
        if part.name in values:
            if part.is_file:
                name = part.name.decode("utf-8", "replace")
                raise _InvalidOverrideError(
                    f"override_params has a value for {name!r}, which is an upload in this form"
                )
            missing.pop(part.name, None)
            edits.append((part.start, part.end, values[part.name]))
    added = [
        b'%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s' % (delimiter, name, value)
        for name, value in missing.items()
    ]
    if added:
        # The line break before a delimiter belongs to it (RFC 2046, section 5.1.1); a form without parts has none.
        edits.append(
            (closing, closing, b"".join(b"\r\n" + p for p in added) if closing else b"\r\n".join(added) + b"\r\n")
        )
    return _edited(content, edits)


def _parts(content: bytes, delimiter: bytes) -> tuple[list[_Part], int | None]:
    """The named parts of a form, and where its closing delimiter starts; None if it does not begin or end as a form."""
    found: list[_Part] = []
    line = _LINE_END.match(content, len(delimiter)) if content.startswith(delimiter) else None
    if line is None:
        return found, None
    if line[1]:
        return found, 0
    opened, searched, separator = line.end() - 2, line.end() - 2, b"\r\n" + delimiter
    while True:
        at = content.find(separator, searched)
        if at < 0:
            return found, None
        line = _LINE_END.match(content, at + len(separator))
        searched = at + len(separator)
        if line is None:  # a longer line that begins like the delimiter
            continue
        part = _part(content, opened, at)
        if part is not None:
            found.append(part)
        if line[1]:
            return found, at
        opened = searched = line.end() - 2


def _part(content: bytes, start: int, end: int) -> _Part | None:
    """The part whose head begins with the line break at ``start``, if it has a name."""
    head_end = content.find(b"\r\n\r\n", start, end)
    if head_end < 0:
        return None
    disposition = _DISPOSITION.search(content[start:head_end])
    if disposition is None:
        return None
    parameters = {key.lower(): quoted or token for key, quoted, token in _PARAMETER.findall(disposition[1])}
    if b"name" not in parameters:
        return None
    is_file = b"filename" in parameters or b"filename*" in parameters
    return _Part(parameters[b"name"], is_file, head_end + 4, end)


def _field_name(name: str) -> bytes:
    """``name`` as it stands between the quotes of a form (WHATWG HTML, multipart/form-data encoding algorithm)."""
    return name.encode("utf-8", "replace").replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A")


def _field_text(name: str, value: Any) -> bytes:
    if not isinstance(value, str):
        return _dumped(name, value)
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise _InvalidOverrideError(f"override_params has a value for {name!r} that is no text") from None


def _dumped(name: str, value: Any) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError) as error:
        raise _InvalidOverrideError(f"override_params has a value for {name!r} that is no JSON: {error}") from None


def _plain(value: object) -> dict[Any, Any]:
    """The dict that a read-only mapping stands for."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"it has an object of type {type(value).__name__}")


def _edited(content: bytes, edits: Iterable[_Edit]) -> bytes:
    pieces: list[bytes] = []
    done = 0
    for start, end, new in edits:
        pieces += (content[done:start], new)
        done = end
    return b"".join((*pieces, content[done:]))
