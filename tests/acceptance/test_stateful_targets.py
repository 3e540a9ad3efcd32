"""What is kept lives on one resource: followed there, looked for when nobody knows, never made twice (P17)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import openai
import pytest

import azure_shim
from azure_shim.routing.homes import Homes
from azure_shim.testing import FakeAzure
from tests.conftest import Colour
from tests.fleets import DOSES, MESSAGES, MODEL, PIN, assert_nothing_of_ours, at, chat, connect, failure, fleet_of, plan

# A file that is on every resource, and so binds nothing that is made of it.
SHARED = "file-of-everybody"
pytestmark = pytest.mark.filterwarnings("ignore:The Assistants API is deprecated")


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": [MODEL], "westus": [MODEL]}) as found:
        for resource in found:
            item = {"id": SHARED, "object": "file", "purpose": "batch", "filename": "a.jsonl", "bytes": 0}
            resource.store.put("/files", {**item, "created_at": 1, "status": "processed"})
        yield found
        assert found.leaks == []
        assert_nothing_of_ours(*found.requests)


@pytest.fixture(params=DOSES)
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def config(azure: FakeAzure, mode: str = "loadbalance", version: str = "v1", **rules: Any) -> dict[str, Any]:
    if mode == "loadbalance":
        rules.setdefault("by", "round_robin")
    return plan(mode, *(at(resource, api_version=version) for resource in azure), **rules)


@pytest.fixture
def client(colour: Colour, azure: FakeAzure) -> Any:
    """Of two targets that take turns."""
    return colour.client(config=config(azure), max_retries=0)


def in_west(client: Any) -> Any:
    """The same client, whose calls all go to westus."""
    return client.with_options(default_headers={PIN: "westus"})


def served(azure: FakeAzure) -> list[str]:
    return [request.resource for request in azure.requests]


def restart(client: Any) -> None:
    """Forget where things are, as a new process has."""
    fleet_of(client).homes = Homes()


def file(content: bytes = b"{}\n", name: str = "a.jsonl") -> io.BytesIO:
    found = io.BytesIO(content)
    found.name = name
    return found


class Kind(NamedTuple):
    """How one kind of thing is made, read and changed."""

    make: Callable[[Any], Any]
    reads: tuple[Callable[[Any, str], Any], ...]
    changes: tuple[Callable[[Any, str], Any], ...] = ()
    lists: Callable[[Any], Any] | None = None
    version: str = "v1"


BATCH = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
KINDS = {
    "file": Kind(
        lambda c: c.files.create(file=file(), purpose="batch"),
        (lambda c, i: c.files.retrieve(i), lambda c, i: c.files.content(i)),
        (lambda c, i: c.files.delete(i),),
        lambda c: c.files.list(),
    ),
    "batch": Kind(
        lambda c: c.batches.create(input_file_id=SHARED, **BATCH),
        (lambda c, i: c.batches.retrieve(i),),
        (lambda c, i: c.batches.cancel(i),),
        lambda c: c.batches.list(),
    ),
    "response": Kind(
        lambda c: c.responses.create(model=MODEL, input="Hello"),
        (lambda c, i: c.responses.retrieve(i), lambda c, i: c.responses.input_items.list(i)),
        (lambda c, i: c.responses.delete(i),),
    ),
    "stored chat": Kind(
        lambda c: c.chat.completions.create(model=MODEL, messages=MESSAGES, store=True),
        (lambda c, i: c.chat.completions.retrieve(i), lambda c, i: c.chat.completions.messages.list(i)),
        (lambda c, i: c.chat.completions.delete(i),),
        lambda c: c.chat.completions.list(),
    ),
    "vector store": Kind(
        lambda c: c.vector_stores.create(name="v"),
        (lambda c, i: c.vector_stores.retrieve(i), lambda c, i: c.vector_stores.files.list(i)),
        (lambda c, i: c.vector_stores.update(i, name="w"), lambda c, i: c.vector_stores.delete(i)),
        lambda c: c.vector_stores.list(),
    ),
    "fine-tuning job": Kind(
        lambda c: c.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=SHARED),
        (lambda c, i: c.fine_tuning.jobs.retrieve(i), lambda c, i: c.fine_tuning.jobs.list_events(i)),
        (lambda c, i: c.fine_tuning.jobs.cancel(i),),
        lambda c: c.fine_tuning.jobs.list(),
    ),
    "conversation": Kind(
        lambda c: c.conversations.create(metadata={"a": "b"}),
        (lambda c, i: c.conversations.retrieve(i), lambda c, i: c.conversations.items.list(i)),
        (lambda c, i: c.conversations.delete(i),),
    ),
    "container": Kind(
        lambda c: c.containers.create(name="c"),
        (lambda c, i: c.containers.retrieve(i), lambda c, i: c.containers.files.list(i)),
        (lambda c, i: c.containers.delete(i),),
        lambda c: c.containers.list(),
    ),
    "thread": Kind(
        lambda c: c.beta.threads.create(),
        (lambda c, i: c.beta.threads.retrieve(i), lambda c, i: c.beta.threads.messages.list(i)),
        (lambda c, i: c.beta.threads.delete(i),),
        version="2024-10-21",
    ),
    "assistant": Kind(
        lambda c: c.beta.assistants.create(model=MODEL),
        (lambda c, i: c.beta.assistants.retrieve(i),),
        (lambda c, i: c.beta.assistants.delete(i),),
        lambda c: c.beta.assistants.list(),
        version="2024-10-21",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def of_kind(colour: Colour, azure: FakeAzure, kind: Kind) -> Any:
    return colour.client(config=config(azure, version=kind.version), max_retries=0)


def run(colour: Colour, made: Any) -> Any:
    """A call's value; the first page of a list."""

    async def awaited() -> Any:
        return await made

    return colour.run(awaited()) if colour.is_async else made


