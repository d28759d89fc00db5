"""What the frozen-prefix cache gains: predicted in closed form, and measured.

    python -m tests.benchmarks.table cache

A trial of E epochs on one structure without the cache does E x (rows x (below + training) +
validation rows x (below + validation)) FLOPs, `below` being one pass through the blocks below the
first insertion layer (DESIGN.md section 6; `tests/benchmarks/work.py` counts them). With an empty
cache it does the passes below once. Both are timed in turns.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from search.context import StudyContext
from tests.benchmarks.material import Structure, context_of, lora
from tests.benchmarks.ours import run_ours
from tests.benchmarks.rows import Found, Row, say, table
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.work import work_of
from trainers.cache import PrefixStore

TOLERANCE = 0.15
TURNS = 2
MAX_BYTES = 2**32


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
            predicted, measured = predicted_gain(context, structure), off / on
            rows.append(row_of(cut, measured, predicted))
            numbers = (f"{off:.1f}", f"{on:.1f}", f"{measured:.2f}", f"{predicted:.2f}")
            lines.append((str(cut), *numbers))
            details[f"block {cut}"] = {
                "without_s": off,
                "with_s": on,
                "measured": measured,
                "predicted": predicted,
            }
    headings = ("first insertion layer", "without s", "with s", "measured gain", "predicted gain")
    say("\n" + table(lines, headings))
    return Found(rows=rows, details=details)


def in_turns(context: StudyContext, structure: Structure, folder: Path) -> tuple[float, float]:
    """Return the seconds of a trial without a cache, and with one that is empty at its start."""
    off, on = [], []
    for _ in range(TURNS):
        off.append(run_ours(replace(context, store=None), structure).seconds)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            store = PrefixStore(Path(name), MAX_BYTES, say)
            on.append(run_ours(replace(context, store=store), structure).seconds)
    # A disturbance makes a run slower, never faster.
    return min(off), min(on)


def row_of(cut: int, measured: float, predicted: float) -> Row:
    """Return the row of one first insertion layer."""
    return Row(
        name=f"cache, insertion from block {cut} on: measured gain to the predicted one",
        measured=measured / predicted,
        unit="times",
        at_least=1 - TOLERANCE,
        at_most=1 + TOLERANCE,
        note=f"{measured:.2f} times faster measured, {predicted:.2f} predicted",
    )


def predicted_gain(context: StudyContext, structure: Structure) -> float:
    """Return how many times faster a trial with an empty cache is than one without a cache."""
    work = work_of(context.cost, structure.spec)
    n = (len(context.train), len(context.validation))
    epochs = context.study.budget.epochs
    off = work.trial_gflops(*n, epochs, cached=False)
    return off / (work.trial_gflops(*n, epochs, cached=True) + work.fill_gflops(*n))
