"""``patched()`` is for one context: other tasks and threads go where they went (B39)."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.conftest import Colour
from tests.patching.support import (
    MESSAGES,
    OPENAI,
    Guard,
    at,
    attributes,
    chat,
    is_routed,
    openais,
    streamed,
    taken,
)
from tests.servers import ScriptedServer

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")


def aim() -> str:
    """Where a client that is built here goes."""
    return str(openai.OpenAI().base_url)


def test_a_scope_ends_and_its_clients_go_on(colour: Colour, east: Resource, guard: Guard) -> None:
    with azure_shim.patched(**at(east)):
        client = openais(colour)
        assert is_routed(colour, client, east)
    assert is_routed(colour, client, east)
    assert streamed(colour, client)
    other = openais(colour)
    with pytest.raises(openai.APIConnectionError):
        chat(colour, other)
    assert set(guard.take()) == {OPENAI}


def test_a_scope_that_no_context_knows_any_more_leaves_nothing(east: Resource) -> None:
    before = attributes(with_globals=True)
    with azure_shim.patched(**at(east)):
        assert attributes() != before
        context = contextvars.copy_context()
    assert aim() == "https://api.openai.com/v1/"
    assert context.run(aim) == "https://api.openai.com/v1/" or context.run(aim).startswith(east.endpoint)
    del context
    gc.collect()
    assert sorted(attributes(with_globals=True)) == sorted(before)


def test_an_error_ends_a_scope_as_well(east: Resource) -> None:
    before = attributes(with_globals=True)
    with pytest.raises(ZeroDivisionError), azure_shim.patched(**at(east)):
        raise ZeroDivisionError
    gc.collect()
    assert sorted(attributes(with_globals=True)) == sorted(before)
    with pytest.raises(azure_shim.ConfigurationError), azure_shim.patched(azure_endpoint="nowhere at all"):
        pass  # pragma: no cover
    assert sorted(attributes(with_globals=True)) == sorted(before)
    assert aim() == "https://api.openai.com/v1/"


def test_scopes_nest(colour: Colour, azure: FakeAzure, east: Resource, west: Resource) -> None:
    with azure_shim.patched(**at(east)):
        first = openais(colour)
        with azure_shim.patched(**at(west)):
            assert is_routed(colour, openais(colour), west)
            assert is_routed(colour, first.copy(), east)
        assert is_routed(colour, openais(colour), east)
    assert aim() == "https://api.openai.com/v1/"


def test_a_scope_comes_before_the_process(colour: Colour, patch: Patch, east: Resource, west: Resource) -> None:
    patch()
    with azure_shim.patched(**at(west)):
        assert is_routed(colour, openais(colour), west)
        azure_shim.unpatch()
        assert is_routed(colour, openais(colour), west)
        patch()
        assert is_routed(colour, openais(colour), west)
    assert is_routed(colour, openais(colour), east)


def test_tasks_side_by_side(east: Resource, west: Resource, elsewhere: ScriptedServer, guard: Guard) -> None:
    """Two scopes and none at the same time; each task builds, calls and copies while the others are inside theirs."""

    async def main() -> list[str]:
        barrier = [asyncio.Event() for _ in range(3)]

        async def meet(number: int) -> None:
            barrier[number].set()
            for each in barrier:
                await asyncio.wait_for(each.wait(), 20)

        async def inside(resource: Resource, number: int) -> str:
            with azure_shim.patched(**at(resource)):
                await meet(number)
                async with openai.AsyncOpenAI(max_retries=0) as client:
                    for each in (client, client.copy()):
                        await each.chat.completions.create(model="gpt-4o", messages=MESSAGES)
                    return str(client.base_url)

        async def outside(number: int) -> str:
            await meet(number)
            async with openai.AsyncOpenAI(max_retries=0) as client:
                with pytest.raises(openai.APIConnectionError):
                    await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
                return str(client.base_url)

        return list(await asyncio.gather(inside(east, 0), inside(west, 1), outside(2)))

    aims = asyncio.run(main())
    assert aims[2] == "https://api.openai.com/v1/"
    assert aims[0].startswith(east.endpoint)
    assert aims[1].startswith(west.endpoint)
    assert (len(east.requests), len(west.requests)) == (2, 2)
    assert set(guard.take()) == {OPENAI}


def test_a_task_that_is_started_inside_is_inside(east: Resource) -> None:
    async def build() -> str:
        await asyncio.sleep(0)
        return aim()

    async def main() -> tuple[str, str, str]:
        with azure_shim.patched(**at(east)):
            inner = asyncio.create_task(build())
            threaded = await asyncio.to_thread(aim)
        # Its context is a copy of the one that it was started in.
        return await inner, threaded, await build()

    inner, threaded, after = asyncio.run(main())
    assert inner.startswith(east.endpoint)
    assert threaded.startswith(east.endpoint)
    assert after == "https://api.openai.com/v1/"


def test_threads_have_contexts_of_their_own(east: Resource) -> None:
    aims: dict[str, str] = {}

    def build(name: str) -> None:
        aims[name] = aim()

    with azure_shim.patched(**at(east)):
        threads = [
            threading.Thread(target=build, args=("plain",)),
            threading.Thread(target=contextvars.copy_context().run, args=(build, "copied")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert aims["plain"] == "https://api.openai.com/v1/"
    assert aims["copied"].startswith(east.endpoint)


def test_a_thread_that_is_not_inside_uses_its_module_as_it_is(east: Resource, elsewhere: ScriptedServer) -> None:
    openai.base_url = f"{elsewhere.url}/v1/"
    openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    before = taken(elsewhere)
    openai.base_url = None
    with azure_shim.patched(**at(east)):
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        openai.base_url = f"{elsewhere.url}/v1/"

        def ask() -> None:
            openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(20)
    assert len(east.requests) == 1
    (request,) = taken(elsewhere)
    assert request.headers == before[0].headers


def test_the_module_in_two_scopes_at_once(east: Resource, west: Resource) -> None:
    async def ask(resource: Resource, met: list[asyncio.Event], number: int) -> None:
        with azure_shim.patched(**at(resource)):
            for _ in range(2):
                await asyncio.to_thread(openai.chat.completions.create, model="gpt-4o", messages=MESSAGES)
                met[number].set()
                await asyncio.wait_for(met[1 - number].wait(), 20)

    async def main() -> None:
        met = [asyncio.Event(), asyncio.Event()]
        await asyncio.gather(ask(east, met, 0), ask(west, met, 1))

    asyncio.run(main())
    assert (len(east.requests), len(west.requests)) == (2, 2)


@pytest.fixture
def scope(clean: None, east: Resource) -> Iterator[None]:
    with azure_shim.patched(**at(east)):
        yield


def test_a_fixture_may_be_a_scope(scope: None, colour: Colour, east: Resource) -> None:
    assert is_routed(colour, openais(colour), east)
    openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert len(east.requests) == 2


def test_a_generator_that_is_ended_in_another_context_ends_the_scope(east: Resource) -> None:
    before = attributes(with_globals=True)

    def fixture() -> Iterator[str]:
        with azure_shim.patched(**at(east)):
            yield aim()

    generator = fixture()
    assert contextvars.copy_context().run(next, generator).startswith(east.endpoint)
    assert aim() == "https://api.openai.com/v1/"
    contextvars.copy_context().run(generator.close)
    assert aim() == "https://api.openai.com/v1/"
    gc.collect()
    assert sorted(attributes(with_globals=True)) == sorted(before)


def test_an_async_generator_that_is_ended_by_another_task_ends_the_scope(east: Resource) -> None:
    @contextlib.asynccontextmanager
    async def fixture() -> AsyncIterator[str]:
        with azure_shim.patched(**at(east)):
            yield aim()

    async def main() -> list[str]:
        manager = fixture()
        found = [await asyncio.create_task(manager.__aenter__()), aim()]
        await asyncio.create_task(manager.__aexit__(None, None, None))
        return [*found, aim()]

    inside, between, after = asyncio.run(main())
    assert inside.startswith(east.endpoint)
    assert between == after == "https://api.openai.com/v1/"


def test_ending_a_scope_elsewhere_does_not_end_the_scope_there(east: Resource, west: Resource) -> None:
    """A generator that is closed by the collector, inside of somebody else's scope."""

    def fixture() -> Iterator[None]:
        with azure_shim.patched(**at(east)):
            yield

    generator = fixture()
    contextvars.copy_context().run(next, generator)
    with azure_shim.patched(**at(west)):
        generator.close()
        assert aim().startswith(west.endpoint)


def test_a_client_of_a_scope_makes_copies_anywhere(
    colour: Colour, east: Resource, west: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_CUSTOM_HEADERS")
    with azure_shim.patched(**at(east)):
        client = openais(colour)
    assert is_routed(colour, client.with_options(timeout=3), east)
    with azure_shim.patched(**at(west)):
        assert is_routed(colour, client.with_options(timeout=3), east)
        assert is_routed(colour, client.copy(base_url="https://api.openai.com/v1"), east)
    assert is_routed(colour, client.copy().copy(), east)


def test_only_one_of_two_scopes_ends(colour: Colour, east: Resource, west: Resource) -> None:
    first, second = azure_shim.patched(**at(east)), azure_shim.patched(**at(west))
    context = contextvars.copy_context()
    context.run(first.__enter__)
    other = contextvars.copy_context()
    other.run(second.__enter__)
    context.run(first.__exit__, None, None, None)
    assert other.run(aim).startswith(west.endpoint)
    assert context.run(aim) == "https://api.openai.com/v1/"
    other.run(second.__exit__, None, None, None)
    assert other.run(aim) == "https://api.openai.com/v1/"
