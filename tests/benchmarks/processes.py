"""Other processes: the server on loopback, and fresh interpreters for what can be measured but once in a process."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from typing_extensions import Self

import azure_shim

from .effort import Effort

__all__ = ["Server", "fresh", "install", "probe"]

_PACKAGE = __package__ or ""
_ROOT = Path(__file__).parents[_PACKAGE.count(".") + 1]


def _environment(first: Path) -> dict[str, str]:
    roots = (str(first), str(_ROOT), str(Path(azure_shim.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))}


def fresh(*arguments: str, first: Path = _ROOT) -> str:
    """What a fresh interpreter prints, which looks for modules in ``first`` before anywhere else."""
    command = [sys.executable, *arguments]
    run = subprocess.run(command, cwd=first, env=_environment(first), check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout


def install(folder: Path) -> None:
    """A copy of the package in ``folder``, compiled, as an installer leaves it."""
    source = Path(azure_shim.__file__).parent
    shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(folder, quiet=2)


def probe(*arguments: object) -> dict[str, Any]:
    """What a function of ``probe.py`` measures in a fresh interpreter."""
    found: dict[str, Any] = json.loads(fresh("-m", f"{_PACKAGE}.probe", *map(str, arguments)))
    return found


class Server:
    """The server of ``server.py`` while it runs; ``certificate`` makes it serve TLS too."""

    def __init__(self, effort: Effort, certificate: str | None = None) -> None:
        command = [sys.executable, "-m", f"{_PACKAGE}.server"]
        for name in ("chunks", "embeddings", "dimensions"):
            command += [f"--{name}", str(getattr(effort, name))]
        if certificate is not None:
            command += ["--certificate", certificate]
        self._process = subprocess.Popen(
            command, env=_environment(_ROOT), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._ports: dict[str, int] = json.loads(self._process.stdout.readline())

    def endpoint(self, answer: str) -> str:
        """Where ``answer`` is what every request gets."""
        return f"{'https' if answer == 'tls' else 'http'}://127.0.0.1:{self._ports[answer]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate()
