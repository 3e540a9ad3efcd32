"""Programs as they were written for openai 0.27 and 0.28, unchanged but for what they print to."""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import Any

import pytest

from azure_shim.testing import FakeAzure
from azure_shim.testing.resource import Resource
from azure_shim.testing.response import FakeResponse
from tests.patching.legacy.conftest import MESSAGES

pytestmark = pytest.mark.usefixtures("legacy")


def test_the_readme_of_0_28_on_openai() -> None:
    """Nothing but the environment says where: the patch does."""
    import openai

    openai.api_key = os.getenv("OPENAI_API_KEY")
    completion = openai.ChatCompletion.create(
        model="gpt-3.5-turbo", messages=[{"role": "user", "content": "Hello world"}]
    )
    assert completion.choices[0].message.content == "Hello from eastus/prod: Hello world"
    assert completion["choices"][0]["message"]["content"] == completion.choices[0].message.content


def test_the_quickstart_of_azure(east: Resource) -> None:
    import openai

    openai.api_type = "azure"
    openai.api_base = east.endpoint
    openai.api_version = "2023-05-15"
    openai.api_key = east.api_key

    response = openai.ChatCompletion.create(
        engine="gpt-4o",
        messages=[
            {"role": "system", "content": "Assistant is a large language model trained by OpenAI."},
            {"role": "user", "content": "Who were the founders of Microsoft?"},
        ],
    )
    assert response["choices"][0]["message"]["content"].startswith("Hello from eastus/gpt-4o: Who were")
    assert east.requests[0].raw_path == "/openai/deployments/gpt-4o/chat/completions?api-version=2023-05-15"


def test_the_quickstart_of_azure_with_a_token(azure: FakeAzure, east: Resource) -> None:
    import openai

    openai.api_type = "azure_ad"
    openai.api_key = azure.token
    openai.api_base = east.endpoint
    openai.api_version = "2023-05-15"

    response = openai.Completion.create(engine="instruct", prompt="Once upon a time", max_tokens=5)
    text = response["choices"][0]["text"].replace("\n", "").strip()
    assert text
    assert east.requests[0].headers["authorization"] == f"Bearer {azure.token}"


def test_streaming_from_the_cookbook() -> None:
    """With the frame that Azure sends first, which has no choices, and which programs for Azure skip."""
    import openai

    response = openai.ChatCompletion.create(
        model="gpt-3.5-turbo", messages=[{"role": "user", "content": "What's 1+1?"}], temperature=0, stream=True
    )
    collected_chunks = []
    collected_messages = []
    for chunk in response:
        collected_chunks.append(chunk)
        if not chunk["choices"]:
            continue
        chunk_message = chunk["choices"][0]["delta"]
        collected_messages.append(chunk_message)
    full_reply_content = "".join([m.get("content", "") for m in collected_messages])
    assert full_reply_content == "Hello from eastus/prod: What's 1+1?"
    assert collected_chunks[0].prompt_filter_results[0].content_filter_results.hate.severity == "safe"


def test_async_streaming_from_the_readme() -> None:
    import openai

    async def create_chat_completion() -> str:
        said = ""
        async for chunk in await openai.ChatCompletion.acreate(
            model="gpt-3.5-turbo", messages=[{"role": "user", "content": "Hello world"}], stream=True
        ):
            if chunk.choices and chunk.choices[0].get("finish_reason") is None:
                said += chunk.choices[0].delta.content
        return said

    assert asyncio.run(create_chat_completion()) == "Hello from eastus/prod: Hello world"
    # Scripts do that again and again, each time in a new event loop.
    assert asyncio.run(create_chat_completion()) == "Hello from eastus/prod: Hello world"


def test_embeddings_in_batches(east: Resource) -> None:
    import openai

    texts = [f"text {number}" for number in range(5)]
    batch_size = 2
    embeddings: list[list[float]] = []
    for batch_start in range(0, len(texts), batch_size):
        batch = texts[batch_start : batch_start + batch_size]
        response = openai.Embedding.create(model="text-embedding-ada-002", input=batch)
        for i, be in enumerate(response["data"]):
            assert i == be["index"]
        embeddings.extend([e["embedding"] for e in response["data"]])

    assert [len(vector) for vector in embeddings] == [1536] * 5
    assert all(type(number) is float for number in embeddings[0])
    assert len(east.requests) == 3
    from openai.embeddings_utils import cosine_similarity, get_embedding

    assert get_embedding("text\n0", engine="vectors") == pytest.approx(embeddings[0])
    assert cosine_similarity(embeddings[0], embeddings[0]) == pytest.approx(1)
    assert cosine_similarity(embeddings[0], embeddings[1]) < 0.5


