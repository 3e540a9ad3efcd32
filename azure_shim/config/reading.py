"""What the reading of one config collects: problems with their places, and the variables that secrets came from."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from azure_shim.auth.secrets import scrubbed, shown
from azure_shim.config.reader import Reader
from azure_shim.errors import ConfigurationError

__all__ = ["LOST", "Reading", "kind_of", "named_key", "within"]

LOST: Any = object()
"""Stands for a value that there is none of, about which a problem was noted."""
_ARGUMENT = re.compile(r"([A-Za-z_]\w*)((?:\[[^\]]*\])?): ")
_PLAIN_KEY = re.compile(r"[\w.$-]{1,60}")


class Reading:
    """One pass over a config. Every problem is noted with the place of what is wrong, and once."""

    def __init__(self, environ: Mapping[str, str] | None, *, is_async: bool) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.is_async = is_async
        self.used: dict[str, str] = {}
        self._problems: dict[tuple[str, str], str] = {}
        self._kind: type[ConfigurationError] = ConfigurationError

    @property
    def has_problems(self) -> bool:
        return bool(self._problems)

    def problem(self, place: str, sentence: str, heir: str | None = None) -> None:
        """Note what is wrong at ``place``; ``heir`` is the target that inherits it."""
        ending = f" (as {heir} inherits it)" if heir else ""
        self._problems.setdefault((place, sentence), ending)

    def error(self) -> ConfigurationError:
        """All problems at once."""
        return self._kind(
            [f"{place}: {text}{end}" if place else text + end for (place, text), end in self._problems.items()]
        )

    def absorb(self, reader: Reader, leaf: str, places: Mapping[str, tuple[str, str]]) -> None:
        """Note what a reader of arguments found, where ``places`` says that each argument was written."""
        self.used.update(reader.used)
        if not reader.problems:
            return
        error = reader.error()
        if type(error) is not ConfigurationError:
            self._kind = type(error)
        for sentence in error.problems:
            found = _ARGUMENT.match(sentence)
            if found and found[1] in places:
                node, name = places[found[1]]
                heir = leaf if node != leaf else None
                self.problem(within(node, name + found[2]), sentence[found.end() :], heir)
            elif found and found[1].isupper():
                self.problem("", sentence)  # a variable, which is wrong for whoever uses it
            else:
                self.problem(leaf, sentence)

    def named(self, value: Any, place: str) -> Any:
        """``value``, or what the variable has that ``{"env": NAME}`` names; `LOST` where it has nothing."""
        if not (isinstance(value, Mapping) and len(value) == 1 and "env" in value):
            return value
        name = value["env"]
        if not isinstance(name, str) or not name.strip():
            self.problem(place, f"env: is {kind_of(name)}; expected the name of an environment variable")
            return LOST
        found = self.environ.get(name)
        if found is None or not found.strip():
            self.problem(place, f"is to come from the environment variable {shown_name(name)}, which is not set")
            return LOST
        self.used[name] = found
        return found

    def check_names(self, given: Mapping[Any, Any], known: Iterable[str], place: str) -> None:
        """Note a problem for each key that is not ``known``."""
        known = tuple(known)
        for key in given:
            if key not in known:
                self.problem(*unknown(key, known, place))


def unknown(key: object, known: Iterable[str], place: str) -> tuple[str, str]:
    """The problem with a key that there is not."""
    if not isinstance(key, str):
        return place, f"has a key of type {type(key).__name__}; expected a str"
    nearest = difflib.get_close_matches(key.lower(), known, n=1)
    if nearest:
        advice = f"; did you mean {nearest[0]!r}?"
    else:
        names = sorted(known)
        advice = f"; expected one of {', '.join(names)}" if len(names) <= 12 else ""
    return within(place, named_key(key)), f"is unknown{advice}"


def within(place: str, name: str) -> str:
    """The place of ``name`` in the node at ``place``."""
    return f"{place}.{name}" if place else name


def named_key(key: str) -> str:
    """A key for a message; one that looks like a secret, written in the wrong place, is not shown."""
    return key if _PLAIN_KEY.fullmatch(key) and scrubbed(key) == key else "<a key that is no word>"


def shown_name(name: str) -> str:
    """The name of a variable for a message, unless it looks like a secret that was written in its place."""
    return name if _PLAIN_KEY.fullmatch(name) and scrubbed(name) == name else shown(name)


def kind_of(value: object) -> str:
    """What a value is, for a message that does not show it: it may be a secret in the wrong place."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, (int, float)):
        return repr(value) if abs(value) < 1e9 or isinstance(value, float) else "a large number"
    if isinstance(value, str) and not value.strip():
        return "empty"
    return f"of type {type(value).__name__}"
