"""A service on loopback: one listening socket, one thread for each connection, HTTP/1.1 with or without TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

from azure_shim.testing.connection import Front, serve

__all__ = ["Server", "hold"]

_HOST = "127.0.0.1"
_BACKLOG = 512
_JOIN_S = 2.0


class Server:
    """Listens from the moment it is made until `close`, with TLS if there is a context for it."""

    def __init__(self, front: Front, tls: ssl.SSLContext | None, port: int = 0) -> None:
        self._front = front
        self._tls = tls
        self._threads = f"azure_shim.testing {front.name}"
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._is_closing = False
        self._listener = socket.create_server((_HOST, port), backlog=_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=self._threads, daemon=True)
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
                _shut_down(connection)
        deadline = time.monotonic() + _JOIN_S
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                try:
                    connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                except (OSError, ValueError):
                    connection.close()
                    continue
            thread = threading.Thread(target=self._serve, args=(connection, peer), name=self._threads, daemon=True)
            with self._lock:
                if self._is_closing:
                    connection.close()
                    return
                self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        try:
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            serve(self._front, connection, peer)
        except (OSError, ValueError):
            pass  # The client or `close` broke the connection off.
        finally:
            with self._lock:
                del self._connections[connection]
            connection.close()


def hold(port: int) -> socket.socket | None:
    """Keep a port that nobody listens on, so that it refuses connections, and no other server gets it.

    None if somebody was faster.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((_HOST, port))
    except OSError:
        held.close()
        return None
    return held


def _shut_down(connection: socket.socket) -> None:
    # Not through SSLSocket.shutdown: it takes the TLS state away from the thread that is using it.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
