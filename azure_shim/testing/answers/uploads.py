"""Uploads in parts, which become a file when they are completed."""

from __future__ import annotations

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.files import keep_file
from azure_shim.testing.answers.shared import now
from azure_shim.testing.bodies import Content
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.store import new_id

__all__ = ["ANSWERERS"]

_UPLOAD = "/uploads/{upload_id}"
_HOUR_S = 3600


def create(call: Call) -> FakeResponse:
    for name in ("bytes", "filename", "mime_type", "purpose"):
        if name not in call.fields:
            raise errors.missing_parameter(name)
    return FakeResponse.json(kept.keep(call, "/uploads", {**call.fields, "expires_at": now() + _HOUR_S}))


def add_part(call: Call) -> FakeResponse:
    kept.item_of(call, _UPLOAD)
    part = call.form.file("data") if call.form is not None else None
    if part is None:
        raise errors.missing_parameter("data")
    item = {
        "id": new_id("part_"),
        "object": "upload.part",
        "created_at": now(),
        "upload_id": call.ids[0],
        "azure_block_id": new_id(""),
    }
    call.store.put(f"/uploads/{call.ids[0]}/parts", item)
    call.store.put_content(str(item["id"]), part.content)
    return FakeResponse.json(item)


def complete(call: Call) -> FakeResponse:
    upload = kept.item_of(call, _UPLOAD)
    contents = []
    for part_id in call.fields.get("part_ids") or []:
        content = call.store.content(part_id)
        if content is None or call.store.get(f"/uploads/{call.ids[0]}/parts", part_id) is None:
            raise errors.no_such("upload.part", part_id)
        contents.append(content.read())
    data = b"".join(contents)
    if len(data) != upload["bytes"]:
        raise errors.model_error(400, f"Expected {upload['bytes']} bytes, got {len(data)}.", param="bytes")
    file = keep_file(call, upload["filename"], upload["purpose"], Content.of(data))
    upload.update(status="completed", file=file)
    return FakeResponse.json(upload)


ANSWERERS = {"POST /uploads": create, f"POST {_UPLOAD}/parts": add_part, f"POST {_UPLOAD}/complete": complete}
