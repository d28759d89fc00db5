"""The states that trainings are taken up from, and when they are thrown away.

A trial leaves its state after each validation, below the study's folder of weights: where its
process dies it is run again from there. A study with `pruning.resume` also keeps that of each
stopped trial that may still come back.
"""

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.context import StudyContext
from search.lineage import RESUMES, RETRY_OF, cut_off_before, lineage, resumed_as
from search.moments import begin_of
from search.pruners import Rung, may_return, stopped_at
from search.rung_values import rungs_reached
from search.rungs import compared_by, rung_of
from space.errors import UserError
from trainers.checkpoint import Checkpoint, SoFar

_FOLDER = "checkpoints"
_NAME = re.compile(r"trial-(\d+)\.safetensors")


def checkpoint_of(context: StudyContext, number: int) -> Path:
    """Return where the state of a trial's training is."""
    return context.weights_folder / _FOLDER / f"trial-{number:05d}.safetensors"


def begins_from(context: StudyContext, trial: optuna.Trial) -> Path | None:
    """Return the state that a trial goes on from; None where it begins anew."""
    trials = trial.study.get_trials(deepcopy=False)
    for cut_off in cut_off_before(trials, trial.number):
        if _epochs(context, cut_off):
            return checkpoint_of(context, cut_off)
    number = trial.user_attrs.get(RESUMES)
    if number is None:
        return None
    path = checkpoint_of(context, number)
    return path if _so_far(path) else None


def epochs_kept(context: StudyContext, trials: Sequence[FrozenTrial], number: int) -> float:
    """Return how many epochs of a trial that was cut off need not be trained again."""
    kept = (_epochs(context, own) for own in (number, *cut_off_before(trials, number)))
    return next((epochs for epochs in kept if epochs), 0.0)


def last_sign_s(context: StudyContext, trial: FrozenTrial) -> float:
    """Return how many seconds after a trial's beginning its state was last written, 0 if never."""
    try:
        written = checkpoint_of(context, trial.number).stat().st_mtime
    except OSError:
        return 0.0
    return max(0.0, written - begin_of(trial).timestamp())


def returning(context: StudyContext, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return a stopped trial that would go on by now: the furthest, of equal ones the earliest."""
    if not context.study.pruning.resume:
        return None
    compared = compared_by(context.study)
    taken_up = resumed_as(trials)
    candidates = []
    for trial in _stopped(trials):
        if trial.number in taken_up or _so_far(checkpoint_of(context, trial.number)) is None:
            continue
        number = lineage(trials, trial.number)[0]
        reached = _reached(trials, trial, compared)
        directions = list(compared.values())
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


def _epochs(context: StudyContext, number: int) -> float:
    """Return how many epochs of a trial its state holds, 0 where it has none to go on from.

    Nor has one that was stopped, if nobody wrote that down: it is to be decided on again.
    """
    so_far = _so_far(checkpoint_of(context, number))
    return 0.0 if so_far is None or so_far.stopped else so_far.history[-1].epoch


def _so_far(path: Path) -> SoFar | None:
    """Return how far a training was, None where its state is not there or not whole."""
    try:
        return Checkpoint(path).so_far
    except UserError:
        return None


def _wanted(context: StudyContext, trials: Sequence[FrozenTrial]) -> set[int]:
    compared, n_trials = compared_by(context.study), context.study.budget.trials
    taken_up = resumed_as(trials)
    wanted = _of_cut_off(trials)
    if not context.study.pruning.resume:
        return wanted
    for trial in _stopped(trials):
        if trial.number in taken_up:
            if not taken_up[trial.number].state.is_finished():
                wanted.add(trial.number)
            continue
        number = lineage(trials, trial.number)[0]
        reached = list(_reached(trials, trial, compared).values())
        directions = list(compared.values())
        if may_return(context.study.stopping, number, reached, directions, n_trials):
            wanted.add(trial.number)
    return wanted


def _of_cut_off(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the trials that are running, and those that are or will be run again."""
    again = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    open_ends = [
        trial.number
        for trial in trials
        if not trial.state.is_finished()
        or (trial.user_attrs.get("end") == "interrupted" and trial.number not in again)
    ]
    return {n for number in open_ends for n in (number, *cut_off_before(trials, number))}


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


def _reached(
    trials: Sequence[FrozenTrial], trial: FrozenTrial, names: Iterable[str]
) -> dict[float, Rung]:
    """Return the rungs that a stopped training reached, as they are by now."""
    numbers = lineage(trials, trial.number)
    levels = sorted({level for n in numbers for level in rungs_reached(trials[n].user_attrs)})
    return {level: rung_of(trials, level, names) for level in levels}
