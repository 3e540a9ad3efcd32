"""A credential is asked in its own protocol, once more only where that helps; what it says is told without secrets."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable
from typing import Any

import azure.identity
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    IncompleteReadError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.identity import CredentialUnavailableError

from azure_shim.auth.identities import Identity
from azure_shim.auth.source import AwaitedInstead, Granted, TokenSource

SCOPE = "https://cognitiveservices.azure.com/.default"
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "99999999-8888-7777-6666-aaaaaaaaaaaa"
CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
TOKEN, OTHER = "canary-token-1", "canary-token-2"
# No pattern would know it for a secret.
SHORT = "canary~pw"
JWT = "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJjYW5hcnkifQ.Y2FuYXJ5"


class Given:
    """What azure-core's two kinds of access token have in common; ``refresh_on`` is the newer one's alone."""

    def __init__(self, token: Any = TOKEN, expires_on: Any = 2_000, **more: Any) -> None:
        self.token, self.expires_on = token, expires_on
        self.__dict__.update(more)


class Scripted:
    """Gives one answer after the other, the last one for ever; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked, self.closed = list(answers), [], 0  # type: ignore[var-annotated]

    def _next(self, *asked: Any) -> Any:
        self.asked.append(asked)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self.closed += 1


class Newer(Scripted):
    def get_token_info(self, *scopes: str, options: dict[str, Any] | None = None) -> Any:
        return self._next(scopes, options)

    def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError("the newer protocol is the one that tells when to refresh")


class Older(Scripted):
    def get_token(self, *scopes: str, **options: Any) -> Any:
        return self._next(scopes, options)


class Oldest(Scripted):
    """What people write by hand."""

    def get_token(self, scope: str) -> Any:
        return self._next((scope,), {})


class AsyncNewer(Scripted):
    async def get_token_info(self, *scopes: str, options: dict[str, Any] | None = None) -> Any:
        return self._next(scopes, options)

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError("the newer protocol is the one that tells when to refresh")


class AsyncOlder(Scripted):
    async def get_token(self, *scopes: str, **options: Any) -> Any:
        return self._next(scopes, options)


class AsyncOldest(Scripted):
    async def get_token(self, scope: str) -> Any:
        return self._next((scope,), {})


KINDS = [Newer, Older, AsyncNewer, AsyncOlder]
ALL_KINDS = [*KINDS, Oldest, AsyncOldest]


def ask(source: TokenSource, refused: str | None = None, claims: str | None = None) -> Granted:
    """By whichever of the two ways the credential is for."""
    if source.is_awaited:
        return asyncio.run(source.ask_async(refused, claims))
    return source.ask(refused, claims)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Newer]:
    """The credentials that identities became, each of which gives a token of its own."""
    found: list[Newer] = []

    def credential(identity: Identity) -> Newer:
        found.append(Newer(Given(f"canary-made-{len(found)}")))
        return found[-1]

    monkeypatch.setattr(Identity, "credential", credential)
    return found


