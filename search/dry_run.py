"""`paradapt search --dry-run`: what a study would search, and what that would take."""

import random
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FixedTrial

from search.baselines import BASELINES
from search.context import StudyContext, prepare
from search.dry_steps import time_steps
from search.objectives import formatted, known_costs
from search.progress import in_words
from search.starting_points import starting_trials
from search.study_file import StudySpec
from search.tables import table
from space.kinds import kinds_for
from space.roles import SUBLAYER_ENDS
from space.search_space import SearchSpace
from space.side import SIDE
from space.size import n_structures
from space.spec import AdapterSpec
from trainers.matching import MatchReport, match_report

N_SAMPLES = 300
"""Structures that are drawn to see what the space costs."""
_SHOWN = ("inference_gflops", "training_gflops", "trainable_params", "adapter_mib")
_WIDTH = 96
_WRITTEN_OUT = 10**9
"""Smaller counts are shown with all their digits."""


def dry_run(
    study: StudySpec, path: Path, stage: Callable[[str], None], say: Callable[[str], None]
) -> None:
    """Say how the backbone's layers were matched, how large the space is and what it costs.

    Args:
        study: the checked study file.
        path: where it is.
        stage: is told what is being done.
        say: takes the text.

    Raises:
        UserError: what the study file names is wrong, as `search` would say too.
    """
    context = prepare(study, path.resolve().parent, stage)
    stage("drawing structures")
    specs = _draw(context.space, study.seed)
    stage("timing a few steps")
    parts = [
        _backbone(context),
        _space(context, specs),
        _baselines(context),
        *_starting_points(context),
        _engine(context),
        _trial(context, specs),
    ]
    for notice in context.data.notices:
        say(f"note: {notice}")
    say("\n\n".join(parts))
    say("\nNo study was begun. Without --dry-run it is.")


def _backbone(context: StudyContext) -> str:
    report = match_report(context.backbone.model, context.backbone.family)
    how = "the table of families" if report.how == "table" else "the names and shapes of its layers"
    what = (
        f"Backbone {context.backbone.name}: {report.model_type}, {report.n_blocks} blocks of width"
        f" {context.backbone.shape.width} ({report.blocks}), {context.backbone.n_params:,} frozen"
        " parameters"
    )
    lines = [
        textwrap.fill(what, _WIDTH, break_long_words=False, break_on_hyphens=False),
        f"Roles, from {how}:",
        table(
            ("role", "layers", "count", "width", "kinds", "where in a block"),
            _roles(report, context),
            6,
        ),
    ]
    notes = (_beside(context), _lacking(context))
    return "\n".join([*lines, *(note for note in notes if note)])


def _roles(report: MatchReport, context: StudyContext) -> list[tuple[str, ...]]:
    space, n_blocks = context.space, report.n_blocks
    layers = f"0-{n_blocks - 1}" if n_blocks > 1 else "0"
    rows: list[tuple[str, ...]] = []
    for layer in report.layers:
        kinds = ", ".join(kinds_for(layer.role, space.kinds)) if layer.role in space.roles else ""
        width = f"{layer.shape[0]}->{layer.shape[1]}"
        rows.append(
            (layer.role or "(none)", layers, str(n_blocks), width, kinds or "-", layer.path)
        )
    for role in SUBLAYER_ENDS:
        if role in context.backbone.shape.roles:
            d_in, d_out = context.backbone.shape.widths(role)
            kinds = ", ".join(kinds_for(role, space.kinds)) if role in space.roles else ""
            ends = " to ".join(SUBLAYER_ENDS[role])
            rows.append((role, layers, str(n_blocks), f"{d_in}->{d_out}", kinds or "-", ends))
    return rows


def _beside(context: StudyContext) -> str:
    """Return what side networks the space holds, in words."""
    space = context.space
    if SIDE not in space.kinds:
        return ""
    widths, layers = ", ".join(map(str, space.side_width)), ", ".join(space.side_layers)
    return textwrap.fill(
        f"Beside the blocks: side networks of width {widths}, which read the outputs of the blocks:"
        f" {layers}.",
        _WIDTH,
    )


def _lacking(context: StudyContext) -> str:
    """Return what this backbone cannot do, in words."""
    shape = context.backbone.shape
    lacking = []
    if not shape.takes_prefix:
        lacking.append("its attention takes no prefix")
    if not shape.gathers_tokens:
        lacking.append("its blocks run on all tokens only (no token_keep below 1)")
    return f"Not here: {'; '.join(lacking)}." if lacking else ""


