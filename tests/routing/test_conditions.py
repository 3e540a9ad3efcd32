"""The gateway's tests of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azure_shim.routing.conditions import context_of, matches

BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "temperature": 0.5,
    "max_tokens": 100,
    "stream": True,
    "n": 1,
    "stop": None,
    "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}],
    "response_format": {"type": "json_object"},
    "metadata": {"plan": "free", "seats": "12", "team.name": "blue"},
}
HEADER = {"plan": "pro", "region": "eu"}


def passes(query: dict[str, Any]) -> bool:
    return matches(query, context_of(json.dumps(BODY).encode(), HEADER, "/v1/chat/completions"))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, True),
        # equality
        ({"params.model": "gpt-4o"}, True),
        ({"params.model": "gpt-4"}, False),
        ({"params.model": {"$eq": "gpt-4o"}}, True),
        ({"params.model": {"$ne": "gpt-4"}}, True),
        ({"params.model": {"$ne": "gpt-4o"}}, False),
        ({"params.n": 1.0}, True),
        ({"params.n": True}, False),
        ({"params.stream": True}, True),
        ({"params.stream": 1}, False),
        ({"params.stop": None}, True),
        ({"params.response_format": {"type": "json_object"}}, True),
        ({"params.response_format.type": "json_object"}, True),
        ({"params.messages.1.role": "user"}, True),
        ({"params.messages.2.role": "user"}, False),
        ({"params.messages.x.role": "user"}, False),
        ({"params.model.name": "gpt-4o"}, False),
        # order
        ({"params.max_tokens": {"$gt": 99}}, True),
        ({"params.max_tokens": {"$gt": 100}}, False),
        ({"params.max_tokens": {"$gte": 100}}, True),
        ({"params.max_tokens": {"$lt": 100.5}}, True),
        ({"params.max_tokens": {"$lte": 99}}, False),
        ({"params.max_tokens": {"$gt": 10, "$lt": 50}}, False),
        ({"params.model": {"$gt": "gpt-3"}}, True),
        # types that cannot be compared
        ({"params.model": {"$gt": 3}}, False),
        ({"params.max_tokens": {"$lt": "200"}}, False),
        ({"params.stream": {"$gt": 0}}, False),
        ({"params.stop": {"$lte": None}}, False),
        ({"params.messages": {"$gt": []}}, False),
        ({"params.max_tokens": {"$regex": "1"}}, False),
        ({"params.model": {"$regex": 4}}, False),
        # metadata are strings, by the rules of the API
        ({"metadata.seats": {"$gt": 9}}, True),
        ({"metadata.seats": {"$lt": 9.5}}, False),
        ({"metadata.seats": {"$eq": 12}}, True),
        ({"metadata.seats": {"$in": [7, 12]}}, True),
        ({"metadata.seats": {"$in": ["12"]}}, True),
        ({"metadata.seats": {"$in": [7, 8]}}, False),
        ({"metadata.seats": {"$nin": [7, 12]}}, False),
        ({"metadata.seats": {"$nin": [7]}}, True),
        ({"metadata.seats": {"$in": 12}}, False),
        ({"metadata.plan": {"$gt": 9}}, False),
        # sets
        ({"params.model": {"$in": ["gpt-4", "gpt-4o"]}}, True),
        ({"params.model": {"$in": ("gpt-4",)}}, False),
        ({"params.model": {"$in": "gpt-4o"}}, False),
        ({"params.model": {"$nin": ["gpt-4"]}}, True),
        ({"params.model": {"$nin": ["gpt-4o"]}}, False),
        ({"params.model": {"$nin": "gpt-4"}}, False),
        ({"params.n": {"$in": [True]}}, False),
        # patterns
        ({"params.model": {"$regex": "^gpt-4"}}, True),
        ({"params.model": {"$regex": "4o$"}}, True),
        ({"params.model": {"$regex": "^o"}}, False),
        ({"params.model": {"$regex": "("}}, False),
        # what is missing
        ({"params.user": None}, False),
        ({"params.user": {"$eq": None}}, False),
        ({"params.user": {"$ne": "x"}}, True),
        ({"params.user": {"$nin": ["x"]}}, True),
        ({"params.user": {"$in": [None]}}, False),
        ({"params.user": {"$lt": 3}}, False),
        ({"params.user": {"$regex": ""}}, False),
        ({"elsewhere.x": {"$ne": 1}}, True),
        ({"elsewhere": 1}, False),
        # metadata of the header and of the body
        ({"metadata.plan": "pro"}, True),
        ({"metadata.region": "eu"}, True),
        ({"metadata.team.name": "blue"}, True),
        ({"params.metadata.plan": "free"}, True),
        # path
        ({"url.pathname": "/v1/chat/completions"}, True),
        ({"url.pathname": {"$regex": "/embeddings$"}}, False),
        # all of them, any of them
        ({"params.model": "gpt-4o", "metadata.plan": "pro"}, True),
        ({"params.model": "gpt-4o", "metadata.plan": "free"}, False),
        ({"$or": [{"params.model": "o3"}, {"metadata.plan": "pro"}]}, True),
        ({"$or": [{"params.model": "o3"}]}, False),
        ({"$or": []}, False),
        ({"$and": [{"params.n": 1}, {"$or": [{"metadata.plan": "pro"}]}]}, True),
        ({"$and": [{"params.n": 1}, {"params.n": 2}]}, False),
        ({"$or": [{"params.n": 1}], "metadata.plan": "free"}, False),
        # what makes no sense passes nothing
        ({"$and": {"params.n": 1}}, False),
        ({"$or": "x"}, False),
        ({"$or": ["x"]}, False),
        ({"params.n": {"$like": 1}}, False),
        ({"params.n": {"$eq": 1, "one": 1}}, False),
    ],
)
def test_queries(query: dict[str, Any], expected: bool) -> None:
    assert passes(query) is expected


@pytest.mark.parametrize("content", [None, b"", b"--b\r\n\r\n", b'{"model":', b"[1]", b'{"a":' + b"[" * 100_000])
def test_a_body_without_parameters_has_none(content: bytes | None) -> None:
    context = context_of(content, None, "/v1/files")
    assert not matches({"params.model": "gpt-4o"}, context)
    assert matches({"params.model": {"$ne": "gpt-4o"}}, context)
    assert matches({"url.pathname": "/v1/files", "metadata.plan": {"$nin": ["pro"]}}, context)


def test_the_header_may_come_as_it_was_sent() -> None:
    for header in (b'{"plan":"pro"}', '{"plan":"pro"}', {"plan": "pro"}):
        assert matches({"metadata.plan": "pro"}, context_of(None, header, "/"))
    for header in (b"nonsense", "[1]", "", "\ud800", None):
        assert not matches({"metadata.plan": "pro"}, context_of(None, header, "/"))


def test_the_body_is_parsed_once_and_only_if_it_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    loads = json.loads
    monkeypatch.setattr("azure_shim.routing.conditions.json.loads", lambda text: parsed.append(text) or loads(text))
    content = b'{"model":"gpt-4o","metadata":{"team":"blue"}}'
    context = context_of(content, {"plan": "pro"}, "/v1/responses")
    assert matches({"url.pathname": "/v1/responses"}, context)
    assert not parsed
    assert matches({"params.model": "gpt-4o", "metadata.team": "blue", "metadata.plan": "pro"}, context)
    assert parsed == [content]
    assert matches({"metadata.plan": "pro"}, context_of(b'{"model":"gpt-4o"}', {"plan": "pro"}, "/"))
    assert parsed == [content]


def test_a_context_is_a_mapping_and_any_mapping_is_a_context() -> None:
    context = context_of(b'{"n":1}', None, "/x")
    assert {key: context[key] for key in context} == {"metadata": {}, "params": {"n": 1}, "url": {"pathname": "/x"}}
    assert len(context) == 3
    assert matches({"params.n": 1}, {"params": {"n": 1}})
    with pytest.raises(KeyError):
        context["other"]
