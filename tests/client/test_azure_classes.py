"""`azure_shim.AzureOpenAI`: of openai's Azure class to code that asks for it, and on our engine all the same (P33)."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.client import PLACEHOLDER
from azure_shim.testing import FakeAzure, Recorded, Resource
from tests.acceptance.test_websockets import SocketServer, dial
from tests.conftest import AMBIENT_KEY, OWN_LIBRARY, POISON, Colour

MODELS = {
    "gpt-4o": "gpt-4o",
    "prod-4o": "gpt-4o",
    "text": "gpt-35-turbo-instruct",
    "vectors": "text-embedding-3-small",
    "dall-e-3": "dall-e-3",
    "ears": "whisper-1",
    "mouth": "tts-1",
}
MESSAGES: list[Any] = [{"role": "user", "content": "hi there"}]
CLASSIC = "2024-10-21"
PREVIEW = "2025-03-01-preview"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": MODELS, "westus": MODELS}) as found:
        for resource in found:
            resource.accepts_key_twice = True  # by openai 1's own class, which is compared with
        yield found
        assert found.leaks == []


@pytest.fixture
def east(azure: FakeAzure) -> Resource:
    return azure["eastus"]


def ours(colour: Colour, **arguments: Any) -> Any:
    client = (azure_shim.AsyncAzureOpenAI if colour.is_async else azure_shim.AzureOpenAI)(**arguments)
    colour._made.append(client)
    return client


def theirs(colour: Colour, **arguments: Any) -> Any:
    """openai's own, which sends to Azure what the environment has for OpenAI, unless there is nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for name in POISON:
            patch.delenv(name)
        client = colour.azure(**arguments)
    colour._made.append(client)
    return client


def at(resource: Resource, **more: Any) -> dict[str, Any]:
    return {"azure_endpoint": resource.endpoint, "api_key": resource.api_key, "api_version": CLASSIC, **more}


def chat(colour: Colour, client: Any, **more: Any) -> Any:
    return colour.call(client.chat.completions.create, **{"model": "gpt-4o", "messages": MESSAGES, **more})


