"""``engine=`` and ``deployment_id=`` in the calls of today's clients."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
import pytest
import wrapt
from openai.resources.chat.completions import AsyncCompletions, Completions
from openai.resources.embeddings import AsyncEmbeddings

import azure_shim
from azure_shim.patching.legacy import accept_engine
from azure_shim.testing.resource import Resource
from tests.conftest import Colour
from tests.patching.legacy.conftest import MESSAGES


class Answer(pydantic.BaseModel):
    text: str


@pytest.fixture
def accepting() -> Iterator[Callable[[], None]]:
    undo = accept_engine(lambda client: isinstance(client, (azure_shim.OpenAI, azure_shim.AsyncOpenAI)))
    yield undo
    undo()


@pytest.fixture
def client(accepting: Any, colour: Colour, east: Resource) -> Any:
    return colour.client(azure_endpoint=east.endpoint, api_key=east.api_key, max_retries=0)


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat.completions.create": ("prod", {"messages": MESSAGES}),
    "chat.completions.parse": ("prod", {"messages": MESSAGES, "response_format": Answer}),
    "chat.completions.with_raw_response.create": ("prod", {"messages": MESSAGES}),
    "completions.create": ("instruct", {"prompt": "x"}),
    "embeddings.create": ("vectors", {"input": "x"}),
    "images.generate": ("pictures", {"prompt": "x"}),
    "images.edit": ("pictures", {"prompt": "x", "image": b"x"}),
    "audio.transcriptions.create": ("ears", {"file": ("x.wav", io.BytesIO(b"x"))}),
    "audio.translations.create": ("ears", {"file": ("x.wav", io.BytesIO(b"x"))}),
    "responses.create": ("prod", {"input": "x"}),
    "responses.parse": ("prod", {"input": "x"}),
}


@pytest.mark.parametrize("name", ["engine", "deployment_id"])
@pytest.mark.parametrize("path", CALLS)
def test_a_deployment_by_its_old_name(path: str, name: str, client: Any, colour: Colour, east: Resource) -> None:
    """The warning is the caller's: it names this file."""
    deployment, arguments = CALLS[path]
    method = client
    for part in path.split("."):
        method = getattr(method, part)

    async def awaited() -> None:
        await method(**{name: deployment}, **arguments)

    def called() -> None:
        method(**{name: deployment}, **arguments)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        colour.call(awaited if colour.is_async else called)
    words = f"{name}='{deployment}' is of openai 0.x: write model='{deployment}'"
    assert [w.filename for w in caught if str(w.message) == words] == [__file__]
    (seen,) = east.requests
    assert (seen.deployment, seen.refused) == (deployment, None)


@pytest.mark.parametrize(
    ("path", "value"), [("chat.completions", {"messages": MESSAGES}), ("responses", {"input": "x"})]
)
def test_a_stream_by_its_manager(path: str, value: dict[str, Any], client: Any, colour: Colour, east: Resource) -> None:
    resource = client
    for part in path.split("."):
        resource = getattr(resource, part)

    async def run_async() -> None:
        async with resource.stream(engine="prod", **value) as events:
            async for _ in events:
                pass

    def run() -> None:
        with resource.stream(engine="prod", **value) as events:
            list(events)

    with pytest.warns(DeprecationWarning, match="write model='prod'"):
        colour.call(run_async if colour.is_async else run)
    assert east.requests[0].deployment == "prod"


@pytest.mark.filterwarnings("ignore:.*is of openai 0.x:DeprecationWarning")
def test_an_engine_wins_over_a_model(client: Any, colour: Colour, east: Resource) -> None:
    colour.call(client.chat.completions.create, engine="prod", model="gpt-4o", messages=MESSAGES)
    colour.call(client.chat.completions.create, engine="prod", deployment_id="prod", messages=MESSAGES)
    colour.call(client.chat.completions.create, engine=None, model="prod", messages=MESSAGES)
    assert [request.deployment for request in east.requests] == ["prod"] * 3


def test_two_deployments_are_an_error(client: Any, colour: Colour, east: Resource) -> None:
    with pytest.raises(TypeError, match="engine='prod' and deployment_id='gpt-4o' are two deployments"):
        colour.call(client.chat.completions.create, engine="prod", deployment_id="gpt-4o", messages=MESSAGES)
    assert east.requests == []


def test_nothing_changes_for_who_does_not_use_it(client: Any, colour: Colour) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        colour.call(client.chat.completions.create, model="prod", messages=MESSAGES)


def test_other_clients_do_not_take_it(accepting: Any, colour: Colour) -> None:
    plain = colour.plain(api_key="x")
    with pytest.raises(TypeError, match=r"(?i)missing required arguments|unexpected keyword"):
        colour.call(plain.chat.completions.create, engine="prod", messages=MESSAGES)


def test_signatures_and_kinds_stay() -> None:
    methods = [Completions.create, AsyncCompletions.create, AsyncCompletions.stream, AsyncEmbeddings.create]
    before = [(inspect.signature(m), inspect.iscoroutinefunction(m), m.__doc__) for m in methods]
    undo = accept_engine(lambda _client: True)
    methods = [Completions.create, AsyncCompletions.create, AsyncCompletions.stream, AsyncEmbeddings.create]
    assert [(inspect.signature(m), inspect.iscoroutinefunction(m), m.__doc__) for m in methods] == before
    undo()


def test_undoing_puts_back_the_very_same_methods(accepting: Callable[[], None]) -> None:
    ours = vars(Completions)["create"]
    accepting()
    assert vars(Completions)["create"] is ours.__wrapped__
    assert not isinstance(vars(Completions)["create"], wrapt.FunctionWrapper)


def test_a_wrapper_on_top_stays_and_ours_does_nothing(
    accepting: Callable[[], None], client: Any, colour: Colour, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def trace(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        calls.append(kwargs)
        return wrapped(*args, **kwargs)

    owner = AsyncCompletions if colour.is_async else Completions
    theirs = wrapt.FunctionWrapper(vars(owner)["create"], trace)
    monkeypatch.setattr(owner, "create", theirs)
    accepting()
    assert vars(owner)["create"] is theirs
    with pytest.raises(TypeError, match=r"(?i)missing required arguments|unexpected keyword"):
        colour.call(client.chat.completions.create, engine="prod", messages=MESSAGES)
    assert len(calls) == 1
    colour.call(client.chat.completions.create, model="prod", messages=MESSAGES)
    monkeypatch.undo()  # which puts ours back
    owner.create = vars(owner)["create"].__wrapped__