class TestProtocols:
    @pytest.mark.parametrize("kind", ALL_KINDS)
    def test_a_credential_is_asked_for_the_scope_alone(self, kind: Callable[..., Scripted]) -> None:
        credential = kind(Given())
        source = TokenSource(SCOPE, given=credential)
        assert ask(source) == Granted(TOKEN, 2_000.0, None)
        assert credential.asked == [((SCOPE,), {})]
        assert source.is_awaited is kind.__name__.startswith("Async")  # type: ignore[attr-defined]

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("tenant_id", "claims", "options"),
        [
            (None, None, {}),
            (TENANT, None, {"tenant_id": TENANT}),
            (None, CLAIMS, {"claims": CLAIMS, "enable_cae": True}),
            (TENANT, CLAIMS, {"tenant_id": TENANT, "claims": CLAIMS, "enable_cae": True}),
        ],
    )
    def test_tenant_and_claims_are_options_of_either_protocol(
        self, kind: Callable[..., Scripted], tenant_id: str | None, claims: str | None, options: dict[str, Any]
    ) -> None:
        credential = kind(Given())
        ask(TokenSource(SCOPE, given=credential, tenant_id=tenant_id), claims=claims)
        assert credential.asked == [((SCOPE,), options)]

    @pytest.mark.parametrize("kind", KINDS)
    def test_after_a_challenge_every_token_is_asked_for_as_one_that_can_be_challenged(
        self, kind: Callable[..., Scripted]
    ) -> None:
        """azure-identity keeps those tokens in a cache of their own; the claims are of the one challenge."""
        credential = kind(Given())
        source = TokenSource(SCOPE, given=credential)
        for claims in (None, CLAIMS, None):
            ask(source, claims=claims)
        assert [options for _, options in credential.asked] == [
            {},
            {"claims": CLAIMS, "enable_cae": True},
            {"enable_cae": True},
        ]

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (Given(refresh_on=1_500), Granted(TOKEN, 2_000.0, 1_500.0)),
            (Given(refresh_on=None), Granted(TOKEN, 2_000.0, None)),
            (Given(expires_on="2000", refresh_on="1500"), Granted(TOKEN, 2_000.0, 1_500.0)),
            (Given(expires_on=2_000.5), Granted(TOKEN, 2_000.5, None)),
        ],
    )
    def test_when_to_refresh_is_taken_from_the_credential_that_tells(self, answer: Given, expected: Granted) -> None:
        granted = ask(TokenSource(SCOPE, given=Newer(answer)))
        assert granted == expected
        assert "canary" not in repr(granted)

    def test_azure_core_s_own_tokens_are_read(self) -> None:
        from azure.core.credentials import AccessToken, AccessTokenInfo

        assert ask(TokenSource(SCOPE, given=Older(AccessToken(TOKEN, 2_000)))) == Granted(TOKEN, 2_000.0, None)
        info = AccessTokenInfo(TOKEN, 2_000, refresh_on=1_500)
        assert ask(TokenSource(SCOPE, given=AsyncNewer(info))) == Granted(TOKEN, 2_000.0, 1_500.0)

    def test_one_that_turns_out_to_be_awaited_is_known_for_it_from_then_on(self) -> None:
        """A wrapper need not look like what it wraps; its coroutine is closed, so that nothing warns of it."""

        class Hidden(AsyncOlder):
            def get_token(self, *scopes: str, **options: Any) -> Any:
                return super().get_token(*scopes, **options)

        source = TokenSource(SCOPE, given=Hidden(Given()))
        assert not source.is_awaited
        with pytest.raises(AwaitedInstead):
            source.ask(None, CLAIMS)
        assert source.is_awaited
        assert source.given.asked == []
        assert ask(source).token == TOKEN

    def test_a_cancellation_is_no_answer(self) -> None:
        source = TokenSource(SCOPE, given=AsyncNewer(asyncio.CancelledError()))
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(source.ask_async(None, None))
        assert len(source.given.asked) == 1


