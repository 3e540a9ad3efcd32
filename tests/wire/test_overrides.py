"""``override_params`` over bodies of every kind: what they name is changed everywhere, and nothing else anywhere."""

from __future__ import annotations

import json
import re
import time
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_shim.values import Refusal
from azure_shim.wire.overrides import is_json, overridden

JSON, FORM = "application/json", "multipart/form-data; boundary=b"
BINARY = bytes(range(256)) * 40 + b"\r\n--bb\r\n--b \x00"
MODEL = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1'
FILE = (
    b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a; name=\\"x\\".wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\n" + BINARY
)
PROMPT = b'\r\n--b\r\nContent-Disposition: form-data; name="prompt"\r\nContent-Type: text/plain\r\n\r\nhi'
END = b"\r\n--b--\r\n"
UPLOAD = MODEL + FILE + PROMPT + END


def merged(content: bytes, params: dict[str, Any], content_type: str = JSON) -> bytes:
    result = overridden(content, content_type, params)
    assert not isinstance(result, Refusal), result
    return result


def field(name: str, value: str) -> bytes:
    return f'\r\n--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


@pytest.mark.parametrize(
    ("content", "params", "expected"),
    [
        (b'{"model":"a","x":1}', {"model": "b"}, b'{"model":"b","x":1}'),
        (b'{"x":1,"model":"a"}', {"model": "b"}, b'{"x":1,"model":"b"}'),
        (b' { "model" :\t"a" ,\n"x":1.50e0 }\n', {"model": "b"}, b' { "model" :\t"b" ,\n"x":1.50e0 }\n'),
        (b'{"x":1}', {"model": "b", "n": 2}, b'{"x":1,"model":"b","n":2}'),
        (b'{ "x" : 1 }', {"n": True}, b'{ "x" : 1,"n":true }'),
        (b"{}", {"model": "b"}, b'{"model":"b"}'),
        (b"{ }", {"model": "b", "n": None}, b'{"model":"b","n":null }'),
        (b'{"model":"a"}', {"model": None}, b'{"model":null}'),
        (b'{"a":[1, 2],"b":{"c":1}}', {"a": {"d": 1}, "b": [3]}, b'{"a":{"d":1},"b":[3]}'),
        (b'{"a":{"b":{"c":1, "d":2}},"e":0}', {"a": {"b": {"c": 3}}}, b'{"a":{"b":{"c":3, "d":2}},"e":0}'),
        (b'{"a":{"b":{}},"e":0}', {"a": {"b": {"c": 3}, "f": {"g": 4}}}, b'{"a":{"b":{"c":3},"f":{"g":4}},"e":0}'),
        (b'{"a":{"b":1}}', {"a": {}}, b'{"a":{"b":1}}'),
        (b'{"a":[{"model":"x"}],"s":"\\"model\\":1"}', {"n": 1}, b'{"a":[{"model":"x"}],"s":"\\"model\\":1","n":1}'),
        (b'{"x":"\xc3\xa9\xff\x00","model":"a"}', {"model": "\u00e9"}, b'{"x":"\xc3\xa9\xff\x00","model":"\\u00e9"}'),
        (b'{"x":' + b"9" * 5000 + b',"y":NaN}', {"z": 1}, b'{"x":' + b"9" * 5000 + b',"y":NaN,"z":1}'),
    ],
)
def test_a_json_body_differs_by_nothing_but_its_overrides(
    content: bytes, params: dict[str, Any], expected: bytes
) -> None:
    assert merged(content, params) == expected


@pytest.mark.parametrize(
    ("content", "params", "expected"),
    [
        (b'{"model":"a","x":1,"model":"c"}', {"model": "b"}, b'{"model":"b","x":1,"model":"b"}'),
        (b'{"model":"a","\\u006dodel":"c"}', {"model": "b"}, b'{"model":"b","\\u006dodel":"b"}'),
        (b'{"d\\u00e9p":1,"d\xc3\xa9p":2}', {"d\u00e9p": 3}, b'{"d\\u00e9p":3,"d\xc3\xa9p":3}'),
        (b'{"a":{"b":1},"a":0,"a":{"c":2}}', {"a": {"b": 3}}, b'{"a":{"b":3},"a":{"b":3},"a":{"c":2,"b":3}}'),
    ],
)
def test_no_spelling_of_a_member_gets_past_its_override(
    content: bytes, params: dict[str, Any], expected: bytes
) -> None:
    assert merged(content, params) == expected


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"null", b"[]", b'["model"]', b'"model"', b"[" * 100_000, b"\x1f\x8b\x08"),
        *(b'{"model":"a"', b'{"model":"a",}', b'{"model" "a"}', b'{"model":}', b"{model:1}", b"{", b'{"a":1 "b":2}'),
        *(b'{"a":1}{"b":2}', b'{"a":1} x'),
    ],
)
def test_what_is_no_object_passes_as_it_is(content: bytes) -> None:
    assert merged(content, {"model": "b"}) == content


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/octet-stream", "application/jsonl", "multipart/mixed; boundary=b"]
)
def test_a_body_of_another_kind_passes_as_it_is(content_type: str) -> None:
    assert merged(b'{"model":"a"}', {"model": "b"}, content_type) == b'{"model":"a"}'


