"""In which order a plan's targets are asked: one walk through the tree per call, which is told what came of each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, Union

from azure_shim.plan import Group, Node
from azure_shim.routing.conditions import matches
from azure_shim.routing.health import SLOW_START_S, Health
from azure_shim.routing.sessions import preferred
from azure_shim.values import Target

__all__ = ["Came", "Hold", "Tree", "Walk", "Wanted"]


class Hold(NamedTuple):
    """The walk would rather wait than overflow: for ``seconds``, for the target that recovers then."""

    seconds: float


class Came(NamedTuple):
    """What came of a target: the answer's status, if there was one, and whether another target may be asked."""

    status: int | None
    moves_on: bool


class Wanted(NamedTuple):
    """What a call wants of the walk.

    ``is_fixed`` asks for the written order, whatever the groups say: that of things which live in one place.
    ``session`` asks for the same target as before. ``context`` gives the fields that conditions look at; ``waits_for``
    is how long until a target recovers, 0 if it need not.
    """

    is_fixed: bool = False
    session: str | None = None
    context: Callable[[], Mapping[str, Any]] = dict
    waits_for: Callable[[int], float] = float


Walk = Generator[Union[int, Hold], Any, Union[Came, None]]
"""Yields the number of the target to ask next, and is sent what came of it: None if it was not asked."""


_FEW = 5


class _Leaf(NamedTuple):
    at: int


class _Branches:
    """A group with its children's numbers."""

    def __init__(self, group: Group, numbers: itertools.count[int]) -> None:
        self.group = group
        self.children: list[_Leaf | _Branches] = [_compiled(branch.node, numbers) for branch in group.branches]
        self.weights = [branch.weight for branch in group.branches]
        self.names = [_name(branch.node, branch.name, index) for index, branch in enumerate(group.branches)]
        self.turns = itertools.count()
        written = range(len(self.children))
        # A weight of 0 says: only when nothing else is left.
        self.used = [index for index in written if self.weights[index] > 0]
        self.spares = [index for index in written if self.weights[index] == 0]
        self.ats = [child.at for child in self.children if isinstance(child, _Leaf)]
        self.is_flat = len(self.ats) == len(self.children) and not group.wait_s and group.mode != "conditional"
        # With equal weights every order is as likely as any other.
        is_even = len({self.weights[index] for index in self.used}) == 1 and len(self.used) <= _FEW
        self.permutations = [list(order) for order in itertools.permutations(self.used)] if is_even else []


def _name(node: Node, name: str | None, index: int) -> str:
    return name or (node.name if isinstance(node, Target) else f"#{index}")


def _compiled(node: Node, numbers: itertools.count[int]) -> _Leaf | _Branches:
    return _Leaf(next(numbers)) if isinstance(node, Target) else _Branches(node, numbers)


