"""Where stored things live: what a request names, what an answer shows, and what is remembered of it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from azure_shim.routing.homes import (
    AnswerIds,
    Homes,
    answer_ids,
    creates_or_lists,
    ids_of_request,
    is_read,
    is_stateful,
    is_stored,
)
from azure_shim.wire.operations import table
from azure_shim.wire.request_line import RequestLine, read


def line(text: str) -> RequestLine:
    method, path = text.split(" ")
    return read(method, "/v1" + path)


def body(**members: Any) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


# Homes


def test_the_first_known_id_says_the_home() -> None:
    homes = Homes()
    homes.saw("file-b", "west")
    homes.saw("file-c", "east")
    assert homes.of(("file-a", "file-b", "file-c")) == "west"
    assert homes.of(id_ for id_ in ("file-c", "file-b")) == "east"
    assert homes.of(("file-a",)) is None
    assert homes.of(()) is None


def test_the_last_sight_wins() -> None:
    homes = Homes()
    homes.saw("file-a", "west")
    homes.saw("file-a", "east")
    assert homes.of(("file-a",)) == "east"
    assert len(homes) == 1


def test_the_longest_unseen_is_forgotten_first_and_asking_is_seeing() -> None:
    homes = Homes(entries=2)
    homes.saw("a", "east")
    homes.saw("b", "east")
    assert homes.of("a") == "east"
    homes.saw("c", "east")
    assert len(homes) == 2
    assert homes.of("b") is None
    assert homes.of("a") == homes.of("c") == "east"


def test_an_id_is_forgotten_after_its_time_counted_from_the_last_sight() -> None:
    clock = Clock()
    homes = Homes(ttl_s=100, clock=clock)
    homes.saw("a", "east")
    homes.saw("b", "east")
    clock.now += 99
    homes.saw("a", "east")
    clock.now += 1
    assert homes.of(("b",)) is None
    assert homes.of(("a",)) == "east"
    assert len(homes) == 1
    clock.now += 100
    assert len(homes) == 0


def test_a_million_ids_take_no_more_room_than_the_bound() -> None:
    homes = Homes()
    for number in range(1_000_000):
        homes.saw(f"resp_{number}", "east")
    assert len(homes) == 100_000
    assert homes.of(("resp_999999",)) == "east"
    assert homes.of(("resp_899999",)) is None


def test_many_threads_may_share_it() -> None:
    homes = Homes(entries=50)
    errors: list[BaseException] = []

    def work(target: str) -> None:
        try:
            for number in range(2000):
                homes.saw(f"{target}-{number}", target)
                assert homes.of((f"{target}-{number}",)) in (target, None)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(homes) == 50


# Kinds of calls


@pytest.mark.parametrize(
    ("call", "stateful", "creates", "reads"),
    [
        ("POST /files", True, True, False),
        ("GET /files", True, True, False),
        ("GET /files/file-1", True, False, True),
        ("GET /files/file-1/content", True, False, True),
        ("DELETE /files/file-1", True, False, False),
        ("POST /batches", True, True, False),
        ("POST /batches/batch_1/cancel", True, False, False),
        ("POST /fine_tuning/jobs", True, True, False),
        ("GET /vector_stores/vs_1/files/file-1", True, False, True),
        ("POST /threads/runs", True, True, False),
        ("POST /threads/thread_1/runs", True, False, False),
        ("POST /uploads", True, True, False),
        ("GET /videos/video_1", True, False, True),
        ("GET /chat/completions", True, True, False),
        ("GET /chat/completions/chatcmpl-1", True, False, True),
        # Load like any other: balanced, though something of it is kept.
        ("POST /responses", True, False, False),
        ("POST /responses?beta=true", True, False, False),
        ("WS /realtime", True, False, False),
        ("GET /responses/resp_1", True, False, True),
        ("POST /responses/input_tokens", False, False, False),
        ("POST /chat/completions", False, False, False),
        ("POST /embeddings", False, False, False),
        ("GET /models/gpt-4o", False, False, False),
        ("POST /something/new", False, False, False),
    ],
)
def test_what_a_call_is(call: str, stateful: bool, creates: bool, reads: bool) -> None:
    assert is_stateful(line(call)) is stateful
    assert creates_or_lists(line(call)) is creates
    assert is_read(line(call)) is reads


@pytest.mark.parametrize(
    ("call", "content", "stored"),
    [
        ("POST /responses", None, True),
        ("POST /responses", b"{}", True),
        ("POST /responses", b'{"store":true}', True),
        ("POST /responses", b'{"store" : false , "input":"x"}', False),
        ("POST /responses", b'{"metadata":{"store":false},"input":"x"}', True),
        ("POST /responses", b"no JSON", True),
        ("POST /chat/completions", None, False),
        ("POST /chat/completions", b'{"store":true}', True),
        ("POST /chat/completions", b'{"store":false}', False),
        ("POST /chat/completions", b'{"metadata":{"store":true},"messages":[]}', False),
        ("POST /embeddings", b'{"store":true}', False),
        ("POST /something/new", None, False),
    ],
)
def test_what_is_stored(call: str, content: bytes | None, stored: bool) -> None:
    assert is_stored(line(call), content) is stored
    assert is_stateful(line(call), content) is stored


# Ids in requests


@pytest.mark.parametrize(
    ("call", "ids"),
    [
        ("GET /files/file-1", ("file-1",)),
        ("GET /batches/batch%5F1", ("batch_1",)),
        ("GET /vector_stores/vs_1/files/file-1", ("vs_1", "file-1")),
        ("POST /threads/t_1/runs/run_1/cancel", ("t_1", "run_1")),
        ("GET /fine_tuning/jobs/ftjob-1/events?after=ftevent-1&limit=2", ("ftjob-1", "ftevent-1")),
        ("POST /evals/eval_1/runs/evalrun_1/cancel", ("eval_1", "evalrun_1")),
        ("GET /skills/skill_1/versions/3", ("skill_1",)),
        ("GET /containers/cntr_1/files/cfile_1/content", ("cntr_1", "cfile_1")),
        ("GET /chat/completions/chatcmpl-1/messages", ("chatcmpl-1",)),
        ("GET /files?after=file-9", ("file-9",)),
        ("GET /files", ()),
        ("GET /models/gpt-4o", ()),
        ("GET /unknown/thing-1", ()),
    ],
)
def test_ids_in_paths(call: str, ids: tuple[str, ...]) -> None:
    assert ids_of_request(line(call), None) == ids


@pytest.mark.parametrize("operation", [o for o in table() if o.kept and "{" in o.path], ids=str)
def test_every_stateful_path_shows_its_ids(operation: Any) -> None:
    path = operation.path.replace("{", "id_").replace("}", "")
    ids = ids_of_request(read(operation.method, f"/v1{path}"), None)
    assert ids == tuple(s for s in path.split("/") if s.startswith("id_") and s != "id_version")
    assert ids


@pytest.mark.parametrize(
    ("call", "content", "ids"),
    [
        ("POST /responses", {"input": "x", "previous_response_id": "resp_1"}, ("resp_1",)),
        ("POST /responses", {"input": "x", "conversation": "conv_1"}, ("conv_1",)),
        ("POST /responses", {"input": "x", "conversation": {"id": "conv_1"}}, ("conv_1",)),
        (
            "POST /responses",
            {
                "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}],
                "tools": [
                    {"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]},
                    {"type": "code_interpreter", "container": "cntr_1"},
                    {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-2", "file-1"]}},
                ],
                "previous_response_id": "resp_1",
            },
            ("resp_1", "vs_1", "vs_2", "cntr_1", "file-2", "file-1"),
        ),
        ("POST /responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}, ("msg_1",)),
        ("POST /responses", {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]}, ("rs_1",)),
        ("POST /responses", {"input": "x", "previous_response_id": None}, ()),
        ("POST /responses", {"input": 'what is "file_id": "file-1" there?'}, ()),
        ("POST /responses/input_tokens", {"previous_response_id": "resp_1"}, ("resp_1",)),
        ("POST /batches", {"input_file_id": "file-1", "endpoint": "/v1/chat/completions"}, ("file-1",)),
        ("POST /fine_tuning/jobs", {"training_file": "file-1", "validation_file": "file-2"}, ("file-1", "file-2")),
        ("POST /vector_stores", {"file_ids": ["file-1"]}, ("file-1",)),
        ("POST /vector_stores/vs_1/file_batches", {"files": [{"file_id": "file-1"}]}, ("vs_1", "file-1")),
        ("POST /threads/thread_1/runs", {"assistant_id": "asst_1"}, ("thread_1", "asst_1")),
        (
            "POST /threads/runs",
            {
                "assistant_id": "asst_1",
                "thread": {"messages": [{"content": "x", "attachments": [{"file_id": "file-1"}]}]},
                "tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}},
            },
            ("asst_1", "vs_1", "file-1"),
        ),
        (
            "POST /evals/eval_1/runs",
            {"data_source": {"type": "jsonl", "source": {"type": "file_id", "id": "file-1"}}},
            ("eval_1", "file-1"),
        ),
        (
            "POST /chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
            ("file-1",),
        ),
        ("POST /chat/completions", {"messages": [], "thread_id": "thread_1"}, ()),
        ("POST /embeddings", {"input": "x", "file_id": "file-1"}, ()),
        ("POST /something/new", {"file_id": "file-1"}, ()),
        # The caller's own words are no references.
        ("POST /responses", {"input": "x", "metadata": {"thread_id": "mine"}}, ()),
        (
            "POST /responses",
            {
                "tools": [
                    {
                        "type": "function",
                        "parameters": {"type": "object", "properties": {"file_id": {"const": "x"}}, "file_id": "mine"},
                    }
                ]
            },
            (),
        ),
        ("POST /responses", {"previous_response_id": 3, "file_ids": [1, None, ""], "input": [{"type": ["a"]}]}, ()),
    ],
)
def test_ids_in_bodies(call: str, content: dict[str, Any], ids: tuple[str, ...]) -> None:
    assert ids_of_request(line(call), body(**content)) == ids
    assert ids_of_request(line(call), json.dumps(content, indent=1).encode()) == ids


@pytest.mark.parametrize(
    "content",
    [
        b'--b\r\nContent-Disposition: form-data; name="file_id"\r\n\r\nfile-1\r\n--b--',
        b'{"file_id":',
        b'{"file_id":"\xff"}',
        b'{"file_id":' + b"[" * 100_000,
        b'["file_id"]',
        b"",
    ],
)
def test_a_body_that_is_no_json_object_names_nothing(content: bytes) -> None:
    assert ids_of_request(line("POST /responses"), content) == ()


def test_a_long_conversation_without_stored_things_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr("azure_shim.routing.homes.json.loads", refuse)
    content = body(input="a file on a thread in a container, the assistant says " * 1000, store=False)
    assert ids_of_request(line("POST /responses"), content) == ()
    assert ids_of_request(line("POST /chat/completions"), content) == ()


# Ids in answers

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "conversation": {"id": "conv_1"},
    "output": [
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_2"},
        {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": '"id":"text_1"'}]},
    ],
    "previous_response_id": "resp_0",
}
RESPONSE_IDS = {"resp_1", "conv_1", "ci_1", "cntr_1", "fc_1", "msg_1", "resp_0"}


@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        (RESPONSE, RESPONSE_IDS),
        ({"id": "file-1", "object": "file", "bytes": 3}, {"file-1"}),
        ({"object": "list", "data": [{"id": "file-1"}, {"id": "file-2"}]}, {"file-1", "file-2"}),
        (
            {"id": "batch_1", "input_file_id": "file-1", "output_file_id": "file-2", "error_file_id": None},
            {"batch_1", "file-1", "file-2"},
        ),
        (
            {"id": "ftjob-1", "training_file": "file-1", "result_files": ["file-2", "file-3"], "trained_tokens": 1},
            {"ftjob-1", "file-1", "file-2", "file-3"},
        ),
        (
            {"id": "run_1", "thread_id": "thread_1", "assistant_id": "asst_1", "tools": []},
            {"run_1", "thread_1", "asst_1"},
        ),
        ({"id": "chatcmpl-1", "choices": [{"message": {"tool_calls": [{"id": "call_1"}]}}]}, set()),
        ({"id": None, "result_files": []}, set()),
        # What callers write is repeated to them, and says nothing of where things are.
        ({"metadata": {"vector_store_id": "vs_99", "note": '}{"id":"file-9"', "e": "\\"}, "id": "resp_1"}, {"resp_1"}),
        ({"id": "vs_1", "attributes": {"file_id": "file-9"}, "last": {"file_id": "file-2"}}, {"vs_1", "file-2"}),
        ({"tools": [{"parameters": {"x": [{"id": "text-1"}, "]"]}, "id": "tool-1"}], "metadata": None}, {"tool-1"}),
        ({"prompt": {"id": "pmpt_1", "variables": {"id": "text-1"}}, "id": "resp_1"}, {"pmpt_1", "resp_1"}),
        ({"metadata": {}, "schema": [], "headers": {"id": "text"}, "id": "conv_1"}, {"conv_1"}),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_ids_in_answers_however_they_are_cut(answer: Any, ids: set[str], indent: int | None, size: int) -> None:
    text = json.dumps(answer, indent=indent).encode()
    finder = AnswerIds()
    found = [id_ for at in range(0, len(text), size) for id_ in finder.feed(text[at : at + size])]
    assert sorted(found) == sorted(ids), "each once"


def test_ids_in_the_events_of_a_response() -> None:
    finder = AnswerIds()
    created = {"type": "response.created", "response": {"id": "resp_1", "output": []}}
    added = {"type": "response.output_item.added", "item": {"id": "msg_1", "type": "message"}}
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "delta": '{"id":"text_1"}'}
    done = {"type": "response.completed", "response": RESPONSE}
    found = [finder.feed(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode()) for e in (created, added, delta)]
    assert found == [("resp_1",), ("msg_1",), ()]
    last = finder.feed(f"data: {json.dumps(done)}\n\n".encode())
    assert set(last) == RESPONSE_IDS - {"resp_1", "msg_1"}


def test_the_id_of_a_chat_completion_counts_if_it_is_stored() -> None:
    assert AnswerIds(chats=True).feed(b'{"id":"chatcmpl-1"}') == ("chatcmpl-1",)


def test_only_the_front_of_an_answer_is_looked_at() -> None:
    finder = AnswerIds()
    assert finder.feed(b'{"id":"resp_1","text":"') == ("resp_1",)
    assert finder.feed(b"x" * 65_536) == ()
    assert finder.feed(b'","file_id":"file-1"}') == ()
    finder = AnswerIds()
    assert finder.feed(b" " * 65_530 + b'{"id":"resp_1"}') == ()


def test_an_answer_of_open_members_takes_no_time() -> None:
    finder = AnswerIds()
    before = time.process_time()
    for _ in range(64):
        assert finder.feed(b'"file_ids":[' * 85) == ()
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    ("call", "content", "looks"),
    [
        ("POST /responses", b"{}", True),
        ("POST /responses", b'{"store":false}', False),
        ("POST /responses", b'{"include":["reasoning.encrypted_content"],"store":false}', True),
        ("POST /chat/completions", b"{}", False),
        ("POST /chat/completions", b'{"store":true}', True),
        ("POST /files", None, True),
        ("GET /files/file-1/content", None, False),
        ("POST /embeddings", b"{}", False),
        ("POST /something/new", b"{}", False),
    ],
)
def test_which_answers_are_looked_at(call: str, content: bytes | None, looks: bool) -> None:
    assert (answer_ids(line(call), content) is not None) is looks


def test_a_stored_chat_completion_is_remembered_by_its_id() -> None:
    finder = answer_ids(line("POST /chat/completions"), b'{"store":true}')
    assert finder is not None
    assert finder.feed(b'{"id":"chatcmpl-1"}') == ("chatcmpl-1",)
