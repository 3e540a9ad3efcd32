"""Clients with a config beside their other arguments: copies, headers, environment, secrets, forks, the fine print."""

from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

import azure_shim
from tests.conftest import CLEARED, LIBRARIES, Colour
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
    pin,
    plan,
)
from tests.servers import RESET, ScriptedServer, answer

RESIDENCY = "x-azure-shim-residency"
METADATA = "x-portkey-metadata"
SECRET = "secret-of-the-first-0123456789"
SIGNING = ("api-key", "Authorization", "Ocp-Apim-Subscription-Key", "AUTHORIZATION")
LIMITED = {"error": {"code": "429", "message": "too many"}}
Servers = tuple[ScriptedServer, ScriptedServer]


@pytest.fixture
def servers() -> Iterator[Servers]:
    with ScriptedServer() as one, ScriptedServer() as two:
        yield one, two
        assert_nothing_of_ours(*one.requests, *two.requests)


@pytest.fixture
def nobody() -> Iterator[Any]:
    """A server that refuses connections; its port is nobody else's meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield SimpleNamespace(url=f"http://127.0.0.1:{bound.getsockname()[1]}")


@pytest.fixture(params=DOSES)
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def two_of(servers: Servers, mode: str = "fallback", **rules: Any) -> dict[str, Any]:
    return plan(mode, at_server("a", servers[0]), at_server("b", servers[1]), **rules)


def keyless(name: str, server: ScriptedServer, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in at_server(name, server, **more).items() if key != "api_key"}


def limited(server: ScriptedServer) -> None:
    server.script = lambda seen: [answer(LIMITED, 429, {"retry-after-ms": "1"})]


def closed_too(colour: Colour, client: Any) -> Any:
    """A copy with other targets, which has shares of its own in the connections."""
    colour._made.append(client)
    return client


def asked(servers: Servers) -> list[int]:
    return [len(server.requests) for server in servers]


def config_error(make: Any) -> str:
    error = failure(make, azure_shim.ConfigurationError)
    assert isinstance(error, (openai.OpenAIError, ValueError))
    assert SECRET not in "".join(traceback.format_exception(error))
    return str(error)


# -- copies


@pytest.mark.parametrize("header", SIGNING)
def test_a_header_that_signs_for_one_endpoint_goes_with_no_copy_to_other_targets(
    header: str, colour: Colour, servers: Servers
) -> None:
    alone = colour.client(azure_endpoint=servers[0].url, default_headers={header: SECRET})
    config = plan("single", at_server("b", servers[1]))
    assert "default_headers: what signs" in config_error(lambda: alone.with_options(config=config))
    assert "default_headers: what signs" in config_error(lambda: alone.copy(config=config))
    chat(colour, alone)
    assert servers[0].requests[0].header(header) == SECRET
    assert servers[1].connections == 0


def test_a_key_of_one_endpoint_goes_with_no_copy_to_other_targets(colour: Colour, servers: Servers) -> None:
    """Nor does the key of a plan's own arguments go to an endpoint."""
    alone = colour.client(azure_endpoint=servers[0].url, api_key=SECRET)
    assert "Missing credentials" in config_error(
        lambda: alone.with_options(config=plan("single", keyless("b", servers[1])))
    )
    several = colour.client(config=plan("single", keyless("a", servers[0])), api_key=SECRET)
    assert "Missing credentials" in config_error(lambda: several.with_options(azure_endpoint=servers[1].url))
    moved = several.with_options(azure_endpoint=servers[1].url, api_key="key-of-b", api_version="2024-10-21")
    chat(colour, moved)
    assert servers[1].requests[0].header("api-key") == "key-of-b"
    assert moved.health() == ()


