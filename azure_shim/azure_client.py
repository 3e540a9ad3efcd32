"""The same clients as of the class that some frameworks look for: ``isinstance(client, openai.AsyncAzureOpenAI)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai

from azure_shim.client import AsyncOpenAI, OpenAI
from azure_shim.sdk import http_client_of

__all__ = ["AsyncAzureOpenAI", "AzureOpenAI"]


class _OnOurEngine:
    """What openai's Azure clients do to requests is done by the transport: here they are plain ones again.

    Stands before openai's classes, whose ``super()`` would be the plain client's method.
    """

    if not TYPE_CHECKING:

        def _build_request(self, options: Any, **kwargs: Any) -> Any:
            return _plain(self)._build_request(options, **kwargs)  # noqa: SLF001  the SDK's own hook

        def _prepare_url(self, url: str) -> Any:
            return _plain(self)._prepare_url(url)  # noqa: SLF001  as above

        def copy(self, **kwargs: Any) -> Any:
            return _plain(self).copy(**kwargs)


def _set_attributes(client: Any) -> None:
    """Let those attributes be there that openai's own have, and frameworks read; none has a secret."""
    target = client.azure_shim_settings.target
    endpoint = http_client_of(client).azure_shim_library.URL(str(target.endpoint.origin))
    vars(client).update(
        _api_version=target.api_version or "v1",
        _azure_endpoint=endpoint,
        _azure_deployment=target.default_deployment,
        _azure_ad_token=None,
        _azure_ad_token_provider=None,
    )


def _plain(client: Any) -> Any:
    """``client`` as what openai's Azure client is built upon."""
    return super(_AZURE_BASE, client)


# What is behind openai's Azure classes in the order of resolution: BaseAzureClient, which is not public.
_AZURE_BASE: Any = openai.AzureOpenAI.__mro__[1]


class AzureOpenAI(OpenAI, _OnOurEngine, openai.AzureOpenAI):
    """An `azure_shim.OpenAI` that is an ``openai.AzureOpenAI`` too, for code that asks for that class.

    The arguments are those of `azure_shim.OpenAI`, which has all of ``openai.AzureOpenAI``'s; ``api_version`` may be
    left out. What reads ``base_url`` finds the surface's, without a deployment.
    """

    azure_shim_plain = OpenAI

    def _constructed(self) -> None:
        _set_attributes(self)


class AsyncAzureOpenAI(AsyncOpenAI, _OnOurEngine, openai.AsyncAzureOpenAI):
    """As `AzureOpenAI`, an ``openai.AsyncAzureOpenAI``."""

    azure_shim_plain = AsyncOpenAI

    def _constructed(self) -> None:
        _set_attributes(self)
