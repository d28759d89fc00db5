"""Rungs: where a trial is compared with the others while it is being trained.

What a rung is to tell is who will be ahead at the end. On some hundred validation rows a share of
right answers moves in steps and by chance, where the loss of the same answers already says how sure
they are: after one epoch of three it told the best structures of the tabular benchmark from the
rest better than accuracy did after two (studies/benchmarks/README.md). So it stands beside the
objectives, as one more that a trial can be ahead in.
"""

from collections.abc import Iterable, Mapping, Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search.context import StudyContext
from search.lineage import lineage
from search.objectives import MEASURED, VALIDATION_LOSS
from search.pruners import Pruner, Rung, stopped_at
from search.rung_values import rung_key, rungs_reached, values_at
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
    compared = compared_by(context.study)
    values = {name: known[name] for name in compared}
    for level in due:  # several where an epoch has fewer steps than rungs
        trial.set_user_attr(rung_key(level), values)
    kept = any(mark in trial.user_attrs for mark in ("baseline", STARTING_POINT))
    if kept or epoch.epoch >= context.study.budget.epochs:
        return True
    trials = trial.study.get_trials(deepcopy=False)
    reached = [rung_of(trials, level, compared) for level in levels if level <= due[-1]]
    reached = [rung for rung in reached if own[0] in rung]
    reason = stopped_at(pruner, own[0], reached, list(compared.values()))
    if reason is not None:
        trial.set_user_attr("reason", f"{reason}, after epoch {epoch.epoch:g}")
    return reason is None


def compared_by(study: StudySpec) -> dict[str, StudyDirection]:
    """Return the metrics that trials are compared by at a rung, each with its direction.

    They are the objectives, in their order, without those that are measured after training, and
    the validation loss.
    """
    compared = {
        name: StudyDirection[way.upper()]
        for way, name in zip(study.directions, study.objective_names, strict=True)
        if name not in MEASURED
    }
    compared.setdefault(VALIDATION_LOSS, StudyDirection.MINIMIZE)
    return compared


def rung_of(trials: Sequence[FrozenTrial], level: float, names: Iterable[str]) -> Rung:
    """Return what every training had of some metrics at a rung, by the number of the trial that
    began it.

    A trial that repeats another, and one that is run again, add nothing of their own.
    """
    names = tuple(names)
    reached: dict[int, list[float]] = {}
    for trial in trials:
        attributes = trial.user_attrs
        values = values_at(attributes, level)
        if values is None or "same_as" in attributes or attributes.get("end") == "interrupted":
            continue
        reached[lineage(trials, trial.number)[0]] = [values[name] for name in names]
    return reached


def _among(level: float, levels: set[float]) -> bool:
    return any(abs(level - other) < _NEAR for other in levels)