CHANGES: list[dict[str, Any]] = [
    {"api_key": "another"},
    {"azure_ad_token": "another"},
    {"azure_ad_token_provider": lambda: "another"},
    {"api_version": "2025-01-01"},
]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: next(iter(changes)))
def test_a_change_that_every_target_overrides_is_an_error_and_not_nothing(
    changes: dict[str, Any], colour: Colour, servers: Servers
) -> None:
    client = colour.client(config=two_of(servers))
    assert "would change nothing" in config_error(lambda: client.with_options(**changes))


def test_a_change_that_some_target_takes_is_taken_there(colour: Colour, servers: Servers) -> None:
    client = colour.client(config=plan("fallback", at_server("a", servers[0]), keyless("b", servers[1])), api_key="k-1")
    changed = closed_too(colour, client.with_options(api_key="k-2"))
    for each in (client, changed):
        chat(colour, each, **pin("a"))
        chat(colour, each, **pin("b"))
    assert [seen.header("api-key") for seen in servers[0].requests] == ["key-of-a-0123456789"] * 2
    assert [seen.header("api-key") for seen in servers[1].requests] == ["k-1", "k-2"]


def test_a_new_credential_replaces_one_of_another_kind(colour: Colour, servers: Servers) -> None:
    client = colour.client(config=plan("single", keyless("a", servers[0])), api_key="k-1")
    chat(colour, closed_too(colour, client.with_options(azure_ad_token="token")))
    (seen,) = servers[0].requests
    assert seen.header("authorization") == "Bearer token"
    assert seen.header("api-key") is None


def test_other_options_of_a_copy_keep_the_plan(colour: Colour, servers: Servers) -> None:
    client = colour.client(config=two_of(servers))
    for each in (client.with_options(timeout=5), client.copy(max_retries=0), client.with_options(), copy.copy(client)):
        assert fleet_of(each) is fleet_of(client)
        assert chat(colour, each) == "hello"
    assert asked(servers) == [4, 0]


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_copy_is_of_the_file_that_was_read_though_it_has_changed(
    suffix: str, colour: Colour, servers: Servers, tmp_path: Path
) -> None:
    file = tmp_path / f"azure.{suffix}"
    target = keyless("a", servers[0])
    if suffix == "json":
        file.write_text(json.dumps(plan("single", target)))
    else:
        lines = [f"{key} = {json.dumps(value)}" for key, value in target.items()]
        file.write_text("\n".join(['[strategy]\nmode = "single"\n[[targets]]', *lines]))
    client = colour.client(config=file, api_key="k-1")
    file.write_text("{" if suffix == "json" else "= no TOML")
    copies = client.with_options(timeout=9), closed_too(colour, client.with_options(api_key="k-2"))
    for each in copies:
        assert chat(colour, each) == "hello"
    file.unlink()
    third = closed_too(colour, client.with_options(api_key="k-3"))
    assert chat(colour, third.with_options(max_retries=0)) == "hello"
    assert [seen.header("api-key") for seen in servers[0].requests] == ["k-1", "k-2", "k-3"]


def test_a_copy_is_of_the_environment_that_was_read_though_it_has_changed(
    colour: Colour, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k-1")
    target = keyless("a", servers[0])
    del target["api_version"]
    client = colour.client(config=plan("single", target))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "of-somebody-else")
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "token-of-somebody-else")
    monkeypatch.setenv("OPENAI_API_VERSION", "2023-05-15")
    chat(colour, closed_too(colour, client.with_options(api_version="2024-10-21")))
    (seen,) = servers[0].requests
    assert seen.header("api-key") == "k-1"
    assert seen.header("authorization") is None
    assert seen.target.endswith("api-version=2024-10-21")


