"""guidance: `models.OpenAI`. It builds its own client, synchronous, from what is passed on, and streams every call."""

from __future__ import annotations

import json
from typing import Any

import guidance
import pytest
from guidance import assistant, gen, models, system, user
from pydantic import BaseModel

import azure_shim
from azure_shim.testing import FakeAzure
from tests.acceptance.frameworks.support import CHAT, LONG, Gate, answer_to, served

COMPLETION = ("chat/completions", "chat-prod")


class Person(BaseModel):
    name: str
    age: int


def get_weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


@pytest.fixture(params=["http_client", "patched", "patch"])
def given(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The model's arguments, for each way to Azure; it takes no ready client."""
    way = request.getfixturevalue(request.param)
    return {"http_client": way} if request.param == "http_client" else {}


def test_a_chat_is_answered(given: dict[str, Any], azure: FakeAzure) -> None:
    model = models.OpenAI("gpt-4o", echo=False, **given)
    with system():
        model += "You are kind."
    with user():
        model += "hello"
    with assistant():
        model += gen("said")
    assert model["said"] == answer_to("hello")
    assert [message["role"] for message in azure.requests[0].json()["messages"]] == ["system", "user"]
    assert served(azure) == [COMPLETION]


def test_a_stream_streams(given: dict[str, Any], azure: FakeAzure, gate: Gate) -> None:
    """Azure's first event has no choices, and its last one has the usage alone."""
    asked = models.OpenAI("gpt-4o", echo=False, **given)
    with user():
        asked += LONG

    @guidance.guidance
    def reply(model: Any) -> Any:
        with assistant():
            return model + gen("said")

    said = ""
    for partial in asked.stream() + reply():
        said = partial.get("said") or ""
        if "Hello" in said or "Hello" in str(partial):
            gate.open()
    assert said == answer_to(LONG)
    assert azure.requests[0].json()["stream"] is True
    assert served(azure) == [COMPLETION]


def test_a_tool_is_called(given: dict[str, Any], azure: FakeAzure) -> None:
    model = models.OpenAI("gpt-4o", echo=False, **given)
    with user():
        model += "use the tool"
    with assistant():
        model += gen(tools=[get_weather])
    assert f"sunny in {CHAT}" in str(model)
    assert served(azure) == [COMPLETION]


def test_a_structured_output_has_the_shape(given: dict[str, Any], azure: FakeAzure) -> None:
    model = models.OpenAI("gpt-4o", echo=False, **given)
    with user():
        model += "who?"
    with assistant():
        model += guidance.json("person", schema=Person)
    assert json.loads(model["person"]) == {"name": CHAT, "age": 1}
    assert azure.requests[0].json()["response_format"]["type"] == "json_schema"
    assert served(azure) == [COMPLETION]


def test_the_classic_surface_has_the_deployment_in_its_path(classic: dict[str, Any], azure: FakeAzure) -> None:
    with azure_shim.http_client(**classic) as http_client:
        model = models.OpenAI("gpt-4o", echo=False, http_client=http_client)
        with user():
            model += "hello"
        with assistant():
            model += gen("said")
    assert azure.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    assert served(azure) == [COMPLETION]
