"""Image and Audio, as openai 0.28 had them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from azure_shim.patching.legacy.calls import Call, asend, headers_of, send
from azure_shim.patching.legacy.module_settings import Wishes
from azure_shim.patching.legacy.objects import OpenAIObject

__all__ = ["Audio", "Image"]

_BYTES = "application/octet-stream"


def _read(
    args: tuple[Any, ...], params: Mapping[str, Any]
) -> tuple[Wishes, dict[str, Any], str | None, dict[str, Any]]:
    """Where a call goes, its body, the deployment, and other members of a `Call`.

    ``args`` and ``params`` are what 0.28 took behind a method's own arguments: api_key, api_base, api_type, api_version
    and organization, in this order, then whatever the body has.
    """
    wishes, body = Wishes.of(args, params)
    deployment = body.pop("engine", None) or body.pop("deployment_id", None)
    body.pop("deployment_id", None)
    own = {
        "headers": headers_of(body.pop("headers", None), body.pop("request_id", None)),
        "timeout": body.pop("request_timeout", None),
    }
    return wishes, body, deployment, own


class Image(OpenAIObject):
    """Pictures. Without ``engine``, ``deployment_id`` or ``model`` they are those of ``dall-e-2``, as at OpenAI.

    0.28 posted to Azure's first, asynchronous operation, which is no more; its answers were those of today's.
    """

    __module__ = "openai.api_resources.image"

    @classmethod
    def create(cls, *args: Any, **params: Any) -> Any:
        return send(_picture("generations", args, params))

    @classmethod
    async def acreate(cls, *args: Any, **params: Any) -> Any:
        return await asend(_picture("generations", args, params))

    @classmethod
    def create_edit(cls, image: Any, mask: Any = None, *args: Any, **params: Any) -> Any:
        return send(_picture("edits", args, params, image=image, mask=mask))

    @classmethod
    async def acreate_edit(cls, image: Any, mask: Any = None, *args: Any, **params: Any) -> Any:
        return await asend(_picture("edits", args, params, image=image, mask=mask))

    @classmethod
    def create_variation(cls, image: Any, *args: Any, **params: Any) -> Any:
        """Refused for Azure, which has no variations."""
        return send(_picture("variations", args, params, image=image))

    @classmethod
    async def acreate_variation(cls, image: Any, *args: Any, **params: Any) -> Any:
        """As `create_variation`."""
        return await asend(_picture("variations", args, params, image=image))


def _picture(action: str, args: tuple[Any, ...], params: Mapping[str, Any], **uploads: Any) -> Call:
    wishes, body, deployment, own = _read(args, params)
    if deployment is None:
        body.setdefault("model", "dall-e-2")
    files = [(name, (name, content, _BYTES)) for name, content in uploads.items() if content is not None]
    return Call("Image", f"/images/{action}", wishes, body=body, files=files, deployment=deployment, **own)


class Audio(OpenAIObject):
    """Texts of recordings. ``file`` is an open one; for the methods that end in ``_raw`` also bytes, with a name."""

    __module__ = "openai.api_resources.audio"

    @classmethod
    def transcribe(cls, model: str, file: Any, *args: Any, **params: Any) -> Any:
        return send(_recording("transcriptions", model, file, file.name, args, params))

    @classmethod
    async def atranscribe(cls, model: str, file: Any, *args: Any, **params: Any) -> Any:
        return await asend(_recording("transcriptions", model, file, file.name, args, params))

    @classmethod
    def transcribe_raw(cls, model: str, file: Any, filename: str, *args: Any, **params: Any) -> Any:
        return send(_recording("transcriptions", model, file, filename, args, params))

    @classmethod
    async def atranscribe_raw(cls, model: str, file: Any, filename: str, *args: Any, **params: Any) -> Any:
        return await asend(_recording("transcriptions", model, file, filename, args, params))

    @classmethod
    def translate(cls, model: str, file: Any, *args: Any, **params: Any) -> Any:
        return send(_recording("translations", model, file, file.name, args, params))

    @classmethod
    async def atranslate(cls, model: str, file: Any, *args: Any, **params: Any) -> Any:
        return await asend(_recording("translations", model, file, file.name, args, params))

    @classmethod
    def translate_raw(cls, model: str, file: Any, filename: str, *args: Any, **params: Any) -> Any:
        return send(_recording("translations", model, file, filename, args, params))

    @classmethod
    async def atranslate_raw(cls, model: str, file: Any, filename: str, *args: Any, **params: Any) -> Any:
        return await asend(_recording("translations", model, file, filename, args, params))


def _recording(
    action: str, model: str, file: Any, filename: str, args: tuple[Any, ...], params: Mapping[str, Any]
) -> Call:
    wishes, body, deployment, own = _read(args, {"model": model, **params})
    files = [("file", (os.path.basename(filename), file, _BYTES))]
    return Call("Audio", f"/audio/{action}", wishes, body=body, files=files, deployment=deployment, **own)
