"""What the requests of one transport have in common: where they may go, and what decides what comes of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from azure_shim.auth.flow import send_signed
from azure_shim.routing.failover import Trip
from azure_shim.routing.first import is_plain, try_first
from azure_shim.routing.fleet import DEPLOYMENT, NO_WISHES, OURS, PIN, RESIDENCY, Fleet, Wishes
from azure_shim.routing.route import Addresses, Call, Route, route
from azure_shim.transport.exchange import CALL, EXPLICIT, EXTENSION, SHOWN, Exchange, origin_of
from azure_shim.transport.library import Library
from azure_shim.transport.private import form_says
from azure_shim.values import Address, Answered, Failed, Header, Origin, Refusal, Send, Served, Target
from azure_shim.wire.bodies import wants_stream
from azure_shim.wire.endpoints import is_loopback
from azure_shim.wire.request_line import RequestLine, read

__all__ = ["Engine"]

# Removed from every request before the target's own credential is added (promise 1). Cookies would tie a caller's
# session at one host to another; the two openai-* headers mean nothing to Azure and name the caller's organization.
_NEVER_FORWARDED = frozenset((b"openai-organization", b"openai-project", b"cookie"))
_OURS = tuple(name.encode() for name in OURS)
# Of a client of one endpoint, which has no conditions: the metadata may be for a gateway in front of it.
_OURS_OF_ONE = frozenset((PIN.encode(), RESIDENCY.encode(), DEPLOYMENT.encode()))
_RETRY_COUNT = b"x-stainless-retry-count"
# All that a request to another origin may carry, after a redirect.
_UNSIGNED = frozenset((b"accept", b"accept-encoding", b"accept-language", b"range", b"if-range", b"user-agent"))
_CACHED_LINES = 1024
_PORTS = {b"https": 443, b"http": 80}


class Engine:
    """What the requests of one transport have in common.

    ``signs_nothing`` says that this is for one of the shim's own clients: it spells the target's URL, and its requests
    carry the mark `EXPLICIT`. A plain client's own key must never be forwarded. ``get_ready`` is awaited before the
    first requests of a client that awaits. With a ``fleet`` the calls go to any of its targets, of which ``target`` is
    the first; ``selects`` then has what ``select`` is to one target for each of them. ``has_plain_frames`` asks for
    streams without what only Azure sends.
    """

    def __init__(
        self,
        library: Library,
        target: Target,
        select: Any,
        *,
        signs_nothing: bool = False,
        get_ready: Any = None,
        fleet: Fleet | None = None,
        selects: Sequence[Any] = (),
        has_plain_frames: bool = False,
    ) -> None:
        self.library, self.target, self.signs_nothing, self.fleet = library, target, signs_nothing, fleet
        self.selects = selects or (select,)
        self.has_plain_frames = has_plain_frames
        self.get_ready: Callable[[], Awaitable[None]] | None = get_ready
        self.addresses = Addresses(target) if fleet is None else fleet.sites[0].addresses
        targets = (target,) if fleet is None else fleet.plan.targets
        self._origins = frozenset(_identity_of(each.endpoint.origin) for each in targets)
        bases = {base for each in targets for base in (each.endpoint.v1, each.endpoint.classic)} - {None}
        self._bases = tuple(sorted((str(base) for base in bases), key=len, reverse=True))
        signing = {each.credential.header.lower().encode() for each in targets}
        self._credentials = frozenset((b"authorization", b"api-key", *signing))
        if fleet is not None or target.credential.is_absent:
            self._credentials |= {b"ocp-apim-subscription-key"}
        ours = _OURS_OF_ONE if fleet is None else frozenset(_OURS)
        self._never_forwarded = self._credentials | _NEVER_FORWARDED | ours
        self._extra = [] if fleet else [(name.encode(), value.encode()) for name, value in target.headers.items()]
        self._needs_headers = fleet is not None and fleet.needs_headers
        self._lines: dict[tuple[str, bytes, bool], RequestLine] = {}
        self._urls: dict[str, Any] = {}
        self._netlocs: dict[int, tuple[Any, bytes]] = {}  # by identity, of URLs that live as long as they are here
        self._tokens = {id(each.credential.tokens): each.credential.tokens for each in targets}
        for tokens in self._tokens.values():
            if tokens is not None:
                tokens.enter(self)

    def close(self) -> None:
        """Need the credentials no more, which closes those that are ours and that nobody else needs."""
        for tokens in self._tokens.values():
            if tokens is not None:
                tokens.leave(self)

    def url(self, text: str) -> Any:
        """The library's URL of ``text``. Parsing one costs more than all else that is done to a request."""
        url = self._urls.get(text)
        if url is None:
            url = self.library.URL(text)
            if len(self._urls) >= _CACHED_LINES:
                self._urls.clear()
                self._netlocs.clear()
            self._urls[text] = url
            self._netlocs[id(url)] = url, url.netloc
        return url

    def netloc(self, url: Any) -> bytes:
        """Host and port as the library spells them, which takes a microsecond where `url` has not made it."""
        known = self._netlocs.get(id(url))
        netloc: bytes = url.netloc if known is None else known[1]
        return netloc

    def is_own(self, url: Any) -> bool:
        """Whether ``url`` is at a target's origin."""
        scheme = url.raw_scheme
        return (scheme, url.raw_host, url.port or _PORTS.get(scheme)) in self._origins

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

    def clean(self, request: Any, raw: list[Header], names: list[bytes]) -> tuple[list[Header] | None, list[Header]]:
        """The caller's headers without any credential, and the credentials if they are the caller's explicit wish.

        ``names`` are those of ``raw`` in lower case. None stands for headers that have nothing to take off.
        """
        if not self._extra and self._never_forwarded.isdisjoint(names):
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
                f"{origin_of(request.url)} is not configured as a target: a client of {self._origin_text()} sends "
                "nothing to another host.",
            )
        raw = request.headers.raw
        names = [header[0].lower() for header in raw]
        headers, explicit = self.clean(request, raw, names)
        try:
            content = request.content
        except self.library.module.RequestNotRead:
            content = None
        is_shown = request.extensions.get(SHOWN) is True
        if content is None:
            exchange.streams = form_says(request.stream, "stream", "true")
        elif not is_shown:
            exchange.streams = wants_stream(content)
        line = exchange.line = self.line(request.method, request.url, own=own)
        names_model = line.operation is not None and line.operation.model_at
        kind, encoding = _content_headers(raw, names) if names_model else ("", "")
        wishes = _wishes_of(raw, names) if headers is not None else NO_WISHES
        if self.fleet is not None:
            if headers is None and self._needs_headers:
                headers = _without_host(raw)
            length = b"" if content is not None else request.headers.get("content-length", "").encode()
            key = request.extensions.get(CALL)
            retry = _retry_of(raw, names)
            call = Call(
                line,
                headers,
                explicit,
                kind,
                encoding,
                content,
                exchange.limit_s,
                length,
                key,
                retry,
                wishes.deployment,
                exchange.streams,
            )
            exchange.begin(call.limit_s, self.fleet.clock, is_in_memory=content is not None)
            if wishes == NO_WISHES and is_plain(self.fleet, call, is_shown):
                return try_first(self.fleet, call, exchange)
            trip = exchange.trip = Trip(self.fleet, call, wishes)
            return trip.run()
        if wishes.pin not in (None, self.target.name):
            return _refuse("UnknownTarget", f"x-azure-shim-target: the only target is {self.target.name!r}.", 400)
        if wishes.residency is not None:
            return _refuse("OutsideResidency", "x-azure-shim-residency: the client has no target with tags.")
        call = Call(line, headers, explicit, kind, encoding, content, deployment=wishes.deployment)
        return route(call, self.addresses)

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
        targets = (self.target,) if self.fleet is None else self.fleet.plan.targets
        return ", ".join(dict.fromkeys(str(each.endpoint.origin) for each in targets))

    def _target_of(self, request: Any) -> tuple[Target, Addresses, int] | None:
        """The target that a redirect came from, if that is where it leads."""
        if self.fleet is None:
            return self.target, self.addresses, 0
        site = self.fleet.by_name.get(getattr(request.extensions[EXTENSION], "target", ""))
        if site is None or not _is_at(request.url, site.target.endpoint.origin):
            return None
        return site.target, site.addresses, site.at

    def _follow(self, request: Any, *, own: bool) -> Route:
        """The next hop of a redirect, whose path is the server's: signed at the target, unsigned anywhere else.

        A target cannot have another one called, and not at all outside of a residency.
        """
        found = self._target_of(request) if own else None
        if found is not None:
            return self._follow_own(request, *found)
        if self.fleet is not None and (self.fleet.rules.residency or RESIDENCY in request.headers):
            return _refuse(
                "RedirectRefused",
                f"the redirect to {origin_of(request.url)} leaves the target, and so perhaps the residency asked for.",
            )
        scheme, host = request.url.scheme, request.url.host
        if scheme != "https" and not (scheme == "http" and is_loopback(host)):
            return _refuse("RedirectRefused", f"the redirect to {origin_of(request.url)} leaves https.")
        if request.method not in ("GET", "HEAD"):
            return _refuse(
                "RedirectRefused",
                f"the redirect to {origin_of(request.url)} would send the request's body to a host that is not "
                "configured.",
            )
        return _follow_elsewhere(request)

    def _follow_own(self, request: Any, target: Target, addresses: Addresses, at: int) -> Route:
        if getattr(request.stream, "is_spent", False):
            return Refusal(400, "RedirectRefused", "the redirect wants a body again that can be read only once.")
        raw = request.headers.raw
        headers, explicit = self.clean(request, raw, [header[0].lower() for header in raw])
        if self.fleet is not None:
            if headers is None and self._needs_headers:
                headers = _without_host(raw)
            headers = self.fleet.sites[at].headers(headers)
        there = Address(str(request.url), target.endpoint.origin.authority, Served(target.name, "redirect"), at)
        if not explicit and not (target.credential.is_absent and target.headers):
            return (yield from send_signed(target.credential, there, headers, None, addresses.renewals))
        outcome = yield Send(there, headers, explicit, None)
        assert isinstance(outcome, (Answered, Failed))
        return outcome


