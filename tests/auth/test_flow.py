"""One attempt gets one header, or a reason why not; a secret is in neither a message nor a repr."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from azure_shim.auth.flow import Renewals, attach, header_of, renew, send_signed
from azure_shim.auth.source import TokenSource
from azure_shim.auth.tokens import FlightLost, FlightOverdue, Token, TokenSlot
from azure_shim.values import (
    Address,
    Answered,
    Ask,
    Asked,
    Body,
    Credential,
    Discard,
    Failed,
    Fetch,
    Header,
    Late,
    Refusal,
    Send,
    Served,
)

KEY = "canary-0123456789abcdef0123456789abcdef"
JWT = "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJjYW5hcnkifQ.Y2FuYXJ5"
TOKEN = "opaque-canary-token-0123456789"
TOKEN_SOURCE, KEY_SOURCE = "the azure_ad_token_provider function", "the api_key function"


def provider() -> str:
    raise AssertionError("the flow asks, it never calls")


def attached(credential: Credential, *answers: Asked) -> tuple[Header | Refusal, int]:
    """What becomes of an attempt, and how often the provider was asked."""
    flow, left, asked = attach(credential), list(answers), 0
    try:
        effect = next(flow)
        while True:
            assert isinstance(effect, Ask)
            assert effect.provider is credential.provider
            asked += 1
            effect = flow.send(left.pop(0))
    except StopIteration as done:
        return done.value, asked


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        (Credential("api_key", value=KEY), (b"api-key", KEY.encode())),
        (Credential("api_key", "Ocp-Apim-Subscription-Key", value=KEY), (b"Ocp-Apim-Subscription-Key", KEY.encode())),
        (Credential("t", is_token=True, value=JWT), (b"Authorization", b"Bearer " + JWT.encode())),
        (Credential("t", is_token=True, value=TOKEN), (b"Authorization", b"Bearer " + TOKEN.encode())),
        (Credential("t", "X-Key", is_token=True, value=TOKEN), (b"Authorization", b"Bearer " + TOKEN.encode())),
        # openai.AzureOpenAI takes a token as api_key; where a gateway named its header, it gets what it asked for.
        (Credential("api_key", value=JWT), (b"Authorization", b"Bearer " + JWT.encode())),
        (Credential("api_key", "X-Key", value=JWT), (b"X-Key", JWT.encode())),
    ],
)
def test_a_key_goes_into_its_header_and_a_token_into_authorization(credential: Credential, expected: Header) -> None:
    assert attached(credential) == (expected, 0)
    assert credential.value is not None
    assert header_of(credential, credential.value) == expected


@pytest.mark.parametrize(
    ("is_token", "value", "expected"),
    [
        (False, KEY, (b"api-key", KEY.encode())),
        (False, JWT, (b"Authorization", b"Bearer " + JWT.encode())),
        (True, TOKEN, (b"Authorization", b"Bearer " + TOKEN.encode())),
        (True, "Bearer " + TOKEN, (b"Authorization", b"Bearer " + TOKEN.encode())),
        (True, "bearer  " + JWT, (b"Authorization", b"Bearer " + JWT.encode())),
    ],
)
def test_a_provider_is_asked_once_for_each_attempt(is_token: bool, value: str, expected: Header) -> None:
    credential = Credential("p", is_token=is_token, provider=provider)
    assert attached(credential, Asked(value)) == (expected, 1)
    assert attached(credential, Asked(value)) == (expected, 1)


@pytest.mark.parametrize(
    ("is_token", "value", "reason"),
    [
        (True, "", "is empty"),
        (True, "Bearer ", "is empty"),
        (False, "", "is empty"),
        (True, " " + TOKEN, "white space or a line break around it"),
        (False, KEY + "\n", "white space or a line break around it"),
        (False, "Bearer " + KEY, "white space"),
        (True, TOKEN + "\r\nX-Injected: 1", "control character"),
        (True, None, "of type NoneType"),
        (True, TOKEN.encode(), "of type bytes"),
        (True, {"token": TOKEN}, "of type dict"),
        (False, 12345, "of type int"),
        (True, "Bearer Bearer " + TOKEN, "white space"),
    ],
)
def test_what_no_header_can_carry_is_a_refusal_that_names_its_source(
    is_token: bool, value: object, reason: str
) -> None:
    source = TOKEN_SOURCE if is_token else KEY_SOURCE
    refusal, asked = attached(Credential(source, is_token=is_token, provider=provider), Asked(value))

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, asked) == (401, "CredentialUnavailable", 1)
    assert source in refusal.message
    assert reason in refusal.message
    assert "canary" not in refusal.message + repr(refusal)
    assert refusal.cause is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("IMDS did not answer"), "raised RuntimeError: IMDS did not answer"),
        (RuntimeError(), "raised RuntimeError."),
        (KeyError("AZURE_CLIENT_ID"), "raised KeyError: 'AZURE_CLIENT_ID'"),
        (ValueError(f"bad token {JWT} for {KEY}"), "raised ValueError: bad token *** for ***"),
    ],
)
def test_the_reason_of_a_provider_that_raises_is_told_without_its_secrets(error: Exception, expected: str) -> None:
    refusal, asked = attached(Credential(TOKEN_SOURCE, is_token=True, provider=provider), Asked(error=error))

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, asked) == (401, "CredentialUnavailable", 1)
    assert f"{TOKEN_SOURCE} {expected}" in refusal.message
    assert refusal.cause is error
    for text in (refusal.message, repr(refusal)):
        assert "canary" not in text
        assert "eyJ" not in text


def test_without_any_credential_nothing_is_signed() -> None:
    refusal, asked = attached(Credential("the caller's own headers"))
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, asked) == (401, "CredentialUnavailable", 0)
    assert "the caller's own headers" in refusal.message


@pytest.mark.parametrize(
    "held",
    [
        Credential("api_key", value=KEY),
        Credential("api_key", provider=lambda: KEY),
        Asked(KEY),
        Asked(error=ValueError(KEY)),
        Ask(lambda: KEY),
    ],
    ids=lambda held: type(held).__name__,
)
def test_no_repr_shows_what_is_held(held: Any) -> None:
    for text in (repr(held), str(held), f"{held!r}", repr([held])):
        assert "canary" not in text
        assert "lambda" not in text


SCOPE = "https://cognitiveservices.azure.com/.default"
HOUR = 3600.0
CHALLENGE = 'Bearer error="insufficient_claims", claims="eyJhIjoxfQ=="'  # {"a":1}
ADDRESS = Address("https://r.openai.azure.com/openai/v1/models", "r.openai.azure.com", Served("r", "models"))
HEADERS: list[Header] = [(b"X-Team", b"a")]
BODY = Body((b"{}",), whole=True, grown_bytes=0)
OK, DOWN = Answered(200, "application/json", object()), Failed(OSError("reset"))


class Given:
    def __init__(self, token: str, expires_on: float) -> None:
        self.token, self.expires_on = token, expires_on


class Numbered:
    """A credential: each answer is the next of ``answers``, the last one for ever; an exception is raised."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers, self.claims = list(answers), []  # type: ignore[var-annotated]

    def get_token(self, *scopes: str, claims: str | None = None, **options: Any) -> Given:
        self.claims.append(claims)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Given(answer, HOUR)


