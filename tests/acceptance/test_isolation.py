"""Targets do not get into each other's way, nor calls: connections, cancellations, threads, residency, sessions."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure
from tests.conftest import AMBIENT_KEY, OWN_LIBRARY, Colour
from tests.fleets import (
    DOSES,
    MESSAGES,
    MODEL,
    PIN,
    Clock,
    assert_nothing_of_ours,
    at,
    at_server,
    chat,
    connect,
    failure,
    fleet_of,
    pin,
    plan,
    raw_chat,
)
from tests.servers import ScriptedServer, Seen, answer, chunk, chunked

PATIENCE_S = 20.0
"""How long a test waits for what must come, before it fails."""


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": [MODEL], "westus": [MODEL]}) as found:
        yield found
        assert found.leaks == []
        assert_nothing_of_ours(*found.requests)


@pytest.fixture(params=DOSES)
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def servers() -> Iterator[list[ScriptedServer]]:
    made = [ScriptedServer() for _ in range(6)]
    for server in made:
        server.__enter__()
    yield made
    for server in made:
        server.__exit__()


def served(azure: FakeAzure) -> list[str]:
    return [request.resource for request in azure.requests]


def in_flight(client: Any) -> list[int]:
    return [target.in_flight for target in fleet_of(client).health.snapshot()]


# -- connections (field note B6)

ERROR = {"error": {"code": "500", "message": "out of order"}}
RUNNING = threading.Event()


def short(seen: Seen) -> Iterable[bytes]:
    return [answer(ERROR, 500)]


def limited(seen: Seen) -> Iterable[bytes]:
    return [answer({"error": {"code": "429", "message": "too many"}}, 429)]


def long(seen: Seen) -> Iterable[bytes]:
    """More than is read of an error."""
    return [answer(b'{"error": {"message": "' + b"x" * (3 << 19) + b'"}}', 500)]


def page(seen: Seen) -> Iterable[bytes]:
    return [answer(b"<html>" + b"x" * 100_000, 200, {"content-type": "text/html"})]


def endless_error(seen: Seen) -> Iterator[bytes]:
    """A stream that begins with an error and goes on until its client has gone."""
    yield chunked()
    yield chunk(b'data: {"error": {"code": "server_error", "message": "out of order"}}\n\n')
    while True:
        yield chunk(b": still here\n\n" * 5000)


FAILURES: dict[str, Callable[[Seen], Iterable[bytes]]] = {
    "500": short,
    "429": limited,
    "long 500": long,
    "page": page,
    "endless stream": endless_error,
}


def pooled(how: str, colour: Colour, library: Any, config: Any, connections: int) -> tuple[Any, list[Any]]:
    """A plain client over so many connections, for all targets together or for each of them."""
    limits = library.Limits(max_connections=connections, max_keepalive_connections=connections)
    timeout = library.Timeout(PATIENCE_S, pool=1.0)
    given = []
    if how == "one pool":
        given = [colour.library_client(library, limits=limits, timeout=timeout)]
        http_client = colour.http_client(config=config, http_client=given[0], timeout=timeout)
    else:
        http_client = colour.http_client(config=config, limits=limits, timeout=timeout, library=library.__name__)
    client = colour.plain(api_key="sk-of-nobody", http_client=http_client, max_retries=0)
    return client, given


@pytest.mark.parametrize("how", ["one pool", "pool per target"])
@pytest.mark.parametrize("fault", FAILURES)
def test_five_failovers_fit_into_a_pool_of_three(
    fault: str, how: str, colour: Colour, library: Any, servers: list[ScriptedServer]
) -> None:
    """An answer that is given up gives its connection back before the next target is asked."""
    for server in servers[:5]:
        server.script = FAILURES[fault]
    config = plan("fallback", *(at_server(f"t{index}", server) for index, server in enumerate(servers)))
    client, given = pooled(how, colour, library, config, 3)
    call = {"model": MODEL, "messages": MESSAGES, "stream": fault == "endless stream"}
    raw = colour.call(client.chat.completions.with_raw_response.create, **call)
    assert raw.headers[PIN] == "t5"
    assert raw.headers["x-azure-shim-attempts"] == "6"
    colour.close(raw.http_response)
    assert [len(server.requests) for server in servers] == [1] * 6
    if fault == "endless stream":
        assert all(server.closed.wait(PATIENCE_S) for server in servers[:5])
    # None of the three is lost.
    for index in range(6):
        servers[index].script = lambda seen: [answer()]
        assert chat(colour, client, **pin(f"t{index}")) == "hello"
    assert in_flight(client) == [0] * 6
    for each in given:
        colour.close(each)


@pytest.mark.parametrize("fault", FAILURES)
def test_the_answer_that_the_caller_gets_is_open_though_others_were_closed(
    fault: str, colour: Colour, library: Any, servers: list[ScriptedServer]
) -> None:
    """All fail: the last one's body is the caller's."""
    for index, server in enumerate(servers):
        server.script = FAILURES[fault] if index < 5 else (lambda seen: [answer(ERROR, 500)])
    config = plan("fallback", *(at_server(f"t{index}", server) for index, server in enumerate(servers)))
    client, _ = pooled("pool per target", colour, library, config, 3)
    stream = fault == "endless stream"
    error = failure(lambda: chat(colour, client, stream=stream), openai.InternalServerError)
    assert error.body["message"] == "out of order"
    assert in_flight(client) == [0] * 6


def test_an_answer_that_is_not_read_gives_its_connection_back_when_closed(
    colour: Colour, library: Any, servers: list[ScriptedServer]
) -> None:
    def endless(seen: Seen) -> Iterator[bytes]:
        yield chunked()
        yield chunk(b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[]}\n\n')
        while True:
            yield chunk(b": still here\n\n" * 5000)

    servers[0].script = endless
    config = plan("fallback", at_server("t0", servers[0]), at_server("t1", servers[1]))
    client, _ = pooled("pool per target", colour, library, config, 1)
    for _ in range(3):
        stream = colour.call(client.chat.completions.create, model=MODEL, messages=MESSAGES, stream=True)
        colour.next(colour.iterate(stream))
        assert in_flight(client) == [1, 0]
        colour.close(stream)
        assert in_flight(client) == [0, 0]
    assert servers[0].closed.wait(PATIENCE_S)
    assert servers[1].connections == 0


# -- a region that stalls


def together(colour: Colour, client: Any, names: list[str], until: Callable[[], None]) -> list[Any]:
    """Call each of these targets at once; once ``until`` has returned, the last one; and give back all answers."""
    first, last = names[:-1], names[-1]
    if colour.is_async:

        async def call(name: str) -> Any:
            return await client.chat.completions.create(model=MODEL, messages=MESSAGES, **pin(name))

        async def all_of_them() -> list[Any]:
            tasks = [asyncio.create_task(call(name)) for name in first]
            await asyncio.get_running_loop().run_in_executor(None, until)
            answered = await asyncio.wait_for(call(last), PATIENCE_S)
            RUNNING.set()
            return [answered, *await asyncio.gather(*tasks)]

        return colour.run(all_of_them())  # type: ignore[no-any-return]
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(chat(colour, client, **pin(name))), daemon=True)
        for name in first
    ]
    for thread in threads:
        thread.start()
    until()
    answered = chat(colour, client, **pin(last))
    RUNNING.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    return [answered, *found]


def test_a_stalled_region_does_not_starve_another(colour: Colour, library: Any, azure: FakeAzure) -> None:
    """All connections that eastus may have are waiting; westus has its own."""
    RUNNING.clear()
    stall = azure["eastus"].fail_next("stall", times=2)
    config = plan("loadbalance", at(azure["eastus"]), at(azure["westus"]))
    client, _ = pooled("pool per target", colour, library, config, 2)

    def both_stall() -> None:
        assert eventually(lambda: len(azure["eastus"].requests) == 2)

    def release() -> None:
        RUNNING.wait(PATIENCE_S)
        stall.release()
        azure["eastus"].heal()

    releasing = threading.Thread(target=release, daemon=True)
    releasing.start()
    answers = together(colour, client, ["eastus", "eastus", "westus"], both_stall)
    releasing.join(PATIENCE_S)
    assert len(answers) == 3
    assert served(azure) == ["eastus", "eastus", "westus"]
    assert in_flight(client) == [0, 0]


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether something that another thread does comes true."""
    waiting = threading.Event()
    for _ in range(int(PATIENCE_S / 0.005)):
        if is_so():
            return True
        waiting.wait(0.005)
    return False


