"""Several targets as one plan: a tree whose leaves are targets, and the rules that hold for all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Union

from azure_shim.values import Target

__all__ = ["Branch", "Condition", "Group", "Node", "Plan", "Rules", "targets_of", "with_headers"]


@dataclass(frozen=True, slots=True)
class Condition:
    """``query`` is a test in the gateway's language, ``{"params.model": {"$eq": "o3"}}``; ``then`` names a branch."""

    query: Mapping[str, Any]
    then: str


@dataclass(frozen=True, slots=True)
class Branch:
    """One child of a group: a target or another group, its weight (0: only when nothing else is left), its name."""

    node: Node
    weight: float = 1.0
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """How the children of one node are chosen from.

    ``mode`` is ``"single"`` (the first), ``"fallback"`` (in order), ``"loadbalance"`` (as ``by`` says: ``"weight"``,
    ``"load"``, ``"latency"`` or ``"round_robin"``) or ``"conditional"``. ``on_status_codes``, if any, are the statuses
    that move on to the next child, and no others do. ``wait_s`` is how long a call may wait for a child that is
    cooling down before it overflows into the next one.
    """

    mode: str
    branches: tuple[Branch, ...]
    by: str = "weight"
    on_status_codes: frozenset[int] | None = None
    conditions: tuple[Condition, ...] = ()
    default: str | None = None
    wait_s: float = 0.0


Node = Union[Target, Group]


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every call through a plan.

    ``replay`` says what may be sent again after it may have run: ``"never"``, ``"safe"`` (what only reads or
    generates text), ``"always"``. ``attempts`` bounds what one call sends, over the SDK's retries as well; None for
    each target once, and two attempts more for each retry of the SDK's. ``on_exhausted`` is ``"raise"`` or ``"wait"``.
    ``residency`` are the tags that a target must have. ``content_filter`` names the target for what a content filter
    refused. ``session_header`` names a header whose value is a session; ``seed`` makes choices repeatable.
    """

    replay: str = "safe"
    attempts: int | None = None
    on_exhausted: str = "raise"
    residency: Mapping[str, str] = field(default_factory=dict)
    content_filter: str | None = None
    session_header: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A tree of targets, which all have different names, and its rules."""

    root: Node
    rules: Rules = field(default_factory=Rules)

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(targets_of(self.root))

    @property
    def inside(self) -> tuple[Target, ...]:
        """The targets within the residency."""
        wanted = self.rules.residency.items()
        return tuple(target for target in self.targets if wanted <= dict(target.tags).items())


def with_headers(node: Node, headers: Mapping[str, str]) -> Node:
    """``node`` with ``headers`` on every request to each target, unless the target has its own by such a name."""
    if not isinstance(node, Target):
        branches = tuple(replace(branch, node=with_headers(branch.node, headers)) for branch in node.branches)
        return replace(node, branches=branches)
    own = {name.lower() for name in node.headers}
    added = {name: value for name, value in headers.items() if name.lower() not in own}
    return replace(node, headers={**added, **node.headers})


def targets_of(node: Node) -> Iterator[Target]:
    """The targets below ``node``, from left to right."""
    if isinstance(node, Target):
        yield node
        return
    for branch in node.branches:
        yield from targets_of(branch.node)
