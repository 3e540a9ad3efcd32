"""Every operation of the OpenAI API, and where Azure OpenAI keeps it on each of its two surfaces.

One line of the table is one method and path, as the OpenAI SDK spells it below ``/v1``:

    METHOD PATH CLASSIC V1 MODEL FLAGS FIRST

* CLASSIC: where the operation lives under a dated api-version. ``deployment``: below
  ``/openai/deployments/{deployment}``, exactly eight OpenAI operations (and one of Azure's own); ``resource``:
  below ``/openai``; ``host``: below the host itself (the Model Inference API); another path: ``/openai`` plus that
  path; ``-``: not there.
* V1: ``v1`` when ``/openai/v1`` has it, else ``-``.
* MODEL: the member of the body that names a deployment (dots descend), ``-`` for none. ``model`` of a fine-tuning job
  names a base model, never a deployment, so it is not listed.
* FLAGS: ``k`` what it makes or names is kept on one resource; ``p`` v1 wants ``api-version=preview``; ``f`` v1 forbids
  an api-version (realtime answers 401 to one); ``b`` the answer is not JSON; ``d`` the classic surface wants ``model``
  out of the body (openai-python issue 2892); ``a`` Azure's own, OpenAI has no such operation.
* FIRST: the first dated api-version that had the operation, for messages.

Source: the Azure OpenAPI specifications 2022-12-01 to 2025-04-01-preview and the v1 specification, the Microsoft Learn
reference of 2026, and the methods of the OpenAI Python SDK. A path matches on its method and all of it, never on a
prefix: ``POST /chat/completions`` names a deployment and ``GET /chat/completions`` does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Operation", "find", "table"]

_TABLE = """
GET /assistants resource - - k 2024-02-15-preview
POST /assistants resource - model k 2024-02-15-preview
DELETE /assistants/{assistant_id} resource - - k 2024-02-15-preview
GET /assistants/{assistant_id} resource - - k 2024-02-15-preview
POST /assistants/{assistant_id} resource - model k 2024-02-15-preview
POST /audio/speech deployment v1 model b 2024-02-15-preview
POST /audio/transcriptions deployment v1 model b 2023-09-01-preview
POST /audio/translations deployment v1 model b 2023-09-01-preview
GET /batches resource v1 - k 2024-07-01-preview
POST /batches resource v1 - k 2024-07-01-preview
GET /batches/{batch_id} resource v1 - k 2024-07-01-preview
POST /batches/{batch_id}/cancel resource v1 - k 2024-07-01-preview
GET /chat/completions resource v1 - k 2025-02-01-preview
POST /chat/completions deployment v1 model - 2023-03-15-preview
DELETE /chat/completions/{completion_id} resource v1 - k 2025-02-01-preview
GET /chat/completions/{completion_id} resource v1 - k 2025-02-01-preview
POST /chat/completions/{completion_id} resource v1 - k 2025-02-01-preview
GET /chat/completions/{completion_id}/messages resource v1 - k 2025-02-01-preview
POST /chatkit/sessions - - - - -
POST /chatkit/sessions/{session_id}/cancel - - - - -
GET /chatkit/threads - - - - -
DELETE /chatkit/threads/{thread_id} - - - - -
GET /chatkit/threads/{thread_id} - - - - -
GET /chatkit/threads/{thread_id}/items - - - - -
POST /completions deployment v1 model - 2022-03-01-preview
GET /containers - v1 - k -
POST /containers - v1 - k -
DELETE /containers/{container_id} - v1 - k -
GET /containers/{container_id} - v1 - k -
GET /containers/{container_id}/files - v1 - k -
POST /containers/{container_id}/files - v1 - k -
DELETE /containers/{container_id}/files/{file_id} - v1 - k -
GET /containers/{container_id}/files/{file_id} - v1 - k -
GET /containers/{container_id}/files/{file_id}/content - v1 - kb -
POST /content_provenance_checks - - - - -
POST /conversations - v1 - k -
DELETE /conversations/{conversation_id} - v1 - k -
GET /conversations/{conversation_id} - v1 - k -
POST /conversations/{conversation_id} - v1 - k -
GET /conversations/{conversation_id}/items - v1 - k -
POST /conversations/{conversation_id}/items - v1 - k -
DELETE /conversations/{conversation_id}/items/{item_id} - v1 - k -
GET /conversations/{conversation_id}/items/{item_id} - v1 - k -
POST /dashboard/webhook_endpoints - v1 - ak -
GET /deployments resource - - a 2022-03-01-preview
POST /embeddings deployment v1 model - 2022-03-01-preview
GET /evals resource v1 - k 2025-04-01-preview
POST /evals resource v1 - k 2025-04-01-preview
DELETE /evals/{eval_id} resource v1 - k 2025-04-01-preview
GET /evals/{eval_id} resource v1 - k 2025-04-01-preview
POST /evals/{eval_id} resource v1 - k 2025-04-01-preview
GET /evals/{eval_id}/runs resource v1 - k 2025-04-01-preview
POST /evals/{eval_id}/runs resource v1 - k 2025-04-01-preview
DELETE /evals/{eval_id}/runs/{run_id} resource v1 - k 2025-04-01-preview
GET /evals/{eval_id}/runs/{run_id} resource v1 - k 2025-04-01-preview
POST /evals/{eval_id}/runs/{run_id} resource v1 - k 2025-04-01-preview
GET /evals/{eval_id}/runs/{run_id}/output_items resource v1 - k 2025-04-01-preview
GET /evals/{eval_id}/runs/{run_id}/output_items/{output_item_id} resource v1 - k 2025-04-01-preview
POST /extensions/chat/completions deployment - model a 2023-06-01-preview
GET /files resource v1 - k 2022-03-01-preview
POST /files resource v1 - k 2022-03-01-preview
POST /files/import resource - - ak 2022-03-01-preview
DELETE /files/{file_id} resource v1 - k 2022-03-01-preview
GET /files/{file_id} resource v1 - k 2022-03-01-preview
GET /files/{file_id}/content resource v1 - kb 2022-03-01-preview
POST /fine_tuning/alpha/graders/run - v1 grader.model - -
POST /fine_tuning/alpha/graders/validate - v1 grader.model - -
GET /fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions - - - - -
POST /fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions - - - - -
DELETE /fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions/{permission_id} - - - - -
GET /fine_tuning/jobs resource v1 - k 2023-09-15-preview
POST /fine_tuning/jobs resource v1 - k 2023-09-15-preview
DELETE /fine_tuning/jobs/{fine_tuning_job_id} resource - - ak 2023-12-01-preview
GET /fine_tuning/jobs/{fine_tuning_job_id} resource v1 - k 2023-09-15-preview
POST /fine_tuning/jobs/{fine_tuning_job_id}/cancel resource v1 - k 2023-09-15-preview
GET /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints resource v1 - k 2024-05-01-preview
GET /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints/{fine_tuning_checkpoint_id}/copy - v1 - ak -
POST /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints/{fine_tuning_checkpoint_id}/copy - v1 - ak -
GET /fine_tuning/jobs/{fine_tuning_job_id}/events resource v1 - k 2023-09-15-preview
POST /fine_tuning/jobs/{fine_tuning_job_id}/pause resource v1 - k 2025-04-01-preview
POST /fine_tuning/jobs/{fine_tuning_job_id}/resume resource v1 - k 2025-04-01-preview
POST /images/edits deployment v1 model d 2025-04-01-preview
POST /images/generations deployment v1 model d 2023-12-01-preview
POST /images/generations:submit resource - - ak 2023-06-01-preview
POST /images/variations - - - - -
PUT /ingestion/jobs/{job_id} resource - - ak 2024-05-01-preview
GET /models resource v1 - - 2022-06-01-preview
POST /models/chat/completions host - model a 2024-05-01-preview
POST /models/embeddings host - model a 2024-05-01-preview
DELETE /models/{model} - - - - -
GET /models/{model} resource v1 - - 2022-06-01-preview
POST /moderations - - - - -
DELETE /operations/images/{operation_id} resource - - ak 2023-06-01-preview
GET /operations/images/{operation_id} resource - - ak 2023-06-01-preview
WS /realtime resource v1 - kf 2024-10-01-preview
POST /realtime/calls - v1 session.model kf -
POST /realtime/calls/{call_id}/accept - v1 model kf -
POST /realtime/calls/{call_id}/hangup - v1 - kf -
POST /realtime/calls/{call_id}/refer - v1 - kf -
POST /realtime/calls/{call_id}/reject - v1 - kf -
POST /realtime/client_secrets - v1 session.model kf -
POST /realtime/sessions /realtimeapi/sessions - model - 2025-04-01-preview
POST /realtime/transcription_sessions /realtimeapi/transcription_sessions - input_audio_transcription.model - 2025-04-01-preview
POST /responses resource v1 model k 2025-03-01-preview
POST /responses?beta=true - v1 model kp -
WS /responses - v1 - k -
WS /responses?beta=true - v1 - kp -
POST /responses/compact - v1 model - -
POST /responses/compact?beta=true - v1 model p -
POST /responses/input_tokens - v1 model - -
POST /responses/input_tokens?beta=true - v1 model p -
DELETE /responses/{response_id} resource v1 - k 2025-03-01-preview
DELETE /responses/{response_id}?beta=true - v1 - kp -
GET /responses/{response_id} resource v1 - k 2025-03-01-preview
GET /responses/{response_id}?beta=true - v1 - kp -
POST /responses/{response_id}/cancel - v1 - k -
POST /responses/{response_id}/cancel?beta=true - v1 - kp -
GET /responses/{response_id}/input_items resource v1 - k 2025-03-01-preview
GET /responses/{response_id}/input_items?beta=true - v1 - kp -
GET /skills - v1 - k -
POST /skills - v1 - k -
DELETE /skills/{skill_id} - v1 - k -
GET /skills/{skill_id} - v1 - k -
POST /skills/{skill_id} - v1 - k -
GET /skills/{skill_id}/content - v1 - kb -
GET /skills/{skill_id}/versions - v1 - k -
POST /skills/{skill_id}/versions - v1 - k -
DELETE /skills/{skill_id}/versions/{version} - v1 - k -
GET /skills/{skill_id}/versions/{version} - v1 - k -
GET /skills/{skill_id}/versions/{version}/content - v1 - kb -
POST /threads resource - - k 2024-02-15-preview
POST /threads/runs resource - model k 2024-02-15-preview
DELETE /threads/{thread_id} resource - - k 2024-02-15-preview
GET /threads/{thread_id} resource - - k 2024-02-15-preview
POST /threads/{thread_id} resource - - k 2024-02-15-preview
GET /threads/{thread_id}/messages resource - - k 2024-02-15-preview
POST /threads/{thread_id}/messages resource - - k 2024-02-15-preview
DELETE /threads/{thread_id}/messages/{message_id} resource - - k 2024-02-15-preview
GET /threads/{thread_id}/messages/{message_id} resource - - k 2024-02-15-preview
POST /threads/{thread_id}/messages/{message_id} resource - - k 2024-02-15-preview
GET /threads/{thread_id}/runs resource - - k 2024-02-15-preview
POST /threads/{thread_id}/runs resource - model k 2024-02-15-preview
GET /threads/{thread_id}/runs/{run_id} resource - - k 2024-02-15-preview
POST /threads/{thread_id}/runs/{run_id} resource - - k 2024-02-15-preview
POST /threads/{thread_id}/runs/{run_id}/cancel resource - - k 2024-02-15-preview
GET /threads/{thread_id}/runs/{run_id}/steps resource - - k 2024-02-15-preview
GET /threads/{thread_id}/runs/{run_id}/steps/{step_id} resource - - k 2024-02-15-preview
POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs resource - - k 2024-02-15-preview
POST /uploads resource - - k 2024-08-01-preview
POST /uploads/{upload_id}/cancel resource - - k 2024-08-01-preview
POST /uploads/{upload_id}/complete resource - - k 2024-08-01-preview
POST /uploads/{upload_id}/parts resource - - k 2024-08-01-preview
GET /vector_stores resource v1 - k 2024-05-01-preview
POST /vector_stores resource v1 - k 2024-05-01-preview
DELETE /vector_stores/{vector_store_id} resource v1 - k 2024-05-01-preview
GET /vector_stores/{vector_store_id} resource v1 - k 2024-05-01-preview
POST /vector_stores/{vector_store_id} resource v1 - k 2024-05-01-preview
POST /vector_stores/{vector_store_id}/file_batches resource v1 - k 2024-05-01-preview
GET /vector_stores/{vector_store_id}/file_batches/{batch_id} resource v1 - k 2024-05-01-preview
POST /vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel resource v1 - k 2024-05-01-preview
GET /vector_stores/{vector_store_id}/file_batches/{batch_id}/files resource v1 - k 2024-05-01-preview
GET /vector_stores/{vector_store_id}/files resource v1 - k 2024-05-01-preview
POST /vector_stores/{vector_store_id}/files resource v1 - k 2024-05-01-preview
DELETE /vector_stores/{vector_store_id}/files/{file_id} resource v1 - k 2024-05-01-preview
GET /vector_stores/{vector_store_id}/files/{file_id} resource v1 - k 2024-05-01-preview
POST /vector_stores/{vector_store_id}/files/{file_id} resource v1 - k 2025-03-01-preview
GET /vector_stores/{vector_store_id}/files/{file_id}/content resource v1 - kb 2025-03-01-preview
POST /vector_stores/{vector_store_id}/search resource v1 - k 2025-03-01-preview
POST /video/generations/jobs - v1 model akp -
GET /videos - v1 - k -
POST /videos - v1 model k -
POST /videos/characters - - - - -
GET /videos/characters/{character_id} - - - - -
POST /videos/edits - - - - -
POST /videos/extensions - - - - -
DELETE /videos/{video_id} - v1 - k -
GET /videos/{video_id} - v1 - k -
GET /videos/{video_id}/content - v1 - kb -
POST /videos/{video_id}/remix - v1 - k -
"""  # noqa: E501

# The organisation's own administration. On Azure this is Azure Resource Manager's job, under other credentials, so
# nothing below these paths is ever sent to a data-plane endpoint, known to this table or not.
_ADMINISTRATION = ("/organization", "/projects")


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation: its OpenAI spelling, and its place on each surface (None where Azure does not offer it)."""

    method: str
    path: str
    beta: bool
    classic: str | None
    v1: bool
    model_at: tuple[str, ...]
    kept: bool
    v1_preview: bool
    v1_version_forbidden: bool
    answers_json: bool
    classic_drops_model: bool
    azure_only: bool
    first: str | None

    @property
    def in_deployment(self) -> bool:
        """Whether the classic surface puts the deployment into the path."""
        return self.classic == "deployment"

    @property
    def offered(self) -> bool:
        """Whether Azure has it on any surface."""
        return self.classic is not None or self.v1

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _read(line: str) -> Operation:
    method, path, classic, v1, model, flags, first = line.split()
    path, _, query = path.partition("?")
    return Operation(
        method=method,
        path=path,
        beta=query == "beta=true",
        classic=None if classic == "-" else classic,
        v1=v1 == "v1",
        model_at=() if model == "-" else tuple(model.split(".")),
        kept="k" in flags,
        v1_preview="p" in flags,
        v1_version_forbidden="f" in flags,
        answers_json="b" not in flags,
        classic_drops_model="d" in flags,
        azure_only="a" in flags,
        first=None if first == "-" else first,
    )


