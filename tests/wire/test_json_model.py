"""The member `model` of a JSON body is found as a JSON parser would, and changed without a change to any other byte."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azure_shim.wire.json_model import Member, find, with_member, without

MODEL = ("model",)
quick = settings(max_examples=150, deadline=None, database=None, derandomize=True)

SPACES = ("", "", "", " ", "\n", "\t ", "\r\n  ")
# Texts that look like what is searched for, or end in what would end it.
TRICKY = (
    '"model"',
    '{"model":"decoy"}',
    ',"model":"decoy"}',
    '\\","model":"decoy"',
    "\\",
    '\\"',
    '\\\\"',
    "{",
    "}",
    "]}",
    ",",
    "model",
    '":',
    "ü€😀",
    "\u2028\x00\x7f",
)
characters = st.characters(exclude_categories=["Cs"])
texts = st.one_of(st.sampled_from(TRICKY), st.text(characters, max_size=8))
SCALARS = (
    "null",
    "true",
    "false",
    "NaN",
    "Infinity",
    "-Infinity",
    "-0",
    "1E400",
    "0.1e-7",
    "-7",
    "1" + "0" * 60,
    "3.125",
)


class Writer:
    """Writes JSON in any spelling that the grammar allows, nested decoys included."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def space(self) -> str:
        return self.random.choice(SPACES)

    def text(self) -> str:
        return self.random.choice(("model", "session", *TRICKY)) + "x" * self.random.randrange(3)

    def string(self, value: str) -> str:
        spelling = self.random.choice(("ascii", "ascii", "utf-8", "escaped"))
        if spelling == "escaped":
            units = value.encode("utf-16-be", "surrogatepass")
            return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'
        literal = json.dumps(value, ensure_ascii=spelling == "ascii")
        return literal.replace("/", "\\/") if self.random.random() < 0.5 else literal

    def value(self, depth: int = 2) -> str:
        kind = self.random.choice(("scalar", "string", "array", "object") if depth else ("scalar", "string"))
        if kind == "scalar":
            return self.random.choice(SCALARS)
        if kind == "string":
            return self.string(self.text())
        items = [self.value(depth - 1) for _ in range(self.random.randrange(4))]
        if kind == "array":
            return "[" + ",".join(self.space() + item for item in items) + "]"
        return self.object(list(dict.fromkeys(self.text() for _ in items)), items)

    def object(self, keys: list[str], values: list[str]) -> str:
        members = (
            self.space() + self.string(key) + self.space() + ":" + self.space() + value + self.space()
            for key, value in zip(keys, values, strict=False)
        )
        return "{" + (",".join(members) or self.space()) + "}"


@st.composite
def bodies(draw: st.DrawFn, has_model: bool | None = None, without_key: str = "") -> bytes:
    """A JSON object of unique members, with `model` at any place among them or nowhere."""
    keys = draw(st.lists(texts.filter(lambda key: key not in ("model", without_key)), max_size=4, unique=True))
    if has_model is not False and (has_model or draw(st.booleans())):
        keys.insert(draw(st.integers(0, len(keys))), "model")
    writer = Writer(draw(st.integers(0, 2**32)))
    return (writer.space() + writer.object(keys, [writer.value() for _ in keys]) + writer.space()).encode()


def same(body: bytes, expected: dict[str, Any]) -> bool:
    """Whether the body says this, in this order; NaN counts as itself."""
    return json.dumps(json.loads(body)) == json.dumps(expected)


def found(body: bytes, path: tuple[str, ...] = MODEL) -> Member:
    member = find(body, path)
    assert member is not None, body[:200]
    return member


@given(bodies())
@quick
def test_the_member_found_is_the_one_that_a_parser_finds(body: bytes) -> None:
    loaded = json.loads(body)
    member = find(body, MODEL)

    assert (member is not None) == ("model" in loaded)
    if member is not None:
        model = loaded["model"]
        assert member.value == (model if isinstance(model, str) else None)
        assert json.dumps(json.loads(body[member.start : member.end])) == json.dumps(model)
        assert json.loads(body[member.key_start : member.start].rstrip(b" \t\r\n").removesuffix(b":")) == "model"


