"""Run an example in a Python of its own from which nothing leaves this machine.

``python -m tests.acceptance.frameworks.example_runs FILE`` is that Python; `run_example` starts it.
"""

from __future__ import annotations

import atexit
import os
import runpy
import subprocess
import sys
from pathlib import Path

from tests.acceptance.frameworks.guard import Guard

__all__ = ["EXAMPLES", "run_example"]

_ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = _ROOT / "examples" / "frameworks"
_LIMIT_S = 180
_REFUSED = 7
# An example asks the real service if it is told of one; and it needs no key of OpenAI's.
_CLEARED = ("AZURE_", "OPENAI_", "LANGFUSE_")


def run_example(name: str) -> str:
    """What an example prints; fails if it fails, and if anything in it wanted to reach another host."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_CLEARED)}
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, str(EXAMPLES / name)],
        env={**environment, "PYTHONUNBUFFERED": "1"},
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
    )
    assert done.returncode == 0, f"{name} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _guarded(file: str) -> None:
    guard = Guard()
    guard.is_on = True
    # The first to be registered is called last: what an example does while it ends is seen too.
    atexit.register(_judge, guard)
    sys.path[0] = str(Path(file).parent)
    sys.argv = [file]
    runpy.run_path(file, run_name="__main__")


def _judge(guard: Guard) -> None:
    if refused := guard.take_refused():
        print(f"these hosts are not this machine: {sorted(set(refused))}", file=sys.stderr, flush=True)
        os._exit(_REFUSED)


if __name__ == "__main__":
    _guarded(sys.argv[1])
