"""WebSockets, which pass no HTTP transport: their URL and their credential are given to the SDK's own connections.

The SDK dials what ``websocket_base_url`` and ``connect(model=, extra_query=)`` say, and signs with ``auth_headers``, in
every version from 1.109 on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, wraps
from importlib import import_module
from typing import Any, NamedTuple

import openai

from azure_shim.auth.flow import drop
from azure_shim.config.credentials import SIGNING_HEADERS
from azure_shim.construction import at_target, without_class
from azure_shim.http import own_settings
from azure_shim.routing.dialling import choose, refusal_at
from azure_shim.routing.fleet import METADATA, OURS, PIN, RESIDENCY, Wishes
from azure_shim.sdk import default_headers_of, http_client_of
from azure_shim.values import Refusal, Target
from azure_shim.wire.deployments import resolve
from azure_shim.wire.operations import find
from azure_shim.wire.request_line import RequestLine

__all__ = ["beta_of", "live_of", "realtime_of", "responses_of"]


_Prepare = Callable[[Any, dict[str, Any]], dict[str, Any]]


def _line(path: str, *, beta: bool = False) -> RequestLine:
    return RequestLine(find("WS", path, beta=beta), path)


def _dialled(client: Any, kwargs: dict[str, Any], line: RequestLine) -> tuple[Target, dict[str, Any]]:
    """The client's target, if it has this WebSocket, and ``connect``'s arguments with a guard on the connection."""
    target: Target = client.azure_shim_settings.target
    refusal = refusal_at(target, line)
    if refusal is not None:
        raise openai.OpenAIError(refusal.message)
    options = dict(kwargs.get("websocket_connection_options") or {})
    guarded = _guarded(target, is_async=isinstance(client, openai.AsyncOpenAI))
    if guarded is not None:
        options.setdefault("create_connection", guarded)
    return target, {
        **kwargs,
        "websocket_connection_options": options,
        "extra_headers": _with_one_credential(target, kwargs.get("extra_headers") or {}),
    }


def _bound(client: Any, kwargs: dict[str, Any], kind: _Kind) -> tuple[Any, dict[str, Any]]:
    """A client of the one target that a WebSocket is dialled at, and ``connect``'s arguments without what is for us."""
    fleet = http_client_of(client).azure_shim_fleet
    if fleet is None:
        return (without_class(client) if hasattr(client, "azure_shim_plain") else client), kwargs
    given = {**default_headers_of(client), **(kwargs.get("extra_headers") or {})}
    said = {name.lower(): value for name, value in given.items() if isinstance(value, str)}
    wishes = Wishes(said.get(PIN), said.get(RESIDENCY), said.get(METADATA))
    model = kwargs.get("model")
    signing = {*SIGNING_HEADERS, *(site.target.credential.header.lower() for site in fleet.sites)}
    chosen = choose(
        fleet,
        _line(kind.path),
        model if isinstance(model, str) else None,
        wishes,
        is_signed=not signing.isdisjoint(said),
        is_preview=kind.is_preview,
    )
    if isinstance(chosen, Refusal):
        raise openai.OpenAIError(chosen.message)
    target = chosen.addresses.target
    headers = {n: v for n, v in (kwargs.get("extra_headers") or {}).items() if n.lower() not in OURS}
    return at_target(client, target), {**kwargs, "extra_headers": {**target.headers, **headers}}


def _with_one_credential(target: Target, headers: Mapping[str, Any]) -> dict[str, Any]:
    """``headers``, in which a credential of the caller's takes the place of ours."""
    ours = ("Authorization", target.credential.header)
    given = {name.lower() for name in headers}
    if given.isdisjoint(name.lower() for name in ours):
        return dict(headers)
    return {**{name: openai.Omit() for name in ours if name.lower() not in given}, **headers}


def _guarded(target: Target, *, is_async: bool) -> Any:
    """A connection class that shakes hands with the target alone; None without the package ``websockets``.

    A handshake may be redirected, and ``websockets`` takes our headers along, the key among them. One that is refused
    with a 401 drops the token, so that the next connection has a fresh one.
    """
    try:
        base: Any = import_module(f"websockets.{'asyncio' if is_async else 'sync'}.client").ClientConnection
        exceptions: Any = import_module("websockets.exceptions")
    except ImportError:
        return None
    origin = target.endpoint.origin

    def check(uri: Any) -> None:
        if (uri.secure, uri.host, uri.port) != (origin.scheme == "https", origin.host, origin.port):
            raise exceptions.SecurityError(f"{uri.host}:{uri.port} is not {origin}, which the credential belongs to")

    def note(error: Any) -> None:
        if error.response.status_code == 401:
            drop(target.credential, ", ".join(error.response.headers.get_all("www-authenticate")))

    class GuardedConnection(base):  # type: ignore[misc]
        def handshake(self, *args: Any, **kwargs: Any) -> Any:
            check(getattr(self.protocol, "uri", None) or self.protocol.wsuri)
            if is_async:
                return self._noted(super().handshake(*args, **kwargs))
            try:
                return super().handshake(*args, **kwargs)
            except exceptions.InvalidStatus as error:
                note(error)
                raise

        async def _noted(self, shaking: Any) -> Any:
            try:
                return await shaking
            except exceptions.InvalidStatus as error:
                note(error)
                raise

    return GuardedConnection


