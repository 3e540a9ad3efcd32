"""What calls return and raise: objects that are dicts, and 0.28's errors by its own mapping of statuses."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import openai
import pytest

from azure_shim.patching.legacy import error as errors
from azure_shim.patching.legacy.objects import OpenAIObject, convert_to_openai_object
from azure_shim.testing.resource import Resource
from azure_shim.testing.response import FakeResponse
from tests.patching.legacy.conftest import MESSAGES

VALUES = {"id": "x-1", "object": "thing", "empty": "", "list": [{"a": 1}, [{"b": 2}], "c"], "nested": {"items": 3}}


def made(**attributes: Any) -> OpenAIObject:
    return OpenAIObject.construct_from(VALUES, **attributes)


def test_members_are_items_and_attributes_at_every_depth() -> None:
    thing = made(response_ms=12, organization="org", api_version="v", engine="e")
    assert thing.list[0].a == thing["list"][0]["a"] == 1
    assert thing.list[1][0].b == 2
    assert thing.nested["items"] == 3
    assert thing.get("missing") is None
    assert (thing.openai_id, thing.response_ms, thing.organization, thing.engine) == ("x-1", 12, "org", "e")
    assert (thing.api_version, thing.api_key) == ("v", None)
    with pytest.raises(AttributeError, match="missing"):
        _ = thing.missing
    thing.added = 4
    assert thing["added"] == 4
    del thing.added
    assert "added" not in thing


def test_it_is_json_and_plain_where_that_is_asked_for() -> None:
    thing = made()
    assert json.loads(json.dumps(thing)) == json.loads(str(thing)) == VALUES
    assert str(thing) == json.dumps(VALUES, indent=2)
    assert type(thing.to_dict()) is dict
    assert isinstance(thing.to_dict()["nested"], OpenAIObject)
    plain = thing.to_dict_recursive()
    assert plain == VALUES
    assert [type(plain["nested"]), type(plain["list"][0]), type(plain["list"][1][0])] == [dict, dict, dict]
    assert repr(thing).startswith("<OpenAIObject thing id=x-1 at 0x")
    assert convert_to_openai_object(thing) is thing


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_is_the_same_and_its_own(copied: Callable[[Any], Any]) -> None:
    thing = made(response_ms=12, organization="org")
    other = copied(thing)
    assert (type(other), other, other.response_ms, other.organization) == (OpenAIObject, thing, 12, "org")
    other.id = "another"
    assert thing.id == "x-1"
    if copied is not copy.copy:
        other.nested["items"] = 4
        assert thing.nested["items"] == 3


def test_an_answer_knows_its_headers(call: Callable[..., Any], east: Resource) -> None:
    headers = {"openai-processing-ms": "41.6", "openai-organization": "org-theirs"}
    east.answer_next(lambda _request: FakeResponse.json({"id": "1", "choices": [{"index": 0}]}, headers=headers))
    answer = call("ChatCompletion.create", engine="prod", messages=MESSAGES)
    assert (answer.response_ms, answer.organization, answer.engine) == (42, "org-theirs", "prod")
    assert east.api_key not in f"{vars(answer)} {answer!r}"


def test_what_azure_adds_stays(call: Callable[..., Any]) -> None:
    answer = call("ChatCompletion.create", model="gpt-4o", messages=MESSAGES)
    assert answer.prompt_filter_results[0].content_filter_results.hate.filtered is False
    assert answer.choices[0].content_filter_results.violence.severity == "safe"


@pytest.mark.parametrize("values", [{}, {"encoding_format": "float"}])
def test_vectors_are_lists_of_floats(values: dict[str, Any], call: Callable[..., Any], east: Resource) -> None:
    answer = call("Embedding.create", engine="vectors", input=["a", "b"], **values)
    assert [type(number) for number in answer.data[1].embedding] == [float] * 1536
    assert east.requests[0].json()["encoding_format"] == (values or {"encoding_format": "base64"})["encoding_format"]


def test_base64_that_was_asked_for_stays(call: Callable[..., Any]) -> None:
    answer = call("Embedding.create", engine="vectors", input="a", encoding_format="base64")
    assert isinstance(answer.data[0].embedding, str)


STATUSES = {
    400: "InvalidRequestError",
    401: "AuthenticationError",
    403: "PermissionError",
    404: "InvalidRequestError",
    408: "APIError",
    409: "TryAgain",
    415: "InvalidRequestError",
    422: "APIError",
    429: "RateLimitError",
    500: "APIError",
    502: "APIError",
    503: "ServiceUnavailableError",
}


@pytest.mark.parametrize("status", STATUSES)
def test_errors_by_status(status: int, call: Callable[..., Any], east: Resource) -> None:
    """One request each: what 0.28 did not retry is not retried."""
    error = {"message": "Why.", "type": "kind", "param": "prompt", "code": "a_code"}
    body = {"error": error}
    east.answer_next(lambda _request: FakeResponse.json(body, status, {"request-id": "r-1", "retry-after": "7"}))
    with pytest.raises(errors.OpenAIError) as caught:
        call("ChatCompletion.create", engine="prod", messages=MESSAGES)
    raised = caught.value
    assert type(raised) is getattr(errors, STATUSES[status])
    assert (raised.http_status, json.loads(raised.http_body)) == (status, body)
    assert (raised.request_id, raised.headers["Retry-After"]) == ("r-1", "7")
    assert str(raised) == f"Request r-1: {raised.user_message}"
    if status != 503:
        assert "Why." in str(raised.user_message)
        assert (raised.error.message, raised.error.type, raised.json_body) == ("Why.", "kind", body)
    if isinstance(raised, errors.InvalidRequestError):
        assert (raised.param, raised.code, raised.user_message) == ("prompt", "a_code", "Why.")
    assert len(east.requests) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("502_html", "APIError", "HTTP code 502 from API (<html>"),
        ("cut_json_200", "APIError", "HTTP code 200 from API ({"),
        ("reset", "APIConnectionError", "Error communicating with OpenAI: "),
        ("content_filter", "InvalidRequestError", "content management policy"),
    ],
)
def test_faults(fault: str, kind: str, words: str, call: Callable[..., Any], east: Resource) -> None:
    east.fail_next(fault)
    with pytest.raises(getattr(errors, kind)) as caught:
        call("ChatCompletion.create", engine="prod", messages=MESSAGES)
    assert words in str(caught.value)


def test_an_answer_that_is_an_error_of_nobody_s_form(call: Callable[..., Any], east: Resource) -> None:
    east.answer_next(lambda _request: FakeResponse.json({"statusCode": 429, "message": "Slow."}, 429))
    with pytest.raises(errors.APIError, match="Invalid response object from API") as caught:
        call("ChatCompletion.create", engine="prod", messages=MESSAGES)
    assert caught.value.error is None


def test_no_answer_in_time(call: Callable[..., Any], east: Resource) -> None:
    """``request_timeout`` is one number, or one for the connection and one for the answer."""
    for request_timeout in (0.05, (5, 0.05)):
        east.fail_next("stall")
        with pytest.raises(errors.Timeout, match="Request timed out"):
            call("ChatCompletion.create", engine="prod", messages=MESSAGES, request_timeout=request_timeout)
    east.heal()


def test_nobody_listens(call: Callable[..., Any], east: Resource) -> None:
    east.stop()
    with pytest.raises(errors.APIConnectionError, match="Error communicating with OpenAI: ") as caught:
        call("ChatCompletion.create", engine="prod", messages=MESSAGES)
    assert caught.value.should_retry is False
    assert isinstance(caught.value.__cause__, openai.APIConnectionError)


@pytest.mark.parametrize(
    "raised",
    [
        errors.RateLimitError("m", "b", 429, {"error": {"message": "m"}}, {"request-id": "r"}, "c"),
        errors.InvalidRequestError("m", "p", "c", "b", 400, {"error": {"message": "m"}}, {"request-id": "r"}),
        errors.APIError("m", b"b", 500),
        errors.APIConnectionError("m", should_retry=True),
        errors.SignatureVerificationError("m", "header", "b"),
    ],
)
def test_an_error_can_be_pickled(raised: errors.OpenAIError) -> None:
    other = pickle.loads(pickle.dumps(raised))
    assert type(other) is type(raised)
    assert (repr(other), str(other), vars(other)) == (repr(raised), str(raised), vars(raised))


def test_the_classes_that_0_28_exported_are_caught_under_today_s_names() -> None:
    assert issubclass(errors.OpenAIError, openai.OpenAIError)
    assert issubclass(errors.APIError, openai.APIError)
    assert not issubclass(errors.RateLimitError, openai.APIError)
    assert (errors.APIError("m").message, str(errors.APIError())) == ("m", "<empty message>")
