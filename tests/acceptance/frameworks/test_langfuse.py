"""Langfuse's drop-in, ``from langfuse.openai import openai``: it wraps the resources' methods of the whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langfuse import Langfuse
from langfuse.openai import AsyncOpenAI, OpenAI, openai
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.support import CHAT, DEPLOYMENTS, answer_to, served
from tests.conftest import AMBIENT_KEY
from tests.fleets import at, plan

Run = Callable[[Any], Any]
Clients = tuple[Any, Any]
HELLO: list[Any] = [{"role": "user", "content": "hi there"}]

# Langfuse is one per process. What it would send elsewhere than to its exporter would go to a port where nobody is.
_exporter = InMemorySpanExporter()
_langfuse = Langfuse(
    public_key="pk-lf-test", secret_key="sk-lf-test", base_url="http://127.0.0.1:9", span_exporter=_exporter
)


class Weather(BaseModel):
    city: str
    degrees: int


class Observed:
    """What Langfuse has exported in this test."""

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        _langfuse.flush()
        return _exporter.get_finished_spans()

    def attribute(self, name: str) -> list[Any]:
        """Of each observation."""
        return [span.attributes.get(f"langfuse.observation.{name}") for span in self.spans]

    def assert_no_secret(self, *keys: str) -> None:
        for span in self.spans:
            for key in (*keys, AMBIENT_KEY):
                assert key not in span.to_json(), f"a key is in the observation {span.name}"


@pytest.fixture
def observed() -> Observed:
    _langfuse.flush()
    _exporter.clear()
    return Observed()


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def clients(observed: Observed, request: pytest.FixtureRequest, run: Run) -> Iterator[Clients]:
    """A sync and an async client; the patched ones are built by the names that Langfuse has for openai's."""
    value, way = request.getfixturevalue, request.param
    if way == "client":
        found: Clients = value("client"), value("async_client")
    elif way == "http_client":
        found = value("plain_client"), value("plain_async_client")
    else:
        value(way)
        found = OpenAI(), AsyncOpenAI()
    yield found
    found[0].close()
    run(found[1].close())


def test_a_chat_is_one_observation(clients: Clients, observed: Observed, azure: FakeAzure, run: Run) -> None:
    clients[0].chat.completions.create(model="gpt-4o", messages=HELLO)
    run(clients[1].chat.completions.create(model="gpt-4o", messages=HELLO))
    assert [span.name for span in observed.spans] == ["OpenAI-generation"] * 2
    assert observed.attribute("model.name") == ["gpt-4o-2024-11-20"] * 2
    assert all(answer_to("hi there") in said for said in observed.attribute("output"))
    assert all(json.loads(usage)["completion_tokens"] > 0 for usage in observed.attribute("usage_details"))
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    observed.assert_no_secret(azure["eastus"].api_key)


def test_what_is_langfuse_s_own_is_not_sent(clients: Clients, observed: Observed, azure: FakeAzure) -> None:
    create = clients[0].chat.completions.create
    create(model="gpt-4o", messages=HELLO, name="greeting", metadata={"experiment": "1"})
    assert [span.name for span in observed.spans] == ["greeting"]
    assert set(azure.requests[0].json()) == {"messages", "model"}


def test_a_stream_is_one_observation_that_ends_with_it(
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
    assert observed.attribute("output") == [answer_to("hi there")] * 2
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    observed.assert_no_secret(azure["eastus"].api_key)


def test_a_tool_s_call_is_in_its_observation(clients: Clients, observed: Observed, azure: FakeAzure) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    asked: list[Any] = [{"role": "user", "content": "use the tool"}]
    clients[0].chat.completions.create(model="gpt-4o", messages=asked, tools=tools)
    (output,) = observed.attribute("output")
    assert json.loads(output)["tool_calls"][0]["function"]["name"] == "weather"
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_a_structured_answer_is_one_observation(
    clients: Clients, observed: Observed, azure: FakeAzure, run: Run
) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO, "response_format": Weather}
    answers = [clients[0].chat.completions.parse(**asked), run(clients[1].chat.completions.parse(**asked))]
    assert [answer.choices[0].message.parsed for answer in answers] == [Weather(city=CHAT, degrees=1)] * 2
    assert len(observed.spans) == 2
    assert served(azure) == [("chat/completions", "chat-prod")] * 2


