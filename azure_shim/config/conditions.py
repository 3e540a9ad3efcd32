"""Checks of the gateway's conditions: ``{"query": {"metadata.plan": {"$eq": "pro"}}, "then": "fast"}``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from azure_shim.auth.secrets import shown
from azure_shim.config.reading import Reading, kind_of, named_key
from azure_shim.plan import Condition

__all__ = ["not_among", "read_conditions"]

_COMBINING = ("$and", "$or")
_COMPARING = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$regex")
_KEYS = ("query", "then")
_DEEPEST = 16


def read_conditions(given: Any, names: Sequence[str], place: str, reading: Reading) -> tuple[Condition, ...]:
    """The conditions of a node whose children have ``names``, without those that have problems."""
    if not isinstance(given, (list, tuple)) or not given:
        reading.problem(place, f"is {_described(given)}; expected a list of {{'query': ..., 'then': ...}}")
        return ()
    found = []
    for index, condition in enumerate(given):
        at = f"{place}[{index}]"
        if not isinstance(condition, Mapping):
            reading.problem(at, f"is {kind_of(condition)}; expected {{'query': ..., 'then': ...}}")
            continue
        reading.check_names(condition, _KEYS, at)
        query, then = condition.get("query"), condition.get("then")
        _check_query(query, f"{at}.query", reading)
        if not isinstance(then, str) or not then.strip():
            reading.problem(f"{at}.then", f"is {kind_of(then)}; expected the name of one of the targets")
        elif then not in names:
            reading.problem(f"{at}.then", not_among(then, names))
        elif isinstance(query, Mapping):
            found.append(Condition(dict(query), then))
    return tuple(found)


def not_among(name: str, names: Sequence[str]) -> str:
    """What is wrong with a name that no target has."""
    nearest = difflib.get_close_matches(name, names, n=1)
    advice = f"; did you mean {nearest[0]!r}?" if nearest else f": those are {', '.join(map(repr, names)) or 'none'}"
    return f"{shown(name)} is none of the targets' names{advice}"


def _check_query(query: Any, place: str, reading: Reading, depth: int = 0) -> None:
    if not isinstance(query, Mapping) or not query:
        reading.problem(
            place, f"is {_described(query)}; expected a test such as {{'params.model': {{'$eq': 'gpt-4o'}}}}"
        )
        return
    if depth > _DEEPEST:
        reading.problem(place, f"is nested deeper than {_DEEPEST} levels")
        return
    for key, wanted in query.items():
        if not isinstance(key, str):
            reading.problem(place, f"has a key of type {type(key).__name__}; expected a str")
            continue
        at = f"{place}.{named_key(key)}"
        if key in _COMBINING:
            if not isinstance(wanted, (list, tuple)) or not wanted:
                reading.problem(at, f"is {_described(wanted)}; expected a list of tests")
                continue
            for index, part in enumerate(wanted):
                _check_query(part, f"{at}[{index}]", reading, depth + 1)
        elif key.startswith("$"):
            reading.problem(at, _no_operator(key, _COMBINING))
        elif not _is_field(key):
            reading.problem(at, "is nothing to ask about; expected metadata.<name>, params.<name> or url.pathname")
        elif isinstance(wanted, Mapping):
            _check_comparison(wanted, at, reading)


def _is_field(key: str) -> bool:
    return key == "url.pathname" or any(key.startswith(p) and len(key) > len(p) for p in ("metadata.", "params."))


def _check_comparison(wanted: Mapping[Any, Any], place: str, reading: Reading) -> None:
    """Operators, all of them, if one is; else it is an object to be equal to."""
    if not any(isinstance(name, str) and (name.startswith("$") or f"${name}" in _COMPARING) for name in wanted):
        if not wanted:
            reading.problem(place, "is empty; expected an operator such as {'$eq': ...}")
        return
    for name, operand in wanted.items():
        if name not in _COMPARING:
            what = name if isinstance(name, str) else type(name).__name__
            reading.problem(f"{place}.{named_key(what)}", _no_operator(what, _COMPARING))
        elif name in ("$in", "$nin") and not isinstance(operand, (list, tuple, set, frozenset)):
            reading.problem(f"{place}.{name}", f"is {kind_of(operand)}; expected a list")
        elif name in ("$gt", "$gte", "$lt", "$lte") and not _has_order(operand):
            reading.problem(f"{place}.{name}", f"is {kind_of(operand)}; expected a number or a str")
        elif name == "$regex":
            _check_pattern(operand, f"{place}.{name}", reading)


def _has_order(operand: Any) -> bool:
    return isinstance(operand, (int, float, str)) and not isinstance(operand, bool)


def _check_pattern(pattern: Any, place: str, reading: Reading) -> None:
    if not isinstance(pattern, str):
        reading.problem(place, f"is {kind_of(pattern)}; expected a regular expression")
        return
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, re.error) else ""
        reading.problem(place, f"is no regular expression{reason}")


def _no_operator(name: str, known: tuple[str, ...]) -> str:
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    advice = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(known)}"
    return f"is no operator; {advice}"


def _described(value: Any) -> str:
    return "empty" if isinstance(value, (list, tuple, Mapping)) and not value else kind_of(value)
