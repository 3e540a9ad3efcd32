"""Keys, tokens and their providers, in either client (P5, P29)."""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
from typing import Any

import openai
import pytest

import azure_shim
from tests.conftest import Colour
from tests.servers import CHAT, MESSAGES, ScriptedServer, answer

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"


def chat(colour: Colour, client: Any, **options: Any) -> Any:
    return colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, **options)


class Callable:
    def __init__(self, value: object, *, is_async: bool) -> None:
        self.calls = 0
        self._value, self._is_async = value, is_async

    def __call__(self) -> Any:
        self.calls += 1
        return self._later() if self._is_async else self._value

    async def _later(self) -> Any:
        return self._value


class AsyncCallable:
    async def __call__(self) -> str:
        return TOKEN


async def coroutine_function() -> str:
    return TOKEN


@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        ({"api_key": "a-key"}, ("api-key", "a-key")),
        ({"api_key": lambda: "a-key"}, ("api-key", "a-key")),
        ({"api_key": TOKEN}, ("authorization", f"Bearer {TOKEN}")),
        ({"api_key": lambda: TOKEN}, ("authorization", f"Bearer {TOKEN}")),
        ({"azure_ad_token": "opaque"}, ("authorization", "Bearer opaque")),
        ({"azure_ad_token": f"Bearer {TOKEN}"}, ("authorization", f"Bearer {TOKEN}")),
        ({"azure_ad_token_provider": lambda: TOKEN}, ("authorization", f"Bearer {TOKEN}")),
        ({"azure_ad_token_provider": lambda: f"bearer {TOKEN}"}, ("authorization", f"Bearer {TOKEN}")),
        ({"api_key": "sub", "api_key_header": "Ocp-Apim-Subscription-Key"}, ("ocp-apim-subscription-key", "sub")),
    ],
)
def test_each_credential_goes_into_its_header_and_no_other(
    arguments: dict[str, Any], header: tuple[str, str], colour: Colour, server: ScriptedServer
) -> None:
    chat(colour, colour.client(azure_endpoint=server.url, **arguments))
    http_client = colour.http_client(azure_endpoint=server.url, **arguments)
    chat(colour, colour.plain(api_key="sk-plain", http_client=http_client))
    names = ("api-key", "authorization", "ocp-apim-subscription-key")
    for seen in server.requests:
        assert {name: seen.header(name) for name in names if seen.header(name)} == {header[0]: header[1]}


@pytest.mark.parametrize(
    "provider",
    [coroutine_function, AsyncCallable(), functools.partial(coroutine_function)],
    ids=["function", "object", "partial"],
)
def test_an_async_provider_is_awaited_and_refused_where_it_cannot_be(provider: Any, server: ScriptedServer) -> None:
    awaiting = Colour("async")
    chat(awaiting, awaiting.client(azure_endpoint=server.url, azure_ad_token_provider=provider))
    chat(awaiting, awaiting.client(azure_endpoint=server.url, api_key=provider))
    awaiting.finish()
    assert [seen.header("authorization") for seen in server.requests] == [f"Bearer {TOKEN}"] * 2
    for build in (azure_shim.OpenAI, azure_shim.http_client):
        with pytest.raises(azure_shim.ConfigurationError, match="azure_ad_token_provider: is a coroutine function"):
            build(azure_endpoint=server.url, azure_ad_token_provider=provider)


def test_a_function_that_returns_an_awaitable_is_awaited_or_an_error(server: ScriptedServer) -> None:
    """What it is shows only when it is called; the coroutine is closed, so that nothing warns of it."""
    awaiting = Colour("async")
    chat(awaiting, awaiting.client(azure_endpoint=server.url, api_key=Callable("a-key", is_async=True)))
    awaiting.finish()
    assert server.requests[0].header("api-key") == "a-key"
    blocking = Colour("sync")
    with pytest.raises(openai.AuthenticationError, match="returned an awaitable"):
        chat(blocking, blocking.client(azure_endpoint=server.url, api_key=Callable("a-key", is_async=True)))
    blocking.finish()
    assert len(server.requests) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_provider_is_called_once_per_attempt(is_async: bool, colour: Colour, server: ScriptedServer) -> None:
    if is_async and not colour.is_async:
        is_async = False
    answers = [answer({"error": {"message": "slow down"}}, 429, {"retry-after-ms": "1"}), answer(CHAT)]
    server.script = lambda seen: [answers[len(server.requests) - 1]]
    provider = Callable(TOKEN, is_async=is_async)
    chat(colour, colour.client(azure_endpoint=server.url, azure_ad_token_provider=provider, max_retries=1))
    assert provider.calls == 2
    assert len(server.requests) == 2


def test_a_retry_carries_a_token_of_its_own(colour: Colour, server: ScriptedServer) -> None:
    """A token that ends while the SDK backs off is replaced before the retry (P2)."""
    tokens = iter(["first", "second"])
    answers = [answer({"error": {"message": "slow down"}}, 429, {"retry-after-ms": "1"}), answer(CHAT)]
    server.script = lambda seen: [answers[len(server.requests) - 1]]
    chat(colour, colour.client(azure_endpoint=server.url, azure_ad_token_provider=lambda: next(tokens), max_retries=1))
    assert [seen.header("authorization") for seen in server.requests] == ["Bearer first", "Bearer second"]


