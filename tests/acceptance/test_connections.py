"""Proxies, certificates, limits and pools survive the transport, and clients of like settings share connections."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import trustme

import azure_shim
from tests.conftest import OWN_LIBRARY, Colour
from tests.servers import CHAT, MESSAGES, ScriptedServer, answer

AUTHORITY = trustme.CA()


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "r.openai.azure.com").configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@pytest.fixture
def tls_server() -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=server_context()) as found:
        yield found


class Proxy:
    """An HTTP proxy that tunnels every CONNECT, whatever host it names, to one server."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self.connects: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads[0].start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._socket.accept()[0]
                self._threads.append(threading.Thread(target=self._tunnel, args=(client,), daemon=True))
                self._threads[-1].start()

    def _tunnel(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server.port)) as upstream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.connects.append(head.split(b" ")[1].decode())
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self._copy, args=(upstream, client), daemon=True)
            back.start()
            self._copy(client, upstream)
            back.join(10)

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(tls_server: ScriptedServer) -> Iterator[Proxy]:
    found = Proxy(tls_server)
    yield found
    found.close()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's certificates are those of the test's authority."""
    file = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


def chat(colour: Colour, client: Any) -> Any:
    return colour.call(client.chat.completions.create, model="gpt-4o", messages=MESSAGES)


def test_https_proxy_is_used_for_azure(
    colour: Colour,
    proxy: Proxy,
    tls_server: ScriptedServer,
    trusted: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Passing `transport=` to a client of the library makes it ignore the variable; a client wrapped at its transport
    alone sends past the wrapper to api.openai.com."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    settings: dict[str, Any] = {"azure_endpoint": "https://r.openai.azure.com", "api_key": "k"}
    for client in (
        colour.client(**settings, max_retries=0),
        colour.plain(api_key="sk-plain", http_client=colour.http_client(**settings), max_retries=0),
    ):
        assert chat(colour, client).choices[0].message.content == "hello"
        colour.close(client)
    assert set(proxy.connects) == {"r.openai.azure.com:443"}
    assert [seen.header("host") for seen in tls_server.requests] == ["r.openai.azure.com"] * 2


def test_no_proxy_is_honoured_by_the_targets_host(
    colour: Colour,
    proxy: Proxy,
    tls_server: ScriptedServer,
    trusted: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The plain client spells api.openai.com, which the proxy is for; the target is what NO_PROXY names."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    http_client = colour.http_client(azure_endpoint=tls_server.url, api_key="k")
    client = colour.plain(api_key="unused", http_client=http_client, max_retries=0)
    chat(colour, client)
    assert proxy.connects == []
    assert len(tls_server.requests) == 1
    colour.close(client)


def test_a_proxy_argument_is_used(colour: Colour, proxy: Proxy, library: Any) -> None:
    http_client = colour.http_client(
        azure_endpoint="r.openai.azure.com",
        api_key="k",
        proxy=proxy.url,
        verify=client_context(),
        library=library.__name__,
    )
    client = colour.plain(api_key="unused", http_client=http_client, max_retries=0)
    chat(colour, client)
    assert proxy.connects == ["r.openai.azure.com:443"]
    colour.close(client)


def test_a_callers_mounts_and_proxies_are_chosen_by_the_targets_host(colour: Colour, library: Any) -> None:
    used: list[str] = []

    def mounted(name: str) -> Any:
        def handler(request: Any) -> Any:
            used.append(f"{name} {request.url.host}")
            return library.Response(200, json=CHAT)

        return colour.mock_transport(library, handler)

    given = colour.library_client(
        library,
        mounts={"all://r.openai.azure.com": mounted("azure"), "all://api.openai.com": mounted("openai")},
        transport=mounted("other"),
    )
    http_client = colour.http_client(azure_endpoint="r.openai.azure.com", api_key="k", http_client=given)
    chat(colour, colour.plain(api_key="unused", http_client=http_client))
    chat(colour, colour.client(azure_endpoint="r.openai.azure.com", api_key="k", http_client=given))
    assert used == ["azure r.openai.azure.com"] * 2


@pytest.mark.parametrize("how", ["SSL_CERT_FILE", "verify"])
def test_a_private_authority_is_trusted_when_it_is_named(
    how: str,
    colour: Colour,
    library: Any,
    tls_server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {"library": library.__name__}
    if how == "verify":
        options["verify"] = client_context()
    else:
        AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    http_client = colour.http_client(azure_endpoint=tls_server.url, api_key="k", **options)
    client = colour.plain(api_key="unused", http_client=http_client, max_retries=0)
    assert chat(colour, client).choices[0].message.content == "hello"
    colour.close(client)


def test_an_unknown_authority_is_refused(colour: Colour, tls_server: ScriptedServer) -> None:
    client = colour.client(azure_endpoint=tls_server.url, api_key="k", max_retries=0)
    with pytest.raises(openai.APIConnectionError):
        chat(colour, client)
    assert tls_server.requests == []
    colour.close(client)


def test_clients_of_like_settings_share_connections(colour: Colour, server: ScriptedServer) -> None:
    gc.collect()  # what other tests have dropped holds shares of the same connections
    clients = [colour.client(azure_endpoint=server.url, api_key=key) for key in ("a", "b", "c")]
    for client in clients:
        chat(colour, client)
    assert server.connections == 1
    colour.close(clients[0])
    chat(colour, clients[1])
    assert server.connections == 1, "closing one client closed the connections of another"
    for client in clients[1:]:
        colour.close(client)
    late = colour.client(azure_endpoint=server.url, api_key="d")
    chat(colour, late)
    assert server.connections == 2
    colour.close(late)


def test_a_thousand_clients_make_one_tls_context_and_leave_nothing_open(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = azure_shim.OpenAI(azure_endpoint=server.url, api_key="k")
    made = []
    original = ssl.SSLContext.__new__

    def counted(cls: Any, *args: Any, **kwargs: Any) -> Any:
        made.append(cls)
        return original(cls, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "__new__", counted)
    first.models.list()
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        azure_shim.OpenAI(azure_endpoint=server.url, api_key="k")
    gc.collect()
    assert made == []
    assert len(os.listdir("/proc/self/fd")) <= files
    first.models.list()
    assert server.connections == 1
    first.close()


def test_a_client_that_is_dropped_closes_its_connections(server: ScriptedServer) -> None:
    client = azure_shim.OpenAI(azure_endpoint=server.url, api_key="k")
    client.models.list()
    files = len(os.listdir("/proc/self/fd"))
    del client
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < files


def test_a_stream_outlives_a_client_that_is_dropped_meanwhile(server: ScriptedServer) -> None:
    from tests.servers import LAST_CHUNK, chunk, chunked, event

    server.script = lambda seen: [
        chunked() + event("a"),
        event("b") + chunk(b"data: [DONE]\n\n") + LAST_CHUNK,
    ]
    stream = azure_shim.OpenAI(azure_endpoint=server.url, api_key="k").chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True
    )
    other = azure_shim.OpenAI(azure_endpoint=server.url, api_key="k")
    del other
    gc.collect()
    assert [c.choices[0].delta.content for c in stream] == ["a", "b"]


LOOPS = """
import asyncio, gc, sys, threading, weakref
import azure_shim
client = azure_shim.AsyncOpenAI(azure_endpoint=sys.argv[1], api_key="k", max_retries=0)
loops = []

