"""Interpreters of their own, which know azure_shim in one way or the other, and programs that are run with them."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PTH = "azure_shim_autopatch.pth"


@dataclass
class Python:
    """An interpreter, the directory that it is run in, and what its environment has beside this one's."""

    executable: str
    cwd: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> Path:
        path = self.cwd / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def environ(self, **variables: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
        return {**inherited, **self.environment, **variables}

    def __call__(self, *words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """What comes of ``python WORDS``."""
        return subprocess.run(
            [self.executable, *words],
            cwd=self.cwd,
            env=self.environ(**variables),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run(self, *words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """What comes of ``azure-shim run WORDS``."""
        return self("-m", "azure_shim", "run", *words, stdin=stdin, **variables)


def make_python(place: Path, *, is_installed: bool) -> Python:
    """A virtual environment with this one's packages, and azure_shim as installed or on ``PYTHONPATH`` alone."""
    binary = place / "bin" / "python"
    packages = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    binary.parent.mkdir(parents=True)
    packages.mkdir(parents=True)
    base = Path(sys.executable).resolve()
    binary.symlink_to(base)
    (place / "pyvenv.cfg").write_text(f"home = {base.parent}\n", encoding="utf-8")
    # Entries of a .pth are put on the path, but the .pth files that are there are not read.
    shared = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (packages / "_shared.pth").write_text("\n".join([*([str(ROOT)] if is_installed else []), *shared]) + "\n")
    work = place / "work"
    work.mkdir()
    if is_installed:
        (packages / PTH).write_text((ROOT / PTH).read_text(encoding="utf-8"), encoding="utf-8")
        return Python(str(binary), work)
    return Python(str(binary), work, {"PYTHONPATH": str(ROOT)})