class _Random:
    """A source of values that chooses evenly."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (no secret depends on it)

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return self._random.uniform(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._random.choice(list(choices))


def _draw(space: SearchSpace, seed: int) -> list[AdapterSpec]:
    source = _Random(seed)
    return [space.sample(source)[0] for _ in range(N_SAMPLES)]


def _space(context: StudyContext, specs: Sequence[AdapterSpec]) -> str:
    frozen = context.cost.inference_gflops(_whole(context))
    costs = [known_costs(spec, context.cost) for spec in specs]
    rows = []
    for name in _SHOWN:
        values = sorted(cost[name] for cost in costs)
        ends = (values[0], statistics.median(values), values[-1])
        shares = [f" ({v / frozen:.0%})" if name == "inference_gflops" else "" for v in ends]
        rows.append(
            (name, *(f"{formatted(name, v)}{s}" for v, s in zip(ends, shares, strict=True)))
        )
    order = sorted(range(len(specs)), key=lambda i: costs[i]["inference_gflops"])
    exits = ["  (early exits not taken: how often they are shows after training)"]
    return "\n".join(
        [
            f"Space: {_in_digits(n_structures(context.space))} different structures, and a learning"
            " rate for each",
            f"Cost of {N_SAMPLES} drawn at random (in brackets: of the frozen backbone's"
            f" {formatted('inference_gflops', frozen)} GFLOPs)",
            table(("", "least", "median", "most"), rows, 0),
            *(exits if any(spec.exits for spec in specs) else []),
            _wrapped("cheapest", specs[order[0]].describe()),
            _wrapped("dearest", specs[order[-1]].describe()),
        ]
    )


def _in_digits(n: int) -> str:
    return f"{n:,}" if n < _WRITTEN_OUT else f"{n:.3g}"


def _whole(context: StudyContext) -> AdapterSpec:
    return AdapterSpec(depth=context.backbone.shape.n_layers, pooling=context.space.pooling[0])


def _wrapped(name: str, words: str) -> str:
    indent = " " * 12
    return textwrap.fill(words, _WIDTH, initial_indent=f"  {name:<10}", subsequent_indent=indent)


def _baselines(context: StudyContext) -> str:
    specs = {
        name: BASELINES[name].build(context.backbone.shape, context.space)
        for name in context.study.baselines
    }
    return f"Baselines, trained first\n{_costs(context, specs)}" if specs else "No baselines"


def _starting_points(context: StudyContext) -> list[str]:
    """Return the part on starting points, where the space has any."""
    space, n_trials = context.space, context.study.budget.trials
    specs = {
        title: space.sample(FixedTrial(params))[0]
        for name in context.study.starting_points
        for title, params in starting_trials(name, space, n_trials).items()
    }
    return [f"Starting points, trained next\n{_costs(context, specs)}"] if specs else []


def _costs(context: StudyContext, specs: Mapping[str, AdapterSpec]) -> str:
    rows = []
    for name, spec in specs.items():
        cost = known_costs(spec, context.cost)
        rows.append((name, *(formatted(key, cost[key]) for key in _SHOWN)))
    return table(("", *_SHOWN), rows, 0)


def _trial(context: StudyContext, specs: Sequence[AdapterSpec]) -> str:
    by_cost = sorted(specs, key=context.cost.training_gflops)
    spec = by_cost[len(by_cost) // 2]
    batch_size, budget = context.study.training.batch_size, context.study.budget
    n_steps = -(-len(context.train) // batch_size)
    step_s, row_s, memory_mib = time_steps(context, spec)
    trial_s = budget.epochs * (n_steps * step_s + len(context.validation) * row_s)
    gflops = context.cost.training_gflops(spec) * len(context.train) * budget.epochs
    return "\n".join(
        [
            "One trial, of median training cost",
            _wrapped("structure", spec.describe()),
            f"  {budget.epochs} epoch{'s' * (budget.epochs > 1)} of {n_steps} steps of {batch_size}"
            f" rows, {context.tokens.mean:.1f} tokens a row; {gflops:,.4g} GFLOPs of training",
            f"  about {in_words(trial_s)} here ({step_s * 1e3:.0f} ms a step, timed now),"
            f" {memory_mib:,.0f} MiB of memory",
            f"  all {budget.trials} trials: about {in_words(budget.trials * trial_s)}, less what"
            " is pruned",
        ]
    )


def _engine(context: StudyContext) -> str:
    """Return how the frozen blocks run, and what is kept of them."""
    engine, store = context.engine, context.store
    lines = [
        "Frozen blocks",
        f"  run in {engine.precision} with {engine.attention} attention, measured on this machine",
    ]
    if store is None:
        lines.append("  are computed in every epoch (cache.gib is 0)")
    else:
        tokens = sum(int(table.lengths.sum()) for table in (context.train, context.validation))
        mib = tokens * context.backbone.shape.width * engine.dtype.itemsize / 2**20
        lines += [
            "  below the first adapter are computed once and kept on disk, for all trials:",
            f"  {mib:,.0f} MiB a boundary, {store.max_bytes / 2**20:,.0f} MiB at most in all,",
            f"  in {store.folder}",
        ]
    return "\n".join(lines)
