"""A value that a JSON schema allows, for structured outputs and the arguments of tools."""

from __future__ import annotations

from typing import Any

__all__ = ["example_of"]

_DEPTH = 12
_FORMATS = {
    "date": "2025-01-01",
    "date-time": "2025-01-01T00:00:00Z",
    "email": "someone@example.com",
    "time": "00:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-0000-0000-000000000000",
}


def example_of(schema: Any, text: str) -> Any:
    """A small value of ``schema``, whose strings are ``text`` where nothing else is asked for.

    It knows what strict structured outputs know: types, ``enum``, ``const``, ``anyOf``, ``$ref``, bounds of numbers.
    """
    return _value(schema, schema, text, 0)


def _value(schema: Any, root: Any, text: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    if "$ref" in schema:
        return _value(_resolved(str(schema["$ref"]), root), root, text, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return _value(_simplest(schema[choice], depth), root, text, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    return _of_type(kind, schema, root, text, depth)


def _of_type(kind: Any, schema: dict[str, Any], root: Any, text: str, depth: int) -> Any:
    if kind == "object":
        return {name: _value(s, root, text, depth + 1) for name, s in (schema.get("properties") or {}).items()}
    if kind == "array":
        count = max(int(schema.get("minItems", 0)), 0 if depth > _DEPTH // 2 else 1)
        return [_value(schema.get("items"), root, text, depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        return int(least) if kind == "integer" else float(least)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return _FORMATS.get(str(schema.get("format")), text)


def _simplest(choices: list[Any], depth: int) -> Any:
    """The first choice; deep down null where it is allowed, so that a recursive schema ends."""
    if depth > _DEPTH // 2:
        for choice in choices:
            if isinstance(choice, dict) and choice.get("type") == "null":
                return choice
    return choices[0]


def _resolved(reference: str, root: Any) -> Any:
    value = root
    for name in reference.removeprefix("#").split("/")[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value
