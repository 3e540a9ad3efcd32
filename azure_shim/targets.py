"""Several targets, written as Python: ``Fallback([AzureTarget(...), OpenAITarget()])``; groups nest.

Each class writes the same mapping that can be given as ``config`` by itself; one reader checks them all. Groups take
the keys of targets too, for all targets below them. No ``repr`` shows a secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Union

from azure_shim.auth.secrets import shown
from azure_shim.values import Deployments

__all__ = ["AzureTarget", "Conditional", "Fallback", "LoadBalance", "OpenAITarget"]

Secret = Union[str, Mapping[str, str]]
"""A secret, or ``{"env": NAME}`` for the variable that it is in."""
Tags = Union[Mapping[str, str], Sequence[str], str]
_SHOWN = ("name", "weight", "region", "by", "resource_name", "deployment_id", "azure_deployment", "api_version")


class _Node:
    """What is common to targets and groups: how they are written and shown."""

    def as_config(self) -> dict[str, Any]:
        """The mapping of this node and of all below it."""
        return {
            field.name: value
            for field in fields(self)  # type: ignore[arg-type]  # each class below is a dataclass
            if field.init and (value := getattr(self, field.name)) is not None
        }

    def __repr__(self) -> str:
        given = [(key, value) for key in _SHOWN if (value := getattr(self, key, None)) is not None]
        parts = [f"{key}={shown(value) if isinstance(value, str) else repr(value)}" for key, value in given]
        targets = getattr(self, "targets", None)
        if isinstance(targets, (list, tuple)):
            # A mapping among them may have secrets.
            parts.insert(0, f"[{', '.join(repr(one) if isinstance(one, _Node) else '{...}' for one in targets)}]")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _Common(_Node):
    """Keys of targets of either provider, and of groups.

    ``api_key``, ``base_url``, ``custom_host``, ``default_headers``, ``deployments`` and ``unmapped_models`` of a group
    reach the targets of its own ``provider`` only, which is Azure unless it says another.
    """

    name: str | None = None
    api_key: Secret | Callable[[], Any] | None = None
    base_url: Any = None
    custom_host: str | None = None
    default_headers: Mapping[str, Any] | None = None
    deployments: Deployments | None = None
    unmapped_models: str | None = None
    override_params: Mapping[str, Any] | None = None
    retry: Mapping[str, Any] | None = None
    timeout: float | None = None
    request_timeout: float | None = None
    openai_beta: str | None = None
    region: str | None = None
    tags: Tags | None = None
    proxy: Any = None
    verify: Any = None
    cert: Any = None
    trust_env: bool | None = None
    weight: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _Azure(_Node):
    """Keys of Azure's targets, as the constructor has them."""

    azure_endpoint: str | None = None
    resource_name: str | None = None
    api_version: str | None = None
    azure_ad_token: Secret | None = None
    azure_ad_token_provider: Callable[[], Any] | None = None
    credential: Any = None
    azure_auth_mode: str | None = None
    azure_entra_tenant_id: str | None = None
    azure_entra_client_id: str | None = None
    azure_entra_client_secret: Secret | None = None
    azure_entra_certificate_path: str | os.PathLike[str] | None = None
    azure_entra_certificate_password: Secret | None = None
    azure_entra_scope: str | None = None
    azure_managed_client_id: str | None = None
    azure_managed_object_id: str | None = None
    azure_managed_resource_id: str | None = None
    azure_workload_client_id: str | None = None
    azure_cloud: str | None = None
    api_key_header: str | None = None
    azure_deployment: str | None = None
    deployment_id: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _OpenAI(_Node):
    """Keys of OpenAI's targets."""

    organization: str | None = None
    project: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class AzureTarget(_Azure, _Common):
    """One Azure OpenAI resource: the constructor's arguments, and what matters where there are several.

    Args:
        name: what it is called in headers, logs and conditions; by default the first label of its host.
        weight: its share in a `LoadBalance`, 1 by default; 0 for when nothing else is left.
        region, tags: where it is; tags as ``{"zone": "eu"}``, or ``["eu"]`` for ones without a value.
        timeout: in seconds (``request_timeout`` is the gateway's, in milliseconds).
        override_params: merged over the body of each request.
        retry: ``{"attempts": 0 to 5, "on_status_codes": [...], "use_retry_after_header": bool}``.
        proxy, verify, cert, trust_env: of its own connections, as in the HTTP library.
    """

    def as_config(self) -> dict[str, Any]:
        return {"provider": "azure-openai", **super().as_config()}


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class OpenAITarget(_OpenAI, _Common):
    """OpenAI itself, or a service that speaks like it at ``base_url``; the key may be in ``OPENAI_API_KEY``."""

    def as_config(self) -> dict[str, Any]:
        return {"provider": "openai", **super().as_config()}


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _Group(_Azure, _OpenAI, _Common):
    """Keys of groups: those of the targets below, and the rules, which only the outermost node may have.

    ``replay`` is ``"never"``, ``"safe"`` or ``"always"``; ``attempts`` bounds what one call sends; ``on_exhausted`` is
    ``"raise"`` or ``"wait"``; ``residency`` are tags that a target must have; ``content_filter`` names the target for
    what a content filter refused; ``session_header`` names a header; ``seed`` makes choices repeatable.
    """

    provider: str | None = None
    replay: str | None = None
    attempts: int | None = None
    on_exhausted: str | None = None
    residency: Tags | None = None
    content_filter: str | None = None
    session_header: str | None = None
    seed: int | None = None

    def _written(self, targets: Sequence[Any], **strategy: Any) -> dict[str, Any]:
        own = {field.name for kind in (_Azure, _OpenAI, _Common, _Group) for field in fields(kind)}
        return {
            **{key: value for key, value in _Node.as_config(self).items() if key in own},
            "strategy": {key: value for key, value in strategy.items() if value is not None},
            "targets": [_mapping_of(target) for target in targets],
        }


