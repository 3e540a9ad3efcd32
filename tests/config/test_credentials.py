"""Who signs, for which cloud and with which scope: every mode, its arguments and variables, and all that is wrong."""

from __future__ import annotations

import copy
import os
import pickle
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import azure.identity
import azure.identity.aio
import pytest
import trustme
from azure.core.credentials import AzureKeyCredential, AzureNamedKeyCredential

from azure_shim.auth import identities
from azure_shim.auth.identities import MODES, Identity, machine_has_identity
from azure_shim.auth.secrets import shown
from azure_shim.auth.source import TokenSource
from azure_shim.config.credentials import CREDENTIAL_ARGUMENTS, IDENTITY_ARGUMENTS
from azure_shim.config.settings import Settings, read_settings
from azure_shim.errors import AsyncCredentialError, ConfigurationError
from azure_shim.values import Credential

HOST, SERVICES = "https://r.openai.azure.com", "https://r.services.ai.azure.com"
US, CN, GATEWAY = "https://r.openai.azure.us", "https://r.openai.azure.cn", "https://gw.example/x"
VERSION = "2024-10-21"
TENANT, OTHER_TENANT = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
CLIENT = "99999999-8888-7777-6666-aaaaaaaaaaaa"
SECRET, PASSWORD = "canary~secret", "canary~password"
CLASSIC, V1 = "https://cognitiveservices.azure.com/.default", "https://ai.azure.com/.default"
US_SCOPE, CN_SCOPE = "https://cognitiveservices.azure.us/.default", "https://cognitiveservices.azure.cn/.default"
US_PROJECT = "https://ai.azure.us/.default"
PUBLIC = "login.microsoftonline.com"
US_AUTHORITY, CN_AUTHORITY = "login.microsoftonline.us", "login.chinacloudapi.cn"
PRIVATE = "https://adfs.example"
AUTHORITY = "AZURE_AUTHORITY_HOST"
ENTRA = {
    "azure_auth_mode": "entra",
    "azure_entra_tenant_id": TENANT,
    "azure_entra_client_id": CLIENT,
    "azure_entra_client_secret": SECRET,
}
ENTRA_VARIABLES = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": SECRET}
WORKLOAD_VARIABLES = {
    "AZURE_TENANT_ID": TENANT,
    "AZURE_CLIENT_ID": CLIENT,
    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/token",
}


class Sync:
    def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        raise AssertionError("construction asks for no token")


class Older:
    def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError("construction asks for no token")


class Async:
    async def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError("construction asks for no token")


class AsyncNewer:
    async def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        raise AssertionError("construction asks for no token")


class Mixed:
    """What it is shows only when it is asked."""

    def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        raise AssertionError("construction asks for no token")

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        raise AssertionError("construction asks for no token")


@pytest.fixture(autouse=True)
def no_credential_is_made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Construction is free: azure-identity is imported when a token is first needed."""

    def credential(identity: Identity) -> Any:
        raise AssertionError("a credential was made at construction")

    if "made" not in request.fixturenames:
        monkeypatch.setattr(Identity, "credential", credential)


def configured(environ: Mapping[str, str] | None = None, *, is_async: bool = False, **arguments: Any) -> Settings:
    arguments.setdefault("azure_endpoint", HOST)
    return read_settings(arguments, is_async=is_async, environ=environ or {})


def credential(environ: Mapping[str, str] | None = None, **arguments: Any) -> Credential:
    found = configured(environ, **arguments).target.credential
    assert (found.value, found.provider, found.is_token) == (None, None, True)
    return found


def source(environ: Mapping[str, str] | None = None, **arguments: Any) -> TokenSource:
    return credential(environ, **arguments).tokens.source  # type: ignore[no-any-return]


def identity(environ: Mapping[str, str] | None = None, **arguments: Any) -> Identity:
    found = source(environ, **arguments).identity
    assert found is not None
    return found


def error(environ: Mapping[str, str] | None = None, *, is_async: bool = False, **arguments: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        configured(environ, is_async=is_async, **arguments)
    for text in (str(caught.value), repr(caught.value), repr(caught.value.problems), repr(caught.value.args)):
        assert "canary" not in text
    assert caught.value.__cause__ is None
    return caught.value


def problems(environ: Mapping[str, str] | None = None, **arguments: Any) -> tuple[str, ...]:
    return error(environ, **arguments).problems


def problem(environ: Mapping[str, str] | None = None, **arguments: Any) -> str:
    found = problems(environ, **arguments)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A certificate and its key in one file, as azure-identity reads it."""
    issued = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert("client.example", key_type=trustme.KeyType.RSA)
    path = tmp_path_factory.mktemp("certificate") / "client.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


