"""The operations table: exact matches only, and every operation where Azure keeps it.

The expectations are written out by hand from the Azure specifications, not computed from the table.
"""

from __future__ import annotations

from typing import Any

import pytest

from azure_shim.wire.operations import Operation, find, table

IN_DEPLOYMENT = {
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/images/edits",
    "/images/generations",
}
# Characters that ids have had, or that a caller's own names may have once they are percent-encoded.
ODD_IDS = ("x", "ft:gpt-4o:org::id", "a%2Fb", "%C3%BC", "..", "a.b~c-d_e", "{file_id}", "files", "a b", "*", "0")


def found(method: str, path: str, *, beta: bool = False) -> Operation:
    operation = find(method, path, beta=beta)
    assert operation is not None, f"{method} {path} is not in the table"
    return operation


def with_ids(path: str, ids: str) -> str:
    return "/".join(ids if segment.startswith("{") else segment for segment in path.split("/"))


def test_exactly_eight_openai_operations_live_below_a_deployment() -> None:
    listed = [o for o in table() if o.in_deployment and not o.azure_only]

    assert {o.path for o in listed} == IN_DEPLOYMENT
    assert len(listed) == 8
    for operation in listed:
        assert (operation.method, operation.v1, operation.model_at) == ("POST", True, ("model",))


def class_of(operation: Operation) -> str:
    if operation.azure_only:
        return "azure's own"
    if not operation.offered:
        return "not offered"
    if operation.in_deployment:
        return "deployment and v1" if operation.v1 else "deployment only"
    if operation.classic is not None:
        return "resource and v1" if operation.v1 else "resource only"
    return "v1 only"


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("deployment and v1", 8),
        ("deployment only", 0),
        ("resource and v1", 57),
        ("resource only", 29),
        ("v1 only", 54),
        ("not offered", 17),
        ("azure's own", 14),
    ],
)
def test_as_many_operations_of_each_class_as_azure_has(kind: str, count: int) -> None:
    """The 326 rows of the survey, without administration, helpers and doubles (realtime's two halves are one line)."""
    assert sum(class_of(operation) == kind for operation in table()) == count


def test_no_operation_is_listed_twice() -> None:
    keys = [(o.method, o.path, o.beta) for o in table()]
    assert len(keys) == len(set(keys)) == 179


