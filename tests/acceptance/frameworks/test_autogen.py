"""AutoGen: its OpenAI model client, and agents of it, on Azure, by client, by HTTP client and by patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import CreateResult, ModelFamily, ModelInfo, UserMessage
from autogen_core.tools import FunctionTool
from autogen_ext.models.openai import BaseOpenAIChatCompletionClient, OpenAIChatCompletionClient
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

Run = Callable[[Any], Any]
GPT_4O = ModelInfo(
    vision=True,
    function_calling=True,
    json_output=True,
    family=ModelFamily.GPT_4O,
    structured_output=True,
    multiple_system_messages=True,
)


class Weather(BaseModel):
    city: str
    degrees: int


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def asked(text: str) -> list[UserMessage]:
    return [UserMessage(content=text, source="user")]


def around(client: openai.AsyncOpenAI) -> BaseOpenAIChatCompletionClient:
    """A model client of a ready client, which the ready-made class does not take."""
    return BaseOpenAIChatCompletionClient(client, create_args={"model": "gpt-4o"}, model_info=GPT_4O)


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def model(request: pytest.FixtureRequest) -> Any:
    """A model client that reaches Azure, by each way there is; with a patch, AutoGen's own client does."""
    if request.param == "client":
        return around(request.getfixturevalue("async_client"))
    if request.param == "http_client":
        ours = request.getfixturevalue("async_http_client")
        return OpenAIChatCompletionClient(model="gpt-4o", api_key="unused", http_client=ours)
    request.getfixturevalue(request.param)
    return OpenAIChatCompletionClient(model="gpt-4o")


def test_a_model_answers(model: Any, azure: FakeAzure, run: Run) -> None:
    result = run(model.create(asked("hi there")))
    assert result.content == answer_to("hi there")
    assert result.usage.prompt_tokens > 0
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_a_stream_arrives_as_it_is_made(model: Any, azure: FakeAzure, run: Run, gate: Gate) -> None:
    async def stream() -> tuple[str, Any]:
        text = ""
        async for part in model.create_stream(asked(LONG)):
            if isinstance(part, CreateResult):
                return text, part.content
            gate.open()
            text += part
        raise AssertionError("the stream has no result")

    assert run(stream()) == (answer_to(LONG),) * 2
    assert served(azure) == [("chat/completions", "chat-prod")]
    assert azure.requests[0].json()["stream"] is True


def test_a_tool_is_called_and_its_result_goes_back(model: Any, azure: FakeAzure, run: Run) -> None:
    agent = AssistantAgent(
        "assistant", model, tools=[FunctionTool(weather, description="The weather")], reflect_on_tool_use=True
    )
    result = run(agent.run(task="use the tool"))
    assert f"sunny in {CHAT}" in result.messages[-1].content
    assert served(azure) == [("chat/completions", "chat-prod")] * 2


def test_a_structured_answer_is_read(model: Any, azure: FakeAzure, run: Run) -> None:
    result = run(model.create(asked("the weather"), json_output=Weather))
    assert Weather.model_validate_json(result.content) == Weather(city=CHAT, degrees=1)
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_a_structured_answer_of_a_stream_is_read(model: Any, azure: FakeAzure, run: Run) -> None:
    async def last() -> Any:
        return [part async for part in model.create_stream(asked("the weather"), json_output=Weather)][-1].content

    assert Weather.model_validate_json(run(last())) == Weather(city=CHAT, degrees=1)
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_the_arguments_of_the_client_survive_the_patch(patch: None, azure: FakeAzure, run: Run) -> None:
    """AutoGen passes what it finds in the signature of ``openai.AsyncOpenAI``, and drops everything else."""
    model = OpenAIChatCompletionClient(model="gpt-4o", default_headers={"x-team": "blue"}, max_retries=0, timeout=7)
    assert run(model.create(asked("hi"))).content == answer_to("hi")
    assert azure.requests[0].headers["x-team"] == "blue"
    assert azure.requests[0].headers["x-stainless-read-timeout"] == "7"
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_the_classic_surface_serves_too(classic: dict[str, Any], azure: FakeAzure, run: Run) -> None:
    client = azure_shim.AsyncOpenAI(**classic)
    assert run(around(client).create(asked("hi"))).content == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    run(client.close())


def test_an_error_is_openai_s_own(async_client: azure_shim.AsyncOpenAI, eastus: Resource, run: Run) -> None:
    eastus.fail_next("content_filter")
    with pytest.raises(openai.BadRequestError) as caught:
        run(around(async_client).create(asked("hi")))
    assert caught.value.code == "content_filter"
