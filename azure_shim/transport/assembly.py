"""An engine from settings: the connections to each target, and what has to be closed with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from azure_shim.config.settings import Settings
from azure_shim.routing.fleet import fleet_of
from azure_shim.transport.engine import Engine
from azure_shim.transport.library import Library
from azure_shim.transport.pool import lease

__all__ = ["Assembly", "assemble"]


class Assembly(NamedTuple):
    """``closers`` are called once when the engine is closed; ``release`` gives back what was dropped without that.

    ``select`` leads to the connections of the first target.
    """

    engine: Engine
    closers: list[Callable[[], Any]]
    release: Callable[[], None] | None
    select: Callable[[Any], Any]


def assemble(
    library: Library,
    settings: Settings,
    *,
    is_async: bool,
    options: Mapping[str, Any],
    select: Callable[[Any], Any] | None = None,
    signs_nothing: bool = False,
) -> Assembly:
    """The engine for ``settings``, with ``options`` for its connections.

    ``select`` leads to connections that there are already, which are used by all targets but those with options of
    their own. Without it every target has a pool to itself: one that stalls cannot starve the others.
    """
    fleet = None if settings.plan is None else fleet_of(settings.plan)
    closers: list[Callable[[], Any]] = []
    releases: list[Callable[[], None]] = []
    readies: list[Callable[[], Awaitable[None]]] = []

    def leased(own: Mapping[str, Any], of: str) -> Callable[[Any], Any]:
        share = lease(library, is_async=is_async, options={**options, **own}, of=of)
        closers.append(share.closer)
        releases.append(share.release)
        get_ready = getattr(share, "get_ready", None)
        if get_ready is not None:
            readies.append(get_ready)
        return share.select

    selects: list[Callable[[Any], Any]] = []
    if fleet is None:
        selects.append(leased({}, "") if select is None else select)
    else:
        for site in fleet.sites:
            own = site.target.pool
            selects.append(leased(own, site.name) if select is None or own else select)

    async def get_all_ready() -> None:
        for get_ready in readies:
            await get_ready()

    def release_all() -> None:
        for release in releases:
            release()

    engine = Engine(
        library,
        settings.target,
        selects[0],
        signs_nothing=signs_nothing,
        get_ready=get_all_ready if readies else None,
        fleet=fleet,
        selects=tuple(selects),
        has_plain_frames=settings.has_plain_frames,
    )
    return Assembly(engine, closers, release_all if releases else None, selects[0])
