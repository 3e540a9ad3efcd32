"""Promises 1 and 2 on real sockets: a credential goes only to its origin, and nothing to a host nobody configured."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.conftest import AMBIENT_KEY, Colour
from tests.servers import CHAT, MESSAGES, ScriptedServer, Seen, answer

KEY = "azure-key-of-this-resource-0123456789"
CREDENTIALS = ("authorization", "api-key", "ocp-apim-subscription-key", "cookie", "openai-organization")


def assert_unsigned(seen: Seen) -> None:
    for name in CREDENTIALS:
        assert seen.header(name) is None, f"{name} went to another origin"
    assert KEY not in str(seen)
    assert AMBIENT_KEY not in str(seen)


@pytest.fixture(params=["constructor", "http_client"])
def client(request: pytest.FixtureRequest, colour: Colour, server: ScriptedServer) -> Any:
    arguments = {
        "azure_endpoint": server.url,
        "api_key": KEY,
        "api_version": "2024-10-21",
        "default_headers": {"Ocp-Apim-Subscription-Key": "subscription-key-0123456789"},
    }
    if request.param == "constructor":
        made = colour.client(**arguments, max_retries=0)
    else:
        made = colour.plain(api_key="sk-plain", http_client=colour.http_client(**arguments), max_retries=0)
    yield made
    colour.close(made)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_a_get_to_another_origin_passes_unsigned(
    status: int, client: Any, colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    elsewhere.script = lambda seen: [answer({"object": "list", "data": []})]
    server.script = lambda seen: [answer(b"", status, {"location": f"{elsewhere.url}/steal?sig=1"})]
    colour.call(client.models.list)
    assert server.requests[0].header("api-key") == KEY
    (stolen,) = elsewhere.requests
    assert (stolen.method, stolen.target) == ("GET", "/steal?sig=1")
    assert_unsigned(stolen)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_drops_the_body_passes_unsigned(
    status: int, client: Any, colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    server.script = lambda seen: [answer(b"", status, {"location": f"{elsewhere.url}/elsewhere"})]
    colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    (stolen,) = elsewhere.requests
    assert (stolen.method, stolen.body) == ("GET", b"")
    assert_unsigned(stolen)


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_would_replay_the_prompt_elsewhere_is_refused(
    status: int, client: Any, colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    server.script = lambda seen: [answer(b"", status, {"location": f"{elsewhere.url}/steal"})]
    with pytest.raises(openai.PermissionDeniedError, match="not configured"):
        colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_origin_is_signed_and_keeps_the_path_that_the_server_gave(
    status: int, client: Any, colour: Colour, server: ScriptedServer
) -> None:
    def script(seen: Seen) -> list[bytes]:
        return [answer()] if seen.target == "/moved?x=1" else [answer(b"", status, {"location": "/moved?x=1"})]

    server.script = script
    colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    first, second = server.requests
    assert second.target == "/moved?x=1"
    assert second.header("api-key") == KEY
    assert second.header("authorization") is None
    assert second.body == (first.body if status in (307, 308) else b"")


def test_a_redirect_from_tls_to_plain_http_elsewhere_is_refused(colour: Colour, library: Any) -> None:
    """On 2.x openai's own Azure client sends the key along."""
    requests = []

    def handler(request: Any) -> Any:
        requests.append(request)
        return library.Response(302, headers={"location": "http://files.example/plain"})

    inner = colour.library_client(library, transport=colour.mock_transport(library, handler), follow_redirects=True)
    client = colour.client(azure_endpoint="r.openai.azure.com", api_key=KEY, http_client=inner, max_retries=0)
    with pytest.raises(openai.PermissionDeniedError, match="leaves https"):
        colour.call(client.models.list)
    assert [str(r.url.host) for r in requests] == ["r.openai.azure.com"]


