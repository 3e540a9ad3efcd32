"""Both libraries and both colours: whose classes come out, what may go in, and whose it stays."""

from __future__ import annotations

import copy
import importlib
import socket
import ssl
from typing import Any

import openai
import pytest

import azure_shim
from azure_shim.transport import on_httpx
from tests.conftest import LIBRARIES, MAJOR, OWN_LIBRARY, Colour
from tests.servers import CHAT, MESSAGES, ScriptedServer, answer

SETTINGS: dict[str, Any] = {"azure_endpoint": "https://r.openai.azure.com", "api_key": "k" * 32}


def chat(colour: Colour, client: Any) -> Any:
    return colour.call(client.chat.completions.with_raw_response.create, model="gpt-4o", messages=MESSAGES)


def test_requests_and_responses_are_of_the_clients_own_library(
    colour: Colour, library: Any, server: ScriptedServer
) -> None:
    http_client = colour.http_client(azure_endpoint=server.url, api_key="k", library=library.__name__)
    assert isinstance(http_client, library.AsyncClient if colour.is_async else library.Client)
    client = colour.plain(api_key="unused", http_client=http_client)
    raw = chat(colour, client)
    assert isinstance(raw.http_response, library.Response)
    assert isinstance(raw.http_request, library.Request)
    assert isinstance(raw.http_request.url, library.URL)
    assert isinstance(raw.http_request.headers, library.Headers)
    colour.close(client)


def test_a_refused_connection_is_the_librarys_own_error_with_its_request(colour: Colour, library: Any) -> None:
    with ScriptedServer() as gone:
        url = gone.url
    http_client = colour.http_client(azure_endpoint=url, api_key="k", library=library.__name__)
    client = colour.plain(api_key="unused", http_client=http_client, max_retries=0)
    with pytest.raises(openai.APIConnectionError) as caught:
        chat(colour, client)
    cause = caught.value.__cause__
    assert isinstance(cause, library.ConnectError)
    assert str(cause.request.url) == f"{url}/openai/v1/chat/completions"
    colour.close(client)


@pytest.mark.parametrize(
    ("foreign", "expected"),
    [
        (ConnectionRefusedError("no"), "ConnectError"),
        (ssl.SSLError("bad certificate"), "ConnectError"),
        (TimeoutError("slow"), "ReadTimeout"),
        (ConnectionResetError("reset"), "ReadError"),
        (socket.gaierror("no such name"), "ConnectError"),
        (EOFError("end"), "ReadError"),
    ],
)
def test_a_strangers_error_becomes_the_librarys_own(
    colour: Colour, library: Any, foreign: Exception, expected: str
) -> None:
    """A transport of a third party may raise what no SDK expects; 3.x would let it through raw."""

    def handler(request: Any) -> Any:
        raise foreign

    transport = colour.mock_transport(library, handler)
    client = colour.plain(
        api_key="unused", http_client=colour.http_client(**SETTINGS, transport=transport), max_retries=0
    )
    kind = openai.APITimeoutError if expected == "ReadTimeout" else openai.APIConnectionError
    with pytest.raises(kind) as caught:
        chat(colour, client)
    assert type(caught.value.__cause__) is getattr(library, expected)
    assert caught.value.__cause__.__cause__ is foreign


def test_a_bug_is_not_dressed_up_as_trouble_of_the_network(colour: Colour, library: Any) -> None:
    def handler(request: Any) -> Any:
        raise error

    for error in (ZeroDivisionError("a bug"), FileNotFoundError("no such certificate")):
        transport = colour.mock_transport(library, handler)
        http_client = colour.http_client(**SETTINGS, transport=transport)
        with pytest.raises(type(error)):
            colour.call(http_client.get, "https://r.openai.azure.com/openai/v1/models")


