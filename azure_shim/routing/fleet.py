"""The targets of one plan as all of its clients share them: their state, and who has which stored thing."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from random import Random
from time import monotonic
from typing import Any, NamedTuple

from azure_shim.plan import Plan, Rules
from azure_shim.routing.health import Health
from azure_shim.routing.homes import Homes
from azure_shim.routing.route import Addresses
from azure_shim.routing.tree import Tree
from azure_shim.values import Attempt, Credential, Header, Target
from azure_shim.wire.request_line import RequestLine

__all__ = [
    "DEPLOYMENT",
    "METADATA",
    "NO_WISHES",
    "OURS",
    "PIN",
    "RESIDENCY",
    "Fleet",
    "Site",
    "Wishes",
    "fleet_of",
    "marks_of",
]


PIN, RESIDENCY, METADATA = "x-azure-shim-target", "x-azure-shim-residency", "x-portkey-metadata"
DEPLOYMENT = "x-azure-shim-deployment"
OURS = (PIN, RESIDENCY, METADATA, DEPLOYMENT)
"""Headers in which a caller says to us, and to no target, what he wants of one call."""
_RAN = 256
# How long the SDK waits before its first retry and before any later one (openai/_constants.py), and how late it may be.
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 8.0
_LATE_S, _LATE_OF_OWN_S = 5.0, 60.0
# Azure's own mean nothing to OpenAI (Microsoft Learn, "Azure OpenAI REST API reference"). And OpenAI packs its answers,
# in which a model's name could not be given back.
_NOT_FOR_OPENAI = (b"x-ms-", b"aoai-", b"accept-encoding")
_UNPACKED = (b"Accept-Encoding", b"identity")


class Wishes(NamedTuple):
    """What a caller says of one call in headers of ours, which no target gets.

    ``pin`` is a target's name, ``residency`` the tags it must have, ``metadata`` JSON for conditions, ``deployment`` a
    deployment's name, whatever a target has for the model.
    """

    pin: str | None = None
    residency: str | None = None
    metadata: str | None = None
    deployment: str | None = None


NO_WISHES = Wishes()


def marks_of(target: str | None, attempts: int) -> list[tuple[bytes, bytes, bytes]]:
    """The headers that say on a response who served it and how many were asked: name, name in lower case, value."""
    marks = [(b"x-azure-shim-attempts", b"x-azure-shim-attempts", b"%d" % attempts)]
    if target is not None:
        marks.append((b"x-azure-shim-target", b"x-azure-shim-target", target.encode()))
    return marks


class Site:
    """One target, by its number in the plan."""

    __slots__ = ("addresses", "at", "extra", "is_plain", "marks", "name", "others", "own_names", "region", "target")

    def __init__(self, at: int, target: Target) -> None:
        self.at, self.target, self.name, self.region = at, target, target.name, target.region
        overrides = dict(target.override_params)
        model = overrides.pop("model", None)
        self.others = overrides
        """``override_params`` but for the model, which is named as any model is: in JSON and in forms."""
        named = target
        if isinstance(model, str):
            named = replace(target, deployments=lambda _: model, default_deployment=model, default_for=None)
        self.addresses = Addresses(named, at)
        is_signed = not (target.credential.is_absent and target.headers)
        self.is_plain = is_signed and not target.override_params and not target.is_openai
        """Whether the call needs no more here than to be named and signed."""
        self.extra: list[Header] = [(name.encode(), value.encode()) for name, value in target.headers.items()]
        self.marks = marks_of(target.name, 1)
        """What a response is marked with that this target served at once."""
        self.own_names = frozenset(name.lower() for name, _ in self.extra)

    def headers(self, kept: list[Header] | None) -> list[Header] | None:
        """The caller's headers, which have no credential, with the target's own; None for the caller's as they are."""
        if kept is None:
            return None
        if self.target.is_openai:
            kept = [header for header in kept if not header[0].lower().startswith(_NOT_FOR_OPENAI)]
            kept.append(_UNPACKED)
        if not self.extra:
            return kept
        return [header for header in kept if header[0].lower() not in self.own_names] + self.extra


class _Failure(NamedTuple):
    """``expected`` has, of each of the SDK's retries by its count, until when it may come."""

    attempts: tuple[Attempt, ...]
    error: Exception
    may_have_run: bool
    expected: dict[int, float]


