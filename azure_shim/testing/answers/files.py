"""Files: kept byte for byte on the resource that they were uploaded to."""

from __future__ import annotations

from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.kinds import KINDS
from azure_shim.testing.bodies import Content
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse

__all__ = ["ANSWERERS", "keep_file"]

Json = dict[str, Any]
# Longer contents go out in chunks.
_WHOLE_BYTES = 1024 * 1024
# Others, such as user_data, are rejected (Microsoft Learn, "Azure OpenAI v1 REST API").
_PURPOSES = ("assistants", "batch", "batch_output", "evals", "fine-tune", "vision")


def keep_file(call: Call, filename: str, purpose: str, content: Content) -> Json:
    """Keep a file of this content at ``/files``."""
    fields = {
        "bytes": content.size_bytes,
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }
    item = call.store.put("/files", kept.made(KINDS["/files"], fields))
    call.store.put_content(item["id"], content)
    return item


def upload(call: Call) -> FakeResponse:
    part = call.form.file("file") if call.form is not None else None
    if part is None:
        raise errors.missing_parameter("file")
    purpose = call.fields.get("purpose")
    if purpose is None:
        raise errors.missing_parameter("purpose")
    if purpose not in _PURPOSES:
        message = f"Invalid value for purpose: '{purpose}'."
        raise errors.model_error(400, message, param="purpose", code="invalidPayload")
    return FakeResponse.json(keep_file(call, part.filename or "", purpose, part.content), 201)


def import_file(call: Call) -> FakeResponse:
    """Azure's own: a file from a URL, which is not fetched here."""
    filename, purpose = str(call.fields.get("filename", "")), str(call.fields.get("purpose", "fine-tune"))
    return FakeResponse.json(keep_file(call, filename, purpose, Content.of(b"")), 201)


def delete(call: Call) -> FakeResponse:
    call.store.drop_content(call.ids[-1])
    return kept.delete(call)


def read(call: Call) -> FakeResponse:
    kept.item_of(call, "/files/{file_id}")
    return content_of(call, call.ids[0])


def content_of(call: Call, key: str) -> FakeResponse:
    """What is kept under ``key``, in chunks."""
    content = call.store.content(key)
    if content is None:
        raise errors.no_such("file", key)
    body = content.read() if content.size_bytes <= _WHOLE_BYTES else content.chunks()
    return FakeResponse(200, {"content-type": "application/octet-stream"}, body)


ANSWERERS = {
    "POST /files": upload,
    "POST /files/import": import_file,
    "DELETE /files/{file_id}": delete,
    "GET /files/{file_id}/content": read,
}
