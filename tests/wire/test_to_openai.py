"""Calls to OpenAI itself: every operation that it has, and nothing that only Azure knows."""

from __future__ import annotations

import pytest

from azure_shim.values import Credential, Endpoint, Origin, Refusal, Target
from azure_shim.wire.operations import table
from azure_shim.wire.request_line import read
from azure_shim.wire.to_openai import azure_only, openai_address, refusal_of_field, refusal_of_openai

OPENAI = Target(
    "openai",
    Endpoint(Origin("https", "api.openai.com", 443), classic=None, v1="/v1"),
    None,
    Credential("api_key", header="authorization", value="sk"),
    provider="openai",
)
CHAT = read("POST", "/v1/chat/completions")
JSON = "application/json"
# Written out from the Azure specifications.
ONLY_AZURE_HAS = {
    "DELETE /fine_tuning/jobs/{fine_tuning_job_id}",
    "DELETE /operations/images/{operation_id}",
    "GET /deployments",
    "GET /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints/{fine_tuning_checkpoint_id}/copy",
    "GET /operations/images/{operation_id}",
    "POST /dashboard/webhook_endpoints",
    "POST /extensions/chat/completions",
    "POST /files/import",
    "POST /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints/{fine_tuning_checkpoint_id}/copy",
    "POST /images/generations:submit",
    "POST /models/chat/completions",
    "POST /models/embeddings",
    "POST /video/generations/jobs",
    "PUT /ingestion/jobs/{job_id}",
}


@pytest.mark.parametrize(
    ("method", "path", "url"),
    [
        ("POST", "/v1/chat/completions", "/v1/chat/completions"),
        ("POST", "/openai/deployments/dep/chat/completions?api-version=2024-10-21", "/v1/chat/completions"),
        ("POST", "/openai/v1/responses?api-version=preview&beta=true", "/v1/responses?beta=true"),
        ("GET", "/openai/files/file-1/content?api-version=2024-10-21&x=%C3%BC", "/v1/files/file-1/content?x=%C3%BC"),
        ("GET", "/v1/models/ft:gpt-4o:org::id", "/v1/models/ft:gpt-4o:org::id"),
        ("GET", "/v1/files/a%2Fb", "/v1/files/a%2Fb"),
        ("POST", "/v1/moderations", "/v1/moderations"),
        ("GET", "/v1/organization/projects", "/v1/organization/projects"),
        ("POST", "/v1/something/new?a=b", "/v1/something/new?a=b"),
    ],
)
def test_a_call_goes_to_openai_in_openai_s_spelling(method: str, path: str, url: str) -> None:
    line = read(method, path)
    assert refusal_of_openai(line) is None
    assert openai_address(line, OPENAI) == "https://api.openai.com" + url


def test_a_call_goes_below_the_path_of_a_compatible_service() -> None:
    gateway = Target("g", Endpoint(Origin("http", "localhost", 8080), None, "/a/v1"), None, Credential("api_key"))
    assert openai_address(CHAT, gateway) == "http://localhost:8080/a/v1/chat/completions"


def test_exactly_the_operations_of_azure_alone_are_refused() -> None:
    refused = set()
    for operation in table():
        path = "/".join("x" if s.startswith("{") else s for s in operation.path.split("/"))
        line = read(operation.method, "/v1" + path + ("?beta=true" if operation.beta else ""))
        assert line.operation is operation
        refusal = refusal_of_openai(line)
        if refusal is not None:
            refused.add(str(operation))
            assert (refusal.status, refusal.code) == (404, "OperationNotOffered")
            assert str(operation) in refusal.message
            assert "url.pathname" in refusal.message
    assert refused == ONLY_AZURE_HAS


def test_on_your_data_s_old_path_is_refused() -> None:
    line = read("POST", "/openai/deployments/dep/extensions/chat/completions?api-version=2023-08-01-preview")
    assert isinstance(refusal_of_openai(line), Refusal)


@pytest.mark.parametrize("path", ["/v1/files/..", "/v1/files/%2e%2E/x", "/v1/./files"])
def test_a_path_that_climbs_is_refused(path: str) -> None:
    refusal = refusal_of_openai(read("GET", path))
    assert refusal is not None
    assert (refusal.status, refusal.code) == (400, "InvalidPath")


@pytest.mark.parametrize("name", ["data_sources", "dataSources", "enhancements", "user_security_context"])
@pytest.mark.parametrize("value", [b"[{}]", b"null", b'{"a":"b"}', b'"x"'])
def test_a_field_of_azure_alone_is_named_and_so_is_the_way_out(name: str, value: bytes) -> None:
    member = b'"%s":%s' % (name.encode(), value)
    for body in (b"{" + member + b',"model":"m"}', b'{"messages":[{"a":"b"}], ' + member + b"}", b"{" + member + b"}"):
        assert azure_only(body, JSON, CHAT) == name

    refusal = refusal_of_field(name, CHAT)
    assert (refusal.status, refusal.code) == (400, "FieldNotOffered")
    for part in (repr(name), "/chat/completions", f"params.{name}", "x-azure-shim-target"):
        assert part in refusal.message


def test_the_first_of_several_fields_is_named() -> None:
    assert azure_only(b'{"enhancements":{},"data_sources":[]}', JSON, CHAT) == "enhancements"
    assert azure_only(b'{"data_sources":[],"enhancements":{}}', JSON, CHAT) == "data_sources"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[]}',
        b'{"messages":[{"data_sources":[]}],"metadata":{"enhancements":"x"}}',
        b'{"messages":[{"content":"\\"data_sources\\":[]"}],"x":"data_sources"}',
        b'["data_sources"]',
        b'{"data_sources":',
        b"",
    ],
)
def test_what_is_no_member_of_the_request_is_no_field_of_azure(body: bytes) -> None:
    assert azure_only(body, JSON, CHAT) is None


def test_a_field_of_one_operation_is_looked_for_there() -> None:
    batch, job = read("POST", "/v1/batches"), read("POST", "/v1/fine_tuning/jobs")
    for name in ("input_blob", "output_folder"):
        body = b'{"endpoint":"/chat/completions","%s":"https://x"}' % name.encode()
        assert azure_only(body, JSON, batch) == name
        assert azure_only(body, JSON, CHAT) is None
    assert azure_only(b'{"trainingType":"globalStandard"}', JSON, job) == "trainingType"
    assert azure_only(b'{"trainingType":"globalStandard"}', JSON, batch) is None


def test_only_json_in_memory_is_looked_at() -> None:
    body = b'{"data_sources":[]}'
    assert azure_only(None, JSON, CHAT) is None
    assert azure_only(body, "text/plain", CHAT) is None
    assert azure_only(body, "multipart/form-data; boundary=b", CHAT) is None
    assert azure_only(body, "application/json; charset=utf-8", CHAT) == "data_sources"
