"""TokenService against the real azure-identity: every credential, what it is told, and what FakeAzure makes of it."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import azure.identity
import azure.identity.aio
import jwt
import msal
import openai
import pytest
import requests
import trustme
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError

from azure_shim.testing import FakeAzure, TokenService
from tests.testing.tokens import CLASSIC, V1, claims_of, clear, environment_of, identities, line, token_of

RESOURCE = CLASSIC.removesuffix("/.default")
ENTRA = {"client_secret": "client_secret", "certificate": "certificate", "workload": "federated"}


@pytest.fixture(scope="module")
def shared() -> Iterator[TokenService]:
    with TokenService() as service:
        yield service


@pytest.fixture
def service(shared: TokenService, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenService]:
    """One for all tests, as new to each: its certificates take a while."""
    clear(monkeypatch)
    shared.forget()
    yield shared
    shared.heal()
    shared.lifetime_s, shared.refresh_in_s, shared.clock_skew_s, shared.delay_s = 3600, None, 0, 0.0
    shared.identities = shared.arc_key_folder = None


class TestEntra:
    @pytest.mark.parametrize("kind", ENTRA)
    def test_credentials_that_block(self, kind: str, service: TokenService) -> None:
        before = int(time.time())
        with identities(service, azure.identity)[kind]() as credential:
            first = credential.get_token_info(CLASSIC)
            assert credential.get_token_info(CLASSIC).token == first.token
        self.check(kind, first, before, service)

    @pytest.mark.parametrize("kind", ENTRA)
    def test_credentials_that_await(self, kind: str, service: TokenService) -> None:
        async def main() -> Any:
            async with identities(service, azure.identity.aio)[kind]() as credential:
                return await credential.get_token_info(CLASSIC)

        before = int(time.time())
        self.check(kind, asyncio.run(main()), before, service)

    def check(self, kind: str, given: Any, before: int, service: TokenService) -> None:
        (asked,) = service.requests
        assert (asked.endpoint, asked.grant, asked.scope, asked.tenant, asked.client_id, asked.claims) == (
            "entra",
            ENTRA[kind],
            CLASSIC,
            service.tenant_id,
            service.client_id,
            None,
        )
        assert (asked.status, asked.token, [given.token]) == (200, given.token, service.tokens)
        assert before + 3600 <= given.expires_on <= time.time() + 3600
        assert given.refresh_on is None
        claims = claims_of(given.token)
        assert given.token.startswith("eyJ")
        assert (claims["aud"], claims["appid"], claims["tid"]) == (RESOURCE, service.client_id, service.tenant_id)
        assert claims["iss"] == f"https://sts.windows.net/{service.tenant_id}/"
        assert claims["iat"] == claims["nbf"] == claims["exp"] - 3600
        assert claims["uti"]

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            *((kind, "DefaultAzureCredential") for kind in ENTRA),
            *((kind, "EnvironmentCredential") for kind in ENTRA if kind != "workload"),
        ],
    )
    def test_by_the_environment(
        self, kind: str, name: str, service: TokenService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environment_of(service, kind, monkeypatch)
        with getattr(azure.identity, name)(disable_instance_discovery=True) as credential:
            assert credential.get_token(CLASSIC).token == service.tokens[0]
        assert [asked.grant for asked in service.requests] == [ENTRA[kind]]
        # A federated assertion goes without MSAL, which is who looks the tenant up.
        looked_up = [] if kind == "workload" else [f"/{service.tenant_id}/v2.0/.well-known/openid-configuration"]
        assert service.lookups == looked_up

    def test_claims_are_parsed(self, service: TokenService) -> None:
        with identities(service, azure.identity)["client_secret"]() as credential:
            credential.get_token(CLASSIC, claims='{"access_token":{"nbf":{"essential":true}}}', enable_cae=True)
        assert service.requests[0].claims == {
            "access_token": {"nbf": {"essential": True}, "xms_cc": {"values": ["CP1"]}},
        }

    def test_lifetime_and_refresh_are_told(self, service: TokenService) -> None:
        service.lifetime_s, service.refresh_in_s = 100, 50
        with identities(service, azure.identity)["client_secret"]() as credential:
            info = credential.get_token_info(CLASSIC)
        assert 95 < info.expires_on - time.time() <= 100
        assert 45 < info.refresh_on - time.time() <= 50

    def test_a_delay_is_waited_for(self, service: TokenService) -> None:
        waited: list[float] = []
        before, service.wait, service.delay_s = service.wait, waited.append, 7.0
        try:
            with identities(service, azure.identity)["client_secret"]() as credential:
                credential.get_token(CLASSIC)
        finally:
            service.wait = before
        assert waited == [7.0]

    @pytest.mark.parametrize(
        ("wrong", "code", "error", "status"),
        [
            ({"tenant_id": "00000000-0000-0000-0000-000000000000"}, 90002, "invalid_request", 400),
            ({"client_id": "00000000-0000-0000-0000-000000000000"}, 700016, "unauthorized_client", 400),
            ({"client_secret": "wrong"}, 7000215, "invalid_client", 401),
        ],
    )
    def test_who_is_unknown_is_refused(
        self, wrong: dict[str, str], code: int, error: str, status: int, service: TokenService
    ) -> None:
        async def main() -> None:
            who = {name: getattr(service, name) for name in ("tenant_id", "client_id", "client_secret")}
            async with azure.identity.aio.ClientSecretCredential(**{**who, **wrong}, **line(service)) as credential:
                await credential.get_token(CLASSIC)

        with pytest.raises(ClientAuthenticationError, match=f"AADSTS{code}: ") as caught:
            asyncio.run(main())
        assert caught.value.response is not None
        body = json.loads(caught.value.response.text())
        assert (caught.value.response.status_code, body["error"], body["error_codes"]) == (status, error, [code])
        assert body["trace_id"] in body["error_description"]
        assert body["correlation_id"] in body["error_description"]
        assert body["timestamp"] in body["error_description"]
        assert [(asked.status, asked.token) for asked in service.requests] == [(status, None)]
        assert service.tokens == []

    def test_a_scope_needs_its_default(self, service: TokenService) -> None:
        with (
            identities(service, azure.identity)["client_secret"]() as credential,
            pytest.raises(ClientAuthenticationError, match="AADSTS1002012"),
        ):
            credential.get_token(RESOURCE)

    @pytest.mark.parametrize("module", [azure.identity, azure.identity.aio], ids=["sync", "aio"])
    def test_a_certificate_of_another_is_refused(self, module: Any, service: TokenService) -> None:
        with TokenService() as other:
            made = module.CertificateCredential(
                service.tenant_id, service.client_id, certificate_path=other.certificate_file, **line(service)
            )
            with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
                token_of(made, CLASSIC)

    @pytest.mark.parametrize(
        ("module", "skew_s"), [(azure.identity, 7200), (azure.identity.aio, 7200), (azure.identity.aio, -7200)]
    )
    def test_an_assertion_is_checked_by_the_services_clock(
        self, module: Any, skew_s: int, service: TokenService
    ) -> None:
        """MSAL, below those that block, does not say from when on its assertions are good."""
        service.clock_skew_s = skew_s
        with pytest.raises(ClientAuthenticationError, match="AADSTS700024"):
            token_of(identities(service, module)["certificate"](), CLASSIC)

    @pytest.mark.parametrize(
        ("wrong", "code"),
        [({}, None), ({"sub": "another"}, 700021), ({"aud": "https://another"}, 700023), ({"iss": "another"}, 700213)],
    )
    def test_what_an_assertion_says(self, wrong: dict[str, str], code: int | None, service: TokenService) -> None:
        url = f"{service.authority}/{service.tenant_id}/oauth2/v2.0/token"
        key = Path(service.certificate_file).read_text()
        key = key[key.index("-----BEGIN PRIVATE KEY") :]
        said = {"aud": url, "iss": service.client_id, "sub": service.client_id, "exp": int(time.time()) + 60, **wrong}
        form = {
            "grant_type": "client_credentials",
            "client_id": service.client_id,
            "client_assertion": jwt.encode(said, key, algorithm="RS256"),
            "scope": CLASSIC,
        }
        body = requests.post(url, data=form, verify=service.ca_file, timeout=10).json()
        assert body.get("error_codes") == (code and [code])

    def test_an_unknown_tenant_has_no_configuration(self, service: TokenService) -> None:
        credential = azure.identity.ClientSecretCredential(
            "00000000-0000-0000-0000-000000000000", service.client_id, service.client_secret, **line(service)
        )
        with pytest.raises((ClientAuthenticationError, ValueError), match=r"AADSTS90002|Unable to get authority"):
            token_of(credential, CLASSIC)
        assert service.requests == []

    def test_a_rotated_federated_token_replaces_the_old_one(self, service: TokenService, tmp_path: Path) -> None:
        old = tmp_path / "old"
        old.write_bytes(Path(service.federated_token_file).read_bytes())
        new = service.rotate_federated_token()
        assert Path(service.federated_token_file).read_text() == new
        who = {"tenant_id": service.tenant_id, "client_id": service.client_id}
        for file, code in ((str(old), "AADSTS700024"), (__file__, "AADSTS700213")):
            stale = azure.identity.WorkloadIdentityCredential(**who, token_file_path=file, **line(service))
            with stale, pytest.raises(ClientAuthenticationError, match=code):
                stale.get_token(CLASSIC)
        with identities(service, azure.identity)["workload"]() as fresh:
            fresh.get_token(CLASSIC)

    def test_instance_discovery_can_lead_here(self, service: TokenService, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", service.ca_file)
        with requests.Session() as session:
            app = msal.ConfidentialClientApplication(
                service.client_id,
                authority=f"{service.authority}/{service.tenant_id}",
                client_credential=service.client_secret,
                instance_discovery=f"{service.authority}/common/discovery/instance",
                http_client=session,
            )
            assert app.acquire_token_for_client([CLASSIC])["access_token"] == service.tokens[0]
            assert session.get(f"{service.authority}/nothing").status_code == 404
        assert "/common/discovery/instance" in service.lookups

    @pytest.mark.parametrize(
        ("form", "code"),
        [
            ({"grant_type": "password"}, 70003),
            ({"client_secret": ""}, 7000218),
            ({"scope": ""}, 900144),
            ({"scope": f"{CLASSIC} {V1}"}, 1002012),
        ],
    )
    def test_forms_that_no_library_sends(self, form: dict[str, str], code: int, service: TokenService) -> None:
        sound = {
            "grant_type": "client_credentials",
            "client_id": service.client_id,
            "client_secret": service.client_secret,
            "scope": CLASSIC,
        }
        url = f"{service.authority}/{service.tenant_id}/oauth2/v2.0/token"
        with requests.Session() as session:
            answer = session.post(url, data={**sound, **form}, verify=service.ca_file)
            assert answer.json()["error_codes"] == [code]
            assert session.post(url, data=sound, verify=service.ca_file).ok


@pytest.mark.parametrize("module", [azure.identity, azure.identity.aio], ids=["sync", "aio"])
@pytest.mark.parametrize("kind", ["app_service", "imds", "arc"])
class TestManagedIdentity:
    def test_the_machines_own(
        self, kind: str, module: Any, service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environment_of(service, kind, monkeypatch, tmp_path)
        token = token_of(module.ManagedIdentityCredential(), CLASSIC)
        (asked,) = service.requests
        assert (asked.endpoint, asked.grant, asked.scope, asked.tenant) == (kind, "managed", RESOURCE, None)
        assert (asked.client_id, asked.object_id, asked.resource_id) == (None, None, None)
        assert (asked.status, asked.token, service.tokens) == (200, token, [token])
        assert claims_of(token)["appid"] == service.client_id
        assert list(tmp_path.iterdir()) == [], "a key is good for one request"

    @pytest.mark.parametrize("named", ["client_id", "object_id", "resource_id"])
    def test_a_users_own(
        self, named: str, kind: str, module: Any, service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environment_of(service, kind, monkeypatch, tmp_path)
        service.identities = {"known"}

        def identity(value: str) -> Any:
            spelled = named
            if named == "resource_id" and module is azure.identity.aio and kind != "arc":
                spelled = "mi_res_id" if kind == "app_service" else "msi_res_id"
            return module.ManagedIdentityCredential(identity_config={spelled: value})

        token_of(identity("known"), CLASSIC)
        assert getattr(service.requests[0], named) == "known"
        with pytest.raises((ClientAuthenticationError, CredentialUnavailableError), match=r"Identity not found|400"):
            token_of(identity("unknown"), CLASSIC)
        assert [asked.status for asked in service.requests] == [200, 400]

    def test_default_azure_credential(
        self, kind: str, module: Any, service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environment_of(service, kind, monkeypatch, tmp_path)
        assert token_of(module.DefaultAzureCredential(), CLASSIC) == service.tokens[0]

    def test_times(
        self, kind: str, module: Any, service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """App Service says when a token ends, by its own clock; the others how long it lasts too."""
        environment_of(service, kind, monkeypatch, tmp_path)
        service.lifetime_s, service.clock_skew_s = 500, 7200
        token = token_of(module.ManagedIdentityCredential(), CLASSIC)
        assert 7200 + 495 < claims_of(token)["exp"] - time.time() <= 7200 + 500
        assert service.is_valid(token)


class TestIdentityEndpoints:
    """What no library sends, or takes back with others."""

    @pytest.mark.parametrize(
        ("kind", "headers", "query", "status"),
        [
            ("app_service", {"X-IDENTITY-HEADER": "wrong"}, {}, 401),
            ("app_service", {}, {}, 401),
            ("app_service", {"X-IDENTITY-HEADER": "right"}, {"api-version": "2017-09-01"}, 400),
            ("app_service", {"X-IDENTITY-HEADER": "right"}, {"resource": ""}, 400),
            ("imds", {}, {}, 400),
            ("imds", {"Metadata": "true"}, {"api-version": ""}, 400),
            ("imds", {"Metadata": "true"}, {"resource": ""}, 400),
            ("arc", {}, {}, 400),
            ("arc", {"Metadata": "true", "Authorization": "Basic guessed"}, {}, 401),
        ],
    )
    def test_refusals(
        self, kind: str, headers: dict[str, str], query: dict[str, str], status: int, service: TokenService
    ) -> None:
        variables = service.environment(kind)
        url = variables.get("IDENTITY_ENDPOINT") or (
            variables["AZURE_POD_IDENTITY_AUTHORITY_HOST"] + "/metadata/identity/oauth2/token"
        )
        if headers.get("X-IDENTITY-HEADER") == "right":
            headers = {"X-IDENTITY-HEADER": variables["IDENTITY_HEADER"]}
        params = {"api-version": "2019-08-01", "resource": RESOURCE, **query}
        answer = requests.get(url, params=params, headers=headers, timeout=10)
        body = answer.json()
        assert answer.status_code == status
        if kind == "app_service":
            assert body["statusCode"] == status
            assert body["message"]
        else:
            assert body["error"] == ("invalid_request" if status == 400 else "unauthorized_client")
            assert body["error_description"]
        assert service.tokens == []

    def test_other_paths_are_not_there(self, service: TokenService) -> None:
        answer = requests.get(f"{service.environment('arc')['IMDS_ENDPOINT']}/metadata/instance", timeout=10)
        assert answer.status_code == 404
        assert service.lookups == ["/metadata/instance"]

    def test_a_wrong_identity_header(self, service: TokenService, monkeypatch: pytest.MonkeyPatch) -> None:
        environment_of(service, "app_service", monkeypatch)
        monkeypatch.setenv("IDENTITY_HEADER", "wrong")
        with pytest.raises(CredentialUnavailableError, match="401, The X-IDENTITY-HEADER"):
            token_of(azure.identity.ManagedIdentityCredential(), CLASSIC)

    def test_keys_that_nobody_used_are_removed(self, tmp_path: Path) -> None:
        with TokenService() as service:
            service.arc_key_folder = tmp_path
            url = service.environment("arc")["IDENTITY_ENDPOINT"]
            answer = requests.get(url, headers={"Metadata": "true"}, timeout=10)
            assert answer.headers["www-authenticate"] == f"Basic realm={next(tmp_path.iterdir())}"
        assert list(tmp_path.iterdir()) == []


class TestTokens:
    def test_each_is_another(self, service: TokenService) -> None:
        assert len({service.issue(CLASSIC) for _ in range(10)}) == 10
        assert len(service.tokens) == 10
        assert service.requests == []

    def test_valid_until_revoked(self, service: TokenService) -> None:
        first, second = service.issue(CLASSIC), service.issue(CLASSIC)
        service.revoke(first)
        assert (service.is_valid(first), service.is_valid(second)) == (False, True)
        for strange in ("strange", second[:-4] + "AAAA"):
            assert not service.is_valid(strange)
            with pytest.raises(ValueError, match="no such token"):
                service.revoke(strange)

    def test_valid_until_it_is_over_by_the_services_clock(self, service: TokenService) -> None:
        token = service.issue(CLASSIC)
        service.clock_skew_s = 3590
        assert service.is_valid(token)
        service.clock_skew_s = 3601
        assert not service.is_valid(token)

    @pytest.mark.parametrize("scope", [CLASSIC, RESOURCE, RESOURCE + "/", "cognitiveservices.azure.com"])
    def test_valid_for_its_audience(self, scope: str, service: TokenService) -> None:
        token = service.issue(scope)
        assert service.is_valid(token, ["ai.azure.com", "cognitiveservices.azure.com"])
        assert service.is_valid(token, [RESOURCE])
        assert not service.is_valid(token, ["ai.azure.com"])
        assert not service.is_valid(token, [])

    def test_forgotten_tokens_stay_good(self, service: TokenService) -> None:
        token = service.issue(CLASSIC)
        service.forget()
        assert service.tokens == []
        assert service.is_valid(token)
        assert service.tokens == []


class TestFakeAzure:
    @pytest.mark.parametrize(
        ("path", "scope", "status"),
        [
            ("/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", CLASSIC, 200),
            ("/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", V1, 200),
            ("/openai/v1/chat/completions", CLASSIC, 200),
            ("/openai/v1/chat/completions", V1, 200),
            ("/openai/v1/chat/completions", "https://cognitiveservices.azure.us/.default", 200),
            ("/openai/v1/chat/completions", "https://cognitiveservices.azure.cn/.default", 200),
            ("/openai/v1/chat/completions", "https://management.azure.com/.default", 401),
            ("/openai/v1/chat/completions", "https://ai.azure.com.example/.default", 401),
            ("/api/projects/p/openai/v1/chat/completions", V1, 200),
            ("/api/projects/p/openai/v1/chat/completions", "https://ai.azure.us/.default", 200),
            ("/api/projects/p/openai/v1/chat/completions", CLASSIC, 401),
        ],
    )
    def test_audiences(self, path: str, scope: str, status: int, service: TokenService) -> None:
        with FakeAzure(["eastus"], token_service=service) as azure:
            headers = {"Authorization": f"Bearer {service.issue(scope)}"}
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
            answer = requests.post(azure["eastus"].endpoint + path, json=body, headers=headers, timeout=10)
        assert answer.status_code == status, answer.text
        assert (status == 200) or "audience is incorrect" in answer.json()["error"]["message"]

    def test_the_officials_client_signs_in(self, service: TokenService) -> None:
        with (
            FakeAzure(["eastus"], token_service=service) as azure_openai,
            identities(service, azure.identity)["client_secret"]() as credential,
            openai.AzureOpenAI(
                azure_endpoint=azure_openai["eastus"].endpoint,
                api_version="2024-10-21",
                azure_ad_token_provider=azure.identity.get_bearer_token_provider(credential, CLASSIC),
                max_retries=0,
            ) as client,
        ):
            for _ in range(2):
                client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
            assert len(service.requests) == 1
            service.revoke(service.tokens[0])
            with pytest.raises(openai.AuthenticationError, match="audience is incorrect"):
                client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
            assert azure_openai.leaks == []

    def test_its_own_token_is_still_one(self, service: TokenService) -> None:
        with FakeAzure(["eastus"], token_service=service) as azure_openai:
            for token, status in ((azure_openai.token, 200), ("another", 401)):
                answer = requests.get(
                    azure_openai["eastus"].v1_url + "/models", headers={"Authorization": f"Bearer {token}"}, timeout=10
                )
                assert answer.status_code == status


class TestSurface:
    def test_no_repr_shows_a_secret(self, service: TokenService) -> None:
        with identities(service, azure.identity)["workload"]() as credential:
            credential.get_token(CLASSIC)
        fault = service.fail_next("stall")
        shown = repr((service, service.requests, fault, service.__dict__, service.application.__dict__["client_id"]))
        shown += str(service)
        federated = Path(service.federated_token_file).read_text()
        for secret in (
            service.client_secret,
            federated,
            service.tokens[0],
            service.environment("app_service").popitem()[1],
        ):
            assert secret not in shown
        assert service.authority in repr(service)

    def test_made_up_values_are_shaped_like_azures(self) -> None:
        service = TokenService()
        assert len(service.client_secret) == 40
        assert "~" in service.client_secret
        assert len(service.tenant_id) == len(service.client_id) == 36
        assert TokenService().client_secret != service.client_secret

    def test_a_certificate_of_the_callers_own(self, tmp_path: Path) -> None:
        authority, tls, path = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path / "ca.pem"
        authority.issue_cert("localhost").configure_cert(tls)
        authority.cert_pem.write_to_path(str(path))
        with TokenService(tls=tls, ca_file=str(path)) as service:
            assert service.ca_file == str(path)
            token_of(identities(service, azure.identity)["client_secret"](), CLASSIC)
        assert path.exists()
        with pytest.raises(ValueError, match="go together"):
            TokenService(tls=tls)

    def test_what_is_not_running_says_so(self) -> None:
        service = TokenService()
        assert repr(service) == "<TokenService that does not listen>"
        for ask in (
            lambda: service.authority,
            lambda: service.ca_file,
            lambda: service.certificate_file,
            lambda: service.federated_token_file,
            lambda: service.environment("imds"),
            service.key_folder,
        ):
            with pytest.raises(RuntimeError, match="not running"):
                ask()

    def test_there_is_no_other_kind(self, service: TokenService) -> None:
        with pytest.raises(ValueError, match="no kind 'vm'; there are: client_secret, certificate"):
            service.environment("vm")

    def test_it_can_be_started_again(self) -> None:
        service = TokenService()
        for _ in range(2):
            with service:
                folder = Path(service.ca_file).parent
                token_of(identities(service, azure.identity)["certificate"](), CLASSIC)
            assert not folder.exists()
        assert len(service.tokens) == 2

    def test_nothing_heavy_is_imported(self) -> None:
        code = (
            "import sys; from azure_shim.testing import TokenService; TokenService()\n"
            "print([m for m in ('cryptography', 'jwt', 'msal', 'requests', 'openai', 'azure') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == "[]"


def test_a_jwt_is_padded_or_not(service: TokenService) -> None:
    """azure-identity's aio credentials pad the parts of an assertion, MSAL does not."""
    for module in (azure.identity, azure.identity.aio):
        token_of(identities(service, module)["certificate"](), CLASSIC)
    assert base64.urlsafe_b64decode(service.tokens[0].split(".")[0] + "==")
