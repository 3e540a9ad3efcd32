"""llama-index: the models of chat completions and of responses, and the embeddings, each in both colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

COMPLETION = ("chat/completions", "chat-prod")
OPERATIONS = {OpenAI: "chat/completions", OpenAIResponses: "responses"}
WHO = PromptTemplate("Who is {name}?")


class Person(BaseModel):
    name: str
    age: int


def get_weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


TOOL = FunctionTool.from_defaults(get_weather)


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def way(request: pytest.FixtureRequest) -> str:
    """Each way to Azure; a patched one holds for the whole test."""
    if "patch" in request.param:
        request.getfixturevalue(request.param)
    return str(request.param)


@pytest.fixture
def given(way: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arguments with which a model goes this way."""
    if way == "client":
        names = {"openai_client": "client", "async_openai_client": "async_client"}
    elif way == "http_client":
        names = {"http_client": "http_client", "async_http_client": "async_http_client"}
    else:
        names = {}
    return {name: request.getfixturevalue(fixture) for name, fixture in names.items()}


@pytest.fixture(params=OPERATIONS, ids=lambda kind: kind.__name__)
def model(request: pytest.FixtureRequest, given: dict[str, Any]) -> Any:
    return request.param("gpt-4o", **given)


@pytest.fixture
def expected(model: Any) -> tuple[str, str]:
    """What one call of the model comes to Azure as."""
    return OPERATIONS[type(model)], "chat-prod"


def test_a_chat_is_answered(model: Any, expected: Any, azure: FakeAzure, run: Callable[[Any], Any]) -> None:
    assert model.complete("hello").text == answer_to("hello")
    assert run(model.acomplete("hello")).text == answer_to("hello")
    assert served(azure) == [expected, expected]


def test_a_stream_streams(model: Any, expected: Any, azure: FakeAzure, gate: Gate) -> None:
    said = ""
    for response in model.stream_chat([ChatMessage(LONG)]):
        said += response.delta or ""
        if said:
            gate.open()
    assert said == answer_to(LONG)
    assert served(azure) == [expected]


def test_an_async_stream_streams(
    model: Any, expected: Any, azure: FakeAzure, gate: Gate, run: Callable[[Any], Any]
) -> None:
    async def read() -> str:
        said = ""
        async for response in await model.astream_chat([ChatMessage(LONG)]):
            said += response.delta or ""
            if said:
                gate.open()
        return said

    assert run(read()) == answer_to(LONG)
    assert served(azure) == [expected]


def test_a_tool_is_called(model: Any, expected: Any, azure: FakeAzure, run: Callable[[Any], Any]) -> None:
    assert str(model.predict_and_call([TOOL], "use the tool")) == f"sunny in {CHAT}"
    assert str(run(model.apredict_and_call([TOOL], "use the tool"))) == f"sunny in {CHAT}"
    assert served(azure) == [expected, expected]


def test_a_structured_output_has_the_shape(
    model: Any, expected: Any, azure: FakeAzure, run: Callable[[Any], Any]
) -> None:
    someone = Person(name=CHAT, age=1)
    assert model.structured_predict(Person, WHO, name="it") == someone
    assert run(model.astructured_predict(Person, WHO, name="it")) == someone
    assert served(azure) == [expected, expected]


def test_texts_are_embedded(way: str, given: dict[str, Any], azure: FakeAzure, run: Callable[[Any], Any]) -> None:
    embedding = OpenAIEmbedding(model="text-embedding-3-small", **(given if way == "http_client" else {}))
    if way == "client":  # its constructor takes none
        embedding._client, embedding._aclient = given["openai_client"], given["async_openai_client"]
    one, other = embedding.get_text_embedding_batch(["one", "other"])
    assert embedding.get_query_embedding("one") == one
    assert run(embedding.aget_text_embedding_batch(["one", "other"])) == [one, other]
    assert run(embedding.aget_query_embedding("one")) == one
    assert len(one) == 1536
    assert one != other
    assert served(azure) == [("embeddings", "embed-prod")] * 4


@pytest.mark.parametrize("way", ["http_client", "patched", "patch"], indirect=True)
def test_a_client_per_call_goes_there_too(given: dict[str, Any], azure: FakeAzure, run: Callable[[Any], Any]) -> None:
    """``reuse_client=False``, which leaves a ready ``openai_client`` unused and so needs one of these ways."""
    model = OpenAI("gpt-4o", reuse_client=False, **given)
    assert model.complete("hello").text == answer_to("hello")
    assert run(model.acomplete("hello")).text == answer_to("hello")
    assert served(azure) == [COMPLETION] * 2


def test_the_classic_surface_has_the_deployment_in_its_path(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.OpenAI(**classic) as client:
        assert OpenAI("gpt-4o", openai_client=client).complete("hello").text
        embedding = OpenAIEmbedding(model="text-embedding-3-small")
        embedding._client = client
        assert embedding.get_query_embedding("one")
    assert [request.path for request in azure.requests] == [
        "/openai/deployments/chat-prod/chat/completions",
        "/openai/deployments/embed-prod/embeddings",
    ]
    assert served(azure) == [COMPLETION, ("embeddings", "embed-prod")]
