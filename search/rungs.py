"""Rungs: where a trial is compared with the others while it is being trained."""

from collections.abc import Mapping
from typing import Any

import optuna

from search.context import StudyContext
from search.pruners import Pruner, Rung
from trainers.fit import EpochReport

RUNGS = "rungs"
"""Trial attribute: for each rung that the trial reached, its objectives' values there."""


def decide(
    context: StudyContext,
    trial: optuna.Trial,
    pruner: Pruner,
    epoch: EpochReport,
    costs: Mapping[str, float],
) -> bool:
    """Note what the trial reached, and return whether it goes on.

    Objectives that are measured after training (latency, memory) are not known yet and are left
    out of the comparison. Baselines are compared with, and never stopped.
    """
    if epoch.epoch not in pruner.rungs(context.study.budget.epochs):
        return True
    known = {**costs, **epoch.metrics}
    objectives = context.study.objective_names
    values = [known[name] for name in objectives if name in known]
    own = {**trial.user_attrs.get(RUNGS, {}), str(epoch.epoch): values}
    trial.set_user_attr(RUNGS, own)
    if "baseline" in trial.user_attrs:
        return True
    rung = rung_of(trial.study, epoch.epoch)
    directions = [
        direction
        for direction, name in zip(trial.study.directions, objectives, strict=True)
        if name in known
    ]
    reason = pruner.stops(trial.number, {**rung, trial.number: values}, directions)
    if reason is not None:
        trial.set_user_attr("reason", f"{reason}, after epoch {epoch.epoch}")
    return reason is None


def rung_of(study: optuna.Study, epoch: int) -> Rung:
    """Return what every trial that reached a rung had there."""
    reached: dict[int, list[float]] = {}
    for trial in study.get_trials(deepcopy=False):
        rungs: dict[str, Any] = trial.user_attrs.get(RUNGS, {})
        if str(epoch) in rungs and "same_as" not in trial.user_attrs:
            reached[trial.number] = rungs[str(epoch)]
    return reached
