"""Endpoints: every spelling that the portal, the docs and older code use for one Azure OpenAI resource.

The rules follow Microsoft's "Azure OpenAI v1 API" and "Foundry project endpoint" pages, the base URLs that
openai-python's own Azure tests expect for API Management, and the target URIs that the portal offers for copying.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from azure_shim.clouds import CLOUDS, cloud_of
from azure_shim.values import DEFAULT_PORTS, Endpoint, Origin
from azure_shim.wire import operations

__all__ = ["EndpointError", "ParsedEndpoint", "is_loopback", "of_resource", "parse"]

_RESOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}[A-Za-z0-9]")
_HOST = re.compile(r"[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*")
_SCHEME_WITHOUT_SLASHES = re.compile(r"(?:https?|wss?)(?::(?!//|\d+(?:/|$))|//)", re.IGNORECASE)
_PROJECT = re.compile(r"(/api/projects/[^/]+)(/.*)?")


class EndpointError(ValueError):
    """The text is not an endpoint; the message says why and never quotes user information or a query."""


class ParsedEndpoint(NamedTuple):
    """An endpoint and what else its spelling said: the surface, an api-version, a deployment for one operation."""

    endpoint: Endpoint
    v1: bool | None = None
    api_version: str | None = None
    deployment: str | None = None
    operation: str | None = None


def is_loopback(host: str) -> bool:
    """Whether plain http to this host stays on this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def of_resource(name: str, cloud: str = "public") -> ParsedEndpoint:
    """The endpoint of the resource called ``name`` in a cloud."""
    if not _RESOURCE_NAME.fullmatch(name):
        raise EndpointError(
            "is not the name of a resource: 2 to 64 letters, digits and hyphens, as in 'my-resource'; "
            "a URL belongs into azure_endpoint"
        )
    return parse(f"https://{name}.{CLOUDS[cloud].suffixes[0]}")


def parse(text: str, *, verbatim: bool = False) -> ParsedEndpoint:
    """Read an endpoint in any of its spellings.

    Accepted are a bare host, the resource URL, ``/openai``, ``/openai/v1``, the target URI of a deployment with its
    query, a project URL, and a gateway's URL with a path prefix. ``verbatim`` is the meaning of ``base_url``: a path
    on a host that is not Azure's own is kept as it is, without ``/openai`` (openai-python does the same).

    Raises:
        EndpointError: no host, another scheme than https (http on loopback), user information, an unknown path.
    """
    text = text.strip()
    if not text:
        raise EndpointError("is empty; expected a URL such as 'https://my-resource.openai.azure.com'")
    if _SCHEME_WITHOUT_SLASHES.match(text):
        raise EndpointError("is no URL: its scheme is not followed by '://'")
    if re.fullmatch(r"[A-Za-z0-9-]+", text) and not is_loopback(text):
        raise EndpointError("is no URL; the name of a resource belongs into resource_name")
    if "://" not in text:
        text = "https://" + text.lstrip("/")
    try:
        parts = urlsplit(text)
        port = parts.port
        if "[" in parts.netloc:
            ipaddress.IPv6Address(parts.hostname or "")  # which urlsplit itself asks for from Python 3.11 on
    except ValueError:
        raise EndpointError("is no URL; expected one such as 'https://my-resource.openai.azure.com'") from None
    origin = _origin(parts.scheme.lower(), parts.hostname, port, "@" in parts.netloc)
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    if any(unquote(segment) in (".", "..") for segment in path.split("/")):
        raise EndpointError("has a '.' or '..' segment in its path")
    version = parse_qs(parts.query).get("api-version", [None])[-1]
    return _read_path(origin, path, version, verbatim)


def _origin(scheme: str, host: str | None, port: int | None, has_user: bool) -> Origin:
    if scheme not in ("https", "http"):
        raise EndpointError(f"has the scheme {scheme!r}; expected https")
    if not host:
        raise EndpointError("has no host; expected a URL such as 'https://my-resource.openai.azure.com'")
    if has_user:
        raise EndpointError("has a user name or password before its host; credentials have arguments of their own")
    host = host.lower().removesuffix(".")  # the same name, for which no certificate is valid with the dot
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise EndpointError("has a host that is no domain name") from None
    if ":" not in ascii_host and not _HOST.fullmatch(ascii_host):
        raise EndpointError("has a host that is no domain name")
    if scheme == "http" and not is_loopback(ascii_host):
        raise EndpointError(
            "is plain http, which would show the credential to the network; expected https (http only on loopback)"
        )
    if ascii_host == "api.openai.com" or ascii_host.endswith(".api.openai.com"):
        raise EndpointError("is OpenAI's own service, not Azure OpenAI; expected the URL of an Azure resource")
    if port == 0:
        raise EndpointError("has the port 0, which no service listens on")
    return Origin(scheme, ascii_host, port or DEFAULT_PORTS[scheme])


