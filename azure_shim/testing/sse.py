"""Server-sent events as the service frames them (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["DONE", "frame"]

DONE = b"data: [DONE]\n\n"


def frame(data: Any, event: str | None = None) -> bytes:
    """One event whose data is JSON; Responses and Assistants name their events, chat completions do not."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    return b"event: %s\ndata: %s\n\n" % (event.encode(), text) if event else b"data: %s\n\n" % text
