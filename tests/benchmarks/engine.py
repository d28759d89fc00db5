"""Whole trials against a plain loop: the same structures, rows, epochs, rates and threads.

    python -m tests.benchmarks.table engine [--threads 2]

For each structure in turn: ours with an empty cache, the plain loop (in a process of its own), ours
with the cache filled. The two whose ratios stand alone are trained three times, and medians count.
The ratios are of whole trials with a filled cache; what filling costs is shown beside, as a study
pays it once for each boundary and not for each trial. Behind the ratios: how near our trials come
to the machine's matrix peak, and what their time is spent on.
"""

import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from search.context import StudyContext
from space.cost import CostModel
from tests.benchmarks.material import (
    Structure,
    context_of,
    lora,
    plain_data,
    sampled,
)
from tests.benchmarks.ours import OurRun, run_ours
from tests.benchmarks.plain import PlainRun
from tests.benchmarks.plain_process import RunPlain, plain_process
from tests.benchmarks.profiles import PRODUCTS, spent
from tests.benchmarks.rows import Found, Row, say, table
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.work import work_of
from trainers.data import token_stats
from trainers.engine import dtype_of, peak_gflops
from trainers.precision import PRECISIONS

ALL_BLOCKS, TOP_THIRD = "all blocks", "top third"
LEAST = (5.0, 10.0)
"""Times faster that are wanted of these two."""
LEAST_SAMPLED = 7.0
MIN_SHARE_OF_PEAK = 0.2
PROFILED = 2
"""Of the sampled structures, besides the two others, how many are profiled."""

Run = TypeVar("Run", OurRun, PlainRun)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One structure, trained both ways."""

    structure: Structure
    plain: PlainRun
    ours: OurRun
    """With the cache filled."""
    first: OurRun
    """With nothing in the cache that this structure was the first to read."""
    gflops: float
    """Work of a trial of ours with the cache filled."""

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.plain.seconds / self.ours.seconds

    @property
    def points(self) -> float:
        """By how many points our accuracy is better."""
        return 100 * (self.ours.accuracy - self.plain.accuracy)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "structure": self.structure.spec.describe(),
            "plain": asdict(self.plain),
            "ours": asdict(self.ours),
            "ours_with_an_empty_cache": asdict(self.first),
            "ratio": self.ratio,
            "gflops": self.gflops,
        }


def measure(sizes: Sizes) -> Found:
    """Time all structures; tell ratios, accuracies, shares of the peak and the profile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = {
            "data.rows": sizes.rows,
            "budget.epochs": sizes.epochs,
            "cache.folder": str(folder / "cache"),
        }
        context = context_of(folder, changes=changes)
        n_layers = context.backbone.shape.n_layers
        named = [
            lora(n_layers, 0, name=ALL_BLOCKS),
            lora(n_layers, n_layers * 2 // 3, name=TOP_THIRD),
        ]
        # The sampled ones first, so that they fill the cache as a study of them would.
        structures = [*sampled()[: sizes.n_structures], *named]
        peaks, pairs = matrix_peaks(), []
        with plain_process(plain_data(context)) as plain:
            for structure in structures:
                alone = structure in named
                epochs = sizes.named_epochs if alone else sizes.epochs
                turns = sizes.named_turns if alone else 1
                pairs.append(pair_of(with_epochs(context, epochs), plain, structure, turns))
                say(line_of(pairs[-1]))
        peaks = {name: max(peak, peaks[name]) for name, peak in matrix_peaks().items()}
        profiles = {s.name: profile_of(context, s) for s in [*named, *structures[:PROFILED]]}
        precision = context.engine.precision
    show(pairs, profiles)
    rows = [
        *(ratio_row(pair, least) for pair, least in zip(pairs[-2:], LEAST, strict=True)),
        *sampled_rows(pairs[:-2]),
        *peak_rows(pairs[:-2], peaks, precision, profiles),
    ]
    details = {
        "rows": sizes.rows,
        "epochs": {"sampled": sizes.epochs, "the two others": sizes.named_epochs},
        "threads": torch.get_num_threads(),
        "precision": precision,
        "peaks_gflops": peaks,
        "trials": {pair.structure.name: pair.to_dict() for pair in pairs},
        "profiles": profiles,
    }
    return Found(rows=rows, details=details)


def matrix_peaks() -> dict[str, float]:
    """Return the GFLOP/s of a large matrix product in each precision."""
    return {name: peak_gflops(dtype_of(name)) for name in PRECISIONS}


def pair_of(
    context: StudyContext, run_plain: RunPlain, structure: Structure, turns: int = 1
) -> Pair:
    """Train one structure both ways, so often in turns; the median of each way counts."""
    first = run_ours(context, structure) if structure.spec.boundaries else None
    epochs, seed = context.study.budget.epochs, context.study.seed
    plain, ours = [], []
    for _ in range(turns):
        plain.append(run_plain(structure.spec, structure.learning, epochs=epochs, seed=seed))
        ours.append(run_ours(context, structure))
    median = middle(ours)
    return Pair(
        structure=structure,
        plain=middle(plain),
        ours=median,
        first=first or median,
        gflops=trial_gflops(context, structure),
    )


def middle(runs: list[Run]) -> Run:
    """Return the run of the median time, the upper one of an even number."""
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def trial_gflops(context: StudyContext, structure: Structure) -> float:
    """Return what a trial computes where the blocks below its cut are known: real tokens only."""
    cost = context.cost
    validation = CostModel(
        shape=cost.shape, head=cost.head, tokens=token_stats(context.validation), ways=cost.ways
    )
    training = len(context.train) * work_of(cost, structure.spec).training
    validating = len(context.validation) * work_of(validation, structure.spec).validation
    return context.study.budget.epochs * (training + validating)


def profile_of(context: StudyContext, structure: Structure) -> dict[str, float]:
    """Return what the time of a trial of one epoch is spent on."""
    short = with_epochs(context, 1)
    return spent(lambda: run_ours(short, structure))


def with_epochs(context: StudyContext, epochs: int) -> StudyContext:
    """Return the same study with other epochs."""
    budget = context.study.budget.model_copy(update={"epochs": epochs})
    return replace(context, study=context.study.model_copy(update={"budget": budget}))


def line_of(pair: Pair) -> str:
    """Return one structure in words, as soon as it is known."""
    return (
        f"{pair.structure.name}: plain {pair.plain.seconds:.1f} s, ours {pair.ours.seconds:.1f} s"
        f" (first {pair.first.seconds:.1f} s), {pair.ratio:.1f} times; accuracy"
        f" {pair.plain.accuracy:.3f} and {pair.ours.accuracy:.3f}"
    )


def show(pairs: Sequence[Pair], profiles: dict[str, dict[str, float]]) -> None:
    """Print all trials and the profiles."""
    lines = [
        (
            pair.structure.name,
            f"{pair.plain.seconds:.1f}",
            f"{pair.ours.seconds:.1f}",
            f"{pair.first.seconds - pair.ours.seconds:+.1f}",
            f"{pair.ratio:.1f}",
            f"{pair.plain.accuracy:.3f}",
            f"{pair.ours.accuracy:.3f}",
            f"{pair.gflops / pair.ours.seconds:.1f}",
            pair.structure.spec.describe(),
        )
        for pair in pairs
    ]
    headings = ("trial", "plain s", "ours s", "fill s", "times", "plain", "ours", "GFLOP/s")
    say("\n" + table(lines, headings))
    groups = sorted({group for profile in profiles.values() for group in profile})
    lines = [(g, *(f"{p.get(g, 0.0):.1%}" for p in profiles.values())) for g in groups]
    say("\n" + table(lines, ("share of the time of ours", *profiles)))


def ratio_row(pair: Pair, least: float | None) -> Row:
    """Return the row of one structure."""
    return Row(
        name=f"{pair.structure.name}: ours to the plain loop, {threads_in_words()}",
        measured=pair.ratio,
        unit="times faster",
        at_least=least,
        note=f"{pair.plain.seconds:.0f} s to {pair.ours.seconds:.1f} s; by processor time"
        f" {pair.plain.cpu_s / pair.ours.cpu_s:.1f} times",
    )


def sampled_rows(pairs: Sequence[Pair]) -> list[Row]:
    """Return speed and accuracy over the sampled structures."""
    plain_s = sum(pair.plain.seconds for pair in pairs)
    ours_s = sum(pair.ours.seconds for pair in pairs)
    by_cpu = sum(pair.plain.cpu_s for pair in pairs) / sum(pair.ours.cpu_s for pair in pairs)
    ratios = [pair.ratio for pair in pairs]
    points = [pair.points for pair in pairs]
    error = statistics.stdev(points) / math.sqrt(len(points))
    these = f"{len(pairs)} sampled structures"
    return [
        Row(
            name=f"{these}: ours to the plain loop, {threads_in_words()}",
            measured=plain_s / ours_s,
            unit="times faster",
            at_least=LEAST_SAMPLED,
            note=f"{plain_s:.0f} s to {ours_s:.0f} s; by processor time {by_cpu:.1f} times; one by"
            f" one {min(ratios):.1f} to {max(ratios):.1f} times, geometric mean"
            f" {statistics.geometric_mean(ratios):.1f}",
        ),
        Row(
            name=f"{these}: the same with the filling of the cache",
            measured=plain_s / sum(pair.first.seconds for pair in pairs),
            unit="times faster",
            note="each boundary filled by the first trial that reads it, as in a study",
        ),
        Row(
            name=f"{these}: mean difference of the accuracies, one seed",
            measured=statistics.mean(points),
            unit="points",
            note=f"with a standard error of {error:.2f}; over several seeds: part `accuracy`",
        ),
    ]


def threads_in_words() -> str:
    """Return how many threads each of the two has."""
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)}"


