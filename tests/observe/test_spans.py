"""Which host a span of OpenTelemetry names; against its API as it is used, since it is not a package of these tests."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import Colour
from tests.fleets import at_server, chat, plan
from tests.servers import ScriptedServer, answer


class Span:
    def __init__(self, *, is_recording: bool = True, **attributes: Any) -> None:
        self.attributes = {name.replace("__", "."): value for name, value in attributes.items()}
        self._is_recording = is_recording

    def is_recording(self) -> bool:
        return self._is_recording

    def set_attribute(self, name: str, value: Any) -> None:
        assert self._is_recording
        self.attributes[name] = value


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The span that is the current one."""
    found: list[Any] = [None]
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", SimpleNamespace(get_current_span=lambda: found[0]))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_the_span_of_a_call_names_who_served_it(
    stream: bool, current: list[Any], colour: Colour, server: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    server.script = lambda seen: [answer({}, 503)]
    config = plan("fallback", at_server("a", server), at_server("b", elsewhere))
    client = colour.client(config=config, max_retries=0)
    for known in ({}, {"server__address": "127.0.0.1", "server__port": server.port}, {"server__address": "a.example"}):
        current[0] = span = Span(gen_ai__system="openai", **known)
        if stream:
            colour.call(client.chat.completions.create, model="gpt-4o", messages=[], stream=True)
        else:
            chat(colour, client)
        assert span.attributes["server.address"] == "127.0.0.1"
        assert span.attributes["server.port"] == elsewhere.port


@pytest.mark.parametrize(
    "span",
    [None, Span(), Span(http__method="POST"), Span(gen_ai__system="openai", is_recording=False), SimpleNamespace()],
)
def test_other_spans_are_left_alone(span: Any, current: list[Any], colour: Colour, server: ScriptedServer) -> None:
    before = dict(getattr(span, "attributes", {}))
    current[0] = span
    client = colour.client(azure_endpoint=server.url, api_key="k" * 32, max_retries=0)
    chat(colour, client)
    assert dict(getattr(span, "attributes", {})) == before


class Odd(Span):
    """One of somebody's own."""

    def set_attribute(self, name: str, value: Any) -> None:
        raise RuntimeError("the exporter is full")


@pytest.mark.parametrize("span", [Odd(gen_ai__system="openai"), SimpleNamespace(attributes={5: 1}), "half imported"])
def test_no_call_is_lost_for_a_span(
    span: Any, current: list[Any], colour: Colour, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    current[0] = span
    if span == "half imported":
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", SimpleNamespace())  # type: ignore[arg-type]
    client = colour.client(azure_endpoint=server.url, api_key="k" * 32, max_retries=2)
    assert chat(colour, client)
    assert len(server.requests) == 1
