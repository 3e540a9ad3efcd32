"""One request of the caller's client, and what the engine does with it in terms of one HTTP library."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from azure_shim.auth.flow import send_signed
from azure_shim.routing.route import Addresses, Call, Route, route
from azure_shim.transport.library import Library
from azure_shim.values import Address, Answered, Body, Failed, Header, Late, Refusal, Send, Served, Target
from azure_shim.wire.endpoints import is_loopback
from azure_shim.wire.request_line import RequestLine, read

__all__ = ["EXPLICIT", "EXTENSION", "REFUSED", "Engine", "Exchange", "limit_of", "local_answer"]

EXTENSION = "azure_shim"
"""Where a request's `Served` is found in its ``extensions``."""
EXPLICIT = "azure_shim.explicit"
"""Set in the ``extensions`` of a request whose client writes no credential: one in it is then its caller's wish."""
REFUSED = "x-azure-shim-refused"
"""The header of an answer that this package made itself; its value is the error's code."""

# Removed from every request before the target's own credential is added (promise 1). Cookies would tie a caller's
# session at one host to another; the two openai-* headers mean nothing to Azure and name the caller's organization.
_NEVER_FORWARDED = frozenset((b"openai-organization", b"openai-project", b"cookie"))
# All that a request to another origin may carry, after a redirect.
_UNSIGNED = frozenset((b"accept", b"accept-encoding", b"accept-language", b"range", b"if-range", b"user-agent"))
_CACHED_LINES = 1024
_PORTS = {b"https": 443, b"http": 80}


