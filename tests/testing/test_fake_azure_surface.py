"""The public surface of azure_shim.testing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import azure_shim.testing
from azure_shim.testing import FakeAzure
from azure_shim.testing.answers.examples import example_of
from azure_shim.testing.bodies import Content


def test_the_exported_names_are_these() -> None:
    assert azure_shim.testing.__all__ == [
        "FakeAzure",
        "FakeResponse",
        "Fault",
        "Leak",
        "Recorded",
        "Resource",
        "TokenFault",
        "TokenRequest",
        "TokenService",
    ]
    for name in azure_shim.testing.__all__:
        assert getattr(azure_shim.testing, name).__name__ == name
        assert getattr(azure_shim.testing, name).__doc__
    assert set(azure_shim.testing.__all__) <= set(dir(azure_shim.testing))
    with pytest.raises(AttributeError):
        _ = azure_shim.testing.Nothing


def test_neither_openai_nor_an_http_library_is_imported() -> None:
    code = (
        "import sys; from azure_shim.testing import FakeAzure\n"
        "with FakeAzure(['eastus']): pass\n"
        "print([m for m in ('openai', 'httpx', 'httpx2', 'pydantic', 'anyio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("resources", "deployments"),
    [
        ("one", None),
        (["one"], None),
        ({"one": ["a", "b"]}, {"a": "a", "b": "b"}),
        ({"one": "a"}, {"a": "a"}),
        ({"one": {"a": "gpt-4o"}}, {"a": "gpt-4o"}),
        ({"one": []}, {}),
    ],
)
def test_resources_in_every_spelling(resources: object, deployments: dict[str, str] | None) -> None:
    azure = FakeAzure(resources)  # type: ignore[arg-type]
    assert [resource.name for resource in azure] == ["one"]
    assert azure["one"].deployments == deployments
    with pytest.raises(KeyError):
        azure["two"]


def test_every_resource_has_a_key_of_its_own() -> None:
    azure = FakeAzure(["one", "two"])
    assert azure["one"].api_key != azure["two"].api_key
    assert azure["one"].tokens == {azure.token}
    assert azure["one"].host_endpoint == "https://one.openai.azure.com"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date"}, "2025-01-01"),
        ({"type": ["null", "string"]}, None),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 3}, 3),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "number", "exclusiveMinimum": 5}, 6.0),
        ({"type": "boolean"}, True),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        (
            {"$defs": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}, "$ref": "#/$defs/a"},
            {"b": "text"},
        ),
        ({"properties": {"a": {"type": "string"}}}, {"a": "text"}),
        (None, None),
    ],
)
def test_examples_of_schemas(schema: object, value: object) -> None:
    assert example_of(schema, "text") == value


def test_a_recursive_schema_ends() -> None:
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
    value, depth = example_of(node, "text"), 0
    while value is not None:
        value, depth = value["next"], depth + 1
    assert 0 < depth < 20


def test_content_that_no_request_brought() -> None:
    assert Content.of(b"abc").read() == b"abc"
    assert b"".join(Content.of(b"abc").chunks()) == b"abc"
