"""Calls to OpenAI itself: where they go, and what only Azure understands, which is reported instead of sent."""

from __future__ import annotations

from urllib.parse import unquote

from azure_shim.values import Refusal, Target
from azure_shim.wire import json_model
from azure_shim.wire.overrides import is_json
from azure_shim.wire.request_line import RequestLine

__all__ = ["azure_only", "openai_address", "refusal_of_field", "refusal_of_openai"]

# Members of a request that Azure's specifications have and OpenAI's do not: On Your Data (`dataSources` until
# 2023-12-01-preview, `data_sources` since), Vision enhancements (until 2024-03-01-preview), and what Defender for Cloud
# is told of the end user.
_FIELDS = ("data_sources", "dataSources", "enhancements", "user_security_context")
# Batches in blob storage and the kind of a training: Microsoft Learn, "Azure OpenAI batch" and "fine-tuning".
_FIELDS_OF = {"/batches": ("input_blob", "output_folder"), "/fine_tuning/jobs": ("trainingType",)}

_PIN = "extra_headers={'x-azure-shim-target': '<the name of an Azure target>'}"


def azure_only(content: bytes | None, content_type: str, line: RequestLine) -> str | None:
    """The first top-level member of a JSON body that only Azure knows, or None; of a stream (None) nothing is known."""
    if content is None or not is_json(content_type):
        return None
    names = (*_FIELDS, *(_FIELDS_OF.get(line.path, ())))
    found = [
        (member.key_start, name)
        for name in names
        if b'"%s"' % name.encode() in content and (member := json_model.find(content, (name,))) is not None
    ]
    return min(found)[1] if found else None


def refusal_of_field(name: str, line: RequestLine) -> Refusal:
    """Why a call with the member that `azure_only` found is not sent to OpenAI."""
    return Refusal(
        400,
        "FieldNotOffered",
        f"{name!r} is a field of Azure OpenAI alone, and OpenAI has no such field for {line.name}: leave it out, or "
        f"send such calls to an Azure target, by a condition on 'params.{name}' or with {_PIN}.",
    )


def refusal_of_openai(line: RequestLine) -> Refusal | None:
    """Why OpenAI cannot be sent this call, or None."""
    if any(unquote(segment) in (".", "..") for segment in line.path.split("/")):
        return Refusal(400, "InvalidPath", f"the path {line.name!r} has a '.' or '..' segment")
    operation = line.operation
    if operation is None or not operation.azure_only:
        return None
    return Refusal(
        404,
        "OperationNotOffered",
        f"{operation} is an operation of Azure OpenAI alone, and OpenAI has none like it: send such calls to an Azure "
        f"target, by a condition on 'url.pathname' or with {_PIN}.",
    )


def openai_address(line: RequestLine, target: Target) -> str:
    """The URL of this call at OpenAI, which has no api-version, and the model in the body however the call came."""
    url = f"{target.endpoint.origin}{target.endpoint.v1}{line.path}"
    return f"{url}?{line.query}" if line.query else url
