"""Most calls are plain, and their first attempt goes a short way: all that comes of them is as on the long way.

The body of a call says which way it takes. Each situation is met twice, at targets of its own, once with a plain body
and once with ``store=False`` in it, and what came of it has to be equal, and what is written here.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.routing.tree import Tree
from tests.conftest import Colour
from tests.fleets import (
    DOSES,
    MESSAGES,
    MODEL,
    PIN,
    assert_nothing_of_ours,
    at_server,
    chat,
    connect,
    failure,
    fleet_of,
    plan,
    raw_chat,
)
from tests.servers import CHAT, FIN, LAST_CHUNK, RESET, ScriptedServer, Seen, answer, chunk, chunked

WAYS: dict[str, dict[str, Any]] = {"short": {}, "long": {"store": False}}
PATIENCE_S = 20.0
LIMITED = {"error": {"code": "429", "message": "too many"}}
BROKEN = {"error": {"code": "500", "message": "out of order"}}
SIGNING = ("api-key", "authorization", "ocp-apim-subscription-key", "x-gateway-key")


@pytest.fixture
def short_ways(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The orders that calls on the short way were begun with, which draw theirs by a method of their own."""
    found: list[list[int]] = []
    draw = Tree.next_order

    def noted(tree: Tree, now: float) -> Any:
        found.append(list(draw(tree, now)))
        return found[-1]

    monkeypatch.setattr(Tree, "next_order", noted)
    return found


