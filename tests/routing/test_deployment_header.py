"""The header ``x-azure-shim-deployment`` names a deployment as it is, whatever ``deployments`` says, and stays here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from azure_shim.testing import FakeAzure, Resource
from tests.conftest import Colour
from tests.fleets import DOSES, at, at_server, connect, plan
from tests.servers import MESSAGES, ScriptedServer, answer

HEADER = "x-azure-shim-deployment"
# Every name is mapped to another deployment, which is there as well.
MODELS = {
    "gpt-4o": "gpt-4o",
    "prod-4o": "gpt-4o",
    "text": "gpt-35-turbo-instruct",
    "vectors": "text-embedding-3-small",
    "dall-e-3": "dall-e-3",
    "ears": "whisper-1",
    "mouth": "tts-1",
}
MAPPED = dict.fromkeys(MODELS, "prod-4o")
Operation = Callable[[Colour, Any, dict[str, str]], Any]


def chat(colour: Colour, client: Any, headers: dict[str, str], **more: Any) -> Any:
    call = {"model": "any-model", "messages": MESSAGES, **more}
    return colour.call(client.chat.completions.create, extra_headers=headers, **call)


OPERATIONS: dict[str, tuple[str, Operation]] = {
    "chat": ("gpt-4o", chat),
    "stream": ("gpt-4o", lambda c, a, h: c.list(chat(c, a, h, stream=True))),
    "completions": (
        "text",
        lambda c, a, h: c.call(a.completions.create, model="any-model", prompt="hi", extra_headers=h),
    ),
    "embeddings": (
        "vectors",
        lambda c, a, h: c.call(a.embeddings.create, model="any-model", input="hi", extra_headers=h),
    ),
    "images": (
        "dall-e-3",
        lambda c, a, h: c.call(a.images.generate, model="any-model", prompt="a cat", extra_headers=h),
    ),
    "speech": (
        "mouth",
        lambda c, a, h: c.call(a.audio.speech.create, model="any-model", voice="alloy", input="hi", extra_headers=h),
    ),
    "transcription": (
        "ears",
        lambda c, a, h: c.call(
            a.audio.transcriptions.create, model="any-model", file=("a.wav", b"RIFF0000"), extra_headers=h
        ),
    ),
    "responses": (
        "gpt-4o",
        lambda c, a, h: c.call(a.responses.create, model="any-model", input="hi", extra_headers=h),
    ),
}


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": MODELS, "westus": MODELS}) as found:
        yield found
        assert found.leaks == []
        for request in found.requests:
            assert not [name for name in request.headers if "azure-shim" in name]
            assert b"azure-shim" not in request.body


@pytest.fixture
def east(azure: FakeAzure) -> Resource:
    return azure["eastus"]


@pytest.fixture(params=DOSES)
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["v1", "2025-03-01-preview"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def one(dose: str, colour: Colour, **arguments: Any) -> Any:
    """A client of one target."""
    if dose == "constructor":
        return colour.client(max_retries=0, **arguments)
    http_client = colour.http_client(library=dose.rpartition(" ")[2], **arguments)
    return colour.plain(api_key="sk-of-nobody", http_client=http_client, max_retries=0)


def to_east(east: Resource, **more: Any) -> dict[str, Any]:
    return {"azure_endpoint": east.endpoint, "api_key": east.api_key, **more}


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_target_is_asked_for_that_deployment(
    name: str, version: str, dose: str, colour: Colour, azure: FakeAzure, east: Resource
) -> None:
    deployment, operation = OPERATIONS[name]
    client = one(dose, colour, **to_east(east, api_version=version, deployments=MAPPED, azure_deployment="prod-4o"))
    operation(colour, client, {HEADER: deployment})
    (request,) = azure.requests
    assert (request.deployment, request.refused) == (deployment, None)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_of_several_targets_is(name: str, version: str, dose: str, colour: Colour, azure: FakeAzure) -> None:
    deployment, operation = OPERATIONS[name]
    targets = [at(each, api_version=version, deployments=MAPPED, azure_deployment="prod-4o") for each in azure]
    client = connect(dose, colour, plan("fallback", *targets), max_retries=0)
    azure["eastus"].fail_next("429_call_rate")
    operation(colour, client, {HEADER: deployment})
    assert [request.resource for request in azure.requests] == ["eastus", "westus"]
    assert [(request.deployment, request.refused) for request in azure.requests] == [(deployment, None)] * 2


def prod(_model: str) -> str:
    return "prod-4o"


@pytest.mark.parametrize(
    ("names", "unmapped"), [(MAPPED, None), (MAPPED, "error"), (None, None), (prod, None), (prod, "error")]
)
def test_no_mapping_applies(names: Any, unmapped: str | None, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    client = colour.client(**to_east(east, deployments=names, unmapped_models=unmapped), max_retries=0)
    chat(colour, client, {HEADER: "gpt-4o"}, model="gpt-4o")
    chat(colour, client, {HEADER: "gpt-4o"}, model="prod-4o")
    assert [request.deployment for request in azure.requests] == ["gpt-4o", "gpt-4o"]


def test_the_next_call_is_mapped_again(dose: str, version: str, colour: Colour, azure: FakeAzure) -> None:
    """What is kept of one call must not be used for another."""
    for client in (
        one(dose, colour, **to_east(azure["eastus"], api_version=version, deployments=MAPPED)),
        connect(dose, colour, plan("single", at(azure["eastus"], api_version=version, deployments=MAPPED))),
    ):
        for headers in ({}, {HEADER: "gpt-4o"}, {}, {HEADER: "prod-4o"}, {HEADER: "gpt-4o"}, {}):
            chat(colour, client, headers, model="gpt-4o")
        named = [request.deployment for request in azure.requests]
        assert named == ["prod-4o", "gpt-4o", "prod-4o", "prod-4o", "gpt-4o", "prod-4o"]
        azure.forget()


@pytest.mark.parametrize("name", ["X-Azure-Shim-Deployment", "X-AZURE-SHIM-DEPLOYMENT"])
def test_its_case_does_not_matter(name: str, colour: Colour, azure: FakeAzure, east: Resource) -> None:
    client = colour.client(**to_east(east, deployments=MAPPED))
    chat(colour, client, {name: "gpt-4o"})
    assert [request.deployment for request in azure.requests] == ["gpt-4o"]


def test_as_a_default_header_it_is_for_every_call(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    client = colour.client(**to_east(east, deployments=MAPPED), default_headers={HEADER: "gpt-4o"})
    chat(colour, client, {})
    chat(colour, client, {HEADER: "prod-4o"})
    chat(colour, client.with_options(timeout=5), {})
    assert [request.deployment for request in azure.requests] == ["gpt-4o", "prod-4o", "gpt-4o"]


def test_beside_a_pin(colour: Colour, azure: FakeAzure) -> None:
    client = colour.client(config=plan("fallback", *(at(each, deployments=MAPPED) for each in azure)), max_retries=0)
    chat(colour, client, {HEADER: "gpt-4o", "x-azure-shim-target": "westus"})
    assert [(request.resource, request.deployment) for request in azure.requests] == [("westus", "gpt-4o")]


def test_what_names_no_deployment_goes_without(colour: Colour, azure: FakeAzure, east: Resource) -> None:
    client = colour.client(**to_east(east), default_headers={HEADER: "gpt-4o"})
    colour.call(client.files.list)
    colour.call(client.models.list)
    assert [(request.path, request.refused) for request in azure.requests] == [
        ("/openai/v1/files", None),
        ("/openai/v1/models", None),
    ]


def test_a_deployment_that_is_not_there_is_the_service_s_error(colour: Colour, azure: FakeAzure) -> None:
    client = colour.client(**to_east(azure["eastus"], deployments=MAPPED), max_retries=0)
    with pytest.raises(openai.NotFoundError):
        chat(colour, client, {HEADER: "nobody"}, model="gpt-4o")
    assert [request.deployment for request in azure.requests] == ["nobody"]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_the_other_bytes_of_a_body_stay(
    is_streamed: bool, version: str, colour: Colour, server: ScriptedServer
) -> None:
    """Of a body in memory, and of one that is sent as it is read, in which nothing can be replaced: v1 refuses it."""
    body = b'{ "messages": [ {"role":"user","content":"\\u00fc"} ],\r\n "model":  "gpt-4o" , "x": 1.0e2 }'
    server.script = lambda seen: [answer()]
    client = colour.http_client(azure_endpoint=server.url, api_key="k", api_version=version, deployments=MAPPED)

    async def awaited() -> Any:
        yield body[:60]
        yield body[60:]

    content: Any = body
    if is_streamed:
        content = awaited() if colour.is_async else iter((body[:60], body[60:]))
    headers = {HEADER: "other", "content-type": "application/json"}
    response = colour.call(client.post, f"{server.url}/v1/chat/completions", content=content, headers=headers)
    if is_streamed and version == "v1":
        assert (response.status_code, response.headers["x-azure-shim-refused"]) == (400, "ModelMissing")
        assert (HEADER in response.text, server.requests) == (True, [])
        return
    (seen,) = server.requests
    if version == "v1":
        assert seen.body == body.replace(b'"gpt-4o"', b'"other"')
    else:
        assert seen.target == f"/openai/deployments/other/chat/completions?api-version={version}"
        assert seen.body == body
    assert seen.header(HEADER) is None


@pytest.mark.parametrize("value", ["mine/../../x", "mine?x=1", "mine#x", "my deployment", "100%", "grün"])
def test_a_name_stays_within_its_place_in_the_path(value: str, colour: Colour, server: ScriptedServer) -> None:
    client = colour.http_client(azure_endpoint=server.url, api_key="k", api_version="2024-10-21")
    headers = [(HEADER.encode(), value.encode())]
    colour.call(client.post, f"{server.url}/v1/chat/completions", json={"model": "m", "messages": []}, headers=headers)
    path, _, query = server.requests[0].target.partition("?")
    assert query == "api-version=2024-10-21"
    assert path.count("/") == 5
    assert path.startswith("/openai/deployments/")
    assert path.endswith("/chat/completions")


@pytest.mark.parametrize("value", ["", " ", ".", ".."])
@pytest.mark.parametrize("is_several", [False, True])
@pytest.mark.parametrize("name", ["chat", "stream", "images", "transcription", "responses"])
def test_what_is_no_name_is_refused_before_anything_is_sent(
    name: str, is_several: bool, value: str, version: str, dose: str, colour: Colour, server: ScriptedServer
) -> None:
    if is_several:
        config = plan("fallback", at_server("a", server, api_version=version), at_server("b", server))
        client = connect(dose, colour, config, max_retries=0)
    else:
        client = one(dose, colour, azure_endpoint=server.url, api_key="k", api_version=version)
    with pytest.raises(openai.BadRequestError, match=HEADER) as caught:
        OPERATIONS[name][1](colour, client, {HEADER: value})
    assert caught.value.response.headers["x-azure-shim-refused"] == "InvalidDeployment"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (server.requests, server.connections) == ([], 0)
