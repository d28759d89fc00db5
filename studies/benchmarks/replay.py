"""Replay samplers and pruners on the table of curves, and say which deserve to be the defaults.

    python -m studies.benchmarks.replay              the tables; what is not replayed yet, is now
    python -m studies.benchmarks.replay --write      the same, and into README.md
    python -m studies.benchmarks.replay --only tpe   some of the rows

Replays are kept in `training-artifacts/replays.jsonl`, with the checksum of the table that they
were made on. What is compared, and how, says studies/benchmarks/README.md.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import optuna

from search.pruners import make_pruner
from search.samplers import make_sampler
from studies.benchmarks.curves import Curves, curves_of
from studies.benchmarks.report import tables, write_between_markers
from studies.benchmarks.scores import Outcome
from studies.benchmarks.simulate import Budget, MakeSampler, simulate
from studies.benchmarks.table import CURVES, read_table, sha256_of
from studies.benchmarks.trainings import FOLDER

N_SEEDS = 30
"""Replays of each row on each data set; they take turns on its two training seeds."""
N_TRAININGS = 40
"""Of a study without a pruner. One with a pruner gets as many FLOPs."""
REPLAYS = FOLDER / "training-artifacts" / "replays.jsonl"

HALVINGS = ("accuracy-halving", "pareto-halving")
STARTS: Sequence[Mapping[str, Any]] = (
    {"depth": 6, "insertion": "upper_third", "kind": "lora", "lora_roles": "all_linear"},
    {"depth": 6, "insertion": "upper_third", "kind": "lora", "lora_roles": "ffn"},
)
"""Of search/starting_points.py those that the grid holds: the top layers, and the FFN alone."""


def _optuna_default(seed: int, number: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=(seed * 1_000_003 + number) % 2**32)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to search, as a row of the tables."""

    sampler: str
    pruner: str = "none"
    reduction: int | None = None
    first_rung: float | None = None
    min_peers: int | None = None
    patience: int | None = None
    started: bool = False
    """Whether it begins with STARTS."""
    n_seeds: int = N_SEEDS

    @property
    def settings(self) -> dict[str, Any]:
        """What the pruner is given beside its defaults."""
        names = ("reduction", "first_rung", "min_peers", "patience")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def unpruned(self) -> "Row":
        """The row that it is compared with."""
        return Row(sampler=self.sampler, started=self.started, n_seeds=self.n_seeds)


SAMPLERS: Mapping[str, MakeSampler] = {
    "random": lambda seed, number: make_sampler("random", seed, number),
    "tpe (Optuna's default)": _optuna_default,
    "tpe": lambda seed, number: make_sampler("tpe", seed, number),
    "nsga2": lambda seed, number: make_sampler("nsga2", seed, number),
    "gp": lambda seed, number: make_sampler("gp", seed, number),
}
GP_SEEDS = 4
"""A study of 40 trials takes GP most of a minute, the others a second."""


def _rows() -> Iterator[Row]:
    for sampler in SAMPLERS:
        for pruner in ("none", *HALVINGS):
            yield Row(
                sampler=sampler, pruner=pruner, n_seeds=GP_SEEDS if sampler == "gp" else N_SEEDS
            )
    for pruner in HALVINGS:
        for reduction, first_rung in ((2, 1.0), (3, 1.0), (3, 1 / 3)):
            yield Row(sampler="tpe", pruner=pruner, reduction=reduction, first_rung=first_rung)
    for peers in (1, 8):
        yield Row(
            sampler="tpe", pruner="pareto-halving", reduction=3, first_rung=1 / 3, min_peers=peers
        )
    yield Row(sampler="tpe", pruner="pareto-halving", reduction=3, first_rung=1 / 3, patience=2)
    for pruner in ("none", "pareto-halving"):
        yield Row(sampler="tpe", pruner=pruner, started=True)


ROWS = tuple(_rows())


@dataclass(frozen=True, kw_only=True)
class Job:
    """One study to replay."""

    row: Row
    data: str
    replay: int
    """Its seed."""

    @property
    def key(self) -> str:
        """What tells it from the others."""
        return json.dumps(asdict(self), sort_keys=True)


def replay(job: Job) -> Outcome:
    """Replay one study on the shipped table; one with a pruner after the same without."""
    return outcome_of(job, _tables_curves())


def outcome_of(job: Job, found: Sequence[Curves]) -> Outcome:
    """Replay one study on some curves; one with a pruner after the same without it."""
    own = [curves for curves in found if curves.data == job.data]
    curves = own[job.replay % len(own)]

    def steps(row: Row, budget: Budget) -> Outcome:
        pruner = make_pruner(row.pruner, **row.settings)
        starts = STARTS if row.started else ()
        done = simulate(curves, SAMPLERS[row.sampler], pruner, job.replay, budget, starts)
        return Outcome.of(done)

    unpruned = steps(job.row.unpruned, Budget(trainings=N_TRAININGS))
    if job.row.pruner == "none":
        return unpruned
    return steps(job.row, Budget(gflops=unpruned.gflops[-1]))


@cache
def _tables_curves() -> list[Curves]:
    frame, facts = read_table()
    return curves_of(frame, {name: own["rows"] for name, own in facts["data"].items()})


def _kept(path: Path, sha256: str) -> dict[str, Outcome]:
    """Return the replays that were made on this table before."""
    if not path.exists():
        return {}
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["job"]: Outcome(**line["outcome"]) for line in lines if line["sha256"] == sha256}


def replay_all(
    rows: Sequence[Row], tell: Callable[[str], None]
) -> dict[Row, dict[str, list[Outcome]]]:
    """Return what came of every row: for each data set its replays, by their seed."""
    sha256 = sha256_of(FOLDER / CURVES)
    known = _kept(REPLAYS, sha256)
    names = sorted({curves.data for curves in _tables_curves()})
    jobs = {
        (row, data): [Job(row=row, data=data, replay=seed) for seed in range(row.n_seeds)]
        for row in rows
        for data in names
    }
    todo = [job for own in jobs.values() for job in own if job.key not in known]
    REPLAYS.parent.mkdir(exist_ok=True)
    with multiprocessing.Pool(os.cpu_count()) as pool, REPLAYS.open("a", encoding="utf-8") as file:
        for n_done, (job, outcome) in enumerate(pool.imap_unordered(_replay, todo), start=1):
            known[job.key] = outcome
            line = {"sha256": sha256, "job": job.key, "outcome": asdict(outcome)}
            file.write(json.dumps(line) + "\n")
            file.flush()
            tell(f"{n_done} of {len(todo)} replays")
    return {
        row: {data: [known[job.key] for job in jobs[row, data]] for data in names} for row in rows
    }


def _replay(job: Job) -> tuple[Job, Outcome]:
    return job, replay(job)


def main() -> int:
    """Replay what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the tables into README.md")
    parser.add_argument("--only", metavar="SAMPLER", help="only the rows of one sampler")
    given = parser.parse_args()
    rows = [row for row in ROWS if given.only in (None, row.sampler)]
    if given.write and len(rows) < len(ROWS):
        parser.error("--write needs all rows")

    def tell(text: str) -> None:
        print(f"\r{text}", end="", file=sys.stderr, flush=True)

    text = tables(replay_all(rows, tell))
    print(f"\n{text}")
    if given.write:
        write_between_markers(FOLDER / "README.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
