"""Assistants, threads, messages and runs (v2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.kinds import KINDS
from azure_shim.testing.answers.shared import greeting, now, pieces, text_of
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.sse import frame

__all__ = ["ANSWERERS"]

Json = dict[str, Any]
_MESSAGES = "/threads/{thread_id}/messages"
_RUNS = "/threads/{thread_id}/runs"
_RUN = "/threads/{thread_id}/runs/{run_id}"
_STEPS = "/threads/{thread_id}/runs/{run_id}/steps"


def create_thread(call: Call) -> FakeResponse:
    return FakeResponse.json(_keep_thread(call, call.fields))


def _keep_thread(call: Call, fields: Json) -> Json:
    thread = kept.keep(call, "/threads", {k: v for k, v in fields.items() if k != "messages"}, "/threads")
    for message in fields.get("messages") or []:
        _keep_message(call, thread["id"], message)
    return thread


def create_message(call: Call) -> FakeResponse:
    kept.check_parents(call)
    for name in ("role", "content"):
        if name not in call.fields:
            raise errors.missing_parameter(name)
    return FakeResponse.json(_keep_message(call, call.ids[0], call.fields))


def _keep_message(call: Call, thread_id: str, fields: Json) -> Json:
    content = fields.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": {"value": content, "annotations": []}}]
    message = {
        "thread_id": thread_id,
        "status": "completed",
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "completed_at": now(),
        "incomplete_at": None,
        "incomplete_details": None,
        "metadata": {},
        **fields,
        "content": content,
    }
    return kept.keep(call, _MESSAGES, message, f"/threads/{thread_id}/messages")


def create_run(call: Call) -> FakeResponse:
    kept.check_parents(call)
    return _start_run(call, call.ids[0])


def create_thread_and_run(call: Call) -> FakeResponse:
    _assistant_of(call)
    return _start_run(call, _keep_thread(call, call.fields.get("thread") or {})["id"])


def _assistant_of(call: Call) -> Json:
    assistant = call.store.get("/assistants", str(call.fields.get("assistant_id")))
    if assistant is None:
        raise errors.no_such("assistant", str(call.fields.get("assistant_id")))
    return assistant


def _start_run(call: Call, thread_id: str) -> FakeResponse:
    assistant = _assistant_of(call)
    for message in call.fields.get("additional_messages") or []:
        _keep_message(call, thread_id, message)
    fields = {k: v for k, v in call.fields.items() if k not in ("thread", "additional_messages") and v is not None}
    inherited = {name: assistant[name] for name in ("model", "tools", "instructions")}
    inherited["instructions"] = inherited["instructions"] or ""
    run = kept.keep(call, _RUNS, {**inherited, **fields, "thread_id": thread_id}, f"/threads/{thread_id}/runs")
    if call.wants_stream:
        return FakeResponse.events(_frames(call, run))
    return FakeResponse.json(run)


def _finish(call: Call, run: Json) -> Json:
    """End the run: a message in the thread, a step, and what was used."""
    users = [m for m in call.store.items(f"/threads/{run['thread_id']}/messages") if m["role"] == "user"]
    said = text_of([{"text": part.get("text", {}).get("value")} for part in users[-1]["content"]]) if users else ""
    who = Call(call.resource, call.request, call.address, deployment=run["model"])
    owner = {"assistant_id": run["assistant_id"], "run_id": run["id"]}
    message = _keep_message(call, run["thread_id"], {"role": "assistant", "content": greeting(who, said), **owner})
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    step = {
        **owner,
        "thread_id": run["thread_id"],
        "type": "message_creation",
        "status": "completed",
        "step_details": {"type": "message_creation", "message_creation": {"message_id": message["id"]}},
        "cancelled_at": None,
        "completed_at": now(),
        "expired_at": None,
        "failed_at": None,
        "last_error": None,
        "metadata": None,
        "usage": usage,
    }
    kept.keep(call, _STEPS, step, f"/threads/{run['thread_id']}/runs/{run['id']}/steps")
    run.update(status="completed", started_at=now(), completed_at=now(), usage=usage)
    return message


def _frames(call: Call, run: Json) -> Iterator[bytes]:
    yield frame(run, "thread.run.created")
    yield frame(run, "thread.run.queued")
    yield frame({**run, "status": "in_progress"}, "thread.run.in_progress")
    message = _finish(call, run)
    text = message["content"][0]["text"]["value"]
    yield frame({**message, "status": "in_progress", "content": []}, "thread.message.created")
    for piece in pieces(text, call.resource.chunks):
        content = [{"index": 0, "type": "text", "text": {"value": piece, "annotations": []}}]
        delta = {"id": message["id"], "object": "thread.message.delta", "delta": {"content": content}}
        yield frame(delta, "thread.message.delta")
    yield frame(message, "thread.message.completed")
    yield frame(run, "thread.run.completed")
    yield b"event: done\ndata: [DONE]\n\n"


def retrieve_run(call: Call) -> FakeResponse:
    run = kept.item_of(call, _RUN)
    if run["status"] == KINDS[_RUNS].defaults["status"]:
        _finish(call, run)
    return FakeResponse.json(run)


def submit_tool_outputs(call: Call) -> FakeResponse:
    run = kept.item_of(call, _RUN)
    if "tool_outputs" not in call.fields:
        raise errors.missing_parameter("tool_outputs")
    if run["status"] != "completed":
        if call.wants_stream:
            return FakeResponse.events(_frames(call, run))
        _finish(call, run)
    return FakeResponse.json(run)


ANSWERERS = {
    "POST /threads": create_thread,
    "POST /threads/runs": create_thread_and_run,
    f"POST {_MESSAGES}": create_message,
    f"POST {_RUNS}": create_run,
    f"GET {_RUN}": retrieve_run,
    f"POST {_RUN}/submit_tool_outputs": submit_tool_outputs,
}
