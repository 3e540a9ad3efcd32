"""Endpoint suffix, authority and scope of one cloud belong together, and nothing else belongs to it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_shim.clouds import CLOUDS, Cloud, cloud_of, cloud_of_authority, cloud_of_scope, scope_of, spelled
from azure_shim.values import Endpoint
from azure_shim.wire.endpoints import of_resource, parse

SUFFIXES = [(suffix, cloud.name) for cloud in CLOUDS.values() for suffix in cloud.suffixes]
SCOPES = sorted({(scope, c.name) for c in CLOUDS.values() for scope in (c.classic_scope, c.v1_scope, c.project_scope)})
GUID = "7d312290-28c8-473c-a0ed-8e53749b6d6d"
# What hosts, URLs and scopes are made of, so that more than garbage is tried.
WORDS = [
    "openai",
    "azure",
    "com",
    "us",
    "cn",
    ".default",
    "login",
    "microsoftonline",
    "443",
    "\x00",
    "ß",
    *"./:@[]%#?- ",
]
PIECES = st.sampled_from([*WORDS, "//", "://", "https", "cognitiveservices.azure.com", "\N{FULLWIDTH COLON}"])
TEXT = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@pytest.mark.parametrize(
    ("name", "top_level", "authority", "classic", "v1", "project"),
    [
        ("public", ".com", "login.microsoftonline.com", "cognitiveservices.azure.com", "ai.azure.com", "ai.azure.com"),
        ("usgov", ".us", "login.microsoftonline.us", *["cognitiveservices.azure.us"] * 2, "ai.azure.us"),
        ("china", ".cn", "login.chinacloudapi.cn", *["cognitiveservices.azure.cn"] * 3),
    ],
)
def test_each_cloud_has_its_own_suffixes_authority_and_scopes(
    name: str, top_level: str, authority: str, classic: str, v1: str, project: str
) -> None:
    cloud = CLOUDS[name]
    assert cloud.suffixes == tuple(
        f"{service}.azure{top_level}" for service in ("openai", "cognitiveservices", "services.ai")
    )
    assert cloud.authority == authority
    assert (cloud.classic_scope, cloud.v1_scope, cloud.project_scope) == tuple(
        f"https://{host}/.default" for host in (classic, v1, project)
    )


def test_there_are_three_clouds_and_they_share_nothing() -> None:
    assert list(CLOUDS) == ["public", "usgov", "china"]

    def all_of(cloud: Cloud) -> set[str]:
        scopes = {cloud.classic_scope, cloud.v1_scope, cloud.project_scope}
        return {cloud.name, cloud.authority, *cloud.suffixes, *cloud.spellings, *scopes}

    for one, two in itertools.combinations(CLOUDS.values(), 2):
        assert not all_of(one) & all_of(two)


@pytest.mark.parametrize("cloud", CLOUDS.values(), ids=lambda cloud: cloud.name)
def test_a_cloud_s_own_authority_and_scopes_are_known_as_its_own(cloud: Cloud) -> None:
    assert cloud_of_authority(cloud.authority) == cloud.name
    for scope in (cloud.classic_scope, cloud.v1_scope, cloud.project_scope):
        assert cloud_of_scope(scope) == cloud.name
        assert scope_of(scope) == scope
    assert of_resource("my-resource", cloud.name).endpoint.cloud == cloud.name


class TestHosts:
    @pytest.mark.parametrize(("suffix", "cloud"), SUFFIXES)
    @pytest.mark.parametrize("host", ["r.%s", "R.%s", "my-resource.%s", "a.b.%s", "r.%s."])
    def test_a_host_below_a_suffix_is_in_its_cloud(self, host: str, suffix: str, cloud: str) -> None:
        assert cloud_of(host % suffix) == cloud
        assert cloud_of((host % suffix).upper()) == cloud

    @pytest.mark.parametrize(("suffix", "cloud"), SUFFIXES)
    @pytest.mark.parametrize(
        "host",
        [
            "%s",  # the suffix itself is no resource
            "evil%s",
            "evil-%s",
            "r.%s.evil.example",
            "r.%s.evil",
            "r.%s..",
            "%s.evil.example",
            "r.x%s",
            "r.%s:443",
            "r.%s/",
            "r.%s@evil.example",
            "r.%s%%2eevil.example",
            "r.%s\n",
        ],
    )
    def test_a_host_that_only_looks_like_one_is_in_none(self, host: str, suffix: str, cloud: str) -> None:
        assert cloud_of(host % suffix) is None

    @pytest.mark.parametrize(
        "host",
        [
            "",
            ".",
            "localhost",
            "127.0.0.1",
            "::1",
            "gw.example",
            "azure.com",
            "r.azure.com",
            "r.azure-api.net",
            "api.openai.com",
            "r.openai.azure.com.cn",
            "r.openai.azure.co",
            "r.openai.azure.de",
            "r.openai.azurexcom",
        ],
    )
    def test_any_other_host_is_in_none(self, host: str) -> None:
        assert cloud_of(host) is None

    @pytest.mark.parametrize(("suffix", "cloud"), SUFFIXES)
    def test_an_endpoint_knows_its_cloud_and_one_that_looks_like_it_is_a_gateway(self, suffix: str, cloud: str) -> None:
        def endpoint(host: str) -> Endpoint:
            return parse(f"https://{host}/").endpoint

        assert endpoint(f"r.{suffix}").cloud == cloud
        assert endpoint(f"r.{suffix}.evil.example").cloud is None
        assert endpoint(f"evil-{suffix}").cloud is None


class TestSpellings:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("public", "public"),
            ("Public", "public"),
            ("AzureCloud", "public"),
            ("AZURE_PUBLIC_CLOUD", "public"),
            ("azure-public", "public"),
            ("usgov", "usgov"),
            ("us-gov", "usgov"),
            ("US_GOV", "usgov"),
            ("AzureUSGovernment", "usgov"),
            ("azure_us_government", "usgov"),
            ("AZURE_GOVERNMENT", "usgov"),
            ("UsGovernment", "usgov"),
            ("government", "usgov"),
            ("china", "china"),
            ("AzureChinaCloud", "china"),
            ("AZURE_CHINA", "china"),
            (" azure-china-cloud\n", "china"),
        ],
    )
    def test_the_spellings_of_azure_s_own_tools_are_known(self, text: str, name: str) -> None:
        found = spelled(text)
        assert found is CLOUDS[name]

    def test_every_spelling_in_the_table_is_known(self) -> None:
        for cloud in CLOUDS.values():
            for text in (cloud.name, *cloud.spellings):
                assert spelled(text) is spelled(text.upper()) is cloud

    @pytest.mark.parametrize(
        "text", ["", " ", "azure", "germany", "AzureGermanCloud", "us", "gov", "cn", "openai.azure.us"]
    )
    def test_no_other_word_names_a_cloud(self, text: str) -> None:
        assert spelled(text) is None


class TestAuthorities:
    @pytest.mark.parametrize(
        ("host", "name"),
        [
            ("login.microsoftonline.com", "public"),
            ("login.windows.net", "public"),
            ("login.microsoft.com", "public"),
            ("sts.windows.net", "public"),
            ("login.microsoftonline.us", "usgov"),
            ("login.chinacloudapi.cn", "china"),
            ("login.partner.microsoftonline.cn", "china"),
        ],
    )
    @pytest.mark.parametrize(
        "spelling", ["%s", "https://%s", "https://%s/", "https://%s/common", "%s/tenant", "%s:443"]
    )
    def test_a_host_or_its_url_names_its_cloud(self, spelling: str, host: str, name: str) -> None:
        assert cloud_of_authority(spelling % host) == name
        assert cloud_of_authority((spelling % host).upper()) == name

    def test_azure_identity_s_own_authorities_are_known(self) -> None:
        from azure.identity import AzureAuthorityHosts

        assert cloud_of_authority(AzureAuthorityHosts.AZURE_PUBLIC_CLOUD) == "public"
        assert cloud_of_authority(AzureAuthorityHosts.AZURE_GOVERNMENT) == "usgov"
        assert cloud_of_authority(AzureAuthorityHosts.AZURE_CHINA) == "china"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "https://",
            "adfs.example",
            "https://login.microsoftonline.com.evil.example",
            "https://evil-login.microsoftonline.us",
            "https://login.microsoftonline.com@evil.example",
            "https://evil.example/login.microsoftonline.com",
            "https://evil.example?login.microsoftonline.com",
            "https://[login.microsoftonline.com",
            "https://[::1]",
            "login.microsoftonline.de",
            "microsoftonline.com",
        ],
    )
    def test_a_private_one_is_nobody_s(self, text: str) -> None:
        assert cloud_of_authority(text) is None


class TestScopes:
    @pytest.mark.parametrize(("scope", "cloud"), SCOPES)
    def test_a_scope_tells_its_cloud_in_both_forms(self, scope: str, cloud: str) -> None:
        resource = scope.removesuffix(".default")
        for text in (scope, resource, resource.rstrip("/"), scope.upper(), resource + "user_impersonation"):
            assert cloud_of_scope(text) == cloud

    @pytest.mark.parametrize(
        ("scope", "cloud"),
        [
            ("https://azure.us/.default", "usgov"),
            ("https://management.azure.cn/", "china"),
            ("https://my.own.service.azure.com/x", "public"),
        ],
    )
    def test_any_service_of_a_cloud_is_in_it(self, scope: str, cloud: str) -> None:
        assert cloud_of_scope(scope) == cloud

    @pytest.mark.parametrize(
        "scope",
        [
            "",
            GUID,
            f"{GUID}/.default",
            f"api://{GUID}/.default",
            "https://gw.example/.default",
            "https://cognitiveservices.azure.us.evil.example/.default",
            "https://notazure.com/.default",
            "https://azure.company/.default",
            "https://evil.example/azure.us",
            "https://azure.us@evil.example/",
            "https://[azure.us/.default",
            "https://azure.de/.default",
        ],
    )
    def test_a_scope_of_no_cloud_s_host_tells_nothing(self, scope: str) -> None:
        assert cloud_of_scope(scope) is None

    @pytest.mark.parametrize(
        ("text", "scope"),
        [
            ("https://x/.default", "https://x/.default"),
            ("https://x/", "https://x/.default"),
            ("https://x", "https://x/.default"),
            ("https://x//", "https://x/.default"),
            ("  https://x/\n", "https://x/.default"),
            ("\thttps://x/.default ", "https://x/.default"),
            ("HTTPS://X", "HTTPS://X/.default"),
            # Entra's own spelling of a resource whose name ends in a slash.
            ("https://management.core.windows.net//.default", "https://management.core.windows.net//.default"),
            (GUID, f"{GUID}/.default"),
            (f"{GUID}/", f"{GUID}/.default"),
            (f"{GUID}/.default", f"{GUID}/.default"),
            (f"api://{GUID}", f"api://{GUID}/.default"),
            (f"api://{GUID}/", f"api://{GUID}/.default"),
            ("https://x/user_impersonation", "https://x/user_impersonation"),
            (" https://x/user_impersonation ", "https://x/user_impersonation"),
            (f"api://{GUID}/Read.All", f"api://{GUID}/Read.All"),
            ("https://x:8443/", "https://x:8443/.default"),
        ],
    )
    def test_a_resource_becomes_a_scope_and_a_permission_stays_one(self, text: str, scope: str) -> None:
        assert scope_of(text) == scope
        assert scope_of(scope) == scope


@given(TEXT)
def test_nothing_that_can_be_written_raises(text: str) -> None:
    cloud = spelled(text)
    assert cloud is None or CLOUDS[cloud.name] is cloud
    for found in (cloud_of(text), cloud_of_authority(text), cloud_of_scope(text)):
        assert found is None or found in CLOUDS
    scope = scope_of(text)
    assert scope_of(scope) == scope
    assert scope == scope.strip()


@given(TEXT, st.sampled_from(SUFFIXES))
def test_what_precedes_the_dot_does_not_matter_and_what_follows_does(text: str, suffix: tuple[str, str]) -> None:
    name, cloud = suffix
    assert cloud_of(f"{text}.{name}") == cloud
    assert cloud_of(f"r.{name}.{text}x") is None