class Slotted:
    """A target's credential with a token slot whose clocks stand at ``now``, and what a driver does with it."""

    def __init__(self, *answers: str | Exception) -> None:
        self.now = 0.0
        self.source = Numbered(*answers)
        self.slot = TokenSlot(
            TokenSource(SCOPE, given=self.source),
            clock=lambda: self.now,
            wall=lambda: self.now,
            chance=lambda: 0.0,
        )
        self.credential = Credential("credential", is_token=True, tokens=self.slot)

    def fetch(self, effect: Fetch) -> Asked | None:
        assert effect.tokens is self.slot
        flight, is_ours = self.slot.board()
        if is_ours:
            self.slot._fly(flight)
        if not effect.waits:
            return None
        error = flight.future.exception(0)
        return Asked(flight.future.result(0)) if error is None else Asked(error=error)

    def fetched(self) -> Token:
        asked = self.fetch(Fetch(self.slot))
        assert asked is not None
        assert isinstance(asked.value, Token)
        return asked.value


def bearer(token: str) -> Header:
    return b"Authorization", b"Bearer " + token.encode()


def refused(challenge: str = "", *, can_repeat: bool = True) -> Answered:
    return Answered(401, "application/json", object(), challenge, can_repeat)


class Run:
    """Drives a machine: ``outcomes`` are what comes of each `Send`, ``asked`` of each `Ask` or `Fetch`."""

    def __init__(
        self,
        machine: Generator[Any, Any, Any],
        *outcomes: Answered | Failed,
        asked: list[Asked] | None = None,
        slotted: Slotted | None = None,
    ) -> None:
        self.effects: list[Any] = []
        left, answers = list(outcomes), list(asked or [])
        answer: Any = None
        try:
            while True:
                effect = machine.send(answer)
                self.effects.append(effect)
                if isinstance(effect, Send):
                    answer = left.pop(0)
                elif isinstance(effect, Discard):
                    answer = None
                elif isinstance(effect, Fetch) and slotted is not None:
                    answer = slotted.fetch(effect)
                else:
                    answer = answers.pop(0)
        except StopIteration as done:
            self.result = done.value
        assert left == [], "not all outcomes came about"
        assert answers == [], "not all answers were asked for"

    @property
    def kinds(self) -> list[str]:
        return [type(effect).__name__ for effect in self.effects]

    @property
    def sent(self) -> list[Send]:
        return [effect for effect in self.effects if isinstance(effect, Send)]

    @property
    def signed(self) -> list[Header]:
        """The header that each request was signed with, one and no more."""
        return [header for send in self.sent for header in send.credential]


