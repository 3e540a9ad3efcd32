"""One loopback connection: HTTP/1.1 requests read, answered and, where a fault says so, broken off (RFC 9112)."""

from __future__ import annotations

import http
import io
import select
import socket
import ssl
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from azure_shim.testing import errors
from azure_shim.testing.faults import Fault
from azure_shim.testing.recorded import Connection, Headers, Recorded
from azure_shim.testing.response import FakeResponse

if TYPE_CHECKING:
    from azure_shim.testing.bodies import Body

__all__ = ["Front", "Gone", "serve"]

_LINE_BYTES = 64 * 1024
_HEADERS = 256
_CHUNK_BYTES = 64 * 1024
_STALL_CHECK_S = 0.02
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


class _MalformedError(Exception):
    """What came is no HTTP/1.1 request."""


class _BrokenOffError(Exception):
    """A fault ends the connection."""


Gone = Callable[[], bool]
"""Tells whether the client that waits for an answer has gone."""


class Front(Protocol):
    """What answers behind a connection. For the last three see `azure_shim.testing.resource.Resource`."""

    name: str
    chunk_delay_s: float
    sleep: Callable[[float], Any] | None

    @property
    def is_stopped(self) -> bool: ...

    def next_connection(self) -> int:
        """The number of a new connection."""
        ...

    def new_body(self) -> Body:
        """Where the body of a request that is coming in goes."""
        ...

    def record(self, request: Recorded) -> None:
        """Take down a request whose client went away before all of it had come."""
        ...

    def answer(self, request: Recorded, has_gone: Gone) -> FakeResponse:
        """Take down a request, and answer it."""
        ...


def serve(front: Front, sock: socket.socket, peer: tuple[str, int]) -> None:
    """Answer the requests of a connection until one side ends it."""
    origin = Connection(front.next_connection(), peer[:2], isinstance(sock, ssl.SSLSocket))
    with sock.makefile("rb") as reader:
        while True:
            try:
                request = _read_request(front, sock, reader, origin)
            except EOFError:
                return
            except _MalformedError as error:
                sock.sendall(_head(400, [("connection", "close"), ("content-length", "0"), ("x-reason", str(error))]))
                return
            if request is None:
                return
            if not _respond(front, sock, request):
                return


def _respond(front: Front, sock: socket.socket, request: Recorded) -> bool:
    """Answer one request; False if the connection ends with it."""
    if not request.is_complete:
        front.record(request)
        request.finish(False)
        return False
    keeps = request.headers.get("connection", "").lower() != "close"
    delivered = False
    try:
        try:
            response = front.answer(request, lambda: _has_gone(sock))
        except Exception as error:  # noqa: BLE001  a bug here, or in a test's own answer, must not look like Azure
            traceback.print_exc(file=sys.stderr)
            response = errors.plain(500, "FakeAzureFailed", f"{type(error).__name__}: {error}").response()
            response.headers = [*response.pairs, ("x-should-retry", "false")]
        _Writer(front, sock, response).write(request.method)
        delivered = True
        return keeps
    except (_BrokenOffError, OSError):
        return False
    except Exception:  # noqa: BLE001  as above, in the middle of a stream
        traceback.print_exc(file=sys.stderr)
        return False
    finally:
        request.finish(delivered)


def _read_request(front: Front, sock: socket.socket, reader: io.BufferedReader, origin: Connection) -> Recorded | None:
    try:
        line = _read_line(reader)
    except EOFError:
        return None
    try:
        method, target, version = line.decode("latin-1").split(" ")
    except ValueError:
        raise _MalformedError("request line") from None
    if version != "HTTP/1.1" or not target.startswith("/"):
        raise _MalformedError("request line")
    headers = _read_headers(reader)
    body = front.new_body()
    if headers.get("expect", "").lower() == "100-continue":
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    request = Recorded(method, target, headers, body, connection=origin)
    try:
        _read_body(reader, headers, body)
    except (EOFError, OSError):
        request.is_complete = False
    return request


def _read_line(reader: io.BufferedReader) -> bytes:
    line = reader.readline(_LINE_BYTES)
    if not line.endswith(b"\n"):
        if len(line) < _LINE_BYTES:
            raise EOFError
        raise _MalformedError("line too long")
    return line.rstrip(b"\r\n")


def _read_headers(reader: io.BufferedReader) -> Headers:
    raw: list[tuple[str, str]] = []
    while line := _read_line(reader):
        name, colon, value = line.partition(b":")
        if not colon or not name or name.strip() != name or len(raw) == _HEADERS:
            raise _MalformedError("header")
        raw.append((name.decode("latin-1"), value.strip().decode("latin-1")))
    return Headers(raw)


