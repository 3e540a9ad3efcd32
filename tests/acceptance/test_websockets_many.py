"""WebSockets of a client with several targets: dialled at one that is fit, with what belongs to it and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import openai
import pytest

import azure_shim
from tests.acceptance.test_websockets import SocketServer, dial
from tests.conftest import AMBIENT_KEY, MAJOR, Colour
from tests.fleets import PIN, Clock, failure, fleet_of, plan

MODEL = "gpt-realtime"
RESIDENCY = "x-azure-shim-residency"
METADATA = "x-portkey-metadata"
SIGNING = ("api-key", "authorization", "ocp-apim-subscription-key", "x-gateway-key")
Dial = Callable[..., None]


@pytest.fixture
def a() -> Iterator[SocketServer]:
    with SocketServer() as found:
        yield found


@pytest.fixture
def b() -> Iterator[SocketServer]:
    with SocketServer() as found:
        yield found


# How a WebSocket is dialled, and the path of it on the v1 surface. Not every SDK has every one.
PATHS = {
    "realtime": "/realtime?model={model}",
    "responses": "/responses",
    "realtime.translations": "/realtime/translations?model={model}",
    "live": "/live/sessions",
    "live.forks": "/live/sessions/sess_1/fork",
    "live.sideband": "/live/sessions/sess_1/attach",
}
ARGUMENTS = {
    "realtime": {"model": MODEL},
    "realtime.translations": {"model": MODEL},
    "live.forks": {"session_id": "sess_1"},
    "live.sideband": {"session_id": "sess_1"},
}


def resource_of(client: Any, kind: str) -> Any:
    for name in kind.split("."):
        client = getattr(client, name, None)
    return client


_plain = openai.OpenAI(api_key="k")
KINDS = [kind for kind in PATHS if hasattr(resource_of(_plain, kind), "connect")]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def connect(kind: str, colour: Colour, client: Any, **more: Any) -> None:
    """Dial, and read what is said first."""
    dial(colour, resource_of(client, kind).connect(**ARGUMENTS.get(kind, {}), **more))


def at(name: str, server: SocketServer, **more: Any) -> dict[str, Any]:
    target = {"name": name, "azure_endpoint": server.url, "api_key": f"key-of-{name}-0123456789", **more}
    return {key: value for key, value in target.items() if value is not None}


def platform(server: SocketServer, **more: Any) -> dict[str, Any]:
    return {
        "provider": "openai",
        "name": "platform",
        "base_url": f"{server.url}/v1",
        "api_key": "sk-of-the-platform-0123456789",
        **more,
    }


def dialled(*servers: SocketServer) -> list[int]:
    return [len(server.dialled) for server in servers]


def signed(server: SocketServer, at: int = 0) -> dict[str, str]:
    headers = server.dialled[at][1]
    return {name: headers[name] for name in SIGNING if name in headers}


def path(kind: str, model: str = MODEL, base: str = "/openai/v1") -> str:
    return base + PATHS[kind].format(model=model)


@pytest.fixture(autouse=True)
def nothing_of_ours(a: SocketServer, b: SocketServer) -> Iterator[None]:
    """No header in which a caller says something to us reaches a server, nor what is meant for OpenAI's own service."""
    yield
    for server in (a, b):
        for _, headers in server.dialled:
            assert {name for name in headers if "azure-shim" in name} == set()
            assert METADATA not in headers
            assert AMBIENT_KEY not in str(headers)
            assert "org-ambient" not in str(headers)


def cool(client: Any, at: int, cools: str = "resource", deployment: str | None = None, told_s: float = 30.0) -> None:
    fleet = fleet_of(client)
    now = fleet.clock()
    fleet.health.went_wrong(at, deployment, now, cools=cools, is_fault=True, told_s=told_s, reason="as the test says")


# -- whose turn it is


