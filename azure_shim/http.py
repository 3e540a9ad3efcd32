"""Build the HTTP library's own client around our transport."""

from __future__ import annotations

import importlib
import os
import sys
import weakref
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NoReturn, TypeVar

import openai

from azure_shim import errors
from azure_shim.config.credentials import SIGNING_HEADERS
from azure_shim.config.settings import CLIENT_ARGUMENTS, Settings, read_settings
from azure_shim.routing.fleet import Fleet
from azure_shim.sdk import MAJOR
from azure_shim.transport.assembly import assemble
from azure_shim.transport.library import Library
from azure_shim.transport.pool import release_when_dropped
from azure_shim.transport.private import always, selector_of
from azure_shim.values import Deployments, Provider

__all__ = [
    "SIGNING_HEADERS",
    "UNPICKLABLE",
    "ConfigurationError",
    "async_http_client",
    "build_client",
    "build_moved",
    "http_client",
    "own_settings",
    "validated",
]

_POOL_OPTIONS = ("verify", "cert", "trust_env", "proxy", "mounts", "http1", "http2", "limits")
_LIBRARIES = ("httpx", "httpx2")
_Read = TypeVar("_Read")
UNPICKLABLE = (
    "a client cannot be pickled: it holds connections, and perhaps a secret; pickle what it was built from (a config "
    "that names its secrets, {'env': ...}), and build it anew there"
)


class ConfigurationError(errors.ConfigurationError, openai.OpenAIError):
    """A `ConfigurationError` that code which handles the SDK's errors catches too."""


class AsyncCredentialError(errors.AsyncCredentialError, ConfigurationError):
    """An `errors.AsyncCredentialError` that is an ``openai.OpenAIError`` as well."""


def validated(read: Callable[[], _Read]) -> _Read:
    """``read()``, with its `ConfigurationError` as one that is also an ``openai.OpenAIError``."""
    try:
        return read()
    except errors.AsyncCredentialError as error:
        raise AsyncCredentialError(error.problems) from None
    except errors.ConfigurationError as error:
        raise ConfigurationError(error.problems) from None


def http_client(  # noqa: D417  Azure's arguments are described together
    *,
    azure_endpoint: str | None = None,
    base_url: Any = None,
    resource_name: str | None = None,
    api_version: str | None = None,
    api_key: str | Callable[[], str] | None = None,
    azure_ad_token: str | None = None,
    azure_ad_token_provider: Callable[[], str] | None = None,
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
    api_key_header: str | None = None,
    azure_deployment: str | None = None,
    deployment_id: str | None = None,
    deployments: Deployments | None = None,
    unmapped_models: str | None = None,
    config: Any = None,
    drop_empty_choice_chunks: bool | None = None,
    default_headers: Mapping[str, str] | None = None,
    http_client: Any = None,
    library: str | None = None,
    transport: Any = None,
    timeout: Any = None,
    **options: Any,
) -> Any:
    """An ``httpx.Client`` or ``httpx2.Client`` through which any OpenAI client reaches Azure OpenAI.

    ``openai.OpenAI(api_key="unused", http_client=azure_shim.http_client(azure_endpoint=..., api_key=...))``; whatever
    that client sends to whatever host it was told, and every credential that it adds, is rewritten to the target.

    Args:
        azure_endpoint, base_url, resource_name, api_version, api_key, azure_ad_token, azure_ad_token_provider,
        credential, azure_auth_mode, azure_entra_..., azure_managed_..., azure_workload_..., azure_cloud,
        api_key_header, azure_deployment, deployment_id, deployments, unmapped_models, config,
        drop_empty_choice_chunks: as for
        `azure_shim.OpenAI`.
        default_headers: headers for every request to the target.
        http_client: a client of either library whose connections, proxies, hooks and timeout are to be used. It is
            neither changed nor closed.
        library: ``"httpx"`` or ``"httpx2"``; by default that of ``http_client`` or ``transport``, else the one that the
            installed openai is built on.
        transport: a transport of that library to send with, instead of a pool of connections.
        timeout: in seconds or as the library's ``Timeout``; by default the SDK's 600 s, 5 s to connect.
        options: ``verify``, ``cert``, ``trust_env``, ``proxy``, ``mounts``, ``http1``, ``http2``, ``limits``,
            ``event_hooks``, ``follow_redirects`` (True by default), ``max_redirects``: as in the library's client.

    Raises:
        ConfigurationError: the settings cannot work.
        TypeError: ``http_client`` or ``transport`` belongs to another library or is async.
    """
    arguments = {name: value for name, value in locals().items() if name in CLIENT_ARGUMENTS}
    return _http_client(arguments, default_headers, http_client, library, transport, timeout, options, is_async=False)