def test_a_full_pool_of_one_target_sends_calls_to_another(colour: Colour, library: Any, azure: FakeAzure) -> None:
    """Which is not the target's doing, so that it does not cool down."""
    RUNNING.clear()
    stall = azure["eastus"].fail_next("stall")
    limits = library.Limits(max_connections=1)
    http_client = colour.http_client(
        config=plan("fallback", at(azure["eastus"]), at(azure["westus"])),
        limits=limits,
        timeout=library.Timeout(PATIENCE_S, pool=0.05),
        library=library.__name__,
    )
    client = colour.plain(api_key="sk-of-nobody", http_client=http_client, max_retries=0)

    async def in_tasks() -> str:
        task = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=MESSAGES))
        await asyncio.get_running_loop().run_in_executor(None, stall.reached.wait, PATIENCE_S)
        found = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        stall.release()
        await task
        return str(found.choices[0].message.content)

    def in_threads() -> str:
        thread = threading.Thread(target=lambda: chat(colour, client), daemon=True)
        thread.start()
        assert stall.reached.wait(PATIENCE_S)
        found = chat(colour, client)
        stall.release()
        thread.join(PATIENCE_S)
        return found

    found = colour.run(in_tasks()) if colour.is_async else in_threads()
    assert found.startswith("Hello from westus")
    assert [t.state for t in fleet_of(client).health.snapshot()] == ["healthy", "healthy"]
    assert in_flight(client) == [0, 0]


