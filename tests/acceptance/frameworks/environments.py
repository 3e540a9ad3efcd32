"""An environment for each framework, and one run of its tests in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from .catalogue import EXAMPLE_TESTS, Framework

__all__ = ["CHECKOUT", "Outcome", "measure"]

CHECKOUT = Path(__file__).resolve().parents[3]
_HERE = Path(__file__).resolve().parent
_FOLDER = CHECKOUT / ".frameworks"
# What the tests need besides the framework; nothing that could move its own requirements.
_TOOLS = ("pytest>=8.2", "trustme>=1.1")
_INSTALL_LIMIT_S = 1200
_TEST_LIMIT_S = 420
_CLEARED = ("OPENAI_", "AZURE_", "PYTEST_", "PYTHON")

_VERSIONS = """
import importlib.metadata, json, sys
import openai
library = next(c.__module__ for c in openai.DefaultHttpxClient.__mro__ if c.__module__.startswith("httpx"))
print(json.dumps([importlib.metadata.version(sys.argv[1]), openai.__version__, library.partition(".")[0]]))
"""


@dataclass
class Outcome:
    """A line of the table; ``trouble`` says why it is not a pass, and ``output`` shows it."""

    framework: str
    version: str = "-"
    openai: str = "-"
    library: str = "-"
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    install_s: float = 0.0
    test_s: float = 0.0
    trouble: str | None = None
    output: str = field(default="", repr=False)


class _Trouble(Exception):
    """Something did not work: why, and what it printed."""


def measure(framework: Framework, *, fresh: bool) -> Outcome:
    """Install a framework, unless it is installed, and run its tests. Does not raise for what goes wrong there."""
    outcome = Outcome(framework.name)
    try:
        started = time.perf_counter()
        python = _installed(framework, fresh=fresh)
        outcome.install_s = round(time.perf_counter() - started, 1)
        outcome.version, outcome.openai, outcome.library = _versions(framework, python)
        started = time.perf_counter()
        _run_tests(framework, python, outcome)
        outcome.test_s = round(time.perf_counter() - started, 1)
    except _Trouble as trouble:
        outcome.trouble, outcome.output = trouble.args
    return outcome


def _installed(framework: Framework, *, fresh: bool) -> Path:
    """The interpreter of the framework's environment, which is made where there is none for what is wanted now."""
    folder = _FOLDER / framework.name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    note = folder / "requirements.json"
    # Of the project itself only what it requires: the rest of that file is no reason to install again.
    ours = (CHECKOUT / "pyproject.toml").read_text().partition("\n[project]")[2].partition("\n[")[0]
    wanted = json.dumps([*framework.requirements, *_TOOLS, ours])
    if not fresh and note.exists() and note.read_text() == wanted:
        return python
    if fresh and folder.exists():
        shutil.rmtree(folder)
    if not python.exists():
        _called([sys.executable, "-m", "venv", str(folder)], "no environment", _INSTALL_LIMIT_S)
    # All at once: pip then finds versions that go together. Only what is imported need be compiled.
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    _called([*pip, *framework.requirements, *_TOOLS, "-e", str(CHECKOUT)], "not installed", _INSTALL_LIMIT_S)
    note.write_text(wanted)
    return python


def _versions(framework: Framework, python: Path) -> tuple[str, str, str]:
    found = _called([str(python), "-c", _VERSIONS, framework.distribution], "not importable", _TEST_LIMIT_S)
    version, openai, library = json.loads(found.splitlines()[-1])
    return version, openai, library


def _run_tests(framework: Framework, python: Path, outcome: Outcome) -> None:
    if not (_HERE / framework.module).exists():
        raise _Trouble("no tests", f"{framework.module} does not exist")
    report = _FOLDER / framework.name / "report.xml"
    report.unlink(missing_ok=True)
    modules = [str(_HERE / framework.module), *([str(_HERE / EXAMPLE_TESTS)] if framework.example else [])]
    command = [str(python), "-m", "pytest", *modules, "-q", "-ra", f"--junitxml={report}"]
    # The suite's own options want plugins that are not here, and its warnings are for our code's sake.
    command += ["-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider", "-o", "filterwarnings=ignore"]
    command += ["-c", str(CHECKOUT / "pyproject.toml")]
    extra = {**framework.environment, "AZURE_SHIM_FRAMEWORK": framework.name, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = _run(command, _TEST_LIMIT_S, extra)
    outcome.output = done.stdout
    if report.exists():
        _count(report, outcome)
    if outcome.failed:
        outcome.trouble = "tests failed"
    elif done.returncode != 0:
        outcome.trouble = f"pytest ended with {done.returncode}"
    elif not outcome.passed:
        outcome.trouble = "no test ran"


def _count(report: Path, outcome: Outcome) -> None:
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            outcome.failed += 1
        elif "skipped" in kinds:
            outcome.skipped += 1
        else:
            outcome.passed += 1


def _run(
    command: list[str], limit_s: float, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a child that sees nothing of this machine's own OpenAI and Azure settings; both its outputs are in stdout."""
    cleaned = {name: value for name, value in os.environ.items() if not name.startswith(_CLEARED)}
    try:
        return subprocess.run(
            command,
            cwd=CHECKOUT,
            env={**cleaned, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        raise _Trouble(
            f"stopped after {limit_s:.0f} s", said if isinstance(said, str) else said.decode(errors="replace")
        ) from None


def _called(command: list[str], trouble: str, limit_s: float) -> str:
    done = _run(command, limit_s)
    if done.returncode != 0:
        raise _Trouble(trouble, done.stdout)
    return done.stdout
