"""What the readers of arguments share: the arguments, the environment, and what was found to be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure_shim.auth.secrets import shown
from azure_shim.clouds import CLOUDS, spelled
from azure_shim.errors import AsyncCredentialError, ConfigurationError
from azure_shim.values import Endpoint

__all__ = ["Reader"]


class Reader:
    """Arguments and environment variables, with the problems found in them so far."""

    def __init__(self, arguments: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.arguments, self.environ = dict(arguments), environ
        self.used: dict[str, str] = {}
        self.problems: list[str] = []
        self._kind: type[ConfigurationError] = ConfigurationError
        self._named_cloud: str | None = None
        self._read_cloud()

    def problem(self, sentence: str) -> None:
        """Note what is wrong; it names the argument or the variable, and what would be right."""
        if sentence not in self.problems:
            self.problems.append(sentence)

    def wrong_colour(self, sentence: str) -> None:
        """As `problem`, of something async for a client that blocks."""
        self.problem(sentence)
        self._kind = AsyncCredentialError

    def error(self) -> ConfigurationError:
        """All problems at once."""
        return self._kind(self.problems)

    def variable(self, name: str) -> str | None:
        """An environment variable that has something in it. It is kept, for copies of the client."""
        value = self.environ.get(name)
        if value is None or not value.strip():
            return None
        self.used[name] = value
        return value

    def cloud(self, endpoint: Endpoint | None) -> str | None:
        """The cloud: the endpoint's, or the one that ``azure_cloud`` names; None if neither tells."""
        return (endpoint.cloud if endpoint is not None else None) or self._named_cloud

    def check_cloud(self, endpoint: Endpoint) -> None:
        """Note a problem if the endpoint is in another cloud than ``azure_cloud``."""
        named = self._named_cloud
        if named is not None and endpoint.cloud not in (None, named):
            self.problem(
                f"azure_cloud: is {named!r}, but the endpoint {endpoint.origin} is in the {endpoint.cloud} cloud: "
                "leave it out, or use that cloud's endpoint"
            )

    def _read_cloud(self) -> None:
        value = self.arguments.get("azure_cloud")
        if value is None:
            return
        cloud = spelled(value) if isinstance(value, str) else None
        if cloud is None:
            self.problem(
                f"azure_cloud: is {shown(value)}, which is unknown; expected one of {', '.join(map(repr, CLOUDS))}"
            )
            return
        self._named_cloud = cloud.name
