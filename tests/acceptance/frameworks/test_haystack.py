"""Haystack: chat generators and embedders on Azure. They build their own clients, around an HTTP client that they build
of ``http_client_kwargs``, always of httpx: Azure gets in as its transport, as the finished client, or by patch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from haystack import Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage, Document
from haystack.tools import create_tool_from_function
from haystack.utils import Secret
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from azure_shim.transport import on_httpx
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

Run = Callable[[Any], Any]
Build = Callable[..., Any]
GENERATORS = {"chat/completions": OpenAIChatGenerator, "responses": OpenAIResponsesChatGenerator}


class Weather(BaseModel):
    city: str
    degrees: int


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(params=GENERATORS)
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return request.param == "async"


@pytest.fixture(params=["client", "transport", "patched", "patch", "patch, own httpx client"])
def build(is_async: bool, arguments: dict[str, Any], request: pytest.FixtureRequest) -> Build:
    """Makes a component whose client reaches Azure, by each way there is."""
    way = request.param

    def component(kind: Any, **options: Any) -> Any:
        if way == "client":
            made = kind(**options)
            name = "async_client" if is_async else "client"
            setattr(made, name, request.getfixturevalue(name))
            return made
        if way == "transport":
            transport = on_httpx.AsyncAzureTransport if is_async else on_httpx.AzureTransport
            key = Secret.from_token("unused")
            return kind(api_key=key, http_client_kwargs={"transport": transport(**arguments)}, **options)
        request.getfixturevalue(way.partition(",")[0])
        return kind(**options, **({"http_client_kwargs": {"timeout": 30}} if "own" in way else {}))

    return component


@pytest.fixture
def call(is_async: bool, run: Run) -> Callable[..., Any]:
    """Runs a component by whichever of its two methods."""

    def either(component: Any, *arguments: Any, **options: Any) -> Any:
        if is_async:
            return run(component.run_async(*arguments, **options))
        return component.run(*arguments, **options)

    return either


def test_a_generator_answers(build: Build, call: Callable[..., Any], api: str, azure: FakeAzure) -> None:
    replies = call(build(GENERATORS[api], model="gpt-4o"), [ChatMessage.from_user("hi there")])["replies"]
    assert [reply.text for reply in replies] == [answer_to("hi there")]
    assert served(azure) == [(api, "chat-prod")]


def test_a_stream_arrives_as_it_is_made(
    build: Build, call: Callable[..., Any], api: str, is_async: bool, azure: FakeAzure, gate: Gate
) -> None:
    chunks = []

    def hear(chunk: Any) -> None:
        chunks.append(chunk.content)
        if chunk.content:
            gate.open()

    async def hear_async(chunk: Any) -> None:
        hear(chunk)

    generator = build(GENERATORS[api], model="gpt-4o", streaming_callback=hear_async if is_async else hear)
    replies = call(generator, [ChatMessage.from_user(LONG)])["replies"]
    assert "".join(chunks) == replies[0].text == answer_to(LONG)
    assert served(azure) == [(api, "chat-prod")]
    assert azure.requests[0].json()["stream"] is True


def test_a_tool_is_called_and_its_result_goes_back(
    build: Build, call: Callable[..., Any], api: str, azure: FakeAzure
) -> None:
    tool = create_tool_from_function(weather)
    generator = build(GENERATORS[api], model="gpt-4o", tools=[tool])
    question = ChatMessage.from_user("use the tool")
    asked = call(generator, [question])["replies"][0]
    assert [one.arguments for one in asked.tool_calls] == [{"city": CHAT}]
    result = ChatMessage.from_tool(tool.invoke(**asked.tool_call.arguments), origin=asked.tool_call)
    last = call(generator, [question, asked, result])["replies"][0]
    assert f"sunny in {CHAT}" in last.text
    assert served(azure) == [(api, "chat-prod")] * 2


def test_a_structured_answer_is_read(build: Build, call: Callable[..., Any], api: str, azure: FakeAzure) -> None:
    name = "response_format" if api == "chat/completions" else "text_format"
    generator = build(GENERATORS[api], model="gpt-4o", generation_kwargs={name: Weather})
    reply = call(generator, [ChatMessage.from_user("the weather")])["replies"][0]
    assert Weather.model_validate_json(reply.text) == Weather(city=CHAT, degrees=1)
    assert served(azure) == [(api, "chat-prod")]


def test_texts_and_documents_are_embedded(build: Build, call: Callable[..., Any], azure: FakeAzure) -> None:
    model = "text-embedding-3-small"
    assert len(call(build(OpenAITextEmbedder, model=model), "one")["embedding"]) == 1536
    documents = call(build(OpenAIDocumentEmbedder, model=model), [Document(content="two"), Document(content="three")])
    assert [len(document.embedding) for document in documents["documents"]] == [1536, 1536]
    assert served(azure) == [("embeddings", "embed-prod")] * 2


def test_a_pipeline_that_was_written_down_goes_to_azure_when_patched(patch: None, azure: FakeAzure) -> None:
    pipeline = Pipeline()
    pipeline.add_component("prompt", ChatPromptBuilder([ChatMessage.from_user("hi {{ name }}")]))
    pipeline.add_component("llm", OpenAIChatGenerator(model="gpt-4o"))
    pipeline.connect("prompt.prompt", "llm.messages")
    result = Pipeline.loads(pipeline.dumps()).run({"prompt": {"name": "there"}})
    assert result["llm"]["replies"][0].text == answer_to("hi there")
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_chat_goes_to_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure) -> None:
    transport = on_httpx.AzureTransport(**classic)
    generator = OpenAIChatGenerator(
        api_key=Secret.from_token("unused"), model="gpt-4o", http_client_kwargs={"transport": transport}
    )
    assert generator.run("hi")["replies"][0].text == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"


def test_an_error_is_openai_s_own(client: azure_shim.OpenAI, eastus: Resource) -> None:
    eastus.fail_next("content_filter")
    generator = OpenAIChatGenerator(model="gpt-4o")
    generator.client = client
    with pytest.raises(openai.BadRequestError) as caught:
        generator.run("hi")
    assert caught.value.code == "content_filter"
