"""What one resource keeps: files, batches, assistants, stored responses, ... No other resource knows their ids."""

from __future__ import annotations

import threading
import uuid
from typing import Any

from azure_shim.testing.bodies import Content

__all__ = ["Store", "new_id"]

Item = dict[str, Any]


def new_id(prefix: str) -> str:
    """An id with the prefix that OpenAI gives to this kind of object."""
    return f"{prefix}{uuid.uuid4().hex}"


class Store:
    """Objects by collection (its path, as in ``/vector_stores/vs_1/files``) and id; contents by any key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collections: dict[str, dict[str, Item]] = {}
        self._contents: dict[str, Content] = {}

    def put(self, collection: str, item: Item, item_id: str | None = None) -> Item:
        """Keep ``item`` under its id."""
        with self._lock:
            self._collections.setdefault(collection, {})[item_id or item["id"]] = item
        return item

    def get(self, collection: str, item_id: str) -> Item | None:
        with self._lock:
            return self._collections.get(collection, {}).get(item_id)

    def remove(self, collection: str, item_id: str) -> Item | None:
        with self._lock:
            return self._collections.get(collection, {}).pop(item_id, None)

    def items(self, collection: str) -> list[Item]:
        """In the order in which they were made."""
        with self._lock:
            return list(self._collections.get(collection, {}).values())

    def put_content(self, key: str, content: Content) -> None:
        with self._lock:
            self._contents[key] = content.keep()

    def content(self, key: str) -> Content | None:
        with self._lock:
            return self._contents.get(key)

    def drop_content(self, key: str) -> None:
        with self._lock:
            self._contents.pop(key, None)

    def clear(self) -> None:
        """Forget all of it."""
        with self._lock:
            contents = list(self._contents.values())
            self._collections.clear()
            self._contents.clear()
        for content in contents:
            content.body.is_kept = False
            content.body.discard()