class TestModes:
    def test_a_client_secret(self) -> None:
        found = credential(**ENTRA)
        assert found.source == "azure_auth_mode='entra'"
        assert found.tokens.source.identity == Identity(
            "entra", PUBLIC, tenant_id=TENANT, client_id=CLIENT, client_secret=SECRET
        )

    @pytest.mark.parametrize("as_path", [False, True])
    @pytest.mark.parametrize("password", [None, PASSWORD])
    def test_a_certificate(self, password: str | None, as_path: bool, certificate: str) -> None:
        arguments = {
            **ENTRA,
            "azure_entra_client_secret": None,
            "azure_entra_certificate_path": Path(certificate) if as_path else certificate,
            "azure_entra_certificate_password": password,
        }
        assert identity(**arguments) == Identity(
            "entra",
            PUBLIC,
            tenant_id=TENANT,
            client_id=CLIENT,
            certificate_path=certificate,
            certificate_password=password,
        )

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({}, {}),
            ({"azure_managed_client_id": CLIENT}, {"client_id": CLIENT}),
            ({"azure_managed_object_id": "o"}, {"object_id": "o"}),
            ({"azure_managed_resource_id": "/subscriptions/x"}, {"resource_id": "/subscriptions/x"}),
        ],
    )
    def test_a_managed_identity_has_one_name_or_none(self, arguments: dict[str, str], expected: dict[str, str]) -> None:
        for environ in ({}, ENTRA_VARIABLES):
            assert identity(environ, azure_auth_mode="managed", **arguments) == Identity("managed", **expected)

    @pytest.mark.parametrize(
        ("arguments", "tenant_id", "client_id"),
        [
            ({}, TENANT, CLIENT),
            ({"azure_workload_client_id": "c"}, TENANT, "c"),
            ({"azure_entra_tenant_id": OTHER_TENANT}, OTHER_TENANT, CLIENT),
        ],
    )
    def test_a_workload_identity(self, arguments: dict[str, str], tenant_id: str, client_id: str) -> None:
        assert identity(WORKLOAD_VARIABLES, azure_auth_mode="workload", **arguments) == Identity(
            "workload", PUBLIC, tenant_id=tenant_id, client_id=client_id, token_file="/var/run/token"
        )

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({}, {}),
            ({"azure_managed_client_id": CLIENT}, {"client_id": CLIENT}),
            ({"azure_entra_tenant_id": TENANT}, {"tenant_id": TENANT}),
        ],
    )
    def test_the_default_chain_reads_its_own_variables(
        self, arguments: dict[str, str], expected: dict[str, str]
    ) -> None:
        for environ in ({}, ENTRA_VARIABLES):
            found = source(environ, azure_auth_mode="default", **arguments)
            assert found.identity == Identity("default", PUBLIC, **expected)
            assert found.tenant_id == expected.get("tenant_id")
            assert found.scope

    def test_the_azure_cli(self) -> None:
        assert identity(azure_auth_mode="cli") == Identity("cli")
        found = source(azure_auth_mode="cli", azure_entra_tenant_id=TENANT)
        assert (found.identity, found.tenant_id) == (Identity("cli", tenant_id=TENANT), None)

    @pytest.mark.parametrize("spelling", ["CLI", "Cli", " cli\n"])
    def test_case_and_space_do_not_matter(self, spelling: str) -> None:
        assert identity(azure_auth_mode=spelling).mode == "cli"

    @pytest.mark.parametrize("value", ["", "msi", "entra-id", 5, True, ["cli"], b"cli"])
    def test_any_other_mode_is_one_error_with_those_that_are_known(self, value: Any) -> None:
        message = problem(azure_auth_mode=value)
        assert message.startswith(f"azure_auth_mode: is {shown(value)}, which is unknown")
        for mode in MODES:
            assert repr(mode) in message

    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize("kind", [Sync, Older, Mixed])
    def test_a_credential_object_is_kept_as_it_is(self, kind: type, is_async: bool) -> None:
        given = kind()
        found = credential(is_async=is_async, credential=given)
        assert found.source == "credential"
        assert found.tokens.source.given is given
        assert (found.tokens.source.identity, found.tokens.source.tenant_id) == (None, None)
        assert source(credential=given, azure_entra_tenant_id=TENANT).tenant_id == TENANT

    def test_the_header_of_a_gateway_s_key_is_no_matter_of_tokens(self) -> None:
        assert credential(azure_auth_mode="cli", api_key_header="X-Key").header == "X-Key"

    def test_explicit_modes_win_over_keys_in_the_environment(self) -> None:
        environ = {"AZURE_OPENAI_API_KEY": "canary", "AZURE_OPENAI_AD_TOKEN": "canary"}
        assert identity(environ, azure_auth_mode="cli").mode == "cli"
        assert source(environ, credential=Sync()).given is not None

    @pytest.mark.parametrize("mode", MODES)
    def test_both_colours_ask_the_same_slot(self, mode: str) -> None:
        environ = {**ENTRA_VARIABLES, **WORKLOAD_VARIABLES}
        one, two = (credential(environ, is_async=is_async, azure_auth_mode=mode) for is_async in (False, True))
        assert one.tokens is two.tokens


