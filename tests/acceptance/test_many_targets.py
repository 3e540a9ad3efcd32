"""One client and several resources on real sockets: how a config is written, who is asked, who gets which secret."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.testing import FakeAzure
from tests.conftest import AMBIENT_KEY, LIBRARIES, Colour
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
    names_of,
    pin,
    plan,
    raw_chat,
)
from tests.servers import FIN, LAST_CHUNK, RESET, ScriptedServer, answer, chunk, chunked, event

LIMITED = {"error": {"code": "429", "message": "too many"}}


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with FakeAzure({"eastus": [MODEL], "westus": [MODEL]}) as found:
        yield found
        assert found.leaks == []
        assert_nothing_of_ours(*found.requests)


@pytest.fixture(params=DOSES)
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def served(azure: FakeAzure) -> list[str]:
    return [request.resource for request in azure.requests]


# -- how a config is written


def test_the_two_configs_of_the_issue_are_taken_as_they_are(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    east = {
        "provider": "azure-openai",
        "resource_name": "eastus-resource",
        "deployment_id": "gpt-4",
        "api_version": "2024-10-21",
        "api_key": "a",
        "weight": 0.5,
    }
    balanced = colour.client(
        config={
            "strategy": {"mode": "loadbalance"},
            "targets": [east, {**east, "resource_name": "westus-resource", "api_key": "b"}],
        }
    )
    assert [target.target for target in balanced.health()] == ["eastus-resource", "westus-resource"]
    assert str(balanced.base_url).startswith("https://eastus-resource.openai.azure.com/")

    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://alone.openai.azure.com")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key-of-alone")
    falling_back = colour.client().with_options(
        config={
            "strategy": {"mode": "fallback"},
            "targets": [east, {"provider": "openai", "api_key": "sk-...", "override_params": {"model": "gpt-4"}}],
        }
    )
    assert [target.target for target in falling_back.health()] == ["eastus-resource", "openai"]


def _as_dict(config: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"config": config}


def _as_json(config: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    file = path / "azure.json"
    file.write_text(json.dumps(config))
    return {"config": str(file)}


def _as_toml(config: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    lines = ["[strategy]", f"mode = {json.dumps(config['strategy']['mode'])}"]
    for target in config["targets"]:
        monkeypatch.setenv(f"KEY_OF_{target['name'].upper()}", target["api_key"])
        lines += ["[[targets]]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in target.items() if key != "api_key"]
        lines += [f'api_key = {{env = "KEY_OF_{target["name"].upper()}"}}']
    file = path / "azure.toml"
    file.write_text("\n".join(lines))
    return {"config": file}


def _as_variable(config: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("AZURE_SHIM_CONFIG", str(_as_toml(config, path, monkeypatch)["config"]))
    return {}


def _as_types(config: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"config": azure_shim.Fallback([azure_shim.AzureTarget(**target) for target in config["targets"]])}


def _with_secrets_by_name(config: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for target in config["targets"]:
        monkeypatch.setenv(f"KEY_OF_{target['name']}", target["api_key"])
        target["api_key"] = {"env": f"KEY_OF_{target['name']}"}
    return {"config": config}


def _as_nested(config: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keys come down from the groups above."""
    version = config["targets"][0].pop("api_version")
    groups = [{"strategy": {"mode": "loadbalance"}, "targets": [target]} for target in config["targets"]]
    return {"config": {**config, "targets": groups, "api_version": version}}


