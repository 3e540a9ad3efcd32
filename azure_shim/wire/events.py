"""Whether the first token of a streamed answer has come: until then another target's stream can take its place.

Azure may answer 200, send frames that say nothing yet, and then an error (field notes P37). After a token it is too
late (P38). So only what is known to say nothing counts as preamble; whatever else comes is handed on.
"""

from __future__ import annotations

import json
from typing import Any, Literal

__all__ = ["FirstEvents"]

Decision = Literal["content", "error"]

# A preamble is a few kilobytes; whoever sends more is no longer worth keeping back.
_LIMIT_BYTES = 65_536
_FIELDS = frozenset((b"data", b"event", b"id", b"retry"))
_EMPTY_EVENTS = frozenset(("response.created", "response.queued", "response.in_progress"))
# What stands in a choice, or in a delta, or in an item of output, before the model has said anything.
_CHOICE_FRAME = frozenset(("index", "content_filter_results", "content_filter_offsets", "content_filter_raw"))
_DELTA_FRAME = frozenset(("role",))
_ITEM_FRAME = frozenset(("id", "type", "status", "role", "phase"))
_PART_FRAME = frozenset(("type",))


class FirstEvents:
    """Looks at the chunks of a ``text/event-stream`` body as they come, each byte once, and decides.

    ``"content"`` is the first token, or anything that is not known as preamble; ``"error"`` is an error before it,
    which is then in ``error_body``. A decision stays.
    """

    __slots__ = ("_after_cr", "_data", "_decision", "_event", "_is_first", "_line", "_seen_bytes", "error_body")

    def __init__(self) -> None:
        self.error_body: bytes = b""
        """After ``"error"``: ``{"error": {...}}`` as JSON, as if the answer had been that from the start."""
        self._decision: Decision | None = None
        self._seen_bytes = 0
        self._line: list[bytes] = []
        self._after_cr = False
        self._is_first = True
        self._event = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Decision | None:
        """The decision, or None as long as there was only preamble."""
        if self._decision is not None or not chunk:
            return self._decision
        if self._is_first and not self._line and chunk[:1] in b"{[<":
            self._decision = "content"  # no event begins so: it is an answer of another kind, and may come in pieces
            return self._decision
        chunk = chunk[: _LIMIT_BYTES - self._seen_bytes]
        self._seen_bytes += len(chunk)
        skips = self._after_cr and chunk.startswith(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        for piece in (chunk[1:] if skips else chunk).splitlines(keepends=True):
            self._line.append(piece)
            if piece.endswith((b"\n", b"\r")):
                self._decision = self._take_line(self._pop_line())
                if self._decision is not None:
                    return self._decision
        self._decision = "content" if self._seen_bytes >= _LIMIT_BYTES else None
        return self._decision

    def end(self) -> Literal["content", "error", "empty"]:
        """The decision at the end of the body; ``"empty"`` if it was preamble only, or broke off within a frame."""
        if self._decision is None:
            self._decision = self._take_line(self._pop_line()) or self._take_frame(is_whole=False)
        return self._decision or "empty"

    def _pop_line(self) -> bytes:
        line = b"".join(self._line).rstrip(b"\r\n")
        self._line.clear()
        if self._is_first:
            self._is_first = False
            return line.removeprefix(b"\xef\xbb\xbf")
        return line

    def _take_line(self, line: bytes) -> Decision | None:
        if not line:
            return self._take_frame()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name and name not in _FIELDS:  # a line without a name is a comment; another name, another protocol
            return "content"
        return None

    def _take_frame(self, is_whole: bool = True) -> Decision | None:
        data, event = b"\n".join(self._data), self._event.decode(errors="replace")
        has_data = bool(self._data)
        self._data, self._event = [], b""
        if not has_data and event != "error":
            return None
        try:
            frame = json.loads(data)
            error = _error(event, frame)
            is_preamble = error is None and _is_preamble(event, frame)
        except (ValueError, RecursionError):
            if not is_whole and data != b"[DONE]":
                return None
            error = {"message": data.decode(errors="replace")} if event == "error" else None
            is_preamble = False
        if error is not None:
            self.error_body = json.dumps({"error": error}).encode()
            return "error"
        return None if is_preamble else "content"


def _error(event: str, frame: Any) -> dict[str, Any] | None:
    """The error that a frame is, in the shape of an answer's ``error``; None if it is none."""
    if not isinstance(frame, dict):
        return {"message": str(frame)} if event == "error" else None
    kind = _kind(event, frame)
    error = frame.get("error")
    if kind == "response.failed":
        response = frame.get("response")
        error = response.get("error") if isinstance(response, dict) else None
    elif "error" in (kind, event):
        # The Responses API writes code and message beside the type, Azure below "error".
        error = error or {key: value for key, value in frame.items() if key in ("code", "message", "param")}
    elif not error or frame.get("choices") or (frame.get("id") and "choices" not in frame):
        return None
    return error if isinstance(error, dict) else {"message": str(error or "The response failed.")}


def _kind(event: str, frame: dict[str, Any]) -> str:
    """The event's name; a frame that has a type need not be named beside it."""
    kind = frame.get("type")
    return kind if isinstance(kind, str) and kind else event


def _is_preamble(event: str, frame: Any) -> bool:
    if not isinstance(frame, dict):
        return False
    if "choices" in frame:
        # The last frame has the usage and no choice.
        choices = frame["choices"] or []
        return isinstance(choices, list) and not frame.get("usage") and all(map(_is_empty_choice, choices))
    kind = _kind(event, frame)
    if kind == "response.output_item.added":
        # The name of a tool is a token already.
        item = frame.get("item")
        is_spoken = isinstance(item, dict) and item.get("type") in ("message", "reasoning")
        return is_spoken and _is_blank(item, _ITEM_FRAME)
    if kind == "response.content_part.added":
        return _is_blank(frame.get("part"), _PART_FRAME)
    return kind in _EMPTY_EVENTS


def _is_empty_choice(choice: Any) -> bool:
    """Whether a choice of chat or legacy completions has no token; the frames of the content filter have none."""
    if not isinstance(choice, dict):
        return False
    return _is_blank(choice, _CHOICE_FRAME | {"delta"}) and _is_blank(choice.get("delta"), _DELTA_FRAME)


def _is_blank(value: Any, but: frozenset[str] = frozenset()) -> bool:
    """Whether there is nothing in ``value``, at any depth, ``but`` in the members of these names."""
    if isinstance(value, dict):
        return all(key in but or _is_blank(member) for key, member in value.items())
    if isinstance(value, list):
        return all(map(_is_blank, value))
    return not value
