"""The OpenAI Agents SDK: agents whose models are Azure's, by client and by patch."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import agents
import agents.tracing
import openai
import pytest
from agents.models import _openai_shared, openai_provider
from agents.tracing.processors import default_exporter
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel
from websockets.sync.server import ServerConnection, serve

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served
from tests.servers import ScriptedServer

Run = Callable[[Any], Any]


class Weather(BaseModel):
    city: str
    degrees: int


@agents.function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def defaults(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The SDK's own state for the whole process, as it is at the start, and no traces."""
    monkeypatch.setattr(openai_provider, "_http_client", None)
    monkeypatch.setattr(_openai_shared, "_default_openai_client", None)
    monkeypatch.delenv("OPENAI_BASE_URL")
    agents.set_tracing_disabled(True)
    yield
    agents.set_tracing_disabled(True)


@pytest.fixture(params=["responses", "chat_completions"])
def api(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which of the two APIs agents speak."""
    agents.set_default_openai_api(request.param)
    yield "responses" if request.param == "responses" else "chat/completions"
    agents.set_default_openai_api("responses")


@pytest.fixture(params=["default client", "model's client", "http_client", "patched", "patch"])
def way(request: pytest.FixtureRequest) -> str:
    """How the client got there. `agent` takes care of it."""
    return request.param


@pytest.fixture
def agent(way: str, api: str, request: pytest.FixtureRequest) -> Callable[..., agents.Agent]:
    """Makes an agent of "gpt-4o" whose client goes in by ``way``."""

    def build(**options: Any) -> agents.Agent:
        model: Any = "gpt-4o"
        if way in ("patched", "patch"):
            request.getfixturevalue(way)
        elif way == "default client":
            agents.set_default_openai_client(request.getfixturevalue("async_client"))
        else:
            name = "async_client" if way == "model's client" else "plain_async_client"
            kinds = {"responses": agents.OpenAIResponsesModel}
            kind = kinds.get(api, agents.OpenAIChatCompletionsModel)
            model = kind(model="gpt-4o", openai_client=request.getfixturevalue(name))
        return agents.Agent(name="Assistant", instructions="Be brief.", model=model, **options)

    return build


def test_an_agent_answers(agent: Callable[..., agents.Agent], api: str, azure: FakeAzure, run: Run) -> None:
    result = run(agents.Runner.run(agent(), "hi there"))
    assert result.final_output == answer_to("hi there")
    assert served(azure) == [(api, "chat-prod")]


def test_a_stream_arrives_as_it_is_made(
    agent: Callable[..., agents.Agent], api: str, azure: FakeAzure, run: Run, gate: Gate
) -> None:
    assistant = agent()

    async def stream() -> tuple[str, str]:
        result, text = agents.Runner.run_streamed(assistant, LONG), ""
        async for event in result.stream_events():
            if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
                gate.open()
                text += event.data.delta
        return text, result.final_output

    assert run(stream()) == (answer_to(LONG),) * 2
    assert served(azure) == [(api, "chat-prod")]
    assert azure.requests[0].json()["stream"] is True


def test_a_tool_is_called_and_its_result_goes_back(
    agent: Callable[..., agents.Agent], api: str, azure: FakeAzure, run: Run
) -> None:
    result = run(agents.Runner.run(agent(tools=[weather]), "use the tool"))
    assert f"sunny in {CHAT}" in result.final_output
    assert served(azure) == [(api, "chat-prod")] * 2


def test_a_structured_answer_is_read(agent: Callable[..., agents.Agent], api: str, azure: FakeAzure, run: Run) -> None:
    result = run(agents.Runner.run(agent(output_type=Weather), "the weather"))
    assert result.final_output == Weather(city=CHAT, degrees=1)
    assert served(azure) == [(api, "chat-prod")]


def test_chat_goes_to_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure, run: Run) -> None:
    async def answer() -> str:
        async with azure_shim.AsyncOpenAI(**classic) as client:
            model = agents.OpenAIChatCompletionsModel(model="gpt-4o", openai_client=client)
            return (await agents.Runner.run(agents.Agent(name="A", model=model), "hi")).final_output

    assert run(answer()) == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"


def test_an_error_is_the_sdk_s_own_and_is_not_hidden(
    async_client: azure_shim.AsyncOpenAI, eastus: Resource, run: Run
) -> None:
    eastus.fail_next("content_filter")
    model = agents.OpenAIResponsesModel(model="gpt-4o", openai_client=async_client)
    with pytest.raises(openai.BadRequestError, match="content"):
        run(agents.Runner.run(agents.Agent(name="A", model=model), "hi"))


@pytest.mark.parametrize("way", ["default client", "patch", "patched"])
def test_traces_carry_no_secret_of_azure_s(
    way: str,
    eastus: Resource,
    async_client: azure_shim.AsyncOpenAI,
    run: Run,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The default client's ``api_key`` is what signs the traces that go to OpenAI, by the SDK's own decision."""
    exporter = default_exporter()
    monkeypatch.setattr(exporter, "_api_key", None)
    if way == "default client":
        agents.set_default_openai_client(async_client)
    else:
        request.getfixturevalue(way)
    with ScriptedServer() as collector:
        monkeypatch.setattr(exporter, "endpoint", f"{collector.url}/v1/traces/ingest")
        agents.set_tracing_disabled(False)
        run(agents.Runner.run(agents.Agent(name="Assistant", model="gpt-4o", tools=[weather]), "use the tool"))
        agents.flush_traces()
        agents.set_tracing_disabled(True)
    assert collector.requests, "no trace was exported"
    for seen in collector.requests:
        assert eastus.api_key not in repr((seen.target, seen.headers)) + seen.body.decode()
    exported = {
        kind["span_data"]["type"] for seen in collector.requests for kind in seen.json()["data"] if "span_data" in kind
    }
    assert {"agent", "response", "function"} <= exported


class Socket:
    """A service of Responses by WebSocket: it says one answer's events to each connection."""

    def __init__(self, events: list[str]) -> None:
        self.dialled: list[tuple[str, dict[str, str]]] = []
        self.asked: list[Any] = []
        self._events = events

    def __enter__(self) -> Socket:
        self._server = serve(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()

    def _answer(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = {name.lower(): value for name, value in connection.request.headers.raw_items()}
        self.dialled.append((connection.request.path, headers))
        for message in connection:
            self.asked.append(json.loads(message))
            for event in self._events:
                connection.send(event)


@pytest.mark.parametrize("way", ["client", "patched", "patch"])
def test_a_websocket_is_dialled_at_azure_with_its_key(
    way: str,
    client: azure_shim.OpenAI,
    arguments: dict[str, Any],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """The SDK dials by itself, with what the client says of its URL and its headers.

    What is said over it passes nothing of the client, so the model is named by its deployment.
    """
    events = [e.model_dump_json() for e in client.responses.create(model="gpt-4o", input="hi", stream=True)]
    with Socket(events) as socket:
        ours = {"azure_endpoint": socket.url, "api_key": "key-of-the-socket"}
        arguments.update(ours)
        if way == "client":
            agents.set_default_openai_client(azure_shim.AsyncOpenAI(**ours))
        else:
            request.getfixturevalue(way)

        async def answer() -> str:
            provider = agents.OpenAIProvider(use_responses=True, use_responses_websocket=True)
            config = agents.RunConfig(model_provider=provider)
            agent = agents.Agent(name="A", model="chat-prod")
            result = agents.Runner.run_streamed(agent, "hi", run_config=config)
            async for _ in result.stream_events():
                pass
            await provider.aclose()
            return result.final_output

        assert run(answer()) == answer_to("hi")
    (path, headers), *others = socket.dialled
    assert others == []
    assert path == "/openai/v1/responses"
    assert headers["api-key"] == "key-of-the-socket"
    assert "authorization" not in headers
    assert not {"openai-organization", "openai-project"} & set(headers)
    assert socket.asked[0]["model"] == "chat-prod"
