"""The constructor that people change: ``from azure_shim import OpenAI`` instead of ``from openai import OpenAI``."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import openai
from typing_extensions import Self

from azure_shim import calls
from azure_shim.answers import checked_answer, cut_answer, raise_coldness, worded
from azure_shim.config.settings import CLIENT_ARGUMENTS, Settings
from azure_shim.construction import (
    PLACEHOLDER,
    base_url_of,
    changed,
    forget_ambient,
    is_aimed,
    is_at,
    pins,
    sdk_arguments,
    split,
)
from azure_shim.dialling import building_http, headers_of, headers_of_async, is_building_http, refresh
from azure_shim.http import UNPICKLABLE, build_moved
from azure_shim.routing.fleet import Fleet
from azure_shim.routing.health import TargetHealth
from azure_shim.sdk import MAJOR, http_client_of, set_http_client
from azure_shim.transport.exchange import EXPLICIT
from azure_shim.values import Deployments

__all__ = ["PLACEHOLDER", "AsyncOpenAI", "OpenAI"]

# openai 1.x takes the headers of HTTP requests from `auth_headers` too, which elsewhere serves WebSockets alone.
_HTTP_USES_AUTH_HEADERS = MAJOR < 2
_KEPT_URLS = 256


def _websockets() -> Any:
    """Loaded when it is first used: it imports the SDK's resources, which the SDK itself puts off too."""
    from azure_shim import websockets

    return websockets


