"""A port of a `TokenService`: a thread for each connection, HTTP/1.1 with or without TLS (RFC 9112)."""

from __future__ import annotations

import contextlib
import http
import http.client
import io
import select
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable

from azure_shim.testing.response import FakeResponse
from azure_shim.testing.token_requests import Incoming

__all__ = ["Gone", "TokenServer"]

_HOST = "127.0.0.1"
_BACKLOG = 512
_LINE_BYTES = 64 * 1024
_JOIN_S = 2.0
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}

Gone = Callable[[], bool]
"""Tells whether the client that waits for an answer has gone."""
Answer = Callable[[Incoming, Gone], FakeResponse | None]
"""Answers a request; None resets its connection."""


class TokenServer:
    """Listens from the moment it is made until `close`."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._is_closing = False
        self._listener = socket.create_server((_HOST, 0), backlog=_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="TokenService", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Refuse new connections and break those that are open; waits for none of their clients."""
        with self._lock:
            self._is_closing = True
        # Closing a socket does not wake the thread that waits for it; a connection does, on every platform.
        with contextlib.suppress(OSError):
            socket.create_connection((_HOST, self.port), timeout=1.0).close()
        self._thread.join(_JOIN_S)
        self._listener.close()
        with self._lock:
            threads = list(self._connections.values())
            for connection in self._connections:
                # Not through SSLSocket.shutdown: it takes the TLS state away from the thread that is using it.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        deadline = time.monotonic() + _JOIN_S
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                try:
                    connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                except (OSError, ValueError):  # gone before it was accepted
                    connection.close()
                    continue
            thread = threading.Thread(target=self._serve, args=(connection,), name="TokenService", daemon=True)
            with self._lock:
                if self._is_closing:
                    connection.close()
                    return
                self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            with connection.makefile("rb") as reader:
                while self._respond(connection, reader):
                    pass
        except (OSError, ValueError, http.client.HTTPException):
            pass  # The client or `close` broke the connection off, or what came is no HTTP.
        finally:
            with self._lock:
                del self._connections[connection]
            connection.close()

    def _respond(self, connection: socket.socket, reader: io.BufferedReader) -> bool:
        """Answer one request; False if the connection ends with it."""
        incoming = _read(reader)
        if incoming is None:
            return False
        try:
            response = self._answer(incoming, lambda: _has_gone(connection))
        except Exception as error:  # noqa: BLE001  a bug here, or in a test's own `wait`, must not look like Azure
            traceback.print_exc(file=sys.stderr)
            response = FakeResponse(500, {"content-type": "text/plain"}, f"TokenService failed: {error}".encode())
        if response is None:
            # Without lingering, closing sends RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        assert isinstance(response.body, bytes), "a token is no stream"
        headers = [*response.pairs, ("content-length", str(len(response.body)))]
        lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + response.body)
        return incoming.headers.get("connection", "").lower() != "close"


def _read(reader: io.BufferedReader) -> Incoming | None:
    line = reader.readline(_LINE_BYTES)
    if not line:
        return None
    method, target, _version = line.decode("latin-1").split()
    message = http.client.parse_headers(reader)
    headers = {name.lower(): value for name, value in message.items()}
    size_bytes = int(headers.get("content-length", "0"))
    body = reader.read(size_bytes)
    return Incoming(method, target, headers, body) if len(body) == size_bytes else None


def _has_gone(connection: socket.socket) -> bool:
    """Whether the client closed the connection: a client that waits for an answer sends nothing else."""
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable or isinstance(connection, ssl.SSLSocket):
        return bool(readable)
    return connection.recv(1, socket.MSG_PEEK) == b""
