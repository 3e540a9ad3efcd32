"""Keys and tokens are judged without ever being shown."""

from __future__ import annotations

import pytest

from azure_shim.auth.secrets import fault_of, looks_like_token, scrubbed, without_bearer

# Made up, in the shapes of the real ones.
KEY_32 = "0123456789abcdef0123456789abcdef"
KEY_84 = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz0123456789JQQJ99BJACYe"
JWT = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwcyJ9.c2lnbmF0dXJl-_A"
GUID = "00000000-1111-2222-3333-abcdefABCDEF"


@pytest.mark.parametrize("value", ["k", KEY_32, KEY_84, JWT, "~!#$%&'()*+,-./:;<=>?@[]^_`{|}", "a" * 10_000])
def test_visible_ascii_is_a_key(value: str) -> None:
    assert fault_of(value) is None


@pytest.mark.parametrize("value", ["k", KEY_84, "My API Key", "a" * 10_000])
def test_a_key_may_be_of_several_words(value: str) -> None:
    assert fault_of(value, is_key=True) is None


@pytest.mark.parametrize(
    "value", ["", " ", " k", "k ", "k\n", "k\nl", "k\tl", "k\u00a0l", "k\0l", "schlüssel", 5, b"k", "Bearer canary"]
)
def test_what_cannot_be_sent_as_a_key_has_a_fault(value: object) -> None:
    found = fault_of(value, is_key=True)
    assert found is not None
    assert "canary" not in found


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("", "is empty"),
        (" ", "white space or a line break around it"),
        (" canary", "white space or a line break around it"),
        ("canary ", "white space or a line break around it"),
        ("canary\n", "white space or a line break around it"),
        ("\tcanary", "white space or a line break around it"),
        ("canary\u00a0", "white space or a line break around it"),
        ("canary key", "in it"),
        ("canary\nkey", "in it"),
        ("canary\r\nX-Injected: 1", "in it"),
        ("canary\x00", "in it"),
        ("canary\x7f", "in it"),
        ("canäry", "in it"),
        ("canary\u200b", "in it"),
        (None, "of type NoneType"),
        (5, "of type int"),
        (b"canary", "of type bytes"),
        (["canary"], "of type list"),
    ],
)
def test_what_cannot_be_sent_in_a_header_has_a_fault_that_does_not_quote_it(value: object, fault: str) -> None:
    found = fault_of(value)
    assert found is not None
    assert fault in found
    assert "canary" not in found


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (JWT, JWT),
        ("Bearer " + JWT, JWT),
        ("bearer " + JWT, JWT),
        ("BEARER   " + JWT, JWT),
        ("Bearer", "Bearer"),
        ("Bearer ", ""),
        ("Bearertoken", "Bearertoken"),
        ("x Bearer y", "x Bearer y"),
        ("Bearer a\n", "a\n"),
    ],
)
def test_a_token_may_be_copied_with_its_scheme(token: str, expected: str) -> None:
    assert without_bearer(token) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (JWT, True),
        ("eyJ.a.b", True),
        (KEY_32, False),
        (KEY_84, False),
        ("eyJabc", False),
        ("eyJ.a", False),
        ("a.b.c", False),
    ],
)
def test_only_three_parts_of_base64_json_look_like_a_token(value: str, expected: bool) -> None:
    assert looks_like_token(value) is expected


@pytest.mark.parametrize("secret", [KEY_32, KEY_32.upper(), KEY_84, JWT, JWT.rpartition(".")[0], "sk-proj-" + KEY_32])
@pytest.mark.parametrize(
    "around", ["%s", "key=%s", "'%s'", "Bearer %s", '{"access_token":"%s"}', "a %s b", "(%s)", "%s\nnext"]
)
def test_what_could_be_a_secret_is_masked_wherever_it_stands(secret: str, around: str) -> None:
    text = scrubbed(around % secret)
    assert secret not in text
    assert max((len(word) for word in text.replace(",", " ").split()), default=0) < 32
    assert "***" in text
    assert text.split("***")[0] == around.split("%s")[0] or "sk-proj-" in secret


@pytest.mark.parametrize(
    "text",
    [
        "AADSTS7000215: Invalid client secret provided.",
        f"AADSTS700016: Application with identifier '{GUID}' was not found in the directory '{GUID}'",
        "ManagedIdentityCredential authentication unavailable, no response from the IMDS endpoint.",
        "a-name-of-words-that-is-longer-than-thirty-two-characters",
        "",
    ],
)
def test_what_helps_is_left_as_it_is(text: str) -> None:
    assert scrubbed(text) == text


def test_two_secrets_are_two_masks() -> None:
    assert scrubbed(f"{KEY_32} {JWT} {GUID}") == f"*** *** {GUID}"


def test_a_client_secret_of_entra_is_masked() -> None:
    secret = "abC8Q~dEfGhIjKlMnOpQr.StUvWx-Yz01234567"
    assert scrubbed(f"AADSTS7000215: invalid client secret {secret} for app") == (
        "AADSTS7000215: invalid client secret *** for app"
    )
