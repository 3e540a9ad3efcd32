"""DeepEval: models that build a client for each call, on Azure by a client of ours, by HTTP clients and by patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from deepeval.metrics import AnswerRelevancyMetric
from deepeval.models import OpenAIEmbeddingModel, OpenAIModel
from deepeval.test_case import LLMTestCase
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, answer_to, served

Run = Callable[[Any], Any]
Build = Callable[..., Any]


class Weather(BaseModel):
    city: str
    degrees: int


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def build(request: pytest.FixtureRequest) -> Build:
    """Makes a model of a class of DeepEval's, whose clients go in by the way that the test runs with."""
    value, way = request.getfixturevalue, request.param
    if way == "client":
        clients = {False: value("client"), True: value("async_client")}
        # No argument takes a client; the method that builds them is there to be overridden.
        own = {"load_model": lambda self, async_mode=False: clients[async_mode]}
        return lambda kind, name: type(f"Own{kind.__name__}", (kind,), own)(name)
    if way == "http_client":
        ours = {"http_client": value("http_client")}
        # An embedding model takes one for both of its clients, and builds the sync one at once.
        both = {**ours, "async_http_client": value("async_http_client")}
        return lambda kind, name: kind(name, **(both if kind is OpenAIModel else ours))
    value(way)
    return lambda kind, name: kind(name)


def test_a_model_answers(build: Build, azure: FakeAzure, run: Run) -> None:
    model = build(OpenAIModel, "gpt-4o")
    said, cost = model.generate("hi there")
    assert said == answer_to("hi there")
    assert cost > 0
    assert run(model.a_generate("and now"))[0] == answer_to("and now")
    assert served(azure) == [("chat/completions", "chat-prod")] * 2


def test_a_structured_answer_is_read(build: Build, azure: FakeAzure, run: Run) -> None:
    model = build(OpenAIModel, "gpt-4o")
    assert model.generate("the weather", schema=Weather)[0] == Weather(city=CHAT, degrees=1)
    assert run(model.a_generate("the weather", schema=Weather))[0] == Weather(city=CHAT, degrees=1)
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert azure.requests[0].json()["response_format"]["json_schema"]["name"] == "Weather"


def test_several_samples_are_taken(build: Build, azure: FakeAzure) -> None:
    assert build(OpenAIModel, "gpt-4o").generate_samples("hi", n=3, temperature=1.0) == [answer_to("hi")] * 3
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_texts_are_embedded(build: Build, azure: FakeAzure) -> None:
    model = build(OpenAIEmbeddingModel, "text-embedding-3-small")
    assert [len(vector) for vector in model.embed_texts(["one", "two"])] == [1536, 1536]
    assert served(azure) == [("embeddings", "embed-prod")]


@pytest.mark.parametrize("build", ["client", "patched", "patch"], indirect=True)
def test_texts_are_embedded_with_await(build: Build, azure: FakeAzure, run: Run) -> None:
    """Not with ``http_client``: an async one fails at construction, and a sync one at the call."""
    model = build(OpenAIEmbeddingModel, "text-embedding-3-small")
    assert len(run(model.a_embed_text("three"))) == 1536
    assert served(azure) == [("embeddings", "embed-prod")]


@pytest.mark.parametrize("async_mode", [False, True])
def test_a_metric_measures(build: Build, azure: FakeAzure, async_mode: bool) -> None:
    """Three questions with a schema each: the claims, the verdicts on them, the reason."""
    metric = AnswerRelevancyMetric(model=build(OpenAIModel, "gpt-4o"), async_mode=async_mode)
    case = LLMTestCase(input="What is the capital of France?", actual_output="Paris.")
    assert metric.measure(case, _show_indicator=False) == 1.0
    assert metric.reason == CHAT
    assert served(azure) == [("chat/completions", "chat-prod")] * 3


def test_an_error_is_openai_s_own(http_client: Any, eastus: Resource, azure: FakeAzure) -> None:
    eastus.fail_next("content_filter")
    with pytest.raises(openai.BadRequestError) as caught:
        OpenAIModel("gpt-4o", http_client=http_client).generate("hi")
    assert caught.value.code == "content_filter"
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_chat_goes_to_the_classic_surface_too(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.http_client(**classic) as http_client:
        assert OpenAIModel("gpt-4o", http_client=http_client).generate("hi")[0] == answer_to("hi")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
