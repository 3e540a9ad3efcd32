"""A config becomes one plan, or one error that names everything that is wrong with it and where."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azure_shim.config.tree import config_from, read_plan
from azure_shim.errors import AsyncCredentialError, ConfigurationError
from azure_shim.plan import Branch, Group, Plan, Rules
from azure_shim.values import Target

MARK = "marker-secret-0123456789"
VERSION = "2024-10-21"
C = {"resource_name": "my-resource", "deployment_id": "gpt-4", "api_version": "2024-02-15-preview"}
ENTRA = {
    "azure_auth_mode": "entra",
    "azure_entra_tenant_id": "t",
    "azure_entra_client_id": "c",
    "azure_entra_client_secret": MARK,
}
EAST: dict[str, Any] = {"resource_name": "eastus", "api_key": MARK}
WEST: dict[str, Any] = {"resource_name": "westus", "api_key": MARK}
OPENAI: dict[str, Any] = {"provider": "openai", "api_key": MARK}


def provider() -> str:
    return MARK


async def async_provider() -> str:
    return MARK


def read(config: Any, environ: dict[str, str] | None = None, *, is_async: bool = False, **base: Any) -> Plan:
    return read_plan(config, is_async=is_async, environ=environ or {}, base=base)[0]


def leaf(config: Any, environ: dict[str, str] | None = None, **base: Any) -> Target:
    (target,) = read(config, environ, **base).targets
    assert MARK not in repr(target)
    return target


def group(config: Any, environ: dict[str, str] | None = None, **base: Any) -> Group:
    root = read(config, environ, **base).root
    assert isinstance(root, Group)
    return root


def fallback(*targets: Any, **keys: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "fallback"}, "targets": list(targets), **keys}


def balance(*targets: Any, **keys: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "loadbalance"}, "targets": list(targets), **keys}


def conditional(query: Any, then: Any = "a", **strategy: Any) -> dict[str, Any]:
    conditions = [{"query": query, "then": then}]
    targets = [{**EAST, "name": "a"}, {**WEST, "name": "b"}]
    return {"strategy": {"mode": "conditional", "conditions": conditions, **strategy}, "targets": targets}


def problems(config: Any, environ: dict[str, str] | None = None, *, is_async: bool = False, **base: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(config, environ, is_async=is_async, **base)
    for text in (str(caught.value), repr(caught.value), repr(caught.value.problems)):
        assert MARK not in text
    assert caught.value.__cause__ is None
    return list(caught.value.problems)


def problem(config: Any, environ: dict[str, str] | None = None, **base: Any) -> str:
    found = problems(config, environ, **base)
    assert len(found) == 1, found
    return found[0]


class TestTheGatewaysExamples:
    """Those of gateway-config.md, as they are."""

    @pytest.mark.parametrize(
        ("config", "source", "is_token"),
        [
            ({"provider": "azure-openai", "api_key": "***", **C}, "api_key", False),
            (
                {"provider": "azure-openai", "azure_ad_token": "Bearer eyJ...", "api_key": "unused", **C},
                "azure_ad_token",
                True,
            ),
            ({"provider": "azure-openai", "azure_ad_token": "Bearer eyJ...", **C}, "azure_ad_token", True),
            (
                {
                    "provider": "azure-openai",
                    "azure_auth_mode": "entra",
                    "azure_entra_tenant_id": "t",
                    "azure_entra_client_id": "c",
                    "azure_entra_client_secret": "s",
                    "azure_entra_scope": "https://cognitiveservices.azure.com/.default",
                    **C,
                },
                "azure_auth_mode='entra'",
                True,
            ),
            (
                {
                    "provider": "azure-openai",
                    "azure_auth_mode": "managed",
                    "azure_managed_client_id": "id",
                    "azure_entra_scope": "https://cognitiveservices.azure.com/",
                    **C,
                },
                "azure_auth_mode='managed'",
                True,
            ),
            (
                {
                    "provider": "azure-openai",
                    "azure_auth_mode": "workload",
                    "azure_workload_client_id": "id",
                    "azure_entra_scope": "https://cognitiveservices.azure.com/.default",
                    **C,
                },
                "azure_auth_mode='workload'",
                True,
            ),
        ],
    )
    def test_one_target(self, config: dict[str, Any], source: str, is_token: bool) -> None:
        found = leaf(config, {"AZURE_TENANT_ID": "t", "AZURE_FEDERATED_TOKEN_FILE": "/token"})
        assert (found.name, found.endpoint.origin.host) == ("my-resource", "my-resource.openai.azure.com")
        assert (found.default_deployment, found.api_version) == ("gpt-4", "2024-02-15-preview")
        assert (found.credential.source, found.credential.is_token) == (source, is_token)
        assert found.provider == "azure-openai"

    def test_v1(self) -> None:
        config = {
            "provider": "azure-openai",
            "api_key": "***",
            "resource_name": "my-resource",
            "deployment_id": "gpt-4",
            "api_version": "v1",
        }
        assert leaf(config).base_path == "/openai/v1"

    def test_loadbalance(self) -> None:
        config = json.loads(
            """{"strategy":{"mode":"loadbalance"},"targets":[
 {"provider":"azure-openai","api_key":"***","resource_name":"eastus-resource","deployment_id":"gpt-4","api_version":"2024-02-15-preview","weight":0.5},
 {"provider":"azure-openai","api_key":"***","resource_name":"westus-resource","deployment_id":"gpt-4","api_version":"2024-02-15-preview","weight":0.5}]}"""
        )
        root = group(config)
        assert (root.mode, root.by, root.on_status_codes) == ("loadbalance", "weight", None)
        assert [(branch.node.name, branch.weight) for branch in root.branches] == [  # type: ignore[union-attr]
            ("eastus-resource", 0.5),
            ("westus-resource", 0.5),
        ]

    def test_fallback_to_openai(self) -> None:
        config = json.loads(
            """{"strategy":{"mode":"fallback"},"targets":[
 {"provider":"azure-openai","api_key":"***","resource_name":"my-resource","deployment_id":"gpt-4","api_version":"2024-02-15-preview"},
 {"provider":"openai","api_key":"sk-***","override_params":{"model":"gpt-4"}}]}"""
        )
        azure, openai = read(config).targets
        assert (azure.provider, openai.provider, openai.name) == ("azure-openai", "openai", "openai")
        assert (str(openai.endpoint.origin), openai.base_path) == ("https://api.openai.com", "/v1")
        assert (openai.credential.is_token, openai.credential.value) == (True, "sk-***")
        assert openai.override_params == {"model": "gpt-4"}
        assert (openai.api_version, openai.deployments) == (None, None)

    def test_a_token_comes_before_a_mode_and_that_before_a_key(self) -> None:
        both = {**C, **ENTRA, "azure_ad_token": "eyJ...", "api_key": "unused"}
        assert leaf(both).credential.source == "azure_ad_token"
        assert leaf({**C, **ENTRA, "api_key": "unused"}).credential.source == "azure_auth_mode='entra'"

    def test_a_config_is_not_changed(self) -> None:
        config = fallback({**EAST, "api_key": {"env": "K"}, "tags": ["eu"]}, OPENAI, override_params={"a": [1]})
        before = copy.deepcopy(config)
        read(config, {"K": MARK})
        assert config == before


class TestLeaves:
    @pytest.mark.parametrize("spelling", ["azure-openai", "azure_openai", "azure", " Azure-OpenAI ", None])
    def test_azure_is_the_provider_unless_another_is_named(self, spelling: str | None) -> None:
        assert leaf({**EAST, "provider": spelling}).provider == "azure-openai"

    @pytest.mark.parametrize(
        ("keys", "field", "value"),
        [
            ({"request_timeout": 1500}, "timeout_s", 1.5),
            ({"timeout": 30}, "timeout_s", 30.0),
            ({}, "timeout_s", None),
            ({"region": "eastus2"}, "region", "eastus2"),
            ({}, "region", None),
            ({"tags": {"zone": "eu"}}, "tags", {"zone": "eu"}),
            ({"tags": ["eu", "ptu"]}, "tags", {"eu": "", "ptu": ""}),
            ({"tags": "eu"}, "tags", {"eu": ""}),
            ({"tags": {"env": "prod"}}, "tags", {"env": "prod"}),
            ({"default_headers": {"X-Team": "a"}}, "headers", {"X-Team": "a"}),
            ({"openai_beta": "assistants=v2"}, "headers", {"OpenAI-Beta": "assistants=v2"}),
            (
                {"openai_beta": "assistants=v2", "default_headers": {"openai-beta": "mine"}},
                "headers",
                {"openai-beta": "mine"},
            ),
            ({"override_params": {"model": "m", "n": [None]}}, "override_params", {"model": "m", "n": [None]}),
            (
                {"proxy": "http://u:p@proxy:3128", "verify": False, "cert": ["a", "b"], "trust_env": False},
                "pool",
                {"proxy": "http://u:p@proxy:3128", "verify": False, "cert": ("a", "b"), "trust_env": False},
            ),
            ({}, "pool", {}),
            ({"retry": {"attempts": 2}}, "retries", 2),
            ({"retry": {"attempts": 2}}, "retry_statuses", frozenset((429, 500, 502, 503, 504))),
            ({"retry": {"attempts": 0, "on_status_codes": [429]}}, "retry_statuses", frozenset((429,))),
            ({"retry": {"attempts": 2, "on_status_codes": []}}, "retry_statuses", frozenset()),
            ({"retry": {"attempts": 0, "use_retry_after_header": True}}, "honours_retry_after", True),
            ({}, "retries", 0),
            ({"deployments": {"gpt-4o": "prod"}}, "deployments", {"gpt-4o": "prod"}),
            ({"unmapped_models": "error"}, "unmapped", "error"),
            ({"name": "East US"}, "name", "East US"),
        ],
    )
    def test_each_key_has_its_effect(self, keys: dict[str, Any], field: str, value: Any) -> None:
        assert getattr(leaf({**EAST, **keys}), field) == value

    @pytest.mark.parametrize(
        "keys",
        [
            {"id": "x", "metadata": {"env": "prod"}, "azure_model_name": "gpt-4", "cb_config": {"a": 1}},
            {"strict_open_ai_compliance": False, "forward_headers": ["x-a"]},
            {"input_guardrails": [], "output_guardrails": [], "before_request_hooks": []},
            {"after_request_hooks": [], "input_mutators": [], "output_mutators": None, "cache": None},
            {"weight": 3},
        ],
    )
    def test_what_the_gateway_knows_and_a_target_has_no_use_for(self, keys: dict[str, Any]) -> None:
        assert leaf({**EAST, **keys}) == leaf(EAST)

    @pytest.mark.parametrize(
        ("host", "version", "base"),
        [
            ("https://gw.example/PTU", VERSION, "/PTU"),
            ("https://gw.example/PTU", "v1", "/PTU/v1"),
            ("https://gw.example/PTU/v1", "v1", "/PTU/v1"),
            ("https://gw.example", "v1", "/v1"),
            ("http://localhost:8787/x/", VERSION, "/x"),
            ("https://r.openai.azure.com", VERSION, "/openai"),
        ],
    )
    def test_a_custom_host_replaces_all_up_to_the_operation(self, host: str, version: str, base: str) -> None:
        assert leaf({"custom_host": host, "api_key": MARK, "api_version": version}).base_path == base

    def test_parameters_of_a_group_and_of_its_target_are_merged_deeply(self) -> None:
        group = {
            "override_params": {"x": {"a": 1, "b": 1}, "y": 1},
            **fallback({**EAST, "override_params": {"x": {"b": 2}}}),
        }
        (target,) = read(group).targets
        assert target.override_params == {"x": {"a": 1, "b": 2}, "y": 1}

    def test_a_custom_host_wins_over_what_else_the_target_names(self) -> None:
        for name in ("resource_name", "azure_endpoint", "base_url"):
            other = "r1" if name == "resource_name" else "https://r1.openai.azure.com"
            found = leaf({"custom_host": "http://localhost:8787/x", name: other, "api_key": MARK, "api_version": "v1"})
            assert str(found.endpoint.origin) == "http://localhost:8787"
            assert found.base_path == "/x/v1"

    def test_headers_that_sign_need_no_credential(self) -> None:
        headers = {"Ocp-Apim-Subscription-Key": {"env": "APIM"}}
        found = leaf({"resource_name": "r1", "default_headers": headers}, {"APIM": MARK})
        assert found.credential.is_absent
        assert found.headers == {"Ocp-Apim-Subscription-Key": MARK}

    def test_a_verify_of_any_kind_is_the_library_s_matter(self) -> None:
        context = object()
        assert leaf({**EAST, "verify": context}).pool == {"verify": context}


class TestOpenAI:
    def test_its_key_may_be_of_several_words_wherever_it_stands(self) -> None:
        assert leaf({"provider": "openai", "api_key": "My API Key"}).credential.value == "My API Key"
        assert leaf({"provider": "openai"}, {"OPENAI_API_KEY": "My API Key"}).credential.value == "My API Key"

    @pytest.mark.parametrize(
        ("url", "origin", "path"),
        [
            (None, "https://api.openai.com", "/v1"),
            ("https://api.openai.com", "https://api.openai.com", "/v1"),
            ("https://eu.api.openai.com/v1/", "https://eu.api.openai.com", "/v1"),
            ("API.openai.com./v1", "https://api.openai.com", "/v1"),
            ("https://gw.example/openai", "https://gw.example", "/openai"),
            ("https://gw.example", "https://gw.example", ""),
            ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000", "/v1"),
            ("https://[::1]:8000/v1", "https://[::1]:8000", "/v1"),
        ],
    )
    @pytest.mark.parametrize("key", ["base_url", "custom_host"])
    def test_endpoint(self, key: str, url: str | None, origin: str, path: str) -> None:
        found = leaf({**OPENAI, key: url}).endpoint
        assert (str(found.origin), found.v1, found.classic, found.cloud) == (origin, path, None, None)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://api.openai.com/v1", "plain http"),
            ("http://gw.example/v1", "plain http"),
            (f"https://u:{MARK}@api.openai.com/v1", "user name or password"),
            (f"https://u:{MARK}@gw.example/v1", "user name or password"),
            ("https://api.openai.com:0/v1", "port 0"),
            ("https://api.openai.com:x/v1", "is no URL"),
            ("ftp://api.openai.com", "scheme"),
            ("https:/api.openai.com", "is no URL"),
            ("https://r1.openai.azure.com", "resource of Azure"),
            (f"https://gw.example/v1?key={MARK}", "query"),
            ("https://gw.example/../v1", "segment"),
            ("not a url", "domain name"),
            ("", "no host"),
        ],
    )
    def test_what_is_no_endpoint(self, url: str, reason: str) -> None:
        message = problem(fallback({**OPENAI, "base_url": url}))
        assert message.startswith("config.targets[0].base_url: ")
        assert reason in message

    def test_key_of_its_own_or_of_the_environment(self) -> None:
        environ = {"OPENAI_API_KEY": "sk-env", "OPENAI_BASE_URL": "https://x.example", "OPENAI_ORG_ID": "o"}
        assert leaf(OPENAI, environ).credential.value == MARK
        plan, used = read_plan({"provider": "openai"}, is_async=False, environ=environ)
        credential = plan.targets[0].credential
        assert (credential.value, credential.source, used) == ("sk-env", "OPENAI_API_KEY", {"OPENAI_API_KEY": "sk-env"})
        assert plan.targets[0].headers == {}

    def test_a_function_may_give_the_key(self) -> None:
        found = leaf({"provider": "openai", "api_key": provider}).credential
        assert (found.provider, found.is_token) == (provider, True)
        with pytest.raises(AsyncCredentialError, match=r"config\.targets\[0\]\.api_key: is a coroutine function"):
            read(fallback({"provider": "openai", "api_key": async_provider}))
        read({"provider": "openai", "api_key": async_provider}, is_async=True)

    def test_organization_project_and_headers(self) -> None:
        found = leaf({**OPENAI, "organization": "org", "project": "proj", "default_headers": {"X-A": "1"}})
        assert found.headers == {"X-A": "1", "OpenAI-Organization": "org", "OpenAI-Project": "proj"}

    def test_headers_that_sign(self) -> None:
        found = leaf(
            {"provider": "openai", "default_headers": {"Authorization": f"Bearer {MARK}"}}, {"OPENAI_API_KEY": "x"}
        )
        assert found.credential.is_absent

    def test_a_map_of_models(self) -> None:
        found = leaf({**OPENAI, "deployments": {"prod": "gpt-4o"}, "unmapped_models": "error"})
        assert (found.deployments, found.unmapped) == ({"prod": "gpt-4o"}, "error")

    def test_no_key_is_told_with_its_place(self) -> None:
        message = problem(fallback({"provider": "openai"}, api_key=MARK), {"AZURE_OPENAI_API_KEY": MARK})
        assert message.startswith("config.targets[0]: Missing credentials: ")
        assert "OPENAI_API_KEY" in message

    @pytest.mark.parametrize(
        "key", ["azure_endpoint", "resource_name", "deployment_id", "api_version", "azure_ad_token"]
    )
    def test_keys_of_azure_are_not_for_it(self, key: str) -> None:
        message = problem(fallback({**OPENAI, key: "x"}))
        assert message == f"config.targets[0].{key}: is for a target of provider 'azure-openai', but this is 'openai'"

    @pytest.mark.parametrize("key", ["organization", "project"])
    def test_its_keys_are_not_for_azure(self, key: str) -> None:
        message = problem(fallback({**EAST, key: "x"}))
        assert message == f"config.targets[0].{key}: is for a target of provider 'openai', but this is 'azure-openai'"


class TestInheritance:
    def test_keys_come_down_and_the_nearest_wins(self) -> None:
        config = fallback(
            balance({"resource_name": "r1"}, {"resource_name": "r2", "api_version": "v1"}, api_version="2023-05-15"),
            {"resource_name": "r3", "timeout": 5},
            api_key=MARK,
            api_version=VERSION,
            request_timeout=1000,
            region="eastus",
        )
        found = read(config).targets
        assert [target.api_version for target in found] == ["2023-05-15", None, VERSION]
        assert [target.timeout_s for target in found] == [1.0, 1.0, 5.0]
        assert {target.credential.value for target in found} == {MARK}
        assert {target.region for target in found} == {"eastus"}

    @pytest.mark.parametrize(
        ("above", "own", "field", "value"),
        [
            (
                {"override_params": {"a": 1, "b": 1}},
                {"override_params": {"b": 2}},
                "override_params",
                {"a": 1, "b": 2},
            ),
            ({"tags": ["eu"]}, {"tags": {"tier": "ptu"}}, "tags", {"eu": "", "tier": "ptu"}),
            (
                {"default_headers": {"X-Team": "a", "X-B": "1"}},
                {"default_headers": {"x-team": "b"}},
                "headers",
                {"X-B": "1", "x-team": "b"},
            ),
            ({"retry": {"attempts": 5, "on_status_codes": [500]}}, {"retry": {"attempts": 1}}, "retries", 1),
            (
                {"retry": {"attempts": 5, "on_status_codes": [500]}},
                {"retry": {"attempts": 1}},
                "retry_statuses",
                frozenset((429, 500, 502, 503, 504)),
            ),
            ({"deployment_id": "a"}, {"azure_deployment": "b"}, "default_deployment", "b"),
            ({"deployments": {"m": "a"}}, {"deployment_id": "b"}, "deployments", None),
            ({"deployment_id": "b"}, {"deployments": {"m": "a"}}, "default_deployment", None),
            ({"timeout": 5}, {"request_timeout": 1000}, "timeout_s", 1.0),
            ({"name": "group", "weight": 0}, {}, "name", "eastus"),
        ],
    )
    def test_each_kind_of_key(self, above: dict[str, Any], own: dict[str, Any], field: str, value: Any) -> None:
        assert getattr(leaf(fallback({**EAST, **own}, **above)), field) == value

    @pytest.mark.parametrize("above", ["azure_endpoint", "base_url", "resource_name", "custom_host"])
    @pytest.mark.parametrize("own", ["azure_endpoint", "base_url", "resource_name", "custom_host"])
    def test_a_target_s_endpoint_replaces_an_inherited_one(self, above: str, own: str) -> None:
        value = {key: f"https://{key[0]}.openai.azure.com" for key in (above, own)}
        value.update({"resource_name": "rr"})
        config = fallback({own: value[own], "api_key": MARK}, {"api_key": MARK}, **{above: value[above]})
        first, second = read(config).targets
        assert first.endpoint == leaf({own: value[own], "api_key": MARK}).endpoint
        assert second.endpoint == leaf({above: value[above], "api_key": MARK}).endpoint

    @pytest.mark.parametrize(
        "above",
        [
            {"api_key": MARK},
            {"azure_ad_token": MARK},
            {"azure_ad_token_provider": provider},
            ENTRA,
            {"default_headers": {"api-key": MARK}},
        ],
    )
    @pytest.mark.parametrize(
        ("own", "source"),
        [
            ({"api_key": "own"}, "api_key"),
            ({"azure_ad_token": "own"}, "azure_ad_token"),
            ({"azure_auth_mode": "managed", "azure_managed_client_id": "id"}, "azure_auth_mode='managed'"),
            ({"default_headers": {"Authorization": "own"}}, "the caller's own headers"),
        ],
    )
    def test_a_target_s_credential_replaces_an_inherited_one(
        self, above: dict[str, Any], own: dict[str, Any], source: str
    ) -> None:
        found = leaf(fallback({"resource_name": "r1", **own}, **above))
        assert found.credential.source == source
        assert MARK not in (found.credential.value, *found.headers.values()) or "Authorization" in found.headers

    def test_part_of_an_identity_may_be_inherited(self) -> None:
        parts = {key: ENTRA[key] for key in ENTRA if key != "azure_entra_client_id"}
        found = read(fallback({"resource_name": "r1", "azure_entra_client_id": "a"}, {**C, **ENTRA}, **parts)).targets
        assert [target.credential.source for target in found] == ["azure_auth_mode='entra'"] * 2

    @pytest.mark.parametrize(
        ("above", "expected"),
        [
            ({"api_key": "a"}, ("a", "sk-env")),
            ({"api_key": "a", "provider": "openai"}, ("env", "a")),
        ],
    )
    def test_a_key_reaches_the_targets_of_its_node_s_provider(
        self, above: dict[str, Any], expected: tuple[str, ...]
    ) -> None:
        environ = {"OPENAI_API_KEY": "sk-env", "AZURE_OPENAI_API_KEY": "env"}
        targets = [{"provider": "azure", "resource_name": "r1"}, {"provider": "openai"}]
        found = read(fallback(*targets, **above), environ).targets
        assert tuple(target.credential.value for target in found) == expected

    def test_nothing_of_azure_s_reaches_openai(self) -> None:
        above = {
            **C,
            "azure_ad_token": MARK,
            "default_headers": {"api-key": MARK, "X-Gateway": MARK},
            "deployments": {"m": "d"},
            "unmapped_models": "error",
            "custom_host": "https://gw.example",
            "override_params": {"user": "u"},
            "api_key_header": "X-Key",
        }
        del above["deployment_id"], above["resource_name"]
        found = leaf(fallback(OPENAI, **above))
        alone = leaf({**OPENAI, "override_params": {"user": "u"}})
        assert found == alone

    def test_nothing_of_openai_s_reaches_azure(self) -> None:
        above = {"base_url": "https://gw.example", "default_headers": {"X-A": MARK}, "organization": "org"}
        openai, azure = read(
            fallback({}, {**EAST, "provider": "azure"}, provider="openai", api_key="sk-1", **above)
        ).targets
        assert (openai.provider, openai.credential.value, openai.headers["X-A"]) == ("openai", "sk-1", MARK)
        assert azure == leaf(EAST)

    def test_arguments_beside_the_config_are_inherited_by_azure_s_targets(self) -> None:
        base = {"api_key": "base", "api_version": VERSION, "deployments": {"m": "d"}, "azure_endpoint": None}
        east, west, openai = read(
            fallback({"resource_name": "r1"}, {**WEST, "api_version": "v1"}, {"provider": "openai"}),
            {"OPENAI_API_KEY": "sk"},
            **base,
        ).targets
        assert (east.credential.value, east.api_version, east.deployments) == ("base", VERSION, {"m": "d"})
        assert (west.credential.value, west.api_version) == (MARK, None)
        assert (openai.credential.value, openai.deployments) == ("sk", None)

    def test_what_is_wrong_with_an_inherited_key_is_told_once_and_where_it_is(self) -> None:
        config = fallback({"resource_name": "r1"}, {"resource_name": "r2"}, api_key=MARK, api_version="soon")
        message = problem(config)
        assert message.startswith("config.api_version: 'soon' is no api-version")
        assert message.endswith("(as config.targets[0] inherits it)")
        assert problem(fallback(EAST), api_version="soon").startswith("api_version: 'soon'")


class TestSecretsByName:
    def test_a_value_may_be_in_a_variable(self) -> None:
        config = fallback(
            {"resource_name": {"env": "NAME"}, "api_key": {"env": "EAST_KEY"}, "deployments": {"m": {"env": "D"}}},
            {"provider": {"env": "P"}, "api_key": {"env": "OAI"}, "tags": {"env": {"env": "ENV"}}},
        )
        environ = {
            "EAST_KEY": MARK,
            "OAI": "sk-1",
            "NAME": "eastus",
            "ENV": "prod",
            "D": "dep",
            "P": "openai",
            "X": "1",
        }
        plan, used = read_plan(config, is_async=False, environ=environ)
        east, openai = plan.targets
        assert (east.name, east.credential.value, east.deployments) == ("eastus", MARK, {"m": "dep"})
        assert (openai.credential.value, openai.tags) == ("sk-1", {"env": "prod"})
        assert used == {name: value for name, value in environ.items() if name != "X"}

    @pytest.mark.parametrize("environ", [{}, {"KEY": ""}, {"KEY": " \n"}])
    @pytest.mark.parametrize(
        "target",
        [
            {"resource_name": "r1", "api_key": {"env": "KEY"}},
            {"resource_name": {"env": "KEY"}, "api_key": MARK},
            {"azure_endpoint": {"env": "KEY"}, "api_key": MARK},
            {"custom_host": {"env": "KEY"}, "api_key": MARK},
            {**EAST, "deployment_id": {"env": "KEY"}},
            {"resource_name": "r1", **ENTRA, "azure_entra_client_secret": {"env": "KEY"}},
            {**OPENAI, "api_key": {"env": "KEY"}},
            {**OPENAI, "organization": {"env": "KEY"}},
        ],
    )
    def test_a_variable_that_is_not_set_is_one_problem_with_the_place(
        self, target: dict[str, Any], environ: dict[str, str]
    ) -> None:
        (key,) = (key for key, value in target.items() if isinstance(value, dict))
        assert problem(fallback(EAST, target), environ) == (
            f"config.targets[1].{key}: is to come from the environment variable KEY, which is not set"
        )

    def test_a_provider_that_is_not_set(self) -> None:
        assert problem(fallback({**EAST, "provider": {"env": "P"}})).startswith(
            "config.targets[0].provider: is to come"
        )

    def test_nested_places(self) -> None:
        found = problems(
            {"resource_name": "r1", "default_headers": {"api-key": {"env": "A"}}, "deployments": {"m": {"env": "B"}}}
        )
        assert [text.partition(": ")[0] for text in found] == [
            "config.default_headers.api-key",
            "config.deployments['m']",
        ]

    @pytest.mark.parametrize("name", [5, "", None])
    def test_a_variable_has_a_name(self, name: Any) -> None:
        assert problem({**EAST, "region": {"env": name}}).startswith("config.region: env: is ")

    def test_a_secret_in_place_of_a_name_is_not_shown(self) -> None:
        secret = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
        assert secret not in problem({"resource_name": "r1", "api_key": {"env": secret}})

    def test_the_process_s_environment_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EAST_KEY", MARK)
        plan, used = read_plan({"resource_name": "r1", "api_key": {"env": "EAST_KEY"}}, is_async=False)
        assert (plan.targets[0].credential.value, used) == (MARK, {"EAST_KEY": MARK})


class TestEnvironment:
    def test_the_endpoint_there_is_nobody_s(self) -> None:
        environ = {"AZURE_OPENAI_ENDPOINT": "https://r1.openai.azure.com"}
        assert leaf(EAST, environ).name == "eastus"
        for config, place in (({"api_key": MARK}, "config"), (fallback(EAST, {"api_key": MARK}), "config.targets[1]")):
            message = problem(config, environ)
            assert message.startswith(f"{place}: no endpoint: give the target a resource_name")

    def test_the_credential_there_serves_targets_without_one(self) -> None:
        environ = {"AZURE_OPENAI_API_KEY": "env"}
        found = read(fallback({"resource_name": "r1"}, WEST), environ).targets
        assert [target.credential.value for target in found] == ["env", MARK]

    def test_a_bad_variable_is_told_once_under_its_own_name(self) -> None:
        config = fallback({"resource_name": "r1"}, {"resource_name": "r2"})
        assert problem(config, {"AZURE_OPENAI_API_KEY": f"{MARK}\tx"}).startswith("AZURE_OPENAI_API_KEY: ")

    @pytest.mark.parametrize(
        ("environ", "path"),
        [({}, None), ({"AZURE_SHIM_CONFIG": " "}, None), ({"AZURE_SHIM_CONFIG": " azure.toml\n"}, "azure.toml")],
    )
    def test_the_config_that_the_environment_names(self, environ: dict[str, str], path: str | None) -> None:
        assert config_from(environ) == path


class TestGroups:
    def test_trees_nest(self) -> None:
        root = group(fallback(balance(EAST, WEST, name="azure"), OPENAI))
        inner, last = root.branches
        assert isinstance(inner.node, Group)
        assert (root.mode, inner.node.mode, inner.name, inner.weight) == ("fallback", "loadbalance", "azure", 1.0)
        assert isinstance(last, Branch)
        assert [target.name for target in read(fallback(balance(EAST, WEST), OPENAI)).targets] == [
            "eastus",
            "westus",
            "openai",
        ]

    @pytest.mark.parametrize("mode", ["single", "loadbalance", "fallback"])
    def test_modes(self, mode: str) -> None:
        assert group({"strategy": {"mode": mode}, "targets": [EAST]}).mode == mode

    @pytest.mark.parametrize(
        ("strategy", "field", "value"),
        [
            ({"mode": "loadbalance", "by": "latency"}, "by", "latency"),
            ({"mode": "loadbalance", "by": "round_robin"}, "by", "round_robin"),
            ({"mode": "fallback", "on_status_codes": [429, 503]}, "on_status_codes", frozenset((429, 503))),
            ({"mode": "fallback", "on_status_codes": []}, "on_status_codes", frozenset()),
            ({"mode": "fallback", "wait_s": 2}, "wait_s", 2.0),
        ],
    )
    def test_each_key_of_a_strategy(self, strategy: dict[str, Any], field: str, value: Any) -> None:
        assert getattr(group({"strategy": strategy, "targets": [EAST]}), field) == value

    def test_a_weight_of_0_among_others(self) -> None:
        root = group(balance({**EAST, "weight": 0}, {**WEST, "weight": 2}))
        assert [branch.weight for branch in root.branches] == [0.0, 2.0]

    def test_a_target_alone_is_a_plan(self) -> None:
        assert isinstance(read(EAST).root, Target)
        assert read(EAST).rules == Rules()

    @pytest.mark.parametrize(
        "query",
        [
            {"metadata.plan": "pro"},
            {"params.model": {"$eq": "gpt-4o"}, "url.pathname": {"$regex": "^/v1/chat"}},
            {"$or": [{"params.n": {"$gte": 2, "$lt": 5}}, {"$and": [{"metadata.a.b": {"$in": ["x"]}}]}]},
            {"params.stream": True},
            {"params.response_format": {"type": "json_object"}},
            {"metadata.x": {"$nin": [1], "$ne": None, "$gt": "a", "$lte": 1.5}},
        ],
    )
    def test_conditions(self, query: dict[str, Any]) -> None:
        root = group(conditional(query, "b", default="a"))
        assert (root.mode, root.default, [branch.name for branch in root.branches]) == ("conditional", "a", ["a", "b"])
        assert [(condition.query, condition.then) for condition in root.conditions] == [(query, "b")]

    def test_names(self) -> None:
        """One that was written is kept; others are made different from each other and from those."""
        config = fallback(
            balance({**EAST, "deployment_id": "a"}, {**EAST, "deployment_id": "b"}, {**WEST, "name": "eastus-2"}),
            balance(EAST, OPENAI, OPENAI, name="openai"),
        )
        assert [target.name for target in read(config).targets] == [
            "eastus",
            "eastus-3",
            "eastus-2",
            "eastus-4",
            "openai-2",
            "openai-3",
        ]


class TestRules:
    def test_they_are_at_the_root(self) -> None:
        rules = read(
            fallback(
                {**EAST, "tags": {"zone": "eu"}},
                {**WEST, "tags": {"zone": "us"}},
                replay="never",
                attempts=3,
                on_exhausted="wait",
                residency={"zone": "eu"},
                content_filter="eastus",
                session_header="X-Session",
                seed=-7,
            )
        ).rules
        assert rules == Rules("never", 3, "wait", {"zone": "eu"}, "eastus", "X-Session", -7)

    @pytest.mark.parametrize(
        ("residency", "expected"), [("eu", {"eu": ""}), (["eu"], {"eu": ""}), ({"zone": "1"}, {"zone": "1"})]
    )
    def test_residency(self, residency: Any, expected: dict[str, str]) -> None:
        config = {**EAST, "tags": {"eu": "", "zone": "1"}, "residency": residency}
        assert read(config).rules.residency == expected

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            (
                {"replay": "sometimes"},
                "config.replay: is 'sometimes', which is unknown; expected one of 'never', 'safe', ",
            ),
            ({"replay": True}, "config.replay: is True; expected one of"),
            ({"attempts": 0}, "config.attempts: is 0; expected a whole number from 1 to 50"),
            ({"attempts": 51}, "config.attempts: is 51"),
            ({"attempts": True}, "config.attempts: is True"),
            ({"on_exhausted": "retry"}, "config.on_exhausted: "),
            ({"residency": 5}, "config.residency: is 5; expected tags such as"),
            ({"residency": {"zone": "eu"}}, "config.residency: no target has the tags {'zone': 'eu'}"),
            (
                {"content_filter": "eastu"},
                "config.content_filter: 'eastu' is none of the targets' names; did you mean 'eastus'?",
            ),
            (
                {"content_filter": "zzz"},
                "config.content_filter: 'zzz' is none of the targets' names: those are 'eastus', ",
            ),
            ({"session_header": "a b\n"}, "config.session_header: "),
            ({"session_header": "a b"}, "config.session_header: "),
            ({"seed": 1.5}, "config.seed: is 1.5; expected a whole number"),
        ],
    )
    def test_what_is_wrong_with_one(self, rules: dict[str, Any], message: str) -> None:
        assert problem(fallback(EAST, WEST, **rules)).startswith(message)

    def test_what_a_content_filter_refused_stays_within_the_residency(self) -> None:
        config = fallback({**EAST, "tags": "eu"}, OPENAI, residency="eu", content_filter="openai")
        assert problem(config) == "config.content_filter: 'openai' is not within the residency"

    @pytest.mark.parametrize(
        "rule", ["replay", "attempts", "on_exhausted", "residency", "content_filter", "session_header", "seed"]
    )
    def test_they_are_nowhere_else(self, rule: str) -> None:
        message = problem(fallback({**EAST, rule: "x"}))
        assert message == f"config.targets[0].{rule}: is a rule for all targets: it belongs to the root of the config"


class TestProblems:
    @pytest.mark.parametrize(
        ("key", "nearest"),
        [
            ("weigth", "weight"),
            ("resourceName", "resource_name"),
            ("api-key", "api_key"),
            ("deployment", "deployments"),
            ("azure_endpont", "azure_endpoint"),
            ("tag", "tags"),
        ],
    )
    def test_an_unknown_key_is_told_with_the_nearest(self, key: str, nearest: str) -> None:
        assert problem(fallback(EAST, {**WEST, key: "x"})) == (
            f"config.targets[1].{key}: is unknown; did you mean {nearest!r}?"
        )

    def test_an_unknown_key_at_the_root(self) -> None:
        assert problem({**EAST, "replai": "x"}) == "config.replai: is unknown; did you mean 'replay'?"
        assert problem({**EAST, "zzzz": "x"}) == "config.zzzz: is unknown"
        assert problem({**EAST, 5: "x"}) == "config: has a key of type int; expected a str"

    def test_a_key_that_looks_like_a_secret_is_not_shown(self) -> None:
        secret = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
        assert secret not in problem({**EAST, secret: "x"})

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            (
                {"provider": "anthropic"},
                ".provider: is 'anthropic', which is unknown; expected one of 'azure-openai', 'openai'",
            ),
            ({"provider": 5}, ".provider: is 5; expected one of"),
            ({"weight": -1}, ".weight: is -1; expected a finite number of at least 0"),
            ({"weight": float("inf")}, ".weight: is inf"),
            ({"weight": float("nan")}, ".weight: is nan"),
            ({"weight": 10**400}, ".weight: is a large number"),
            ({"weight": True}, ".weight: is True"),
            ({"weight": "0.5"}, ".weight: is of type str"),
            ({"name": ""}, ".name: is empty"),
            ({"name": "a\nb"}, ".name: is of type str; expected a name"),
            ({"name": 5}, ".name: is 5"),
            ({"request_timeout": 0}, ".request_timeout: is 0; expected milliseconds"),
            ({"timeout": "5"}, ".timeout: is of type str; expected seconds"),
            ({"timeout": None, "request_timeout": False}, ".request_timeout: is False"),
            ({"retry": {}}, ".retry: needs attempts"),
            ({"retry": 3}, ".retry: is 3; expected a mapping"),
            ({"retry": {"attempts": 6}}, ".retry.attempts: is 6; expected a whole number from 0 to 5"),
            ({"retry": {"attempts": 1, "atempts": 2}}, ".retry.atempts: is unknown; did you mean 'attempts'?"),
            ({"retry": {"attempts": 1, "on_status_codes": [42]}}, ".retry.on_status_codes: has something that is 42"),
            ({"retry": {"attempts": 1, "on_status_codes": 429}}, ".retry.on_status_codes: is 429; expected a list"),
            ({"retry": {"attempts": 1, "use_retry_after_header": 1}}, ".retry.use_retry_after_header: is 1"),
            ({"override_params": [1]}, ".override_params: is of type list"),
            ({"override_params": {"a": object()}}, ".override_params: has something that JSON has no way to write"),
            ({"override_params": {"a": float("nan")}}, ".override_params: has something that JSON"),
            ({"override_params": {1: 2}}, ".override_params: is of type dict"),
            ({"default_headers": ["a"]}, ".default_headers: is of type list"),
            ({"default_headers": {"a b": "x"}}, ".default_headers: has a name that no header can have"),
            (
                {"default_headers": {"X-A": f"{MARK}\r\nX: 1"}},
                ".default_headers.X-A: is no value that a header can have",
            ),
            ({"default_headers": {"X-A": 5}}, ".default_headers.X-A: is no value"),
            ({"openai_beta": ""}, ".openai_beta: is no value"),
            ({"region": 5}, ".region: is 5; expected a str"),
            ({"tags": {"a": 1}}, ".tags.a: is 1; expected a str"),
            ({"tags": [1]}, ".tags: is of type list; expected tags"),
            ({"tags": 1}, ".tags: is 1"),
            ({"proxy": f"{MARK}:3128"}, ".proxy: is no URL of a proxy"),
            ({"proxy": "http://[::1"}, ".proxy: is no URL of a proxy"),
            ({"proxy": 5}, ".proxy: is 5; expected a URL"),
            ({"cert": []}, ".cert: is of type list"),
            ({"trust_env": "yes"}, ".trust_env: is of type str; expected true or false"),
            ({"forward_headers": "x"}, ".forward_headers: is of type str; expected a list of str"),
            ({"strict_open_ai_compliance": 1}, ".strict_open_ai_compliance: is 1"),
            ({"cache": {"mode": "simple"}}, ".cache: is not supported"),
            ({"input_guardrails": [{"id": MARK}]}, ".input_guardrails: azure_shim has no guardrails"),
            ({"after_request_hooks": [1]}, ".after_request_hooks: azure_shim has no guardrails"),
            ({"output_mutators": "x"}, ".output_mutators: azure_shim has no guardrails"),
            ({"api_version": "soon"}, ".api_version: 'soon' is no api-version"),
            (
                {"azure_endpoint": "https://r.openai.azure.com"},
                ": azure_endpoint and resource_name are mutually exclusive",
            ),
            ({"credential": object()}, ": api_key and credential are mutually exclusive"),
            ({"deployments": {"m": ""}}, ".deployments['m']: '' cannot be the name of a deployment"),
            ({"api_key": ""}, ".api_key: is empty"),
            ({"api_key": f" {MARK}"}, ".api_key: has white space"),
            ({"azure_cloud": "moon"}, ".azure_cloud: is 'moon', which is unknown"),
            ({"unmapped_models": "x"}, ".unmapped_models: 'x' is unknown"),
            ({"custom_host": "ftp://x", "resource_name": None}, ".custom_host: has the scheme 'ftp'"),
        ],
    )
    def test_a_key_of_a_target(self, keys: dict[str, Any], message: str) -> None:
        assert problem(fallback(EAST, {**WEST, **keys})).startswith(f"config.targets[1]{message}")

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"strategy": {"mode": "fallback"}}, "config: has a strategy, but no targets"),
            ({"targets": [EAST]}, "config: has targets, but no strategy: add strategy={'mode': 'fallback'}"),
            (fallback(), "config.targets: is empty; expected a list of targets"),
            ({**fallback(), "targets": {"a": EAST}}, "config.targets: is of type dict"),
            (fallback(EAST, 5), "config.targets[1]: is 5; expected a mapping"),
            (fallback(EAST, MARK), "config.targets[1]: is of type str; expected a mapping"),
            ({**fallback(EAST), "strategy": "fallback"}, "config.strategy: is of type str; expected a mapping"),
            ({**fallback(EAST), "strategy": {}}, "config.strategy: has no mode; expected one of 'single', "),
            ({**fallback(EAST), "strategy": {"mode": "random"}}, "config.strategy.mode: is 'random', which is unknown"),
            (
                {**fallback(EAST), "strategy": {"mode": "fallback", "on_status_code": [1]}},
                "config.strategy.on_status_code: is unknown; did you mean 'on_status_codes'?",
            ),
            (
                {**fallback(EAST), "strategy": {"mode": "fallback", "on_status_codes": ["429"]}},
                "config.strategy.on_status_codes: has something that is of type str",
            ),
            (
                {**fallback(EAST), "strategy": {"mode": "fallback", "wait_s": -1}},
                "config.strategy.wait_s: is -1; expected seconds",
            ),
            (
                {**fallback(EAST), "strategy": {"mode": "fallback", "by": "load"}},
                "config.strategy.by: goes with mode 'loadbalance', but the mode is 'fallback'",
            ),
            (
                {**fallback(EAST), "strategy": {"mode": "loadbalance", "by": "cost"}},
                "config.strategy.by: is 'cost', which is unknown",
            ),
            (
                {**fallback(EAST), "strategy": {"mode": "single", "on_status_codes": [429]}},
                "config.strategy.on_status_codes: goes with mode 'fallback' or 'loadbalance'",
            ),
            (
                fallback(balance({**EAST, "weight": 0}, {**WEST, "weight": 0})),
                "config.targets[0].targets: all have the weight 0",
            ),
            (
                fallback({**EAST, "name": "a"}, balance({**WEST, "name": "a"})),
                "config.targets[1].targets[0].name: 'a' is the name of config.targets[0] too",
            ),
        ],
    )
    def test_a_group(self, config: Any, message: str) -> None:
        assert problem(config).startswith(message)

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            (None, "query: is None; expected a test such as"),
            ({}, "query: is empty"),
            ([], "query: is empty"),
            ({"model": "x"}, "query.model: is nothing to ask about; expected metadata.<name>"),
            ({"params.": "x"}, "query.params.: is nothing to ask about"),
            ({"url.path": "x"}, "query.url.path: is nothing to ask about"),
            ({"params.n": {"$gtt": 1}}, "query.params.n.$gtt: is no operator; did you mean '$gt"),
            ({"params.n": {"eq": 1}}, "query.params.n.eq: is no operator; did you mean '$eq'?"),
            ({"params.n": {"$eq": 1, "$zzz": 2}}, "query.params.n.$zzz: is no operator; expected one of $eq, $ne"),
            ({"params.n": {}}, "query.params.n: is empty; expected an operator"),
            ({"params.n": {"$in": "abc"}}, "query.params.n.$in: is of type str; expected a list"),
            ({"params.n": {"$gt": True}}, "query.params.n.$gt: is True; expected a number or a str"),
            ({"params.n": {"$regex": "("}}, "query.params.n.$regex: is no regular expression"),
            ({"params.n": {"$regex": 5}}, "query.params.n.$regex: is 5"),
            ({"$or": {"params.n": 1}}, "query.$or: is of type dict; expected a list of tests"),
            ({"$and": []}, "query.$and: is empty"),
            ({"$and": [{"params.n": {"$neq": 1}}]}, "query.$and[0].params.n.$neq: is no operator; did you mean '$ne"),
            ({"$ors": []}, "query.$ors: is no operator; did you mean '$or'?"),
            ({5: 1}, "query: has a key of type int"),
        ],
    )
    def test_a_condition(self, query: Any, message: str) -> None:
        assert problem(conditional(query)).startswith(f"config.strategy.conditions[0].{message}")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"conditions": None}, "config.strategy.conditions: is None; expected a list"),
            ({"conditions": []}, "config.strategy.conditions: is empty"),
            ({"conditions": ["x"]}, "config.strategy.conditions[0]: is of type str"),
            (
                {"conditions": [{"query": {"params.n": 1}, "then": "a", "else": "b"}]},
                "config.strategy.conditions[0].else: is unknown; expected one of query, then",
            ),
            (
                {"conditions": [{"query": {"params.n": 1}}]},
                "config.strategy.conditions[0].then: is None; expected the name of one of the targets",
            ),
            (
                {"conditions": [{"query": {"params.n": 1}, "then": "c"}]},
                "config.strategy.conditions[0].then: 'c' is none of the targets' names: those are 'a', 'b'",
            ),
            ({"default": "bb"}, "config.strategy.default: 'bb' is none of the targets' names; did you mean 'b'?"),
            ({"default": 5}, "config.strategy.default: is 5; expected a str"),
        ],
    )
    def test_conditions_and_where_they_lead(self, change: dict[str, Any], message: str) -> None:
        config = conditional({"params.n": 1})
        config["strategy"].update(change)
        assert problem(config).startswith(message)

    def test_no_condition_leads_to_a_target_without_a_name(self) -> None:
        config = conditional({"params.n": 1})
        del config["targets"][1]["name"]
        assert problem(config).startswith("config.targets[1]: has no name, so that no condition can lead to it")

    def test_all_are_told_at_once(self) -> None:
        config = fallback(
            {**EAST, "weigth": 1, "retry": {"attempts": 9}, "api_version": "soon"},
            balance({"resource_name": "r1", "api_key": {"env": "NOPE"}, "deployment_id": ""}, {"provider": "aws"}),
            {**OPENAI, "base_url": "http://gw.example"},
            cache={"mode": "simple"},
            attempts=0,
        )
        places = [text.partition(": ")[0] for text in problems(config)]
        assert sorted(places) == sorted(
            [
                "config.targets[0].weigth",
                "config.targets[0].retry.attempts",
                "config.targets[0].api_version",
                "config.targets[1].targets[0].api_key",
                "config.targets[1].targets[0].deployment_id",
                "config.targets[1].targets[1].provider",
                "config.targets[2].base_url",
                "config.cache",
                "config.attempts",
            ]
        )

    def test_a_tree_without_end_is_one_problem(self) -> None:
        config = fallback()
        config["targets"] = [config]
        assert problem(config).endswith("is nested deeper than 16 levels")
        query: dict[str, Any] = {}
        query["$and"] = [query]
        assert problem(conditional(query)).endswith("is nested deeper than 16 levels")

    def test_something_async_in_a_client_that_blocks_is_that_error(self) -> None:
        config = fallback(EAST, {"resource_name": "r1", "azure_ad_token_provider": async_provider})
        with pytest.raises(AsyncCredentialError, match=r"^config\.targets\[1\]\.azure_ad_token_provider: "):
            read(config)
        assert read(config, is_async=True).targets[1].credential.provider is async_provider

    @pytest.mark.parametrize("config", [None, 5, [EAST], object(), b"azure.toml", type("Node", (), {"as_config": 1})])
    def test_what_is_no_config(self, config: Any) -> None:
        assert problem(config).startswith("config: is ")

    def test_no_repr_shows_a_secret(self) -> None:
        config = fallback(
            {**EAST, "default_headers": {"X-A": MARK}, "proxy": f"http://u:{MARK}@p:1", "override_params": {"u": MARK}},
            OPENAI,
        )
        assert MARK not in repr(read(config))


class TestFiles:
    TOML = """
        api_version = "2024-10-21"
        replay = "never"
        [strategy]
        mode = "loadbalance"
        by = "load"
        [[targets]]
        resource_name = "eastus"
        api_key = {env = "EASTUS_KEY"}
        weight = 2
        [[targets]]
        provider = "openai"
        api_key = "sk-1"
        override_params = {model = "gpt-4"}
        """

    def test_toml(self, tmp_path: Path) -> None:
        path = tmp_path / "azure.toml"
        path.write_text(self.TOML)
        for spelling in (path, str(path)):
            plan, used = read_plan(spelling, is_async=False, environ={"EASTUS_KEY": MARK})
            assert [target.name for target in plan.targets] == ["eastus", "openai"]
            assert plan.targets[0].credential.value == MARK
            assert (plan.rules.replay, used) == ("never", {"EASTUS_KEY": MARK})

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_json(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "azure.JSON"
        path.write_text(json.dumps(fallback(EAST, WEST)), encoding=encoding)
        assert read(path) == read(fallback(EAST, WEST))

    def test_a_path_below_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "azure.json").write_text(json.dumps(EAST))
        assert leaf("~/azure.json").name == "eastus"

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("absent.toml", None, "cannot be read: No such file"),
            ("bad.toml", f'api_key "{MARK}"', "is no TOML: error at line 1, column 9"),
            ("open.toml", f'api_key = "{MARK}', "is no TOML"),
            ("bad.json", f'{{"api_key": {MARK}}}', "is no JSON: Expecting value at line 1, column 13"),
            ("list.json", f'["{MARK}"]', "has a list; expected an object"),
            ("deep.json", "[" * 100_000, "is nested too deeply"),
            ("latin.json", b'{"a": "\xe4"}', "is not text in UTF-8"),
        ],
    )
    def test_a_file_that_is_no_good_is_named(
        self, tmp_path: Path, name: str, content: str | bytes | None, message: str
    ) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = problem(str(path))
        assert found.startswith(f"config: the file '{path}' ")
        assert message in found

    @pytest.mark.parametrize("value", ["azure.yaml", "azure", "", json.dumps(EAST), "a\0b.toml"])
    def test_a_str_is_the_path_of_such_a_file(self, value: str) -> None:
        assert problem(value).startswith("config: ")

    def test_a_path_of_bytes(self) -> None:
        class Path:
            def __fspath__(self) -> bytes:
                return b"azure.toml"

        assert problem(Path()) == "config: is a path of bytes; expected a str"


@pytest.mark.parametrize("make", [lambda: fallback(EAST, WEST), lambda: conditional({"params.n": 1})])
def test_reading_twice_gives_the_same(make: Callable[[], Any]) -> None:
    assert read(make()) == read(make())
