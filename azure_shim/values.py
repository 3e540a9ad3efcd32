"""The vocabulary of the engine: what a request asks for, where it may go, what is to be done, and what came of it.

Nothing here can be changed, and no ``repr`` shows a secret. Most are named tuples: a dataclass takes five times as long
to define and three times as long to make, and these are made for every request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, Union

__all__ = [
    "DEFAULT_PORTS",
    "PLACEHOLDER",
    "STAND_IN",
    "Address",
    "Answered",
    "Ask",
    "Asked",
    "Attempt",
    "Body",
    "CoolingEvent",
    "Credential",
    "Deployments",
    "Discard",
    "Effect",
    "Endpoint",
    "Failed",
    "Fetch",
    "Header",
    "Inspect",
    "Late",
    "Origin",
    "Pause",
    "Peek",
    "Provider",
    "Refusal",
    "Send",
    "Served",
    "Target",
    "TokenEvent",
]

Header = tuple[bytes, bytes]
Provider = Callable[[], Any]
"""A callable that returns a key or a token, or an awaitable of one."""
Deployments = Union[Mapping[str, str], Callable[[str], Union[str, None]]]
"""From the model's name that a caller uses to the deployment's name on Azure."""

PLACEHOLDER = "azure-shim-placeholder-not-a-key"
"""What ``client.api_key`` is. It is never sent; it means nothing to anybody who sees it."""
STAND_IN = "azure-shim-placeholder\nnot-a-key"
"""What is in the environment for code that demands a key before it builds a client.

