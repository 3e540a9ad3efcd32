"""The generator alone: which effects it yields for a request, in which order, and what it makes of their outcomes."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from azure_shim.routing.route import Addresses, Call, Route, route
from azure_shim.values import (
    Answered,
    Ask,
    Asked,
    Body,
    Credential,
    Failed,
    Header,
    Peek,
    Refusal,
    Send,
    Served,
    Target,
)
from azure_shim.wire.endpoints import parse
from azure_shim.wire.request_line import read

HOST = "https://r.openai.azure.com"
VERSION = "2024-10-21"
KEY = "canary-0123456789abcdef0123456789abcdef"
SIGNED: tuple[Header, ...] = ((b"api-key", KEY.encode()),)
CHAT = b'{"messages":[],"model":"gpt-4o"}'
FORM_TYPE = "multipart/form-data; boundary=b"
FORM = [
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n',
    b"whisper-1\r\n--b\r\n",
    b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n',
    b"\x00" * 1000 + b"\r\n--b--\r\n",
]
OK = Answered(200, "application/json", object())


def provider() -> str:
    raise AssertionError("the route asks, it never calls")


def target(version: str | None = None, endpoint: str = HOST, **fields: Any) -> Target:
    fields.setdefault("credential", Credential("api_key", value=KEY))
    return Target("r", parse(endpoint).endpoint, version, **fields)


def call(
    raw_path: str = "/v1/chat/completions",
    content: bytes | None = CHAT,
    *,
    method: str = "POST",
    content_type: str = "application/json",
    encoding: str = "",
    headers: list[Header] | None = None,
    explicit: tuple[Header, ...] = (),
) -> Call:
    return Call(read(method, raw_path), headers, explicit, content_type, encoding, content)


class Run:
    """Drives one route: ``chunks`` is the body to peek at, ``asked`` what the provider gives, ``outcome`` what came."""

    def __init__(
        self,
        given: Call,
        to: Target | Addresses,
        *,
        chunks: list[bytes] | None = None,
        asked: Asked | None = None,
        outcome: Answered | Failed = OK,
    ) -> None:
        self.effects: list[str] = []
        self.sent: Send | None = None
        self.left = list(chunks or [])
        machine: Route = route(given, to if isinstance(to, Addresses) else Addresses(to))
        answer: Any = None
        try:
            while True:
                effect = machine.send(answer)
                self.effects.append(type(effect).__name__)
                if isinstance(effect, Peek):
                    while self.left and not effect.feed(self.left.pop(0)):
                        pass
                    answer = None
                elif isinstance(effect, Ask):
                    assert asked is not None, "the provider was asked"
                    answer = asked
                else:
                    assert isinstance(effect, Send)
                    assert self.sent is None, "sent twice"
                    self.sent, answer = effect, outcome
        except StopIteration as done:
            self.result = done.value

    @property
    def send(self) -> Send:
        assert self.sent is not None, self.result
        return self.sent

    @property
    def body(self) -> Body:
        assert self.send.body is not None
        return self.send.body

    @property
    def refusal(self) -> Refusal:
        assert isinstance(self.result, Refusal), self.result
        assert self.sent is None, "sent in spite of the refusal"
        return self.result


def test_classic_puts_the_model_into_the_path_and_leaves_the_body_alone() -> None:
    run = Run(call(), target(VERSION))

    assert run.effects == ["Send"]
    assert run.send.address.url == f"{HOST}/openai/deployments/gpt-4o/chat/completions?api-version={VERSION}"
    assert run.send.address.authority == "r.openai.azure.com"
    assert run.send.address.served == Served("r", "/chat/completions", "gpt-4o", "gpt-4o")
    assert (run.send.headers, tuple(run.send.credential), run.send.body) == (None, SIGNED, None)
    assert run.result is OK


def test_v1_without_names_to_change_reads_no_body_at_all() -> None:
    run = Run(call(content=None), target())

    assert run.effects == ["Send"]
    assert run.send.address.url == f"{HOST}/openai/v1/chat/completions"
    assert run.send.address.served == Served("r", "/chat/completions")
    assert run.send.body is None


def test_v1_without_names_to_change_tells_the_model_of_a_body_in_memory() -> None:
    for given in (call(), call("/v1/audio/speech"), call("/v1/responses")):
        run = Run(given, target())
        assert run.effects == ["Send"]
        assert run.send.body is None
        assert (run.send.address.served.model, run.send.address.served.deployment) == ("gpt-4o", "gpt-4o")

    form = Run(call("/v1/audio/transcriptions", b"".join(FORM), content_type=FORM_TYPE), target())
    assert form.effects == ["Send"]
    assert form.send.body is None
    assert form.send.address.served.model == "whisper-1"


def test_classic_maps_the_model_in_the_path_alone() -> None:
    run = Run(call(), target(VERSION, deployments={"gpt-4o": "a/b c"}))
    assert "/deployments/a%2Fb%20c/chat/completions?" in run.send.address.url
    assert run.send.address.served == Served("r", "/chat/completions", "gpt-4o", "a/b c")
    assert run.send.body is None


def test_v1_maps_the_model_in_the_body_and_leaves_the_rest() -> None:
    run = Run(call(), target(deployments={"gpt-4o": "prod"}))
    assert b"".join(run.body.chunks) == CHAT.replace(b"gpt-4o", b"prod")
    assert (run.body.whole, run.body.grown_bytes) == (True, -2)
    assert run.send.address.url == f"{HOST}/openai/v1/chat/completions"
    assert run.send.address.served == Served("r", "/chat/completions", "gpt-4o", "prod")


@pytest.mark.parametrize(
    "fields", [{"deployments": {"gpt-4o": "gpt-4o"}}, {"deployments": {}}, {"default_deployment": "gpt-4o"}]
)
def test_v1_changes_no_body_that_has_the_right_name(fields: dict[str, Any]) -> None:
    run = Run(call(), target(**fields))
    assert run.send.body is None
    assert run.send.address.served.deployment == "gpt-4o"


@pytest.mark.parametrize("version", [None, VERSION])
def test_responses_name_their_deployment_in_the_body_on_either_surface(version: str | None) -> None:
    run = Run(call("/v1/responses"), target(version, deployments={"gpt-4o": "prod"}))
    assert json.loads(b"".join(run.body.chunks))["model"] == "prod"
    assert "deployments" not in run.send.address.url


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/models/gpt-4o"),
        ("POST", "/v1/brand_new"),
        ("POST", "/v1/batches"),
    ],
)
@pytest.mark.parametrize("version", [None, VERSION])
def test_a_model_that_is_no_deployment_is_left_alone(method: str, path: str, version: str | None) -> None:
    run = Run(call(path, method=method), target(version, deployments={"gpt-4o": "prod"}, default_deployment="rest"))
    assert run.effects == ["Send"]
    assert run.send.body is None
    assert run.send.address.served.model is None
    assert run.send.address.served.deployment is None


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/edits"])
def test_classic_image_calls_lose_the_model_from_their_body(path: str) -> None:
    """Azure holds it against its own list of names (openai-python issue 2892); on v1 it stays."""
    run = Run(call(path), target(VERSION, deployments={"gpt-4o": "img"}))
    assert b"".join(run.body.chunks) == b'{"messages":[]}'
    assert run.body.grown_bytes == -len(b',"model":"gpt-4o"')
    assert "/deployments/img/images/" in run.send.address.url

    assert b"".join(Run(call(path), target(deployments={"gpt-4o": "img"})).body.chunks) == CHAT.replace(
        b"gpt-4o", b"img"
    )


def test_a_form_is_peeked_at_before_anything_is_asked_or_sent() -> None:
    credential = Credential("the azure_ad_token_provider function", is_token=True, provider=provider)
    run = Run(
        call("/v1/audio/transcriptions", None, content_type=FORM_TYPE),
        target(VERSION, credential=credential),
        chunks=FORM,
        asked=Asked("token"),
    )

    assert run.effects == ["Peek", "Ask", "Send"]
    assert f"{HOST}/openai/deployments/whisper-1/audio/transcriptions" in run.send.address.url
    assert tuple(run.send.credential) == ((b"Authorization", b"Bearer token"),)
    assert not run.body.whole
    assert b"".join([*run.body.chunks, *run.left]) == b"".join(FORM)
    assert FORM[-1] in run.left, "the upload was read"


def test_a_form_is_changed_where_v1_wants_another_name() -> None:
    run = Run(
        call("/v1/audio/transcriptions", None, content_type=FORM_TYPE),
        target(deployments={"whisper-1": "whisper-prod"}),
        chunks=FORM,
    )
    assert run.effects == ["Peek", "Send"]
    assert b"".join([*run.body.chunks, *run.left]) == b"".join(FORM).replace(b"whisper-1", b"whisper-prod")
    assert run.body.grown_bytes == 3


def test_a_form_of_an_image_call_loses_its_model_on_classic() -> None:
    run = Run(call("/v1/images/edits", b"".join(FORM), content_type=FORM_TYPE), target(VERSION))
    assert run.effects == ["Send"]
    assert run.body.whole
    assert b"".join(run.body.chunks) == b"".join(FORM[2:]).join([b"--b\r\n", b""])


def test_a_form_without_the_field_is_sent_as_it_came_by_the_default() -> None:
    run = Run(
        call("/v1/audio/transcriptions", None, content_type=FORM_TYPE),
        target(VERSION, default_deployment="w"),
        chunks=[b"--b\r\n", *FORM[2:]],
    )
    assert "/deployments/w/" in run.send.address.url
    assert run.send.address.served == Served("r", "/audio/transcriptions", None, "w")
    assert b"".join([*run.body.chunks, *run.left]) == b"--b\r\n" + b"".join(FORM[2:])
    assert run.body.grown_bytes == 0


def test_a_packed_body_is_read_and_packed_again() -> None:
    sent = gzip.compress(CHAT)
    run = Run(call(content=sent, encoding="gzip"), target(deployments={"gpt-4o": "prod"}))
    assert gzip.decompress(b"".join(run.body.chunks)) == CHAT.replace(b"gpt-4o", b"prod")
    assert run.body.grown_bytes == len(b"".join(run.body.chunks)) - len(sent)

    unread = Run(call(content=b"no gzip", encoding="gzip"), target(deployments={"gpt-4o": "prod"}))
    assert unread.send.body is None
    refusal = Run(call(content=b"no gzip", encoding="gzip"), target(VERSION)).refusal
    assert (refusal.status, refusal.code) == (400, "ModelMissing")


def test_an_azure_spelling_names_its_deployment_by_itself() -> None:
    spelt = f"/openai/deployments/my%20dep/chat/completions?api-version={VERSION}"
    run = Run(call(spelt, None), target(VERSION))
    assert run.effects == ["Send"]
    assert "/deployments/my%20dep/chat/completions?" in run.send.address.url
    assert run.send.address.served == Served("r", "/chat/completions", "my dep", "my dep")

    on_v1 = Run(call(spelt), target())
    assert on_v1.send.address.url == f"{HOST}/openai/v1/chat/completions"
    assert json.loads(b"".join(on_v1.body.chunks)) == {"messages": [], "model": "my dep"}
    nameless = Run(call(spelt, b'{"messages":[]}'), target())
    assert json.loads(b"".join(nameless.body.chunks)) == {"model": "my dep", "messages": []}


def test_a_deployment_in_the_path_is_not_replaced_by_the_default() -> None:
    """Where path and body differ, the path names a deployment; where they agree, an SDK wrote the model into both."""
    default = target(VERSION, default_deployment="rest", unmapped="error")
    named = Run(call("/openai/deployments/mine/chat/completions"), default)
    assert "/deployments/mine/" in named.send.address.url
    model = Run(call("/openai/deployments/gpt-4o/chat/completions"), default)
    assert "/deployments/rest/" in model.send.address.url


@pytest.mark.parametrize(
    "content", [b"{}", b'{"model":null}', b'{"model":""}', b'{"model":5}', b"[]", b"", b"no json", None]
)
def test_without_a_model_the_default_deployment_serves_or_nobody(content: bytes | None) -> None:
    run = Run(call(content=content), target(VERSION, default_deployment="rest"))
    assert "/deployments/rest/chat/completions?" in run.send.address.url
    assert run.send.body is None
    assert run.send.address.served == Served("r", "/chat/completions", None, "rest")

    refusal = Run(call(content=content), target(VERSION)).refusal
    assert (refusal.status, refusal.code) == (400, "ModelMissing")
    assert "model='<deployment>'" in refusal.message
    assert "azure_deployment='<deployment>'" in refusal.message


@pytest.mark.parametrize("content", [b"{}", b'{"prompt":{"id":"p"}}', b"no json", None])
def test_v1_takes_a_body_without_a_model_as_it_is(content: bytes | None) -> None:
    run = Run(call("/v1/responses", content), target(deployments={"gpt-4o": "prod"}, default_deployment="rest"))
    assert run.send.body is None
    assert run.send.address.served == Served("r", "/responses")


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/chat/completions"])
def test_v1_gets_the_default_deployment_where_only_the_call_can_name_one(path: str) -> None:
    run = Run(call(path, b'{"prompt":"x"}'), target(default_deployment="rest"))
    assert json.loads(b"".join(run.body.chunks)) == {"model": "rest", "prompt": "x"}
    assert run.send.address.served.deployment == "rest"


def test_a_default_for_one_operation_serves_no_other() -> None:
    to = target(VERSION, default_deployment="chat-dep", default_for="/chat/completions")
    assert "/deployments/chat-dep/" in Run(call(), to).send.address.url
    assert "/deployments/gpt-4o/embeddings" in Run(call("/v1/embeddings"), to).send.address.url
    assert Run(call("/v1/embeddings", b"{}"), to).refusal.code == "ModelMissing"


def test_an_explicit_credential_is_sent_and_nobody_is_asked_for_another() -> None:
    explicit = ((b"Authorization", b"Bearer mine"),)
    headers = [(b"Accept", b"*/*")]
    credential = Credential("p", is_token=True, provider=provider)
    run = Run(call(headers=headers, explicit=explicit), target(VERSION, credential=credential))

    assert run.effects == ["Send"]
    assert tuple(run.send.credential) == explicit
    assert run.send.headers is headers


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(error=RuntimeError(f"no {KEY}")), "raised RuntimeError: no ***"),
        (Asked(""), "is empty"),
        (Asked(None), "of type NoneType"),
    ],
)
def test_without_a_credential_nothing_is_sent(asked: Asked, message: str) -> None:
    credential = Credential("the azure_ad_token_provider function", is_token=True, provider=provider)
    run = Run(call(), target(VERSION, credential=credential), asked=asked)

    assert run.effects == ["Ask"]
    assert (run.refusal.status, run.refusal.code) == (401, "CredentialUnavailable")
    assert message in run.refusal.message
    assert run.refusal.cause is asked.error


def test_a_provider_is_asked_for_every_request() -> None:
    addresses = Addresses(target(credential=Credential("p", is_token=True, provider=provider)))
    for token in ("one", "two"):
        run = Run(call(), addresses, asked=Asked(token))
        assert run.effects == ["Ask", "Send"]
        assert tuple(run.send.credential) == ((b"Authorization", b"Bearer " + token.encode()),)


@pytest.mark.parametrize(
    ("path", "version", "fields", "code"),
    [
        ("/v1/assistants", None, {}, "OperationOnOtherSurface"),
        ("/v1/conversations", VERSION, {}, "OperationOnOtherSurface"),
        ("/v1/moderations", None, {}, "OperationNotOffered"),
        ("/v1/organization/users", VERSION, {}, "OperationNotOffered"),
        ("/v1/files/../x", None, {}, "InvalidPath"),
        ("/v1/chat/completions", VERSION, {"deployments": {"o3": "x"}, "unmapped": "error"}, "ModelNotMapped"),
        ("/v1/chat/completions", None, {"deployments": {"o3": "x"}, "unmapped": "error"}, "ModelNotMapped"),
        ("/v1/chat/completions", VERSION, {"deployments": {"gpt-4o": ".."}}, "InvalidDeployment"),
        ("/openai/deployments/%2e%2e/chat/completions", VERSION, {}, "InvalidDeployment"),
    ],
)
def test_a_call_that_cannot_be_served_is_refused_before_any_effect(
    path: str, version: str | None, fields: dict[str, Any], code: str
) -> None:
    to = target(version, credential=Credential("p", is_token=True, provider=provider), **fields)
    run = Run(call(path), to)
    assert run.effects == []
    assert run.refusal.code == code


def test_a_function_of_the_caller_s_that_raises_is_a_refusal_with_its_reason() -> None:
    error = LookupError(f"no deployment, token {KEY}")

    def deployments(model: str) -> str:
        raise error

    for version in (None, VERSION):
        refusal = Run(call(), target(version, deployments=deployments)).refusal
        assert (refusal.status, refusal.code) == (400, "InvalidDeployment")
        assert "LookupError: no deployment, token ***" in refusal.message
        assert refusal.cause is error
        assert KEY not in repr(refusal)


@pytest.mark.parametrize("content", [b'{"model":"\\x"}', b'{"model":"\xff"}', b'{"a":1,"model":"\xed\xa0\x80"}'])
def test_a_body_that_is_no_valid_json_breaks_nothing(content: bytes) -> None:
    run = Run(call(content=content), target(VERSION, default_deployment="rest"))
    assert "/deployments/" in run.send.address.url
    assert Run(call(content=content), target()).send.body is None


@pytest.mark.parametrize("outcome", [Answered(401, "", None), Answered(503, "", None), Failed(OSError("reset"))])
def test_the_outcome_is_the_caller_s_whatever_it_is(outcome: Answered | Failed) -> None:
    run = Run(call(), target(VERSION), outcome=outcome)
    assert run.effects == ["Send"]
    assert run.result is outcome


def test_addresses_and_refusals_are_kept_for_a_line() -> None:
    addresses = Addresses(target(VERSION))
    line = read("POST", "/v1/chat/completions")
    calls = [Call(line, None, (), "application/json", "", CHAT.replace(b"gpt-4o", name)) for name in (b"a", b"b", b"a")]
    one, other, again = (Run(given, addresses).send.address for given in calls)
    assert one is again
    assert "/deployments/a/" in one.url
    assert "/deployments/b/" in other.url

    refused = Call(read("POST", "/v1/conversations"), None, (), "", "", None)
    assert Run(refused, addresses).refusal is Run(refused, addresses).refusal


def test_what_is_kept_is_bounded() -> None:
    addresses = Addresses(target(VERSION))
    for number in range(3000):
        line = read("GET", f"/v1/files/file-{number}")
        run = Run(Call(line, None, (), "", "", None), addresses)
        assert f"/openai/files/file-{number}?" in run.send.address.url
    assert len(addresses._addresses) <= 1024
    assert len(addresses._refusals) <= 1024


def test_no_repr_shows_a_secret() -> None:
    given = call(explicit=SIGNED, content=KEY.encode(), headers=[(b"X-Key", KEY.encode())])
    to = target(VERSION, default_deployment="d", headers={"X-Key": KEY})
    run = Run(given, to)
    shown: list[object] = [given, to, run.send, run.send.address, Body((KEY.encode(),), whole=True, grown_bytes=0)]
    shown += [Refusal(401, "c", "m", ValueError(KEY)), Asked(KEY), Asked(error=ValueError(KEY)), to.credential]
    for value in shown:
        assert "canary" not in repr(value) + str(value), type(value)
