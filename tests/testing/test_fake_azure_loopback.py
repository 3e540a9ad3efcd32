"""On loopback: origins, TLS, connections, bodies of every size and framing, and an end that waits for nobody."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import trustme

from azure_shim.testing import FakeAzure, FakeResponse, Resource

CHAT = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
BODY = {"messages": [{"role": "user", "content": "hi there"}]}
MIB = 1024 * 1024


def post(client: Any, resource: Resource, **arguments: Any) -> Any:
    headers = {"api-key": resource.api_key, **arguments.pop("headers", {})}
    return client.post(resource.endpoint + CHAT, headers=headers, **({"json": BODY} | arguments))


@pytest.fixture
def client(openais_library: Any, trust: ssl.SSLContext) -> Iterator[Any]:
    with openais_library.Client(verify=trust) as client:
        yield client


class Raw:
    """A connection on which a test writes what it likes."""

    def __init__(self, resource: Resource) -> None:
        host, port = resource.endpoint.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.reader = self.socket.makefile("rb")

    def ask(self, head: str, body: bytes = b"") -> tuple[int, bytes]:
        """The status and the body that answer these lines."""
        self.socket.sendall(head.replace("\n", "\r\n").encode() + body)
        return self.answer()

    def answer(self) -> tuple[int, bytes]:
        status = int(self.reader.readline().split()[1])
        length = 0
        while line := self.reader.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, self.reader.read(length)

    def is_closed(self) -> bool:
        try:
            return self.reader.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


@pytest.fixture
def raw(east: Resource) -> Iterator[Raw]:
    raw = Raw(east)
    yield raw
    raw.close()


def test_each_resource_is_an_origin_of_its_own(azure: FakeAzure, east: Resource, west: Resource, client: Any) -> None:
    assert east.endpoint != west.endpoint
    assert east.endpoint.startswith("http://127.0.0.1:")
    assert east.v1_url == east.endpoint + "/openai/v1"
    assert post(client, east).status_code == 200
    assert post(client, west).status_code == 404
    assert [r.resource for r in azure.requests] == ["eastus", "westus"]
    assert len(east.requests) == len(west.requests) == 1


def test_an_endpoint_needs_a_start() -> None:
    with pytest.raises(RuntimeError, match="does not listen"):
        _ = FakeAzure(["eastus"])["eastus"].endpoint


def test_what_is_recorded(azure: FakeAzure, east: Resource, client: Any) -> None:
    response = client.post(
        f"{east.endpoint}/openai/v1/chat/completions?api-version=preview&a=1&a=%20b",
        content=json.dumps({**BODY, "model": "gpt-4o"}).encode(),
        headers=[("API-Key", east.api_key), ("X-Twice", "1"), ("x-twice", "2"), ("content-type", "application/json")],
    )
    assert response.status_code == 200
    request = azure.requests[-1]
    assert (request.method, request.path) == ("POST", "/openai/v1/chat/completions")
    assert request.raw_query == "api-version=preview&a=1&a=%20b"
    assert request.query == {"api-version": "preview", "a": " b"}
    assert request.headers["API-KEY"] == east.api_key
    assert request.headers.get("nothing") is None
    assert request.headers["X-Twice"] == "1, 2"
    assert request.headers.all("x-TWICE") == ["1", "2"]
    assert request.headers.raw[0][0].lower() == "host"
    assert "api-key" in request.headers
    assert request.json()["model"] == "gpt-4o" == request.deployment
    assert (request.resource, request.is_complete, request.refused, request.leaks) == ("eastus", True, None, [])
    assert request.sha256 == hashlib.sha256(request.body).hexdigest()
    assert request.size_bytes == len(request.body)
    assert request.connection.client is not None
    assert request.connection.client[0] == "127.0.0.1"
    assert request.done.wait(10)
    assert request.delivered is True
    azure.forget()
    assert azure.requests == [] == east.requests


def test_a_connection_is_kept(azure: FakeAzure, east: Resource, client: Any) -> None:
    for _ in range(3):
        assert post(client, east).status_code == 200
    assert len({request.connection.number for request in azure.requests}) == 1
    post(client, east, headers={"connection": "close"})
    post(client, east)
    assert len({request.connection.number for request in azure.requests}) == 2


def test_requests_of_many_threads_are_all_recorded(azure: FakeAzure, east: Resource, client: Any) -> None:
    threads = [threading.Thread(target=lambda: [post(client, east) for _ in range(5)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(azure.requests) == 40
    assert azure.refused == []


@pytest.mark.parametrize("size_bytes", [0, 1, 65_536, MIB, MIB + 1, 5 * MIB])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_bodies_of_every_size_and_framing(east: Resource, client: Any, size_bytes: int, is_chunked: bool) -> None:
    data = bytes(range(256)) * (size_bytes // 256) + bytes(size_bytes % 256)
    parts = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
    post(client, east, json=None, content=iter(parts) if is_chunked else data)
    request = east.requests[-1]
    assert ("transfer-encoding" in request.headers) == is_chunked
    assert (request.size_bytes, request.sha256) == (size_bytes, hashlib.sha256(data).hexdigest())
    assert request.body == data[:MIB], "of a longer body the first MiB is recorded"


def test_a_large_upload_is_kept_off_memory_and_comes_back(east: Resource) -> None:
    import tracemalloc

    data = b"0123456789abcdef" * (2 * MIB)
    base, name = east.v1_url, "big.bin"
    sent = openai.OpenAI(base_url=base, api_key=east.api_key, max_retries=0)
    file = sent.files.create(file=(name, data), purpose="assistants")
    assert file.bytes == len(data)
    assert east.requests[-1].size_bytes > len(data)
    assert len(east.requests[-1].body) == MIB
    content = east.store.content(file.id)
    assert content is not None
    tracemalloc.start()
    try:
        digest = hashlib.sha256()
        for chunk in content.chunks():
            digest.update(chunk)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    assert digest.digest() == hashlib.sha256(data).digest()
    assert sent.files.content(file.id).read() == data
    sent.close()


def test_a_large_json_body_is_read(east: Resource, client: Any) -> None:
    body = {"messages": [{"role": "user", "content": "x" * (2 * MIB)}]}
    assert post(client, east, json=body).status_code == 200


def test_the_limit_of_what_is_recorded_is_the_tests_own(client: Any) -> None:
    with FakeAzure(["eastus"], body_limit_bytes=10) as azure:
        assert post(client, azure["eastus"]).status_code == 200
        assert len(azure.requests[-1].body) == 10
        assert azure.requests[-1].size_bytes > 10
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            azure.requests[-1].json()


def head(resource: Resource, *lines: str) -> str:
    return "\n".join([f"POST {CHAT} HTTP/1.1", "Host: x", f"api-key: {resource.api_key}", *lines, "", ""])


def test_a_client_that_waits_to_be_told_to_go_on(raw: Raw, east: Resource) -> None:
    body = json.dumps(BODY).encode()
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Expect: 100-continue")
    assert raw.ask(head(east, *lines))[0] == 100
    raw.socket.sendall(body)
    assert raw.answer()[0] == 200


def test_chunks_with_extensions_and_trailers(raw: Raw, east: Resource) -> None:
    body = json.dumps(BODY).encode()
    sent = b"%x;a=b\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(body), body)
    lines = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    assert raw.ask(head(east, *lines), sent)[0] == 200
    assert raw.ask(head(east, *lines), sent)[0] == 200, "the next request begins where it should"


@pytest.mark.parametrize(
    "text",
    [
        "NONSENSE\n\n",
        "GET / HTTP/1.0\n\n",
        "GET http://x/ HTTP/1.1\n\n",
        "GET / HTTP/1.1\nno colon\n\n",
        "GET / HTTP/1.1\nname : value\n\n",
        "POST / HTTP/1.1\nContent-Length: -1\n\n",
        "POST / HTTP/1.1\nContent-Length: 1\nTransfer-Encoding: chunked\n\n",
        "POST / HTTP/1.1\nTransfer-Encoding: gzip\n\n",
        "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\nzz\n",
        "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n1\nabc\n",
        f"GET /{'x' * 70_000} HTTP/1.1\n\n",
        "GET / HTTP/1.1\n" + "a: b\n" * 300 + "\n",
    ],
)
def test_what_is_no_request_ends_the_connection(raw: Raw, text: str) -> None:
    assert raw.ask(text)[0] == 400
    assert raw.is_closed()


def test_a_body_that_breaks_off_is_recorded_as_such(raw: Raw, azure: FakeAzure, east: Resource) -> None:
    raw.socket.sendall((head(east, "Content-Length: 100").replace("\n", "\r\n") + "{").encode())
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.is_closed()
    (request,) = azure.requests
    assert (request.is_complete, request.body, request.delivered) == (False, b"{", False)


def test_a_head_that_breaks_off_is_nothing(raw: Raw, azure: FakeAzure) -> None:
    raw.socket.sendall(b"GET / HTTP/1.1\r\nHost")
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.is_closed()
    assert azure.requests == []


def test_an_answer_to_head_has_no_body(raw: Raw, east: Resource) -> None:
    east.answer_next(lambda request: FakeResponse(200, {"x": "y"}, b"body"))
    raw.socket.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert raw.reader.readline() == b"HTTP/1.1 200 OK\r\n"
    while raw.reader.readline().strip():
        pass
    east.answer_next(lambda request: FakeResponse(200, None, b"next"))
    assert raw.ask("GET / HTTP/1.1\nHost: x\n\n") == (200, b"next")


def test_a_failing_answer_is_told_from_azures(client: Any, east: Resource, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(request: Any) -> FakeResponse:
        raise LookupError("a bug in a test")

    east.answer_next(fail)
    response = post(client, east)
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"
    error = response.json()["error"]
    assert error == {"code": "FakeAzureFailed", "message": "LookupError: a bug in a test"}
    assert "a bug in a test" in capsys.readouterr().err

    def break_off() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("another bug")

    east.answer_next(lambda request: FakeResponse(200, None, break_off()))
    with pytest.raises(Exception, match=r"(?i)peer closed|incomplete|disconnected"):
        post(client, east)


def within_seconds(action: Callable[[], None]) -> None:
    begun = time.monotonic()
    action()
    assert time.monotonic() - begun < 5


def test_close_does_not_wait_for_idle_connections(client: Any, openais_library: Any) -> None:
    azure = FakeAzure(["eastus"])
    azure.start()
    east = azure["eastus"]
    assert post(client, east).status_code == 200
    silent = Raw(east)
    within_seconds(azure.close)
    assert silent.is_closed()
    silent.close()
    with pytest.raises(openais_library.ConnectError):
        post(client, east)
    azure.close()


def test_close_does_not_wait_for_a_client_that_stopped_reading() -> None:
    azure = FakeAzure(["eastus"])
    azure.start()
    east = azure["eastus"]
    fault = east.answer_next(lambda request: FakeResponse(200, None, iter([b"x" * MIB] * 64)))
    raw = Raw(east)
    raw.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert fault.reached.wait(10)
    within_seconds(azure.close)
    assert azure.requests[-1].done.wait(10)
    assert azure.requests[-1].delivered is False
    raw.close()


def test_close_breaks_a_stall() -> None:
    azure = FakeAzure(["eastus"])
    azure.start()
    east = azure["eastus"]
    fault = east.fail_next("stall")
    raw = Raw(east)
    raw.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert fault.reached.wait(10)
    within_seconds(azure.close)
    assert raw.is_closed()
    raw.close()


def test_a_resource_may_go_and_come_back(azure: FakeAzure, east: Resource, client: Any, openais_library: Any) -> None:
    endpoint = east.endpoint
    east.stop()
    with pytest.raises(openais_library.ConnectError):
        post(client, east)
    east.start()
    east.start()
    assert east.endpoint == endpoint
    assert post(client, east).status_code == 200
    assert len(azure.requests) == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls(tls: ssl.SSLContext, trusting: ssl.SSLContext, library: Any, trust: ssl.SSLContext) -> None:
    with FakeAzure(["eastus"], tls=tls) as azure:
        east = azure["eastus"]
        assert east.endpoint.startswith("https://127.0.0.1:")
        with library.Client(verify=trusting) as client:
            assert post(client, east).status_code == 200
            assert azure.requests[-1].connection.tls is True
            streamed = post(client, east, json={**BODY, "stream": True})
            assert streamed.text.endswith("data: [DONE]\n\n")
            fault = east.fail_next("stall")
            with pytest.raises(library.ReadTimeout):
                post(client, east, timeout=0.05)
            assert fault.reached.is_set()
            assert azure.requests[-1].done.wait(10)
            east.fail_next("reset_mid_body")
            with pytest.raises((library.ReadError, library.RemoteProtocolError)):
                post(client, east)
        with library.Client(verify=trust) as client, pytest.raises(library.ConnectError):
            post(client, east)


def test_close_does_not_wait_for_a_handshake(tls: ssl.SSLContext) -> None:
    azure = FakeAzure(["eastus"], tls=tls)
    azure.start()
    port = int(azure["eastus"].endpoint.rpartition(":")[2])
    silent = socket.create_connection(("127.0.0.1", port), timeout=10)
    within_seconds(azure.close)
    silent.close()


def test_azure_openai_over_tls(tls: ssl.SSLContext, trusting: ssl.SSLContext, openais_library: Any) -> None:
    with FakeAzure({"eastus": {"chat": "gpt-4o"}}, tls=tls) as azure:
        with openai.AzureOpenAI(
            azure_endpoint=azure["eastus"].endpoint,
            azure_ad_token=azure.token,
            api_version="2024-10-21",
            http_client=openais_library.Client(verify=trusting),
        ) as client:
            answer = client.chat.completions.create(model="chat", **BODY)
        assert answer.choices[0].message.content == "Hello from eastus/chat: hi there"
        assert azure.leaks == []
        assert azure.refused == []
