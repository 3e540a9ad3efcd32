"""Conversations and their items."""

from __future__ import annotations

from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.kinds import KINDS
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.store import new_id

__all__ = ["ANSWERERS"]

_CONVERSATION = "/conversations/{conversation_id}"


def create(call: Call) -> FakeResponse:
    fields = {name: value for name, value in call.fields.items() if name != "items"}
    fields["metadata"] = fields.get("metadata") or {}
    conversation = call.store.put("/conversations", kept.made(KINDS["/conversations"], fields))
    _keep_items(call, conversation["id"])
    return FakeResponse.json(conversation)


def _keep_items(call: Call, conversation_id: str) -> list[dict[str, Any]]:
    items = []
    for given in call.fields.get("items") or []:
        item = {"type": "message", "status": "completed", **given, "id": new_id("msg_")}
        if isinstance(item.get("content"), str):
            item["content"] = [{"type": "input_text", "text": item["content"]}]
        items.append(call.store.put(f"/conversations/{conversation_id}/items", item))
    return items


def create_items(call: Call) -> FakeResponse:
    kept.item_of(call, _CONVERSATION)
    if "items" not in call.fields:
        raise errors.missing_parameter("items")
    return kept.listed(call, _keep_items(call, call.ids[0])[::-1])


def list_items(call: Call) -> FakeResponse:
    kept.item_of(call, _CONVERSATION)
    return kept.listed(call, call.store.items(f"/conversations/{call.ids[0]}/items"))


def retrieve_item(call: Call) -> FakeResponse:
    kept.item_of(call, _CONVERSATION)
    item = call.store.get(f"/conversations/{call.ids[0]}/items", call.ids[1])
    if item is None:
        raise errors.no_such("item", call.ids[1])
    return FakeResponse.json(item)


def delete_item(call: Call) -> FakeResponse:
    conversation = kept.item_of(call, _CONVERSATION)
    if call.store.remove(f"/conversations/{call.ids[0]}/items", call.ids[1]) is None:
        raise errors.no_such("item", call.ids[1])
    return FakeResponse.json(conversation)


ANSWERERS = {
    "POST /conversations": create,
    f"POST {_CONVERSATION}/items": create_items,
    f"GET {_CONVERSATION}/items": list_items,
    f"GET {_CONVERSATION}/items/{{item_id}}": retrieve_item,
    f"DELETE {_CONVERSATION}/items/{{item_id}}": delete_item,
}