def async_http_client(
    *,
    azure_endpoint: str | None = None,
    base_url: Any = None,
    resource_name: str | None = None,
    api_version: str | None = None,
    api_key: str | Provider | None = None,
    azure_ad_token: str | None = None,
    azure_ad_token_provider: Provider | None = None,
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
    api_key_header: str | None = None,
    azure_deployment: str | None = None,
    deployment_id: str | None = None,
    deployments: Deployments | None = None,
    unmapped_models: str | None = None,
    config: Any = None,
    drop_empty_choice_chunks: bool | None = None,
    default_headers: Mapping[str, str] | None = None,
    http_client: Any = None,
    library: str | None = None,
    transport: Any = None,
    timeout: Any = None,
    **options: Any,
) -> Any:
    """An ``httpx.AsyncClient`` or ``httpx2.AsyncClient`` for any AsyncOpenAI client; as `http_client`.

    ``api_key`` and ``azure_ad_token_provider`` may be functions that return awaitables; others run in a thread, so that
    the event loop never waits for them.
    """
    arguments = {name: value for name, value in locals().items() if name in CLIENT_ARGUMENTS}
    return _http_client(arguments, default_headers, http_client, library, transport, timeout, options, is_async=True)


def _http_client(
    arguments: Mapping[str, Any],
    default_headers: Mapping[str, str] | None,
    given: Any,
    library_name: str | None,
    transport: Any,
    timeout: Any,
    options: Mapping[str, Any],
    *,
    is_async: bool,
) -> Any:
    inherited = own_settings(given)
    if inherited is not None and not any(value is not None for value in arguments.values()):
        settings = inherited
    else:
        signs = any(name.lower() in SIGNING_HEADERS for name in default_headers or {})
        settings = validated(lambda: read_settings(arguments, is_async=is_async, signs=signs))
    if default_headers:
        settings = settings.with_headers(default_headers)
    return build_client(
        settings,
        is_async=is_async,
        given=given,
        library_name=library_name,
        transport=transport,
        options={k: v for k, v in {**options, "timeout": timeout}.items() if v is not None},
    )


def own_settings(client: Any) -> Settings | None:
    """The settings of a client that `build_client` built; None for any other."""
    return getattr(client, "azure_shim_settings", None)


def build_client(
    settings: Settings,
    *,
    is_async: bool,
    given: Any = None,
    library_name: str | None = None,
    transport: Any = None,
    options: Mapping[str, Any] | None = None,
    signs_nothing: bool = False,
    owns_given: bool = False,
) -> Any:
    """The library's client whose transport speaks Azure.

    ``given`` is a caller's client, or one of ours, whose connections are used, and closed with it if ``owns_given``;
    for ``signs_nothing`` see `Engine`.
    """
    binding = _binding(_family(given, transport, library_name, is_async=is_async))
    module = binding.LIBRARY.module
    azure = binding.AsyncAzureTransport if is_async else binding.AzureTransport
    wanted = dict(options or {})
    pooled = {name: wanted.pop(name) for name in _POOL_OPTIONS if name in wanted}
    closers: list[Callable[[], Any]] = []
    select: Callable[[Any], Any] | None = None
    if pooled and (given is not None or transport is not None):
        owner = "http_client" if given is not None else "transport"
        raise ConfigurationError([f"{name}: is a matter of the connections, which are {owner}'s" for name in pooled])
    if transport is not None:
        azure.check(transport)
        select = always(transport)
        closers.append(transport.aclose if is_async else transport.close)
    elif given is not None:
        wanted = {**_public_settings(given, module, settings), **wanted}
        is_ours = own_settings(given) is not None
        if not is_ours:
            azure.refuse_stacking(selector_of(given)(module.URL(str(settings.target.endpoint.origin))))
        if settings.plan is None or not is_ours or given.azure_shim_given is not None:
            select = _selector(given)
        if owns_given:
            closers.append(given.aclose if is_async else given.close)
    assembly = assemble(
        binding.LIBRARY, settings, is_async=is_async, options=pooled, select=select, signs_nothing=signs_nothing
    )
    engine, release = assembly.engine, assembly.release
    closers.extend(assembly.closers)
    made = azure.around(engine, closers)
    if release is not None:
        weakref.finalize(made, release_when_dropped, made.closers, release)
    wanted["timeout"] = _timeout(module, wanted.get("timeout"))
    wanted.setdefault("follow_redirects", True)
    client = _client_class(module.AsyncClient if is_async else module.Client)(transport=made, **wanted)
    client.azure_shim_settings, client.azure_shim_select = settings, assembly.select
    client.azure_shim_given, client.azure_shim_signs_nothing = given, signs_nothing
    client.azure_shim_url, client.azure_shim_fleet = engine.url, engine.fleet
    client.azure_shim_library = binding.LIBRARY
    return client


def build_moved(settings: Settings, given: Any, *, is_async: bool) -> Any:
    """The same connections as ``given`` has, one of ours, for another surface of its target; closed with this one."""
    first = given.azure_shim_given if getattr(given, "azure_shim_is_moved", False) else given
    made = build_client(settings, is_async=is_async, given=first, signs_nothing=True, owns_given=True)
    made.azure_shim_is_moved = True
    return made


