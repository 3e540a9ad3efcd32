"""Logfire: ``instrument_openai`` wraps ``request`` of openai's classes, or of one client; a call is a span."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import logfire
import openai
import pytest
from logfire.testing import TestExporter as Exporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, DEPLOYMENTS, answer_to, served
from tests.conftest import AMBIENT_KEY
from tests.fleets import at, plan

Run = Callable[[Any], Any]
Clients = tuple[Any, Any]
HELLO: list[Any] = [{"role": "user", "content": "hi there"}]


class Observed:
    """What Logfire has exported while its instrumentation is on."""

    def __init__(self) -> None:
        self._exporter = Exporter()
        self._on: list[AbstractContextManager[None]] = []
        processors = [SimpleSpanProcessor(self._exporter)]
        logfire.configure(send_to_logfire=False, console=False, metrics=False, additional_span_processors=processors)

    def start(self, *clients: Any) -> None:
        """Instrument these clients, or openai's classes."""
        self._on.append(logfire.instrument_openai(*clients))

    def stop(self) -> None:
        for instrumentation in self._on:
            with instrumentation:
                pass

    @property
    def spans(self) -> list[dict[str, Any]]:
        return self._exporter.exported_spans_as_dict()

    @property
    def shown(self) -> str:
        """All of it, as it would be sent."""
        return json.dumps(self.spans, default=repr)


@pytest.fixture
def observed() -> Iterator[Observed]:
    """To be started by the test."""
    found = Observed()
    yield found
    found.stop()


@pytest.fixture(params=["instrumented first", "shim first"])
def order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def clients(order: str, observed: Observed, request: pytest.FixtureRequest, run: Run) -> Iterator[Clients]:
    """A sync and an async client, made before or after the instrumentation as ``order`` says."""
    value, way = request.getfixturevalue, request.param
    if order == "instrumented first":
        observed.start()
    if way == "client":
        found = value("client"), value("async_client")
    elif way == "http_client":
        found = value("plain_client"), value("plain_async_client")
    else:
        value(way)
        found = openai.OpenAI(), openai.AsyncOpenAI()
    if order == "shim first":
        observed.start()
    yield found
    found[0].close()
    run(found[1].close())


def assert_no_secret(observed: Observed, *keys: str) -> None:
    for key in (*keys, AMBIENT_KEY):
        assert key not in observed.shown


def test_a_chat_is_one_span(clients: Clients, observed: Observed, azure: FakeAzure, run: Run) -> None:
    clients[0].chat.completions.create(model="gpt-4o", messages=HELLO)
    run(clients[1].chat.completions.create(model="gpt-4o", messages=HELLO))
    spans = observed.spans
    assert [span["name"] for span in spans] == ["Chat Completion with {request_data[model]!r}"] * 2
    assert [span["attributes"]["async"] for span in spans] == [False, True]
    for span in spans:
        assert span["attributes"]["gen_ai.request.model"] == "gpt-4o"
        assert span["attributes"]["gen_ai.response.model"] == "gpt-4o-2024-11-20"
        assert answer_to("hi there") in span["attributes"]["gen_ai.output.messages"]
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert_no_secret(observed, azure["eastus"].api_key)


def test_a_stream_is_a_span_and_its_end_another(
    clients: Clients, observed: Observed, azure: FakeAzure, run: Run
) -> None:
    """That is Logfire's way: the second is a log entry, which has what was streamed."""
    stream = clients[0].chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    assert len(observed.spans) == 1
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == answer_to("hi there")

    async def read() -> None:
        async for _ in await clients[1].chat.completions.create(model="gpt-4o", messages=HELLO, stream=True):
            pass

    run(read())
    spans = observed.spans
    assert [span["attributes"].get("logfire.span_type") for span in spans] == ["span", "log"] * 2
    assert all(answer_to("hi there") in span["attributes"]["gen_ai.output.messages"] for span in spans[1::2])
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert_no_secret(observed, azure["eastus"].api_key)


def test_a_tool_s_call_is_in_its_span(clients: Clients, observed: Observed, azure: FakeAzure) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    asked: list[Any] = [{"role": "user", "content": "use the tool"}]
    clients[0].chat.completions.create(model="gpt-4o", messages=asked, tools=tools)
    (span,) = observed.spans
    assert "weather" in span["attributes"]["gen_ai.output.messages"]
    assert CHAT in span["attributes"]["gen_ai.output.messages"]
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_responses_and_embeddings_are_spans(clients: Clients, observed: Observed, azure: FakeAzure, run: Run) -> None:
    clients[0].responses.create(model="gpt-4o", input="hi there")
    run(clients[1].responses.create(model="gpt-4o", input="hi there"))
    clients[0].embeddings.create(model="text-embedding-3-small", input="one")
    run(clients[1].embeddings.create(model="text-embedding-3-small", input="two"))
    names = [span["name"].partition(" with ")[0] for span in observed.spans]
    assert names == ["Responses API"] * 2 + ["Embedding Creation"] * 2
    assert served(azure) == [("responses", "chat-prod")] * 2 + [("embeddings", "embed-prod")] * 2
    assert_no_secret(observed, azure["eastus"].api_key)


def test_one_client_may_be_instrumented(
    client: azure_shim.OpenAI, async_client: azure_shim.AsyncOpenAI, observed: Observed, azure: FakeAzure, run: Run
) -> None:
    """A copy of it is not; that is so for openai's own too."""
    observed.start(client)
    observed.start(async_client)
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    run(async_client.chat.completions.create(model="gpt-4o", messages=HELLO))
    client.with_options(max_retries=0).chat.completions.create(model="gpt-4o", messages=HELLO)
    assert len(observed.spans) == 2
    assert served(azure) == [("chat/completions", "chat-prod")] * 3


def test_an_error_ends_the_span(client: azure_shim.OpenAI, observed: Observed, eastus: Resource) -> None:
    observed.start()
    eastus.fail_next("content_filter")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    (span,) = observed.spans
    assert span["events"][0]["attributes"]["exception.type"] == "openai.BadRequestError"
    assert_no_secret(observed, eastus.api_key)


@pytest.mark.parametrize("stream", [False, True])
def test_a_failover_is_one_span_of_the_call(observed: Observed, stream: bool) -> None:
    regions = {name: {deployment: model for model, deployment in DEPLOYMENTS.items()} for name in ("eastus", "westus")}
    with FakeAzure(regions) as azure:
        observed.start()
        config = plan("fallback", *(at(resource) for resource in azure), deployments=DEPLOYMENTS)
        azure["eastus"].fail_next("503", times=None)
        with azure_shim.OpenAI(config=config) as client:
            answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=stream)
            if stream:
                list(answer)
        assert [request.resource for request in azure.requests] == ["eastus", "westus"]
        assert azure.leaks == []
        span, *more = observed.spans
        assert len(more) == stream
        assert answer_to("hi there", "westus/chat-prod") in [span, *more][-1]["attributes"]["gen_ai.output.messages"]
        assert "events" not in span
        assert_no_secret(observed, *(resource.api_key for resource in azure))
