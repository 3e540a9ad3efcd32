"""A request that passed the checks: which operation, on which surface, on which deployment, with what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from azure_shim.testing.bodies import Form
from azure_shim.testing.recorded import Recorded
from azure_shim.testing.store import Store
from azure_shim.wire.operations import Operation

if TYPE_CHECKING:
    from azure_shim.testing.resource import Resource

__all__ = ["Address", "Call"]


@dataclass(frozen=True, slots=True)
class Address:
    """What a request line names.

    ``path`` begins where OpenAI's begins below ``/v1``, percent-encoded; ``deployment`` is the path's, decoded.
    ``api_version`` is what the query says.
    """

    operation: Operation
    path: str
    is_v1: bool
    is_project: bool = False
    deployment: str | None = None
    api_version: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What an answer is made from.

    ``fields`` are the members of a JSON body or the text fields of a form. ``deployment`` and ``model`` (what is behind
    it) are None where the operation names none.
    """

    resource: Resource
    request: Recorded
    address: Address
    fields: dict[str, Any] = field(default_factory=dict)
    form: Form | None = None
    deployment: str | None = None
    model: str | None = None

    @property
    def store(self) -> Store:
        return self.resource.store

    @property
    def served(self) -> str:
        """Who serves it, as answers say it: ``eastus/prod-4o``."""
        return f"{self.resource.name}/{self.deployment}"

    @property
    def segments(self) -> list[str]:
        """The path's segments, decoded."""
        return [unquote(segment) for segment in self.address.path.split("/")[1:]]

    @property
    def ids(self) -> list[str]:
        """The ids in the path."""
        names = self.address.operation.path.split("/")[1:]
        return [value for name, value in zip(names, self.segments, strict=True) if name.startswith("{")]

    @property
    def wants_stream(self) -> bool:
        """Whether ``stream`` is true; forms spell it as text."""
        return self.fields.get("stream") in (True, "true", "True")
