"""The states that stopped trainings are taken up from, and when they are thrown away.

A study with `pruning.resume` keeps one file for each stopped trial that may still come back, below
its folder of weights.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.context import StudyContext
from search.lineage import RESUMES, lineage, resumed_as
from search.pruners import Rung, may_return, stopped_at
from search.rung_values import rungs_reached
from search.rungs import rung_directions, rung_of
from space.errors import UserError
from trainers.checkpoint import Checkpoint

_FOLDER = "checkpoints"
_NAME = re.compile(r"trial-(\d+)\.safetensors")


def checkpoint_of(context: StudyContext, number: int) -> Path:
    """Return where the state of a stopped trial's training is."""
    return context.weights_folder / _FOLDER / f"trial-{number:05d}.safetensors"


def begins_from(context: StudyContext, trial: optuna.Trial) -> Path | None:
    """Return the state that a trial goes on from; None where it begins anew."""
    number = trial.user_attrs.get(RESUMES)
    if number is None:
        return None
    path = checkpoint_of(context, number)
    return path if _readable(path) else None


def ends_in(context: StudyContext, trial: optuna.Trial) -> Path | None:
    """Return where a trial leaves its state if it is stopped; None where it may not come back."""
    return checkpoint_of(context, trial.number) if context.study.pruning.resume else None


def returning(context: StudyContext, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return a stopped trial that would go on by now: the furthest, of equal ones the earliest."""
    if not context.study.pruning.resume:
        return None
    directions = rung_directions(context.study)
    taken_up = resumed_as(trials)
    candidates = []
    for trial in _stopped(trials):
        if trial.number in taken_up or not _readable(checkpoint_of(context, trial.number)):
            continue
        number = lineage(trials, trial.number)[0]
        reached = _reached(trials, trial)
        if stopped_at(context.study.stopping, number, list(reached.values()), directions) is None:
            candidates.append((-max(reached), trial.number))
    return trials[min(candidates)[1]] if candidates else None


def sweep(context: StudyContext, trials: Sequence[FrozenTrial]) -> None:
    """Remove the states that no trial will begin from any more."""
    folder = context.weights_folder / _FOLDER
    if not folder.exists():
        return
    wanted = _wanted(context, trials)
    for path in folder.iterdir():
        name = _NAME.fullmatch(path.name)
        if name is None or int(name[1]) not in wanted:
            path.unlink()


def remove_all(context: StudyContext) -> None:
    """Remove every state: the study is over."""
    shutil.rmtree(context.weights_folder / _FOLDER, ignore_errors=True)


def _readable(path: Path) -> bool:
    try:
        return Checkpoint(path).n_done > 0
    except UserError:
        return False


def _wanted(context: StudyContext, trials: Sequence[FrozenTrial]) -> set[int]:
    directions, n_trials = rung_directions(context.study), context.study.budget.trials
    taken_up = resumed_as(trials)
    wanted = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
    for trial in _stopped(trials):
        if trial.number in taken_up:
            if not taken_up[trial.number].state.is_finished():
                wanted.add(trial.number)
            continue
        number = lineage(trials, trial.number)[0]
        reached = list(_reached(trials, trial).values())
        if may_return(context.study.stopping, number, reached, directions, n_trials):
            wanted.add(trial.number)
    return wanted


def _stopped(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that a pruner stopped themselves."""
    return [
        trial
        for trial in trials
        if trial.state == TrialState.PRUNED
        and trial.user_attrs.get("end") == "pruned"
        and "same_as" not in trial.user_attrs
        and rungs_reached(trial.user_attrs)
    ]


def _reached(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> dict[float, Rung]:
    """Return the rungs that a stopped training reached, as they are by now."""
    numbers = lineage(trials, trial.number)
    levels = sorted({level for n in numbers for level in rungs_reached(trials[n].user_attrs)})
    return {level: rung_of(trials, level) for level in levels}
