"""A config with several targets -> one validated `Plan`. All problems are reported at once, each with its place.

The format is that of the Portkey gateway 1.15.2, with what this package adds to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from azure_shim.auth.secrets import shown
from azure_shim.config import checks
from azure_shim.config.conditions import not_among, read_conditions
from azure_shim.config.credentials import KEY_VARIABLE
from azure_shim.config.files import config_from, load, plain
from azure_shim.config.keys import (
    AZURE,
    OPENAI,
    PROVIDERS,
    ROOT_KEYS,
    Layer,
    inherit,
    misplaced_keys,
    read_keys,
    settle_credentials,
)
from azure_shim.config.leaves import read_leaf
from azure_shim.config.reading import LOST, Reading, kind_of
from azure_shim.config.settings import ARGUMENTS
from azure_shim.plan import Branch, Condition, Group, Node, Plan, Rules, targets_of
from azure_shim.values import Target

__all__ = ["config_from", "read_plan"]

_ROOT = "config"
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_DEEPEST = 16
_MODES = ("single", "loadbalance", "fallback", "conditional")
# Each key of a strategy: the modes that have it, and what it may be.
_STRATEGY: dict[str, tuple[tuple[str, ...], checks.Check]] = {
    "mode": (_MODES, checks.one_of(*_MODES)),
    "by": (("loadbalance",), checks.one_of("weight", "load", "latency", "round_robin")),
    "on_status_codes": (("fallback", "loadbalance"), checks.statuses),
    "wait_s": (("fallback",), checks.number(0, or_equal=True, expected="seconds, a number of at least 0")),
    "conditions": (("conditional",), checks.anything),
    "default": (("conditional",), checks.word),
}


def read_plan(
    config: Mapping[str, Any] | str | os.PathLike[str] | Any,
    *,
    is_async: bool,
    environ: Mapping[str, str] | None = None,
    base: Mapping[str, Any] = _NOTHING,
) -> tuple[Plan, dict[str, str]]:
    """The plan that ``config`` describes, and the environment variables that it took something from.

    ``config`` is a mapping in the gateway's format, the path of a ``.toml`` or ``.json`` file, or one of
    `azure_shim.targets`. ``base`` are the constructor's arguments beside it (those of `ARGUMENTS`), which its Azure
    targets inherit.

    Raises:
        ConfigurationError: naming all that is wrong, each with its path, such as ``config.targets[1].weigth``.
    """
    reading = Reading(environ, is_async=is_async)
    given = {name: base[name] for name in ARGUMENTS if base.get(name) is not None}
    tree = _Tree(reading)
    root = tree.read(load(config), _ROOT, (Layer("", AZURE, given),))
    if root.node is None:
        raise reading.error()
    node = _renamed(root.node, iter(tree.names()))
    rules = _rules(tree.rules, node, reading)
    _check_ambient_key(node, reading)
    if reading.has_problems:
        raise reading.error()
    return Plan(node, rules), reading.used


class _Child(NamedTuple):
    """What was read of one node; ``node`` is None if it cannot be built."""

    node: Node | None
    name: str | None = None
    weight: float = 1.0


class _Tree:
    """Reads one node after the other."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._written: dict[str, str] = {}  # each name that was written, and where
        self._leaves: list[tuple[str | None, str]] = []  # of each target: its written name, and one for want of it
        self.rules: dict[str, Any] = {}

    def read(self, given: Any, place: str, layers: tuple[Layer, ...]) -> _Child:
        """One node and all below it."""
        is_root = len(layers) == 1
        given = plain(given)
        if not isinstance(given, Mapping):
            expected = "a mapping, or one of azure_shim's typed targets and groups"
            self._reading.problem(place, f"is {kind_of(given)}; expected {expected}")
            return _Child(None)
        if len(layers) > _DEEPEST:
            self._reading.problem(place, f"is nested deeper than {_DEEPEST} levels")
            return _Child(None)
        keys = read_keys(given, place, self._reading, is_root=is_root)
        if is_root:
            self.rules = {key: keys[key] for key in ROOT_KEYS if key in keys}
        provider = self._provider(keys, place, layers[-1].provider)
        if provider != OPENAI:
            settle_credentials(keys)
        layers = (*layers, Layer(place, provider or layers[-1].provider, keys))
        name, weight = keys.get("name"), keys.get("weight", 1.0)
        name, weight = None if name is LOST else name, 1.0 if weight is LOST else weight
        if name is not None:
            self._note_name(name, place)
        node: Node | None
        if keys.get("strategy") is not None or keys.get("targets") is not None:
            node = self._group(keys, place, layers)
        else:
            node = None if provider is None else self._leaf(keys, provider, place, layers)
        return _Child(node, name, weight)

    def names(self) -> list[str]:
        """The names of the targets, which are all different; one that was written is kept."""
        taken = set(self._written)
        names = []
        for written, other in self._leaves:
            name, count = written or other, 1
            while written is None and name in taken:
                count += 1
                name = f"{other}-{count}"
            taken.add(name)
            names.append(name)
        return names

    def _provider(self, keys: Mapping[str, Any], place: str, above: str) -> str | None:
        value = keys.get("provider", above)
        if value is LOST:
            return None
        found = PROVIDERS.get(value.strip().lower()) if isinstance(value, str) else None
        if found is None:
            checks.one_of(AZURE, OPENAI)(value, f"{place}.provider", self._reading)
        return found

    def _note_name(self, name: str, place: str) -> None:
        if name in self._written:
            self._reading.problem(f"{place}.name", f"{shown(name)} is the name of {self._written[name]} too")
        self._written.setdefault(name, place)

    def _leaf(self, keys: Mapping[str, Any], provider: str, place: str, layers: tuple[Layer, ...]) -> Target | None:
        other = AZURE if provider == OPENAI else OPENAI
        for key in misplaced_keys(keys, provider):
            self._reading.problem(f"{place}.{key}", f"is for a target of provider {other!r}, but this is {provider!r}")
        target = read_leaf(inherit(layers, provider), provider, place, self._reading)
        if target is None:
            return None
        name = keys.get("name")
        self._leaves.append((None if name is LOST else name, target.name))
        return target

    def _group(self, keys: Mapping[str, Any], place: str, layers: tuple[Layer, ...]) -> Group | None:
        reading = self._reading
        strategy = self._strategy(keys.get("strategy"), place)
        given = keys.get("targets")
        if given is None:
            reading.problem(place, "has a strategy, but no targets: add targets, a list, or remove strategy")
            return None
        if not isinstance(given, (list, tuple)) or not given:
            what = "empty" if isinstance(given, (list, tuple)) else kind_of(given)
            reading.problem(f"{place}.targets", f"is {what}; expected a list of targets")
            return None
        children = [self.read(child, f"{place}.targets[{index}]", layers) for index, child in enumerate(given)]
        mode = strategy.get("mode")
        if mode == "loadbalance" and not any(child.weight for child in children):
            reading.problem(f"{place}.targets", "all have the weight 0: give one of them another")
        conditions: tuple[Condition, ...] = ()
        if mode == "conditional":
            conditions = self._conditions(strategy, children, place)
        branches = tuple(Branch(child.node, child.weight, child.name) for child in children if child.node is not None)
        if mode is None or len(branches) < len(children):
            return None
        return Group(
            mode,
            branches,
            by=strategy.get("by", "weight"),
            on_status_codes=strategy.get("on_status_codes"),
            conditions=conditions,
            default=strategy.get("default"),
            wait_s=strategy.get("wait_s", 0.0),
        )

    def _strategy(self, given: Any, place: str) -> dict[str, Any]:
        """The strategy's keys; without a mode if that is no good."""
        reading = self._reading
        if given is None:
            reading.problem(
                place,
                "has targets, but no strategy: add strategy={'mode': 'fallback'} to ask them in order, or "
                "{'mode': 'loadbalance'} to share among them",
            )
            return {}
        place = f"{place}.strategy"
        if not isinstance(given, Mapping):
            reading.problem(place, f"is {kind_of(given)}; expected a mapping such as {{'mode': 'fallback'}}")
            return {}
        reading.check_names(given, _STRATEGY, place)
        found: dict[str, Any] = {}
        if given.get("mode") is None:
            reading.problem(place, f"has no mode; expected one of {', '.join(map(repr, _MODES))}")
        for key, (modes, check) in _STRATEGY.items():
            if given.get(key) is None:
                continue
            value = check(given[key], f"{place}.{key}", reading)
            if value is not LOST:
                found[key] = value
            mode = found.get("mode")
            if mode is not None and mode not in modes:
                expected = " or ".join(map(repr, modes))
                reading.problem(f"{place}.{key}", f"goes with mode {expected}, but the mode is {mode!r}")
        return found

    def _conditions(self, strategy: dict[str, Any], children: list[_Child], place: str) -> tuple[Condition, ...]:
        """The conditions of a group, which name the children that they lead to."""
        reading = self._reading
        names = [child.name for child in children if child.name is not None]
        for index, child in enumerate(children):
            if child.name is None:
                reading.problem(
                    f"{place}.targets[{index}]",
                    "has no name, so that no condition can lead to it: give it one, or remove it",
                )
        default = strategy.get("default")
        if default is not None and default not in names:
            reading.problem(f"{place}.strategy.default", not_among(default, names))
        return read_conditions(strategy.get("conditions"), names, f"{place}.strategy.conditions", reading)


