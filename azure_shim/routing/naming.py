"""What a call is at one of several targets: its deployment there, and its body with what the target overrides."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from azure_shim.routing.fleet import Site
from azure_shim.routing.route import Call, Naming, name_deployment
from azure_shim.values import Body, Effect, Peek, Refusal
from azure_shim.wire.overrides import overridden
from azure_shim.wire.to_openai import azure_only, refusal_of_field

__all__ = ["name_at"]


def name_at(site: Site, call: Call) -> Generator[Effect, Any, Naming | Refusal]:
    """The call as this target gets it, or why it cannot be there."""
    refusal = site.addresses.refusal(call.line)
    if refusal is not None:
        return refusal
    own, grown = call, 0
    is_open = call.content_encoding in ("", "identity")
    if site.others and is_open and call.line.operation is not None and call.line.operation.method == "POST":
        content = call.content
        if content is None:
            content = yield from _whole_body()
        changed = overridden(content, call.content_type, site.others)
        if isinstance(changed, Refusal):
            return changed
        own = call._replace(content=changed)
        grown = len(changed) - len(content)
    if site.target.is_openai:
        field = azure_only(own.content, own.content_type, own.line)
        if field is not None:
            return refusal_of_field(field, call.line)
    naming = yield from name_deployment(own, site.addresses.target, wants_name=True)
    if isinstance(naming, Refusal) or own is call:
        return naming
    if naming.body is None:
        body = Body((own.content or b"",), whole=True, grown_bytes=grown)
    else:
        body = naming.body._replace(grown_bytes=naming.body.grown_bytes + grown)
    return naming._replace(body=body)


def _whole_body() -> Generator[Effect, Any, bytes]:
    """A body that is not in memory, taken in: an override may stand anywhere in a form."""
    chunks: list[bytes] = []

    def feed(chunk: bytes) -> bool:
        chunks.append(chunk)
        return False

    yield Peek(feed)
    return b"".join(chunks)
