"""From a constructor's or a copy's arguments to settings for Azure and arguments for the SDK's own constructor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import openai

from azure_shim.config.settings import CLIENT_ARGUMENTS, ENDPOINT_ARGUMENTS, Settings, read_settings
from azure_shim.http import SIGNING_HEADERS, ConfigurationError, build_client, own_settings, validated
from azure_shim.routing.fleet import OURS
from azure_shim.sdk import custom_query_of, default_headers_of, http_client_of, set_default_headers, without_ambient
from azure_shim.values import PLACEHOLDER, Target

__all__ = [
    "PLACEHOLDER",
    "at_target",
    "base_url_of",
    "changed",
    "forget_ambient",
    "is_aimed",
    "is_at",
    "is_of_target",
    "pins",
    "sdk_arguments",
    "split",
    "websocket_url",
    "without_class",
]

# Arguments of openai.OpenAI that name another service or another way to sign, each with what to use instead.
_NOT_FOR_AZURE = {
    "provider": "an Azure client is its own provider; use openai.OpenAI for another one",
    "data_residency": "where data stays is the Azure resource's; name that one in azure_endpoint",
    "workload_identity": "it signs for OpenAI; use azure_ad_token_provider or credential",
    "admin_api_key": "Azure OpenAI has no administration keys; Azure Resource Manager administers",
}
_UNSET = (openai.NotGiven, openai.Omit)


def _configured(azure: Mapping[str, Any], sdk: dict[str, Any], own: Settings | None, *, is_async: bool) -> Settings:
    """The settings of a client from its arguments; ``own`` are those of the client that it is a copy of."""
    for name, advice in _NOT_FOR_AZURE.items():
        if sdk.pop(name, None) is not None:
            raise ConfigurationError([f"{name}: is not for Azure OpenAI: {advice}"])
    if own is not None:
        return own
    arguments = {name: value for name, value in azure.items() if value is not None}
    if arguments.get("api_key") == PLACEHOLDER:
        del arguments["api_key"]
    if not isinstance(arguments.get("base_url"), (str, type(None))):
        arguments["base_url"] = str(arguments["base_url"])
    inherited = own_settings(sdk.get("http_client"))
    if inherited is not None and _is_repeated(arguments, inherited):
        return inherited
    signs = any(name.lower() in SIGNING_HEADERS for name in sdk.get("default_headers") or {})
    return validated(lambda: read_settings(arguments, is_async=is_async, signs=signs))


def _is_repeated(arguments: Mapping[str, Any], settings: Settings) -> bool:
    """Whether ``arguments`` say nothing that the settings of a client of ours do not say already."""
    return all(name == "base_url" and value.rstrip("/") == base_url_of(settings) for name, value in arguments.items())


def base_url_of(settings: Settings) -> str:
    """Where the first target's surface begins, without a trailing slash."""
    return f"{settings.target.endpoint.origin}{settings.target.base_path}"


def is_aimed(changes: Mapping[str, Any]) -> bool:
    """Whether the arguments of a copy say where it goes."""
    given = (changes.get(name) for name in (*ENDPOINT_ARGUMENTS, "config"))
    return any(value is not None and not isinstance(value, _UNSET) for value in given)


def is_at(settings: Settings, url: Any) -> bool:
    """Whether a URL is at the origin of a client's one target."""
    return settings.plan is None and is_of_target(settings, url)


def is_of_target(settings: Settings, url: Any) -> bool:
    """Whether a URL, of a WebSocket too, is at the origin of any of a client's targets."""
    try:
        parts = urlsplit(str(url))
        scheme = parts.scheme.replace("ws", "http", 1)
        origin = (scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(scheme))
    except ValueError:  # the SDK says what is wrong with it
        return False
    targets = (settings.target,) if settings.plan is None else settings.plan.targets
    return any(each.endpoint.origin == origin for each in targets)


def pins(settings: Settings) -> list[dict[str, str]]:
    """The headers that lead to each target of a client in turn."""
    if settings.plan is None:
        return [{}]
    return [{"x-azure-shim-target": target.name} for target in settings.plan.inside]


def websocket_url(settings: Settings) -> str:
    """Below which the SDK dials ``/realtime`` and ``/responses``; plain ``ws`` for a plain http endpoint."""
    return base_url_of(settings).replace("http", "ws", 1)


