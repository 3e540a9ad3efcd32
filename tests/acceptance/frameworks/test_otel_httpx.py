"""OpenTelemetry's instrumentation of httpx and httpx2: a span for each attempt, which is what passes a connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

# The attributes' names of today; read once, at the first instrumentation.
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"

import openai
import pytest
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import azure_shim
from azure_shim.testing import FakeAzure, Recorded, Resource
from tests.acceptance.frameworks.support import DEPLOYMENTS, answer_to, served
from tests.conftest import AMBIENT_KEY, LIBRARIES
from tests.fleets import at, plan

Run = Callable[[Any], Any]
Clients = tuple[Any, Any]
PATCHES = ("patched", "patch")
HELLO: list[Any] = [{"role": "user", "content": "hi there"}]


class Observed:
    """What the instrumentations of both libraries have exported while they are on."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._instrumentors = (HTTPXClientInstrumentor(), HTTPX2ClientInstrumentor())

    def start(self) -> None:
        for instrumentor in self._instrumentors:
            instrumentor.instrument(tracer_provider=self.provider)

    def stop(self) -> None:
        for instrumentor in self._instrumentors:
            instrumentor.uninstrument()

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def observed() -> Iterator[Observed]:
    """To be started by the test."""
    found = Observed()
    yield found
    found.stop()


@pytest.fixture(params=["instrumented first", "shim first"])
def order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# A client that builds its own HTTP client builds one of openai's library.
@pytest.fixture(params=[*(f"{way} of {name}" for way in ("client", "http_client") for name in LIBRARIES), *PATCHES])
def clients(
    order: str, observed: Observed, arguments: dict[str, Any], request: pytest.FixtureRequest, run: Run
) -> Iterator[Clients]:
    """A sync and an async client, made before or after the instrumentation as ``order`` says."""
    way, _, library = request.param.partition(" of ")
    if order == "instrumented first":
        observed.start()
    if way in PATCHES:
        request.getfixturevalue(way)
        found: Clients = openai.OpenAI(), openai.AsyncOpenAI()
    else:
        found = clients_of(way, library, arguments)
    if order == "shim first":
        observed.start()
    yield found
    found[0].close()
    run(found[1].close())


@pytest.fixture(params=LIBRARIES)
def library_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def clients_of(way: str, library: str, arguments: dict[str, Any]) -> Clients:
    ours = azure_shim.http_client(**arguments, library=library)
    ours_async = azure_shim.async_http_client(**arguments, library=library)
    if way == "client":
        return azure_shim.OpenAI(http_client=ours), azure_shim.AsyncOpenAI(http_client=ours_async)
    return (
        openai.OpenAI(api_key="unused", http_client=ours),
        openai.AsyncOpenAI(api_key="unused", http_client=ours_async),
    )


def assert_attempts(spans: tuple[ReadableSpan, ...], requests: list[Recorded], azure: FakeAzure) -> None:
    """Each request that came is one span, which names where it went, and whose id came with it, once."""
    assert len(spans) == len(requests)
    for span, request in zip(spans, requests, strict=True):
        port = int(azure[request.resource].endpoint.rpartition(":")[2])
        assert (span.attributes["server.address"], span.attributes["server.port"]) == ("127.0.0.1", port)
        assert span.attributes["url.full"] == f"{azure[request.resource].endpoint}{request.raw_path}"
        assert span.attributes["http.request.method"] == request.method
        assert request.headers.all("traceparent") == [traceparent(span)]
        for key in (*(resource.api_key for resource in azure), AMBIENT_KEY, "unused"):
            assert key not in span.to_json()


def traceparent(span: ReadableSpan) -> str:
    """The header that goes with what a span is of."""
    context = span.context
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def statuses(spans: tuple[ReadableSpan, ...]) -> list[Any]:
    return [span.attributes.get("http.response.status_code") for span in spans]


def test_a_call_is_one_span(clients: Clients, observed: Observed, azure: FakeAzure, run: Run) -> None:
    calls = [clients[0].chat.completions.create, lambda **call: run(clients[1].chat.completions.create(**call))]
    for call in calls:
        assert call(model="gpt-4o", messages=HELLO).choices[0].message.content == answer_to("hi there")
    assert statuses(observed.spans) == [200, 200]
    assert_attempts(observed.spans, azure.requests, azure)
    assert served(azure) == [("chat/completions", "chat-prod")] * 2


def test_a_stream_is_one_span(clients: Clients, observed: Observed, azure: FakeAzure, run: Run) -> None:
    stream = clients[0].chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == answer_to("hi there")

    async def read() -> None:
        async for _ in await clients[1].chat.completions.create(model="gpt-4o", messages=HELLO, stream=True):
            pass

    run(read())
    assert statuses(observed.spans) == [200, 200]
    assert_attempts(observed.spans, azure.requests, azure)