def test_a_copy_over_an_http_client_of_ours_keeps_its_headers(colour: Colour, servers: Servers, library: Any) -> None:
    config = plan("single", keyless("a", servers[0]))
    http_client = colour.http_client(
        config=config, api_key="k-1", default_headers={"x-q": "1"}, library=library.__name__
    )
    client = colour.client(http_client=http_client)
    chat(colour, client)
    chat(colour, closed_too(colour, client.with_options(api_key="k-2")))
    assert [(seen.header("x-q"), seen.header("api-key")) for seen in servers[0].requests] == [
        ("1", "k-1"),
        ("1", "k-2"),
    ]
    both = colour.client(http_client=colour.http_client(config=two_of(servers), default_headers={"x-q": "1"}))
    assert "would change nothing" in config_error(lambda: both.with_options(api_version="2025-01-01"))


# -- default_headers


def _constructor(colour: Colour, config: Any, headers: dict[str, str]) -> Any:
    return colour.client(config=config, default_headers=headers)


def _http_client(name: str) -> Any:
    return lambda colour, config, headers: colour.http_client(config=config, default_headers=headers, library=name)


def _transport(name: str) -> Any:
    def make(colour: Colour, config: Any, headers: dict[str, str]) -> Any:
        binding = importlib.import_module(f"azure_shim.transport.on_{name}")
        kind = binding.AsyncAzureTransport if colour.is_async else binding.AzureTransport
        return kind(config=config, default_headers=headers)

    return make


MAKERS = {
    "constructor": _constructor,
    **{f"http_client of {name}": _http_client(name) for name in LIBRARIES},
    **{f"transport of {name}": _transport(name) for name in LIBRARIES},
}


@pytest.mark.parametrize("header", SIGNING)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_header_that_signs_for_all_targets_is_refused(
    maker: str, header: str, colour: Colour, servers: Servers
) -> None:
    headers = {"x-fine": "1", header: SECRET}
    assert "would sign for every target" in config_error(lambda: MAKERS[maker](colour, two_of(servers), headers))


@pytest.mark.parametrize("maker", MAKERS)
def test_a_header_that_signs_nothing_reaches_every_target_and_its_own_wins(
    maker: str, colour: Colour, servers: Servers
) -> None:
    config = plan(
        "fallback", at_server("a", servers[0]), at_server("b", servers[1], default_headers={"X-Team": "of-b"})
    )
    made = MAKERS[maker](colour, config, {"x-team": "of-all", "x-more": "1"})
    limited(servers[0])
    if maker == "constructor":
        chat(colour, made)
    else:
        library = importlib.import_module(maker.rpartition(" ")[2])
        client = made if maker.startswith("http") else colour.library_client(library, transport=made)
        body = {"model": MODEL, "messages": MESSAGES}
        posted = colour.call(client.post, "https://api.openai.com/v1/chat/completions", json=body)
        assert posted.status_code == 200
        if client is not made:
            colour.close(client)
    assert [seen.header("x-team") for server in servers for seen in server.requests] == ["of-all", "of-b"]
    assert [seen.header("x-more") for server in servers for seen in server.requests] == ["1", "1"]


@pytest.mark.parametrize("header", ["api-key", "Authorization", "Ocp-Apim-Subscription-Key"])
def test_a_header_that_signs_and_came_with_a_copy_is_for_the_first_target_alone(
    header: str, colour: Colour, servers: Servers
) -> None:
    """As one of a single call is: it is nobody else's to see."""
    client = colour.client(config=two_of(servers), max_retries=0).with_options(default_headers={header: SECRET})
    limited(servers[0])
    for _ in range(3):
        failure(lambda: chat(colour, client), openai.RateLimitError)
    assert asked(servers) == [3, 0]
    assert {seen.header(header) for seen in servers[0].requests} == {SECRET}


# -- an endpoint, and the environment


@pytest.mark.parametrize("name", ["azure_endpoint", "base_url", "resource_name"])
@pytest.mark.parametrize("maker", ["client", "http_client", "transport"])
def test_a_config_and_an_endpoint_are_refused(name: str, maker: str, colour: Colour, servers: Servers) -> None:
    arguments = {"config": two_of(servers), name: "alone" if name == "resource_name" else "https://alone.example"}
    kind = azure_shim.AsyncAzureTransport if colour.is_async else azure_shim.AzureTransport
    make = {"client": colour.client, "http_client": colour.http_client, "transport": kind}[maker]
    assert f"{name}: goes with one target" in config_error(lambda: make(**arguments))


