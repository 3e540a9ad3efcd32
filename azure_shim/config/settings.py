"""Arguments and environment variables -> one validated `Settings`. All problems are reported at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from azure_shim.auth.providers import awaits
from azure_shim.auth.secrets import scrubbed
from azure_shim.config.credentials import CREDENTIAL_ARGUMENTS, IDENTITY_ARGUMENTS, CredentialReader
from azure_shim.config.files import config_from, load
from azure_shim.config.reader import Reader
from azure_shim.errors import ConfigurationError
from azure_shim.plan import Plan, with_headers
from azure_shim.values import Deployments, Target
from azure_shim.wire.endpoints import EndpointError, ParsedEndpoint, of_resource, parse
from azure_shim.wire.request_line import DATED

__all__ = [
    "ARGUMENTS",
    "CLIENT_ARGUMENTS",
    "CREDENTIAL_ARGUMENTS",
    "ENDPOINT_ARGUMENTS",
    "SIGNS_FOR_ALL",
    "ArgumentReader",
    "Settings",
    "read_settings",
    "read_target",
]

ENDPOINT_ARGUMENTS = ("azure_endpoint", "base_url", "resource_name")
ARGUMENTS = (
    *ENDPOINT_ARGUMENTS,
    *CREDENTIAL_ARGUMENTS,
    *IDENTITY_ARGUMENTS,
    "azure_entra_scope",
    "azure_cloud",
    "api_key_header",
    "api_version",
    "azure_deployment",
    "deployment_id",
    "deployments",
    "unmapped_models",
)
"""What says where one target is, who signs, and what it serves."""
CLIENT_ARGUMENTS = (*ARGUMENTS, "config", "drop_empty_choice_chunks")
SIGNS_FOR_ALL = "default_headers: would sign for every target of config: give what signs to the target it belongs to"
_ENDPOINT_VARIABLE, _VERSION_VARIABLE = "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"
_FRAMES = "drop_empty_choice_chunks"
_V1_SPELLINGS = {"v1": None, "preview": "preview", "latest": "latest"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client was configured with, validated.

    ``arguments`` and ``environment`` are what it was built from: the variables that were used are kept, so that a copy
    is of this client and not of an environment that has changed. ``signs`` is that of `read_settings`. Where there are
    several targets ``plan`` has them, and ``target`` is the first within the plan's residency. ``headers`` are those of
    `with_headers`. ``has_plain_frames`` asks for streams as OpenAI sends them (``drop_empty_choice_chunks``).
    """

    target: Target
    arguments: Mapping[str, Any] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    signs: bool = False
    plan: Plan | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    has_plain_frames: bool = False

    def with_arguments(self, changes: Mapping[str, Any], *, is_async: bool) -> Settings:
        """These settings with some arguments replaced; a new endpoint or credential replaces the old one."""
        if changes.get("config") is not None or self.plan is not None:
            return self._with_plan(changes, is_async=is_async)
        arguments = dict(self.arguments)
        groups = (ENDPOINT_ARGUMENTS, CREDENTIAL_ARGUMENTS, ("azure_deployment", "deployment_id"))
        for group in groups:
            if any(changes.get(name) is not None for name in group):
                for name in (*group, *(IDENTITY_ARGUMENTS if group is CREDENTIAL_ARGUMENTS else ())):
                    arguments.pop(name, None)
        arguments.update({name: value for name, value in changes.items() if value is not None})
        copied = read_settings(arguments, is_async=is_async, environ=self.environment, signs=self.signs)
        if copied.target.endpoint.origin == self.target.endpoint.origin:  # they may sign
            copied = copied.with_headers(self.headers)
        before, after = self.target, copied.target
        clouds = (before.endpoint.cloud, after.endpoint.cloud)
        is_same_token = after.credential == before.credential and after.credential.tokens is None
        if is_same_token and after.credential.is_token and None not in clouds and clouds[0] != clouds[1]:
            raise ConfigurationError(
                [
                    f"{after.credential.source}: a token of the {clouds[0]} cloud is not sent to the {clouds[1]} "
                    "cloud; pass that cloud's own credential with its endpoint"
                ]
            )
        is_same_key = after.credential == before.credential and not after.credential.is_token
        if is_same_key and after.endpoint.origin != before.endpoint.origin:
            raise ConfigurationError(
                [
                    f"api_key: the one of {before.endpoint.origin} is not sent to {after.endpoint.origin}; "
                    "pass that endpoint's own credential with it"
                ]
            )
        return copied

    def _with_plan(self, changes: Mapping[str, Any], *, is_async: bool) -> Settings:
        """A config, or an endpoint where there was one, replaces all there was: no key goes to somebody else's host."""
        is_new = any(changes.get(name) is not None for name in ("config", *ENDPOINT_ARGUMENTS))
        if is_new and self.signs:
            raise ConfigurationError(
                [
                    f"default_headers: what signs for {self.target.endpoint.origin} is not sent to other targets; make "
                    "a new client, and give each target of config its own"
                ]
            )
        if is_new:
            frames = {name: value for name, value in self.arguments.items() if name == _FRAMES}
            return read_settings({**frames, **changes}, is_async=is_async, signs=self.signs)
        arguments = {**self.arguments, **{name: value for name, value in changes.items() if value is not None}}
        for group in (CREDENTIAL_ARGUMENTS, ("azure_deployment", "deployment_id")):
            if any(changes.get(name) is not None for name in group):
                others = [name for name in group if changes.get(name) is None]
                arguments = {name: value for name, value in arguments.items() if name not in others}
        # The machine's own identity, which a target without a credential uses, is found by other variables as well.
        ambient = {k: v for k, v in os.environ.items() if not k.startswith(("AZURE_OPENAI_", "OPENAI_"))}
        environ = {**ambient, **self.environment}
        copied = read_settings(arguments, is_async=is_async, environ=environ, signs=self.signs)
        copied = copied.with_headers(self.headers)
        is_same = self.plan is not None and copied.plan is not None and copied.plan.targets == self.plan.targets
        if is_same and changes.get(_FRAMES) is None:
            names = ", ".join(name for name, value in changes.items() if value is not None)
            raise ConfigurationError(
                [f"{names}: would change nothing, since each target of config has its own; change it there"]
            )
        return copied

    def with_headers(self, headers: Mapping[str, str]) -> Settings:
        """These settings with ``headers`` on every request to the target, or to each of several; its own win."""
        if not headers:
            return self
        if self.plan is not None:
            plan = replace(self.plan, root=with_headers(self.plan.root, headers))
            return replace(self, target=plan.inside[0], plan=plan, headers=dict(headers))
        return replace(self, target=replace(self.target, headers=dict(headers)), headers=dict(headers))


