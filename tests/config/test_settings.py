"""Arguments and environment become one target, or one error that names everything that is wrong with them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from azure_shim.config.settings import (
    ARGUMENTS,
    CREDENTIAL_ARGUMENTS,
    ENDPOINT_ARGUMENTS,
    Settings,
    read_settings,
)
from azure_shim.errors import AzureShimError, ConfigurationError
from azure_shim.values import Target

HOST = "https://r.openai.azure.com"
OTHER = "https://other.openai.azure.com"
PROJECT = "https://r.services.ai.azure.com/api/projects/p"
VERSION = "2024-10-21"
KEY = "canary-key-0123456789abcdef"
TOKEN = "canary-token-0123456789abcdef"
BASE: dict[str, Any] = {"azure_endpoint": HOST, "api_key": KEY}
OPENAI = {
    "OPENAI_API_KEY": "canary-openai",
    "OPENAI_BASE_URL": "https://api.openai.com/v1",
    "OPENAI_API_BASE": "https://api.openai.com/v1",
    "OPENAI_ORG_ID": "org",
    "OPENAI_PROJECT_ID": "proj",
}


def provider() -> str:
    return TOKEN


async def async_provider() -> str:
    return TOKEN


def configured(environ: Mapping[str, str] | None = None, *, is_async: bool = False, **arguments: Any) -> Settings:
    return read_settings(arguments, is_async=is_async, environ=environ or {})


def target(environ: Mapping[str, str] | None = None, **arguments: Any) -> Target:
    return configured(environ, **arguments).target


def problems(environ: Mapping[str, str] | None = None, *, is_async: bool = False, **arguments: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        configured(environ, is_async=is_async, **arguments)
    for text in (str(caught.value), repr(caught.value), repr(caught.value.problems)):
        assert "canary" not in text
    assert caught.value.__cause__ is None
    return caught.value.problems


def problem(environ: Mapping[str, str] | None = None, *, is_async: bool = False, **arguments: Any) -> str:
    found = problems(environ, is_async=is_async, **arguments)
    assert len(found) == 1, found
    return found[0]


class TestEndpoint:
    @pytest.mark.parametrize(
        ("arguments", "origin", "base"),
        [
            ({"azure_endpoint": HOST}, HOST, "/openai/v1"),
            ({"azure_endpoint": HOST + "/openai/v1/"}, HOST, "/openai/v1"),
            ({"base_url": HOST + "/openai/v1/"}, HOST, "/openai/v1"),
            ({"resource_name": "My-Resource"}, "https://my-resource.openai.azure.com", "/openai/v1"),
            ({"azure_endpoint": PROJECT}, "https://r.services.ai.azure.com", "/api/projects/p/openai/v1"),
            ({"azure_endpoint": "https://gw.example/PTU"}, "https://gw.example", "/PTU/openai/v1"),
            ({"base_url": "https://gw.example/PTU"}, "https://gw.example", "/PTU"),
            ({"azure_endpoint": HOST, "api_version": VERSION}, HOST, "/openai"),
            ({"base_url": "https://gw.example/PTU", "api_version": VERSION}, "https://gw.example", "/PTU"),
            ({"azure_endpoint": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080", "/openai/v1"),
        ],
    )
    def test_each_argument_names_an_endpoint(self, arguments: dict[str, Any], origin: str, base: str) -> None:
        found = target(api_key=KEY, **arguments)
        assert (str(found.endpoint.origin), found.base_path) == (origin, base)

    def test_a_url_object_is_a_base_url(self) -> None:
        class URL:
            def __str__(self) -> str:
                return HOST + "/openai/v1/"

        assert target(api_key=KEY, base_url=URL()).base_path == "/openai/v1"

    def test_a_target_is_called_by_its_host(self) -> None:
        assert target(**BASE).name == "r"

    @pytest.mark.parametrize(
        "arguments", [{"azure_endpoint": OTHER}, {"base_url": OTHER + "/openai"}, {"resource_name": "other"}]
    )
    def test_an_argument_wins_over_the_environment(self, arguments: dict[str, Any]) -> None:
        found = target({"AZURE_OPENAI_ENDPOINT": HOST}, api_key=KEY, **arguments)
        assert str(found.endpoint.origin) == OTHER

    @pytest.mark.parametrize("value", [HOST, HOST + "/\n", "r.openai.azure.com", HOST + "/openai/v1/"])
    def test_the_environment_serves_where_no_argument_does(self, value: str) -> None:
        assert str(target({"AZURE_OPENAI_ENDPOINT": value}, api_key=KEY).endpoint.origin) == HOST

    @pytest.mark.parametrize("environ", [{}, OPENAI, {"AZURE_OPENAI_ENDPOINT": ""}, {"AZURE_OPENAI_ENDPOINT": " \n"}])
    def test_no_endpoint_names_what_was_looked_at(self, environ: dict[str, str]) -> None:
        message = problem(environ, api_key=KEY)
        for name in (*ENDPOINT_ARGUMENTS, "AZURE_OPENAI_ENDPOINT"):
            assert name in message

    @pytest.mark.parametrize(
        "given",
        [
            {"azure_endpoint": HOST, "base_url": HOST},
            {"azure_endpoint": HOST, "resource_name": "r"},
            {"base_url": HOST, "resource_name": "r"},
            {"azure_endpoint": HOST, "base_url": HOST, "resource_name": "r"},
        ],
    )
    def test_two_endpoints_are_one_error_that_names_both(self, given: dict[str, Any]) -> None:
        message = problem(api_key=KEY, **given)
        assert "mutually exclusive" in message
        for name in ENDPOINT_ARGUMENTS:
            assert (name in message) is (name in given)

    @pytest.mark.parametrize("name", ["azure_endpoint", "base_url"])
    @pytest.mark.parametrize(
        "value",
        [
            "",
            "ftp://r.openai.azure.com",
            "http://r.openai.azure.com",
            "https://user:canary@r.openai.azure.com",
            "https://api.openai.com/v1",
            "not a url",
            HOST + ":port?api-key=canary",
            HOST + "/unknown?api-key=canary",
        ],
    )
    def test_what_is_no_endpoint_is_one_error_that_names_its_argument(self, name: str, value: str) -> None:
        assert problem(api_key=KEY, **{name: value}).startswith(f"{name}: ")

    @pytest.mark.parametrize("value", [HOST, "", "a_b", "-"])
    def test_what_is_no_resource_is_one_error(self, value: str) -> None:
        assert problem(api_key=KEY, resource_name=value).startswith("resource_name: is not the name of a resource")

    def test_a_bad_variable_is_an_error_that_names_the_variable(self) -> None:
        message = problem({"AZURE_OPENAI_ENDPOINT": "https://u:canary@h?x=canary"}, api_key=KEY)
        assert message.startswith("AZURE_OPENAI_ENDPOINT: ")

    def test_a_bad_variable_does_not_matter_where_an_argument_wins(self) -> None:
        assert str(target({"AZURE_OPENAI_ENDPOINT": "ftp://x"}, **BASE).endpoint.origin) == HOST

    @pytest.mark.parametrize(
        ("name", "value"), [("azure_endpoint", 5), ("azure_endpoint", b"https://r"), ("resource_name", 5)]
    )
    def test_an_endpoint_of_another_type_is_an_error(self, name: str, value: Any) -> None:
        assert problem(api_key=KEY, **{name: value}).startswith(f"{name}: is of type {type(value).__name__}")


class TestApiVersion:
    @pytest.mark.parametrize(
        ("value", "expected", "is_classic"),
        [
            (None, None, False),
            ("v1", None, False),
            ("V1", None, False),
            (" v1\n", None, False),
            ("preview", "preview", False),
            ("Latest", "latest", False),
            (VERSION, VERSION, True),
            (" 2024-10-21 ", VERSION, True),
            ("2025-04-01-preview", "2025-04-01-preview", True),
            ("2025-04-01-Preview", "2025-04-01-preview", True),
        ],
    )
    def test_a_version_chooses_the_surface(self, value: str | None, expected: str | None, is_classic: bool) -> None:
        for found in (target(**BASE, api_version=value), target({"OPENAI_API_VERSION": value or ""}, **BASE)):
            assert (found.api_version, found.is_classic) == (expected, is_classic)

    @pytest.mark.parametrize(
        ("endpoint", "argument", "variable", "expected"),
        [
            ("", None, "2023-05-15", "2023-05-15"),
            ("", VERSION, "2023-05-15", VERSION),
            ("", "v1", "2023-05-15", None),
            ("?api-version=2024-02-01", None, "2023-05-15", "2024-02-01"),
            ("?api-version=2024-02-01", VERSION, "2023-05-15", VERSION),
            ("/openai/deployments/d/chat/completions?api-version=2024-02-01", None, "2023-05-15", "2024-02-01"),
            ("/openai/deployments/d", None, "2023-05-15", "2023-05-15"),
            ("/openai/v1", None, "2023-05-15", None),
            ("/openai/v1/", None, "2023-05-15", None),
            ("/openai/v1", VERSION, "2023-05-15", VERSION),
            ("/openai/v1?api-version=2024-02-01", None, "2023-05-15", None),
            ("", None, "", None),
            ("", None, " ", None),
        ],
    )
    def test_argument_then_endpoint_then_environment(
        self, endpoint: str, argument: str | None, variable: str, expected: str | None
    ) -> None:
        for name in ("azure_endpoint", "base_url"):
            found = target(
                {"OPENAI_API_VERSION": variable}, api_key=KEY, api_version=argument, **{name: HOST + endpoint}
            )
            assert found.api_version == expected

    def test_the_endpoint_in_the_environment_wins_over_the_version_there(self) -> None:
        environ = {"AZURE_OPENAI_ENDPOINT": HOST + "?api-version=2024-02-01", "OPENAI_API_VERSION": "2023-05-15"}
        assert target(environ, api_key=KEY).api_version == "2024-02-01"

    @pytest.mark.parametrize("version", ["preview", "latest"])
    def test_the_preview_that_a_v1_endpoint_asks_for_is_kept(self, version: str) -> None:
        """As in the target URI of Responses that the portal offers."""
        found = target(api_key=KEY, azure_endpoint=f"{HOST}/openai/v1/responses?api-version={version}")
        assert found.api_version == version

    @pytest.mark.parametrize(
        "value",
        ["", " ", "2024", "2024-10", "v2", "1", "2024/10/21", "20241021", "latest!", "2024-10-21&x=1", 5, 2024.1],
    )
    def test_an_unknown_spelling_is_one_error_with_those_that_are_known(self, value: Any) -> None:
        message = problem(**BASE, api_version=value)
        assert message.startswith("api_version: ")
        assert repr(value) in message
        assert "'v1'" in message
        assert "'2024-10-21'" in message

    @pytest.mark.parametrize(
        ("environ", "endpoint", "label"),
        [
            ({"OPENAI_API_VERSION": "soon"}, HOST, "OPENAI_API_VERSION: "),
            ({}, HOST + "?api-version=soon", "the api-version in the endpoint: "),
        ],
    )
    def test_a_bad_version_is_told_where_it_came_from(self, environ: dict[str, str], endpoint: str, label: str) -> None:
        assert problem(environ, api_key=KEY, azure_endpoint=endpoint).startswith(label)

    def test_a_bad_variable_does_not_matter_where_an_argument_wins(self) -> None:
        assert target({"OPENAI_API_VERSION": "soon"}, **BASE, api_version=VERSION).api_version == VERSION

    @pytest.mark.parametrize("version", [VERSION, "preview", "latest"])
    def test_a_project_goes_with_no_version(self, version: str) -> None:
        message = problem(api_key=KEY, azure_endpoint=PROJECT, api_version=version)
        assert message.startswith("api_version: ")
        assert "project" in message

    @pytest.mark.parametrize("arguments", [{}, {"api_version": "v1"}])
    def test_a_project_is_v1_whatever_the_environment_says(self, arguments: dict[str, Any]) -> None:
        found = target({"OPENAI_API_VERSION": VERSION}, api_key=KEY, azure_endpoint=PROJECT, **arguments)
        assert found.api_version is None


class TestCredential:
    @pytest.mark.parametrize(
        ("arguments", "is_token", "value"),
        [
            ({"api_key": KEY}, False, KEY),
            ({"azure_ad_token": TOKEN}, True, TOKEN),
            ({"azure_ad_token": "Bearer " + TOKEN}, True, TOKEN),
        ],
    )
    def test_a_key_or_a_token(self, arguments: dict[str, Any], is_token: bool, value: str) -> None:
        found = target(azure_endpoint=HOST, **arguments).credential
        assert (found.header, found.is_token, found.value, found.provider) == ("api-key", is_token, value, None)
        assert found.source == next(iter(arguments))

    @pytest.mark.parametrize(("name", "is_token"), [("api_key", False), ("azure_ad_token_provider", True)])
    @pytest.mark.parametrize("function", [provider, async_provider])
    def test_a_provider_is_kept_and_not_called(self, name: str, is_token: bool, function: Any) -> None:
        found = configured(is_async=True, azure_endpoint=HOST, **{name: function}).target.credential
        assert (found.is_token, found.value, found.provider) == (is_token, None, function)
        assert name in found.source

    @pytest.mark.parametrize("name", ["api_key", "azure_ad_token_provider"])
    def test_a_client_that_blocks_takes_no_coroutine_function(self, name: str) -> None:
        assert problem(azure_endpoint=HOST, **{name: async_provider}).startswith(f"{name}: is a coroutine function")
        assert target(azure_endpoint=HOST, **{name: provider}).credential.provider is provider

    @pytest.mark.parametrize(
        ("environ", "source", "is_token", "value"),
        [
            ({"AZURE_OPENAI_API_KEY": KEY}, "AZURE_OPENAI_API_KEY", False, KEY),
            ({"AZURE_OPENAI_AD_TOKEN": TOKEN}, "AZURE_OPENAI_AD_TOKEN", True, TOKEN),
            ({"AZURE_OPENAI_AD_TOKEN": "Bearer " + TOKEN}, "AZURE_OPENAI_AD_TOKEN", True, TOKEN),
            ({"AZURE_OPENAI_AD_TOKEN": TOKEN, "AZURE_OPENAI_API_KEY": KEY}, "AZURE_OPENAI_AD_TOKEN", True, TOKEN),
            ({"AZURE_OPENAI_AD_TOKEN": " ", "AZURE_OPENAI_API_KEY": KEY}, "AZURE_OPENAI_API_KEY", False, KEY),
            ({**OPENAI, "AZURE_OPENAI_API_KEY": KEY}, "AZURE_OPENAI_API_KEY", False, KEY),
        ],
    )
    def test_in_the_environment_a_token_comes_before_a_key(
        self, environ: dict[str, str], source: str, is_token: bool, value: str
    ) -> None:
        found = target(environ, azure_endpoint=HOST).credential
        assert (found.source, found.is_token, found.value) == (source, is_token, value)

    @pytest.mark.parametrize("environ", [{"AZURE_OPENAI_AD_TOKEN": "env"}, {"AZURE_OPENAI_API_KEY": "env"}])
    @pytest.mark.parametrize(
        "arguments",
        [{"api_key": KEY}, {"azure_ad_token": TOKEN}, {"azure_ad_token_provider": provider}, {"api_key": provider}],
    )
    def test_an_argument_wins_over_the_environment(self, environ: dict[str, str], arguments: dict[str, Any]) -> None:
        found = target(environ, azure_endpoint=HOST, **arguments).credential
        assert next(iter(arguments)) in found.source
        assert found.value != "env"

    @pytest.mark.parametrize("environ", [{}, OPENAI, {"AZURE_OPENAI_API_KEY": "", "AZURE_OPENAI_AD_TOKEN": "\n"}])
    def test_no_credential_names_what_was_looked_at(self, environ: dict[str, str]) -> None:
        """OPENAI_API_KEY is not among it: it is another service's secret."""
        message = problem(environ, azure_endpoint=HOST)
        for name in (*CREDENTIAL_ARGUMENTS, "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"):
            assert name in message
        assert "OPENAI_API_KEY" not in message.replace("AZURE_OPENAI_API_KEY", "")

    @pytest.mark.parametrize("one", CREDENTIAL_ARGUMENTS)
    @pytest.mark.parametrize("two", CREDENTIAL_ARGUMENTS)
    def test_two_credentials_are_one_error_that_names_both(self, one: str, two: str) -> None:
        if one == two:
            return
        message = problem(azure_endpoint=HOST, **{one: KEY, two: TOKEN})
        assert set(message.partition(" are mutually exclusive")[0].split(" and ")) == {one, two}

    @pytest.mark.parametrize(
        ("value", "fault"),
        [
            ("", "is empty"),
            (" canary", "white space"),
            ("canary\n", "white space"),
            ("canary\r\nX: 1", "control character"),
            ("canäry", "non-ASCII"),
            (5, "of type int"),
            (b"canary", "of type bytes"),
        ],
    )
    @pytest.mark.parametrize("name", ["api_key", "azure_ad_token"])
    def test_a_credential_that_no_header_can_carry_is_one_error(self, name: str, value: Any, fault: str) -> None:
        message = problem(azure_endpoint=HOST, **{name: value})
        assert message.startswith(f"{name}: ")
        assert fault in message

    @pytest.mark.parametrize("name", ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"])
    def test_a_bad_variable_is_an_error_that_names_the_variable(self, name: str) -> None:
        assert problem({name: "canary key\n"}, azure_endpoint=HOST).startswith(f"{name}: ")

    @pytest.mark.parametrize("value", [TOKEN, 5, object()])
    def test_a_provider_is_callable(self, value: Any) -> None:
        message = problem(azure_endpoint=HOST, azure_ad_token_provider=value)
        assert message.startswith(f"azure_ad_token_provider: is of type {type(value).__name__}")

    def test_a_gateway_names_its_own_header_for_a_key(self) -> None:
        header = "Ocp-Apim-Subscription-Key"
        assert target(**BASE, api_key_header=header).credential.header == header
        assert (
            target({"AZURE_OPENAI_API_KEY": KEY}, azure_endpoint=HOST, api_key_header=header).credential.header
            == header
        )

    @pytest.mark.parametrize("header", ["", " ", "a b", "a:b", "a\nb", "ä", 5])
    def test_what_is_no_header_name_is_one_error(self, header: Any) -> None:
        assert problem(**BASE, api_key_header=header).startswith("api_key_header: ")

    def test_headers_that_sign_by_themselves_need_no_credential(self) -> None:
        environ = {"AZURE_OPENAI_API_KEY": "env", "AZURE_OPENAI_AD_TOKEN": "env"}
        found = read_settings({"azure_endpoint": HOST}, is_async=False, environ=environ, signs=True).target.credential
        assert (found.value, found.provider) == (None, None)
        found = read_settings(BASE, is_async=False, environ=environ, signs=True).target.credential
        assert found.value == KEY


class TestDeployments:
    def test_a_map_is_copied(self) -> None:
        deployments = {"gpt-4o": "prod"}
        found = target(**BASE, deployments=deployments)
        deployments["gpt-4o"] = "changed"
        assert found.deployments == {"gpt-4o": "prod"}
        assert (found.default_deployment, found.default_for, found.unmapped) == (None, None, "passthrough")

    def test_a_callable_is_kept(self) -> None:
        def deployments(model: str) -> str:
            return model

        assert target(**BASE, deployments=deployments).deployments is deployments

    @pytest.mark.parametrize("name", ["azure_deployment", "deployment_id"])
    def test_one_deployment_is_the_default_of_every_operation(self, name: str) -> None:
        found = target(**BASE, **{name: "dep"})
        assert (found.default_deployment, found.default_for) == ("dep", None)

    @pytest.mark.parametrize(
        ("path", "default", "default_for"),
        [
            ("/openai/deployments/dep", "dep", None),
            ("/openai/deployments/dep/embeddings?api-version=2024-10-21", "dep", "/embeddings"),
            ("/openai/responses?api-version=2025-04-01-preview", None, None),
            ("/openai/v1/chat/completions", None, None),
        ],
    )
    def test_an_endpoint_may_name_the_deployment_of_one_operation(
        self, path: str, default: str | None, default_for: str | None
    ) -> None:
        found = target(api_key=KEY, azure_endpoint=HOST + path)
        assert found.default_deployment == default
        assert default is None or found.default_for == default_for

    def test_an_argument_wins_over_the_endpoint_s_deployment(self) -> None:
        path = "/openai/deployments/dep/embeddings?api-version=2024-10-21"
        found = target(api_key=KEY, azure_endpoint=HOST + path, azure_deployment="mine")
        assert (found.default_deployment, found.default_for) == ("mine", None)

    @pytest.mark.parametrize(
        ("deployments", "named"),
        [
            ({"gpt-4o": ""}, "deployments['gpt-4o']: ''"),
            ({"gpt-4o": " "}, "deployments['gpt-4o']: ' '"),
            ({"gpt-4o": None}, "deployments['gpt-4o']: None"),
            ({"gpt-4o": 5}, "deployments['gpt-4o']: 5"),
            ({"gpt-4o": "."}, "deployments['gpt-4o']: '.'"),
            ({"gpt-4o": ".."}, "deployments['gpt-4o']: '..'"),
            ({"": "dep"}, "deployments: the model ''"),
            ({" ": "dep"}, "deployments: the model ' '"),
            ({None: "dep"}, "deployments: the model None"),
            ({"ok": "fine", "gpt-4o": ""}, "deployments['gpt-4o']: ''"),
            (["gpt-4o"], "deployments: is of type list"),
            ("gpt-4o", "deployments: is of type str"),
        ],
    )
    def test_an_empty_name_in_the_map_is_one_error_that_names_it(self, deployments: Any, named: str) -> None:
        assert problem(**BASE, deployments=deployments).startswith(named)

    def test_every_bad_entry_of_a_map_is_told(self) -> None:
        assert len(problems(**BASE, deployments={"a": "", "b": "..", "": "c", "ok": "ok"})) == 3

    @pytest.mark.parametrize("name", ["azure_deployment", "deployment_id"])
    @pytest.mark.parametrize(
        "deployments", [{"gpt-4o": "prod"}, {}, lambda model: "dep"], ids=["map", "empty", "callable"]
    )
    def test_a_default_that_conflicts_with_the_map_is_one_error(self, name: str, deployments: Any) -> None:
        message = problem(**BASE, **{name: "dep"}, deployments=deployments)
        assert message.startswith(f"{name}: ")
        assert "deployments" in message

    def test_a_default_that_the_map_has_is_no_conflict(self) -> None:
        found = target(**BASE, azure_deployment="dep", deployments={"gpt-4o": "dep", "o3": "other"})
        assert (found.default_deployment, found.deployments) == ("dep", {"gpt-4o": "dep", "o3": "other"})

    def test_the_deployment_in_an_endpoint_is_no_conflict(self) -> None:
        found = target(api_key=KEY, azure_endpoint=HOST + "/openai/deployments/dep", deployments={"o3": "other"})
        assert (found.default_deployment, found.deployments) == ("dep", {"o3": "other"})

    def test_both_names_of_the_default_are_one_error(self) -> None:
        message = problem(**BASE, azure_deployment="a", deployment_id="b")
        assert "azure_deployment" in message
        assert "deployment_id" in message

    @pytest.mark.parametrize("value", ["", " ", 5])
    @pytest.mark.parametrize("name", ["azure_deployment", "deployment_id"])
    def test_an_empty_default_is_one_error(self, name: str, value: Any) -> None:
        assert problem(**BASE, **{name: value}).startswith(f"{name}: ")

    @pytest.mark.parametrize("value", [".", ".."])
    def test_a_default_that_no_path_can_name_is_one_error(self, value: str) -> None:
        assert problem(**BASE, azure_deployment=value).startswith("azure_deployment: ")

    @pytest.mark.parametrize("value", ["passthrough", "error"])
    def test_unmapped_models(self, value: str) -> None:
        assert target(**BASE, unmapped_models=value).unmapped == value

    @pytest.mark.parametrize("value", ["", "raise", True, 5, ["error"]])
    def test_unmapped_models_is_one_of_two(self, value: Any) -> None:
        message = problem(**BASE, unmapped_models=value)
        assert message.startswith("unmapped_models: ")
        assert "'passthrough' or 'error'" in message


class TestErrors:
    def test_all_problems_are_reported_at_once(self) -> None:
        found = problems(
            {"AZURE_OPENAI_ENDPOINT": HOST},
            azure_endpoint=HOST,
            base_url=OTHER,
            api_key=KEY,
            azure_ad_token=TOKEN,
            api_version="soon",
            azure_deployment="",
            deployments={"a": ""},
            unmapped_models="raise",
        )
        starts = (
            "azure_endpoint and base_url",
            "api_version:",
            "api_key and azure_ad_token",
            "azure_deployment:",
            "deployments['a']:",
            "unmapped_models:",
        )
        assert len(found) == len(starts)
        for start in starts:
            assert sum(text.startswith(start) for text in found) == 1, start

    def test_nothing_at_all_is_two_problems(self) -> None:
        endpoint, credential = problems()
        assert "AZURE_OPENAI_ENDPOINT" in endpoint
        assert "AZURE_OPENAI_API_KEY" in credential

    def test_one_sentence_a_line(self) -> None:
        error = ConfigurationError(["one: is wrong", "two: is wrong"])
        assert str(error) == "one: is wrong\ntwo: is wrong"
        assert error.problems == ("one: is wrong", "two: is wrong")
        assert isinstance(error, ValueError)
        assert isinstance(error, AzureShimError)

    @pytest.mark.parametrize("given", [["one", "two"], ("one",), []])
    def test_an_error_survives_pickling_and_copying(self, given: Any) -> None:
        error = ConfigurationError(given)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(error, protocol))
            assert type(again) is ConfigurationError
            assert (again.problems, str(again), again.args) == (error.problems, str(error), error.args)
        assert copy.deepcopy(error).problems == error.problems

    def test_a_class_below_it_survives_pickling_as_itself(self) -> None:
        again = pickle.loads(pickle.dumps(Below(["one"])))
        assert type(again) is Below
        assert again.problems == ("one",)


