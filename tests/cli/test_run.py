"""``azure-shim run``: the program runs as Python runs it, and its clients are Azure's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from azure_shim import __version__, cli
from azure_shim.autopatch import VARIABLE
from azure_shim.testing import FakeAzure
from tests.cli.pythons import PTH, ROOT, Python, make_python

SETTINGS = {"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com", "AZURE_OPENAI_API_KEY": "k"}
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and exec")

CALLS = """
import asyncio, multiprocessing, os, pickle, subprocess, sys
from openai import AsyncOpenAI, OpenAI

QUESTION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}

def call(name):
    with OpenAI(default_headers={"x-caller": name}) as client:
        client.chat.completions.create(**QUESTION)

async def acall(name):
    async with AsyncOpenAI(default_headers={"x-caller": name}) as client:
        await client.chat.completions.create(**QUESTION)

if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        call("subprocess")
    else:
        os.chdir(os.sep)
        call("sync")
        asyncio.run(acall("async"))
        assert pickle.loads(pickle.dumps(call)) is call
        subprocess.run([sys.executable, __file__, "child"], check=True)
        process = multiprocessing.get_context("spawn").Process(target=call, args=("spawned",))
        process.start()
        process.join()
        sys.exit(process.exitcode)
"""


def callers(azure: FakeAzure) -> list[tuple[str | None, str | None]]:
    return [(request.headers.get("x-caller"), request.refused) for request in azure.requests]


def test_a_script_and_the_pythons_that_it_starts_call_azure(python: Python, azure: FakeAzure) -> None:
    script = python.write("calls.py", CALLS)
    done = python.run(str(script))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert callers(azure) == [(name, None) for name in ("sync", "async", "subprocess", "spawned")]


def test_the_config_of_the_command_line_is_that_of_the_children_in_other_directories(
    installed: Python, azure: FakeAzure
) -> None:
    """Relative to where `run` was called, and with nothing of the environment's endpoint."""
    east = azure["eastus"]
    target = f'[[targets]]\nname = "eastus"\nazure_endpoint = "{east.endpoint}"\napi_key = "{east.api_key}"\n'
    installed.write("azure.toml", f'strategy = {{ mode = "single" }}\n{target}')
    installed.write("calls.py", CALLS)
    done = installed.run("--config", "azure.toml", "calls.py", AZURE_OPENAI_ENDPOINT="https://elsewhere.invalid")
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name, _ in callers(azure)] == ["sync", "async", "subprocess", "spawned"]


def test_a_program_for_the_old_sdk_runs_with_what_it_says_itself(installed: Python, azure: FakeAzure) -> None:
    """Its resource and key are in its code, none in the environment."""
    east = azure["eastus"]
    code = (
        "import openai\n"
        "openai.api_type, openai.api_version = 'azure', '2024-10-21'\n"
        f"openai.api_base, openai.api_key = {east.endpoint!r}, {east.api_key!r}\n"
        "openai.ChatCompletion.create(engine='gpt-4o', messages=[{'role': 'user', 'content': 'Hello'}])"
    )
    done = installed.run("--legacy", "-c", code, AZURE_OPENAI_ENDPOINT="", AZURE_OPENAI_API_KEY="")
    assert (done.returncode, done.stderr) == (0, "")
    assert [(request.deployment, request.refused) for request in azure.requests] == [("gpt-4o", None)]


