"""What binds a call to some of the targets: its caller's pin, residency, and where the things are that it names."""

from __future__ import annotations

from typing import NamedTuple

from azure_shim.routing.fleet import Fleet, Site, Wishes
from azure_shim.routing.homes import creates_or_lists, ids_of_request, is_read
from azure_shim.routing.route import Call
from azure_shim.values import Refusal

__all__ = ["FREE", "Bounds", "bounds_of", "inside"]


class Bounds(NamedTuple):
    """``allowed`` are the numbers of the targets that may get the call, None for all.

    ``is_fixed`` asks for the plan's written order: such a call has one place, whose first choice is the same each time.
    ``moves`` says whether another target may be asked after one has failed. ``lost`` are the ids of a read of a thing
    whose home is not known, which is looked for: a 404 then only says that it is not here.
    """

    allowed: frozenset[int] | None = None
    is_fixed: bool = False
    moves: bool = True
    lost: tuple[str, ...] = ()

    def allow(self, at: int) -> bool:
        return self.allowed is None or at in self.allowed

    @property
    def only(self) -> int | None:
        """The one target that may get the call, if there is just one."""
        return next(iter(self.allowed)) if self.allowed is not None and len(self.allowed) == 1 else None


FREE = Bounds()


def bounds_of(fleet: Fleet, call: Call, wishes: Wishes) -> Bounds | Refusal:
    """The bounds of a call, or why no target is within them."""
    line = call.line
    allowed = inside(fleet, wishes.residency)
    if isinstance(allowed, Refusal):
        return allowed
    if wishes.pin is not None:
        pinned = fleet.by_name.get(wishes.pin)
        if pinned is None:
            names = ", ".join(map(repr, fleet.by_name))
            return Refusal(400, "UnknownTarget", f"x-azure-shim-target: no target is named so; there are: {names}.")
        return _bound(pinned, allowed)
    is_fixed, moves = False, True
    lost: tuple[str, ...] = ()
    operation = line.operation
    ids = ids_of_request(line, call.content)
    if operation is not None and (ids or operation.kept):
        home = fleet.by_name.get(fleet.homes.of(ids) or "") if ids else None
        if home is not None:
            return _bound(home, allowed)
        lost = ids if is_read(line) else ()
        is_fixed = bool(ids) or creates_or_lists(line)
        # A list that another target answered would be another list, and what was to change a thing of one place would
        # change nothing at another. Only a read may look for its thing.
        is_creation = operation.method == "POST" and "{" not in operation.path
        moves = not is_fixed or bool(lost) or is_creation
    if call.explicit:
        # A credential that the caller wrote into the call is for one target, and nobody else's to see.
        is_fixed, moves = True, False
    if moves and allowed is None and not is_fixed:
        return FREE
    return Bounds(allowed, is_fixed, moves, lost)


def _bound(site: Site, allowed: frozenset[int] | None) -> Bounds | Refusal:
    if allowed is not None and site.at not in allowed:
        return Refusal(
            403,
            "OutsideResidency",
            f"target {site.name!r}, where this call has to go, is not within the residency asked for.",
        )
    return Bounds(frozenset((site.at,)), moves=False)


def inside(fleet: Fleet, wished: str | None) -> frozenset[int] | Refusal | None:
    """The targets within the residency of the plan and of the call; None for all."""
    rules = fleet.rules.residency
    if not rules and wished is None:
        return None
    wanted = dict(rules)
    for part in [] if wished is None else wished.split(","):
        key, _, value = (text.strip() for text in part.partition("="))
        if not key:
            return Refusal(403, "OutsideResidency", "x-azure-shim-residency: expected tags, such as 'eu' or 'zone=eu'.")
        if wanted.get(key, value) != value:
            return Refusal(403, "OutsideResidency", f"x-azure-shim-residency: the plan itself keeps to {dict(rules)}.")
        wanted[key] = value
    found = [site.at for site in fleet.sites if wanted.items() <= dict(site.target.tags).items()]
    if not found:
        shown = ", ".join(f"{key}={value}" if value else key for key, value in wanted.items())
        return Refusal(403, "OutsideResidency", f"No target has the tags that residency asks for: {shown}.")
    return frozenset(found)
