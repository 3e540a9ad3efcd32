"""The constructor that people change: ``from azure_shim import OpenAI`` instead of ``from openai import OpenAI``."""

from __future__ import annotations

import contextvars
import inspect
import json
import weakref
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import openai
from typing_extensions import Self

from azure_shim.auth.flow import attach
from azure_shim.config.settings import ARGUMENTS, Settings, read_settings
from azure_shim.http import SIGNING_HEADERS, ConfigurationError, build_client, own_settings, validated
from azure_shim.sdk import MAJOR, LegacyAPIResponse, http_client_of, set_default_headers
from azure_shim.transport.drive import ask, ask_async
from azure_shim.transport.exchange import EXPLICIT, EXTENSION
from azure_shim.values import Deployments, Header, Refusal, Served

__all__ = ["PLACEHOLDER", "AsyncOpenAI", "OpenAI"]

PLACEHOLDER = "azure-shim-placeholder-not-a-key"
"""What ``client.api_key`` is. It is never sent; it means nothing to anybody who sees it."""

# Arguments of openai.OpenAI that name another service or another way to sign, each with what to use instead.
_NOT_FOR_AZURE = {
    "provider": "an Azure client is its own provider; use openai.OpenAI for another one",
    "data_residency": "where data stays is the Azure resource's; name that one in azure_endpoint",
    "workload_identity": "it signs for OpenAI; use azure_ad_token_provider or credential",
    "admin_api_key": "Azure OpenAI has no administration keys; Azure Resource Manager administers",
}
# The credential of the WebSocket that is being dialled in this context, with the client it belongs to.
_dialled: contextvars.ContextVar[tuple[Any, Header] | None] = contextvars.ContextVar("azure_shim_dialled", default=None)
_building_http: contextvars.ContextVar[bool] = contextvars.ContextVar("azure_shim_building_http", default=False)
# openai 1.x takes the headers of HTTP requests from `auth_headers` too, which elsewhere serves WebSockets alone.
_HTTP_USES_AUTH_HEADERS = MAJOR < 2
_KEPT_URLS = 256
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
    return all(name == "base_url" and value.rstrip("/") == _base_url(settings) for name, value in arguments.items())


def _base_url(settings: Settings) -> str:
    return f"{settings.target.endpoint.origin}{settings.target.base_path}"


def _websocket_url(settings: Settings) -> str:
    """Below which the SDK dials ``/realtime`` and ``/responses``; plain ``ws`` for a plain http endpoint."""
    return _base_url(settings).replace("http", "ws", 1)


def _sdk_arguments(settings: Settings, sdk: dict[str, Any], *, is_async: bool) -> dict[str, Any]:
    """The arguments for the SDK's own constructor."""
    given = sdk.pop("http_client", None)
    if own_settings(given) is not settings or not given.azure_shim_signs_nothing:
        given = build_client(settings, is_async=is_async, given=given, signs_nothing=True)
    dialled = _websocket_url(settings)
    wanted = sdk.pop("websocket_base_url", None)
    if wanted is not None and urlsplit(str(wanted))[:2] != urlsplit(dialled)[:2]:
        raise ConfigurationError(
            ["websocket_base_url: is at another host or scheme than the endpoint, which the credential belongs to"]
        )
    return {
        **sdk,
        "api_key": PLACEHOLDER,
        "base_url": _base_url(settings),
        "websocket_base_url": wanted or dialled,
        "http_client": given,
    }


def _forget_ambient(client: Any, sdk: Mapping[str, Any]) -> None:
    """Take off what the SDK read from the environment for OpenAI's own service: it must not reach Azure."""
    if sdk.get("organization") is None:
        client.organization = None
    if sdk.get("project") is None:
        client.project = None
    client.admin_api_key = None
    # OPENAI_CUSTOM_HEADERS may carry an OpenAI key.
    set_default_headers(client, sdk.get("default_headers") or {})


def _split(arguments: dict[str, Any], *, is_async: bool) -> tuple[Settings, dict[str, Any]]:
    """A constructor's arguments as settings for Azure, and those left for the SDK as they were given."""
    own = arguments.pop("_azure_settings")
    arguments = {k: None if isinstance(v, _UNSET) and k != "timeout" else v for k, v in arguments.items()}
    azure = {name: arguments.pop(name) for name in ARGUMENTS}
    # Not every SDK version has every one of them; what was not given is not passed on.
    unset = {"timeout": openai.NOT_GIVEN, "_strict_response_validation": False, "_enforce_credentials": True}
    sdk = {k: v for k, v in arguments.items() if v is not None or k in ("timeout", "max_retries")}
    sdk = {k: v for k, v in sdk.items() if k not in unset or v is not unset[k]}
    return _configured(azure, sdk, own, is_async=is_async), sdk


