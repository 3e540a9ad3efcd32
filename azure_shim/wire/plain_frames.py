"""Azure's own frames in the streams of chat completions and completions, made such as OpenAI's service sends.

Code that knows OpenAI alone reads ``chunk.choices[0].delta.content`` of every frame. Azure sends frames without a
choice, most often a first one with the verdict on the prompt (field notes P6), and with its asynchronous filter choices
without a ``delta`` (Microsoft Learn, "Content streaming"). What is changed is changed by splicing: every other byte of
the stream goes out as it came (B33).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

__all__ = ["PlainFrames"]

Role = Literal["choice", "empty", "beside", "other"]
# Where in a text, from and to, and what stands there instead.
Edit = tuple[int, int, str]

_LIMIT_BYTES = 1_048_576
# What an event that is kept back takes beside its bytes, about.
_EVENT_BYTES = 1024
# Of a frame that has not ended, what the blank line after it can begin with.
_TAIL_BYTES = 1

_BLANK_LINE = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?:\r\n|\r|\n)")
_LINE_START = rb"(?:\A(?:\xef\xbb\xbf)?|(?<=[\r\n]))"
_DATA = re.compile(_LINE_START + rb"data: ?([^\r\n]*)")
_ERROR = re.compile(_LINE_START + rb"event: ?error[\r\n]")
# Comments, and the fields that hold for the stream and not for the event that they stand in.
_NOTE = re.compile(_LINE_START + rb"((?:id|retry)?:[^\r\n]*(?:\r\n|\r|\n))")
# What may stand before the first line of an event.
_BEFORE = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*")
_SPACES = re.compile(r"[ \t\r\n]*")

# Numbers stay text: nobody asks for them, and of those with thousands of digits Python makes an error.
_decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
# The members of a frame that say nothing where there is no choice.
_HOLLOW = frozenset(
    ("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "obfuscation")
)


class _Kind(NamedTuple):
    """What a choice in the frames of one operation has; members are named as `json.dumps` does."""

    member: str
    marks: tuple[bytes, bytes]
    """Beginnings of that member. They are in no text, since within a string a quote has a backslash before it."""
    filling: dict[str, str]
    """What a choice without it gets: the SDK's objects have no attribute for a required member that did not come."""


_CHAT = _Kind('"delta"', (b'"delta":{', b'"delta": {'), {'"delta"': "{}", '"finish_reason"': "null"})
_TEXT = _Kind('"text"', (b'"text":"', b'"text": "'), {'"text"': '""', '"finish_reason"': "null", '"logprobs"': "null"})
_INDEX = b'"index"'
_KINDS = {"chat.completion.chunk": _CHAT, "text_completion": _TEXT}


