"""One call through several targets: who is asked, in which order, and what the caller gets, whatever comes of it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from email.utils import formatdate
from random import Random
from typing import Any

import httpx
import pytest

from azure_shim.plan import Branch, Condition, Group
from azure_shim.routing.fleet import Fleet, Wishes
from azure_shim.routing.health import MAX_COOLDOWN_S
from azure_shim.values import Answered, Asked, Credential, Pause, Send
from tests.routing.trips import (
    CHAT,
    GENERATE,
    IMAGE,
    STREAM,
    TOKENS,
    WALL,
    Clock,
    Down,
    Reply,
    Run,
    balance,
    call,
    events,
    fallback,
    fleet,
    get,
    key_of,
    openai,
    target,
)

FILTERED = {"error": {"code": "content_filter", "message": "filtered", "innererror": {"code": "x"}}}
MISSING = {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}
NO_RESPONSE = {"error": {"code": "previous_response_not_found", "message": "no"}}
NEW_RESPONSE = b'{"model":"gpt-4o","input":"x"}'
FOLLOW_UP = b'{"model":"gpt-4o","input":"x","previous_response_id":"resp_1234"}'


def ok() -> Reply:
    return Reply()


def limited(seconds: float | str | None = None, **fields: Any) -> Reply:
    return Reply(429, **({} if seconds is None else {"retry_after": str(seconds)}), **fields)


def pair(**fields: Any) -> Fleet:
    """East first, then west."""
    return fleet(fallback(target("east"), target("west")), **fields)


def park(to: Fleet, name: str, seconds: float | None, cools: str = "deployment") -> None:
    """Let a target cool down for as long as it said, or for as long as we guess."""
    site = to.by_name[name]
    to.health.went_wrong(
        site.at, "gpt-4o", to.clock(), cools=cools, is_fault=False, told_s=seconds, reason="rate limited"
    )


# -- one after the other (points 1 and 2)


def test_the_first_target_serves_and_nobody_else_is_asked() -> None:
    to = pair()
    run = Run(to, call(), {"east": [ok()]})

    assert (run.names, run.status, run.served_by) == (["east"], 200, "east")
    (send,) = run.sends
    assert send.address.url == "https://east.openai.azure.com/openai/v1/chat/completions"
    assert tuple(send.credential) == ((b"api-key", key_of("east")),)
    assert [(a.target, a.status, a.reason) for a in run.trip.attempts] == [("east", 200, "served")]
    assert to.health.load(0) == 1, "the answer is still being read"
    run.trip.leave()
    assert to.health.load(0) == 0


@pytest.mark.parametrize(
    ("does", "cools"),
    [
        (limited(20), "deployment"),
        (Reply(503), "deployment"),
        (Reply(500), None),
        (Reply(502, chunks=[b"<html>bad gateway"], kind="text/html"), None),
        (Reply(504), None),
        (Reply(408), None),
        (Reply(401), "credential"),
        (Reply(403), "credential"),
        (Reply(404, MISSING), None),
        (Down(httpx.ConnectError), "resource"),
        (Down(httpx.ConnectTimeout), "resource"),
        (Down(httpx.ReadError), "resource"),
        (Down(httpx.ReadTimeout), None),
        (Down(httpx.RemoteProtocolError), "resource"),
        (Down(httpx.PoolTimeout), None),
        (Reply(chunks=[b'{"id":'], breaks=httpx.ReadError("cut")), None),
        (Reply(chunks=[b"<html>sign in"], kind="text/html"), None),
        (events(b'data: {"error":{"code":"server_error","message":"x"}}\n\n'), None),
        (events(b'data: {"error":{"code":"429","message":"x"}}\n\n'), "deployment"),
        (events(b": keep-alive\n\n"), None),
        (events(b'data: {"choices":[]}\n\n', breaks=httpx.ReadError("cut")), None),
    ],
    ids=lambda value: repr(value) if isinstance(value, (Reply, Down)) else None,
)
def test_what_another_target_can_cure_moves_on(does: Reply | Down, cools: str | None) -> None:
    to = pair()
    run = Run(to, call(), {"east": [does], "west": [ok()]})
    assert (run.names, run.status, run.served_by) == (["east", "west"], 200, "west")
    assert isinstance(run.result, Answered)
    assert run.result.response.chunks == ok().chunks
    now, health = to.clock(), to.health
    assert (health.state(0, "gpt-4o", now).until > now) == (cools is not None)
    assert (health.state(0, "other", now).until > now) == (cools in ("resource", "credential"))
    assert (run.trip.attempts[0].cooled_s > 0) == (cools is not None)
    run.trip.leave()
    assert (health.load(0), health.load(1)) == (0, 0)


@pytest.mark.parametrize(
    "does",
    [
        Reply(400),
        Reply(400, FILTERED),
        Reply(404),
        Reply(404, {"statusCode": 404, "message": "Resource not found"}),
        Reply(409),
        Reply(413),
        Reply(422),
        Reply(424),
    ],
)
def test_what_the_request_itself_caused_is_the_caller_s_at_once(does: Reply) -> None:
    to = pair()
    run = Run(to, call(), {"east": [does]})
    assert run.names == ["east"]
    assert isinstance(run.result, Answered)
    assert run.result.response is does
    assert run.trip.retry_s is None
    assert to.health.state(0, "gpt-4o", to.clock()).until == 0.0, "it cools nothing"
    assert to.health.load(0) == 0


def test_each_attempt_has_its_own_target_s_url_credential_headers_and_body() -> None:
    """Field notes B9 and P41: nothing of one attempt is left in the next."""
    east = target("east", "2024-10-21", deployments={"gpt-4o": "dep-east"}, headers={"X-Team": "e"})
    west = target("west", deployments={"gpt-4o": "dep-west"}, headers={"X-Other": "w"})
    run = Run(fleet(fallback(east, west)), call(headers=[(b"x-team", b"mine")]), {"east": [Reply(500)], "west": [ok()]})
    first, second = run.sends
    assert first.address.url.endswith("/openai/deployments/dep-east/chat/completions?api-version=2024-10-21")
    assert (tuple(first.credential), first.body) == (((b"api-key", key_of("east")),), None)
    assert first.headers == [(b"X-Team", b"e")]
    assert second.address.url == "https://west.openai.azure.com/openai/v1/chat/completions"
    assert tuple(second.credential) == ((b"api-key", key_of("west")),)
    assert second.headers == [(b"x-team", b"mine"), (b"X-Other", b"w")]
    assert second.body is not None
    assert json.loads(b"".join(second.body.chunks))["model"] == "dep-west"


def test_a_target_that_does_not_serve_the_model_is_never_asked() -> None:
    east = target("east", deployments={"o3": "o3"}, unmapped="error")
    run = Run(fleet(fallback(east, target("west"))), call(), {"west": [ok()]})
    assert run.names == ["west"]
    assert [a.target for a in run.trip.attempts] == ["west"]


@pytest.mark.parametrize("grouped", [fallback, balance])
def test_where_nobody_serves_the_model_the_error_lists_who_has_what(grouped: Any) -> None:
    """Field note P40."""
    east = target("east", deployments={"o3": "x", "o4-mini": "y"}, unmapped="error")
    west = target("west", deployments={"gpt-5": "z"}, unmapped="error")
    run = Run(fleet(grouped(east, west)), call())
    assert run.effects == []
    assert run.refusal.status == 404
    assert run.refusal.retry_after_s is None
    for word in ("east", "west", "o3", "o4-mini", "gpt-5", "gpt-4o"):
        assert word in run.refusal.message


def test_where_the_targets_cannot_serve_for_different_reasons_all_are_told() -> None:
    east = target("east", deployments={"o3": "x"}, unmapped="error")
    run = Run(fleet(fallback(east, openai())), call(b'{"model":"gpt-4o","messages":[],"data_sources":[]}'))
    assert run.effects == []
    assert "data_sources" in run.refusal.message
    assert "o3" in run.refusal.message


def test_a_call_that_no_target_can_name_a_model_for_has_the_one_reason() -> None:
    to = fleet(fallback(target("east", "2024-10-21"), target("west", "2024-10-21")))
    run = Run(to, call(b'{"messages":[]}'))
    assert (run.effects, run.refusal.status, run.refusal.code) == ([], 400, "ModelMissing")


def test_no_condition_that_fits_is_a_refusal_without_any_http() -> None:
    by_plan = Group(
        "conditional", (Branch(target("east"), name="e"),), conditions=(Condition({"metadata.a": "b"}, "e"),)
    )
    run = Run(fleet(by_plan), call())
    assert (run.effects, run.refusal.code) == ([], "NoTarget")
    fits = Run(fleet(by_plan), call(), {"east": [ok()]}, wishes=Wishes(metadata='{"a":"b"}'))
    assert fits.names == ["east"]


def test_a_balanced_group_fails_over_inside_itself_before_the_next_tier() -> None:
    tiers = fallback(balance(target("east"), target("west")), openai())
    run = Run(fleet(tiers), call(), {"east": [limited(5)], "west": [limited(5)], "openai": [ok()]})
    assert sorted(run.names[:2]) == ["east", "west"]
    assert run.names[2] == "openai"


def test_a_deployment_that_is_missing_in_one_region_does_not_hide_that_the_other_is_throttled() -> None:
    """Whoever does not serve the model is no candidate (point 1): the SDK retries a 429, and no 404."""
    run = Run(pair(), call(), {"east": [limited(7)], "west": [Reply(404, MISSING)]})
    assert run.names == ["east", "west"]
    assert run.status == 429


def test_a_deployment_that_is_missing_is_not_asked_for_first_again_at_once() -> None:
    to = pair()
    Run(to, call(), {"east": [Reply(404, MISSING)], "west": [ok()]})
    assert Run(to, call(), {"west": [ok()]}).names == ["west"]
    everywhere = Run(pair(), call(), {"east": [Reply(404, MISSING)], "west": [Reply(404, MISSING)]})
    assert (everywhere.names, everywhere.status) == (["east", "west"], 404)


# -- lists of statuses


def test_a_list_of_statuses_is_obeyed_as_written() -> None:
    to = fleet(fallback(target("east"), target("west"), on_status_codes=frozenset((429,))))
    kept = Reply(500)
    run = Run(to, call(), {"east": [kept]})
    assert run.names == ["east"]
    assert run.result.response is kept

    to = fleet(fallback(target("east"), target("west"), on_status_codes=frozenset((404, 422))))
    assert Run(to, call(), {"east": [Reply(422)], "west": [ok()]}).names == ["east", "west"]


@pytest.mark.parametrize(
    "does",
    [
        Down(),
        events(b'data: {"error":{"code":"server_error","message":"x"}}\n\n'),
        Reply(chunks=[b'{"id":'], breaks=httpx.ReadError("cut")),
    ],
    ids=["connect", "error event", "cut"],
)
def test_what_has_no_status_moves_on_in_spite_of_a_list(does: Reply | Down) -> None:
    """A 200 whose first event is an error was none (P37): no list of statuses speaks of it."""
    to = fleet(fallback(target("east"), target("west"), on_status_codes=frozenset((429, 500))))
    assert Run(to, call(), {"east": [does], "west": [ok()]}).names == ["east", "west"]


def test_a_list_of_statuses_is_obeyed_by_targets_that_were_put_off_too() -> None:
    to = fleet(fallback(target("east"), target("west"), on_status_codes=frozenset((429,))))
    for at in (0, 1):
        to.health.spend(at, "gpt-4o", to.clock(), 5.0)
    run = Run(to, call(), {"east": [Reply(500)], "west": [ok()]})
    assert (run.names, run.status) == (["east"], 500)


# -- attempts (P34, B24)


def test_explicit_attempts_bound_one_run() -> None:
    to = fleet(fallback(target("a"), target("b"), target("c")), attempts=2)
    last = Reply(500)
    run = Run(to, call(), {"a": [Reply(500)], "b": [last]})
    assert run.names == ["a", "b"]
    assert run.result.response is last


@pytest.mark.parametrize("attempts", [1, 2, 3, 4, 7, None])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("retries", [0, 1])
def test_attempts_are_bounded_over_the_sdk_s_retries(attempts: int | None, count: int, retries: int) -> None:
    """The sum of what every run of a call sends, if the SDK retries ten times and nobody ever serves.

    Without a number each target is asked once, and each retry of the SDK's, which its caller bounds, adds two.
    """
    tried = [target(f"t{number}", retries=retries) for number in range(count)]
    to = fleet(fallback(*tried), attempts=attempts)
    sent = [len(Run(to, call(retry=retry), lambda *_: Reply(500)).sends) for retry in range(11)]
    once = count + count * retries
    assert sum(sent) <= (once + 2 * 10 if attempts is None else attempts), sent
    assert max(sent[1:]) <= 2 or attempts is not None
    assert sent[0] >= min(count, attempts or count), "the first run asks everybody, if it may"


def test_attempts_that_are_used_up_are_an_error_that_is_not_retried() -> None:
    run = Run(pair(attempts=2), call(retry=2))
    assert run.sends == []
    assert (run.refusal.status, run.refusal.code) == (503, "AttemptsExhausted")
    assert run.refusal.retry_after_s is None
    assert "2" in run.refusal.message


def test_what_is_parked_uses_up_no_attempt() -> None:
    to = fleet(fallback(target("a"), target("b"), target("c")), attempts=1)
    park(to, "a", 30)
    park(to, "b", 30)
    assert Run(to, call(), {"c": [ok()]}).served_by == "c"


# -- pins (point 7) and residency (P50)


def test_a_pin_is_obeyed_by_name_and_moves_nowhere() -> None:
    to = pair()
    assert Run(to, call(), {"west": [ok()]}, wishes=Wishes(pin="west")).names == ["west"]
    run = Run(to, call(), {"west": [limited(9)]}, wishes=Wishes(pin="west"))
    assert (run.names, run.status) == (["west"], 429)
    parked = Run(to, call(), {"west": [ok()]}, wishes=Wishes(pin="west"))
    assert parked.names == ["west"], "a lone target is never parked for nothing"


def test_an_unknown_pin_is_refused_with_the_names_that_there_are() -> None:
    run = Run(pair(), call(), wishes=Wishes(pin="north"))
    assert (run.effects, run.refusal.status, run.refusal.code) == ([], 400, "UnknownTarget")
    assert "'east', 'west'" in run.refusal.message


def test_a_pin_to_a_target_without_the_model_says_so() -> None:
    to = fleet(fallback(target("east", deployments={"o3": "x"}, unmapped="error"), target("west")))
    run = Run(to, call(), wishes=Wishes(pin="east"))
    assert run.sends == []
    assert "'east' has no 'gpt-4o'" in run.refusal.message


def bounded(**rules: Any) -> Fleet:
    return fleet(
        fallback(
            target("us", tags={"zone": "us"}),
            target("eu1", tags={"zone": "eu", "tier": "ptu"}),
            target("eu2", tags={"zone": "eu"}),
            openai(),
        ),
        **rules,
    )


@pytest.mark.parametrize("header", [False, True])
def test_no_byte_leaves_the_residency_whatever_happens_inside(header: bool) -> None:
    to = bounded(**({} if header else {"residency": {"zone": "eu"}}))
    wishes = Wishes(residency="zone=eu" if header else None)
    inside = {"eu1", "eu2"}
    fails: list[Any] = [Down, lambda: Reply(500), lambda: limited(30), lambda: Reply(401), lambda: limited(30)]
    for fail in fails * 2:
        run = Run(to, call(), lambda *_, fail=fail: fail(), wishes=wishes)
        assert set(run.names) <= inside
        assert run.served_by is None
        assert run.status != 200


def test_a_call_may_narrow_the_residency_and_not_leave_it() -> None:
    to = bounded(residency={"zone": "eu"})
    assert Run(to, call(), {"eu1": [ok()]}, wishes=Wishes(residency="tier=ptu")).names == ["eu1"]
    assert Run(to, call(), {"eu1": [ok()]}, wishes=Wishes(residency=" zone = eu , tier=ptu ")).names == ["eu1"]
    for wish in ("zone=us", "tier=ptu, zone=us", "zone"):
        run = Run(to, call(), wishes=Wishes(residency=wish))
        assert (run.effects, run.refusal.status, run.refusal.code) == ([], 403, "OutsideResidency")


def test_a_header_that_contradicts_itself_or_fits_nobody_is_refused() -> None:
    for wish in ("zone=eu,zone=us", "zone=mars", "nowhere"):
        run = Run(bounded(), call(), wishes=Wishes(residency=wish))
        assert (run.effects, run.refusal.status) == ([], 403)


def test_a_tag_without_a_value_is_a_rule_too() -> None:
    to = fleet(fallback(target("us"), target("eu", tags={"gdpr": ""})))
    assert Run(to, call(), {"eu": [ok()]}, wishes=Wishes(residency="gdpr")).names == ["eu"]


def test_neither_a_pin_nor_a_stored_thing_leads_out_of_the_residency() -> None:
    to = bounded(residency={"zone": "eu"})
    run = Run(to, call(), wishes=Wishes(pin="us"))
    assert (run.effects, run.refusal.status) == ([], 403)
    to.homes.saw("file-1234", "us")
    run = Run(to, get("/v1/files/file-1234"))
    assert (run.effects, run.refusal.status) == ([], 403)


def test_the_content_filter_s_target_has_to_be_within_the_residency() -> None:
    to = bounded(residency={"zone": "eu"}, content_filter="us")
    kept = Reply(400, FILTERED)
    run = Run(to, call(), {"eu1": [kept]})
    assert run.names == ["eu1"]
    assert run.result.response is kept


# -- cooling down (point 4 and 5, P13, P14)


def test_a_target_that_named_a_time_gets_nothing_until_then_and_one_probe_after() -> None:
    """Field note P7."""
    clock = Clock()
    to = pair(clock=clock)
    Run(to, call(), {"east": [limited(20)], "west": [ok()]})
    clock.now += 19.99
    assert Run(to, call(), {"west": [ok()]}).names == ["west"]
    clock.now += 2.02
    probe = Run(to, call(), {"east": [ok()]}, stepwise=True)
    assert isinstance(probe.step(), Send)
    assert probe.names == ["east"]
    assert Run(to, call(), {"west": [ok()]}).names == ["west"], "one probe at a time"
    probe.step()
    assert Run(to, call(), {"east": [ok()]}).names == ["east"]


def test_a_429_cools_one_deployment_and_the_others_go_on() -> None:
    """Field note P35."""
    to = pair()
    Run(to, call(), {"east": [limited(20)], "west": [ok()]})
    other = call(b'{"model":"o3","messages":[]}')
    assert Run(to, other, {"east": [ok()]}).names == ["east"]
    Run(to, other, {"east": [Down()], "west": [ok()]})
    assert Run(to, call(b'{"model":"o1"}'), {"west": [ok()]}).names == ["west"]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "20"}, 20.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "6m0s"}, 360.0),
        ({"retry_after_ms": "1500", "retry_after": "2"}, 1.5),
        ({"x_ms_retry_after_ms": "2500"}, 2.5),
        ({"retry_after": formatdate(WALL + 1000 + 40, usegmt=True)}, 40.0),
        ({"retry_after": "86400"}, MAX_COOLDOWN_S),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_in_every_spelling(headers: dict[str, str], seconds: float, status: int) -> None:
    to = pair()
    run = Run(to, call(), {"east": [Reply(status, **headers)], "west": [ok()]})
    cooled = run.trip.attempts[0].cooled_s
    assert seconds <= cooled + 1e-6
    assert cooled <= min(seconds * 1.1 + 1e-6, MAX_COOLDOWN_S)
    assert to.health.state(0, "gpt-4o", to.clock()).told


@pytest.mark.parametrize("text", ["", "soon", "-5", "nan", "1e400", "99999999999999999999", "0x10", "Mon, 99 Foo"])
def test_an_absurd_retry_after_breaks_nothing_and_parks_nobody_for_good(text: str) -> None:
    run = Run(pair(), call(), {"east": [Reply(429, retry_after=text)], "west": [ok()]})
    assert run.served_by == "west"
    assert 0 <= run.trip.attempts[0].cooled_s <= MAX_COOLDOWN_S


def test_with_all_targets_parked_the_answer_is_a_429_that_says_when_and_nothing_is_sent() -> None:
    to = pair()
    park(to, "east", 30)
    park(to, "west", 12)
    run = Run(to, call())
    assert run.sends == []
    refusal = run.refusal
    assert (refusal.status, refusal.code) == (429, "429")
    assert refusal.retry_after_s is not None
    assert 12 <= refusal.retry_after_s <= 12 * 1.1
    assert run.trip.retry_s == refusal.retry_after_s
    assert "east, west" in refusal.message
    assert "retry after" in refusal.message


def test_a_target_that_does_not_serve_the_model_does_not_make_a_lone_one_two() -> None:
    to = fleet(fallback(target("east", deployments={"o3": "x"}, unmapped="error"), target("west")))
    park(to, "west", 30)
    assert Run(to, call(), {"west": [ok()]}).names == ["west"]


@pytest.mark.parametrize("cools", ["deployment", "resource", "credential"])
@pytest.mark.parametrize("told", [None, 600.0])
def test_a_lone_target_is_always_asked(cools: str, told: float | None) -> None:
    to = fleet(balance(target("east")))
    for _ in range(5):
        park(to, "east", told, cools)
    assert Run(to, call(), {"east": [ok()]}).served_by == "east"
    inside = bounded(residency={"zone": "us"})
    park(inside, "us", told, cools)
    assert Run(inside, call(), {"us": [ok()]}).served_by == "us"


def test_a_cool_down_that_is_a_guess_is_asked_when_nobody_else_is_left() -> None:
    to = fleet(fallback(target("a"), target("b"), target("c")))
    park(to, "a", 30)
    for _ in range(3):
        park(to, "b", None)
    park(to, "c", None)
    run = Run(to, call(), {"c": [Reply(500)], "b": [ok()]})
    assert run.names == ["c", "b"], "the one that recovers first comes first; who named a time is left alone"


def test_a_guess_is_asked_as_well_after_all_others_have_failed() -> None:
    """Nothing is lost while one target is healthy (point 14), and east may be it."""
    for fails in (Reply(500), Down(), limited(30)):
        to = pair()
        park(to, "east", None, "resource")
        run = Run(to, call(), {"west": [fails], "east": [ok()]})
        assert run.names == ["west", "east"]
        assert run.status == 200


def test_who_has_recovered_while_another_was_asked_is_asked_then_or_named_as_the_soonest() -> None:
    clock = Clock()
    to = pair(clock=clock)
    park(to, "east", 1)
    run = Run(to, call(), {"west": [limited(50, after_s=2.0)], "east": [ok()]})
    assert run.status == 200 or (run.trip.retry_s is not None and run.trip.retry_s <= 1)


def test_a_circuit_that_the_error_rate_opened_is_our_guess_too() -> None:
    """Nobody but the service itself can say that a call would be in vain."""
    to = pair()
    for at in (0, 1):
        for _ in range(20):
            to.health.went_wrong(at, "gpt-4o", to.clock(), cools=None, is_fault=True, told_s=None, reason="x")
        assert to.health.state(at, "gpt-4o", to.clock()).until > to.clock()
    run = Run(to, call(), {"east": [ok()], "west": [ok()]})
    assert run.status == 200


def test_while_a_probe_is_on_its_way_nobody_is_told_to_come_back_in_a_minute() -> None:
    """All down (point 5): the headers say the soonest recovery, and that is when the probe is back."""
    clock = Clock()
    to = pair(clock=clock)
    park(to, "east", 1)
    park(to, "west", 1)
    clock.now += 2
    probes = [Run(to, call(), {"east": [ok()], "west": [ok()]}, stepwise=True) for _ in range(2)]
    assert [probe.step() is not None and probe.names for probe in probes] == [["east"], ["west"]]
    third = Run(to, call(), lambda *_: ok())
    assert third.status == 200 or (third.refusal.retry_after_s or 0) <= 5


def test_last_answers_are_the_last_real_one_and_its_own_words() -> None:
    last = limited(40, body={"error": {"code": "429", "message": "second"}})
    run = Run(pair(), call(), {"east": [limited(9)], "west": [last]})
    assert run.result.response is last
    assert run.trip.retry_s is not None
    assert 9 <= run.trip.retry_s <= 9.9, "the soonest recovery, which is the other's"


def test_an_answer_is_worth_more_than_an_error_without_one() -> None:
    """All down (point 5): the last real response, with its body and request id."""
    kept = Reply(500)
    run = Run(pair(), call(), {"east": [kept], "west": [Down()]})
    assert run.names == ["east", "west"]
    assert isinstance(run.result, Answered), run.result
    assert run.result.response is kept


def test_nobody_waits_for_a_parked_target_while_another_is_free() -> None:
    """East failed but is not parked: the soonest recovery is now, whatever west's Retry-After says."""
    run = Run(pair(), call(), {"east": [Reply(500)], "west": [limited(55)]})
    assert run.status == 429
    assert run.trip.retry_s is not None
    assert run.trip.retry_s <= 1