def test_json_is_known_by_its_type_and_by_its_suffix() -> None:
    for name in ("application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json", " application/json "):
        assert is_json(name)
    for name in ("application/json-patch", "text/json", "application/x/json", FORM, ""):
        assert not is_json(name)


def test_a_body_that_python_cannot_read_to_its_end_is_refused() -> None:
    """It might be read by the service, with the member that was to be overridden."""
    deep = b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b',"model":"a"}'
    refusal = overridden(deep, JSON, {"model": "b"})
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (400, "InvalidBody")


@pytest.mark.parametrize("content_type", [JSON, FORM])
@pytest.mark.parametrize("value", [{1, 2}, float("nan"), [b"x"], {"y": object()}])
def test_an_override_that_is_no_json_is_refused_by_name(value: Any, content_type: str) -> None:
    refusal = overridden(b'{"n":1}' if content_type == JSON else UPLOAD, content_type, {"n": value})
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (400, "InvalidOverride")
    assert "'n'" in refusal.message


def test_read_only_mappings_are_merged_like_dicts() -> None:
    params = MappingProxyType({"a": MappingProxyType({"b": MappingProxyType({"c": 1})})})
    assert overridden(b'{"a":{"d":2}}', JSON, params) == b'{"a":{"d":2,"b":{"c":1}}}'


def test_nothing_is_done_for_no_overrides() -> None:
    assert overridden(UPLOAD, FORM, {}) is UPLOAD


_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
_objects = st.dictionaries(st.sampled_from("abcd") | st.text(max_size=3), _documents, max_size=4)


def deeply(body: Any, params: Any) -> Any:
    if not isinstance(body, dict) or not isinstance(params, dict):
        return params
    return {**body, **{k: deeply(body[k], v) if k in body else v for k, v in params.items()}}


@given(_objects, _objects, st.sampled_from([None, 2]), st.booleans())
def test_any_object_is_merged_deeply(body: Any, params: Any, indent: int | None, ascii_only: bool) -> None:
    content = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode()
    got = merged(content, params)

    assert json.loads(got) == deeply(body, params)
    assert merged(got, params) == got
    if not params:
        assert got == content


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"model": "m-2"}, UPLOAD.replace(b"whisper-1", b"m-2")),
        ({"prompt": "d\u00e9j\u00e0"}, UPLOAD.replace(b"\r\n\r\nhi", "\r\n\r\nd\u00e9j\u00e0".encode())),
        ({"model": "m-2", "prompt": ""}, MODEL.replace(b"whisper-1", b"m-2") + FILE + PROMPT[:-2] + END),
        ({"language": "de"}, MODEL + FILE + PROMPT + field("language", "de") + END),
        ({"x": True, "y": False}, MODEL + FILE + PROMPT + field("x", "true") + field("y", "false") + END),
        ({"x": 1.5, "y": None}, MODEL + FILE + PROMPT + field("x", "1.5") + field("y", "null") + END),
        ({"x": {"a": [1]}, "y": ["b"]}, MODEL + FILE + PROMPT + field("x", '{"a":[1]}') + field("y", '["b"]') + END),
        ({'a"b\r\nc': "v"}, MODEL + FILE + PROMPT + field("a%22b%0D%0Ac", "v") + END),
    ],
)
def test_a_form_differs_by_nothing_but_its_overrides(params: dict[str, Any], expected: bytes) -> None:
    assert merged(UPLOAD, params, FORM) == expected


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="model"',
        b"content-disposition:form-data;name=model",
        b'Content-Type: text/plain\r\nCONTENT-DISPOSITION: form-data;\r\n NAME = "model"',
        b'Content-Disposition: form-data; x="; name=no; \\" "; name="model"\r\nX-Name: ; name="no"',
    ],
)
def test_a_field_is_known_in_every_spelling_and_as_often_as_it_comes(head: bytes) -> None:
    form = b"--b\r\n" + head + b"\r\n\r\nold\r\n--b \t\r\n" + head + b"\r\n\r\n" + END
    assert merged(form, {"model": "new"}, FORM) == (
        b"--b\r\n" + head + b"\r\n\r\nnew\r\n--b \t\r\n" + head + b"\r\n\r\nnew" + END
    )


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"X-Name: y; name=model\r\n",
        b"Content-Disposition: form-data\r\n",
        b'Content-Disposition: form-data; filename="; name=model"\r\n',
        b'Content-Disposition: form-data; name="models"\r\n',
    ],
)
def test_a_part_of_no_or_another_name_is_not_the_field(head: bytes) -> None:
    form = b"--b\r\n" + head + b"\r\nold" + END
    assert merged(form, {"model": "new"}, FORM) == form[: -len(END)] + field("model", "new") + END


