"""What is known of one client of the SDK's own classes that was built while the patch was on."""

from __future__ import annotations

import contextlib
import contextvars
import weakref
from typing import Any, NoReturn
from urllib.parse import urlsplit

import openai

from azure_shim.client import AsyncOpenAI, OpenAI
from azure_shim.config.settings import Settings
from azure_shim.construction import is_of_target
from azure_shim.http import UNPICKLABLE, build_client, own_settings, validated
from azure_shim.patching.state import Patch

__all__ = ["SEAT", "Seat", "copied_from", "is_openais", "is_openais_host", "is_routed", "seat_of", "seated"]

SEAT = "_azure_shim_seat"
"""Where a client has its seat, among its attributes."""
_seated: weakref.WeakSet[Any] = weakref.WeakSet()  # the clients that have a seat, once they are built
copied_from: contextvars.ContextVar[Any] = contextvars.ContextVar("azure_shim_copied_from", default=None)
"""The routed client whose copy is being made in this context."""


def seat_of(client: Any) -> Seat | None:
    found: Seat | None = vars(client).get(SEAT)
    return found


def seated() -> list[Any]:
    """The clients that have a seat and have been built."""
    while True:
        try:
            return list(_seated)
        except RuntimeError:  # noqa: PERF203  another thread has built one meanwhile
            continue


def is_openais(url: Any) -> bool:
    """Whether a base URL is OpenAI's own, in whatever region."""
    return is_openais_host(urlsplit(str(url)).hostname or "")


def is_openais_host(host: str) -> bool:
    """Whether it is one of OpenAI's own service."""
    host = host.rstrip(".")
    return host == "openai.com" or host.endswith(".openai.com")


def is_routed(client: Any) -> bool:
    """Whether what ``client`` sends now goes to Azure by its patch."""
    if client is None:
        return False
    seat = vars(client).get(SEAT)
    return seat is not None and seat.routes(client)


class Seat:
    """What a client is to its patch.

    ``settings`` are None for one that is aimed elsewhere: it is left alone until somebody gives it OpenAI's
    ``base_url``. ``is_azure`` marks an ``AzureOpenAI`` of the SDK's, which keeps its own URL.
    """

    __slots__ = (
        "_base_url",
        "_fits",
        "_is_plain_ours",
        "_patch",
        "_plain",
        "is_async",
        "is_azure",
        "resources",
        "settings",
    )

    def __init__(self, patch: Patch | None, settings: Settings | None, *, is_async: bool, is_azure: bool) -> None:
        # A client may outlive the context that it was built in, and does not keep the patch of that in force.
        self._patch = None if patch is None else weakref.ref(patch)
        self.settings, self.is_async, self.is_azure = settings, is_async, is_azure
        self.resources: dict[tuple[str, bool], Any] = {}
        """Those with WebSockets, by their name and whether they dial at Azure."""
        self._plain: Any = None  # what it sends with where it is not routed
        self._is_plain_ours = False
        self._base_url: Any = None
        self._fits = False

    def sit(self, client: Any) -> None:
        vars(client)[SEAT] = self
        # What dials its WebSockets: the client's own class may have a constructor that takes nothing.
        client.azure_shim_plain = AsyncOpenAI if self.is_async else OpenAI
        if self.settings is not None:
            client.azure_shim_settings = self.settings

    def note(self, client: Any) -> None:
        """The client has been built."""
        with contextlib.suppress(TypeError):  # a subclass whose objects have no hash
            _seated.add(client)

    def routes(self, client: Any) -> bool:
        """Whether the client's ``base_url``, which may have been set since, leads to Azure, or would to OpenAI."""
        if self.is_azure:
            return True
        url = client.base_url
        if url is not self._base_url:
            self._base_url, self._fits = url, is_openais(url) or self._is_own(url)
        if not self._fits or self.settings is not None:
            return self._fits
        patch = None if self._patch is None else self._patch()
        if patch is None:
            return False
        self._take(client, patch)
        return True

    def leads_to(self, url: Any) -> bool:
        """Whether the URL of a request, which its caller may have given whole, is one that goes to Azure."""
        own = self._base_url
        if self.is_azure or (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port):
            return True
        return is_openais(url) or self._is_own(url)

    def chosen(self, client: Any, kept: Any) -> Any:
        """The HTTP client for what is sent now; ``kept`` is the one that the client has."""
        if own_settings(kept) is None:
            if not self.routes(client):
                return kept
            kept = vars(client)["_client"] = self.adopted(kept)
        return kept if self.routes(client) else self._elsewhere(client)

    def adopted(self, given: Any) -> Any:
        """What the client sends with, given ``given``: that itself, for a client that is aimed elsewhere."""
        if self.settings is None or own_settings(given) is not None:
            return given
        self._plain = given
        return self.built(given)

    def built(self, given: Any = None) -> Any:
        """A new HTTP client that speaks to Azure, through the connections of ``given`` if there is one."""
        assert self.settings is not None, "only a client that is routed has one"
        self._plain = given
        made = build_client(self.settings, is_async=self.is_async, given=given)
        made.azure_shim_seat = True
        return made

    def _elsewhere(self, client: Any) -> Any:
        """What a client sends with that was aimed at another service after it had been built."""
        if self._plain is None:
            self._plain = (openai.DefaultAsyncHttpxClient if self.is_async else openai.DefaultHttpxClient)()
            self._is_plain_ours = True
            if not self.is_async:  # as the SDK's own, which are closed with their client
                weakref.finalize(client, self._plain.close)
        return self._plain

    def inherits(self, routed: Any) -> None:
        """The client is a copy of one that sends with ``routed``."""
        self._plain = routed.azure_shim_given

    def to_close(self, client: Any) -> list[Any]:
        """What is to be closed with the client, whichever of its two ways it goes just now."""
        kept = vars(client).get("_client")
        found = [kept] if own_settings(kept) is not None else []
        if self._is_plain_ours:
            found.append(self._plain)
        return found

    def _take(self, client: Any, patch: Patch) -> None:
        """Route a client that was aimed elsewhere when it was built."""
        self.settings = client.azure_shim_settings = validated(lambda: patch.settings(is_async=self.is_async))

    def _is_own(self, url: Any) -> bool:
        return self.settings is not None and is_of_target(self.settings, url)

    def __deepcopy__(self, memo: dict[int, Any]) -> Seat:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(UNPICKLABLE)

    def __repr__(self) -> str:
        return (
            f"<Seat of a client {'aimed elsewhere' if self.settings is None else self.settings.target.endpoint.origin}>"
        )
