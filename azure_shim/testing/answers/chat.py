"""Chat completions, whole and streamed, and those that were stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.examples import example_of
from azure_shim.testing.answers.shared import (
    content_filter_results,
    count_tokens,
    greeting,
    now,
    pieces,
    prompt_filter_results,
    text_of,
    versioned,
)
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.sse import DONE, frame
from azure_shim.testing.store import new_id

__all__ = ["ANSWERERS", "completion_of", "forced_tools"]

Json = dict[str, Any]
_STORED = "/chat/completions"
_ASKS = ("call the tool", "use the tool", "use a tool")


def create(call: Call) -> FakeResponse:
    if not isinstance(call.fields["messages"], list) or not call.fields["messages"]:
        raise errors.missing_parameter("messages")
    if call.wants_stream:
        return FakeResponse.events(_frames(call))
    completion = completion_of(call)
    if call.fields.get("store") is True:
        stored = {**completion, "metadata": call.fields.get("metadata") or {}}
        call.store.put(_STORED, stored)
        for index, message in enumerate(call.fields["messages"]):
            item = {"id": f"{completion['id']}-{index}", "name": None, "content_parts": None, **message}
            call.store.put(f"{_STORED}/{completion['id']}/messages", item)
    return FakeResponse.json(completion)


def completion_of(call: Call) -> Json:
    """The whole answer to a call."""
    tools, content = _said(call)
    message: Json = {"role": "assistant", "content": None if tools else content, "refusal": None, "annotations": []}
    if tools:
        message["tool_calls"] = tools
    choice = {
        "finish_reason": "tool_calls" if tools else "stop",
        "logprobs": None,
        "message": message,
        "content_filter_results": content_filter_results(),
    }
    return {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": now(),
        "model": versioned(call.model or ""),
        "choices": [{"index": index, **choice} for index in range(_count(call))],
        "usage": _usage(call, content),
        "system_fingerprint": "fp_fakeazure",
        "service_tier": "default",
        "prompt_filter_results": prompt_filter_results(),
    }


def _count(call: Call) -> int:
    return int(call.fields.get("n") or 1)


def _said(call: Call) -> tuple[list[Json], str]:
    """The tools that the answer calls, and what it says instead where it calls none."""
    messages = [message for message in call.fields["messages"] if isinstance(message, dict)]
    users = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
    text = users[-1] if users else ""
    results = [text_of(m.get("content")) for m in messages if m.get("role") == "tool"]
    is_user_last = bool(messages) and messages[-1].get("role") == "user"
    tools = forced_tools(call, text if is_user_last else "")
    calls = [
        {"id": new_id("call_"), "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in tools
    ]
    return calls, _formatted(call, " ".join([text, *results]) if results and not is_user_last else text)


def _formatted(call: Call, text: str) -> str:
    wanted = call.fields.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        return json.dumps(example_of((wanted or {}).get("json_schema", {}).get("schema"), call.served))
    if kind == "json_object":
        return json.dumps({"message": greeting(call, text)})
    return greeting(call, text)


def forced_tools(call: Call, text: str) -> list[tuple[str, str]]:
    """(name, arguments) of the functions to call: those that ``tool_choice`` forces, or that ``text`` asks for.

    A text asks for a function by its name, or for the first one with "use the tool".
    """
    functions = {}
    for tool in call.fields.get("tools") or []:
        function = tool.get("function", tool) if isinstance(tool, dict) and tool.get("type") == "function" else {}
        if function.get("name"):
            functions[function["name"]] = function.get("parameters")
    choice = call.fields.get("tool_choice", "auto")
    if choice == "none" or not functions:
        return []
    if isinstance(choice, dict):
        named = choice.get("function", choice).get("name")
        wanted = [named] if named in functions else []
    else:
        wanted = [name for name in functions if name in text]
        if not wanted and (choice == "required" or any(asks in text.lower() for asks in _ASKS)):
            wanted = [next(iter(functions))]
    return [(name, json.dumps(example_of(functions[name] or {"type": "object"}, call.served))) for name in wanted]


def _usage(call: Call, content: str) -> Json:
    asked = count_tokens(json.dumps(call.fields["messages"]))
    said = count_tokens(content) * _count(call)
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _frames(call: Call) -> Iterator[bytes]:
    """The events of a stream (Microsoft Learn, "Content streaming"): prompt verdict, deltas, end, usage."""
    prompt = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
    yield frame({**prompt, "prompt_filter_results": prompt_filter_results()})
    tools, content = _said(call)
    with_usage = bool((call.fields.get("stream_options") or {}).get("include_usage"))
    base = {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": now(),
        "model": versioned(call.model or ""),
        "system_fingerprint": "fp_fakeazure",
        **({"usage": None} if with_usage else {}),
    }
    end = "tool_calls" if tools else "stop"
    for index in range(_count(call)):
        for delta in _deltas(tools, content, call.resource.chunks):
            yield frame({**base, "choices": [_choice(call, index, delta, None)]})
        if call.resource.async_filter:
            yield _verdict(index, 0, len(content) // 2)
        yield frame({**base, "choices": [_choice(call, index, {}, end)]})
        if call.resource.async_filter:
            # The verdict on the end may come after the end (Microsoft Learn, "Asynchronous filter").
            yield _verdict(index, len(content) // 2, len(content))
    if with_usage:
        yield frame({**base, "choices": [], "usage": _usage(call, content)})
    yield DONE


def _deltas(tools: list[Json], content: str, count: int | None) -> Iterator[Json]:
    if not tools:
        yield {"role": "assistant", "content": "", "refusal": None}
        for piece in pieces(content, count):
            yield {"content": piece}
        return
    yield {"role": "assistant", "content": None, "refusal": None}
    for index, tool in enumerate(tools):
        function = tool["function"]
        yield {"tool_calls": [{"index": index, **tool, "function": {"name": function["name"], "arguments": ""}}]}
        for piece in pieces(function["arguments"], count):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _choice(call: Call, index: int, delta: Json, finish_reason: str | None) -> Json:
    choice: Json = {"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    if call.resource.async_filter:
        return choice
    return {**choice, "content_filter_results": content_filter_results() if "content" in delta else {}}


def _verdict(index: int, start: int, end: int) -> bytes:
    """A frame of the asynchronous filter: no id, no model, no delta."""
    choice = {
        "index": index,
        "finish_reason": None,
        "content_filter_results": content_filter_results(),
        "content_filter_offsets": {"check_offset": start, "start_offset": start, "end_offset": end},
    }
    return frame({"id": "", "object": "", "created": 0, "model": "", "choices": [choice]})


def stored_messages(call: Call) -> FakeResponse:
    kept.item_of(call, "/chat/completions/{completion_id}")
    return kept.listed(call, call.store.items(f"{_STORED}/{call.ids[0]}/messages"))


def delete_stored(call: Call) -> FakeResponse:
    kept.item_of(call, "/chat/completions/{completion_id}")
    call.store.remove(_STORED, call.ids[0])
    return FakeResponse.json({"id": call.ids[0], "object": "chat.completion.deleted", "deleted": True})


ANSWERERS = {
    "POST /chat/completions": create,
    "POST /extensions/chat/completions": create,
    "POST /models/chat/completions": create,
    "GET /chat/completions/{completion_id}/messages": stored_messages,
    "DELETE /chat/completions/{completion_id}": delete_stored,
}
