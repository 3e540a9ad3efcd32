"""One call every six seconds, over TLS, to a server that is a round trip of 20 ms away: latency of a call.

The HTTP libraries drop a connection that was idle for five seconds, so that such a caller connects for every call.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .calls import CHAT
from .clients import AZURE, CONTENDERS, build, close
from .effort import Effort
from .measure import Sample, interleave
from .processes import Server
from .table import Row, ratios

__all__ = ["idle"]


def idle(effort: Effort) -> Iterator[Row]:
    """The latency of a call that comes ``effort.idle_s`` after the one before it on the same client."""
    name = f"one call every {effort.idle_s:g} s, TLS, 20 ms away"
    try:
        import trustme
    except ImportError:
        yield Row(name, note="needs trustme")
        return
    with tempfile.TemporaryDirectory() as folder:
        authority, certificate = Path(folder, "authority.pem"), Path(folder, "certificate.pem")
        issuer = trustme.CA()
        issuer.cert_pem.write_to_path(str(authority))
        issuer.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        with Server(effort, str(certificate)) as server:
            clients = _trusting(authority, server.endpoint("tls"))
            try:
                turns = {name: _turn(client, effort.idle_s) for name, client in clients.items()}
                exactly = dataclasses.replace(effort, rounds=effort.idle_rounds, fewest_rounds=effort.idle_rounds)
                yield ratios(name, interleave(turns, AZURE, exactly)["latency"], 0.4)
            finally:
                close(clients.values())


def _trusting(authority: Path, endpoint: str) -> dict[str, Any]:
    """Clients with the pools that they make themselves; an ``http_client`` would bring its own."""
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(authority)
    try:
        return {name: build(name, endpoint) for name in CONTENDERS}
    finally:
        del os.environ["SSL_CERT_FILE"]
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before


def _turn(client: Any, idle_s: float) -> Callable[[], Sample]:
    called = -idle_s

    def turn() -> Sample:
        nonlocal called
        time.sleep(max(0.0, called + idle_s - time.monotonic()))
        start = time.perf_counter()
        client.chat.completions.create(**CHAT)
        latency = time.perf_counter() - start
        called = time.monotonic()
        return {"latency": latency}

    return turn
