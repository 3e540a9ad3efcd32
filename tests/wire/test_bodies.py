"""Bodies of every kind: what model they name, and the same body with another."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from azure_shim.values import Body, Peek, Refusal
from azure_shim.wire import bodies
from azure_shim.wire.bodies import ModelInBody, read_model

JSON = b'{"messages":[{"content":"hi"}],"model":"gpt-4o","stream":true}'
NAMELESS = b'{"messages":[]}'
FORM_TYPE = "multipart/form-data; boundary=b"
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    + b"\x00\xff" * 200_000
    + b"\r\n--b--\r\n"
)
NAMELESS_FORM = b"--b\r\n" + FORM.partition(b"\r\n--b\r\n")[2]
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
}
UNPACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.decompress,
    "x-gzip": gzip.decompress,
    "deflate": zlib.decompress,
}
LIMIT = 64 * 1024 * 1024


def read(
    content: bytes | None,
    content_type: str = "application/json",
    encoding: str = "",
    at: tuple[str, ...] = ("model",),
    stream: list[bytes] | None = None,
) -> ModelInBody | Refusal | None:
    """What is read of a body; ``stream`` is peeked at where that is asked for."""
    reading = read_model(content, content_type, encoding, at)
    try:
        effect = next(reading)
        assert isinstance(effect, Peek)
        assert stream is not None, "a body that is in memory was peeked at"
        while stream and not effect.feed(stream.pop(0)):
            pass
        reading.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("more than one peek")


def model_of(*args: Any, **kwargs: Any) -> ModelInBody:
    found = read(*args, **kwargs)
    assert found is not None
    assert not isinstance(found, Refusal)
    return found


def whole(body: Body | None) -> bytes:
    assert body is not None
    assert body.whole
    return b"".join(body.chunks)


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "x-gzip", "deflate"])
def test_json_is_read_and_changed_in_any_packing(encoding: str) -> None:
    sent = PACKERS[encoding](JSON) if encoding in PACKERS else JSON
    unpack = UNPACKERS[encoding]
    found = model_of(sent, encoding=encoding)

    assert (found.value, found.is_present, found.unchanged()) == ("gpt-4o", True, None)
    for body, expected in (
        (found.replaced("dép"), JSON.replace(b'"gpt-4o"', b'"d\\u00e9p"')),
        (found.dropped(), JSON.replace(b'"model":"gpt-4o",', b"")),
    ):
        assert unpack(whole(body)) == expected
        assert body.grown_bytes == len(whole(body)) - len(sent)

    nameless = PACKERS[encoding](NAMELESS) if encoding in PACKERS else NAMELESS
    found = model_of(nameless, encoding=encoding)
    assert (found.value, found.is_present) == (None, False)
    added = found.added("dep")
    assert unpack(whole(added)) == b'{"model":"dep","messages":[]}'
    assert added is not None
    assert added.grown_bytes == len(whole(added)) - len(nameless)


def test_a_member_that_is_no_string_is_there_but_names_nothing() -> None:
    found = model_of(b'{"model":null}')
    assert (found.value, found.is_present) == (None, True)
    assert json.loads(whole(found.replaced("dep"))) == {"model": "dep"}


def test_nothing_can_be_added_to_what_is_no_object() -> None:
    assert model_of(b"[1]").added("dep") is None
    assert model_of(b"{}", at=("session", "model")).added("dep") is None


def test_the_same_change_is_packed_into_the_same_bytes() -> None:
    """A retry of a body is that body; gzip's own time stamp would make it another."""
    found = model_of(gzip.compress(JSON), encoding="gzip")
    assert found.replaced("dep") == found.replaced("dep")
    assert whole(found.replaced("dep"))[4:8] == bytes(4)


def test_a_member_below_the_top_is_found_in_json_and_in_forms() -> None:
    at = ("session", "model")
    assert model_of(b'{"model":"no","session":{"model":"rt"}}', at=at).value == "rt"
    form = b'--b\r\nContent-Disposition: form-data; name="session[model]"\r\n\r\nrt\r\n--b--\r\n'
    assert model_of(form, FORM_TYPE, at=at).value == "rt"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda body: JSON,
        lambda body: body[:-1],
        lambda body: body[: len(body) // 2],
        lambda body: b"",
        lambda body: body[:12] + b"\xff" * 30,
    ],
    ids=["plain", "short", "half", "empty", "garbled"],
)
def test_a_body_that_is_not_packed_as_it_says_passes_unread(encoding: str, damage: Callable[[bytes], bytes]) -> None:
    """What is not understood passes through; the service will say what is wrong with it."""
    assert read(damage(PACKERS[encoding](JSON)), encoding=encoding) is None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, deflate", "GZIP-NOT", "aws-chunked"])
def test_an_unknown_packing_passes_unread(encoding: str) -> None:
    assert read(JSON, encoding=encoding) is None