def test_a_form_without_parts_gets_its_first() -> None:
    assert merged(b"--b--\r\n", {"a": "1", "c": "2"}, FORM) == field("a", "1")[2:] + field("c", "2") + END


def test_a_part_without_content_is_left_alone() -> None:
    form = b"--b\r\n" + b'Content-Disposition: form-data; name="model"'
    assert merged(form + END, {"model": "m"}, FORM) == form + field("model", "m") + END


def test_what_follows_the_end_of_a_form_is_no_part_of_it() -> None:
    epilogue = field("model", "x") + END
    assert merged(UPLOAD + epilogue, {"model": "m"}, FORM) == UPLOAD.replace(b"whisper-1", b"m") + epilogue


@pytest.mark.parametrize("filename", [b'filename="a"', b"filename*=utf-8''a"])
def test_an_upload_is_not_overridden_by_a_text(filename: bytes) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"; ' + filename + b"\r\n\r\nx" + END
    refusal = overridden(form, FORM, {"file": "text"})
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (400, "InvalidOverride")
    assert "'file'" in refusal.message


def test_a_text_with_half_a_surrogate_pair_is_refused_in_a_form() -> None:
    refusal = overridden(UPLOAD, FORM, {"prompt": "\ud800"})
    assert isinstance(refusal, Refusal)
    assert refusal.code == "InvalidOverride"


@pytest.mark.parametrize("content", [b"", b"x", UPLOAD[:-8], MODEL, b"\r\n" + UPLOAD, b"--bb\r\n" + UPLOAD, b"--b"])
def test_a_broken_form_passes_as_it_is(content: bytes) -> None:
    assert merged(content, {"model": "m"}, FORM) == content


def test_a_form_as_httpx_writes_it_is_read_by_others_as_it_was_meant() -> None:
    import email.parser
    import email.policy

    import httpx

    request = httpx.Request("POST", "https://r/", data={"model": "a", "n": "1"}, files={"file": ("f", BINARY)})
    content_type = request.headers["content-type"]
    body = merged(request.read(), {"model": "b", "k": [1]}, content_type)
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + re.sub(rb"(?s)\x00.*\x00", b"", body)
    )
    read = {p.get_param("name", header="content-disposition"): p.get_content() for p in message.iter_parts()}  # type: ignore[attr-defined]

    assert (read["model"], read["n"], read["k"]) == ("b", "1", "[1]")
    assert BINARY in body


@pytest.mark.parametrize(
    ("start", "part", "end", "content_type"),
    [
        (b'{"x":"', b"A" * 100, b'","model":"a"}', JSON),
        (b'{"x":0', b',"y":{}' * 20, b',"model":"a"}', JSON),
        (b"--b\r\n\r\n", b"\r\n--b\r\n\r\n" * 10, END, FORM),
        (b"--b\r\n\r\n", b"\r\n--bb" * 20, END, FORM),
    ],
    ids=["a string", "members", "parts", "lines like delimiters"],
)
def test_the_work_grows_with_the_length_alone(start: bytes, part: bytes, end: bytes, content_type: str) -> None:
    def took(count: int) -> float:
        body = start + part * count + end
        begin = time.process_time()
        merged(body, {"model": "m"}, content_type)
        return time.process_time() - begin

    small, large = (min(took(count) for _ in range(3)) for count in (1_000, 10_000))
    assert large < 60 * small + 0.05
