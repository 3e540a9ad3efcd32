"""Several targets instead of one: what that adds to the CPU time of a call, and whether calls wait for each other.

The contender is the same client with a ``config`` of three targets, the baseline the same client with one endpoint and
no ``config``. A row says how many microseconds more a call takes: the median over the rounds of the ratio between the
two, less one, times the baseline's median.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import azure_shim

from . import answers
from .calls import CHAT
from .clients import SHIM
from .effort import Effort
from .measure import Measured, Sample, cpu_s, interleave, per_slice
from .null import null_client
from .processes import Server
from .table import Row

__all__ = ["contention", "overhead"]

_ONE, _THREE = "one target", "three targets"
_TARGET_US = 15.0
_COMMON = {"api_key": "k" * 32, "api_version": "2024-10-21"}
_NULL_ENDPOINTS = [f"https://resource-{number}.openai.azure.com" for number in range(3)]

Call = Callable[[Any], Any]


def _chat(client: Any) -> Any:
    return client.chat.completions.create(**CHAT)


def _stream(client: Any) -> None:
    for _ in client.chat.completions.create(**CHAT, stream=True):
        pass


def _respond(client: Any) -> Any:
    return client.responses.create(model="gpt-4o", input="How much is two and two?")


_BODY = json.dumps(CHAT).encode()


def _post(http: Any) -> Any:
    """A chat as the SDK would send it, without what the SDK itself does."""
    url = "https://api.openai.com/v1/chat/completions"
    return http.post(url, content=_BODY, headers={"content-type": "application/json"})


def _client(endpoints: list[str], mode: str | None = None, *, given: Any = None, is_async: bool = False) -> Any:
    """With a mode all endpoints are targets of one plan; without, the first one is the only endpoint."""
    kind: Any = azure_shim.AsyncOpenAI if is_async else azure_shim.OpenAI
    if mode is None:
        return kind(azure_endpoint=endpoints[0], **_COMMON, http_client=given, max_retries=0)
    targets = [{"name": f"target-{n}", "azure_endpoint": end, **_COMMON} for n, end in enumerate(endpoints)]
    # With a seed a plan shares its state with no other client, not even with one of the burst before.
    config = {"strategy": {"mode": mode}, "targets": targets, "seed": 1}
    return kind(config=config, http_client=given, max_retries=0)


def overhead(effort: Effort) -> Iterator[Row]:
    """CPU time that three targets take more than one, per call."""
    chat, chunks = answers.chat(), answers.chunks(20)
    for mode in ("loadbalance", "fallback"):
        # What our own code adds; inside the SDK's call, which is ten times as long, the same code meets colder caches.
        yield _more(f"chat, transport alone, {mode}", _over_transport(chat, mode, effort))
    for mode in ("loadbalance", "fallback"):
        yield _more(f"chat, null, {mode}", _over_null(_chat, chat, mode, effort))
    yield _more("20 chunks, null, loadbalance", _over_null(_stream, chunks, "loadbalance", effort), None)
    with Server(effort) as server:
        endpoints = [server.endpoint(name) for name in ("chat", "chat 2", "chat 3")]
        clients = {_ONE: _client(endpoints), _THREE: _client(endpoints, "loadbalance")}
        yield _more("chat, loopback, loadbalance", _compared(clients, _chat, effort))


def _more(work: str, measured: Measured, target: float | None = _TARGET_US) -> Row:
    """The row of a difference; the ratio of each round knows nothing of how fast the machine was just then."""

    def in_us(ratio: float) -> float:
        return (ratio - 1) * measured.baseline_s * 1e6

    low, high = map(in_us, measured.interval(_THREE))
    rounds = len(measured.ratios[_THREE])
    note = f"one takes {measured.baseline_s * 1e6:.0f} us; {low:.1f} to {high:.1f} us more in {rounds} rounds"
    more = in_us(measured.median(_THREE))
    return Row(f"3 targets over 1: {work}", {SHIM: more}, "us", target, (low, high), note)


def _over_null(call: Call, answer: bytes | list[bytes], mode: str, effort: Effort) -> Measured:
    given = [null_client(answer) for _ in range(2)]
    clients = {_ONE: _client(_NULL_ENDPOINTS, given=given[0]), _THREE: _client(_NULL_ENDPOINTS, mode, given=given[1])}
    try:
        return _compared(clients, call, effort)
    finally:
        for http in given:
            http.close()


def _over_transport(answer: bytes, mode: str, effort: Effort) -> Measured:
    given = [null_client(answer) for _ in range(2)]
    targets = [{"name": f"target-{n}", "azure_endpoint": end, **_COMMON} for n, end in enumerate(_NULL_ENDPOINTS)]
    config = {"strategy": {"mode": mode}, "targets": targets, "seed": 1}
    clients = {
        _ONE: azure_shim.http_client(azure_endpoint=_NULL_ENDPOINTS[0], **_COMMON, http_client=given[0]),
        _THREE: azure_shim.http_client(config=config, http_client=given[1]),
    }
    try:
        return _compared(clients, _post, effort)
    finally:
        for http in given:
            http.close()


def _compared(clients: dict[str, Any], call: Call, effort: Effort) -> Measured:
    count = per_slice(effort, lambda: call(clients[_ONE]))

    def turn_of(client: Any) -> Callable[[], Sample]:
        return lambda: {"cpu": cpu_s(lambda: [call(client) for _ in range(count)]) / count}

    try:
        return interleave({name: turn_of(client) for name, client in clients.items()}, _ONE, effort)["cpu"]
    finally:
        for client in clients.values():
            client.close()


# Locks --------------------------------------------------------------------------------------------------------------


class _Counting:
    """A lock that counts how often it was taken, and how often another had it just then."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.taken = self.waited = 0

    def __enter__(self) -> None:
        had_to_wait = not self._lock.acquire(blocking=False)
        if had_to_wait:
            self._lock.acquire()
        # Whoever counts has the lock.
        self.taken += 1
        self.waited += had_to_wait

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