def test_a_callers_client_is_used_as_it_is_and_neither_changed_nor_closed(colour: Colour, library: Any) -> None:
    seen: list[Any] = []
    hooks: list[str] = []

    def handler(request: Any) -> Any:
        seen.append(request)
        return library.Response(200, json=CHAT)

    def on_request(request: Any) -> Any:
        hooks.append(f"request {request.url.host}")

    async def on_request_async(request: Any) -> None:
        on_request(request)

    given = colour.library_client(
        library,
        transport=colour.mock_transport(library, handler),
        timeout=12.5,
        event_hooks={"request": [on_request_async if colour.is_async else on_request], "response": []},
        headers={"x-mine": "1"},
        follow_redirects=False,
    )
    before = (given.timeout, {k: list(v) for k, v in given.event_hooks.items()}, dict(given.headers), given.auth)
    for wrap in (
        lambda: colour.client(**SETTINGS, http_client=given),
        lambda: colour.plain(api_key="unused", http_client=colour.http_client(**SETTINGS, http_client=given)),
    ):
        client = wrap()
        chat(colour, client)
        assert seen[-1].headers["api-key"] == "k" * 32
        assert seen[-1].headers["x-mine"] == "1"
        assert seen[-1].extensions["timeout"]["read"] == 12.5
        colour.close(client)
        assert not given.is_closed
    assert len(hooks) == 2
    assert before == (
        given.timeout,
        {k: list(v) for k, v in given.event_hooks.items()},
        dict(given.headers),
        given.auth,
    )
    colour.close(given)


def test_a_callers_closed_client_is_an_error_in_words(colour: Colour, library: Any, server: ScriptedServer) -> None:
    given = colour.library_client(library)
    http_client = colour.http_client(azure_endpoint=server.url, api_key="k", http_client=given)
    colour.close(given)
    with pytest.raises(RuntimeError, match="given as http_client has been closed"):
        colour.call(http_client.get, f"{server.url}/openai/v1/models")
    colour.close(http_client)


def test_a_client_of_the_other_colour_is_a_type_error(colour: Colour, library: Any) -> None:
    wrong = library.Client() if colour.is_async else library.AsyncClient()
    needed = "AsyncClient" if colour.is_async else "Client"
    for build in (colour.client, colour.http_client):
        with pytest.raises(
            TypeError, match=rf"^Invalid `http_client` argument; .*httpx\.{needed}` or `httpx2\.{needed}`"
        ):
            build(**SETTINGS, http_client=wrong)


@pytest.mark.parametrize("value", ["client", object(), 3])
def test_what_is_no_client_is_a_type_error(colour: Colour, value: object) -> None:
    with pytest.raises(TypeError, match=r"httpx\..*Client` or `httpx2\..*Client`"):
        colour.client(**SETTINGS, http_client=value)


def test_a_client_of_the_other_library_is_a_type_error_that_names_both(colour: Colour) -> None:
    httpx2 = importlib.import_module("httpx2")
    if MAJOR == 1:
        with pytest.raises(TypeError, match=r"httpx2.*openai 1.*httpx"):
            colour.client(**SETTINGS, http_client=colour.library_client(httpx2))
    httpx = importlib.import_module("httpx")
    with pytest.raises(TypeError, match=r"of httpx .*httpx2\."):
        colour.http_client(**SETTINGS, http_client=colour.library_client(httpx), library="httpx2")


def test_a_transport_of_the_other_library_is_a_type_error_that_names_both(colour: Colour) -> None:
    httpx2 = importlib.import_module("httpx2")
    foreign = httpx2.AsyncHTTPTransport() if colour.is_async else httpx2.HTTPTransport()
    kind = on_httpx.AsyncAzureTransport if colour.is_async else on_httpx.AzureTransport
    with pytest.raises(TypeError, match=r"httpx2\..*expected httpx\."):
        kind(foreign, **SETTINGS)


def test_two_shims_are_not_stacked(colour: Colour) -> None:
    kind = azure_shim.AsyncAzureTransport if colour.is_async else azure_shim.AzureTransport
    inner = kind(**SETTINGS)
    with pytest.raises(TypeError, match="two of them would rewrite"):
        kind(inner, **SETTINGS)
    colour.close(inner)


def test_our_own_client_is_taken_back_and_rewrites_once(colour: Colour, server: ScriptedServer) -> None:
    http_client = colour.http_client(azure_endpoint=server.url, api_key="k", deployments={"gpt-4o": "gpt-4o-2"})
    client = colour.client(http_client=http_client)
    chat(colour, client)
    again = colour.client(azure_endpoint=server.url, api_key="other", http_client=http_client)
    chat(colour, again)
    assert [seen.json()["model"] for seen in server.requests] == ["gpt-4o-2", "gpt-4o"]
    assert [seen.header("api-key") for seen in server.requests] == ["k", "other"]
    colour.close(http_client)