class PlainFrames:
    """A filter over the bytes of one stream, as they come; what goes out does not depend on where they are cut.

    A frame without a choice and without usage is kept back, and what it has to say becomes part of the next frame with
    a choice, under the same names, unless that one says it itself; lists of several are joined. If ``[DONE]``, an error
    or the end comes before such a frame, all goes out as it came. A choice without a ``delta`` (of completions: without
    a ``text``) gets an empty one. A frame of one choice that has a ``delta`` passes unread, unless something was kept
    back for it; a frame of more than 1 MiB always does, and for no more than that much is anything kept back.
    """

    __slots__ = ("_held", "_held_bytes", "_is_after_cr", "_is_overlong", "_kind", "_pending")

    def __init__(self) -> None:
        # Azure's own frames have `object: ""`: what their choices lack is known from the frames before.
        self._kind = _CHAT
        # An event without a choice, and behind it whatever came since.
        self._held: list[_Event] = []
        self._held_bytes = 0
        # The frame that has not ended; of an overlong one, what its end is told by.
        self._pending = bytearray()
        self._is_overlong = False
        self._is_after_cr = False

    def feed(self, data: bytes) -> bytes:
        """What can be handed on now; empty if there is nothing yet."""
        if not self._pending:
            return self._feed_frames(data)
        seen = len(self._pending) - _TAIL_BYTES
        self._pending += data
        end = _end_of_frame(self._pending, max(0, seen))
        if not end:
            return self._hand_on_overlong()
        frame, rest = bytes(self._pending[:end]), bytes(self._pending[end:])
        self._pending.clear()
        first = self._take(frame)
        return first + self._feed_frames(rest) if rest else first

    def end(self) -> bytes:
        """The rest, as it came, at the end of the stream; empty if there is none, or if it was given."""
        rest = self._pending[_TAIL_BYTES:] if self._is_overlong else self._pending
        out = self._release() + rest
        self._pending.clear()
        self._is_overlong = False
        return out

    def _feed_frames(self, data: bytes) -> bytes:
        """Of bytes that start with a frame: those that can be handed on now."""
        out: list[bytes] = []
        at = self._end_line(data, out) if self._is_after_cr and data else 0
        has_cr = b"\r" in data
        while at < len(data):
            if not has_cr and not self._held:
                start, at = at, self._skip_plain(data, at)
                if at - start == len(data):
                    return data
                out.append(data[start:at])
            end = _end_of_frame(data, at)
            if not end:
                self._pending += data[at:]
                out.append(self._hand_on_overlong())
                break
            out.append(self._take(data[at:end]))
            at = end
        return b"".join(out)

    def _end_line(self, data: bytes, out: list[bytes]) -> int:
        """Where to go on if the line feed of a frame's last line end was cut off and comes only now."""
        self._is_after_cr = False
        if not data.startswith(b"\n"):
            return 0
        if self._held:
            self._held[-1].raw += b"\n"
        else:
            out.append(b"\n")
        return 1

    def _skip_plain(self, data: bytes, at: int) -> int:
        """The end of the frames from ``at`` on that are of one line each, with a mark in it and a choice at most."""
        mark, spaced_mark = self._kind.marks
        while data.startswith(b"data:", at):
            end = data.find(b"\n", at) + 1
            if not end or not data.startswith(b"\n", end):
                break
            if data.find(mark, at, end) < 0 and data.find(spaced_mark, at, end) < 0:
                break
            first = data.find(_INDEX, at, end)
            if first >= 0 and data.find(_INDEX, first + 1, end) >= 0:  # of another choice, which may have none
                break
            at = end + 1
        return at

    def _is_plain(self, frame: bytes) -> bool:
        """The same of one frame, with any line end."""
        line = frame.rstrip(b"\r\n")
        mark, spaced_mark = self._kind.marks
        has_mark = (mark in line or spaced_mark in line) and line.count(_INDEX) < 2
        return has_mark and not (b"\n" in line or b"\r" in line)

    def _hand_on_overlong(self) -> bytes:
        if len(self._pending) <= _LIMIT_BYTES and not self._is_overlong:
            return b""
        known = _TAIL_BYTES if self._is_overlong else 0
        out = self._release() + self._pending[known:]
        del self._pending[:-_TAIL_BYTES]
        self._is_overlong = True
        return out

    def _take(self, frame: bytes) -> bytes:
        """What can be handed on once ``frame`` has come; nothing if it is kept back."""
        self._is_after_cr = frame.endswith(b"\r")
        if self._is_overlong:
            self._is_overlong = False
            return frame[_TAIL_BYTES:]
        if len(frame) > _LIMIT_BYTES:
            return self._release() + frame
        if not self._held and self._is_plain(frame):
            return frame
        event = _Event(frame)
        self._kind = event.kind or self._kind
        if event.role == "choice":
            return self._with_choice(event)
        if event.role == "other":
            return self._release() + frame
        if event.role == "beside" and not self._held:
            return frame
        self._held.append(event)
        self._held_bytes += len(frame) + _EVENT_BYTES
        return self._release() if self._held_bytes > _LIMIT_BYTES else b""

    def _release(self) -> bytes:
        """All that was kept back, as it came."""
        out = b"".join([event.raw for event in self._held])
        self._held.clear()
        self._held_bytes = 0
        return out

    def _with_choice(self, event: _Event) -> bytes:
        """A frame with a choice, and what was kept back for it."""
        edits = list(event.fill(self._kind))
        if not self._held:
            return event.edited(edits)
        members: dict[str, str] = {}
        notes, beside = b"", b""
        for held in self._held:
            if held.role == "beside":
                beside += held.raw
                continue
            notes += held.notes()
            for key, value in held.members():
                members[key] = _joined(members.get(key), value)
        self._release()
        edits.extend(_with_members(event.text, event.text.index("{"), members))
        return beside + event.edited(edits, notes)


