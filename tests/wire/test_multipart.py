"""The text field of a form is found before any upload is read, and changed without a change to any other byte.

Bodies come from httpx's own encoder and from hand; what is made of them is read back by the standard library's parser.
"""

from __future__ import annotations

import email.parser
import email.policy
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azure_shim.wire.multipart import FieldFinder, boundary_of

quick = settings(max_examples=100, deadline=None, database=None, derandomize=True)

# (name, file name or None, content) of each part, in the order of the body
Parts = list[tuple[str, "str | None", bytes]]
FILE = b'RIFF\x00\xff\r\n--not-the-boundary\r\n\r\nname="model"\r\n' * 3


def encoded(data: dict[str, Any], files: list[tuple[str, tuple[str, bytes, str]]]) -> tuple[bytes, bytes]:
    """httpx's body of a form, and its boundary."""
    request = httpx.Request("POST", "https://r.example/v1/x", data=data, files=files or [("unused", (None, b""))])
    boundary = boundary_of(request.headers["content-type"])
    assert boundary is not None
    return request.read(), boundary


def by_hand(parts: list[bytes], boundary: bytes = b"b") -> bytes:
    return b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary


def text(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def upload(name: str = "file", content: bytes = FILE) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    return head.encode() + content


def parsed(body: bytes, boundary: bytes) -> Parts:
    if body == b"--%s--\r\n" % boundary:
        return []  # the form that has no parts, which no mail has
    head = b'Content-Type: multipart/form-data; boundary="%s"\r\n\r\n' % boundary
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    assert not message.defects, message.defects
    parts: Parts = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts.append((str(name), part.get_filename(), content))
    return parts


def split(body: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(body)) for cut in cuts} | {len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def fed(finder: FieldFinder, chunks: list[bytes]) -> bytes:
    """Feed chunks until the finder has enough; what was not fed is returned."""
    for index, chunk in enumerate(chunks):
        if finder.feed(chunk):
            return b"".join(chunks[index + 1 :])
    return b""


values = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.sampled_from(["prompt", "language", "models", "Model", "model[]", "session[model]", 'a"b', "a; b", "ü", "n"])
cuts = st.lists(st.integers(0, 900), max_size=12)


@st.composite
def forms(draw: st.DrawFn, has_model: bool | None = None) -> tuple[dict[str, str], list[Any], bytes, bytes]:
    data = {name: draw(values) for name in draw(st.lists(names, max_size=4, unique=True))}
    if has_model is not False and (has_model or draw(st.booleans())):
        items = list(data.items())
        items.insert(draw(st.integers(0, len(items))), ("model", draw(values)))
        data = dict(items)
    contents = st.one_of(st.binary(max_size=40), st.just(FILE))
    files = [(f"file{i}", (f"f{i}.wav", draw(contents), "audio/wav")) for i in range(draw(st.integers(1, 2)))]
    body, boundary = encoded(data, files)
    return data, files, body, boundary


@given(forms(), cuts)
@quick
def test_the_field_is_found_however_the_body_is_cut(form: Any, cuts: list[int]) -> None:
    data, _, body, boundary = form
    finder = FieldFinder(boundary, "model")
    rest = fed(finder, split(body, cuts))

    assert finder.value == data.get("model")
    assert finder.peeked + rest == body


@given(forms(), st.integers(1, 7))
@quick
def test_no_byte_behind_the_head_of_the_first_file_is_asked_for(form: Any, size: int) -> None:
    _, _, body, boundary = form
    head_end = body.index(b"\r\n\r\n", body.index(b"filename=")) + 4
    finder = FieldFinder(boundary, "model")
    rest = fed(finder, split(body, list(range(size, len(body), size))))

    assert len(body) - len(rest) < head_end + size
    assert finder.peeked + rest == body


@given(forms(has_model=True), cuts, values)
@quick
def test_a_replaced_field_is_the_only_thing_that_changes(form: Any, cuts: list[int], name: str) -> None:
    _, _, body, boundary = form
    finder = FieldFinder(boundary, "model")
    rest = fed(finder, split(body, cuts))
    replaced = finder.replaced(name) + rest

    before = body.index(b'name="model"\r\n\r\n') + len(b'name="model"\r\n\r\n')
    after = body.index(b"\r\n--" + boundary, before)
    assert replaced == body[:before] + name.encode() + body[after:]


@given(forms(has_model=True), cuts)
@quick
def test_a_dropped_field_takes_its_part_along_and_nothing_else(form: Any, cuts: list[int]) -> None:
    _, _, body, boundary = form
    finder = FieldFinder(boundary, "model")
    rest = fed(finder, split(body, cuts))
    dropped = finder.dropped() + rest

    start = body.rindex(b"--" + boundary, 0, body.index(b'name="model"\r\n'))
    assert dropped == body[:start] + body[body.index(b"--" + boundary, start + 1) :]
    assert parsed(dropped, boundary) == [part for part in parsed(body, boundary) if part[0] != "model"]


@given(forms(has_model=False), cuts, values)
@quick
def test_an_added_field_comes_first_and_every_byte_behind_it_is_kept(form: Any, cuts: list[int], name: str) -> None:
    _, _, body, boundary = form
    finder = FieldFinder(boundary, "model")
    rest = fed(finder, split(body, cuts))
    added = finder.added(name) + rest

    assert (
        added
        == b'--%s\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n' % (boundary, name.encode()) + body
    )
    assert FieldFinder(boundary, "model").feed(added)


def test_the_standard_library_reads_what_was_made() -> None:
    body, boundary = encoded(
        {"prompt": "a", "model": "gpt-image-1", "n": "1"}, [("image", ("a.png", FILE, "image/png"))]
    )
    others = [("prompt", None, b"a"), ("n", None, b"1"), ("image", "a.png", FILE)]
    finder = FieldFinder(boundary, "model")
    rest = fed(finder, split(body, [10, 50, 200]))

    assert parsed(finder.replaced("dép/1") + rest, boundary) == [
        others[0],
        ("model", None, "dép/1".encode()),
        *others[1:],
    ]
    assert parsed(finder.dropped() + rest, boundary) == others
    assert parsed(finder.added("dep") + rest, boundary)[0] == ("model", None, b"dep")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([text("model", "m"), upload()], "m"),
        ([text("a", "1"), text("model", "m"), upload()], "m"),
        ([text("a", "1"), text("model", "m")], "m"),
        ([text("model", "m")], "m"),
        ([text("model", "")], ""),
        ([text("model", "ü\r\nb")], "ü\r\nb"),
        ([text("model", '--b x"')], '--b x"'),
        ([text("model", "a\r\n--x\r\nb")], "a\r\n--x\r\nb"),
        # only what stands before the first file is read
        ([upload(), text("model", "m")], None),
        ([text("a", "1"), upload(), text("model", "m")], None),
        ([upload("model"), text("a", "1")], None),
        # not this field
        ([text("models", "m")], None),
        ([text("Model", "m")], None),
        ([text("model[]", "m")], None),
        ([text("a", 'Content-Disposition: form-data; name="model"')], None),
        ([text("a%22; name=%22model", "m")], None),
        ([text('a\\"; name=\\"model', "m")], None),
        ([text("a", "1")], None),
        ([], None),
        # other spellings of a head
        ([b'content-disposition: FORM-DATA; NAME="model"\r\n\r\nm'], "m"),
        ([b'Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"\r\n\r\nm'], "m"),
        ([b'Content-Disposition: form-data;name="model"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nm'], "m"),
        ([b"Content-Disposition: form-data; name=\"f\"; filename*=UTF-8''a.wav\r\n\r\nx", text("model", "m")], None),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_forms_by_hand(parts: list[bytes], expected: str | None, size: int) -> None:
    body = by_hand(parts)
    finder = FieldFinder(b"b", "model")
    rest = fed(finder, split(body, list(range(size, len(body), size))))

    assert finder.value == expected
    assert finder.peeked + rest == body
    if expected is not None:
        assert parsed(finder.dropped() + rest, b"b") == [p for p in parsed(body, b"b") if p[0] != "model"]


def test_a_nested_member_is_a_field_of_its_own() -> None:
    finder = FieldFinder(b"b", "session[model]")
    assert finder.feed(by_hand([text("model", "outer"), text("session[model]", "inner"), upload()]))
    assert finder.value == "inner"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"-",
        b"--",
        b"--b",
        b"--b--\r\n",
        b'{"model":"m"}',
        b"--other\r\n\r\nx",
        b"preamble\r\n--b\r\n" + text("model", "m"),
        b"--b\r\nContent-Disposition: form-data",
        b"--b\r\n" + text("model", "unfinished"),
        b"\x00" * 100,
        b"\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_no_form_or_has_no_end_names_nothing_and_is_kept(body: bytes, size: int) -> None:
    finder = FieldFinder(b"b", "model")
    rest = fed(finder, split(body, list(range(size, len(body), size))))

    assert finder.value is None
    assert finder.peeked + rest == body


@given(st.binary(max_size=80), st.binary(max_size=80), cuts)
@quick
def test_garbage_never_raises_and_nothing_of_it_is_lost(before: bytes, after: bytes, cuts: list[int]) -> None:
    for body in (before, by_hand([text("a", "1")])[:-5] + before, b"--b\r\n" + before + b"\r\n--b" + after):
        finder = FieldFinder(b"b", "model")
        rest = fed(finder, split(body, cuts))
        assert finder.peeked + rest == body


def test_no_form_is_known_by_its_first_bytes() -> None:
    assert FieldFinder(b"boundary", "model").feed(b'{"model": ')
    assert not FieldFinder(b"boundary", "model").feed(b"--bound")


def test_the_search_ends_after_four_megabytes_of_text() -> None:
    """Nobody reads a stream of any length into memory for a field that it may not have."""
    finder = FieldFinder(b"b", "model")
    assert not finder.feed(b"--b\r\n" + text("prompt", ""))
    chunk, count = b"x" * 65_536, 0
    while not finder.feed(chunk):
        count += 1
        assert count < 80
    assert 4 * 1024 * 1024 < len(finder.peeked) <= 4 * 1024 * 1024 + 2 * len(chunk)
    assert finder.value is None


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ("multipart/form-data;boundary=abc", b"abc"),
        ("Multipart/Form-Data; Boundary=aBc", b"aBc"),
        ('multipart/form-data; boundary="a b;c"', b"a b;c"),
        ("multipart/form-data; charset=utf-8; boundary=abc", b"abc"),
        ("multipart/form-data; boundary=abc; charset=utf-8", b"abc"),
        ("multipart/form-data ; boundary=abc", b"abc"),
        ("multipart/form-data; xboundary=no; boundary=abc", b"abc"),
        ("multipart/form-data; boundary=----WebKit'()+_,-./:=?x", b"----WebKit'()+_,-./:=?x"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ('multipart/form-data; boundary=""', None),
        ("multipart/mixed; boundary=abc", None),
        ("multipart/form-database; boundary=abc", None),
        ("application/json", None),
        ("application/json; boundary=abc", None),
        ("", None),
    ],
)
def test_the_boundary_of_a_content_type(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


def test_characters_that_mean_something_to_a_pattern_are_plain_in_a_boundary() -> None:
    boundary = b"a.+*?(b)[c]"
    finder = FieldFinder(boundary, "mo.el")
    assert finder.feed(by_hand([text("model", "no"), text("mo.el", "m"), upload()], boundary))
    assert finder.value == "m"