def _selector(client: Any) -> Callable[[Any], Any]:
    ours: Callable[[Any], Any] | None = getattr(client, "azure_shim_select", None)
    chosen = selector_of(client) if ours is None else ours

    def select(url: Any) -> Any:
        if client.is_closed:
            raise RuntimeError("Cannot send a request, as the client that was given as http_client has been closed.")
        return chosen(url)

    return select


def _public_settings(client: Any, module: Any, wanted: Settings) -> dict[str, Any]:
    """What a caller's client does around its transport, to be done by ours as well; but it does not sign for Azure."""
    names = ("timeout", "follow_redirects", "max_redirects", "cookies", "params", "trust_env")
    settings = {name: getattr(client, name) for name in names}
    if settings["timeout"] == module.Timeout(5.0):
        settings["timeout"] = None  # nobody's wish; the SDK takes it for none too
    targets = (wanted.target,) if wanted.plan is None else wanted.plan.targets
    signing = {*SIGNING_HEADERS, *(target.credential.header.lower() for target in targets)}
    settings["headers"] = [(name, value) for name, value in client.headers.multi_items() if name.lower() not in signing]
    settings["event_hooks"] = {event: list(hooks) for event, hooks in client.event_hooks.items()}
    return settings


def _timeout(module: Any, timeout: Any) -> Any:
    if timeout is None:
        return module.Timeout(600, connect=5.0)  # the SDK's (openai/_constants.py)
    wanted = module.Timeout(timeout) if not hasattr(timeout, "as_dict") else module.Timeout(**timeout.as_dict())
    if wanted == module.Timeout(5.0):
        # The SDK takes a timeout that equals the library's default for one that was not given, and uses 600 s.
        return module.Timeout(5.0, pool=5.001)
    return wanted


@cache
def _client_class(base: Any) -> Any:
    """The library's own client, which knows what it was built from and which copies of its owner share."""

    class AzureClient(base):  # type: ignore[misc]
        azure_shim_settings: Settings
        azure_shim_select: Callable[[Any], Any]
        azure_shim_given: Any
        azure_shim_signs_nothing: bool
        azure_shim_url: Callable[[str], Any]
        azure_shim_fleet: Fleet | None
        azure_shim_library: Library
        azure_shim_is_moved: bool

        def build_request(self, method: str, url: Any, **kwargs: Any) -> Any:
            # The SDK spells the URL anew for every call, and parsing it costs more than all that we do to a request.
            if isinstance(url, str):
                url = self.azure_shim_url(url)
            return super().build_request(method, url, **kwargs)

        def __copy__(self) -> Any:
            return self

        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            return self

        def __reduce__(self) -> NoReturn:
            raise TypeError(UNPICKLABLE)

    AzureClient.__name__ = AzureClient.__qualname__ = f"Azure{base.__name__}"
    return AzureClient


def _binding(library: str) -> Any:
    return importlib.import_module(f"azure_shim.transport.on_{library}")


def library_of_openai() -> str:
    """The library that the installed openai is built on: httpx2 from 3.0 on."""
    return "httpx2" if MAJOR >= 3 else "httpx"


def _family(given: Any, transport: Any, wanted: str | None, *, is_async: bool) -> str:
    """The library of a caller's client or transport, checked, or the one that was asked for, or openai's."""
    if wanted is not None and wanted not in _LIBRARIES:
        raise ConfigurationError([f"library: {wanted!r} is unknown; expected 'httpx' or 'httpx2'"])
    if given is None:
        return wanted or _library_of(transport, "BaseTransport", "AsyncBaseTransport") or library_of_openai()
    colour, other = ("AsyncClient", "Client") if is_async else ("Client", "AsyncClient")
    found = _library_of(given, colour)
    kind = f"{type(given).__module__}.{type(given).__qualname__}"
    if found is None:
        wrong = "a blocking client" if is_async else "an async client"
        reason = wrong if _library_of(given, other) else "no client of a supported library"
        raise TypeError(
            f"Invalid `http_client` argument; Expected an instance of `httpx.{colour}` or `httpx2.{colour}` but got "
            f"{reason} ({kind})"
        )
    if wanted is not None and wanted != found:
        raise TypeError(f"http_client is a client of {found} ({kind}); expected {wanted}.{colour}, as library says")
    if found == "httpx2" and library_of_openai() == "httpx" and MAJOR < 2:
        raise TypeError(f"http_client is a client of httpx2 ({kind}); openai {openai.__version__} takes httpx.{colour}")
    return found


def _library_of(value: object, *names: str) -> str | None:
    for library in _LIBRARIES:
        # A value's library has been imported by whoever made the value; the other one is never imported for a look.
        module = sys.modules.get(library)
        if module is not None and any(isinstance(value, getattr(module, name)) for name in names):
            return library
    return None
