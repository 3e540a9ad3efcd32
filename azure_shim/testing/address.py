"""Read a request line strictly: the path has to be one of the operations table's, the api-version one that it takes.

Sources: the path families and version rules of Microsoft's "Azure OpenAI v1 API" page, the dated OpenAPI
specifications, and the errors that users of the service report.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from azure_shim.testing import errors
from azure_shim.testing.call import Address
from azure_shim.testing.recorded import Recorded
from azure_shim.wire.operations import Operation, find, table

if TYPE_CHECKING:
    from azure_shim.testing.resource import Resource

__all__ = ["read_address"]

_DATED = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?")
_PROJECT = re.compile(r"/api/projects/[^/]+(/openai/v1/.*)")
_V1_VERSIONS = ("v1", "preview", "latest")
# Listing deployments answered only under the oldest versions; 2024-08-01-preview, 2024-10-21 and later said 404.
_LAST_VERSION = {"/deployments": "2023-05-15"}
# Operations that the classic surface keeps at another path than OpenAI's.
_MOVED = {(o.method, o.classic): o for o in table() if o.classic and o.classic.startswith("/")}


def read_address(request: Recorded, resource: Resource) -> Address:
    """What the request line names.

    Raises:
        AzureError: 404 for a path or a dated version that Azure does not have, 400 or 401 for a version that the v1
            surface does not take.
    """
    path = request.path
    if not path.startswith(resource.prefix + "/"):
        raise errors.resource_not_found()
    path = path[len(resource.prefix) :]
    versions = [value for key, value in parse_qsl(request.raw_query, keep_blank_values=True) if key == "api-version"]
    is_socket = request.headers.get("upgrade", "").lower() == "websocket"
    method = "WS" if is_socket else request.method
    beta = "beta=true" in request.raw_query.split("&")
    address = _v1(method, path, versions, beta, resource) or _classic(method, path, beta, resource)
    if address is None or _has_empty_id(address):
        raise errors.resource_not_found()
    if address.is_v1:
        _check_v1_version(address, versions)
    else:
        _check_dated_version(address.operation, versions)
    return Address(
        address.operation,
        address.path,
        address.is_v1,
        address.is_project,
        address.deployment,
        versions[0] if versions else None,
    )


def _v1(method: str, path: str, versions: list[str], beta: bool, resource: Resource) -> Address | None:
    project = _PROJECT.fullmatch(path)
    rest = project[1] if project else path
    if resource.bare and not project:
        if rest.startswith("/v1/"):
            rest = rest[len("/v1") :]
        elif versions or rest.startswith("/deployments/"):
            return None
    elif rest.startswith("/openai/v1/"):
        rest = rest[len("/openai/v1") :]
    else:
        return None
    operation = find(method, rest, beta=beta)
    if operation is None or not operation.v1 or (project and operation.path == "/embeddings"):
        return None
    return Address(operation, rest, is_v1=True, is_project=bool(project))


def _classic(method: str, path: str, beta: bool, resource: Resource) -> Address | None:
    hosted = find(method, path, beta=beta)
    if hosted is not None and hosted.classic == "host":
        return Address(hosted, path, is_v1=False)
    if not resource.bare:
        if not path.startswith("/openai/"):
            return None
        path = path[len("/openai") :]
    if path.startswith("/deployments/"):
        name, _, rest = path[len("/deployments/") :].partition("/")
        operation = find(method, "/" + rest, beta=beta)
        if operation is None or not operation.in_deployment or not name:
            return None
        return Address(operation, "/" + rest, is_v1=False, deployment=unquote(name))
    moved = _MOVED.get((method, path))
    if moved is not None:
        return Address(moved, moved.path, is_v1=False)
    operation = find(method, path, beta=beta)
    if operation is None or operation.classic != "resource":
        return None
    return Address(operation, path, is_v1=False)


def _has_empty_id(address: Address) -> bool:
    return any(segment in ("", ".", "..") for segment in map(unquote, address.path.split("/")[1:]))


def _check_v1_version(address: Address, versions: list[str]) -> None:
    operation = address.operation
    if operation.v1_version_forbidden and versions:
        # "401 when an api-version is sent" (Microsoft Learn, realtime GA migration).
        raise errors.wrong_token()
    if address.is_project and versions:
        raise errors.version_not_allowed()
    if len(versions) > 1 or any(_DATED.fullmatch(version) for version in versions):
        raise errors.version_not_allowed()
    if versions and versions[0] not in _V1_VERSIONS:
        raise errors.version_not_supported()
    if operation.v1_preview and versions != ["preview"]:
        raise errors.preview_required()


def _check_dated_version(operation: Operation, versions: list[str]) -> None:
    if len(versions) != 1 or not _DATED.fullmatch(versions[0]):
        raise errors.resource_not_found()
    date = versions[0][:10]
    if operation.first is not None and date < operation.first[:10]:
        raise errors.resource_not_found()
    if date > _LAST_VERSION.get(operation.path, "9999"):
        raise errors.resource_not_found()
