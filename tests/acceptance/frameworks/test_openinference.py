"""OpenInference: it wraps ``openai.OpenAI.request``, which the shim's clients inherit, so a call is a span."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, DEPLOYMENTS, answer_to, served
from tests.conftest import AMBIENT_KEY
from tests.fleets import at, plan
from tests.servers import ScriptedServer

Run = Callable[[Any], Any]
Clients = tuple[Any, Any]
HELLO: list[Any] = [{"role": "user", "content": "hi there"}]


class Observed:
    """What the instrumentation has exported while it is on."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.instrumentor = OpenAIInstrumentor()

    def start(self) -> None:
        self.instrumentor.instrument(tracer_provider=self._provider)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def observed() -> Iterator[Observed]:
    """To be started by the test."""
    found = Observed()
    yield found
    found.instrumentor.uninstrument()


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


def assert_no_secret(spans: tuple[ReadableSpan, ...], *keys: str) -> None:
    for span in spans:
        shown = span.to_json()
        for key in (*keys, AMBIENT_KEY):
            assert key not in shown, f"a key is in the span {span.name}"


def test_a_chat_is_one_span(clients: Clients, observed: Observed, azure: FakeAzure, run: Run) -> None:
    clients[0].chat.completions.create(model="gpt-4o", messages=HELLO)
    run(clients[1].chat.completions.create(model="gpt-4o", messages=HELLO))
    assert [span.name for span in observed.spans] == ["ChatCompletion"] * 2
    for span in observed.spans:
        assert span.status.status_code is StatusCode.OK
        assert span.attributes["llm.model_name"] == "gpt-4o-2024-11-20"
        assert span.attributes["llm.output_messages.0.message.content"] == answer_to("hi there")
        assert json.loads(span.attributes["input.value"])["model"] == "gpt-4o"
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert_no_secret(observed.spans, azure["eastus"].api_key)


def test_a_stream_is_one_span_that_ends_with_it(
    clients: Clients, observed: Observed, azure: FakeAzure, run: Run
) -> None:
    stream = clients[0].chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    assert observed.spans == ()
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == answer_to("hi there")
    assert len(observed.spans) == 1

    async def read() -> None:
        async for _ in await clients[1].chat.completions.create(model="gpt-4o", messages=HELLO, stream=True):
            pass

    run(read())
    assert len(observed.spans) == 2
    for span in observed.spans:
        assert span.attributes["llm.output_messages.0.message.content"] == answer_to("hi there")
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert_no_secret(observed.spans, azure["eastus"].api_key)


def test_a_tool_s_call_is_in_its_span(clients: Clients, observed: Observed, azure: FakeAzure) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    clients[0].chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "use the tool"}], tools=tools
    )
    (span,) = observed.spans
    call = "llm.output_messages.0.message.tool_calls.0.tool_call.function"
    assert span.attributes[f"{call}.name"] == "weather"
    assert json.loads(span.attributes[f"{call}.arguments"]) == {"city": CHAT}
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_responses_and_embeddings_are_spans(clients: Clients, observed: Observed, azure: FakeAzure, run: Run) -> None:
    clients[0].responses.create(model="gpt-4o", input="hi there")
    run(clients[1].responses.create(model="gpt-4o", input="hi there"))
    clients[0].embeddings.create(model="text-embedding-3-small", input="one")
    run(clients[1].embeddings.create(model="text-embedding-3-small", input="two"))
    assert [span.name for span in observed.spans] == ["Response"] * 2 + ["CreateEmbeddings"] * 2
    assert all(answer_to("hi there") in span.attributes["output.value"] for span in observed.spans[:2])
    assert served(azure) == [("responses", "chat-prod")] * 2 + [("embeddings", "embed-prod")] * 2
    assert_no_secret(observed.spans, azure["eastus"].api_key)


def test_a_copy_is_observed_as_well(client: azure_shim.OpenAI, observed: Observed, azure: FakeAzure) -> None:
    observed.start()
    client.with_options(max_retries=0).chat.completions.create(model="gpt-4o", messages=HELLO)
    assert [span.name for span in observed.spans] == ["ChatCompletion"]


def test_instrumentation_and_patch_are_taken_off_in_any_order(
    observed: Observed, arguments: dict[str, Any], azure: FakeAzure, elsewhere: ScriptedServer
) -> None:
    """What is left of the two goes on working; another provider's server stands for where plain clients go."""

    def call_them() -> None:
        theirs = openai.OpenAI(base_url=f"{elsewhere.url}/v1", api_key="another-key")
        theirs.chat.completions.create(model="their-model", messages=HELLO)

    observed.start()
    azure_shim.patch(**arguments)
    observed.instrumentor.uninstrument()
    openai.OpenAI().chat.completions.create(model="gpt-4o", messages=HELLO)
    assert served(azure) == [("chat/completions", "chat-prod")]
    assert observed.spans == ()
    observed.start()
    azure_shim.unpatch()
    call_them()
    assert len(observed.spans) == 1
    observed.instrumentor.uninstrument()
    call_them()
    assert len(observed.spans) == 1
    assert (len(azure.requests), len(elsewhere.requests)) == (1, 2)


def test_an_error_ends_the_span(client: azure_shim.OpenAI, observed: Observed, eastus: Resource) -> None:
    observed.start()
    eastus.fail_next("content_filter")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    (span,) = observed.spans
    assert span.status.status_code is StatusCode.ERROR
    assert "content" in (span.status.description or "")
    assert_no_secret(observed.spans, eastus.api_key)


def test_the_provider_is_told_by_the_base_url(
    client: azure_shim.OpenAI, plain_client: openai.OpenAI, patch: None, observed: Observed
) -> None:
    """By its host: Azure's with our constructor and the patch, OpenAI's with a plain client of our HTTP client."""
    observed.start()
    for one in (client, openai.OpenAI(), plain_client):
        one.chat.completions.create(model="gpt-4o", messages=HELLO)
    # The service of the tests is on this machine, which is no provider's.
    assert [span.attributes.get("llm.provider") for span in observed.spans] == [None, None, "openai"]


def test_the_provider_of_azure_s_host_is_azure(observed: Observed) -> None:
    with FakeAzure({"eastus": DEPLOYMENTS.values()}) as azure:
        own = openai.DefaultHttpxClient(transport=azure.transport())
        observed.start()
        arguments = {"azure_endpoint": azure["eastus"].host_endpoint, "api_key": azure["eastus"].api_key}
        with own, azure_shim.OpenAI(**arguments, deployments=DEPLOYMENTS, http_client=own) as client:
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert observed.spans[0].attributes["llm.provider"] == "azure"


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
        (span,) = observed.spans
        assert span.status.status_code is StatusCode.OK
        assert span.attributes["llm.output_messages.0.message.content"] == answer_to("hi there", "westus/chat-prod")
        assert_no_secret(observed.spans, *(resource.api_key for resource in azure))
