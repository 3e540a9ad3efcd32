"""Interpreters that azure_shim is installed in, or on the path of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from azure_shim.testing import FakeAzure
from tests.cli.pythons import Python, make_python


@pytest.fixture
def installed(tmp_path: Path) -> Python:
    return make_python(tmp_path / "venv", is_installed=True)


@pytest.fixture(params=["installed", "checkout"])
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Python:
    """One that reads the .pth, and one that azure_shim reaches by PYTHONPATH alone."""
    return make_python(tmp_path / "venv", is_installed=request.param == "installed")


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAzure]:
    """One resource, which the environment names."""
    with FakeAzure({"eastus": {"gpt-4o": "gpt-4o"}}) as found:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", found["eastus"].endpoint)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", found["eastus"].api_key)
        yield found
        assert found.leaks == []
