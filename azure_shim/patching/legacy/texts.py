"""ChatCompletion, Completion, Embedding and Moderation, as openai 0.28 had them."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from azure_shim.patching.legacy.calls import Call, api_type_of, asend, headers_of, send
from azure_shim.patching.legacy.error import InvalidRequestError
from azure_shim.patching.legacy.module_settings import ApiType, Wishes
from azure_shim.patching.legacy.objects import OpenAIObject

__all__ = ["ChatCompletion", "Completion", "Embedding", "Moderation"]


class EngineAPIResource(OpenAIObject):
    """An operation of a deployment: ``engine`` or ``deployment_id`` names it, or ``model`` what it serves."""

    OBJECT_NAME: ClassVar[str] = ""

    @classmethod
    def create(
        cls,
        api_key: str | None = None,
        api_base: str | None = None,
        api_type: str | None = None,
        request_id: str | None = None,
        api_version: str | None = None,
        organization: str | None = None,
        **params: Any,
    ) -> Any:
        """The answer; with ``stream=True`` a generator of its chunks.

        ``request_timeout`` is in seconds, or (to connect, to read). ``timeout`` is taken and has no effect: it limited
        how long 0.x waited for a model to be loaded, which Azure's deployments always are.
        """
        wishes = Wishes(api_key, api_base, api_type, api_version, organization)
        return send(cls._call(wishes, request_id, params))

    @classmethod
    async def acreate(
        cls,
        api_key: str | None = None,
        api_base: str | None = None,
        api_type: str | None = None,
        request_id: str | None = None,
        api_version: str | None = None,
        organization: str | None = None,
        **params: Any,
    ) -> Any:
        """As `create`, to be awaited; with ``stream=True`` for an async generator."""
        wishes = Wishes(api_key, api_base, api_type, api_version, organization)
        return await asend(cls._call(wishes, request_id, params))

    @classmethod
    def _call(cls, wishes: Wishes, request_id: str | None, params: Mapping[str, Any]) -> Call:
        body = dict(params)
        deployment_id = body.pop("deployment_id", None)
        engine = body.pop("engine", deployment_id)
        body.pop("timeout", None)
        headers, timeout = body.pop("headers", None), body.pop("request_timeout", None)
        if engine is None and body.get("model") is None:
            other = "model" if api_type_of(wishes) is ApiType.OPEN_AI else "deployment_id"
            raise InvalidRequestError(f"Must provide an 'engine' or '{other}' parameter to create a {cls}", "engine")
        return Call(
            cls.__name__,
            "/" + cls.OBJECT_NAME.replace(".", "/"),
            wishes,
            body=body,
            headers=headers_of(headers, request_id),
            timeout=timeout,
            stream=bool(body.get("stream")),
            deployment=engine,
        )


class ChatCompletion(EngineAPIResource):
    __module__ = "openai.api_resources.chat_completion"  # as messages and logs name it
    OBJECT_NAME = "chat.completions"


class Completion(EngineAPIResource):
    __module__ = "openai.api_resources.completion"  # as messages and logs name it
    OBJECT_NAME = "completions"


class Embedding(EngineAPIResource):
    """Vectors are asked for in base64, unless ``encoding_format`` says otherwise, and are lists of floats."""

    __module__ = "openai.api_resources.embedding"
    OBJECT_NAME = "embeddings"

    @classmethod
    def _call(cls, wishes: Wishes, request_id: str | None, params: Mapping[str, Any]) -> Call:
        if params.get("encoding_format"):
            return super()._call(wishes, request_id, params)
        call = super()._call(wishes, request_id, {**params, "encoding_format": "base64"})
        return replace(call, finish=_decode_vectors)


def _decode_vectors(answer: Any) -> None:
    for item in answer["data"]:
        if isinstance(item["embedding"], str):
            vector = array("f", base64.b64decode(item["embedding"]))
            if sys.byteorder == "big":
                vector.byteswap()
            item["embedding"] = vector.tolist()


class Moderation(OpenAIObject):
    """Refused for Azure; another host that ``api_base`` names is asked."""

    __module__ = "openai.api_resources.moderation"

    @classmethod
    def create(cls, input: Any, model: str | None = None, api_key: str | None = None) -> Any:  # noqa: A002  as in 0.28
        return send(cls._call(input, model, api_key))

    @classmethod
    async def acreate(cls, input: Any, model: str | None = None, api_key: str | None = None) -> Any:  # noqa: A002
        return await asend(cls._call(input, model, api_key))

    @classmethod
    def _call(cls, text: Any, model: str | None, api_key: str | None) -> Call:
        body = {"input": text, **({} if model is None else {"model": model})}
        return Call("Moderation", "/moderations", Wishes(api_key), body=body, refuse=_refuse_moderation)


def _refuse_moderation(client: Any) -> None:
    """A target of OpenAI's own, which a config may have, moderates; no Azure does."""
    settings = getattr(client, "azure_shim_settings", None)
    if settings is None or (settings.plan is not None and any(t.is_openai for t in settings.plan.targets)):
        return
    raise InvalidRequestError(
        "Azure OpenAI has no moderations: its deployments filter prompts and answers themselves (see "
        "'prompt_filter_results' and 'content_filter_results' in their answers, and the error code 'content_filter'); "
        "use Azure AI Content Safety for any other text.",
        "input",
    )
