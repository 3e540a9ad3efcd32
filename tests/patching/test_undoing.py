"""Patching twice is patching once, and undoing it puts the very same attributes back, whoever else patches (B13)."""

from __future__ import annotations

import functools
import gc
import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import wrapt

import azure_shim
from azure_shim.testing import FakeAzure, Resource
from tests.conftest import Colour
from tests.hasty_threads import turns_taken_often
from tests.patching.support import (
    MESSAGES,
    OPENAI,
    Guard,
    at,
    attributes,
    chat,
    depth,
    is_routed,
    kept,
    openais,
)

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")


def goes_to_openai(colour: Colour, guard: Guard) -> bool:
    """Whether a new client wants to go to OpenAI, which nothing here can."""
    client = openais(colour)
    assert str(client.base_url) == "https://api.openai.com/v1/"
    with pytest.raises(openai.APIConnectionError):
        chat(colour, client)
    return set(guard.take()) == {OPENAI}


def test_undoing_puts_the_very_same_attributes_back(colour: Colour, patch: Patch, guard: Guard) -> None:
    before = attributes(with_globals=True)
    for _ in range(3):
        patch()
        assert attributes() != before
        chat(colour, openais(colour))
        azure_shim.unpatch()
        assert sorted(attributes(with_globals=True)) == sorted(before)
    assert goes_to_openai(colour, guard)


def test_undoing_what_was_never_done_is_nothing(colour: Colour, guard: Guard) -> None:
    before = attributes(with_globals=True)
    azure_shim.unpatch()
    azure_shim.unpatch()
    assert attributes(with_globals=True) == before
    assert goes_to_openai(colour, guard)


def test_patching_twice_is_one_layer_and_the_newest_settings_win(
    colour: Colour, patch: Patch, azure: FakeAzure, west: Resource, guard: Guard
) -> None:
    patch()
    once = attributes()
    patch(api_version="2024-10-21")
    azure_shim.patch(**at(west))
    assert attributes() == once
    client = openais(colour)
    assert is_routed(colour, client, west)
    assert depth(client._client) == 1
    assert [request.resource for request in azure.requests] == ["westus"]
    azure_shim.unpatch()
    assert goes_to_openai(colour, guard)