def read_settings(
    arguments: Mapping[str, Any], *, is_async: bool, environ: Mapping[str, str] | None = None, signs: bool = False
) -> Settings:
    """Validate ``arguments`` (those of `ARGUMENTS` that were passed) and fill the gaps from the environment.

    Explicit arguments win over environment variables. ``signs`` says that the caller's own headers carry a credential,
    so that none is needed.

    Raises:
        ConfigurationError: naming every argument and variable that is wrong or missing.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    wish = given.pop(_FRAMES, None)
    if not isinstance(wish, (bool, type(None))):
        raise ConfigurationError([f"{_FRAMES}: is of type {type(wish).__name__}; expected True or False"])
    found = _read(given, os.environ if environ is None else environ, is_async=is_async, signs=signs)
    if wish is None:
        return found
    return replace(found, arguments={**found.arguments, _FRAMES: wish}, has_plain_frames=wish)


def _read(given: dict[str, Any], environ: Mapping[str, str], *, is_async: bool, signs: bool) -> Settings:
    config = given.pop("config", None)
    if config is None and not any(name in given for name in ENDPOINT_ARGUMENTS):
        config = config_from(environ)
    if config is not None:
        return _read_several(config, given, environ, is_async=is_async, signs=signs)
    reader = ArgumentReader(given, environ)
    target = read_target(reader, is_async=is_async, signs=signs)
    if target is None:
        raise reader.error()
    return Settings(target, reader.arguments, reader.used, signs)


def _read_several(
    config: Any, base: Mapping[str, Any], environ: Mapping[str, str], *, is_async: bool, signs: bool
) -> Settings:
    """As `read_settings`, of a config with ``base`` beside it."""
    from azure_shim.config.tree import read_plan  # which reads each target by this module

    named = [name for name in ENDPOINT_ARGUMENTS if name in base]
    if named:
        raise ConfigurationError(
            [f"{name}: goes with one target; give each target of config its own" for name in named]
        )
    if signs:
        raise ConfigurationError([SIGNS_FOR_ALL])
    loaded = load(config)  # once: a copy is of this client, and not of a file that has changed
    plan, used = read_plan(loaded, is_async=is_async, environ=environ, base=base)
    return Settings(plan.inside[0], {**base, "config": loaded}, used, signs, plan)


def read_target(reader: ArgumentReader, *, is_async: bool, signs: bool = False) -> Target | None:
    """The target of the reader's arguments, or None after everything that is wrong with them was noted there."""
    parsed = reader.endpoint()
    version = reader.api_version(parsed)
    endpoint = None if parsed is None else parsed.endpoint
    is_classic = version is not None and DATED.fullmatch(version) is not None
    credentials = CredentialReader(reader, endpoint, is_classic=is_classic, is_async=is_async)
    credential = credentials.read(signs=signs)
    deployments, default, default_for = reader.deployments(parsed)
    unmapped = reader.unmapped()
    if parsed is not None and parsed.endpoint.is_project and version is not None:
        reader.problem(
            f"api_version: {version!r} does not go with a Foundry project endpoint, which has the v1 surface only; "
            "leave it out or use the endpoint of the resource"
        )
    if reader.problems or parsed is None or credential is None:
        return None
    return Target(
        name=parsed.endpoint.origin.host.partition(".")[0],
        endpoint=parsed.endpoint,
        api_version=version,
        credential=credential,
        deployments=deployments,
        default_deployment=default,
        default_for=default_for,
        unmapped=unmapped,
    )


