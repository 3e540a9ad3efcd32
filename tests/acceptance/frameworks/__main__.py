"""Run azure_shim with real frameworks: ``python -m tests.acceptance.frameworks [NAME ...]``.

Each framework is installed, in its newest version and with the openai that it asks for, into an environment of its own
below ``.frameworks`` of the checkout, which later runs use again. Fails if a test failed, if anything could not be
installed, and where no test ran.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .catalogue import FIXED, FRAMEWORKS
from .environments import Outcome, measure

_COLUMNS = ("framework", "version", "openai", "library", "passed", "failed", "skipped", "install s", "tests s", "")
_LINES_SHOWN = 60


def main() -> int:
    """Run the frameworks that the command line names, or all; 0 if each of them passed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.acceptance.frameworks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FRAMEWORKS)}; all by default")
    parser.add_argument("--fixed", action="store_true", help=f"{', '.join(FIXED)}: few, small, and all kinds of them")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many at a time")
    parser.add_argument("--fresh", action="store_true", help="make the environments anew")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in FRAMEWORKS]:
        parser.error(f"no such framework: {', '.join(unknown)}")
    names = list(dict.fromkeys([*(FIXED if options.fixed else ()), *options.names])) or list(FRAMEWORKS)
    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        outcomes = list(pool.map(lambda name: _measured(name, fresh=options.fresh), names))
    print(_table(outcomes))
    if options.json:
        rows = [{k: v for k, v in dataclasses.asdict(one).items() if k != "output"} for one in outcomes]
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if any(one.trouble for one in outcomes) else 0


def _measured(name: str, *, fresh: bool) -> Outcome:
    outcome = measure(FRAMEWORKS[name], fresh=fresh)
    if outcome.trouble:
        shown = "\n".join(outcome.output.splitlines()[-_LINES_SHOWN:])
        print(f"== {name}: {outcome.trouble}\n{shown}\n", flush=True)
    else:
        print(f"== {name}: {outcome.passed} passed", flush=True)
    return outcome


def _table(outcomes: list[Outcome]) -> str:
    rows = [_COLUMNS]
    for one in outcomes:
        counts = (str(one.passed), str(one.failed), str(one.skipped), f"{one.install_s:.0f}", f"{one.test_s:.0f}")
        rows.append((one.framework, one.version, one.openai, one.library, *counts, one.trouble or ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
