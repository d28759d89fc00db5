"""Run the benchmarks and print one table of what they found.

    make bench                                      all parts, one thread
    python -m tests.benchmarks.table engine cache   these parts only
    python -m tests.benchmarks.table --quick engine to see that a part runs; ratios mean nothing

Each part runs in a process of its own, without a GPU unless it is the part for it. The machine
should be idle. What was found is also written as JSON; parts that were not run keep what the file
has of them.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from search.environment import environment
from tests.benchmarks import (
    accuracy,
    cache_gain,
    contributions,
    engine,
    experts,
    gpu,
    predicting,
    quickstart,
    side_network,
    token_keep,
    tracking,
    workers,
)
from tests.benchmarks.material import ROOT
from tests.benchmarks.rows import HEADINGS, Found, Row, say, table
from tests.benchmarks.sizes import FULL, QUICK, Sizes

PARTS: Mapping[str, Callable[[Sizes], Found]] = {
    "engine": engine.measure,
    "accuracy": accuracy.measure,
    "contributions": contributions.measure,
    "cache": cache_gain.measure,
    "experts": lambda _sizes: experts.measure(),
    "side": side_network.measure,
    "token_keep": lambda _sizes: token_keep.measure(),
    "tracking": tracking.measure,
    "predict": predicting.measure,
    "workers": workers.measure,
    "quickstart": lambda _sizes: quickstart.measure(),
    "gpu": gpu.measure,
}
"""Parts of the table by name."""
OUTPUT = ROOT / "benchmarks.json"


def main(words: Sequence[str] | None = None) -> int:
    """Run parts, print and write the table; return 1 where a part fails or a row does not hold."""
    parser = argparse.ArgumentParser(description="Run the benchmarks and print one table.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--threads", type=int, default=1, help="of each process (default 1)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; ratios mean nothing")
    given = parser.parse_args(words)
    unknown = sorted(set(given.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; parts are {', '.join(PARTS)}.")
    known = json.loads(given.output.read_text("utf-8")) if given.output.exists() else {}
    rows: list[Row] = []
    failed = False
    for name in given.parts or PARTS:
        began = time.perf_counter()
        say(f"\n=== {name} ===")
        found = apart(name, given.threads, QUICK if given.quick else FULL)
        say(f"({time.perf_counter() - began:.0f} s)")
        rows += [Row(**row) for row in found["rows"]]
        failed |= found.get("failed", False)
        key = name if given.threads == 1 else f"{name}, {given.threads} threads"
        known[key] = found
        given.output.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    say("\n" + table([row.cells() for row in rows], HEADINGS))
    say(f"\nwritten to {given.output}")
    return int(failed or any(row.holds is False for row in rows))


def apart(part: str, threads: int, sizes: Sizes) -> dict[str, Any]:
    """Run a part in a process of its own and return what it found, as plain data."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        os.environ["KINETO_LOG_LEVEL"] = "99"  # torch's profiler says when it starts and stops
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        if part != "gpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        try:
            context = multiprocessing.get_context("spawn")
            process = context.Process(target=run_part, args=(part, threads, sizes, path))
            process.start()
            process.join()
        finally:
            if before is None:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before
        if process.exitcode:
            row = Row(name=part, measured=None, note=f"ended with status {process.exitcode}")
            return {"failed": True, "rows": [row.to_dict()]}
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found


def run_part(part: str, threads: int, sizes: Sizes, path: Path) -> None:
    """Run a part in this process and write what it found."""
    torch.set_num_threads(threads)
    found = PARTS[part](sizes)
    content = {
        "at": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        "environment": environment(),
        "sizes": vars(sizes),
        "rows": [row.to_dict() for row in found.rows],
        "details": found.details,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
