"""What the server and the null transport answer: bodies prepared once, so that answering costs nothing."""

from __future__ import annotations

import base64
import json
from array import array
from typing import Any

__all__ = ["chat", "chunks", "embeddings", "response", "throttled", "uploaded"]


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def chat() -> bytes:
    """A short chat completion, with the fields that Azure adds."""
    harmless = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")}
    message = {"role": "assistant", "content": "Four.", "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "content_filter_results": harmless}
    return _encoded(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "gpt-4o-2024-11-20",
            "choices": [choice],
            "usage": {"prompt_tokens": 14, "completion_tokens": 2, "total_tokens": 16},
        }
    )


def chunks(count: int) -> list[bytes]:
    """The server-sent events of a streamed chat completion: ``count`` of them, and ``[DONE]``."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "gpt-4o-2024-11-20"}
    events = []
    for number in range(count):
        delta = {"content": f" word{number}"} if number else {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if number == count - 1 else None}
        events.append(b"data: " + _encoded({**head, "choices": [choice]}) + b"\n\n")
    return [*events, b"data: [DONE]\n\n"]


def embeddings(count: int, dimensions: int) -> bytes:
    """``count`` vectors in base64, as the SDK asks for them."""
    vector = base64.b64encode(array("f", [0.25] * dimensions).tobytes()).decode()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    usage = {"prompt_tokens": count, "total_tokens": count}
    return _encoded({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage})


def response() -> bytes:
    """A response that is stored, and so can be had again by its id."""
    text = {"type": "output_text", "text": "Four.", "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    return _encoded(
        {
            "id": "resp_00000000000000000000000000000001",
            "object": "response",
            "created_at": 1700000000,
            "status": "completed",
            "model": "gpt-4o",
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
    )


def throttled() -> bytes:
    """The body of a 429."""
    return _encoded({"error": {"code": "429", "message": "Rate limit is exceeded. Try again in 1 second."}})


def uploaded(size_bytes: int) -> bytes:
    """A file as ``POST /files`` answers it."""
    return _encoded(
        {
            "id": "file-1",
            "object": "file",
            "bytes": size_bytes,
            "created_at": 1700000000,
            "filename": "upload.jsonl",
            "purpose": "batch",
            "status": "processed",
        }
    )