@pytest.mark.parametrize(
    ("method", "path", "classic", "v1", "model_at", "kept"),
    [
        # inference
        ("POST", "/chat/completions", "deployment", True, "model", False),
        ("POST", "/completions", "deployment", True, "model", False),
        ("POST", "/embeddings", "deployment", True, "model", False),
        ("POST", "/audio/speech", "deployment", True, "model", False),
        ("POST", "/audio/transcriptions", "deployment", True, "model", False),
        ("POST", "/audio/translations", "deployment", True, "model", False),
        ("POST", "/images/generations", "deployment", True, "model", False),
        ("POST", "/images/edits", "deployment", True, "model", False),
        ("POST", "/images/variations", None, False, None, False),
        ("POST", "/moderations", None, False, None, False),
        # stored completions
        ("GET", "/chat/completions", "resource", True, None, True),
        ("GET", "/chat/completions/chatcmpl-1", "resource", True, None, True),
        ("POST", "/chat/completions/chatcmpl-1", "resource", True, None, True),
        ("DELETE", "/chat/completions/chatcmpl-1", "resource", True, None, True),
        ("GET", "/chat/completions/chatcmpl-1/messages", "resource", True, None, True),
        # responses and conversations
        ("POST", "/responses", "resource", True, "model", True),
        ("GET", "/responses/resp_1", "resource", True, None, True),
        ("DELETE", "/responses/resp_1", "resource", True, None, True),
        ("GET", "/responses/resp_1/input_items", "resource", True, None, True),
        ("POST", "/responses/resp_1/cancel", None, True, None, True),
        ("POST", "/responses/compact", None, True, "model", False),
        ("POST", "/responses/input_tokens", None, True, "model", False),
        ("WS", "/responses", None, True, None, True),
        ("POST", "/conversations", None, True, None, True),
        ("DELETE", "/conversations/conv_1/items/item_1", None, True, None, True),
        # files, uploads, batches, models
        ("POST", "/files", "resource", True, None, True),
        ("GET", "/files/file-1/content", "resource", True, None, True),
        ("POST", "/files/import", "resource", False, None, True),
        ("POST", "/uploads", "resource", False, None, True),
        ("POST", "/uploads/upload_1/parts", "resource", False, None, True),
        ("POST", "/batches", "resource", True, None, True),
        ("POST", "/batches/batch_1/cancel", "resource", True, None, True),
        ("GET", "/models", "resource", True, None, False),
        ("GET", "/models/gpt-4o", "resource", True, None, False),
        ("DELETE", "/models/ft:gpt-4o:org::1", None, False, None, False),
        ("GET", "/deployments", "resource", False, None, False),
        # fine-tuning: its `model` is a base model, never a deployment
        ("POST", "/fine_tuning/jobs", "resource", True, None, True),
        ("DELETE", "/fine_tuning/jobs/ftjob-1", "resource", False, None, True),
        ("POST", "/fine_tuning/jobs/ftjob-1/pause", "resource", True, None, True),
        ("POST", "/fine_tuning/jobs/ftjob-1/checkpoints/ftckpt-1/copy", None, True, None, True),
        ("POST", "/fine_tuning/alpha/graders/run", None, True, "grader.model", False),
        ("GET", "/fine_tuning/checkpoints/ft:gpt/permissions", None, False, None, False),
        # assistants and threads
        ("POST", "/assistants", "resource", False, "model", True),
        ("POST", "/assistants/asst_1", "resource", False, "model", True),
        ("POST", "/threads", "resource", False, None, True),
        ("POST", "/threads/runs", "resource", False, "model", True),
        ("POST", "/threads/thread_1", "resource", False, None, True),
        ("POST", "/threads/thread_1/runs", "resource", False, "model", True),
        ("POST", "/threads/thread_1/runs/run_1/submit_tool_outputs", "resource", False, None, True),
        ("DELETE", "/threads/thread_1/messages/msg_1", "resource", False, None, True),
        # vector stores, evals, containers, skills
        ("POST", "/vector_stores/vs_1/search", "resource", True, None, True),
        ("GET", "/vector_stores/vs_1/files/file-1/content", "resource", True, None, True),
        ("POST", "/vector_stores/vs_1/file_batches/vsfb_1/cancel", "resource", True, None, True),
        ("POST", "/evals/eval_1/runs/run_1", "resource", True, None, True),
        ("GET", "/evals/eval_1/runs/run_1/output_items/item_1", "resource", True, None, True),
        ("GET", "/containers/cntr_1/files/cfile_1/content", None, True, None, True),
        ("GET", "/skills/skill_1/versions/2/content", None, True, None, True),
        # realtime
        ("WS", "/realtime", "resource", True, None, True),
        ("POST", "/realtime/client_secrets", None, True, "session.model", True),
        ("POST", "/realtime/calls", None, True, "session.model", True),
        ("POST", "/realtime/calls/rtc_1/accept", None, True, "model", True),
        ("POST", "/realtime/sessions", "/realtimeapi/sessions", False, "model", False),
        (
            "POST",
            "/realtime/transcription_sessions",
            "/realtimeapi/transcription_sessions",
            False,
            "input_audio_transcription.model",
            False,
        ),
        # video
        ("POST", "/videos", None, True, "model", True),
        ("GET", "/videos/video_1/content", None, True, None, True),
        ("POST", "/videos/edits", None, False, None, False),
        ("POST", "/video/generations/jobs", None, True, "model", True),
        # Azure's own
        ("POST", "/extensions/chat/completions", "deployment", False, "model", False),
        ("POST", "/images/generations:submit", "resource", False, None, True),
        ("POST", "/models/chat/completions", "host", False, "model", False),
        ("POST", "/models/embeddings", "host", False, "model", False),
        ("PUT", "/ingestion/jobs/job_1", "resource", False, None, True),
        # offered by OpenAI alone
        ("POST", "/chatkit/sessions", None, False, None, False),
        ("POST", "/content_provenance_checks", None, False, None, False),
    ],
)
def test_every_family_is_where_azure_keeps_it(
    method: str, path: str, classic: str | None, v1: bool, model_at: str | None, kept: bool
) -> None:
    operation = found(method, path)

    assert (operation.classic, operation.v1) == (classic, v1)
    assert operation.model_at == (() if model_at is None else tuple(model_at.split(".")))
    assert operation.kept is kept
    assert operation.offered is (classic is not None or v1)


@pytest.mark.parametrize("operation", list(table()), ids=str)
def test_an_operation_is_found_whatever_its_ids_look_like(operation: Operation) -> None:
    fixed = {o.path for o in table() if "{" not in o.path and o.method == operation.method}
    for ids in ODD_IDS:
        path = with_ids(operation.path, ids)
        if path not in fixed or "{" not in operation.path:
            assert found(operation.method, path, beta=operation.beta) is operation


@pytest.mark.parametrize("operation", list(table()), ids=str)
def test_neither_more_nor_less_than_the_whole_path_matches(operation: Operation) -> None:
    path = with_ids(operation.path, "id")
    for other in (path + "/", path + "/unknown/unknown", "/unknown" + path, path[1:], path + "x/y/z", path.upper()):
        match = find(operation.method, other, beta=operation.beta)
        assert match is None, f"{other} was taken for {match}"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/chat/completions", "/chat/completions"),
        ("GET", "/chat/completions", "/chat/completions"),
        ("POST", "/chat/completions/c1", "/chat/completions/{completion_id}"),
        ("GET", "/chat/completions/c1/messages", "/chat/completions/{completion_id}/messages"),
        ("DELETE", "/chat/completions", None),
        ("PATCH", "/chat/completions", None),
        ("post", "/chat/completions", None),
        ("POST", "/chat/completions/", None),
        ("POST", "/chat/completionsx", None),
        ("GET", "/chat", None),
        ("GET", "/files/", None),
        ("GET", "/embeddings", None),
        ("PUT", "/files/f", None),
        ("GET", "", None),
        ("GET", "/", None),
    ],
)
def test_method_and_path_match_together(method: str, path: str, expected: str | None) -> None:
    operation = find(method, path)
    assert (None if operation is None else operation.path) == expected


