"""Which target a session keeps to, so that its prompt is still in that target's cache (field note P52)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from math import log

from azure_shim.wire.json_model import find

__all__ = ["preferred", "session_of"]

# ``"user"`` alone is in every chat, as a role.
_MEMBERS = tuple(
    (name, b'"%s"' % name.encode(), re.compile(rb'"%s"[ \t\r\n]*:' % name.encode()))
    for name in ("prompt_cache_key", "user")  # OpenAI replaces the second by the first
)
_BITS = 52  # so that a half more is still exact, and no fraction is 0 or 1


def session_of(content: bytes | None, headers: Iterable[tuple[bytes, bytes]], header: str | None) -> str | None:
    """The session that a request belongs to: what the header named ``header`` says, else what the JSON body does."""
    if header is not None:
        wanted = header.lower().encode("latin-1", "replace")
        for name, value in headers:
            if name.lower() == wanted and value.strip():
                return value.strip().decode("latin-1")
    if content is None or content[:64].lstrip()[:1] != b"{":
        return None
    for key, start, needle in _MEMBERS:
        if start in content and needle.search(content) is not None:
            member = find(content, (key,))
            if member is not None and member.value:
                return member.value
    return None


def preferred(
    session: str, names: Sequence[tuple[str, float]], load: Callable[[str], int], *, slack: float = 1.25
) -> list[str]:
    """``names``, pairs of a target and its weight, in the order in which ``session`` prefers them.

    Weighted rendezvous hashing (Schindelhauer and Schomaker 2005): a target that goes or comes moves its own sessions
    only, and the order is the same in every process. With bounded load (Mirrokni et al. 2017): a target whose load is
    over ``slack`` times its share of all load, plus one, comes after those that have room.
    """
    ranked = [name for name, _ in sorted(names, key=lambda pair: (-_score(session, *pair), pair[0]))]
    if len(ranked) < 2:
        return ranked
    loads = {name: load(name) for name in ranked}
    total = sum(loads.values())
    weights = dict(names)
    all_weights = sum(weights.values())

    def is_full(name: str) -> bool:
        part = weights[name] / all_weights if all_weights else 1 / len(weights)
        return loads[name] > slack * (total * part + 1)

    return sorted(ranked, key=is_full)  # which keeps the order of equals


def _score(session: str, name: str, weight: float) -> float:
    # A lone surrogate is legal in JSON, and no reason to fail.
    key = f"{session}\0{name}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(blake2b(key, digest_size=8).digest(), "big") >> (64 - _BITS)
    return -weight / log((number + 0.5) / (1 << _BITS))