@given(bodies(has_model=True), st.text(characters))
@quick
def test_replacing_it_changes_its_value_and_no_other_byte(body: bytes, name: str) -> None:
    member = found(body)
    replaced = b"".join(member.replaced(body, name))

    start, end = body[: member.start], body[member.end :]
    assert replaced.startswith(start)
    assert replaced.endswith(end)
    assert json.loads(replaced[len(start) : len(replaced) - len(end)]) == name
    assert same(replaced, {**json.loads(body), "model": name})


@given(bodies(has_model=True))
@quick
def test_dropping_it_takes_it_and_one_comma_and_no_other_byte(body: bytes) -> None:
    member, loaded = found(body), json.loads(body)
    dropped = without(body, member)

    assert same(dropped, {key: value for key, value in loaded.items() if key != "model"})
    kept_start = next(
        (i for i, (a, b) in enumerate(zip(body[: member.key_start], dropped, strict=False)) if a != b),
        min(member.key_start, len(dropped)),
    )
    kept_end = len(body) - (len(dropped) - kept_start)
    assert kept_end >= member.end
    gone = body[kept_start : member.key_start] + body[member.end : kept_end]
    assert gone.strip(b" \t\r\n") in (b"", b",")


@given(bodies(has_model=False), st.text(characters))
@quick
def test_adding_it_puts_it_first_and_changes_no_other_member(body: bytes, name: str) -> None:
    added = with_member(body, MODEL, name)

    assert added is not None
    assert same(added, {"model": name, **json.loads(body)})
    opened = body.index(b"{") + 1
    assert added.startswith(body[:opened])
    assert added.endswith(body[opened:].lstrip(b" \t\r\n"))


@given(bodies(has_model=True), bodies(has_model=False, without_key="session"))
@quick
def test_a_nested_member_is_found_and_replaced_as_well(inner: bytes, outer: bytes) -> None:
    rest = outer.strip()[1:]
    body = b'{ "session" : ' + inner + (b"" if rest.strip() == b"}" else b",") + rest
    loaded = json.loads(body)
    member = found(body, ("session", "model"))
    model = loaded["session"]["model"]
    assert member.value == (model if isinstance(model, str) else None)

    replaced = b"".join(member.replaced(body, "other"))
    assert same(replaced, {**loaded, "session": {**loaded["session"], "model": "other"}})
    assert replaced.startswith(body[: member.start])
    assert replaced.endswith(body[member.end :])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"session":{"type":"realtime"},"model":"outer"}', ("session", "model")),
        (b'{"session":"model","model":"outer"}', ("session", "model")),
        (b'{"session":["model","x"]}', ("session", "model")),
        (b'{"session":null}', ("session", "model")),
        (b'{"a":{"session":{"model":"deep"}}}', ("session", "model")),
        (b'{"session":{"x":{"model":"deep"}}}', ("session", "model")),
        (b'{"messages":[{"model":"decoy"}]}', MODEL),
        (b'{"a":{"model":"decoy"}}', MODEL),
        (b'{"x":"model"}', MODEL),
        (b'{"x":["a","model"]}', MODEL),
        (b'{"Model":"x","models":"y","mode":"l"}', MODEL),
        (b'{"x":"{\\"model\\":\\"decoy\\"}"}', MODEL),
        (b"{}", MODEL),
        (b" { } ", MODEL),
        (b'["model","x"]', MODEL),
        (b'[{"model":"x"}]', MODEL),
        (b'"model"', MODEL),
        (b"null", MODEL),
        (b"5", MODEL),
        (b"", MODEL),
        (b" ", MODEL),
    ],
)
def test_nothing_is_found_where_there_is_no_such_member(body: bytes, path: tuple[str, ...]) -> None:
    assert find(body, path) is None


