"""One attempt gets one header, or a reason why not; a secret is in neither a message nor a repr."""

from __future__ import annotations

from typing import Any

import pytest

from azure_shim.auth.flow import attach, header_of
from azure_shim.values import Ask, Asked, Credential, Header, Refusal

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