def test_it_is_dialled_at_the_first_target_as_it_is(
    kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)))
    for _ in range(2):
        connect(kind, colour, client)
    assert dialled(a, b) == [2, 0]
    assert [where for where, _ in a.dialled] == [path(kind)] * 2
    assert signed(a) == {"api-key": "key-of-a-0123456789"}


@pytest.mark.parametrize("cools", ["resource", "credential"])
def test_it_is_dialled_at_the_second_while_the_first_cools(
    cools: str, kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)))
    clock = Clock(client)
    cool(client, 0, cools)
    connect(kind, colour, client)
    assert dialled(a, b) == [0, 1]
    assert b.dialled[0][0] == path(kind)
    assert signed(b) == {"api-key": "key-of-b-0123456789"}
    clock.now += 60
    connect(kind, colour, client)
    assert dialled(a, b) == [1, 1]


def test_only_the_deployment_that_cools_is_left_alone(colour: Colour, a: SocketServer, b: SocketServer) -> None:
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)))
    Clock(client)
    cool(client, 0, "deployment", MODEL)
    connect("realtime", colour, client)
    dial(colour, client.realtime.connect(model="gpt-realtime-mini"))
    assert dialled(a, b) == [1, 1]
    assert a.dialled[0][0].endswith("model=gpt-realtime-mini")


def test_where_all_of_them_cool_the_first_is_dialled(
    kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)))
    Clock(client)
    cool(client, 0)
    cool(client, 1)
    connect(kind, colour, client)
    assert dialled(a, b) == [1, 0]


def test_copies_and_calls_by_http_share_what_is_known(colour: Colour, a: SocketServer, b: SocketServer) -> None:
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)))
    cool(client.with_options(timeout=9), 0)
    connect("realtime", colour, client.with_options(max_retries=0))
    assert dialled(a, b) == [0, 1]


def test_load_is_spread_over_the_targets(kind: str, colour: Colour, a: SocketServer, b: SocketServer) -> None:
    client = colour.client(config=plan("loadbalance", at("a", a), at("b", b), by="round_robin"))
    for _ in range(6):
        connect(kind, colour, client)
    assert dialled(a, b) == [3, 3]


def test_a_condition_leads_it_by_model_metadata_and_path(colour: Colour, a: SocketServer, b: SocketServer) -> None:
    config = azure_shim.Conditional(
        [azure_shim.AzureTarget(**at("a", a)), azure_shim.AzureTarget(**at("b", b))],
        conditions=[
            ({"params.model": {"$eq": "gpt-realtime-mini"}}, "b"),
            ({"metadata.plan": "voice"}, "b"),
            ({"url.pathname": {"$regex": "/responses$"}}, "b"),
        ],
        default="a",
    )
    client = colour.client(config=config)
    connect("realtime", colour, client)
    assert dialled(a, b) == [1, 0]
    dial(colour, client.realtime.connect(model="gpt-realtime-mini"))
    dial(colour, client.realtime.connect(model=MODEL, extra_headers={METADATA: '{"plan": "voice"}'}))
    assert dialled(a, b) == [1, 2]
    if MAJOR >= 2:
        connect("responses", colour, client)
        assert dialled(a, b) == [1, 3]


# -- who has it


def test_a_model_that_only_the_second_has_is_dialled_there(colour: Colour, a: SocketServer, b: SocketServer) -> None:
    config = plan("fallback", at("a", a, deployments={"gpt-4o": "prod"}), at("b", b, deployments={MODEL: "voice"}))
    connect("realtime", colour, colour.client(config=config))
    assert dialled(a, b) == [0, 1]
    assert b.dialled[0][0] == path("realtime", "voice")


