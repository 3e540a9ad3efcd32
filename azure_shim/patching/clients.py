"""What is changed in ``openai.OpenAI`` and ``openai.AsyncOpenAI`` while a patch is on: in place, nothing is replaced.

Each change does nothing but for clients that have a `Seat`, which only the changed constructor gives.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import openai
import wrapt

from azure_shim import calls
from azure_shim.answers import checked_answer, cut_answer, worded
from azure_shim.client import AsyncOpenAI, OpenAI
from azure_shim.config.settings import Settings
from azure_shim.construction import PLACEHOLDER, base_url_of, forget_ambient, is_of_target, websocket_url
from azure_shim.dialling import building_http, headers_of, headers_of_async, is_building_http, refresh
from azure_shim.http import SIGNING_HEADERS, ConfigurationError, own_settings, validated
from azure_shim.patching.places import Places
from azure_shim.patching.seats import Seat, copied_from, is_openais, is_routed, seat_of, seated
from azure_shim.patching.state import KEY_VARIABLE, Patch, current
from azure_shim.sdk import MAJOR, ambient_headers, default_base_url, without_ambient
from azure_shim.values import STAND_IN

__all__ = ["leave_resources", "take_classes"]

Wrapped = Callable[..., Any]
_ROUTED_CLASSES = ("OpenAI", "AsyncOpenAI", "_ModuleClient")
_AZURE_CLASSES = ("AzureOpenAI", "AsyncAzureOpenAI", "_AzureModuleClient")
_DIALLING = tuple(name for name in ("realtime", "responses", "beta", "live") if hasattr(openai.OpenAI, name))
# What signs for OpenAI's own service, or says where that is.
_OPENAIS_OWN = ("admin_api_key", "workload_identity")


def take_classes(places: Places) -> None:
    """Change the two classes, and the module-level client's where it has a property of its own."""
    for base, is_async in ((openai.OpenAI, False), (openai.AsyncOpenAI, True)):
        places.take(base, "__init__", _wrapping(_init))
        places.take(base, "_client", _HTTPClient)
        places.take(base, "websocket_base_url", _WebSocketURL)
        places.take(base, "__deepcopy__", _DeepCopy)
        places.take(base, "close", _wrapping(_close_async if is_async else _close))
        places.take(base, "copy", _wrapping(_copy))
        places.take(base, "with_options", _wrapping(_copy))
        places.take(base, "auth_headers", _auth_headers(is_async=is_async))
        places.take(base, "_make_status_error", _wrapping(_make_status_error))
        for name in _DIALLING:
            places.take(base, name, _resource(name))
        for name, sync, awaited in (
            ("_prepare_options", _prepare_options, _prepare_options_async),
            ("_prepare_request", _prepare_request, _prepare_request_async),
            ("_process_response", _process_response, _process_response_async),
        ):
            places.take(base, name, _wrapping(awaited if is_async else sync))
        if MAJOR < 2:  # which asks `auth_headers` for the headers of HTTP requests too
            places.take(base, "default_headers", _default_headers)
    places.take(openai.AsyncOpenAI, "_refresh_api_key", _wrapping(_refresh_api_key))
    module_client = getattr(openai, "_ModuleClient", None)
    if module_client is not None:
        places.take(module_client, "_client", _module_http_client)


def leave_resources() -> None:
    """Let the clients that go to Azure dial their WebSockets there after the classes are as they were."""
    for client in seated():
        if is_routed(client):
            vars(client).update((name, getattr(client, name)) for name in _DIALLING)