def _count_locks(client: Any) -> list[_Counting]:
    """Put a counter around each lock of the targets' shared state."""
    fleet = client._client.azure_shim_fleet
    counting = []
    shared = [(fleet.homes, "_lock"), (fleet.ran, "_lock"), *((site, "lock") for site in fleet.health.records)]
    for owner, name in shared:
        lock = _Counting(getattr(owner, name))
        setattr(owner, name, lock)
        counting.append(lock)
    return counting


class _Burst(NamedTuple):
    """Calls of as many callers at once, and the endpoints that they meet."""

    work: str
    call: Call
    answers: tuple[str, str, str]


_BURSTS = (
    _Burst("chat", _chat, ("chat", "chat 2", "chat 3")),
    _Burst("stored responses", _respond, ("responses", "responses", "responses")),
    _Burst("chat, one throttled", _chat, ("chat", "throttled", "chat 3")),
)


def contention(effort: Effort) -> Iterator[Row]:
    """How often a call had to wait for a lock of the shared state, of all calls of a burst."""
    callers, each = effort.in_flight[-1], effort.burst
    logging.getLogger("azure_shim.targets").addHandler(logging.NullHandler())  # a 429 is no news here
    with Server(effort) as server:
        for burst in _BURSTS:
            for colour, run in (("threads", _in_threads), ("async", _in_tasks)):
                client = _client(
                    [server.endpoint(name) for name in burst.answers], "loadbalance", is_async=run is _in_tasks
                )
                locks = _count_locks(client)
                run(client, burst.call, callers, each)
                taken, waited = sum(lock.taken for lock in locks), sum(lock.waited for lock in locks)
                note = f"{callers * each} calls took {len(locks)} locks {taken} times"
                work = f"lock waits, {callers} {colour}: {burst.work}"
                yield Row(work, {SHIM: float(waited)}, "#", 0.0, note=note)


def _in_threads(client: Any, call: Call, callers: int, each: int) -> None:
    start = threading.Barrier(callers)
    failed: list[BaseException] = []

    def caller() -> None:
        start.wait()
        try:
            for _ in range(each):
                call(client)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    if failed:
        raise failed[0]


def _in_tasks(client: Any, call: Call, callers: int, each: int) -> None:
    async def caller() -> None:
        for _ in range(each):
            await call(client)

    async def run() -> None:
        await asyncio.gather(*(caller() for _ in range(callers)))
        await client.close()

    asyncio.run(run())
