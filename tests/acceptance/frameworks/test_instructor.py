"""Instructor: structured answers from Azure, in its modes, by client and by patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import instructor
import openai
import pytest
from instructor import Mode
from pydantic import BaseModel, field_validator

import azure_shim
from azure_shim.testing import FakeAzure
from tests.acceptance.frameworks.support import CHAT, Gate, served

Run = Callable[[Any], Any]
MESSAGES: Any = [{"role": "user", "content": "the weather"}]
MODES = {
    Mode.TOOLS: "chat/completions",
    Mode.TOOLS_STRICT: "chat/completions",
    Mode.JSON_SCHEMA: "chat/completions",
    Mode.RESPONSES_TOOLS: "responses",
}


class Weather(BaseModel):
    city: str
    degrees: int


SUNNY = {"city": CHAT, "degrees": 1}


def _values(answer: Weather) -> dict[str, Any]:
    """What it says; its class may be one that instructor has derived."""
    return answer.model_dump()


class Report(BaseModel):
    """Long enough that its stream comes in many pieces."""

    monday: str
    tuesday: str
    wednesday: str
    thursday: str
    friday: str
    saturday: str
    sunday: str


@pytest.fixture(params=["client", "http_client", "patched", "patch"])
def way(request: pytest.FixtureRequest) -> str:
    """How Azure gets into the client that instructor works with; with a patch, instructor makes it."""
    return str(request.param)


@pytest.fixture
def build(way: str, request: pytest.FixtureRequest) -> Callable[..., Any]:
    def instructed(is_async: bool, mode: Mode = Mode.TOOLS) -> Any:
        if way in ("patched", "patch"):
            request.getfixturevalue(way)
            return instructor.from_provider("openai/gpt-4o", async_client=is_async, mode=mode)
        kind = "async_client" if is_async else "client"
        name = kind if way == "client" else f"plain_{kind}"
        return instructor.from_openai(request.getfixturevalue(name), mode=mode, model="gpt-4o")

    return instructed


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_structured_answer_is_read(
    build: Callable[..., Any], mode: Mode, is_async: bool, azure: FakeAzure, run: Run
) -> None:
    answer = build(is_async, mode).create(response_model=Weather, messages=MESSAGES)
    assert _values(run(answer) if is_async else answer) == SUNNY
    assert served(azure) == [(MODES[mode], "chat-prod")]


def test_a_partial_answer_is_streamed(build: Callable[..., Any], azure: FakeAzure) -> None:
    """Without ``await``, instructor reads the stream to its end before it hands out anything of it."""
    partial = list(build(False).create_partial(response_model=Report, messages=MESSAGES))
    assert len(partial) > len(Report.model_fields)
    assert partial[-1].sunday == CHAT
    assert served(azure) == [("chat/completions", "chat-prod")]
    assert azure.requests[0].json()["stream"] is True


def test_an_awaited_partial_answer_arrives_as_it_is_made(
    build: Callable[..., Any], azure: FakeAzure, gate: Gate, run: Run
) -> None:
    client = build(True)

    async def stream() -> Any:
        last = None
        async for last in client.create_partial(response_model=Report, messages=MESSAGES):
            if last.monday:
                gate.open()
        return last

    assert run(stream()).sunday == CHAT
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_an_answer_that_does_not_fit_is_asked_for_again(client: azure_shim.OpenAI, azure: FakeAzure) -> None:
    calls = []

    class Picky(Weather):
        @field_validator("city")
        @classmethod
        def second_time_lucky(cls, value: str) -> str:
            calls.append(value)
            if len(calls) == 1:
                raise ValueError("not that one")
            return value

    answer = instructor.from_openai(client).create(
        model="gpt-4o", response_model=Picky, messages=MESSAGES, max_retries=2
    )
    assert answer.city == CHAT
    assert served(azure) == [("chat/completions", "chat-prod")] * 2
    assert "not that one" in azure.requests[1].body.decode()


def test_a_client_of_the_caller_s_own_making_is_patched_too(patch: None, azure: FakeAzure) -> None:
    """What users of instructor write: their own ``openai.OpenAI`` around which instructor goes."""
    answer = instructor.from_openai(openai.OpenAI()).create(model="gpt-4o", response_model=Weather, messages=MESSAGES)
    assert _values(answer) == SUNNY
    assert served(azure) == [("chat/completions", "chat-prod")]


def test_the_classic_surface_serves_too(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.OpenAI(**classic) as client:
        answer = instructor.from_openai(client).create(model="gpt-4o", response_model=Weather, messages=MESSAGES)
    assert _values(answer) == SUNNY
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"


def test_the_raw_answer_is_azure_s(client: azure_shim.OpenAI) -> None:
    """What instructor hands out beside the model is openai's own object, with what Azure adds to it."""
    _, completion = instructor.from_openai(client).create_with_completion(
        model="gpt-4o", response_model=Weather, messages=MESSAGES
    )
    assert isinstance(completion, openai.types.chat.ChatCompletion)
    assert completion.model == "gpt-4o-2024-11-20"
    assert completion.choices[0].model_extra is not None
    assert "content_filter_results" in completion.choices[0].model_extra