def test_the_transports_alone_serve_a_client_of_the_library(colour: Colour, library: Any) -> None:
    seen: list[Any] = []

    def handler(request: Any) -> Any:
        seen.append(request)
        return library.Response(200, json=CHAT)

    binding = __import__(f"azure_shim.transport.on_{library.__name__}", fromlist=["x"])
    kind = binding.AsyncAzureTransport if colour.is_async else binding.AzureTransport
    transport = kind(colour.mock_transport(library, handler), **SETTINGS, api_version="2024-10-21")
    with pytest.raises(ValueError, match="azure_endpont: no such argument; did you mean azure_endpoint"):
        kind(azure_endpont="x", api_key="k")
    client = colour.plain(api_key="unused", http_client=colour.library_client(library, transport=transport))
    chat(colour, client)
    assert str(seen[0].url).endswith("/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21")
    assert copy.deepcopy(transport) is transport
    assert "k" * 32 not in repr(transport)


def test_the_auth_hook_signs_its_own_origin_alone(colour: Colour, library: Any) -> None:
    seen: list[tuple[str, str | None]] = []

    def handler(request: Any) -> Any:
        seen.append((request.url.host, dict(request.headers.raw).get(b"api-key", b"").decode() or None))
        if request.url.path == "/openai/v1/redirect":
            return library.Response(307, headers={"location": "https://evil.example/steal"})
        return library.Response(200, json=CHAT)

    binding = __import__(f"azure_shim.transport.on_{library.__name__}", fromlist=["x"])
    client = colour.library_client(
        library,
        auth=binding.AzureAuth(**SETTINGS),
        transport=colour.mock_transport(library, handler),
        follow_redirects=True,
    )
    for url in ("https://r.openai.azure.com/openai/v1/models", "https://evil.example/openai/v1/models"):
        colour.call(client.get, url)
    colour.call(client.post, "https://r.openai.azure.com/openai/v1/redirect", content=b"{}")
    key = "k" * 32
    assert seen == [
        ("r.openai.azure.com", key),
        ("evil.example", None),
        ("r.openai.azure.com", key),
        ("evil.example", None),
    ]


def test_the_auth_hook_without_a_token_is_an_error_that_shows_none(colour: Colour, library: Any) -> None:
    binding = __import__(f"azure_shim.transport.on_{library.__name__}", fromlist=["x"])

    def provider() -> str:
        raise RuntimeError("no network for eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl")

    auth = binding.AzureAuth(azure_endpoint="r.openai.azure.com", azure_ad_token_provider=provider)
    client = colour.library_client(library, auth=auth, transport=colour.mock_transport(library, lambda r: None))
    with pytest.raises(azure_shim.CredentialError, match=r"RuntimeError: no network for \*\*\*"):
        colour.call(client.get, "https://r.openai.azure.com/openai/v1/models")


@pytest.mark.parametrize(
    ("timeout", "read"), [(None, 600.0), (5.0, 5.0), (7.5, 7.5)], ids=["the SDK's", "the library's default", "another"]
)
def test_the_timeout_of_an_http_client_is_used(
    colour: Colour, library: Any, timeout: float | None, read: float
) -> None:
    """The SDK takes 5.0, the library's own default, for none and waits 600 s."""
    seen: list[Any] = []

    def handler(request: Any) -> Any:
        seen.append(request.extensions["timeout"])
        return library.Response(200, json=CHAT)

    http_client = colour.http_client(**SETTINGS, transport=colour.mock_transport(library, handler), timeout=timeout)
    chat(colour, colour.plain(api_key="unused", http_client=http_client))
    assert seen[0]["read"] == read


def test_the_timeout_of_a_client_and_of_a_call_are_used(colour: Colour, server: ScriptedServer) -> None:
    client = colour.client(azure_endpoint=server.url, api_key="k", timeout=5.0)
    assert client.timeout == 5.0
    chat(colour, client)
    chat(colour, client.with_options(timeout=3))
    assert [seen.header("x-stainless-read-timeout") for seen in server.requests] == ["5.0", "3"]
    colour.close(client)