class Ran:
    """Calls that failed and are not to be sent again, mostly since they may have run: by a key, while the SDK retries.

    The SDK sends a call again after any error without an answer, and cannot be told not to. A client of ours gives each
    call a key of its own. For others the key is what is sent, which a later call may send as well: the retries of the
    one that failed are waited for as long as the SDK waits before each, and some seconds more for whoever is late.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, _Failure] = OrderedDict()

    def forget_parent(self) -> None:
        self._lock = threading.Lock()

    def put(
        self,
        key: bytes,
        attempts: tuple[Attempt, ...],
        error: Exception,
        *,
        retry: int = 0,
        is_own_key: bool = False,
        may_have_run: bool = True,
    ) -> None:
        """Note that the call, or a ``retry`` of it, has failed with ``error``."""
        with self._lock:
            before = self._kept.pop(key, None)
            expected = {} if before is None else before.expected
            self._expect(expected, retry + 1, is_own_key=is_own_key)
            self._kept[key] = _Failure(attempts, error.with_traceback(None), may_have_run, expected)
            if len(self._kept) > _RAN:
                self._kept.popitem(last=False)

    def get(self, key: bytes, retry: int, *, is_own_key: bool = False) -> _Failure | None:
        """How the call failed whose ``retry`` this is; None if it did not, or not so lately that this can be of it."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.expected.get(retry, 0.0) <= self._clock():
                return None
            self._expect(found.expected, retry + 1, is_own_key=is_own_key)
            return found

    def _expect(self, expected: dict[int, float], retry: int, *, is_own_key: bool) -> None:
        waits_s = min(_FIRST_RETRY_S * 2.0 ** (retry - 1), _LAST_RETRY_S)
        late_s = _LATE_OF_OWN_S if is_own_key else _LATE_S
        expected[retry] = max(expected.get(retry, 0.0), self._clock() + waits_s + late_s)


_NO_RULES = Rules()


class Fleet:
    """A plan at work. ``clock`` gives monotonic seconds; ``random`` is by default the plan's own, by its seed."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = monotonic, random: Random | None = None) -> None:
        self.plan, self.rules, self.clock = plan, plan.rules, clock
        self.sites = [Site(at, target) for at, target in enumerate(plan.targets)]
        self.by_name = {site.name: site for site in self.sites}
        self.health = Health(plan.targets, clock, random or Random(plan.rules.seed))  # noqa: S311  it spreads load
        self.tree = Tree(plan.root, self.health)
        self.needs_headers = plan.rules.session_header is not None or any(
            site.extra or site.target.is_openai for site in self.sites
        )
        """Whether a call's headers have to be looked at or changed."""
        self.share = sum(1 + site.target.retries for site in self.sites)
        """How many attempts it takes to ask every target."""
        self.is_plain = self.tree.is_flat and len(self.sites) > 1 and replace(plan.rules, seed=None) == _NO_RULES
        """Whether a call that asks for nothing in particular can go to any target."""
        self.plain_lines: dict[RequestLine, bool] = {}
        """Of lines, which are kept and compared by identity, whether a call with it is such a one."""
        self.homes = Homes(clock=clock)
        self.ran = Ran(clock)
        _all.add(self)

    def forget_parent(self) -> None:
        """After a fork: what is in flight is the parent's, and a lock may be held by a thread that is not here."""
        self.health.forget_parent()
        self.homes.forget_parent()
        self.ran.forget_parent()

    def __deepcopy__(self, memo: dict[int, Any]) -> Fleet:
        return self


_lock = threading.Lock()
_all: weakref.WeakSet[Fleet] = weakref.WeakSet()
_fleets: weakref.WeakValueDictionary[tuple[Any, ...], Fleet] = weakref.WeakValueDictionary()


def fleet_of(plan: Plan) -> Fleet:
    """The fleet of a plan: clients with equal targets share what they learn of them, in whichever colour they are.

    A plan with a seed has a fleet of its own, since its choices are to be repeatable.
    """
    if plan.rules.seed is not None:
        return Fleet(plan)
    key = (*map(_identity, plan.targets), repr(plan.rules), repr(_shape(plan.root)))
    with _lock:
        found = _fleets.get(key)
        if found is None:
            found = _fleets[key] = Fleet(plan)
        return found


def _identity(target: Target) -> tuple[Any, ...]:
    """What makes two targets one: all that was said of them."""
    own = (getattr(target, field.name) for field in fields(Target) if field.name != "credential")
    signed = (getattr(target.credential, field.name) for field in fields(Credential))
    return (*map(_comparable, own), *map(_comparable, signed))


def _comparable(value: Any) -> Any:
    """Something that is equal for equal values, and can be hashed; of an object it is which one it is."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), repr(_comparable(each))) for key, each in value.items()))
    if value is None or isinstance(value, (str, bytes, int, float, tuple, frozenset)):
        return value
    return repr(value) if isinstance(value, list) else id(value)


def _shape(node: Any) -> Any:
    if isinstance(node, Target):
        return node.name
    branches = [(_shape(branch.node), branch.weight, branch.name) for branch in node.branches]
    return (node.mode, node.by, node.on_status_codes, node.conditions, node.default, node.wait_s, branches)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for fleet in list(_all):
        fleet.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