def test_errors_without_any_answer_are_the_caller_s_own() -> None:
    run = Run(pair(), call(), {"east": [Down(httpx.ConnectError)], "west": [Down(httpx.ReadTimeout)]})
    assert isinstance(run.error, httpx.TransportError)
    assert [(a.status, a.reason) for a in run.trip.attempts] == [(None, "connect failed"), (None, "read timed out")]


def test_headers_that_say_that_a_limit_is_used_up_steer_the_next_call_away() -> None:
    clock = Clock()
    to = pair(clock=clock)
    spent = Reply(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="4s")
    assert Run(to, call(), {"east": [spent]}).status == 200
    assert Run(to, call(), {"west": [ok()]}).names == ["west"]
    assert Run(to, call(b'{"model":"o3"}'), {"east": [ok()]}).names == ["east"]
    fails = Run(to, call(), {"west": [Reply(500)], "east": [ok()]})
    assert fails.names == ["west", "east"], "it is put off, not out"
    clock.now += 4.1
    assert Run(to, call(), {"east": [Reply(x_ratelimit_remaining_requests="9")]}).names == ["east"]


# -- waiting


def test_exhausted_and_told_to_wait_it_pauses_and_then_serves() -> None:
    to = pair(on_exhausted="wait")
    park(to, "east", 30)
    park(to, "west", 8)
    run = Run(to, call(limit_s=60.0), {"west": [ok()]})
    assert run.effects[:2] == ["Pause", "Send"]
    assert 8 <= run.pauses[0] <= 8.8
    assert (run.names, run.status) == (["west"], 200)
    assert run.trip.attempts[0].wait_s == pytest.approx(run.pauses[0])


