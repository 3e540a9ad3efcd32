"""One Azure OpenAI resource of a `FakeAzure`."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from azure_shim.testing import core
from azure_shim.testing.bodies import Body
from azure_shim.testing.connection import Gone
from azure_shim.testing.faults import Fault, FaultOptions, FaultQueue, fault_of
from azure_shim.testing.recorded import Recorded
from azure_shim.testing.response import FakeResponse, HeadersLike
from azure_shim.testing.server import Server, hold
from azure_shim.testing.store import Store

if TYPE_CHECKING:
    from azure_shim.testing.fake_azure import FakeAzure

__all__ = ["Resource"]


class Resource:
    """One resource: what it serves, how it answers, what it was sent. Made by `FakeAzure`.

    Every attribute below may be set by a test, at any time.

    Attributes:
        api_key: the key that it accepts; no repr shows it.
        tokens: the bearer tokens that it accepts; at first `FakeAzure.token`.
        deployments: deployment -> model behind it; None accepts every name, each as its own model.
        prefix: the path at which a gateway puts it, such as ``"/apim/za"``.
        bare: whether that gateway leaves ``/openai`` out: ``/deployments/{d}/...`` and, with a dated api-version,
            other paths are the classic surface; ``/v1/...`` and, without one, other paths are v1.
        api_key_header: the header of the key; API Management may have its own.
        accepts_key_twice: whether the same key may come in both of its headers, as the ``AzureOpenAI`` of openai 1.x
            sends it; the service takes that, and here it is an error unless a test allows it.
        hosts: host names, besides the public ones, that lead to it in process (a gateway's, a private name).
        async_filter: whether streams carry the frames of an asynchronous content filter.
        chunks: how many pieces the content of a stream comes in; None makes one of each word.
        chunk_delay_s: seconds between two chunks of a stream.
        sleep: what waits that long, `time.sleep` (`anyio.sleep` in an async transport) if None; in an async transport
            it may return an awaitable.
        remaining_requests, remaining_tokens: what the rate-limit headers say next; each answer counts them down.
    """

    def __init__(self, azure: FakeAzure, name: str, deployments: dict[str, str] | None) -> None:
        self._azure = azure
        self._server: Server | None = None
        self._held: socket.socket | None = None  # the port of a server that is stopped
        self._port = 0
        self._lock = threading.Lock()
        self._faults: FaultQueue[Fault] = FaultQueue()
        self._is_stopped = False
        self.name = name
        self.deployments = deployments
        self.api_key = secrets.token_hex(16)
        self.tokens = {azure.token}
        self.prefix = ""
        self.bare = False
        self.api_key_header = "api-key"
        self.accepts_key_twice = False
        self.hosts: set[str] = set()
        self.async_filter = False
        self.chunks: int | None = None
        self.chunk_delay_s = 0.0
        self.sleep: Callable[[float], Any] | None = None
        self.remaining_requests = 1000
        self.remaining_tokens = 1_000_000
        self.store = Store()

    def __repr__(self) -> str:
        return f"<Resource {self.name!r} at {self._origin() if self._port else self.host_endpoint}>"

    @property
    def endpoint(self) -> str:
        """Where it listens on loopback, with ``prefix``: an ``azure_endpoint``. It outlives `stop`.

        Raises:
            RuntimeError: it was never started.
        """
        if not self._port:
            raise RuntimeError(f"resource {self.name!r} does not listen: enter the FakeAzure, or start() it")
        return self._origin() + self.prefix

    @property
    def v1_url(self) -> str:
        """The ``base_url`` of its v1 surface on loopback."""
        return f"{self.endpoint}{'' if self.bare else '/openai'}/v1"

    @property
    def host_endpoint(self) -> str:
        """Where it answers in process: ``https://{name}.openai.azure.com``, with ``prefix``."""
        return f"https://{self.name}.openai.azure.com{self.prefix}"

    @property
    def requests(self) -> list[Recorded]:
        """What was sent to it, the newest last."""
        return [request for request in self._azure.requests if request.resource == self.name]

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` has been called last."""
        return self._is_stopped

    def model_of(self, deployment: str) -> str | None:
        """The model behind a deployment; None if there is no such deployment."""
        return deployment if self.deployments is None else self.deployments.get(deployment)

    def fail_next(
        self,
        preset: str | None = None,
        *,
        status: int | None = None,
        code: str | None = None,
        message: str | None = None,
        headers: HeadersLike = None,
        times: int | None = 1,
        retry_after: int | None = None,
        location: str | None = None,
    ) -> Fault:
        """Let the next ``times`` requests fail, after the faults that wait already; None: until `heal`.

        The request is checked all the same (`Recorded.refused`).

        Args:
            preset: one of ``azure_shim.testing.faults.PRESETS``. ``reset`` closes the connection before any header,
                ``reset_mid_body`` in the middle of the normal answer; ``stall`` answers nothing, ``stall_mid_body``
                half of the answer, until the `Fault`'s ``release()``, `heal` or the end; ``trickle`` sends the normal
                answer byte by byte. In process, a stall is a read timeout at once.
            status: instead of the preset's, or without one: of an error of the test's own.
            code: of the error, instead of the preset's.
            message: of the error, instead of the preset's.
            times: how many requests fail; None for all of them.
            headers: more headers, such as ``{"x-should-retry": "false"}``.
            retry_after: seconds, for ``retry-after`` and ``retry-after-ms``.
            location: where ``redirect`` leads; its status is 307 unless given.

        Raises:
            ValueError: no such preset, or not enough was said.
        """
        options = FaultOptions(status, code, message, headers, retry_after, location)
        return self._faults.add(fault_of(preset, options, times))

    def answer_next(self, answer: Callable[[Recorded], FakeResponse], *, times: int | None = 1) -> Fault:
        """Let ``answer`` answer the next ``times`` requests, whatever they are; None: until `heal`."""
        return self._faults.add(Fault(lambda request, _normal: answer(request), "answer", times=times))

    def heal(self) -> None:
        """Forget the faults that wait, and release the requests that a stall holds."""
        self._faults.clear()

    def take_fault(self) -> Fault | None:
        """The fault for a request that has just come."""
        return self._faults.take()

    def count_down(self, tokens: int) -> tuple[int, int]:
        """What remains of the requests and the tokens after one more call."""
        with self._lock:
            self.remaining_requests = max(0, self.remaining_requests - 1)
            self.remaining_tokens = max(0, self.remaining_tokens - tokens)
            return self.remaining_requests, self.remaining_tokens

    def accepts_token_of_service(self, token: str, audiences: Iterable[str]) -> bool:
        """Whether the token service, if there is one, stands for a token that is for one of these hosts."""
        service = self._azure.token_service
        return service is not None and service.is_valid(token, audiences)

    def next_connection(self) -> int:
        """The number of a new connection."""
        return self._azure.next_connection()

    def new_body(self) -> Body:
        """Where the body of a request that is coming in goes."""
        return self._azure.new_body()

    def record(self, request: Recorded) -> None:
        """Take down a request that came to it."""
        self._azure.record(request, self)

    def answer(self, request: Recorded, has_gone: Gone) -> FakeResponse:
        """Check and record ``request``, then answer it, or let the fault do it that waits for it."""
        return core.answer(self._azure, self, request)

    def start(self) -> None:
        """Listen on loopback (again, on the same port), and answer in process."""
        with self._lock:
            self._is_stopped = False
            self._let_go()
            if self._server is None:
                self._server = Server(self, self._azure.tls, self._port)
                self._port = self._server.port

    def stop(self) -> None:
        """Go away: connections break and new ones are refused, in process too, until `start`."""
        with self._lock:
            server, self._server = self._server, None
            self._is_stopped = True
        self.heal()
        if server is not None:
            server.close()
            with self._lock:
                self._held = hold(self._port)

    def close(self) -> None:
        """As `stop`, for good: the port is anybody's."""
        self.stop()
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _origin(self) -> str:
        return f"{'http' if self._azure.tls is None else 'https'}://127.0.0.1:{self._port}"
