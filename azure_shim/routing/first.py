"""The first attempt of a plain call, which is all that most calls need: a `Trip` begins where it does not go well.

It says nothing new. What it leaves out are questions whose answers are known for such a call: there is no pin, no home,
no session, no earlier attempt. That is most of what several targets cost over one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from azure_shim.auth.flow import send_signed
from azure_shim.routing.fleet import Fleet, Site
from azure_shim.routing.looking import is_text
from azure_shim.routing.noting import steer
from azure_shim.routing.replay import is_pure
from azure_shim.routing.route import Call, Naming, name_deployment
from azure_shim.values import Answered, Effect, Refusal
from azure_shim.wire.request_line import RequestLine

__all__ = ["First", "is_plain", "try_first"]

# Lines are kept, and compared by identity.
_known: dict[RequestLine, bool] = {}
_KEPT_LINES = 4096
# A longer body is not searched more often than needed.
_SEARCHED_BYTES = 1 << 18
# Members that bind a call to a target, or say that another answer could not take the place of this one. A body in which
# any of them stands, if only as a word, goes the long way.
_TELLING = (b'"stream":true', b'"stream": true', b'"store"', b"file_id", b"prompt_cache_key", b'"user":', b'"user" ')


class First(NamedTuple):
    """An attempt that was made: what came of which target, and in which order the others are to be asked.

    ``duration_s`` is how long it took, if it went well, which is when ``is_over``.
    """

    site: Site
    naming: Naming
    outcome: Any
    started: float
    order: Sequence[int]
    is_over: bool = False
    duration_s: float = 0.0


def is_plain(fleet: Fleet, call: Call) -> bool:
    """Whether nothing binds the call to a target, and it may be repeated, so that its answer is taken in whole."""
    content = call.content
    if content is None or not fleet.is_plain or not (_known.get(call.line) or _is_plain_line(call.line)):
        return False
    if call.retry or call.explicit or call.content_encoding or len(content) > _SEARCHED_BYTES:
        return False
    for member in _TELLING:  # noqa: SIM110  a generator would cost a microsecond
        if member in content:
            return False
    return True


def _is_plain_line(line: RequestLine) -> bool:
    known = _known.get(line)
    if known is None:
        if len(_known) >= _KEPT_LINES:
            _known.clear()
        operation = line.operation
        names_nothing = operation is not None and not operation.kept and not operation.path.startswith("/responses")
        known = _known[line] = names_nothing and is_pure(line) and is_text(line)
    return known


def try_first(fleet: Fleet, call: Call) -> Generator[Effect, Any, First | None]:
    """Ask the target whose turn it is; None if that is not fit to be asked, or does not serve the call."""
    order = fleet.tree.next_order()
    at = order[0]
    site, health = fleet.sites[at], fleet.health
    if not site.is_plain or site.addresses.refusal(call.line) is not None:
        return None
    target = site.target
    naming = yield from name_deployment(call, target, wants_name=True)
    if naming.__class__ is Refusal:
        return None
    assert isinstance(naming, Naming)
    started = fleet.clock()
    if not health.is_fit(at, naming.deployment, started):
        return None
    there, addresses = site.addresses.address(call.line, naming), site.addresses
    health.enter(at)
    try:
        outcome = yield from send_signed(
            target.credential,
            there,
            site.headers(call.headers),
            naming.body,
            addresses.renewals,
            target.timeout_s,
            None,
            takes_in=True,
        )
    except BaseException:
        health.leave(at)
        raise
    if outcome.__class__ is Answered and outcome.taken_in is True:
        health.leave(at)
        now = fleet.clock()
        duration_s = now - started
        health.went_well(at, naming.deployment, now, duration_s)
        steer(fleet, site, naming.deployment, outcome, now)
        return First(site, naming, outcome, started, order, True, duration_s)
    return First(site, naming, outcome, started, order)