def _changed(
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
        if wanted["base_url"].rstrip("/") == _base_url(settings):
            del wanted["base_url"]
    if wanted:
        before = settings
        settings = validated(lambda: before.with_arguments(wanted, is_async=is_async))
        if str(client.websocket_base_url) == _websocket_url(before):
            options.setdefault("websocket_base_url", _websocket_url(settings))
    return settings, given if given is not None else http_client_of(client)


def _websockets() -> Any:
    """Loaded when it is first used: it imports the SDK's resources, which the SDK itself puts off too."""
    from azure_shim import websockets

    return websockets


class _Shim:
    """What both clients have in common. Each method is one that the SDK calls on its own subclasses."""

    azure_shim_settings: Settings
    _kept_urls: dict[str, Any]

    if not TYPE_CHECKING:  # to a type checker it is the SDK's str

        @property
        def api_key(self) -> str:
            return PLACEHOLDER

        @api_key.setter
        def api_key(self, value: str) -> None:
            if value not in (PLACEHOLDER, ""):
                raise AttributeError("api_key is not what signs; use client.with_options(api_key=...)")

    def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> openai.APIStatusError:
        hint = _hint(response, body, self.azure_shim_settings)
        error: openai.APIStatusError = super()._make_status_error(err_msg + hint, body=body, response=response)  # type: ignore[misc]
        return error

    def _validate_headers(self, headers: Any, custom_headers: Any) -> None:
        """Whether a request is signed is the transport's concern."""

    def _auth_headers(self, security: Any) -> dict[str, str]:
        """Nothing: what signs an HTTP request is added by the transport, so that no other host can ever get it."""
        return {}

    def _prepare_url(self, url: str) -> Any:
        """The SDK's own, kept per path: parsing a URL costs more than all that we do to a request."""
        kept, base = self._kept_urls, self.base_url  # type: ignore[attr-defined]
        if kept.get("") is not base or len(kept) > _KEPT_URLS:
            kept.clear()
            kept[""] = base
        found = kept.get(url)
        if found is None:
            found = kept[url] = super()._prepare_url(url)  # type: ignore[misc]
        return found

    if not TYPE_CHECKING:  # their types are those of the SDK's own

        @cached_property
        def realtime(self) -> Any:
            return _websockets().realtime_of(self)

        @cached_property
        def responses(self) -> Any:
            return _websockets().responses_of(self)

        @cached_property
        def beta(self) -> Any:
            return _websockets().beta_of(self)

    if _HTTP_USES_AUTH_HEADERS:

        @property
        def default_headers(self) -> Any:
            building = _building_http.set(True)
            try:
                return super().default_headers  # type: ignore[misc]
            finally:
                _building_http.reset(building)

    def _signed_for_websocket(self, result: Header | Refusal) -> Header:
        if not isinstance(result, Refusal):
            return result
        raise openai.OpenAIError(result.message) from result.cause


def _hint(response: Any, body: object, settings: Settings) -> str:
    """For a deployment that Azure does not find: what was asked for, and what the client would have known."""
    error = body.get("error", body) if isinstance(body, Mapping) else None
    served = response.request.extensions.get(EXTENSION)
    if response.status_code != 404 or not isinstance(served, Served) or served.deployment is None:
        return ""
    if not isinstance(error, Mapping) or error.get("code") != "DeploymentNotFound":
        return ""
    names = settings.target.deployments
    known = f"; deployments has: {', '.join(sorted(names))}" if isinstance(names, Mapping) else ""
    asked = f"model {served.model!r} is deployment" if served.model else "deployment"
    return f" ({asked} {served.deployment!r} at {response.request.url.host}{known})"


def _checked_answer(result: Any, cast_to: Any, response: Any) -> Any:
    """``result``, unless the SDK passed on a text where the operation has a model; of a raw one, what it parses to."""
    if isinstance(result, LegacyAPIResponse):
        parse = result.parse

        def checked_parse(**options: Any) -> Any:
            try:
                parsed = parse(**options)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise _cut_answer(response) from error
            return parsed if options else _checked_answer(parsed, cast_to, response)

        result.parse = checked_parse  # type: ignore[method-assign]
        return result
    if isinstance(result, str) and inspect.isclass(cast_to) and issubclass(cast_to, openai.BaseModel):
        raise openai.APIResponseValidationError(
            response, result, message="The answer is no JSON although its status is a success."
        )
    return result


def _cut_answer(response: Any) -> openai.APIResponseValidationError:
    return openai.APIResponseValidationError(
        response,
        response.content.decode("utf-8", "replace"),
        message="The answer is no complete JSON although its status is a success.",
    )


class OpenAI(_Shim, openai.OpenAI):
    """An ``openai.OpenAI`` whose calls run on Azure OpenAI.

    Args:
        azure_endpoint: the resource, in any of its spellings; else ``AZURE_OPENAI_ENDPOINT``.
        resource_name: the same as a name: ``https://<resource_name>.openai.azure.com``.
        base_url: the same as a full base URL, such as a gateway's; nothing is added to its path on a host that is not
            Azure's own.
        api_version: ``"v1"`` or nothing for the v1 surface, a dated one for the classic surface; else
            ``OPENAI_API_VERSION``.
        api_key: a key, or a function that returns one; else ``AZURE_OPENAI_API_KEY``.
        azure_ad_token: a Microsoft Entra token; else ``AZURE_OPENAI_AD_TOKEN``, which wins over the key's variable.
        azure_ad_token_provider: a function that returns a token; called once per attempt.
        api_key_header: the header for the key, if a gateway has its own (``"Ocp-Apim-Subscription-Key"``).
        deployments: from the model's name that callers use to the deployment's, a mapping or a function; a name that it
            does not have is used as it is, or is an error with ``unmapped_models="error"``.
        azure_deployment, deployment_id: the deployment for all models that ``deployments`` does not name.
        http_client: a client of httpx or httpx2 whose connections, proxies, hooks and timeout are used; it is neither
            changed nor closed.

    All others are those of ``openai.OpenAI``. ``client.api_key`` is `PLACEHOLDER`, never a secret.

    Raises:
        ConfigurationError: (an ``openai.OpenAIError`` and a ``ValueError``) the arguments cannot work.
        TypeError: ``http_client`` belongs to another library or is async.
    """

    def __init__(
        self,
        *,
        azure_endpoint: str | None = None,
        azure_deployment: str | None = None,
        api_version: str | None = None,
        api_key: str | Callable[[], str] | None = None,
        azure_ad_token: str | None = None,
        azure_ad_token_provider: Callable[[], str] | None = None,
        resource_name: str | None = None,
        deployment_id: str | None = None,
        deployments: Deployments | None = None,
        unmapped_models: str | None = None,
        api_key_header: str | None = None,
        credential: Any = None,
        admin_api_key: str | None = None,
        workload_identity: Any = None,
        organization: str | None = None,
        project: str | None = None,
        webhook_secret: str | None = None,
        provider: Any = None,
        base_url: Any = None,
        data_residency: Any = None,
        websocket_base_url: Any = None,
        timeout: Any = openai.NOT_GIVEN,
        max_retries: int = openai.DEFAULT_MAX_RETRIES,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        http_client: Any = None,
        _strict_response_validation: bool = False,
        _enforce_credentials: bool = True,
        _azure_settings: Settings | None = None,
    ) -> None:
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.azure_shim_settings, sdk = _split(arguments, is_async=False)
        self._kept_urls = {}
        super().__init__(**_sdk_arguments(self.azure_shim_settings, sdk, is_async=False))
        _forget_ambient(self, sdk)

    def copy(
        self,
        *,
        azure_endpoint: str | None = None,
        azure_deployment: str | None = None,
        api_version: str | None = None,
        api_key: Any = None,
        azure_ad_token: str | None = None,
        azure_ad_token_provider: Any = None,
        resource_name: str | None = None,
        deployment_id: str | None = None,
        deployments: Deployments | None = None,
        unmapped_models: str | None = None,
        api_key_header: str | None = None,
        credential: Any = None,
        base_url: Any = None,
        http_client: Any = None,
        _extra_kwargs: Mapping[str, Any] = {},
        **options: Any,
    ) -> Self:
        """A client with the same settings but what is given here: those of the SDK's ``copy``, and Azure's.

        It shares this one's connections. A new endpoint, credential or deployment replaces the one there was.
        """
        changes = {k: v for k, v in locals().items() if k in ARGUMENTS}
        settings, given = _changed(self, changes, http_client, options, is_async=False)
        extra = {**_extra_kwargs, "_azure_settings": settings}
        return super().copy(http_client=given, _extra_kwargs=extra, **options)

    with_options = copy

    @property
    def auth_headers(self) -> dict[str, str]:
        """What signs a WebSocket; HTTP requests are signed by the transport."""
        if _building_http.get():
            return {}
        name, value = self._credential()
        return {name.decode(): value.decode()}

    def _credential(self) -> Header:
        machine = attach(self.azure_shim_settings.target.credential)
        try:
            machine.send(ask(next(machine).provider))
        except StopIteration as stop:
            return self._signed_for_websocket(stop.value)
        raise AssertionError("one question is all that it asks")

    def _prepare_options(self, options: Any) -> Any:
        return options

    def _prepare_request(self, request: Any) -> None:
        # What signs this request, if anything does, is its caller's wish: the SDK above us adds nothing.
        request.extensions[EXPLICIT] = True

    def _process_response(self, *, cast_to: Any, response: Any, **options: Any) -> Any:
        try:
            result = super()._process_response(cast_to=cast_to, response=response, **options)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _cut_answer(response) from error
        return _checked_answer(result, cast_to, response)


class AsyncOpenAI(_Shim, openai.AsyncOpenAI):
    """An ``openai.AsyncOpenAI`` whose calls run on Azure OpenAI; the arguments are those of `OpenAI`.

    ``api_key`` and ``azure_ad_token_provider`` may be functions that return awaitables; others are called in a thread.
    """

    def __init__(
        self,
        *,
        azure_endpoint: str | None = None,
        azure_deployment: str | None = None,
        api_version: str | None = None,
        api_key: str | Callable[[], str | Awaitable[str]] | None = None,
        azure_ad_token: str | None = None,
        azure_ad_token_provider: Callable[[], str | Awaitable[str]] | None = None,
        resource_name: str | None = None,
        deployment_id: str | None = None,
        deployments: Deployments | None = None,
        unmapped_models: str | None = None,
        api_key_header: str | None = None,
        credential: Any = None,
        admin_api_key: str | None = None,
        workload_identity: Any = None,
        organization: str | None = None,
        project: str | None = None,
        webhook_secret: str | None = None,
        provider: Any = None,
        base_url: Any = None,
        data_residency: Any = None,
        websocket_base_url: Any = None,
        timeout: Any = openai.NOT_GIVEN,
        max_retries: int = openai.DEFAULT_MAX_RETRIES,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        http_client: Any = None,
        _strict_response_validation: bool = False,
        _enforce_credentials: bool = True,
        _azure_settings: Settings | None = None,
    ) -> None:
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.azure_shim_settings, sdk = _split(arguments, is_async=True)
        self._kept_urls = {}
        super().__init__(**_sdk_arguments(self.azure_shim_settings, sdk, is_async=True))
        _forget_ambient(self, sdk)

    def copy(
        self,
        *,
        azure_endpoint: str | None = None,
        azure_deployment: str | None = None,
        api_version: str | None = None,
        api_key: Any = None,
        azure_ad_token: str | None = None,
        azure_ad_token_provider: Any = None,
        resource_name: str | None = None,
        deployment_id: str | None = None,
        deployments: Deployments | None = None,
        unmapped_models: str | None = None,
        api_key_header: str | None = None,
        credential: Any = None,
        base_url: Any = None,
        http_client: Any = None,
        _extra_kwargs: Mapping[str, Any] = {},
        **options: Any,
    ) -> Self:
        """A client with the same settings but what is given here: those of the SDK's ``copy``, and Azure's.

        It shares this one's connections. A new endpoint, credential or deployment replaces the one there was.
        """
        changes = {k: v for k, v in locals().items() if k in ARGUMENTS}
        settings, given = _changed(self, changes, http_client, options, is_async=True)
        extra = {**_extra_kwargs, "_azure_settings": settings}
        return super().copy(http_client=given, _extra_kwargs=extra, **options)

    with_options = copy

    @property
    def auth_headers(self) -> dict[str, str]:
        """What signs a WebSocket; HTTP requests are signed by the transport."""
        if _building_http.get():
            return {}
        dialled = _dialled.get()
        if dialled is not None and dialled[0]() is self:
            _dialled.set(None)  # for one dialling alone: the next one wants a fresh token
            return {dialled[1][0].decode(): dialled[1][1].decode()}
        machine = attach(self.azure_shim_settings.target.credential)
        try:
            machine.send(ask(next(machine).provider))
        except StopIteration as stop:
            name, value = self._signed_for_websocket(stop.value)
            return {name.decode(): value.decode()}
        raise AssertionError("one question is all that it asks")

    async def _refresh_api_key(self) -> str:
        """The SDK awaits this before it dials; a plain request of ours has no use for it."""
        machine = attach(self.azure_shim_settings.target.credential)
        try:
            machine.send(await ask_async(next(machine).provider))
        except StopIteration as stop:
            _dialled.set((weakref.ref(self), self._signed_for_websocket(stop.value)))
        return PLACEHOLDER

    async def _prepare_options(self, options: Any) -> Any:
        if options.url.startswith(("ws://", "wss://")):
            await self._refresh_api_key()
        return options

    async def _prepare_request(self, request: Any) -> None:
        request.extensions[EXPLICIT] = True

    async def _process_response(self, *, cast_to: Any, response: Any, **options: Any) -> Any:
        try:
            result = await super()._process_response(cast_to=cast_to, response=response, **options)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _cut_answer(response) from error
        return _checked_answer(result, cast_to, response)
