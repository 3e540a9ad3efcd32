"""A loopback server that says byte for byte what a test tells it to, and keeps what it was sent."""

from __future__ import annotations

import atexit
import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from azure_shim.testing.server import hold

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
}
MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]


@dataclass
class Seen:
    """One request as it came over the socket."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    size: int = 0

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} was sent {len(found)} times"
        return found[0] if found else None

    def json(self) -> Any:
        return json.loads(self.body)


Script = Callable[[Seen], Iterable[bytes]]


def answer(
    body: bytes | dict[str, Any] = CHAT,
    status: int = 200,
    headers: dict[str, str] | None = None,  # type: ignore[assignment]
) -> bytes:
    """A whole response with a Content-Length."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + content


def chunked(content_type: str = "text/event-stream", status: int = 200) -> bytes:
    """The head of a chunked response."""
    return f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


LAST_CHUNK = b"0\r\n\r\n"
FIN = b""
"""What a script yields to close its connection in order."""
RESET = b"<reset>"
"""What a script yields to break its connection off, with an RST."""


def event(content: str) -> bytes:
    """One chunk of a chat stream, as a chunk of the body."""
    data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    delta = {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]}
    return chunk(b"data: " + json.dumps({**data, **delta}).encode() + b"\n\n")


# Ports of servers that have ended: a client that still knows one is to be refused, and not to reach the server of
# another test, which may run in a process beside this one.
_kept: deque[socket.socket] = deque()
_KEPT = 64


def _keep(port: int) -> None:
    held = hold(port)
    if held is not None:
        _kept.append(held)
    if len(_kept) > _KEPT:
        _kept.popleft().close()


@atexit.register
def _let_go() -> None:
    while _kept:
        _kept.pop().close()


@dataclass
class ScriptedServer:
    """Answers every request with ``script``, which yields the bytes to write; what it yields is written at once."""

    script: Script = field(default=lambda seen: [answer()])
    tls: ssl.SSLContext | None = None
    keep_bodies: bool = True
    requests: list[Seen] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released for every request that was read, which may be after its client has given up."""
    connections: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    """Set when a client has closed a connection that was being written to."""

    def __enter__(self) -> ScriptedServer:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._stopping = False
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping = True
        self._socket.shutdown(socket.SHUT_RDWR)  # close alone would leave a waiting accept its one connection more
        port = self.port
        self._socket.close()
        for connection in self._open:
            connection.close()
        _keep(port)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self.connections += 1
            self._open.append(connection)
            reader = connection.makefile("rb")
            while (seen := self._read(reader)) is not None:
                self.requests.append(seen)
                self.arrived.release()
                for data in self.script(seen):
                    if not data:
                        connection.shutdown(socket.SHUT_RDWR)
                        return
                    if data is RESET:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        reader.close()  # which else keeps the socket open
                        return
                    connection.sendall(data)
        except OSError:
            self.closed.set()
        finally:
            connection.close()

    def _read(self, reader: Any) -> Seen | None:
        line = reader.readline()
        if not line.strip():
            return None
        method, target, _ = line.decode().split(" ", 2)
        headers = []
        while (line := reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        seen = Seen(method, target, headers)
        for data in self._body(seen, reader):
            seen.size += len(data)
            if self.keep_bodies:
                seen.body += data
        return seen

    def _body(self, seen: Seen, reader: Any) -> Iterator[bytes]:
        if (seen.header("transfer-encoding") or "") == "chunked":
            while size := int(reader.readline(), 16):
                yield reader.read(size)
                reader.readline()
            reader.readline()
            return
        left = int(seen.header("content-length") or 0)
        while left:
            data = reader.read(min(left, 1 << 20))
            if not data:
                return
            left -= len(data)
            yield data
