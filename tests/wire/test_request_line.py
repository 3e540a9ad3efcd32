"""Request lines: read in every spelling, written as each kind of target wants them."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azure_shim.values import Credential, Refusal, Target
from azure_shim.wire.endpoints import parse
from azure_shim.wire.request_line import DATED, RequestLine, address, read, refusal_of

HOST = "https://r.openai.azure.com"
PROJECT = "https://r.services.ai.azure.com/api/projects/p"
GATEWAY = "https://gw.azure-api.net"
DATED_VERSION = "2024-10-21"


def target(endpoint: str = HOST, version: str | None = None, *, verbatim: bool = False) -> Target:
    return Target("r", parse(endpoint, verbatim=verbatim).endpoint, version, Credential("api_key", value="key"))


CLASSIC, V1 = target(version=DATED_VERSION), target()


def url(method: str, raw_path: str, where: Target, deployment: str | None = None) -> str:
    line = read(method, raw_path)
    assert refusal_of(line, where) is None
    return address(line, where, deployment)


@pytest.mark.parametrize(
    "prefix", ["", "/v1", "/proxy/v1", "/a/b/c/v1", "/openai/v1", "/gw/openai/v1", "/openai", "/x"]
)
@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/chat/completions", "/chat/completions"),
        ("GET", "/chat/completions/c1", "/chat/completions/{completion_id}"),
        ("GET", "/files/file-1/content", "/files/{file_id}/content"),
        ("POST", "/threads/t1/runs", "/threads/{thread_id}/runs"),
        ("GET", "/models/gpt-4o", "/models/{model}"),
    ],
)
def test_an_openai_spelling_is_read_behind_any_prefix(prefix: str, method: str, path: str, operation: str) -> None:
    line = read(method, prefix + path)

    assert line.operation is not None
    assert (line.operation.path, line.path, line.deployment) == (operation, path, None)
    assert line.name == operation


@pytest.mark.parametrize("prefix", ["", "/openai", "/PTU", "/gw/openai", "/openai/v1"])
@pytest.mark.parametrize(
    ("name", "deployment"),
    [("dep", "dep"), ("my%20dep", "my dep"), ("a%2Fb", "a/b"), ("%C3%BC", "ü"), ("a.b~c_d-e", "a.b~c_d-e")],
)
def test_an_azure_spelling_is_the_same_call_and_names_its_deployment(prefix: str, name: str, deployment: str) -> None:
    line = read("POST", f"{prefix}/deployments/{name}/chat/completions?api-version={DATED_VERSION}")
    plain = read("POST", "/v1/chat/completions")

    assert line.operation is plain.operation is not None
    assert (line.path, line.query) == (plain.path, plain.query) == ("/chat/completions", "")
    assert (line.deployment, line.api_version) == (deployment, DATED_VERSION)


def test_the_list_of_deployments_is_no_deployment() -> None:
    line = read("GET", "/openai/deployments?api-version=2022-12-01")
    assert line.operation is not None
    assert (line.operation.path, line.deployment) == ("/deployments", None)


@pytest.mark.parametrize(
    ("raw_path", "bases", "path"),
    [
        ("/openai/v1/brand_new", ("/openai/v1", "/openai"), "/brand_new"),
        ("/openai/brand_new", ("/openai/v1", "/openai"), "/brand_new"),
        ("/api/projects/p/openai/v1/responses", ("/api/projects/p/openai/v1",), "/responses"),
        ("/api/projects/p/openai/v1/brand_new", ("/api/projects/p/openai/v1",), "/brand_new"),
        # A gateway's own prefix may look like anything; what follows it is the call.
        ("/v1/files/openai/chat/completions", ("/v1/files/openai",), "/chat/completions"),
        ("/chat/completions", ("",), "/chat/completions"),
    ],
)
def test_below_the_target_s_own_base_nothing_is_guessed(raw_path: str, bases: tuple[str, ...], path: str) -> None:
    assert read("POST", raw_path, bases).path == path


def test_a_base_ends_at_a_segment() -> None:
    assert read("POST", "/openai/v12/chat/completions", ("/openai/v1",)).path.startswith("/")


@pytest.mark.parametrize("raw_path", ["/v1/brand_new/thing", "/openai/v1/brand_new/thing", "/openai/brand_new/thing"])
def test_an_unknown_operation_keeps_its_path(raw_path: str) -> None:
    line = read("POST", raw_path + "?a=1")
    assert line.operation is None
    assert (line.path, line.query, line.name) == ("/brand_new/thing", "a=1", "/brand_new/thing")


@pytest.mark.parametrize(
    ("method", "raw_path"),
    [
        ("GET", "/v1/brand_new/files"),
        ("GET", "/v1/brand_new/models"),
        ("POST", "/v1/brand_new/chat/completions"),
        ("GET", "/openai/v1/brand_new/files/file-1"),
        ("GET", "/v1/brand_new/organization"),
    ],
)
def test_an_unknown_operation_is_not_taken_for_a_known_one_that_its_path_ends_with(method: str, raw_path: str) -> None:
    """``/v1`` says where the path begins, so that nothing behind it can be a prefix."""
    line = read(method, raw_path)
    assert line.path == raw_path.removeprefix("/openai").removeprefix("/v1")
    assert line.operation is None


@pytest.mark.parametrize(
    ("query", "kept", "version"),
    [
        ("", "", None),
        ("a=1", "a=1", None),
        ("api-version=2024-10-21", "", "2024-10-21"),
        ("a=1&api-version=2024-10-21&b=2", "a=1&b=2", "2024-10-21"),
        ("API-Version=preview&a=1", "a=1", "preview"),
        ("api-version=2024%2D10%2D21", "", "2024-10-21"),
        ("api-version=a&api-version=b", "", "b"),
        ("api-version=", "", ""),
        ("x=api-version=1", "x=api-version=1", None),
        ("api-versions=1", "api-versions=1", None),
        ("include[]=a%20b&include[]=c+d&%C3%BC=%c3%bc", "include[]=a%20b&include[]=c+d&%C3%BC=%c3%bc", None),
        ("after=x%3D%3D&limit=20&order", "after=x%3D%3D&limit=20&order", None),
        ("a?b=c/d", "a?b=c/d", None),
    ],
)
def test_the_query_is_kept_as_it_is_but_for_the_version(query: str, kept: str, version: str | None) -> None:
    line = read("GET", "/v1/files" + ("?" + query if query else ""))
    assert (line.query, line.api_version) == (kept, version)


def test_a_version_without_a_value_is_taken_out_as_well() -> None:
    sent = url("GET", "/v1/files?api-version", CLASSIC)
    assert sent == f"{HOST}/openai/files?api-version={DATED_VERSION}"


@pytest.mark.parametrize(
    ("query", "beta"), [("beta=true", True), ("a=1&beta=true", True), ("beta=false", False), ("x=beta=true", False)]
)
def test_beta_is_read_from_the_query(query: str, beta: bool) -> None:
    line = read("POST", "/v1/responses?" + query)
    assert line.operation is not None
    assert line.operation.beta is beta
    assert line.query == query


@pytest.mark.parametrize(
    ("method", "path", "deployment", "expected"),
    [
        ("POST", "/v1/chat/completions", "dep", "/openai/deployments/dep/chat/completions"),
        ("POST", "/v1/completions", "dep", "/openai/deployments/dep/completions"),
        ("POST", "/v1/embeddings", "dep", "/openai/deployments/dep/embeddings"),
        ("POST", "/v1/audio/speech", "dep", "/openai/deployments/dep/audio/speech"),
        ("POST", "/v1/audio/transcriptions", "dep", "/openai/deployments/dep/audio/transcriptions"),
        ("POST", "/v1/audio/translations", "dep", "/openai/deployments/dep/audio/translations"),
        ("POST", "/v1/images/generations", "dep", "/openai/deployments/dep/images/generations"),
        ("POST", "/v1/images/edits", "dep", "/openai/deployments/dep/images/edits"),
        ("GET", "/v1/chat/completions", None, "/openai/chat/completions"),
        ("DELETE", "/v1/chat/completions/c%2F1", None, "/openai/chat/completions/c%2F1"),
        ("POST", "/v1/responses", "dep", "/openai/responses"),
        ("GET", "/v1/models/ft:gpt-4o:x", None, "/openai/models/ft:gpt-4o:x"),
        ("POST", "/v1/batches", None, "/openai/batches"),
        ("POST", "/v1/realtime/sessions", "dep", "/openai/realtimeapi/sessions"),
        ("POST", "/v1/realtime/transcription_sessions", None, "/openai/realtimeapi/transcription_sessions"),
        ("POST", "/models/chat/completions", "dep", "/models/chat/completions"),
        ("GET", "/openai/deployments", None, "/openai/deployments"),
        ("WS", "/v1/realtime", None, "/openai/realtime"),
    ],
)
def test_the_classic_surface(method: str, path: str, deployment: str | None, expected: str) -> None:
    assert url(method, path, CLASSIC, deployment) == f"{HOST}{expected}?api-version={DATED_VERSION}"


@pytest.mark.parametrize("where", [V1, CLASSIC], ids=["v1", "classic"])
@pytest.mark.parametrize(
    "path", ["/chat/completions", "/images/edits", "/responses", "/batches", "/vector_stores/vs/search"]
)
def test_azure_s_own_spelling_of_either_surface_goes_to_the_target_s_surface(where: Target, path: str) -> None:
    from_openai = url("POST", "/v1" + path, where, "dep")
    assert url("POST", "/openai/v1" + path, where, "dep") == from_openai
    assert url("POST", "/openai" + path, where, "dep") == from_openai


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/chat/completions"),
        ("POST", "/images/generations"),
        ("POST", "/responses"),
        ("POST", "/responses/compact"),
        ("GET", "/files/file-1/content"),
        ("POST", "/conversations"),
        ("POST", "/videos"),
        ("POST", "/containers/c/files"),
        ("POST", "/fine_tuning/alpha/graders/run"),
        ("POST", "/realtime/client_secrets"),
        ("WS", "/realtime"),
        ("WS", "/responses"),
    ],
)
def test_the_v1_surface_is_openai_s_path_and_no_version(method: str, path: str) -> None:
    assert url(method, "/v1" + path, V1, "dep") == f"{HOST}/openai/v1{path}"


def test_a_project_is_below_its_own_path_and_never_has_a_version() -> None:
    project = target(PROJECT, "preview")
    assert url("POST", "/v1/responses", project, "dep") == PROJECT + "/openai/v1/responses"
    assert url("POST", "/v1/responses?beta=true&api-version=preview", project) == (
        PROJECT + "/openai/v1/responses?beta=true"
    )


@pytest.mark.parametrize(
    ("where", "classic", "v1"),
    [
        ((GATEWAY + "/PTU", False), "/PTU/openai", "/PTU/openai/v1"),
        ((GATEWAY + "/PTU", True), "/PTU", "/PTU"),
        ((GATEWAY + "/PTU/v1", True), "/PTU", "/PTU/v1"),
        ((GATEWAY, True), "", ""),
    ],
)
def test_a_gateway_s_prefix_is_there_once(where: tuple[str, bool], classic: str, v1: str) -> None:
    endpoint, verbatim = where
    dated = target(endpoint, DATED_VERSION, verbatim=verbatim)
    plain = target(endpoint, verbatim=verbatim)

    for path in ("/v1/chat/completions", "/PTU/chat/completions", "/PTU/openai/deployments/other/chat/completions"):
        line = read("POST", path)
        assert address(line, dated, "dep") == (
            f"{GATEWAY}{classic}/deployments/dep/chat/completions?api-version={DATED_VERSION}"
        )
        assert address(line, plain, None) == f"{GATEWAY}{v1}/chat/completions"
    assert url("GET", "/v1/files", dated) == f"{GATEWAY}{classic}/files?api-version={DATED_VERSION}"


@pytest.mark.parametrize("query", ["", "?api-version=2023-05-15", "?api-version=preview", "?api-version=v1"])
@pytest.mark.parametrize("spelling", ["/v1/files", "/openai/files", "/openai/v1/files"])
def test_exactly_one_version_on_the_classic_surface(query: str, spelling: str) -> None:
    pairs = parse_qsl(urlsplit(url("GET", spelling + query, CLASSIC)).query)
    assert [key for key, _ in pairs] == ["api-version"]
    # A dated version is the caller's explicit wish; any other makes no sense there.
    assert pairs[0][1] == ("2023-05-15" if query == "?api-version=2023-05-15" else DATED_VERSION)


@pytest.mark.parametrize(
    ("raw_path", "azure_client", "openai_client"),
    [
        ("/openai/deployments/dep/chat/completions", None, "2023-05-15"),
        ("/openai/files", None, "2023-05-15"),
        ("/PTU/deployments/dep/chat/completions", None, "2023-05-15"),
        ("/openai/v1/files", "2023-05-15", "2023-05-15"),
        ("/v1/files", "2023-05-15", "2023-05-15"),
    ],
)
def test_the_version_that_azure_s_own_clients_always_write_is_nobody_s_wish(
    raw_path: str, azure_client: str | None, openai_client: str
) -> None:
    method = "POST" if "chat" in raw_path else "GET"
    query = "?api-version=2023-05-15&a=1"
    written, wished = read(method, raw_path + query, adds_versions=True), read(method, raw_path + query)

    assert (written.api_version, written.query) == (azure_client, "a=1")
    assert (wished.api_version, wished.query) == (openai_client, "a=1")
    for line, version in ((written, azure_client or DATED_VERSION), (wished, openai_client)):
        assert address(line, CLASSIC, "dep").endswith(f"?a=1&api-version={version}")


@pytest.mark.parametrize(
    ("configured", "asked", "expected"),
    [
        (None, None, None),
        (None, "2024-10-21", None),
        (None, "v1", None),
        (None, "", None),
        (None, "preview", "preview"),
        (None, "latest", "latest"),
        ("preview", None, "preview"),
        ("preview", "2024-10-21", "preview"),
        ("preview", "latest", "latest"),
        ("latest", None, "latest"),
    ],
)
def test_v1_takes_preview_or_latest_and_no_other_version(
    configured: str | None, asked: str | None, expected: str | None
) -> None:
    query = "" if asked is None else f"?api-version={asked}"
    sent = url("GET", "/v1/files" + query, target(version=configured))
    assert sent == HOST + "/openai/v1/files" + ("" if expected is None else f"?api-version={expected}")


@pytest.mark.parametrize("configured", [None, "latest", "preview"])
def test_beta_responses_and_old_video_are_v1_preview(configured: str | None) -> None:
    where = target(version=configured)
    assert url("POST", "/v1/responses?beta=true", where) == (
        HOST + "/openai/v1/responses?beta=true&api-version=preview"
    )
    assert url("POST", "/openai/v1/video/generations/jobs", where) == (
        HOST + "/openai/v1/video/generations/jobs?api-version=preview"
    )


@pytest.mark.parametrize("method_path", ["WS /realtime", "POST /realtime/calls", "POST /realtime/calls/rtc_1/accept"])
@pytest.mark.parametrize("configured", [None, "preview"])
def test_realtime_on_v1_never_has_a_version(method_path: str, configured: str | None) -> None:
    """Azure answers 401 to one."""
    method, path = method_path.split()
    sent = url(method, f"/v1{path}?model=rt&api-version=preview", target(version=configured))
    assert sent == f"{HOST}/openai/v1{path}?model=rt"


def test_the_rest_of_the_query_arrives_byte_for_byte() -> None:
    query = "include[]=a%20b&include[]=c+d&%C3%BC=%c3%bc&after=x%3D%3D&order"
    assert url("GET", f"/v1/files?{query}", V1) == f"{HOST}/openai/v1/files?{query}"
    assert url("GET", f"/v1/files?{query}", CLASSIC) == f"{HOST}/openai/files?{query}&api-version={DATED_VERSION}"


@pytest.mark.parametrize(
    ("deployment", "segment"),
    [
        ("a/b c", "a%2Fb%20c"),
        ("../../files", "..%2F..%2Ffiles"),
        ("dep?x=1#y", "dep%3Fx%3D1%23y"),
        ("ü", "%C3%BC"),
        ("a%2Fb", "a%252Fb"),
        ("a&b=c", "a%26b%3Dc"),
        ("a\r\nb", "a%0D%0Ab"),
        ("gpt-4.1_x~y", "gpt-4.1_x~y"),
    ],
)
def test_a_deployment_is_one_segment_whatever_its_name(deployment: str, segment: str) -> None:
    sent = url("POST", "/v1/chat/completions", CLASSIC, deployment)
    assert sent == f"{HOST}/openai/deployments/{segment}/chat/completions?api-version={DATED_VERSION}"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@settings(max_examples=100, deadline=None, database=None, derandomize=True)
def test_any_name_of_a_deployment_arrives_as_it_is(deployment: str) -> None:
    sent = urlsplit(url("POST", "/v1/chat/completions", CLASSIC, deployment))
    segments = sent.path.split("/")
    assert (segments[:3], segments[4:]) == (["", "openai", "deployments"], ["chat", "completions"])
    assert unquote(segments[3]) == deployment
    assert read("POST", sent.path).deployment == deployment


@pytest.mark.parametrize("version", [None, "preview", DATED_VERSION])
def test_an_unknown_path_passes_below_v1_with_its_query(version: str | None) -> None:
    sent = url("POST", "/v1/brand_new/x%2Fy?a=%20b", target(version=version))
    assert sent == HOST + "/openai/v1/brand_new/x%2Fy?a=%20b"


def test_an_unknown_path_keeps_the_version_that_the_caller_gave() -> None:
    assert (
        url("GET", "/v1/brand_new?api-version=preview&a=1", V1) == f"{HOST}/openai/v1/brand_new?a=1&api-version=preview"
    )


def test_an_unknown_operation_of_a_deployment_keeps_its_deployment() -> None:
    sent = url("POST", "/openai/deployments/dep/brand_new?api-version=2023-05-15", CLASSIC, "dep")
    assert "/deployments/dep/brand_new" in sent


def refused(method: str, path: str, where: Target) -> Refusal:
    refusal = refusal_of(read(method, path), where)
    assert refusal is not None, f"{method} {path} was let through"
    return refusal


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/conversations"),
        ("POST", "/responses/compact"),
        ("POST", "/responses/resp_1/cancel"),
        ("POST", "/responses?beta=true"),
        ("POST", "/videos"),
        ("GET", "/containers"),
        ("POST", "/realtime/client_secrets"),
        ("WS", "/responses"),
    ],
)
def test_what_only_v1_has_is_refused_on_classic_and_says_so(method: str, path: str) -> None:
    refusal = refused(method, "/v1" + path, CLASSIC)
    assert (refusal.status, refusal.code) == (404, "OperationOnOtherSurface")
    assert "only on the v1 surface" in refusal.message
    assert "api_version='v1'" in refusal.message
    assert repr(DATED_VERSION) in refusal.message
    assert "'r'" in refusal.message
    assert refusal_of(read(method, "/v1" + path), V1) is None


@pytest.mark.parametrize(
    ("method", "path", "first"),
    [
        ("POST", "/assistants", "2024-02-15-preview"),
        ("POST", "/threads/t1/runs", "2024-02-15-preview"),
        ("POST", "/uploads", "2024-08-01-preview"),
        ("POST", "/realtime/sessions", "2025-04-01-preview"),
    ],
)
@pytest.mark.parametrize("version", [None, "preview"])
def test_what_only_dated_versions_have_is_refused_on_v1_and_says_since_when(
    method: str, path: str, first: str, version: str | None
) -> None:
    refusal = refused(method, "/v1" + path, target(version=version))
    assert (refusal.status, refusal.code) == (404, "OperationOnOtherSurface")
    assert f"dated api-version (since {first})" in refusal.message
    assert "uses the v1 surface" in refusal.message
    assert refusal_of(read(method, "/v1" + path), CLASSIC) is None


@pytest.mark.parametrize("where", [V1, CLASSIC, target(PROJECT)], ids=["v1", "classic", "project"])
def test_what_azure_does_not_have_is_refused_everywhere(where: Target) -> None:
    for method, path in (("POST", "/moderations"), ("POST", "/images/variations"), ("DELETE", "/models/m")):
        refusal = refused(method, "/v1" + path, where)
        assert (refusal.status, refusal.code) == (404, "OperationNotOffered")
        assert "on any surface" in refusal.message
    for path in ("/organization/users", "/organization/projects/p1/api_keys", "/projects/p1"):
        refusal = refused("GET", "/v1" + path, where)
        assert (refusal.status, refusal.code) == (404, "OperationNotOffered")
        assert "Azure Resource Manager" in refusal.message


def test_a_project_has_no_embeddings_and_says_where_they_are() -> None:
    refusal = refused("POST", "/v1/embeddings", target(PROJECT))
    assert (refusal.status, refusal.code) == (404, "OperationOnOtherSurface")
    assert "resource's endpoint" in refusal.message
    assert refusal_of(read("POST", "/v1/responses"), target(PROJECT)) is None


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/..",
        "/v1/files/%2e%2E",
        "/v1/files/./content",
        "/v1/brand_new/../files",
        "/v1/../admin",
        "/v1/files/%2e",
    ],
)
@pytest.mark.parametrize("where", [V1, CLASSIC], ids=["v1", "classic"])
def test_a_dot_segment_is_never_sent(path: str, where: Target) -> None:
    refusal = refused("GET", path, where)
    assert (refusal.status, refusal.code) == (400, "InvalidPath")


@pytest.mark.parametrize("path", ["/v1/files/...", "/v1/files/a..b", "/v1/files/.hidden"])
def test_dots_in_a_name_are_no_dot_segment(path: str) -> None:
    assert refusal_of(read("GET", path), V1) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-10-21", True),
        ("2025-04-01-preview", True),
        ("2024-10-21-", False),
        ("2024-10", False),
        ("v1", False),
        ("preview", False),
        ("2024-10-21 ", False),
        ("2024-10-21\n", False),
        ("2024-10-21-preview&x=1", False),
        ("2024-10-21-previeẃ", False),
    ],
)
def test_what_is_a_dated_version(text: str, expected: bool) -> None:
    assert (DATED.fullmatch(text) is not None) is expected


def test_a_line_is_itself_and_no_other() -> None:
    """Lines are keys of the kept addresses, by identity."""
    one, two = read("GET", "/v1/files"), read("GET", "/v1/files")
    assert one != two
    assert len({one, two, one}) == 2
    assert isinstance(one, RequestLine)


@pytest.mark.parametrize("where", [V1, target(version="2025-04-01-preview")], ids=["v1", "classic"])
def test_a_run_of_an_eval_is_cancelled_by_a_post_to_the_run(where: Target) -> None:
    """Azure's specification has no ``/cancel`` there; openai 3.54 writes one."""
    expected = url("POST", "/v1/evals/eval_1/runs/run_1", where)
    assert url("POST", "/v1/evals/eval_1/runs/run_1/cancel", where) == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/evals/eval_1/cancel"),
        ("POST", "/evals/eval_1/runs/run_1/output_items/cancel"),
        ("GET", "/evals/eval_1/runs/run_1/cancel"),
    ],
)
def test_nothing_but_the_run_of_an_eval_loses_its_cancel(method: str, path: str) -> None:
    line = read(method, "/v1" + path)
    assert line.path == path
    assert line.operation is None


@pytest.mark.parametrize("path", ["/evals/cancel", "/evals/eval_1/runs/cancel"])
def test_an_id_called_cancel_is_an_id(path: str) -> None:
    assert read("POST", "/v1" + path).path == path
