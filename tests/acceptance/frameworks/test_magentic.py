"""Magentic: a model that builds its own clients, and streams every answer; they go in by attribute or by patch."""

# Magentic reads the annotations of decorated functions as they are, so they are not postponed here.
from collections.abc import Callable
from typing import Any

import openai
import pytest
from magentic import (
    AsyncStreamedStr,
    FunctionCall,
    OpenaiChatModel,
    StreamedStr,
    UserMessage,
    prompt,
    prompt_chain,
)
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

Run = Callable[[Any], Any]
EXPECTED = ("chat/completions", "chat-prod")


class Weather(BaseModel):
    city: str
    degrees: int


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def model(request: pytest.FixtureRequest) -> OpenaiChatModel:
    value, way = request.getfixturevalue, request.param
    if way in ("patched", "patch"):
        value(way)
        return OpenaiChatModel("gpt-4o")
    plain = "plain_" if way == "http_client" else ""
    return with_clients(value(f"{plain}client"), value(f"{plain}async_client"))


def with_clients(client: Any, async_client: Any = None) -> OpenaiChatModel:
    """No argument takes a client."""
    model = OpenaiChatModel("gpt-4o")
    model._client, model._async_client = client, async_client
    return model


def test_a_prompt_is_answered(model: OpenaiChatModel, azure: FakeAzure, run: Run) -> None:
    @prompt("say {what}", model=model)
    def say(what: str) -> str: ...

    @prompt("say {what}", model=model)
    async def say_async(what: str) -> str: ...

    assert say("hi") == answer_to("say hi")
    assert run(say_async("hello")) == answer_to("say hello")
    assert served(azure) == [EXPECTED] * 2
    assert azure.requests[0].json()["stream"] is True


def test_the_usage_is_counted(model: OpenaiChatModel) -> None:
    """It comes in the last frame, which has no choices."""
    assert model.complete([UserMessage("hi")]).usage.output_tokens > 0


def test_a_stream_arrives_as_it_is_made(model: OpenaiChatModel, azure: FakeAzure, gate: Gate) -> None:
    @prompt("{what}", model=model)
    def say(what: str) -> StreamedStr: ...

    said = ""
    for piece in say(LONG):
        said += piece
        if piece:
            gate.open()
    assert said == answer_to(LONG)
    assert served(azure) == [EXPECTED]


def test_an_awaited_stream_arrives_as_it_is_made(
    model: OpenaiChatModel, azure: FakeAzure, gate: Gate, run: Run
) -> None:
    @prompt("{what}", model=model)
    async def say(what: str) -> AsyncStreamedStr: ...

    async def stream() -> str:
        said = ""
        async for piece in await say(LONG):
            said += piece
            if piece:
                gate.open()
        return said

    assert run(stream()) == answer_to(LONG)
    assert served(azure) == [EXPECTED]


def test_a_function_is_called(model: OpenaiChatModel, azure: FakeAzure) -> None:
    @prompt("the weather", functions=[weather], model=model)
    def choose() -> FunctionCall[str]: ...

    assert choose()() == f"sunny in {CHAT}"
    assert served(azure) == [EXPECTED]


def test_the_result_of_a_function_goes_back(model: OpenaiChatModel, azure: FakeAzure, run: Run) -> None:
    @prompt_chain("use the tool", functions=[weather], model=model)
    def ask() -> str: ...

    @prompt_chain("use the tool", functions=[weather], model=model)
    async def ask_async() -> str: ...

    assert f"sunny in {CHAT}" in ask()
    assert f"sunny in {CHAT}" in run(ask_async())
    assert served(azure) == [EXPECTED] * 4


def test_a_structured_answer_is_read(model: OpenaiChatModel, azure: FakeAzure, run: Run) -> None:
    @prompt("the weather", model=model)
    def tell() -> Weather: ...

    @prompt("the weather everywhere", model=model)
    async def tell_all() -> list[Weather]: ...

    assert tell() == Weather(city=CHAT, degrees=1)
    assert run(tell_all()) == [Weather(city=CHAT, degrees=1)]
    assert served(azure) == [EXPECTED] * 2


def test_chat_goes_to_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.OpenAI(**classic) as client:
        assert with_clients(client).complete([UserMessage("hi")]).content == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"


def test_an_error_is_openai_s_own(client: azure_shim.OpenAI, eastus: Resource) -> None:
    eastus.fail_next("content_filter")
    with pytest.raises(openai.BadRequestError) as caught:
        with_clients(client).complete([UserMessage("hi")])
    assert caught.value.code == "content_filter"