No HTTP library sends a header with a line break in it. So what is not patched (a framework's own requests, a child
process) fails before a byte of its prompt is sent, where an unknown key would send all of it to OpenAI in vain.
"""
DEFAULT_PORTS = {"https": 443, "http": 80, "wss": 443, "ws": 80}


class Origin(NamedTuple):
    """Scheme, host and port: what a credential belongs to (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """What belongs into a ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"


class Endpoint(NamedTuple):
    """One resource (or gateway, or project): where its two surfaces begin.

    ``classic`` and ``v1`` are paths without a trailing slash; ``classic`` is None where only v1 exists (projects).
    ``cloud`` is None for a gateway or a private name.
    """

    origin: Origin
    classic: str | None
    v1: str
    cloud: str | None = None

    @property
    def is_project(self) -> bool:
        return self.classic is None


@dataclass(frozen=True, slots=True)
class Credential:
    """What signs the requests to one target: a key or a token, given once, by a provider, or by a credential.

    ``header`` is the name of the header for a key; a token always goes out as ``Authorization: Bearer``. Exactly one of
    ``value``, ``provider`` and ``tokens`` (an `azure_shim.auth.tokens.TokenSlot`) is set, but for a target that is
    signed by the caller's own headers, which has none. ``note`` is added to why a credential has no token. It can be
    copied, which shares it, and not be pickled.
    """

    source: str
    header: str = "api-key"
    is_token: bool = False
    value: str | None = field(default=None, repr=False)
    provider: Provider | None = field(default=None, repr=False)
    tokens: Any = field(default=None, repr=False)
    note: str = ""

    @property
    def is_absent(self) -> bool:
        """Whether the caller's own headers have to sign."""
        return self.value is None and self.provider is None and self.tokens is None

    def __copy__(self) -> Credential:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Credential:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a credential cannot be pickled, for the secret would be in the pickle; build the client anew")


@dataclass(frozen=True, slots=True)
class Target:
    """One place that can serve: an endpoint, its surface, its deployments and its credential.

    ``api_version`` is a dated version for the classic surface; None, ``"preview"`` or ``"latest"`` for v1.
    ``default_deployment`` serves the models that ``deployments`` does not name; ``default_for`` limits it to one
    operation's path when its endpoint named one. ``provider`` is ``"azure-openai"`` or ``"openai"``.

    The others matter where there are several targets. ``region`` and ``tags`` say where it is; ``timeout_s`` bounds
    each wait for it; ``override_params`` are merged over the body; ``pool`` are the options of its own connections
    (``proxy``, ``verify``, ``cert``, ...), empty to share; ``retries`` is how often it is tried again on a status of
    ``retry_statuses`` before another is, honouring Retry-After if ``honours_retry_after``.
    """

    name: str
    endpoint: Endpoint
    api_version: str | None
    credential: Credential
    deployments: Deployments | None = None
    default_deployment: str | None = None
    default_for: str | None = None
    unmapped: str = "passthrough"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    provider: str = "azure-openai"
    region: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    override_params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    pool: Mapping[str, Any] = field(default_factory=dict, repr=False)
    retries: int = 0
    retry_statuses: frozenset[int] = frozenset((429, 500, 502, 503, 504))
    honours_retry_after: bool = False

    @property
    def is_openai(self) -> bool:
        return self.provider == "openai"

    @property
    def is_classic(self) -> bool:
        return self.api_version is not None and self.api_version[:1].isdigit()

    @property
    def base_path(self) -> str:
        """Where the target's surface begins."""
        endpoint = self.endpoint
        return endpoint.classic if self.is_classic and endpoint.classic is not None else endpoint.v1


class Served(NamedTuple):
    """Who a request was sent to; found under ``"azure_shim"`` in ``request.extensions``.

    ``model`` is the name that the caller used, ``deployment`` the one that Azure got; both are None for operations
    that name neither.
    """

    target: str
    operation: str
    model: str | None = None
    deployment: str | None = None


class Refusal(NamedTuple):
    """The request is not sent; the caller gets this as the answer, which the SDK turns into its error for ``status``.

    ``cause`` is the exception behind it, if there was one. ``retry_after_s`` says when to come again; None for never.
    """

    status: int
    code: str
    message: str
    cause: BaseException | None = None
    retry_after_s: float | None = None

    def __repr__(self) -> str:
        return f"Refusal({self.status}, {self.code!r}, {self.message!r})"


class Late(NamedTuple):
    """The request is not sent, since no credential came in time; the caller gets a timeout with this message."""

    message: str


class Body(NamedTuple):
    """What to send instead of the caller's body.

    ``whole`` says whether ``chunks`` are all of it, or only replace what was peeked at, with the rest to follow.
    ``grown_bytes`` is the change in length.
    """

    chunks: tuple[bytes, ...]
    whole: bool
    grown_bytes: int

    def __repr__(self) -> str:
        return f"Body(whole={self.whole}, grown_bytes={self.grown_bytes})"


class Ask(NamedTuple):
    """Effect: call ``provider`` for a key or a token. Answered by `Asked`."""

    provider: Provider

    def __repr__(self) -> str:
        return "Ask()"


class Fetch(NamedTuple):
    """Effect: ask the credential of ``tokens`` for a token, unless somebody does already.

    Answered by `Asked` with the `Token`, or with why there is none; at once and by None if ``waits`` is false.
    """

    tokens: Any
    waits: bool = True


class Discard(NamedTuple):
    """Effect: close an answer that nobody is going to read. Answered by None."""

    response: Any


class Peek(NamedTuple):
    """Effect: feed the start of the request's body to ``feed`` until it returns True. Answered by None."""

    feed: Callable[[bytes], bool]


class Pause(NamedTuple):
    """Effect: wait for ``seconds``. Answered by None."""

    seconds: float


class Inspect(NamedTuple):
    """Effect: feed the start of an answer's body to ``feed`` until it returns True; the caller still gets all of it.

    Answered by whether the body has ended, whose connection then is free, or by `Failed` if it broke off, or if the
    feeding was not over after ``limit_s``.
    """

    response: Any
    feed: Callable[[bytes], bool]
    limit_s: float | None = None

    def __repr__(self) -> str:
        return "Inspect()"


class Address(NamedTuple):
    """Where a call goes at one target, kept for the next such call: ``authority`` is the host that ``url`` names.

    ``at`` is the target's number in its plan.
    """

    url: str
    authority: str
    served: Served
    at: int = 0


class Send(NamedTuple):
    """Effect: send the request to ``address``. Answered by `Answered` or `Failed`.

    ``headers`` are None to send the caller's, which then have no credential, or what is left of them without any.
    ``credential`` goes on top. ``body`` is None to send the caller's own. ``again`` says that the same was sent before.
    ``limit_s`` is how long to wait for each sign of life, ``head_s`` how long for the head alone, if that is less; None
    for as long as the caller does. ``takes_in`` asks for a text that is answered to be read at once, since until it is
    here another target's answer can still take its place.
    """

    address: Address
    headers: list[Header] | None
    credential: Sequence[Header]
    body: Body | None
    again: bool = False
    limit_s: float | None = None
    head_s: float | None = None
    takes_in: bool = False

    def __repr__(self) -> str:
        return f"Send({self.address!r})"


class Asked(NamedTuple):
    """What a provider returned or raised."""

    value: object = None
    error: BaseException | None = None

    def __repr__(self) -> str:
        return "Asked()"


class Answered(NamedTuple):
    """A response's head has come; ``response`` is the HTTP library's own, its body unread.

    ``can_repeat`` says, of a 401 and of any answer to a call that has several targets, whether the request's body
    could be sent once more; of a 401, ``challenge`` is its ``WWW-Authenticate``. ``renamed`` is the model's name that
    the target got and the one that the caller used, where the answer is to have the latter. ``taken_in`` says of a body
    that was to be read at once whether that is all of it, or how it broke off; None if it was not read. ``limits`` are
    values of the headers that say what is left of the target's quota: those that do not simply say that something is.
    """

    status: int
    content_type: str
    response: Any
    challenge: str = ""
    can_repeat: bool = False
    renamed: tuple[str, str] | None = None
    taken_in: bool | Failed | None = None
    limits: Sequence[bytes] = ()


class Failed(NamedTuple):
    """No response came; ``error`` is the HTTP library's own; ``can_repeat`` as in `Answered`."""

    error: Exception
    can_repeat: bool = False


class Attempt(NamedTuple):
    """One attempt of a call at one target, as `azure_shim.attempts` lists them.

    ``status`` is None if no answer came; ``reason`` says in a few words what came of it (``"served"``, ``"rate
    limited"``, ``"connect"``). ``wait_s`` is how long the call waited before it, ``duration_s`` how long it took to the
    head of the answer, or to the first token of a stream that was looked into; both in seconds. ``cooled_s`` is for how
    long the target gets no more calls of this kind because of it.
    """

    target: str
    region: str | None
    deployment: str | None
    status: int | None
    reason: str
    wait_s: float
    duration_s: float
    cooled_s: float = 0.0


class CoolingEvent(NamedTuple):
    """A target, or one deployment of it, gets no calls for ``seconds``, because of ``reason``."""

    target: str
    region: str | None
    deployment: str | None
    reason: str
    seconds: float


class TokenEvent(NamedTuple):
    """A fresh token could not be had, which no caller saw; the next call asks again. No field has a secret.

    ``credential`` is the class of the credential, ``message`` the whole reason.
    """

    credential: str
    scope: str
    authority: str
    message: str


Effect = Union[Ask, Fetch, Peek, Send, Discard, Pause, Inspect]
