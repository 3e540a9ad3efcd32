"""Pydantic AI: agents and embedders whose models are Azure's, by client, by HTTP client and by patch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, Embedder, NativeOutput
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.azure import AzureProvider
from pydantic_ai.providers.openai import OpenAIProvider

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

Run = Callable[[Any], Any]
APIS = {"chat/completions": OpenAIChatModel, "responses": OpenAIResponsesModel}


class Weather(BaseModel):
    city: str
    degrees: int


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def provider(request: pytest.FixtureRequest) -> Any:
    """What reaches Azure, by each way there is; with a patch, the provider that Pydantic AI makes for itself."""
    if request.param == "client":
        return OpenAIProvider(openai_client=request.getfixturevalue("async_client"))
    if request.param == "http_client":
        return OpenAIProvider(api_key="unused", http_client=request.getfixturevalue("async_http_client"))
    request.getfixturevalue(request.param)
    return "openai"


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_agent_answers(provider: Any, api: str, azure: FakeAzure, run: Run) -> None:
    result = run(Agent(APIS[api]("gpt-4o", provider=provider)).run("hi there"))
    assert result.output == answer_to("hi there")
    assert served(azure) == [(api, "chat-prod")]


def test_a_stream_arrives_as_it_is_made(provider: Any, api: str, azure: FakeAzure, run: Run, gate: Gate) -> None:
    agent = Agent(APIS[api]("gpt-4o", provider=provider))

    async def stream() -> str:
        async with agent.run_stream(LONG) as result:
            async for _ in result.stream_text(debounce_by=None):
                gate.open()
            return await result.get_output()

    assert run(stream()) == answer_to(LONG)
    assert served(azure) == [(api, "chat-prod")]
    assert azure.requests[0].json()["stream"] is True


def test_a_tool_is_called_and_its_result_goes_back(provider: Any, api: str, azure: FakeAzure, run: Run) -> None:
    result = run(Agent(APIS[api]("gpt-4o", provider=provider), tools=[weather]).run("use the tool"))
    assert f"sunny in {CHAT}" in result.output
    assert served(azure) == [(api, "chat-prod")] * 2


@pytest.mark.parametrize("output_type", [Weather, NativeOutput(Weather)], ids=["by tool", "by format"])
def test_a_structured_answer_is_read(output_type: Any, provider: Any, api: str, azure: FakeAzure, run: Run) -> None:
    agent = Agent(APIS[api]("gpt-4o", provider=provider), output_type=output_type)
    assert run(agent.run("the weather")).output == Weather(city=CHAT, degrees=1)
    assert served(azure) == [(api, "chat-prod")]


def test_texts_are_embedded(provider: Any, azure: FakeAzure, run: Run) -> None:
    embedder = Embedder(OpenAIEmbeddingModel("text-embedding-3-small", provider=provider))
    result = run(embedder.embed_documents(["one", "two"]))
    assert [len(vector) for vector in result.embeddings] == [1536, 1536]
    assert served(azure) == [("embeddings", "embed-prod")]


@pytest.mark.parametrize("model", ["openai-chat:gpt-4o", "openai-responses:gpt-4o"])
def test_a_model_that_is_named_by_a_string_goes_to_azure_when_patched(
    model: str, patch: None, azure: FakeAzure, run: Run
) -> None:
    assert run(Agent(model).run("hi")).output == answer_to("hi")
    assert [deployment for _, deployment in served(azure)] == ["chat-prod"]


def test_a_new_event_loop_is_no_way_out_of_the_patch(patch: None, azure: FakeAzure) -> None:
    """In another loop, Pydantic AI gives its client another HTTP client (``client._client = ...``)."""
    agent = Agent(OpenAIChatModel("gpt-4o"))
    for _ in range(2):
        assert asyncio.run(_answer(agent)) == answer_to("hi")
    assert served(azure) == [("chat/completions", "chat-prod")] * 2


async def _answer(agent: Agent[None, str]) -> str:
    return (await agent.run("hi")).output


def test_a_run_goes_to_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure, run: Run) -> None:
    client = azure_shim.AsyncOpenAI(**classic)
    agent = Agent(OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client)))
    assert run(agent.run("hi")).output == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    run(client.close())


def test_the_framework_s_own_provider_of_azure_takes_our_azure_client(
    azure_client: azure_shim.AsyncAzureOpenAI, azure: FakeAzure, run: Run
) -> None:
    agent = Agent(OpenAIChatModel("gpt-4o", provider=AzureProvider(openai_client=azure_client)))
    result = run(agent.run("hi"))
    assert result.output == answer_to("hi")
    assert result.response.provider_name == "azure"
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_an_error_of_azure_s_is_pydantic_ai_s_own(
    async_client: azure_shim.AsyncOpenAI, eastus: Resource, run: Run
) -> None:
    eastus.fail_next("content_filter")
    agent = Agent(OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=async_client)))
    with pytest.raises(ModelHTTPError) as caught:
        run(agent.run("hi"))
    assert caught.value.status_code == 400
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "content_filter"