def test_a_patch_that_cannot_work_leaves_the_one_in_force(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    with pytest.raises(azure_shim.ConfigurationError):
        azure_shim.patch(azure_endpoint="https://r.openai.azure.com", api_key="")
    assert is_routed(colour, openais(colour), east)


def test_a_patch_that_cannot_work_changes_nothing(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("OPENAI_API_KEY")
    before = attributes(with_globals=True)
    with pytest.raises(azure_shim.ConfigurationError):
        azure_shim.patch(azure_endpoint="nowhere at all")
    assert attributes(with_globals=True) == before
    assert "OPENAI_API_KEY" not in os.environ


# -- others who patch


def with_wrapt(called: list[str]) -> Callable[[Any], Any]:
    def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        called.append("theirs")
        return wrapped(*args, **kwargs)

    return lambda original: wrapt.FunctionWrapper(original, wrapper)


def with_functools(called: list[str]) -> Callable[[Any], Any]:
    def wrapping(original: Any) -> Any:
        @functools.wraps(original)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            called.append("theirs")
            return original(self, *args, **kwargs)

        return wrapper

    return wrapping


def with_a_closure(called: list[str]) -> Callable[[Any], Any]:
    def wrapping(original: Any) -> Any:
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            called.append("theirs")
            return original(self, *args, **kwargs)

        return wrapper

    return wrapping


def by_attribute(kind: Any, name: str) -> Any:
    return getattr(kind, name)


def by_dictionary(kind: Any, name: str) -> Any:
    return vars(kind)[name]


WAYS = [(with_wrapt, by_dictionary)]  # which is how wrapt does it
WAYS += [(wrapping, find) for wrapping in (with_functools, with_a_closure) for find in (by_attribute, by_dictionary)]


@pytest.fixture(params=WAYS, ids=lambda way: " ".join(each.__name__ for each in way))
def theirs(request: pytest.FixtureRequest, colour: Colour) -> Iterator[Any]:
    """Somebody else's instrumentation of the constructor, the copies and the errors; taken out when the test ends."""
    kind = openai.AsyncOpenAI if colour.is_async else openai.OpenAI
    names = ("__init__", "copy", "_make_status_error")
    before = {name: vars(kind)[name] for name in names}
    called: list[str] = []
    wrapping, find = request.param[0](called), request.param[1]

    class Theirs:
        def put_on(self) -> None:
            self.wrappers = {name: wrapping(find(kind, name)) for name in names}
            for name, wrapper in self.wrappers.items():
                setattr(kind, name, wrapper)

        def take_call(self) -> bool:
            found = bool(called)
            called.clear()
            return found

        def is_there(self) -> bool:
            return all(vars(kind)[name] is wrapper for name, wrapper in self.wrappers.items())

    yield Theirs()
    azure_shim.unpatch()
    for name, value in before.items():
        setattr(kind, name, value)


def test_somebody_elses_wrapper_on_top_stays_and_ours_does_nothing(
    theirs: Any, colour: Colour, patch: Patch, east: Resource, guard: Guard
) -> None:
    patch()
    theirs.put_on()
    assert is_routed(colour, openais(colour), east)
    assert theirs.take_call()
    azure_shim.unpatch()
    assert theirs.is_there()
    assert goes_to_openai(colour, guard)
    assert theirs.take_call()


def test_patched_again_below_somebody_elses_there_is_still_one_layer(
    theirs: Any, colour: Colour, patch: Patch, east: Resource, west: Resource, guard: Guard
) -> None:
    patch()
    theirs.put_on()
    for _ in range(3):
        azure_shim.unpatch()
        azure_shim.patch(**at(west))
    azure_shim.patch(**at(west))
    client = openais(colour)
    assert theirs.take_call()
    assert is_routed(colour, client, west)
    assert is_routed(colour, client.copy(), west)
    assert depth(client._client) == depth(client.copy()._client) == 1
    with pytest.raises(openai.NotFoundError) as caught:
        chat(colour, client, model="gpt-9")
    assert str(caught.value).count("deployments has: ") == 1
    assert east.requests == []
    azure_shim.unpatch()
    assert goes_to_openai(colour, guard)


def test_somebody_elses_wrapper_below_stays(
    theirs: Any, colour: Colour, patch: Patch, east: Resource, guard: Guard
) -> None:
    theirs.put_on()
    patch()
    assert is_routed(colour, openais(colour), east)
    assert theirs.take_call()
    azure_shim.unpatch()
    assert theirs.is_there()
    assert goes_to_openai(colour, guard)


def test_somebody_elses_wrapper_that_is_taken_off_late_brings_nothing_of_ours_back(
    colour: Colour, patch: Patch, guard: Guard
) -> None:
    """The usual ``uninstrument``: whatever was below is put back, which is ours, long undone."""
    kind = openai.AsyncOpenAI if colour.is_async else openai.OpenAI
    first = vars(kind)["__init__"]
    patch()
    ours = kind.__init__
    kind.__init__ = with_a_closure([])(ours)
    azure_shim.unpatch()
    kind.__init__ = ours
    assert goes_to_openai(colour, guard)
    patch()
    assert depth(openais(colour)._client) == 1
    azure_shim.unpatch()
    kind.__init__ = first


def test_a_module_that_is_loaded_again_is_patched_again(
    patch: Patch, east: Resource, guard: Guard, colour: Colour
) -> None:
    """In a process of its own it would be; here the module is put back."""
    before = dict(vars(openai))
    module_client = dict(vars(importlib.import_module("openai._module_client")))
    try:
        patch()
        importlib.reload(openai)
        assert is_routed(colour, openais(colour), east)
        patch()
        openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert len(east.requests) == 2
        azure_shim.unpatch()
        assert goes_to_openai(colour, guard)
    finally:
        azure_shim.unpatch()
        vars(openai).clear()
        vars(openai).update(before)
        vars(importlib.import_module("openai._module_client")).update(module_client)


# -- threads


def together(*functions: Callable[[], None]) -> None:
    """Run all at once, taking turns often, and raise what any of them raises."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], None]) -> None:
        try:
            barrier.wait(20)
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    with turns_taken_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads)


def test_threads_that_patch_and_undo_at_once_leave_nothing(patch: Patch, east: Resource, west: Resource) -> None:
    before = attributes(with_globals=True)

    def patch_and_undo() -> None:
        for number in range(40):
            azure_shim.patch(**at(east if number % 2 else west))
            azure_shim.unpatch()

    def patched() -> None:
        for _ in range(40):
            with azure_shim.patched(**at(east)):
                assert str(openai.OpenAI().base_url).startswith(east.endpoint)

    together(patch_and_undo, patch_and_undo, patched, patched)
    azure_shim.unpatch()
    gc.collect()
    assert sorted(attributes(with_globals=True)) == sorted(before)


def test_clients_that_are_built_meanwhile_are_of_one_kind_or_the_other(
    colour: Colour, patch: Patch, east: Resource, azure: FakeAzure
) -> None:
    """Never one that goes to Azure without its transport, or to OpenAI with it."""
    stop = threading.Event()
    clients: list[Any] = []

    def change() -> None:
        for _ in range(60):
            patch()
            azure_shim.unpatch()
        stop.set()

    def build() -> None:
        while not stop.is_set() and len(clients) < 400:
            clients.append(colour.plain(max_retries=0))

    together(change, build, build)
    routed = [client for client in clients if str(client.base_url).startswith(east.endpoint)]
    for client in clients:
        assert depth(client._client) == (1 if client in routed else 0)
    for client in routed[:20]:
        assert is_routed(colour, client, east)
    for client in clients:
        kept(colour, client)


def test_one_client_is_used_first_by_many_threads(patch: Patch, east: Resource) -> None:
    patch()
    for _ in range(5):
        with openai.OpenAI(max_retries=0) as client:

            def ask(client: Any = client) -> None:
                assert client.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices

            together(*[ask] * 8)
    assert len(east.requests) == 40
    assert {request.refused for request in east.requests} == {None}


def test_the_module_is_used_first_by_many_threads(patch: Patch, east: Resource) -> None:
    patch()

    def ask() -> None:
        assert openai.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices

    together(*[ask] * 8)
    assert len(east.requests) == 8