class _Shim:
    """What both clients have in common. Each method is one that the SDK calls on its own subclasses."""

    azure_shim_settings: Settings
    _kept_urls: dict[str, Any]
    _is_astray = False
    """Whether ``base_url`` was set to another origin than that of a target."""

    if not TYPE_CHECKING:  # to a type checker it is the SDK's str

        @property
        def api_key(self) -> str:
            return PLACEHOLDER

        @api_key.setter
        def api_key(self, value: str) -> None:
            if value not in (PLACEHOLDER, ""):
                raise AttributeError("api_key is not what signs; use client.with_options(api_key=...)")

        @property
        def base_url(self) -> Any:
            return super().base_url

        @base_url.setter
        def base_url(self, url: Any) -> None:
            """Another path at the target's own origin is another surface of it; to another origin nothing is sent."""
            text = str(url).rstrip("/")
            if "_client" not in vars(self) or text == base_url_of(self.azure_shim_settings):
                self._is_astray = False
            elif text != str(self.base_url).rstrip("/"):
                self._is_astray = not is_at(self.azure_shim_settings, url)
                url = url if self._is_astray else self._moved(url)
            super(_Shim, type(self)).base_url.fset(self, url)

        def _moved(self, url: Any) -> Any:
            is_async, options = isinstance(self, openai.AsyncOpenAI), {}
            settings, given = changed(self, {"base_url": url}, None, options, is_async=is_async)
            self.azure_shim_settings = settings
            set_http_client(self, build_moved(settings, given, is_async=is_async))
            self.websocket_base_url = options.get("websocket_base_url", self.websocket_base_url)
            self._constructed()
            return base_url_of(settings)

    def __copy__(self) -> Self:
        return self.copy()  # type: ignore[attr-defined,no-any-return]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Connections have no second copy; whoever copies an object that holds a client shares it.
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(UNPICKLABLE)

    def _constructed(self) -> None:
        """Called at the end of the construction, for classes that have more to set."""

    def health(self) -> tuple[TargetHealth, ...]:
        """The state of each target of ``config`` just now, in its order; shared by all clients of equal targets.

        Empty for a client of one endpoint, which is always asked.
        """
        fleet: Fleet | None = http_client_of(self).azure_shim_fleet
        return () if fleet is None else fleet.health.snapshot()

    def _make_status_error(self, err_msg: str, *, body: object, response: Any) -> openai.APIStatusError:
        text = worded(err_msg, response, body, self.azure_shim_settings)
        error: openai.APIStatusError = super()._make_status_error(text, body=body, response=response)  # type: ignore[misc]
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

        if hasattr(openai.OpenAI, "live"):

            @cached_property
            def live(self) -> Any:
                return _websockets().live_of(self)

    if _HTTP_USES_AUTH_HEADERS:

        @property
        def default_headers(self) -> Any:
            with building_http():
                return super().default_headers  # type: ignore[misc]


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
        credential: a credential of azure.identity (or like it), whose tokens are kept, shared and refreshed ahead of
            their end. It is not closed. ``azure_entra_tenant_id`` may name the tenant to ask.
        azure_auth_mode: a credential of azure.identity that the client makes when it needs it, and closes:
            ``"entra"``, a service principal (``azure_entra_tenant_id``, ``azure_entra_client_id`` and
            ``azure_entra_client_secret``, or ``azure_entra_certificate_path`` with
            ``azure_entra_certificate_password``; else ``AZURE_TENANT_ID``, ``AZURE_CLIENT_ID``, ...); ``"managed"``, a
            managed identity (one of ``azure_managed_client_id``, ``azure_managed_object_id``,
            ``azure_managed_resource_id``, or the machine's own); ``"workload"``, the pod's workload identity
            (``azure_workload_client_id``, else ``AZURE_CLIENT_ID``); ``"default"``, ``DefaultAzureCredential``;
            ``"cli"``, ``az login``. Without any credential, key or token, a machine that has an identity uses
            ``"default"``.
        azure_entra_scope: what tokens are asked for, if not what the endpoint's cloud and surface take.
        azure_cloud: ``"public"``, ``"usgov"`` or ``"china"``, for ``resource_name`` and for endpoints whose host does
            not tell; endpoint, authority and scope follow it.
        api_key_header: the header for the key, if a gateway has its own (``"Ocp-Apim-Subscription-Key"``).
        deployments: from the model's name that callers use to the deployment's, a mapping or a function; a name that it
            does not have is used as it is, or is an error with ``unmapped_models="error"``.
        azure_deployment, deployment_id: the deployment for all models that ``deployments`` does not name.
        config: several targets, each with the arguments of its own, and how they are chosen from: a dict in the format
            of the Portkey gateway (``{"strategy": {"mode": "fallback"}, "targets": [...]}``), `Fallback`,
            `LoadBalance` or `Conditional`, or the path of a TOML or JSON file; else ``AZURE_SHIM_CONFIG``. Its Azure
            targets inherit the other arguments but for an endpoint, of which each has its own.
        drop_empty_choice_chunks: whether streams of chat and text completions come without what only Azure sends: the
            verdict on the prompt is moved from its own chunk, which has no choice, into the next one, and a choice
            without a ``delta`` gets an empty one, so that ``chunk.choices[0].delta.content`` can always be read.
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
        azure_auth_mode: str | None = None,
        azure_entra_tenant_id: str | None = None,
        azure_entra_client_id: str | None = None,
        azure_entra_client_secret: str | None = None,
        azure_entra_certificate_path: str | os.PathLike[str] | None = None,
        azure_entra_certificate_password: str | None = None,
        azure_entra_scope: str | None = None,
        azure_managed_client_id: str | None = None,
        azure_managed_object_id: str | None = None,
        azure_managed_resource_id: str | None = None,
        azure_workload_client_id: str | None = None,
        azure_cloud: str | None = None,
        config: Any = None,
        drop_empty_choice_chunks: bool | None = None,
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
        self.azure_shim_settings, sdk = split(arguments, is_async=False)
        self._kept_urls = {}
        openai.OpenAI.__init__(self, **sdk_arguments(self.azure_shim_settings, sdk, is_async=False))
        forget_ambient(self, sdk)
        self._constructed()

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
        azure_auth_mode: str | None = None,
        azure_entra_tenant_id: str | None = None,
        azure_entra_client_id: str | None = None,
        azure_entra_client_secret: str | None = None,
        azure_entra_certificate_path: str | os.PathLike[str] | None = None,
        azure_entra_certificate_password: str | None = None,
        azure_entra_scope: str | None = None,
        azure_managed_client_id: str | None = None,
        azure_managed_object_id: str | None = None,
        azure_managed_resource_id: str | None = None,
        azure_workload_client_id: str | None = None,
        azure_cloud: str | None = None,
        config: Any = None,
        drop_empty_choice_chunks: bool | None = None,
        base_url: Any = None,
        http_client: Any = None,
        _extra_kwargs: Mapping[str, Any] = {},
        **options: Any,
    ) -> Self:
        """A client with the same settings but what is given here: those of the SDK's ``copy``, and Azure's.

        It shares this one's connections, but for one of several targets (``config``) with other settings of Azure's,
        which has its own to close. A new endpoint, credential or deployment replaces the one there was.
        """
        changes = {k: v for k, v in locals().items() if k in CLIENT_ARGUMENTS}
        settings, given = changed(self, changes, http_client, options, is_async=False)
        extra = {**_extra_kwargs, "_azure_settings": settings}
        copied = super().copy(http_client=given, _extra_kwargs=extra, **options)
        if self._is_astray and not is_aimed(changes):
            copied.base_url = self.base_url
        return copied

    with_options = copy

    @property
    def auth_headers(self) -> dict[str, str]:
        """What signs a WebSocket; HTTP requests are signed by the transport."""
        return {} if is_building_http() else headers_of(self)

    def warm_up(self) -> None:
        """Fetch the token and open a connection to the target, so that the first call waits for neither.

        Sends ``GET /models`` once, to each of several targets, of which one has to be ready. What they answer does not
        matter.

        Raises:
            openai.AuthenticationError: there is no token; the message says why.
            openai.APIConnectionError: no connection, or no token in time (``APITimeoutError``).
        """
        models, errors = self.with_options(max_retries=0).models, []
        for headers in pins(self.azure_shim_settings):
            try:
                models.with_raw_response.list(extra_headers=headers)
            except openai.OpenAIError as error:  # noqa: PERF203  each target is tried, whatever the last one said
                errors.append(error)
        raise_coldness(errors, self.azure_shim_settings)

    def _prepare_options(self, options: Any) -> Any:
        calls.note(options)
        return options

    def _prepare_request(self, request: Any) -> None:
        # What signs this request, if anything does, is its caller's wish: the SDK above us adds nothing.
        request.extensions[EXPLICIT] = True
        calls.mark(request)

    def _process_response(self, *, cast_to: Any, response: Any, **options: Any) -> Any:
        try:
            result = super()._process_response(cast_to=cast_to, response=response, **options)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise cut_answer(response) from error
        return checked_answer(result, cast_to, response)


