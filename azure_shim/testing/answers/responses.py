"""Responses, whole and streamed, kept on their resource."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.chat import forced_tools
from azure_shim.testing.answers.examples import example_of
from azure_shim.testing.answers.shared import (
    content_filter_results,
    count_tokens,
    greeting,
    now,
    pieces,
    text_of,
    versioned,
)
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.sse import frame
from azure_shim.testing.store import new_id

__all__ = ["ANSWERERS", "create"]

Json = dict[str, Any]
_COLLECTION = "/responses"
_ITEM = "/responses/{response_id}"
_ECHOED: Json = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def create(call: Call) -> FakeResponse:
    previous = call.fields.get("previous_response_id")
    if previous is not None and call.store.get(_COLLECTION, str(previous)) is None:
        raise errors.model_error(
            400,
            f"Previous response with id '{previous}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    conversation = _conversation_of(call)
    items = _input_items(call.fields.get("input"))
    response = _response(call, items, conversation)
    is_background = call.fields.get("background") is True
    if call.fields.get("store") is not False:
        call.store.put(_COLLECTION, response)
        for item in items:
            call.store.put(f"{_COLLECTION}/{response['id']}/input_items", item)
        for item in [*items, *response["output"]] if conversation else []:
            call.store.put(f"/conversations/{conversation}/items", item)
    if call.wants_stream:
        return FakeResponse.events(_frames(response, call.resource.chunks))
    if is_background:
        # What is in the store is what `retrieve` finds, so the work ends as soon as one looks.
        return FakeResponse.json({**response, "status": "queued", "output": [], "usage": None})
    return FakeResponse.json(response)


def _conversation_of(call: Call) -> str | None:
    given = call.fields.get("conversation")
    conversation = given.get("id") if isinstance(given, dict) else given
    if conversation is not None and call.store.get("/conversations", str(conversation)) is None:
        raise errors.no_such("conversation", str(conversation))
    return conversation


def _input_items(given: Any) -> list[Json]:
    if not isinstance(given, list):
        given = [] if given is None else [{"role": "user", "content": str(given)}]
    items = []
    for one in given:
        item: Json = {"type": "message", **one} if isinstance(one, dict) else {"type": "message", "content": str(one)}
        if item["type"] == "message":
            content = item.get("content")
            if isinstance(content, str):
                kind = "output_text" if item.get("role") == "assistant" else "input_text"
                item["content"] = [{"type": kind, "text": content}]
            item = {"role": "user", "status": "completed", **item}
        items.append({"id": new_id("msg_" if item["type"] == "message" else "item_"), **item})
    return items


def _response(call: Call, items: list[Json], conversation: str | None) -> Json:
    users = [text_of(item.get("content")) for item in items if item.get("role") == "user"]
    results = [str(item.get("output", "")) for item in items if item["type"] == "function_call_output"]
    is_user_last = bool(items) and items[-1].get("role") == "user"
    text = users[-1] if users else ""
    tools = forced_tools(call, text if is_user_last else "")
    said = _formatted(call, " ".join([text, *results]).strip())
    output = [_function_call(name, arguments) for name, arguments in tools] or [_message(said)]
    asked, answered = count_tokens(json.dumps(items)), count_tokens(said)
    echoed = {name: call.fields.get(name, default) for name, default in _ECHOED.items()}
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": now(),
        "completed_at": now(),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": versioned(call.model or ""),
        **echoed,
        **({"conversation": {"id": conversation}} if conversation else {}),
        "output": output,
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answered,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + answered,
        },
        "content_filters": [
            {"blocked": False, "source_type": "prompt", "content_filter_results": content_filter_results()},
            {"blocked": False, "source_type": "completion", "content_filter_results": content_filter_results()},
        ],
    }


def _formatted(call: Call, text: str) -> str:
    wanted = (call.fields.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(example_of(wanted.get("schema"), call.served))
    if wanted.get("type") == "json_object":
        return json.dumps({"message": greeting(call, text)})
    return greeting(call, text)


def _message(text: str) -> Json:
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": new_id("msg_"), "type": "message", "status": "completed", "role": "assistant", "content": [content]}


def _function_call(name: str, arguments: str) -> Json:
    return {
        "id": new_id("fc_"),
        "type": "function_call",
        "status": "completed",
        "call_id": new_id("call_"),
        "name": name,
        "arguments": arguments,
    }


def _frames(response: Json, chunks: int | None) -> Iterator[bytes]:
    """The events of a stream, numbered; the order is that of OpenAI's "Responses streaming" page."""
    started = {**response, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    events: list[Json] = [{"type": f"response.{name}", "response": started} for name in ("created", "in_progress")]
    for index, item in enumerate(response["output"]):
        events += _events_of_item(item, index, chunks)
    events.append({"type": "response.completed", "response": response})
    for number, event in enumerate(events):
        yield frame({**event, "sequence_number": number}, event["type"])


def _events_of_item(item: Json, index: int, chunks: int | None) -> Iterator[Json]:
    empty = {**item, "status": "in_progress"}
    where: Json = {"item_id": item["id"], "output_index": index}
    if item["type"] == "function_call":
        yield {"type": "response.output_item.added", "output_index": index, "item": {**empty, "arguments": ""}}
        for piece in pieces(item["arguments"], chunks):
            yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
        done = {"arguments": item["arguments"], "name": item["name"]}
        yield {"type": "response.function_call_arguments.done", **where, **done}
    else:
        part = item["content"][0]
        where["content_index"] = 0
        yield {"type": "response.output_item.added", "output_index": index, "item": {**empty, "content": []}}
        yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
        for piece in pieces(part["text"], chunks):
            yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **where, "part": part}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def retrieve(call: Call) -> FakeResponse:
    response = kept.item_of(call, _ITEM)
    if call.request.query.get("stream") == "true":
        return FakeResponse.events(_frames(response, call.resource.chunks))
    return FakeResponse.json(response)


def cancel(call: Call) -> FakeResponse:
    response = kept.item_of(call, _ITEM)
    if not response["background"]:
        raise errors.model_error(400, "Cannot cancel a synchronous response.")
    response["status"] = "cancelled"
    return FakeResponse.json(response)


def list_input_items(call: Call) -> FakeResponse:
    kept.item_of(call, _ITEM)
    return kept.listed(call, call.store.items(f"{_COLLECTION}/{call.ids[0]}/input_items"))


def count_input(call: Call) -> FakeResponse:
    tokens = count_tokens(json.dumps(call.fields.get("input")))
    return FakeResponse.json({"object": "response.input_tokens", "input_tokens": tokens})


def compact(call: Call) -> FakeResponse:
    items = _input_items(call.fields.get("input"))
    compaction = {"id": new_id("cmp_"), "type": "compaction", "encrypted_content": "ZmFrZQ=="}
    usage = _response(call, items, None)["usage"]
    return FakeResponse.json(
        {
            "id": new_id("resp_"),
            "object": "response.compaction",
            "created_at": now(),
            "output": [compaction],
            "usage": usage,
        }
    )


ANSWERERS = {
    f"{method} {path}": answerer
    for method, path, answerer in (
        ("POST", _COLLECTION, create),
        ("POST", f"{_COLLECTION}/compact", compact),
        ("POST", f"{_COLLECTION}/input_tokens", count_input),
        ("GET", _ITEM, retrieve),
        ("POST", f"{_ITEM}/cancel", cancel),
        ("GET", f"{_ITEM}/input_items", list_input_items),
    )
}