@pytest.mark.parametrize("attempts", [None, 6])
def test_it_waits_as_well_for_what_it_has_found_out_itself(attempts: int | None) -> None:
    to = pair(on_exhausted="wait", attempts=attempts)
    run = Run(to, call(limit_s=60.0), {"east": [limited(5), ok()], "west": [limited(20)]})
    assert run.names == ["east", "west", "east"]
    assert run.status == 200


def test_it_never_waits_beyond_its_caller_s_limit() -> None:
    clock = Clock()
    to = pair(on_exhausted="wait", clock=clock)
    park(to, "east", 30)
    park(to, "west", 8)
    run = Run(to, call(limit_s=8.0))
    assert (run.pauses, run.sends) == ([], [])
    assert run.refusal.status == 429
    assert clock.now == 1000.0

    to = pair(on_exhausted="wait", clock=clock)
    run = Run(to, call(limit_s=60.0), lambda *_: limited(7))
    assert run.status == 429
    assert clock.now < 1060.0
    assert len(run.sends) > 2


def test_it_asks_less_and_less_often_where_nobody_says_when_to_come_again() -> None:
    to = pair(on_exhausted="wait")
    run = Run(to, call(limit_s=10.0), lambda *_: Reply(500))
    assert run.pauses[:3] == [0.5, 1.0, 2.0]
    assert len(run.sends) <= 16, "each may have run, and be paid for"
    assert run.status == 500

    short = Run(pair(on_exhausted="wait"), call(limit_s=0.4), lambda *_: Reply(500))
    assert short.pauses == [pytest.approx(0.2)]

    clock = Clock()
    begun = clock.now
    run = Run(
        pair(on_exhausted="wait", clock=clock),
        call(limit_s=5.0),
        lambda name, _: ok() if name == "west" and clock.now > begun + 1.2 else Reply(502),
    )
    assert (run.status, run.served_by) == (200, "west")
    assert clock.now < begun + 2


