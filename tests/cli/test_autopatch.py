"""``AZURE_SHIM_AUTOPATCH``: a Python that is patched as it starts, and never fails to start."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import pytest

from azure_shim import autopatch
from azure_shim.autopatch import VARIABLE
from azure_shim.testing import FakeAzure
from tests.cli.pythons import PTH, ROOT, Python

BUILDS = """
import openai
try:
    print(openai.OpenAI().base_url)
except Exception as error:
    print(type(error).__mro__[1:3] and isinstance(error, openai.OpenAIError), type(error).__name__, error)
print(openai.AzureOpenAI(azure_endpoint="https://mine.openai.azure.com", api_key="k", api_version="v1").base_url.host)
"""


def test_the_file_is_one_line_that_python_runs() -> None:
    lines = (ROOT / PTH).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("import ")  # else it would be taken for a directory
    assert f'"{VARIABLE}"' in lines[0]
    configured = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"{PTH}" = "{PTH}"' in configured
    assert 'azure-shim = "azure_shim.cli:main"' in configured


@pytest.mark.parametrize("value", [None, "", "0", "False"])
def test_it_costs_nothing_and_does_nothing_unless_asked_for(installed: Python, value: str | None) -> None:
    variables = {} if value is None else {VARIABLE: value}
    done = installed("-X", "importtime", "-c", "pass", **variables)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "site" in imported
    assert "wrapt" not in imported
    ours = {name for name in imported if name.startswith("azure_shim")}
    assert ours == (set() if not value else {"azure_shim", "azure_shim.autopatch"})


def test_a_python_is_patched_without_importing_openai(installed: Python, azure: FakeAzure) -> None:
    code = (
        "import sys; print('openai' in sys.modules)\n"
        "from openai import OpenAI\n"
        "OpenAI().responses.create(model='gpt-4o', input='Hello')"
    )
    done = installed("-c", code, **{VARIABLE: "true"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
    assert [(request.path, request.refused) for request in azure.requests] == [("/openai/v1/responses", None)]


@pytest.mark.parametrize(
    ("variables", "problem"),
    [({VARIABLE: "1"}, "no endpoint: "), ({VARIABLE: "yes"}, f"{VARIABLE}: is 'yes'; expected 1, true or legacy")],
)
def test_what_is_wrong_comes_up_where_a_client_would_go_to_openai(
    installed: Python, variables: dict[str, str], problem: str
) -> None:
    """Not while Python starts, nor for a client that goes elsewhere."""
    done = installed("-c", BUILDS, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"True ConfigurationError {problem}")
    assert done.stdout.endswith("\nmine.openai.azure.com\n")


def test_a_program_may_set_its_environment_itself(installed: Python, azure: FakeAzure) -> None:
    """As those do that read a .env file."""
    east = azure["eastus"]
    code = (
        "import openai, os\n"
        f"os.environ.update(AZURE_OPENAI_ENDPOINT={east.endpoint!r}, AZURE_OPENAI_API_KEY={east.api_key!r})\n"
        "openai.OpenAI().responses.create(model='gpt-4o', input='Hello')"
    )
    environment = {VARIABLE: "1", "AZURE_OPENAI_ENDPOINT": "", "AZURE_OPENAI_API_KEY": ""}
    done = installed("-c", code, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(azure.requests) == 1


def test_where_the_patch_cannot_be_had_openai_is_not_either(installed: Python) -> None:
    """As without wrapt: a client of openai's would go to api.openai.com."""
    installed.write("broken/wrapt.py", "raise ImportError('no wrapt here')")
    code = "print('started')\nfor _ in range(2):\n try: import openai\n except ImportError as error: print(error)"
    done = installed("-c", code, **{VARIABLE: "1", "PYTHONPATH": "broken"})
    assert (done.returncode, done.stderr) == (0, "")
    started, *refusals = done.stdout.splitlines()
    assert started == "started"
    assert ["no wrapt here" in refusal for refusal in refusals] == [True, True]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `enable` asks of a patching module that does nothing; it was never called before."""
    asked: list[Any] = []
    module: Any = types.ModuleType("azure_shim.patching")
    module.patch_late = lambda *, legacy: asked.append(legacy)
    module.refuse = asked.append
    monkeypatch.setitem(sys.modules, "azure_shim.patching", module)
    monkeypatch.setattr(autopatch, "_done", [])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return asked


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", [False]), (" TRUE ", [False]), ("legacy", [True]), ("0", []), ("false", []), (" ", [])],
)
def test_the_values(monkeypatch: pytest.MonkeyPatch, calls: list[Any], value: str, expected: list[bool]) -> None:
    monkeypatch.setenv(VARIABLE, value)
    autopatch.enable()
    autopatch.enable()  # by a .pth in two site-packages
    assert calls == expected


def test_another_value_is_refused_with_the_ones_there_are(monkeypatch: pytest.MonkeyPatch, calls: list[Any]) -> None:
    monkeypatch.setenv(VARIABLE, "Yes")
    autopatch.enable()
    (problem,) = calls
    assert problem.startswith(f"{VARIABLE}: is 'Yes'; expected 1, true or legacy")


def test_no_failure_gets_out(monkeypatch: pytest.MonkeyPatch, calls: list[Any]) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setattr(sys.modules["azure_shim.patching"], "patch_late", None)
    autopatch.enable()
    monkeypatch.delitem(sys.modules, "openai")
    with pytest.raises(ImportError, match=r"cannot patch openai here \(TypeError: ") as caught:
        importlib.import_module("openai")
    assert caught.value.name == "openai"
    importlib.import_module("json")
