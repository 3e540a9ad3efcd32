"""The checks that Azure makes, in order: address, credential, body, deployment."""

from __future__ import annotations

import gzip
import hmac
import json
import zlib
from typing import TYPE_CHECKING, Any

from azure_shim.testing import errors
from azure_shim.testing.address import read_address
from azure_shim.testing.bodies import BadBodyError, Form, read_form
from azure_shim.testing.call import Address, Call
from azure_shim.testing.leaks import credentials_of
from azure_shim.testing.recorded import Recorded

if TYPE_CHECKING:
    from azure_shim.testing.resource import Resource

__all__ = ["check"]

# Where the body has to name a deployment; elsewhere it may (a prompt of a Responses call brings its own model).
_MODEL_REQUIRED = (
    "/assistants",
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/images/edits",
    "/images/generations",
    "/models/chat/completions",
    "/models/embeddings",
    "/realtime/sessions",
    "/responses/compact",
)
_REQUIRED_FIELDS = {
    "/audio/speech": ("input", "voice"),
    "/batches": ("input_file_id", "endpoint", "completion_window"),
    "/chat/completions": ("messages",),
    "/embeddings": ("input",),
    "/images/generations": ("prompt",),
    "/models/chat/completions": ("messages",),
    "/models/embeddings": ("input",),
}
_SDP = "application/sdp"
# A project takes none of the older audience, but for China, where no other is known; a resource takes either.
_PROJECT_AUDIENCES = ("ai.azure.com", "ai.azure.us", "cognitiveservices.azure.cn")
_RESOURCE_AUDIENCES = (*_PROJECT_AUDIENCES, "cognitiveservices.azure.com", "cognitiveservices.azure.us")


def check(resource: Resource, request: Recorded) -> Call:
    """The call that a sound request makes.

    Raises:
        AzureError: what Azure refuses it with.
    """
    address = read_address(request, resource)
    _check_credential(resource, request, address)
    if address.deployment is not None:
        # Azure looks for the path's deployment before it reads the body.
        _model_of(resource, address.deployment)
        request.deployment = address.deployment
    fields, form = _read_body(request)
    if not address.is_v1 and address.operation.classic_drops_model and "model" in fields:
        # Held against Azure's own list of names (openai-python issue 2892).
        raise errors.model_does_not_exist(str(fields["model"]))
    deployment = address.deployment or _in_body(fields, address)
    model = None
    if deployment is not None:
        request.deployment = deployment
        model = _model_of(resource, deployment)
        _check_kind(address, model, deployment)
    image = request.headers.get("x-ms-oai-image-generation-deployment")
    if image is not None:
        _model_of(resource, image)
    for name in _REQUIRED_FIELDS.get(address.operation.path, ()) if request.method == "POST" else ():
        if name not in fields:
            raise errors.missing_parameter(name)
    return Call(resource, request, address, fields, form, deployment, model)


def _check_credential(resource: Resource, request: Recorded, address: Address) -> None:
    names = credentials_of(request, resource)
    if len(names) > 1:
        raise errors.multiple_credentials(names)
    if not names:
        raise errors.wrong_token()
    value = request.headers[names[0]]
    if names[0] != "authorization":
        if names[0] != resource.api_key_header.lower() or not _same(value, resource.api_key):
            raise errors.wrong_key()
        return
    scheme, _, token = value.partition(" ")
    accepted = [*resource.tokens, resource.api_key] if address.is_v1 else list(resource.tokens)
    if scheme.lower() != "bearer":
        raise errors.wrong_token()
    audiences = _PROJECT_AUDIENCES if address.is_project else _RESOURCE_AUDIENCES
    if not any(_same(token, known) for known in accepted) and not resource.accepts_token_of_service(token, audiences):
        raise errors.wrong_token()


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode())


def _model_of(resource: Resource, deployment: str) -> str:
    model = resource.model_of(deployment)
    if model is None:
        raise errors.deployment_not_found()
    return model


def _read_body(request: Recorded) -> tuple[dict[str, Any], Form | None]:
    said = request.headers.get("content-length")
    size_bytes = request.content.size_bytes
    if said is not None and said != str(size_bytes):
        raise errors.length_mismatch(said, size_bytes)
    if not size_bytes:
        return {}, None
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        try:
            form = read_form(request.content, content_type)
            return form.fields, form
        except BadBodyError as error:
            raise errors.invalid_multipart(str(error)) from None
    if kind == "application/json" or kind.endswith("+json"):
        return _read_json(request), None
    if kind == _SDP:
        return {}, None
    raise errors.unsupported_media_type(content_type)


def _read_json(request: Recorded) -> dict[str, Any]:
    data = bytes(request.content.view())
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "gzip":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise errors.invalid_encoding(encoding) from None
    elif encoding != "identity":
        raise errors.invalid_encoding(encoding)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise errors.invalid_json() from None
    if not isinstance(value, dict):
        raise errors.invalid_json()
    return value


def _in_body(fields: dict[str, Any], address: Address) -> str | None:
    """The deployment that the body names, where the table says that one is there."""
    operation = address.operation
    if not operation.model_at:
        return None
    value: Any = fields
    for name in operation.model_at:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, str) and value:
        return value
    needs = operation.path in _MODEL_REQUIRED or (operation.path == "/responses" and "prompt" not in fields)
    if needs or value is not None:
        raise errors.model_missing()
    return None


def _check_kind(address: Address, model: str, deployment: str) -> None:
    """A model that embeds cannot chat, and the other way round."""
    embeds = model.startswith("text-embedding")
    path = address.operation.path
    if embeds and path.endswith("/chat/completions"):
        raise errors.operation_not_supported("chatCompletion", deployment)
    if not embeds and path.endswith("/embeddings") and model.startswith(("gpt-", "o1", "o3", "o4")):
        raise errors.operation_not_supported("embeddings", deployment)