class Below(ConfigurationError):
    pass


class TestSettings:
    @pytest.mark.parametrize(
        "credential", [{"api_key": KEY}, {"azure_ad_token": TOKEN}, {"azure_ad_token_provider": provider}]
    )
    def test_no_repr_shows_a_secret(self, credential: dict[str, Any]) -> None:
        settings = configured(azure_endpoint=HOST, **credential).with_headers({"X-Key": "canary-header"})
        assert settings.arguments[next(iter(credential))] == next(iter(credential.values()))
        for text in (repr(settings), repr(settings.target), str(settings), repr(settings.target.credential)):
            assert "canary" not in text
            assert "provider at" not in text

    def test_a_secret_of_the_environment_is_not_shown_either(self) -> None:
        settings = configured({"AZURE_OPENAI_API_KEY": KEY}, azure_endpoint=HOST)
        assert "canary" not in repr(settings)

    def test_headers_go_with_the_target(self) -> None:
        headers = {"X-Team": "a"}
        settings = configured(**BASE).with_headers(headers)
        headers["X-Team"] = "b"
        assert settings.target.headers == {"X-Team": "a"}
        assert configured(**BASE).target.headers == {}

    def test_none_is_as_good_as_not_given(self) -> None:
        nothing = dict.fromkeys(ARGUMENTS)
        assert target(**{**nothing, **BASE}) == target(**BASE)
        assert len(problems(**nothing)) == 2

    def test_the_environment_is_read_only_where_none_is_passed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", OTHER)
        assert len(problems(api_key=KEY)) == 1
        assert str(read_settings({"api_key": KEY}, is_async=False).target.endpoint.origin) == OTHER

    def test_openai_s_own_variables_are_never_read(self) -> None:
        environ = {**OPENAI, "AZURE_OPENAI_ENDPOINT": HOST, "AZURE_OPENAI_API_KEY": KEY}
        assert target(environ) == target({name: environ[name] for name in environ if name.startswith("AZURE")})

    def test_the_arguments_are_not_changed(self) -> None:
        arguments = {**BASE, "deployments": {"a": "b"}, "api_version": None}
        before = copy.deepcopy(arguments)
        read_settings(arguments, is_async=False, environ={"OPENAI_API_VERSION": VERSION})
        assert arguments == before


