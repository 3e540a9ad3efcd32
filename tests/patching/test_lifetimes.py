"""Who closes what, and what is dropped when (B14, B18, B19)."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from azure_shim.testing import Resource
from tests.conftest import Colour
from tests.patching.support import MESSAGES, chat, is_routed, kept, openais

Patch = Callable[..., None]
pytestmark = pytest.mark.usefixtures("clean")


def test_a_client_as_a_context_is_closed_and_others_are_not(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    other, client = openais(colour), colour.plain(max_retries=0)
    if colour.is_async:

        async def use() -> None:
            async with client as entered:
                assert await entered.chat.completions.create(model="gpt-4o", messages=MESSAGES)

        colour.run(use())
    else:
        with client as entered:
            assert entered.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert client.is_closed()
    with pytest.raises(Exception, match=r"."):
        chat(colour, client)
    assert is_routed(colour, other, east)
    colour.close(client)  # twice is nothing


def test_a_copy_that_is_closed_is_closed_with_its_client_as_in_the_sdk(
    colour: Colour, patch: Patch, east: Resource
) -> None:
    """``copy`` shares the HTTP client; one that takes its own does not."""
    patch()
    client = openais(colour)
    colour.close(client.copy())
    assert client.is_closed()
    assert is_routed(colour, openais(colour), east)


def started(colour: Colour, client: Any) -> tuple[Any, list[Any]]:
    """A stream of which the first chunk was read."""
    stream = colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, stream=True)
    iterator = colour.iterate(stream)
    return iterator, [stream, colour.next(iterator)]


def rest(colour: Colour, iterator: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in colour.list(iterator))


@pytest.mark.parametrize("how", ["its own connections", "one http_client for both"])
def test_a_client_that_is_dropped_breaks_no_stream_of_another(
    how: str, colour: Colour, patch: Patch, east: Resource, library: Any
) -> None:
    patch()
    east.chunks = 200
    options = {} if how == "its own connections" else {"http_client": kept(colour, colour.library_client(library))}
    client, other = openais(colour, **options), colour.plain(**options)
    chat(colour, other)
    iterator, held = started(colour, client)
    gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None
    assert rest(colour, iterator)
    assert is_routed(colour, client, east)
    del held


def test_a_client_may_be_dropped_while_its_own_stream_is_read(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    east.chunks = 200
    keeper = openais(colour)
    chat(colour, keeper)
    client = colour.plain()
    iterator, held = started(colour, client)
    del client
    gc.collect()
    assert rest(colour, iterator)
    assert east.requests[1].done.wait(10)
    assert east.requests[1].delivered
    del held, iterator
    gc.collect()
    assert is_routed(colour, keeper, east)  # in which time the event loop ends what was dropped
    gc.collect()


def test_clients_that_are_dropped_leave_nothing_behind(patch: Patch, east: Resource) -> None:
    patch()
    colour = Colour("sync")
    client = colour.plain()
    chat(colour, client)
    assert client.responses
    gone = [weakref.ref(client), weakref.ref(client._client)]
    del client
    gc.collect()
    assert [each() for each in gone] == [None, None]
    colour.finish()


@dataclass
class Holder:
    name: str
    client: Any


def test_what_holds_a_client_can_be_copied_deeply(colour: Colour, patch: Patch, east: Resource) -> None:
    patch()
    client = openais(colour)
    chat(colour, client)
    for copied in (
        copy.deepcopy({"client": client})["client"],
        copy.deepcopy(Holder("a", client)).client,
        asdict(Holder("a", client))["client"],
        copy.copy(client),
    ):
        assert is_routed(colour, copied, east)
        assert is_routed(colour, copied.with_options(timeout=4), east)
        assert type(copied) is type(client)


def test_resources_that_are_kept_keep_their_client(colour: Colour, patch: Patch, east: Resource) -> None:
    """langchain takes ``client.chat.completions`` and drops the client."""
    patch()
    completions = colour.plain(max_retries=0).chat.completions
    gc.collect()
    assert colour.call(completions.create, model="gpt-4o", messages=MESSAGES).choices
    kept(colour, completions._client)