class TestVariables:
    def test_entra_s_variables_stand_in_for_its_arguments(self, certificate: str) -> None:
        assert identity(ENTRA_VARIABLES, azure_auth_mode="entra") == identity(**ENTRA)
        environ = {
            **ENTRA_VARIABLES,
            "AZURE_CLIENT_SECRET": " ",
            "AZURE_CLIENT_CERTIFICATE_PATH": certificate,
            "AZURE_CLIENT_CERTIFICATE_PASSWORD": PASSWORD,
        }
        found = identity(environ, azure_auth_mode="entra")
        assert (found.certificate_path, found.certificate_password) == (certificate, PASSWORD)
        assert found.client_secret is None

    @pytest.mark.parametrize(
        ("name", "field"),
        [
            ("azure_entra_tenant_id", "tenant_id"),
            ("azure_entra_client_id", "client_id"),
            ("azure_entra_client_secret", "client_secret"),
        ],
    )
    def test_each_argument_wins_over_its_variable(self, name: str, field: str) -> None:
        found = identity(ENTRA_VARIABLES, azure_auth_mode="entra", **{name: "mine"})
        assert getattr(found, field) == "mine"
        assert found._replace(**{field: None}) == identity(**ENTRA)._replace(**{field: None})

    def test_a_certificate_argument_wins_over_a_secret_variable(self, certificate: str) -> None:
        environ = {**ENTRA_VARIABLES, "AZURE_CLIENT_CERTIFICATE_PASSWORD": PASSWORD}
        found = identity(environ, azure_auth_mode="entra", azure_entra_certificate_path=certificate)
        assert (found.client_secret, found.certificate_path) == (None, certificate)
        assert found.certificate_password is None  # it is of the variable's certificate

    def test_a_secret_argument_wins_over_a_certificate_variable(self) -> None:
        environ = {"AZURE_CLIENT_CERTIFICATE_PATH": "/nowhere"}
        found = identity(environ, **ENTRA)
        assert (found.client_secret, found.certificate_path) == (SECRET, None)

    @pytest.mark.parametrize(
        ("missing", "named"),
        [
            ("AZURE_TENANT_ID", ["azure_entra_tenant_id", "AZURE_TENANT_ID"]),
            ("AZURE_CLIENT_ID", ["azure_entra_client_id", "AZURE_CLIENT_ID"]),
            (
                "AZURE_CLIENT_SECRET",
                ["azure_entra_client_secret", "azure_entra_certificate_path", "AZURE_CLIENT_SECRET"],
            ),
        ],
    )
    @pytest.mark.parametrize("blank", [False, True])
    def test_what_is_missing_is_named_with_its_variable(self, missing: str, named: list[str], blank: bool) -> None:
        environ = {name: value for name, value in ENTRA_VARIABLES.items() if name != missing}
        message = problem({**environ, missing: " \n"} if blank else environ, azure_auth_mode="entra")
        assert message.startswith("azure_auth_mode='entra' needs ")
        for name in named:
            assert name in message

    def test_all_that_is_missing_is_told_at_once(self) -> None:
        assert len(problems(azure_auth_mode="entra")) == 3
        assert len(problems(azure_auth_mode="workload")) == 3

    @pytest.mark.parametrize("missing", WORKLOAD_VARIABLES)
    def test_a_pod_without_its_variables_is_told_which(self, missing: str) -> None:
        environ = {name: value for name, value in WORKLOAD_VARIABLES.items() if name != missing}
        message = problem(environ, azure_auth_mode="workload")
        assert message.startswith("azure_auth_mode='workload' needs ")
        assert missing in message
        assert ("azure.workload.identity/use" in message) is (missing == "AZURE_FEDERATED_TOKEN_FILE")

    @pytest.mark.parametrize(
        "variables",
        [
            {"AZURE_CLIENT_ID": CLIENT},
            {"AZURE_FEDERATED_TOKEN_FILE": "/t"},
            {"IDENTITY_ENDPOINT": "http://127.0.0.1"},
            {"AZURE_TOKEN_CREDENTIALS": "dev"},
        ],
    )
    def test_with_no_credential_at_all_the_machine_s_identity_signs(self, variables: dict[str, str]) -> None:
        found = credential(variables)
        assert found.source == "azure_auth_mode='default'"
        assert found.tokens.source.identity == Identity("default", PUBLIC)
        assert "AZURE_OPENAI_API_KEY" in found.note

    @pytest.mark.parametrize("name", ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"])
    def test_a_key_or_a_token_in_the_environment_comes_before_it(self, name: str) -> None:
        found = configured({**ENTRA_VARIABLES, name: "canary"}).target.credential
        assert (found.source, found.value, found.tokens) == (name, "canary", None)

    def test_headers_that_sign_by_themselves_come_before_it(self) -> None:
        arguments = {"azure_endpoint": HOST}
        found = read_settings(arguments, is_async=False, environ=ENTRA_VARIABLES, signs=True)
        assert found.target.credential.is_absent

    def test_a_machine_without_an_identity_is_an_error_that_says_so(self) -> None:
        message = problem()
        for name in (*CREDENTIAL_ARGUMENTS, "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "no Azure identity"):
            assert name in message


class TestMachine:
    def test_nothing_speaks_for_an_identity_here(self) -> None:
        """The fixture of tests/conftest.py sees to it."""
        assert not machine_has_identity({})
        assert not machine_has_identity({"HOME": os.path.expanduser("~"), "PATH": os.environ["PATH"], "AZURE_X": "1"})

    @pytest.mark.parametrize(
        "name",
        [
            "AZURE_CLIENT_ID",
            "AZURE_CLIENT_SECRET",
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_TOKEN_CREDENTIALS",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            "AZURE_USERNAME",
            "IDENTITY_ENDPOINT",
            "MSI_ENDPOINT",
        ],
    )
    def test_each_variable_that_azure_identity_reads(self, name: str) -> None:
        assert machine_has_identity({name: "x"})
        assert not machine_has_identity({name: ""})

    @pytest.mark.parametrize("name", ["AZURE_TENANT_ID", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_KEY", AUTHORITY])
    def test_no_other_variable(self, name: str) -> None:
        assert not machine_has_identity({name: "x"})

    @pytest.mark.parametrize(
        ("tag", "expected"),
        [
            (b"7783-7084-3265-9085-8269-3286-77", True),
            (b"7783-7084-3265-9085-8269-3286-77\n", True),
            (b"7783-7084-3265-9085-8269-3286-78", False),
            (b"Amazon EC2", False),
            (b"", False),
            (b"\xff\xfe", False),
        ],
    )
    def test_the_asset_tag_of_azure_s_own_machines(
        self, tag: bytes, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "chassis_asset_tag"
        file.write_bytes(tag)
        monkeypatch.setattr(identities, "_ASSET_TAG_FILE", str(file))
        assert machine_has_identity({}) is expected

    def test_a_tag_that_cannot_be_read_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for path in (tmp_path / "none", tmp_path):
            monkeypatch.setattr(identities, "_ASSET_TAG_FILE", str(path))
            assert not machine_has_identity({})

    @pytest.mark.parametrize("variable", ["HOME", "USERPROFILE"])
    @pytest.mark.parametrize("folder", [".azure", ".azd", ".Azure"])
    def test_the_folder_of_who_signed_in(
        self, folder: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(identities, "_FOLDERS", (".azure", ".azd", ".Azure"))
        assert not machine_has_identity({variable: str(tmp_path)})
        (tmp_path / folder).write_text("a file is no folder")
        assert not machine_has_identity({variable: str(tmp_path)})
        (tmp_path / folder).unlink()
        (tmp_path / folder).mkdir()
        assert machine_has_identity({variable: str(tmp_path)})

    @pytest.mark.parametrize("command", ["az", "azd"])
    def test_the_command_of_who_could_sign_in(
        self, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(identities, "_COMMANDS", ("az", "azd"))
        path = {"PATH": str(tmp_path)}
        assert not machine_has_identity(path)
        program = tmp_path / (command + (".exe" if sys.platform == "win32" else ""))
        program.write_text("#!/bin/sh\nexit 1\n")
        if sys.platform != "win32":
            assert not machine_has_identity(path)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        assert machine_has_identity(path)
        assert not machine_has_identity({})

    def test_a_folder_or_a_command_is_enough_for_a_client(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(identities, "_FOLDERS", (".azure",))
        (tmp_path / ".azure").mkdir()
        assert identity({"HOME": str(tmp_path)}).mode == "default"

    def test_the_names_are_the_ones_azure_identity_has(self) -> None:
        from azure.identity._constants import EnvironmentVariables

        known = {value for name, value in vars(EnvironmentVariables).items() if isinstance(value, str)}
        assert set(identities._SIGNS_IN_ENVIRONMENT) <= known


CLOUD_OF = {HOST: "public", SERVICES: "public", US: "usgov", CN: "china"}
SCOPES = [
    # endpoint, api_version, azure_cloud, AZURE_AUTHORITY_HOST -> scope
    (HOST, None, None, None, V1),
    (HOST, "preview", None, None, V1),
    (HOST, "latest", None, None, V1),
    (HOST + "/openai/v1/", None, None, None, V1),
    (HOST, VERSION, None, None, CLASSIC),
    (HOST + "?api-version=" + VERSION, None, None, None, CLASSIC),
    (SERVICES, None, None, None, V1),
    (SERVICES, VERSION, None, None, CLASSIC),
    ("https://r.cognitiveservices.azure.com", None, None, None, V1),
    ("https://r.cognitiveservices.azure.com", VERSION, None, None, CLASSIC),
    (SERVICES + "/api/projects/p", None, None, None, V1),
    (US, None, None, None, US_SCOPE),
    (US, VERSION, None, None, US_SCOPE),
    ("https://r.services.ai.azure.us/api/projects/p", None, None, None, US_PROJECT),
    (CN, None, None, None, CN_SCOPE),
    (CN, VERSION, None, None, CN_SCOPE),
    ("https://r.services.ai.azure.cn/api/projects/p", None, None, None, CN_SCOPE),
    # A gateway's cloud is the public one, unless something else tells.
    (GATEWAY, None, None, None, V1),
    (GATEWAY, VERSION, None, None, CLASSIC),
    (GATEWAY, None, "usgov", None, US_SCOPE),
    (GATEWAY, VERSION, "AzureUSGovernment", None, US_SCOPE),
    (GATEWAY, VERSION, "china", None, CN_SCOPE),
    (GATEWAY, None, None, US_AUTHORITY, US_SCOPE),
    (GATEWAY, None, None, f"https://{CN_AUTHORITY}/", CN_SCOPE),
    (GATEWAY, VERSION, None, PRIVATE, CLASSIC),
    (GATEWAY, VERSION, None, " ", CLASSIC),
    (GATEWAY, None, "usgov", PRIVATE, US_SCOPE),
    ("https://gw.example/api/projects/p", None, None, None, V1),
    ("https://gw.example/api/projects/p", None, "usgov", None, US_PROJECT),
    ("https://r.openai.azure.us.evil.example", None, None, None, V1),
    ("http://127.0.0.1:8080", VERSION, None, None, CLASSIC),
    # The same cloud, said twice.
    (HOST, None, "AzureCloud", "login.windows.net", V1),
    (US, None, "us-gov", f"https://{US_AUTHORITY}", US_SCOPE),
]


class TestScope:
    @pytest.mark.parametrize("mode", ["entra", "managed", "workload", "default", "cli", "credential"])
    @pytest.mark.parametrize(("endpoint", "version", "cloud", "authority", "scope"), SCOPES)
    def test_the_endpoint_tells_what_tokens_are_asked_for(
        self, endpoint: str, version: str | None, cloud: str | None, authority: str | None, scope: str, mode: str
    ) -> None:
        environ = {**ENTRA_VARIABLES, **WORKLOAD_VARIABLES, **({AUTHORITY: authority} if authority else {})}
        who = {"credential": Sync()} if mode == "credential" else {"azure_auth_mode": mode}
        found = source(environ, azure_endpoint=endpoint, api_version=version, azure_cloud=cloud, **who)
        assert found.scope == scope

    @pytest.mark.parametrize(
        ("cloud", "suffix"), [("usgov", "azure.us"), ("china", "azure.cn"), ("public", "azure.com")]
    )
    def test_one_setting_switches_the_cloud_of_a_resource(self, cloud: str, suffix: str) -> None:
        settings = configured(azure_endpoint=None, resource_name="res", azure_cloud=cloud, **ENTRA)
        assert settings.target.endpoint.origin.host == f"res.openai.{suffix}"
        found = settings.target.credential.tokens.source
        assert found.scope.endswith(f".{suffix}/.default")
        assert found.authority.endswith(
            {"public": "login.microsoftonline.com", "usgov": US_AUTHORITY, "china": CN_AUTHORITY}[cloud]
        )

    @pytest.mark.parametrize(
        "who",
        [{**ENTRA}, *({"azure_auth_mode": mode} for mode in MODES[1:]), {"credential": Sync()}],
        ids=["entra", *MODES[1:], "credential"],
    )
    @pytest.mark.parametrize(
        ("given", "scope"),
        [
            (V1, V1),
            ("https://ai.azure.com/", V1),
            ("https://ai.azure.com", V1),
            (" https://ai.azure.com/\n", V1),
            ("api://gw-app", "api://gw-app/.default"),
            (f"api://{CLIENT}/.default", f"api://{CLIENT}/.default"),
            (CLIENT, f"{CLIENT}/.default"),
            ("https://gw.example/user_impersonation", "https://gw.example/user_impersonation"),
        ],
    )
    def test_it_can_be_overridden_in_every_mode_and_in_both_forms(
        self, given: str, scope: str, who: dict[str, Any]
    ) -> None:
        found = source(WORKLOAD_VARIABLES, azure_entra_scope=given, api_version=VERSION, **who)
        assert found.scope == scope

    def test_a_scope_of_another_cloud_goes_with_a_gateway(self) -> None:
        assert source(azure_endpoint=GATEWAY, azure_entra_scope=US_SCOPE, azure_auth_mode="cli").scope == US_SCOPE

    @pytest.mark.parametrize("value", ["a b", "https://x/?canary=1", "https://x/ä", "https://canary@x/.default", "x,y"])
    def test_what_is_no_scope_is_one_error_that_does_not_quote_it(self, value: str) -> None:
        assert problem(azure_entra_scope=value, azure_auth_mode="cli").startswith("azure_entra_scope: is no scope")

    @pytest.mark.parametrize(
        ("value", "fault"), [("", "is empty"), (" ", "is empty"), (5, "of type int"), ([V1], "list")]
    )
    def test_a_scope_of_another_type_is_one_error(self, value: Any, fault: str) -> None:
        message = problem(azure_entra_scope=value, azure_auth_mode="cli")
        assert message.startswith("azure_entra_scope: is")
        assert fault in message


class TestClouds:
    @pytest.mark.parametrize(("endpoint", "theirs"), CLOUD_OF.items())
    @pytest.mark.parametrize("cloud", ["public", "usgov", "china"])
    def test_a_cloud_that_is_not_the_endpoint_s_is_one_error(self, cloud: str, endpoint: str, theirs: str) -> None:
        arguments = {"azure_endpoint": endpoint, "azure_cloud": cloud}
        if cloud == theirs:
            assert credential(azure_auth_mode="cli", **arguments)
            return
        for who in ({"azure_auth_mode": "cli"}, {"api_key": "canary"}):
            message = problem(**who, **arguments)
            assert message.startswith(
                f"azure_cloud: is {cloud!r}, but the endpoint {endpoint} is in the {theirs} cloud"
            )

    @pytest.mark.parametrize("value", ["", "germany", "us", 5, ["public"]])
    def test_an_unknown_cloud_is_one_error_with_those_that_are_known(self, value: Any) -> None:
        message = problem(azure_cloud=value, azure_auth_mode="cli")
        assert message.startswith(f"azure_cloud: is {shown(value)}, which is unknown")
        for name in ("public", "usgov", "china"):
            assert repr(name) in message

    @pytest.mark.parametrize("mode", ["entra", "workload", "default"])
    @pytest.mark.parametrize(
        ("endpoint", "authority", "theirs"),
        [
            (HOST, US_AUTHORITY, "usgov"),
            (HOST, f"https://{CN_AUTHORITY}/", "china"),
            (US, "login.microsoftonline.com", "public"),
            (US, "https://sts.windows.net", "public"),
            (CN, US_AUTHORITY, "usgov"),
        ],
    )
    def test_an_authority_of_another_cloud_is_one_error(
        self, endpoint: str, authority: str, theirs: str, mode: str
    ) -> None:
        environ = {**ENTRA_VARIABLES, **WORKLOAD_VARIABLES, AUTHORITY: authority}
        message = problem(environ, azure_endpoint=endpoint, azure_auth_mode=mode)
        assert message.startswith(f"{AUTHORITY}: ")
        assert f"signs for the {theirs} cloud" in message
        assert f"{CLOUD_OF[endpoint]} cloud, whose authority is " in message

    @pytest.mark.parametrize(
        "who", [{"azure_auth_mode": "cli"}, {"azure_auth_mode": "managed"}, {"credential": Sync()}]
    )
    def test_an_authority_does_not_matter_where_none_is_asked(self, who: dict[str, Any]) -> None:
        """The machine's endpoint, the CLI and a caller's credential have their own."""
        assert source({AUTHORITY: US_AUTHORITY}, azure_endpoint=HOST, **who).scope == V1

    @pytest.mark.parametrize("mode", ["entra", "workload", "default"])
    @pytest.mark.parametrize(
        ("endpoint", "cloud", "variable", "authority"),
        [
            (HOST, None, None, PUBLIC),
            (GATEWAY, None, None, PUBLIC),
            (US, None, None, US_AUTHORITY),
            (CN, None, None, CN_AUTHORITY),
            (GATEWAY, "usgov", None, US_AUTHORITY),
            (GATEWAY, "public", None, PUBLIC),
            (US, None, f"https://{US_AUTHORITY}/", f"https://{US_AUTHORITY}"),
            (HOST, None, PRIVATE + "/", PRIVATE),
            (US, None, PRIVATE, PRIVATE),
            (GATEWAY, None, f" {CN_AUTHORITY}\n", CN_AUTHORITY),
            (HOST, None, "HTTPS://Adfs.Example", "HTTPS://Adfs.Example"),
            (HOST, None, " ", PUBLIC),
        ],
    )
    def test_the_authority_is_the_variable_s_or_the_cloud_s(
        self, endpoint: str, cloud: str | None, variable: str | None, authority: str | None, mode: str
    ) -> None:
        environ = {**ENTRA_VARIABLES, **WORKLOAD_VARIABLES, **({AUTHORITY: variable} if variable else {})}
        found = identity(environ, azure_endpoint=endpoint, azure_cloud=cloud, azure_auth_mode=mode)
        assert found.authority == authority

    @pytest.mark.parametrize("mode", ["entra", "workload", "default"])
    @pytest.mark.parametrize("authority", ["http://adfs.example", "ftp://x", "HTTP://127.0.0.1:8080"])
    def test_an_authority_that_is_not_https_is_one_error(self, authority: str, mode: str) -> None:
        message = problem({**WORKLOAD_VARIABLES, **ENTRA_VARIABLES, AUTHORITY: authority}, azure_auth_mode=mode)
        assert message.startswith(f"{AUTHORITY}: is no https URL")

    @pytest.mark.parametrize(
        ("endpoint", "scope", "theirs"),
        [(HOST, US_SCOPE, "usgov"), (HOST, CN_SCOPE, "china"), (US, V1, "public"), (CN, "https://x.azure.us", "usgov")],
    )
    @pytest.mark.parametrize("who", [{"azure_auth_mode": "cli"}, {"credential": Sync()}, ENTRA])
    def test_a_scope_of_another_cloud_is_one_error(
        self, endpoint: str, scope: str, theirs: str, who: dict[str, Any]
    ) -> None:
        message = problem(azure_endpoint=endpoint, azure_entra_scope=scope, **who)
        assert message.startswith(f"azure_entra_scope: {scope!r} is for the {theirs} cloud")
        assert f"the client is for the {CLOUD_OF[endpoint]} cloud" in message


class TestSeveral:
    @pytest.mark.parametrize(
        "names",
        [
            ("credential", "azure_auth_mode"),
            ("api_key", "credential"),
            ("azure_ad_token_provider", "azure_auth_mode"),
            ("api_key", "azure_ad_token", "credential"),
            CREDENTIAL_ARGUMENTS,
        ],
    )
    def test_several_explicit_credentials_are_one_error_that_names_them(self, names: tuple[str, ...]) -> None:
        values = {
            "api_key": "canary-key",
            "azure_ad_token": "canary-token",
            "azure_ad_token_provider": lambda: "canary",
            "credential": Sync(),
            "azure_auth_mode": "cli",
        }
        message = problem(**{name: values[name] for name in names})
        assert message.startswith(" and ".join(names) + " are mutually exclusive")

    def test_a_secret_and_a_certificate_are_one_error(self, certificate: str) -> None:
        message = problem(**ENTRA, azure_entra_certificate_path=certificate)
        assert message.startswith("azure_entra_client_secret and azure_entra_certificate_path are mutually exclusive")

    @pytest.mark.parametrize("missing", [0, 1, 2, None])
    def test_several_names_of_a_managed_identity_are_one_error(self, missing: int | None) -> None:
        names = ["azure_managed_client_id", "azure_managed_object_id", "azure_managed_resource_id"]
        if missing is not None:
            del names[missing]
        message = problem(azure_auth_mode="managed", **dict.fromkeys(names, "x"))
        assert message.startswith(f"{' and '.join(names)} are mutually exclusive")

    def test_all_problems_are_told_at_once(self) -> None:
        found = problems(
            {AUTHORITY: "http://adfs.example"},
            azure_endpoint="ftp://x",
            azure_auth_mode="entra",
            azure_entra_tenant_id=5,
            azure_entra_certificate_path="/no/such/file",
            azure_entra_certificate_password=PASSWORD,
            azure_managed_client_id="x",
            azure_cloud="mars",
        )
        starts = ("azure_endpoint:", f"{AUTHORITY}:", "azure_entra_tenant_id:", "azure_entra_certificate_path:")
        for start in (
            *starts,
            "azure_managed_client_id:",
            "azure_cloud:",
            "azure_auth_mode='entra' needs azure_entra_c",
        ):
            assert sum(text.startswith(start) for text in found) == 1, (start, found)
        assert len(found) == 7


class TestMisuse:
    @pytest.mark.parametrize("make", [Async, AsyncNewer])
    def test_an_async_credential_in_a_client_that_blocks_is_refused_in_words(self, make: type) -> None:
        raised = error(credential=make())
        assert isinstance(raised, AsyncCredentialError)
        assert isinstance(raised, TypeError)
        assert isinstance(raised, ValueError)
        (message,) = raised.problems
        assert message.startswith(f"credential: is the async {make.__module__}.{make.__qualname__}")
        for word in ("AsyncOpenAI", "azure.identity"):
            assert word in message
        again = pickle.loads(pickle.dumps(raised))
        assert (type(again), again.problems) == (AsyncCredentialError, raised.problems)
        assert source(is_async=True, credential=make()).is_awaited

    @pytest.mark.parametrize("name", ["api_key", "azure_ad_token_provider"])
    def test_so_is_an_async_function(self, name: str) -> None:
        async def provider() -> str:
            return "canary"

        assert isinstance(error(**{name: provider}), AsyncCredentialError)

    def test_any_other_problem_is_no_type_error(self) -> None:
        assert not isinstance(error(credential="canary"), TypeError)

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (Sync, ["is the class Sync", "expected an instance, Sync(...)"]),
            (azure.identity.DefaultAzureCredential, ["is the class DefaultAzureCredential"]),
            ("canary-key", ["is of type str", "api_key", "azure_ad_token"]),
            (AzureKeyCredential("canary-key"), ["is of type AzureKeyCredential", "holds a key", "api_key"]),
            (AzureNamedKeyCredential("n", "canary-key"), ["is of type AzureNamedKeyCredential", "has no get_token"]),
            (lambda: "canary", ["is of type function", "has no get_token", "azure_ad_token_provider"]),
            (len, ["has no get_token", "azure_ad_token_provider"]),
            (object(), ["is of type object", "has no get_token", "azure.identity"]),
            (b"canary", ["is of type bytes", "has no get_token"]),
            ({"get_token": 1}, ["is of type dict", "has no get_token"]),
            (5, ["is of type int", "has no get_token"]),
            (False, ["is of type bool", "has no get_token"]),
            (type("Odd", (), {"get_token": "canary"})(), ["is of type Odd", "has no get_token"]),
        ],
        ids=lambda value: type(value).__name__,
    )
    @pytest.mark.parametrize("is_async", [False, True])
    def test_what_is_no_credential_is_one_error_that_says_what_to_pass(
        self, value: object, words: list[str], is_async: bool
    ) -> None:
        message = problem(credential=value, is_async=is_async)
        assert message.startswith("credential: is ")
        for word in words:
            assert word in message
        assert ("azure_ad_token_provider" in message) is ("azure_ad_token_provider" in words)

    def test_a_credential_in_the_place_of_a_function_is_told_where_it_belongs(self) -> None:
        assert problem(azure_ad_token_provider=Older()).endswith("pass it as credential")

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("name", IDENTITY_ARGUMENTS)
    def test_a_name_that_does_not_belong_to_the_mode_is_one_error(self, name: str, mode: str, certificate: str) -> None:
        belongs = {
            "entra": set(IDENTITY_ARGUMENTS[:5]),
            "managed": set(IDENTITY_ARGUMENTS[5:8]),
            "workload": {"azure_entra_tenant_id", "azure_workload_client_id"},
            "default": {"azure_entra_tenant_id", "azure_managed_client_id"},
            "cli": {"azure_entra_tenant_id"},
        }
        value = certificate if name == "azure_entra_certificate_path" else "canary-name"
        arguments = {"azure_auth_mode": mode, name: value}
        environ = {**ENTRA_VARIABLES, **WORKLOAD_VARIABLES}
        if name in belongs[mode]:
            if name == "azure_entra_certificate_password":
                assert problem(environ, **arguments) == f"{name}: goes with azure_entra_certificate_path"
                arguments["azure_entra_certificate_path"] = certificate
            assert credential(environ, **arguments)
            return
        message = problem(environ, **arguments)
        assert message.startswith(f"{name}: is used with ")
        assert f"azure_auth_mode is {mode!r}" in message
        for known, names in belongs.items():
            assert (f"azure_auth_mode={known!r}" in message) is (name in names)

    @pytest.mark.parametrize("name", IDENTITY_ARGUMENTS)
    @pytest.mark.parametrize(
        ("who", "said"),
        [
            ({"api_key": "canary"}, "what signs is api_key"),
            ({"azure_ad_token": "canary"}, "what signs is azure_ad_token"),
            ({"azure_ad_token_provider": lambda: "canary"}, "what signs is azure_ad_token_provider"),
            ({"credential": Sync()}, "what signs is credential"),
        ],
    )
    def test_nor_does_one_belong_to_a_key_or_a_token(self, who: dict[str, Any], said: str, name: str) -> None:
        if name == "azure_entra_tenant_id" and "credential" in who:
            assert source(**who, **{name: TENANT}).tenant_id == TENANT
            return
        message = problem(**who, **{name: "canary"})
        assert message.startswith(f"{name}: is used with ")
        assert said in message

    @pytest.mark.parametrize("name", IDENTITY_ARGUMENTS)
    @pytest.mark.parametrize("environ", [ENTRA_VARIABLES, {"AZURE_OPENAI_API_KEY": "canary"}])
    def test_nor_does_one_stand_alone(self, name: str, environ: dict[str, str]) -> None:
        message = problem(environ, **{name: "canary"})
        assert message.startswith(f"{name}: is used with ")
        assert message.endswith("no credential was passed")

    @pytest.mark.parametrize(
        ("mode", "name"),
        [
            ("entra", "azure_entra_tenant_id"),
            ("entra", "azure_entra_client_id"),
            ("managed", "azure_managed_client_id"),
            ("managed", "azure_managed_object_id"),
            ("managed", "azure_managed_resource_id"),
            ("workload", "azure_workload_client_id"),
            ("default", "azure_managed_client_id"),
            ("cli", "azure_entra_tenant_id"),
        ],
    )
    @pytest.mark.parametrize(("value", "fault"), [("", "is empty"), (" \n", "is empty"), (5, "is of type int")])
    def test_a_name_that_is_empty_or_no_str_is_one_error(self, value: Any, fault: str, mode: str, name: str) -> None:
        message = problem({**ENTRA_VARIABLES, **WORKLOAD_VARIABLES}, azure_auth_mode=mode, **{name: value})
        assert message.startswith(f"{name}: {fault}")

    def test_names_may_be_padded(self) -> None:
        padded = {name: f" {value}\n" for name, value in ENTRA.items()}
        assert identity(**padded) == identity(**ENTRA)

    def test_a_certificate_that_is_not_there_is_one_error(self, tmp_path: Path) -> None:
        path = str(tmp_path / "none.pem")
        arguments = {**ENTRA, "azure_entra_client_secret": None, "azure_entra_certificate_path": path}
        assert problem(**arguments) == f"azure_entra_certificate_path: is {path!r}, which is no file that can be read"


class TestCopies:
    def copied(self, settings: Settings, **changes: Any) -> Credential:
        return settings.with_arguments(changes, is_async=False).target.credential

    @pytest.mark.parametrize("mode", MODES)
    def test_a_copy_without_changes_asks_the_same_slot(self, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = configured({**ENTRA_VARIABLES, **WORKLOAD_VARIABLES}, azure_auth_mode=mode)
        for name in (*ENTRA_VARIABLES, *WORKLOAD_VARIABLES):
            monkeypatch.setenv(name, "changed")
        assert self.copied(settings) == settings.target.credential
        assert self.copied(settings, deployments={"a": "b"}).tokens is settings.target.credential.tokens

    def test_so_does_one_of_a_credential_object(self) -> None:
        given = Sync()
        settings = configured(credential=given, azure_entra_tenant_id=TENANT)
        slot = settings.target.credential.tokens
        assert self.copied(settings).tokens is slot
        assert self.copied(settings, credential=given, azure_entra_tenant_id=TENANT).tokens is slot
        assert self.copied(settings, credential=Sync()).tokens is not slot

    @pytest.mark.parametrize(
        ("changes", "scope"),
        [
            ({"azure_endpoint": US}, US_SCOPE),
            ({"azure_endpoint": CN}, CN_SCOPE),
            ({"azure_endpoint": None, "resource_name": "res", "azure_cloud": "usgov"}, US_SCOPE),
            ({"api_version": VERSION}, CLASSIC),
            ({"azure_entra_scope": "api://app"}, "api://app/.default"),
        ],
    )
    @pytest.mark.parametrize("who", [ENTRA, {"azure_auth_mode": "cli"}, {"credential": Sync()}])
    def test_another_cloud_or_surface_is_another_scope_and_another_slot(
        self, who: dict[str, Any], changes: dict[str, Any], scope: str
    ) -> None:
        settings = configured(**who)
        before, copied = settings.target.credential.tokens, self.copied(settings, **changes).tokens
        assert (before.source.scope, copied.source.scope) == (V1, scope)
        assert copied is not before
        assert copied.source.given is before.source.given

    def test_the_authority_goes_with_the_cloud(self) -> None:
        copied = self.copied(configured(**ENTRA), azure_endpoint=US)
        assert copied.tokens.source.identity == Identity("entra", US_AUTHORITY, TENANT, CLIENT, SECRET)

    def test_a_scope_that_was_passed_does_not_follow_to_another_cloud(self) -> None:
        with pytest.raises(ConfigurationError, match=r"^azure_entra_scope: .* is for the public cloud"):
            self.copied(configured(**ENTRA, azure_entra_scope=V1), azure_endpoint=US)

    def test_another_resource_of_the_same_cloud_and_surface_asks_the_same_slot(self) -> None:
        settings = configured(**ENTRA)
        copied = self.copied(settings, azure_endpoint="https://other.openai.azure.com")
        assert copied.tokens is settings.target.credential.tokens

    @pytest.mark.parametrize(
        ("changes", "mode"),
        [
            ({"azure_auth_mode": "cli"}, "cli"),
            ({"azure_auth_mode": "managed"}, "managed"),
            ({"azure_auth_mode": "managed", "azure_managed_client_id": "m"}, "managed"),
            ({"credential": Sync()}, None),
            ({"api_key": "canary"}, None),
        ],
    )
    def test_a_new_credential_drops_the_names_of_the_old_identity(
        self, changes: dict[str, Any], mode: str | None
    ) -> None:
        settings = configured(**ENTRA)
        copied = settings.with_arguments(changes, is_async=False)
        assert not set(ENTRA) & (set(copied.arguments) - {"azure_auth_mode"})
        found = copied.target.credential.tokens
        if mode is not None:
            assert found.source.identity == Identity(
                mode, PUBLIC if mode == "default" else None, client_id=changes.get("azure_managed_client_id")
            )

    def test_another_name_alone_is_another_identity_of_the_same_mode(self) -> None:
        settings = configured(**ENTRA)
        copied = self.copied(settings, azure_entra_tenant_id=OTHER_TENANT)
        assert copied.tokens.source.identity == settings.target.credential.tokens.source.identity._replace(
            tenant_id=OTHER_TENANT
        )
        assert copied.tokens is not settings.target.credential.tokens

    def test_the_default_that_the_environment_implied_stays_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = configured(ENTRA_VARIABLES)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "canary-later")
        copied = self.copied(settings)
        assert (copied.source, copied.tokens.source.identity) == (
            "azure_auth_mode='default'",
            Identity("default", PUBLIC),
        )
        assert self.copied(settings, api_version=VERSION).tokens.source.scope == CLASSIC
        assert self.copied(settings, api_key="canary").value == "canary"

    def test_the_arguments_that_were_passed_are_not_changed_by_it(self) -> None:
        arguments = {"azure_endpoint": HOST}
        read_settings(arguments, is_async=False, environ=ENTRA_VARIABLES)
        assert arguments == {"azure_endpoint": HOST}

    def test_an_async_copy_is_not_made_of_what_blocks(self) -> None:
        given = Async()
        settings = configured(is_async=True, credential=given)
        with pytest.raises(AsyncCredentialError):
            settings.with_arguments({}, is_async=False)
        assert settings.with_arguments({}, is_async=True).target.credential == settings.target.credential


class TestSecrets:
    def test_no_repr_shows_a_secret(self, certificate: str) -> None:
        with_certificate = {
            **ENTRA,
            "azure_entra_client_secret": None,
            "azure_entra_certificate_path": certificate,
            "azure_entra_certificate_password": PASSWORD,
        }
        for settings in (
            configured(**ENTRA),
            configured(ENTRA_VARIABLES, azure_auth_mode="entra"),
            configured(**with_certificate),
        ):
            found = settings.target.credential
            parts = (settings, settings.target, found, found.tokens, found.tokens.source, found.tokens.source.identity)
            for part in parts:
                for text in (repr(part), str(part), f"{part}", repr([part])):
                    assert "canary" not in text

    def test_a_credential_cannot_be_pickled_and_a_copy_shares_its_slot(self) -> None:
        found = credential(**ENTRA)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(found, protocol)
        assert copy.deepcopy(found).tokens is copy.copy(found).tokens is found.tokens

    @pytest.mark.parametrize(
        "wrong",
        [
            {"azure_entra_tenant_id": ""},
            {"azure_endpoint": US, "azure_entra_scope": V1},
            {"azure_cloud": "mars"},
            {"azure_managed_client_id": "x"},
            {"azure_entra_certificate_path": "/none"},
            {"api_key": "canary"},
            {"azure_entra_client_secret": b"canary"},
            {"azure_entra_client_secret": ["canary"]},
            {"azure_entra_certificate_password": 5},
            {"azure_auth_mode": "managed"},
            {"api_version": "canary-0123456789abcdef0123456789"},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_no_problem_quotes_one(self, wrong: dict[str, Any]) -> None:
        assert problems(**{**ENTRA, **wrong})  # which looks for the canary

    def test_the_secrets_of_an_identity_are_known_as_such(self) -> None:
        assert Identity("entra", client_secret="a", certificate_password="b").secrets == ("a", "b")
        assert Identity("cli", tenant_id="a", client_id="b").secrets == ()


LINE = {"connection_timeout": 10, "read_timeout": 20, "retry_total": 3}
ENTRA_WHO = {"tenant_id": TENANT, "client_id": CLIENT}


class TestOptions:
    """What each identity hands to azure-identity."""

    @pytest.mark.parametrize(
        ("found", "kind", "options"),
        [
            (
                Identity("entra", **ENTRA_WHO, client_secret=SECRET),
                "ClientSecretCredential",
                {**LINE, **ENTRA_WHO, "client_secret": SECRET},
            ),
            (
                Identity("entra", **ENTRA_WHO, certificate_path="f"),
                "CertificateCredential",
                {**LINE, **ENTRA_WHO, "certificate_path": "f", "password": None},
            ),
            (
                Identity("entra", **ENTRA_WHO, certificate_path="f", certificate_password="p"),
                "CertificateCredential",
                {**LINE, **ENTRA_WHO, "certificate_path": "f", "password": "p"},
            ),
            (Identity("managed"), "ManagedIdentityCredential", {"client_id": None}),
            (Identity("managed", client_id=CLIENT), "ManagedIdentityCredential", {"client_id": CLIENT}),
            (
                Identity("managed", object_id="o"),
                "ManagedIdentityCredential",
                {"client_id": None, "identity_config": {"object_id": "o"}},
            ),
            (
                Identity("managed", resource_id="r"),
                "ManagedIdentityCredential",
                {"client_id": None, "identity_config": {"resource_id": "r"}},
            ),
            (
                Identity("workload", **ENTRA_WHO, token_file="t"),
                "WorkloadIdentityCredential",
                {**LINE, **ENTRA_WHO, "token_file_path": "t"},
            ),
            (Identity("default"), "DefaultAzureCredential", {"read_timeout": 20, "retry_total": 3}),
            (
                Identity("default", client_id=CLIENT),
                "DefaultAzureCredential",
                {"read_timeout": 20, "retry_total": 3, "managed_identity_client_id": CLIENT},
            ),
            (Identity("cli"), "AzureCliCredential", {}),
            (Identity("cli", tenant_id=TENANT), "AzureCliCredential", {"tenant_id": TENANT}),
        ],
    )
    def test_each_kind_gets_what_it_takes(self, found: Identity, kind: str, options: dict[str, Any]) -> None:
        assert (found.kind, found._options()) == (kind, options)

    @pytest.mark.parametrize("mode", ["entra", "workload", "default"])
    @pytest.mark.parametrize(
        ("authority", "options"),
        [
            (None, {}),
            (US_AUTHORITY, {"authority": US_AUTHORITY}),
            (f"https://{CN_AUTHORITY}", {"authority": f"https://{CN_AUTHORITY}"}),
            ("login.windows.net", {"authority": "login.windows.net"}),
            # Microsoft's public sign-in service does not vouch for a private one.
            (PRIVATE, {"authority": PRIVATE, "disable_instance_discovery": True}),
            ("127.0.0.1:8443", {"authority": "127.0.0.1:8443", "disable_instance_discovery": True}),
        ],
    )
    def test_a_private_authority_is_not_looked_up_in_microsoft_s_list(
        self, authority: str | None, options: dict[str, Any], mode: str
    ) -> None:
        found = Identity(mode, authority)._options()
        names = ("authority", "disable_instance_discovery")
        assert {name: found[name] for name in names if name in found} == options

    @pytest.mark.parametrize("mode", ["managed", "cli"])
    def test_the_machine_and_the_cli_have_no_authority_of_ours(self, mode: str) -> None:
        assert "authority" not in Identity(mode, PRIVATE)._options()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Credentials of azure-identity, closed when the test ends, while no socket can be opened."""
    import socket

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("construction went to the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found: list[Any] = []
    yield found
    for each in found:
        each.close()


class TestRealCredentials:
    """azure-identity's own constructors take what an identity hands to them, and go nowhere."""

    def make(self, made: list[Any], found: Identity) -> Any:
        made.append(found.credential())
        assert type(made[-1]) is getattr(azure.identity, found.kind)
        return made[-1]

    @pytest.mark.parametrize("authority", [None, US_AUTHORITY, f"https://{CN_AUTHORITY}", PRIVATE])
    @pytest.mark.parametrize("mode", ["secret", "certificate", "workload", "default", "default for a client"])
    def test_each_kind_that_has_an_authority(
        self, mode: str, authority: str | None, certificate: str, made: list[Any]
    ) -> None:
        found = {
            "secret": Identity("entra", authority, **ENTRA_WHO, client_secret=SECRET),
            "certificate": Identity("entra", authority, **ENTRA_WHO, certificate_path=certificate),
            "workload": Identity("workload", authority, **ENTRA_WHO, token_file="/no/such/file"),
            "default": Identity("default", authority, TENANT),
            "default for a client": Identity("default", authority, client_id=CLIENT),
        }[mode]
        self.make(made, found)
        expected = (authority or "login.microsoftonline.com").removeprefix("https://")
        assert TokenSource(V1, identity=found).authority.removeprefix("https://") == expected
        if mode in ("secret", "certificate"):
            assert TokenSource(V1, given=made[-1]).authority == f"https://{expected}"

    @pytest.mark.parametrize(
        "found",
        [
            Identity("managed"),
            Identity("managed", client_id=CLIENT),
            Identity("managed", object_id="o"),
            Identity("managed", resource_id="/subscriptions/x"),
            Identity("cli"),
            Identity("cli", tenant_id=TENANT),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("machine", [{}, {"IDENTITY_ENDPOINT": "http://127.0.0.1:1", "IDENTITY_HEADER": "h"}])
    def test_each_kind_that_has_none(
        self, found: Identity, machine: dict[str, str], made: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in machine.items():
            monkeypatch.setenv(name, value)
        self.make(made, found)

    def test_a_certificate_with_a_password(self, tmp_path: Path, certificate: str, made: list[Any]) -> None:
        from cryptography.hazmat.primitives import serialization

        pem = Path(certificate).read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSWORD.encode()),
        )
        path = tmp_path / "locked.pem"
        path.write_bytes(locked + pem[pem.index(b"-----BEGIN CERTIFICATE") :])
        who = Identity("entra", **ENTRA_WHO, certificate_path=str(path), certificate_password=PASSWORD)
        self.make(made, who)
        with pytest.raises((ValueError, TypeError)) as caught:
            who._replace(certificate_password="wrong").credential()
        assert "canary" not in str(caught.value)

    @pytest.mark.parametrize("module", [azure.identity, azure.identity.aio], ids=["sync", "aio"])
    def test_a_real_credential_is_known_for_its_colour(self, module: Any) -> None:
        given = module.AzureCliCredential()
        is_aio = module is azure.identity.aio
        assert source(is_async=True, credential=given).is_awaited is is_aio
        if is_aio:
            assert isinstance(error(credential=given), AsyncCredentialError)
        else:
            assert source(credential=given).given is given