_OPERATIONS = tuple(_read(line) for line in _TABLE.strip().splitlines())

# (method, path, beta) of the operations without an id in their path.
_FIXED: dict[tuple[str, str, bool], Operation] = {}
# (method, number of segments) of the others, each with its segments; None stands for an id.
_WITH_IDS: dict[tuple[str, int], list[tuple[tuple[str | None, ...], Operation]]] = {}

for _operation in _OPERATIONS:
    if "{" in _operation.path:
        _segments = tuple(None if s.startswith("{") else s for s in _operation.path.split("/"))
        _WITH_IDS.setdefault((_operation.method, len(_segments)), []).append((_segments, _operation))
    else:
        _FIXED[_operation.method, _operation.path, _operation.beta] = _operation


def find(method: str, path: str, *, beta: bool = False) -> Operation | None:
    """The operation of this method and path (below ``/v1``, still percent-encoded), or None if the table has none.

    ``beta`` says whether the request carries ``beta=true``; a beta spelling that the table does not list is the plain
    operation.
    """
    found = _FIXED.get((method, path, beta))
    if found is not None:
        return found
    parts = path.split("/")
    plain: Operation | None = None
    for segments, operation in _WITH_IDS.get((method, len(parts)), ()):
        if all((theirs if mine is None else mine == theirs) for mine, theirs in zip(segments, parts, strict=True)):
            if operation.beta == beta:
                return operation
            if not operation.beta:
                plain = operation
    if plain is not None:
        return plain
    if beta:
        return _FIXED.get((method, path, False))
    if path.startswith(_ADMINISTRATION) and any(path == p or path.startswith(p + "/") for p in _ADMINISTRATION):
        return _administration(method, path)
    return None


def _administration(method: str, path: str) -> Operation:
    return _read(f"{method} {path} - - - - -")


def table() -> Iterator[Operation]:
    """Every operation that the table lists, in its order."""
    return iter(_OPERATIONS)
