"""Every key of a config: who it is for, what it may be, and how it comes down from a group to the targets below it.

The gateway's keys are those of its version 1.15.2. A key that only one provider has reaches that provider's targets.
One that both have but mean differently (a key, a URL, headers, a map of deployments) reaches those whose provider is
that of the node which has it: so no secret of one service is sent to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from azure_shim.config import checks
from azure_shim.config.credentials import CREDENTIAL_ARGUMENTS, IDENTITY_ARGUMENTS, SIGNING_HEADERS
from azure_shim.config.reading import LOST, Reading
from azure_shim.config.settings import ARGUMENTS, ENDPOINT_ARGUMENTS

__all__ = [
    "AZURE",
    "OPENAI",
    "PROVIDERS",
    "ROOT_KEYS",
    "Inherited",
    "Layer",
    "inherit",
    "misplaced_keys",
    "read_keys",
    "settle_credentials",
    "signs",
]

AZURE, OPENAI = "azure-openai", "openai"
PROVIDERS = {AZURE: AZURE, "azure_openai": AZURE, "azure": AZURE, OPENAI: OPENAI}
"""The spellings of the two providers."""

# What the reader of arguments checks where all of a target's are known.
_ARGUMENTS = dict.fromkeys((*ARGUMENTS, "custom_host"), checks.anything)
_OPENAI_ONLY: dict[str, checks.Check] = {"organization": checks.visible, "project": checks.visible}
_OF_EITHER = ("api_key", "base_url", "custom_host", "default_headers", "deployments", "unmapped_models")
_AZURE_ONLY = tuple(name for name in _ARGUMENTS if name not in _OF_EITHER)
_COMMON: dict[str, checks.Check] = {
    "default_headers": checks.headers,
    "override_params": checks.parameters,
    "request_timeout": checks.milliseconds,
    "timeout": checks.number(0, or_equal=False, expected="seconds, a number above 0"),
    "retry": checks.retry,
    "openai_beta": checks.visible,
    "region": checks.word,
    "tags": checks.tags,
    "proxy": checks.proxy,
    "verify": checks.anything,
    "cert": checks.certificate,
    "trust_env": checks.flag,
}
# Each is for one node, and for none below it.
_OWN: dict[str, checks.Check] = {
    "name": checks.name,
    "weight": checks.number(0, or_equal=True, expected="a finite number of at least 0"),
    "strategy": checks.anything,
    "targets": checks.anything,
}
# What the gateway knows and a target of ours has no use for: it gets the caller's own headers whatever they are, and
# the circuit breaker of the gateway is a hook for others, inert in itself.
_UNUSED: dict[str, checks.Check] = {
    "id": checks.anything,
    "metadata": checks.anything,
    "azure_model_name": checks.anything,
    "cb_config": checks.anything,
    "strict_open_ai_compliance": checks.flag,
    "forward_headers": checks.texts,
    "cache": checks.refused_cache,
    "input_guardrails": checks.nothing_to_guard,
    "output_guardrails": checks.nothing_to_guard,
    "before_request_hooks": checks.nothing_to_guard,
    "after_request_hooks": checks.nothing_to_guard,
    "input_mutators": checks.nothing_to_guard,
    "output_mutators": checks.nothing_to_guard,
}
ROOT_KEYS: dict[str, checks.Check] = {
    "replay": checks.one_of("never", "safe", "always"),
    "attempts": checks.whole(1, 50),
    "on_exhausted": checks.one_of("raise", "wait"),
    "residency": checks.tags,
    "content_filter": checks.name,
    "session_header": checks.header_name,
    "seed": checks.whole(None, None),
}
"""The rules, which hold for all of a plan."""
_ALL: dict[str, checks.Check] = {
    "provider": checks.anything,
    **_ARGUMENTS,
    **_OPENAI_ONLY,
    **_COMMON,
    **_OWN,
    **_UNUSED,
    **ROOT_KEYS,
}
_NEVER_INHERITED = {"provider", *_OWN, *_UNUSED, *ROOT_KEYS}
# Their value is a mapping, in which a lone key "env" is a name like any other.
_MAPPINGS = ("deployments", "default_headers", "override_params", "tags", "residency", "metadata", "cb_config", "retry")

_SECRETS = (*CREDENTIAL_ARGUMENTS, *IDENTITY_ARGUMENTS)
_ENDPOINTS = (*ENDPOINT_ARGUMENTS, "custom_host")
_CERTIFICATE = ("azure_entra_certificate_path", "azure_entra_certificate_password")
_MANAGED = ("azure_managed_client_id", "azure_managed_object_id", "azure_managed_resource_id")
_DEPLOYMENTS = ("azure_deployment", "deployment_id", "deployments")
_TIMEOUTS = ("request_timeout", "timeout")
# If a node has one of the first, what it would inherit of the second is not for it.
_REPLACED: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (_ENDPOINTS, _ENDPOINTS),
    (CREDENTIAL_ARGUMENTS, _SECRETS),
    (("azure_entra_client_secret",), _CERTIFICATE),
    (("azure_entra_certificate_path",), ("azure_entra_client_secret", *_CERTIFICATE)),
    (_MANAGED, _MANAGED),
    (_DEPLOYMENTS, _DEPLOYMENTS),
    (_TIMEOUTS, _TIMEOUTS),
)


class Layer(NamedTuple):
    """What one node gives to the targets below it; ``place`` is empty for the arguments beside the config."""

    place: str
    provider: str
    keys: Mapping[str, Any]


class Inherited(NamedTuple):
    """The keys of one target, and for each the node that it was written in and its name there."""

    keys: dict[str, Any]
    places: dict[str, tuple[str, str]]


def read_keys(node: Mapping[Any, Any], place: str, reading: Reading, *, is_root: bool) -> dict[str, Any]:
    """The node's keys that are known and not None, checked; `LOST` where a value is no good."""
    known = _ALL if is_root else {key: check for key, check in _ALL.items() if key not in ROOT_KEYS}
    misplaced = () if is_root else ROOT_KEYS
    for key in misplaced:
        if key in node:
            reading.problem(f"{place}.{key}", "is a rule for all targets: it belongs to the root of the config")
    reading.check_names({key: None for key in node if key not in misplaced}, known, place)
    found: dict[str, Any] = {}
    for key, value in node.items():
        check = known.get(key) if isinstance(key, str) else None
        if check is None or value is None:
            continue
        at = f"{place}.{key}"
        if key == "deployments" and isinstance(value, Mapping):
            value = {model: reading.named(one, f"{at}[{model!r}]") for model, one in value.items()}
            value = LOST if LOST in value.values() else value
        elif key not in _MAPPINGS:
            value = reading.named(value, at)
        found[key] = value if value is LOST else check(value, at, reading)
    return found


