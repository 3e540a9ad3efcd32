"""From the name that a caller gives a model to the name of a deployment."""

from __future__ import annotations

import re
from collections.abc import Mapping

from azure_shim.values import Refusal, Target

__all__ = ["resolve"]

_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def resolve(target: Target, model: str, operation: str, *, is_deployment: bool = False) -> str | Refusal:
    """The deployment that serves ``model`` at ``target``.

    In this order: ``deployments`` as the caller wrote it; the same for Azure's spelling of the name
    (``gpt-3.5-turbo`` is ``gpt-35-turbo`` there) and without a date; the target's default deployment; the name itself,
    which is the portal's default for a deployment. ``is_deployment`` says that the caller named a deployment, not a
    model, so that no default applies.
    """
    name = _mapped(target, model)
    if name is None and not is_deployment and target.default_for in (None, operation):
        name = target.default_deployment
    if name is None:
        if target.unmapped == "error" and not is_deployment and not _is_deployment(target, model):
            known = ", ".join(sorted(target.deployments)) if isinstance(target.deployments, Mapping) else "a callable"
            return Refusal(
                404,
                "ModelNotMapped",
                f"deployments of target {target.name!r} has no {model!r}; it has: {known or 'none'}",
            )
        name = model
    if not name.strip():
        return Refusal(400, "InvalidDeployment", f"deployments of target {target.name!r} gave no name for {model!r}")
    try:
        name.encode()
    except UnicodeEncodeError:
        return Refusal(400, "InvalidDeployment", "a model's name has half a surrogate pair in it, which is no text")
    if name in (".", ".."):
        return Refusal(400, "InvalidDeployment", f"{name!r} cannot be the name of a deployment")
    return name


def _is_deployment(target: Target, name: str) -> bool:
    """Whether the caller used the name of a deployment that there is."""
    return isinstance(target.deployments, Mapping) and name in target.deployments.values()


def _mapped(target: Target, model: str) -> str | None:
    deployments = target.deployments
    if deployments is None:
        return None
    if not isinstance(deployments, Mapping):
        return deployments(model)
    for spelling in (model, model.replace("gpt-3.5", "gpt-35"), model.replace("gpt-35", "gpt-3.5")):
        for name in (spelling, _DATE.sub("", spelling)):
            if name in deployments:
                return deployments[name]
    return None