def test_a_retry_of_the_sdk_s_is_a_span_of_its_own(
    clients: Clients, observed: Observed, azure: FakeAzure, eastus: Resource, run: Run
) -> None:
    for call in (clients[0].chat.completions.create, lambda **c: run(clients[1].chat.completions.create(**c))):
        eastus.fail_next("500", headers={"retry-after-ms": "1"})
        call(model="gpt-4o", messages=HELLO)
    assert statuses(observed.spans) == [500, 200] * 2
    assert_attempts(observed.spans, azure.requests, azure)


def test_what_is_refused_before_a_byte_is_sent_is_no_span(
    clients: Clients, observed: Observed, azure: FakeAzure, run: Run
) -> None:
    with pytest.raises(openai.NotFoundError):
        clients[0].moderations.create(input="hi")
    with pytest.raises(openai.NotFoundError):
        run(clients[1].moderations.create(input="hi"))
    assert observed.spans == ()
    assert azure.requests == []


@pytest.fixture
def regions() -> Iterator[FakeAzure]:
    """Two, of which the first is down in one way or another."""
    with FakeAzure({name: {d: model for model, d in DEPLOYMENTS.items()} for name in ("eastus", "westus")}) as azure:
        yield azure
        assert azure.leaks == []


@pytest.fixture
def failing_over(
    order: str, observed: Observed, library_name: str, regions: FakeAzure, run: Run
) -> Iterator[Callable[..., Any]]:
    """Calls each of the two clients in turn, with a fleet of its own."""
    config = plan("fallback", *(at(resource) for resource in regions), deployments=DEPLOYMENTS)
    if order == "instrumented first":
        observed.start()
    client, async_client = clients_of("client", library_name, {"config": config})
    if order == "shim first":
        observed.start()

    async def stream() -> None:
        async for _ in await async_client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True):
            pass

    def call(*, is_async: bool, is_stream: bool) -> None:
        if is_async and is_stream:
            run(stream())
        elif is_async:
            run(async_client.chat.completions.create(model="gpt-4o", messages=HELLO))
        elif is_stream:
            list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
        else:
            client.chat.completions.create(model="gpt-4o", messages=HELLO)

    yield call
    client.close()
    run(async_client.close())


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_failover_is_a_span_for_each_attempt(
    failing_over: Callable[..., Any], observed: Observed, regions: FakeAzure, is_async: bool, is_stream: bool
) -> None:
    """No span twice for the same attempt, and no answer of the first in the second's."""
    regions["eastus"].fail_next("503", times=None)
    failing_over(is_async=is_async, is_stream=is_stream)
    assert [request.resource for request in regions.requests] == ["eastus", "westus"]
    assert statuses(observed.spans) == [503, 200]
    assert_attempts(observed.spans, regions.requests, regions)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_attempt_without_an_answer_is_a_span_with_an_error(
    failing_over: Callable[..., Any], observed: Observed, regions: FakeAzure, is_async: bool
) -> None:
    regions["eastus"].stop()
    failing_over(is_async=is_async, is_stream=False)
    failed, answered = observed.spans
    assert failed.attributes["error.type"] == "ConnectError"
    assert failed.attributes["server.port"] == int(regions["eastus"].endpoint.rpartition(":")[2])
    assert_attempts((answered,), regions.requests, regions)


def test_attempts_are_children_of_the_caller_s_span(
    observed: Observed, library_name: str, arguments: dict[str, Any], run: Run, azure: FakeAzure
) -> None:
    observed.start()
    client, async_client = clients_of("client", library_name, arguments)
    with observed.provider.get_tracer("caller").start_as_current_span("caller") as caller:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
        run(async_client.chat.completions.create(model="gpt-4o", messages=HELLO))
    assert [span.name for span in observed.spans] == ["POST", "POST", "caller"]
    assert [span.parent.span_id for span in observed.spans[:2]] == [caller.get_span_context().span_id] * 2
    client.close()
    run(async_client.close())


def test_one_client_that_is_instrumented_has_a_span_for_each_call(
    observed: Observed, library_name: str, arguments: dict[str, Any], azure: FakeAzure, eastus: Resource, run: Run
) -> None:
    """The instrumentation of a client is around the shim: its URL is the caller's, and its ``traceparent`` arrives."""
    ours = azure_shim.http_client(**arguments, library=library_name)
    ours_async = azure_shim.async_http_client(**arguments, library=library_name)
    instrumentor = {"httpx": HTTPXClientInstrumentor, "httpx2": HTTPX2ClientInstrumentor}[library_name]
    for one in (ours, ours_async):
        instrumentor.instrument_client(one, tracer_provider=observed.provider)
    client = openai.OpenAI(api_key="unused", http_client=ours)
    async_client = openai.AsyncOpenAI(api_key="unused", http_client=ours_async)
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    run(async_client.chat.completions.create(model="gpt-4o", messages=HELLO))
    assert statuses(observed.spans) == [200, 200]
    for span, request in zip(observed.spans, azure.requests, strict=True):
        assert span.attributes["server.address"] == "api.openai.com"
        assert request.headers.all("traceparent") == [traceparent(span)]
        assert eastus.api_key not in span.to_json()
    client.close()
    run(async_client.close())
