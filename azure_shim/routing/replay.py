"""What may be sent again although it may have run already: what another run neither changes nor leaves behind."""

from __future__ import annotations

from azure_shim.routing.homes import has_literal, is_stored
from azure_shim.wire.json_model import find
from azure_shim.wire.request_line import RequestLine

__all__ = ["is_pure", "may_repeat"]

# Whoever runs these twice pays twice and gets one answer; nothing else comes of it.
_PURE = frozenset(
    (
        "POST /audio/speech",
        "POST /audio/transcriptions",
        "POST /audio/translations",
        "POST /chat/completions",
        "POST /completions",
        "POST /embeddings",
        "POST /extensions/chat/completions",
        "POST /models/chat/completions",
        "POST /models/embeddings",
        "POST /moderations",
        "POST /responses/compact",
        "POST /responses/input_tokens",
    )
)
# Tools that the service itself runs, and that do something: what an MCP server does, nobody knows.
_ACTING_TOOLS = (b'"mcp"', b'"image_generation"', b'"code_interpreter"', b'"shell"')


def may_repeat(line: RequestLine, content: bytes | None, policy: str) -> bool:
    """Whether the call may be sent again after it may have run.

    ``policy`` is ``"never"`` (not even a read), ``"safe"`` or ``"always"``. ``content`` is the body if it is at hand; a
    response whose body is not may be one that is stored.
    """
    if policy == "always":
        return True
    operation = line.operation
    if policy == "never" or operation is None:
        return False
    if operation.method == "GET":
        return True
    if operation.path == "/responses" and operation.method == "POST":
        return content is not None and _leaves_nothing(line, content)
    return is_pure(line) and not is_stored(line, content)


def is_pure(line: RequestLine) -> bool:
    """Whether the operation leaves nothing behind, unless a chat completion is to be stored."""
    return str(line.operation) in _PURE


def _leaves_nothing(line: RequestLine, content: bytes) -> bool:
    """Whether a response is not stored, does not run on without its caller, and neither grows nor does anything."""
    return (
        not is_stored(line, content)
        and not has_literal(content, "background", b"true")
        and not _is_in_conversation(content)
        and not any(tool in content for tool in _ACTING_TOOLS)
    )


def _is_in_conversation(content: bytes) -> bool:
    """Whether the answer is added to a conversation, which it is even if it is not stored itself."""
    if b'"conversation"' not in content:
        return False
    member = find(content, ("conversation",))
    return member is not None and content[member.start : member.end] != b"null"
