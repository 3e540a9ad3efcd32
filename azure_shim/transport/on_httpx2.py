"""The transport and the auth hook for clients of httpx2."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx2

from azure_shim.transport.base import AsyncTransportCore, AuthCore, SyncTransportCore
from azure_shim.transport.library import Library

__all__ = ["LIBRARY", "AsyncAzureTransport", "AzureAuth", "AzureTransport"]

LIBRARY = Library(httpx2)


class AzureTransport(SyncTransportCore, httpx2.BaseTransport):
    """A transport for ``httpx2.Client`` that sends OpenAI requests to Azure OpenAI.

    Args:
        transport: what sends; by default connections that like clients share, with the environment's proxies.
        settings: the arguments of `azure_shim.OpenAI` that say where and how: ``azure_endpoint``, ``api_key``, ...

    Raises:
        ConfigurationError: the settings cannot work.
        TypeError: ``transport`` belongs to another library, is async, or is such a transport already.
    """

    library = LIBRARY

    def __init__(self, transport: httpx2.BaseTransport | None = None, **settings: Any) -> None:
        self._open(transport, settings, is_async=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response: httpx2.Response = self._handle(request)
        return response

    def close(self) -> None:
        self._close()


class AsyncAzureTransport(AsyncTransportCore, httpx2.AsyncBaseTransport):
    """A transport for ``httpx2.AsyncClient`` that sends OpenAI requests to Azure OpenAI; as `AzureTransport`."""

    library = LIBRARY

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None, **settings: Any) -> None:
        self._open(transport, settings, is_async=True)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response: httpx2.Response = await self._handle(request)
        return response

    async def aclose(self) -> None:
        await self._aclose()


class AzureAuth(AuthCore, httpx2.Auth):
    """Signs the requests of a httpx2 client to one Azure OpenAI endpoint, and no others.

    For code that spells Azure's URLs itself. It takes the settings of `azure_shim.OpenAI`; requests to another origin
    than the endpoint's pass as they are.

    Raises:
        ConfigurationError: the settings cannot work.
    """

    library = LIBRARY

    def __init__(self, **settings: Any) -> None:
        self._open(settings)

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        used = self._sign(request)
        response = yield request
        if self._sign_again(request, used, response):
            self._note((yield request))

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        used = await self._sign_async(request)
        response = yield request
        if await self._sign_again_async(request, used, response):
            self._note((yield request))