def settle_credentials(keys: dict[str, Any]) -> None:
    """The gateway's order where a node of Azure's has several: a token, a mode, a key, which it cannot do without."""
    losers: Sequence[str] = ()
    if "azure_ad_token" in keys:
        losers = ("azure_auth_mode", "api_key", *IDENTITY_ARGUMENTS)
    elif "azure_auth_mode" in keys:
        losers = ("api_key",)
    for loser in losers:
        keys.pop(loser, None)


def inherit(layers: Sequence[Layer], provider: str) -> Inherited:
    """What a target of ``provider`` has of its own and of the nodes above it, of which the nearest wins."""
    found = Inherited({}, {})
    for layer in layers:
        own = {key: value for key, value in layer.keys.items() if _reaches(key, layer, provider)}
        for triggers, replaced in _REPLACED:
            if any(name in own for name in triggers):
                for name in replaced:
                    found.keys.pop(name, None)
        _let_one_sign(found.keys, own)
        for key, value in own.items():
            before = found.keys.get(key)
            if key in _MERGED and isinstance(before, dict) and isinstance(value, dict):
                value = _MERGED[key](before, value)
            found.keys[key] = value
            found.places[key] = (layer.place, key)
    return found


def _reaches(key: str, layer: Layer, provider: str) -> bool:
    if key in _NEVER_INHERITED:
        return False
    if key in _OF_EITHER:
        return layer.provider == provider
    if key in _AZURE_ONLY:
        return provider == AZURE
    return key not in _OPENAI_ONLY or provider == OPENAI


def misplaced_keys(keys: Mapping[str, Any], provider: str) -> list[str]:
    """The keys of a target that only the other provider has."""
    return [key for key in keys if key in (_AZURE_ONLY if provider == OPENAI else _OPENAI_ONLY)]


def signs(headers: Any) -> bool:
    """Whether headers carry a credential."""
    return isinstance(headers, Mapping) and any(name.lower() in SIGNING_HEADERS for name in headers)


def _let_one_sign(above: dict[str, Any], own: Mapping[str, Any]) -> None:
    """A credential replaces headers that sign, and they replace it, if they are nearer."""
    if signs(own.get("default_headers")):
        for name in _SECRETS:
            above.pop(name, None)
    elif any(name in own for name in CREDENTIAL_ARGUMENTS) and signs(above.get("default_headers")):
        headers = above["default_headers"]
        above["default_headers"] = {key: value for key, value in headers.items() if not signs({key: value})}


def _merged_deeply(above: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """As `azure_shim.wire.overrides` merges parameters over a body."""
    found = dict(above)
    for name, value in own.items():
        before = found.get(name)
        is_both = isinstance(before, Mapping) and isinstance(value, Mapping)
        found[name] = _merged_deeply(before, value) if is_both else value  # type: ignore[arg-type]
    return found


def _merged_headers(above: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    replaced = {name.lower() for name in own}
    return {**{name: value for name, value in above.items() if name.lower() not in replaced}, **own}


_MERGED: Mapping[str, Callable[[Any, Any], dict[str, Any]]] = {
    "override_params": _merged_deeply,
    "default_headers": _merged_headers,
    "tags": lambda above, own: {**above, **own},
}