def test_arguments_of_the_connections_do_not_go_with_somebody_elses(colour: Colour, library: Any) -> None:
    with pytest.raises(azure_shim.ConfigurationError, match="verify: is a matter of the connections"):
        colour.http_client(**SETTINGS, http_client=colour.library_client(library), verify=False)


def test_an_unknown_library_is_an_error(colour: Colour) -> None:
    with pytest.raises(azure_shim.ConfigurationError, match="library: 'requests' is unknown"):
        colour.http_client(**SETTINGS, library="requests")


def test_the_default_is_the_library_that_openai_is_built_on() -> None:
    client = azure_shim.OpenAI(**SETTINGS)
    kind = type(client._client).__mro__[1]
    assert kind.__module__.partition(".")[0] == OWN_LIBRARY
    assert OWN_LIBRARY in LIBRARIES
    client.close()


def test_an_inner_transport_of_the_callers_is_closed_with_the_client(colour: Colour, library: Any) -> None:
    closed: list[str] = []
    if colour.is_async:

        class Inner(library.AsyncBaseTransport):  # type: ignore[misc,name-defined]
            async def aclose(self) -> None:
                closed.append("closed")
    else:

        class Inner(library.BaseTransport):  # type: ignore[misc,name-defined,no-redef]
            def close(self) -> None:
                closed.append("closed")

    client = colour.http_client(**SETTINGS, transport=Inner())
    colour.close(client)
    colour.close(client)
    assert closed == ["closed"]


def test_gzipped_answers_are_read(colour: Colour, server: ScriptedServer) -> None:
    import gzip
    import json

    body = gzip.compress(json.dumps(CHAT).encode())
    server.script = lambda seen: [answer(body, headers={"content-encoding": "gzip"})]
    client = colour.client(azure_endpoint=server.url, api_key="k")
    assert chat(colour, client).parse().choices[0].message.content == "hello"
    colour.close(client)


@pytest.mark.parametrize("how", ["given to a client", "given to http_client"])
def test_the_librarys_default_timeout_of_a_given_client_is_nobodys_wish(
    how: str, colour: Colour, library: Any, server: ScriptedServer
) -> None:
    """The SDK waits 600 s then; 5 s would end every longer completion, and send it again."""
    given = colour.library_client(library)
    if how == "given to a client":
        client = colour.client(azure_endpoint=server.url, api_key="k", http_client=given)
    else:
        http_client = colour.http_client(azure_endpoint=server.url, api_key="k", http_client=given)
        client = colour.plain(api_key="unused", http_client=http_client)
    chat(colour, client.with_options(max_retries=0))
    assert server.requests[0].header("x-stainless-read-timeout") in ("600", "600.0")
    colour.close(given)


def test_a_shim_inside_a_given_client_is_refused(colour: Colour, library: Any) -> None:
    binding = __import__(f"azure_shim.transport.on_{library.__name__}", fromlist=["x"])
    inner = (binding.AsyncAzureTransport if colour.is_async else binding.AzureTransport)(**SETTINGS)
    given = colour.library_client(library, transport=inner)
    with pytest.raises(TypeError, match="two of them would rewrite"):
        colour.client(**SETTINGS, http_client=given)
    colour.close(given)


def test_the_aiohttp_engine_sends_no_body_where_there_is_none(server: ScriptedServer) -> None:
    importlib.import_module("aiohttp")
    colour = Colour("async")

    async def scenario() -> None:
        async with openai.DefaultAioHttpClient() as given:
            client = azure_shim.AsyncOpenAI(azure_endpoint=server.url, api_key="k", http_client=given, max_retries=0)
            await client.models.list()
            await client.files.delete("file-1")
            await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    colour.run(scenario())
    colour.finish()
    assert [seen.header("transfer-encoding") for seen in server.requests] == [None] * 3
    assert [seen.size > 0 for seen in server.requests] == [False, False, True]


def test_the_placeholder_cannot_be_taken_for_a_key(colour: Colour) -> None:
    client = colour.client(**SETTINGS)
    with pytest.raises(AttributeError, match="with_options"):
        client.api_key = "new"
    assert "k" * 32 not in client.api_key
