"""When to come back, and what is left: the answer's own word on it, in every spelling that Azure and OpenAI use.

A header is somebody else's text, so nothing here raises: what cannot be read is as good as absent (field notes P13,
B26: ``int()`` broke on ``0.5``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

__all__ = ["NOTHING_SAID", "Limits", "limits", "retry_after_s"]

Get = Callable[[str], str | None]
"""Looks a header up by its lower-case name."""

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
# As Go's time.Duration prints itself, which is how OpenAI writes its resets: 6m0s, 1h2m3.5s, 250ms.
_PART = r"([0-9]+\.?[0-9]*|\.[0-9]+)(h|ms|m|s|us|\u00b5s|\u03bcs|ns)"
_PART_RE = re.compile(_PART, re.ASCII)
_DURATION = re.compile(rf"[-+]?(?:{_PART})+", re.ASCII)
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ns": 1e-9}
# The three forms of RFC 9110, section 5.6.7: IMF-fixdate, RFC 850, asctime. The day of the week says nothing new.
_DATES = tuple(
    re.compile(form.replace("TIME", r"(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)"), re.ASCII | re.IGNORECASE)
    for form in (
        r"[a-z]{3}, (?P<day>\d\d?) (?P<month>[a-z]{3}) (?P<year>\d{4}) TIME (?:GMT|UTC|[-+]0000)",
        r"[a-z]{6,9}, (?P<day>\d\d)-(?P<month>[a-z]{3})-(?P<year>\d\d) TIME (?:GMT|UTC)",
        r"[a-z]{3} (?P<month>[a-z]{3}) (?P<day>[ \d]\d) TIME (?P<year>\d{4})",
    )
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIFTY_YEARS_S = 50 * 365.2425 * 86400
# No sensible value is longer, and to look at longer ones takes time.
_MAX_CHARS = 256


class Limits(NamedTuple):
    """What an answer says is left: of its deployment's quota, or of a provisioned deployment's capacity in percent.

    ``reset_s`` is when both quotas are whole again. None where the answer says nothing.
    """

    requests: int | None = None
    tokens: int | None = None
    reset_s: float | None = None
    utilization: float | None = None

    @property
    def is_spent(self) -> bool:
        """Whether the next request would be refused. Above 100 % a provisioned deployment answers 429."""
        left = (self.requests, self.tokens)
        return any(n is not None and n <= 0 for n in left) or (self.utilization or 0.0) >= 100.0


NOTHING_SAID = Limits()


def retry_after_s(get: Get, now_s: float, cap_s: float = 3600.0) -> float | None:
    """Seconds until a request is welcome again, from 0 to ``cap_s``; None if the answer does not say.

    ``now_s`` is the Unix time that a date is compared with. Milliseconds come first, for whoever sends both rounds the
    seconds up. The cap is for "retry after 86400 seconds", which some quotas say and few mean (P13).
    """
    for name, unit_s in (("retry-after-ms", 1e-3), ("x-ms-retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = _stripped(get(name))
        seconds = _longest_s(text, unit_s)
        if seconds is None and name == "retry-after":
            seconds = _until_s(text, now_s)
        if seconds is not None:
            return min(max(0.0, seconds), cap_s)
    return None


def limits(get: Get) -> Limits:
    """What the headers of an answer say is left; provisioned deployments send only the utilization."""
    resets = [_duration_s(_stripped(get(f"x-ratelimit-reset-{what}")), 1.0) for what in ("requests", "tokens")]
    utilization = _stripped(get("azure-openai-deployment-utilization"))
    return Limits(
        _whole(get("x-ratelimit-remaining-requests")),
        _whole(get("x-ratelimit-remaining-tokens")),
        max((max(0.0, reset) for reset in resets if reset is not None), default=None),
        _number(utilization.removesuffix("%").rstrip()),
    )


def _stripped(text: str | None) -> str:
    text = text or ""
    return text.strip() if len(text) <= _MAX_CHARS else ""


def _number(text: str) -> float | None:
    """A finite number in ASCII digits; `float` alone reads ``nan``, ``1_0`` and the digits of every script."""
    if _NUMBER.fullmatch(text) is None:
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _whole(text: str | None) -> int | None:
    number = _number(_stripped(text))
    return None if number is None else int(number)


def _duration_s(text: str, unit_s: float) -> float | None:
    """A bare number of ``unit_s`` seconds, or a duration that names its own units."""
    number = _number(text)
    if number is not None:
        return number * unit_s
    if _DURATION.fullmatch(text) is None:
        return None
    seconds = sum(float(part[1]) * _UNITS_S[part[2]] for part in _PART_RE.finditer(text))
    return -seconds if text.startswith("-") else seconds


def _longest_s(text: str, unit_s: float) -> float | None:
    """A duration; of several, as of a header that came twice, the longest."""
    found = [_duration_s(part.strip(), unit_s) for part in text.split(",")]
    told = [seconds for seconds in found if seconds is not None]
    return max(told) if len(told) == len(found) else None


def _until_s(text: str, now_s: float) -> float | None:
    """Seconds from ``now_s`` to the HTTP date ``text``; None if it is none."""
    match = next(filter(None, (form.fullmatch(text) for form in _DATES)), None)
    if match is None or match["month"].lower() not in _MONTHS:
        return None
    year = int(match["year"])
    at_s = _unix_s(match, year if len(match["year"]) == 4 else 2000 + year)
    # A year of two digits is never more than fifty years ahead (RFC 9110, section 5.6.7).
    if at_s is not None and len(match["year"]) == 2 and at_s > now_s + _FIFTY_YEARS_S:
        at_s = _unix_s(match, 1900 + year)
    return None if at_s is None or not math.isfinite(now_s) else at_s - now_s


def _unix_s(match: re.Match[str], year: int) -> float | None:
    day, hour, minute, second = (int(match[part]) for part in ("day", "h", "m", "s"))
    second = min(second, 59) if second <= 60 else second  # the grammar has leap seconds, datetime has not
    try:
        month = 1 + _MONTHS.index(match["month"].lower())
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