def _follow_elsewhere(request: Any) -> Route:
    headers = [header for header in request.headers.raw if header[0].lower() in _UNSIGNED]
    origin, authority = origin_of(request.url), request.url.netloc.decode("ascii")
    outcome = yield Send(Address(str(request.url), authority, Served(origin, "redirect")), headers, (), None)
    assert isinstance(outcome, (Answered, Failed))
    return outcome


def _refuse(code: str, message: str, status: int = 403) -> Route:
    yield from ()  # a machine that does nothing is still a generator
    return Refusal(status, code, message)


def _is_at(url: Any, origin: Origin) -> bool:
    return (url.raw_scheme, url.raw_host, url.port or _PORTS.get(url.raw_scheme)) == _identity_of(origin)


def _without_host(raw: list[Header]) -> list[Header]:
    return [header for header in raw if header[0].lower() != b"host"]


def _identity_of(origin: Origin) -> tuple[bytes, bytes, int]:
    return origin.scheme.encode(), origin.host.encode(), origin.port


def _wishes_of(raw: list[Header], names: list[bytes]) -> Wishes:
    """What a caller says to us in a request's headers. A header without a value is no wish that can be kept."""
    return Wishes(*(_value(raw, names, name) if name in names else None for name in _OURS))


def _retry_of(raw: list[Header], names: list[bytes]) -> int:
    """How often the SDK has sent a call before."""
    try:
        value = raw[names.index(_RETRY_COUNT)][1]
    except ValueError:
        return 0
    if value == b"0":
        return 0
    text = value.decode("utf-8", "replace").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0


def _value(raw: list[Header], names: list[bytes], name: bytes) -> str:
    return raw[names.index(name)][1].decode("utf-8", "replace").strip() if name in names else ""


def _content_headers(raw: list[Header], names: list[bytes]) -> tuple[str, str]:
    """``Content-Type`` and ``Content-Encoding``, the latter in lower case."""
    return _value(raw, names, b"content-type"), _value(raw, names, b"content-encoding").lower()
