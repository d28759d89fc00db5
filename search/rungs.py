"""Rungs: where a trial is compared with the others while it is being trained."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.context import StudyContext
from search.lineage import lineage
from search.objectives import MEASURED
from search.pruners import Pruner, Rung, stopped_at
from search.rung_values import rung_key, rungs_reached
from search.starting_points import STARTING_POINT
from search.study_file import StudySpec
from trainers.fit import EpochReport

_NEAR = 1e-6
"""Of an epoch: times that differ by less are one."""


def decide(
    context: StudyContext,
    trial: optuna.Trial,
    pruner: Pruner,
    epoch: EpochReport,
    costs: Mapping[str, float],
) -> bool:
    """Note what the trial reached, and return whether it goes on.

    Objectives that are measured after training (latency, memory) are not known yet and are left
    out of the comparison. Baselines and starting points are compared with, and never stopped.
    """
    trials = trial.study.get_trials(deepcopy=False)
    own = lineage(trials, trial.number)
    before = {level for number in own for level in rungs_reached(trials[number].user_attrs)}
    levels = pruner.rungs(context.study.budget.epochs)
    due = [rung for rung in levels if rung <= epoch.epoch + _NEAR and not _among(rung, before)]
    if not due:
        return True
    known = {**costs, **epoch.metrics}
    values = [known[name] for name in _objectives(context.study)]
    for level in due:  # several where an epoch has fewer steps than rungs
        trial.set_user_attr(rung_key(level), values)
    kept = any(mark in trial.user_attrs for mark in ("baseline", STARTING_POINT))
    if kept or epoch.epoch >= context.study.budget.epochs:
        return True
    trials = trial.study.get_trials(deepcopy=False)
    reached = [rung_of(trials, level) for level in levels if level <= due[-1]]
    reached = [rung for rung in reached if own[0] in rung]
    reason = stopped_at(pruner, own[0], reached, rung_directions(context.study))
    if reason is not None:
        trial.set_user_attr("reason", f"{reason}, after epoch {epoch.epoch:g}")
    return reason is None


def rung_directions(study: StudySpec) -> list[StudyDirection]:
    """Return the directions of the objectives that trials are compared in at a rung."""
    names = _objectives(study)
    return [
        StudyDirection[way.upper()]
        for way, name in zip(study.directions, study.objective_names, strict=True)
        if name in names
    ]


def _objectives(study: StudySpec) -> list[str]:
    return [name for name in study.objective_names if name not in MEASURED]


def rung_of(trials: Sequence[FrozenTrial], level: float) -> Rung:
    """Return what every training had at a rung, by the number of the trial that began it.

    A trial that repeats another, and one that is run again, add nothing of their own.
    """
    reached: dict[int, list[float]] = {}
    for trial in trials:
        attributes = trial.user_attrs
        values = attributes.get(rung_key(level))
        if values is None or "same_as" in attributes or attributes.get("end") == "interrupted":
            continue
        reached[lineage(trials, trial.number)[0]] = values
    return reached


def _among(level: float, levels: set[float]) -> bool:
    return any(abs(level - other) < _NEAR for other in levels)
