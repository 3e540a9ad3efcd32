"""What to do about how an attempt went: one table, whose first fitting row decides.

Nothing that the request itself caused is tried elsewhere, and nothing of that kind cools (field notes P35, B28). The
sources are the table of errors in the wire notes, section 6, and RFC 9110, section 15.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from typing import Literal, NamedTuple

__all__ = ["FAILURES", "ROWS", "SEEN_200", "SERVED", "Row", "Seen", "Verdict", "failure_of", "judge", "read_error"]

FAILURES = (
    "connect",
    "dns",
    "tls",
    "connect_timeout",
    "pool_timeout",
    "write",
    "reset",
    "read_timeout",
    "cut",
    "malformed",
    "error_event",
    "local",
    "unknown",
)
"""How an attempt fails. Up to ``write`` nothing was asked in full; ``reset`` is before an answer's head, ``cut`` in its
body; ``local`` is a request that the HTTP library will not write, ``unknown`` an error that is none of the network's.
"""


class Seen(NamedTuple):
    """How an attempt went.

    ``status`` is None if no answer came. ``code`` is ``error.code`` of its body, None if unread or absent; ``message``
    is ``error.message``, or the start of a body that is no JSON. ``failure`` is one of `FAILURES`, without an answer
    or within one. ``from_gateway`` says that an API Management answered instead of the service.
    """

    status: int | None = None
    code: str | None = None
    message: str = ""
    failure: str | None = None
    from_gateway: bool = False


class Verdict(NamedTuple):
    """What is to be done.

    ``action``: ``"give up"`` means that the answer is the caller's, since no other target can cure it. ``cools`` is
    what to leave alone for a while. ``may_have_run``: the service may have done (and billed) the work, so that to send
    again is to repeat. ``skips``: only this target lacks what is asked for. ``is_fault``: it counts against the
    target's error rate.
    """

    name: str
    action: Literal["serve", "next", "give up"]
    cools: Literal["deployment", "resource", "credential"] | None
    may_have_run: bool
    skips: bool = False
    is_fault: bool = False


class Row(NamedTuple):
    """One rule: all that it names must fit, and what it leaves out fits always.

    ``codes`` and ``says`` (a part of the message) are in lower case. A row without ``failure`` is for whole answers.
    """

    verdict: Verdict
    statuses: Container[int] = ()
    failure: str | None = None
    codes: frozenset[str] = frozenset()
    says: str = ""
    from_gateway: bool = False

    def fits(self, seen: Seen) -> bool:
        status = seen.status
        is_other = self.failure is None and (status is None or status not in self.statuses)
        if seen.failure != self.failure or is_other:
            return False
        if self.codes and (seen.code or "").lower() not in self.codes:
            return False
        return self.says in seen.message.lower() and (seen.from_gateway or not self.from_gateway)


_FILTERED = frozenset(("content_filter", "responsibleaipolicyviolation"))
_RATE = frozenset(("429", "rate_limit_exceeded", "ratelimitreached", "too_many_requests", "toomanyrequests"))
# Azure's word, and OpenAI's.
_MISSING = frozenset(("deploymentnotfound", "model_not_found"))
# Of the Responses API's codes, those that blame what was asked: every target would say the same, for money.
_ASKED = frozenset(
    (
        "invalid_request_error",
        "invalid_prompt",
        "context_length_exceeded",
        "bio_policy",
        "misalignment_policy_violation",
        "image_content_policy_violation",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "unsupported_image_media_type",
    )
)


def _next(
    name: str,
    cools: Literal["deployment", "resource", "credential"] | None = None,
    *,
    ran: bool = False,
    fault: bool = True,
    skips: bool = False,
) -> Verdict:
    return Verdict(name, "next", cools, ran, skips, fault)


def _give_up(name: str, *, ran: bool = False) -> Verdict:
    return Verdict(name, "give up", None, ran)


ROWS: tuple[Row, ...] = (
    # 1xx and 3xx are the caller's to follow.
    Row(Verdict("served", "serve", None, may_have_run=True), range(100, 400)),
    # A filtered prompt is billed, and is no other target's to allow.
    Row(_give_up("content filter", ran=True), (400,), codes=_FILTERED),
    Row(_give_up("bad request"), (400,)),
    Row(_next("no permission", "credential", fault=False), (401,), codes=frozenset(("permissiondenied",))),
    Row(_next("credential refused", "credential", fault=False), (401,)),
    Row(_next("forbidden", "credential", fault=False), (403,)),
    Row(_give_up("not found at the gateway"), (404,), from_gateway=True),
    Row(_next("deployment not found", skips=True, fault=False), (404,), codes=_MISSING),
    Row(_give_up("not found"), (404,)),
    # The one 4xx that is the service's own: it ran out of time.
    Row(_next("operation timed out", ran=True), (408,)),
    Row(_give_up("conflict"), (409,)),
    Row(_give_up("gone"), (410,)),
    Row(_give_up("too large"), (413,)),
    Row(_give_up("unsupported media type"), (415,)),
    Row(_give_up("unprocessable"), (422,)),
    # A tool's or an agent's back end failed, after the model had begun.
    Row(_give_up("failed dependency", ran=True), (424,)),
    # Quotas are the deployment's; its neighbours on the same resource have their own (P35).
    Row(_next("rate limited", "deployment", fault=False), (429,)),
    Row(_give_up("client closed request"), (499,)),
    Row(_give_up("refused"), range(400, 500)),
    # One such answer proves nothing about the next one, so that these only count towards the circuit.
    Row(_next("server error", ran=True), (500,)),
    Row(_next("bad gateway", ran=True), (502,)),
    # A proxy that lost the service's connection cannot know what had been done.
    Row(_next("upstream lost", "deployment", ran=True), (503,), says="upstream connect error"),
    Row(_next("unavailable", "deployment"), (503,)),
    Row(_next("gateway timeout", ran=True), (504,)),
    Row(_next("other server error", ran=True), range(500, 600)),
    Row(_next("connect failed", "resource"), failure="connect"),
    Row(_next("name not resolved", "resource"), failure="dns"),
    Row(_next("tls failed", "resource"), failure="tls"),
    Row(_next("connect timed out", "resource"), failure="connect_timeout"),
    # Our own pool is full, which is not the target's doing.
    Row(_next("pool timed out", fault=False), failure="pool_timeout"),
    Row(_next("write failed", "resource", ran=True), failure="write"),
    Row(_next("connection reset", "resource", ran=True), failure="reset"),
    # A slow model is no dead resource; and whoever sends again may pay twice (P53).
    Row(_next("read timed out", ran=True), failure="read_timeout"),
    Row(_next("answer cut", ran=True), failure="cut"),
    Row(_next("answer malformed", ran=True), failure="malformed"),
    Row(_give_up("content filter", ran=True), failure="error_event", codes=_FILTERED),
    Row(_next("rate limited", "deployment", fault=False), failure="error_event", codes=_RATE),
    Row(_give_up("refused in the stream", ran=True), failure="error_event", codes=_ASKED),
    Row(_next("error in the stream", ran=True), failure="error_event"),
    # An illegal header may be this target's credential, and may be the caller's: nobody is blamed.
    Row(_next("request not writable", fault=False), failure="local"),
)
SEEN_200, SERVED = Seen(200), ROWS[0].verdict
"""What most calls come to."""
# An error of the caller's own body, a status beyond 599, a bug: to go on would hide it.
_UNKNOWN = _give_up("unknown", ran=True)


def judge(seen: Seen) -> Verdict:
    """The verdict of the first row that fits."""
    return next((row.verdict for row in ROWS if row.fits(seen)), _UNKNOWN)


# By class name, since httpx, httpx2, httpcore and the standard library name alike what they do not share.
_BY_CLASS = {
    "ConnectTimeout": "connect_timeout",
    "PoolTimeout": "pool_timeout",
    "WriteTimeout": "write",
    "WriteError": "write",
    "ReadTimeout": "read_timeout",
    "DecodingError": "malformed",
    "LocalProtocolError": "local",
    # No scheme, or a proxy that would not connect: the service saw nothing.
    "UnsupportedProtocol": "connect",
    "ProxyError": "connect",
    "ConnectError": "connect",
    "gaierror": "dns",
    "SSLError": "tls",
    "ConnectionRefusedError": "connect",
    "TimeoutException": "read_timeout",
    "TimeoutError": "read_timeout",
    # ReadError, CloseError, RemoteProtocolError, and what a library may add to them.
    "TransportError": "reset",
    "NetworkError": "reset",
    "ProtocolError": "reset",
    "ConnectionError": "reset",
}
_WHY_NO_CONNECTION = {"SSLError": "tls", "ClientSSLError": "tls", "gaierror": "dns", "ClientConnectorDNSError": "dns"}
_MAX_CAUSES = 16


def failure_of(error: BaseException, in_body: bool = False) -> str:
    """Which of `FAILURES` an HTTP library's exception is; ``in_body`` if the answer's head had come."""
    failure = next((_BY_CLASS[name] for name in _names(error) if name in _BY_CLASS), "unknown")
    if failure == "connect":
        reasons = (_WHY_NO_CONNECTION.get(name) for cause in _causes(error) for name in _names(cause))
        return next(filter(None, reasons), failure)
    return "cut" if in_body and failure == "reset" else failure


def _names(error: BaseException) -> Iterator[str]:
    return (kind.__name__ for kind in type(error).__mro__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, down to the system's own word: beneath that may be what failed before."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):  # somebody may have made a ring of them
        if cause is None:
            return
        yield cause
        cause = None if isinstance(cause, OSError) else cause.__cause__ or cause.__context__


# An error's body is some hundred bytes; a page of HTML says what it is in its first line.
_JSON_BYTES = 65_536
_TEXT_CHARS = 200


def read_error(content: bytes) -> tuple[str | None, str, bool]:
    """``code``, ``message`` and ``from_gateway`` of an answer's body, for `Seen`; never raises.

    Of what is no JSON the message is the start. The content filter is named in one of three places: ``code``, or the
    code of ``innererror``, which the specification spells ``inner_error``.
    """
    start = content[: 4 * _TEXT_CHARS].decode(errors="replace").strip()[:_TEXT_CHARS]
    try:
        # As text a number of a million digits costs nothing, and a code is wanted as text.
        root = json.loads(content, parse_int=str) if len(content) <= _JSON_BYTES else None
    except (ValueError, RecursionError):
        root = None
    if not isinstance(root, dict):
        return None, start, False
    error = root.get("error") or root
    if not isinstance(error, dict):
        return _text(root.get("code")), _text(error) or start, False
    inner = error.get("innererror") or error.get("inner_error")
    inner_code = _text(inner.get("code")) if isinstance(inner, dict) else None
    code = "content_filter" if inner_code in ("ResponsibleAIPolicyViolation", "content_filter") else error.get("code")
    is_bare = error is root
    message = _text(error.get("message")) or (start if is_bare else "")
    return _text(code), message, is_bare and "statusCode" in root


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
