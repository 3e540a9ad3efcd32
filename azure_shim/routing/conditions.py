"""The gateway's tests of a request: ``{"metadata.plan": {"$in": ["pro", "team"]}, "params.stream": true}``.

A query is a mapping whose entries must all hold. An entry is ``$and`` or ``$or`` with a list of queries, or a key with
what its value has to be: operators (``$eq $ne $gt $gte $lt $lte $in $nin $regex``), or anything else to be equal to.
Keys are ``metadata.*``, ``params.*`` and ``url.pathname``; dots descend, in lists by position. Nothing in a request can
make a test fail with an exception: what cannot be compared does not match.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["Context", "context_of", "matches"]

_MISSING: Any = object()
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


class Context(Mapping[str, Any]):
    """What a query can ask about one request: ``metadata``, ``params`` and ``url``; read when asked for, and once."""

    __slots__ = ("_content", "_metadata", "_params", "_path")

    def __init__(self, content: bytes | None, metadata: Mapping[str, Any] | str | bytes | None, path: str) -> None:
        self._content = content
        self._metadata = metadata
        self._path = path
        self._params: dict[str, Any] | None = None

    def __getitem__(self, key: str) -> Any:
        if key == "params":
            return self._read_params()
        if key == "metadata":
            return self._read_metadata()
        if key == "url":
            return {"pathname": self._path}
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(("metadata", "params", "url"))

    def __len__(self) -> int:
        return 3

    def _read_params(self) -> dict[str, Any]:
        if self._params is None:
            self._params = _object(self._content)
        return self._params

    def _read_metadata(self) -> dict[str, Any]:
        if not isinstance(self._metadata, Mapping):
            self._metadata = _object(self._metadata)
        of_body = None
        if self._content is not None and b'"metadata"' in self._content:
            of_body = self._read_params().get("metadata")
        # What was sent for the sake of routing wins over what is to be kept with the answer.
        return {**(of_body if isinstance(of_body, dict) else {}), **self._metadata}


def context_of(content: bytes | None, metadata: Mapping[str, Any] | str | bytes | None, path: str) -> Context:
    """The context of a request with the body ``content``.

    ``metadata`` is what ``x-portkey-metadata`` says, as JSON or read already; ``path`` is that of the caller's URL.
    """
    return Context(content, metadata, path)


def _object(text: str | bytes | None) -> dict[str, Any]:
    """The JSON object ``text``, or an empty one: forms and the like have no parameters to ask about."""
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if data is None or data[:64].lstrip()[:1] != b"{":
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def matches(query: Mapping[str, Any], context: Mapping[str, Any]) -> bool:
    """Whether the request of ``context`` passes ``query``; an empty query is passed by all."""
    return all(_holds(key, wanted, context) for key, wanted in query.items())


def _holds(key: str, wanted: Any, context: Mapping[str, Any]) -> bool:
    if key in ("$and", "$or"):
        if not isinstance(wanted, (list, tuple)):
            return False
        results = (isinstance(part, Mapping) and matches(part, context) for part in wanted)
        return all(results) if key == "$and" else any(results)
    value = _lookup(key, context)
    if not isinstance(wanted, Mapping) or not any(str(name).startswith("$") for name in wanted):
        return _same(value, wanted)
    if key.startswith("metadata."):
        # Metadata can only be strings (OpenAI API reference), and the gateway compares them as the numbers they spell.
        return all(_compares_text(name, value, operand) for name, operand in wanted.items())
    return all(_compare(name, value, operand) for name, operand in wanted.items())


def _compares_text(name: str, value: Any, operand: Any) -> bool:
    """As `_compare`, of a value that may be a number in words."""
    if name in ("$in", "$nin") and isinstance(operand, (list, tuple, set, frozenset)):
        return any(_same(_like(value, one), one) for one in operand) == (name == "$in")
    return _compare(name, _like(value, operand), operand)


def _lookup(key: str, context: Mapping[str, Any]) -> Any:
    """The value at ``key``, or `_MISSING`; a name that has dots itself is found where it is."""
    root, _, rest = key.partition(".")
    value: Any = context.get(root, _MISSING)
    while rest:
        if isinstance(value, Mapping):
            if rest in value:
                return value[rest]
            name, _, rest = rest.partition(".")
            value = value.get(name, _MISSING)
        elif isinstance(value, list):
            name, _, rest = rest.partition(".")
            value = value[int(name)] if name.isdecimal() and len(name) < 10 and int(name) < len(value) else _MISSING
        else:
            return _MISSING
    return value


def _compare(name: str, value: Any, operand: Any) -> bool:
    if name == "$ne":
        return not _same(value, operand)
    if name in ("$in", "$nin"):
        if not isinstance(operand, (list, tuple, set, frozenset)):
            return False
        return any(_same(value, one) for one in operand) == (name == "$in")
    if name == "$eq":
        return _same(value, operand)
    if name == "$regex":
        return isinstance(value, str) and isinstance(operand, str) and _finds(operand, value)
    order = _ORDERS.get(name)
    if order is None:
        return False
    if (_is_number(value) and _is_number(operand)) or (isinstance(value, str) and isinstance(operand, str)):
        return order(value, operand)
    return False


def _same(value: Any, wanted: Any) -> bool:
    """As JSON has it: ``true`` is not 1, and what is missing is equal to nothing."""
    if value is _MISSING or isinstance(value, bool) != isinstance(wanted, bool):
        return False
    return bool(value == (list(wanted) if isinstance(wanted, tuple) else wanted))


def _like(value: Any, operand: Any) -> Any:
    """A string as the number that it spells, if it is to be compared with one."""
    if not isinstance(value, str) or not _is_number(operand):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _finds(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False
