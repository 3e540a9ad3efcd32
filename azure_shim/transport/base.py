"""The transports and the auth hook, but for the classes of the one HTTP library that they belong to."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from typing_extensions import Self

from azure_shim.auth.flow import Signing, attach, renew
from azure_shim.config.credentials import SIGNING_HEADERS
from azure_shim.config.settings import CLIENT_ARGUMENTS, SIGNS_FOR_ALL, Settings, read_settings
from azure_shim.errors import ConfigurationError, CredentialError
from azure_shim.transport.assembly import assemble
from azure_shim.transport.drive import AsyncDriver, SyncDriver, settle, settle_async
from azure_shim.transport.engine import Engine
from azure_shim.transport.exchange import Exchange, limit_of
from azure_shim.transport.library import Library
from azure_shim.transport.pool import release_when_dropped
from azure_shim.transport.private import always
from azure_shim.values import Header, Late, Refusal

__all__ = ["AsyncTransportCore", "AuthCore", "SyncTransportCore", "suggestion"]


def suggestion(name: str, known: tuple[str, ...]) -> str:
    """The nearest known spelling of an argument, for a message."""
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _settings_of(arguments: Mapping[str, Any], *, is_async: bool) -> Settings:
    unknown = [name for name in arguments if name not in (*CLIENT_ARGUMENTS, "default_headers")]
    if unknown:
        raise ConfigurationError([f"{name}: no such argument{suggestion(name, CLIENT_ARGUMENTS)}" for name in unknown])
    settings = read_settings({k: v for k, v in arguments.items() if k in CLIENT_ARGUMENTS}, is_async=is_async)
    headers = arguments.get("default_headers") or {}
    if settings.plan is not None and any(name.lower() in SIGNING_HEADERS for name in headers):
        raise ConfigurationError([SIGNS_FOR_ALL])
    return settings.with_headers(headers)


class _TransportCore:
    library: ClassVar[Library]
    _engine: Engine
    closers: list[Callable[[], Any]]

    @classmethod
    def around(cls, engine: Engine, closers: list[Callable[[], Any]]) -> Self:
        """A transport of an engine that is set up already; ``closers`` are called once when it is closed."""
        transport = cls.__new__(cls)
        transport.adopt(engine, closers)
        return transport

    def adopt(self, engine: Engine, closers: list[Callable[[], Any]]) -> None:
        """Send with ``engine``; call ``closers`` once when closed."""
        self._engine, self.closers = engine, closers

    @staticmethod
    def refuse_stacking(transport: object) -> None:
        """Raise TypeError if ``transport`` is a shim already."""
        if isinstance(transport, _TransportCore):
            raise TypeError(
                f"transport is a {type(transport).__name__} already: two of them would rewrite one request twice; "
                "give the inner transport, or use the one that there is"
            )

    @classmethod
    def check(cls, transport: object) -> None:
        """Raise TypeError unless ``transport`` is one of the kind that this one can send with."""
        cls.refuse_stacking(transport)
        module, is_async = cls.library.module, issubclass(cls, AsyncTransportCore)
        if not isinstance(transport, module.AsyncBaseTransport if is_async else module.BaseTransport):
            kind = type(transport)
            raise TypeError(
                f"transport is a {kind.__module__}.{kind.__qualname__}; expected "
                f"{cls.library.name}.{'AsyncBaseTransport' if is_async else 'BaseTransport'}, since this is an "
                f"{cls.__module__}.{cls.__qualname__}"
            )

    def _open(self, transport: Any, arguments: Mapping[str, Any], *, is_async: bool) -> None:
        settings = _settings_of(arguments, is_async=is_async)
        if transport is not None:
            self.check(transport)
        select = None if transport is None else always(transport)
        made = assemble(self.library, settings, is_async=is_async, options={}, select=select)
        self.adopt(made.engine, made.closers)
        if made.release is not None:
            weakref.finalize(self, release_when_dropped, self.closers, made.release)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A pool of connections has no second copy; whoever copies an object that holds one shares it.
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self._engine.target.endpoint.origin}>"


class SyncTransportCore(_TransportCore):
    def _handle(self, request: Any) -> Any:
        return SyncDriver(Exchange(self._engine, request, self.library.streams)).run()

    def _close(self) -> None:
        while self.closers:
            self.closers.pop()()
        self._engine.close()


class AsyncTransportCore(_TransportCore):
    async def _handle(self, request: Any) -> Any:
        engine = self._engine
        if engine.get_ready is not None:
            await engine.get_ready()
            engine.get_ready = None
        return await AsyncDriver(Exchange(engine, request, self.library.async_streams)).run()

    async def _aclose(self) -> None:
        while self.closers:
            await self.closers.pop()()
        self._engine.close()


class AuthCore:
    library: ClassVar[Library]
    _engine: Engine

    def _open(self, arguments: Mapping[str, Any]) -> None:
        # A provider may be async: whether it can be awaited is known only when a client uses it.
        settings = _settings_of(arguments, is_async=True)
        if settings.plan is not None:
            raise ConfigurationError(
                ["config: AzureAuth signs for one endpoint; AzureTransport goes to several targets"]
            )
        self._engine = Engine(self.library, settings.target, None)

    def _sign(self, request: Any) -> Header | None:
        """Sign ``request`` if it goes to the endpoint; the header that signs it."""
        if not self._engine.is_own(request.url):
            return None
        return self._stamp(request, settle(attach(self._engine.target.credential), limit_of(request)))

    async def _sign_async(self, request: Any) -> Header | None:
        if not self._engine.is_own(request.url):
            return None
        return self._stamp(request, await settle_async(attach(self._engine.target.credential), limit_of(request)))

    def _sign_again(self, request: Any, used: Header | None, response: Any) -> bool:
        """Whether ``request``, to which the endpoint answered, is signed anew and has to be sent once more."""
        if used is None or not self._is_refused(response):
            return False
        return self._restamp(request, settle(self._renewal(request, used, response), limit_of(request)))

    async def _sign_again_async(self, request: Any, used: Header | None, response: Any) -> bool:
        if used is None or not self._is_refused(response):
            return False
        return self._restamp(request, await settle_async(self._renewal(request, used, response), limit_of(request)))

    def _renewal(self, request: Any, used: Header, response: Any) -> Signing:
        challenge = ", ".join(response.headers.get_list("www-authenticate"))
        can_repeat = self.library.can_repeat(request)
        engine = self._engine
        return renew(engine.target.credential, used, challenge, engine.addresses.renewals, can_repeat=can_repeat)

    def _note(self, response: Any) -> None:
        """Remember what came of a fresh token, as `send_signed` does."""
        self._engine.addresses.renewals.note(response.status_code)

    def _is_refused(self, response: Any) -> bool:
        """Whether the endpoint itself, and not where a redirect led to, refused the credential."""
        return response.status_code == 401 and self._engine.is_own(response.url)

    def _restamp(self, request: Any, header: Header | Refusal | Late) -> bool:
        if isinstance(header, (Refusal, Late)):
            return False
        self._stamp(request, header)
        return True

    def _stamp(self, request: Any, header: Header | Refusal | Late) -> Header:
        if isinstance(header, Late):
            raise self.library.late(header.message, request)
        if isinstance(header, Refusal):
            raise CredentialError(header.message) from None  # whose own words may show a secret
        headers = self._engine.unsigned(request.headers.raw)
        if header[0] == b"Authorization":  # which the library itself takes off where a redirect leads elsewhere
            request.headers = self.library.Headers([*headers, header])
        else:
            request.headers = self.library.SignedHeaders(headers, header)
        return header

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {self._engine.target.endpoint.origin}>"
