"""What the frameworks' tests stand on: nothing leaves the machine unseen, and no run passes in which nothing ran."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from azure_shim.testing import FakeAzure, Resource
from tests.acceptance.frameworks import __main__ as command
from tests.acceptance.frameworks import environments
from tests.acceptance.frameworks.catalogue import FIXED, FRAMEWORKS, Framework
from tests.acceptance.frameworks.environments import Outcome, measure
from tests.acceptance.frameworks.guard import Guard, LeftTheMachine
from tests.acceptance.frameworks.support import LONG, Gate, served

HERE = Path(__file__).parent


async def _open(host: str) -> None:
    await asyncio.open_connection(host, 443)


def _send(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (host, 53))


@pytest.mark.parametrize(
    ("leave", "host"),
    [
        (lambda host: socket.create_connection((host, 443)), "api.openai.com"),
        (lambda host: socket.create_connection((host, 443)), "192.0.2.1"),
        (lambda host: asyncio.run(_open(host)), "api.openai.com"),
        (lambda host: asyncio.run(_open(host)), "192.0.2.1"),
        (_send, "192.0.2.1"),
    ],
)
def test_whatever_leaves_the_machine_is_refused_and_noted(leave: Callable[[str], Any], host: str, guard: Guard) -> None:
    with pytest.raises(LeftTheMachine, match=host):
        leave(host)
    assert set(guard.take_refused()) == {host}


def test_a_plain_client_is_noted_even_where_its_error_is_swallowed(guard: Guard) -> None:
    with pytest.raises((openai.APIConnectionError, LeftTheMachine)):
        openai.OpenAI(max_retries=0).models.list()
    assert guard.take_refused() == ["api.openai.com"]


def test_this_machine_is_not_refused(client: Any, azure: FakeAzure) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
        socket.getaddrinfo("localhost", 80)
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    assert served(azure) == [("chat/completions", "chat-prod")]


@pytest.mark.parametrize("is_buffered", [False, True])
def test_a_stream_that_is_read_to_its_end_comes_late_to_the_gate(
    is_buffered: bool, client: Any, eastus: Resource
) -> None:
    gate = Gate(limit_s=0 if is_buffered else 10)
    eastus.sleep = gate.wait
    chunks = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": LONG}], stream=True)
    for chunk in list(chunks) if is_buffered else chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            gate.open()
    assert gate.was_reached
    assert gate.is_late is is_buffered


def test_every_framework_has_its_tests_and_every_test_its_framework() -> None:
    modules = {framework.module for framework in FRAMEWORKS.values()}
    assert modules == {path.name for path in HERE.glob("test_*.py")} - {Path(__file__).name}
    assert len(modules) == len(FRAMEWORKS)
    assert set(FIXED) < set(FRAMEWORKS)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Environments and tests in a folder of this test's; every framework is "installed", for this Python."""
    monkeypatch.setattr(environments, "_FOLDER", tmp_path)
    monkeypatch.setattr(environments, "_installed", lambda framework, fresh: Path(sys.executable))
    monkeypatch.setattr(environments, "_versions", lambda framework, python: ("1.0", openai.__version__, "httpx"))
    (tmp_path / "some").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("module", "trouble", "counts"),
    [
        ("def test_a(): pass", None, (1, 0, 0)),
        ("def test_a(): pass\ndef test_b(): assert 0", "tests failed", (1, 1, 0)),
        ("import pytest\n@pytest.mark.skip\ndef test_a(): pass", "no test ran", (0, 0, 1)),
        ("def helper(): pass", "pytest ended with 5", (0, 0, 0)),
        ("import no_such_module", "tests failed", (0, 1, 0)),
        (None, "no tests", (0, 0, 0)),
    ],
    ids=["passes", "fails", "skips", "is empty", "breaks", "is not there"],
)
def test_only_a_test_that_passed_is_a_pass(
    module: str | None, trouble: str | None, counts: tuple[int, int, int], elsewhere: Path
) -> None:
    path = elsewhere / "test_some.py"
    if module is not None:
        path.write_text(module)
    outcome = measure(Framework("some", ("some",), str(path)), fresh=False)
    assert outcome.trouble == trouble
    assert (outcome.passed, outcome.failed, outcome.skipped) == counts
    assert outcome.output


def test_tests_see_nothing_of_this_machine_s_own_settings(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com")
    path = elsewhere / "test_some.py"
    path.write_text(
        "import os\n"
        "def test_a():\n"
        "    mine = {name: value for name, value in os.environ.items() if name.startswith(('OPENAI_', 'AZURE_'))}\n"
        "    assert mine == {'AZURE_SHIM_FRAMEWORK': 'some'}\n"
        "    assert os.environ['QUIET'] == '1'\n"
    )
    outcome = measure(Framework("some", ("some",), str(path), {"QUIET": "1"}), fresh=False)
    assert outcome.trouble is None, outcome.output


def test_what_cannot_be_installed_is_no_pass_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installs = []

    def called(command: list[str], limit_s: float, environment: Any = None) -> subprocess.CompletedProcess[str]:
        is_install = "install" in command
        installs.append(is_install)
        (tmp_path / "some").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, int(is_install), "no such distribution")

    monkeypatch.setattr(environments, "_FOLDER", tmp_path)
    monkeypatch.setattr(environments, "_run", called)
    for _ in range(2):
        outcome = measure(Framework("some", ("some",), "test_some.py"), fresh=False)
        assert (outcome.trouble, outcome.output) == ("not installed", "no such distribution")
    assert installs.count(True) == 2


@pytest.mark.parametrize(("trouble", "code"), [(None, 0), ("no test ran", 1)])
def test_the_command_ends_with_1_unless_all_passed(
    trouble: str | None,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measured(framework: Framework, *, fresh: bool) -> Outcome:
        is_first = framework.name == FIXED[0]
        return Outcome(framework.name, "1.2", "3.4", "httpx2", passed=5, trouble=None if is_first else trouble)

    table = tmp_path / "table.json"
    monkeypatch.setattr(command, "measure", measured)
    monkeypatch.setattr(sys, "argv", ["frameworks", "--fixed", "--json", str(table)])
    assert command.main() == code
    rows = json.loads(table.read_text())
    assert [row["framework"] for row in rows] == list(FIXED)
    assert rows[0]["library"] == "httpx2"
    assert FIXED[0] in capsys.readouterr().out


def test_a_name_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["frameworks", "langchian"])
    with pytest.raises(SystemExit):
        command.main()
