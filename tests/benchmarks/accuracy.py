"""Whether trials of ours are as accurate as those of a plain loop: same structures, rows, rates.

    python -m tests.benchmarks.table accuracy

One training says little: another seed moves an accuracy by up to four points, and one seed is one
order of the rows for all structures. So each sampled structure is trained with several seeds, both
ways, and scored once, at its end, on 2,000 rows.
"""

import math
import multiprocessing
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from search.cores import available
from tests.benchmarks.material import context_of, plain_data, sampled
from tests.benchmarks.ours import run_ours
from tests.benchmarks.plain import run_plain
from tests.benchmarks.rows import Found, Row, say, table
from tests.benchmarks.sizes import Sizes

SCORED = {"data.validation_share": 0.5}
"""Of the 4,000 rows."""
MAX_POINTS = 0.5

_known: dict[str, Any] = {}
"""What a worker has prepared."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One structure and seed, trained both ways."""

    structure: str
    seed: int
    plain: float
    ours: float

    @property
    def points(self) -> float:
        """By how many points ours is better."""
        return 100 * (self.ours - self.plain)


def measure(sizes: Sizes) -> Found:
    """Train all structures with all seeds both ways, on all cores; tell the mean difference."""
    seeds = range(1, sizes.n_seeds + 1)
    jobs = [(seed, place) for seed in seeds for place in range(sizes.n_structures)]
    threads = torch.get_num_threads()
    n_workers = max(1, available() // threads)
    pairs: list[Pair] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(
            n_workers,
            multiprocessing.get_context("spawn"),
            initializer=begin_worker,
            initargs=(sizes, threads, Path(folder)),
        ) as pool,
    ):
        for pair in pool.map(pair_of, jobs):
            pairs.append(pair)
            say(f"{pair.structure}, seed {pair.seed}: {pair.plain:.4f} and {pair.ours:.4f}")
    show(pairs)
    details = {"rows": sizes.rows, "pairs": [asdict(pair) for pair in pairs]}
    return Found(rows=[row_of(pairs)], details=details)


def begin_worker(sizes: Sizes, n_threads: int, shared: Path) -> None:
    """Prepare the study in a worker; the cache is one for all."""
    torch.set_num_threads(n_threads)
    changes = {
        **SCORED,
        "data.rows": sizes.rows,
        "budget.epochs": sizes.epochs,
        "cache.folder": str(shared / "cache"),
    }
    context = context_of(Path(tempfile.mkdtemp(dir=shared)), changes=changes)
    _known.update(context=context, data=plain_data(context))


def pair_of(job: tuple[int, int]) -> Pair:
    """Train a structure with a seed both ways: (seed, place among the sampled ones)."""
    seed, place = job
    context, data, structure = _known["context"], _known["data"], sampled()[place]
    epochs = context.study.budget.epochs
    plain = run_plain(
        data, structure.spec, structure.learning, epochs=epochs, seed=seed, last_only=True
    )
    study = context.study.model_copy(update={"seed": seed})
    ours = run_ours(replace(context, study=study), structure)
    return Pair(structure=structure.name, seed=seed, plain=plain.accuracy, ours=ours.accuracy)


def show(pairs: Sequence[Pair]) -> None:
    """Print each structure's mean over the seeds."""
    lines = []
    for name in dict.fromkeys(pair.structure for pair in pairs):
        own = [pair for pair in pairs if pair.structure == name]
        plain = statistics.mean(pair.plain for pair in own)
        ours = statistics.mean(pair.ours for pair in own)
        lines.append((name, f"{plain:.4f}", f"{ours:.4f}", f"{100 * (ours - plain):+.2f}"))
    say("\n" + table(lines, ("structure", "plain", "ours", "points")))


def row_of(pairs: Sequence[Pair]) -> Row:
    """Return the row of the table."""
    points = [pair.points for pair in pairs]
    seeds = sorted({pair.seed for pair in pairs})
    by_seed = [statistics.mean(p.points for p in pairs if p.seed == seed) for seed in seeds]
    error = statistics.stdev(points) / math.sqrt(len(points))
    return Row(
        name=f"{len(pairs) // len(seeds)} sampled structures: mean difference of the accuracies",
        measured=abs(statistics.mean(points)),
        unit="points",
        at_most=MAX_POINTS,
        note=f"ours {statistics.mean(points):+.2f} with a standard error of {error:.2f};"
        " seed by seed"
        f" {', '.join(f'{mean:+.2f}' for mean in by_seed)}",
    )
