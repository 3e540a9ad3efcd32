"""Model, File and FineTuningJob, as openai 0.28 had them: what a resource keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from azure_shim.patching.legacy.calls import Call, asend, headers_of, send
from azure_shim.patching.legacy.module_settings import Wishes
from azure_shim.patching.legacy.objects import OpenAIObject

__all__ = ["File", "FineTuningJob", "Model"]

_BYTES = "application/octet-stream"


class StoredResource(OpenAIObject):
    """Operations that 0.28 had of anything with an id. Where a call goes is said by keyword."""

    PATH: ClassVar[str] = ""

    @classmethod
    def list(cls, **params: Any) -> Any:
        return send(cls._list(params))

    @classmethod
    async def alist(cls, **params: Any) -> Any:
        return await asend(cls._list(params))

    @classmethod
    def retrieve(cls, id: str, api_key: str | None = None, **params: Any) -> Any:  # noqa: A002  as in 0.28
        return send(cls._of_id("GET", id, {"api_key": api_key, **params}))

    @classmethod
    async def aretrieve(cls, id: str, api_key: str | None = None, **params: Any) -> Any:  # noqa: A002
        return await asend(cls._of_id("GET", id, {"api_key": api_key, **params}))

    @classmethod
    def delete(cls, sid: str, **params: Any) -> Any:
        return send(cls._of_id("DELETE", sid, params))

    @classmethod
    async def adelete(cls, sid: str, **params: Any) -> Any:
        return await asend(cls._of_id("DELETE", sid, params))

    @classmethod
    def _list(cls, params: Mapping[str, Any]) -> Call:
        return cls._call("GET", cls.PATH, params)

    @classmethod
    def _of_id(cls, method: str, name: str, params: Mapping[str, Any], below: str = "", **more: Any) -> Call:
        return cls._call(method, f"{cls.PATH}/{quote(name, safe='')}{below}", params, **more)

    @classmethod
    def _call(cls, method: str, path: str, params: Mapping[str, Any], **more: Any) -> Call:
        wishes, rest = Wishes.of((), params)
        own = {
            "headers": headers_of(rest.pop("headers", None), rest.pop("request_id", None)),
            "timeout": rest.pop("request_timeout", None),
        }
        return Call(cls.__name__, path, wishes, method, **{"query": rest, **own, **more})


class Model(StoredResource):
    __module__ = "openai.api_resources.model"
    PATH = "/models"


class File(StoredResource):
    __module__ = "openai.api_resources.file"
    PATH = "/files"

    @classmethod
    def create(cls, file: Any, purpose: str, model: str | None = None, **params: Any) -> Any:
        """Upload ``file``, an open one or bytes; ``user_provided_filename`` is its name there."""
        return send(cls._upload(file, purpose, model, params))

    @classmethod
    async def acreate(cls, file: Any, purpose: str, model: str | None = None, **params: Any) -> Any:
        return await asend(cls._upload(file, purpose, model, params))

    @classmethod
    def download(cls, id: str, api_key: str | None = None, **params: Any) -> Any:  # noqa: A002  as in 0.28
        """The file's bytes."""
        return send(cls._of_id("GET", id, {"api_key": api_key, **params}, "/content", is_binary=True))

    @classmethod
    async def adownload(cls, id: str, api_key: str | None = None, **params: Any) -> Any:  # noqa: A002
        return await asend(cls._of_id("GET", id, {"api_key": api_key, **params}, "/content", is_binary=True))

    @classmethod
    def _upload(cls, file: Any, purpose: str, model: str | None, params: Mapping[str, Any]) -> Call:
        own = dict(params)
        files = [("file", (own.pop("user_provided_filename", None) or "file", file, _BYTES))]
        body = {"purpose": purpose, **({} if model is None else {"model": model})}
        return cls._call("POST", cls.PATH, own, body=body, files=files, query={})


class FineTuningJob(StoredResource):
    __module__ = "openai.api_resources.fine_tuning"
    PATH = "/fine_tuning/jobs"

    @classmethod
    def create(cls, **params: Any) -> Any:
        return send(cls._create(params))

    @classmethod
    async def acreate(cls, **params: Any) -> Any:
        return await asend(cls._create(params))

    @classmethod
    def cancel(cls, id: str, api_key: str | None = None, **params: Any) -> Any:  # noqa: A002  as in 0.28
        return send(cls._of_id("POST", id, {"api_key": api_key, **params}, "/cancel"))

    @classmethod
    async def acancel(cls, id: str, api_key: str | None = None, **params: Any) -> Any:  # noqa: A002
        return await asend(cls._of_id("POST", id, {"api_key": api_key, **params}, "/cancel"))

    @classmethod
    def list_events(cls, id: str, **params: Any) -> Any:  # noqa: A002  as in 0.28
        return send(cls._of_id("GET", id, _paged(params), "/events"))

    @classmethod
    async def alist_events(cls, id: str, **params: Any) -> Any:  # noqa: A002
        return await asend(cls._of_id("GET", id, _paged(params), "/events"))

    @classmethod
    def _list(cls, params: Mapping[str, Any]) -> Call:
        return super()._list(_paged(params))

    @classmethod
    def _create(cls, params: Mapping[str, Any]) -> Call:
        call = cls._call("POST", cls.PATH, params)
        return Call(call.symbol, call.path, call.wishes, body=call.query, headers=call.headers, timeout=call.timeout)


def _paged(params: Mapping[str, Any]) -> dict[str, Any]:
    """Behind which item a page begins is ``after`` today."""
    given = dict(params)
    start = given.pop("starting_after", None)
    return given if start is None else {"after": start, **given}