class TestRefused:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_caller_s_credential_that_gives_the_refused_token_is_asked_past_its_cache(
        self, kind: Callable[..., Scripted]
    ) -> None:
        credential = kind(Given(TOKEN), Given(OTHER))
        before = int(time.time())
        assert ask(TokenSource(SCOPE, given=credential, tenant_id=TENANT), refused=TOKEN).token == OTHER
        (_, first), (_, second) = credential.asked
        assert first == {"tenant_id": TENANT}
        claim = json.loads(second.pop("claims"))["access_token"]["nbf"]
        assert second == {"tenant_id": TENANT}
        assert claim["essential"] is True
        assert before <= int(claim["value"]) <= int(time.time())
        assert credential.closed == 0

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_that_gives_another_token_is_asked_once(self, kind: Callable[..., Scripted]) -> None:
        credential = kind(Given(OTHER))
        assert ask(TokenSource(SCOPE, given=credential), refused=TOKEN).token == OTHER
        assert credential.asked == [((SCOPE,), {})]

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_that_was_asked_with_claims_is_not_asked_with_others(self, kind: Callable[..., Scripted]) -> None:
        credential = kind(Given(TOKEN))
        assert ask(TokenSource(SCOPE, given=credential), refused=TOKEN, claims=CLAIMS).token == TOKEN
        assert [options["claims"] for _, options in credential.asked] == [CLAIMS]

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_that_has_no_other_token_gives_the_same_again(self, kind: Callable[..., Scripted]) -> None:
        credential = kind(Given(TOKEN))
        assert ask(TokenSource(SCOPE, given=credential), refused=TOKEN) == Granted(TOKEN, 2_000.0)
        assert len(credential.asked) == 2

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("error", [ClientAuthenticationError("no such claims"), IncompleteReadError("cut")])
    def test_one_that_fails_past_its_cache_gives_the_same_again_and_the_reason(
        self, error: Exception, kind: Callable[..., Scripted]
    ) -> None:
        credential = kind(Given(TOKEN), error)
        granted = ask(TokenSource(SCOPE, given=credential), refused=TOKEN)
        assert (granted.token, granted.instead) == (TOKEN, error)
        assert "canary" not in repr(granted)
        assert len(credential.asked) == 2

    @pytest.mark.parametrize("kind", [Oldest, AsyncOldest])
    def test_one_that_takes_no_claims_gives_the_same_again_and_the_reason(self, kind: Callable[..., Scripted]) -> None:
        credential = kind(Given(TOKEN))
        granted = ask(TokenSource(SCOPE, given=credential), refused=TOKEN)
        assert granted.token == TOKEN
        assert isinstance(granted.instead, TypeError)
        assert len(credential.asked) == 1

    def test_what_it_gives_past_its_cache_has_to_be_a_token(self) -> None:
        with pytest.raises(ValueError, match="has a token that is empty"):
            ask(TokenSource(SCOPE, given=Newer(Given(TOKEN), Given(""))), refused=TOKEN)

    @pytest.mark.parametrize("claims", [None, CLAIMS])
    def test_one_of_ours_is_made_anew_with_an_empty_cache(self, claims: str | None, made: list[Newer]) -> None:
        source = TokenSource(SCOPE, identity=Identity("managed"))
        assert made == []
        first = ask(source)
        assert (first.token, ask(source).token) == ("canary-made-0", "canary-made-0")
        assert ask(source, refused=first.token, claims=claims).token == "canary-made-1"
        assert [(len(each.asked), each.closed) for each in made] == [(2, 1), (1, 0)]
        assert made[1].asked[0][1] == ({} if claims is None else {"claims": claims, "enable_cae": True})
        assert ask(source).token == "canary-made-1"

    def test_one_of_ours_that_has_no_other_token_is_asked_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The cache is the machine's, which no claim gets past."""
        credential = Newer(Given(TOKEN))
        monkeypatch.setattr(Identity, "credential", lambda identity: credential)
        assert ask(TokenSource(SCOPE, identity=Identity("managed")), refused=TOKEN).token == TOKEN
        assert len(credential.asked) == 1


def caused(error: Exception, cause: BaseException, *, implicit: bool = False) -> Exception:
    if implicit:
        error.__context__ = cause
    else:
        error.__cause__ = cause
    return error


def raised_by_azure(code: str) -> Exception:
    """What one of Azure's libraries trips over when an answer has not what it expects."""
    try:
        eval(compile(code, "azure", "eval"), {"__name__": "azure.identity._internal"})
    except Exception as error:
        return error
    raise AssertionError(code)


def suppressed(error: Exception, told: Exception) -> Exception:
    """``raise told from None``."""
    told.__context__, told.__suppress_context__ = error, True
    return told


GARBLED = {
    "cut": IncompleteReadError("cut"),
    "no response": ServiceResponseError("closed"),
    "no json": json.JSONDecodeError("Expecting value", "", 0),
    "no such field": raised_by_azure("{}['access_token']"),
    "no object": raised_by_azure("None.get"),
    "no content": ClientAuthenticationError("No response content from Microsoft Entra ID"),
    "no token": ClientAuthenticationError("Authentication failed: None"),
    "cut, wrapped": caused(ClientAuthenticationError("failed"), IncompleteReadError("cut")),
    "no json, in passing": caused(
        CredentialUnavailableError("failed"), json.JSONDecodeError("x", "", 0), implicit=True
    ),
}
FAILED = {
    "refused": ClientAuthenticationError("AADSTS7000215"),
    "unavailable": CredentialUnavailableError("none"),
    "os": OSError("no route"),
    "type": TypeError("x"),
    "value": ValueError("x"),
    "silent": ServiceResponseTimeoutError("read timeout"),
    "a caller's own": KeyError("access_token"),
    "hidden": suppressed(KeyError("access_token"), RuntimeError("told")),
    "round": caused(OSError("a"), OSError("b")),
    "wrapped": caused(ClientAuthenticationError("failed"), OSError("no route")),
}