class Engine:
    """What the requests of one transport have in common.

    ``signs_nothing`` says that this is for one of the shim's own clients: it spells the target's URL, and its requests
    carry the mark `EXPLICIT`. A plain client's own key must never be forwarded. ``get_ready`` is awaited before the
    first requests of a client that awaits.
    """

    def __init__(
        self, library: Library, target: Target, select: Any, *, signs_nothing: bool = False, get_ready: Any = None
    ) -> None:
        self.library, self.target, self.select, self.signs_nothing = library, target, select, signs_nothing
        self.get_ready: Callable[[], Awaitable[None]] | None = get_ready
        self.addresses = Addresses(target)
        origin = target.endpoint.origin
        self._origin = (origin.scheme.encode(), origin.host.encode(), origin.port)
        bases = {target.endpoint.v1, target.endpoint.classic} - {None}
        self._bases = tuple(sorted((str(base) for base in bases), key=len, reverse=True))
        self._credentials = frozenset((b"authorization", b"api-key", target.credential.header.lower().encode()))
        if target.credential.is_absent:
            self._credentials |= {b"ocp-apim-subscription-key"}
        self._never_forwarded = self._credentials | _NEVER_FORWARDED
        self._extra = [(name.encode(), value.encode()) for name, value in target.headers.items()]
        self._lines: dict[tuple[str, bytes, bool], RequestLine] = {}
        self._urls: dict[str, Any] = {}
        if target.credential.tokens is not None:
            target.credential.tokens.enter(self)

    def close(self) -> None:
        """Need the credential no more, which closes it if it is ours and nobody else needs it."""
        if self.target.credential.tokens is not None:
            self.target.credential.tokens.leave(self)

    def url(self, text: str) -> Any:
        """The library's URL of ``text``. Parsing one costs more than all else that is done to a request."""
        url = self._urls.get(text)
        if url is None:
            url = self.library.URL(text)
            if len(self._urls) >= _CACHED_LINES:
                self._urls.clear()
            self._urls[text] = url
        return url

    def is_own(self, url: Any) -> bool:
        """Whether ``url`` is at the target's origin."""
        scheme = url.raw_scheme
        return (scheme, url.raw_host, url.port or _PORTS.get(scheme)) == self._origin

    def line(self, method: str, url: Any, *, own: bool) -> RequestLine:
        key = (method, url.raw_path, own)
        line = self._lines.get(key)
        if line is None:
            bases = self._bases if own else ()
            line = read(method, key[1].decode("ascii"), bases, adds_versions=not self.signs_nothing)
            if len(self._lines) >= _CACHED_LINES:
                self._lines.clear()
            self._lines[key] = line
        return line

    def clean(self, request: Any) -> tuple[list[Header] | None, list[Header]]:
        """The caller's headers without any credential, and the credentials if they are the caller's explicit wish.

        None stands for headers that have nothing to take off.
        """
        raw = request.headers.raw
        if not self._extra and self._never_forwarded.isdisjoint([header[0].lower() for header in raw]):
            return None, []
        kept = [
            header for header in raw if header[0].lower() not in self._never_forwarded and header[0].lower() != b"host"
        ]
        # The library makes an Authorization of user information in a URL, which is nobody's wish.
        is_wish = EXPLICIT in request.extensions and not request.url.userinfo
        found = [header for header in raw if is_wish and header[0].lower() in self._credentials and header[1].strip()]
        own = {header[0].lower() for header in self._extra}
        return [header for header in kept if header[0].lower() not in own] + self._extra, found[:1]

    def unsigned(self, raw: list[Header]) -> list[Header]:
        """``raw`` without any header that could sign it."""
        return [header for header in raw if header[0].lower() not in self._never_forwarded]

    def machine(self, exchange: Exchange) -> Route:
        """What is to be done with a request, by what its URL and its history say."""
        request = exchange.request
        own = self.is_own(request.url)
        if EXTENSION in request.extensions:
            return self._follow(request, own=own)
        if not own and not self._is_openai_spelling(request.url):
            return _refuse(
                "OriginNotConfigured",
                f"{_origin_of(request.url)} is not configured as a target: a client of {self._origin_text()} sends "
                "nothing to another host.",
            )
        headers, explicit = self.clean(request)
        try:
            content = request.content
        except self.library.module.RequestNotRead:
            content = None
        line = exchange.line = self.line(request.method, request.url, own=own)
        names_model = line.operation is not None and line.operation.model_at
        kind, encoding = _content_headers(request.headers.raw) if names_model else ("", "")
        return route(Call(line, headers, explicit, kind, encoding, content), self.addresses)

    def _is_openai_spelling(self, url: Any) -> bool:
        """Whether a plain client may mean the target by this URL: an OpenAI path at any origin.

        The shim's own client writes the target's URL itself, so that every other one was asked for as another host.
        """
        if self.signs_nothing:
            return False
        path = url.raw_path.split(b"?", 1)[0].decode("ascii")
        markers = ("/v1/", "/openai/", "/deployments/")
        return any(m in path for m in markers) or self.line("POST", url, own=False).operation is not None

    def _origin_text(self) -> str:
        return str(self.target.endpoint.origin)

    def _follow(self, request: Any, *, own: bool) -> Route:
        """The next hop of a redirect, whose path is the server's: signed at the target, unsigned anywhere else."""
        if own:
            return self._follow_own(request)
        scheme, host = request.url.scheme, request.url.host
        if scheme != "https" and not (scheme == "http" and is_loopback(host)):
            return _refuse("RedirectRefused", f"the redirect to {_origin_of(request.url)} leaves https.")
        if request.method not in ("GET", "HEAD"):
            return _refuse(
                "RedirectRefused",
                f"the redirect to {_origin_of(request.url)} would send the request's body to a host that is not "
                "configured.",
            )
        return _follow_elsewhere(request)

    def _is_signed_by_headers(self) -> bool:
        return self.target.credential.is_absent and bool(self._extra)

    def _follow_own(self, request: Any) -> Route:
        if getattr(request.stream, "is_spent", False):
            return Refusal(400, "RedirectRefused", "the redirect wants a body again that can be read only once.")
        headers, explicit = self.clean(request)
        there = Address(str(request.url), self.target.endpoint.origin.authority, Served(self.target.name, "redirect"))
        if not explicit and not self._is_signed_by_headers():
            return (yield from send_signed(self.target.credential, there, headers, None, self.addresses.renewals))
        outcome = yield Send(there, headers, explicit, None)
        assert isinstance(outcome, (Answered, Failed))
        return outcome


def _follow_elsewhere(request: Any) -> Route:
    headers = [header for header in request.headers.raw if header[0].lower() in _UNSIGNED]
    origin, authority = _origin_of(request.url), request.url.netloc.decode("ascii")
    outcome = yield Send(Address(str(request.url), authority, Served(origin, "redirect")), headers, (), None)
    assert isinstance(outcome, (Answered, Failed))
    return outcome


def _refuse(code: str, message: str) -> Route:
    yield from ()  # a machine that does nothing is still a generator
    return Refusal(403, code, message)


def _origin_of(url: Any) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