UNLISTED = [kind for kind in KINDS if kind not in ("realtime", "responses")]
if UNLISTED:  # openai 3

    def test_translations_are_dialled_at_their_deployment(colour: Colour, a: SocketServer, b: SocketServer) -> None:
        config = plan(
            "fallback", at("a", a, deployments={MODEL: "voice-a"}), at("b", b, deployments={MODEL: "voice-b"})
        )
        client = colour.client(config=config)
        connect("realtime.translations", colour, client)
        dial(colour, client.realtime.translations.connect(MODEL, extra_headers={PIN: "b"}))
        assert a.dialled[0][0] == path("realtime.translations", "voice-a")
        assert b.dialled[0][0] == path("realtime.translations", "voice-b")
        lone = colour.client(azure_endpoint=a.url, api_key="key-of-a-0123456789", deployments={MODEL: "alone"})
        dial(colour, lone.realtime.translations.connect(MODEL))
        assert a.dialled[1][0] == path("realtime.translations", "alone")

    @pytest.mark.parametrize("kind", UNLISTED)
    def test_what_no_dated_version_has_is_dialled_at_another_target_or_refused(
        kind: str, colour: Colour, a: SocketServer, b: SocketServer
    ) -> None:
        classic = at("a", a, api_version="2024-10-21")
        connect(kind, colour, colour.client(config=plan("fallback", classic, at("b", b))))
        assert dialled(a, b) == [0, 1]
        for arguments in ({"config": plan("fallback", classic, at("b", b, api_version="2024-10-21"))}, {**classic}):
            arguments.pop("name", None)
            error = failure(
                lambda arguments=arguments: connect(kind, colour, colour.client(**arguments)), openai.OpenAIError
            )
            assert "dated api-version" in str(error)
        assert dialled(a, b) == [0, 1]


def test_every_websocket_of_the_sdk_is_dialled_by_this_package(colour: Colour, a: SocketServer) -> None:
    """One that a newer SDK brings would know nothing of targets, residency or the caller's pin."""
    client = colour.client(azure_endpoint=a.url, api_key="k" * 32)
    found: set[str] = set()

    def look(owner: Any, path: str) -> None:
        for name in dir(type(owner)):
            if name.startswith("_") or not isinstance(getattr(type(owner), name, None), (property, cached_property)):
                continue
            resource = getattr(owner, name, None)
            if not type(resource).__module__.startswith(("openai.resources", "azure_shim")) or "With" in str(resource):
                continue
            where = f"{path}.{name}".lstrip(".")
            if hasattr(resource, "connect"):
                found.add(where)
            look(resource, where)

    look(client, "")
    assert set(KINDS) <= found
    assert {name for name in found if type(resource_of(client, name)).__module__ != "azure_shim.websockets"} == set()


def test_each_target_has_its_own_deployment_and_surface(colour: Colour, a: SocketServer, b: SocketServer) -> None:
    classic = at("b", b, api_version="2024-10-01-preview", deployments={MODEL: "voice-b"})
    config = plan("fallback", at("a", a, deployments={MODEL: "voice-a"}), classic)
    client = colour.client(config=config)
    Clock(client)
    connect("realtime", colour, client)
    assert a.dialled[0][0] == path("realtime", "voice-a")
    cool(client, 0)
    connect("realtime", colour, client)
    where, _, query = b.dialled[0][0].partition("?")
    assert where == "/openai/realtime"
    assert {"api-version=2024-10-01-preview", "deployment=voice-b"} <= set(query.split("&"))
    dial(colour, client.beta.realtime.connect(model=MODEL))
    assert dialled(a, b) == [1, 2]


def test_a_model_of_override_params_is_what_is_dialled(colour: Colour, a: SocketServer, b: SocketServer) -> None:
    config = plan("fallback", at("a", a, override_params={"model": "voice"}), at("b", b))
    connect("realtime", colour, colour.client(config=config))
    assert a.dialled[0][0] == path("realtime", "voice")