def text(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


Operation = Callable[[Colour, Any], Any]
OPERATIONS: dict[str, Operation] = {
    "chat": lambda c, a: chat(c, a),
    "stream": lambda c, a: c.list(chat(c, a, stream=True)),
    "completions": lambda c, a: c.call(a.completions.create, model="text", prompt="hi"),
    "embeddings": lambda c, a: c.call(a.embeddings.create, model="vectors", input="hi"),
    "images": lambda c, a: c.call(a.images.generate, model="dall-e-3", prompt="a cat"),
    "transcription": lambda c, a: c.call(a.audio.transcriptions.create, model="ears", file=("a.wav", b"RIFF0000")),
    "speech": lambda c, a: c.call(a.audio.speech.create, model="mouth", voice="alloy", input="hi"),
    "files": lambda c, a: c.call(a.files.create, file=("a.jsonl", b"{}\n"), purpose="batch"),
    "files list": lambda c, a: c.call(a.files.list),
    "models": lambda c, a: c.call(a.models.list),
    "responses": lambda c, a: c.call(a.responses.create, model="gpt-4o", input="hi"),
}


def sent(request: Recorded) -> tuple[Any, ...]:
    """What makes two requests the same to the service; of a form the boundary is another each time."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    body = request.json() if kind == "application/json" else request.size_bytes
    return (request.method, request.raw_path, kind, body, request.headers.get("api-key"), request.refused)


# -- the class


def test_it_is_of_every_class_that_code_may_ask_for(colour: Colour, east: Resource) -> None:
    client = ours(colour, **at(east))
    for derived in (client, client.with_options(timeout=1), client.copy(), copy.copy(client), copy.deepcopy(client)):
        if colour.is_async:
            assert isinstance(derived, openai.AsyncAzureOpenAI)
            assert isinstance(derived, openai.AsyncOpenAI)
            assert isinstance(derived, azure_shim.AsyncOpenAI)
            assert not isinstance(derived, openai.OpenAI)
        else:
            assert isinstance(derived, openai.AzureOpenAI)
            assert isinstance(derived, openai.OpenAI)
            assert isinstance(derived, azure_shim.OpenAI)
            assert not isinstance(derived, openai.AsyncOpenAI)
        assert type(derived) is type(client)


def test_the_plain_class_is_no_azure_class(colour: Colour, east: Resource) -> None:
    assert not isinstance(colour.client(**at(east)), (openai.AzureOpenAI, openai.AsyncAzureOpenAI))


@pytest.mark.parametrize("name", ["AzureOpenAI", "AsyncAzureOpenAI"])
def test_it_takes_every_argument_of_openai_s_class(name: str) -> None:
    own = set(inspect.signature(getattr(openai, name).__init__).parameters)
    assert own - set(inspect.signature(getattr(azure_shim, name).__init__).parameters) == set()


# -- what is sent


@pytest.mark.parametrize("name", OPERATIONS)
def test_on_the_classic_surface_it_sends_what_openai_s_class_sends(
    name: str, colour: Colour, azure: FakeAzure, east: Resource
) -> None:
    version = PREVIEW if name == "responses" else CLASSIC
    for build in (theirs, ours):
        # openai's leaves a picture's model in the body, where Azure knows no such field.
        with pytest.raises(openai.BadRequestError) if (name, build) == ("images", theirs) else contextlib.nullcontext():
            OPERATIONS[name](colour, build(colour, **at(east, api_version=version, max_retries=0)))
    before, after = azure.requests
    if name == "images":
        assert after.raw_path == before.raw_path
    else:
        assert sent(after) == sent(before)
    assert after.refused is None
    assert after.raw_query == f"api-version={version}"
    assert after.raw_path.count("/deployments/") == (name not in ("files", "files list", "models", "responses"))
    assert "authorization" not in after.headers


@pytest.mark.parametrize("name", OPERATIONS)
def test_on_v1_the_deployment_is_in_the_body(name: str, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    client = ours(colour, azure_endpoint=east.endpoint, api_key=east.api_key, max_retries=0)
    OPERATIONS[name](colour, client)
    (request,) = azure.requests
    assert request.refused is None
    assert request.path.startswith("/openai/v1/")
    assert "deployments" not in request.path
    assert request.raw_query == ""
    assert (request.headers["api-key"], "authorization" in request.headers) == (east.api_key, False)


@pytest.mark.parametrize("name", ["chat", "embeddings", "images", "transcription", "files", "models"])
def test_azure_deployment_is_for_every_model(name: str, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    """openai's own class sends the calls without a deployment below it too, which Azure does not know."""
    fits = {"embeddings": "vectors", "images": "dall-e-3", "transcription": "ears"}.get(name, "prod-4o")
    client = ours(colour, **at(east, azure_deployment=fits, max_retries=0))
    OPERATIONS[name](colour, client)
    (request,) = azure.requests
    assert request.refused is None
    assert request.deployment == (None if name in ("files", "models") else fits)


@pytest.mark.parametrize("version", [CLASSIC, "v1"])
def test_a_model_s_name_is_no_part_of_a_path(version: str, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    """openai's own class puts it there, before anything is mapped."""
    names = dict.fromkeys(("org/model", "a b", "model?x=1", "50%", "../x"), "prod-4o")
    client = ours(colour, **at(east, api_version=version, deployments=names, max_retries=0))
    for name in names:
        chat(colour, client, model=name)
    assert [(request.deployment, request.refused) for request in azure.requests] == [("prod-4o", None)] * len(names)


@pytest.mark.parametrize("version", [CLASSIC, "v1"])
@pytest.mark.parametrize("name", ["chat", "files list", "models"])
def test_behind_a_gateway(name: str, version: str, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    east.prefix = "/apim/za"
    client = ours(colour, **at(east, api_version=version, azure_deployment="prod-4o", max_retries=0))
    OPERATIONS[name](colour, client)
    (request,) = azure.requests
    assert request.refused is None
    assert request.path.startswith("/apim/za/openai/")


def test_answers_are_the_service_s(colour: Colour, east: Resource) -> None:
    client = ours(colour, **at(east))
    assert chat(colour, client).choices[0].message.content == "Hello from eastus/gpt-4o: hi there"
    assert text(colour.list(chat(colour, client, stream=True))) == "Hello from eastus/gpt-4o: hi there"
    raw = colour.call(client.chat.completions.with_raw_response.create, model="gpt-4o", messages=MESSAGES)
    assert raw.http_request.extensions["azure_shim"].deployment == "gpt-4o"


def test_an_error_is_openai_s_own(colour: Colour, east: Resource) -> None:
    with pytest.raises(openai.NotFoundError, match="API deployment for this resource does not exist") as caught:
        chat(colour, ours(colour, **at(east)), model="nobody")
    assert caught.value.code == "DeploymentNotFound"


# -- how it is constructed


@pytest.mark.parametrize(
    ("credential", "header"),
    [
        (lambda azure: {"api_key": azure["eastus"].api_key}, "api-key"),
        (lambda azure: {"azure_ad_token": azure.token}, "authorization"),
        (lambda azure: {"azure_ad_token_provider": lambda: azure.token}, "authorization"),
    ],
    ids=["api_key", "azure_ad_token", "azure_ad_token_provider"],
)
def test_each_credential_of_openai_s_class_signs(
    credential: Any, header: str, colour: Colour, azure: FakeAzure, east: Resource
) -> None:
    client = ours(colour, azure_endpoint=east.endpoint, api_version=CLASSIC, **credential(azure))
    chat(colour, client)
    (request,) = azure.requests
    assert request.refused is None
    assert {"api-key", "authorization"} & set(request.headers) == {header}


def test_a_provider_may_await(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    async def token() -> str:
        return azure.token

    arguments: dict[str, Any] = {"azure_endpoint": east.endpoint, "azure_ad_token_provider": token}
    if not colour.is_async:
        with pytest.raises(azure_shim.ConfigurationError, match="azure_ad_token_provider"):
            ours(colour, **arguments)
        return
    chat(colour, ours(colour, **arguments))
    assert azure.requests[0].headers["authorization"] == f"Bearer {azure.token}"


@pytest.mark.parametrize("path", ["/openai", "/openai/v1"])
def test_base_url_instead_of_azure_endpoint(path: str, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    version = {} if path.endswith("v1") else {"api_version": CLASSIC}
    chat(colour, ours(colour, base_url=f"{east.endpoint}{path}", api_key=east.api_key, **version))
    (request,) = azure.requests
    assert request.refused is None
    expected = "/openai/v1/chat/completions" if not version else "/openai/deployments/gpt-4o/chat/completions"
    assert request.path == expected


def test_base_url_with_a_deployment(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    """As in code that was written for openai's class, where it is the only way to have a path of one's own."""
    url = f"{east.endpoint}/openai/deployments/prod-4o"
    for build in (theirs, ours):
        chat(colour, build(colour, base_url=url, api_key=east.api_key, api_version=CLASSIC))
    before, after = azure.requests
    assert sent(after) == sent(before)


def test_both_endpoints_are_refused(colour: Colour, east: Resource) -> None:
    with pytest.raises((ValueError, openai.OpenAIError), match="azure_endpoint"):
        ours(colour, **at(east, base_url=f"{east.endpoint}/openai"))


def test_the_environment_names_everything(
    colour: Colour, azure: FakeAzure, east: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", east.endpoint)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", east.api_key)
    monkeypatch.setenv("OPENAI_API_VERSION", CLASSIC)
    chat(colour, ours(colour))
    monkeypatch.delenv("OPENAI_API_VERSION")
    chat(colour, ours(colour))
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", azure.token)
    chat(colour, ours(colour))
    classic, v1, token = azure.requests
    assert [request.refused for request in azure.requests] == [None] * 3
    assert classic.raw_path == f"/openai/deployments/gpt-4o/chat/completions?api-version={CLASSIC}"
    assert v1.raw_path == "/openai/v1/chat/completions"
    assert token.headers["authorization"] == f"Bearer {azure.token}"


def test_nothing_to_go_by_is_one_error(colour: Colour) -> None:
    with pytest.raises(openai.OpenAIError, match="AZURE_OPENAI_ENDPOINT"):
        ours(colour)


def test_headers_and_query_of_its_own_are_sent(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    client = ours(colour, **at(east, default_headers={"x-mine": "1"}, default_query={"mine": "2"}))
    chat(colour, client, extra_headers={"x-more": "3"})
    (request,) = azure.requests
    assert (request.headers["x-mine"], request.headers["x-more"], request.query["mine"]) == ("1", "3", "2")
    assert request.raw_query.count("api-version=") == 1
    assert "x-ambient" not in request.headers


def test_a_client_of_the_library_is_used_and_not_closed(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    library = pytest.importorskip(OWN_LIBRARY)
    given = colour.library_client(library, headers={"x-given": "1"})
    client = ours(colour, **at(east, http_client=given))
    chat(colour, client)
    colour.close(client)
    assert not given.is_closed
    colour.close(given)
    assert azure.requests[0].headers["x-given"] == "1"


# -- copies


@pytest.mark.parametrize(
    "derive",
    [
        lambda c: c.with_options(timeout=3),
        lambda c: c.copy(max_retries=1),
        lambda c: c.with_options(default_headers={"x-more": "2"}),
        lambda c: c.with_options(http_client=c._client),
        lambda c: c.with_options(base_url=c.base_url, api_key=c.api_key),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_a_copy_keeps_the_settings(derive: Any, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    client = ours(colour, **at(east, deployments={"gpt-4o": "prod-4o"}, default_headers={"x-mine": "1"}))
    chat(colour, client)
    derived = derive(client)
    chat(colour, derived)
    first, second = azure.requests
    assert second.raw_path == first.raw_path
    assert second.deployment == "prod-4o"
    assert second.connection.number == first.connection.number
    assert (second.headers["api-key"], second.headers["x-mine"]) == (east.api_key, "1")
    assert derived._api_version == CLASSIC


def test_a_copy_takes_azure_s_arguments(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    client = ours(colour, **at(east, azure_deployment="prod-4o"))
    chat(colour, client.with_options(api_version="v1"))
    chat(colour, client.copy(azure_ad_token=azure.token))
    chat(colour, client.with_options(azure_deployment="gpt-4o"))
    v1, token, deployment = azure.requests
    assert (v1.raw_path, v1.deployment) == ("/openai/v1/chat/completions", "prod-4o")
    assert (token.headers["authorization"], "api-key" in token.headers) == (f"Bearer {azure.token}", False)
    assert deployment.deployment == "gpt-4o"
    assert [request.refused for request in azure.requests] == [None] * 3
    copied = client.copy(api_version="2025-04-01-preview", azure_deployment="gpt-4o")
    assert (copied._api_version, copied._azure_deployment) == ("2025-04-01-preview", "gpt-4o")
    assert (client._api_version, client._azure_deployment) == (CLASSIC, "prod-4o")


def test_a_copy_goes_to_another_resource(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    west = azure["westus"]
    moved = ours(colour, **at(east)).copy(azure_endpoint=west.endpoint, api_key=west.api_key)
    chat(colour, moved)
    assert [request.resource for request in azure.requests] == ["westus"]
    assert str(moved._azure_endpoint).rstrip("/") == west.endpoint


# -- several targets


def test_a_config_of_several_targets_fails_over(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    targets = [{"name": each.name, **at(each)} for each in azure]
    client = ours(colour, config={"strategy": {"mode": "fallback"}, "targets": targets}, max_retries=0)
    assert isinstance(client, (openai.AzureOpenAI, openai.AsyncAzureOpenAI))
    east.fail_next("503")
    assert chat(colour, client).choices[0].message.content.startswith("Hello from westus")
    assert [request.resource for request in azure.requests] == ["eastus", "westus"]
    assert [each.target for each in client.health()] == ["eastus", "westus"]


# -- what frameworks read


def test_attributes_of_openai_s_class_are_there(colour: Colour, east: Resource) -> None:
    arguments = at(east, azure_deployment="prod-4o")
    before, after = theirs(colour, **arguments), ours(colour, **arguments)
    assert after._api_version == before._api_version == CLASSIC
    assert str(after._azure_endpoint).rstrip("/") == str(before._azure_endpoint).rstrip("/") == east.endpoint
    assert after._azure_deployment == before._azure_deployment == "prod-4o"
    missing = set(vars(before)) - set(vars(after)) - {"_client"}
    assert {name for name in missing if not hasattr(after, name)} == set()


def test_attributes_without_a_version_and_a_deployment(colour: Colour, east: Resource) -> None:
    client = ours(colour, azure_endpoint=east.endpoint, api_key=east.api_key)
    assert (client._api_version, client._azure_deployment) == ("v1", None)
    assert str(client.base_url) == f"{east.endpoint}/openai/v1/"


@pytest.mark.parametrize("name", ["api_key", "azure_ad_token", "azure_ad_token_provider"])
def test_no_secret_is_in_its_attributes(name: str, colour: Colour, east: Resource) -> None:
    secret = "secret-of-this-resource-0123456789"
    value: Any = (lambda: secret) if name.endswith("provider") else secret
    client = ours(colour, azure_endpoint=east.endpoint, **{name: value})
    for each in (client, client.with_options(timeout=1)):
        assert each.api_key == PLACEHOLDER
        # openai 3.57 keeps there what of OPENAI_CUSTOM_HEADERS it never sends.
        kept = {name: value for name, value in vars(each).items() if name != "_ambient_authorizations"}
        seen = repr(each) + repr(kept) + repr(vars(each._client)) + repr(each.default_headers)
        assert secret not in seen
        assert AMBIENT_KEY not in seen
        assert not [name for name, found in vars(each).items() if found is value or found == secret]


# -- WebSockets


def connect(colour: Colour, client: Any, kind: str) -> Any:
    if kind == "realtime":
        return dial(colour, client.realtime.connect(model="gpt-realtime"))
    if kind == "beta.realtime":
        return dial(colour, client.beta.realtime.connect(model="gpt-realtime"))
    return dial(colour, client.responses.connect())


@pytest.mark.parametrize("kind", ["realtime", "beta.realtime", "responses"])
@pytest.mark.parametrize("credential", [{"api_key": "key-of-the-socket"}, {"azure_ad_token": "token-of-the-socket"}])
def test_websockets_are_dialled_at_the_target(kind: str, credential: dict[str, str], colour: Colour) -> None:
    version = {"api_version": "2024-10-01-preview"} if kind == "beta.realtime" else {}
    with SocketServer() as server:
        deployments = {"gpt-realtime": "voice"}
        client = ours(colour, azure_endpoint=server.url, deployments=deployments, **version, **credential)
        if kind == "responses" and not hasattr(client.responses, "connect"):
            pytest.skip("openai has no responses by WebSocket here")
        if kind == "beta.realtime" and not hasattr(client.beta, "realtime"):
            pytest.skip("openai has no realtime of the time before it was stable")
        for each in (client, client.with_options(timeout=9)):
            assert connect(colour, each, kind).type == "session.created"
    (path, headers), again = server.dialled
    expected = {
        "realtime": ["/openai/v1/realtime", "model=voice"],
        "beta.realtime": ["/openai/realtime", "api-version=2024-10-01-preview", "deployment=voice", "model=voice"],
        "responses": ["/openai/v1/responses"],
    }[kind]
    place, _, query = path.partition("?")
    assert [place, *sorted(filter(None, query.split("&")))] == expected
    assert again[0] == path
    name, value = next(iter(credential.items()))
    signed = {each: headers[each] for each in ("api-key", "authorization") if each in headers}
    assert signed == ({"api-key": value} if name == "api_key" else {"authorization": f"Bearer {value}"})
    assert AMBIENT_KEY not in str(server.dialled)
    assert "openai-organization" not in headers


# -- beside a patch


@pytest.mark.parametrize("include_azure", [False, True])
def test_a_patch_leaves_it_as_it_is(include_azure: bool, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    west = azure["westus"]
    before = ours(colour, **at(east))
    with contextlib.ExitStack() as stack:
        stack.callback(azure_shim.unpatch)
        azure_shim.patch(azure_endpoint=west.endpoint, api_key=west.api_key, include_azure=include_azure)
        meanwhile = ours(colour, **at(east))
        derived = meanwhile.with_options(timeout=3)
        for each in (before, meanwhile, derived):
            chat(colour, each)
            assert not each.azure_shim_settings.has_plain_frames
    for each in (meanwhile, derived):
        chat(colour, each)
    assert [request.resource for request in azure.requests] == ["eastus"] * 5
    assert [request.refused for request in azure.requests] == [None] * 5