# -- followed at home


def test_what_was_made_anywhere_is_followed_at_home(kind: Kind, colour: Colour, azure: FakeAzure) -> None:
    client = of_kind(colour, azure, kind)
    made = run(colour, kind.make(in_west(client)))
    for call in (*kind.reads, *kind.reads, *kind.changes):
        run(colour, call(client, made.id))
    assert set(served(azure)) == {"westus"}
    assert len(azure.requests) == 1 + 2 * len(kind.reads) + len(kind.changes)
    assert azure.refused == []
    assert all(made.id in request.path for request in azure.requests[1:])


@pytest.mark.parametrize("name", ["file", "response"])
def test_followed_at_home_by_every_dose(name: str, dose: str, colour: Colour, azure: FakeAzure) -> None:
    kind = KINDS[name]
    client = connect(dose, colour, config(azure), max_retries=0)
    made = run(colour, kind.make(in_west(client)))
    for _ in range(2):
        for call in kind.reads:
            run(colour, call(client, made.id))
    assert set(served(azure)) == {"westus"}


def test_things_that_name_others_go_where_those_are(client: Any, colour: Colour, azure: FakeAzure) -> None:
    uploaded = run(colour, KINDS["file"].make(in_west(client)))
    store = run(colour, client.vector_stores.create(file_ids=[uploaded.id]))
    run(colour, client.vector_stores.files.create(store.id, file_id=uploaded.id))
    batch = run(colour, client.batches.create(input_file_id=uploaded.id, **BATCH))
    run(colour, client.batches.retrieve(batch.id))
    job = run(colour, client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=uploaded.id))
    run(colour, client.fine_tuning.jobs.retrieve(job.id))
    search = [{"type": "file_search", "vector_store_ids": [store.id]}]
    run(colour, client.responses.create(model=MODEL, input="Hello", tools=search))
    document: Any = [{"role": "user", "content": [{"type": "file", "file": {"file_id": uploaded.id}}]}]
    run(colour, client.chat.completions.create(model=MODEL, messages=document))
    assert served(azure) == ["westus"] * 9
    assert azure.refused == []


def test_what_a_batch_made_is_at_the_batchs_home(client: Any, colour: Colour, azure: FakeAzure) -> None:
    body = {"model": MODEL, "messages": MESSAGES}
    line = json.dumps({"custom_id": "1", "method": "POST", "url": BATCH["endpoint"], "body": body}).encode()
    uploaded = run(colour, in_west(client).files.create(file=file(line), purpose="batch"))
    batch = run(colour, client.batches.create(input_file_id=uploaded.id, **BATCH))
    done = run(colour, client.batches.retrieve(batch.id))
    assert b"Hello from westus" in run(colour, client.files.content(done.output_file_id)).content
    assert served(azure) == ["westus"] * 4


def test_a_conversation_of_responses_stays_where_it_began(dose: str, colour: Colour, azure: FakeAzure) -> None:
    """Responses are balanced like any other load; what follows up on one is not."""
    client = connect(dose, colour, config(azure), max_retries=0)
    firsts = [run(colour, client.responses.create(model=MODEL, input="Hello")) for _ in range(4)]
    homes = served(azure)
    assert sorted(homes) == ["eastus", "eastus", "westus", "westus"]
    for first, home in zip(firsts, homes, strict=True):
        azure.forget()
        last = first.id
        for _ in range(3):
            last = run(colour, client.responses.create(model=MODEL, input="And?", previous_response_id=last)).id
        run(colour, client.responses.retrieve(last))
        assert served(azure) == [home] * 4
        assert azure.refused == []