# -- cancellation


@pytest.mark.parametrize("stall", ["stall", "stall_mid_body"])
@pytest.mark.parametrize("streams", [False, True])
def test_a_cancelled_task_is_sent_nowhere_else(stall: str, streams: bool, azure: FakeAzure, library: Any) -> None:
    async def main() -> None:
        http_client = azure_shim.async_http_client(
            config=plan("fallback", at(azure["eastus"]), at(azure["westus"])), library=library.__name__
        )
        fault = azure["eastus"].fail_next(stall)

        async def call() -> None:
            answered = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=streams)
            async for _ in answered:
                pass

        async with openai.AsyncOpenAI(api_key="sk-of-nobody", http_client=http_client) as client:
            task = asyncio.create_task(call())
            await asyncio.get_running_loop().run_in_executor(None, fault.reached.wait, PATIENCE_S)
            assert in_flight(client) == [1, 0]
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as kept:
                await task
            assert served(azure) == ["eastus"]
            # What was begun is closed, whoever keeps the error: nothing is in flight, and no target is blamed.
            assert in_flight(client) == [0, 0]
            assert [t.state for t in fleet_of(client).health.snapshot()] == ["healthy", "healthy"]
            azure["eastus"].heal()
            again = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
            assert str(again.choices[0].message.content).startswith("Hello from eastus")
            assert kept.value is not None

    asyncio.run(main())


def test_a_stream_that_is_cancelled_while_it_is_read_is_over(azure: FakeAzure, library: Any) -> None:
    async def main() -> None:
        http_client = azure_shim.async_http_client(
            config=plan("fallback", at(azure["eastus"]), at(azure["westus"])), library=library.__name__
        )
        azure["eastus"].fail_next("stall_mid_body")
        begun = asyncio.Event()

        async def call() -> None:
            stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
            async for _ in stream:
                begun.set()

        async with openai.AsyncOpenAI(api_key="sk-of-nobody", http_client=http_client) as client:
            task = asyncio.create_task(call())
            await begun.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            assert in_flight(client) == [1, 0]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert in_flight(client) == [0, 0]
            assert served(azure) == ["eastus"]

    asyncio.run(main())


