"""Mirascope: its provider builds its own clients, for chat and for responses; they go in by attribute or by patch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from mirascope import llm
from mirascope.llm.providers import provider_registry
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

Run = Callable[[Any], Any]


class Weather(BaseModel):
    city: str
    degrees: int


@llm.tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@llm.tool
async def async_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Providers are kept for the whole process."""
    provider_registry.reset_provider_registry()
    yield
    provider_registry.reset_provider_registry()


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def provider(request: pytest.FixtureRequest) -> None:
    """Registers a provider whose clients are there by the way that the test runs with."""
    value, way = request.getfixturevalue, request.param
    if way in ("patched", "patch"):
        value(way)  # the provider is registered by the first call
        return
    found: Any = llm.register_provider("openai")
    plain = "plain_" if way == "http_client" else ""
    for one in (found._completions_provider, found._responses_provider):  # no argument takes a client
        one.client, one.async_client = value(f"{plain}client"), value(f"{plain}async_client")


@pytest.fixture(params=["completions", "responses"])
def model(provider: None, request: pytest.FixtureRequest) -> Any:
    return llm.model(f"openai/gpt-4o:{request.param}")


@pytest.fixture
def expected(model: Any) -> tuple[str, str]:
    """The operation that ``model`` calls, and the deployment."""
    return "responses" if model.model_id.endswith("responses") else "chat/completions", "chat-prod"


def test_a_model_answers(model: Any, expected: tuple[str, str], azure: FakeAzure, run: Run) -> None:
    response = model.call("hi there")
    assert response.text() == answer_to("hi there")
    assert response.usage.output_tokens > 0
    assert run(model.call_async("and now")).text() == answer_to("and now")
    assert served(azure) == [expected] * 2


def test_a_decorated_function_answers(provider: None, azure: FakeAzure) -> None:
    @llm.call("openai/gpt-4o-mini")
    def recommend(genre: str) -> str:
        return f"a {genre} book"

    assert recommend("fantasy").text() == answer_to("a fantasy book", "eastus/chat-small")
    assert served(azure) == [("responses", "chat-small")]


def test_a_stream_arrives_as_it_is_made(model: Any, expected: tuple[str, str], azure: FakeAzure, gate: Gate) -> None:
    said = ""
    for piece in model.stream(LONG).text_stream():
        said += piece
        if piece.strip():
            gate.open()
    assert said.strip() == answer_to(LONG)
    assert served(azure) == [expected]


def test_an_awaited_stream_arrives_as_it_is_made(
    model: Any, expected: tuple[str, str], azure: FakeAzure, gate: Gate, run: Run
) -> None:
    async def stream() -> str:
        said = ""
        async for piece in (await model.stream_async(LONG)).text_stream():
            said += piece
            if piece.strip():
                gate.open()
        return said

    assert run(stream()).strip() == answer_to(LONG)
    assert served(azure) == [expected]


def test_a_tool_is_called_and_its_result_goes_back(model: Any, expected: tuple[str, str], azure: FakeAzure) -> None:
    response = model.call("use the tool", tools=[weather])
    assert [call.name for call in response.tool_calls] == ["weather"]
    assert f"sunny in {CHAT}" in response.resume(response.execute_tools()).text()
    assert served(azure) == [expected] * 2


def test_an_awaited_tool_is_called_and_its_result_goes_back(
    model: Any, expected: tuple[str, str], azure: FakeAzure, run: Run
) -> None:
    async def ask() -> str:
        response = await model.call_async("use the tool", tools=[async_weather])
        return str((await response.resume(await response.execute_tools())).text())

    assert f"sunny in {CHAT}" in run(ask())
    assert served(azure) == [expected] * 2


def test_a_structured_answer_is_read(model: Any, expected: tuple[str, str], azure: FakeAzure, run: Run) -> None:
    assert model.call("the weather", format=Weather).parse() == Weather(city=CHAT, degrees=1)
    assert run(model.call_async("the weather", format=Weather)).parse() == Weather(city=CHAT, degrees=1)
    assert served(azure) == [expected] * 2


@pytest.mark.parametrize("provider", ["client"], indirect=True)
def test_an_error_keeps_openai_s_own(model: Any, eastus: Resource) -> None:
    eastus.fail_next("content_filter")
    with pytest.raises(llm.BadRequestError) as caught:
        model.call("hi")
    assert isinstance(caught.value.original_exception, openai.BadRequestError)
    assert caught.value.original_exception.code == "content_filter"


def test_chat_goes_to_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure) -> None:
    found: Any = llm.register_provider("openai")
    with azure_shim.OpenAI(**classic) as client:
        found._completions_provider.client = client
        assert llm.model("openai/gpt-4o:completions").call("hi").text() == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
