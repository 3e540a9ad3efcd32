"""The package itself: its names, what importing it costs, its README and its examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import azure_shim
from azure_shim.testing import FakeAzure, TokenService
from tests.conftest import OWN_LIBRARY

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> str:
    """What a fresh Python prints."""
    completed = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr == ""
    return completed.stdout


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(azure_shim.__all__) == azure_shim.__all__
    for name in azure_shim.__all__:
        value = getattr(azure_shim, name)
        assert name == "__version__" or value.__doc__, f"{name} has no docstring"
    assert set(azure_shim.__all__) <= set(dir(azure_shim))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'AzureOpenIA'"):
        azure_shim.AzureOpenIA  # noqa: B018


def test_importing_the_package_imports_neither_openai_nor_an_http_library() -> None:
    heavy = ("openai", "httpx", "httpx2", "azure", "wrapt", "ssl")
    code = f"import sys, azure_shim; print([name for name in {heavy} if name in sys.modules])"
    assert run("-c", code).strip() == "[]"


def test_a_client_imports_only_the_library_that_openai_is_built_on_and_no_identity() -> None:
    code = (
        "import sys, azure_shim\n"
        "client = azure_shim.OpenAI(azure_endpoint='r.openai.azure.com', api_key='k')\n"
        "print([name for name in ('httpx', 'httpx2') if name in sys.modules], 'azure.identity' in sys.modules)"
    )
    assert run("-c", code).strip() == f"['{OWN_LIBRARY}'] False"


def snippets(language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def on_loopback(text: str, azure: FakeAzure) -> str:
    """A snippet with the resources of a FakeAzure, each with its key; where a line names none it is `my-resource`."""
    lines = []
    for line in text.splitlines():
        for resource in azure:
            named = re.compile(rf'resource_name("?)( ?[:=] ?)"{resource.name}"')
            if named.search(line) or resource.name == "my-resource":
                line = named.sub(rf'azure_endpoint\1\2"{resource.endpoint}"', line)
                line = line.replace(f"https://{resource.name}.openai.azure.com", resource.endpoint)
                line = re.sub(r'(api_key"?(?:=|: ))"\.\.\."', rf'\1"{resource.api_key}"', line)
        lines.append(line)
    return "\n".join(lines)


def test_the_readme_runs_as_it_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its snippets in order, against a FakeAzure that plays its resources, with the calls that they promise."""
    prod = {"prod-4o": "gpt-4o"}
    models = {"eastus-resource": prod, "westus-resource": prod, "my-resource": {**prod, "gpt-4o": "gpt-4o"}}
    with TokenService() as service, FakeAzure(models, token_service=service) as azure:
        for name, value in service.environment("client_secret").items():
            monkeypatch.setenv(name, value)
        resource, east, west = (azure[name] for name in ("my-resource", "eastus-resource", "westus-resource"))
        for name, value in (("EASTUS_KEY", east.api_key), ("WESTUS_KEY", west.api_key), ("OPENAI_KEY", "sk-1")):
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "azure.toml").write_text(on_loopback(*snippets("toml"), azure), encoding="utf-8")
        space: dict[str, Any] = {"get_token": lambda: next(iter(resource.tokens))}
        promised = []
        for code in snippets():
            for method, url in re.findall(r"# (POST|GET) (https://\S+)", code):
                promised.append((method, url.replace("https://my-resource.openai.azure.com", "")))
            code = on_loopback(code, azure)
            # The authority is none of those that Microsoft's own would vouch for.
            code = code.replace("AzureCredential()", "AzureCredential(disable_instance_discovery=True)")
            exec(compile(code, "README.md", "exec"), space)
        seen = [(r.method, r.raw_path) for r in resource.requests]
        assert set(promised) <= set(seen)
        assert len(promised) == 3
        assert [(r.path, r.deployment) for r in west.requests][-1] == ("/openai/v1/responses", "prod-4o")
        assert [r.refused for r in (*east.requests, *west.requests)] == [None, None]
        assert azure.leaks == []
        assert [asked.grant for asked in service.requests] == ["client_secret"]
        space["credential"].close()
    printed = capsys.readouterr().out
    assert "does not offer POST /v1/moderations" in printed
    assert "deployment='gpt-4o'" in printed
    assert re.search(r"^(eastus|westus) \(Attempt\(target='\1'", printed, re.MULTILINE)


def test_the_readmes_commands_are_two() -> None:
    commands = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert ["quickstart" in c for c in commands] == [True, False]
    assert ["pytest" in c for c in commands] == [False, True]
    assert all(len(c.strip().splitlines()) == 1 for c in commands)


EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_runs_offline_as_it_stands(name: str) -> None:
    assert run(f"examples/{name}")


def test_the_quickstart_shows_what_was_sent_and_streams_visibly() -> None:
    printed = run("examples/quickstart.py")
    sent = r"sent +POST http://127\.0\.0\.1:\d+/openai/deployments/prod-4o/chat/completions\?api-version="
    assert re.search(sent, printed)
    assert "came back 200: " in printed
    assert printed.count("][") >= 3


def test_two_regions_shows_what_moves_to_the_other_region_and_what_does_not() -> None:
    """A stream that has begun breaks; one that has not, and the next call, are served by the other region."""
    steps = steps_of(run("examples/two_regions.py"))
    assert "asked: eastus (served)" in steps[1]
    assert re.search(r"Hello from eastus/.* \.\.\. (APIConnectionError|RemoteProtocolError)$", steps[2], re.MULTILINE)
    assert "westus" not in steps[2]
    assert "Hello from westus/" in steps[3]
    assert "asked: westus (served)" in steps[3]
    assert "asked: westus (error in the stream), then eastus (served)" in steps[4]
    assert "asked: eastus (connect failed), then westus (served)" in steps[5]
    assert re.search(r"health: eastus is (cooling|half-open), westus is healthy", steps[5])


def test_ptu_first_overflows_waits_and_comes_back() -> None:
    steps = steps_of(run("examples/ptu_first.py"))
    asked = {number: re.findall(r"asked: ([^;\n]*)", text) for number, text in steps.items()}
    assert asked == {
        1: ["ptu (served)"],
        2: ["ptu (rate limited), then paygo (served)", "paygo (served)"],
        3: ["ptu (served)"],
        4: ["ptu (rate limited), then ptu (served)"],
        5: ["ptu (served)", "paygo (served)"],
        6: ["ptu (served)", "ptu (served)"],
    }
    assert "cooling down: ['gpt-4o-ptu']" in steps[2]


def steps_of(printed: str) -> dict[int, str]:
    """What an example prints under each of its numbered headings."""
    parts = re.split(r"^(\d+)\. ", printed, flags=re.MULTILINE)[1:]
    return {int(number): text for number, text in zip(parts[::2], parts[1::2], strict=True)}


def test_the_wheel_has_the_types_marker_and_nothing_but_the_package() -> None:
    assert (ROOT / "azure_shim" / "py.typed").exists()
    configured = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'packages = ["azure_shim"]' in configured