def test_it_waits_for_the_probe_of_another_call_and_is_served_after_it() -> None:
    """Two calls wait for the same recovery: the second one's turn comes when the first one's probe is back."""
    clock = Clock()
    to = pair(on_exhausted="wait", clock=clock)
    park(to, "east", 2)
    park(to, "west", 600)
    first, second = (Run(to, call(limit_s=30.0), {"east": [ok()]}, stepwise=True) for _ in range(2))
    pause = first.step()
    assert isinstance(pause, Pause)
    assert isinstance(second.step(), Pause)
    clock.now += pause.seconds
    assert isinstance(first.resume(), Send)
    at = second.resume()
    assert isinstance(at, Pause), (at, second.result)
    first.step()
    assert first.status == 200
    while not second.is_done:
        second.step()
    assert second.status == 200
    assert clock.now < 1030.0


def test_a_call_that_may_wait_holds_for_its_first_tier_before_it_overflows() -> None:
    """Provisioned throughput first, pay-as-you-go as overflow (P51)."""

    def tiers() -> Fleet:
        return fleet(fallback(target("ptu"), target("paygo"), wait_s=3.0))

    to = tiers()
    park(to, "ptu", 2)
    run = Run(to, call(), {"ptu": [ok()]})
    assert run.effects[0] == "Pause"
    assert run.names == ["ptu"]

    to = tiers()
    park(to, "ptu", 5)
    run = Run(to, call(), {"paygo": [ok()]})
    assert (run.pauses, run.names) == ([], ["paygo"])

    run = Run(tiers(), call(limit_s=1.0), {"ptu": [limited(2)], "paygo": [ok()]})
    assert (run.pauses, run.names) == ([], ["ptu", "paygo"]), "a wait that would outlive the caller is none"

    assert Run(tiers(), call(), {"ptu": [Reply(500)], "paygo": [ok()]}).pauses == []


def test_who_held_in_vain_overflows_all_the_same() -> None:
    to = fleet(fallback(target("ptu"), target("paygo"), wait_s=3.0))
    run = Run(to, call(), {"ptu": [limited(1), limited(1)], "paygo": [ok()]})
    assert run.names == ["ptu", "ptu", "paygo"]
    assert run.status == 200


# -- deadlines


