"""Ragas: metrics that ask and embed on Azure, by client and by patch."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from ragas import EvaluationDataset, evaluate
from ragas.embeddings import embedding_factory
from ragas.llms import llm_factory
from ragas.metrics import AspectCritic
from ragas.metrics.collections import AnswerRelevancy

from azure_shim.testing import FakeAzure, FakeResponse, Recorded, Resource
from tests.acceptance.frameworks.support import answer_to, served

Run = Callable[[Any], Any]
Clients = tuple[Any, Any]


class Reply(BaseModel):
    """What the fake service fills in, where an answer has to be any JSON object."""

    message: str


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def clients(request: pytest.FixtureRequest, run: Run) -> Any:
    """The two clients that ragas is given; with a patch those that anybody would give it."""
    value = request.getfixturevalue
    if request.param == "client":
        yield value("client"), value("async_client")
    elif request.param == "http_client":
        yield value("plain_client"), value("plain_async_client")
    else:
        value(request.param)
        with openai.OpenAI() as client:
            async_client = openai.AsyncOpenAI()
            yield client, async_client
            run(async_client.close())


def saying(value: Any) -> Callable[[Recorded], FakeResponse]:
    """Answers a chat with ``value`` as JSON: the shape that a metric wants is only in its prompt."""
    message = {"role": "assistant", "content": json.dumps(value)}
    completion = {
        "id": "chatcmpl-of-a-test",
        "object": "chat.completion",
        "created": 0,
        "model": "gpt-4o-2024-11-20",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return lambda _request: FakeResponse.json(completion)


def test_a_structured_answer_is_read(clients: Clients, azure: FakeAzure) -> None:
    answer = llm_factory("gpt-4o", client=clients[0]).generate("hi there", Reply)
    assert answer.message.startswith("Hello from eastus/chat-prod: hi there")
    assert served(azure) == [("chat/completions", "chat-prod")]
    assert azure.requests[0].json()["response_format"] == {"type": "json_object"}


def test_a_structured_answer_is_awaited(clients: Clients, azure: FakeAzure, run: Run) -> None:
    """Ragas asks the client's ``create`` whether it is a coroutine function, and takes it for a sync one if not."""
    llm = llm_factory("gpt-4o-mini", client=clients[1])
    assert llm.is_async
    answer = run(llm.agenerate("hi there", Reply))
    assert answer.message.startswith(answer_to("hi there", "eastus/chat-small"))
    assert served(azure) == [("chat/completions", "chat-small")]


def test_texts_are_embedded(clients: Clients, azure: FakeAzure, run: Run) -> None:
    embeddings = embedding_factory("openai", model="text-embedding-3-small", client=clients[0])
    assert not embeddings.is_async
    assert [len(vector) for vector in embeddings.embed_texts(["one", "two"])] == [1536, 1536]
    embeddings = embedding_factory("openai", model="text-embedding-3-large", client=clients[1])
    assert embeddings.is_async
    assert len(run(embeddings.aembed_text("three"))) == 3072
    assert served(azure) == [("embeddings", "embed-prod"), ("embeddings", "embed-large")]
    assert azure.requests[0].json()["input"] == ["one", "two"]


def test_a_metric_asks_and_embeds(clients: Clients, azure: FakeAzure, eastus: Resource, run: Run) -> None:
    llm = llm_factory("gpt-4o", client=clients[1])
    embeddings = embedding_factory("openai", model="text-embedding-3-small", client=clients[1])
    metric = AnswerRelevancy(llm=llm, embeddings=embeddings, strictness=1)
    eastus.answer_next(saying({"question": "What is the capital of France?", "noncommittal": 0}))
    score = run(metric.ascore(user_input="What is the capital of France?", response="Paris"))
    assert score.value == pytest.approx(1.0)
    assert served(azure) == [("chat/completions", "chat-prod"), *[("embeddings", "embed-prod")] * 2]


def test_an_evaluation_that_is_given_no_model_builds_its_own_client(
    patch: None, azure: FakeAzure, eastus: Resource
) -> None:
    """Ragas imports ``openai.OpenAI`` within ``evaluate``, and takes gpt-4o-mini."""
    eastus.answer_next(saying({"reason": "it is polite", "verdict": 1}))
    rows = EvaluationDataset.from_list([{"user_input": "How are you?", "response": "Fine, thank you."}])
    polite = AspectCritic(name="polite", definition="Is the response polite?")
    result = evaluate(rows, metrics=[polite], show_progress=False, raise_exceptions=True)
    assert result["polite"] == [1]
    assert served(azure) == [("chat/completions", "chat-small")]


def test_an_error_is_not_hidden(client: Any, eastus: Resource, azure: FakeAzure) -> None:
    eastus.fail_next("content_filter")
    with pytest.raises(Exception, match="content_filter"):
        llm_factory("gpt-4o", client=client).generate("hi", Reply)
    assert served(azure) == [("chat/completions", "chat-prod")]