class TestFailures:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("error", GARBLED.values(), ids=GARBLED)
    def test_after_a_garbled_answer_the_credential_is_asked_once_more(
        self, error: Exception, kind: Callable[..., Scripted]
    ) -> None:
        credential = kind(error, Given())
        assert ask(TokenSource(SCOPE, given=credential), claims=CLAIMS).token == TOKEN
        first, second = credential.asked
        assert first == second
        credential = kind(error)
        with pytest.raises(type(error)):
            ask(TokenSource(SCOPE, given=credential))
        assert len(credential.asked) == 2

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("error", FAILED.values(), ids=FAILED)
    def test_any_other_failure_is_the_answer(self, error: Exception, kind: Callable[..., Scripted]) -> None:
        credential = kind(error, Given())
        with pytest.raises(type(error)) as caught:
            ask(TokenSource(SCOPE, given=credential))
        assert caught.value is error
        assert len(credential.asked) == 1

    def test_an_identity_that_cannot_be_made_is_tried_anew_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[int] = []

        def credential(identity: Identity) -> Any:
            tried.append(1)
            if len(tried) == 1:
                raise ValueError("no certificate")
            return Newer(Given())

        monkeypatch.setattr(Identity, "credential", credential)
        source = TokenSource(SCOPE, identity=Identity("entra"))
        with pytest.raises(ValueError, match="no certificate"):
            ask(source)
        assert ask(source).token == TOKEN
        assert len(tried) == 2

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (Given(""), "has a token that is empty"),
            (Given(None), "has a token that is of type NoneType"),
            (Given(b"canary"), "has a token that is of type bytes"),
            (Given("canary\n"), "has a token that has white space or a line break around it"),
            (Given("canary\r\nX: 1"), "has a token that has white space, a control character"),
            (None, "has a token that is of type NoneType"),
            ("canary", "has a token that is of type NoneType"),
            (object(), "has a token that is of type NoneType"),
            (Given(expires_on=None), "does not say as a number when the token expires"),
            (Given(expires_on="canary soon"), "does not say as a number when the token expires"),
            (Given(expires_on=[]), "does not say as a number when the token expires"),
            (Given(refresh_on="canary soon"), "does not say as a number when the token expires"),
            (type("Bare", (), {"token": TOKEN})(), "does not say as a number when the token expires"),
        ],
    )
    def test_what_is_no_token_is_told_and_not_quoted(
        self, answer: object, reason: str, kind: Callable[..., Scripted]
    ) -> None:
        credential = kind(answer)
        source = TokenSource(SCOPE, given=credential)
        with pytest.raises(ValueError, match=f"what it returned {reason}") as caught:
            ask(source)
        assert len(credential.asked) == 1
        assert "canary" not in str(caught.value) + source.failure(caught.value)


def refusing(reason: str) -> Any:
    """A link of a chain, with a class of its own."""

    def get_token_info(self: Any, *scopes: str, options: Any = None) -> Any:
        raise CredentialUnavailableError(message=reason)

    return type(f"Link{len(reason)}", (), {"get_token_info": get_token_info})()


