"""Replay samplers and pruners on the table of curves, and say which deserve to be the defaults.

    python -m studies.benchmarks.replay              the tables; what is not replayed yet, is now
    python -m studies.benchmarks.replay --write      the same, and into README.md
    python -m studies.benchmarks.replay --only tpe   replay one sampler alone; others as they are

Replays are kept in `training-artifacts/replays.jsonl`, with the checksum of the table that they
were made on. What is compared, and how, says studies/benchmarks/README.md.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import optuna

from search.pruners import Pruner, make_pruner
from search.samplers import make_sampler
from studies.benchmarks.curves import Curves, curves_of
from studies.benchmarks.grid import DEPTHS, EXPERTS, RANKS
from studies.benchmarks.lines import append_line, read_lines
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
STARTS: Sequence[Mapping[str, Any]] = tuple(
    {
        "depth": depth,
        "insertion": "upper_third",
        "kind": "lora",
        "lora_roles": "all_linear",
        "rank": RANKS[-1],
        "experts": EXPERTS[0],
    }
    for depth in DEPTHS
)
"""What the starting point `every_depth` (search/starting_points.py) is in the grid."""


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
    with_loss: bool = True
    """Whether the validation loss stands beside the objectives at a rung."""
    started: bool = False
    """Whether it begins with STARTS."""
    n_seeds: int = field(default=N_SEEDS, compare=False)

    @property
    def settings(self) -> dict[str, Any]:
        """What the pruner is given beside its defaults."""
        names = ("reduction", "first_rung", "min_peers", "patience")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def make_pruner(self) -> Pruner:
        """Return the pruner, its defaults filled in."""
        return make_pruner(self.pruner, **self.settings)

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
FEWER_SEEDS = {"gp": 4, "tpe (Optuna's default)": 10}
"""A study takes GP most of a minute, and TPE up to twenty seconds; the others need one or two."""
VARIANT_SEEDS = 10
"""Replays of the rows that only tell whether another default would be better."""


def _rows() -> Iterator[Row]:
    for sampler in SAMPLERS:
        row = Row(sampler=sampler, n_seeds=FEWER_SEEDS.get(sampler, N_SEEDS))
        yield row
        yield from _halved(row)
    tpe = Row(sampler="tpe")
    yield from _settings(tpe)
    usual = replace(tpe, pruner="pareto-halving", n_seeds=VARIANT_SEEDS)
    yield replace(usual, first_rung=1 / 3)
    yield replace(usual, min_peers=8)
    yield replace(usual, reduction=2, patience=2)
    started = replace(tpe, started=True)
    yield started
    yield from _halved(started)
    yield from _settings(started)


def _settings(row: Row) -> Iterator[Row]:
    """The row with what tells whether the pruner's defaults are the right ones."""
    for reduction in (2, 4):
        yield from _halved(replace(row, reduction=reduction))
    for reduction in (2, 3):
        yield replace(row, pruner="pareto-halving", reduction=reduction, with_loss=False)


def _halved(row: Row) -> Iterator[Row]:
    """The row with each of the pruners."""
    for pruner in HALVINGS:
        yield replace(row, pruner=pruner)


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
        """What tells it from the others; settings that are the defaults need not be named."""
        pruner = f"{self.row.pruner}, {sorted(vars(self.row.make_pruner()).items())}"
        if self.row.pruner != "none":
            pruner += f", {self.row.with_loss}"
        return f"{self.row.sampler}, {pruner}, {self.row.started}, {self.data}, {self.replay}"

    @property
    def unpruned(self) -> "Job":
        """The same study without a pruner."""
        return replace(self, row=self.row.unpruned)


def outcome_of(job: Job, found: Sequence[Curves], unpruned: Outcome | None) -> Outcome:
    """Replay one study.

    Args:
        job: which.
        found: the curves of all data sets and seeds.
        unpruned: what the same study gave without its pruner, whose FLOPs are its budget; None if
            it has none.
    """
    own = [curves for curves in found if curves.data == job.data]
    curves = own[job.replay % len(own)]
    if unpruned is None:
        budget = Budget(trainings=N_TRAININGS)
    else:
        budget = Budget(gflops=unpruned.gflops[-1])
    starts = STARTS if job.row.started else ()
    pruner = job.row.make_pruner()
    make = SAMPLERS[job.row.sampler]
    return Outcome.of(simulate(curves, make, pruner, job.replay, budget, starts, job.row.with_loss))


@cache
def curves_of_table() -> list[Curves]:
    """Return the curves of the table that is kept here, by data set and training seed."""
    frame, facts = read_table()
    return curves_of(frame, {name: own["rows"] for name, own in facts["data"].items()})


def _kept(path: Path, sha256: str) -> dict[str, Outcome]:
    """Return the replays that were made on this table before."""
    lines = [line for line in read_lines(path) if line["sha256"] == sha256]
    return {line["job"]: Outcome(**line["outcome"]) for line in lines}


def replay_missing(
    rows: Sequence[Row], known: dict[str, Outcome], sha256: str, tell: Callable[[str], None]
) -> None:
    """Replay what is not known yet of some rows, and keep it; those without a pruner come first."""
    jobs = {job.key: job for row in rows for job in _jobs(row)}
    jobs |= {job.unpruned.key: job.unpruned for job in jobs.values()}
    REPLAYS.parent.mkdir(exist_ok=True)
    with multiprocessing.Pool() as pool:
        for pruned in (False, True):
            todo = [
                (job, known[job.unpruned.key] if pruned else None)
                for key, job in jobs.items()
                if key not in known and (job.row.pruner != "none") == pruned
            ]
            for n_done, (key, outcome) in enumerate(pool.imap(_replay, todo), start=1):
                known[key] = outcome
                entry = {"sha256": sha256, "job": key, "outcome": asdict(outcome)}
                append_line(REPLAYS, entry)
                tell(f"{n_done} of {len(todo)} {'pruned' if pruned else 'unpruned'} replays")


def _replay(job: tuple[Job, Outcome | None]) -> tuple[str, Outcome]:
    return job[0].key, outcome_of(job[0], curves_of_table(), job[1])


def _jobs(row: Row) -> list[Job]:
    names = sorted({curves.data for curves in curves_of_table()})
    return [Job(row=row, data=name, replay=seed) for name in names for seed in range(row.n_seeds)]


def found_of(known: Mapping[str, Outcome]) -> dict[Row, dict[str, list[Outcome]]]:
    """Return what came of every row that is replayed whole: for each data set by seed."""
    found: dict[Row, dict[str, list[Outcome]]] = {}
    for row in ROWS:
        jobs = _jobs(row)
        if all(job.key in known for job in jobs):
            found[row] = {}
            for job in jobs:
                found[row].setdefault(job.data, []).append(known[job.key])
    return found


def main() -> int:
    """Replay what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the tables into README.md")
    parser.add_argument("--only", choices=list(SAMPLERS), help="replay the rows of this sampler")
    given = parser.parse_args()

    def tell(text: str) -> None:
        print(f"\r{text}", end="", file=sys.stderr, flush=True)

    sha256 = sha256_of(FOLDER / CURVES)
    known = _kept(REPLAYS, sha256)
    rows = [row for row in ROWS if given.only in (None, row.sampler)]
    replay_missing(rows, known, sha256, tell)
    text = tables(found_of(known))
    print(f"\n{text}")
    if given.write:
        write_between_markers(FOLDER / "README.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
