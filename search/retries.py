"""Trials that were cut off: what is kept of them, and how they are run again.

One that was cut off because the user stopped the command is run again as often as that happens.
One whose process or worker died may have killed it: it is run again twice, and then counts as
failed, so that no structure can bar the way for ever.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.checkpoints import epochs_kept, last_sign_s
from search.context import StudyContext
from search.ending import tell_end
from search.granularity import GRANULARITY
from search.lineage import RESUMES, RETRY_OF
from search.moments import TOOK_S
from search.rung_values import rung_key, rungs_reached
from search.starting_points import STARTING_POINT

MAX_RETRIES = 2
"""How often a trial is run again whose process or worker died."""
LOSSES = "losses"
"""Trial attribute: how often its process or worker died, earlier runs of it included."""
KEPT_FOR_RETRY = (RESUMES, STARTING_POINT, GRANULARITY, LOSSES)
"""Trial attributes that say how a trial is to be run, and hold when it is run again."""

DIED = "the process ended in the middle of it"
STOPPED = "the command was stopped in the middle of it"


def recover(context: StudyContext, stored: optuna.Study) -> None:
    """Bring all trials to an end that a killed process left running."""
    give_up(context, stored, stored.get_trials(deepcopy=False), DIED)


def give_up(
    context: StudyContext, stored: optuna.Study, trials: Iterable[FrozenTrial], why: str
) -> None:
    """Bring those of the trials to an end that are running, and that nobody runs any more.

    One whose end was written is told so, nothing of it being lost. Any other is marked as
    interrupted, and its parameters are put in line to be run again; or as failed, where that was
    done often enough.

    Args:
        context: the study.
        stored: its trials.
        trials: of these; those that have ended are left alone.
        why: in words; unless it is STOPPED, it counts as a loss.
    """
    for trial in trials:
        if trial.state != TrialState.RUNNING:
            continue
        if trial.user_attrs.get("end", "interrupted") != "interrupted":
            tell_end(stored, trial.number, trial.user_attrs, context.study.objective_names)
            continue
        if why == DIED:  # a minute or a weekend ago: its last saved state counts as its end
            _note(stored, trial, {TOOK_S: round(last_sign_s(context, trial), 3)})
        first_time = "end" not in trial.user_attrs  # else it was killed again, right here
        losses = trial.user_attrs.get(LOSSES, 0) + (why != STOPPED and first_time)
        if losses > MAX_RETRIES:
            reason = f"{why}, {losses} times; it is not run again"
            _note(stored, trial, {LOSSES: losses, "metrics": {}, "reason": reason, "end": "failed"})
            stored.tell(trial.number, state=TrialState.FAIL)
        else:
            noted: dict[str, Any] = {"reason": why, "end": "interrupted"}
            _note(stored, trial, {LOSSES: losses, **noted} if losses else noted)
            _put_in_line(context, stored, trial.number)


def retry_attributes(
    context: StudyContext, trials: Sequence[FrozenTrial], trial: FrozenTrial
) -> dict[str, Any]:
    """Return the attributes of the trial that runs one of the trials again which was cut off.

    The rungs that it need not reach again are among them.
    """
    kept = {k: v for k, v in trial.user_attrs.items() if k in KEPT_FOR_RETRY}
    epochs = epochs_kept(context, trials, trial.number)
    reached = rungs_reached(trial.user_attrs).items()
    rungs = {rung_key(level): values for level, values in reached if level <= epochs}
    return {RETRY_OF: trial.number, **kept, **rungs}


def _put_in_line(context: StudyContext, stored: optuna.Study, number: int) -> None:
    """Put the parameters of a trial in line again, and tell Optuna that it was cut off.

    In this order: a kill between the two loses nothing. A baseline is not put in line: those that
    are missing are begun anyhow.
    """
    trials = stored.get_trials(deepcopy=False)
    trial = trials[number]
    in_line = any(other.user_attrs.get(RETRY_OF) == number for other in trials)
    # One that was in line, and cut off before it was sampled, has its parameters there alone.
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if "baseline" not in trial.user_attrs and params and not in_line:
        stored.enqueue_trial(params, user_attrs=retry_attributes(context, trials, trial))
    stored.tell(number, state=TrialState.FAIL)


def _note(stored: optuna.Study, trial: FrozenTrial, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        stored._storage.set_trial_user_attr(trial._trial_id, name, value)