def _wrapping(wrapper: Callable[[Wrapped, Any, tuple[Any, ...], dict[str, Any]], Any]) -> Callable[[Any], Any]:
    def called(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if client is None and args:  # by a wrapper of somebody's who has ours from the class's dictionary, unbound
            client, *rest = args
            return wrapper(partial(wrapped, client), client, tuple(rest), kwargs)
        return wrapper(wrapped, client, args, kwargs)

    return lambda original: wrapt.FunctionWrapper(original, called)


# -- construction


def _init(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    parent, patch = copied_from.get(), current()
    copied_from.set(None)
    kind = _kind(client)
    if kind is None or (kind in _AZURE_CLASSES and not _wants_azure(patch)):
        wrapped(*args, **kwargs)
        return
    given = kwargs.get("http_client")
    inherited = own_settings(given)
    if inherited is not None and not hasattr(given, "azure_shim_seat"):
        wrapped(*args, **kwargs)  # somebody's own http_client() of this package, which knows where to go
        return
    is_async = isinstance(client, openai.AsyncOpenAI)
    if kind in _AZURE_CLASSES:
        _init_azure(wrapped, client, args, kwargs, patch, is_async=is_async)
        return
    settings = inherited or (None if parent is None else parent.azure_shim_settings)
    url = kwargs.get("base_url")
    url = default_base_url() if url is None or isinstance(url, (openai.NotGiven, openai.Omit)) else url
    is_copy = settings is not None and str(url).rstrip("/") == base_url_of(settings)
    if kwargs.get("provider") is not None or (not is_copy and not is_openais(url)):
        _init_elsewhere(wrapped, client, args, kwargs, patch, is_async=is_async)
        return
    if settings is None:
        if patch is None:
            wrapped(*args, **_with_own_key(kwargs))
            return
        settings = validated(lambda: patch.settings(is_async=is_async))
    if kwargs.get("data_residency") is not None:
        raise ConfigurationError(
            [
                "data_residency: says where OpenAI keeps data, and this client goes to Azure; give the patch an "
                "endpoint of that region"
            ]
        )
    _check_dialled(kwargs.get("websocket_base_url"), settings)
    seat = Seat(patch, settings, is_async=is_async, is_azure=False)
    seat.sit(client)
    if inherited is not None:
        seat.inherits(given)
    wanted = {name: value for name, value in kwargs.items() if name not in (*_OPENAIS_OWN, "data_residency")}
    wanted |= {
        "base_url": base_url_of(settings),
        "http_client": given if inherited is not None else seat.built(given),
    }
    if kind == "_ModuleClient":  # whose attributes are the module's
        has_key = os.environ.get(KEY_VARIABLE, STAND_IN) != STAND_IN
        wrapped(*args, **({} if has_key else {"api_key": PLACEHOLDER}) | _given(wanted))
    else:
        wrapped(*args, **{**wanted, "api_key": PLACEHOLDER})
        forget_ambient(client, {**kwargs, "default_headers": without_ambient(kwargs.get("default_headers") or {})})
    seat.note(client)


def _check_dialled(url: Any, settings: Settings) -> None:
    """WebSockets go where the rest of a client goes."""
    if url is None or isinstance(url, (openai.NotGiven, openai.Omit)) or is_openais(url):
        return
    if not is_of_target(settings, url):
        raise ConfigurationError(
            [
                "websocket_base_url: is another service's, and this client goes to Azure; give it that service's "
                "base_url as well, or leave both to the patch"
            ]
        )


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "api_key" or value is not None}


def _kind(client: Any) -> str | None:
    """The SDK's own class that ``client`` is of; None for those of other services, and for this package's."""
    if isinstance(client, (OpenAI, AsyncOpenAI)):
        return None
    own = next(each for each in type(client).__mro__ if each.__module__.partition(".")[0] == "openai")
    return own.__name__ if own.__name__ in (*_ROUTED_CLASSES, *_AZURE_CLASSES) else None


def _wants_azure(patch: Patch | None) -> bool:
    return patch is not None and patch.include_azure


def _init_azure(
    wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], patch: Any, *, is_async: bool
) -> None:
    """An ``AzureOpenAI`` keeps its URL and its class; what it sends goes to the patch's targets all the same."""
    given = kwargs.get("http_client")
    seat = Seat(patch, validated(lambda: patch.settings(is_async=is_async)), is_async=is_async, is_azure=True)
    seat.sit(client)
    # Its own gateway's key is not for the patch's targets.
    headers = {n: v for n, v in (kwargs.get("default_headers") or {}).items() if n.lower() not in SIGNING_HEADERS}
    routed = given if own_settings(given) is not None else seat.built(given)
    wrapped(*args, **{**kwargs, "http_client": routed, "default_headers": headers})
    seat.note(client)


