"""The kinds of objects that a resource keeps, by the path of their collection: what an object of each looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["KINDS", "Kind"]

_COUNTS = {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind.

    Attributes:
        prefix: of its ids.
        object: what its objects say they are.
        defaults: the members of a new object that its request does not give.
        settled: what changes when an object in its first status is retrieved: work ends as soon as one looks.
        verbs: what changes at ``POST .../{id}/{verb}``.
        created: the member that says when it was made.
        deleted_as: what an answer to a deletion says it is; ``{object}.deleted`` if empty.
    """

    prefix: str
    object: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    settled: Mapping[str, Any] = field(default_factory=dict)
    verbs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    created: str = "created_at"
    deleted_as: str = ""
    deleted_name: str = ""

    @property
    def deleted(self) -> str:
        return self.deleted_as or f"{self.object}.deleted"

    def deleted_extra(self, item_id: str) -> dict[str, Any]:
        """What an answer to a deletion says besides; evals have their id under a name of its own."""
        return {self.deleted_name: item_id} if self.deleted_name else {}


_RUN: Mapping[str, Any] = {
    "assistant_id": "",
    "thread_id": "",
    "status": "queued",
    "model": "",
    "instructions": "",
    "tools": [],
    "metadata": {},
    "required_action": None,
    "last_error": None,
    "expires_at": None,
    "started_at": None,
    "cancelled_at": None,
    "failed_at": None,
    "completed_at": None,
    "incomplete_details": None,
    "max_prompt_tokens": None,
    "max_completion_tokens": None,
    "parallel_tool_calls": True,
    "response_format": "auto",
    "tool_choice": "auto",
    "truncation_strategy": {"type": "auto", "last_messages": None},
    "usage": None,
}
_JOB: Mapping[str, Any] = {
    "status": "queued",
    "model": "",
    "training_file": "",
    "validation_file": None,
    "fine_tuned_model": None,
    "finished_at": None,
    "error": None,
    "hyperparameters": {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0},
    "organization_id": "",
    "result_files": [],
    "seed": 1,
    "trained_tokens": None,
    "integrations": [],
    "metadata": None,
    "estimated_finish": None,
}
_EVAL_RUN: Mapping[str, Any] = {
    "status": "queued",
    "name": "",
    "model": "",
    "eval_id": "",
    "report_url": "",
    "error": {"code": "", "message": ""},
    "metadata": None,
    "per_model_usage": [],
    "per_testing_criteria_results": [],
    "result_counts": {"errored": 0, "failed": 0, "passed": 1, "total": 1},
}

KINDS: dict[str, Kind] = {
    "/assistants": Kind(
        "asst_",
        "assistant",
        {"name": None, "description": None, "instructions": None, "tools": [], "metadata": {}, "model": ""},
    ),
    "/batches": Kind("batch_", "batch", verbs={"cancel": {"status": "cancelling"}}),
    "/chat/completions": Kind("chatcmpl-", "chat.completion", created="created"),
    "/containers": Kind("cntr_", "container", {"name": "", "status": "running", "last_active_at": 0}),
    "/containers/{container_id}/files": Kind("cfile_", "container.file"),
    "/conversations": Kind("conv_", "conversation", {"metadata": {}}),
    "/dashboard/webhook_endpoints": Kind("we_", "webhook_endpoint", {"signing_secret": "whsec_ZmFrZQ=="}),
    "/evals": Kind(
        "eval_",
        "eval",
        {"name": "", "metadata": None, "testing_criteria": [], "data_source_config": {}},
        deleted_name="eval_id",
    ),
    "/evals/{eval_id}/runs": Kind("evalrun_", "eval.run", _EVAL_RUN, {"status": "completed"}, deleted_name="run_id"),
    "/evals/{eval_id}/runs/{run_id}/output_items": Kind("outputitem_", "eval.run.output_item"),
    "/files": Kind("file-", "file", deleted_as="file"),
    "/fine_tuning/jobs": Kind(
        "ftjob-",
        "fine_tuning.job",
        _JOB,
        verbs={
            "cancel": {"status": "cancelled"},
            "pause": {"status": "paused"},
            "resume": {"status": "queued"},
        },
    ),
    "/ingestion/jobs": Kind("", "ingestion.job", {"status": "notRunning"}, {"status": "succeeded"}),
    "/responses": Kind("resp_", "response", deleted_as="response"),
    "/skills": Kind("skill_", "skill"),
    "/skills/{skill_id}/versions": Kind("skillver_", "skill.version"),
    "/threads": Kind("thread_", "thread", {"metadata": {}, "tool_resources": {}}),
    "/threads/{thread_id}/messages": Kind("msg_", "thread.message"),
    "/threads/{thread_id}/runs": Kind("run_", "thread.run", _RUN, verbs={"cancel": {"status": "cancelled"}}),
    "/threads/{thread_id}/runs/{run_id}/steps": Kind("step_", "thread.run.step"),
    "/uploads": Kind(
        "upload_",
        "upload",
        {"status": "pending", "expires_at": 0, "file": None},
        verbs={"cancel": {"status": "cancelled"}},
    ),
    "/vector_stores": Kind(
        "vs_",
        "vector_store",
        {
            "name": "",
            "status": "completed",
            "usage_bytes": 0,
            "file_counts": {**_COUNTS, "completed": 0, "total": 0},
            "metadata": {},
            "last_active_at": None,
        },
    ),
    "/vector_stores/{vector_store_id}/files": Kind("file-", "vector_store.file"),
    "/vector_stores/{vector_store_id}/file_batches": Kind(
        "vsfb_",
        "vector_store.files_batch",
        {"status": "in_progress", "file_counts": _COUNTS},
        {"status": "completed"},
        verbs={"cancel": {"status": "cancelled"}},
    ),
    "/video/generations/jobs": Kind("task_", "video.generation.job", {"status": "queued", "generations": []}),
    "/videos": Kind("video_", "video"),
}