def test_a_body_of_several_gzip_members_loses_none_of_them() -> None:
    """RFC 1952 allows it, and tools that compress in blocks write it."""
    sent = gzip.compress(JSON[:30]) + gzip.compress(JSON[30:])
    found = read(sent, encoding="gzip")

    if found is not None:  # to pass it unread is as good
        assert not isinstance(found, Refusal)
        assert found.value == "gpt-4o"
        assert gzip.decompress(whole(found.replaced("dep"))) == JSON.replace(b"gpt-4o", b"dep")


def test_bytes_behind_a_gzip_body_are_not_lost() -> None:
    found = read(gzip.compress(JSON) + gzip.compress(b" "), encoding="gzip")
    if found is not None:
        assert not isinstance(found, Refusal)
        assert gzip.decompress(whole(found.replaced("dep"))) == JSON.replace(b"gpt-4o", b"dep") + b" "


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_of_more_than_64_megabytes_unpacked_passes_unread(encoding: str) -> None:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    bomb = packer.compress(b'{"model":"gpt-4o","input":"')
    for _ in range(LIMIT // (1 << 20)):
        bomb += packer.compress(bytes(1 << 20))
    bomb += packer.compress(b'"}') + packer.flush()

    assert read(bomb, encoding=encoding) is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_the_limit_is_what_is_unpacked_not_what_is_sent(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_UNPACKED_BYTES", 10_000)
    small = b'{"model":"m","pad":"' + b"x" * 9_000 + b'"}'
    for length, is_read in ((len(small), True), (9_999, True), (10_001, False), (10_300, False), (200_000, False)):
        content = small[:-2] + b"x" * (length - len(small)) + b'"}'
        found = read(PACKERS[encoding](content), encoding=encoding)
        assert not isinstance(found, Refusal), length
        assert (found is not None) is is_read, length


@pytest.mark.parametrize("size", [1, 1000, 10**6])
def test_a_form_in_a_stream_is_peeked_at_and_the_rest_follows(size: int) -> None:
    chunks = [FORM[i : i + size] for i in range(0, min(len(FORM), 5000), size)]
    left = list(chunks)
    found = model_of(None, FORM_TYPE, stream=left)
    peeked = b"".join(chunks[: len(chunks) - len(left)])

    assert (found.value, found.is_present) == ("whisper-1", True)
    if size == 1:
        assert len(peeked) < FORM.index(b"filename")
    for body, expected in (
        (found.unchanged(), peeked),
        (found.replaced("a-longer-name"), peeked.replace(b"whisper-1", b"a-longer-name")),
        (found.dropped(), peeked[peeked.index(b"--b", 1) :]),
    ):
        assert body is not None
        assert not body.whole
        assert b"".join(body.chunks) == expected
        assert body.grown_bytes == len(expected) - len(peeked)


def test_a_form_in_a_stream_without_the_field_is_sent_as_it_came() -> None:
    chunks = [NAMELESS_FORM[:40], NAMELESS_FORM[40:300], NAMELESS_FORM[300:]]
    left = list(chunks)
    found = model_of(None, FORM_TYPE, stream=left)
    unchanged, added = found.unchanged(), found.added("dep")

    assert (found.value, found.is_present) == (None, False)
    assert unchanged is not None
    assert added is not None
    assert b"".join([*unchanged.chunks, *left]) == NAMELESS_FORM
    assert unchanged.grown_bytes == 0
    assert b"".join(added.chunks).endswith(b"".join(unchanged.chunks))
    assert added.grown_bytes == sum(map(len, added.chunks)) - sum(map(len, unchanged.chunks)) > 0
    assert not added.whole


def test_a_form_in_memory_is_changed_at_its_start_alone() -> None:
    found = model_of(FORM, FORM_TYPE)

    assert (found.value, found.unchanged()) == ("whisper-1", None)
    replaced, dropped = found.replaced("dep"), found.dropped()
    assert whole(replaced) == FORM.replace(b"whisper-1", b"dep")
    assert whole(dropped) == NAMELESS_FORM
    assert (replaced.grown_bytes, dropped.grown_bytes) == (-6, len(NAMELESS_FORM) - len(FORM))


def test_a_form_in_memory_gets_the_field_it_lacks() -> None:
    found = model_of(NAMELESS_FORM, FORM_TYPE)
    added = found.added("whisper-1")
    assert whole(added) == FORM
    assert added is not None
    assert added.grown_bytes == len(FORM) - len(NAMELESS_FORM)


def test_a_stream_that_is_no_form_is_not_touched() -> None:
    assert read(None) is None
    assert read(None, "application/octet-stream") is None
    assert read(None, "") is None


def test_what_replaces_a_body_is_not_in_its_repr() -> None:
    body = model_of(JSON).replaced("canary-deployment")
    assert "canary" not in repr(body)
    assert "whole=True" in repr(body)
