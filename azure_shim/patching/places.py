"""What of ours stands in other people's classes and modules, and how it is taken out again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["Places"]

_ABSENT: Any = object()


class _Place:
    """One attribute that is ours, and what was there before."""

    def __init__(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        self.owner, self.name = owner, name
        self._before = vars(owner).get(name, _ABSENT)
        original = inspect.getattr_static(owner, name, None) if self._before is _ABSENT else self._before
        self._ours = make(original)
        setattr(owner, name, self._ours)

    def leave(self) -> bool:
        """Put back what was there, the very same object. False if somebody else's stands on top of ours."""
        if vars(self.owner).get(self.name) is not self._ours:
            return False
        if self._before is _ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self._before)
        return True

    def is_below(self) -> bool:
        """Whether ours is still reached through what stands there now."""
        at, seen = vars(self.owner).get(self.name), set[int]()
        while at is not None and id(at) not in seen:
            if at is self._ours:
                return True
            seen.add(id(at))
            at = getattr(at, "__wrapped__", None)
        return False


class Places:
    """All of them. What cannot be taken out, since others have wrapped it, is found again when it is next wanted."""

    def __init__(self) -> None:
        self._taken: dict[tuple[int, str], _Place] = {}

    def take(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Let ``owner.name`` be ``make(what is there)``, unless ours is there already, below a wrapper of others."""
        key = (id(owner), name)
        left = self._taken.get(key)
        if left is None or not left.is_below():
            self._taken[key] = _Place(owner, name, make)

    def leave(self) -> None:
        """Put everything back that others have not built upon."""
        for key, place in reversed(list(self._taken.items())):
            if place.leave():
                del self._taken[key]
