"""mem0: a `Memory`, whose language model and embedder each build a client of their own, for ``api.openai.com``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azure_shim.testing import FakeAzure, FakeResponse, Resource
from tests.acceptance.frameworks.support import CHAT, answer_to, served

COMPLETION = ("chat/completions", "chat-prod")
EMBEDDING = ("embeddings", "embed-prod")
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
VECTOR = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.025] * 1536}]}
FOUND = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": '{"memory": [{"text": "Ann likes tea"}]}'},
        }
    ],
}


@pytest.fixture(scope="module")
def mem0(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The package, which makes its folder when it is imported: here and not in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEM0_DIR", str(tmp_path_factory.mktemp("mem0")))
        patch.setenv("MEM0_TELEMETRY", "False")
        yield importlib.import_module("mem0")


@pytest.fixture
def config(mem0: Any, tmp_path: Any) -> dict[str, Any]:
    return {
        "llm": {"provider": "openai", "config": {"model": "gpt-4o"}},
        "embedder": {"provider": "openai", "config": {"model": "text-embedding-3-small"}},
        "vector_store": {"provider": "qdrant", "config": {"path": str(tmp_path / "store"), "collection_name": "m"}},
        "history_db_path": str(tmp_path / "history.db"),
    }


@pytest.fixture(params=["client", "plain_client", "patched", "patch"])
def ready(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Makes a memory go each way to Azure: its constructors take no client, but its parts may be given one."""
    way = request.getfixturevalue(request.param)

    def readied(memory: Any) -> Any:
        if way is not None:
            memory.llm.client = memory.embedding_model.client = way
        return memory

    return readied


@pytest.fixture
def memory(mem0: Any, config: dict[str, Any], ready: Callable[[Any], Any]) -> Any:
    return ready(mem0.Memory.from_config(config))


def test_what_is_said_is_remembered_and_found(memory: Any, azure: FakeAzure) -> None:
    added = memory.add("Ann likes tea", user_id="ann", infer=False)
    assert [one["memory"] for one in added["results"]] == ["Ann likes tea"]
    found = memory.search("Ann likes tea", filters={"user_id": "ann"})
    assert [one["memory"] for one in found["results"]] == ["Ann likes tea"]
    assert served(azure) == [EMBEDDING, EMBEDDING]


def test_the_model_says_what_is_worth_keeping(memory: Any, azure: FakeAzure, eastus: Resource) -> None:
    """Three calls: the text is embedded, the model asked, and what it found embedded too."""
    eastus.answer_next(lambda _request: FakeResponse.json(VECTOR))
    eastus.answer_next(lambda _request: FakeResponse.json(FOUND))
    added = memory.add("I am Ann, and I like tea.", user_id="ann")
    assert [one["memory"] for one in added["results"]] == ["Ann likes tea"]
    assert served(azure)[:3] == [EMBEDDING, COMPLETION, EMBEDDING]
    assert azure.requests[1].json()["response_format"] == {"type": "json_object"}


def test_a_chat_is_answered(memory: Any, azure: FakeAzure) -> None:
    said = memory.llm.generate_response([{"role": "user", "content": "hello"}])
    assert said == answer_to("hello")
    assert served(azure) == [COMPLETION]


def test_a_tool_is_called(memory: Any, azure: FakeAzure) -> None:
    said = memory.llm.generate_response([{"role": "user", "content": "use the tool"}], tools=[TOOL])
    assert said["tool_calls"] == [{"name": "get_weather", "arguments": {"city": CHAT}}]
    assert served(azure) == [COMPLETION]


def test_texts_are_embedded(memory: Any, azure: FakeAzure) -> None:
    one, other = memory.embedding_model.embed_batch(["one", "other"])
    assert memory.embedding_model.embed("one") == one != other
    assert len(one) == 1536
    assert served(azure) == [EMBEDDING, EMBEDDING]


def test_an_async_memory_goes_there_too(
    mem0: Any, config: dict[str, Any], ready: Callable[[Any], Any], azure: FakeAzure, run: Callable[[Any], Any]
) -> None:
    """It calls its blocking clients in threads."""
    memory = ready(mem0.AsyncMemory.from_config(config))
    run(memory.add("Ann likes tea", user_id="ann", infer=False))
    found = run(memory.search("Ann likes tea", filters={"user_id": "ann"}))
    assert [one["memory"] for one in found["results"]] == ["Ann likes tea"]
    assert served(azure) == [EMBEDDING, EMBEDDING]