def _read_body(reader: io.BufferedReader, headers: Headers, body: Body) -> None:
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if length is not None or coding.lower() != "chunked":
            raise _MalformedError("both Content-Length and Transfer-Encoding, or an unknown one")
        _read_chunks(reader, body)
    elif length is not None:
        if not length.isdecimal():
            raise _MalformedError("Content-Length")
        _copy(reader, body, int(length))


def _read_chunks(reader: io.BufferedReader, body: Body) -> None:
    while True:
        line = _read_line(reader)
        try:
            size_bytes = int(line.partition(b";")[0], 16)
        except ValueError:
            raise _MalformedError("chunk size") from None
        if size_bytes == 0:
            while _read_line(reader):
                pass  # Trailers have no meaning here.
            return
        _copy(reader, body, size_bytes)
        if _read_line(reader):
            raise _MalformedError("chunk")


def _copy(reader: io.BufferedReader, body: Body, size_bytes: int) -> None:
    while size_bytes:
        chunk = reader.read(min(_CHUNK_BYTES, size_bytes))
        if not chunk:
            raise EOFError
        body.write(chunk)
        size_bytes -= len(chunk)


def _head(status: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


class _Writer:
    """Writes one response, with its fault."""

    def __init__(self, front: Front, sock: socket.socket, response: FakeResponse) -> None:
        self._front = front
        self._sock = sock
        self._response = response
        self._fault: Fault | None = response.fault
        self._wire = response.fault.wire if response.fault is not None else ""

    def write(self, method: str) -> None:
        if self._wire == "reset":
            self._reset()
        if self._wire == "stall":
            self._stall()
        headers = self._response.pairs
        names = {name.lower() for name, _ in headers}
        if isinstance(self._response.body, bytes):
            if "content-length" not in names and self._response.status not in (204, 304):
                headers.append(("content-length", str(len(self._response.body))))
            self._write_bytes(_head(self._response.status, headers), b"" if method == "HEAD" else self._response.body)
        else:
            headers.append(("transfer-encoding", "chunked"))
            self._sock.sendall(_head(self._response.status, headers))
            self._write_chunks(self._response.body)

    def _write_bytes(self, head: bytes, body: bytes) -> None:
        if self._wire == "trickle":
            self._sock.sendall(head)
            for at in range(len(body)):
                self._sock.sendall(body[at : at + 1])
                self._pause()
        elif self._wire in ("reset_mid_body", "stall_mid_body"):
            half = len(body) // 2
            self._sock.sendall(head + body[:half])
            self._break_or_stall()
            self._sock.sendall(body[half:])
        else:
            self._sock.sendall(head + body)

    def _write_chunks(self, body: Iterator[bytes]) -> None:
        if self._wire in ("reset_mid_body", "stall_mid_body"):
            chunks = list(body)
            half = len(chunks) // 2
            for chunk in chunks[:half]:
                self._write_chunk(chunk)
            self._break_or_stall()
            body = iter(chunks[half:])
        is_first = True
        for chunk in body:
            if not is_first:
                self._pause()
            is_first = False
            for piece in (chunk[i : i + 1] for i in range(len(chunk))) if self._wire == "trickle" else (chunk,):
                self._write_chunk(piece)
        self._sock.sendall(b"0\r\n\r\n")

    def _write_chunk(self, chunk: bytes) -> None:
        if chunk:
            self._sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def _pause(self) -> None:
        if self._front.chunk_delay_s or self._front.sleep is not None:
            (self._front.sleep or time.sleep)(self._front.chunk_delay_s)

    def _break_or_stall(self) -> None:
        if self._wire == "reset_mid_body":
            self._reset()
        self._stall()

    def _reset(self) -> None:
        # Without lingering, closing sends RST instead of FIN.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _BrokenOffError

    def _stall(self) -> None:
        assert self._fault is not None, "only a fault stalls"
        while not self._fault.released.wait(_STALL_CHECK_S):
            if _has_gone(self._sock):
                raise _BrokenOffError
        if self._front.is_stopped:
            raise _BrokenOffError


def _has_gone(sock: socket.socket) -> bool:
    """Whether the client closed the connection: a client that waits for an answer sends nothing else."""
    readable, _, _ = select.select([sock], [], [], 0)
    if not readable or isinstance(sock, ssl.SSLSocket):
        return bool(readable)
    return sock.recv(1, socket.MSG_PEEK) == b""