def test_an_absolute_url_elsewhere_is_refused(
    colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    client = colour.client(azure_endpoint=server.url, api_key=KEY, max_retries=0)
    for url in (f"{elsewhere.url}/v1/models", "https://api.openai.com/v1/models", "https://other.example/"):
        with pytest.raises(openai.PermissionDeniedError, match="is not configured as a target"):
            colour.call(client.get, url, cast_to=object)
    assert server.requests == elsewhere.requests == []
    colour.close(client)


def test_a_client_whose_base_url_was_changed_sends_nothing(colour: Colour, server: ScriptedServer) -> None:
    client = colour.client(azure_endpoint=server.url, api_key=KEY, max_retries=0)
    client.base_url = "https://api.openai.com/v1"
    with pytest.raises(openai.PermissionDeniedError):
        colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    assert server.requests == []
    colour.close(client)


def test_a_plain_clients_absolute_url_that_is_no_openai_path_is_refused(
    colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    http_client = colour.http_client(azure_endpoint=server.url, api_key=KEY)
    client = colour.plain(api_key="sk-plain", http_client=http_client, max_retries=0)
    with pytest.raises(openai.PermissionDeniedError):
        colour.call(client.get, f"{elsewhere.url}/steal", cast_to=object)
    colour.call(client.get, f"{elsewhere.url}/v1/models", cast_to=object)
    assert elsewhere.requests == []
    assert [seen.target for seen in server.requests] == ["/openai/v1/models"]
    colour.close(client)


def test_the_next_page_stays_at_the_target(colour: Colour, client: Any, server: ScriptedServer) -> None:
    pages = [
        {"object": "list", "data": [{"id": "file-1", "object": "file"}], "has_more": True, "last_id": "file-1"},
        {"object": "list", "data": [{"id": "file-2", "object": "file"}], "has_more": False, "last_id": "file-2"},
    ]
    server.script = lambda seen: [answer(pages[len(server.requests) - 1])]
    if colour.is_async:

        async def every() -> list[str]:
            return [file.id async for file in client.files.list()]

        found = colour.run(every())
    else:
        found = [file.id for file in client.files.list()]
    assert found == ["file-1", "file-2"]
    assert [seen.target for seen in server.requests] == [
        "/openai/files?api-version=2024-10-21",
        "/openai/files?after=file-1&api-version=2024-10-21",
    ]
    assert {seen.header("api-key") for seen in server.requests} == {KEY}


def test_cookies_are_not_sent_back(colour: Colour, client: Any, server: ScriptedServer) -> None:
    server.script = lambda seen: [answer(CHAT, headers={"set-cookie": "session=abc; Path=/"})]
    for _ in range(2):
        colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    assert [seen.header("cookie") for seen in server.requests] == [None, None]


def test_what_openai_reads_from_the_environment_never_reaches_azure(
    colour: Colour, client: Any, server: ScriptedServer
) -> None:
    colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)
    (seen,) = server.requests
    assert seen.header("openai-organization") is None
    assert seen.header("openai-project") is None
    assert seen.header("authorization") is None
    assert AMBIENT_KEY not in str(seen)
    assert seen.header("api-key") == KEY


def test_an_explicit_authorization_for_one_request_wins_and_is_the_only_credential(
    colour: Colour, server: ScriptedServer
) -> None:
    client = colour.client(azure_endpoint=server.url, api_key=KEY)
    colour.call(
        client.chat.completions.create,
        model="gpt-4o",
        messages=MESSAGES,
        extra_headers={"Authorization": "Bearer of-this-request"},
    )
    colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES, extra_headers={"api-key": "other"})
    first, second = server.requests
    assert (first.header("authorization"), first.header("api-key")) == ("Bearer of-this-request", None)
    assert (second.header("authorization"), second.header("api-key")) == (None, "other")
    colour.close(client)


def test_a_plain_clients_own_key_is_never_forwarded(colour: Colour, server: ScriptedServer) -> None:
    http_client = colour.http_client(azure_endpoint=server.url, api_key=KEY)
    client = colour.plain(api_key="sk-plain-real-key", organization="org-1", http_client=http_client)
    raw = colour.call(client.chat.completions.with_raw_response.create, model="gpt-4o", messages=MESSAGES)
    (seen,) = server.requests
    assert seen.header("api-key") == KEY
    assert "sk-plain" not in str(seen)
    assert "org-1" not in str(seen)
    assert KEY not in str(raw.http_request.headers)
    colour.close(client)


