"""Each row of the table of verdicts, and how bodies and exceptions are read for it (P35, B24, B27, B28)."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from itertools import pairwise
from random import Random
from types import ModuleType

import httpx
import httpx2
import pytest

from azure_shim.wire.verdict import FAILURES, ROWS, Seen, Verdict, failure_of, judge, read_error

FILTER = "ResponsibleAIPolicyViolation"
UPSTREAM = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"


def failed(failure: str, code: str | None = None, status: int | None = None) -> Seen:
    return Seen(status, code, failure=failure)


# What was seen; the name; then action, what cools, whether it may have run, and whether it is a fault.
TABLE: list[tuple[Seen, str, str, str | None, bool, bool]] = [
    (Seen(200), "served", "serve", None, True, False),
    (Seen(101), "served", "serve", None, True, False),
    (Seen(204), "served", "serve", None, True, False),
    (Seen(307), "served", "serve", None, True, False),
    (Seen(400, "content_filter"), "content filter", "give up", None, True, False),
    (Seen(400, FILTER), "content filter", "give up", None, True, False),
    (Seen(400), "bad request", "give up", None, False, False),
    (Seen(400, "OperationNotSupported"), "bad request", "give up", None, False, False),
    (Seen(400, "DeploymentNotFound"), "bad request", "give up", None, False, False),
    (Seen(401, "PermissionDenied"), "no permission", "next", "credential", False, False),
    (Seen(401, "401"), "credential refused", "next", "credential", False, False),
    (Seen(401, from_gateway=True), "credential refused", "next", "credential", False, False),
    (Seen(403, "AuthenticationTypeDisabled"), "forbidden", "next", "credential", False, False),
    (Seen(403), "forbidden", "next", "credential", False, False),
    (Seen(404, from_gateway=True), "not found at the gateway", "give up", None, False, False),
    (Seen(404, "DeploymentNotFound", from_gateway=True), "not found at the gateway", "give up", None, False, False),
    (Seen(404, "DeploymentNotFound"), "deployment not found", "next", None, False, False),
    (Seen(404, "404"), "not found", "give up", None, False, False),
    (Seen(404), "not found", "give up", None, False, False),
    (Seen(408, "Timeout"), "operation timed out", "next", None, True, True),
    (Seen(409), "conflict", "give up", None, False, False),
    (Seen(410), "gone", "give up", None, False, False),
    (Seen(413), "too large", "give up", None, False, False),
    (Seen(415), "unsupported media type", "give up", None, False, False),
    (Seen(422), "unprocessable", "give up", None, False, False),
    (Seen(424), "failed dependency", "give up", None, True, False),
    (Seen(429), "rate limited", "next", "deployment", False, False),
    (Seen(429, "content_filter"), "rate limited", "next", "deployment", False, False),
    (Seen(499), "client closed request", "give up", None, False, False),
    (Seen(402), "refused", "give up", None, False, False),
    (Seen(451), "refused", "give up", None, False, False),
    (Seen(500), "server error", "next", None, True, True),
    (Seen(502), "bad gateway", "next", None, True, True),
    (Seen(503, message=UPSTREAM), "upstream lost", "next", "deployment", True, True),
    (Seen(503, "ServiceUnavailable", "Please try again later."), "unavailable", "next", "deployment", False, True),
    (Seen(503), "unavailable", "next", "deployment", False, True),
    (Seen(504), "gateway timeout", "next", None, True, True),
    (Seen(529), "other server error", "next", None, True, True),
    (failed("connect"), "connect failed", "next", "resource", False, True),
    (failed("dns"), "name not resolved", "next", "resource", False, True),
    (failed("tls"), "tls failed", "next", "resource", False, True),
    (failed("connect_timeout"), "connect timed out", "next", "resource", False, True),
    (failed("pool_timeout"), "pool timed out", "next", None, False, False),
    (failed("write"), "write failed", "next", "resource", True, True),
    (failed("reset"), "connection reset", "next", "resource", True, True),
    (failed("read_timeout"), "read timed out", "next", None, True, True),
    (failed("cut", status=200), "answer cut", "next", None, True, True),
    (failed("malformed", status=200), "answer malformed", "next", None, True, True),
    (failed("error_event", "content_filter", 200), "content filter", "give up", None, True, False),
    (failed("error_event", FILTER, 200), "content filter", "give up", None, True, False),
    (failed("error_event", "429", 200), "rate limited", "next", "deployment", False, False),
    (failed("error_event", "rate_limit_exceeded"), "rate limited", "next", "deployment", False, False),
    (failed("error_event", "RateLimitReached"), "rate limited", "next", "deployment", False, False),
    (failed("error_event", "too_many_requests"), "rate limited", "next", "deployment", False, False),
    (failed("error_event", "invalid_prompt"), "refused in the stream", "give up", None, True, False),
    (failed("error_event", "server_error", 200), "error in the stream", "next", None, True, True),
    (failed("error_event", status=200), "error in the stream", "next", None, True, True),
    (failed("local"), "request not writable", "next", None, False, False),
    (failed("unknown"), "unknown", "give up", None, True, False),
    (failed("from the future", status=200), "unknown", "give up", None, True, False),
    (Seen(), "unknown", "give up", None, True, False),
    (Seen(0), "unknown", "give up", None, True, False),
    (Seen(600), "unknown", "give up", None, True, False),
]


@pytest.mark.parametrize(("seen", "name", "action", "cools", "may_have_run", "is_fault"), TABLE)
def test_row(seen: Seen, name: str, action: str, cools: str | None, may_have_run: bool, is_fault: bool) -> None:
    skips = name == "deployment not found"
    assert judge(seen) == (name, action, cools, may_have_run, skips, is_fault)


def test_no_row_is_without_a_test_and_none_is_hidden_by_an_earlier_one() -> None:
    reached = {next(i for i, row in enumerate(ROWS) if row.fits(seen)) for seen, name, *_ in TABLE if name != "unknown"}
    assert reached == set(range(len(ROWS)))


def test_every_failure_and_every_status_has_a_verdict() -> None:
    assert {seen.failure for seen, *_ in TABLE} - {None, "from the future"} == set(FAILURES)
    assert {row.failure for row in ROWS} - {None} == set(FAILURES) - {"unknown"}
    assert all(judge(Seen(status)).name != "unknown" for status in range(100, 600))


@pytest.mark.parametrize("row", ROWS)
def test_what_the_caller_asked_for_cools_nothing(row: object) -> None:
    """And only what is tried elsewhere can cool or be a fault."""
    verdict: Verdict = row.verdict  # type: ignore[attr-defined]
    if verdict.action != "next":
        assert (verdict.cools, verdict.is_fault, verdict.skips) == (None, False, False)
    for row_ in ROWS:
        assert {*row_.codes, row_.says} == {text.lower() for text in (*row_.codes, row_.says)}


FILTER_BODY = {
    "error": {
        "message": "The response was filtered.",
        "code": "content_filter",
        "innererror": {"code": FILTER, "content_filter_result": {}},
    }
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"code": "DeploymentNotFound", "message": "No."}}, ("DeploymentNotFound", "No.", False)),
        ({"error": {"code": 429, "message": "Slow."}}, ("429", "Slow.", False)),
        ({"error": {"code": None, "message": None}}, (None, "", False)),
        ({"error": {"code": ["x"], "message": {"a": 1}}}, (None, "", False)),
        (FILTER_BODY, ("content_filter", "The response was filtered.", False)),
        ({"error": {"code": "400", "message": "", "innererror": {"code": FILTER}}}, ("content_filter", "", False)),
        ({"error": {"code": "400", "message": "", "inner_error": {"code": FILTER}}}, ("content_filter", "", False)),
        ({"error": {"code": "400", "message": "", "innererror": FILTER}}, ("400", "", False)),
        ({"error": {"code": "400", "message": "", "innererror": {"code": "Other"}}}, ("400", "", False)),
        ({"error": "No."}, (None, "No.", False)),
        ({"error": "No.", "statusCode": 404}, (None, "No.", False)),
        ({"statusCode": 404, "message": "Resource not found"}, (None, "Resource not found", True)),
        ({"code": "InternalServerError", "message": "Oh."}, ("InternalServerError", "Oh.", False)),
        ({"detail": "x"}, (None, '{"detail": "x"}', False)),
        ({"error": []}, (None, '{"error": []}', False)),
        ({"error": [1]}, (None, '{"error": [1]}', False)),
        ([], (None, "[]", False)),
        (None, (None, "null", False)),
    ],
)
def test_an_error_is_read(body: object, expected: tuple[str | None, str, bool]) -> None:
    assert read_error(json.dumps(body).encode()) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ""),
        (b"  upstream connect error\n", "upstream connect error"),
        (b"<html>" + b"x" * 1_000_000, "<html>" + "x" * 194),
        ("ü".encode() * 1000, "ü" * 200),
        (b"\xff", "\ufffd"),
        (b"[" * 60_000, "[" * 200),
        (b'{"error":{"code":' + b"9" * 6000 + b"}", '{"error":{"code":' + "9" * 183),
        (b'{"error":{"code":"x","message":"' + b"y" * 100_000 + b'"}}', '{"error":{"code":"x","message":"' + "y" * 168),
    ],
)
def test_what_is_no_error_is_quoted(content: bytes, message: str) -> None:
    assert read_error(content) == (None, message, False)


def test_no_body_breaks_the_reading() -> None:
    random = Random(7)
    whole = json.dumps(FILTER_BODY).encode()
    for _ in range(3000):
        content = bytearray(whole[: random.randrange(len(whole) + 1)])
        for _ in range(random.randrange(4)):
            content[random.randrange(len(content) + 1) :][:1] = bytes((random.randrange(256),))
            content.insert(random.randrange(len(content) + 1), random.randrange(256))
        code, message, from_gateway = read_error(bytes(content))
        assert (type(code), type(message), from_gateway) in ((str, str, False), (type(None), str, False))


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize(
    ("name", "failure", "in_body"),
    [
        ("ConnectError", "connect", "connect"),
        ("ConnectTimeout", "connect_timeout", "connect_timeout"),
        ("PoolTimeout", "pool_timeout", "pool_timeout"),
        ("WriteError", "write", "write"),
        ("WriteTimeout", "write", "write"),
        ("ReadTimeout", "read_timeout", "read_timeout"),
        ("ReadError", "reset", "cut"),
        ("CloseError", "reset", "cut"),
        ("RemoteProtocolError", "reset", "cut"),
        ("LocalProtocolError", "local", "local"),
        ("ProxyError", "connect", "connect"),
        ("UnsupportedProtocol", "connect", "connect"),
        ("DecodingError", "malformed", "malformed"),
        ("TooManyRedirects", "unknown", "unknown"),
    ],
)
def test_an_exception_of_either_library(library: ModuleType, name: str, failure: str, in_body: str) -> None:
    error = getattr(library, name)("x")
    assert (failure_of(error), failure_of(error, in_body=True)) == (failure, in_body)
    assert failure_of(type("Own", (type(error),), {})("x")) == failure


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ConnectionRefusedError(), "connect"),
        (ConnectionResetError(), "reset"),
        (BrokenPipeError(), "reset"),
        (TimeoutError(), "read_timeout"),
        (socket.gaierror(-2, "x"), "dns"),
        (ssl.SSLCertVerificationError("x"), "tls"),
        (RuntimeError("x"), "unknown"),
        (KeyboardInterrupt(), "unknown"),
    ],
)
def test_an_exception_of_the_standard_library(error: BaseException, failure: str) -> None:
    assert failure_of(error) == failure


def chained(*errors: BaseException, link: str = "__cause__") -> BaseException:
    for error, cause in pairwise(errors):
        setattr(error, link, cause)
    return errors[0]


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_why_there_is_no_connection(link: str) -> None:
    inner = type("ConnectError", (Exception,), {})("as of httpcore")
    assert failure_of(chained(httpx.ConnectError("x"), inner, socket.gaierror(-2, "x"), link=link)) == "dns"
    assert failure_of(chained(httpx.ConnectError("x"), inner, ssl.SSLError("x"), link=link)) == "tls"
    assert failure_of(chained(httpx.ConnectError("x"), inner, ConnectionRefusedError(), link=link)) == "connect"


def test_what_failed_before_is_not_why_this_failed() -> None:
    refused = chained(httpx.ConnectError("x"), ConnectionRefusedError(), ssl.SSLError("of the target before"))
    assert failure_of(refused) == "connect"


def test_a_ring_of_causes_ends() -> None:
    first, second = httpx.ConnectError("x"), httpx.ConnectError("y")
    first.__cause__, second.__cause__ = second, first
    assert failure_of(first) == "connect"


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_real_errors_are_named(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the libraries really raise for a closed port, a peer that speaks no TLS, and a name of nobody."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert failure_of(raised(library, f"http://{address}")) == "connect"
        taken.listen()
        server = threading.Thread(target=_talk_nonsense, args=(taken,))
        server.start()
        assert failure_of(raised(library, f"https://{address}")) == "tls"
        server.join()

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert failure_of(raised(library, "http://nobody.invalid")) == "dns"


def raised(library: ModuleType, url: str) -> BaseException:
    with library.Client(trust_env=False) as client, pytest.raises(library.ConnectError) as info:
        client.get(url)
    return info.value


def _talk_nonsense(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"SSH-2.0-nonsense\r\n")