def test_a_stored_conversation_binds_its_responses(client: Any, colour: Colour, azure: FakeAzure) -> None:
    conversation = run(colour, client.conversations.create())
    home = served(azure)[0]
    for _ in range(3):
        run(colour, client.responses.create(model=MODEL, input="Hello", conversation=conversation.id))
    assert served(azure) == [home] * 4


@pytest.mark.parametrize("how", ["read", "abandoned"])
def test_ids_in_a_stream_are_noticed(how: str, dose: str, colour: Colour, azure: FakeAzure) -> None:
    client = connect(dose, colour, config(azure), max_retries=0)
    for _ in range(3):
        azure.forget()
        stream = run(colour, client.responses.create(model=MODEL, input="Hello", stream=True))
        if how == "read":
            created = colour.list(stream)[0]
        else:
            created = colour.next(colour.iterate(stream))
            colour.close(stream)
        (home,) = served(azure)
        if how == "read":
            run(colour, client.responses.retrieve(created.response.id))
        assert run(
            colour,
            client.responses.create(model=MODEL, input="And?", previous_response_id=created.response.id),
        )
        assert set(served(azure)) == {home}
    assert all(target.in_flight == 0 for target in fleet_of(client).health.snapshot())


def test_ids_are_never_rewritten(kind: Kind, colour: Colour, azure: FakeAzure) -> None:
    """What a caller sees is what the resource keeps, so that a process without this package can go on with it."""
    client = of_kind(colour, azure, kind)
    made = run(colour, kind.make(in_west(client)))
    west = azure["westus"]
    alone = colour.client(azure_endpoint=west.endpoint, api_key=west.api_key, api_version=kind.version, max_retries=0)
    for read in kind.reads:
        run(colour, read(alone, made.id))
    assert azure.refused == []


def test_what_a_caller_writes_says_nothing_of_where_things_are(client: Any, colour: Colour, azure: FakeAzure) -> None:
    store = run(colour, in_west(client).vector_stores.create(name="v"))
    words = {"vector_store_id": store.id, "id": store.id}
    in_east = client.with_options(default_headers={PIN: "eastus"})
    made = run(colour, in_east.conversations.create(metadata=words))
    assert made.metadata == words, "it is repeated in the answer"
    azure.forget()
    run(colour, client.vector_stores.retrieve(store.id))
    assert served(azure) == ["westus"]


# -- where things are made and listed


def test_creations_and_lists_are_the_primarys(kind: Kind, colour: Colour, azure: FakeAzure) -> None:
    if kind.lists is None or kind is KINDS["stored chat"]:
        kind = kind._replace(lists=lambda c: c.files.list())
    client = of_kind(colour, azure, kind)
    for _ in range(3):
        if kind.make not in (KINDS["response"].make, KINDS["stored chat"].make):  # which are load like any other
            run(colour, kind.make(client))
        assert kind.lists is not None
        run(colour, kind.lists(client))
    assert set(served(azure)) == {"eastus"}


@pytest.mark.parametrize("fault", ["stopped", "429_call_rate", "503"])
def test_a_creation_that_the_primary_did_not_take_is_made_elsewhere_and_followed(
    fault: str, client: Any, colour: Colour, azure: FakeAzure
) -> None:
    if fault == "stopped":
        azure["eastus"].stop()
    else:
        azure["eastus"].fail_next(fault)
    made = run(colour, KINDS["file"].make(client))
    azure["eastus"].start()
    azure.forget()
    run(colour, client.files.retrieve(made.id))
    run(colour, client.batches.create(input_file_id=made.id, **BATCH))
    assert served(azure) == ["westus", "westus"]


def test_pages_are_those_of_one_resource(client: Any, colour: Colour, azure: FakeAzure) -> None:
    for _ in range(3):
        run(colour, KINDS["file"].make(in_west(client)))
    page = run(colour, in_west(client).files.list(limit=1))
    azure.forget()
    ids = [page.data[0].id]
    while page.has_next_page():
        page = run(colour, client.files.list(limit=1, after=ids[-1]))
        ids += [item.id for item in page.data]
    assert len(set(ids)) == len(ids) == 4  # with the one that is everywhere
    assert set(served(azure)) == {"westus"}


