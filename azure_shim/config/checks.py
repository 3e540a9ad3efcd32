"""Checks of single values of a config. Each takes a value and its place, and returns what is meant by it, or `LOST`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from azure_shim.auth.secrets import shown
from azure_shim.config.reading import LOST, Reading, kind_of, named_key

__all__ = [
    "Check",
    "anything",
    "certificate",
    "flag",
    "header_name",
    "headers",
    "milliseconds",
    "name",
    "nothing_to_guard",
    "number",
    "one_of",
    "parameters",
    "proxy",
    "refused_cache",
    "retry",
    "statuses",
    "tags",
    "texts",
    "visible",
    "whole",
    "word",
]

Check = Callable[[Any, str, Reading], Any]
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_NAME = re.compile(r"[!-~](?:[ -~]{0,98}[!-~])?")
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_RETRY_KEYS = ("attempts", "on_status_codes", "use_retry_after_header")
_MOST_RETRIES = 5  # as the gateway's own


def anything(value: Any, *_: object) -> Any:
    """A value that somebody else checks, or nobody looks at."""
    return value


def word(value: Any, place: str, reading: Reading) -> Any:
    """A str with something in it."""
    if not isinstance(value, str) or not value.strip():
        return _wrong(value, place, reading, "a str")
    return value.strip()


def visible(value: Any, place: str, reading: Reading) -> Any:
    """What a header can carry."""
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        reading.problem(place, "is no value that a header can have; expected a str of visible ASCII characters")
        return LOST
    return value


def header_name(value: Any, place: str, reading: Reading) -> Any:
    """The name of a header."""
    if not isinstance(value, str) or not _HEADER_NAME.fullmatch(value):
        return _wrong(value, place, reading, "the name of a header, such as 'X-Session'")
    return value


def name(value: Any, place: str, reading: Reading) -> Any:
    """The name of a target, which goes into headers and logs."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return _wrong(value, place, reading, "a name of up to 100 ASCII characters, such as 'eastus'")
    return value


def flag(value: Any, place: str, reading: Reading) -> Any:
    """True or False."""
    return value if isinstance(value, bool) else _wrong(value, place, reading, "true or false")


def number(least: float, *, or_equal: bool, expected: str) -> Check:
    """A finite number of at least, or above, ``least``."""

    def check(value: Any, place: str, reading: Reading) -> Any:
        is_one = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e15  # no NaN either
        if is_one and (value > least or (or_equal and value == least)):
            return float(value)
        return _wrong(value, place, reading, expected)

    return check


def milliseconds(value: Any, place: str, reading: Reading) -> Any:
    """A duration as the gateway writes it, in seconds."""
    found = number(0, or_equal=False, expected="milliseconds, a number above 0")(value, place, reading)
    return found if found is LOST else found / 1000


def whole(least: int | None, most: int | None) -> Check:
    """A whole number between two others."""

    def check(value: Any, place: str, reading: Reading) -> Any:
        is_one = isinstance(value, int) and not isinstance(value, bool)
        if is_one and (least is None or value >= least) and (most is None or value <= most):
            return value
        return _wrong(value, place, reading, "a whole number" + (f" from {least} to {most}" if most else ""))

    return check


def one_of(*known: str) -> Check:
    """One of some words."""

    def check(value: Any, place: str, reading: Reading) -> Any:
        if isinstance(value, str) and value in known:
            return value
        what = f"{shown(value)}, which is unknown" if isinstance(value, str) and value.strip() else kind_of(value)
        reading.problem(place, f"is {what}; expected one of {', '.join(map(repr, known))}")
        return LOST

    return check


def statuses(value: Any, place: str, reading: Reading) -> Any:
    """A list of HTTP statuses, as a set."""
    expected = "a list of HTTP statuses, such as [429, 503]"
    if not isinstance(value, (list, tuple, set, frozenset)):
        return _wrong(value, place, reading, expected)
    for status in value:
        if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status <= 599:
            reading.problem(place, f"has something that is {kind_of(status)}; expected {expected}")
            return LOST
    return frozenset(value)