def limits(run: Run, limit_s: float) -> list[float]:
    """How long each attempt might wait for its head, of a caller that waits for ``limit_s``."""
    return [min(limit_s, send.limit_s or limit_s, send.head_s or limit_s) for send in run.sends]


def test_one_deadline_is_over_all_attempts() -> None:
    clock = Clock()
    to = fleet(fallback(target("a"), target("b"), target("c")), clock)
    slow = [Reply(500, after_s=4.0), Reply(500, after_s=7.0)]
    run = Run(to, call(limit_s=10.0), {"a": slow[:1], "b": slow[1:]})
    assert run.names == ["a", "b"]
    assert run.result.response is slow[1]
    assert limits(run, 10.0) == [pytest.approx(10.0), pytest.approx(6.0)]


def test_a_wait_counts_against_the_deadline() -> None:
    to = pair(on_exhausted="wait")
    park(to, "east", 40)
    park(to, "west", 40)
    run = Run(to, call(limit_s=60.0), lambda *_: ok())
    assert run.sends[0].limit_s == pytest.approx(60.0 - run.pauses[0])

    to = fleet(fallback(target("ptu"), target("paygo"), wait_s=30.0))
    park(to, "ptu", 20)
    run = Run(to, call(limit_s=60.0), {"ptu": [ok()]})
    assert run.sends[0].limit_s == pytest.approx(60.0 - run.pauses[0])


def test_a_credential_that_takes_all_of_the_time_is_a_timeout() -> None:
    clock = Clock()

    def provider() -> str:
        raise AssertionError("the machine asks, it never calls")

    slow = Credential("the provider", is_token=True, provider=provider)
    to = fleet(fallback(target("east", credential=slow), target("west")), clock)

    def asked(_: Any) -> Asked:
        clock.now += 11.0
        return Asked(error=RuntimeError("no token"))

    run = Run(to, call(limit_s=10.0), asked=asked)
    assert run.sends == []
    assert run.served_by is None


def test_a_stream_that_can_move_gives_a_target_half_of_what_is_left() -> None:
    clock = Clock()
    to = fleet(fallback(target("a"), target("b"), target("c")), clock)
    stall = Down(httpx.ReadTimeout, after_s=30.0)
    run = Run(to, call(STREAM, limit_s=60.0), {"a": [stall], "b": [Down()], "c": [events(*TOKENS)]})
    assert limits(run, 60.0) == [pytest.approx(30.0), pytest.approx(15.0), pytest.approx(30.0)]
    whole = Run(pair(), call(limit_s=60.0), {"east": [ok()]})
    assert limits(whole, 60.0) == [pytest.approx(60.0)]
    last = Run(pair(), call(STREAM, limit_s=60.0), {"west": [events(*TOKENS)]}, wishes=Wishes(pin="west"))
    assert limits(last, 60.0) == [pytest.approx(60.0)]


