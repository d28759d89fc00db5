"""`paradapt migrate`: a bundle, a new backbone and the study's data in, a new bundle out.

The structure is mapped onto the new backbone (trainers/migration.py). What of its weights fits is
moved over and checked on the validation data; then it is trained on, or anew. Nothing of the study
is written: what is tried is tried in memory, its weights in a folder that is removed.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import optuna
from torch import Tensor

from search.context import StudyContext
from search.driver import Interrupted, interruptible
from search.exits import exit_metric, leave_early
from search.migration_bundle import write_migrated
from search.migration_inputs import Request
from search.migration_plan import Move, plan
from search.migration_report import Account, Place
from search.neighbourhood import Neighbourhood, search_around
from search.objectives import formatted, known_costs
from search.progress import Progress
from search.study_file import StudySpec
from search.training import train_structure
from space.errors import UserError
from space.search_space import Learning
from space.spec import AdapterSpec
from trainers.fit import Tick
from trainers.latency import measure_latency
from trainers.migration import in_scale, moved_weights
from trainers.model import AdaptedModel
from trainers.outline import FEWER, SAME
from trainers.weights import FILE_NAME

REFIT_RATE = 1 / 3
"""Of the rates that the structure was trained at, for refitting. At all of them the first steps
lose what was moved: on a nudged MiniLM, from 71 % to 63 %, and at a third from 71 % to 76 %."""

TickOf = Callable[[str], Tick]
"""What is being done, in a word or two -> what is told its steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stand:
    """A structure with weights on a backbone: what it gives there, and what it costs."""

    model: AdaptedModel
    metrics: Mapping[str, float]
    attributes: Mapping[str, Any]
    """What a trial keeps besides: the load of experts, the curve of early exits."""