def _renamed(node: Node, names: Iterator[str]) -> Node:
    if isinstance(node, Target):
        return replace(node, name=next(names))
    branches = tuple(replace(branch, node=_renamed(branch.node, names)) for branch in node.branches)
    return replace(node, branches=branches)


def _check_ambient_key(root: Node, reading: Reading) -> None:
    """The key in the environment is one resource's, and nobody else's to see."""
    signed = [target for target in targets_of(root) if target.credential.source == KEY_VARIABLE]
    origins = dict.fromkeys(str(target.endpoint.origin) for target in signed)
    if len(origins) > 1:
        names = ", ".join(repr(target.name) for target in signed)
        reading.problem(
            _ROOT,
            f"the targets {names} have no credential of their own, and {KEY_VARIABLE} is one key, which would go to "
            f"{len(origins)} hosts: give each its own, such as api_key={{'env': 'EASTUS_KEY'}}",
        )


def _rules(given: Mapping[str, Any], root: Node, reading: Reading) -> Rules:
    """The rules of a plan, which name its targets and their tags."""
    found = {key: value for key, value in given.items() if value is not LOST}
    targets = tuple(targets_of(root))
    residency: Mapping[str, str] = found.get("residency", {})
    allowed = [t.name for t in targets if residency.items() <= dict(t.tags).items()]
    if not allowed:
        reading.problem(f"{_ROOT}.residency", f"no target has the tags {dict(residency)!r}")
    last = found.get("content_filter")
    if last is not None and last not in (target.name for target in targets):
        reading.problem(f"{_ROOT}.content_filter", not_among(last, [target.name for target in targets]))
    elif last is not None and allowed and last not in allowed:
        reading.problem(f"{_ROOT}.content_filter", f"{shown(last)} is not within the residency")
    return Rules(**found)