def _init_elsewhere(
    wrapped: Wrapped,
    client: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    patch: Patch | None,
    *,
    is_async: bool,
) -> None:
    """A client of another service is left alone; a copy of a routed one takes nothing of Azure's along."""
    given: Any = kwargs.get("http_client")
    if own_settings(given) is not None:
        # What `copy` has found at the client: both are Azure's.
        kwargs = {**kwargs, "http_client": given.azure_shim_given}
        if str(kwargs.get("websocket_base_url")) == websocket_url(given.azure_shim_settings):
            kwargs["websocket_base_url"] = None
    if patch is None:
        wrapped(*args, **_with_own_key(kwargs))
        return
    seat = Seat(patch, None, is_async=is_async, is_azure=False)
    seat.sit(client)
    wrapped(*args, **_with_own_key(kwargs))
    seat.note(client)


def _with_own_key(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a client that no patch routes, for which the key of a patch is none."""
    if kwargs.get("api_key") == STAND_IN:
        # The program has asked the environment, with a word of its own for none: most local services take any.
        return {**kwargs, "api_key": PLACEHOLDER}
    if kwargs.get("api_key") is not None or os.environ.get(KEY_VARIABLE) != STAND_IN:
        return kwargs
    if kwargs.get("workload_identity") is not None or kwargs.get("provider") is not None:
        return kwargs  # for which the SDK asks the environment for no key
    if kwargs.get("admin_api_key") is None:
        raise openai.OpenAIError(
            "Missing credentials. Please pass an `api_key`, or set the `OPENAI_API_KEY` environment variable (in which "
            "azure_shim.patch has a placeholder; load_dotenv() leaves it there, load_dotenv(override=True) does not)."
        )
    return {**kwargs, "api_key": ""}


def _copy(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not is_routed(client):
        return wrapped(*args, **kwargs)
    before = copied_from.set(client)
    try:
        return wrapped(*args, **kwargs)
    finally:
        copied_from.reset(before)


# -- connections


def _close(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    seat = seat_of(client)
    wrapped(*args, **kwargs)
    for http_client in () if seat is None else seat.to_close(client):
        http_client.close()


async def _close_async(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    seat = seat_of(client)
    await wrapped(*args, **kwargs)
    for http_client in () if seat is None else seat.to_close(client):
        await http_client.aclose()


class _HTTPClient:
    """``client._client``: what the SDK sends with, and frameworks replace; by where the client is aimed just now."""

    def __init__(self, original: Any) -> None:
        self._original = original  # an annotation alone in every SDK so far

    def __get__(self, client: Any, owner: Any = None) -> Any:
        if client is None:
            return self if self._original is None else self._original
        try:
            kept = vars(client)["_client"]
        except KeyError:
            raise AttributeError("_client") from None
        seat = seat_of(client)
        return kept if seat is None else seat.chosen(client, kept)

    def __set__(self, client: Any, value: Any) -> None:
        seat = seat_of(client)
        vars(client)["_client"] = value if seat is None else seat.adopted(value)

    def __delete__(self, client: Any) -> None:
        del vars(client)["_client"]


class _WebSocketURL:
    """``client.websocket_base_url``: Azure's while the client goes there, and what it was given itself otherwise."""

    def __init__(self, original: Any) -> None:
        self.__wrapped__ = original

    def __get__(self, client: Any, owner: Any = None) -> Any:
        if client is None:
            raise AttributeError("websocket_base_url")
        if _signs(client):
            return websocket_url(client.azure_shim_settings)
        try:
            return vars(client)["websocket_base_url"]
        except KeyError:
            raise AttributeError("websocket_base_url") from None

    def __set__(self, client: Any, value: Any) -> None:
        vars(client)["websocket_base_url"] = value


class _DeepCopy:
    """``copy.deepcopy`` of a routed client is the client: its connections have no second copy. Others have none."""

    def __init__(self, original: Any) -> None:
        self.__wrapped__ = original

    def __get__(self, client: Any, owner: Any = None) -> Any:
        if is_routed(client):
            return lambda memo: client  # noqa: ARG005  the signature that copy.deepcopy wants
        if self.__wrapped__ is None:
            raise AttributeError("__deepcopy__")
        return self.__wrapped__.__get__(client, owner)


def _module_http_client(original: Any) -> Any:
    """The same of the module-level client, which takes ``openai.http_client`` first."""

    def get(client: Any) -> Any:
        seat, shared = seat_of(client), openai.http_client
        if seat is None or seat.settings is None:
            return original.fget(client)
        if shared is not None and shared is not vars(client).get("azure_shim_shared"):
            vars(client)["azure_shim_shared"], vars(client)["_client"] = shared, seat.adopted(shared)
        return seat.chosen(client, vars(client)["_client"])

    def put(client: Any, value: Any) -> None:
        seat = seat_of(client)
        if seat is None or seat.settings is None:
            original.fset(client, value)
        else:  # the SDK's would be the connections of every module-level client
            vars(client)["_client"] = seat.adopted(value)

    return property(get, put)


# -- what the SDK calls on its own subclasses


def _auth_headers(*, is_async: bool) -> Callable[[Any], Any]:
    def changed(original: Any) -> Any:
        def get(client: Any) -> Any:
            if is_building_http() or not _signs(client):
                return original.fget(client)
            return headers_of_async(client) if is_async else headers_of(client)

        return property(get)

    return changed


def _default_headers(original: Any) -> Any:
    def get(client: Any) -> Any:
        with building_http():
            return original.__get__(client)

    return property(get)


async def _refresh_api_key(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return await refresh(client) if _signs(client) else await wrapped(*args, **kwargs)


def _signs(client: Any) -> bool:
    """Whether the SDK dials WebSockets of ``client`` that are to be signed for Azure by this patch."""
    seat = seat_of(client)
    return seat is not None and not seat.is_azure and seat.routes(client)


def _resource(name: str) -> Callable[[Any], Any]:
    """A resource with WebSockets. The SDK keeps it in the client, which may be aimed at another service later."""

    class Resource:
        def __init__(self, original: Any) -> None:
            self.__wrapped__ = original
            self.__doc__ = getattr(original, "__doc__", None)

        def __get__(self, client: Any, owner: Any = None) -> Any:
            seat = None if client is None else seat_of(client)
            if seat is None:
                return self.__wrapped__.__get__(client, owner)
            key = (name, seat.routes(client))
            if key not in seat.resources:
                seat.resources[key] = _resource_of(client, name) if key[1] else self.__wrapped__.func(client)
            return seat.resources[key]

    return Resource


def _resource_of(client: Any, name: str) -> Any:
    """One that dials at Azure."""
    from azure_shim import websockets

    return getattr(websockets, f"{name}_of")(client)


def _make_status_error(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if is_routed(client) and args:
        text = worded(args[0], kwargs["response"], kwargs.get("body"), client.azure_shim_settings)
        return wrapped(text, *args[1:], **kwargs)
    return wrapped(*args, **kwargs)


def _prepare_options(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not is_routed(client):
        return wrapped(*args, **kwargs)
    options = args[0] if args else kwargs["options"]
    calls.note(options)
    return options


async def _prepare_options_async(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not is_routed(client):
        return await wrapped(*args, **kwargs)
    options = args[0] if args else kwargs["options"]
    if options.url.startswith(("ws://", "wss://")) and _signs(client):
        await refresh(client)
    calls.note(options)
    return options


def _prepare_request(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    wrapped(*args, **kwargs)
    if is_routed(client):
        _prepare(client, args[0] if args else kwargs["request"])


async def _prepare_request_async(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    await wrapped(*args, **kwargs)
    if is_routed(client):
        _prepare(client, args[0] if args else kwargs["request"])


def _prepare(client: Any, request: Any) -> None:
    seat = seat_of(client)
    assert seat is not None, "who is routed has one"
    if not seat.leads_to(request.url):
        raise ConfigurationError(
            [
                f"{request.url.scheme}://{request.url.host} is not configured as a target: a client that azure_shim "
                "has patched sends nothing to another host"
            ]
        )
    calls.mark(request)
    # A client that was aimed elsewhere at first, or was there before the patch and is copied, has them.
    for name, value in ambient_headers().items():
        if request.headers.get(name) == value:
            del request.headers[name]


def _process_response(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not is_routed(client):
        return wrapped(*args, **kwargs)
    try:
        result = wrapped(*args, **kwargs)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise cut_answer(kwargs["response"]) from error
    return checked_answer(result, kwargs["cast_to"], kwargs["response"])


async def _process_response_async(wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not is_routed(client):
        return await wrapped(*args, **kwargs)
    try:
        result = await wrapped(*args, **kwargs)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise cut_answer(kwargs["response"]) from error
    return checked_answer(result, kwargs["cast_to"], kwargs["response"])