@dataclass(frozen=True, repr=False, eq=False)
class LoadBalance(_Group):
    """Shares the calls among its targets, and fails over inside itself.

    ``by`` is ``"weight"`` (as ``weights`` say, or each target's own), ``"load"``, ``"latency"`` or ``"round_robin"``.
    """

    targets: Sequence[Any]
    by: str | None = None
    weights: Sequence[float] | None = None

    def as_config(self) -> dict[str, Any]:
        config = self._written(self.targets, mode="loadbalance", by=self.by)
        if self.weights is None:
            return config
        if len(self.weights) != len(self.targets):
            raise ValueError(f"LoadBalance has {len(self.targets)} targets, but {len(self.weights)} weights")
        config["targets"] = [
            {**target, "weight": weight} for target, weight in zip(config["targets"], self.weights, strict=True)
        ]
        return config


@dataclass(frozen=True, repr=False, eq=False)
class Fallback(_Group):
    """Asks its targets in order, each if the one before cannot serve.

    ``on_status_codes``, if given, are the statuses that move on, and no others do. ``wait_s`` is how long a call may
    wait for a target that is cooling down before it overflows into the next one.
    """

    targets: Sequence[Any]
    on_status_codes: Sequence[int] | None = None
    wait_s: float | None = None

    def as_config(self) -> dict[str, Any]:
        return self._written(self.targets, mode="fallback", on_status_codes=self.on_status_codes, wait_s=self.wait_s)


@dataclass(frozen=True, repr=False, eq=False)
class Conditional(_Group):
    """Sends each call to the target that its conditions name, else to ``default``; every target has a ``name``.

    ``conditions`` are pairs of a query and a name, ``({"params.model": {"$eq": "gpt-4o"}}, "eastus")``, or the
    gateway's ``{"query": ..., "then": ...}``.
    """

    targets: Sequence[Any]
    conditions: Sequence[Any] = ()
    default: str | None = None

    def as_config(self) -> dict[str, Any]:
        conditions = [
            {"query": one[0], "then": one[1]} if isinstance(one, tuple) and len(one) == 2 else one
            for one in self.conditions
        ]
        return self._written(self.targets, mode="conditional", conditions=conditions, default=self.default)


def _mapping_of(target: Any) -> Any:
    return target.as_config() if isinstance(target, _Node) else target
