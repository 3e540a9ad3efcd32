"""The targets of one plan as all of its clients share them: their state, and who has which stored thing."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from random import Random
from time import monotonic
from typing import Any, NamedTuple

from azure_shim.plan import Plan
from azure_shim.routing.health import Health
from azure_shim.routing.homes import Homes
from azure_shim.routing.route import Addresses
from azure_shim.routing.tree import Tree
from azure_shim.values import Failed, Header, Target

__all__ = ["Fleet", "Site", "Wishes", "fleet_of"]


_RAN, _RETRIED_S = 256, 60.0
# Of requests; they mean nothing to OpenAI (Microsoft Learn, "Azure OpenAI REST API reference").
_AZURE_HEADERS = (b"x-ms-", b"aoai-")


class Wishes(NamedTuple):
    """What a caller says of one call in headers of ours, which no target gets.

    ``pin`` is a target's name, ``residency`` the tags it must have, ``metadata`` JSON for conditions. ``retry`` is how
    often the SDK has sent the call before.
    """

    pin: str | None = None
    residency: str | None = None
    metadata: str | None = None
    retry: int = 0


class Site:
    """One target, by its number in the plan."""

    __slots__ = ("addresses", "at", "extra", "name", "others", "own_names", "target")

    def __init__(self, at: int, target: Target) -> None:
        self.at, self.target, self.name = at, target, target.name
        overrides = dict(target.override_params)
        model = overrides.pop("model", None)
        self.others = overrides
        """``override_params`` but for the model, which is named as any model is: in JSON and in forms."""
        named = target
        if isinstance(model, str):
            named = replace(target, deployments=lambda _: model, default_deployment=model, default_for=None)
        self.addresses = Addresses(named, at)
        self.extra: list[Header] = [(name.encode(), value.encode()) for name, value in target.headers.items()]
        self.own_names = frozenset(name.lower() for name, _ in self.extra)

    def headers(self, kept: list[Header] | None) -> list[Header] | None:
        """The caller's headers, which have no credential, with the target's own; None for the caller's as they are."""
        if kept is None:
            return None
        if self.target.is_openai:
            kept = [header for header in kept if not header[0].lower().startswith(_AZURE_HEADERS)]
        if not self.extra:
            return kept
        return [header for header in kept if header[0].lower() not in self.own_names] + self.extra


class Ran:
    """Calls that failed after they may have run, and must not run twice: by a key, for as long as the SDK retries.

    The SDK sends a call again after any error without an answer, and cannot be told not to.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[Failed, float]] = OrderedDict()

    def put(self, key: bytes, outcome: Failed) -> None:
        with self._lock:
            self._kept[key] = (outcome, self._clock() + _RETRIED_S)
            self._kept.move_to_end(key)
            if len(self._kept) > _RAN:
                self._kept.popitem(last=False)

    def get(self, key: bytes) -> Failed | None:
        with self._lock:
            found = self._kept.get(key)
            return found[0] if found is not None and found[1] > self._clock() else None


class Fleet:
    """A plan at work. ``clock`` gives monotonic seconds, ``now`` Unix time, for dates in Retry-After."""

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
        self.homes = Homes(clock=clock)
        self.ran = Ran(clock)

    def __deepcopy__(self, memo: dict[int, Any]) -> Fleet:
        return self


_lock = threading.Lock()
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
    """What makes two targets one: where they are, what they serve and who pays."""
    signed = target.credential
    deployments = target.deployments
    names = tuple(sorted(deployments.items())) if isinstance(deployments, dict) else id(deployments)
    return (
        target.name,
        target.endpoint,
        target.api_version,
        target.default_deployment,
        names,
        signed.value,
        id(signed.provider) if signed.provider is not None else None,
        id(signed.tokens) if signed.tokens is not None else None,
        tuple(sorted(target.headers.items())),
        repr(sorted(target.override_params.items(), key=str)),
        repr((target.tags, target.region, target.timeout_s, target.retries, target.retry_statuses, target.pool)),
        target.unmapped,
    )


def _shape(node: Any) -> Any:
    if isinstance(node, Target):
        return node.name
    branches = [(_shape(branch.node), branch.weight, branch.name) for branch in node.branches]
    return (node.mode, node.by, node.on_status_codes, node.conditions, node.default, node.wait_s, branches)
