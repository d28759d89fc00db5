"""What the frozen-prefix cache gains: predicted in closed form, and measured.

    python -m tests.benchmarks.table cache

A trial of E epochs on one structure without the cache does E x (rows x (below + training) +
validation rows x (below + validation)) FLOPs, `below` being one pass through the blocks below the
first insertion layer (DESIGN.md section 6; `tests/benchmarks/work.py` counts them). With an empty
cache it does the passes below once. Both are timed in turns.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from search.context import StudyContext
from tests.benchmarks.material import Structure, context_of, lora
from tests.benchmarks.ours import OurRun, run_ours
from tests.benchmarks.rows import Found, Row, say, table
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.work import work_of
from trainers.cache import PrefixStore

TOLERANCE = 0.15
TURNS = 2
MAX_BYTES = 2**32


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What the cache gains at one first insertion layer."""

    cut: int
    off_s: float
    """Of a trial without it. The fastest turn: a disturbance makes none faster."""
    on_s: float
    """Of a trial that fills it."""
    measured: float
    """The ratio of the two."""
    by_cpu: float
    """The same in processor time."""
    predicted: float

    def row(self) -> Row:
        """Return the row of the table."""
        return Row(
            name=f"cache, insertion from block {self.cut} on: measured gain to the predicted one",
            measured=self.measured / self.predicted,
            unit="times",
            at_least=1 - TOLERANCE,
            at_most=1 + TOLERANCE,
            note=f"{self.measured:.2f} times faster measured ({self.by_cpu:.2f} by processor time),"
            f" {self.predicted:.2f} predicted",
        )


def measure(sizes: Sizes) -> Found:
    """Measure the gain at several first insertion layers."""
    rows, lines, details = [], [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = {"data.rows": sizes.cache_rows, "budget.epochs": sizes.epochs}
        context = context_of(folder, changes=changes)
        for cut in sizes.cuts:
            structure = lora(context.backbone.shape.n_layers, cut)
            off, on = in_turns(context, structure, folder)
            gain = Gain(
                cut=cut,
                off_s=min(run.seconds for run in off),
                on_s=min(run.seconds for run in on),
                measured=min(run.seconds for run in off) / min(run.seconds for run in on),
                by_cpu=min(run.cpu_s for run in off) / min(run.cpu_s for run in on),
                predicted=predicted_gain(context, structure),
            )
            rows.append(gain.row())
            lines.append(tuple(f"{value:.3g}" for value in vars(gain).values()))
            details[f"block {cut}"] = vars(gain)
    headings = ("first insertion layer", "without s", "with s", "gain", "by processor", "predicted")
    say("\n" + table(lines, headings))
    return Found(rows=rows, details=details)


def in_turns(
    context: StudyContext, structure: Structure, folder: Path
) -> tuple[list[OurRun], list[OurRun]]:
    """Return trials without a cache, and with one that is empty at their start."""
    off, on = [], []
    for _ in range(TURNS):
        off.append(run_ours(replace(context, store=None), structure))
        with tempfile.TemporaryDirectory(dir=folder) as name:
            store = PrefixStore(Path(name), MAX_BYTES, say)
            on.append(run_ours(replace(context, store=store), structure))
    return off, on


def predicted_gain(context: StudyContext, structure: Structure) -> float:
    """Return how many times faster a trial with an empty cache is than one without a cache."""
    work = work_of(context.cost, structure.spec)
    n = (len(context.train), len(context.validation))
    epochs = context.study.budget.epochs
    off = work.trial_gflops(*n, epochs, cached=False)
    return off / (work.trial_gflops(*n, epochs, cached=True) + work.fill_gflops(*n))
