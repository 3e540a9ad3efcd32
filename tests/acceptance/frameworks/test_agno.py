"""agno: agents on its models of chat completions and of responses, and its embedder, each in both colours.

Its ``http_client`` has to be one of ``httpx``, also where openai is built on ``httpx2``: another one is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from agno.agent import Agent
from agno.knowledge.embedder.openai import OpenAIEmbedder
from agno.models.openai import OpenAIChat, OpenAIResponses
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure
from tests.acceptance.frameworks.guard import Guard, LeftTheMachine
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

COMPLETION = ("chat/completions", "chat-prod")
OPERATIONS = {OpenAIChat: "chat/completions", OpenAIResponses: "responses"}


class Person(BaseModel):
    name: str
    age: int


def get_weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


@pytest.fixture
def httpx_client(arguments: dict[str, Any]) -> Iterator[Any]:
    with azure_shim.http_client(library="httpx", **arguments) as found:
        yield found


@pytest.fixture
def async_httpx_client(arguments: dict[str, Any], run: Callable[[Any], Any]) -> Iterator[Any]:
    found = azure_shim.async_http_client(library="httpx", **arguments)
    yield found
    run(found.aclose())


@pytest.fixture(params=["client", "httpx_client", "patched", "patch"])
def way(request: pytest.FixtureRequest) -> str:
    """Each way to Azure; a patched one holds for the whole test."""
    if "patch" in request.param:
        request.getfixturevalue(request.param)
    return str(request.param)


@pytest.fixture(params=OPERATIONS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def expected(kind: Any) -> tuple[str, str]:
    """What one call of the model comes to Azure as."""
    return OPERATIONS[kind], "chat-prod"


@pytest.fixture
def given(way: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arguments with which a model's blocking calls go this way."""
    names = {"client": {"client": "client"}, "httpx_client": {"http_client": "httpx_client"}}.get(way, {})
    return {name: request.getfixturevalue(fixture) for name, fixture in names.items()}


@pytest.fixture
def given_async(way: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    names = {"client": {"async_client": "async_client"}, "httpx_client": {"http_client": "async_httpx_client"}}
    return {name: request.getfixturevalue(fixture) for name, fixture in names.get(way, {}).items()}


@pytest.fixture
def agent(kind: Any, given: dict[str, Any]) -> Callable[..., Agent]:
    return lambda **more: Agent(model=kind("gpt-4o", **given), telemetry=False, **more)


@pytest.fixture
def async_agent(kind: Any, given_async: dict[str, Any]) -> Callable[..., Agent]:
    return lambda **more: Agent(model=kind("gpt-4o", **given_async), telemetry=False, **more)


def test_a_chat_is_answered(agent: Callable[..., Agent], expected: Any, azure: FakeAzure) -> None:
    assert agent().run("hello").content == answer_to("hello")
    assert served(azure) == [expected]


def test_an_async_chat_is_answered(
    async_agent: Callable[..., Agent], expected: Any, azure: FakeAzure, run: Callable[[Any], Any]
) -> None:
    assert run(async_agent().arun("hello")).content == answer_to("hello")
    assert served(azure) == [expected]


def test_a_stream_streams(agent: Callable[..., Agent], expected: Any, azure: FakeAzure, gate: Gate) -> None:
    said = ""
    for event in agent().run(LONG, stream=True):
        said += event.content or ""
        if said:
            gate.open()
    assert said == answer_to(LONG)
    assert served(azure) == [expected]


def test_an_async_stream_streams(
    async_agent: Callable[..., Agent], expected: Any, azure: FakeAzure, gate: Gate, run: Callable[[Any], Any]
) -> None:
    async def read() -> str:
        said = ""
        async for event in async_agent().arun(LONG, stream=True):
            said += event.content or ""
            if said:
                gate.open()
        return said

    assert run(read()) == answer_to(LONG)
    assert served(azure) == [expected]


def test_a_tool_is_called(agent: Callable[..., Agent], expected: Any, azure: FakeAzure) -> None:
    answer = agent(tools=[get_weather]).run("use the tool")
    (called,) = answer.tools
    assert called.result == f"sunny in {CHAT}"
    assert answer.content.endswith(f"sunny in {CHAT}")
    assert served(azure) == [expected, expected]


def test_an_async_tool_is_called(
    async_agent: Callable[..., Agent], expected: Any, azure: FakeAzure, run: Callable[[Any], Any]
) -> None:
    answer = run(async_agent(tools=[get_weather]).arun("use the tool"))
    assert answer.content.endswith(f"sunny in {CHAT}")
    assert served(azure) == [expected, expected]


def test_a_structured_output_has_the_shape(agent: Callable[..., Agent], expected: Any, azure: FakeAzure) -> None:
    assert agent(output_schema=Person).run("who?").content == Person(name=CHAT, age=1)
    assert served(azure) == [expected]


def test_an_async_structured_output_has_the_shape(
    async_agent: Callable[..., Agent], expected: Any, azure: FakeAzure, run: Callable[[Any], Any]
) -> None:
    answer = run(async_agent(output_schema=Person).arun("who?"))
    assert answer.content == Person(name=CHAT, age=1)
    assert served(azure) == [expected]


def test_texts_are_embedded(
    way: str, request: pytest.FixtureRequest, azure: FakeAzure, run: Callable[[Any], Any]
) -> None:
    given: dict[str, Any] = {}
    async_given: dict[str, Any] = {}
    if way == "client":
        given = {"openai_client": request.getfixturevalue("client")}
        async_given = {"async_client": request.getfixturevalue("async_client")}
    elif way == "httpx_client":
        given = {"client_params": {"http_client": request.getfixturevalue("httpx_client")}}
        async_given = {"client_params": {"http_client": request.getfixturevalue("async_httpx_client")}}
    one = OpenAIEmbedder(**given).get_embedding("one")
    embedder = OpenAIEmbedder(**async_given)
    assert run(embedder.async_get_embedding("one")) == one
    vectors, _usages = run(embedder.async_get_embeddings_batch_and_usage(["one", "other"]))
    assert vectors[0] == one != vectors[1]
    assert len(one) == 1536
    assert served(azure) == [("embeddings", "embed-prod")] * 3


@pytest.mark.parametrize("way", ["patched", "patch"])
def test_no_key_of_openais_is_needed(
    way: str, request: pytest.FixtureRequest, azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """agno asks for ``OPENAI_API_KEY`` itself before it builds a client."""
    monkeypatch.delenv("OPENAI_API_KEY")
    request.getfixturevalue(way)
    assert Agent(model=OpenAIChat("gpt-4o"), telemetry=False).run("hello").content == answer_to("hello")
    assert served(azure) == [COMPLETION]


@pytest.mark.skipif(int(openai.__version__.partition(".")[0]) < 3, reason="openai is built on httpx")
def test_an_httpx2_client_is_ignored(http_client: Any, azure: FakeAzure, guard: Guard) -> None:
    """agno warns, and would go to ``api.openai.com``: it has to be ``http_client(library="httpx")``."""
    with pytest.raises((LeftTheMachine, openai.APIConnectionError)):
        OpenAIChat("gpt-4o", http_client=http_client, max_retries=0).get_client().models.list()
    assert set(guard.take_refused()) == {"api.openai.com"}
    assert azure.requests == []


def test_the_classic_surface_has_the_deployment_in_its_path(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.OpenAI(**classic) as client:
        Agent(model=OpenAIChat("gpt-4o", client=client), telemetry=False).run("hello")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    assert served(azure) == [COMPLETION]