async def call():
    loops.append(weakref.ref(asyncio.get_running_loop()))
    for _ in range(3):
        await client.models.list()

if sys.argv[2] == "successive":
    for _ in range(3):
        asyncio.run(call())
    gc.collect()
    assert [loop() for loop in loops[:2]] == [None, None], "an ended loop is kept alive"
else:
    failed = []
    async def trio_call():
        for _ in range(3):
            await client.models.list()
    def run():
        try:
            if sys.argv[2] == "trio":
                import trio
                trio.run(trio_call)
            else:
                asyncio.run(call())
        except BaseException as error:
            failed.append(error)
    threads = [threading.Thread(target=run, daemon=True) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(30)
    assert not failed, failed
    assert not any(thread.is_alive() for thread in threads), "a run hangs"
"""


@pytest.mark.parametrize("how", ["successive", "at once", "trio"])
def test_one_async_client_serves_several_event_loops(how: str, server: ScriptedServer) -> None:
    """openai's own raises `Event loop is closed` in the second one, whose connection belongs to the first."""
    server.script = lambda seen: [answer({"object": "list", "data": []})]
    subprocess.run([sys.executable, "-c", LOOPS, server.url, how], check=True, timeout=60)
    assert len(server.requests) == (9 if how == "successive" else 6)


def test_limits_and_keepalive_are_the_sdks_but_for_the_idle_time() -> None:
    client = azure_shim.OpenAI(azure_endpoint="r.openai.azure.com", api_key="k")
    transport = client._client._transport._engine.selects[0](
        client._client._transport._engine.url("https://r.openai.azure.com")
    )
    pool = transport._pool
    assert (pool._max_connections, pool._max_keepalive_connections) == (1000, 100)
    assert pool._keepalive_expiry == (60.0 if OWN_LIBRARY == "httpx2" else 10.0)
    client.close()


def test_a_deep_copy_shares_the_connections(server: ScriptedServer) -> None:
    http_client = azure_shim.http_client(azure_endpoint=server.url, api_key="k")
    assert copy.deepcopy({"client": http_client})["client"] is http_client
    http_client.close()


FORKED = """
import os, sys
import azure_shim
client = azure_shim.OpenAI(azure_endpoint=sys.argv[1], api_key="k", max_retries=0)
client.models.list()
child = os.fork()
if not child:
    client.models.list()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
client.models.list()
"""


def test_a_forked_child_opens_connections_of_its_own(server: ScriptedServer) -> None:
    server.script = lambda seen: [answer({"object": "list", "data": []})]
    subprocess.run([sys.executable, "-c", FORKED, server.url], check=True, timeout=60)
    assert len(server.requests) == 3
    assert server.connections == 2


def test_trio_works() -> None:
    trio = importlib.import_module("trio")
    library = importlib.import_module(OWN_LIBRARY)

    async def main(url: str) -> list[str]:
        async def token() -> str:
            return "token"

        found = []
        for provider in (token, lambda: "token"):
            async with azure_shim.AsyncOpenAI(
                azure_endpoint=url, azure_ad_token_provider=provider, max_retries=0
            ) as client:
                answered = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
                found.append(str(answered.choices[0].message.content))
        return found

    assert library is not None
    with ScriptedServer() as server:
        assert trio.run(main, server.url) == ["hello", "hello"]
        assert [seen.header("authorization") for seen in server.requests] == ["Bearer token"] * 2


DROPPED = """
import gc, sys
import azure_shim
gc.set_threshold(int(sys.argv[1]))
for n in range(3000):
    options = {"trust_env": bool(n % 2), "verify": bool(n % 3)}
    client = azure_shim.http_client(azure_endpoint="r.openai.azure.com", api_key="k", **options)
    client.cycle = client  # only the collector ends it, wherever that may run
print("done")
"""


@pytest.mark.parametrize("threshold", ["3", "40", "700"])
def test_clients_that_are_collected_anywhere_block_nobody(threshold: str) -> None:
    """A finalizer may run inside the very section that it would have to wait for."""
    subprocess.run([sys.executable, "-c", DROPPED, threshold], check=True, timeout=100, stdout=subprocess.DEVNULL)


def test_plain_http_on_loopback_passes_no_proxy(
    colour: Colour, proxy: Proxy, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credential would else go to the proxy in clear."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    client = colour.client(azure_endpoint=server.url, api_key="k", max_retries=0)
    chat(colour, client)
    assert len(server.requests) == 1
    assert proxy.connects == []


FIRST = """
import asyncio, sys
import azure_shim
client = (azure_shim.AsyncOpenAI if sys.argv[2] == "async" else azure_shim.OpenAI)(
    azure_endpoint=sys.argv[1], api_key="k", max_retries=0
)
from azure_shim.transport import pool
assert not pool._contexts, "the machine's certificates were read for a client that may call nobody"

async def main():
    await asyncio.gather(*(client.models.list() for _ in range(20)))

if sys.argv[2] == "async":
    asyncio.run(main())
else:
    client.models.list()
assert len(pool._contexts) == 1
"""


@pytest.mark.parametrize("how", ["sync", "async"])
def test_certificates_are_read_for_the_first_request_and_not_for_a_client(how: str, server: ScriptedServer) -> None:
    """They take 10 to 50 ms; a client is made in one."""
    server.script = lambda seen: [answer({"object": "list", "data": []})]
    subprocess.run([sys.executable, "-c", FIRST, server.url, how], check=True, timeout=60)
    assert len(server.requests) == (20 if how == "async" else 1)
