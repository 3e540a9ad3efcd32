"""LangChain: `ChatOpenAI` and `OpenAIEmbeddings` on Azure, by clients, by HTTP clients and by patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessageChunk, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_openai.chat_models import _client_utils
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

Run = Callable[[Any], Any]
Build = Callable[..., Any]


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def no_client_of_another_test() -> None:
    """LangChain's models share their HTTP clients, of which an async one is for one event loop."""
    _client_utils._cached_sync_httpx_client.cache_clear()
    _client_utils._cached_async_httpx_client.cache_clear()


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def way(request: pytest.FixtureRequest) -> str:
    """How Azure gets into the models that `chat` and `embeddings` make."""
    return str(request.param)


@pytest.fixture
def http_clients(way: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What both kinds of models take, unless they take a client."""
    if way == "http_client":
        value = request.getfixturevalue
        clients = {"http_client": value("http_client"), "http_async_client": value("async_http_client")}
        return {"api_key": "unused", **clients}
    if way != "client":
        request.getfixturevalue(way)
    return {}


@pytest.fixture
def chat(way: str, http_clients: dict[str, Any], request: pytest.FixtureRequest) -> Build:
    def build(**options: Any) -> ChatOpenAI:
        clients = http_clients
        if way == "client":
            ours, ours_async = request.getfixturevalue("client"), request.getfixturevalue("async_client")
            clients = {"client": ours.chat.completions, "async_client": ours_async.chat.completions}
            clients.update(root_client=ours, root_async_client=ours_async)
        return ChatOpenAI(model="gpt-4o", **clients, **options)

    return build


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, run: Run) -> Callable[..., Any]:
    """Calls a method of a model in both of its forms: ``invoke`` and ``ainvoke``."""

    def either(model: Any, method: str, *arguments: Any, **options: Any) -> Any:
        if request.param == "sync":
            return getattr(model, method)(*arguments, **options)
        return run(getattr(model, f"a{method}")(*arguments, **options))

    return either


API = pytest.mark.parametrize(
    ("use_responses", "operation"), [(False, "chat/completions"), (True, "responses")], ids=["chat", "responses"]
)


@API
def test_a_model_answers(chat: Build, call: Build, azure: FakeAzure, use_responses: bool, operation: str) -> None:
    message = call(chat(use_responses_api=use_responses), "invoke", "hi there")
    assert message.text == answer_to("hi there")
    assert message.usage_metadata["total_tokens"] > 0
    assert served(azure) == [(operation, "chat-prod")]


@API
def test_a_stream_arrives_as_it_is_made(
    chat: Build, azure: FakeAzure, gate: Gate, use_responses: bool, operation: str
) -> None:
    whole = AIMessageChunk(content="")
    for chunk in chat(use_responses_api=use_responses).stream(LONG):
        whole += chunk
        if chunk.text:
            gate.open()
    assert whole.text == answer_to(LONG)
    assert served(azure) == [(operation, "chat-prod")]
    assert azure.requests[0].json()["stream"] is True


@API
def test_an_awaited_stream_arrives_as_it_is_made(
    chat: Build, azure: FakeAzure, gate: Gate, run: Run, use_responses: bool, operation: str
) -> None:
    model = chat(use_responses_api=use_responses)

    async def stream() -> str:
        text = ""
        async for chunk in model.astream(LONG):
            text += chunk.text
            if chunk.text:
                gate.open()
        return text

    assert run(stream()) == answer_to(LONG)
    assert served(azure) == [(operation, "chat-prod")]


@API
def test_a_tool_is_called_and_its_result_goes_back(
    chat: Build, call: Build, azure: FakeAzure, use_responses: bool, operation: str
) -> None:
    model = chat(use_responses_api=use_responses).bind_tools([weather])
    asked = call(model, "invoke", "use the tool")
    assert [one["args"] for one in asked.tool_calls] == [{"city": CHAT}]
    result = weather.invoke(asked.tool_calls[0])
    assert isinstance(result, ToolMessage)
    last = call(model, "invoke", [{"role": "user", "content": "use the tool"}, asked, result])
    assert f"sunny in {CHAT}" in last.text
    assert served(azure) == [(operation, "chat-prod")] * 2


@API
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_structured_answer_is_read(
    chat: Build, call: Build, azure: FakeAzure, method: str, use_responses: bool, operation: str
) -> None:
    model = chat(use_responses_api=use_responses).with_structured_output(Weather, method=method)
    assert call(model, "invoke", "the weather") == Weather(city=CHAT, degrees=1)
    assert served(azure) == [(operation, "chat-prod")]


def test_texts_are_embedded(
    way: str, http_clients: dict[str, Any], call: Build, azure: FakeAzure, request: pytest.FixtureRequest
) -> None:
    clients = http_clients
    if way == "client":
        ours, ours_async = request.getfixturevalue("client"), request.getfixturevalue("async_client")
        clients = {"client": ours.embeddings, "async_client": ours_async.embeddings}
    # Without its look at the length, which wants a tokenizer's vocabulary from the network.
    model = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False, **clients)
    assert [len(vector) for vector in call(model, "embed_documents", ["one", "two"])] == [1536, 1536]
    assert len(call(model, "embed_query", "three")) == 1536
    assert served(azure) == [("embeddings", "embed-prod")] * 2


def test_another_provider_is_left_alone_by_the_patch(
    patch: None, azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of a ``base_url`` of its own, here another API on this machine, does not go to Azure."""
    for name in ("OPENAI_CUSTOM_HEADERS", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name)
    with FakeAzure({"other": ["their-model"]}) as other:
        theirs = ChatOpenAI(model="their-model", base_url=other["other"].v1_url, api_key=other.token)
        assert theirs.invoke("hi").text == answer_to("hi", "other/their-model")
        assert azure.requests == []
        assert other.leaks == []


def test_chat_goes_to_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.http_client(**classic) as http_client:
        assert ChatOpenAI(model="gpt-4o", api_key="unused", http_client=http_client).invoke("hi").text == answer_to(
            "hi"
        )
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"


def test_an_error_is_openai_s_own(http_client: Any, eastus: Resource) -> None:
    eastus.fail_next("content_filter")
    with pytest.raises(openai.BadRequestError) as caught:
        ChatOpenAI(model="gpt-4o", api_key="unused", http_client=http_client).invoke("hi")
    assert caught.value.code == "content_filter"
