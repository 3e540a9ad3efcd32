"""Microsoft's Agent Framework: its OpenAI clients on Azure, by client and by patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from agent_framework import Agent
from agent_framework_openai import (
    OpenAIChatClient,
    OpenAIChatCompletionClient,
    OpenAIContentFilterException,
    OpenAIEmbeddingClient,
)
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

Run = Callable[[Any], Any]
CLIENTS = {"chat/completions": OpenAIChatCompletionClient, "responses": OpenAIChatClient}


class Weather(BaseModel):
    city: str
    degrees: int


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(params=CLIENTS)
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes one of the framework's clients, whose own client reaches Azure."""
    # Else it takes that for another provider's address.
    monkeypatch.delenv("OPENAI_BASE_URL")
    clients: dict[str, Any] = {}
    if request.param == "client":
        clients["async_client"] = request.getfixturevalue("async_client")
    elif request.param == "http_client":
        clients["async_client"] = request.getfixturevalue("plain_async_client")
    else:
        request.getfixturevalue(request.param)
    return lambda kind, model="gpt-4o": kind(model=model, **clients)


def test_an_agent_answers(build: Callable[..., Any], api: str, azure: FakeAzure, run: Run) -> None:
    agent = Agent(build(CLIENTS[api]), "Be brief.")
    assert run(agent.run("hi there")).text == answer_to("hi there")
    assert served(azure) == [(api, "chat-prod")]


def test_a_stream_arrives_as_it_is_made(
    build: Callable[..., Any], api: str, azure: FakeAzure, run: Run, gate: Gate
) -> None:
    agent = Agent(build(CLIENTS[api]))

    async def stream() -> str:
        updates = agent.run(LONG, stream=True)
        async for update in updates:
            if update.text:
                gate.open()
        return (await updates.get_final_response()).text

    assert run(stream()) == answer_to(LONG)
    assert served(azure) == [(api, "chat-prod")]
    assert azure.requests[0].json()["stream"] is True


def test_a_tool_is_called_and_its_result_goes_back(
    build: Callable[..., Any], api: str, azure: FakeAzure, run: Run
) -> None:
    result = run(Agent(build(CLIENTS[api]), tools=[weather]).run("use the tool"))
    assert f"sunny in {CHAT}" in result.text
    assert served(azure) == [(api, "chat-prod")] * 2


def test_a_structured_answer_is_read(build: Callable[..., Any], api: str, azure: FakeAzure, run: Run) -> None:
    result = run(Agent(build(CLIENTS[api])).run("the weather", options={"response_format": Weather}))
    assert result.value == Weather(city=CHAT, degrees=1)
    assert served(azure) == [(api, "chat-prod")]


def test_texts_are_embedded(build: Callable[..., Any], azure: FakeAzure, run: Run) -> None:
    embeddings = run(build(OpenAIEmbeddingClient, "text-embedding-3-small").get_embeddings(["one", "two"]))
    assert [len(one.vector) for one in embeddings] == [1536, 1536]
    assert served(azure) == [("embeddings", "embed-prod")]


def test_chat_goes_to_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure, run: Run) -> None:
    client = azure_shim.AsyncOpenAI(**classic)
    agent = Agent(OpenAIChatCompletionClient(model="gpt-4o", async_client=client))
    assert run(agent.run("hi")).text == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    run(client.close())


def test_our_azure_client_is_one_of_azure_s_to_the_framework(
    azure_client: azure_shim.AsyncAzureOpenAI, azure: FakeAzure, run: Run
) -> None:
    client = OpenAIChatCompletionClient(model="gpt-4o", async_client=azure_client)
    assert client.OTEL_PROVIDER_NAME == "azure.ai.openai"
    assert run(Agent(client).run("hi")).text == answer_to("hi")
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_azure_s_filter_is_the_framework_s_own_exception(
    async_client: azure_shim.AsyncOpenAI, eastus: Resource, run: Run
) -> None:
    eastus.fail_next("content_filter")
    with pytest.raises(OpenAIContentFilterException) as caught:
        run(Agent(OpenAIChatCompletionClient(model="gpt-4o", async_client=async_client)).run("hi"))
    assert caught.value.content_filter_result["sexual"].filtered