def test_a_retry_loop_from_the_cookbook(east: Resource) -> None:
    """Every 429 comes to the loop at once: nothing below it tries again."""
    import openai

    slept = []

    def retry_with_exponential_backoff(
        func: Any,
        initial_delay: float = 1,
        exponential_base: float = 2,
        jitter: bool = True,
        max_retries: int = 10,
        errors: tuple[Any, ...] = (openai.error.RateLimitError,),
    ) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            num_retries = 0
            delay = initial_delay
            while True:
                try:
                    return func(*args, **kwargs)
                except errors:
                    num_retries += 1
                    if num_retries > max_retries:
                        raise
                    delay *= exponential_base * (1 + jitter * random.random())
                    slept.append(delay)

        return wrapper

    @retry_with_exponential_backoff
    def completions_with_backoff(**kwargs: Any) -> Any:
        return openai.ChatCompletion.create(**kwargs)

    east.fail_next("429_token_rate", times=3)
    assert completions_with_backoff(model="gpt-3.5-turbo", messages=MESSAGES).choices
    assert len(slept) == 3
    assert len(east.requests) == 4


def test_function_calling_from_the_announcement(east: Resource) -> None:
    """``functions`` and ``function_call`` pass as they are, there and back."""
    import openai

    def weather(_request: Any) -> FakeResponse:
        called = {"name": "get_current_weather", "arguments": '{\n  "location": "Boston, MA"\n}'}
        message = {"role": "assistant", "content": None, "function_call": called}
        return FakeResponse.json({"choices": [{"index": 0, "finish_reason": "function_call", "message": message}]})

    east.answer_next(weather)
    messages: list[Any] = [{"role": "user", "content": "What's the weather like in Boston?"}]
    functions = [
        {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location",
            "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
        }
    ]
    response = openai.ChatCompletion.create(
        model="gpt-3.5-turbo-0613", engine="prod", messages=messages, functions=functions, function_call="auto"
    )
    response_message = response["choices"][0]["message"]
    assert response_message.get("function_call")
    function_name = response_message["function_call"]["name"]
    function_args = json.loads(response_message["function_call"]["arguments"])
    assert function_args == {"location": "Boston, MA"}
    messages.append(response_message)  # extend conversation with assistant's reply
    messages.append({"role": "function", "name": function_name, "content": "72 and sunny"})
    second_response = openai.ChatCompletion.create(engine="prod", messages=messages)

    assert second_response.choices[0].message.role == "assistant"
    first, second = (request.json() for request in east.requests)
    assert (first["functions"], first["function_call"]) == (functions, "auto")
    assert second["messages"][1] == response_message.to_dict_recursive()


def test_concurrent_calls_share_one_client(east: Resource) -> None:
    import openai

    async def main() -> list[Any]:
        return await asyncio.gather(
            *(openai.ChatCompletion.acreate(model="gpt-3.5-turbo", messages=MESSAGES) for _ in range(5))
        )

    assert len({answer.id for answer in asyncio.run(main())}) == 5
    assert len(east.requests) == 5


def test_what_a_web_server_of_2023_does_with_errors(east: Resource) -> None:
    import openai
    from openai.error import APIConnectionError, AuthenticationError, InvalidRequestError, OpenAIError

    def ask() -> str:
        try:
            return str(openai.ChatCompletion.create(engine="prod", messages=MESSAGES).choices[0].message.content)
        except InvalidRequestError as e:
            if e.code == "content_filter" and e.error.innererror.content_filter_result.sexual.filtered:
                return "filtered"
            return f"bad request: {e.user_message}"
        except (AuthenticationError, APIConnectionError) as e:
            return type(e).__name__
        except OpenAIError as e:
            return f"{e.http_status}: {e}"

    for fault in ("content_filter", "404_deployment", "401_key", "reset", "503"):
        east.fail_next(fault)
    assert ask() == "filtered"
    assert ask().startswith("bad request: The API deployment for this resource does not exist")
    assert [ask() for _ in range(3)] == [
        "AuthenticationError",
        "APIConnectionError",
        "503: The server is overloaded or not ready yet.",
    ]
    assert ask() == "Hello from eastus/prod: Say this is a test"
