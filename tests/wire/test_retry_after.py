"""When to come back and what is left are read in every spelling, and no header breaks the reading (P13, B26)."""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone
from random import Random

import pytest

from azure_shim.wire.retry_after import Limits, limits, retry_after_s

NOW_S = datetime(1994, 11, 6, 8, 49, 7, tzinfo=timezone.utc).timestamp()


def after(value: str | None, now_s: float = NOW_S, name: str = "retry-after") -> float | None:
    return retry_after_s({name: value}.get, now_s, 1e10)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7\t", 7.0),
        ("+7", 7.0),
        ("0", 0.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e2", 100.0),
        ("-3", 0.0),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("250ms", 0.25),
        ("20s", 20.0),
        ("1m30ms", 60.03),
        ("5us", 5e-6),
        ("2000000000ns", 2.0),
        ("5\u00b5s", 5e-6),
        ("5\u03bcs", 5e-6),
        ("-6m0s", 0.0),
        # The three forms of RFC 9110, section 5.6.7, all of one second.
        ("Sun, 06 Nov 1994 08:49:37 GMT", 30.0),
        ("sun, 6 nov 1994 08:49:37 gmt", 30.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 30.0),
        ("Sun Nov  6 08:49:37 1994", 30.0),
        ("Sun, 06 Nov 1994 08:48:60 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("Sun Nov 13 08:49:07 1994", 604800.0),
        ("Sunday, 06-Nov-95 08:49:07 GMT", 365 * 86400.0),
    ],
)
def test_each_spelling_of_retry_after(value: str, seconds: float) -> None:
    assert after(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "  ",
        "nan",
        "inf",
        "-Infinity",
        "1e999",
        "9" * 400,
        "soon",
        "b'5'",
        "1_000",
        "5 s",
        "s",
        "5x",
        "5, x",
        "\u0665",
        "\uff15",
        "\u06f5s",
        "0x10",
        "--5",
        "\ud800",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:37 PST",
        "9" * 250 + "." + "9" * 5 + "h" * 2,
        "9" * 240 + "e99h",
    ],
)
def test_what_cannot_be_read_is_absent(value: str | None) -> None:
    assert after(value) is None


@pytest.mark.parametrize("name", ["retry-after-ms", "x-ms-retry-after-ms"])
@pytest.mark.parametrize(("value", "seconds"), [("2000", 2.0), ("0.5", 0.0005), ("-1", 0.0), ("3s", 3.0)])
def test_milliseconds(name: str, value: str, seconds: float) -> None:
    assert after(value, name=name) == pytest.approx(seconds)


def test_a_date_is_no_number_of_milliseconds() -> None:
    assert after("Sun, 06 Nov 1994 08:49:37 GMT", name="retry-after-ms") is None


def test_milliseconds_come_before_seconds_and_garbage_before_neither() -> None:
    headers = {"retry-after-ms": "1500", "x-ms-retry-after-ms": "2500", "retry-after": "2"}
    assert retry_after_s(headers.get, NOW_S) == 1.5
    headers["retry-after-ms"] = "nan"
    assert retry_after_s(headers.get, NOW_S) == 2.5
    headers["x-ms-retry-after-ms"] = ""
    assert retry_after_s(headers.get, NOW_S) == 2.0


def test_of_a_header_that_came_twice_the_longest_counts() -> None:
    assert after("30, 60") == 60.0
    assert after("1s, 2m") == 120.0
    assert after("30, soon") is None


def test_a_day_is_capped() -> None:
    assert retry_after_s({"retry-after": "86400"}.get, NOW_S) == 3600.0
    assert retry_after_s({"retry-after": "86400"}.get, NOW_S, cap_s=60.0) == 60.0
    assert retry_after_s({"retry-after": "9" * 200}.get, NOW_S) == 3600.0


def test_a_year_of_two_digits_is_at_most_fifty_years_ahead() -> None:
    now_s = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
    assert after("Wednesday, 01-Jan-76 00:00:00 GMT", now_s) == pytest.approx(50 * 365.25 * 86400, abs=86400)
    assert after("Saturday, 01-Jan-77 00:00:00 GMT", now_s) == 0.0
    assert after("Thursday, 01-Jan-26 00:00:09 GMT", now_s) == 9.0


def test_no_text_breaks_the_reading() -> None:
    random = Random(13)
    dates = "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"
    alphabet = "0123456789.+-eEhmsun\u00b5 :,%\t\x00\u0665\uff15\u00b2\ud800kJ\u212a"
    for turn in range(20_000):
        text = "".join(random.choices(alphabet, k=random.randrange(12)))
        if turn % 4 == 0:
            spot = random.randrange(len(dates[turn % 3]))
            text = dates[turn % 3][:spot] + random.choice(alphabet) + dates[turn % 3][spot + 1 :]
        now_s = random.choice((0.0, NOW_S, 1e18, -1e18, math.nan, math.inf))
        seconds = retry_after_s(lambda name, text=text: text, now_s)  # type: ignore[misc]
        assert seconds is None or 0.0 <= seconds <= 3600.0, (text, now_s)
        read = limits(lambda name, text=text: text)  # type: ignore[misc]
        assert read.reset_s is None or 0.0 <= read.reset_s < math.inf
        assert read.is_spent in (True, False)


def test_a_long_text_takes_no_time() -> None:
    started_s = time.perf_counter()
    for text in ("1" * 1_000_000, "1h" * 500_000, " " * 1_000_000, "1h" * 120 + "!"):
        assert after(text) is None
    assert time.perf_counter() - started_s < 0.5


def test_limits_of_a_standard_deployment() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "237",
        "x-ratelimit-remaining-tokens": "239952",
        "x-ratelimit-reset-requests": "10",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert limits(headers.get) == Limits(237, 239952, 360.0, None)
    assert limits({"x-ratelimit-reset-requests": "10"}.get).reset_s == 10.0


def test_limits_of_a_provisioned_deployment() -> None:
    assert limits({"azure-openai-deployment-utilization": "11.2%"}.get) == Limits(utilization=11.2)
    assert limits({"azure-openai-deployment-utilization": " 120 % "}.get).utilization == 120.0


def test_no_limits() -> None:
    assert limits({}.get) == Limits()
    assert limits({"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-tokens": "-5"}.get) == Limits(reset_s=0)


@pytest.mark.parametrize(
    ("left", "is_spent"),
    [
        (Limits(), False),
        (Limits(requests=1, tokens=1, utilization=99.9), False),
        (Limits(requests=0, tokens=1), True),
        (Limits(requests=1, tokens=0), True),
        (Limits(tokens=-4), True),
        (Limits(utilization=100.0), True),
        (Limits(requests=5, utilization=130.0), True),
    ],
)
def test_spent(left: Limits, is_spent: bool) -> None:
    assert left.is_spent is is_spent