class _Event:
    """One event: its bytes as they came, where in them its data is, and that as text, line for line."""

    __slots__ = ("kind", "raw", "role", "spans", "text")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.spans = [match.span(1) for match in _DATA.finditer(raw)]
        self.text = ""
        self.role: Role = "other"
        """``choice``: there is one; ``empty``: there is none, and no usage; ``beside``: nobody looks for one."""
        self.kind: _Kind | None = None
        if _ERROR.search(raw):
            return
        if not self.spans:
            self.role = "beside"
            return
        try:
            self.text = b"\n".join([raw[start:end] for start, end in self.spans]).decode()
            fields = _decoder.decode(self.text)
        except (ValueError, RecursionError):
            return
        choices = fields.get("choices", "") if isinstance(fields, dict) else ""
        if not isinstance(choices, list | None) or fields.get("error"):
            return
        self.kind = _kind(fields.get("object"), choices or [])
        self.role = "choice" if choices else "empty" if fields.get("usage") is None else "beside"

    def notes(self) -> bytes:
        """The lines that stay if the event does not."""
        return b"".join(_NOTE.findall(self.raw))

    def members(self) -> Iterator[tuple[str, str]]:
        """What an event without a choice has to say, in one line."""
        for key, start, end in _parts(self.text, self.text.index("{")):
            if key[1:-1] not in _HOLLOW and self.text[start:end] != "null":
                # JSON has line ends between its tokens only.
                yield key, self.text[start:end].replace("\n", " ")

    def fill(self, kind: _Kind) -> Iterator[Edit]:
        """What the choices lack."""
        text = self.text
        for key, start, _ in _parts(text, text.index("{")):
            if key != '"choices"':
                continue
            for _, at, end in _parts(text, start):
                if text[at] != "{":
                    continue
                values = [text[start:end] for key, start, end in _parts(text, at) if key == kind.member]
                if not values or values[-1] == "null":
                    yield from _with_members(text, at, kind.filling)

    def edited(self, edits: list[Edit], notes: bytes = b"") -> bytes:
        """The event with its data edited and with more ``notes`` before its own lines."""
        if not edits and not notes:
            return self.raw
        raw, text = self.raw, self.text
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new + text[end:]
        for (start, end), line in reversed(list(zip(self.spans, text.encode().split(b"\n"), strict=True))):
            raw = raw[:start] + line + raw[end:]
        first = _BEFORE.match(raw).end()  # type: ignore[union-attr]
        return raw[:first] + notes + raw[first:]


def _end_of_frame(data: bytes | bytearray, at: int) -> int:
    """The position after the first blank line from ``at`` on; 0 if there is none."""
    end = data.find(b"\n\n", at)
    if data.find(b"\r", at, end if end >= 0 else len(data)) < 0:
        return end + 2 if end >= 0 else 0
    match = _BLANK_LINE.search(data, at)
    return match.end() if match else 0


def _kind(name: Any, choices: list[Any]) -> _Kind | None:
    """What a frame says of the stream, by its object's name or else by what a choice has."""
    if isinstance(name, str) and name in _KINDS:
        return _KINDS[name]
    has = {key for choice in choices if isinstance(choice, dict) for key in choice}
    return _CHAT if "delta" in has else _TEXT if "text" in has else None


def _parts(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Of the object or array that opens at ``at``: its keys as `json.dumps` writes them, its values' start and end."""
    is_object = text[at] == "{"
    at = _skip_spaces(text, at + 1)
    while text[at] not in "]}":
        key = ""
        if is_object:
            name, end = _decoder.raw_decode(text, at)
            key = json.dumps(name)
            at = _skip_spaces(text, _skip_spaces(text, end) + 1)
        _, end = _decoder.raw_decode(text, at)
        yield key, at, end
        at = _skip_spaces(text, end)
        if text[at] == ",":
            at = _skip_spaces(text, at + 1)


def _skip_spaces(text: str, at: int) -> int:
    return _SPACES.match(text, at).end()  # type: ignore[union-attr]


def _with_members(text: str, at: int, members: dict[str, str]) -> Iterator[Edit]:
    """What gives the object that opens at ``at`` those of ``members`` that it has not, or has as null."""
    has = {key: (start, end) for key, start, end in _parts(text, at)}
    for key in members.keys() & has.keys():
        start, end = has[key]
        if text[start:end] == "null":
            yield start, end, members[key]
    new = [f"{key}:{value}" for key, value in members.items() if key not in has]
    if new:
        end = max((end for _, end in has.values()), default=at + 1)
        yield end, end, ("," if has else "") + ",".join(new)


def _joined(before: str | None, value: str) -> str:
    """One value of two: lists in their order, and else the later one."""
    if before is None or before[0] != "[" or value[0] != "[":
        return value
    items = [array[1:-1].strip() for array in (before, value)]
    return f"[{','.join(filter(None, items))}]"
