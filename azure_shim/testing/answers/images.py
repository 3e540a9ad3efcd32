"""Images: one white pixel, in Azure's wrapping; and the DALL-E 2 jobs of 2023."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers.shared import content_filter_results, now
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.sse import frame
from azure_shim.testing.store import new_id

__all__ = ["ANSWERERS", "PNG"]

_JOBS = "/operations/images"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\x00\xff"))
    + _chunk(b"IEND", b"")
)
"""The image that every answer has: one white pixel."""


def create(call: Call) -> FakeResponse:
    if "edits" in call.address.path and (call.form is None or call.form.file("image", "image[]") is None):
        raise errors.missing_parameter("image")
    usage = {
        "input_tokens": 10,
        "output_tokens": 100,
        "total_tokens": 110,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 10},
    }
    if call.wants_stream:
        return FakeResponse.events(_frames(call, usage))
    data = [_image(call) for _ in range(int(call.fields.get("n") or 1))]
    return FakeResponse.json({"created": now(), "data": data, "usage": usage})


def _image(call: Call) -> dict[str, Any]:
    image: dict[str, Any] = {
        "revised_prompt": f"{call.served}: {call.fields.get('prompt', '')}",
        "prompt_filter_results": content_filter_results(),
        "content_filter_results": content_filter_results(),
    }
    if call.fields.get("response_format") == "url":
        return {**image, "url": f"https://{call.resource.name}.blob.core.windows.net/images/{new_id('')}.png"}
    return {**image, "b64_json": base64.b64encode(PNG).decode()}


def _frames(call: Call, usage: dict[str, Any]) -> Iterator[bytes]:
    family = "image_edit" if "edits" in call.address.path else "image_generation"
    image = {
        "b64_json": base64.b64encode(PNG).decode(),
        "created_at": now(),
        "size": "1024x1024",
        "quality": "low",
        "background": "opaque",
        "output_format": "png",
    }
    for index in range(int(call.fields.get("partial_images") or 0)):
        event = f"{family}.partial_image"
        yield frame({"type": event, "partial_image_index": index, **image}, event)
    yield frame({"type": f"{family}.completed", **image, "usage": usage}, f"{family}.completed")


def submit(call: Call) -> FakeResponse:
    """DALL-E 2: 202, and a place to look for the result (specification 2023-06-01-preview)."""
    job = call.store.put(_JOBS, {"id": new_id(""), "status": "notRunning"})
    host = call.request.headers.get("host", "")
    scheme = "http" if host.startswith("127.0.0.1") and not call.request.connection.tls else "https"
    version = call.address.api_version
    location = f"{scheme}://{host}{call.resource.prefix}/openai{_JOBS}/{job['id']}?api-version={version}"
    return FakeResponse.json(job, 202, {"operation-location": location, "retry-after": "0"})


def look(call: Call) -> FakeResponse:
    job = call.store.get(_JOBS, call.ids[0])
    if job is None:
        raise errors.no_such("image operation", call.ids[0])
    url = f"https://{call.resource.name}.blob.core.windows.net/images/{job['id']}.png"
    result = {"created": now(), "data": [{"url": url}]}
    job = {"created": now(), "expires": now() + 3600, "id": job["id"], "result": result, "status": "succeeded"}
    return FakeResponse.json(job)


def forget(call: Call) -> FakeResponse:
    if call.store.remove(_JOBS, call.ids[0]) is None:
        raise errors.no_such("image operation", call.ids[0])
    return FakeResponse(204)


ANSWERERS = {
    "POST /images/generations": create,
    "POST /images/edits": create,
    "POST /images/generations:submit": submit,
    "GET /operations/images/{operation_id}": look,
    "DELETE /operations/images/{operation_id}": forget,
}