def test_a_stream_that_is_dropped_is_over(library: Any, azure: FakeAzure) -> None:
    config = plan("fallback", at(azure["eastus"]), at(azure["westus"]))
    http_client = azure_shim.http_client(config=config, library=library.__name__)
    azure["eastus"].chunks = 1000
    with openai.OpenAI(api_key="sk-of-nobody", http_client=http_client) as client:
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        next(iter(stream))
        assert in_flight(client) == [1, 0]
        del stream
        gc.collect()
        assert in_flight(client) == [0, 0]


class Interrupted(BaseException):
    """As KeyboardInterrupt, but nothing else that runs the tests takes it for its own."""


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """What interrupts the main thread in whatever it is waiting for."""

    def raise_interrupted(*args: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, raise_interrupted)
    main = threading.main_thread().ident
    assert main is not None
    yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("streams", [False, True])
def test_an_interrupted_call_is_sent_nowhere_else(
    streams: bool, library: Any, servers: list[ScriptedServer], interrupt: Callable[[], None]
) -> None:
    east, west = servers[:2]

    def interrupted(seen: Seen) -> Iterator[bytes]:
        if len(east.requests) > 1:
            yield answer()
            return
        if streams:
            yield chunked()
        interrupt()
        while True:
            yield chunk(b": still here\n\n" * 5000) if streams else b"HTTP/1.1 100 Continue\r\n\r\n" * 1000

    east.script = interrupted
    config = plan("fallback", at_server("east", east), at_server("west", west))
    http_client = azure_shim.http_client(config=config, library=library.__name__)
    with openai.OpenAI(api_key="sk-of-nobody", http_client=http_client) as client:
        with pytest.raises(Interrupted) as kept:
            client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=streams)
        assert west.connections == 0
        assert in_flight(client) == [0, 0]
        assert [t.state for t in fleet_of(client).health.snapshot()] == ["healthy", "healthy"]
        assert east.closed.wait(PATIENCE_S), "the connection was left open"
        assert client.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content == "hello"
        assert len(east.requests) == 2
        assert kept.value is not None


def test_a_call_that_is_given_up_while_it_waits_is_sent_nowhere(azure: FakeAzure) -> None:
    """Both are told to wait, and the caller gives up meanwhile."""

    async def main() -> None:
        config = plan("fallback", at(azure["eastus"]), at(azure["westus"]), on_exhausted="wait")
        async with azure_shim.AsyncOpenAI(config=config, timeout=60, max_retries=0) as client:
            for resource in azure:
                resource.fail_next("429_call_rate", retry_after=20)
            task = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=MESSAGES))
            while len(azure.requests) < 2:
                await asyncio.sleep(0.001)
            for _ in range(20):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert served(azure) == ["eastus", "westus"]
            assert in_flight(client) == [0, 0]

    asyncio.run(main())


def test_a_probe_that_is_cancelled_is_another_calls_to_make(azure: FakeAzure) -> None:
    async def main() -> None:
        config = plan("fallback", at(azure["eastus"]), at(azure["westus"]))
        async with azure_shim.AsyncOpenAI(config=config, max_retries=0) as client:
            clock = Clock(client)
            call = {"model": MODEL, "messages": MESSAGES}
            azure["eastus"].fail_next("429_call_rate")
            await client.chat.completions.create(**call)
            clock.now += 10
            fault = azure["eastus"].fail_next("stall")
            task = asyncio.create_task(client.chat.completions.create(**call))
            await asyncio.get_running_loop().run_in_executor(None, fault.reached.wait, PATIENCE_S)
            # While one call probes, the others go on.
            other = await client.chat.completions.create(**call)
            assert str(other.choices[0].message.content).startswith("Hello from westus")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            azure["eastus"].heal()
            again = await client.chat.completions.create(**call)
            assert str(again.choices[0].message.content).startswith("Hello from eastus")
            assert in_flight(client) == [0, 0]

    asyncio.run(main())


# -- threads and loops (field note B21)