LOOKS = """
import sys
main = sys.modules["__main__"]
print(__name__, __file__, __spec__ and __spec__.name, __package__, sys.argv, sys.path[0], main.__dict__ is globals())
"""
SAME: dict[str, tuple[str, ...]] = {
    "a script": ("looks.py", "a", "--config", "-m", "-W"),
    "a script elsewhere": ("package/__main__.py",),
    "a module": ("-m", "looks", "--legacy"),
    "a package": ("-m", "package", "-h"),
    "a directory": ("package",),
    "a zip": ("program.zip", "x"),
    "code": ("-c", LOOKS.replace("__file__, ", ""), "x", "-c"),
    "standard input as the program": ("-", "a"),
    "options of Python": ("-P" if sys.version_info >= (3, 11) else "-s", "-Xdev", "-W", "error", "looks.py"),
    "python's profiler": ("-m", "timeit", "-n1", "-r1", "-s", "import looks", "raise SystemExit(4)"),
    "a script that is not there": ("nowhere.py",),
    "a module that is not there": ("-m", "nowhere"),
    "a syntax error": ("-c", "1 +"),
    "an exit code": ("-c", "import sys; sys.exit(7)"),
    "an exit with a message": ("-c", "raise SystemExit('over and out')"),
    "an exit with nothing": ("-c", "import sys; sys.exit()"),
    "an exception": ("raises.py",),
    "an exception of a module": ("-m", "raises"),
    "what runs at exit": ("-c", "import atexit; atexit.register(print, 'bye'); import warnings; warnings.warn('w')"),
    "what reads its standard input": ("-c", "print(input(), input())"),
    "an interrupt": ("-c", "import os, signal; os.kill(os.getpid(), signal.SIGINT); input(); input(); input()"),
    "an interrupt that is caught": (
        "-c",
        "import os, signal\ntry:\n os.kill(os.getpid(), signal.SIGINT); input()\nexcept KeyboardInterrupt: print('no')",
    ),
    "a termination": ("-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"),
    "its handlers": ("-c", "import signal; print([(n, signal.getsignal(n)) for n in signal.valid_signals()])"),
    "its modules": ("-c", "import sys; print([n for n in ('openai', 'httpx', 'httpx2', 'azure') if n in sys.modules])"),
}


@POSIX
@pytest.mark.parametrize("words", SAME.values(), ids=SAME)
def test_a_program_behaves_as_under_python_itself(installed: Python, words: tuple[str, ...]) -> None:
    """Its exit code, what it prints, and what is printed about it."""
    installed.write("looks.py", LOOKS)
    installed.write("raises.py", "def f():\n    raise ValueError('no')\n\nf()\n")
    module = installed.write("package/__main__.py", LOOKS)
    with zipfile.ZipFile(installed.cwd / "program.zip", "w") as archive:
        archive.write(module, "__main__.py")
    stdin = LOOKS.replace("__file__, ", "") if words[0] == "-" else "one\ntwo\n"
    plain, run = (do(*words, stdin=stdin, **SETTINGS) for do in (installed, installed.run))
    assert (run.returncode, run.stdout, run.stderr) == (plain.returncode, plain.stdout, plain.stderr)