def test_an_id_does_not_hide_an_operation_that_is_spelt_out() -> None:
    """``/threads/runs`` creates a thread and a run; it is no thread called ``runs``."""
    assert found("POST", "/threads/runs").path == "/threads/runs"
    assert found("POST", "/threads/run").path == "/threads/{thread_id}"
    assert found("POST", "/files/import").path == "/files/import"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/responses"),
        ("WS", "/responses"),
        ("GET", "/responses/resp_1"),
        ("DELETE", "/responses/resp_1"),
        ("POST", "/responses/resp_1/cancel"),
        ("GET", "/responses/resp_1/input_items"),
        ("POST", "/responses/compact"),
        ("POST", "/responses/input_tokens"),
    ],
)
def test_the_beta_spelling_of_responses_is_an_operation_of_v1_preview(method: str, path: str) -> None:
    beta, plain = found(method, path, beta=True), found(method, path)

    assert (beta.beta, beta.classic, beta.v1, beta.v1_preview) == (True, None, True, True)
    assert (plain.beta, plain.v1_preview) == (False, False)
    assert beta.path == plain.path
    assert (beta.model_at, beta.kept) == (plain.model_at, plain.kept)


@pytest.mark.parametrize(("method", "path"), [("POST", "/chat/completions"), ("GET", "/files/f"), ("POST", "/threads")])
def test_beta_means_nothing_where_there_is_no_beta_spelling(method: str, path: str) -> None:
    assert find(method, path, beta=True) is found(method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/organization",
        "/organization/users",
        "/organization/admin_api_keys/key_1",
        "/organization/projects/proj_1/api_keys",
        "/projects",
        "/projects/proj_1/groups/g/roles",
        "/organization/not/in/any/table",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_administration_is_known_and_never_offered(method: str, path: str) -> None:
    operation = found(method, path)
    assert (operation.method, operation.path, operation.offered) == (method, path, False)


@pytest.mark.parametrize(
    "path", ["/organizations", "/organizational/users", "/projectsx", "/x/organization", "/x/projects"]
)
def test_administration_begins_at_a_whole_segment(path: str) -> None:
    assert find("GET", path) is None


@pytest.mark.parametrize(
    ("flag", "paths"),
    [
        ("classic_drops_model", {"/images/edits", "/images/generations"}),
        (
            "v1_version_forbidden",
            {
                "/realtime",
                "/realtime/calls",
                "/realtime/calls/{call_id}/accept",
                "/realtime/calls/{call_id}/hangup",
                "/realtime/calls/{call_id}/refer",
                "/realtime/calls/{call_id}/reject",
                "/realtime/client_secrets",
            },
        ),
        (
            "v1_preview",
            {
                "/responses",
                "/responses/compact",
                "/responses/input_tokens",
                "/responses/{response_id}",
                "/responses/{response_id}/cancel",
                "/responses/{response_id}/input_items",
                "/video/generations/jobs",
            },
        ),
    ],
)
def test_the_exceptions_are_exactly_these(flag: str, paths: set[str]) -> None:
    assert {o.path for o in table() if getattr(o, flag)} == paths


def test_answers_that_are_not_json_are_exactly_these() -> None:
    assert {o.path for o in table() if not o.answers_json} == {
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
        "/containers/{container_id}/files/{file_id}/content",
        "/files/{file_id}/content",
        "/skills/{skill_id}/content",
        "/skills/{skill_id}/versions/{version}/content",
        "/vector_stores/{vector_store_id}/files/{file_id}/content",
        "/videos/{video_id}/content",
    }


@pytest.mark.parametrize(
    ("method", "path", "first"),
    [
        ("POST", "/chat/completions", "2023-03-15-preview"),
        ("POST", "/responses", "2025-03-01-preview"),
        ("POST", "/images/edits", "2025-04-01-preview"),
        ("POST", "/batches", "2024-07-01-preview"),
        ("POST", "/uploads", "2024-08-01-preview"),
        ("POST", "/assistants", "2024-02-15-preview"),
        ("GET", "/evals", "2025-04-01-preview"),
        ("POST", "/conversations", None),
    ],
)
def test_the_first_dated_version_is_told_where_there_is_one(method: str, path: str, first: str | None) -> None:
    assert found(method, path).first == first


def test_whatever_a_dated_version_has_also_says_since_when() -> None:
    without_first = {str(o): o.first for o in table() if (o.classic is None) != (o.first is None)}
    assert without_first == {}


def test_an_operation_reads_as_its_method_and_path() -> None:
    operation: Any = found("GET", "/files/file-1")
    assert str(operation) == "GET /files/{file_id}"