class TestWords:
    def failure(self, error: BaseException, **source: Any) -> str:
        source.setdefault("given", Newer(Given()))
        return TokenSource(SCOPE, **source).failure(error)

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (ClientAuthenticationError("AADSTS7000215: wrong"), "AADSTS7000215: wrong"),
            (CredentialUnavailableError("nothing here"), "nothing here"),
            (RuntimeError("it is down"), "RuntimeError: it is down"),
            (RuntimeError(), "RuntimeError"),
            (KeyError("access_token"), "KeyError: 'access_token'"),
            (RuntimeError("one\ntwo\n\n  three"), "RuntimeError: one two three"),
            (RuntimeError("\n"), "RuntimeError"),
        ],
    )
    def test_a_failure_names_credential_scope_authority_and_reason(self, error: Exception, reason: str) -> None:
        expected = f"Newer got no token for {SCOPE} from login.microsoftonline.com: {reason}"
        assert self.failure(error) == expected

    @pytest.mark.parametrize(
        ("identity", "named", "authority"),
        [
            (Identity("entra", client_secret="s"), "ClientSecretCredential", "login.microsoftonline.com"),
            (Identity("entra", certificate_path="f"), "CertificateCredential", "login.microsoftonline.com"),
            (Identity("entra", "https://adfs.example"), "ClientSecretCredential", "https://adfs.example"),
            (Identity("managed"), "ManagedIdentityCredential", "the identity endpoint of this machine"),
            (Identity("workload"), "WorkloadIdentityCredential", "login.microsoftonline.com"),
            (Identity("default"), "DefaultAzureCredential", "login.microsoftonline.com"),
            (Identity("default", "login.microsoftonline.us"), "DefaultAzureCredential", "login.microsoftonline.us"),
            (Identity("cli"), "AzureCliCredential", "login.microsoftonline.com"),
        ],
    )
    def test_an_identity_is_named_by_the_class_it_becomes(self, identity: Identity, named: str, authority: str) -> None:
        source = TokenSource(SCOPE, identity=identity)
        assert source.name == named
        assert source.authority == authority
        assert source.failure(OSError("x")) == f"{named} got no token for {SCOPE} from {authority}: OSError: x"

    def test_the_authority_is_the_credential_s_own_or_the_environment_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = azure.identity.ClientSecretCredential(TENANT, CLIENT, SHORT, authority="login.microsoftonline.us")
        assert TokenSource(SCOPE, given=real).authority == "https://login.microsoftonline.us"
        real.close()
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://adfs.example")
        assert TokenSource(SCOPE, given=Newer(Given())).authority == "https://adfs.example"
        assert TokenSource(SCOPE, identity=Identity("cli")).authority == "https://adfs.example"

    def test_each_link_of_a_chain_has_a_line(self) -> None:
        links = [refusing("nothing is set."), refusing("went\nover two lines"), refusing(f"no tenant {TENANT}")]
        chain = azure.identity.ChainedTokenCredential(*links)
        with pytest.raises(ClientAuthenticationError) as caught:
            chain.get_token_info(SCOPE)
        first, attempted, *lines = self.failure(caught.value, given=chain).splitlines()
        assert first.startswith(f"ChainedTokenCredential got no token for {SCOPE} from login.microsoftonline.com: ")
        assert first.endswith("failed to retrieve a token from the included credentials.")
        assert attempted == "Attempted credentials:"
        names = [type(link).__name__ for link in links]
        assert lines == [
            f"{names[0]}: nothing is set.",
            f"{names[1]}: went over two lines",
            f"{names[2]}: no tenant {TENANT}",
        ]

    def test_a_chain_inside_a_chain_has_a_line_for_each_link_too(self) -> None:
        inner = azure.identity.ChainedTokenCredential(refusing("inner"), refusing("second"))
        chain = azure.identity.ChainedTokenCredential(inner)
        with pytest.raises(ClientAuthenticationError) as caught:
            chain.get_token_info(SCOPE)
        lines = self.failure(caught.value, given=chain).splitlines()
        assert [line for line in lines if line.startswith("Link")] == ["Link5: inner", "Link6: second"]
        assert not any("aka.ms" in line for line in lines)

    @pytest.mark.parametrize("secret", [SHORT, "pw", "abC8Q~dEfGhIjKlMnOpQr.StUvWx-Yz01234567"])
    @pytest.mark.parametrize("text", ["%s", "secret '%s' is wrong", "client_secret=%s&grant_type=x", "%s%s", "a\n%s"])
    def test_a_client_secret_is_masked_wherever_it_is_quoted(self, secret: str, text: str) -> None:
        error = ClientAuthenticationError(text.replace("%s", secret) + f" in {TENANT}")
        real = azure.identity.ClientSecretCredential(TENANT, CLIENT, secret)
        chain = azure.identity.ChainedTokenCredential(refusing("x"), real)
        for source in (
            {"given": real},
            {"given": chain},
            {"identity": Identity("entra", client_secret=secret)},
            {"identity": Identity("entra", certificate_path="f", certificate_password=secret)},
        ):
            told = self.failure(error, **source)
            assert secret not in told
            assert "***" in told
            assert TENANT in told
        real.close()

    @pytest.mark.parametrize("secret", [JWT, "0123456789abcdef0123456789abcdef"])
    def test_what_looks_like_a_secret_is_masked_whoever_says_it(self, secret: str) -> None:
        told = self.failure(RuntimeError(f"got {secret} for {CLIENT} of {TENANT}"))
        assert told.endswith(f"RuntimeError: got *** for {CLIENT} of {TENANT}")

    @pytest.mark.parametrize(
        "source",
        [
            TokenSource(SCOPE, identity=Identity("entra", client_secret=SHORT, certificate_password="canary")),
            TokenSource(SCOPE, given=azure.identity.ClientSecretCredential(TENANT, CLIENT, SHORT)),
        ],
        ids=["identity", "given"],
    )
    def test_no_repr_shows_a_secret(self, source: TokenSource) -> None:
        for text in (repr(source), str(source), repr(source.identity), repr([source])):
            assert "canary" not in text
        assert source.name in repr(source)
        assert SCOPE in repr(source)