def _names_a_deployment(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value not in (".", "..")


class ArgumentReader(Reader):
    """Reads one group of arguments after the other and collects what is wrong with them.

    ``is_one_of_many`` is for a target among others, which has to have an endpoint of its own: the environment's would
    make all of them one.
    """

    def __init__(
        self, arguments: Mapping[str, Any], environ: Mapping[str, str], *, is_one_of_many: bool = False
    ) -> None:
        super().__init__(arguments, environ)
        self._is_one_of_many = is_one_of_many

    def endpoint(self) -> ParsedEndpoint | None:
        given = [name for name in ENDPOINT_ARGUMENTS if name in self.arguments]
        if len(given) > 1:
            self.problem(f"{' and '.join(given)} are mutually exclusive: pass one of them")
            return None
        label, value = (given[0], self.arguments[given[0]]) if given else (_ENDPOINT_VARIABLE, None)
        if not given:
            if self._is_one_of_many:
                self.problem(
                    "no endpoint: give the target a resource_name, azure_endpoint, base_url or custom_host "
                    f"({_ENDPOINT_VARIABLE} is for a client without a config)"
                )
                return None
            value = self.variable(_ENDPOINT_VARIABLE)
            if value is None:
                self.problem(
                    "no endpoint: pass azure_endpoint='https://<resource>.openai.azure.com', base_url or "
                    f"resource_name, or set {_ENDPOINT_VARIABLE} (which is not set)"
                )
                return None
        if label != "base_url" and not isinstance(value, str):
            self.problem(f"{label}: is of type {type(value).__name__}; expected a str")
            return None
        try:
            if label == "resource_name":
                return of_resource(str(value), self.cloud(None) or "public")
            parsed = parse(str(value), verbatim=label == "base_url")
        except EndpointError as error:
            self.problem(f"{label}: {error}")
            return None
        self.check_cloud(parsed.endpoint)
        return parsed

    def api_version(self, parsed: ParsedEndpoint | None) -> str | None:
        label, value = "api_version", self.arguments.get("api_version")
        if value is None and parsed is not None:
            # What the endpoint itself says is explicit too, and so wins over the environment.
            if parsed.v1:
                return parsed.api_version if parsed.api_version in ("preview", "latest") else None
            label, value = "the api-version in the endpoint", parsed.api_version
        if value is None and not (parsed is not None and parsed.endpoint.is_project):
            label, value = _VERSION_VARIABLE, self.variable(_VERSION_VARIABLE)
        if value is None:
            return None
        text = value.strip().lower() if isinstance(value, str) else ""
        if text in _V1_SPELLINGS:
            return _V1_SPELLINGS[text]
        if not DATED.fullmatch(text):
            self.problem(
                f"{label}: {scrubbed(repr(value))} is no api-version; expected 'v1' (or none) for the v1 surface, or a "
                "dated one such as '2024-10-21' or '2025-04-01-preview'"
            )
            return None
        return text

    def deployments(self, parsed: ParsedEndpoint | None) -> tuple[Deployments | None, str | None, str | None]:
        names = [name for name in ("azure_deployment", "deployment_id") if name in self.arguments]
        if len(names) > 1:
            self.problem("azure_deployment and deployment_id are two names for one argument: pass one of them")
        label = names[0] if names else "azure_deployment"
        default, default_for = self.arguments.get(label), None
        if default is not None and not _names_a_deployment(default):
            self.problem(f"{label}: {default!r} cannot be the name of a deployment")
            default = None
        if default is None and parsed is not None and parsed.deployment is not None:
            default, default_for = parsed.deployment, parsed.operation
        mapping: Any = self.arguments.get("deployments")
        if mapping is None:
            return None, default, default_for
        if isinstance(mapping, Mapping):
            self._check_mapping(mapping)
            if names and default is not None and default not in mapping.values():
                self.problem(
                    f"{label}: {default!r} conflicts with deployments, which does not have it: pass one of them, or "
                    "name it in deployments too"
                )
            return dict(mapping), default, default_for
        callable_: Any = mapping
        if not callable(mapping):
            self.problem(
                f"deployments: is of type {type(mapping).__name__}; expected a mapping of models to deployments, or a "
                "callable from one to the other"
            )
        elif awaits(mapping):
            self.problem("deployments: is a coroutine function; expected one that returns a name at once")
        elif names:
            self.problem(f"{label}: conflicts with a callable deployments: pass one of them")
        return callable_, default, default_for

    def _check_mapping(self, mapping: Mapping[Any, Any]) -> None:
        for model, deployment in mapping.items():
            if not isinstance(model, str) or not model.strip():
                self.problem(f"deployments: the model {model!r} is empty or no str")
            if not _names_a_deployment(deployment):
                self.problem(f"deployments[{model!r}]: {deployment!r} cannot be the name of a deployment")

    def unmapped(self) -> str:
        value = self.arguments.get("unmapped_models", "passthrough")
        if value not in ("passthrough", "error"):
            self.problem(f"unmapped_models: {value!r} is unknown; expected 'passthrough' or 'error'")
            return "passthrough"
        return str(value)
