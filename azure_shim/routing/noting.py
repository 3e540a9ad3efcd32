"""What an outcome says of its target, noted where all calls see it."""

from __future__ import annotations

from azure_shim.observe.log import log_cooling
from azure_shim.routing.fleet import Fleet, Site
from azure_shim.values import Answered, CoolingEvent
from azure_shim.wire.retry_after import NOTHING_SAID, limits
from azure_shim.wire.verdict import Verdict

__all__ = ["note_failure", "steer"]


def note_failure(
    fleet: Fleet, site: Site, deployment: str | None, verdict: Verdict, told_s: float | None, now: float
) -> float:
    """Note a failure; for how many seconds the target, or a part of it, gets no calls. A warning says when that begins.

    ``told_s`` is the service's own word for how long.
    """
    health = fleet.health
    if verdict.skips:  # a deployment that is not there may be there in a minute; until then others come first
        health.spend(site.at, deployment, now, None)
    if verdict.cools is None and not verdict.is_fault:
        return 0.0
    was_cooling = health.state(site.at, deployment, now).until > now
    cooled_s = health.went_wrong(
        site.at,
        deployment,
        now,
        cools=verdict.cools,
        is_fault=verdict.is_fault,
        told_s=told_s,
        reason=verdict.name,
    )
    if cooled_s and not was_cooling:
        log_cooling(CoolingEvent(site.name, site.target.region, deployment, verdict.name, cooled_s))
    return cooled_s


def steer(fleet: Fleet, site: Site, deployment: str | None, answered: Answered, now: float) -> None:
    """Note that an answer says that its deployment's limits are used up, so that a 429 need not come first."""
    health = fleet.health
    if not answered.limits and not health.has_spent(site.at):
        return
    found = limits(answered.response.headers.get)
    if found.is_spent:
        health.spend(site.at, deployment, now, found.reset_s)
    elif found != NOTHING_SAID:
        health.refill(site.at, deployment)