def migrate(study: StudySpec, request: Request, progress: Progress) -> Account:
    """Put a bundle on another backbone, write the new bundle, and return what came of it.

    Args:
        study: the checked study file: its data, its objectives, its way to train.
        request: what the user asks for.
        progress: shows how it gets on.

    Raises:
        UserError: bundle, backbone and data do not go together, or the output is in use; nothing
            was trained.
        TrialError: the training failed.
        KeyboardInterrupt: by Ctrl-C or SIGTERM; nothing was written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="paradapt-migrate-") as artifacts:
        move = plan(study, request, artifacts, progress)
        with interruptible() as stopping:

            def tick_of(name: str) -> Tick:
                def tick(n_done: int, n_steps: int) -> None:
                    progress.tick(name, n_done, n_steps)
                    if stopping():
                        raise Interrupted

                return tick

            try:
                return _migrated(move, request, progress, tick_of)
            except Interrupted as error:
                raise KeyboardInterrupt from error


def _migrated(move: Move, request: Request, progress: Progress, tick_of: TickOf) -> Account:
    spec, learning = move.mapped.spec, move.learning
    progress.begin_trials(0, "")
    old = _old_metrics(move, tick_of("the old bundle"))
    start, parts = _start(move)
    moved = None
    if parts or not start:  # a language model as it is has no weights to move
        moved = stand(move.now, spec, learning, start, 0, tick_of("the moved weights"))
    final = moved
    if move.epochs:
        same = move.relation == SAME
        tick = tick_of("refitting" if same else "training")
        rates = gentler(learning) if same else learning
        final = stand(move.now, spec, rates, start, move.epochs, tick)
    assert final is not None, "weights that are not trained were moved"
    progress.ended(f"{move.parent.folder} stands on {move.now.backbone.name}", 1, "")
    around = _look_around(move, request, final, progress, tick_of)
    account = Account(
        relation=move.relation,
        parent_sha256=move.parent.sha256,
        before=Place(
            backbone=move.parent.config.backbone,
            fingerprint=move.parent.config.backbone_fingerprint,
            outline=move.former,
            structure=move.parent.config.spec.describe(),
        ),
        after=Place(
            backbone=move.now.study.backbone,
            fingerprint=move.now.backbone.fingerprint,
            outline=move.outline,
            structure=spec.describe(),
        ),
        changed=move.changed,
        dropped=move.mapped.dropped,
        roles=tuple(dict.fromkeys(a.role for a in move.parent.config.spec.adapters)),
        moved_parts=parts,
        new_parts=tuple(sorted({_part(name) for name in start} - set(parts))),
        epochs=move.epochs,
        steps=move.epochs * -(-len(move.now.train) // move.now.study.training.batch_size),
        quality=_quality(move.now),
        old=old,
        recorded=move.gone,
        moved=None if moved is None else moved.metrics,
        trained=final.metrics if move.epochs else None,
        broken=_broken(move.now, final.metrics),
        objectives=move.now.study.objective_names,
        around=around,
    )
    progress.stage("writing the bundle")
    write_migrated(move, final.model, final.metrics, final.attributes, account, request.output)
    return account


def gentler(learning: Learning) -> Learning:
    """Return how moved weights are refitted, where they were trained like this."""
    rate = learning.learning_rate
    return Learning(
        learning_rate=None if rate is None else REFIT_RATE * rate,
        head_learning_rate=REFIT_RATE * learning.head_learning_rate,
    )


def stand(
    context: StudyContext,
    spec: AdapterSpec,
    learning: Learning,
    start: Mapping[str, Tensor],
    epochs: int,
    tick: Tick,
) -> Stand:
    """Train a structure from given weights as a trial is trained, and measure it.

    Args:
        context: the study on a backbone.
        spec: the structure.
        learning: how it is trained.
        start: the weights that it begins from.
        epochs: for which it is trained; 0: it is only measured.
        tick: is told each step.

    Raises:
        TrialError: a loss that is not finite, or no memory left.
        ValueError: the weights are not this structure's.
    """
    budget = context.study.budget.model_copy(update={"epochs": epochs})
    own = replace(context, study=context.study.model_copy(update={"budget": budget}))
    model, result = train_structure(
        own, spec, learning, report=lambda _: True, tick=tick, start=start
    )
    metrics = {**known_costs(spec, context.cost), **result.metrics}
    kept: dict[str, Any] = {}
    if result.routing:
        kept["routing"] = [dict(adapter) for adapter in result.routing]
    left = leave_early(context, spec, result)
    if left is not None:
        metrics |= {**left.point.metrics, "inference_gflops": left.point.mean_gflops}
        kept |= left.attributes()
    shares = None if left is None else left.point.shares
    tokens = round(context.tokens.mean)
    metrics |= measure_latency(model, context.backbone, tokens, exit_shares=shares)
    return Stand(model=model, metrics=metrics, attributes=kept)


def _old_metrics(move: Move, tick: Tick) -> Mapping[str, Any]:
    """Return what the old bundle gives on its backbone: measured, or as its export recorded it."""
    parent = move.parent
    if move.old is None:
        return parent.metrics
    state = in_scale(parent.state, parent.config.scale, move.old.data.scale)
    try:
        return stand(move.old, parent.config.spec, move.learning, state, 0, tick).metrics
    except ValueError as error:
        raise UserError(f"{parent.folder / FILE_NAME}: {error}") from error


def _start(move: Move) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the weights to begin from, and which of their parts are old ones.

    Raises:
        UserError: the old ones are not of the old structure.
    """
    fresh = move.now.model_of(move.mapped.spec).trained_state()
    if move.relation not in (SAME, FEWER):
        return fresh, ()
    parent = move.parent
    old = in_scale(parent.state, parent.config.scale, move.now.data.scale)
    start, parts = moved_weights(fresh, old, move.mapped.moves)
    whole = {_part(name) for name in fresh} == set(parts) and fresh.keys() == old.keys()
    if move.relation == SAME and not whole:
        raise UserError(
            f"{parent.folder / FILE_NAME}: The weights do not belong to this structure."
        )
    return start, parts


def _part(name: str) -> str:
    """Return the part of a structure that a tensor is of, such as `adapters.3.query`."""
    words = name.split(".")
    depth = {"adapters": 3, "skips": 2, "exits": 2}.get(words[0], 1)
    return ".".join(words[:depth])


def _look_around(
    move: Move, request: Request, final: Stand, progress: Progress, tick_of: TickOf
) -> Neighbourhood | None:
    if move.space is None:
        return None
    values = [final.metrics[name] for name in move.now.study.objective_names]

    def tick(number: int) -> Tick:
        progress.ended(f"neighbour {number} of {request.n_neighbours} begins", number, "")
        return tick_of(f"neighbour {number}")

    return search_around(
        replace(move.now, space=move.space),
        move.mapped.spec,
        move.learning,
        values,
        request.n_neighbours,
        tick,
    )


def _quality(context: StudyContext) -> tuple[str, ...]:
    first = exit_metric(context)
    return (first, *(name for name in context.task.metrics if name != first))


def _broken(context: StudyContext, metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Return the study's constraints that do not hold, each with its value."""
    return tuple(
        f"{bound.describe()} is broken: it is {formatted(bound.metric, metrics[bound.metric])}"
        for bound in context.study.bounds
        if bound.violation(metrics[bound.metric]) > 0
    )