class TestCopies:
    def copied(self, settings: Settings, **changes: Any) -> Target:
        return settings.with_arguments(changes, is_async=False).target

    def test_a_copy_without_changes_is_the_same(self) -> None:
        settings = configured(**BASE, api_version=VERSION, deployments={"a": "b"}, unmapped_models="error")
        assert self.copied(settings) == settings.target
        assert self.copied(settings, api_key=None, azure_endpoint=None) == settings.target

    def test_a_new_endpoint_or_credential_replaces_the_old_one_whatever_its_argument(self) -> None:
        settings = configured(**BASE, azure_deployment="dep")
        copied = self.copied(settings, base_url=OTHER, azure_ad_token=TOKEN, deployment_id="other")
        assert str(copied.endpoint.origin) == OTHER
        assert (copied.credential.is_token, copied.credential.value) == (True, TOKEN)
        assert copied.default_deployment == "other"
        assert settings.target.credential.value == KEY

    def test_what_came_from_the_environment_stays_as_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        environ = {"AZURE_OPENAI_ENDPOINT": HOST, "AZURE_OPENAI_API_KEY": KEY, "OPENAI_API_VERSION": VERSION}
        settings = configured(environ)
        for name in environ:
            monkeypatch.setenv(name, "https://changed.openai.azure.com")
        copied = self.copied(settings)
        assert (copied.endpoint, copied.api_version) == (settings.target.endpoint, VERSION)
        assert copied.credential.value == KEY

    def test_a_version_that_appears_in_the_environment_later_does_not_change_a_copy(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = configured(**BASE)
        monkeypatch.setenv("OPENAI_API_VERSION", VERSION)
        assert self.copied(settings, deployments={"a": "b"}).api_version is None

    def test_the_version_of_a_copy_s_endpoint_wins_over_the_environment_s(self) -> None:
        settings = configured({"OPENAI_API_VERSION": VERSION}, **BASE)
        copied = self.copied(settings, azure_endpoint=OTHER + "?api-version=2024-02-01", api_key="another-key")
        assert copied.api_version == "2024-02-01"

    def test_a_token_follows_a_copy_to_another_endpoint_and_a_key_does_not(self) -> None:
        by_token = configured(azure_endpoint=HOST, azure_ad_token=TOKEN)
        assert self.copied(by_token, azure_endpoint=OTHER).credential.value == TOKEN
        with pytest.raises(ConfigurationError, match="is not sent to"):
            self.copied(configured(**BASE), azure_endpoint=OTHER)

    def test_a_client_that_is_signed_by_its_headers_can_be_copied(self) -> None:
        settings = read_settings({"azure_endpoint": HOST}, is_async=False, environ={}, signs=True)
        assert self.copied(settings, deployments={"a": "b"}).credential.value is None
