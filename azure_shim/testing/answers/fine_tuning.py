"""Fine-tuning jobs, their events and checkpoints, and the graders."""

from __future__ import annotations

from azure_shim.testing import errors
from azure_shim.testing.answers import kept
from azure_shim.testing.answers.shared import now
from azure_shim.testing.call import Call
from azure_shim.testing.response import FakeResponse
from azure_shim.testing.store import new_id

__all__ = ["ANSWERERS"]

_JOB = "/fine_tuning/jobs/{fine_tuning_job_id}"


def create(call: Call) -> FakeResponse:
    for name in ("model", "training_file"):
        if name not in call.fields:
            raise errors.missing_parameter(name)
    if call.store.get("/files", str(call.fields["training_file"])) is None:
        raise errors.no_such("file", str(call.fields["training_file"]))
    return FakeResponse.json(kept.keep(call, "/fine_tuning/jobs", call.fields), 201)


def delete(call: Call) -> FakeResponse:
    kept.item_of(call, _JOB)
    call.store.remove("/fine_tuning/jobs", call.ids[0])
    return FakeResponse(204)


def list_events(call: Call) -> FakeResponse:
    kept.item_of(call, _JOB)
    event = {
        "id": f"ftevent-{call.ids[0]}",
        "object": "fine_tuning.job.event",
        "created_at": now(),
        "level": "info",
        "message": "Job enqueued. Waiting for jobs ahead to complete.",
        "type": "message",
        "data": None,
    }
    return kept.listed(call, [event])


def list_checkpoints(call: Call) -> FakeResponse:
    job = kept.item_of(call, _JOB)
    checkpoint = {
        "id": f"ftchkpt-{call.ids[0]}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": now(),
        "fine_tuned_model_checkpoint": f"{job['model']}.{call.ids[0]}:ckpt-step-1",
        "fine_tuning_job_id": call.ids[0],
        "metrics": {"step": 1.0, "train_loss": 0.1},
        "step_number": 1,
    }
    return kept.listed(call, [checkpoint])


def copy_checkpoint(call: Call) -> FakeResponse:
    kept.item_of(call, _JOB)
    return FakeResponse.json({"id": new_id("ftchkptcopy-"), "status": "succeeded", "checkpointId": call.ids[1]})


def run_grader(call: Call) -> FakeResponse:
    faults = dict.fromkeys(
        (
            "formula_parse_error",
            "invalid_variable_error",
            "model_grader_parse_error",
            "model_grader_refusal_error",
            "model_grader_server_error",
            "other_error",
            "python_grader_runtime_error",
            "python_grader_server_error",
            "sample_parse_error",
            "truncated_observation_error",
            "unresponsive_reward_error",
        ),
        False,
    )
    grader = call.fields.get("grader") or {}
    metadata = {
        "errors": {
            **faults,
            "model_grader_server_error_details": None,
            "python_grader_runtime_error_details": None,
        },
        "execution_time": 0.0,
        "name": grader.get("name", ""),
        "sampled_model_name": call.model,
        "scores": {},
        "token_usage": None,
        "type": grader.get("type", ""),
    }
    answer = {"reward": 1.0, "metadata": metadata, "sub_rewards": {}, "model_grader_token_usage_per_model": {}}
    return FakeResponse.json(answer)


def validate_grader(call: Call) -> FakeResponse:
    if "grader" not in call.fields:
        raise errors.missing_parameter("grader")
    return FakeResponse.json({"grader": call.fields["grader"]})


ANSWERERS = {
    "POST /fine_tuning/jobs": create,
    f"DELETE {_JOB}": delete,
    f"GET {_JOB}/events": list_events,
    f"GET {_JOB}/checkpoints": list_checkpoints,
    f"GET {_JOB}/checkpoints/{{fine_tuning_checkpoint_id}}/copy": copy_checkpoint,
    f"POST {_JOB}/checkpoints/{{fine_tuning_checkpoint_id}}/copy": copy_checkpoint,
    "POST /fine_tuning/alpha/graders/run": run_grader,
    "POST /fine_tuning/alpha/graders/validate": validate_grader,
}