SPELLINGS = [_as_dict, _as_json, _as_toml, _as_variable, _as_types, _with_secrets_by_name, _as_nested]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_config_in_any_spelling_fails_over(
    spelling: Callable[..., dict[str, Any]],
    dose: str,
    colour: Colour,
    azure: FakeAzure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = spelling(plan("fallback", at(azure["eastus"]), at(azure["westus"])), tmp_path, monkeypatch)
    client = connect(dose, colour, arguments.get("config"))
    azure["eastus"].fail_next("429_call_rate")
    assert chat(colour, client).startswith("Hello from westus")
    assert served(azure) == ["eastus", "westus"]


def test_a_config_is_read_once_and_a_copy_is_of_this_client(colour: Colour, azure: FakeAzure, tmp_path: Path) -> None:
    file = tmp_path / "azure.json"
    file.write_text(json.dumps(plan("fallback", at(azure["eastus"]), at(azure["westus"]))))
    client = colour.client(config=str(file))
    file.write_text("{}")
    assert chat(colour, client.with_options(timeout=30)).startswith("Hello from eastus")


def test_with_options_goes_from_one_endpoint_to_several_targets(colour: Colour, azure: FakeAzure) -> None:
    east, west = azure["eastus"], azure["westus"]
    alone = colour.client(azure_endpoint=east.endpoint, api_key=east.api_key)
    assert alone.health() == ()
    several = alone.with_options(config=plan("fallback", at(east), at(west)))
    east.fail_next("503")
    assert chat(colour, several).startswith("Hello from westus")
    assert chat(colour, alone).startswith("Hello from eastus")
    colour.close(several)


def test_conditions_choose_a_target_by_model_path_and_metadata(dose: str, colour: Colour, azure: FakeAzure) -> None:
    azure["westus"].deployments = None
    config = azure_shim.Conditional(
        [azure_shim.AzureTarget(**at(azure["eastus"])), azure_shim.AzureTarget(**at(azure["westus"]))],
        conditions=[
            ({"params.model": {"$eq": "gpt-35"}}, "westus"),
            ({"metadata.plan": "batch"}, "westus"),
            ({"url.pathname": {"$regex": "/embeddings$"}}, "westus"),
        ],
        default="eastus",
    )
    client = connect(dose, colour, config)
    chat(colour, client)
    chat(colour, client, model="gpt-35")
    chat(colour, client, extra_headers={"x-portkey-metadata": '{"plan": "batch"}'})
    colour.call(client.embeddings.create, model="text-embedding-3-small", input="a")
    assert served(azure) == ["eastus", "westus", "westus", "westus"]


@pytest.mark.parametrize("how", ["weights", "round_robin", "load", "latency"])
def test_load_is_spread_over_the_targets(how: str, colour: Colour, azure: FakeAzure) -> None:
    targets = [azure_shim.AzureTarget(**at(resource)) for resource in azure]
    config = (
        azure_shim.LoadBalance(targets, weights=[3, 1], seed=7)
        if how == "weights"
        else azure_shim.LoadBalance(targets, by=how, seed=7)
    )
    client = colour.client(config=config)
    for _ in range(40):
        chat(colour, client)
    count = Counter(served(azure))
    assert count.total() == 40
    if how == "weights":
        assert 22 <= count["eastus"] <= 38
    elif how == "round_robin":
        assert count == {"eastus": 20, "westus": 20}
    else:
        assert min(count["eastus"], count["westus"]) >= 1


def test_a_seed_makes_the_choice_repeatable(colour: Colour, azure: FakeAzure) -> None:
    def order() -> list[str]:
        azure.forget()
        client = colour.client(config=plan("loadbalance", at(azure["eastus"]), at(azure["westus"]), seed=3))
        for _ in range(12):
            chat(colour, client)
        return served(azure)

    assert order() == order()


def test_a_weight_of_0_is_for_when_nothing_else_is_left(colour: Colour, azure: FakeAzure) -> None:
    config = plan("loadbalance", at(azure["eastus"]), at(azure["westus"], weight=0))
    client = colour.client(config=config)
    for _ in range(10):
        assert chat(colour, client).startswith("Hello from eastus")
    azure["eastus"].fail_next("429_call_rate")
    assert chat(colour, client).startswith("Hello from westus")


# -- what each target gets


@pytest.fixture
def servers() -> Iterator[list[ScriptedServer]]:
    with ScriptedServer() as one, ScriptedServer() as two, ScriptedServer() as three, ScriptedServer() as four:
        yield [one, two, three, four]


def differing(servers: list[ScriptedServer]) -> list[dict[str, Any]]:
    """Four targets that differ in everything."""
    classic, v1, token, platform = servers
    return [
        {
            "name": "classic",
            "azure_endpoint": classic.url,
            "api_key": "key-of-classic-0123456789",
            "api_version": "2024-10-21",
            "deployments": {MODEL: "classic 4o"},
            "default_headers": {"x-team": "team-of-classic", "Ocp-Apim-Subscription-Key": "subscription-of-classic"},
        },
        {
            "name": "gateway",
            "base_url": f"{v1.url}/apim/za/openai/v1",
            "api_key": "key-of-gateway-0123456789",
            "api_key_header": "x-gateway-key",
            "deployments": {MODEL: "gateway-4o"},
        },
        {
            "name": "token",
            "azure_endpoint": token.url,
            "azure_ad_token": "token-of-token-0123456789",
            "api_version": "2025-04-01-preview",
            "azure_deployment": "token-4o",
        },
        {
            "provider": "openai",
            "name": "platform",
            "base_url": f"{platform.url}/v1",
            "api_key": "sk-of-platform-0123456789",
            "organization": "org-of-platform",
        },
    ]


SECRETS = [
    ["key-of-classic-0123456789", "team-of-classic", "subscription-of-classic"],
    ["key-of-gateway-0123456789"],
    ["token-of-token-0123456789"],
    ["sk-of-platform-0123456789", "org-of-platform"],
]
PATHS = [
    "/openai/deployments/classic%204o/chat/completions?api-version=2024-10-21",
    "/apim/za/openai/v1/chat/completions",
    "/openai/deployments/token-4o/chat/completions?api-version=2025-04-01-preview",
    "/v1/chat/completions",
]
SIGNED_BY = [
    {"api-key": "key-of-classic-0123456789", "ocp-apim-subscription-key": "subscription-of-classic"},
    {"x-gateway-key": "key-of-gateway-0123456789"},
    {"authorization": "Bearer token-of-token-0123456789"},
    {"authorization": "Bearer sk-of-platform-0123456789"},
]
SIGNING = ("api-key", "authorization", "x-gateway-key", "ocp-apim-subscription-key")


def assert_each_has_its_own(servers: list[ScriptedServer]) -> None:
    for index, server in enumerate(servers):
        for seen in server.requests:
            text = f"{seen.target}{seen.headers}{seen.body!r}"
            for other, secrets in enumerate(SECRETS):
                for secret in secrets:
                    assert (secret in text) == (other == index), f"{secret} at the server of {index}"
            assert AMBIENT_KEY not in text
            assert "of-nobody" not in text
            assert {name: seen.header(name) for name in SIGNING if seen.header(name)} == SIGNED_BY[index]
            assert seen.header("host") == f"127.0.0.1:{server.port}"
            assert {name for name in names_of(seen) if "azure-shim" in name or name == "cookie"} == set()
            assert seen.header("content-length") == str(len(seen.body))


@pytest.mark.parametrize("mode", ["fallback", "loadbalance"])
def test_each_target_gets_its_own_and_nothing_of_another(
    mode: str, dose: str, colour: Colour, servers: list[ScriptedServer]
) -> None:
    """All are asked in turn for every call, and every attempt begins with what its caller sent (field note B9)."""
    for server in servers:
        cookie = {"retry-after-ms": "1", "set-cookie": "session=of-this-server; Path=/"}
        server.script = lambda seen, cookie=cookie: [answer(LIMITED, 429, cookie)]
    client = connect(dose, colour, plan(mode, *differing(servers), seed=1), max_retries=0)
    for index in range(4):
        # With a pin each is asked alone as well; a 429 does not spare it.
        error = failure(lambda: chat(colour, client), openai.RateLimitError)
        assert error.response.headers["x-azure-shim-attempts"] in ("1", "2", "3", "4")
        failure(lambda at=index: chat(colour, client, **pin(NAMES[at])), openai.RateLimitError)
    for server, path in zip(servers, PATHS, strict=True):
        assert {seen.target for seen in server.requests} == {path}
    assert_each_has_its_own(servers)
    assert [json.loads(server.requests[0].body)["model"] for server in servers[1:]] == ["gateway-4o", MODEL, MODEL]


NAMES = ["classic", "gateway", "token", "platform"]


def test_one_call_asks_all_four_in_their_order(dose: str, colour: Colour, servers: list[ScriptedServer]) -> None:
    order: list[int] = []
    for index, server in enumerate(servers):

        def script(seen: Any, index: int = index) -> list[bytes]:
            order.append(index)
            return [answer(LIMITED, 429)] if index < 3 else [answer()]

        server.script = script
    client = connect(dose, colour, plan("fallback", *differing(servers)))
    assert chat(colour, client) == "hello"
    assert order == [0, 1, 2, 3]
    assert_each_has_its_own(servers)


def test_a_callers_cookies_and_headers_reach_no_target_but_as_meant(
    colour: Colour, library: Any, servers: list[ScriptedServer]
) -> None:
    """What a caller's client would add to any host: cookies, a key, an organization."""
    given = colour.library_client(library, cookies={"session": "cookie-of-nobody"}, headers={"api-key": "of-nobody"})
    servers[0].script = servers[2].script = lambda seen: [answer(LIMITED, 429, {"set-cookie": "session=1; Path=/"})]
    targets = differing(servers)
    client = colour.client(config=plan("fallback", targets[0], targets[2], targets[1]), http_client=given)
    assert chat(colour, client, extra_headers={"x-mine": "1"}) == "hello"
    assert_each_has_its_own(servers)
    assert [server.requests[0].header("x-mine") for server in servers[:3]] == ["1", "1", "1"]
    colour.close(given)


def test_a_credential_that_a_caller_writes_into_a_call_is_seen_by_one_target(
    colour: Colour, servers: list[ScriptedServer]
) -> None:
    for server in servers[:2]:
        server.script = lambda seen: [answer(LIMITED, 429)]
    targets = [at_server("a", servers[0]), at_server("b", servers[1])]
    client = colour.client(config=plan("fallback", *targets), max_retries=0)
    headers = {"Authorization": "Bearer token-of-this-call"}
    failure(lambda: chat(colour, client, extra_headers=headers), openai.RateLimitError)
    assert servers[0].requests[0].header("authorization") == "Bearer token-of-this-call"
    assert servers[0].requests[0].header("api-key") is None
    assert servers[1].requests == []


def test_a_model_that_nobody_has_is_an_error_that_says_who_has_what(
    dose: str, colour: Colour, azure: FakeAzure
) -> None:
    east = at(azure["eastus"], deployments={"gpt-4o": "prod-4o"}, unmapped_models="error")
    west = at(azure["westus"], deployments={"gpt-35": "prod-35"}, unmapped_models="error")
    client = connect(dose, colour, plan("loadbalance", east, west))
    error = failure(lambda: chat(colour, client, model="gpt-5"), openai.APIStatusError)
    for word in ("gpt-5", "eastus", "gpt-4o", "westus", "gpt-35"):
        assert word in str(error)
    assert azure.requests == []


def test_targets_that_do_not_serve_the_model_are_no_candidates(dose: str, colour: Colour, azure: FakeAzure) -> None:
    azure["eastus"].deployments, azure["westus"].deployments = {"prod-4o": MODEL}, {"prod-35": "gpt-35"}
    east = at(azure["eastus"], deployments={MODEL: "prod-4o"}, unmapped_models="error")
    west = at(azure["westus"], deployments={"gpt-35": "prod-35"}, unmapped_models="error")
    client = connect(dose, colour, plan("loadbalance", east, west), max_retries=0)
    for _ in range(5):
        assert chat(colour, client).startswith("Hello from eastus/prod-4o")
        assert chat(colour, client, model="gpt-35").startswith("Hello from westus/prod-35")
    azure["westus"].fail_next("429_call_rate")
    failure(lambda: chat(colour, client, model="gpt-35"), openai.RateLimitError)
    assert azure.refused == []
    assert served(azure)[-1] == "westus"


def test_a_deployment_that_is_missing_in_one_region_is_skipped(dose: str, colour: Colour, azure: FakeAzure) -> None:
    azure["eastus"].deployments = {"other": "other"}
    client = connect(dose, colour, plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    assert chat(colour, client).startswith("Hello from westus")


# -- by hand


@pytest.mark.parametrize("name", ["eastus", "westus"])
def test_a_pin_sends_a_call_to_that_target_alone(name: str, dose: str, colour: Colour, azure: FakeAzure) -> None:
    client = connect(dose, colour, plan("fallback", at(azure["eastus"]), at(azure["westus"])), max_retries=0)
    assert chat(colour, client, **pin(name)).startswith(f"Hello from {name}")
    azure[name].fail_next("429_call_rate", retry_after=60)
    failure(lambda: chat(colour, client, **pin(name)), openai.RateLimitError)
    # A hand that pins knows better than a cool-down.
    assert chat(colour, client, **pin(name)).startswith(f"Hello from {name}")
    assert served(azure) == [name] * 3


def test_a_pin_to_nobody_is_an_error_that_names_the_targets(dose: str, colour: Colour, azure: FakeAzure) -> None:
    client = connect(dose, colour, plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    error = failure(lambda: chat(colour, client, **pin("eastsu")), openai.BadRequestError)
    assert "eastus" in str(error)
    assert "westus" in str(error)
    assert azure.requests == []


def test_a_pin_can_be_a_clients_default(colour: Colour, azure: FakeAzure) -> None:
    client = colour.client(
        config=plan("fallback", at(azure["eastus"]), at(azure["westus"])), default_headers={PIN: "westus"}
    )
    assert chat(colour, client).startswith("Hello from westus")


# -- who served


def test_an_answer_says_who_served_and_after_how_many_attempts(dose: str, colour: Colour, azure: FakeAzure) -> None:
    config = plan("fallback", at(azure["eastus"], region="East US"), at(azure["westus"], region="West US"))
    client = connect(dose, colour, config)
    first = raw_chat(colour, client)
    assert (first.headers[PIN], first.headers["x-azure-shim-attempts"]) == ("eastus", "1")
    azure["eastus"].fail_next("429_token_rate", retry_after=7)
    second = raw_chat(colour, client)
    assert (second.headers[PIN], second.headers["x-azure-shim-attempts"]) == ("westus", "2")
    for carrier in (second, second.http_response):
        refused, good = azure_shim.attempts(carrier)
        assert isinstance(refused, azure_shim.Attempt)
        assert (refused.target, refused.region, refused.status) == ("eastus", "East US", 429)
        assert (good.target, good.region, good.status, good.reason) == ("westus", "West US", 200, "served")
        assert (refused.deployment, refused.reason) == (MODEL, "rate limited")
        assert 7 <= refused.cooled_s <= 8
        assert min(refused.duration_s, good.duration_s) > 0
        assert good.wait_s >= 0


def test_a_stream_says_who_serves_it(dose: str, colour: Colour, azure: FakeAzure) -> None:
    client = connect(dose, colour, plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    azure["eastus"].fail_next("reset")
    stream = colour.call(client.chat.completions.create, model=MODEL, messages=MESSAGES, stream=True)
    assert stream.response.headers[PIN] == "westus"
    assert [attempt.target for attempt in azure_shim.attempts(stream)] == ["eastus", "westus"]
    assert azure_shim.attempts(stream)[0].status is None
    text = "".join(chunk.choices[0].delta.content or "" for chunk in colour.list(stream) if chunk.choices)
    assert text.startswith("Hello from westus")
    assert [attempt.target for attempt in azure_shim.attempts(stream)] == ["eastus", "westus"]


def test_a_status_error_tells_its_attempts(dose: str, colour: Colour, azure: FakeAzure) -> None:
    client = connect(dose, colour, plan("fallback", at(azure["eastus"]), at(azure["westus"])), max_retries=0)
    azure["eastus"].fail_next("429_call_rate")
    azure["westus"].fail_next("500")
    error = failure(lambda: chat(colour, client), openai.APIStatusError)
    assert error.status_code == 500
    assert error.request_id
    assert [(a.target, a.status) for a in azure_shim.attempts(error)] == [("eastus", 429), ("westus", 500)]
    assert error.response.headers[PIN] == "westus"
    assert error.response.headers["x-azure-shim-attempts"] == "2"


def test_a_connection_error_tells_its_attempts(dose: str, colour: Colour, azure: FakeAzure) -> None:
    client = connect(dose, colour, plan("fallback", at(azure["eastus"]), at(azure["westus"])), max_retries=0)
    azure["eastus"].stop()
    azure["westus"].stop()
    error = failure(lambda: chat(colour, client), openai.APIConnectionError)
    assert [(a.target, a.status) for a in azure_shim.attempts(error)] == [("eastus", None), ("westus", None)]
    assert all("connect" in a.reason for a in azure_shim.attempts(error))


def test_a_timeout_tells_its_attempts(dose: str, colour: Colour, azure: FakeAzure) -> None:
    config = plan("fallback", at(azure["eastus"], timeout=0.3), at(azure["westus"], timeout=0.3))
    client = connect(dose, colour, config, max_retries=0, timeout=10)
    azure["eastus"].fail_next("stall")
    azure["westus"].fail_next("stall")
    error = failure(lambda: chat(colour, client), openai.APITimeoutError)
    assert [(a.target, a.status, a.reason) for a in azure_shim.attempts(error)] == [
        ("eastus", None, "read timed out"),
        ("westus", None, "read timed out"),
    ]


CUT = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"
FILTERED = chunk(b'data: {"error":{"code":"content_filter","message":"no"}}\n\n')
LATER = {
    "an answer that is cut": ([CUT, FIN], False, "answer cut"),
    "a stream that breaks": ([chunked(), event("a"), RESET], True, "answer cut"),
    "an error after a token": (
        [chunked(), event("a"), chunk(b'data: {"error":{"code":"x","message":"y"}}\n\n'), LAST_CHUNK],
        True,
        "served",
    ),
    "an error before any token": ([chunked(), FILTERED, LAST_CHUNK], True, "served"),
}


@pytest.mark.parametrize("how", LATER)
def test_an_answer_that_fails_while_it_is_read_tells_its_attempts(
    how: str, dose: str, colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    script, streams, reason = LATER[how]
    server.script = lambda seen: [answer(LIMITED, 429)]
    elsewhere.script = lambda seen: script
    client = connect(dose, colour, plan("fallback", at_server("a", server), at_server("b", elsewhere)), max_retries=0)

    def read() -> Any:
        found = colour.call(client.chat.completions.create, model=MODEL, messages=MESSAGES, stream=streams)
        return colour.list(found) if streams else found

    error = failure(read, (openai.APIError, *(m.HTTPError for m in map(importlib.import_module, LIBRARIES))))
    log = [(a.target, a.status, a.reason) for a in azure_shim.attempts(error)]
    assert log == [("a", 429, "rate limited"), ("b", 200, reason)]


def test_a_filter_among_the_first_events_tells_its_attempt(
    dose: str, colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    server.script = lambda seen: [chunked(), FILTERED, LAST_CHUNK]
    client = connect(dose, colour, plan("fallback", at_server("a", server), at_server("b", elsewhere)), max_retries=0)
    stream = colour.call(client.chat.completions.create, model=MODEL, messages=MESSAGES, stream=True)
    error = failure(lambda: colour.list(stream), openai.APIError)
    assert [(a.target, a.status, a.reason) for a in azure_shim.attempts(error)] == [("a", 200, "content filter")]
    assert elsewhere.requests == []


def test_an_error_before_any_attempt_has_none(colour: Colour, azure: FakeAzure) -> None:
    client = colour.client(config=plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    error = failure(lambda: chat(colour, client, **pin("nobody")), openai.BadRequestError)
    assert azure_shim.attempts(error) == ()
    assert azure_shim.attempts(None) == ()
    assert azure_shim.attempts(ValueError()) == ()


def test_one_endpoint_has_one_attempt(colour: Colour, azure: FakeAzure) -> None:
    east = azure["eastus"]
    client = colour.client(azure_endpoint=east.endpoint, api_key=east.api_key, max_retries=0)
    (attempt,) = azure_shim.attempts(raw_chat(colour, client))
    assert (attempt.status, attempt.reason, attempt.deployment) == (200, "served", MODEL)
    east.fail_next("500")
    error = failure(lambda: chat(colour, client), openai.InternalServerError)
    assert [attempt.status for attempt in azure_shim.attempts(error)] == [500]


def test_health_is_a_snapshot_of_every_target(colour: Colour, azure: FakeAzure) -> None:
    client = colour.client(
        config=plan("fallback", at(azure["eastus"], region="East US"), at(azure["westus"])), max_retries=0
    )
    before = client.health()
    assert [(t.target, t.region, t.state, t.in_flight) for t in before] == [
        ("eastus", "East US", "healthy", 0),
        ("westus", None, "healthy", 0),
    ]
    clock = Clock(client)
    azure["eastus"].fail_next("429_call_rate", retry_after=10)
    azure["westus"].stop()
    failure(lambda: chat(colour, client), openai.RateLimitError)  # the last answer that there was
    east, west = client.health()
    assert before[0].deployments == {}
    assert (east.state, list(east.deployments)) == ("healthy", [MODEL])
    assert 10 <= east.deployments[MODEL] <= 11
    assert (west.state, west.deployments) == ("cooling", {})
    assert west.cooling_s > 0
    assert west.reason
    clock.now += 60
    azure["westus"].start()
    assert client.health()[1].state == "half-open"
    assert chat(colour, client).startswith("Hello from eastus")
    assert client.health()[0].deployments == {}


# -- the other doses


@pytest.mark.parametrize("library_name", LIBRARIES)
def test_a_transport_alone_goes_to_several_targets(library_name: str, colour: Colour, azure: FakeAzure) -> None:
    module = importlib.import_module(library_name)
    binding = importlib.import_module(f"azure_shim.transport.on_{library_name}")
    kind = binding.AsyncAzureTransport if colour.is_async else binding.AzureTransport
    transport = kind(config=plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    client = colour.library_client(module, transport=transport)
    azure["eastus"].fail_next("503")
    body = {"model": MODEL, "messages": MESSAGES}
    response = colour.call(client.post, "https://api.openai.com/v1/chat/completions", json=body)
    assert response.json()["choices"][0]["message"]["content"].startswith("Hello from westus")
    assert [a.target for a in azure_shim.attempts(response)] == ["eastus", "westus"]
    colour.close(client)


def test_openais_own_azure_client_goes_to_several_targets(colour: Colour, azure: FakeAzure, library: Any) -> None:
    """It names a deployment in its path, which is the model for every target."""
    azure["westus"].deployments = {"west-4o": MODEL}
    config = plan("fallback", at(azure["eastus"]), at(azure["westus"], deployments={MODEL: "west-4o"}))
    client = colour.azure(
        azure_endpoint="https://somewhere.openai.azure.com",
        api_key="a-key-of-somewhere",
        api_version="2023-05-15",
        http_client=colour.http_client(config=config, library=library.__name__),
    )
    azure["eastus"].fail_next("429_call_rate")
    assert chat(colour, client).startswith("Hello from westus/west-4o")


def test_a_transport_of_the_callers_own_is_used_for_every_target(colour: Colour, library: Any) -> None:
    hosts: list[str] = []

    def handler(request: Any) -> Any:
        hosts.append(request.url.host)
        return library.Response(429 if len(hosts) == 1 else 200, json=LIMITED)

    # Equal configs share their health, those of another test too.
    key = f"{library.__name__}-{colour.is_async}"
    config = plan("fallback", {"resource_name": "one", "api_key": key}, {"resource_name": "two", "api_key": key})
    http_client = colour.http_client(config=config, transport=colour.mock_transport(library, handler))
    colour.call(colour.plain(api_key="sk-of-nobody", http_client=http_client).models.list)
    assert hosts == ["one.openai.azure.com", "two.openai.azure.com"]


def test_copies_keep_the_fleet(colour: Colour, azure: FakeAzure) -> None:
    client = colour.client(config=plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    copies = [client.copy(), client.with_options(timeout=30, max_retries=0), client.with_options(default_headers={})]
    azure["eastus"].fail_next("429_call_rate", retry_after=60)
    assert chat(colour, copies[0]).startswith("Hello from westus")
    azure.forget()
    for each in (client, *copies):
        assert fleet_of(each) is fleet_of(client)
        assert list(each.health()[0].deployments) == [MODEL]
        assert chat(colour, each).startswith("Hello from westus")
    assert served(azure) == ["westus"] * 4


def test_a_copy_with_another_config_has_another_fleet(colour: Colour, azure: FakeAzure) -> None:
    client = colour.client(config=plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    other = client.with_options(config=plan("fallback", at(azure["westus"]), at(azure["eastus"])))
    assert [t.target for t in other.health()] == ["westus", "eastus"]
    assert chat(colour, other).startswith("Hello from westus")
    assert chat(colour, client).startswith("Hello from eastus")
    colour.close(other)
    assert chat(colour, client).startswith("Hello from eastus")


def test_warm_up_opens_a_connection_to_every_target(colour: Colour, azure: FakeAzure) -> None:
    client = colour.client(config=plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    colour.call(client.warm_up)
    assert [(r.resource, r.method, r.path.rpartition("/")[2]) for r in azure.requests] == [
        ("eastus", "GET", "models"),
        ("westus", "GET", "models"),
    ]
    chat(colour, client, **pin("eastus"))
    chat(colour, client, **pin("westus"))
    opened, used = azure.requests[:2], azure.requests[2:]
    assert [r.connection.number for r in used] == [r.connection.number for r in opened]


def test_warm_up_of_a_target_that_is_down_still_warms_the_others(colour: Colour, azure: FakeAzure) -> None:
    client = colour.client(config=plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    azure["eastus"].stop()
    with contextlib.suppress(openai.APIConnectionError):
        colour.call(client.warm_up)
    assert served(azure) == ["westus"]


# -- answers that are none, and redirects


def test_a_page_instead_of_an_answer_moves_on(dose: str, colour: Colour, azure: FakeAzure) -> None:
    client = connect(dose, colour, plan("fallback", at(azure["eastus"]), at(azure["westus"])))
    azure["eastus"].fail_next("html_200")
    answered = raw_chat(colour, client)
    assert answered.headers[PIN] == "westus"
    assert azure_shim.attempts(answered)[0].reason == "answer malformed"


def test_pages_everywhere_are_an_error_that_names_who_sent_the_last_one(
    dose: str, colour: Colour, azure: FakeAzure
) -> None:
    client = connect(dose, colour, plan("fallback", at(azure["eastus"]), at(azure["westus"])), max_retries=0)
    azure["eastus"].fail_next("html_200")
    azure["westus"].fail_next("html_200")
    error = failure(lambda: chat(colour, client), openai.APIStatusError)
    assert error.status_code == 502
    assert [a.target for a in azure_shim.attempts(error)] == ["eastus", "westus"]
    assert azure["westus"].endpoint in str(error)
    assert azure["eastus"].endpoint not in str(error)
    assert all(target.in_flight == 0 for target in client_health(client))


def client_health(client: Any) -> Any:
    return fleet_of(client).health.snapshot()


LIST = {"object": "list", "data": []}


@pytest.fixture
def redirecting(servers: list[ScriptedServer]) -> list[ScriptedServer]:
    for server in servers:
        server.script = lambda seen: [answer(LIST)]
    return servers


def redirected(client: Any, colour: Colour, **more: Any) -> Any:
    return colour.call(client.models.list, **more)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_target_passes_unsigned(
    status: int, dose: str, colour: Colour, redirecting: list[ScriptedServer]
) -> None:
    """A server cannot have another one called in its client's name."""
    east, west = redirecting[:2]
    east.script = lambda seen: [answer(b"", status, {"location": f"{west.url}/there?sig=1"})]
    client = connect(dose, colour, plan("fallback", at_server("east", east), at_server("west", west)))
    redirected(client, colour, **pin("east"))
    (seen,) = west.requests
    assert seen.target == "/there?sig=1"
    assert names_of(seen).isdisjoint(SIGNING)
    assert "key-of" not in str(seen)
    assert_nothing_of_ours(seen, *east.requests)


def test_a_redirect_within_a_target_that_was_failed_over_to_stays_its_own(
    dose: str, colour: Colour, redirecting: list[ScriptedServer]
) -> None:
    east, west = redirecting[:2]
    east.script = lambda seen: [answer(LIMITED, 429)]
    west.script = lambda seen: [answer(LIST) if "moved" in seen.target else answer(b"", 307, {"location": "/moved"})]
    client = connect(dose, colour, plan("fallback", at_server("east", east), at_server("west", west)))
    redirected(client, colour)
    assert [seen.header("api-key") for seen in west.requests] == ["key-of-west-0123456789"] * 2
    assert west.requests[1].target == "/moved"
    assert len(east.requests) == 1
    assert_nothing_of_ours(*west.requests, *east.requests)


def test_a_redirect_to_a_host_that_is_no_target_passes_unsigned(
    dose: str, colour: Colour, redirecting: list[ScriptedServer]
) -> None:
    east, west, _, stranger = redirecting
    east.script = lambda seen: [answer(LIMITED, 429)]
    west.script = lambda seen: [answer(b"", 302, {"location": f"{stranger.url}/elsewhere"})]
    config = plan("fallback", at_server("east", east), at_server("west", west, default_headers={"x-team": "of-west"}))
    client = connect(dose, colour, config)
    redirected(client, colour)
    (seen,) = stranger.requests
    assert "key-of" not in str(seen)
    assert "of-west" not in str(seen)
    assert names_of(seen).isdisjoint((*SIGNING, "x-team"))
    assert_nothing_of_ours(seen)


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_of_a_body_to_another_target_is_refused(
    status: int, dose: str, colour: Colour, redirecting: list[ScriptedServer]
) -> None:
    east, west = redirecting[:2]
    east.script = lambda seen: [answer(b"", status, {"location": f"{west.url}/there"})]
    client = connect(dose, colour, plan("fallback", at_server("east", east), at_server("west", west)))
    error = failure(lambda: chat(colour, client), openai.APIStatusError)
    assert error.code == "RedirectRefused"
    assert west.requests == []


def test_a_redirect_of_a_body_to_a_host_that_is_no_target_is_refused(
    dose: str, colour: Colour, redirecting: list[ScriptedServer]
) -> None:
    east, west, _, stranger = redirecting
    east.script = lambda seen: [answer(b"", 307, {"location": f"{stranger.url}/elsewhere"})]
    client = connect(dose, colour, plan("fallback", at_server("east", east), at_server("west", west)))
    error = failure(lambda: chat(colour, client), openai.APIStatusError)
    assert error.code == "RedirectRefused"
    assert stranger.requests == []


def test_a_redirect_that_leads_there_and_back_takes_no_key_along(
    dose: str, colour: Colour, redirecting: list[ScriptedServer]
) -> None:
    east, west = redirecting[:2]
    east.script = lambda seen: [
        answer(LIST) if seen.target == "/back" else answer(b"", 307, {"location": f"{west.url}/there"})
    ]
    west.script = lambda seen: [answer(b"", 307, {"location": f"{east.url}/back"})]
    client = connect(dose, colour, plan("fallback", at_server("east", east), at_server("west", west)))
    redirected(client, colour)
    first, second = east.requests
    assert first.header("api-key") == "key-of-east-0123456789"
    assert second.header("api-key") in (None, "key-of-east-0123456789")
    assert "key-of-west" not in str(east.requests)
    assert "key-of" not in str(west.requests)


def test_a_host_that_is_no_target_is_sent_nothing(colour: Colour, redirecting: list[ScriptedServer]) -> None:
    east, west, _, stranger = redirecting
    client = colour.client(config=plan("fallback", at_server("east", east), at_server("west", west)))
    options = {"cast_to": object}
    error = failure(lambda: colour.call(client.get, f"{stranger.url}/v1/models", **options), openai.APIStatusError)
    assert error.code == "OriginNotConfigured"
    assert stranger.connections == 0


def test_a_stream_whose_chunks_are_scripted_passes_unchanged(
    dose: str, colour: Colour, servers: list[ScriptedServer]
) -> None:
    """Whatever is looked into is handed on byte for byte."""
    body = [event("a"), chunk(b": ping\n\n"), event("b"), chunk(b"data: [DONE]\n\n")]
    servers[0].script = lambda seen: [answer(LIMITED, 429)]
    servers[1].script = lambda seen: [chunked(), *body, LAST_CHUNK]
    config = plan("fallback", at_server("east", servers[0]), at_server("west", servers[1]))
    client = connect(dose, colour, config)
    stream = colour.call(client.chat.completions.create, model=MODEL, messages=MESSAGES, stream=True)
    raw = colour.list(stream.response.aiter_bytes() if colour.is_async else stream.response.iter_bytes())
    assert b"".join(raw) == b"".join(part.split(b"\r\n", 1)[1][:-2] for part in body)
