"""Read a request line in any spelling into one call, and write that call as one target wants it.

A request comes as OpenAI spells it (``/v1/chat/completions``, behind any prefix) or as Azure does
(``/openai/deployments/{deployment}/chat/completions?api-version=...``, ``/openai/v1/chat/completions``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from azure_shim.values import Refusal, Target
from azure_shim.wire.operations import Operation, find, table

__all__ = ["DATED", "RequestLine", "address", "read", "refusal_of"]

DATED = re.compile(r"\d{4}-\d{2}-\d{2}(?:-[a-z0-9.-]+)?")
_CANCEL_RUN = re.compile(r"/evals/[^/]+/runs/[^/]+/cancel")
_V1_VERSIONS = ("preview", "latest")


@dataclass(frozen=True, slots=True, eq=False)
class RequestLine:
    """What a request line says, in whichever spelling it came. Lines are kept and compared by identity.

    ``path`` begins below ``/v1`` and is percent-encoded as it came; ``query`` is the caller's without ``api-version``;
    ``api_version`` is the caller's wish for this request; ``deployment`` is what an Azure spelling had in its path,
    decoded.
    """

    operation: Operation | None
    path: str
    query: str = ""
    api_version: str | None = None
    deployment: str | None = None

    @property
    def name(self) -> str:
        """For events and messages; without the ids of a known operation."""
        return self.path if self.operation is None else self.operation.path


def read(method: str, raw_path: str, bases: Sequence[str] = (), *, adds_versions: bool = False) -> RequestLine:
    """Read ``raw_path``, a path with its query.

    ``bases`` are the paths at which the addressed target's own surfaces begin, the longest first. ``adds_versions``
    says that the client may be one of Azure's own, which writes its api-version into every request. The target knows
    better; only in OpenAI's spelling can a version be nothing but the caller's explicit ``extra_query``.
    """
    path, _, query = raw_path.partition("?")
    version = None
    if query:
        pairs = query.split("&")
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key.lower() == "api-version":
                version = unquote(value)
        others = [pair for pair in pairs if pair.partition("=")[0].lower() != "api-version"]
        query = query if len(others) == len(pairs) else "&".join(others)
        if adds_versions and "/v1/" not in path:
            version = None
    beta = "beta=true" in query.split("&")
    for base in bases:
        if path.startswith(base + "/"):
            return _below(method, path[len(base) :], query, version, beta)
    fallback: RequestLine | None = None
    for rest in _candidates(path):
        line = _below(method, rest, query, version, beta)
        if line.operation is not None:
            return line
        fallback = fallback or line
    assert fallback is not None, "the whole path is always a candidate"
    return fallback


def _candidates(path: str) -> list[str]:
    """What may be the path below ``/v1``: behind each marker, the most telling one first, then behind any prefix."""
    found = [
        path[at + len(marker) - 1 :]
        for marker in ("/openai/v1/", "/openai/", "/v1/")
        for at in (path.find(marker), path.rfind(marker))
        if at >= 0
    ]
    if found:
        return found
    segments = path.split("/")
    return [path, *("/" + "/".join(segments[i:]) for i in range(2, len(segments)))]


def _below(method: str, path: str, query: str, version: str | None, beta: bool) -> RequestLine:
    deployment = None
    if path.startswith("/deployments/"):
        name, slash, rest = path[len("/deployments/") :].partition("/")
        if slash:
            deployment, path = _split_deployment(method, name, "/" + rest)
    if method == "POST" and _CANCEL_RUN.fullmatch(path):
        # openai 3.54 cancels a run here; Azure's specification, and older SDKs, by a POST to the run itself.
        path = path.removesuffix("/cancel")
    return RequestLine(find(method, path, beta=beta), path, query, version, deployment)


def _split_deployment(method: str, name: str, rest: str) -> tuple[str, str]:
    """The deployment, decoded, and the path behind it.

    openai 1.x and 2.x do not escape a name with a slash, so that it runs over several segments; it ends where an
    operation of deployments begins.
    """
    if find(method, rest) is None:
        for operation in table():
            if operation.in_deployment and operation.method == method and rest.endswith(operation.path):
                return unquote(name + rest[: -len(operation.path)]), operation.path
    return unquote(name), rest


def refusal_of(line: RequestLine, target: Target) -> Refusal | None:
    """Why this target cannot be sent this call, or None."""
    operation = line.operation
    if any(unquote(segment) in (".", "..") for segment in line.path.split("/")):
        return Refusal(400, "InvalidPath", f"the path {line.name!r} has a '.' or '..' segment")
    if operation is None:
        return None
    where = f"{operation.method} /v1{operation.path}"
    if not operation.offered:
        if operation.path.startswith(("/organization", "/projects")):
            return Refusal(
                404,
                "OperationNotOffered",
                f"{where} administers an OpenAI organization; Azure OpenAI has no such operation on any surface. "
                "Azure resources are administered through Azure Resource Manager.",
            )
        return Refusal(
            404, "OperationNotOffered", f"Azure OpenAI does not offer {where} on any surface or api-version."
        )
    if target.is_classic:
        if operation.classic is None:
            return Refusal(
                404,
                "OperationOnOtherSurface",
                f"Azure OpenAI has {where} only on the v1 surface, and target {target.name!r} uses api-version "
                f"{target.api_version!r}: create the client with api_version='v1' (or with none).",
            )
    elif not operation.v1:
        return Refusal(
            404,
            "OperationOnOtherSurface",
            f"Azure OpenAI has {where} only under a dated api-version (since {operation.first}), and target "
            f"{target.name!r} uses the v1 surface: create the client with api_version='2024-10-21' or the like.",
        )
    elif target.endpoint.is_project and operation.path == "/embeddings":
        return Refusal(
            404,
            "OperationOnOtherSurface",
            f"A Foundry project endpoint has no {where}: use the resource's endpoint, without '/api/projects/...'.",
        )
    return None


def address(line: RequestLine, target: Target, deployment: str | None) -> str:
    """The URL of this call at ``target``; ``deployment`` is needed where the classic surface has it in the path."""
    operation, endpoint = line.operation, target.endpoint
    if operation is None:
        # What is not known passes through in OpenAI's own spelling, which is v1's.
        if line.deployment is None or endpoint.classic is None or not target.is_classic:
            return _url(target, endpoint.v1 + line.path, line.query, line.api_version)
        path = f"{endpoint.classic}/deployments/{quote(line.deployment, safe='')}{line.path}"
        return _url(target, path, line.query, line.api_version or target.api_version)
    if not target.is_classic or operation.classic is None or endpoint.classic is None:
        return _url(target, endpoint.v1 + line.path, line.query, _v1_version(line, target, operation))
    if operation.in_deployment:
        assert deployment is not None, "a deployment operation is addressed after its deployment is known"
        path = f"{endpoint.classic}/deployments/{quote(deployment, safe='')}{line.path}"
    elif operation.classic == "resource":
        path = endpoint.classic + line.path
    elif operation.classic == "host":
        path = line.path
    else:
        path = endpoint.classic + operation.classic
    own = line.api_version
    return _url(target, path, line.query, own if own and DATED.fullmatch(own) else target.api_version)


def _v1_version(line: RequestLine, target: Target, operation: Operation) -> str | None:
    """v1 takes no api-version but ``preview`` or ``latest`` where asked for; realtime and projects take none at all."""
    if operation.v1_version_forbidden or target.endpoint.is_project:
        return None
    if operation.v1_preview:
        return "preview"
    return line.api_version if line.api_version in _V1_VERSIONS else target.api_version


def _url(target: Target, path: str, query: str, version: str | None) -> str:
    pairs = "&".join(p for p in (query, f"api-version={quote(version)}" if version else "") if p)
    return f"{target.endpoint.origin}{path}?{pairs}" if pairs else f"{target.endpoint.origin}{path}"
