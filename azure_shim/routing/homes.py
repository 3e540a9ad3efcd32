"""Where stored things live: a file, a batch or a response exists on the one resource that made it (field note P17).

The ids that pass in answers say where; the ids that a request names say where it has to go. What callers write
themselves, as metadata, says nothing, though it may look so. Ids are never rewritten. A read of one that is not known
is looked for on the other targets after a 404.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import unquote

from azure_shim.wire.json_model import find
from azure_shim.wire.operations import Operation
from azure_shim.wire.request_line import RequestLine

__all__ = [
    "AnswerIds",
    "Homes",
    "answer_ids",
    "creates_or_lists",
    "has_literal",
    "ids_of_request",
    "is_read",
    "is_stateful",
    "is_stored",
]

_ENTRIES = 100_000
_TTL_S = 30 * 86_400.0  # how long Azure keeps a response (Microsoft Learn, "Azure OpenAI Responses API")


class Homes:
    """From the id of a stored thing to the name of the target that has it; bounded, and shared by any threads.

    ``entries`` is how many ids are remembered, of which the longest unseen go first (field note B41); ``ttl_s`` is how
    long after it was last seen or asked for an id is forgotten; ``clock`` returns seconds that never go back.
    """

    def __init__(
        self, *, entries: int = _ENTRIES, ttl_s: float = _TTL_S, clock: Callable[[], float] = monotonic
    ) -> None:
        self._entries = entries
        self._ttl_s = ttl_s
        self._clock = clock
        self._lock = Lock()
        # The longest unseen first: each sight moves an id to the end.
        self._homes: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def forget_parent(self) -> None:
        """After a fork: a lock may be held by a thread that is not here."""
        self._lock = Lock()

    def of(self, ids: Iterable[str]) -> str | None:
        """The target that has the first of ``ids`` whose home is known."""
        asked, now = tuple(ids), self._clock()
        if not asked:
            return None
        with self._lock:
            self._forget_before(now - self._ttl_s)
            for id_ in asked:
                entry = self._homes.get(id_)
                if entry is not None:
                    self._remember(id_, entry[0], now)
                    return entry[0]
        return None

    def saw(self, id_: str, target: str) -> None:
        """``target`` has answered with ``id_`` or for it; what was known of it before is forgotten."""
        now = self._clock()
        with self._lock:
            self._forget_before(now - self._ttl_s)
            self._remember(id_, target, now)
            if len(self._homes) > self._entries:
                self._homes.popitem(last=False)

    def __len__(self) -> int:
        with self._lock:
            self._forget_before(self._clock() - self._ttl_s)
            return len(self._homes)

    def _remember(self, id_: str, target: str, now: float) -> None:
        self._homes[id_] = (target, now)
        self._homes.move_to_end(id_)

    def _forget_before(self, moment: float) -> None:
        while self._homes:
            id_, (_, seen) = next(iter(self._homes.items()))
            if seen > moment:
                return
            del self._homes[id_]


# What the calls are -------------------------------------------------------------------------------------------------

# These are load like any other, whether or not something of them is kept: they are balanced, and only what follows up
# on them is bound to a resource, by an id.
_GENERATES = frozenset(("POST /responses", "WS /responses", "WS /realtime"))


def is_stateful(line: RequestLine, content: bytes | None = None) -> bool:
    """Whether what the call makes or names lives on one resource; ``content`` tells for responses and chat."""
    operation = line.operation
    if operation is None:
        return False
    if operation.method == "POST" and operation.path in ("/responses", "/chat/completions"):
        return is_stored(line, content)
    return operation.kept


def is_stored(line: RequestLine, content: bytes | None) -> bool:
    """Whether a response or a chat completion can be had again by its id.

    A response is stored unless it says ``"store": false``, a chat completion only if it says ``"store": true`` (OpenAI
    API reference, and the same on Azure). A body that is not at hand counts as one that does not say.
    """
    operation = line.operation
    if operation is None or operation.path not in ("/responses", "/chat/completions"):
        return False
    if operation.path == "/responses":
        return not has_literal(content, "store", b"false")
    return operation.method == "POST" and has_literal(content, "store", b"true")


def has_literal(content: bytes | None, name: str, literal: bytes) -> bool:
    """Whether the JSON object ``content`` has a member ``name`` that is exactly ``literal``."""
    if content is None or b'"%s"' % name.encode() not in content:
        return False
    member = find(content, (name,))
    return member is not None and content[member.start : member.end] == literal


def creates_or_lists(line: RequestLine) -> bool:
    """Whether the call is about stored things but has no id in its path, and so belongs to the stable primary."""
    operation = line.operation
    return operation is not None and operation.kept and "{" not in operation.path and str(operation) not in _GENERATES


def is_read(line: RequestLine) -> bool:
    """Whether the call reads one stored thing by its id, so that it may ask elsewhere after a 404."""
    operation = line.operation
    return operation is not None and operation.kept and operation.method == "GET" and "{" in operation.path


# Ids in requests ----------------------------------------------------------------------------------------------------

# A body without any of these names nothing that is stored, and is not parsed. Where the first of a line is not,
# the others are not either, which spares looking for them. ``validation_file`` never comes alone.
_NEEDLES: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"_id", (b'"previous_response_id"', b"file_id", b"vector_store_id", b'"assistant_id"', b'"thread_id"')),
    (b'"id"', (b'"item_reference"', b'"encrypted_content"')),
    (b'"con', (b'"conversation"', b'"container"', b'"container_id"')),
    (b'"training_file"', (b'"training_file"',)),
)
# In the order in which they bind.
_ID_MEMBERS = (
    "previous_response_id",
    "conversation",
    "thread_id",
    "assistant_id",
    "input_file_id",
    "training_file",
    "validation_file",
    "file_id",
    "file_ids",
    "vector_store_id",
    "vector_store_ids",
    "container",
    "container_id",
)
# Objects that are no more than a reference by ``id``. Encrypted reasoning is one too: no other resource can read it.
_REFERENCES = ("item_reference", "file_id")
# The caller's own words, in which a member of any name may stand.
_FOREIGN = frozenset(("attributes", "metadata", "parameters", "schema", "input_schema", "json_schema", "headers"))


def ids_of_request(line: RequestLine, content: bytes | None) -> tuple[str, ...]:
    """The ids of stored things that a request names, the most telling first: in its path, as a cursor, in its body."""
    operation = line.operation
    if operation is None:
        return ()
    found = list(_ids_of_path(line, operation)) if operation.kept else []
    if content is not None and _may_name(operation, content) and content[:64].lstrip()[:1] == b"{":
        found += _ids_of_body(content)
    return tuple(dict.fromkeys(found))


def _ids_of_path(line: RequestLine, operation: Operation) -> Iterator[str]:
    if "{" in operation.path:
        for name, segment in zip(operation.path.split("/"), line.path.split("/"), strict=True):
            if name.startswith("{") and name != "{version}":
                yield unquote(segment)
    # Pages stay where the first one came from (field note B42).
    for pair in line.query.split("&"):
        name, _, value = pair.partition("=")
        if value and name in ("after", "before"):
            yield unquote(value)


def _may_name(operation: Operation, content: bytes) -> bool:
    if operation.path == "/chat/completions":
        return b"file_id" in content
    if not operation.kept and not operation.path.startswith("/responses/"):
        return False
    return any(first in content and any(needle in content for needle in needles) for first, needles in _NEEDLES)


def _ids_of_body(content: bytes) -> Iterator[str]:
    """What is named at the top comes before what is nested: a previous response binds more than a file."""
    try:
        waiting: deque[Any] = deque((json.loads(content),))
    except (ValueError, RecursionError):  # the service will say so
        return
    while waiting:
        value = waiting.popleft()
        if isinstance(value, list):
            waiting.extend(item for item in value if isinstance(item, (dict, list)))
        else:
            yield from _ids_of_object(value)
            waiting.extend(v for k, v in value.items() if isinstance(v, (dict, list)) and k not in _FOREIGN)


def _ids_of_object(value: dict[str, Any]) -> Iterator[str]:
    for name in _ID_MEMBERS:
        named = value.get(name)
        if isinstance(named, dict):
            named = named.get("id")
        yield from (id_ for id_ in (named if isinstance(named, list) else (named,)) if id_ and isinstance(id_, str))
    if value.get("type") in _REFERENCES or "encrypted_content" in value:
        id_ = value.get("id")
        if id_ and isinstance(id_, str):
            yield id_


# Ids in answers -----------------------------------------------------------------------------------------------------

_LOOKED_AT_BYTES = 65_536
# How much of a chunk's end may be the start of a match: the longest one is a list of files.
_LONGEST_BYTES = 1024
# In JSON a quote within a string has a backslash before it, so this finds members only, at any depth, and never what
# merely looks like one in a text. Events of a stream are JSON as well. The last line is where a caller's own words
# begin, which an answer repeats; a prompt's variables may name a file, but the call did already.
_WORDS = b"|".join(sorted(name.encode() for name in (*_FOREIGN, "variables")))
_NAMED = re.compile(
    rb'"(?:(?:id|previous_response_id|conversation|conversation_id|input_file_id|output_file_id|error_file_id|file_id'
    rb"|container_id|thread_id|assistant_id|run_id|vector_store_id|training_file|validation_file)"
    rb'"[ \t\r\n]{0,16}:[ \t\r\n]{0,16}"([^"\\]{4,256})"'
    rb'|(?:result_files|file_ids|vector_store_ids)"[ \t\r\n]{0,16}:[ \t\r\n]{0,16}\[([^\]]{4,960})\]'
    rb'|(?:%s)"[ \t\r\n]{0,16}:[ \t\r\n]{0,16}([\[{]))' % _WORDS
)
_STRINGS = re.compile(rb'"([^"\\]{4,256})"')


class _Skip:
    """Goes over one JSON object or list, whose opening bracket is behind, in the chunks as they come."""

    __slots__ = ("_depth", "_is_escaped", "_is_text")

    # Within a string its end and what hides one; outside of strings what opens and closes.
    _TELLING = (re.compile(rb'["{}\[\]]'), re.compile(rb'["\\]'))

    def __init__(self) -> None:
        self._depth = 1
        self._is_text = self._is_escaped = False

    def end_in(self, data: bytes, at: int) -> int:
        """Where it ends in ``data`` from ``at`` on; -1 if not in this chunk."""
        if self._is_escaped and at < len(data):
            self._is_escaped = False
            at += 1
        while True:
            found = self._TELLING[self._is_text].search(data, at)
            if found is None:
                return -1
            at, mark = found.end(), found[0]
            if mark == b'"':
                self._is_text = not self._is_text
            elif mark == b"\\":
                self._is_escaped = at >= len(data)
                at += 1
            else:
                self._depth += 1 if mark in b"{[" else -1
                if not self._depth:
                    return at


class AnswerIds:
    """Finds the ids in an answer's body, JSON or the events of a stream, while it passes.

    Only the first 64 KiB are looked at, since an id stands at the front of what it names. ``chats`` says whether the
    ids of chat completions are ids of stored things.
    """

    __slots__ = ("_chats", "_found", "_left", "_rest", "_skip")

    def __init__(self, *, chats: bool = False) -> None:
        self._chats = chats
        self._found: set[str] = set()
        self._left = _LOOKED_AT_BYTES
        self._rest = b""
        self._skip: _Skip | None = None

    def feed(self, chunk: bytes) -> tuple[str, ...]:
        """The ids that ``chunk`` completes and that were not found before."""
        if not self._left:
            return ()
        data = self._rest + chunk[: self._left]
        self._left = max(0, self._left - len(chunk))
        new: list[str] = []
        end = self._after_skipped(data, 0)
        while end >= 0 and (match := _NAMED.search(data, end)) is not None:
            end = match.end()
            if match[3] is not None:
                self._skip = _Skip()
                end = self._after_skipped(data, end)
            else:
                new += (id_.decode("utf-8", "replace") for id_ in self._ids(match))
        # Nothing that is looked for goes on behind the end of an event.
        is_over = not self._left or end < 0 or data.endswith(b"}\n\n")
        self._rest = b"" if is_over else data[max(end, len(data) - _LONGEST_BYTES) :]
        return tuple(id_ for id_ in new if self._is_new(id_))

    def _after_skipped(self, data: bytes, at: int) -> int:
        """From where on ``data`` is the service's own words again; -1 if it is not."""
        if self._skip is None:
            return at
        end = self._skip.end_in(data, at)
        if end >= 0:
            self._skip = None
        return end

    def _ids(self, match: re.Match[bytes]) -> list[bytes]:
        return [match[1]] if match[1] is not None else _STRINGS.findall(match[2])

    def _is_new(self, id_: str) -> bool:
        # ``call_`` is what a model calls one use of a tool: it names nothing that is stored.
        if id_ in self._found or id_.startswith("call_") or (id_.startswith("chatcmpl-") and not self._chats):
            return False
        self._found.add(id_)
        return True


def answer_ids(line: RequestLine, content: bytes | None) -> AnswerIds | None:
    """What is to look at the answer of this call; None if nothing in it is worth remembering."""
    operation = line.operation
    if operation is None or not operation.answers_json:
        return None
    if is_stateful(line, content):
        return AnswerIds(chats=operation.path.startswith("/chat/completions"))
    # Unstored, but only the resource that encrypted its reasoning can read it again.
    if operation.path.startswith("/responses") and content is not None and b"encrypted_content" in content:
        return AnswerIds()
    return None