def sdk_arguments(settings: Settings, sdk: dict[str, Any], *, is_async: bool) -> dict[str, Any]:
    """The arguments for the SDK's own constructor."""
    given = sdk.pop("http_client", None)
    if own_settings(given) is not settings or not given.azure_shim_signs_nothing:
        given = build_client(settings, is_async=is_async, given=given, signs_nothing=True)
    dialled = websocket_url(settings)
    wanted = sdk.pop("websocket_base_url", None)
    if wanted is not None and urlsplit(str(wanted))[:2] != urlsplit(dialled)[:2]:
        raise ConfigurationError(
            ["websocket_base_url: is at another host or scheme than the endpoint, which the credential belongs to"]
        )
    return {
        **sdk,
        "api_key": PLACEHOLDER,
        "base_url": base_url_of(settings),
        "websocket_base_url": wanted or dialled,
        "http_client": given,
    }


def forget_ambient(client: Any, sdk: Mapping[str, Any]) -> None:
    """Take off what the SDK read from the environment for OpenAI's own service: it must not reach Azure."""
    if sdk.get("organization") is None:
        client.organization = None
    if sdk.get("project") is None:
        client.project = None
    client.admin_api_key = None
    # OPENAI_CUSTOM_HEADERS may carry an OpenAI key.
    set_default_headers(client, sdk.get("default_headers") or {})


def at_target(client: Any, target: Target) -> Any:
    """A client of one target of ``config``, for what is not sent by HTTP. It shares the connections of ``client``."""
    settings = Settings(target, {}, {}, signs=target.credential.is_absent)
    wanted = {"http_client": http_client_of(client), "websocket_base_url": websocket_url(settings)}
    bound = _copied(client, settings, wanted)
    kept = without_ambient(default_headers_of(client))
    set_default_headers(bound, {n: v for n, v in kept.items() if n.lower() not in OURS})
    return bound


def without_class(client: Any) -> Any:
    """A client for the WebSockets of one that is an ``openai.AzureOpenAI``, for which the SDK has a way of its own."""
    wanted = {"http_client": http_client_of(client), "websocket_base_url": client.websocket_base_url}
    made = _copied(client, client.azure_shim_settings, wanted)
    set_default_headers(made, without_ambient(default_headers_of(client)))
    return made


def _copied(client: Any, settings: Settings, wanted: dict[str, Any]) -> Any:
    plain = getattr(client, "azure_shim_plain", None)
    if plain is not None:
        options = {"timeout": client.timeout, "max_retries": client.max_retries}
        # Of an AzureOpenAI it has the version of its own endpoint.
        query = {name: value for name, value in custom_query_of(client).items() if name != "api-version"}
        return plain(**wanted, **options, default_query=query, _azure_settings=settings)
    copied: Any = openai.AsyncOpenAI.copy if isinstance(client, openai.AsyncOpenAI) else openai.OpenAI.copy
    return copied(client, **wanted, _extra_kwargs={"_azure_settings": settings})


def split(arguments: dict[str, Any], *, is_async: bool) -> tuple[Settings, dict[str, Any]]:
    """A constructor's arguments as settings for Azure, and those left for the SDK as they were given."""
    own = arguments.pop("_azure_settings")
    arguments = {k: None if isinstance(v, _UNSET) and k != "timeout" else v for k, v in arguments.items()}
    azure = {name: arguments.pop(name) for name in CLIENT_ARGUMENTS}
    # Not every SDK version has every one of them; what was not given is not passed on.
    unset = {"timeout": openai.NOT_GIVEN, "_strict_response_validation": False, "_enforce_credentials": True}
    sdk = {k: v for k, v in arguments.items() if v is not None or k in ("timeout", "max_retries")}
    sdk = {k: v for k, v in sdk.items() if k not in unset or v is not unset[k]}
    return _configured(azure, sdk, own, is_async=is_async), sdk


def changed(
    client: Any, changes: Mapping[str, Any], given: Any, options: dict[str, Any], *, is_async: bool
) -> tuple[Settings, Any]:
    """The settings and the HTTP client for a copy of ``client``; WebSockets follow a new endpoint by ``options``."""
    settings: Settings = client.azure_shim_settings
    for name in _NOT_FOR_AZURE:
        if options.get(name) is not None and not isinstance(options[name], _UNSET):
            raise ConfigurationError([f"{name}: is not for Azure OpenAI: {_NOT_FOR_AZURE[name]}"])
    wanted = {k: v for k, v in changes.items() if v is not None and not isinstance(v, _UNSET)}
    if wanted.get("api_key") == PLACEHOLDER:
        del wanted["api_key"]
    if "base_url" in wanted:
        wanted["base_url"] = str(wanted["base_url"])
        if wanted["base_url"].rstrip("/") == base_url_of(settings):
            del wanted["base_url"]
    if wanted:
        before = settings
        settings = validated(lambda: before.with_arguments(wanted, is_async=is_async))
        if str(client.websocket_base_url) == websocket_url(before):
            options.setdefault("websocket_base_url", websocket_url(settings))
    return settings, given if given is not None else http_client_of(client)