def hammer(colour: Colour, client: Any, workers: int, calls: int, between: Callable[[int], None]) -> list[Any]:
    """The raw answers and errors of so many workers; ``between`` is called after each of the first one's calls."""
    call = {"model": MODEL, "messages": MESSAGES}
    outcomes: list[Any] = []

    def note(outcome: Any, worker: int, turn: int) -> None:
        outcomes.append(outcome)
        if worker == 0:
            between(turn)

    if colour.is_async:

        async def work(worker: int) -> None:
            for turn in range(calls):
                try:
                    outcome: Any = await client.chat.completions.with_raw_response.create(**call)
                except Exception as error:
                    outcome = error
                note(outcome, worker, turn)

        async def all_work() -> None:
            await asyncio.gather(*map(work, range(workers)))

        colour.run(all_work())
        return outcomes
    barrier = threading.Barrier(workers)

    def run(worker: int) -> None:
        barrier.wait()
        for turn in range(calls):
            try:
                outcome: Any = client.chat.completions.with_raw_response.create(**call)
            except Exception as error:
                outcome = error
            note(outcome, worker, turn)

    threads = [threading.Thread(target=run, args=(worker,), daemon=True) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return outcomes


@pytest.mark.parametrize("by", ["weight", "round_robin", "load"])
def test_32_at_once_while_every_target_flips_to_429(by: str, colour: Colour) -> None:
    names = ["eastus", "westus", "northus"]
    with FakeAzure({name: [MODEL] for name in names}) as azure:
        client = colour.client(config=plan("loadbalance", *map(at, azure), by=by), max_retries=0)

        def flip(turn: int) -> None:
            if turn == 1:
                for resource in azure:
                    resource.fail_next("429_call_rate", times=None, retry_after=30)

        outcomes = hammer(colour, client, 32, 5, flip)
        assert len(outcomes) == 32 * 5
        good = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
        bad = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert {type(error) for error in bad} == {openai.RateLimitError}, bad[:3]
        assert good
        for raw in good:
            # Who is said to have served is who did.
            assert f"Hello from {raw.headers[PIN]}/" in raw.http_response.text
            assert azure_shim.attempts(raw)[-1].status == 200
        for error in bad:
            assert 0 < float(error.response.headers["retry-after-ms"]) <= 40_000
            assert error.body["message"]
            assert all(a.status == 429 and a.target in names for a in azure_shim.attempts(error))
        assert {t.in_flight for t in client.health()} == {0}
        assert azure.leaks == []
        assert azure.refused == []
        # One that is told to wait is not asked over and over.
        assert len(azure.requests) <= len(good) + 3 * 32


def test_32_threads_with_a_copy_each_share_what_they_learn(azure: FakeAzure) -> None:
    config = plan("fallback", at(azure["eastus"]), at(azure["westus"]))
    client = azure_shim.OpenAI(config=config, max_retries=0)
    azure["eastus"].fail_next("429_call_rate", times=None, retry_after=60)
    client.chat.completions.create(model=MODEL, messages=MESSAGES)
    azure.forget()
    barrier = threading.Barrier(32)
    found: list[str] = []

    def run() -> None:
        own = client.with_options(timeout=30)
        barrier.wait()
        found.append(str(own.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(found) == 32
    assert set(served(azure)) == {"westus"}
    client.close()


def test_clients_of_either_colour_share_the_health_of_equal_targets(azure: FakeAzure) -> None:
    config = plan("fallback", at(azure["eastus"]), at(azure["westus"]))
    blocking = azure_shim.OpenAI(config=config, max_retries=0)
    azure["eastus"].fail_next("429_call_rate", retry_after=60)
    blocking.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert served(azure) == ["eastus", "westus"]

    async def main() -> None:
        async with azure_shim.AsyncOpenAI(config=plan("fallback", *map(at, azure)), max_retries=0) as client:
            assert list(client.health()[0].deployments) == [MODEL]
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)

    asyncio.run(main())
    plain = azure_shim.http_client(config=config)
    openai.OpenAI(api_key="sk-of-nobody", http_client=plain).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert served(azure)[2:] == ["westus", "westus"]
    plain.close()
    blocking.close()


def test_clients_of_other_keys_share_nothing(colour: Colour, azure: FakeAzure) -> None:
    """Another key has another quota."""
    config = plan("fallback", at(azure["eastus"]), at(azure["westus"]))
    client = colour.client(config=config, max_retries=0)
    azure["eastus"].fail_next("429_call_rate", retry_after=60)
    chat(colour, client)
    first, *rest = config["targets"]
    other = {key: value for key, value in first.items() if key != "api_key"}
    another = colour.client(config={**config, "targets": [{**other, "azure_ad_token": azure.token}, *rest]})
    assert another.health()[0].deployments == {}
    assert chat(colour, another).startswith("Hello from eastus")


LOOPS = """
import asyncio, json, sys, threading
import azure_shim
client = azure_shim.AsyncOpenAI(config=json.loads(sys.argv[1]), max_retries=0)
call = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello Azure"}]}
failed = []

async def work():
    for _ in range(5):
        await asyncio.gather(*(client.chat.completions.create(**call) for _ in range(4)))

def run():
    try:
        asyncio.run(work())
    except BaseException as error:
        failed.append(error)

run()  # a loop that has ended before the others begin
threads = [threading.Thread(target=run) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
assert {target.in_flight for target in client.health()} == {0}
"""


def test_one_async_client_fails_over_in_two_event_loops(azure: FakeAzure) -> None:
    """In a process of its own: the connections of a loop that has ended can be closed by nobody."""
    azure["eastus"].fail_next("503", times=3)
    config = json.dumps(plan("loadbalance", *map(at, azure), by="round_robin"))
    subprocess.run([sys.executable, "-c", LOOPS, config], check=True, timeout=60)
    assert len(azure.requests) >= 61
    assert set(served(azure)) == {"eastus", "westus"}


# -- residency (field note P50)


@pytest.fixture
def abroad() -> Iterator[ScriptedServer]:
    """The server in the United States, which sees every connection."""
    with ScriptedServer() as found:
        found.script = lambda seen: [answer()]
        yield found


def of_two_zones(azure: FakeAzure, abroad: ScriptedServer, mode: str = "fallback", **rules: Any) -> dict[str, Any]:
    european = [at(resource, tags={"zone": "eu"}) for resource in azure]
    return plan(mode, at_server("us", abroad, tags={"zone": "us"}), *european, **rules)


HEADER = {"x-azure-shim-residency": "zone=eu"}


@pytest.mark.parametrize("rule", ["config", "call"])
@pytest.mark.parametrize("mode", ["fallback", "loadbalance"])
@pytest.mark.parametrize("fault", ["stopped", "429_call_rate", "500", "403_network"])
def test_nothing_leaves_the_boundary_when_all_within_are_down(
    fault: str, mode: str, rule: str, colour: Colour, azure: FakeAzure, abroad: ScriptedServer
) -> None:
    rules: dict[str, Any] = {"residency": {"zone": "eu"}} if rule == "config" else {}
    more: dict[str, Any] = {"extra_headers": HEADER} if rule == "call" else {}
    client = colour.client(config=of_two_zones(azure, abroad, mode, **rules), max_retries=0)
    chat(colour, client, **more)
    for resource in azure:
        if fault == "stopped":
            resource.stop()
        else:
            resource.fail_next(fault, times=None)
    for _ in range(3):
        failure(lambda: chat(colour, client, **more), openai.APIError)
    assert abroad.connections == 0
    assert set(served(azure)) <= {"eastus", "westus"}


def test_residency_holds_for_every_dose_and_for_streams(
    dose: str, colour: Colour, azure: FakeAzure, abroad: ScriptedServer
) -> None:
    client = connect(dose, colour, of_two_zones(azure, abroad, residency={"zone": "eu"}), max_retries=0)
    for resource in azure:
        resource.fail_next("reset", times=None)
    failure(lambda: chat(colour, client), openai.APIConnectionError)
    failure(lambda: chat(colour, client, stream=True), openai.APIConnectionError)
    assert abroad.connections == 0


def test_a_call_may_narrow_the_boundary_and_not_widen_it(
    dose: str, colour: Colour, azure: FakeAzure, abroad: ScriptedServer
) -> None:
    client = connect(dose, colour, of_two_zones(azure, abroad), max_retries=0)
    assert raw_chat(colour, client, extra_headers=HEADER).headers[PIN] in ("eastus", "westus")
    assert abroad.connections == 0
    assert raw_chat(colour, client).headers[PIN] == "us"
    assert_nothing_of_ours(*abroad.requests)
    asked = abroad.connections, len(azure.requests)
    narrow = connect(dose, colour, of_two_zones(azure, abroad, residency={"zone": "eu"}), max_retries=0)
    for headers in ({"x-azure-shim-residency": "zone=us"}, {PIN: "us"}, {"x-azure-shim-residency": "zone=mars"}):
        error = failure(lambda h=headers: chat(colour, narrow, extra_headers=h), openai.PermissionDeniedError)
        assert error.code == "OutsideResidency"
    assert (abroad.connections, len(azure.requests)) == asked


def test_a_boundary_that_nobody_is_within_is_an_error(colour: Colour, azure: FakeAzure, abroad: ScriptedServer) -> None:
    client = colour.client(config=of_two_zones(azure, abroad))
    error = failure(
        lambda: chat(colour, client, extra_headers={"x-azure-shim-residency": "zone=asia"}),
        openai.PermissionDeniedError,
    )
    assert "zone=asia" in str(error)
    assert azure.requests == []
    assert abroad.connections == 0


def test_warming_up_stays_within_the_boundary(colour: Colour, azure: FakeAzure, abroad: ScriptedServer) -> None:
    client = colour.client(config=of_two_zones(azure, abroad, residency={"zone": "eu"}))
    colour.call(client.warm_up)
    assert served(azure) == ["eastus", "westus"]
    assert abroad.connections == 0


def test_things_are_looked_for_within_the_boundary(colour: Colour, azure: FakeAzure, abroad: ScriptedServer) -> None:
    config = of_two_zones(azure, abroad, residency={"zone": "eu"})
    client = colour.client(config={**config, "api_version": "v1"}, max_retries=0)
    failure(lambda: colour.call(client.files.retrieve, "file-of-nobody"), openai.NotFoundError)
    assert served(azure) == ["eastus", "westus"]
    assert abroad.connections == 0


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("rule", ["config", "call"])
def test_a_redirect_does_not_lead_over_the_boundary(
    rule: str, status: int, dose: str, colour: Colour, azure: FakeAzure, abroad: ScriptedServer
) -> None:
    rules: dict[str, Any] = {"residency": {"zone": "eu"}} if rule == "config" else {}
    headers = HEADER if rule == "call" else {}
    client = connect(dose, colour, of_two_zones(azure, abroad, **rules), max_retries=0)
    for call in (
        lambda: colour.call(client.models.list, extra_headers=headers),
        lambda: chat(colour, client, extra_headers=headers),
    ):
        azure["eastus"].fail_next("redirect", status=status, location=f"{abroad.url}/there")
        failure(call, openai.APIStatusError)
    assert abroad.connections == 0


def test_openai_is_within_no_boundary_of_tags(colour: Colour, azure: FakeAzure, abroad: ScriptedServer) -> None:
    platform = {"provider": "openai", "name": "platform", "base_url": f"{abroad.url}/v1"}
    config = plan("fallback", at(azure["eastus"], tags=["eu"]), platform, residency=["eu"])
    client = colour.client(config=config, max_retries=0)
    azure["eastus"].stop()
    failure(lambda: chat(colour, client), openai.APIConnectionError)
    failure(lambda: chat(colour, client, **pin("platform")), openai.PermissionDeniedError)
    assert abroad.connections == 0
    assert AMBIENT_KEY not in str(azure.requests)


# -- sessions (field note P52)


@pytest.fixture
def three() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": [MODEL], "westus": [MODEL], "northus": [MODEL]}) as found:
        yield found
        assert found.leaks == []


def said_by(colour: Colour, client: Any, **more: Any) -> str:
    return str(raw_chat(colour, client, **more).headers[PIN])


SESSIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "prompt_cache_key": lambda key: {"extra_body": {"prompt_cache_key": key}},
    "user": lambda key: {"user": key},
    "header": lambda key: {"extra_headers": {"x-session": key}},
}


@pytest.mark.parametrize(
    ("how", "by"),
    [
        ("prompt_cache_key", "weight"),
        ("prompt_cache_key", "round_robin"),
        ("prompt_cache_key", "load"),
        ("prompt_cache_key", "latency"),
        ("user", "weight"),
        ("header", "load"),
    ],
)
def test_a_session_keeps_to_one_target(how: str, by: str, colour: Colour, three: FakeAzure) -> None:
    rules = {"session_header": "x-session"} if how == "header" else {}
    config = plan("loadbalance", *map(at, three), by=by, **rules)
    client = colour.client(config=config, max_retries=0)
    keys = [f"conversation-{number}" for number in range(9)]
    homes = {key: said_by(colour, client, **SESSIONS[how](key)) for key in keys}
    assert len(set(homes.values())) == 3
    assert {key: said_by(colour, client, **SESSIONS[how](key)) for key in keys} == homes


def test_a_session_moves_when_its_target_is_down_and_returns(dose: str, colour: Colour, three: FakeAzure) -> None:
    client = connect(dose, colour, plan("loadbalance", *map(at, three)), max_retries=0)
    clock = Clock(client)
    call = SESSIONS["prompt_cache_key"]("conversation-1")
    others = {f"other-{number}": "" for number in range(8)}

    def homes_of_others() -> dict[str, str]:
        return {key: said_by(colour, client, **SESSIONS["prompt_cache_key"](key)) for key in others}

    home, others = said_by(colour, client, **call), homes_of_others()
    three[home].stop()
    second = said_by(colour, client, **call)
    assert second != home
    assert [said_by(colour, client, **call) for _ in range(3)] == [second] * 3
    # Only the sessions of the target that is down have moved.
    assert all(now == others[key] for key, now in homes_of_others().items() if others[key] != home)
    three[home].start()
    clock.now += 120
    assert [said_by(colour, client, **call) for _ in range(3)] == [home] * 3
    assert homes_of_others() == others


def test_a_session_has_the_same_home_in_every_client(colour: Colour, three: FakeAzure) -> None:
    keys = [f"conversation-{number}" for number in range(10)]

    def homes(seed: int) -> list[str]:
        client = colour.client(config=plan("loadbalance", *map(at, three), seed=seed), max_retries=0)
        return [said_by(colour, client, **SESSIONS["prompt_cache_key"](key)) for key in keys]

    assert homes(1) == homes(2)
    assert len(Counter(homes(3))) > 1


def test_a_session_is_no_prison_for_a_call_that_may_fail_over(colour: Colour, three: FakeAzure) -> None:
    client = colour.client(config=plan("loadbalance", *map(at, three)), max_retries=0)
    call = SESSIONS["user"]("somebody")
    home = said_by(colour, client, **call)
    three[home].fail_next("429_call_rate")
    raw = raw_chat(colour, client, **call)
    assert raw.headers[PIN] != home
    assert azure_shim.attempts(raw)[0].target == home


# -- trio


def test_failover_and_cancellation_under_trio(azure: FakeAzure) -> None:
    trio = importlib.import_module("trio")
    importlib.import_module(OWN_LIBRARY)

    async def main() -> None:
        config = plan("fallback", at(azure["eastus"]), at(azure["westus"]))
        async with azure_shim.AsyncOpenAI(config=config, max_retries=0) as client:
            call = {"model": MODEL, "messages": MESSAGES}
            azure["eastus"].fail_next("503")
            answered = await client.chat.completions.create(**call)
            assert str(answered.choices[0].message.content).startswith("Hello from westus")
            azure.forget()
            fault = azure["westus"].fail_next("stall")
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel() -> None:
                        await trio.to_thread.run_sync(fault.reached.wait, PATIENCE_S)
                        scope.cancel()

                    nursery.start_soon(cancel)
                    await client.chat.completions.create(**call, **pin("westus"))
            assert scope.cancelled_caught
            assert served(azure) == ["westus"]
            assert in_flight(client) == [0, 0]

    trio.run(main)