def test_the_request_that_the_caller_sees_is_of_the_host_that_served(
    colour: Colour, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    http_client = colour.http_client(azure_endpoint=server.url, api_key=KEY, deployments={"gpt-4o": "prod"})
    client = colour.plain(api_key="unused", http_client=http_client)
    with caplog.at_level("DEBUG"):
        raw = colour.call(client.chat.completions.with_raw_response.create, model="gpt-4o", messages=MESSAGES)
    expected = f"{server.url}/openai/v1/chat/completions"
    assert str(raw.http_request.url) == expected
    assert str(raw.http_response.url) == expected
    assert raw.http_request.headers["host"] == f"127.0.0.1:{server.port}"
    assert server.requests[0].header("host") == f"127.0.0.1:{server.port}"
    assert any(expected in record.getMessage() for record in caplog.records)
    assert KEY not in caplog.text
    served = raw.http_request.extensions["azure_shim"]
    assert (served.model, served.deployment) == ("gpt-4o", "prod")
    colour.close(client)


def test_a_given_clients_own_credentials_do_not_reach_azure(
    colour: Colour, library: Any, server: ScriptedServer
) -> None:
    """They are for whatever the client was built for; what signs for Azure is the target's."""
    for options in ({"headers": {"Authorization": "Bearer sk-openai", "api-key": "other"}}, {"auth": ("user", "pass")}):
        given = colour.library_client(library, **options)
        client = colour.client(azure_endpoint=server.url, api_key=KEY, http_client=given)
        colour.call(client.models.list)
        seen = server.requests[-1]
        assert (seen.header("api-key"), seen.header("authorization")) == (KEY, None)
        colour.close(given)


def test_a_plain_client_on_our_http_client_forwards_no_key_of_its_own(colour: Colour, server: ScriptedServer) -> None:
    shim = colour.client(azure_endpoint=server.url, api_key=KEY)
    plain = colour.plain(api_key="sk-openai-real", base_url=shim.base_url, http_client=shim._client)
    colour.call(plain.models.list)
    (seen,) = server.requests
    assert (seen.header("api-key"), seen.header("authorization")) == (KEY, None)


def test_user_information_in_a_url_signs_nothing(colour: Colour, server: ScriptedServer) -> None:
    client = colour.client(azure_endpoint=server.url, api_key=KEY)
    colour.call(client.get, server.url.replace("//", "//user:pass@") + "/openai/v1/models", cast_to=object)
    (seen,) = server.requests
    assert (seen.header("api-key"), seen.header("authorization")) == (KEY, None)


def test_a_gateway_that_signs_by_its_subscription_alone(colour: Colour, server: ScriptedServer) -> None:
    headers = {"Ocp-Apim-Subscription-Key": "subscription"}
    clients = (
        colour.client(azure_endpoint=server.url, default_headers=headers),
        colour.plain(api_key="sk", http_client=colour.http_client(azure_endpoint=server.url, default_headers=headers)),
    )
    for client in clients:
        colour.call(client.models.list)
        seen = server.requests[-1]
        assert seen.header("ocp-apim-subscription-key") == "subscription"
        assert (seen.header("api-key"), seen.header("authorization")) == (None, None)


def test_a_form_follows_a_redirect_within_its_origin_whole(colour: Colour, server: ScriptedServer) -> None:
    import io

    def script(seen: Seen) -> list[bytes]:
        if seen.target.startswith("/moved"):
            return [answer({"text": "hello"})]
        return [answer(b"", 307, {"location": "/moved"})]

    server.script = script
    client = colour.client(azure_endpoint=server.url, api_key=KEY, deployments={"w": "whisper-deployment"})
    file = io.BytesIO(b"RIFF" * 30_000)
    file.name = "a.wav"
    colour.call(client.audio.transcriptions.create, model="w", file=file)
    first, second = server.requests
    assert second.body == first.body
    assert b"whisper-deployment" in second.body


def test_a_host_that_is_no_ascii_name_is_its_own(colour: Colour, library: Any) -> None:
    seen: list[Any] = []

    def handler(request: Any) -> Any:
        seen.append(request)
        return library.Response(200, json=CHAT)

    inner = colour.library_client(library, transport=colour.mock_transport(library, handler))
    client = colour.client(azure_endpoint="https://bücher.example", api_key=KEY, http_client=inner)
    colour.call(client.models.list)
    assert seen[0].url.raw_host == b"xn--bcher-kva.example"
    assert seen[0].headers["api-key"] == KEY
