"""Vector stores, their files and batches of files, and searches, which find every file."""

from __future__ import annotations

from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.kinds import KINDS
from azure_shim.testing.answers.shared import now
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse

__all__ = ["ANSWERERS"]

Json = dict[str, Any]
_STORE = "/vector_stores/{vector_store_id}"
_FILES = f"{_STORE}/files"
_BATCHES = f"{_STORE}/file_batches"
_FOUND_BYTES = 4096


def create(call: Call) -> FakeResponse:
    fields = {name: value for name, value in call.fields.items() if name not in ("file_ids", "chunking_strategy")}
    store = kept.keep(call, "/vector_stores", {**fields, "last_active_at": now()})
    for file_id in call.fields.get("file_ids") or []:
        _add(call, store, file_id)
    return FakeResponse.json(store)


def _add(call: Call, store: Json, file_id: str) -> Json:
    file = call.store.get("/files", file_id)
    if file is None:
        raise errors.no_such("file", file_id)
    static = {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}
    fields = {
        "vector_store_id": store["id"],
        "status": "completed",
        "last_error": None,
        "usage_bytes": file["bytes"],
        "attributes": call.fields.get("attributes") or {},
        "chunking_strategy": {"type": "static", "static": static},
    }
    item = kept.made(KINDS[_FILES], fields, file_id)
    call.store.put(f"/vector_stores/{store['id']}/files", item)
    store["file_counts"]["completed"] += 1
    store["file_counts"]["total"] += 1
    store["usage_bytes"] += file["bytes"]
    return item


def add_file(call: Call) -> FakeResponse:
    store = kept.item_of(call, _STORE)
    return FakeResponse.json(_add(call, store, str(call.fields.get("file_id"))))


def add_batch(call: Call) -> FakeResponse:
    store = kept.item_of(call, _STORE)
    given = [str(f["file_id"]) for f in call.fields.get("files") or []] or call.fields.get("file_ids") or []
    items = [_add(call, store, file_id) for file_id in given]
    counts = {"in_progress": 0, "completed": len(items), "failed": 0, "cancelled": 0, "total": len(items)}
    batch = kept.keep(call, _BATCHES, {"vector_store_id": store["id"], "file_counts": counts})
    for item in items:
        call.store.put(f"{_collection(call)}/{batch['id']}/files", item)
    return FakeResponse.json(batch)


def _collection(call: Call) -> str:
    return f"/vector_stores/{call.ids[0]}/file_batches"


def list_batch(call: Call) -> FakeResponse:
    kept.item_of(call, f"{_BATCHES}/{{batch_id}}")
    return kept.listed(call, call.store.items(f"{_collection(call)}/{call.ids[1]}/files"))


def read_file(call: Call) -> FakeResponse:
    kept.item_of(call, f"{_FILES}/{{file_id}}")
    parts = [{"type": "text", "text": _text(call, call.ids[1])}]
    return FakeResponse.json(
        {"object": "vector_store.file_content.page", "data": parts, "has_more": False, "next_page": None}
    )


def search(call: Call) -> FakeResponse:
    kept.item_of(call, _STORE)
    query = call.fields.get("query")
    if query is None:
        raise errors.missing_parameter("query")
    data = []
    for item in call.store.items(f"/vector_stores/{call.ids[0]}/files"):
        file = call.store.get("/files", item["id"]) or {}
        found = {"file_id": item["id"], "filename": file.get("filename", ""), "score": 0.9}
        content = [{"type": "text", "text": _text(call, item["id"])}]
        data.append({**found, "attributes": item["attributes"], "content": content})
    return FakeResponse.json(
        {
            "object": "vector_store.search_results.page",
            "search_query": query if isinstance(query, list) else [query],
            "data": data,
            "has_more": False,
            "next_page": None,
        }
    )


def _text(call: Call, file_id: str) -> str:
    content = call.store.content(file_id)
    return "" if content is None else next(content.chunks(), b"")[:_FOUND_BYTES].decode("utf-8", "replace")


ANSWERERS = {
    "POST /vector_stores": create,
    f"POST {_FILES}": add_file,
    f"POST {_BATCHES}": add_batch,
    f"GET {_BATCHES}/{{batch_id}}/files": list_batch,
    f"GET {_FILES}/{{file_id}}/content": read_file,
    f"POST {_STORE}/search": search,
}
