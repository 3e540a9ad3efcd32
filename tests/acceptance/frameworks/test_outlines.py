"""Outlines: a model around a client, which `from_openai` takes only if it is one of openai's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import outlines
import pytest
from pydantic import BaseModel, ConfigDict

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

Run = Callable[[Any], Any]


class Weather(BaseModel):
    model_config = ConfigDict(extra="forbid")

    city: str
    degrees: int


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def models(request: pytest.FixtureRequest, run: Run) -> Any:
    """A model that blocks and one that is awaited."""
    value = request.getfixturevalue
    if request.param == "client":
        clients = value("client"), value("async_client")
    elif request.param == "http_client":
        clients = value("plain_client"), value("plain_async_client")
    else:
        value(request.param)
        clients = openai.OpenAI(), openai.AsyncOpenAI()
    yield tuple(outlines.from_openai(client, "gpt-4o") for client in clients)
    clients[0].close()
    run(clients[1].close())


@pytest.fixture
def model(models: tuple[Any, Any]) -> Any:
    return models[0]


@pytest.fixture
def async_model(models: tuple[Any, Any]) -> Any:
    return models[1]


def test_the_client_is_known_as_sync_or_async(models: tuple[Any, Any]) -> None:
    assert isinstance(models[0], outlines.models.OpenAI)
    assert isinstance(models[1], outlines.models.AsyncOpenAI)


def test_a_model_answers(model: Any, async_model: Any, azure: FakeAzure, run: Run) -> None:
    assert model("hi there") == answer_to("hi there")
    assert run(async_model("and now")) == answer_to("and now")
    assert served(azure) == [("chat/completions", "chat-prod")] * 2


def test_a_model_answers_several_times(model: Any, azure: FakeAzure) -> None:
    assert model("hi", n=2) == [answer_to("hi")] * 2
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_a_stream_arrives_as_it_is_made(model: Any, azure: FakeAzure, gate: Gate) -> None:
    said = ""
    for piece in model.stream(LONG):
        said += piece
        if piece:
            gate.open()
    assert said == answer_to(LONG)
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_an_awaited_stream_arrives_as_it_is_made(async_model: Any, azure: FakeAzure, gate: Gate, run: Run) -> None:
    async def stream() -> str:
        said = ""
        async for piece in async_model.stream(LONG):
            said += piece
            if piece:
                gate.open()
        return said

    assert run(stream()) == answer_to(LONG)
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_a_structured_answer_has_the_shape(model: Any, async_model: Any, azure: FakeAzure, run: Run) -> None:
    assert Weather.model_validate_json(model("the weather", Weather)) == Weather(city=CHAT, degrees=1)
    assert Weather.model_validate_json(run(async_model("the weather", Weather))) == Weather(city=CHAT, degrees=1)
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert azure.requests[0].json()["response_format"]["json_schema"]["strict"] is True


def test_a_structured_answer_is_streamed(model: Any, azure: FakeAzure) -> None:
    assert json.loads("".join(model.stream("the weather", Weather))) == {"city": CHAT, "degrees": 1}
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_a_model_of_the_call_s_own_goes_to_its_deployment(client: azure_shim.OpenAI, azure: FakeAzure) -> None:
    model = outlines.from_openai(client)
    assert model("hi", model="gpt-4o-mini") == answer_to("hi", "eastus/chat-small")
    assert served(azure) == [("chat/completions", "chat-small")]


def test_chat_goes_to_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.OpenAI(**classic) as client:
        assert outlines.from_openai(client, "gpt-4o")("hi") == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"


def test_an_error_keeps_openai_s_own(client: azure_shim.OpenAI, eastus: Resource) -> None:
    eastus.fail_next("content_filter")
    with pytest.raises(outlines.exceptions.BadRequestError) as caught:
        outlines.from_openai(client, "gpt-4o")("hi")
    assert isinstance(caught.value.__cause__, openai.BadRequestError)
    assert caught.value.__cause__.code == "content_filter"
