"""Evals, their runs and what the runs put out."""

from __future__ import annotations

from typing import Any

from azure_shim.testing.answers import kept
from azure_shim.testing.answers.shared import now
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse

__all__ = ["ANSWERERS"]

_RUNS = "/evals/{eval_id}/runs"
_RUN = "/evals/{eval_id}/runs/{run_id}"
_OUTPUT = "/evals/{eval_id}/runs/{run_id}/output_items"


def create(call: Call) -> FakeResponse:
    fields = dict(call.fields)
    source = dict(fields.get("data_source_config") or {})
    if "item_schema" in source:
        source["schema"] = {"type": "object", "properties": {"item": source.pop("item_schema")}}
    source.setdefault("schema", {})
    fields["data_source_config"] = source
    return FakeResponse.json(kept.keep(call, "/evals", fields), 201)


def create_run(call: Call) -> FakeResponse:
    kept.check_parents(call)
    run = kept.keep(call, _RUNS, {**call.fields, "eval_id": call.ids[0]})
    sample: dict[str, Any] = {
        "error": None,
        "finish_reason": "stop",
        "input": [],
        "max_completion_tokens": 16,
        "model": "",
        "output": [],
        "seed": 1,
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": {"cached_tokens": 0, "completion_tokens": 1, "prompt_tokens": 1, "total_tokens": 2},
    }
    item = {
        "eval_id": call.ids[0],
        "run_id": run["id"],
        "datasource_item": {},
        "datasource_item_id": 0,
        "results": [{"name": "grader", "passed": True, "score": 1.0}],
        "sample": sample,
        "status": "pass",
        "created_at": now(),
    }
    kept.keep(call, _OUTPUT, item, f"/evals/{call.ids[0]}/runs/{run['id']}/output_items")
    return FakeResponse.json(run, 201)


def cancel_run(call: Call) -> FakeResponse:
    """A POST to the run itself cancels it; there is no other change to a run."""
    run = kept.item_of(call, _RUN)
    run["status"] = "canceled"
    return FakeResponse.json(run)


ANSWERERS = {"POST /evals": create, f"POST {_RUNS}": create_run, f"POST {_RUN}": cancel_run}
