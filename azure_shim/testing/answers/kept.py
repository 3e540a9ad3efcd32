"""Objects that a resource keeps, of any kind: made, listed, retrieved, changed, deleted, cancelled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers.kinds import KINDS, Kind
from azure_shim.testing.answers.shared import now
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.store import new_id
from azure_shim.wire.operations import Operation

__all__ = ["answerer_of", "create", "item_of", "keep", "listed", "made"]

Json = dict[str, Any]


def answerer_of(operation: Operation) -> Callable[[Call], FakeResponse] | None:
    """What answers an operation on a kept object, if it is one."""
    path, method = operation.path, operation.method
    parent, _, last = path.rpartition("/")
    if path in KINDS:
        return {"POST": create, "GET": list_all}.get(method)
    if last.startswith("{") and parent in KINDS:
        return {"GET": retrieve, "POST": update, "DELETE": delete, "PUT": put}.get(method)
    kind = KINDS.get(parent.rpartition("/")[0])
    return act if kind is not None and method == "POST" and last in kind.verbs else None


def made(kind: Kind, fields: Mapping[str, Any], item_id: str | None = None) -> Json:
    """A new object of this kind."""
    item: Json = {"id": item_id or new_id(kind.prefix), "object": kind.object, kind.created: now()}
    item.update(copy.deepcopy(dict(kind.defaults)))
    item.update({name: value for name, value in fields.items() if name not in ("id", "object", "stream")})
    return item


def keep(call: Call, template: str, fields: Mapping[str, Any], collection: str | None = None) -> Json:
    """Make an object of the kind at ``template`` and keep it at ``collection`` (the call's own path if None)."""
    return call.store.put(collection or _path(call), made(KINDS[template], fields))


def create(call: Call) -> FakeResponse:
    check_parents(call)
    return FakeResponse.json(keep(call, call.address.operation.path, call.fields))


def list_all(call: Call) -> FakeResponse:
    check_parents(call)
    return listed(call, call.store.items(_path(call)))


def retrieve(call: Call) -> FakeResponse:
    kind, item = _item(call)
    if kind.settled and item.get("status") == kind.defaults.get("status"):
        item.update(copy.deepcopy(dict(kind.settled)))
    return FakeResponse.json(item)


def update(call: Call) -> FakeResponse:
    _, item = _item(call)
    item.update(call.fields)
    return FakeResponse.json(item)


def put(call: Call) -> FakeResponse:
    check_parents(call)
    collection, _, item_id = _path(call).rpartition("/")
    kind = KINDS[call.address.operation.path.rpartition("/")[0]]
    return FakeResponse.json(call.store.put(collection, made(kind, call.fields, item_id)))


def delete(call: Call) -> FakeResponse:
    kind, _ = _item(call)
    collection, _, item_id = _path(call).rpartition("/")
    call.store.remove(collection, item_id)
    return FakeResponse.json({**kind.deleted_extra(item_id), "id": item_id, "object": kind.deleted, "deleted": True})


def act(call: Call) -> FakeResponse:
    """``POST .../{id}/cancel`` and its like: the object gets the status that the verb leads to."""
    template, _, verb = call.address.operation.path.rpartition("/")
    item = item_of(call, template)
    item.update(KINDS[template.rpartition("/")[0]].verbs[verb])
    return FakeResponse.json(item)


def item_of(call: Call, template: str) -> Json:
    """The object that the first segments of the path name, whose template is ``template``.

    Raises:
        AzureError: 404, this resource has no such object or no such parent of it.
    """
    check_parents(call)
    depth = template.count("/")
    collection, item_id = "/" + "/".join(call.segments[: depth - 1]), call.segments[depth - 1]
    item = call.store.get(collection, item_id)
    if item is None:
        raise errors.no_such(KINDS[template.rpartition("/")[0]].object, item_id)
    return item


def _item(call: Call) -> tuple[Kind, Json]:
    template = call.address.operation.path
    return KINDS[template.rpartition("/")[0]], item_of(call, template)


def check_parents(call: Call) -> None:
    """Raise 404 unless every object that the path goes through is there."""
    names = call.address.operation.path.split("/")[1:]
    for depth, name in enumerate(names[:-1]):
        kind = KINDS.get("/" + "/".join(names[:depth]))
        if not name.startswith("{") or kind is None:
            continue
        collection, item_id = "/" + "/".join(call.segments[:depth]), call.segments[depth]
        if call.store.get(collection, item_id) is None:
            raise errors.no_such(kind.object, item_id)


def _path(call: Call) -> str:
    return "/" + "/".join(call.segments)


def listed(call: Call, items: list[Json]) -> FakeResponse:
    """A page of a list; ``order``, ``after`` and ``limit`` of the query are honoured, the newest come first."""
    query = call.request.query
    items = items if query.get("order") == "asc" else items[::-1]
    if "after" in query:
        at = next((i for i, item in enumerate(items) if item.get("id") == query["after"]), len(items))
        items = items[at + 1 :]
    limit = int(query["limit"]) if query.get("limit", "").isdecimal() else len(items)
    page = items[:limit]
    return FakeResponse.json(
        {
            "object": "list",
            "data": page,
            "has_more": len(items) > len(page),
            "first_id": page[0].get("id") if page else None,
            "last_id": page[-1].get("id") if page else None,
        }
    )