@pytest.fixture(params=DOSES)
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def said(content: str, model: str = "gpt-4o-2024-08-06") -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {**CHAT, "model": model, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


# What each target does with a request: bytes are an answer's.
Does = Callable[["Stage", Seen], Iterable[bytes]]


class Stage:
    """The targets of one way: ``a`` does what a situation says, one after the other, and then serves; ``b`` serves."""

    def __init__(self, does: Iterable[Does] = ()) -> None:
        self._does = list(does)
        self.a, self.b = ScriptedServer(self._first), ScriptedServer(lambda seen: [answer(said("b"))])
        self.over = threading.Event()

    def __enter__(self) -> Stage:
        self.a.__enter__()
        self.b.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.b.__exit__()
        self.a.__exit__()

    def _first(self, seen: Seen) -> Iterable[bytes]:
        return self._does.pop(0)(self, seen) if self._does else [answer(said("a"))]


def says(*data: bytes) -> Does:
    return lambda stage, seen: data


def stalls(stage: Stage, seen: Seen) -> Iterator[bytes]:
    stage.over.wait(PATIENCE_S)
    yield FIN


def stalls_in_the_body(stage: Stage, seen: Seen) -> Iterator[bytes]:
    yield answer()[:-20]
    stage.over.wait(PATIENCE_S)
    yield FIN


def left(**headers: str) -> Does:
    """An answer that says what is left of the target's limits."""
    return says(answer(said("a"), headers={name.replace("_", "-"): value for name, value in headers.items()}))


class Tokens:
    """A provider of tokens, each another one."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self) -> str:
        self.given += 1
        return f"token-{self.given}"


@dataclass
class Situation:
    """``expected`` is, of each call, who was asked and what came of it, and then what the caller got."""

    expected: list[tuple[list[tuple[str, int | None, str]], Any]]
    does: list[Does] = field(default_factory=list)
    a: dict[str, Any] = field(default_factory=dict)
    b: dict[str, Any] = field(default_factory=dict)
    is_refused: bool = False
    call: dict[str, Any] = field(default_factory=dict)
    states: tuple[str, str] = ("healthy", "healthy")


def a(status: int | None = 200, reason: str = "served") -> tuple[str, int | None, str]:
    return ("a", status, reason)


B = ("b", 200, "served")
BY_A, BY_B = ([a()], "a"), ([B], "b")
OVER = {"api-key": "own-key-of-a"}


def moved(status: int | None, reason: str) -> tuple[list[tuple[str, int | None, str]], str]:
    return ([a(status, reason), B], "b")


SITUATIONS: dict[str, Situation] = {
    "all is well": Situation([BY_A, BY_A]),
    "in chunks": Situation(
        [BY_A],
        [
            says(
                chunked("application/json"),
                *map(
                    chunk,
                    (
                        b'{"id":"c",',
                        b'"object":"chat.completion",',
                        b'"created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"a"}}]}',
                    ),
                ),
                LAST_CHUNK,
            )
        ],
    ),
    "429": Situation([moved(429, "rate limited"), BY_B], [says(answer(LIMITED, 429))]),
    "429 with Retry-After": Situation(
        [moved(429, "rate limited"), BY_B], [says(answer(LIMITED, 429, {"retry-after": "30"}))]
    ),
    "500": Situation([moved(500, "server error"), BY_B], [says(answer(BROKEN, 500))]),
    "503": Situation([moved(503, "unavailable"), BY_B], [says(answer(BROKEN, 503))]),
    "refused connection": Situation(
        [moved(None, "connect failed"), BY_B], is_refused=True, states=("cooling", "healthy")
    ),
    "reset": Situation([moved(None, "connection reset"), BY_B], [says(RESET)], states=("cooling", "healthy")),
    "cut body": Situation([moved(200, "answer cut"), BY_B], [says(answer()[:-9], FIN)]),
    "cut chunks": Situation([moved(200, "answer cut"), BY_B], [says(chunked("application/json"), chunk(b"{"), FIN)]),
    "page": Situation(
        [moved(200, "answer malformed"), BY_B],
        [says(answer(b"<html>sign in</html>", 200, {"content-type": "text/html"}))],
    ),
    "refused key": Situation(
        [moved(401, "credential refused"), BY_B], [says(answer(BROKEN, 401))], states=("cooling", "healthy")
    ),
    "forbidden": Situation([moved(403, "forbidden"), BY_B], [says(answer(BROKEN, 403))], states=("cooling", "healthy")),
    "missing deployment": Situation(
        [moved(404, "deployment not found"), BY_B],
        [says(answer({"error": {"code": "DeploymentNotFound", "message": "no"}}, 404))],
    ),
    "bad request": Situation([([a(400, "bad request")], (400, "500")), BY_A], [says(answer(BROKEN, 400))]),
    "filtered": Situation(
        [([a(400, "content filter")], (400, "content_filter")), BY_A],
        [says(answer({"error": {"code": "content_filter", "message": "no"}}, 400))],
    ),
    "too large": Situation([([a(413, "too large")], (413, "500")), BY_A], [says(answer(BROKEN, 413))]),
    "stalls": Situation([moved(None, "read timed out"), BY_B], [stalls], a={"timeout": 0.1}),
    "stalls in the body": Situation([moved(200, "read timed out"), BY_B], [stalls_in_the_body], a={"timeout": 0.1}),
    "no requests left": Situation(
        [BY_A, BY_B], [left(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="60s")]
    ),
    "no tokens left": Situation([BY_A, BY_B], [left(x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens="60")]),
    "fully used": Situation([BY_A, BY_B], [left(azure_openai_deployment_utilization="100%")]),
    "fully used, said without a sign": Situation([BY_A, BY_B], [left(azure_openai_deployment_utilization="100")]),
    "much left": Situation(
        [BY_A, BY_A], [left(x_ratelimit_remaining_requests="10", azure_openai_deployment_utilization="42.5%")]
    ),
    "nonsense left": Situation([BY_A, BY_A], [left(x_ratelimit_remaining_requests="9" * 5000)]),
    "region and deployment": Situation([BY_A, BY_A], a={"region": "East US", "deployments": {MODEL: "prod-4o"}}),
    "the first has no such model": Situation([BY_B, BY_B], a={"deployments": {"gpt-35": "prod-35"}}),
    "nobody has such a model": Situation(
        [([], (404, "NoTargetServes"))],
        a={"deployments": {"gpt-35": "prod-35"}},
        b={"deployments": {"gpt-35": "prod-35"}},
    ),
    "signed by its own headers": Situation([BY_A, BY_A], a={"api_key": None, "default_headers": OVER}),
    "signed by its own headers and out of order": Situation(
        [moved(429, "rate limited"), BY_B],
        [says(answer(LIMITED, 429))],
        a={"api_key": None, "default_headers": OVER},
    ),
    "own headers beside a key": Situation([BY_A, BY_A], a={"default_headers": {"x-team": "of-a"}}),
    "a gateway's header": Situation([BY_A, BY_A], a={"api_key_header": "x-gateway-key"}),
    "override_params": Situation([BY_A, BY_A], a={"override_params": {"temperature": 0.5, "model": "other"}}),
    "a provider that raises": Situation(
        [([a(None, "credential refused"), B], "b"), BY_B],
        a={"api_key": None, "azure_ad_token_provider": lambda: [][0]},
        states=("cooling", "healthy"),
    ),
    "retries of its own": Situation(
        [([a(503, "unavailable"), a()], "a")],
        [says(answer(BROKEN, 503, {"retry-after-ms": "1"}))],
        a={"retry": {"attempts": 1, "on_status_codes": [503], "use_retry_after_header": True}},
    ),
}


def outcome(colour: Colour, client: Any, **call: Any) -> tuple[Any, ...]:
    """Who was asked, what the answer says of it, and what the caller got."""
    got: Any
    try:
        raw = raw_chat(colour, client, **call)
    except openai.APIStatusError as error:
        carrier: Any = error
        headers, got = error.response.headers, (error.status_code, error.code)
    except openai.APIConnectionError as error:
        carrier, headers, got = error, {}, type(error)
    else:
        carrier, headers, got = raw, raw.headers, raw.parse().choices[0].message.content
    log = azure_shim.attempts(carrier)
    marks = {name: value for name, value in headers.items() if name.startswith("x-azure-shim-")}
    retries = {name: bool(headers.get(name)) for name in ("retry-after", "retry-after-ms", "x-should-retry")}
    assert all(attempt.duration_s >= 0 and attempt.wait_s >= 0 for attempt in log)
    told = [(each.region, each.deployment, each.cooled_s > 0) for each in log]
    return [(each.target, each.status, each.reason) for each in log], got, told, marks, retries


def seen_by(server: ScriptedServer) -> list[Any]:
    """What a target got, but for what tells one way from the other."""
    found = []
    for seen in server.requests:
        names = sorted(name.lower() for name, _ in seen.headers)
        signed = {name: seen.header(name) for name in (*SIGNING, "x-team") if seen.header(name)}
        body = {name: value for name, value in seen.json().items() if name != "store"}
        assert seen.header("host") == f"127.0.0.1:{server.port}"
        assert seen.header("content-length") == str(len(seen.body))
        found.append((seen.method, seen.target, names, signed, body))
    return found


def health_of(client: Any) -> list[Any]:
    return [
        (each.target, each.state, each.reason, list(each.deployments), each.in_flight, each.latency_s is not None)
        for each in fleet_of(client).health.snapshot()
    ]


def met(situation: Situation, way: str, dose: str, colour: Colour) -> tuple[Any, ...]:
    """All that comes of a situation, on one way."""
    with Stage(situation.does) as stage, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        targets = [at_server("a", stage.a, **situation.a), at_server("b", stage.b, **situation.b)]
        if situation.is_refused:
            targets[0]["azure_endpoint"] = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        targets = [{key: value for key, value in target.items() if value is not None} for target in targets]
        client = connect(dose, colour, plan("fallback", *targets), max_retries=0, timeout=PATIENCE_S)
        call = {**situation.call, **WAYS[way]}
        outcomes = [outcome(colour, client, **call) for _ in situation.expected]
        assert_nothing_of_ours(*stage.a.requests, *stage.b.requests)
        return outcomes, seen_by(stage.a), seen_by(stage.b), health_of(client)


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_comes_of_a_plain_call_is_what_comes_of_any(
    name: str, dose: str, colour: Colour, short_ways: list[list[int]]
) -> None:
    situation = SITUATIONS[name]
    short = met(situation, "short", dose, colour)
    assert len(short_ways) == len(situation.expected), "this was not the short way"
    long = met(situation, "long", dose, colour)
    assert len(short_ways) == len(situation.expected), "this was not the long way"
    assert short == long
    outcomes, at_a, at_b, health = short
    assert [each[:2] for each in outcomes] == situation.expected
    for asked, _, _, marks, _ in outcomes:
        assert marks.get("x-azure-shim-attempts") == str(len(asked))
        assert marks.get(PIN) == (asked[-1][0] if asked else None)
    everybody = [target for asked, _ in situation.expected for target, *_ in asked]
    assert len(at_b) == everybody.count("b")
    if not situation.is_refused and "raises" not in name:
        assert len(at_a) == everybody.count("a")
    assert [each[1] for each in health] == list(situation.states)
    assert [each[4] for each in health] == [0, 0]
    was_served = [
        any((target, "served") == each[::2] for asked, _ in situation.expected for each in asked) for target in "ab"
    ]
    assert [each[5] for each in health] == was_served


def test_the_situations_show_what_they_are_to_show(colour: Colour) -> None:
    """Region, deployment, own headers and overrides, which the table only compares."""
    outcomes, at_a, _, _ = met(SITUATIONS["region and deployment"], "short", "constructor", colour)
    assert outcomes[0][2] == [("East US", "prod-4o", False)]
    assert at_a[0][1].startswith("/openai/deployments/prod-4o/chat/completions?")
    _, at_a, _, _ = met(SITUATIONS["signed by its own headers"], "short", "constructor", colour)
    assert at_a[0][3] == OVER
    _, at_a, _, _ = met(SITUATIONS["override_params"], "short", "constructor", colour)
    assert at_a[0][1].startswith("/openai/deployments/other/chat/completions?")
    assert at_a[0][4] == {"messages": MESSAGES, "model": MODEL, "temperature": 0.5}
    outcomes, _, _, health = met(SITUATIONS["429 with Retry-After"], "short", "constructor", colour)
    assert outcomes[0][2] == [(None, MODEL, True), (None, MODEL, False)]
    assert health[0][3] == [MODEL]


@pytest.mark.parametrize("way", WAYS)
def test_a_token_that_is_refused_is_renewed_at_the_same_target(
    way: str, dose: str, colour: Colour, short_ways: list[list[int]]
) -> None:
    """As it is at a client of one endpoint: it is one attempt."""
    tokens = Tokens()

    def refuse(stage: Stage, seen: Seen) -> list[bytes]:
        return [answer(BROKEN, 401)] if seen.header("authorization") == "Bearer token-1" else [answer(said("a"))]

    with Stage([refuse, refuse]) as stage:
        target = at_server("a", stage.a, azure_ad_token_provider=tokens)
        del target["api_key"]
        client = connect(dose, colour, plan("fallback", target, at_server("b", stage.b)), max_retries=0)
        asked, got, *_ = outcome(colour, client, **WAYS[way])
        assert (asked, got) == BY_A
        assert [seen.header("authorization") for seen in stage.a.requests] == ["Bearer token-1", "Bearer token-2"]
        assert stage.b.connections == 0
        assert [each[1:] for each in health_of(client)] == [
            ("healthy", None, [], 0, True),
            ("healthy", None, [], 0, False),
        ]
    assert len(short_ways) == (way == "short")


# -- whose turn it is


def platform(name: str, server: ScriptedServer, **more: Any) -> dict[str, Any]:
    return {"provider": "openai", "name": name, "base_url": f"{server.url}/v1", "api_key": "sk-of-ours-0123", **more}


def overriding(name: str, server: ScriptedServer, **more: Any) -> dict[str, Any]:
    return at_server(name, server, override_params={"temperature": 0.5}, **more)


def signing_itself(name: str, server: ScriptedServer, **more: Any) -> dict[str, Any]:
    target = at_server(name, server, default_headers={"api-key": f"own-key-of-{name}"}, **more)
    return {key: value for key, value in target.items() if key != "api_key"}


KINDS = {"plain": at_server, "openai": platform, "override_params": overriding, "own headers": signing_itself}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["round_robin", "weight", "weights of 3 and 1"])
def test_every_target_gets_its_share_whatever_kind_it_is_of(
    by: str, kind: str, colour: Colour, short_ways: list[list[int]]
) -> None:
    """Whose turn it is is drawn once per call (the two ways draw the same), also where the first one is not plain."""
    orders: dict[str, list[str]] = {}
    for way, more in WAYS.items():
        with Stage() as stage:
            weights = (3, 1) if "3" in by else (1, 1)
            targets = [
                KINDS[kind]("a", stage.a, weight=weights[0]),
                at_server("b", stage.b, weight=weights[1]),
            ]
            config = plan("loadbalance", *targets, by=by.partition("s ")[0], seed=11)
            client = colour.http_client(config=config)
            body = {"model": MODEL, "messages": MESSAGES, **more}
            url = "https://api.openai.com/v1/chat/completions"
            orders[way] = [colour.call(client.post, url, json=body).headers[PIN] for _ in range(200)]
            assert len(stage.a.requests) == orders[way].count("a")
            assert [each.in_flight for each in client.azure_shim_fleet.health.snapshot()] == [0, 0]
    assert len(short_ways) == 200
    assert orders["short"] == orders["long"]
    share = orders["short"].count("a")
    assert (
        (share == 100) if by == "round_robin" else (share in range(130, 171) if "3" in by else share in range(80, 121))
    )


@pytest.mark.parametrize("by", ["load", "latency"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_of_the_targets_is_known_of_every_kind(by: str, kind: str, colour: Colour) -> None:
    with Stage() as stage:
        config = plan("loadbalance", KINDS[kind]("a", stage.a), at_server("b", stage.b), by=by, seed=3)
        client = colour.client(config=config, max_retries=0)
        found = {chat(colour, client) for _ in range(20)}
        assert found == {"a", "b"}
        assert [each[4:] for each in health_of(client)] == [(0, True), (0, True)]


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_of_0_is_still_for_when_nothing_else_is_left(way: str, colour: Colour) -> None:
    fine = says(answer(said("a")))
    with Stage([fine, fine, says(answer(BROKEN, 500))]) as stage:
        config = plan("loadbalance", platform("a", stage.a), at_server("b", stage.b, weight=0))
        client = colour.client(config=config, max_retries=0)
        assert [chat(colour, client, **WAYS[way]) for _ in range(3)] == ["a", "a", "b"]


# -- calls that end otherwise


class Interrupted(BaseException):
    """As KeyboardInterrupt, but nothing else that runs the tests takes it for its own."""


@pytest.mark.parametrize("raised", [Interrupted, ValueError], ids=["interrupt", "bug"])
@pytest.mark.parametrize("way", WAYS)
def test_what_no_library_raises_is_the_callers_and_leaves_nobody_busy(
    way: str, raised: type[BaseException], colour: Colour, library: Any, short_ways: list[list[int]]
) -> None:
    hosts: list[str] = []

    def handler(request: Any) -> Any:
        hosts.append(request.url.host)
        if len(hosts) == 1:
            raise raised
        return library.Response(200, json=said("again"))

    key = f"{way}-{raised.__name__}-{library.__name__}-{colour.is_async}"  # equal targets share their health
    config = plan("fallback", {"resource_name": "one", "api_key": key}, {"resource_name": "two", "api_key": key})
    http_client = colour.http_client(config=config, transport=colour.mock_transport(library, handler))
    client = colour.plain(api_key="sk-of-nobody", http_client=http_client, max_retries=0)
    with pytest.raises((raised, openai.APIConnectionError)) as kept:  # into which the SDK may put it
        chat(colour, client, **WAYS[way])
    assert [each.in_flight for each in fleet_of(client).health.snapshot()] == [0, 0]
    assert [each.state for each in fleet_of(client).health.snapshot()] == ["healthy", "healthy"]
    assert hosts == ["one.openai.azure.com"]
    assert chat(colour, client, **WAYS[way]) == "again"
    assert hosts == ["one.openai.azure.com"] * 2
    assert kept.value is not None
    assert len(short_ways) == (2 if way == "short" else 0)


@pytest.mark.parametrize("how", [stalls, stalls_in_the_body])
@pytest.mark.parametrize("way", WAYS)
def test_a_cancelled_task_leaves_nobody_busy(way: str, how: Does, library: Any, short_ways: list[list[int]]) -> None:
    async def main() -> None:
        with Stage([how]) as stage:
            http_client = azure_shim.async_http_client(
                config=plan("fallback", at_server("a", stage.a), at_server("b", stage.b)), library=library.__name__
            )
            async with openai.AsyncOpenAI(api_key="sk-of-nobody", http_client=http_client) as client:

                async def call() -> Any:
                    return await client.chat.completions.create(model=MODEL, messages=MESSAGES, **WAYS[way])

                task = asyncio.create_task(call())
                arrived = stage.a.arrived.acquire
                assert await asyncio.get_running_loop().run_in_executor(None, lambda: arrived(timeout=PATIENCE_S))
                assert [each[4] for each in health_of(client)] == [1, 0]
                task.cancel()
                with pytest.raises(asyncio.CancelledError) as kept:
                    await task
                assert [each[4] for each in health_of(client)] == [0, 0]
                assert [each[1] for each in health_of(client)] == ["healthy", "healthy"]
                assert stage.b.connections == 0
                assert (await call()).choices[0].message.content == "a"
                assert kept.value is not None

    asyncio.run(main())
    assert len(short_ways) == (2 if way == "short" else 0)


# -- one deadline


def trickling(size: int) -> Does:
    """An answer of more than so many bytes, which then goes on for longer than anybody waits."""

    def script(stage: Stage, seen: Seen) -> Iterator[bytes]:
        yield chunked("application/json")
        yield chunk(b'{"id": "' + b"x" * size)
        while not stage.over.wait(0.02):
            yield chunk(b"x")
        yield FIN

    return script


@pytest.mark.parametrize("size", [100, 9 << 20], ids=["short", "beyond 8 MiB"])
@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_trickles_ends_by_the_deadline(
    way: str, size: int, colour: Colour, short_ways: list[list[int]]
) -> None:
    """However long it is: no gap between two chunks of it trips a read timeout."""
    with Stage([trickling(size)]) as stage:
        config = plan("fallback", at_server("a", stage.a), at_server("b", stage.b))
        client = colour.client(config=config, max_retries=0, timeout=0.5)
        error = failure(lambda: chat(colour, client, **WAYS[way]), openai.APITimeoutError)
        assert [attempt.target for attempt in azure_shim.attempts(error)] == ["a"]
        assert stage.a.closed.wait(PATIENCE_S), "the connection was left open"
        assert stage.b.connections == 0
        assert [each[4] for each in health_of(client)] == [0, 0]
    assert len(short_ways) == (way == "short")


@pytest.mark.parametrize("way", WAYS)
def test_a_targets_own_timeout_ends_what_trickles_so_that_another_is_asked(way: str, colour: Colour) -> None:
    with Stage([trickling(100)]) as stage:
        config = plan("fallback", at_server("a", stage.a, timeout=0.3), at_server("b", stage.b))
        client = colour.client(config=config, max_retries=0, timeout=PATIENCE_S)
        assert chat(colour, client, **WAYS[way]) == "b"
        assert stage.a.closed.wait(PATIENCE_S)


@pytest.mark.parametrize("way", WAYS)
def test_a_long_answer_that_comes_in_time_is_whole(way: str, colour: Colour, library: Any) -> None:
    content = "x" * (9 << 20)
    with Stage([says(answer(said(content)))]) as stage:
        config = plan("fallback", at_server("a", stage.a), at_server("b", stage.b))
        http_client = colour.http_client(config=config, library=library.__name__)
        client = colour.plain(api_key="sk-of-nobody", http_client=http_client, max_retries=0)
        asked, got, *_ = outcome(colour, client, **WAYS[way])
        assert asked == [a()]
        assert got == content
        assert [each[4] for each in health_of(client)] == [0, 0]
        assert chat(colour, client, **WAYS[way]) == "a"
        assert stage.a.connections == 1


# -- the caller's own Host


@pytest.mark.parametrize("name", ["Host", "host"])
def test_a_host_of_the_callers_own_reaches_one_endpoint(name: str, colour: Colour, server: ScriptedServer) -> None:
    """As behind a gateway that tells its back ends by their names."""
    client = colour.client(azure_endpoint=server.url, api_key="k", default_headers={name: "internal.example"})
    chat(colour, client)
    chat(colour, client, extra_headers={name: "other.example"})
    assert [seen.header("host") for seen in server.requests] == ["internal.example", "other.example"]


@pytest.mark.parametrize("way", WAYS)
def test_a_host_of_the_callers_own_is_for_the_first_target_and_no_other(
    way: str, colour: Colour, short_ways: list[list[int]]
) -> None:
    with Stage([says(answer(said("a"))), says(answer(BROKEN, 500))]) as stage:
        config = plan("fallback", at_server("a", stage.a), at_server("b", stage.b))
        client = colour.client(config=config, default_headers={"Host": "internal.example"}, max_retries=0)
        assert [chat(colour, client, **WAYS[way]) for _ in range(3)] == ["a", "b", "b"]
        assert [seen.header("host") for seen in stage.a.requests] == ["internal.example"] * 2
        assert [seen.header("host") for seen in stage.b.requests] == [f"127.0.0.1:{stage.b.port}"] * 2
    assert len(short_ways) == (3 if way == "short" else 0)


def test_the_name_that_tls_asks_for_stays_the_callers(colour: Colour, library: Any) -> None:
    """httpx's recipe for a host that is dialled by its address: ``Host`` and ``sni_hostname`` of the request."""
    found: list[Any] = []

    def handler(request: Any) -> Any:
        found.append((request.headers["host"], request.extensions.get("sni_hostname")))
        return library.Response(200, json=CHAT)

    http_client = colour.http_client(
        azure_endpoint="https://10.0.0.4", api_key="k", transport=colour.mock_transport(library, handler)
    )
    posted = colour.call(
        http_client.post,
        "https://10.0.0.4/openai/v1/chat/completions",
        json={"model": MODEL, "messages": MESSAGES},
        headers={"Host": "r.openai.azure.com"},
        extensions={"sni_hostname": "r.openai.azure.com"},
    )
    assert posted.status_code == 200
    assert found == [("r.openai.azure.com", "r.openai.azure.com")]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_server_says_in_headers_like_ours_is_not_believed(way: str, colour: Colour) -> None:
    with Stage([says(answer(said("a"), 200, {PIN: "evil", "x-azure-shim-attempts": "7"}))]) as stage:
        config = plan("fallback", at_server("a", stage.a), at_server("b", stage.b))
        raw = raw_chat(colour, colour.client(config=config), **WAYS[way])
        assert (raw.headers[PIN], raw.headers["x-azure-shim-attempts"]) == ("a", "1")