def test_the_environments_endpoint_is_not_meant_for_a_config(
    colour: Colour, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://alone.example")
    client = colour.client(config=two_of(servers))
    assert [each.target for each in client.health()] == ["a", "b"]
    nowhere = {"name": "a", "api_key": "k"}
    assert "no endpoint" in config_error(lambda: colour.client(config=plan("single", nowhere)))


def test_the_environments_key_is_refused_for_two_hosts(
    colour: Colour, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    config = plan("fallback", keyless("a", servers[0]), keyless("b", servers[1]))
    said = config_error(lambda: colour.client(config=config))
    for word in ("'a', 'b'", "AZURE_OPENAI_API_KEY", "2 hosts"):
        assert word in said
    # One host is its own, whoever else has one.
    client = colour.client(config=plan("fallback", keyless("a", servers[0]), at_server("b", servers[1])))
    chat(colour, client, **pin("a"))
    chat(colour, client, **pin("b"))
    assert servers[0].requests[0].header("api-key") == SECRET
    assert servers[1].requests[0].header("api-key") == "key-of-b-0123456789"
    # And two deployments of one resource.
    colour.client(config=plan("fallback", keyless("a", servers[0]), keyless("a2", servers[0])))


def test_the_environment_may_name_a_config(
    colour: Colour, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "azure.json"
    file.write_text(json.dumps(two_of(servers)))
    monkeypatch.setenv("AZURE_SHIM_CONFIG", str(file))
    client = colour.client()
    limited(servers[0])
    assert chat(colour, client) == "hello"
    assert asked(servers) == [1, 1]
    # What is written wins.
    assert colour.client(azure_endpoint=servers[0].url, api_key="k").health() == ()
    assert [each.target for each in colour.client(config=plan("single", at_server("c", servers[1]))).health()] == ["c"]
    monkeypatch.delenv("AZURE_SHIM_CONFIG")
    assert chat(colour, client.with_options(timeout=9)) == "hello"
    monkeypatch.setenv("AZURE_SHIM_CONFIG", str(tmp_path / "none.json"))
    assert "cannot be read" in config_error(colour.client)


# -- secrets


@pytest.mark.parametrize("how", ["constructor", "http_client"])
def test_nothing_shows_a_secret(how: str, colour: Colour, servers: Servers) -> None:
    header = {"x-team": f"{SECRET}-of-a-header"}
    config = plan(
        "fallback",
        at_server("a", servers[0], api_key=SECRET, default_headers=header, override_params={"user": "u"}),
        {"provider": "openai", "name": "platform", "base_url": f"{servers[1].url}/v1", "api_key": f"sk-{SECRET}"},
    )
    made = colour.client(config=config) if how == "constructor" else colour.http_client(config=config)
    settings = made.azure_shim_settings
    http_client = made if how == "http_client" else made._client
    targets = settings.plan.targets
    shown = [made, http_client, http_client._transport, settings, settings.plan, *targets, fleet_of_http(http_client)]
    for each in shown:
        assert SECRET not in repr(each)
        assert SECRET not in str(each)
    assert SECRET not in f"{vars(made)}"


def fleet_of_http(http_client: Any) -> Any:
    return http_client.azure_shim_fleet


def test_what_is_pickled_has_no_secret(colour: Colour, servers: Servers) -> None:
    """Or there is nothing that is pickled."""
    client = colour.client(config=plan("single", at_server("a", servers[0], api_key=SECRET)))
    settings = client.azure_shim_settings
    for each in (client, client._client, settings, settings.target, settings.target.credential, fleet_of(client)):
        try:
            found = pickle.dumps(each)
        except Exception as error:
            found = str(error).encode()
        assert SECRET.encode() not in found


def test_a_deep_copy_is_of_the_same_fleet(colour: Colour, servers: Servers) -> None:
    client = colour.client(config=two_of(servers))
    assert fleet_of(copy.deepcopy(client._client) and client) is fleet_of(client)
    assert copy.deepcopy(client._client) is client._client


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_auth_hook_is_for_one_endpoint(name: str, servers: Servers) -> None:
    hook = importlib.import_module(f"azure_shim.transport.on_{name}").AzureAuth
    assert "AzureAuth signs for one endpoint" in config_error(lambda: hook(config=two_of(servers)))


# -- warm_up


def test_warming_up_is_for_the_targets_within_the_residency(colour: Colour, servers: Servers) -> None:
    config = plan(
        "fallback",
        at_server("a", servers[0], tags={"zone": "eu"}),
        at_server("b", servers[1], tags={"zone": "us"}),
        residency={"zone": "eu"},
    )
    client = colour.client(config=config)
    colour.call(client.warm_up)
    assert asked(servers) == [1, 0]


def test_a_target_outside_of_the_residency_does_not_make_a_client_warm(
    colour: Colour, nobody: Any, server: ScriptedServer
) -> None:
    config = plan(
        "fallback",
        at_server("a", nobody, tags={"zone": "eu"}),
        at_server("b", server, tags={"zone": "us"}),
        residency={"zone": "eu"},
    )
    failure(lambda: colour.call(colour.client(config=config).warm_up), openai.APIConnectionError)
    assert server.connections == 0


def test_one_target_that_is_ready_is_enough(colour: Colour, nobody: Any, server: ScriptedServer) -> None:
    colour.call(colour.client(config=two_of((nobody, server))).warm_up)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_whatever_a_target_answers_it_is_warm(status: int, colour: Colour, servers: Servers) -> None:
    for server in servers:
        server.script = lambda seen: [answer(LIMITED, status)]
    colour.call(colour.client(config=two_of(servers)).warm_up)
    assert all(count >= 1 for count in asked(servers))


def test_nobody_ready_is_the_first_targets_error(colour: Colour, servers: Servers) -> None:
    def silent() -> str:
        raise RuntimeError("nobody is at home")

    targets = [
        keyless(name, server, azure_ad_token_provider=silent) for name, server in zip("ab", servers, strict=True)
    ]
    client = colour.client(config=plan("fallback", *targets))
    error = failure(lambda: colour.call(client.warm_up), openai.AuthenticationError)
    assert "azure_ad_token_provider" in str(error)
    assert asked(servers) == [0, 0]


# -- residency and metadata in headers


def test_metadata_of_a_client_of_one_endpoint_is_for_the_gateway_behind_it(
    colour: Colour, server: ScriptedServer
) -> None:
    """Nobody here has conditions that would read it."""
    client = colour.client(azure_endpoint=server.url, api_key="k", max_retries=0)
    chat(colour, client, extra_headers={METADATA: '{"plan": "batch"}'})
    assert server.requests[0].header(METADATA) == '{"plan": "batch"}'


@pytest.mark.parametrize("wish", ["eu", "zone=eu"])
@pytest.mark.parametrize("written", ["call", "client"])
def test_one_endpoint_is_within_no_residency(wish: str, written: str, colour: Colour, servers: Servers) -> None:
    """Rather than that the wish passes unseen."""
    headers = {RESIDENCY: wish}
    arguments = {"azure_endpoint": servers[0].url, "api_key": "k", "max_retries": 0}
    client = colour.client(**arguments, default_headers=headers if written == "client" else None)
    more = {"extra_headers": headers} if written == "call" else {}
    error = failure(lambda: chat(colour, client, **more), openai.PermissionDeniedError)
    assert error.code == "OutsideResidency"
    assert servers[0].connections == 0


@pytest.mark.parametrize("wish", ["=eu", ",", "zone=eu,", ",eu", "=", " , ", ""])
def test_a_residency_that_cannot_be_read_is_refused(wish: str, dose: str, colour: Colour, servers: Servers) -> None:
    config = plan("fallback", at_server("a", servers[0], tags=["eu"]), at_server("b", servers[1], tags={"zone": "eu"}))
    client = connect(dose, colour, config, max_retries=0)
    error = failure(lambda: chat(colour, client, extra_headers={RESIDENCY: wish}), openai.PermissionDeniedError)
    assert error.code == "OutsideResidency"
    assert asked(servers) == [0, 0]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_metadata_may_be_in_any_script(encoding: str, dose: str, colour: Colour, servers: Servers) -> None:
    config = {
        "strategy": {
            "mode": "conditional",
            "conditions": [{"query": {"metadata.city": {"$eq": "Zürich 東京"}}, "then": "b"}],
            "default": "a",
        },
        "targets": [at_server("a", servers[0]), at_server("b", servers[1])],
    }
    client = connect(dose, colour, config)
    value = json.dumps({"city": "Zürich 東京"}, ensure_ascii=encoding == "ascii").encode()
    library = importlib.import_module(type(client._client).__mro__[1].__module__.partition(".")[0])
    raw = library.Headers([(METADATA.encode(), value), (b"content-type", b"application/json")])
    http_client = client._client
    url = "https://api.openai.com/v1/chat/completions"
    if dose == "constructor":  # whose own client spells the target's URL
        url = f"{servers[0].url}/openai/deployments/{MODEL}/chat/completions?api-version=2024-10-21"
    request = http_client.build_request("POST", url, headers=raw, json={"model": MODEL, "messages": MESSAGES})
    assert colour.call(http_client.send, request).status_code == 200
    assert asked(servers) == [0, 1]


# -- what may be sent again


class Broken(ConnectionError):
    """Of the caller's own source."""


UPLOADS = {
    "a file": ("/v1/files", b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'),
    "sound, before its model": ("/v1/audio/transcriptions", b"--b\r\nContent-Disposition: form-data; "),
    "sound, after its model": (
        "/v1/audio/transcriptions",
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--b\r\n',
    ),
}


@pytest.mark.parametrize("error", [Broken, TimeoutError, OSError])
@pytest.mark.parametrize("upload", UPLOADS)
def test_a_callers_own_broken_upload_parks_nobody(
    upload: str, error: type[Exception], colour: Colour, library: Any, servers: Servers
) -> None:
    client = colour.http_client(config=two_of(servers), library=library.__name__)
    path, start = UPLOADS[upload]

    def blocking() -> Iterator[bytes]:
        yield start
        raise error("the disk is gone")

    async def awaiting() -> Any:
        for part in blocking():
            yield part

    content = awaiting() if colour.is_async else blocking()
    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": "100000"}
    with pytest.raises(error, match="the disk is gone"):
        colour.call(client.post, f"https://api.openai.com{path}", content=content, headers=headers)
    assert [(each.state, each.in_flight) for each in client.azure_shim_fleet.health.snapshot()] == [("healthy", 0)] * 2
    assert servers[1].connections == 0
    body = {"model": MODEL, "messages": MESSAGES}
    posted = colour.call(client.post, "https://api.openai.com/v1/chat/completions", json=body)
    assert posted.headers[PIN] == "a"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's retries come without a pause."""
    for name in ("INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"):
        monkeypatch.setattr(f"openai._base_client.{name}", 0.0)


STORED: list[dict[str, Any]] = [{"store": True}, {"store": True, "metadata": {"x": "y"}}]


@pytest.mark.parametrize("override", STORED, ids=str)
@pytest.mark.parametrize("retries", [0, 2])
def test_what_a_targets_overrides_store_is_not_sent_again(
    override: dict[str, Any], retries: int, dose: str, colour: Colour, servers: Servers, at_once: None
) -> None:
    servers[0].script = lambda seen: [RESET]
    config = plan("fallback", at_server("a", servers[0], override_params=override), at_server("b", servers[1]))
    client = connect(dose, colour, config, max_retries=retries)
    error = failure(lambda: chat(colour, client), openai.APIConnectionError)
    assert servers[0].requests[0].json()["store"] is True
    assert asked(servers) == [1, 0]
    assert [each.target for each in azure_shim.attempts(error)] == ["a"]


def test_what_a_targets_overrides_keep_from_being_stored_is_sent_again(colour: Colour, servers: Servers) -> None:
    """The harmless kind, by contrast."""
    servers[0].script = lambda seen: [RESET]
    harmless = at_server("a", servers[0], override_params={"temperature": 0.5})
    assert chat(colour, colour.client(config=plan("fallback", harmless, at_server("b", servers[1])))) == "hello"
    assert asked(servers) == [1, 1]


@pytest.mark.parametrize("override", [{"store": True}, {"background": True, "store": True}], ids=str)
def test_a_response_that_a_targets_overrides_store_is_not_sent_again(
    override: dict[str, Any], colour: Colour, servers: Servers, at_once: None
) -> None:
    servers[0].script = lambda seen: [RESET]
    target = at_server("a", servers[0], api_version="v1", override_params=override)
    client = colour.client(config=plan("fallback", target, at_server("b", servers[1], api_version="v1")))
    failure(
        lambda: colour.call(client.responses.create, model=MODEL, input="hi", store=False), openai.APIConnectionError
    )
    assert asked(servers) == [1, 0]


# -- a fork

FORKED = """
import os, sys, threading
import azure_shim
from tests.servers import ScriptedServer, answer, CHAT

def ask(client):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])

hold, reached = threading.Event(), threading.Event()
def slow(seen):
    if b"hold" in seen.body:
        reached.set()
        hold.wait(20)
    return [answer()]

with ScriptedServer(slow) as a, ScriptedServer() as b:
    more = {"api_key": "k", "api_version": "2024-10-21"}
    targets = [{"name": name, "azure_endpoint": server.url, **more} for name, server in (("a", a), ("b", b))]
    config = {"strategy": {"mode": "fallback"}, "targets": targets}
    client = azure_shim.OpenAI(config=config, max_retries=0)
    ask(client)
    busy = threading.Thread(target=lambda: client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hold"}]), daemon=True)
    busy.start()
    assert reached.wait(20)
    assert [t.in_flight for t in client.health()] == [1, 0]
    fleet = client._client.azure_shim_fleet
    locks = [fleet.homes._lock, fleet.ran._lock, *(site.lock for site in fleet.health.records)]
    for lock in locks:
        lock.acquire()
    from azure_shim.routing import fleet as module
    module._lock.acquire()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert [t.in_flight for t in client.health()] == [0, 0], client.health()
            assert ask(client).choices[0].message.content == "hello"
            assert [t.in_flight for t in client.health()] == [0, 0]
            another = azure_shim.OpenAI(config=config, max_retries=0)
            assert another._client.azure_shim_fleet is fleet
            assert ask(another).choices[0].message.content == "hello"
            code = 0
        finally:
            os._exit(code)
    module._lock.release()
    for lock in locks:
        lock.release()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert [t.in_flight for t in client.health()] == [1, 0]
    hold.set()
    busy.join(20)
    assert [t.in_flight for t in client.health()] == [0, 0]
    assert ask(client).choices[0].message.content == "hello"
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_starts_with_nothing_in_flight_and_no_lock_held() -> None:
    """Whatever other threads of the parent were about: they are not in the child."""
    environ = {name: value for name, value in os.environ.items() if name not in CLEARED}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        env=environ,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "fine\n"), run.stderr
