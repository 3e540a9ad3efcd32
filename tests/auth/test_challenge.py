"""What continuous access evaluation claims, out of any ``WWW-Authenticate`` that a service or a gateway sends."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_shim.auth.challenge import claims_of

# Microsoft Learn, "How to use Continuous Access Evaluation enabled APIs in your applications", word for word.
LEARN = (
    'Bearer authorization_uri="https://login.windows.net/common/oauth2/authorize", error="insufficient_claims", '
    'claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwgInZhbHVlIjoiMTYwNDEwNjY1MSJ9fX0="'
)
# What Microsoft Graph sends (azure-sdk-for-net, "Continuous Access Evaluation" samples).
GRAPH = (
    'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
    'client_id="00000003-0000-0000-c000-000000000000", error="insufficient_claims", '
    'claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzI2MDc3NTk1In0sInhtc19jYWVlcnJvciI6'
    'eyJ2YWx1ZSI6IjEwMDEyIn19fQ=="'
)
CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
# Its base64 has both characters in which the two alphabets differ.
ODD = '{"access_token":{"x":"\u00bf\u00ff>?~\u00fb\u00ef\u00be"}}'


def encoded(text: str, *, url: bool = False, padded: bool = True) -> str:
    found = (base64.urlsafe_b64encode if url else base64.b64encode)(text.encode()).decode()
    return found if padded else found.rstrip("=")


def challenge(claims: str, error: str = "insufficient_claims") -> str:
    return f'Bearer realm="", error="{error}", claims="{claims}"'


def test_the_challenges_of_microsoft_s_documents() -> None:
    assert claims_of(LEARN) == '{"access_token":{"nbf":{"essential":true, "value":"1604106651"}}}'
    assert json.loads(claims_of(GRAPH) or "") == {
        "access_token": {"nbf": {"essential": True, "value": "1726077595"}, "xms_caeerror": {"value": "10012"}}
    }


@pytest.mark.parametrize("text", [CLAIMS, ODD, CLAIMS + " ", CLAIMS + "\n\n", "{}"])
@pytest.mark.parametrize("url", [False, True], ids=["base64", "base64url"])
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "unpadded"])
def test_both_alphabets_are_read_with_and_without_padding(text: str, url: bool, padded: bool) -> None:
    assert claims_of(challenge(encoded(text, url=url, padded=padded))) == text


def test_the_alphabets_are_told_apart_by_these_tests() -> None:
    assert set("+/") <= set(encoded(ODD))
    assert set("-_") <= set(encoded(ODD, url=True))


@pytest.mark.parametrize(
    "spelled",
    [
        'Bearer error="insufficient_claims", claims="%s"',
        'bearer ERROR="insufficient_claims", Claims="%s"',
        'Bearer claims="%s", error="insufficient_claims"',
        'Bearer error="insufficient_claims",claims="%s"',
        'Bearer error = "insufficient_claims" ,\tclaims =  "%s"',
        "Bearer error=insufficient_claims, claims=%s",
        'Bearer error="insufficient\\_claims", claims="%s"',
        'Bearer realm="a \\"quoted\\" realm, with a comma", error="insufficient_claims", claims="%s"',
        'Bearer error_description="claims=\\"none\\", error=\\"other\\"", error="insufficient_claims", claims="%s"',
        'Bearer realm="", error="insufficient_claims", claims="%s", client_id="c"',
    ],
)
def test_a_challenge_may_be_written_in_every_way_of_rfc_9110(spelled: str) -> None:
    assert claims_of(spelled % encoded(CLAIMS)) == CLAIMS


@pytest.mark.parametrize(
    "around",
    [
        'Basic realm="x", %s',
        "Negotiate, %s",
        'PoP nonce="abc", %s',
        'Bearer realm="one", %s',
        '%s, Basic realm="x"',
        "%s, Negotiate",
        '%s, PoP nonce="abc="',
        'Basic realm="x", %s, PoP nonce="abc"',
    ],
)
def test_it_is_found_among_several_challenges(around: str) -> None:
    assert claims_of(around % challenge(encoded(CLAIMS))) == CLAIMS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer",
        "Negotiate",
        'Bearer realm=""',
        'Bearer error="invalid_token", error_description="The access token has expired"',
        'Bearer error="insufficient_claims"',
        'Bearer error="insufficient_claims", claims=""',
        'Bearer error="insufficient_claims", claims',
        f'Bearer claims="{encoded(CLAIMS)}"',
        challenge(encoded(CLAIMS), "invalid_token"),
        challenge(encoded(CLAIMS), "insufficient_scope"),
        challenge(encoded(CLAIMS), "xinsufficient_claims"),
        f'Bearer error="insufficient_claims", xclaims="{encoded(CLAIMS)}"',
        f'Bearer error="insufficient_claims", error_description="claims={encoded(CLAIMS)}"',
    ],
)
def test_a_challenge_without_claims_has_none(text: str) -> None:
    assert claims_of(text) is None


@pytest.mark.parametrize(
    "claims",
    [
        "=",
        "====",
        "a",
        "!!!!",
        "\u00e4",
        "\x00",
        encoded(CLAIMS)[:-5],
        encoded("no json"),
        encoded("[1]"),
        encoded('"text"'),
        encoded("null"),
        encoded("1"),
        encoded("{" + "1" * 5000 + "}"),
        base64.b64encode(b"\xff\xfe{}").decode(),
        base64.b64encode(CLAIMS.encode("utf-16")).decode(),
    ],
)
def test_claims_that_are_no_json_object_are_none(claims: str) -> None:
    assert claims_of(challenge(claims)) is None


def is_none_or_an_object(found: str | None) -> bool:
    return found is None or isinstance(json.loads(found), dict)


@given(st.text())
def test_garbage_is_no_challenge(text: str) -> None:
    assert is_none_or_an_object(claims_of(text))


@given(
    st.lists(
        st.sampled_from(["Bearer ", "error", "claims", "=", '"', "\\", ", ", " ", "insufficient_claims", "e30", "x"])
    )
)
def test_pieces_of_a_challenge_are_read_or_none(pieces: list[str]) -> None:
    assert is_none_or_an_object(claims_of("".join(pieces)))


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.b64encode(raw).decode())))
def test_any_value_of_claims_is_read_or_none(claims: str) -> None:
    assert is_none_or_an_object(claims_of(challenge(claims)))


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.booleans(), st.integers())), st.booleans(), st.booleans())
def test_any_object_comes_through_as_it_was_written(claims: dict[str, object], url: bool, padded: bool) -> None:
    text = json.dumps(claims, ensure_ascii=False)
    assert claims_of(challenge(encoded(text, url=url, padded=padded))) == text