def sending(
    credential: Credential, *outcomes: Answered | Failed, renewals: Renewals | None = None, **options: Any
) -> Run:
    return Run(send_signed(credential, ADDRESS, HEADERS, BODY, renewals or Renewals()), *outcomes, **options)


class TestSlots:
    def test_a_token_that_is_good_is_attached_without_any_effect(self) -> None:
        slotted = Slotted("canary-1")
        slotted.fetched()
        run = Run(attach(slotted.credential))
        assert (run.result, run.effects) == (bearer("canary-1"), [])

    def test_one_that_is_due_serves_on_while_the_next_one_is_fetched(self) -> None:
        slotted = Slotted("canary-1", "canary-2")
        slotted.fetched()
        slotted.now = 3300.0
        run = Run(attach(slotted.credential), asked=[None])  # type: ignore[list-item]
        assert run.result == bearer("canary-1")
        assert run.effects == [Fetch(slotted.slot, waits=False)]
        Run(attach(slotted.credential), slotted=slotted)
        run = Run(attach(slotted.credential))
        assert (run.result, run.effects) == (bearer("canary-2"), [])

    def test_a_refresh_that_fails_is_no_matter_of_the_call_s(self) -> None:
        slotted = Slotted("canary-1", OSError("down"))
        slotted.fetched()
        slotted.now = 3300.0
        assert Run(attach(slotted.credential), slotted=slotted).kinds == ["Fetch"]
        run = Run(attach(slotted.credential))
        assert (run.result, run.effects) == (bearer("canary-1"), [])

    @pytest.mark.parametrize("state", ["none", "over"])
    def test_without_a_good_token_the_call_waits_for_one(self, state: str) -> None:
        slotted = Slotted("canary-1", "canary-2")
        if state == "over":
            slotted.fetched()
            slotted.now = 2 * HOUR
            slotted.source.answers = ["canary-2"]
        run = Run(attach(slotted.credential), slotted=slotted)
        assert run.effects == [Fetch(slotted.slot, waits=True)]
        assert run.result[1].startswith(b"Bearer canary-")
        assert len(slotted.source.claims) == (1 if state == "none" else 2)

    @pytest.mark.parametrize("lost", [1, 2, 3])
    def test_a_flight_that_is_lost_with_its_loop_is_asked_for_again_but_not_for_ever(self, lost: int) -> None:
        slotted = Slotted("canary-1")
        token = Token(bearer("t"), "t", 1.0, 1.0, 1.0)
        asked = [Asked(error=FlightLost("it ended"))] * lost + [Asked(token)] * (lost < 3)
        run = Run(attach(slotted.credential), asked=asked)
        if lost < 3:
            assert run.result == bearer("t")
        else:
            assert isinstance(run.result, Refusal)
            assert "it ended" in run.result.message
        assert run.effects == [Fetch(slotted.slot)] * min(lost + 1, 3)

    def test_a_token_that_does_not_come_in_time_is_late(self) -> None:
        slotted = Slotted("canary-1")
        run = Run(attach(slotted.credential), asked=[Asked(error=FlightOverdue("30 s"))])
        assert run.result == Late(f"Numbered got no token for {SCOPE} from login.microsoftonline.com in time: 30 s")
        assert run.kinds == ["Fetch"]

    @pytest.mark.parametrize("error", [OSError("it is down"), ValueError("it is down."), KeyError("down")])
    def test_a_credential_that_fails_is_a_refusal_in_its_words(self, error: Exception) -> None:
        slotted = Slotted(error)
        refusal = Run(attach(slotted.credential), slotted=slotted).result
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.code, refusal.cause) == (401, "CredentialUnavailable", error)
        told = slotted.slot.source.failure(error).rstrip(".")
        assert refusal.message == f"No credential for this request: {told}."

    def test_a_refusal_shows_no_secret(self) -> None:
        slotted = Slotted(ValueError(f"{JWT} is wrong, {KEY} too"))
        refusal = Run(attach(slotted.credential), slotted=slotted).result
        assert "canary" not in refusal.message + repr(refusal)
        assert "ValueError: *** is wrong, *** too" in refusal.message


