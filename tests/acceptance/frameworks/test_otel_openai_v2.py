"""OpenTelemetry's instrumentation of openai: it wraps the resources' methods, so a call is a span, wherever it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import DEPLOYMENTS, answer_to, served
from tests.conftest import AMBIENT_KEY
from tests.fleets import at, plan

Run = Callable[[Any], Any]
HELLO: list[Any] = [{"role": "user", "content": "hi there"}]


class Observed:
    """What the instrumentation has exported while it is on."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def start(self) -> None:
        OpenAIInstrumentor().instrument(tracer_provider=self._provider)

    def stop(self) -> None:
        OpenAIInstrumentor().uninstrument()

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Observed]:
    """To be started by the test; it captures the content too, which is where a secret could slip in."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    found = Observed()
    yield found
    found.stop()


@pytest.fixture(params=["instrumented first", "shim first"])
def order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def clients(order: str, observed: Observed, request: pytest.FixtureRequest, run: Run) -> Iterator[tuple[Any, Any]]:
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


def assert_no_secret(spans: tuple[ReadableSpan, ...], *keys: str) -> None:
    for span in spans:
        shown = span.to_json()
        for key in (*keys, AMBIENT_KEY, "unused"):
            assert key not in shown, f"a key is in the span {span.name}"


def test_a_chat_is_one_span(clients: tuple[Any, Any], observed: Observed, azure: FakeAzure, run: Run) -> None:
    calls = [clients[0].chat.completions.create, lambda **call: run(clients[1].chat.completions.create(**call))]
    for call in calls:
        assert call(model="gpt-4o", messages=HELLO).choices[0].message.content == answer_to("hi there")
    assert [span.name for span in observed.spans] == ["chat gpt-4o"] * 2
    for span in observed.spans:
        assert span.attributes["gen_ai.request.model"] == "gpt-4o"
        assert span.attributes["gen_ai.response.model"] == "gpt-4o-2024-11-20"
        assert span.attributes["gen_ai.usage.output_tokens"] > 0
        assert span.status.status_code is StatusCode.UNSET
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert_no_secret(observed.spans, azure["eastus"].api_key)


def test_a_stream_is_one_span_that_ends_with_it(
    clients: tuple[Any, Any], observed: Observed, azure: FakeAzure, run: Run
) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO, "stream": True}
    stream = clients[0].chat.completions.create(**asked, stream_options={"include_usage": True})
    assert observed.spans == ()
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == answer_to("hi there")
    assert len(observed.spans) == 1

    async def read() -> None:
        async for _ in await clients[1].chat.completions.create(**asked, stream_options={"include_usage": True}):
            pass

    run(read())
    assert [span.name for span in observed.spans] == ["chat gpt-4o"] * 2
    assert all(span.attributes["gen_ai.usage.output_tokens"] > 0 for span in observed.spans)
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert_no_secret(observed.spans, azure["eastus"].api_key)


def test_embeddings_are_one_span(clients: tuple[Any, Any], observed: Observed, azure: FakeAzure, run: Run) -> None:
    clients[0].embeddings.create(model="text-embedding-3-small", input="one")
    run(clients[1].embeddings.create(model="text-embedding-3-small", input="two"))
    assert [span.name for span in observed.spans] == ["embeddings text-embedding-3-small"] * 2
    assert all(span.attributes["gen_ai.embeddings.dimension.count"] == 1536 for span in observed.spans)
    assert served(azure) == [("embeddings", "embed-prod")] * 2
    assert_no_secret(observed.spans, azure["eastus"].api_key)


def test_responses_have_no_spans(client: azure_shim.OpenAI, observed: Observed, azure: FakeAzure) -> None:
    """The instrumentation knows chat and embeddings; what it does not know works all the same."""
    observed.start()
    assert client.responses.create(model="gpt-4o", input="hi").output_text == answer_to("hi")
    assert observed.spans == ()


@pytest.mark.parametrize("way", ["client", "patch"])
def test_the_span_names_the_host_that_served(
    way: str, observed: Observed, eastus: Resource, request: pytest.FixtureRequest
) -> None:
    """Of openai 3 too, whose URLs the instrumentation does not know."""
    observed.start()
    client = request.getfixturevalue(way) or openai.OpenAI()
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    found = {name: v for name, v in observed.spans[0].attributes.items() if name.startswith("server.")}
    assert found == {"server.address": "127.0.0.1", "server.port": int(eastus.endpoint.rpartition(":")[2])}


def test_an_error_ends_the_span(client: azure_shim.OpenAI, observed: Observed, eastus: Resource) -> None:
    observed.start()
    eastus.fail_next("content_filter")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    (span,) = observed.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "BadRequestError"
    assert_no_secret(observed.spans, eastus.api_key)


@pytest.mark.parametrize("stream", [False, True])
def test_a_failover_is_one_span_of_the_call(observed: Observed, run: Run, stream: bool) -> None:
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
        (span,) = observed.spans
        assert span.name == "chat gpt-4o"
        assert span.status.status_code is StatusCode.UNSET
        assert span.attributes["server.address"] == "127.0.0.1"
        assert span.attributes["server.port"] == int(azure["westus"].endpoint.rpartition(":")[2])
        assert_no_secret(observed.spans, *(resource.api_key for resource in azure))
