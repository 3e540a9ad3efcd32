"""gunicorn with ``--preload``: workers that are forked after the application has made its client, and a call (P56)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from azure_shim.testing import FakeAzure, FakeResponse, Recorded, Resource
from tests.servers import CHAT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn needs a fork")

APPLICATION = """
import asyncio, json, os
import openai
import azure_shim

arguments = {"azure_endpoint": os.environ["URL"], "api_key": os.environ["KEY"], "deployments": {"gpt-4o": "chat-prod"}}
dose = os.environ["DOSE"]
call = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
if dose == "patch":
    azure_shim.patch(**arguments)
    client = openai.OpenAI(max_retries=0)
elif dose == "http_client":
    client = openai.OpenAI(api_key="unused", http_client=azure_shim.http_client(**arguments), max_retries=0)
elif dose == "config":
    targets = [{"name": name, **arguments} for name in "ab"]
    client = azure_shim.OpenAI(config={"strategy": {"mode": "fallback"}, "targets": targets}, max_retries=0)
elif dose == "async":
    client = azure_shim.AsyncOpenAI(**arguments, max_retries=0)
else:
    client = azure_shim.OpenAI(**arguments, max_retries=0)

def ask():
    answered = client.chat.completions.create(**call)
    if dose == "async":
        async def awaited():
            return await answered
        answered = asyncio.run(awaited())
    return answered.choices[0].message.content

def read():
    if dose == "async":
        async def awaited():
            stream = await client.chat.completions.create(stream=True, **call)
            return [chunk async for chunk in stream]
        chunks = asyncio.run(awaited())
    else:
        chunks = client.chat.completions.create(stream=True, **call)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

ask()  # by the master, before any worker is forked

def application(environ, start_response):
    said = read() if environ["PATH_INFO"] == "/stream" else ask()
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps([os.getpid(), os.getppid(), said]).encode()]
"""


class Gunicorn:
    """A master with two workers; ``log`` is all that it has written."""

    has_threads = False

    def __init__(self, folder: Path, environment: dict[str, str], *words: str) -> None:
        self.log: list[str] = []
        self._lines: Queue[str | None] = Queue()
        command = [sys.executable, "-X", "faulthandler", "-m", "gunicorn", "--preload", "--workers", "2"]
        command += ["--bind", "127.0.0.1:0", "--graceful-timeout", "10", *words, "application:application"]
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_until_ready(self) -> None:
        """Both workers have been forked."""
        while sum("Booting worker" in line for line in self.log) < 2:
            line = self._lines.get(timeout=60)
            assert line is not None, "".join(self.log)
            self.log.append(line)
        found = re.search(r"Listening at: (http://[\d.:]+)", "".join(self.log))
        assert found, "".join(self.log)
        self.url = found[1]

    def get(self, path: str = "/") -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as response:
            return json.load(response)

    def stop(self) -> int:
        """The exit code of the master, once it was told to end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        self._reader.join(30)
        while (line := self._lines.get(timeout=30)) is not None:
            self.log.append(line)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


@pytest.fixture(params=["constructor", "config", "http_client", "patch", "async"])
def dose(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sync", "gthread"])
def gunicorn(dose: str, eastus: Resource, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gunicorn]:
    (tmp_path / "application.py").write_text(APPLICATION, encoding="utf-8")
    environment = {"URL": eastus.endpoint, "KEY": eastus.api_key, "DOSE": dose}
    words = ["--threads", "2"] if request.param == "gthread" else []
    found = Gunicorn(tmp_path, environment, "--worker-class", request.param, *words)
    found.has_threads = bool(words)
    try:
        found.wait_until_ready()
        yield found
    finally:
        code = found.stop()
    log = "".join(found.log)
    assert code == 0, log
    for trouble in ("Traceback", "Error", "Warning", "[ERROR]", "[CRITICAL]", "Exception ignored"):
        assert trouble not in log, log


def test_each_worker_calls_and_streams_by_connections_of_its_own(
    gunicorn: Gunicorn, dose: str, eastus: Resource, azure: FakeAzure
) -> None:
    """Two calls are answered only when both are there, and so by both workers where a worker takes one at a time."""
    (before,) = azure.requests
    together = threading.Barrier(2, timeout=30)

    def answer(request: Recorded) -> FakeResponse:
        together.wait()
        return FakeResponse.json(CHAT)

    eastus.answer_next(answer, times=2)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: gunicorn.get(), range(2)))
    workers = {pid for pid, _, _ in answers}
    assert gunicorn.has_threads or len(workers) == 2
    for _ in range(6):
        pid, master, said = gunicorn.get()
        assert said == "Hello from eastus/chat-prod: hi"
        assert pid != master
        workers.add(pid)
    assert len(workers) <= 2
    assert len(azure.requests) == 9
    assert before.connection.number not in {request.connection.number for request in azure.requests[1:]}
    if dose != "async":  # of which each call has a loop, and so a connection, of its own
        assert len({request.connection.number for request in azure.requests[1:]}) <= 4
    for _ in range(3):
        assert gunicorn.get("/stream")[2] == "Hello from eastus/chat-prod: hi"
    assert [request.json().get("stream", False) for request in azure.requests[9:]] == [True] * 3
