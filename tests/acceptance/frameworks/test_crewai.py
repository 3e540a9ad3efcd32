"""crewai: its LLM of chat completions and of responses, an agent's crew, and the embedder.

The LLM builds both of its clients when it is made, takes none, and gives the same ``client_params`` to both, so that no
``http_client`` suits them: it is patched, or its clients are replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from crewai import LLM, Agent, Crew, Task
from crewai.events import crewai_event_bus
from crewai.events.types.llm_events import LLMStreamChunkEvent
from crewai.rag.embeddings.factory import build_embedder
from crewai.tools import tool
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

COMPLETION = ("chat/completions", "chat-prod")
OPERATIONS = {"completions": "chat/completions", "responses": "responses"}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person(BaseModel):
    name: str
    age: int


@tool("get_weather")
def get_weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """What crews keep goes nowhere else."""
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path))


@pytest.fixture(params=["client", "plain_client", "patched", "patch"])
def llm(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes an LLM that goes each way to Azure."""
    names = {"client": "async_client", "plain_client": "plain_async_client"}
    way = request.getfixturevalue(request.param)
    async_way = request.getfixturevalue(names[request.param]) if request.param in names else None

    def made(**arguments: Any) -> Any:
        found = LLM("openai/gpt-4o", **arguments)
        if way is not None:
            found._client, found._async_client = way, async_way
        return found

    return made


@pytest.fixture(params=OPERATIONS)
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def expected(api: str) -> tuple[str, str]:
    """What one call comes to Azure as."""
    return OPERATIONS[api], "chat-prod"


def test_a_chat_is_answered(
    llm: Callable[..., Any], api: str, expected: Any, azure: FakeAzure, run: Callable[[Any], Any]
) -> None:
    assert llm(api=api).call("hello") == answer_to("hello")
    assert run(llm(api=api).acall("hello")) == answer_to("hello")
    assert served(azure) == [expected, expected]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_stream_streams(
    is_async: bool,
    llm: Callable[..., Any],
    api: str,
    expected: Any,
    azure: FakeAzure,
    gate: Gate,
    run: Callable[[Any], Any],
) -> None:
    """Its pieces are events on crewai's bus."""
    model = llm(api=api, stream=True)
    with crewai_event_bus.scoped_handlers():

        @crewai_event_bus.on(LLMStreamChunkEvent)
        def heard(_source: Any, event: LLMStreamChunkEvent) -> None:
            if event.chunk:
                gate.open()

        said = run(model.acall(LONG)) if is_async else model.call(LONG)
    assert said == answer_to(LONG)
    assert served(azure) == [expected]


def test_a_tool_is_called(
    llm: Callable[..., Any], api: str, expected: Any, azure: FakeAzure, run: Callable[[Any], Any]
) -> None:
    functions = {"get_weather": lambda city: f"sunny in {city}"}
    said = llm(api=api).call("use the tool", tools=[TOOL], available_functions=functions)
    assert said == f"sunny in {CHAT}"
    said = run(llm(api=api).acall("use the tool", tools=[TOOL], available_functions=functions))
    assert said == f"sunny in {CHAT}"
    assert served(azure) == [expected, expected]


def test_a_structured_output_has_the_shape(
    llm: Callable[..., Any], api: str, expected: Any, azure: FakeAzure, run: Callable[[Any], Any]
) -> None:
    assert llm(api=api).call("who?", response_model=Person) == Person(name=CHAT, age=1)
    assert run(llm(api=api).acall("who?", response_model=Person)) == Person(name=CHAT, age=1)
    assert served(azure) == [expected, expected]


def test_a_crew_does_its_task(llm: Callable[..., Any], azure: FakeAzure) -> None:
    agent = Agent(role="guide", goal="to know the weather", backstory="none", llm=llm(), tools=[get_weather])
    task = Task(description="say hello", expected_output="a greeting", agent=agent)
    answer = Crew(agents=[agent], tasks=[task]).kickoff()
    assert "Hello from eastus/chat-prod" in answer.raw
    assert COMPLETION in served(azure)


@pytest.mark.parametrize("way", ["patched", "patch"])
def test_texts_are_embedded(way: str, request: pytest.FixtureRequest, azure: FakeAzure) -> None:
    """By chromadb's function, which makes a client of its own."""
    request.getfixturevalue(way)
    config = {"model_name": "text-embedding-3-small", "api_key": "unused"}
    embed = build_embedder({"provider": "openai", "config": config})
    assert [len(vector) for vector in embed(["one", "other"])] == [1536, 1536]
    assert served(azure) == [("embeddings", "embed-prod")]


@pytest.mark.parametrize("way", ["patched", "patch"])
def test_no_key_of_openais_is_needed(
    way: str, request: pytest.FixtureRequest, azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """crewai asks for ``OPENAI_API_KEY`` itself before it builds a client."""
    monkeypatch.delenv("OPENAI_API_KEY")
    request.getfixturevalue(way)
    assert LLM("openai/gpt-4o").call("hello") == answer_to("hello")
    assert served(azure) == [COMPLETION]


def test_the_classic_surface_has_the_deployment_in_its_path(classic: dict[str, Any], azure: FakeAzure) -> None:
    model = LLM("openai/gpt-4o")
    with azure_shim.OpenAI(**classic) as model._client:
        model.call("hello")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    assert served(azure) == [COMPLETION]
