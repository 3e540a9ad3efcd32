"""What the calls of openai 0.x return: dicts whose items are attributes too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from typing_extensions import Self

__all__ = ["ErrorObject", "OpenAIObject", "convert_to_dict", "convert_to_openai_object"]


class OpenAIObject(dict[str, Any]):
    """A JSON object with its members as items and as attributes, nested ones too.

    Besides the members it has ``response_ms``, ``organization``, ``api_type``, ``api_version`` and ``engine``, of the
    call that it came from. ``api_key`` is always None: a result may be logged, stored or sent on.
    """

    def __init__(
        self,
        id: str | None = None,  # noqa: A002  as in 0.28
        api_key: str | None = None,
        api_version: str | None = None,
        api_type: str | None = None,
        organization: str | None = None,
        response_ms: int | None = None,
        api_base: str | None = None,
        engine: str | None = None,
        **params: Any,
    ) -> None:
        super().__init__()
        own = {
            "api_key": None,
            "api_version": api_version,
            "api_type": api_type,
            "organization": organization,
            "api_base_override": api_base,
            "engine": engine,
            "_response_ms": response_ms,
            "_retrieve_params": params,
        }
        self.__dict__.update(own)
        if id:
            self["id"] = id

    @classmethod
    def construct_from(
        cls,
        values: Mapping[str, Any],
        api_key: str | None = None,  # noqa: ARG003  not kept
        api_version: str | None = None,
        organization: str | None = None,
        engine: str | None = None,
        response_ms: int | None = None,
    ) -> Self:
        """An object of ``values``, with objects of this kind for the mappings inside of them."""
        made = cls(
            values.get("id"),
            api_version=api_version,
            organization=organization,
            response_ms=response_ms,
            engine=engine,
        )
        made.refresh_from(values, api_version=api_version, organization=organization, response_ms=response_ms)
        return made

    def refresh_from(
        self,
        values: Mapping[str, Any],
        api_key: str | None = None,
        api_version: str | None = None,
        api_type: str | None = None,
        organization: str | None = None,
        response_ms: int | None = None,
    ) -> None:
        """Have these values and no others."""
        given = {"api_version": api_version, "api_type": api_type, "organization": organization}
        self.__dict__.update({name: value or getattr(values, name, None) for name, value in given.items()})
        self.__dict__["_response_ms"] = response_ms or getattr(values, "_response_ms", None)
        self.clear()
        for name, value in values.items():
            self[name] = convert_to_openai_object(value, None, api_version, organization)

    @property
    def response_ms(self) -> int | None:
        """How long the service worked on it, if it said so."""
        found: int | None = self._response_ms
        return found

    @property
    def openai_id(self) -> Any:
        return self.id

    @property
    def typed_api_type(self) -> Any:
        from azure_shim.patching.legacy.module_settings import ApiType, current_module

        return ApiType.from_str(self.api_type or getattr(current_module(), "api_type", None) or "open_ai")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name in self.__dict__:
            super().__setattr__(name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        if name.startswith("_") or name in self.__dict__:
            super().__delattr__(name)
        elif name in self:
            del self[name]
        else:
            raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        # The members are the state and not among the arguments, as in pickles that 0.28 wrote.
        own = (self.get("id"), None, self.api_version, self.api_type, self.organization, self._response_ms)
        return type(self), (*own, self.api_base_override, self.engine), dict(self)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.update(state)

    def __repr__(self) -> str:
        parts = [type(self).__name__]
        if isinstance(self.get("object"), str):
            parts.append(self["object"])
        if isinstance(self.get("id"), str):
            parts.append(f"id={self['id']}")
        return f"<{' '.join(parts)} at {hex(id(self))}> JSON: {self}"

    def __str__(self) -> str:
        return json.dumps(self.to_dict_recursive(), indent=2)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict; the objects inside of it stay as they are."""
        return dict(self)

    def to_dict_recursive(self) -> dict[str, Any]:
        """A plain dict of plain dicts and lists."""
        plain: dict[str, Any] = convert_to_dict(self)
        return plain


class ErrorObject(OpenAIObject):
    """The ``error`` of an answer; a message and a type that it does not have are None."""

    def refresh_from(self, values: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        super().refresh_from({"message": None, "type": None, **values}, *args, **kwargs)


def convert_to_openai_object(
    resp: Any,
    api_key: str | None = None,  # noqa: ARG001  not kept
    api_version: str | None = None,
    organization: str | None = None,
    engine: str | None = None,
    plain_old_data: bool = False,
    *,
    response_ms: int | None = None,
) -> Any:
    """``resp`` with an `OpenAIObject` for each dict in it."""
    if plain_old_data:
        return resp
    if isinstance(resp, list):
        return [convert_to_openai_object(item, None, api_version, organization, engine) for item in resp]
    if isinstance(resp, dict) and not isinstance(resp, OpenAIObject):
        return OpenAIObject.construct_from(resp, None, api_version, organization, engine, response_ms)
    return resp


def convert_to_dict(obj: Any) -> Any:
    """``obj`` with a plain dict for each `OpenAIObject` in it."""
    if isinstance(obj, list):
        return [convert_to_dict(item) for item in obj]
    if isinstance(obj, dict):
        return {name: convert_to_dict(value) for name, value in obj.items()}
    return obj
