"""Whether trials of ours are as accurate as those of a plain loop: same structures, rows, rates.

    python -m tests.benchmarks.table accuracy

One training says little: another seed moves an accuracy by up to four points, and one seed is one
order of the rows for all structures. So each sampled structure is trained with several seeds, both
ways, and scored once, at its end, on 2,000 rows.
"""

import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.benchmarks.material import context_of, plain_data, sampled
from tests.benchmarks.ours import run_ours
from tests.benchmarks.plain import run_plain
from tests.benchmarks.rows import Found, Row, say, table
from tests.benchmarks.sizes import Sizes

SCORED = {"data.validation_share": 0.5}
"""Of the 4,000 rows."""
MAX_POINTS = 0.5


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
    """Train all structures with all seeds both ways; tell the mean difference."""
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = {
            **SCORED,
            "data.rows": sizes.rows,
            "budget.epochs": sizes.epochs,
            "cache.folder": str(folder / "cache"),
        }
        context = context_of(folder, changes=changes)
        data, n_scored = plain_data(context), len(context.validation)
        for seed in range(1, sizes.n_seeds + 1):
            study = context.study.model_copy(update={"seed": seed})
            for structure in sampled()[: sizes.n_structures]:
                plain = run_plain(
                    data,
                    structure.spec,
                    structure.learning,
                    epochs=sizes.epochs,
                    seed=seed,
                    last_only=True,
                )
                ours = run_ours(replace(context, study=study), structure)
                pair = Pair(
                    structure=structure.name, seed=seed, plain=plain.accuracy, ours=ours.accuracy
                )
                pairs.append(pair)
                say(f"{pair.structure}, seed {seed}: {pair.plain:.4f} and {pair.ours:.4f}")
    show(pairs)
    details = {"rows": sizes.rows, "scored": n_scored, "pairs": [asdict(pair) for pair in pairs]}
    return Found(rows=[row_of(pairs, n_scored)], details=details)


def show(pairs: Sequence[Pair]) -> None:
    """Print each structure's mean over the seeds."""
    lines = []
    for name in dict.fromkeys(pair.structure for pair in pairs):
        own = [pair for pair in pairs if pair.structure == name]
        plain, ours = (statistics.mean(values) for values in zip(*map(both, own), strict=True))
        lines.append((name, f"{plain:.4f}", f"{ours:.4f}", f"{100 * (ours - plain):+.2f}"))
    say("\n" + table(lines, ("structure", "plain", "ours", "points")))


def both(pair: Pair) -> tuple[float, float]:
    """Return the accuracies of the plain loop and of ours."""
    return pair.plain, pair.ours


def row_of(pairs: Sequence[Pair], n_scored: int) -> Row:
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
        f" {n_scored:,} rows scored; seed by seed"
        f" {', '.join(f'{mean:+.2f}' for mean in by_seed)}",
    )
