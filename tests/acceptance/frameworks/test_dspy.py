"""dspy: its LMs by way of litellm, which is the part of it that knows clients of the SDK's.

dspy's own engine, the default for ``openai/...`` unless ``OPENAI_BASE_URL`` is set, has an HTTP stack of its own, which
neither a ready client nor the patch reaches. ``engine="litellm"`` is reached, and so is any LM with a ``client``.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import litellm
import pytest

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks.guard import Guard
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

COMPLETION = ("chat/completions", "chat-prod")
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
WAYS = ("client", "http_client", "patched", "patch")


class Who(dspy.Signature):
    """Say who it is."""

    question: str = dspy.InputField()
    name: str = dspy.OutputField()
    age: int = dspy.OutputField()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No answer and no client of an earlier test's; nothing on the disk."""
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    litellm.in_memory_llm_clients_cache.flush_cache()
    yield
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture(params=WAYS)
def given(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an LM is given to go each way to Azure."""
    way = request.getfixturevalue(request.param)
    if request.param == "http_client":
        monkeypatch.setattr(litellm, "client_session", way)
    return {"client": way} if request.param == "client" else {}


@pytest.fixture(params=WAYS)
def given_async(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    way = request.getfixturevalue(request.param if "patch" in request.param else f"async_{request.param}")
    if request.param == "http_client":
        monkeypatch.setattr(litellm, "aclient_session", way)
    return {"client": way} if request.param == "client" else {}


@pytest.fixture
def lm(given: dict[str, Any]) -> dspy.LM:
    return dspy.LM("openai/gpt-4o", engine="litellm", num_retries=0, **given)


@pytest.fixture
def async_lm(given_async: dict[str, Any]) -> dspy.LM:
    return dspy.LM("openai/gpt-4o", engine="litellm", num_retries=0, **given_async)


def test_a_chat_is_answered(lm: dspy.LM, azure: FakeAzure) -> None:
    assert lm("hello") == [answer_to("hello")]
    assert served(azure) == [COMPLETION]


def test_an_async_chat_is_answered(async_lm: dspy.LM, azure: FakeAzure, run: Callable[[Any], Any]) -> None:
    assert run(async_lm.acall("hello")) == [answer_to("hello")]
    assert served(azure) == [COMPLETION]


def test_a_stream_streams(async_lm: dspy.LM, azure: FakeAzure, gate: Gate, run: Callable[[Any], Any]) -> None:
    """The service repeats the question, which has the markers of an answer in it."""
    program = dspy.streamify(dspy.Predict("question -> answer"))
    question = f"{LONG}\n[[ ## answer ## ]]\n{LONG}\n\n[[ ## completed ## ]]"

    async def read() -> Any:
        said = ""
        with dspy.context(lm=async_lm):
            async for item in program(question=question):
                if isinstance(item, dspy.Prediction):
                    return said, item.answer
                said += (item.choices and item.choices[0].delta.content) or ""
                if said:
                    gate.open()
        return said, None

    said, answer = run(read())
    assert said.startswith(answer_to(""))
    assert answer == LONG
    assert served(azure) == [COMPLETION]


def test_a_tool_is_called(lm: dspy.LM, azure: FakeAzure) -> None:
    (answer,) = lm("use the tool", tools=[TOOL])
    (call,) = answer["tool_calls"]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": CHAT}
    assert served(azure) == [COMPLETION]


def test_a_structured_output_has_the_shape(lm: dspy.LM, azure: FakeAzure) -> None:
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        found = dspy.Predict(Who)(question="who?")
    assert (found.name, found.age) == (CHAT, 1)
    assert azure.requests[0].json()["response_format"]["type"] == "json_schema"
    assert served(azure) == [COMPLETION]


def test_texts_are_embedded(given: dict[str, Any], azure: FakeAzure) -> None:
    vectors = dspy.Embedder("openai/text-embedding-3-small", caching=False, **given)(["one", "other"])
    assert vectors.shape == (2, 1536)
    assert served(azure) == [("embeddings", "embed-prod")]


def test_texts_are_embedded_async(given_async: dict[str, Any], azure: FakeAzure, run: Callable[[Any], Any]) -> None:
    embedder = dspy.Embedder("openai/text-embedding-3-small", caching=False, **given_async)
    assert run(embedder.acall(["one", "other"])).shape == (2, 1536)
    assert served(azure) == [("embeddings", "embed-prod")]


def test_copies_go_there_too(lm: dspy.LM, azure: FakeAzure) -> None:
    """dspy copies an LM with all that it was given, the client too; openai's own client cannot be copied so."""
    assert lm.copy(temperature=0.5)("one") == [answer_to("one")]
    assert copy.deepcopy(lm)("two") == [answer_to("two")]
    program = dspy.Predict("question -> answer")
    program.set_lm(lm)
    assert program.deepcopy().lm("three") == [answer_to("three")]
    assert served(azure) == [COMPLETION] * 3


@pytest.mark.parametrize("given", ["client", "http_client", "patch"], indirect=True)
def test_parallel_calls_go_there_too(lm: dspy.LM, azure: FakeAzure) -> None:
    """In threads of dspy's own."""
    found = _in_threads(lm, 4)
    assert [one.name for one in found] == [CHAT] * 4
    assert served(azure) == [COMPLETION] * 4


def test_parallel_calls_are_outside_of_a_patched_context(patched: None, azure: FakeAzure, guard: Guard) -> None:
    """dspy gives its threads no context of the caller's, and litellm builds its client there: `patch` is for that."""
    with pytest.raises(Exception, match="errors"):
        _in_threads(dspy.LM("openai/gpt-4o", engine="litellm", num_retries=0), 1)
    assert set(guard.take_refused()) == {"api.openai.com"}
    assert azure.requests == []


def _in_threads(lm: dspy.LM, count: int) -> list[Any]:
    examples = [(dspy.Predict(Who), dspy.Example(question=str(n)).with_inputs("question")) for n in range(count)]
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        return list(dspy.Parallel(num_threads=2, max_errors=1, disable_progress_bar=True)(examples))


@pytest.mark.parametrize("way", ["patched", "patch"])
def test_the_default_engine_is_litellm_where_a_base_url_is_set(
    way: str, request: pytest.FixtureRequest, azure: FakeAzure
) -> None:
    request.getfixturevalue(way)
    assert dspy.LM("openai/gpt-4o", num_retries=0)("hello") == [answer_to("hello")]
    assert served(azure) == [COMPLETION]


def test_the_default_engine_is_litellm_with_a_client(
    client: azure_shim.OpenAI, azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    lm = dspy.LM("openai/gpt-4o", client=client, num_retries=0)
    assert lm("hello") == [answer_to("hello")]
    assert served(azure) == [COMPLETION]


def test_the_default_engine_itself_is_out_of_reach(
    patch: None, azure: FakeAzure, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be ``api.openai.com``'s: the guard refuses it, and Azure hears nothing."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    lm = dspy.LM("openai/gpt-4o", engine="lm15", num_retries=0)
    with pytest.raises(Exception, match=r"not this machine|onnect"):
        lm("hello")
    with pytest.raises(Exception, match=r"not this machine|onnect"):
        asyncio.run(lm.acall("hello"))
    assert set(guard.take_refused()) == {"api.openai.com"}
    assert azure.requests == []


def test_the_default_engine_can_be_told_the_v1_surface(eastus: Resource, azure: FakeAzure) -> None:
    """What is left for it: Azure's own ``/openai/v1``, the key, and the deployment's name, with no help of ours."""
    lm = dspy.LM("openai/chat-prod", engine="lm15", api_base=eastus.v1_url, api_key=eastus.api_key, num_retries=0)
    assert lm("hello") == [answer_to("hello")]
    assert azure.requests[0].path == "/openai/v1/chat/completions"


@pytest.mark.parametrize("way", ["patched", "patch"])
def test_no_key_of_openais_is_needed(
    way: str, request: pytest.FixtureRequest, azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its own, dspy asks for ``OPENAI_API_KEY``."""
    monkeypatch.delenv("OPENAI_API_KEY")
    request.getfixturevalue(way)
    assert dspy.LM("openai/gpt-4o", engine="litellm", num_retries=0)("hello") == [answer_to("hello")]
    assert served(azure) == [COMPLETION]


def test_the_classic_surface_has_the_deployment_in_its_path(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.OpenAI(**classic) as client:
        dspy.LM("openai/gpt-4o", client=client, num_retries=0)("hello")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    assert served(azure) == [COMPLETION]
