"""A library that has taken the names before anybody patched anything."""

from __future__ import annotations

from typing import Any

from openai import AsyncClient, AsyncOpenAI, Client, OpenAI

__all__ = ["AsyncClient", "AsyncOpenAI", "AsyncSubclass", "Client", "OpenAI", "Subclass"]


class Subclass(OpenAI):
    """With a constructor of its own, which hides some arguments and adds one."""

    def __init__(self, *, label: str = "none", **options: Any) -> None:
        self.label = label
        super().__init__(**options)


class AsyncSubclass(AsyncOpenAI):
    def __init__(self, *, label: str = "none", **options: Any) -> None:
        self.label = label
        super().__init__(**options)
