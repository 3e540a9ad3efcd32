"""The first attempt of a plain call, which is all that most calls need: a `Trip` begins where it does not go well.

It says nothing new. What it leaves out are questions whose answers are known for such a call: there is no pin, no home,
no session, no earlier attempt. That is most of what several targets cost over one.
"""

from __future__ import annotations

from typing import Protocol

from azure_shim.auth.flow import send_signed
from azure_shim.routing.asking import First
from azure_shim.routing.failover import Trip
from azure_shim.routing.fleet import NO_WISHES, Fleet, Site
from azure_shim.routing.looking import is_text
from azure_shim.routing.noting import steer
from azure_shim.routing.replay import is_pure
from azure_shim.routing.route import Call, Naming, Route, name_deployment
from azure_shim.values import Answered
from azure_shim.wire.request_line import RequestLine

__all__ = ["Holder", "is_plain", "try_first"]

_KEPT_LINES = 4096
# A longer body is not searched more often than needed.
_SEARCHED_BYTES = 1 << 18
# Members that bind a call to a target, or say that another answer could not take the place of this one. A body in which
# any of them stands, if only as a word, goes the long way.
_TELLING = (b'"store"', b"prompt_cache_key", b'"user":')


class Holder(Protocol):
    """Where is kept how a call was served: by its first attempt, which took so many seconds, or by a trip."""

    first: tuple[Site, Naming, float] | None
    trip: Trip | None


def is_plain(fleet: Fleet, call: Call, is_shown: bool = False) -> bool:
    """Whether nothing binds the call to a target, and it may be repeated, so that its answer is taken in whole.

    ``is_shown`` says that its client has looked at the names of the body's members already, and found none of these.
    """
    content = call.content
    if content is None or not fleet.is_plain:
        return False
    if not fleet.plain_lines.get(call.line) and not _is_plain_line(fleet, call.line):
        return False
    if call.retry or call.explicit or call.content_encoding or len(content) > _SEARCHED_BYTES:
        return False
    if b"file_id" in content:
        return False
    if is_shown:
        return True
    for member in _TELLING:
        if member in content:
            return False
    return not call.streams


def _is_plain_line(fleet: Fleet, line: RequestLine) -> bool:
    """Whether a call with this line names nothing that is stored, leaves nothing behind, and answers a text."""
    known = fleet.plain_lines.get(line)
    if known is None:
        if len(fleet.plain_lines) >= _KEPT_LINES:
            fleet.plain_lines.clear()
        operation = line.operation
        names_nothing = operation is not None and not operation.kept and not operation.path.startswith("/responses")
        known = fleet.plain_lines[line] = names_nothing and is_pure(line) and is_text(line)
    return known


def try_first(fleet: Fleet, call: Call, holder: Holder) -> Route:
    """Ask the target whose turn it is; what came of it is ``holder.first`` if it has served, else a `Trip` goes on."""
    started = fleet.clock()
    order = fleet.tree.next_order(started)
    at = order[0]
    site = fleet.sites[at]
    addresses = site.addresses
    first: First | None = None
    if site.is_plain and addresses.refusal(call.line) is None:
        target = site.target
        naming = yield from name_deployment(call, target, wants_name=True)
        record = fleet.health.records[at]
        is_fit = not (record.is_troubled or record.spent or record.suspect_until > started)
        if isinstance(naming, Naming) and (is_fit or record.is_fit(naming.deployment, started)):
            record.in_flight.append(None)
            try:
                outcome = yield from send_signed(
                    target.credential,
                    addresses.address(call.line, naming),
                    site.headers(call.headers),
                    naming.body,
                    addresses.renewals,
                    target.timeout_s,
                    None,
                    True,
                )
            except BaseException:
                record.leave()
                raise
            if isinstance(outcome, Answered) and outcome.taken_in is True:
                now = fleet.clock()
                record.leave()
                fleet.health.went_well(at, naming.deployment, now, now - started)
                if outcome.limits or record.spent:
                    steer(fleet, site, naming.deployment, outcome, now)
                holder.first = (site, naming, now - started)
                return outcome
            first = First(site, naming, outcome, started)
    trip = holder.trip = Trip(fleet, call, NO_WISHES, first=first, order=order)
    return (yield from trip.run())