class AsyncOpenAI(_Shim, openai.AsyncOpenAI):
    """An ``openai.AsyncOpenAI`` whose calls run on Azure OpenAI; the arguments are those of `OpenAI`.

    ``api_key`` and ``azure_ad_token_provider`` may be functions that return awaitables, and ``credential`` one of
    ``azure.identity.aio``; others are called in a thread.
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
        azure_auth_mode: str | None = None,
        azure_entra_tenant_id: str | None = None,
        azure_entra_client_id: str | None = None,
        azure_entra_client_secret: str | None = None,
        azure_entra_certificate_path: str | os.PathLike[str] | None = None,
        azure_entra_certificate_password: str | None = None,
        azure_entra_scope: str | None = None,
        azure_managed_client_id: str | None = None,
        azure_managed_object_id: str | None = None,
        azure_managed_resource_id: str | None = None,
        azure_workload_client_id: str | None = None,
        azure_cloud: str | None = None,
        config: Any = None,
        drop_empty_choice_chunks: bool | None = None,
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
        self.azure_shim_settings, sdk = split(arguments, is_async=True)
        self._kept_urls = {}
        openai.AsyncOpenAI.__init__(self, **sdk_arguments(self.azure_shim_settings, sdk, is_async=True))
        forget_ambient(self, sdk)
        self._constructed()

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
        azure_auth_mode: str | None = None,
        azure_entra_tenant_id: str | None = None,
        azure_entra_client_id: str | None = None,
        azure_entra_client_secret: str | None = None,
        azure_entra_certificate_path: str | os.PathLike[str] | None = None,
        azure_entra_certificate_password: str | None = None,
        azure_entra_scope: str | None = None,
        azure_managed_client_id: str | None = None,
        azure_managed_object_id: str | None = None,
        azure_managed_resource_id: str | None = None,
        azure_workload_client_id: str | None = None,
        azure_cloud: str | None = None,
        config: Any = None,
        drop_empty_choice_chunks: bool | None = None,
        base_url: Any = None,
        http_client: Any = None,
        _extra_kwargs: Mapping[str, Any] = {},
        **options: Any,
    ) -> Self:
        """A client with the same settings but what is given here: those of the SDK's ``copy``, and Azure's.

        It shares this one's connections, but for one of several targets (``config``) with other settings of Azure's,
        which has its own to close. A new endpoint, credential or deployment replaces the one there was.
        """
        changes = {k: v for k, v in locals().items() if k in CLIENT_ARGUMENTS}
        settings, given = changed(self, changes, http_client, options, is_async=True)
        extra = {**_extra_kwargs, "_azure_settings": settings}
        copied = super().copy(http_client=given, _extra_kwargs=extra, **options)
        if self._is_astray and not is_aimed(changes):
            copied.base_url = self.base_url
        return copied

    with_options = copy

    @property
    def auth_headers(self) -> dict[str, str]:
        """What signs a WebSocket; HTTP requests are signed by the transport."""
        return {} if is_building_http() else headers_of_async(self)

    async def warm_up(self) -> None:
        """As `OpenAI.warm_up`; the connection is for the running event loop."""
        models, errors = self.with_options(max_retries=0).models, []
        for headers in pins(self.azure_shim_settings):
            try:
                await models.with_raw_response.list(extra_headers=headers)
            except openai.OpenAIError as error:  # noqa: PERF203  as above
                errors.append(error)
        raise_coldness(errors, self.azure_shim_settings)

    async def _refresh_api_key(self) -> str:
        """The SDK awaits this before it dials; a plain request of ours has no use for it."""
        return await refresh(self)

    async def _prepare_options(self, options: Any) -> Any:
        if options.url.startswith(("ws://", "wss://")):
            await self._refresh_api_key()
        calls.note(options)
        return options

    async def _prepare_request(self, request: Any) -> None:
        request.extensions[EXPLICIT] = True
        calls.mark(request)

    async def _process_response(self, *, cast_to: Any, response: Any, **options: Any) -> Any:
        try:
            result = await super()._process_response(cast_to=cast_to, response=response, **options)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise cut_answer(response) from error
        return checked_answer(result, cast_to, response)


def _show_arguments(client: Any) -> None:
    """Let the signatures show what can be passed, to tools and to tests as the SDK's own.

    What ``copy`` takes by ``**options`` is the SDK's, and differs by version, as what its constructor takes.
    """
    above: Any = super(_Shim, client)
    known = {*inspect.signature(above.__init__).parameters, *CLIENT_ARGUMENTS, "self"}
    built = inspect.signature(client.__init__)
    kept = {name: each for name, each in built.parameters.items() if name in known}
    client.__init__.__signature__ = built.replace(parameters=list(kept.values()))
    copied = inspect.signature(client.copy)
    own = {name: each for name, each in copied.parameters.items() if each.kind is not inspect.Parameter.VAR_KEYWORD}
    sdk = inspect.signature(above.copy).parameters
    client.copy.__signature__ = copied.replace(parameters=list({**own, **sdk, **own}.values()))


for _client in (OpenAI, AsyncOpenAI):
    _show_arguments(_client)