class Exchange:
    """The library's side of one request.

    The caller's request itself is not sent. It is brought up to date with what is sent (URL, host, body) but for the
    credential, since it is what the caller later finds in ``response.request``, in logs, and in a redirect.
    """

    __slots__ = ("_bounded", "_resumed", "engine", "library", "line", "request")

    def __init__(self, engine: Engine, request: Any, resumed: Any, bounded: Any) -> None:
        self.engine, self.library, self.request = engine, engine.library, request
        self.line: RequestLine | None = None
        self._resumed, self._bounded = resumed, bounded

    @property
    def limit_s(self) -> float | None:
        """How long the caller waits for anything, a token too."""
        return limit_of(self.request)

    def attempt(self, send: Send, rest: Any) -> tuple[Any, Any]:
        """The transport to use and a request of its own for this attempt."""
        request, library, address = self.request, self.library, send.address
        url = self.engine.url(address.url)
        if send.body is not None and not send.again:
            request.stream = self._stream(send.body, rest)
            length = request.headers.get("content-length")
            if length is not None and send.body.grown_bytes:
                request.headers["Content-Length"] = str(int(length) + send.body.grown_bytes)
        if request.url is not url:
            if request.url.netloc != url.netloc:
                # openai 1.x names the host that it spelled, which is no longer the one that TLS is spoken with.
                request.extensions.pop("sni_hostname", None)
                request.headers["Host"] = address.authority
            request.url = url
        request.extensions[EXTENSION] = address.served
        if send.headers is None:
            headers = library.Headers(request.headers)
        else:
            headers = library.Headers([(b"Host", address.authority.encode()), *_resized(send, request)])
        for name, value in send.credential:
            headers[name.decode()] = value.decode()
        attempt = library.Request(
            request.method, url, headers=headers, stream=request.stream, extensions=request.extensions
        )
        if send.body is None and _is_empty(request, library):
            attempt.read()  # an adapter to another engine streams, and so chunks, whatever is not known to be nothing
        return self.engine.select(url), attempt

    def _stream(self, body: Body, rest: Any) -> Any:
        if body.whole:
            return self.library.ChunkStream(body.chunks)
        start = b"".join(body.chunks)
        return self._resumed(start, rest, self.request.stream, len(start) - body.grown_bytes)

    def answered(self, response: Any) -> Answered:
        """The head of a response, before anybody has read its body."""
        content_type = response.headers.get("content-type") or ""
        if self._answers_json() and not content_type.startswith("text/event-stream"):
            limit_s = self.limit_s
            if limit_s is not None:
                response.stream = self._bounded(response.stream, limit_s)
        if response.status_code != 401:
            return Answered(response.status_code, content_type, response)
        challenge = ", ".join(response.headers.get_list("www-authenticate"))
        return Answered(401, content_type, response, challenge, self.library.can_repeat(self.request))

    def finish(self, result: Answered | Failed | Refusal | Late) -> Any:
        """The response for the caller's client; raises the library's error if there is none."""
        if isinstance(result, Refusal):
            return local_answer(self.library, result)
        if isinstance(result, Late):
            raise self.library.late(result.message, self.request)
        if isinstance(result, Failed):
            raise result.error
        return result.response

    def misplaced(self, result: Answered | Failed | Refusal | Late) -> Refusal | None:
        """Why a success is none: a page where the operation answers JSON, from a proxy, a portal or a wrong endpoint.

        The SDK would hand the page to the caller as a str.
        """
        if not isinstance(result, Answered) or not 200 <= result.status < 300:
            return None
        if not self._answers_json() or not result.content_type.startswith("text/html"):
            return None
        return Refusal(
            502,
            "NotAnAnswer",
            f"{self.engine.target.endpoint.origin} answered {self.request.method} {self.request.url.path} with "
            f"{result.status} and a text/html page where Azure OpenAI answers JSON; a proxy, a sign-in page or a wrong "
            "endpoint answers like that.",
        )

    def _answers_json(self) -> bool:
        """Whether the operation is known to answer JSON (or events), and not a file or speech of any length."""
        return self.line is not None and self.line.operation is not None and self.line.operation.answers_json


def local_answer(library: Library, refusal: Refusal) -> Any:
    """The answer that this package makes itself where nothing is sent."""
    body = {"error": {"code": refusal.code, "message": refusal.message, "param": None, "type": "azure_shim"}}
    headers = {"content-type": "application/json", REFUSED: refusal.code, "x-should-retry": "false"}
    content = json.dumps(body).encode()
    return library.Response(refusal.status, headers=headers, content=content, extensions={EXTENSION: refusal})


def limit_of(request: Any) -> float | None:
    """How long its caller waits between two signs of life, in seconds."""
    limit: float | None = request.extensions.get("timeout", {}).get("read")
    return limit


def _is_empty(request: Any, library: Library) -> bool:
    try:
        return not request.content
    except library.module.RequestNotRead:
        return False


def _resized(send: Send, request: Any) -> list[Header]:
    """The headers of ``send`` with the length of a body that became longer or shorter; a chunked one has none."""
    headers = send.headers or []
    if send.body is None or not send.body.grown_bytes:
        return headers
    length = request.headers.get("content-length", "").encode()
    return [(name, length if name.lower() == b"content-length" else value) for name, value in headers]


def _content_headers(raw: list[Header]) -> tuple[str, str]:
    """``Content-Type`` and ``Content-Encoding``, the latter in lower case."""
    found = {name.lower(): value for name, value in raw if name.lower() in (b"content-type", b"content-encoding")}
    kind, encoding = found.get(b"content-type", b""), found.get(b"content-encoding", b"")
    return kind.decode("latin-1"), encoding.decode("latin-1").strip().lower()
