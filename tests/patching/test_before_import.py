"""A patch that comes before ``import openai``, each in a process of its own, with nothing there but the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from azure_shim.testing import FakeAzure, Resource

ROOT = Path(__file__).parents[2]
HEAD = """
import os, sys, socket
import azure_shim
AT = dict(azure_endpoint=os.environ["EAST"], api_key=os.environ["EAST_KEY"], deployments={"gpt-4o": "prod-4o"})
MESSAGES = [{"role": "user", "content": "hi"}]
def outside(host, *args, _resolve=socket.getaddrinfo, **kwargs):
    if host not in ("127.0.0.1", b"127.0.0.1"):
        print("OUT", host)
        raise socket.gaierror(-2, "not for a test")
    return _resolve(host, *args, **kwargs)
def ask(client):
    return client.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices[0].message.content
"""


@pytest.fixture
def run(east: Resource, tmp_path: Path) -> Callable[..., list[str]]:
    """Runs a program, and returns what it printed."""

    def runs(program: str, **variables: str) -> list[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        environment = {**kept, "EAST": east.endpoint, "EAST_KEY": east.api_key, **variables}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning", "PYTHONUNBUFFERED": "1"}
        path = tmp_path / "program.py"
        path.write_text(HEAD + program)
        ended = subprocess.run(
            [sys.executable, str(path)], capture_output=True, text=True, timeout=120, env=environment, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""
        return ended.stdout.splitlines()

    return runs


def test_a_patch_imports_no_openai_and_meets_it_later(run: Callable[..., list[str]], east: Resource) -> None:
    said = run(
        """
azure_shim.patch(**AT)
print([name for name in ("openai", "httpx", "httpx2", "wrapt") if name in sys.modules])
print("OPENAI_API_KEY" in os.environ)
from openai import OpenAI, AsyncOpenAI
import openai
socket.getaddrinfo = outside
with OpenAI() as client:
    print(ask(client) != "", str(client.base_url).startswith(AT["azure_endpoint"]))
import asyncio
async def main():
    async with AsyncOpenAI() as client:
        return (await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)).choices[0].message.content
print(asyncio.run(main()) != "")
print(openai.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices[0].message.content != "")
"""
    )
    assert said == ["[]", "True", "True True", "True", "True"]
    assert [request.refused for request in east.requests] == [None] * 3
    assert {request.headers["api-key"] for request in east.requests} == {east.api_key}


def test_a_patch_that_is_undone_before_the_import_changes_nothing(
    run: Callable[..., list[str]], azure: FakeAzure
) -> None:
    said = run(
        """
azure_shim.patch(**AT)
azure_shim.unpatch()
print("openai" in sys.modules, "OPENAI_API_KEY" in os.environ)
import openai
socket.getaddrinfo = outside
client = openai.OpenAI(api_key="k", max_retries=0)
print(client.base_url, type(vars(openai.OpenAI)["__init__"]).__name__, "_client" in vars(openai.OpenAI))
try:
    ask(client)
except openai.APIConnectionError:
    print("not connected")
azure_shim.patch(**AT)
with openai.OpenAI() as client:
    print(ask(client) != "")
"""
    )
    assert said == [
        "False False",
        "https://api.openai.com/v1/ function False",
        "OUT api.openai.com",
        "not connected",
        "True",
    ]
    assert len(azure.requests) == 1


def test_a_patch_twice_before_the_import_is_one_with_the_newest_settings(
    run: Callable[..., list[str]], east: Resource, west: Resource
) -> None:
    said = run(
        """
azure_shim.patch(azure_endpoint="http://127.0.0.1:1", api_key="k")
azure_shim.unpatch()
azure_shim.patch(**AT)
azure_shim.patch(**{**AT, "azure_endpoint": os.environ["WEST"], "api_key": os.environ["WEST_KEY"]})
import openai
socket.getaddrinfo = outside
with openai.OpenAI() as client:
    print(ask(client) != "")
azure_shim.unpatch()
print(type(vars(openai.OpenAI)["__init__"]).__name__, "OPENAI_API_KEY" in os.environ)
""",
        WEST=west.endpoint,
        WEST_KEY=west.api_key,
    )
    assert said == ["True", "function False"]
    assert len(west.requests) == 1


def test_a_scope_may_be_begun_before_the_import(run: Callable[..., list[str]], east: Resource) -> None:
    said = run(
        """
with azure_shim.patched(**AT):
    import openai
    socket.getaddrinfo = outside
    client = openai.OpenAI()
    print(ask(client) != "")
print(openai.OpenAI(api_key="k").base_url)
print(ask(client) != "")
client.close()
"""
    )
    assert said == ["True", "https://api.openai.com/v1/", "True"]


def test_settings_that_cannot_work_are_told_at_once_without_openai(run: Callable[..., list[str]]) -> None:
    said = run(
        """
try:
    azure_shim.patch(azure_endpoint="nowhere at all")
except azure_shim.ConfigurationError as error:
    print("azure_endpoint" in str(error), isinstance(error, ValueError))
print("openai" in sys.modules, "OPENAI_API_KEY" in os.environ)
"""
    )
    assert said == ["True True", "False False"]


def test_openai_is_imported_by_name_of_a_submodule(run: Callable[..., list[str]], east: Resource) -> None:
    said = run(
        """
azure_shim.patch(**AT)
from openai._client import OpenAI
from openai.types.chat import ChatCompletion
socket.getaddrinfo = outside
with OpenAI() as client:
    print(ask(client) != "")
"""
    )
    assert said == ["True"]


def test_a_real_key_is_kept(run: Callable[..., list[str]], east: Resource) -> None:
    said = run(
        """
azure_shim.patch(**AT)
print(os.environ["OPENAI_API_KEY"])
azure_shim.unpatch()
print(os.environ["OPENAI_API_KEY"])
""",
        OPENAI_API_KEY="sk-real",
    )
    assert said == ["sk-real", "sk-real"]
