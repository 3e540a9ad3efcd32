"""Which of several targets a WebSocket is dialled at: one that is fit, since a connection is not moved afterwards."""

from __future__ import annotations

import json

from azure_shim.routing.bounds import inside
from azure_shim.routing.conditions import context_of
from azure_shim.routing.fleet import Fleet, Site, Wishes
from azure_shim.routing.tree import Hold, Wanted
from azure_shim.values import Refusal, Target
from azure_shim.wire.deployments import resolve
from azure_shim.wire.request_line import RequestLine, refusal_of
from azure_shim.wire.to_openai import refusal_of_openai

__all__ = ["choose", "refusal_at"]


def choose(
    fleet: Fleet,
    line: RequestLine,
    model: str | None,
    wishes: Wishes,
    *,
    is_signed: bool = False,
    is_preview: bool = False,
) -> Site | Refusal:
    """The target for a WebSocket: the pinned one, or the first in the plan's order that has it and is not cooling.

    ``is_signed`` says that the caller has written a credential into the call, which then is for the first target that
    has the WebSocket, and for no other; ``is_preview`` that it is one which only a dated api-version has.
    """
    allowed = inside(fleet, wishes.residency)
    if isinstance(allowed, Refusal):
        return allowed
    if wishes.pin is not None:
        pinned = fleet.by_name.get(wishes.pin)
        if pinned is None or (allowed is not None and pinned.at not in allowed):
            names = ", ".join(repr(site.name) for site in fleet.sites if allowed is None or site.at in allowed)
            return Refusal(400, "UnknownTarget", f"x-azure-shim-target: is none of the targets allowed: {names}.")
        return pinned
    content = json.dumps({} if model is None else {"model": model}).encode()
    walk = fleet.tree.walk(
        Wanted(is_fixed=is_signed, context=lambda: context_of(content, wishes.metadata, "/v1" + line.path))
    )
    parked: list[Site] = []
    reasons: list[str] = []
    try:
        step = next(walk)
        while True:
            if not isinstance(step, Hold) and (allowed is None or step in allowed):
                site = fleet.sites[step]
                deployment = _deployment(site, line, model, is_preview=is_preview)
                if isinstance(deployment, Refusal):
                    reasons.append(f"  {site.name}: {deployment.message}")
                elif not is_signed and fleet.health.state(site.at, deployment, fleet.clock()).until > fleet.clock():
                    parked.append(site)
                else:
                    walk.close()
                    return site
            step = walk.send(None)
    except StopIteration:
        pass
    if parked:
        return parked[0]
    return Refusal(404, "NoTargetServes", "\n".join(("No target has this WebSocket:", *reasons)))


def _deployment(site: Site, line: RequestLine, model: str | None, *, is_preview: bool) -> str | Refusal | None:
    if is_preview and not site.target.is_classic:
        return Refusal(404, "OperationOnOtherSurface", "it uses the v1 surface, which has no preview of realtime")
    target = site.addresses.target
    refusal = refusal_at(target, line)
    if refusal is not None or model is None:
        return refusal
    return resolve(target, model, line.path)


def refusal_at(target: Target, line: RequestLine) -> Refusal | None:
    """Why a target has no such WebSocket, or None. One that the table does not list is dialled as OpenAI spells it."""
    if line.operation is None and target.is_classic:
        return Refusal(
            404,
            "OperationOnOtherSurface",
            f"no dated api-version is known to have the WebSocket /v1{line.path}, and target {target.name!r} uses "
            f"{target.api_version!r}: create the client with api_version='v1' (or with none).",
        )
    return refusal_of_openai(line) if target.is_openai else refusal_of(line, target)