def test_a_provider_that_blocks_does_not_stop_the_event_loop(server: ScriptedServer) -> None:
    """openai's own Azure client stops it for as long as the provider takes."""
    colour = Colour("async")
    release = threading.Event()
    inside: list[str] = []

    def provider() -> str:
        inside.append(threading.current_thread().name)
        assert release.wait(10)
        return TOKEN

    client = colour.client(azure_endpoint=server.url, azure_ad_token_provider=provider)

    async def scenario() -> None:
        """The loop turns while the provider waits for what only the loop will do."""
        task = asyncio.ensure_future(client.chat.completions.create(model="gpt-4o", messages=MESSAGES))
        while not inside:
            await asyncio.sleep(0)
        assert not task.done()
        release.set()
        await task

    colour.run(scenario())
    assert inside != [threading.main_thread().name]
    colour.finish()


def test_a_provider_that_hangs_can_be_cancelled(server: ScriptedServer) -> None:
    """By a scope of anyio, which else waits for the thread."""
    import anyio

    colour = Colour("async")
    release, inside = threading.Event(), threading.Event()

    def provider() -> str:
        inside.set()
        release.wait(10)
        return TOKEN

    client = colour.client(azure_endpoint=server.url, azure_ad_token_provider=provider)

    async def scenario() -> bool:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def call() -> None:
                    await client.models.list()

                group.start_soon(call)
                while not inside.is_set():
                    await asyncio.sleep(0)
                scope.cancel()
        return not release.is_set()

    assert colour.run(scenario())
    release.set()
    assert server.requests == []
    colour.finish()


def test_an_async_deployments_function_is_refused_in_words(colour: Colour) -> None:
    async def deployments(model: str) -> str:
        return model

    with pytest.raises(azure_shim.ConfigurationError, match="deployments: is a coroutine function"):
        colour.client(azure_endpoint="r.openai.azure.com", api_key="k", deployments=deployments)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *itertools.product(
            ("api_key", "azure_ad_token_provider"),
            ("", " padded", "a-secret-line\n", "tw\0 words", "naïve", None, 5, b"bytes"),
        ),
        ("azure_ad_token_provider", "two words"),
    ],
)
def test_what_a_provider_should_not_return_is_an_authentication_error_and_nothing_is_sent(
    argument: str, value: object, colour: Colour, server: ScriptedServer
) -> None:
    client = colour.client(azure_endpoint=server.url, **{argument: lambda: value})
    with pytest.raises(openai.AuthenticationError, match=f"the {argument} function returned") as caught:
        chat(colour, client)
    assert server.requests == []
    if isinstance(value, str) and len(value) > 4:
        assert value.strip() not in str(caught.value)


def test_a_provider_that_raises_is_an_authentication_error_that_is_not_retried(
    colour: Colour, server: ScriptedServer
) -> None:
    calls = []

    def provider() -> str:
        calls.append(1)
        raise RuntimeError(f"no token like {TOKEN} for tenant 11111111-2222-3333-4444-555555555555")

    client = colour.client(azure_endpoint=server.url, azure_ad_token_provider=provider, max_retries=2)
    with pytest.raises(openai.AuthenticationError, match=r"raised RuntimeError: no token like \*\*\* for tenant 1111"):
        chat(colour, client)
    assert calls == [1]
    assert server.requests == []


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *itertools.product(
            ("api_key", "azure_ad_token"), ("", " ", "k\n", " k", "a\tb", "schlüssel", 5, b"key", object())
        ),
        ("azure_ad_token", "a b"),
    ],
)
def test_a_bad_key_or_token_is_refused_at_construction_and_not_shown(
    argument: str, value: object, colour: Colour
) -> None:
    """A key with a newline ends in three connection errors elsewhere."""
    for build in (colour.client, colour.http_client):
        with pytest.raises(azure_shim.ConfigurationError, match=f"^{argument}: (is|has) ") as caught:
            build(azure_endpoint="r.openai.azure.com", **{argument: value})
        assert isinstance(caught.value, openai.OpenAIError)
        if isinstance(value, str) and len(value.strip()) > 4:
            assert value.strip() not in str(caught.value)


@pytest.mark.parametrize("given", ["My API Key", lambda: "My API Key"])
def test_a_gateways_key_may_be_of_several_words(given: Any, colour: Colour, server: ScriptedServer) -> None:
    chat(colour, colour.client(azure_endpoint=server.url, api_key=given))
    assert server.requests[0].header("api-key") == "My API Key"


def test_an_opaque_cancellation_in_a_provider_passes(server: ScriptedServer) -> None:
    colour = Colour("async")

    async def provider() -> str:
        raise asyncio.CancelledError

    client = colour.client(azure_endpoint=server.url, azure_ad_token_provider=provider)
    with pytest.raises(asyncio.CancelledError):
        chat(colour, client)
    colour.finish()