def test_a_model_that_nobody_has_is_an_error_that_says_who_has_what(
    colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    config = plan("fallback", at("a", a, deployments={"gpt-4o": "prod"}), at("b", b, deployments={"o3": "prod-o3"}))
    client = colour.client(config=config)
    error = failure(lambda: connect("realtime", colour, client), openai.OpenAIError)
    for word in (MODEL, "a: ", "gpt-4o", "b: ", "o3"):
        assert word in str(error)
    assert "key-of" not in str(error)
    assert dialled(a, b) == [0, 0]


if MAJOR >= 2:

    def test_responses_are_dialled_where_the_surface_has_them(colour: Colour, a: SocketServer, b: SocketServer) -> None:
        """The classic surface has no such WebSocket."""
        classic = at("a", a, api_version="2024-10-21")
        connect("responses", colour, colour.client(config=plan("fallback", classic, at("b", b))))
        assert dialled(a, b) == [0, 1]
        nobody = colour.client(config=plan("fallback", classic, at("b", b, api_version="2025-04-01-preview")))
        error = failure(lambda: connect("responses", colour, nobody), openai.OpenAIError)
        for word in ("a: ", "b: ", "only on the v1 surface"):
            assert word in str(error)
        assert dialled(a, b) == [0, 1]


def test_the_preview_realtime_is_dialled_where_it_is(colour: Colour, a: SocketServer, b: SocketServer) -> None:
    """The beta of the SDK is of the dated surface alone, and so of the second target here."""
    config = plan("fallback", at("a", a), at("b", b, api_version="2024-10-01-preview"))
    client = colour.client(config=config)
    dial(colour, client.beta.realtime.connect(model=MODEL))
    assert dialled(a, b) == [0, 1]
    assert b.dialled[0][0].startswith("/openai/realtime?")


# -- what a caller asks for

WRITTEN = ["call", "client", "copy"]


def wishing(written: str, colour: Colour, config: Any, headers: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """A client, and the arguments of a call, one of which says ``headers``."""
    if written == "call":
        return colour.client(config=config), {"extra_headers": headers}
    if written == "client":
        return colour.client(config=config, default_headers=headers), {}
    return colour.client(config=config).with_options(default_headers=headers), {}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", [PIN, "X-Azure-Shim-Target"])
def test_a_pin_is_dialled_at_that_target_alone(
    name: str, written: str, kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    client, call = wishing(written, colour, plan("fallback", at("a", a), at("b", b)), {name: "b"})
    connect(kind, colour, client, **call)
    cool(client, 1)  # a hand that pins knows better than a cool-down
    connect(kind, colour, client, **call)
    assert dialled(a, b) == [0, 2]
    assert signed(b) == {"api-key": "key-of-b-0123456789"}


def test_a_pin_of_the_call_wins_over_the_clients(kind: str, colour: Colour, a: SocketServer, b: SocketServer) -> None:
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)), default_headers={PIN: "b"})
    connect(kind, colour, client, extra_headers={PIN: "a"})
    assert dialled(a, b) == [1, 0]