def test_responses_and_embeddings_are_observations(
    clients: Clients, observed: Observed, azure: FakeAzure, run: Run
) -> None:
    clients[0].responses.create(model="gpt-4o", input="hi there")
    run(clients[1].responses.create(model="gpt-4o", input="hi there"))
    clients[0].embeddings.create(model="text-embedding-3-small", input="one")
    run(clients[1].embeddings.create(model="text-embedding-3-small", input="two"))
    assert [span.name for span in observed.spans] == ["OpenAI-generation"] * 2 + ["OpenAI-embedding"] * 2
    assert all(answer_to("hi there") in said for said in observed.attribute("output")[:2])
    assert served(azure) == [("responses", "chat-prod")] * 2 + [("embeddings", "embed-prod")] * 2
    observed.assert_no_secret(azure["eastus"].api_key)


def test_an_error_is_in_the_observation(client: azure_shim.OpenAI, observed: Observed, eastus: Resource) -> None:
    eastus.fail_next("content_filter")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert observed.attribute("level") == ["ERROR"]
    observed.assert_no_secret(eastus.api_key)


@pytest.mark.parametrize("stream", [False, True])
def test_a_failover_is_one_observation_of_the_call(observed: Observed, stream: bool) -> None:
    regions = {name: {deployment: model for model, deployment in DEPLOYMENTS.items()} for name in ("eastus", "westus")}
    with FakeAzure(regions) as azure:
        config = plan("fallback", *(at(resource) for resource in azure), deployments=DEPLOYMENTS)
        azure["eastus"].fail_next("503", times=None)
        with azure_shim.OpenAI(config=config) as client:
            answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=stream)
            if stream:
                list(answer)
        assert [request.resource for request in azure.requests] == ["eastus", "westus"]
        assert azure.leaks == []
        (said,) = observed.attribute("output")
        assert answer_to("hi there", "westus/chat-prod") in said
        observed.assert_no_secret(*(resource.api_key for resource in azure))


_PROGRAM = """
import os
{imports}
from langfuse import Langfuse
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
langfuse = Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:9", span_exporter=exporter)
{client}
said = client.chat.completions.create(model="gpt-4o", messages=[{{"role": "user", "content": "hi there"}}])
langfuse.flush()
print(said.choices[0].message.content, [span.name for span in exporter.get_finished_spans()], sep="|", flush=True)
os._exit(0)  # without Langfuse's own farewell
"""


@pytest.mark.parametrize("way", ["azure_shim.OpenAI(", "azure_shim.patch("])
@pytest.mark.parametrize("first", ["azure_shim", "langfuse.openai"])
def test_either_may_be_imported_first(first: str, way: str, arguments: dict[str, Any], azure: FakeAzure) -> None:
    """Langfuse wraps when it is imported, which happens once in a process."""
    imports = ["import azure_shim\nazure_shim.OpenAI", "from langfuse.openai import openai"]
    if first == "langfuse.openai":
        imports.reverse()
    passed = "azure_endpoint=os.environ['HOST'], api_key=os.environ['KEY'], deployments={'gpt-4o': 'chat-prod'})"
    client = f"client = {way}{passed}" if "OpenAI" in way else f"{way}{passed}\nclient = openai.OpenAI()"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(imports="\n".join(imports), client=client)],
        env={**os.environ, "HOST": arguments["azure_endpoint"], "KEY": arguments["api_key"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == f"{answer_to('hi there')}|['OpenAI-generation']", done.stderr
    assert served(azure) == [("chat/completions", "chat-prod")]