FILLER = b'"' + b'\\"model\\":\\"decoy\\",' * 9000 + b'"'
MANY = b"[" + b'{"model":"decoy"},' * 20 + b'{"model":"decoy"}]'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","input":' + FILLER + b"}",
        b'{"input":' + FILLER + b',"model":"m"}',
        b'{"input":' + FILLER + b',"model":"m","more":' + FILLER + b"}",
        b'{"input":' + FILLER + b',"model":"m","more":' + MANY + b"}",
        b'{"model":"m","more":' + MANY + b"}",
        b'{"more":' + MANY + b',"model":"m","last":' + MANY + b"}",
        b"{" + b" " * 5000 + b'"model":"m"}',
        b'{"a":1,' + b"\n" * 5000 + b'"model":"m"}',
        b'{"a":1,"model"' + b" " * 5000 + b":" + b"\t" * 5000 + b'"m"' + b"\r\n" * 5000 + b"}" + b" " * 5000,
        b'{"m\\u006fdel":"m","input":' + FILLER + b"}",
        b'{"input":' + FILLER + b',"m\\u006fdel":"\\u006d"}',
        b'{"big":' + b"9" * 5000 + b',"model":"m","more":' + b"9" * 5000 + b"}",
    ],
    ids=range(12),
)
def test_its_place_and_the_size_of_the_body_do_not_matter(body: bytes) -> None:
    member = found(body)
    assert member.value == "m"
    replaced = b"".join(member.replaced(body, "dep"))
    assert replaced == body[: member.start] + b'"dep"' + body[member.end :]
    assert json.loads(body[member.start : member.end]) == "m"


@pytest.mark.parametrize("model", ["5", "null", "true", '{"a":"}"}', '["]",","]', "NaN", "-1.5e3"])
@pytest.mark.parametrize(
    "body", ['{"model":%s}', '{"model": %s ,"x":1}', '{"x":1,"model":%s\n}', '{"a":{"model":"d"},"model":%s,"z":[]}']
)
def test_a_value_that_is_no_string_is_there_but_names_nothing(model: str, body: str) -> None:
    content = (body % model).encode()
    member = found(content)
    assert member.value is None
    assert content[member.start : member.end] == model.encode()
    assert json.loads(b"".join(member.replaced(content, "dep")))["model"] == "dep"


@pytest.mark.parametrize("body", [b'["x"]', b'"x"', b"5", b"", b"null", b" [ ]"])
def test_nothing_is_added_to_what_is_no_object(body: bytes) -> None:
    assert with_member(body, MODEL, "m") is None


def test_nothing_is_added_below_the_top() -> None:
    assert with_member(b"{}", ("session", "model"), "m") is None


def handled(body: bytes) -> None:
    """Everything that is done with a body, on a body that nobody promised to be JSON."""
    for path in (MODEL, ("session", "model")):
        member = find(body, path)
        if member is not None:
            assert 0 <= member.key_start < member.start <= len(body)
            assert member.end <= len(body)
            member.replaced(body, "dep")
            without(body, member)
        with_member(body, path, "dep")


@given(bodies(), st.data())
@quick
def test_a_truncated_body_never_raises(body: bytes, data: st.DataObject) -> None:
    handled(body[: data.draw(st.integers(0, len(body)))])


@given(bodies(), st.data())
@quick
def test_a_damaged_body_never_raises(body: bytes, data: st.DataObject) -> None:
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.sampled_from(list(b'{}[]":,\\ u\x00\xff\n0')))
    handled(bytes(damaged))


@given(st.binary(max_size=60))
@quick
def test_any_bytes_never_raise(body: bytes) -> None:
    handled(body)
    handled(b'{"model":"' + body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"\\x"}',
        b'{"model":"\\u12"}',
        b'{"model":"\xff"}',
        b'{"model":"\xed\xa0\x80","a":1}',
        b'{"a":1,"model":"\xed\xa0\x80"}',
        b'{"a":1,"model":"\\x"}',
        b'{"a":1,"model":"\xff"}',
        b'{"a\\x":1,"model":"m"}',
        b'{"model":"m',
        b'{"model":"m\\',
        b'{"model":',
        b'{"model"',
        b'{"model":}',
        b"{" * 100,
        b"[" * 100,
        b'{"a":"b","model"',
    ],
)
def test_invalid_json_never_raises(body: bytes) -> None:
    handled(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","deep":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"deep":' + b"[" * 20_000 + b"]" * 20_000 + b',"model":"m"}',
    ],
    ids=["first", "last"],
)
def test_deep_nesting_beside_it_does_not_matter(body: bytes) -> None:
    assert found(body).value == "m"


def test_deep_nesting_that_has_to_be_parsed_never_raises() -> None:
    handled(b'{"a":"b","model":"m","deep":' + b"[" * 20_000 + b"]" * 20_000 + b"}")
