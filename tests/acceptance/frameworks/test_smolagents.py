"""smolagents: `OpenAIModel` and its agents. It builds a blocking client of its own, with ``client_kwargs``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from smolagents import OpenAIModel, ToolCallingAgent, tool

import azure_shim
from azure_shim.testing import FakeAzure, FakeResponse, Recorded, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served
from tests.servers import CHAT as ANSWER
from tests.servers import ScriptedServer, answer

COMPLETION = ("chat/completions", "chat-prod")
HELLO = [{"role": "user", "content": "hello"}]
PERSON = {
    "type": "json_schema",
    "json_schema": {
        "name": "person",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "additionalProperties": False,
        },
    },
}


@tool
def get_weather(city: str) -> str:
    """The weather.

    Args:
        city: where
    """
    return f"sunny in {city}"


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def model(request: pytest.FixtureRequest) -> OpenAIModel:
    """A model that reaches Azure in each way there is."""
    way = request.getfixturevalue(request.param)
    if request.param == "http_client":
        return OpenAIModel("gpt-4o", client_kwargs={"http_client": way})
    found = OpenAIModel("gpt-4o")
    if request.param == "client":
        found.client = way  # the constructor takes none
    return found


def test_a_chat_is_answered(model: OpenAIModel, azure: FakeAzure) -> None:
    message = model.generate(HELLO)
    assert message.content == answer_to("hello")
    assert message.token_usage.output_tokens > 0
    assert served(azure) == [COMPLETION]


def test_a_stream_streams(model: OpenAIModel, azure: FakeAzure, gate: Gate) -> None:
    """Azure's first event has no choices, and its last one has the usage alone."""
    said, tokens = "", 0
    for delta in model.generate_stream([{"role": "user", "content": LONG}]):
        said += delta.content or ""
        tokens += delta.token_usage.output_tokens if delta.token_usage else 0
        if said:
            gate.open()
    assert said == answer_to(LONG)
    assert tokens > 0
    assert served(azure) == [COMPLETION]


def test_a_tool_is_called(model: OpenAIModel, azure: FakeAzure) -> None:
    message = model.generate(HELLO, tools_to_call_from=[get_weather])
    (call,) = message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": CHAT}
    assert served(azure) == [COMPLETION]


def test_a_structured_output_has_the_shape(model: OpenAIModel, azure: FakeAzure) -> None:
    message = model.generate(HELLO, response_format=PERSON)
    assert json.loads(message.content) == {"name": CHAT, "age": 1}
    assert azure.requests[0].json()["response_format"] == PERSON


def test_an_agent_works_until_its_answer(model: OpenAIModel, azure: FakeAzure, eastus: Resource) -> None:
    """Two turns: the service calls the tool, then the one with which an agent of smolagents ends."""
    eastus.answer_next(_calling("get_weather", {"city": "Oslo"}))
    eastus.answer_next(_calling("final_answer", {"answer": "It is sunny."}))
    agent = ToolCallingAgent([get_weather], model=model, max_steps=3, verbosity_level=0)
    assert agent.run("What is the weather in Oslo?") == "It is sunny."
    assert served(azure) == [COMPLETION, COMPLETION]
    assert b"sunny in Oslo" in azure.requests[1].body


def test_the_classic_surface_has_the_deployment_in_its_path(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.http_client(**classic) as http_client:
        OpenAIModel("gpt-4o", client_kwargs={"http_client": http_client}).generate(HELLO)
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    assert served(azure) == [COMPLETION]


@pytest.mark.parametrize("way", ["patched", "patch"])
def test_another_providers_server_is_left_alone(
    way: str,
    elsewhere: ScriptedServer,
    request: pytest.FixtureRequest,
    azure: FakeAzure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model with an ``api_base`` of its own keeps its server, its key and the name of its model."""
    monkeypatch.delenv("OPENAI_CUSTOM_HEADERS")  # which openai puts above a client's own key
    request.getfixturevalue(way)
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    elsewhere.script = lambda _seen: [answer({**ANSWER, "usage": usage})]
    message = OpenAIModel("llama", api_base=f"{elsewhere.url}/v1", api_key="another-key").generate(HELLO)
    assert message.content == "hello"
    (sent,) = elsewhere.requests
    assert sent.target == "/v1/chat/completions"
    assert sent.header("authorization") == "Bearer another-key"
    assert sent.json()["model"] == "llama"
    assert azure.requests == []


def _calling(name: str, arguments: dict[str, Any]) -> Any:
    """An answer that calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": "call_1", "type": "function", "function": function}

    def answer(_request: Recorded) -> FakeResponse:
        return FakeResponse.json(_completion({"content": None, "tool_calls": [call]}))

    return answer


def _completion(message: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
