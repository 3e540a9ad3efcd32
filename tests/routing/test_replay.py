"""What may be sent again after it may have run."""

from __future__ import annotations

import json

import pytest

from azure_shim.routing.replay import may_repeat
from azure_shim.wire.operations import table
from azure_shim.wire.request_line import RequestLine, read


def line(text: str) -> RequestLine:
    method, path = text.split(" ")
    return read(method, "/v1" + path)


@pytest.mark.parametrize(
    ("call", "content", "may"),
    [
        ("POST /chat/completions", b'{"messages":[]}', True),
        ("POST /chat/completions", b'{"messages":[],"store":false}', True),
        ("POST /chat/completions", b'{"messages":[],"store":true}', False),
        ("POST /chat/completions", b'{"metadata":{"store":true},"messages":[]}', True),
        ("POST /chat/completions", None, True),
        ("POST /completions", b"{}", True),
        ("POST /embeddings", b"{}", True),
        ("POST /moderations", b"{}", True),
        ("POST /models/chat/completions", b"{}", True),
        ("POST /extensions/chat/completions", b"{}", True),
        ("POST /audio/transcriptions", None, True),
        ("POST /audio/translations", None, True),
        ("POST /audio/speech", b"{}", True),
        ("POST /responses/input_tokens", b"{}", True),
        ("POST /responses/input_tokens?beta=true", b"{}", True),
        ("POST /responses", b'{"input":"x"}', False),
        ("POST /responses", b'{"input":"x","store":true}', False),
        ("POST /responses", b'{"input":"x","store":null}', False),
        ("POST /responses", b'{"input":"x","store":"false"}', False),
        ("POST /responses", b'{"input":"x","store":false}', True),
        ("POST /responses", b'{ "store" : false, "stream" : true }', True),
        ("POST /responses", b'{"metadata":{"store":false},"input":"x"}', False),
        ("POST /responses", b'{"input":"x","store":false,"background":false}', True),
        ("POST /responses", b'{"input":"x","store":false,"background":true}', False),
        ("POST /responses", b'{"input":"x","store":false,"conversation":"conv_1"}', False),
        ("POST /responses", b'{"input":"x","store":false,"conversation":{"id":"conv_1"}}', False),
        ("POST /responses", b'{"input":"x","store":false,"conversation":null}', True),
        ("POST /responses", b'{"input":"x","store":false,"tools":[{"type":"function"}]}', True),
        ("POST /responses", b'{"input":"x","store":false,"tools":[{"type":"mcp"}]}', False),
        ("POST /responses", b'{"input":"x","store":false,"tools":[{"type": "image_generation"}]}', False),
        ("POST /responses", b'{"input":"a \\"mcp\\" server","store":false}', True),
        ("POST /responses", b'no JSON with "store":false', False),
        ("POST /responses", None, False),
        ("GET /responses/resp_1", None, True),
        ("GET /files", None, True),
        ("GET /files/file-1/content", None, True),
        ("GET /models", None, True),
        ("POST /images/generations", b"{}", False),
        ("POST /images/edits", None, False),
        ("POST /images/variations", None, False),
        ("POST /videos", b"{}", False),
        ("POST /batches", b"{}", False),
        ("POST /files", None, False),
        ("POST /uploads/upload_1/parts", None, False),
        ("POST /fine_tuning/jobs", b"{}", False),
        ("POST /vector_stores", b"{}", False),
        ("POST /threads/runs", b"{}", False),
        ("POST /threads/thread_1/messages", b"{}", False),
        ("POST /chat/completions/chatcmpl-1", b"{}", False),
        ("DELETE /files/file-1", None, False),
        ("DELETE /responses/resp_1", None, False),
        ("WS /responses", None, False),
        ("POST /something/new", b"{}", False),
        ("GET /something/new", None, False),
    ],
)
def test_what_is_safe(call: str, content: bytes | None, may: bool) -> None:
    assert may_repeat(line(call), content, "safe") is may


@pytest.mark.parametrize("operation", list(table()), ids=str)
def test_nothing_is_repeated_under_never_and_all_under_always(operation: object) -> None:
    call = line(str(operation).replace("{", "").replace("}", ""))
    for content in (None, b"{}", b'{"store":false}'):
        assert not may_repeat(call, content, "never")
        assert may_repeat(call, content, "always")


@pytest.mark.parametrize("operation", [o for o in table() if o.kept and o.method != "GET"], ids=str)
def test_nothing_that_is_kept_is_safe_but_an_unstored_response(operation: object) -> None:
    call = line(str(operation).replace("{", "").replace("}", ""))
    assert not may_repeat(call, b"{}", "safe")
    assert may_repeat(call, b'{"store":false}', "safe") is (str(operation) == "POST /responses")


def test_store_is_found_wherever_it_stands() -> None:
    long = {"role": "user", "content": 'say {"store": true}, "store":true ' * 5000}
    for members in (
        {"store": True, "m": [long]},
        {"m": [long], "store": True},
        {"a": [long], "store": True, "z": [long]},
    ):
        content = json.dumps(members).encode()
        assert not may_repeat(line("POST /chat/completions"), content, "safe")
        assert may_repeat(line("POST /responses"), content.replace(b'"store": true', b'"store": false'), "safe")
    assert may_repeat(line("POST /chat/completions"), json.dumps({"m": [long]}).encode(), "safe")
