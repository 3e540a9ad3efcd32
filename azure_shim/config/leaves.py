"""The keys of one target -> the target."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from azure_shim.config.credentials import CREDENTIAL_ARGUMENTS, IDENTITY_ARGUMENTS, CredentialReader
from azure_shim.config.keys import OPENAI, Inherited, signs
from azure_shim.config.reading import LOST, Reading
from azure_shim.config.settings import ARGUMENTS, ENDPOINT_ARGUMENTS, ArgumentReader, read_target
from azure_shim.values import Endpoint, Origin, Target
from azure_shim.wire.endpoints import EndpointError, parse

__all__ = ["parse_openai", "read_leaf"]

_POOL_OPTIONS = ("proxy", "verify", "cert", "trust_env")
_OPENAI_HOST = "api.openai.com"
# For a value that could not be had, so that no problem is told that comes of this alone.
_URL, _WORD = "https://absent.invalid", "absent"
_STAND_INS = {
    **dict.fromkeys((*CREDENTIAL_ARGUMENTS, *IDENTITY_ARGUMENTS, "resource_name"), _WORD),
    **dict.fromkeys(("azure_endpoint", "base_url", "custom_host"), _URL),
    "azure_entra_certificate_path": os.devnull,
    "azure_auth_mode": "default",
}


def read_leaf(inherited: Inherited, provider: str, place: str, reading: Reading) -> Target | None:
    """The target at ``place``, with a name that others may have too; None after problems were noted."""
    keys: dict[str, Any] = {}
    for key, value in inherited.keys.items():
        if value is not LOST:
            keys[key] = value
        elif key in _STAND_INS:
            keys[key] = _STAND_INS[key]
    places = dict(inherited.places)
    is_base = "custom_host" in keys
    if is_base:
        host = keys.pop("custom_host")
        for name in ENDPOINT_ARGUMENTS:  # the gateway's own order, where a node has several
            keys.pop(name, None)
        keys["base_url"], places["base_url"] = host, places["custom_host"]
    headers = dict(keys.get("default_headers", {}))
    arguments = {name: keys[name] for name in ARGUMENTS if name in keys}
    reader = ArgumentReader(arguments, reading.environ, is_one_of_many=True)
    if provider == OPENAI:
        target = _openai(reader, is_async=reading.is_async, is_signed=signs(headers))
        for header, key in (("OpenAI-Organization", "organization"), ("OpenAI-Project", "project")):
            _add(headers, header, keys.get(key))
    else:
        target = read_target(reader, is_async=reading.is_async, signs=signs(headers))
        if target is not None and is_base:
            target = replace(target, endpoint=_as_base(target.endpoint))
    _add(headers, "OpenAI-Beta", keys.get("openai_beta"))
    reading.absorb(reader, place, places)
    if target is None:
        return None
    if isinstance(target.deployments, Mapping) and "unmapped_models" not in keys:
        # Among several targets a mapping says who has what: who does not have a model is not asked for it (P40).
        target = replace(target, unmapped="error")
    return replace(
        target,
        headers=headers,
        region=keys.get("region"),
        tags=keys.get("tags", {}),
        timeout_s=keys.get("timeout", keys.get("request_timeout")),
        override_params=keys.get("override_params", {}),
        pool={name: keys[name] for name in _POOL_OPTIONS if name in keys},
        **{field: value for field, value in keys.get("retry", {}).items() if value is not LOST},
    )


def _add(headers: dict[str, str], name: str, value: str | None) -> None:
    if value is not None and name.lower() not in {header.lower() for header in headers}:
        headers[name] = value


def _as_base(endpoint: Endpoint) -> Endpoint:
    """The gateway appends ``/v1`` to a custom host for the v1 surface, and nothing for the classic one."""
    if endpoint.classic != endpoint.v1:
        return endpoint
    return endpoint._replace(v1=f"{endpoint.v1}/v1")


def _openai(reader: ArgumentReader, *, is_async: bool, is_signed: bool) -> Target | None:
    endpoint = None
    try:
        endpoint = parse_openai(str(reader.arguments.get("base_url", f"https://{_OPENAI_HOST}/v1")))
    except EndpointError as error:
        reader.problem(f"base_url: {error}")
    credential = CredentialReader(reader, endpoint, is_classic=False, is_async=is_async).read_openai(signs=is_signed)
    deployments, _, _ = reader.deployments(None)
    unmapped = reader.unmapped()
    if reader.problems or endpoint is None or credential is None:
        return None
    return Target(
        name="openai",
        endpoint=endpoint,
        api_version=None,
        credential=credential,
        deployments=deployments,
        unmapped=unmapped,
        provider=OPENAI,
    )


def parse_openai(text: str) -> Endpoint:
    """The endpoint of OpenAI, or of a service that speaks like it, whose path is kept as it is.

    Raises:
        EndpointError: as `azure_shim.wire.endpoints.parse` does of a host, or it is Azure's own.
    """
    text = text.strip()
    if "://" not in text:
        if text.lower().startswith(("http:", "https:")):
            raise EndpointError("is no URL: its scheme is not followed by '://'")
        text = "https://" + text.lstrip("/")
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        raise EndpointError("is no URL; expected one such as 'https://api.openai.com/v1'") from None
    if parts.query or parts.fragment:
        raise EndpointError("has a query or a fragment, which the URL of every request would lose")
    path = parts.path.rstrip("/")
    if any(unquote(segment) in (".", "..") for segment in path.split("/")):
        raise EndpointError("has a '.' or '..' segment in its path")
    if host != _OPENAI_HOST and not host.endswith("." + _OPENAI_HOST):
        found = parse(f"{parts.scheme}://{parts.netloc}", verbatim=True).endpoint
        if found.cloud is not None:
            raise EndpointError("is a resource of Azure, whose provider is 'azure-openai'")
        return Endpoint(found.origin, classic=None, v1=path)
    # Azure's own parser takes no host of OpenAI's; whatever else it refuses, it refuses of this one too.
    stand_in = parse(f"{parts.scheme}://{parts.netloc.lower().replace(host, 'host.invalid')}").endpoint.origin
    return Endpoint(Origin(stand_in.scheme, host, port or stand_in.port), classic=None, v1=path or "/v1")
