"""Containers of the code interpreter, and their files."""

from __future__ import annotations

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.files import content_of
from azure_shim.testing.bodies import Content
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse

__all__ = ["ANSWERERS"]

_CONTAINER = "/containers/{container_id}"


def create_file(call: Call) -> FakeResponse:
    """A file from the form, or a copy of one of the resource's files."""
    kept.check_parents(call)
    part = call.form.file("file") if call.form is not None else None
    content: Content | None
    if part is not None:
        content, name = part.content, part.filename or ""
    else:
        file_id = str(call.fields.get("file_id"))
        content, name = call.store.content(file_id), file_id
        if content is None:
            raise errors.no_such("file", file_id)
    fields = {
        "bytes": content.size_bytes,
        "container_id": call.ids[0],
        "path": f"/mnt/data/{name}",
        "source": "user",
    }
    item = kept.keep(call, f"{_CONTAINER}/files", fields)
    call.store.put_content(item["id"], content)
    return FakeResponse.json(item)


def read_file(call: Call) -> FakeResponse:
    kept.item_of(call, f"{_CONTAINER}/files/{{file_id}}")
    return content_of(call, call.ids[1])


ANSWERERS = {
    f"POST {_CONTAINER}/files": create_file,
    f"GET {_CONTAINER}/files/{{file_id}}/content": read_file,
}