def _realtime(client: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``realtime.connect`` as the target wants them."""
    target, wanted = _dialled(client, kwargs, _line("/realtime"))
    model = kwargs.get("model")
    if not isinstance(model, str):
        if target.default_deployment is None or "call_id" in kwargs:  # a SIP call is named by its id alone
            return wanted
        model = target.default_deployment
    deployment = _deployment(target, model, "/realtime")
    if not target.is_classic:
        return {**wanted, "model": deployment}
    # The preview surface names the deployment in a parameter of its own (Microsoft Learn, "Realtime API reference").
    query = {"api-version": target.api_version, "deployment": deployment, **(kwargs.get("extra_query") or {})}
    return {**wanted, "model": deployment, "extra_query": query}


def _deployment(target: Target, model: str, path: str) -> str:
    found = resolve(target, model, path)
    if isinstance(found, Refusal):
        raise openai.OpenAIError(found.message)
    return found


def _beta_realtime(client: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    target: Target = client.azure_shim_settings.target
    if not target.is_classic:
        raise openai.OpenAIError(
            "Azure OpenAI has beta.realtime only under a dated api-version (since 2024-10-01-preview), and target "
            f"{target.name!r} uses the v1 surface: use client.realtime, or create the client with a dated api_version."
        )
    return _realtime(client, kwargs)


def _responses(client: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    return _dialled(client, kwargs, _line("/responses"))[1]


def _beta_responses(client: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    _, wanted = _dialled(client, kwargs, _line("/responses", beta=True))
    # The SDK adds beta=true; Azure wants its preview named besides (Microsoft Learn, "Multi-agent responses").
    return {**wanted, "extra_query": {"api-version": "preview", **(kwargs.get("extra_query") or {})}}


def _translations(client: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    path = "/realtime/translations"
    target, wanted = _dialled(client, kwargs, _line(path))
    model = kwargs.get("model")
    if not isinstance(model, str):
        return wanted  # the SDK says what is wrong
    return {**wanted, "model": _deployment(target, model, path)}


class _Kind(NamedTuple):
    """One of the SDK's resources: its module below ``openai.resources``, its class, and where it is dialled.

    ``parts`` are those of its own resources that have WebSockets too, by their attribute. ``path`` is below ``/v1``.
    """

    module: str
    name: str
    path: str = ""
    prepare: _Prepare | None = None
    is_preview: bool = False
    parts: tuple[tuple[str, _Kind], ...] = ()


_TRANSLATIONS = _Kind("realtime.translations", "Translations", "/realtime/translations", _translations)
_REALTIME = _Kind("realtime", "Realtime", "/realtime", _realtime, parts=(("translations", _TRANSLATIONS),))
_RESPONSES = _Kind("responses", "Responses", "/responses", _responses)
_BETA = _Kind(
    "beta",
    "Beta",
    parts=(
        ("realtime", _Kind("beta.realtime", "Realtime", "/realtime", _beta_realtime, is_preview=True)),
        ("responses", _Kind("beta.responses", "Responses", "/responses", _beta_responses)),
    ),
)


def _live(module: str, name: str, path: str, *parts: tuple[str, _Kind]) -> _Kind:
    """Azure is not known to have these. Who configures OpenAI as a target has them there."""
    return _Kind(module, name, path, lambda client, kwargs: _dialled(client, kwargs, _line(path))[1], parts=parts)


_LIVE = _live(
    "live",
    "Live",
    "/live/sessions",
    ("forks", _live("live.forks", "Forks", "/live/sessions/{session_id}/fork")),
    ("sideband", _live("live.sideband", "Sideband", "/live/sessions/{session_id}/attach")),
)


@cache
def _resource(kind: _Kind, prefix: str) -> Any:
    """The SDK's class, whose ``connect`` is called with prepared arguments, and so are those of its parts."""
    base: Any = getattr(import_module(f"openai.resources.{kind.module}"), prefix + kind.name)
    found = {name: _part(part, prefix) for name, part in kind.parts if hasattr(base, name)}
    if hasattr(base, "connect"):
        found["connect"] = _connect(base, kind)
    if not found:
        return base
    return type(base.__name__, (base,), {**found, "__qualname__": base.__qualname__, "__module__": __name__})


def _part(kind: _Kind, prefix: str) -> Any:
    return property(lambda resource: _resource(kind, prefix)(resource._client))  # noqa: SLF001  as the SDK's own


def _connect(base: Any, kind: _Kind) -> Any:
    dial, prepare = base.connect, kind.prepare
    assert prepare is not None, "what is dialled has a path"
    names = list(inspect.signature(dial).parameters)[1:]

    def connect(resource: Any, *args: Any, **kwargs: Any) -> Any:
        own = resource._client  # noqa: SLF001
        if own_settings(http_client_of(own)) is None:  # a patched client that was aimed elsewhere since
            return dial(resource, *args, **kwargs)
        # Some take their first arguments by position too.
        client, wanted = _bound(own, {**dict(zip(names, args, strict=False)), **kwargs}, kind)
        bound = resource if client is own else type(resource)(client)
        return dial(bound, **prepare(client, wanted))

    return wraps(dial)(connect)


def _prefix(client: Any) -> str:
    return "Async" if isinstance(client, openai.AsyncOpenAI) else ""


def realtime_of(client: Any) -> Any:
    """``client.realtime`` for a client of ours."""
    return _resource(_REALTIME, _prefix(client))(client)


def responses_of(client: Any) -> Any:
    """``client.responses`` for a client of ours."""
    return _resource(_RESPONSES, _prefix(client))(client)


def beta_of(client: Any) -> Any:
    """``client.beta`` for a client of ours."""
    return _resource(_BETA, _prefix(client))(client)


def live_of(client: Any) -> Any:
    """``client.live`` for a client of ours, of an SDK that has it (openai 3)."""
    return _resource(_LIVE, _prefix(client))(client)
