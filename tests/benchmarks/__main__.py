"""``python -m tests.benchmarks [--quick] [--only NAME ...] [--json FILE]``: measure, and print one table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .clients import clear_environment
from .effort import FULL, QUICK
from .suite import BENCHMARKS
from .table import Row, as_json, heading, line, versions


def main() -> None:
    """Run the benchmarks that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a minute or two, and wider intervals")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=BENCHMARKS, help=", ".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    options = parser.parse_args()
    clear_environment()
    print(*(f"{name} {version}" for name, version in versions().items()), sep=", ")
    print(heading(), flush=True)
    rows: list[Row] = []
    for name in options.only or BENCHMARKS:
        for row in BENCHMARKS[name](QUICK if options.quick else FULL):
            rows.append(row)
            print(line(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(as_json(rows), indent=2) + "\n")


if __name__ == "__main__":
    main()
