"""Semantic Kernel: its OpenAI services and agents on Azure, by client and by patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent, OpenAIResponsesAgent
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import (
    AzureChatCompletion,
    AzureChatPromptExecutionSettings,
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
    OpenAITextEmbedding,
)
from semantic_kernel.connectors.ai.open_ai.exceptions.content_filter_ai_exception import ContentFilterAIException
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import kernel_function

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

Run = Callable[[Any], Any]


class Weather(BaseModel):
    city: str
    degrees: int


class Skies:
    @kernel_function(description="The weather in a city.")
    def weather(self, city: str) -> str:
        return f"sunny in {city}"


def asked(text: str) -> ChatHistory:
    history = ChatHistory()
    history.add_user_message(text)
    return history


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def clients(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The argument with which the services get their client; none where a patch sees to it."""
    if request.param == "client":
        return {"async_client": request.getfixturevalue("async_client")}
    if request.param == "http_client":
        return {"async_client": request.getfixturevalue("plain_async_client")}
    request.getfixturevalue(request.param)
    return {}


@pytest.fixture
def service(clients: dict[str, Any]) -> OpenAIChatCompletion:
    return OpenAIChatCompletion(ai_model_id="gpt-4o", **clients)


@pytest.fixture
def responses_agent(clients: dict[str, Any]) -> Callable[..., OpenAIResponsesAgent]:
    def build(**options: Any) -> OpenAIResponsesAgent:
        client = clients.get("async_client") or OpenAIResponsesAgent.create_client(ai_model_id="gpt-4o")
        return OpenAIResponsesAgent(ai_model_id="gpt-4o", client=client, name="Assistant", **options)

    return build


def test_a_service_answers(service: OpenAIChatCompletion, azure: FakeAzure, run: Run) -> None:
    answer = run(service.get_chat_message_content(asked("hi there"), OpenAIChatPromptExecutionSettings()))
    assert str(answer) == answer_to("hi there")
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_a_stream_arrives_as_it_is_made(service: OpenAIChatCompletion, azure: FakeAzure, run: Run, gate: Gate) -> None:
    async def stream() -> str:
        text = ""
        settings = OpenAIChatPromptExecutionSettings()
        async for part in service.get_streaming_chat_message_content(asked(LONG), settings):
            text += str(part)
            if str(part):
                gate.open()
        return text

    assert run(stream()) == answer_to(LONG)
    assert served(azure) == [("chat/completions", "chat-prod")]
    assert azure.requests[0].json()["stream"] is True


def test_a_tool_is_called_and_its_result_goes_back(service: OpenAIChatCompletion, azure: FakeAzure, run: Run) -> None:
    agent = ChatCompletionAgent(
        service=service, name="Assistant", plugins=[Skies()], function_choice_behavior=FunctionChoiceBehavior.Auto()
    )
    assert f"sunny in {CHAT}" in str(run(agent.get_response("use the tool")))
    assert served(azure) == [("chat/completions", "chat-prod")] * 2


def test_a_structured_answer_is_read(service: OpenAIChatCompletion, azure: FakeAzure, run: Run) -> None:
    settings = OpenAIChatPromptExecutionSettings(response_format=Weather)
    answer = run(service.get_chat_message_content(asked("the weather"), settings))
    assert Weather.model_validate_json(str(answer)) == Weather(city=CHAT, degrees=1)
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_an_agent_of_responses_answers(
    responses_agent: Callable[..., OpenAIResponsesAgent], azure: FakeAzure, run: Run
) -> None:
    assert str(run(responses_agent().get_response("hi there"))) == answer_to("hi there")
    assert served(azure) == [("responses", "chat-prod")]


def test_a_stream_of_responses_arrives_as_it_is_made(
    responses_agent: Callable[..., OpenAIResponsesAgent], azure: FakeAzure, run: Run, gate: Gate
) -> None:
    agent = responses_agent()

    async def stream() -> str:
        text = ""
        async for part in agent.invoke_stream(LONG):
            text += str(part)
            if str(part):
                gate.open()
        return text

    assert answer_to(LONG) in run(stream())
    assert served(azure) == [("responses", "chat-prod")]


def test_an_agent_of_responses_calls_a_tool(
    responses_agent: Callable[..., OpenAIResponsesAgent], azure: FakeAzure, run: Run
) -> None:
    assert f"sunny in {CHAT}" in str(run(responses_agent(plugins=[Skies()]).get_response("use the tool")))
    assert served(azure) == [("responses", "chat-prod")] * 2


def test_texts_are_embedded(clients: dict[str, Any], azure: FakeAzure, run: Run) -> None:
    vectors = run(OpenAITextEmbedding("text-embedding-3-small", **clients).generate_embeddings(["one", "two"]))
    assert [len(vector) for vector in vectors] == [1536, 1536]
    assert served(azure) == [("embeddings", "embed-prod")]


def test_what_is_written_down_of_a_service_holds_no_secret(
    service: OpenAIChatCompletion, azure: FakeAzure, eastus: Resource, run: Run
) -> None:
    """A service writes down its client's key."""
    run(service.get_chat_message_content(asked("hi"), OpenAIChatPromptExecutionSettings()))
    assert served(azure) == [("chat/completions", "chat-prod")]
    assert service.to_dict()["ai_model_id"] == "gpt-4o"
    assert eastus.api_key not in repr(service.to_dict()) + repr(service)


def test_a_kernel_uses_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure, run: Run) -> None:
    client, kernel = azure_shim.AsyncOpenAI(**classic), Kernel()
    kernel.add_service(OpenAIChatCompletion(ai_model_id="gpt-4o", async_client=client))
    assert str(run(kernel.invoke_prompt("hi"))) == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    run(client.close())


def test_the_framework_s_own_service_of_azure_takes_our_azure_client(
    azure_client: azure_shim.AsyncAzureOpenAI, azure: FakeAzure, run: Run
) -> None:
    service = AzureChatCompletion(deployment_name="gpt-4o", async_client=azure_client)
    answer = run(service.get_chat_message_content(asked("hi"), AzureChatPromptExecutionSettings()))
    assert str(answer) == answer_to("hi")
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_azure_s_filter_is_the_framework_s_own_exception(
    async_client: azure_shim.AsyncOpenAI, eastus: Resource, run: Run
) -> None:
    """It reads what Azure alone says in the error: which filter it was."""
    eastus.fail_next("content_filter")
    service = OpenAIChatCompletion(ai_model_id="gpt-4o", async_client=async_client)
    with pytest.raises(ContentFilterAIException) as caught:
        run(service.get_chat_message_content(asked("hi"), OpenAIChatPromptExecutionSettings()))
    assert caught.value.content_filter_result