class TestRenewing:
    def test_where_a_fresh_token_was_refused_too_no_other_is_taken_from_its_other_users_for_a_while(self) -> None:
        now = [0.0]
        renewals = Renewals(lambda: now[0])
        slotted = Slotted(*(f"canary-{number}" for number in range(1, 9)))
        slotted.fetched()
        assert sending(slotted.credential, refused(), refused(), slotted=slotted, renewals=renewals).kinds == [
            "Send", "Fetch", "Discard", "Send",
        ]  # fmt: skip
        kept = slotted.slot.valid()
        assert sending(slotted.credential, refused(), slotted=slotted, renewals=renewals).kinds == ["Send"]
        assert slotted.slot.valid() is kept
        # A challenge has a reason of its own; and after half a minute a role may have been granted.
        claimed = sending(slotted.credential, refused(CHALLENGE), OK, slotted=slotted, renewals=renewals)
        assert claimed.kinds == ["Send", "Fetch", "Discard", "Send"]
        again = sending(slotted.credential, refused(), refused(), slotted=slotted, renewals=renewals)
        assert again.kinds == ["Send", "Fetch", "Discard", "Send"]
        now[0] = 31.0
        later = sending(slotted.credential, refused(), OK, slotted=slotted, renewals=renewals)
        assert later.kinds == ["Send", "Fetch", "Discard", "Send"]

    def test_a_refused_token_is_discarded_with_its_answer_and_another_one_sent_once(self) -> None:
        slotted, answer = Slotted("canary-1", "canary-2"), refused()
        slotted.fetched()
        run = sending(slotted.credential, answer, OK, slotted=slotted)
        assert run.result is OK
        assert run.kinds == ["Send", "Fetch", "Discard", "Send"]
        assert run.effects[2].response is answer.response
        first, again = run.sent
        assert run.signed == [bearer("canary-1"), bearer("canary-2")]
        assert (first.again, again.again) == (False, True)
        for send in run.sent:
            assert (send.address, send.headers, send.body) == (ADDRESS, HEADERS, BODY)
        assert sending(slotted.credential, OK, slotted=slotted).kinds == ["Send"]

    @pytest.mark.parametrize("last", [refused(), refused(CHALLENGE), DOWN], ids=["401", "challenge", "failed"])
    def test_what_comes_of_the_second_request_is_the_answer(self, last: Answered | Failed) -> None:
        slotted = Slotted("canary-1", "canary-2", "canary-3")
        run = sending(slotted.credential, refused(), last, slotted=slotted)
        assert run.result is last
        assert run.kinds == ["Fetch", "Send", "Fetch", "Discard", "Send"]

    @pytest.mark.parametrize(
        "outcome", [DOWN, *(Answered(status, "", None, CHALLENGE, True) for status in (200, 403, 407, 429, 500))]
    )
    def test_anything_but_a_401_is_the_answer(self, outcome: Answered | Failed) -> None:
        slotted = Slotted("canary-1", "canary-2")
        slotted.fetched()
        run = sending(slotted.credential, outcome, slotted=slotted)
        assert run.result is outcome
        assert run.kinds == ["Send"]
        assert slotted.slot.valid() is not None

    @pytest.mark.parametrize(
        ("challenge", "claims"),
        [
            (CHALLENGE, '{"a":1}'),
            ("", None),
            ('Bearer error="invalid_token"', None),
            (f"Negotiate, {CHALLENGE}", '{"a":1}'),
        ],
    )
    def test_the_next_token_is_asked_for_with_the_claims_of_the_challenge(
        self, challenge: str, claims: str | None
    ) -> None:
        slotted = Slotted("canary-1", "canary-2")
        run = sending(slotted.credential, refused(challenge), OK, slotted=slotted)
        assert run.signed == [bearer("canary-1"), bearer("canary-2")]
        assert slotted.source.claims == [None, claims]

    def test_a_body_that_cannot_be_sent_again_costs_the_token_and_no_second_request(self) -> None:
        slotted, answer = Slotted("canary-1", "canary-2"), refused(CHALLENGE, can_repeat=False)
        run = sending(slotted.credential, answer, slotted=slotted)
        assert run.result is answer
        assert run.kinds == ["Fetch", "Send"]
        assert slotted.slot.valid() is None
        assert sending(slotted.credential, OK, slotted=slotted).signed == [bearer("canary-2")]
        assert slotted.source.claims == [None, '{"a":1}']

    def test_a_credential_that_has_no_other_token_leaves_azure_s_own_401(self) -> None:
        slotted, answer = Slotted("canary-1"), refused()
        run = sending(slotted.credential, answer, slotted=slotted)
        assert run.result is answer
        assert run.kinds == ["Fetch", "Send", "Fetch"]

    @pytest.mark.parametrize("error", [OSError("down"), FlightOverdue("30 s")])
    def test_a_token_that_cannot_be_had_leaves_azure_s_own_401(self, error: Exception) -> None:
        slotted, answer = Slotted("canary-1"), refused()
        token = slotted.fetched()
        run = sending(slotted.credential, answer, asked=[Asked(error=error)])
        assert run.result is answer
        assert run.kinds == ["Send", "Fetch"]
        assert slotted.slot.valid() is None
        assert run.signed == [token.header]

    def test_a_token_that_another_call_has_replaced_already_is_used_at_once(self) -> None:
        slotted = Slotted("canary-1", "canary-2")
        slotted.fetched()
        machine = send_signed(slotted.credential, ADDRESS, HEADERS, BODY, Renewals())
        assert isinstance(next(machine), Send)
        assert sending(slotted.credential, refused(), OK, slotted=slotted).signed[1] == bearer("canary-2")
        assert isinstance(machine.send(refused()), Discard)
        again = machine.send(None)
        assert isinstance(again, Send)
        assert again.credential == (bearer("canary-2"),)
        assert len(slotted.source.claims) == 2

    @pytest.mark.parametrize(
        "credential",
        [
            Credential("api_key", value=KEY),
            Credential("api_key", value=JWT),
            Credential("api_key", "X-Key", value=KEY),
            Credential("azure_ad_token", is_token=True, value=TOKEN),
        ],
    )
    def test_a_key_or_a_token_that_was_given_once_has_no_other(self, credential: Credential) -> None:
        answer = refused(CHALLENGE)
        run = sending(credential, answer)
        assert (run.result, run.kinds) == (answer, ["Send"])

    def test_a_function_that_gives_keys_is_not_asked_again(self) -> None:
        answer = refused(CHALLENGE)
        run = sending(Credential(KEY_SOURCE, provider=provider), answer, asked=[Asked(KEY)])
        assert (run.result, run.kinds) == (answer, ["Ask", "Send"])

    @pytest.mark.parametrize("is_token", [True, False])
    def test_a_function_that_gives_another_token_is_worth_a_second_request(self, is_token: bool) -> None:
        other = JWT[:-1] + "z"
        credential = Credential(TOKEN_SOURCE, is_token=is_token, provider=provider)
        run = sending(credential, refused(), OK, asked=[Asked(JWT), Asked(other)])
        assert run.result is OK
        assert run.kinds == ["Ask", "Send", "Ask", "Discard", "Send"]
        assert run.signed == [bearer(JWT), bearer(other)]
        answer = refused()
        run = sending(credential, refused(), answer, asked=[Asked(JWT), Asked(other)])
        assert run.result is answer

    @pytest.mark.parametrize(
        "second", [Asked(TOKEN), Asked(""), Asked(None), Asked(f"Bearer {TOKEN}"), Asked(error=OSError("down"))]
    )
    def test_one_that_has_no_other_leaves_azure_s_own_401(self, second: Asked) -> None:
        credential, answer = Credential(TOKEN_SOURCE, is_token=True, provider=provider), refused()
        run = sending(credential, answer, asked=[Asked(TOKEN), second])
        assert run.result is answer
        assert run.kinds == ["Ask", "Send", "Ask"]

    def test_one_is_not_asked_again_for_a_body_that_cannot_be_sent_again(self) -> None:
        credential, answer = Credential(TOKEN_SOURCE, is_token=True, provider=provider), refused(can_repeat=False)
        run = sending(credential, answer, asked=[Asked(TOKEN)])
        assert (run.result, run.kinds) == (answer, ["Ask", "Send"])

    @pytest.mark.parametrize("error", [OSError("down"), FlightOverdue("30 s")])
    def test_nothing_is_sent_without_a_credential(self, error: Exception) -> None:
        run = sending(Slotted("canary-1").credential, asked=[Asked(error=error)])
        assert isinstance(run.result, (Refusal, Late))
        assert run.kinds == ["Fetch"]

    def test_who_sends_by_other_means_renews_alone(self) -> None:
        """As the auth hook does."""
        slotted = Slotted("canary-1", "canary-2", "canary-2")
        used = slotted.fetched().header
        run = Run(renew(slotted.credential, used, CHALLENGE, Renewals(), can_repeat=True), slotted=slotted)
        assert run.result == bearer("canary-2")
        run = Run(renew(slotted.credential, used, "", Renewals(), can_repeat=True))  # not the token that is there now
        assert (run.result, run.kinds) == (bearer("canary-2"), [])
        run = Run(renew(Credential("api_key", value=KEY), (b"api-key", KEY.encode()), "", Renewals(), can_repeat=True))
        assert isinstance(run.result, Refusal)

    def test_no_effect_shows_a_token(self) -> None:
        slotted = Slotted("canary-1", "canary-2")
        run = sending(slotted.credential, refused(), OK, slotted=slotted)
        for effect in (*run.effects, slotted.credential):
            assert "canary" not in repr(effect)