@POSIX
def test_the_program_takes_the_place_of_the_command(installed: Python) -> None:
    """A supervisor's signals reach the program itself; there is no process between them."""
    command = [
        installed.executable,
        "-m",
        "azure_shim",
        "run",
        "-c",
        "import os; print(os.getpid(), flush=True); input()",
    ]
    with subprocess.Popen(
        command, env=installed.environ(**SETTINGS), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == -signal.SIGTERM


def test_the_environment_is_the_callers_but_for_what_patches(python: Python) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    plain, run = (json.loads(do("-c", code, **SETTINGS).stdout) for do in (python, python.run))
    changed = {name: value for name, value in run.items() if plain.get(name) != value}
    assert plain.keys() <= run.keys()
    expected = {VARIABLE: "1"}
    if "PYTHONPATH" in python.environment:
        expected["PYTHONPATH"] = os.pathsep.join([str(ROOT / "azure_shim" / "startup"), str(ROOT)])
    assert changed == expected


def test_without_a_pth_the_path_stays_clean_and_another_sitecustomize_runs(python: Python) -> None:
    python.write("site/sitecustomize.py", "import sys; sys.customized = __file__")
    path = os.pathsep.join([str(python.cwd / "site"), *python.environment.values()])
    code = (
        "import sys, sitecustomize\n"
        "print(sys.customized, sitecustomize.__file__, [entry for entry in sys.path if 'startup' in entry])"
    )
    done = python.run("-c", code, PYTHONPATH=path, **SETTINGS)
    customized = python.cwd / "site" / "sitecustomize.py"
    assert (done.stdout, done.stderr) == (f"{customized} {customized} []\n", "")


def test_bad_settings_are_one_error_before_the_program_runs(python: Python) -> None:
    done = python.run("-c", "print('ran')")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python -m azure_shim: error: no endpoint: pass azure_endpoint=")
    assert "AZURE_OPENAI_ENDPOINT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["-S", "-I", "-E"])
def test_an_option_that_leaves_no_way_to_patch_is_an_error(tmp_path: Path, option: str) -> None:
    """Of the program's Python; the program does not run without the patch."""
    python = make_python(tmp_path / "venv", is_installed=False)
    done = python.run(option, "-c", "print('ran')", **SETTINGS)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Python's option{'' if option == '-S' else 's'} " in done.stderr
    assert option in done.stderr


def test_isolated_mode_needs_no_more_than_the_pth(installed: Python, azure: FakeAzure) -> None:
    installed.write("calls.py", CALLS)
    done = installed("-Im", "azure_shim", "run", "calls.py", "child")
    assert (done.returncode, done.stderr) == (0, "")
    assert callers(azure) == [("subprocess", None)]


def test_a_command_line_that_says_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    for words, complaint in (
        ([], "arguments are required"),
        (["walk"], "invalid choice"),
        (["run"], "which program?"),
        (["run", "--config"], "expected one argument"),
        (["run", "--legcy", "script.py"], "unrecognized arguments: --legcy"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            cli.main(words)
        out, err = capsys.readouterr()
        assert (exit_info.value.code, out) == (2, "")
        assert complaint in err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words, printed in (
        (["--version"], f"azure-shim {__version__}\n"),
        (["--help"], "usage: azure-shim"),
        (["run", "--help"], "usage: azure-shim run [--legacy] [--config FILE]"),
        (["run", "-h"], "AZURE_OPENAI_ENDPOINT"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            cli.main(words)
        assert exit_info.value.code == 0
        assert printed in capsys.readouterr().out


class Started(Exception):
    """Instead of another program in the place of the tests."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], dict[str, str]]]:
    """What would be started, and its environment, for a Python's own command line and that of ``run``."""

    def execve(path: str, command: list[str], environment: dict[str, str]) -> None:
        assert path == command[0] == sys.executable
        raise Started(command[1:], environment)

    def start(before: list[str], *words: str) -> tuple[list[str], dict[str, str]]:
        monkeypatch.setattr(sys, "orig_argv", ["python", *before])
        with pytest.raises(Started) as caught:
            cli.main(["run", *words])
        return caught.value.args

    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli.os, "execve", execve)
    return start


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (["-m", "azure_shim", "run"], []),
        (["-mazure_shim", "run"], []),
        (["-Im", "azure_shim", "run"], ["-I"]),
        (["-u", "-X", "dev", "-W", "error", "-m", "azure_shim"], ["-u", "-X", "dev", "-W", "error"]),
        (["-Xdev", "-uWerror", "-OO", "/bin/azure-shim", "run", "-O"], ["-Xdev", "-uWerror", "-OO"]),
        (
            ["-bW", "error", "--check-hash-based-pycs", "never", "-c", "..."],
            ["-bW", "error", "--check-hash-based-pycs", "never"],
        ),
        (["--", "/bin/azure-shim", "-v"], []),
        (["-v"], ["-v"]),
    ],
)
def test_the_options_of_python_are_the_programs_too(
    monkeypatch: pytest.MonkeyPatch, started: Any, before: list[str], kept: list[str]
) -> None:
    monkeypatch.setattr(cli, "_is_in_site_packages", lambda letters: True)
    assert started(before, "script.py", "-x")[0] == [*kept, "script.py", "-x"]


def test_the_options_of_run_travel_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, started: Any, tmp_path: Path
) -> None:
    config = tmp_path / "azure.json"
    config.write_text('{"strategy": {"mode": "single"}, "targets": [{"resource_name": "east", "api_key": "k"}]}')
    monkeypatch.chdir(tmp_path)
    for words, mode, file in (
        (["--config=azure.json", "--legacy", "-u", "s.py", "--config", "x"], "legacy", str(config)),
        (["--config", "azure.json", "--", "s.py"], "1", str(config)),
        (["s.py", "--legacy"], "1", None),
    ):
        environment = started(["-m", "azure_shim"], *words)[1]
        assert (environment[VARIABLE], environment.get("AZURE_SHIM_CONFIG")) == (mode, file)
    monkeypatch.setenv(VARIABLE, "Legacy")
    assert started([], "s.py")[1][VARIABLE] == "legacy"
    monkeypatch.setenv(VARIABLE, "0")
    assert started([], "s.py")[1][VARIABLE] == "1"


def test_a_legacy_program_may_have_its_settings_in_itself(
    monkeypatch: pytest.MonkeyPatch, started: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """But a config that cannot work is an error before it runs, as always."""
    for name in SETTINGS:
        monkeypatch.delenv(name)
    assert started([], "--legacy", "s.py")[0][-1:] == ["s.py"]
    with pytest.raises(SystemExit):
        cli.main(["run", "--legacy", "--config", "nowhere.toml", "s.py"])
    assert "nowhere.toml' cannot be read: No such file" in capsys.readouterr().err


def test_a_path_of_the_callers_own_goes_between_ours(monkeypatch: pytest.MonkeyPatch, started: Any) -> None:
    monkeypatch.setattr(cli, "_is_in_site_packages", lambda letters: False)
    startup = str(ROOT / "azure_shim" / "startup")
    for given, path in (
        (None, [startup, str(ROOT)]),
        ("", [startup, str(ROOT)]),
        (os.pathsep.join(["a", "b"]), [startup, "a", "b", str(ROOT)]),
        (os.pathsep.join([startup, "a", str(ROOT)]), [startup, "a", str(ROOT)]),  # a run within a run
        (os.pathsep.join([str(ROOT), "a"]), [startup, str(ROOT), "a"]),
    ):
        if given is None:
            monkeypatch.delenv("PYTHONPATH", raising=False)
        else:
            monkeypatch.setenv("PYTHONPATH", given)
        assert started([], "s.py")[1]["PYTHONPATH"].split(os.pathsep) == path


def test_the_pth_is_looked_for_where_python_will_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / PTH).touch()
    monkeypatch.setattr(cli.site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setattr(cli.site, "getusersitepackages", lambda: str(tmp_path / "user"))
    monkeypatch.setattr(cli.site, "ENABLE_USER_SITE", True)
    assert cli._is_in_site_packages(set())
    assert not cli._is_in_site_packages({"s"})
    assert not cli._is_in_site_packages({"I"})
    monkeypatch.setattr(cli.site, "ENABLE_USER_SITE", False)
    assert not cli._is_in_site_packages(set())
    (tmp_path / PTH).touch()
    assert cli._is_in_site_packages({"I"})


def test_an_interpreter_that_does_not_know_itself_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["run", "s.py"])
    assert exit_info.value.code == 2
    assert "sys.executable" in capsys.readouterr().err


def test_where_exec_does_not_replace_a_process_the_program_is_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code is the command's, and an interrupt of the console is the program's to answer."""
    code = "import os, sys; sys.exit(len(os.environ['AZURE_SHIM_AUTOPATCH']) + 6)"
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "orig_argv", ["python"])
    monkeypatch.setattr(cli.os, "name", "nt")
    interrupts = [KeyboardInterrupt]
    wait = subprocess.Popen.wait

    def interrupted(self: Any, timeout: float | None = None) -> int:
        if interrupts:
            raise interrupts.pop()
        return wait(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["run", "-c", code])
    assert exit_info.value.code == 7
    assert interrupts == []