@pytest.mark.parametrize("written", WRITTEN)
def test_a_pin_to_nobody_is_an_error_that_names_the_targets(
    written: str, kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    client, call = wishing(written, colour, plan("fallback", at("a", a), at("b", b)), {PIN: "c"})
    error = failure(lambda: connect(kind, colour, client, **call), openai.OpenAIError)
    assert "'a', 'b'" in str(error)
    assert dialled(a, b) == [0, 0]


def tagged(a: SocketServer, b: SocketServer, **rules: Any) -> dict[str, Any]:
    """Abroad comes first."""
    return plan("fallback", at("a", a, tags={"zone": "us"}), at("b", b, tags={"zone": "eu"}), **rules)


@pytest.mark.parametrize("written", [*WRITTEN, "plan"])
def test_nothing_is_dialled_outside_of_the_residency(
    written: str, kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    if written == "plan":
        client, call = colour.client(config=tagged(a, b, residency={"zone": "eu"})), {}
    else:
        client, call = wishing(written, colour, tagged(a, b), {RESIDENCY: "zone=eu"})
    connect(kind, colour, client, **call)
    cool(client, 1)
    connect(kind, colour, client, **call)
    assert dialled(a, b) == [0, 2]


@pytest.mark.parametrize("wish", ["zone=asia", "moon", "=eu", ","])
def test_a_residency_that_nobody_is_within_or_that_cannot_be_read_is_an_error(
    wish: str, kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    client = colour.client(config=tagged(a, b))
    error = failure(lambda: connect(kind, colour, client, extra_headers={RESIDENCY: wish}), openai.OpenAIError)
    assert "residency" in str(error)
    assert dialled(a, b) == [0, 0]


def test_a_call_cannot_widen_the_plans_residency(kind: str, colour: Colour, a: SocketServer, b: SocketServer) -> None:
    client = colour.client(config=tagged(a, b, residency={"zone": "eu"}))
    for headers in ({RESIDENCY: "zone=us"}, {PIN: "a"}, {PIN: "a", RESIDENCY: "zone=eu"}):
        failure(lambda headers=headers: connect(kind, colour, client, extra_headers=headers), openai.OpenAIError)
    assert dialled(a, b) == [0, 0]


def test_a_model_that_only_a_target_abroad_has_is_an_error(colour: Colour, a: SocketServer, b: SocketServer) -> None:
    config = plan(
        "fallback",
        at("a", a, tags={"zone": "us"}),
        at("b", b, tags={"zone": "eu"}, deployments={"gpt-4o": "prod"}),
        residency={"zone": "eu"},
    )
    failure(lambda: connect("realtime", colour, colour.client(config=config)), openai.OpenAIError)
    assert dialled(a, b) == [0, 0]


# -- what signs, and other headers


@pytest.mark.parametrize("name", ["api-key", "Authorization", "Ocp-Apim-Subscription-Key"])
def test_a_target_that_is_signed_by_its_own_headers(
    name: str, kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    own = at("a", a, api_key=None, default_headers={name: "Bearer of-a", "x-team": "team-of-a"})
    client = colour.client(config=plan("fallback", own, at("b", b)))
    Clock(client)
    connect(kind, colour, client)
    assert signed(a) == {name.lower(): "Bearer of-a"}
    assert a.dialled[0][1]["x-team"] == "team-of-a"
    cool(client, 0)
    connect(kind, colour, client)
    assert signed(b) == {"api-key": "key-of-b-0123456789"}
    assert "of-a" not in str(b.dialled)


def test_a_target_with_a_token_of_a_provider_and_one_with_a_gateways_header(
    kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    token = at("a", a, api_key=None, azure_ad_token_provider=lambda: "provided")
    client = colour.client(config=plan("fallback", token, at("b", b, api_key_header="x-gateway-key")))
    connect(kind, colour, client)
    assert signed(a) == {"authorization": "Bearer provided"}
    connect(kind, colour, client, extra_headers={PIN: "b"})
    assert signed(b) == {"x-gateway-key": "key-of-b-0123456789"}


def test_headers_that_sign_nothing_reach_every_target(
    kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)), default_headers={"x-mine": "1"})
    connect(kind, colour, client, extra_headers={"x-call": "2"})
    connect(kind, colour, client, extra_headers={"x-call": "2", PIN: "b"})
    for server in (a, b):
        headers = server.dialled[0][1]
        assert headers["x-call"] == "2"
        assert headers.get("x-mine") == ("1" if MAJOR >= 3 else None)  # openai 1 and 2 dial without default_headers


@pytest.mark.parametrize("header", ["api-key", "Authorization"])
def test_a_credential_of_the_call_is_for_the_first_target_and_no_other(
    header: str, kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    """As by HTTP, and also while the first target cools: nobody else is to see it."""
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)))
    connect(kind, colour, client, extra_headers={header: "Bearer of-this-call"})
    cool(client, 0)
    connect(kind, colour, client, extra_headers={header: "Bearer of-this-call"})
    assert dialled(a, b) == [2, 0]
    assert signed(a) == signed(a, 1) == {header.lower(): "Bearer of-this-call"}


def test_a_credential_of_the_call_is_for_the_first_in_the_written_order(
    kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    client = colour.client(config=plan("loadbalance", at("a", a), at("b", b), by="round_robin"))
    for _ in range(3):
        connect(kind, colour, client, extra_headers={"api-key": "of-this-call"})
    assert dialled(a, b) == [3, 0]
    connect(kind, colour, client, extra_headers={"api-key": "of-this-call", PIN: "b"})
    assert signed(b) == {"api-key": "of-this-call"}


def test_a_key_in_a_gateways_own_header_is_of_the_call_too(
    kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    config = plan("fallback", at("a", a, api_key_header="x-gateway-key"), at("b", b))
    client = colour.client(config=config)
    cool(client, 0)
    connect(kind, colour, client, extra_headers={"X-Gateway-Key": "of-this-call"})
    assert dialled(a, b) == [1, 0]
    assert signed(a) == {"x-gateway-key": "of-this-call"}


def test_openai_as_a_target_gets_its_own_key_and_path(
    kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    config = plan("fallback", at("a", a), platform(b, organization="org-of-ours", project="proj-of-ours"))
    client = colour.client(config=config)
    connect(kind, colour, client)
    assert "of-ours" not in str(a.dialled)
    cool(client, 0)
    connect(kind, colour, client)
    where, headers = b.dialled[0]
    assert where == path(kind, base="/v1")
    assert signed(b) == {"authorization": "Bearer sk-of-the-platform-0123456789"}
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-of-ours", "proj-of-ours")
    assert "key-of-a" not in str(headers)


def test_openai_first_and_a_model_that_it_calls_otherwise(colour: Colour, a: SocketServer, b: SocketServer) -> None:
    config = plan("fallback", platform(b, override_params={"model": "gpt-realtime-2025"}), at("a", a))
    client = colour.client(config=config)
    connect("realtime", colour, client)
    assert dialled(a, b) == [0, 1]
    assert b.dialled[0][0] == path("realtime", "gpt-realtime-2025", "/v1")
    cool(client, 0)
    connect("realtime", colour, client)
    assert a.dialled[0][0] == path("realtime")
    assert signed(a) == {"api-key": "key-of-a-0123456789"}


@pytest.mark.parametrize("ours", ["a", "b"])
def test_a_handshake_that_leads_to_another_target_is_refused(
    ours: str, kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    servers = {"a": a, "b": b}
    other = servers["b" if ours == "a" else "a"]
    servers[ours].redirect = other.url.replace("http", "ws") + "/steal"
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)))
    with pytest.raises(Exception, match=r"."):
        connect(kind, colour, client, extra_headers={PIN: ours})
    assert dialled(servers[ours], other) == [1, 0]


def test_a_token_that_is_refused_is_another_one_at_the_next_dialling(
    kind: str, colour: Colour, a: SocketServer, b: SocketServer
) -> None:
    given: list[str] = []

    def provide() -> str:
        given.append(f"token-{len(given) + 1}")
        return given[-1]

    b.refused = "Bearer token-1"
    target = at("b", b, api_key=None, azure_ad_token_provider=provide)
    client = colour.client(config=plan("fallback", at("a", a), target))
    with pytest.raises(Exception, match="401"):
        connect(kind, colour, client, extra_headers={PIN: "b"})
    connect(kind, colour, client, extra_headers={PIN: "b"})
    assert signed(b) == {"authorization": "Bearer token-2"}
    assert a.dialled == []


def test_dialling_leaves_the_client_as_it_was(kind: str, colour: Colour, a: SocketServer, b: SocketServer) -> None:
    client = colour.client(config=plan("fallback", at("a", a), at("b", b)), default_headers={PIN: "b"})
    before = (str(client.base_url), str(client.websocket_base_url), dict(client._custom_headers))
    connect(kind, colour, client)
    assert (str(client.base_url), str(client.websocket_base_url), dict(client._custom_headers)) == before
    assert not client.is_closed()
    assert len(client.health()) == 2