def test_a_list_of_the_primary_that_fails_is_no_other_resources_list(
    client: Any, colour: Colour, azure: FakeAzure
) -> None:
    azure["eastus"].fail_next("503")
    failure(lambda: run(colour, client.files.list()), openai.InternalServerError)
    assert served(azure) == ["eastus"]


# -- when nobody knows


def test_an_unknown_id_is_looked_for_by_reads_and_then_known(kind: Kind, colour: Colour, azure: FakeAzure) -> None:
    client = of_kind(colour, azure, kind)
    made = run(colour, kind.make(in_west(client)))
    for read in kind.reads:
        restart(client)
        azure.forget()
        run(colour, read(client, made.id))
        assert served(azure) == ["eastus", "westus"]
        assert [request.path for request in azure.requests] == [azure.requests[0].path] * 2
        # The pages and contents of a thing need not name it: that it was found says where it is.
        for again in (*kind.reads, *kind.changes[:1]):
            run(colour, again(client, made.id))
            assert served(azure)[2:] == ["westus"] * (len(azure.requests) - 2)
        made = run(colour, kind.make(in_west(client)))


@pytest.mark.parametrize("how", ["conditional", "single", "listed statuses", "nested"])
def test_an_unknown_id_is_looked_for_where_the_plan_would_not_ask(how: str, colour: Colour, azure: FakeAzure) -> None:
    """Where a thing is, no condition and no list of statuses says."""
    east, west = (at(resource, api_version="v1") for resource in azure)
    group = {"strategy": {"mode": "single"}, "targets": [west]}
    strategy: dict[str, Any] = {
        "conditional": {
            "mode": "conditional",
            "conditions": [{"query": {"params.model": MODEL}, "then": "westus"}],
            "default": "eastus",
        },
        "single": {"mode": "single"},
        "listed statuses": {"mode": "fallback", "on_status_codes": [429]},
        "nested": {"mode": "fallback", "on_status_codes": [429]},
    }[how]
    config = {"strategy": strategy, "targets": [east, group if how == "nested" else west]}
    client = colour.client(config=config, max_retries=0)
    made = run(colour, KINDS["response"].make(client.with_options(default_headers={PIN: "westus"})))
    restart(client)
    azure.forget()
    assert run(colour, client.responses.retrieve(made.id)).id == made.id
    assert served(azure) == ["eastus", "westus"]
    run(colour, client.responses.retrieve(made.id))
    assert served(azure) == ["eastus", "westus", "westus"]
    azure.forget()
    failure(lambda: run(colour, client.responses.retrieve(made.id[:-4] + "0000")), openai.NotFoundError)
    assert served(azure) == ["eastus", "westus"]


def test_content_that_was_found_says_where_the_file_is(client: Any, colour: Colour, azure: FakeAzure) -> None:
    made = run(colour, KINDS["file"].make(in_west(client)))
    restart(client)
    assert run(colour, client.files.content(made.id)).content == b"{}\n"
    azure.forget()
    assert run(colour, client.files.content(made.id)).content == b"{}\n"
    assert served(azure) == ["westus"]


def test_what_nobody_has_is_missing_where_it_would_have_been(kind: Kind, colour: Colour, azure: FakeAzure) -> None:
    """The first 404 is the answer, and not the last."""
    client = of_kind(colour, azure, kind)
    made = run(colour, kind.make(in_west(client)))
    azure.forget()
    unknown = made.id[:-4] + "0000"
    error = failure(lambda: run(colour, kind.reads[0](client, unknown)), openai.NotFoundError)
    assert served(azure) == ["eastus", "westus"]
    assert error.response.headers["x-ms-region"] == "eastus"
    assert unknown in str(error)
    assert [(a.target, a.status) for a in azure_shim.attempts(error)] == [("eastus", 404), ("westus", 404)]


def test_a_404_of_the_one_and_an_error_of_the_other_is_no_404(client: Any, colour: Colour, azure: FakeAzure) -> None:
    """Whoever would hear 404 would take the thing for gone, but it may be at the one that failed."""
    made = run(colour, KINDS["file"].make(in_west(client)))
    restart(client)
    azure["westus"].fail_next("503")
    error = failure(lambda: run(colour, client.files.retrieve(made.id)), openai.APIStatusError)
    assert {a.status for a in azure_shim.attempts(error)} == {404, 503}


def test_what_would_change_an_unknown_thing_is_not_tried_elsewhere(
    kind: Kind, colour: Colour, azure: FakeAzure
) -> None:
    client = of_kind(colour, azure, kind)
    made = run(colour, kind.make(in_west(client)))
    for change in kind.changes:
        restart(client)
        azure.forget()
        failure(lambda change=change: run(colour, change(client, made.id)), openai.NotFoundError)
        assert served(azure) == ["eastus"]