def test_a_stream_that_stalls_before_its_first_token_moves_on_in_time() -> None:
    clock = Clock()
    role = {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    stalls = events(role, after_s=4.0, stalls=True)
    run = Run(pair(clock=clock), call(STREAM, limit_s=60.0), {"east": [stalls], "west": [events(*TOKENS)]})
    assert (run.names, run.status) == (["east", "west"], 200)
    assert clock.now == pytest.approx(1030.0), "the head came in time, and the token did not"
    assert run.trip.attempts[0].status in (None, 200)


def test_a_target_s_own_timeout_bounds_it_and_never_the_others() -> None:
    to = fleet(fallback(target("a", timeout_s=2.0), target("b", timeout_s=500.0)))
    run = Run(to, call(limit_s=60.0), {"a": [Down(httpx.ReadTimeout, after_s=2.0)], "b": [ok()]})
    assert [send.limit_s for send in run.sends] == [pytest.approx(2.0), pytest.approx(58.0)]
    assert Run(to, call(), {"a": [ok()]}, wishes=Wishes(pin="a")).sends[0].limit_s == 2.0


# -- what may be sent again (point 3)

RAN = [
    Reply(500),
    Reply(502),
    Reply(504),
    Reply(408),
    Down(httpx.ReadTimeout),
    Down(httpx.ReadError),
    Reply(chunks=[b"<html>"], kind="text/html"),
]
DID_NOT = [limited(1), Reply(503), Reply(401), Reply(403), Reply(404, MISSING), Down(httpx.ConnectError)]


@pytest.mark.parametrize("does", RAN, ids=repr)
@pytest.mark.parametrize(
    ("given", "policy", "again"),
    [
        (call(), "safe", True),
        (call(), "never", False),
        (call(), "always", True),
        (call(b'{"model":"e","input":"x"}', "/v1/embeddings"), "safe", True),
        (call(IMAGE, GENERATE), "safe", False),
        (call(IMAGE, GENERATE), "always", True),
        (call(b'{"model":"gpt-4o","input":"x"}', "/v1/responses"), "safe", False),
        (call(b'{"model":"gpt-4o","input":"x","store":false}', "/v1/responses"), "safe", True),
        (call(b'{"model":"gpt-4o","messages":[],"store":true}'), "safe", False),
        (call(b'{"model":"gpt-4o","input":"x","store":false,"background":true}', "/v1/responses"), "safe", False),
        (call(b'{"training_file":"f","model":"m"}', "/v1/fine_tuning/jobs"), "safe", False),
        (get("/v1/models"), "safe", True),
        (get("/v1/models"), "never", False),
    ],
)
def test_what_may_have_run_is_repeated_only_where_that_is_allowed(
    does: Reply | Down, given: Any, policy: str, again: bool
) -> None:
    run = Run(pair(replay=policy), given, {"east": [does], "west": [ok()]})
    assert run.names == (["east", "west"] if again else ["east"])
    assert run.trip.must_not_retry == (not again)
    if not again and isinstance(does, Reply):
        assert run.result.response is does


@pytest.mark.parametrize("does", DID_NOT, ids=repr)
@pytest.mark.parametrize("policy", ["never", "safe", "always"])
def test_what_cannot_have_run_is_always_sent_elsewhere(does: Reply | Down, policy: str) -> None:
    run = Run(pair(replay=policy), call(IMAGE, GENERATE), {"east": [does], "west": [ok()]})
    assert run.names == ["east", "west"]


def test_retries_on_the_same_target_obey_the_policy_too() -> None:
    to = fleet(fallback(target("east", retries=3), target("west")))
    run = Run(to, call(IMAGE, GENERATE), {"east": [Reply(500)]})
    assert (run.names, run.pauses) == (["east"], [])


def test_the_sdk_s_own_retry_of_what_may_have_run_sends_nothing() -> None:
    """The SDK retries every error without an answer, and cannot be told not to."""
    to = pair()
    given = call(IMAGE, GENERATE)
    first = Run(to, given, {"east": [Down(httpx.ReadTimeout)]})
    assert isinstance(first.error, httpx.ReadTimeout)
    again = Run(to, given._replace(retry=1), {})
    assert again.sends == []
    assert isinstance(again.error, httpx.ReadTimeout)
    anew = Run(to, given, lambda *_: ok())
    assert anew.status == 200, "the same call made anew is another call"


def test_the_retry_of_one_call_is_not_taken_for_that_of_another_with_the_same_body() -> None:
    to = pair()
    given = call(IMAGE, GENERATE)
    Run(to, given._replace(key="one"), {"east": [Down(httpx.ReadTimeout)]})
    assert Run(to, given._replace(key="two", retry=1), lambda *_: ok()).status == 200
    assert Run(to, given._replace(key="one", retry=1), {}).sends == []


@pytest.mark.parametrize(
    "does", [Reply(500, can_repeat=False), limited(3, can_repeat=False), Reply(401, can_repeat=False)]
)
def test_a_body_that_can_be_read_once_is_never_sent_again(does: Reply) -> None:
    """Field note B7."""
    run = Run(pair(), call(None, content_type="text/plain"), {"east": [does]})
    assert run.names == ["east"]
    assert run.result.response is does


def test_a_body_that_can_be_read_once_moves_on_if_it_was_never_begun() -> None:
    begun = Run(pair(), call(None), {"east": [Down(httpx.WriteError, can_repeat=False)]})
    assert isinstance(begun.error, httpx.WriteError)
    assert Run(pair(), call(None), {"east": [Down(can_repeat=False)], "west": [ok()]}).names == ["east", "west"]


# -- content filters (P18)


def test_what_a_filter_refused_goes_to_the_target_that_the_plan_names_for_it() -> None:
    to = fleet(fallback(target("east"), target("west"), target("lenient")), content_filter="lenient")
    run = Run(to, call(), {"east": [Reply(400, FILTERED)], "lenient": [ok()]})
    assert (run.names, run.status) == (["east", "lenient"], 200)
    assert [a.reason for a in run.trip.attempts] == ["content filter", "served"]

    kept = Reply(400, FILTERED)
    run = Run(to, call(), {"east": [Reply(400, FILTERED)], "lenient": [kept]})
    assert run.names == ["east", "lenient"], "and nowhere else after that"
    assert run.result.response is kept


def test_only_what_the_filter_refused_goes_there() -> None:
    to = fleet(fallback(target("east"), target("west")), content_filter="west")
    assert Run(to, call(), {"east": [Reply(400)]}).names == ["east"]
    pinned = Run(to, call(), {"east": [Reply(400, FILTERED)]}, wishes=Wishes(pin="east"))
    assert (pinned.names, pinned.status) == (["east"], 400)


def test_a_filter_s_target_without_the_model_leaves_the_first_answer() -> None:
    strict = target("lenient", deployments={"o3": "x"}, unmapped="error")
    kept = Reply(400, FILTERED)
    run = Run(fleet(fallback(target("east"), strict), content_filter="lenient"), call(), {"east": [kept]})
    assert run.result.response is kept


def test_a_stream_that_a_filter_refused_before_its_first_token_goes_there_too() -> None:
    to = fleet(fallback(target("east"), target("west")), content_filter="west")
    refused = events({"error": {"code": "content_filter", "message": "filtered"}}, b"data: [DONE]\n\n")
    run = Run(to, call(STREAM), {"east": [refused], "west": [events(*TOKENS)]})
    assert (run.names, run.status) == (["east", "west"], 200)
    assert run.discarded == [refused], "it had its connection still"


# -- stored things (point 7, P17)


def three(**fields: Any) -> Fleet:
    return fleet(balance(target("a"), target("b"), target("c")), **fields)


def test_a_thing_with_a_known_home_is_asked_for_there_and_nowhere_else() -> None:
    to = three()
    to.homes.saw("file-1234", "b")
    for given in (
        get("/v1/files/file-1234"),
        call(None, "/v1/files/file-1234", method="DELETE"),
        call(b'{"input_file_id":"file-1234","endpoint":"/v1/chat/completions"}', "/v1/batches"),
    ):
        assert Run(to, given, {"b": [ok()]}).names == ["b"]
    kept = Reply(404)
    run = Run(to, get("/v1/files/file-1234"), {"b": [kept]})
    assert run.result.response is kept
    run = Run(to, get("/v1/files/file-1234"), {"b": [limited(9)]})
    assert (run.names, run.status) == (["b"], 429), "not silently elsewhere"


def test_a_thing_s_home_is_learnt_from_answers() -> None:
    to = three()
    made = Run(to, call(NEW_RESPONSE, "/v1/responses"), lambda *_: ok())
    made.trip.saw("resp_1234")
    home = made.served_by
    for _ in range(20):
        run = Run(to, call(FOLLOW_UP, "/v1/responses"), lambda *_: ok())
        assert run.names == [home]


def test_an_unknown_thing_is_looked_for_on_all_targets_when_it_is_read() -> None:
    run = Run(three(), get("/v1/files/file-9999"), {"a": [Reply(404)], "b": [Reply(404)], "c": [ok()]})
    assert (run.names, run.status, run.served_by) == (["a", "b", "c"], 200, "c")


@pytest.mark.parametrize("does", [limited(9), Reply(500), Reply(401), Reply(400)], ids=repr)
def test_one_that_cannot_look_ends_no_search(does: Reply) -> None:
    for root in (
        fallback(target("a"), target("b"), target("c")),
        fallback(balance(target("a"), target("b"), on_status_codes=frozenset((429,))), target("c")),
        fallback(target("a"), target("b"), target("c"), on_status_codes=frozenset((408,))),
    ):
        script = {"a": [Reply(404)], "b": [Reply(does.status_code)], "c": [ok()]}
        run = Run(fleet(root), get("/v1/files/file-9999"), script)
        assert (run.names, run.served_by) == (["a", "b", "c"], "c")


def test_what_nobody_has_is_missing_where_it_would_have_been() -> None:
    first = Reply(404)
    run = Run(three(), get("/v1/files/file-9999"), {"a": [first], "b": [Reply(404)], "c": [Reply(404)]})
    assert run.names == ["a", "b", "c"]
    assert run.result.response is first
    assert run.trip.retry_s is None


def test_an_unknown_thing_is_neither_changed_nor_deleted_elsewhere() -> None:
    for given in (
        call(None, "/v1/files/file-9999", method="DELETE"),
        call(b"{}", "/v1/batches/batch_9999/cancel"),
    ):
        run = Run(three(), given, {"a": [Reply(404)]})
        assert (run.names, run.status) == (["a"], 404)


def test_lists_stay_at_the_primary_whatever_it_answers() -> None:
    to = three()
    for does in (ok(), Reply(500), limited(30), limited(30), Down()):
        run = Run(to, get("/v1/files"), {"a": [does]})
        assert run.names == ["a"]


def test_creations_go_to_the_primary_and_elsewhere_only_if_nothing_was_made() -> None:
    form = call(None, "/v1/files", content_type="multipart/form-data; boundary=b")
    to = three()
    assert [Run(to, form, {"a": [ok()]}).names for _ in range(5)] == [["a"]] * 5
    assert Run(to, form, {"a": [limited(30)], "b": [ok()]}).names == ["a", "b"]
    assert Run(three(), form, {"a": [Reply(500)]}).names == ["a"]


def test_new_responses_are_load_like_any_other() -> None:
    to = three()
    asked = Counter(Run(to, call(NEW_RESPONSE, "/v1/responses"), lambda *_: ok()).names[0] for _ in range(60))
    assert set(asked) == {"a", "b", "c"}


def test_a_previous_response_that_is_not_here_is_looked_for_elsewhere() -> None:
    """Azure answers 400, not 404, and nothing was run."""
    to = three()
    given = call(FOLLOW_UP, "/v1/responses")
    run = Run(to, given, {"a": [Reply(400, NO_RESPONSE)], "b": [ok()]})
    assert (run.names, run.status) == (["a", "b"], 200)
    nowhere = Run(three(), given, lambda *_: Reply(400, NO_RESPONSE))
    assert (nowhere.names, nowhere.status) == (["a", "b", "c"], 400)
    other = Run(three(), given, {"a": [Reply(400)]})
    assert other.names == ["a"], "any other 400 is the caller's own"


def test_lists_stay_at_the_primary_in_spite_of_a_list_of_statuses() -> None:
    to = fleet(fallback(target("a"), target("b"), on_status_codes=frozenset((429, 500))))
    assert Run(to, get("/v1/files"), {"a": [limited(5)], "b": [ok()]}).names == ["a"]


# -- retries on the same target


def test_a_target_is_tried_again_before_another_is() -> None:
    to = fleet(fallback(target("east", retries=2), target("west")))
    run = Run(to, call(), {"east": [Reply(500), Reply(502), Reply(503)], "west": [ok()]})
    assert run.names == ["east", "east", "east", "west"]
    first, second = run.pauses
    assert 0.375 <= first <= 0.5
    assert 0.75 <= second <= 1.0
    assert [round(a.wait_s, 3) for a in run.trip.attempts] == [0.0, round(first, 3), round(second, 3), 0.0]


def test_a_retry_waits_as_long_as_the_target_says_only_where_that_is_wished() -> None:
    honours = fleet(fallback(target("east", retries=1, honours_retry_after=True), target("west")))
    run = Run(honours, call(), {"east": [limited(7), ok()]})
    assert (run.names, run.pauses) == (["east", "east"], [7.0])
    deaf = fleet(fallback(target("east", retries=1), target("west")))
    run = Run(deaf, call(), {"east": [limited(7), ok()]})
    assert run.names == ["east", "east"]
    assert run.pauses[0] <= 0.5
    long = fleet(fallback(target("east", retries=1, honours_retry_after=True), target("west")))
    assert Run(long, call(), {"east": [limited(61)], "west": [ok()]}).names == ["east", "west"]


def test_only_the_statuses_of_its_list_are_retried() -> None:
    to = fleet(fallback(target("east", retries=2, retry_statuses=frozenset((503,))), target("west")))
    assert Run(to, call(), {"east": [Reply(500)], "west": [ok()]}).names == ["east", "west"]
    assert Run(to, call(), {"east": [Reply(503), ok()]}, wishes=Wishes(pin="east")).names[:1] == ["east"]
    down = fleet(fallback(target("east", retries=2), target("west")))
    assert Run(down, call(), {"east": [Down()], "west": [ok()]}).names == ["east", "west"]


def test_a_retry_that_would_outlive_the_caller_is_none() -> None:
    to = fleet(fallback(target("east", retries=1, honours_retry_after=True), target("west")))
    run = Run(to, call(limit_s=5.0), {"east": [limited(6)], "west": [ok()]})
    assert (run.names, run.pauses) == (["east", "west"], [])


def test_a_pinned_target_is_retried_as_its_plan_says() -> None:
    to = fleet(fallback(target("east", retries=1), target("west")))
    run = Run(to, call(), {"east": [Reply(503), ok()]}, wishes=Wishes(pin="east"))
    assert (run.names, run.status) == (["east", "east"], 200)


# -- bodies


def test_override_params_are_merged_over_the_body_of_their_own_target_only() -> None:
    tuned = target("west", override_params={"temperature": 0, "metadata": {"a": 1}})
    to = fleet(fallback(target("east"), tuned))
    given = b'{"messages": [],\n "temperature": 1.0, "model":"gpt-4o"}'
    run = Run(to, call(given), {"east": [limited(1)], "west": [ok()]})
    first, second = run.sends
    assert first.body is None
    assert second.body is not None
    sent = b"".join(second.body.chunks)
    assert json.loads(sent) == {"messages": [], "temperature": 0, "model": "gpt-4o", "metadata": {"a": 1}}
    assert sent.startswith(b'{"messages": [],\n "temperature": '), "the rest is byte for byte"
    assert second.body.whole
    assert second.body.grown_bytes == len(sent) - len(given)


def test_an_overridden_model_goes_through_the_same_naming() -> None:
    other = openai(override_params={"model": "gpt-4.1", "seed": 5})
    run = Run(fleet(fallback(target("east"), other)), call(), {"east": [limited(1)], "openai": [ok()]})
    sent = run.sends[1]
    assert sent.body is not None
    body = b"".join(sent.body.chunks)
    assert json.loads(body) == {"messages": [], "model": "gpt-4.1", "seed": 5}
    assert sent.body.grown_bytes == len(body) - len(CHAT)
    assert tuple(sent.credential) == ((b"Authorization", b"Bearer " + key_of("openai")),)
    assert sent.address.url == "https://api.openai.com/v1/chat/completions"
    assert run.result.renamed == ("gpt-4.1", "gpt-4o")


def test_override_params_change_no_read() -> None:
    to = fleet(fallback(target("east", override_params={"seed": 5})))
    assert Run(to, get("/v1/models"), {"east": [ok()]}).sends[0].body is None


def test_a_form_that_is_not_in_memory_is_taken_in_to_be_overridden() -> None:
    parts = [b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n', b"whisper\r\n--b--\r\n"]
    to = fleet(fallback(target("east", override_params={"language": "de"})))
    form = call(None, "/v1/audio/transcriptions", content_type="multipart/form-data; boundary=b")
    run = Run(to, form, {"east": [ok()]}, chunks=parts)
    assert run.effects[0] == "Peek"
    body = run.sends[0].body
    assert body is not None
    assert b'name="language"\r\n\r\nde' in b"".join(body.chunks)
    assert body.grown_bytes == len(b"".join(body.chunks)) - len(b"".join(parts))


def test_fields_that_only_azure_has_are_reported_and_not_sent_to_openai() -> None:
    given = call(b'{"model":"gpt-4o","messages":[],"data_sources":[{}]}')
    run = Run(fleet(fallback(openai(), target("east"))), given, {"east": [ok()]})
    assert run.names == ["east"]
    alone = Run(fleet(fallback(openai())), given)
    assert alone.sends == []
    assert "data_sources" in alone.refusal.message


# -- credentials

MINE = ((b"api-key", b"the-caller-s-own-0123456789"),)


@pytest.mark.parametrize("grouped", [fallback, balance])
@pytest.mark.parametrize("codes", [None, frozenset((401, 429, 500, 503))])
@pytest.mark.parametrize("does", [limited(5), Reply(500), Reply(401), Down()], ids=["429", "500", "401", "connect"])
def test_an_explicit_credential_goes_to_one_target_and_nobody_else(grouped: Any, codes: Any, does: Any) -> None:
    """Promise 1: what its caller wrote into the call for one origin is not another's to see."""
    to = fleet(grouped(target("a"), target("b"), target("c"), on_status_codes=codes))
    run = Run(to, call(explicit=MINE), {"a": [does], "b": [ok()], "c": [ok()]})
    assert run.names == ["a"]
    assert tuple(run.sends[0].credential) == MINE
    assert run.served_by is None


def test_an_explicit_credential_goes_to_its_target_even_while_that_is_parked() -> None:
    to = pair()
    park(to, "east", 30)
    assert Run(to, call(explicit=MINE), {"east": [ok()]}).names == ["east"]
    pinned = Run(to, call(explicit=MINE), {"west": [ok()]}, wishes=Wishes(pin="west"))
    assert (pinned.names, tuple(pinned.sends[0].credential)) == (["west"], MINE)


def provider() -> str:
    raise AssertionError("the machine asks, it never calls")


TOKENED = Credential("the provider", is_token=True, provider=provider)


def test_a_401_is_answered_with_one_fresh_token_and_then_by_the_next_target() -> None:
    tokens = iter(("one", "two"))
    to = fleet(fallback(target("east", credential=TOKENED), target("west")))
    first = Reply(401)
    run = Run(
        to, call(), {"east": [first, Reply(401)], "west": [ok()]}, asked=lambda _: Asked(next(tokens))
    )  # fmt: skip
    assert run.names == ["east", "east", "west"]
    assert [value for send in run.sends for _, value in send.credential] == [
        b"Bearer one",
        b"Bearer two",
        key_of("west"),
    ]
    assert run.discarded == [first]
    assert [a.target for a in run.trip.attempts] == ["east", "west"]
    assert to.health.state(0, "anything", to.clock()).until > to.clock(), "the credential cools, for all deployments"


def test_a_fresh_token_that_is_accepted_serves() -> None:
    tokens = iter(("one", "two"))
    to = fleet(fallback(target("east", credential=TOKENED), target("west")))
    run = Run(to, call(), {"east": [Reply(401), ok()]}, asked=lambda _: Asked(next(tokens)))
    assert (run.names, run.served_by) == (["east", "east"], "east")
    assert [a.reason for a in run.trip.attempts] == ["served"]


def test_a_target_without_a_credential_to_be_had_is_passed_over() -> None:
    to = fleet(fallback(target("east", credential=TOKENED), target("west")))
    run = Run(to, call(), {"west": [ok()]}, asked=lambda _: Asked(error=RuntimeError("no identity")))
    assert run.names == ["west"]
    assert [(a.target, a.status) for a in run.trip.attempts] == [("east", None), ("west", 200)]

    both = fleet(fallback(target("east", credential=TOKENED), target("west", credential=TOKENED)))
    run = Run(both, call(), asked=lambda _: Asked(error=RuntimeError("no identity")))
    assert run.sends == []
    assert (run.refusal.status, run.refusal.code) == (401, "CredentialUnavailable")
    assert "no identity" in run.refusal.message


# -- streams and open answers (P37, P38, B6)


def test_an_answer_that_is_too_long_to_keep_is_closed_before_the_next_is_asked() -> None:
    """At most one connection of a call is open: five failovers work on a pool of one."""
    names = [f"t{number}" for number in range(6)]
    to = fleet(fallback(*map(target, names)))
    long = {name: [Reply(500, chunks=[b"x" * 600_000] * 4)] for name in names[:5]}
    run = Run(to, call(), {**long, "t5": [ok()]})
    assert run.names == names
    assert len(run.discarded) == 5
    assert run.status == 200


def test_the_last_answer_is_not_closed_but_handed_on() -> None:
    last = Reply(500, chunks=[b"x" * 600_000] * 4)
    run = Run(pair(), call(), {"east": [limited(5)], "west": [last]})
    assert run.result.response is last
    assert not last.is_closed
    assert run.discarded == []


def test_an_open_answer_is_closed_before_a_wait() -> None:
    to = pair(on_exhausted="wait")
    long = Reply(429, chunks=[b"x" * 600_000] * 4, retry_after="5")
    run = Run(to, call(limit_s=60.0), {"east": [limited(9)], "west": [long, ok()]})
    assert run.discarded == [long]
    assert run.status == 200


def test_a_stream_moves_until_its_first_token_and_never_after() -> None:
    role = {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    error = {"error": {"code": "server_error", "message": "x"}}
    before = events(role, error, b"data: [DONE]\n\n")
    run = Run(pair(), call(STREAM), {"east": [before], "west": [events(*TOKENS)]})
    assert (run.names, run.discarded) == (["east", "west"], [before])
    after = events(role, TOKENS[0], error)
    run = Run(pair(), call(STREAM), {"east": [after]})
    assert run.names == ["east"]
    assert run.result.response is after
    assert not after.is_closed, "it goes on to its caller"


def test_a_stream_is_not_looked_into_where_nobody_could_take_its_place() -> None:
    for to, given, wishes in (
        (pair(), call(STREAM), Wishes(pin="east")),
        (pair(replay="never"), call(STREAM), Wishes()),
        (fleet(balance(target("east"))), call(STREAM), Wishes()),
        (pair(), call(b'{"model":"gpt-4o","input":"x","stream":true}', "/v1/responses"), Wishes()),
    ):
        run = Run(to, given, {"east": [events(*TOKENS)]}, wishes=wishes)
        assert run.effects == ["Send"]
        assert run.status == 200


def test_a_body_that_breaks_in_its_middle_costs_the_target_its_trust() -> None:
    to = pair()
    run = Run(to, call(STREAM), {"east": [events(*TOKENS)]})
    run.trip.broke(httpx.ReadError("cut"))
    run.trip.leave()
    assert Run(to, call(), {"west": [ok()]}).names == ["west"]


# -- giving up


def test_a_call_that_is_given_up_leaves_nothing_behind() -> None:
    clock = Clock()
    to = pair(clock=clock)
    park(to, "east", 1)
    clock.now += 2
    run = Run(to, call(), {"east": [ok()]}, stepwise=True)
    assert isinstance(run.step(), Send)
    assert to.health.load(0) == 1
    run.machine.close()
    assert to.health.load(0) == 0
    assert Run(to, call(), {"east": [ok()]}).names == ["east"], "its probe is another's at once"


def test_a_call_that_is_cancelled_in_a_pause_leaves_nothing_behind() -> None:
    to = fleet(fallback(target("east", retries=2), target("west")))
    run = Run(to, call(), {"east": [Reply(500)]}, stepwise=True)
    run.step()
    assert isinstance(run.step(), Pause)
    run.machine.close()
    assert (to.health.load(0), to.health.load(1)) == (0, 0)


def test_another_call_that_ends_does_not_let_a_second_probe_go() -> None:
    """A call from before the cool-down ends, however, while the single probe is on its way."""
    for end in ("cancelled", "failed", "refused"):
        clock = Clock()
        to = pair(clock=clock)
        old = Run(to, call(), {"east": [{"failed": Down(httpx.ReadTimeout)}.get(end, Reply(400))]}, stepwise=True)
        old.step()
        park(to, "east", 1)
        clock.now += 2
        probe = Run(to, call(), {"east": [ok()]}, stepwise=True)
        probe.step()
        assert probe.names == ["east"]
        if end == "cancelled":
            old.machine.close()
        else:
            old.step()
        assert Run(to, call(), {"west": [ok()]}).names == ["west"], end


def test_a_probe_that_served_is_over_even_if_an_older_call_was_refused_meanwhile() -> None:
    clock = Clock()
    to = pair(clock=clock)
    old = Run(to, call(), {"east": [limited(1)], "west": [ok()]}, stepwise=True)
    old.step()
    park(to, "east", 1)
    clock.now += 2
    probe = Run(to, call(), {"east": [ok()]}, stepwise=True)
    probe.step()
    old.step()
    probe.step()
    assert (probe.names, probe.status) == (["east"], 200)
    clock.now += 1.2
    assert Run(to, call(), {"east": [ok()], "west": [ok()]}).names == ["east"]


def test_32_threads_pick_no_wrong_target_while_every_target_flips_to_429() -> None:
    """Field note B21."""
    to = fleet(fallback(balance(*map(target, "abc")), target("d")), Clock())
    errors: list[BaseException] = []
    start, turns = threading.Barrier(32), 40

    def hammer(seed: int) -> None:
        random = Random(seed)
        try:
            start.wait()
            for turn in range(turns):
                flips = seed % 2 == turn * 2 // turns
                run = Run(to, call(), lambda *_, flips=flips: limited(random.choice([0, 1, 600])) if flips else ok())
                for send in run.sends:
                    name = send.address.served.target
                    assert tuple(send.credential) == ((b"api-key", key_of(name)),)
                    assert send.address.authority == f"{name}.openai.azure.com"
                assert run.status in (200, 429)
                assert len(run.names) == len(set(run.names))
                if run.served_by is not None:
                    run.trip.leave()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [to.health.load(at) for at in range(4)] == [0] * 4


def test_the_log_of_attempts_says_who_why_and_how_long() -> None:
    clock = Clock()
    to = fleet(fallback(target("east", region="eastus", deployments={"gpt-4o": "dep"}), target("west")), clock)
    run = Run(to, call(), {"east": [limited(20, after_s=0.25)], "west": [Reply(after_s=0.5)]})
    first, second = run.trip.attempts
    assert (first.target, first.region, first.deployment, first.status) == ("east", "eastus", "dep", 429)
    assert (first.reason, first.duration_s) == ("rate limited", 0.25)
    assert 20 <= first.cooled_s <= 22
    assert (second.target, second.region, second.status, second.reason) == ("west", None, 200, "served")
    assert (second.duration_s, second.cooled_s) == (0.5, 0.0)
