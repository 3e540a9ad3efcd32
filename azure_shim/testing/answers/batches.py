"""Batches: done as soon as one looks at them, line by line, by the same answers as calls of their own."""

from __future__ import annotations

import json
from typing import Any

from azure_shim.testing import errors
from azure_shim.testing.answers import chat, embeddings, files, kept, responses
from azure_shim.testing.answers.shared import now
from azure_shim.testing.bodies import Content
from azure_shim.testing.call import Address, Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.store import new_id
from azure_shim.wire.operations import find

__all__ = ["ANSWERERS"]

Json = dict[str, Any]
_LINES = {
    "/chat/completions": chat.create,
    "/v1/chat/completions": chat.create,
    "/embeddings": embeddings.create,
    "/v1/embeddings": embeddings.create,
    "/v1/responses": responses.create,
}
_DEFAULTS: Json = {
    "status": "validating",
    "errors": None,
    "output_file_id": None,
    "error_file_id": None,
    "in_progress_at": None,
    "finalizing_at": None,
    "completed_at": None,
    "cancelling_at": None,
    "cancelled_at": None,
    "expired_at": None,
    "expires_at": None,
    "failed_at": None,
    "metadata": None,
    "request_counts": {"total": 0, "completed": 0, "failed": 0},
}


def create(call: Call) -> FakeResponse:
    file_id = str(call.fields["input_file_id"])
    if call.fields["completion_window"] != "24h":
        raise errors.model_error(400, "completion_window must be 24h", param="completion_window")
    if call.store.get("/files", file_id) is None:
        raise errors.no_such("file", file_id)
    return FakeResponse.json(kept.keep(call, "/batches", {**_DEFAULTS, **call.fields}))


def retrieve(call: Call) -> FakeResponse:
    batch = kept.item_of(call, "/batches/{batch_id}")
    if batch["status"] == "validating":
        _run(call, batch)
    elif batch["status"] == "cancelling":
        batch.update(status="cancelled", cancelled_at=now())
    return FakeResponse.json(batch)


def _run(call: Call, batch: Json) -> None:
    content = call.store.content(batch["input_file_id"])
    lines, problems = _read_lines(call, batch, b"" if content is None else content.read())
    if problems or not lines:
        problems = problems or [_problem("empty_file", "The input file is empty.", None)]
        batch.update(status="failed", failed_at=now(), errors={"object": "list", "data": problems})
        return
    written = b"".join(json.dumps(_answered(call, line)).encode() + b"\n" for line in lines)
    output = files.keep_file(call, f"{batch['id']}_output.jsonl", "batch_output", Content.of(written))
    counts = {"total": len(lines), "completed": len(lines), "failed": 0}
    batch.update(status="completed", completed_at=now(), output_file_id=output["id"], request_counts=counts)


def _read_lines(call: Call, batch: Json, data: bytes) -> tuple[list[Json], list[Json]]:
    """The lines, and what is wrong with them: JSON, a known url, one deployment that exists, for all of them."""
    lines: list[Json] = []
    problems = []
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line = json.loads(text)
            model, url = line["body"]["model"], line["url"]
            line["custom_id"]
        except (ValueError, KeyError, TypeError):
            problems.append(_problem("invalid_json_line", f"Line {number} is not a request.", number))
            continue
        if url not in _LINES or url.removeprefix("/v1") != str(batch["endpoint"]).removeprefix("/v1"):
            problems.append(_problem("invalid_request", f"The url {url!r} does not match the endpoint.", number))
        elif call.resource.model_of(model) is None:
            problems.append(_problem("model_not_found", f"The provided model '{model}' is not supported.", number))
        elif lines and model != lines[0]["body"]["model"]:
            problems.append(_problem("model_mismatch", "All requests must have the same model.", number))
        lines.append(line)
    return lines, problems


def _problem(code: str, message: str, line: int | None) -> Json:
    return {"code": code, "message": message, "param": None, "line": line}


def _answered(call: Call, line: Json) -> Json:
    operation = find("POST", line["url"].removeprefix("/v1"))
    assert operation is not None, "the urls of lines are operations"
    fields, model = line["body"], line["body"]["model"]
    address = Address(operation, operation.path, is_v1=True)
    inner = Call(call.resource, call.request, address, fields, None, model, call.resource.model_of(model))
    response = _LINES[line["url"]](inner)
    assert isinstance(response.body, bytes), "a line of a batch does not stream"
    answer = {"status_code": 200, "request_id": new_id(""), "body": json.loads(response.body)}
    return {"id": new_id("batch_req_"), "custom_id": line["custom_id"], "response": answer, "error": None}


ANSWERERS = {"POST /batches": create, "GET /batches/{batch_id}": retrieve}