def _read_path(origin: Origin, path: str, version: str | None, verbatim: bool) -> ParsedEndpoint:
    cloud = cloud_of(origin.host)
    project = _PROJECT.fullmatch(path)
    if project and (cloud or "/openai" in (project[2] or "") or not project[2]):
        return _read_project(origin, project, cloud)
    prefix, marker, rest = _split_at_openai(path)
    if marker and (cloud is not None or _is_known(rest)):
        base = prefix + "/openai"
        endpoint = Endpoint(origin, classic=base, v1=base + "/v1", cloud=cloud)
        return _read_rest(endpoint, rest, version)
    if cloud is not None:
        endpoint = Endpoint(origin, classic="/openai", v1="/openai/v1", cloud=cloud)
        # '/models' is the Model Inference surface of the same resource, as the portal shows it; '/v1' a common guess.
        return _read_rest(endpoint, "" if path == "/models" else path, version)
    return _read_gateway(origin, path, version, verbatim)


def _read_project(origin: Origin, project: re.Match[str], cloud: str | None) -> ParsedEndpoint:
    rest = project[2] or ""
    operation = rest.removeprefix("/openai/v1")
    if rest not in ("", "/openai", "/openai/v1") and (operation == rest or operations.find("POST", operation) is None):
        raise EndpointError(f"has {rest!r} below a project; expected nothing or '/openai/v1'")
    return ParsedEndpoint(Endpoint(origin, classic=None, v1=project[1] + "/openai/v1", cloud=cloud), v1=True)


def _read_gateway(origin: Origin, path: str, version: str | None, verbatim: bool) -> ParsedEndpoint:
    """A host that is not Azure's own: the path is the gateway's, below which it keeps one or both surfaces."""
    prefix, deployments, rest = path.partition("/deployments/")
    if deployments:
        endpoint = Endpoint(origin, classic=prefix, v1=prefix + "/v1")
        return _read_rest(endpoint, deployments + rest, version)
    if path.endswith("/v1"):
        endpoint = Endpoint(origin, classic=path.removesuffix("/v1"), v1=path)
        return ParsedEndpoint(endpoint, v1=None if version else True, api_version=version)
    if verbatim:
        return ParsedEndpoint(Endpoint(origin, classic=path, v1=path), api_version=version)
    return ParsedEndpoint(Endpoint(origin, classic=path + "/openai", v1=path + "/openai/v1"), api_version=version)


def _split_at_openai(path: str) -> tuple[str, str, str]:
    """The path around its last whole segment ``openai``."""
    segments = path.split("/")
    for index in range(len(segments) - 1, 0, -1):
        if segments[index].lower() == "openai":
            rest = "".join("/" + s for s in segments[index + 1 :])
            return "/".join(segments[:index]), "openai", rest
    return path, "", ""


def _is_known(rest: str) -> bool:
    """Whether what follows ``/openai`` is Azure's, and not a gateway's own path that has such a segment."""
    rest = rest.lower()
    if rest in ("", "/v1", "/deployments") or rest.startswith(("/v1/", "/deployments/")):
        return True
    return rest == "/realtime" or any(operations.find(method, rest) is not None for method in ("POST", "GET"))


def _read_rest(endpoint: Endpoint, rest: str, version: str | None) -> ParsedEndpoint:
    """What follows ``/openai``: nothing, ``/v1``, a deployment, an operation, or a deployment and its operation."""
    v1, deployment = None, None
    if rest.lower() == "/v1" or rest.lower().startswith("/v1/"):
        v1, rest = True, rest[3:]
    elif rest == "/deployments":
        rest = ""
    elif rest.startswith("/deployments/"):
        name, _, tail = rest.removeprefix("/deployments/").partition("/")
        deployment, rest = unquote(name), "/" + tail if tail else ""
        v1 = False if version else None
    if rest and rest != "/realtime" and operations.find("POST", rest) is None and operations.find("GET", rest) is None:
        raise EndpointError(f"has an unknown path {rest!r}; expected nothing, '/openai' or '/openai/v1' after the host")
    if version is not None and version.strip() in ("", "v1"):
        version = None
    return ParsedEndpoint(endpoint, v1, version, deployment, rest or None)