class TestSharing:
    def test_sources_of_one_credential_scope_and_tenant_are_equal(self) -> None:
        credential = Newer(Given())
        one, two = (TokenSource(SCOPE, given=credential, tenant_id=TENANT) for _ in range(2))
        assert one == two
        assert hash(one) == hash(two)
        mine, yours = (TokenSource(SCOPE, identity=Identity("entra", client_id=CLIENT)) for _ in range(2))
        assert mine == yours
        assert hash(mine) == hash(yours)
        assert one != mine

    @pytest.mark.parametrize(
        "other",
        [
            {"scope": "https://ai.azure.com/.default"},
            {"tenant_id": TENANT},
            {"tenant_id": None, "given": Newer(Given())},
            {"machine": 1},
            {"given": None, "identity": Identity("managed")},
        ],
        ids=lambda other: next(reversed(other)),
    )
    def test_any_difference_is_another_source(self, other: dict[str, Any]) -> None:
        base = {"scope": SCOPE, "given": Newer(Given())}
        assert TokenSource(**base) != TokenSource(**{**base, **other})
        assert TokenSource(**base) == TokenSource(**base)
        assert TokenSource(**base) != object()

    def test_credentials_that_say_they_are_equal_are_two(self) -> None:
        """Nothing of a caller's class is trusted to tell them apart, nor to be hashable."""

        class Same(Newer):
            __hash__ = None  # type: ignore[assignment]

            def __eq__(self, other: object) -> bool:
                return True

        one, two = TokenSource(SCOPE, given=Same(Given())), TokenSource(SCOPE, given=Same(Given()))
        assert one != two
        assert len({one, two}) == 2

    @pytest.mark.parametrize("changed", [name for name in Identity._fields if name != "mode"])
    def test_identities_that_differ_in_anything_are_two(self, changed: str) -> None:
        one, two = Identity("entra"), Identity("entra", **{changed: "x"})
        assert TokenSource(SCOPE, identity=one) != TokenSource(SCOPE, identity=two)

    def test_a_caller_s_credential_is_never_closed(self) -> None:
        credential = Newer(Given())
        source = TokenSource(SCOPE, given=credential)
        ask(source)
        ask(source, refused=OTHER)
        source.close()
        assert credential.closed == 0

    def test_one_of_ours_is_closed_once_and_made_anew_when_needed(self, made: list[Newer]) -> None:
        source = TokenSource(SCOPE, identity=Identity("managed"))
        source.close()
        assert made == []
        ask(source)
        source.close()
        source.close()
        assert [each.closed for each in made] == [1]
        ask(source)
        assert [each.closed for each in made] == [1, 0]

    def test_one_that_cannot_be_closed_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Bare:
            def get_token(self, *scopes: str) -> Given:
                return Given()

        monkeypatch.setattr(Identity, "credential", lambda identity: Bare())
        source = TokenSource(SCOPE, identity=Identity("cli"))
        ask(source)
        source.close()

    def test_a_child_makes_its_own_and_closes_nothing_of_the_parent_s(self, made: list[Newer]) -> None:
        source = TokenSource(SCOPE, identity=Identity("managed"))
        ask(source)
        source.after_fork()
        assert ask(source).token == "canary-made-1"
        assert [each.closed for each in made] == [0, 0]

    def test_these_credentials_are_of_the_kinds_they_say(self) -> None:
        assert inspect.iscoroutinefunction(AsyncOlder.get_token)
        assert not inspect.iscoroutinefunction(Older.get_token)
