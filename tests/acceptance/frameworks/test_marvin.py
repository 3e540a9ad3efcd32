"""Marvin: agents on Azure through Pydantic AI's models, by client, by HTTP client and by patch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from typing import Any

# Marvin makes its folder, with a database, when it is imported.
os.environ["MARVIN_HOME_PATH"] = tempfile.mkdtemp(prefix="marvin-")
os.environ["MARVIN_ENABLE_DEFAULT_PRINT_HANDLER"] = "false"

import marvin
import openai
import pydantic_ai
import pytest
from marvin.defaults import override_defaults
from marvin.engine.events import Event
from marvin.handlers.handlers import Handler
from pydantic import BaseModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

import azure_shim
from azure_shim.testing import FakeAzure, FakeResponse, Recorded, Resource
from azure_shim.testing.answers.examples import example_of
from azure_shim.testing.sse import DONE, frame
from tests.acceptance.frameworks.support import CHAT, Gate, served

Run = Callable[[Any], Any]
Build = Callable[..., marvin.Agent]


class Weather(BaseModel):
    city: str
    degrees: int


class Forecast(BaseModel):
    """One of many fields, so that a stream of it is long enough for `Gate`."""

    monday: str
    tuesday: str
    wednesday: str
    thursday: str
    friday: str
    saturday: str
    sunday: str


@pytest.fixture(autouse=True)
def http_clients() -> None:
    """Pydantic AI keeps one for the whole process, and an HTTP client is of one event loop."""
    pydantic_ai.models._cached_async_http_client.cache_clear()


@pytest.fixture(params=["chat/completions", "responses"])
def api(request: pytest.FixtureRequest) -> str:
    """The operation that an agent's model calls."""
    return str(request.param)


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def build(api: str, request: pytest.FixtureRequest) -> Build:
    """Makes an agent of "gpt-4o" whose client goes in by the way that the test runs with."""
    value, way = request.getfixturevalue, request.param
    kind = {"responses": OpenAIResponsesModel}.get(api, OpenAIChatModel)
    if way in ("patched", "patch"):
        value(way)

    def agent(**options: Any) -> marvin.Agent:
        if way == "client":
            provider = OpenAIProvider(openai_client=value("async_client"))
        elif way == "http_client":
            provider = OpenAIProvider(api_key="unused", http_client=value("async_http_client"))
        else:
            provider = OpenAIProvider()
        return marvin.Agent(name="Assistant", model=kind("gpt-4o", provider=provider), **options)

    return agent


def test_an_agent_answers(build: Build, api: str, azure: FakeAzure, run: Run) -> None:
    """The answer comes as the argument of a tool that ends the task."""
    assert run(build().run_async("say hello")) == CHAT
    assert served(azure) == [(api, "chat-prod")]
    assert azure.requests[0].json()["stream"] is True


def test_a_structured_answer_is_read(build: Build, api: str, azure: FakeAzure, run: Run) -> None:
    assert run(build().run_async("the weather", result_type=Weather)) == Weather(city=CHAT, degrees=1)
    assert run(marvin.cast_async("rainy", Weather, agent=build())) == Weather(city=CHAT, degrees=1)
    assert served(azure) == [(api, "chat-prod")] * 2


def test_functions_of_marvin_s_answer(build: Build, api: str, azure: FakeAzure, run: Run) -> None:
    assert run(marvin.generate_async(str, n=1, instructions="a name", agent=build())) == [CHAT]
    assert run(marvin.classify_async("fine", ["good", "bad"], agent=build())) in ("good", "bad")
    assert served(azure) == [(api, "chat-prod")] * 2


@pytest.mark.parametrize("api", ["chat/completions"], indirect=True)
def test_a_tool_is_called_and_its_result_goes_back(build: Build, azure: FakeAzure, eastus: Resource, run: Run) -> None:
    """A tool has to be called at every turn, and the service calls the first: the second answer ends the task."""

    def weather(city: str) -> str:
        """The weather in a city."""
        eastus.answer_next(ending_the_task)
        return f"sunny in {city}"

    assert run(build(tools=[weather]).run_async("use the tool")) == "done"
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert azure.requests[1].json()["messages"][-1]["content"] == f"sunny in {CHAT}"


def ending_the_task(request: Recorded) -> FakeResponse:
    """Calls the last of the tools, with which a task of Marvin's ends."""
    function = request.json()["tools"][-1]["function"]
    arguments = json.dumps(example_of(function["parameters"], "done"))
    call = {"index": 0, "id": "call_1", "type": "function"}
    deltas = [
        {"role": "assistant", "tool_calls": [{**call, "function": {"name": function["name"], "arguments": arguments}}]},
        {},
    ]
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "gpt-4o-2024-11-20"}
    choices = [{"index": 0, "delta": delta, "finish_reason": None if delta else "tool_calls"} for delta in deltas]
    return FakeResponse.events(iter([*(frame({**base, "choices": [choice]}) for choice in choices), DONE]))


def test_a_stream_arrives_as_it_is_made(build: Build, api: str, azure: FakeAzure, gate: Gate, run: Run) -> None:
    """What is streamed are the arguments of the tool that ends the task."""

    class Listener(Handler):
        def on_event(self, event: Event) -> None:
            if event.type == "tool-call-delta":
                gate.open()

    forecast = run(build().run_async("the forecast", result_type=Forecast, handlers=[Listener()]))
    assert forecast.sunday == CHAT
    assert served(azure) == [(api, "chat-prod")]


def test_the_default_model_is_patched_too(patch: None, azure: FakeAzure) -> None:
    """Functions that are given no agent take Marvin's, whose model is the name "openai:gpt-4o"."""
    assert marvin.say("hi") == CHAT
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_a_default_model_is_everybody_s(async_client: azure_shim.AsyncOpenAI, azure: FakeAzure, run: Run) -> None:
    model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=async_client))
    with override_defaults(model=model):
        assert run(marvin.say_async("hi")) == "eastus/chat-small"
    assert served(azure) == [("chat/completions", "chat-small")]


def test_an_error_is_not_hidden(async_client: azure_shim.AsyncOpenAI, eastus: Resource, run: Run) -> None:
    eastus.fail_next("content_filter")
    model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=async_client))
    with pytest.raises(pydantic_ai.exceptions.ModelHTTPError) as caught:
        run(marvin.Agent(name="Assistant", model=model).run_async("hi"))
    assert caught.value.status_code == 400
    assert isinstance(caught.value.__cause__, openai.BadRequestError)
