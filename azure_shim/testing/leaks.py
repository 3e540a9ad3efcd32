"""What a request gives away that it should not: the findings in `FakeAzure.leaks`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from azure_shim.clouds import cloud_of

if TYPE_CHECKING:
    from azure_shim.testing.recorded import Recorded
    from azure_shim.testing.resource import Resource

__all__ = ["Leak", "credentials_of", "of_request", "of_stranger"]

# Not within a token, in whose base64 it may stand by chance.
_OPENAI_KEY = re.compile(r"(?<![A-Za-z0-9_.-])sk-[A-Za-z0-9_-]+")
_NOT_FOR_AZURE = ("openai-organization", "openai-project", "cookie")


@dataclass(frozen=True)
class Leak:
    """One finding.

    ``kind`` is ``openai-organization``, ``openai-project``, ``cookie`` (a header that Azure has no use for),
    ``two-credentials``, ``openai-key`` (something like ``sk-...`` in any header or the query), ``foreign-key`` or
    ``foreign-token`` (another resource's credential). ``resource`` is where it was seen; ``detail``
    names the header, never its value.
    """

    kind: str
    resource: str
    detail: str
    request: Recorded = field(repr=False, compare=False)


def of_request(request: Recorded, at: Resource, resources: Iterable[Resource]) -> list[Leak]:
    """The findings in a request that came to ``at``."""
    own = {at.api_key, *at.tokens}
    others = [r for r in resources if r is not at]
    foreign_keys = {r.api_key for r in others} - own
    foreign_tokens = {token for r in others for token in r.tokens} - own
    found = [(name, f"header {name}") for name in _NOT_FOR_AZURE if name in request.headers]
    credentials = credentials_of(request, at)
    if len(credentials) > 1:
        found.append(("two-credentials", " and ".join(credentials)))
    found += _secrets(request, foreign_keys, foreign_tokens)
    return [Leak(kind, at.name, detail, request) for kind, detail in found]


def of_stranger(request: Recorded, host: str, resources: Iterable[Resource]) -> list[Leak]:
    """The findings in a request to a host that is no resource.

    A key of any resource is one. A token is not one at another Azure host, where the caller may have meant to send it.
    """
    resources = list(resources)
    keys = {r.api_key for r in resources}
    tokens = set() if cloud_of(host) else {token for r in resources for token in r.tokens}
    return [Leak(kind, host, detail, request) for kind, detail in _secrets(request, keys, tokens, openai=False)]


def credentials_of(request: Recorded, at: Resource) -> list[str]:
    """The names of the headers that hold a credential, once per time that they were sent."""
    key_header = at.api_key_header.lower()
    known = {"api-key", "authorization", key_header}
    names = [name.lower() for name, _ in request.headers.raw if name.lower() in known]
    if at.accepts_key_twice and sorted(names) == sorted([key_header, "authorization"]):
        is_same = request.headers["authorization"] == f"Bearer {request.headers[key_header]}"
        return [key_header] if is_same else names
    return names


def _secrets(request: Recorded, keys: set[str], tokens: set[str], *, openai: bool = True) -> list[tuple[str, str]]:
    found = []
    places = [(f"header {name.lower()}", value) for name, value in request.headers.raw]
    for place, value in [*places, ("the query", request.raw_query)]:
        if openai and _OPENAI_KEY.search(value):
            found.append(("openai-key", place))
        if any(key in value for key in keys):
            found.append(("foreign-key", place))
        if any(token in value for token in tokens):
            found.append(("foreign-token", place))
    return found
