"""The server on loopback, a process of its own: one port per answer, and any request at a port gets it.

It prints ``{"chat": port, ...}`` when it listens, and ends when its standard input does. It reads what it must of a
request (where its head and its body end), counts the body and throws it away.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from . import answers

__all__ = ["main"]

_HOST = "127.0.0.1"
# So that each event of a stream is a read of its own at the client, as on a network.
_BETWEEN_CHUNKS_S = 0.001

Answer = Callable[["_Connection"], None]


class _Connection(asyncio.Protocol):
    """One connection: request, answer, request, answer."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._head = b""
        self._left: int | None = None  # bytes of the body still to come; None while the head is read
        self._chunked = False
        self.body_bytes = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left is None:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._begin(head.lower())
        self.body_bytes += len(data)
        if self._chunked:
            ended = data.endswith(b"0\r\n\r\n")
        else:
            self._left = (self._left or 0) - len(data)
            ended = self._left <= 0
        if ended:
            self._head, self._left = b"", None
            self._answer(self)

    def _begin(self, head: bytes) -> None:
        _, found, rest = head.partition(b"\r\ncontent-length:")
        self._left = int(rest.partition(b"\r\n")[0]) if found else 0
        self._chunked = b"\r\ntransfer-encoding: chunked" in head
        self.body_bytes = 0


def _json_response(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, headers, len(body)) + body


def _fixed(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> Answer:
    response = _json_response(body, status, headers)
    return lambda connection: connection.transport.write(response)


def _counting(connection: _Connection) -> None:
    connection.transport.write(_json_response(answers.uploaded(connection.body_bytes)))


def _streaming(count: int) -> Answer:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    events = [b"%x\r\n%b\r\n" % (len(event), event) for event in answers.chunks(count)]
    tasks = set()

    async def write(transport: Any) -> None:
        transport.write(head)
        for event in events:
            transport.write(event)
            await asyncio.sleep(_BETWEEN_CHUNKS_S)
        transport.write(b"0\r\n\r\n")

    def answer(connection: _Connection) -> None:
        task = asyncio.ensure_future(write(connection.transport))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return answer


async def _forward(reader: Any, writer: Any, delay_s: float, not_before: float) -> None:
    """Pass on what comes in, each piece ``delay_s`` after it came, and no piece as if it came before ``not_before``."""
    loop = asyncio.get_running_loop()
    due = 0.0
    while data := await reader.read(65536):
        due = max(due + 1e-6, max(loop.time(), not_before) + delay_s)
        loop.call_at(due, writer.write, data)
    loop.call_at(max(due + 1e-6, loop.time()), writer.close)


async def _far_away(port: int, round_trip_s: float, reader: Any, writer: Any) -> None:
    """A connection to ``port`` as if it were far away: half a round trip passes in each direction.

    What is modelled is distance alone. Loopback shakes hands for TCP at once, so that the first bytes of a connection
    wait for the round trip which that would have taken. The two handshakes of TLS 1.3 and the request then cost a round
    trip each of themselves, since they wait for one another. There is no loss, no slow start and no limit of bandwidth.
    """
    there, back = await asyncio.open_connection(_HOST, port)
    connected = asyncio.get_running_loop().time() + round_trip_s
    to_server = _forward(reader, back, round_trip_s / 2, connected)
    await asyncio.gather(to_server, _forward(there, writer, round_trip_s / 2, 0.0), return_exceptions=True)


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    kinds: dict[str, Answer] = {
        "chat": _fixed(answers.chat()),
        "chat 2": _fixed(answers.chat()),
        "chat 3": _fixed(answers.chat()),
        "responses": _fixed(answers.response()),
        "throttled": _fixed(answers.throttled(), b"429 Too Many Requests", b"retry-after-ms: 200\r\n"),
        "stream": _streaming(options.chunks),
        "embeddings": _fixed(answers.embeddings(options.embeddings, options.dimensions)),
        "files": _counting,
    }
    ports = {}
    for kind, answer in kinds.items():
        listening = await loop.create_server(partial(_Connection, answer), _HOST, 0, backlog=1024)
        ports[kind] = listening.sockets[0].getsockname()[1]
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
        near = await loop.create_server(partial(_Connection, kinds["chat"]), _HOST, 0, ssl=context)
        port, round_trip_s = near.sockets[0].getsockname()[1], options.round_trip_ms / 1000
        far = await asyncio.start_server(partial(_far_away, port, round_trip_s), _HOST, 0)
        ports["tls"] = far.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Serve until the process that started this one is gone."""
    parser = argparse.ArgumentParser()
    for name in ("chunks", "embeddings", "dimensions"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--certificate", help="a PEM file with a key and a chain: serve chat over TLS too, from afar")
    parser.add_argument("--round-trip-ms", type=float, default=20.0)
    options = parser.parse_args()
    threading.Thread(target=_end_with_input, daemon=True).start()
    asyncio.run(_serve(options))


if __name__ == "__main__":
    main()