def peak_rows(
    pairs: Sequence[Pair],
    peaks: dict[str, float],
    precision: str,
    profiles: dict[str, dict[str, float]],
) -> list[Row]:
    """Return how near the sampled structures come to the machine's matrix peak."""
    gflops = sum(pair.gflops for pair in pairs)
    speed = gflops / sum(pair.ours.seconds for pair in pairs)
    by_cpu = gflops / sum(pair.ours.cpu_s for pair in pairs)
    means: dict[str, float] = {}
    for profile in profiles.values():
        for group, share in profile.items():
            means[group] = means.get(group, 0.0) + share / len(profiles)
    products = means.pop(PRODUCTS)
    greatest = sorted(means.items(), key=lambda pair: -pair[1])
    rest = ", ".join(f"{group} {share:.1%}" for group, share in greatest)
    return [
        Row(
            name=f"{len(pairs)} sampled structures: share of the {kind} matrix peak",
            measured=100 * speed / peaks[kind],
            unit="%",
            # Where bfloat16 is slow its peak asks for nothing; that of what is used always does.
            at_least=100 * MIN_SHARE_OF_PEAK if kind in ("bfloat16", precision) else None,
            note=f"{speed:.0f} of {peaks[kind]:.0f} GFLOP/s ({by_cpu:.0f} by processor time); ours"
            f" computes in {precision}",
        )
        for kind in PRECISIONS
    ] + [
        Row(
            name="share of the time of ours in matrix products",
            measured=100 * products,
            unit="%",
            note=f"the rest: {rest}",
        )
    ]