def texts(value: Any, place: str, reading: Reading) -> Any:
    """A list of words."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) and one.strip() for one in value):
        return _wrong(value, place, reading, "a list of str")
    return tuple(value)


def tags(value: Any, place: str, reading: Reading) -> Any:
    """Tags with their values; a bare word, or a list of them, is of tags without a value: ``{"eu": ""}``."""
    listed = (value,) if isinstance(value, str) else value
    if isinstance(listed, (list, tuple)):
        listed = dict.fromkeys(listed, "") if all(isinstance(one, str) for one in listed) else None
    if not isinstance(listed, Mapping) or not all(isinstance(one, str) and one.strip() for one in listed):
        return _wrong(value, place, reading, "tags such as {'zone': 'eu'} or ['eu']")
    found = {key: reading.named(one, f"{place}.{named_key(key)}") for key, one in listed.items()}
    for key, one in found.items():
        if one is not LOST and not isinstance(one, str):
            _wrong(one, f"{place}.{named_key(key)}", reading, "a str")
    return {key: one for key, one in found.items() if isinstance(one, str)}


def headers(value: Any, place: str, reading: Reading) -> Any:
    """Headers; a value may be in the environment."""
    if not isinstance(value, Mapping):
        return _wrong(value, place, reading, "a mapping of header names to values")
    found: dict[str, str] = {}
    for key, given in value.items():
        if not isinstance(key, str) or not _HEADER_NAME.fullmatch(key):
            reading.problem(place, "has a name that no header can have")
            continue
        inner = f"{place}.{named_key(key)}"
        text = reading.named(given, inner)
        # A header that is to sign is there, even where its secret is missing.
        found[key] = "" if text is LOST else visible(text, inner, reading)
    return found


def parameters(value: Any, place: str, reading: Reading) -> Any:
    """What is merged over a JSON body."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return _wrong(value, place, reading, "a mapping of parameters, such as {'model': 'gpt-4'}")
    try:
        json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        reading.problem(place, "has something that JSON has no way to write")
        return LOST
    return dict(value)


def retry(value: Any, place: str, reading: Reading) -> Any:
    """How often a target is tried again before another is."""
    if not isinstance(value, Mapping):
        return _wrong(value, place, reading, "a mapping such as {'attempts': 2}")
    reading.check_names(value, _RETRY_KEYS, place)
    attempts = value.get("attempts")
    if attempts is None:
        reading.problem(place, "needs attempts, a whole number from 0 to 5")
    else:
        attempts = whole(0, _MOST_RETRIES)(attempts, f"{place}.attempts", reading)
    found = {"retries": attempts}
    for key, field, check in (
        ("on_status_codes", "retry_statuses", statuses),
        ("use_retry_after_header", "honours_retry_after", flag),
    ):
        if value.get(key) is not None:
            found[field] = check(value[key], f"{place}.{key}", reading)
    return found


def proxy(value: Any, place: str, reading: Reading) -> Any:
    """A proxy's URL, which may have a password in it, or the library's own object."""
    if not isinstance(value, str):
        return _wrong(value, place, reading, "a URL") if isinstance(value, (bool, int, float, list, dict)) else value
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        reading.problem(place, "is no URL of a proxy; expected one such as 'http://proxy.example:3128'")
        return LOST
    return value


def certificate(value: Any, place: str, reading: Reading) -> Any:
    """A client's certificate: a path, or those of it, its key, and the key's password."""
    parts = value if isinstance(value, (list, tuple)) else (value,)
    if not 1 <= len(parts) <= 3 or not all(isinstance(part, (str, os.PathLike)) for part in parts):
        return _wrong(value, place, reading, "the path of a certificate, or [certificate, key]")
    return tuple(parts) if isinstance(value, list) else value


def nothing_to_guard(value: Any, place: str, reading: Reading) -> Any:
    """The gateway's guardrails, hooks and mutators, which may be there if they are empty."""
    if isinstance(value, (list, tuple, Mapping)) and not value:
        return LOST
    reading.problem(place, "azure_shim has no guardrails, hooks or mutators, and would silently skip these: remove it")
    return LOST


def refused_cache(_: Any, place: str, reading: Reading) -> Any:
    """The gateway's cache."""
    reading.problem(place, "is not supported: azure_shim does not cache answers; remove it")
    return LOST


def _wrong(value: Any, place: str, reading: Reading, expected: str) -> Any:
    reading.problem(place, f"is {kind_of(value)}; expected {expected}")
    return LOST