def test_an_unknown_previous_response_is_looked_for(client: Any, colour: Colour, azure: FakeAzure) -> None:
    """Refused before anything ran, so that it costs nothing to ask on."""
    made = run(colour, KINDS["response"].make(in_west(client)))
    restart(client)
    azure.forget()
    more = run(colour, client.responses.create(model=MODEL, input="And?", previous_response_id=made.id))
    assert more.previous_response_id == made.id
    assert served(azure)[-1] == "westus"


# -- when its home fails


@pytest.mark.parametrize("fault", ["500", "503", "429_call_rate", "401_key", "403_network", "reset", "stopped"])
def test_an_owner_that_fails_is_not_replaced(fault: str, client: Any, colour: Colour, azure: FakeAzure) -> None:
    made = run(colour, KINDS["response"].make(in_west(client)))
    azure.forget()
    if fault == "stopped":
        azure["westus"].stop()
    else:
        azure["westus"].fail_next(fault, times=None)
    calls = (
        lambda: run(colour, client.responses.retrieve(made.id)),
        lambda: run(colour, client.responses.create(model=MODEL, input="And?", previous_response_id=made.id)),
        lambda: run(colour, client.responses.input_items.list(made.id)),
    )
    for call in calls:
        error = failure(call, openai.APIError)
        assert [a.target for a in azure_shim.attempts(error)] == ["westus"]
    assert set(served(azure)) == (set() if fault == "stopped" else {"westus"})
    # It is asked although it is cooling down: nobody else could answer.
    azure["westus"].heal()
    azure["westus"].start()
    run(colour, client.responses.retrieve(made.id))
    assert served(azure)[-1] == "westus"
    assert chat(colour, client)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own retries do not wait."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "name", ["file", "batch", "fine-tuning job", "image", "background response", "stored response"]
)
def test_what_may_have_been_made_is_not_made_twice(name: str, colour: Colour, azure: FakeAzure) -> None:
    """Not by another target, and not by the SDK's own retries."""
    makes: dict[str, Callable[[Any], Any]] = {
        "image": lambda c: c.images.generate(model="gpt-image-1", prompt="a cat"),
        "background response": lambda c: c.responses.create(model=MODEL, input="Hello", background=True),
        "stored response": lambda c: c.responses.create(model=MODEL, input="Hello", store=True),
        **{key: value.make for key, value in KINDS.items()},
    }
    client = colour.client(config=config(azure, "fallback"))
    azure["eastus"].fail_next("reset", times=None)
    error = failure(lambda: run(colour, makes[name](client)), openai.APIError)
    assert served(azure) == ["eastus"]
    assert [(a.target, a.status) for a in azure_shim.attempts(error)] == [("eastus", None)]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("fault", ["500", "502_html"])
def test_what_may_have_been_made_is_not_made_twice_after_an_error(
    fault: str, dose: str, colour: Colour, azure: FakeAzure
) -> None:
    client = connect(dose, colour, config(azure, "fallback"))
    azure["eastus"].fail_next(fault, times=None)
    failure(lambda: run(colour, KINDS["batch"].make(client)), openai.InternalServerError)
    assert served(azure) == ["eastus"]


# -- memory


def test_the_memory_of_ids_is_bounded(client: Any, colour: Colour, azure: FakeAzure) -> None:
    fleet = fleet_of(client)
    fleet.homes = Homes(entries=3)
    made = [run(colour, KINDS["file"].make(in_west(client))) for _ in range(6)]
    assert len(fleet.homes) <= 3
    azure.forget()
    run(colour, client.files.retrieve(made[-1].id))
    assert served(azure) == ["westus"]
    run(colour, client.files.retrieve(made[0].id))
    assert served(azure) == ["westus", "eastus", "westus"]
    assert len(fleet.homes) <= 3


def test_plain_chats_are_not_remembered(client: Any, colour: Colour, azure: FakeAzure) -> None:
    for _ in range(5):
        chat(colour, client)
    run(colour, client.models.list())
    assert len(fleet_of(client).homes) == 0


def test_the_memory_is_shared_by_clients_of_equal_configs(client: Any, colour: Colour, azure: FakeAzure) -> None:
    other = colour.client(config=json.loads(json.dumps(config(azure))), max_retries=0)
    made = run(colour, KINDS["file"].make(in_west(client)))
    azure.forget()
    run(colour, other.files.retrieve(made.id))
    assert served(azure) == ["westus"]