class Tree:
    """A plan's tree, with the state that its choices depend on."""

    def __init__(self, root: Node, health: Health) -> None:
        self._root = _compiled(root, itertools.count())
        self._health = health
        self._groups: dict[int, Group] = {}  # the nearest one around a target that has a list of statuses
        _note_lists(self._root, None, self._groups)
        top = self._root
        self.is_flat = isinstance(top, _Branches) and top.is_flat
        """Whether `flat` says all that a walk would."""
        self._orders: list[list[int]] = []  # where each is as likely as any other
        if isinstance(top, _Branches) and top.is_flat and (top.group.mode, top.group.by) == ("loadbalance", "weight"):
            spares = [top.ats[index] for index in top.spares]
            self._orders = [[top.ats[index] for index in order] + spares for order in top.permutations]

    def flat(self, session: str | None, *, is_fixed: bool) -> Sequence[int]:
        """The targets of one group, in the order in which a walk would ask them."""
        root = self._root
        assert isinstance(root, _Branches), "what is flat is one group"
        return [root.ats[index] for index in self._order(root, session, is_fixed=is_fixed)]

    def next_order(self, now: float) -> Sequence[int]:
        """As `flat`, for a call that wants nothing in particular."""
        orders = self._orders
        health = self._health
        if orders and now - health.recovered_at >= SLOW_START_S:
            return orders[int(health.random.random() * len(orders))]
        return self.flat(None, is_fixed=False)

    def moves_on(self, at: int, came: Came) -> bool:
        """Whether another target may be asked after target ``at``, for a call that is not on a walk."""
        group = self._groups.get(at)
        return came.moves_on if group is None else _moves_on(group, came)

    def walk(self, wanted: Wanted) -> Walk:
        return self._visit(self._root, wanted)

    def _visit(self, node: _Leaf | _Branches, wanted: Wanted) -> Walk:
        if isinstance(node, _Leaf):
            came: Came | None = yield node.at
            return came
        mode = node.group.mode
        if mode == "conditional":
            chosen = _chosen(node, wanted)
            return None if chosen is None else (yield from self._visit(node.children[chosen], wanted))
        last: Came | None = None
        order = self._order(node, wanted.session, is_fixed=wanted.is_fixed)
        for index in order:
            child = node.children[index]
            came = yield from self._visit(child, wanted)
            if node.group.wait_s and index != order[-1] and (came is None or came.moves_on):
                wait_s = min(wanted.waits_for(at) for at in _leaves(child))
                if 0 < wait_s <= node.group.wait_s:
                    yield Hold(wait_s)
                    came = (yield from self._visit(child, wanted)) or came
            if came is None:
                continue
            last = came
            if not _moves_on(node.group, came):
                return came._replace(moves_on=False)
            if mode == "single":
                break
        return last

    def _order(self, node: _Branches, session: str | None, *, is_fixed: bool) -> Sequence[int]:
        mode = node.group.mode
        if mode == "single":
            return (0,)
        used = node.used
        if mode == "loadbalance" and not is_fixed and len(used) > 1:
            used = self._balanced(node, used, session)
        return [*used, *node.spares] if node.spares else used

    def _balanced(self, node: _Branches, used: list[int], session: str | None) -> list[int]:
        health, by = self._health, node.group.by
        if session is not None:
            names = {node.names[index]: index for index in used}
            weights = [(name, node.weights[index]) for name, index in names.items()]
            kept = preferred(session, weights, lambda name: self._load(node.children[names[name]]))
            return [names[name] for name in kept]
        if by == "round_robin":
            turn = next(node.turns) % len(used)
            return used[turn:] + used[:turn]
        now = health.clock()
        if by == "latency":
            return sorted(used, key=lambda index: (self._expected_s(node.children[index], now), health.random.random()))
        if by == "weight" and node.permutations and health.is_even(now):
            return node.permutations[int(health.random.random() * len(node.permutations))]
        # Exponential clocks: who rings first is chosen by weight, and the rest is in the order of choosing again.
        rate = health.random.expovariate
        rings = [(rate(node.weights[index] * self._share(node.children[index], now)), index) for index in used]
        rings.sort()
        ranked = [index for _, index in rings]
        if by == "load":
            first, second = ranked[0], ranked[1]
            loads = [self._load(node.children[i]) / node.weights[i] for i in (first, second)]
            if loads[1] < loads[0]:
                ranked[0], ranked[1] = second, first
        return ranked

    def _share(self, child: _Leaf | _Branches, now: float) -> float:
        return self._health.share(child.at, now) if isinstance(child, _Leaf) else 1.0

    def _load(self, child: _Leaf | _Branches) -> int:
        return sum(self._health.load(at) for at in _leaves(child))

    def _expected_s(self, child: _Leaf | _Branches, now: float) -> float:
        return min(self._health.expected_s(at, now) for at in _leaves(child))


def _note_lists(node: _Leaf | _Branches, nearest: Group | None, groups: dict[int, Group]) -> None:
    if isinstance(node, _Leaf):
        if nearest is not None:
            groups[node.at] = nearest
        return
    if node.group.on_status_codes is not None:
        nearest = node.group
    for child in node.children:
        _note_lists(child, nearest, groups)


def _moves_on(group: Group, came: Came) -> bool:
    """A list of statuses is obeyed as written; what has no status moves on as it would without one."""
    if group.on_status_codes is not None and came.status is not None:
        return came.status in group.on_status_codes
    return came.moves_on


def _chosen(node: _Branches, wanted: Wanted) -> int | None:
    context = wanted.context()
    for condition in node.group.conditions:
        if matches(condition.query, context):
            return node.names.index(condition.then)
    return None if node.group.default is None else node.names.index(node.group.default)


def _leaves(child: _Leaf | _Branches) -> list[int]:
    if isinstance(child, _Leaf):
        return [child.at]
    return [at for inner in child.children for at in _leaves(inner)]
