"""litellm: its functions with a ready ``client``, with its module-wide HTTP sessions, and with clients of its own.

No client of the SDK's takes part in ``litellm.responses()``, which has an HTTP stack of its own: neither a ready client
nor the patch reaches that, except through the bridge ``use_chat_completions_api=True``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import litellm
import openai
import pytest
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure
from tests.acceptance.frameworks.guard import Guard
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

COMPLETION = ("chat/completions", "chat-prod")
HELLO = [{"role": "user", "content": "hello"}]
ALOUD = [{"role": "user", "content": LONG}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(autouse=True)
def own_clients() -> Iterator[None]:
    """litellm keeps the clients it builds for the whole process; each test begins without any."""
    litellm.in_memory_llm_clients_cache.flush_cache()
    yield
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture(params=["client", "plain_client", "http_client", "patched", "patch"])
def given(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a call is given to go each way to Azure."""
    way = request.getfixturevalue(request.param)
    if request.param == "http_client":
        monkeypatch.setattr(litellm, "client_session", way)
    return {"client": way} if request.param in ("client", "plain_client") else {}


@pytest.fixture(params=["client", "plain_client", "http_client", "patched", "patch"])
def given_async(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    names = {"client": "async_client", "plain_client": "plain_async_client", "http_client": "async_http_client"}
    way = request.getfixturevalue(names.get(request.param, request.param))
    if request.param == "http_client":
        monkeypatch.setattr(litellm, "aclient_session", way)
    return {"client": way} if request.param in ("client", "plain_client") else {}


def test_a_chat_is_answered(given: dict[str, Any], azure: FakeAzure) -> None:
    for model in ("gpt-4o", "openai/gpt-4o"):
        answer = litellm.completion(model, HELLO, **given)
        assert answer.choices[0].message.content == answer_to("hello")
    assert served(azure) == [COMPLETION, COMPLETION]


def test_an_async_chat_is_answered(given_async: dict[str, Any], azure: FakeAzure, run: Callable[[Any], Any]) -> None:
    answer = run(litellm.acompletion("openai/gpt-4o", HELLO, **given_async))
    assert answer.choices[0].message.content == answer_to("hello")
    assert served(azure) == [COMPLETION]


def test_a_stream_streams(given: dict[str, Any], azure: FakeAzure, gate: Gate) -> None:
    """litellm hands each event on, Azure's first one too, which has no choices unless it is dropped."""
    said = ""
    for chunk in litellm.completion("openai/gpt-4o", ALOUD, stream=True, **given):
        said += (chunk.choices and chunk.choices[0].delta.content) or ""
        if said:
            gate.open()
    assert said == answer_to(LONG)
    assert served(azure) == [COMPLETION]


@pytest.mark.parametrize("given", ["patched", "patch"], indirect=True)
def test_a_patched_stream_has_choices_in_every_chunk(given: dict[str, Any], azure: FakeAzure) -> None:
    """As OpenAI's has: code that reads ``chunk.choices[0]`` goes on working."""
    chunks = list(litellm.completion("openai/gpt-4o", ALOUD, stream=True, **given))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer_to(LONG)
    assert served(azure) == [COMPLETION]


def test_an_async_stream_streams(
    given_async: dict[str, Any], azure: FakeAzure, gate: Gate, run: Callable[[Any], Any]
) -> None:
    async def read() -> str:
        said = ""
        async for chunk in await litellm.acompletion("openai/gpt-4o", ALOUD, stream=True, **given_async):
            said += (chunk.choices and chunk.choices[0].delta.content) or ""
            if said:
                gate.open()
        return said

    assert run(read()) == answer_to(LONG)
    assert served(azure) == [COMPLETION]


def test_a_tool_is_called(given: dict[str, Any], azure: FakeAzure) -> None:
    answer = litellm.completion("openai/gpt-4o", HELLO, tools=[TOOL], tool_choice="required", **given)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": CHAT}
    assert served(azure) == [COMPLETION]


def test_a_structured_output_has_the_shape(given: dict[str, Any], azure: FakeAzure) -> None:
    answer = litellm.completion("openai/gpt-4o", HELLO, response_format=Person, **given)
    assert Person.model_validate_json(answer.choices[0].message.content) == Person(name=CHAT, age=1)
    assert azure.requests[0].json()["response_format"]["json_schema"]["strict"] is True
    assert served(azure) == [COMPLETION]


def test_texts_are_embedded(given: dict[str, Any], azure: FakeAzure) -> None:
    answer = litellm.embedding("openai/text-embedding-3-small", ["one", "other"], **given)
    assert [len(data["embedding"]) for data in answer.data] == [1536, 1536]
    assert served(azure) == [("embeddings", "embed-prod")]


def test_texts_are_embedded_async(given_async: dict[str, Any], azure: FakeAzure, run: Callable[[Any], Any]) -> None:
    answer = run(litellm.aembedding("openai/text-embedding-3-small", ["one", "other"], **given_async))
    assert [len(data["embedding"]) for data in answer.data] == [1536, 1536]
    assert served(azure) == [("embeddings", "embed-prod")]


def test_an_error_of_azures_is_litellms_own(given: dict[str, Any], azure: FakeAzure) -> None:
    azure["eastus"].fail_next("401_key")
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion("openai/gpt-4o", HELLO, max_retries=0, **given)
    assert served(azure)[0] == COMPLETION


def test_kept_clients_are_told_apart_by_their_arguments(patched: None) -> None:
    """litellm makes the key of its cache of the constructor's signature, which the patch has to leave as it was."""
    from litellm.llms.openai.common_utils import BaseOpenAILLM

    fields = BaseOpenAILLM.get_openai_client_initialization_param_fields("openai")
    assert {"api_key", "base_url", "organization", "max_retries", "timeout"} <= set(fields)


def test_another_base_url_is_left_alone(patched: None, guard: Guard) -> None:
    """An ``api_base`` of somebody else's is not ours; the guard says where the call wanted to go."""
    with pytest.raises(openai.APIError):
        litellm.completion("openai/llama", HELLO, api_base="https://llama.example/v1", api_key="own", max_retries=0)
    assert set(guard.take_refused()) == {"llama.example"}


def test_responses_by_the_bridge_go_to_azure(given: dict[str, Any], azure: FakeAzure) -> None:
    answer = litellm.responses("hello", "openai/gpt-4o", use_chat_completions_api=True, **given)
    assert answer.output[0].content[0].text == answer_to("hello")
    assert served(azure) == [COMPLETION]


def test_responses_themselves_are_out_of_reach(given: dict[str, Any], azure: FakeAzure, guard: Guard) -> None:
    """They would be ``api.openai.com``'s: the guard refuses them, and Azure hears nothing."""
    with pytest.raises(openai.APIError):
        litellm.responses("hello", "openai/gpt-4o", max_retries=0, **given)
    assert set(guard.take_refused()) == {"api.openai.com"}
    assert azure.requests == []


def test_the_classic_surface_has_the_deployment_in_its_path(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.OpenAI(**classic) as client:
        litellm.completion("openai/gpt-4o", HELLO, client=client)
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    assert served(azure) == [COMPLETION]
