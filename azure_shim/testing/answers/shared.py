"""What the answers of several families have in common."""

from __future__ import annotations

import re
import time
from typing import Any

from azure_shim.testing.call import Call

__all__ = [
    "content_filter_results",
    "count_tokens",
    "greeting",
    "now",
    "pieces",
    "prompt_filter_results",
    "text_of",
    "versioned",
]

_SAFE = {"filtered": False, "severity": "safe"}
# Behind a deployment is a model with its version (Microsoft Learn, "Azure OpenAI models").
_VERSIONS = {
    "gpt-35-turbo": "gpt-35-turbo-0125",
    "gpt-4": "gpt-4-0613",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4o": "gpt-4o-2024-11-20",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "o3-mini": "o3-mini-2025-01-31",
}
_UNVERSIONED = ("text-embedding", "whisper", "tts", "dall-e", "gpt-image", "sora")
_DATED = re.compile(r".*-(?:\d{4}-\d{2}-\d{2}|\d{4})(?:\.ft-[0-9a-f]+)?")


def now() -> int:
    """Seconds since the epoch."""
    return int(time.time())


def versioned(model: str) -> str:
    """What answers say the model is: its name and a version."""
    if model.startswith(_UNVERSIONED) or _DATED.fullmatch(model):
        return model
    return _VERSIONS.get(model, f"{model}-2025-01-01")


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or parts of which some have text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        return " ".join(part for part in parts if isinstance(part, str) and part)
    return ""


def greeting(call: Call, text: str) -> str:
    """What an answer says: who served it, and what was said to it."""
    return f"Hello from {call.served}: {text}"


def pieces(text: str, count: int | None) -> list[str]:
    """``text`` in ``count`` pieces of about one length, or word by word."""
    if count is None:
        return re.findall(r"\s*\S+(?:\s+$)?", text) or [text]
    count = max(1, min(count, len(text)))
    return [text[len(text) * i // count : len(text) * (i + 1) // count] for i in range(count)]


def count_tokens(text: str) -> int:
    """Tokens, about; never 0."""
    return max(1, len(text) // 4)


def content_filter_results() -> dict[str, Any]:
    """The verdict on harmless text."""
    return {"hate": _SAFE, "self_harm": _SAFE, "sexual": _SAFE, "violence": _SAFE}


def prompt_filter_results() -> list[dict[str, Any]]:
    """The verdict on a harmless prompt, jailbreak detection included."""
    verdict = {**content_filter_results(), "jailbreak": {"filtered": False, "detected": False}}
    return [{"prompt_index": 0, "content_filter_results": verdict}]
