"""In process: hosts, both libraries, async clients, laziness, and a resource that is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from azure_shim.testing import FakeAzure

PATH = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
MESSAGES = [{"role": "user", "content": "hi there"}]
STREAM = {"messages": MESSAGES, "stream": True}


@pytest.fixture
def azure() -> FakeAzure:
    return FakeAzure({"eastus": ["gpt-4o"], "westus": ["gpt-4o"]})


@pytest.fixture
def client(azure: FakeAzure, library: Any) -> Any:
    return library.Client(transport=azure.transport(library.__name__))


@pytest.mark.parametrize(
    "host",
    [
        "eastus.openai.azure.com",
        "EastUS.OpenAI.azure.com",
        "eastus.cognitiveservices.azure.com",
        "eastus.services.ai.azure.com",
    ],
)
def test_a_resource_answers_at_its_public_names(azure: FakeAzure, client: Any, host: str) -> None:
    headers = {"api-key": azure["eastus"].api_key}
    assert client.post(f"https://{host}{PATH}", json={"messages": MESSAGES}, headers=headers).status_code == 200
    assert azure.requests[0].connection.number == 0
    assert azure.requests[0].done.is_set()


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com",
        "https://openai.azure.com",
        "https://gone.openai.azure.com",
        "https://a.eastus.openai.azure.com",
        "https://eastus.openai.azure.com.evil.example",
        "https://eastus.example.com",
        "http://eastus.openai.azure.com",
        "https://127.0.0.1",
    ],
)
def test_any_other_host_does_not_resolve(azure: FakeAzure, client: Any, library: Any, url: str) -> None:
    with pytest.raises(library.ConnectError) as caught:
        client.post(url + PATH, json={"messages": MESSAGES})
    assert caught.value.request.url.path == "/openai/deployments/gpt-4o/chat/completions"
    assert azure.requests == []


def test_a_gateway_may_have_a_name_of_its_own(azure: FakeAzure, client: Any) -> None:
    azure["eastus"].hosts.add("za.azure-api.net")
    response = client.get("https://za.azure-api.net/openai/v1/models", headers={"api-key": azure["eastus"].api_key})
    assert response.headers["x-ms-region"] == "eastus"


def test_a_resource_that_is_stopped_refuses_connections(azure: FakeAzure, client: Any, library: Any) -> None:
    east = azure["eastus"]
    url, headers = f"{east.host_endpoint}/openai/v1/models", {"api-key": east.api_key}
    east.stop()
    with pytest.raises(library.ConnectError):
        client.get(url, headers=headers)
    east.start()
    try:
        assert client.get(url, headers=headers).status_code == 200
    finally:
        azure.close()


def test_a_length_that_is_not_the_bodys(azure: FakeAzure, client: Any, library: Any) -> None:
    headers = {"api-key": azure["eastus"].api_key, "content-type": "application/json", "content-length": "7"}
    response = client.post(f"https://eastus.openai.azure.com{PATH}", content=b"{}", headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "LengthMismatch"


def test_a_stream_is_made_as_it_is_read(azure: FakeAzure, client: Any) -> None:
    east = azure["eastus"]
    pauses: list[float] = []
    east.sleep = pauses.append
    headers = {"api-key": east.api_key}
    with client.stream("POST", east.host_endpoint + PATH, json=STREAM, headers=headers) as response:
        chunks = response.iter_raw()
        assert b"prompt_filter_results" in next(chunks)
        assert pauses == []
        next(chunks)
        assert len(pauses) == 1
        assert azure.requests[0].delivered is None
    assert azure.requests[0].delivered is False, "it was closed before its end"


def test_another_library_is_refused(azure: FakeAzure) -> None:
    with pytest.raises(ValueError, match="expected 'httpx' or 'httpx2'"):
        azure.transport("requests")


@pytest.mark.anyio
async def test_async_clients_of_both_libraries(azure: FakeAzure, library: Any) -> None:
    east = azure["eastus"]
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def body() -> AsyncIterator[bytes]:
        yield b'{"messages":[{"role":"user",'
        yield b'"content":"hi"}],"stream":true}'

    east.sleep, east.chunk_delay_s = pause, 3600.0
    headers = {"api-key": east.api_key, "content-type": "application/json"}
    async with library.AsyncClient(transport=azure.async_transport(library.__name__)) as client:
        response = await client.post(east.host_endpoint + PATH, content=body(), headers=headers)
        assert response.text.endswith("data: [DONE]\n\n")
        assert len(pauses) == response.text.count("\n\n") - 1
        assert azure.requests[0].json()["messages"][0]["content"] == "hi"
        assert azure.requests[0].delivered is True
        async with client.stream("POST", east.host_endpoint + PATH, json=STREAM, headers=headers) as response:
            await anext(response.aiter_raw())
        assert azure.requests[1].delivered is False
        with pytest.raises(library.ConnectError):
            await client.get("https://api.openai.com/v1/models")
        east.fail_next("stall")
        with pytest.raises(library.ReadTimeout):
            await client.post(east.host_endpoint + PATH, json=STREAM, headers=headers)


@pytest.mark.anyio
async def test_the_official_async_client(azure: FakeAzure, openais_library: Any) -> None:
    west = azure["westus"]
    async with openai.AsyncOpenAI(
        base_url=f"{west.host_endpoint}/openai/v1",
        api_key=west.api_key,
        http_client=openais_library.AsyncClient(transport=azure.async_transport()),
    ) as client:
        stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
        assert text == "Hello from westus/gpt-4o: hi there"
        file = await client.files.create(file=("a.txt", b"abc"), purpose="assistants")
        assert (await client.files.content(file.id)).content == b"abc"
    assert azure.leaks == []
    assert azure.refused == []
