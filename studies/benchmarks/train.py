"""Train every structure of the grid to its end, and keep its whole curve.

    python -m studies.benchmarks.train --part 0/2     one worker of two, one thread on one core
    python -m studies.benchmarks.train --part 1/2     the other
    python -m studies.benchmarks.train --status       how far they are
    python -m studies.benchmarks.train --collect      write the table: curves.parquet, curves.json

Each training is one line of a file in `training-artifacts/`, written as soon as it ends. A run that
was cut off goes on where it was: what stands in any of these files is not trained again.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from search.training import train_structure
from space.errors import TrialError
from studies.benchmarks.lines import append_line, read_lines
from studies.benchmarks.table import collect
from studies.benchmarks.trainings import (
    DATA_SETS,
    FOLDER,
    POINTS,
    SEEDS,
    Training,
    context_of,
    nearest_point,
    trainings_of_part,
)
from trainers.fit import EpochReport

RUNS = FOLDER / "training-artifacts"
"""Of one machine. Its lines are kept by git only until the table is whole."""
FRACTIONS = tuple(point for point in POINTS if point != int(point))


def run(training: Training) -> dict[str, Any]:
    """Train one structure; return what is kept of it, as plain data."""
    context = context_of(training.data, training.seed)
    began = time.perf_counter()
    curve: list[dict[str, float]] = []

    def report(epoch: EpochReport) -> bool:
        reached = {
            name: epoch.metrics[name] for name in ("accuracy", "validation_loss", "train_loss")
        }
        at = {"epoch": nearest_point(epoch.epoch), "seconds": time.perf_counter() - began}
        curve.append(at | reached)
        return True

    kept: dict[str, Any] = {
        "data": training.data,
        "seed": training.seed,
        "structure": training.point.spec.to_json(),
    }
    try:
        train_structure(
            context,
            training.point.spec,
            training.point.learning,
            report=report,
            tick=lambda done, n_steps: None,
            rungs=FRACTIONS,
        )
    except TrialError as error:
        return {**kept, "failed": str(error)}
    return {**kept, "curve": curve}


def trained(folder: Path = RUNS) -> Iterator[dict[str, Any]]:
    """Return what is kept of every training that ended."""
    for path in sorted(folder.glob("part-*.jsonl")):
        yield from read_lines(path)


def work(part: int, n_parts: int) -> None:
    """Train what is missing of one part, and pin this process to a core of its own."""
    os.sched_setaffinity(0, {part % (os.cpu_count() or 1)})
    torch.set_num_threads(1)
    RUNS.mkdir(exist_ok=True)
    known = {(kept["data"], kept["seed"], kept["structure"]) for kept in trained()}
    todo = [t for t in trainings_of_part(part, n_parts) if t.key not in known]
    path = RUNS / f"part-{part}-of-{n_parts}.jsonl"
    began = time.perf_counter()
    for n_done, training in enumerate(todo, start=1):
        kept = run(training)
        append_line(path, kept)
        left_s = (time.perf_counter() - began) / n_done * (len(todo) - n_done)
        print(
            f"{n_done} of {len(todo)}, {left_s / 60:.0f} minutes left:"
            f" {training.data}, seed {training.seed}, {training.point.spec.describe()}:"
            f" {kept.get('failed') or kept['curve'][-1]['accuracy']}",
            flush=True,
        )


def tell_status() -> None:
    """Print how many trainings have ended, for each data set and seed."""
    ended = list(trained())
    for data in DATA_SETS:
        for seed in SEEDS:
            own = [kept for kept in ended if (kept["data"], kept["seed"]) == (data, seed)]
            n_failed = sum("failed" in kept for kept in own)
            print(f"{data}, seed {seed}: {len(own)} ended, {n_failed} failed")


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--part", metavar="I/N", help="train part I (from 0) of N")
    what.add_argument("--status", action="store_true", help="tell how far the training is")
    what.add_argument("--collect", action="store_true", help="write the table")
    given = parser.parse_args()
    if given.part:
        part, n_parts = map(int, given.part.split("/"))
        if not 0 <= part < n_parts:
            parser.error(f"--part I/N needs 0 <= I < N, but got {given.part}")
        work(part, n_parts)
    elif given.status:
        tell_status()
    else:
        print(collect(trained(), FOLDER))
    return 0


if __name__ == "__main__":
    sys.exit(main())
