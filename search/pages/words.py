"""Sentences that several pages share."""

from collections import Counter

from optuna.trial import FrozenTrial, TrialState

from search.snapshot import StudySnapshot

_STATE_ENDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def trial_end(trial: FrozenTrial) -> str:
    """Return how a trial ended: its attribute, or Optuna's state where it has none."""
    if not trial.state.is_finished():
        return _STATE_ENDS[trial.state]
    return str(trial.user_attrs.get("end", _STATE_ENDS[trial.state]))


def in_numbers(snapshot: StudySnapshot) -> str:
    """Return how many trials ended how, and until when this was seen."""
    if not snapshot.trials:
        return "No trial yet."
    ends = Counter(map(trial_end, snapshot.trials))
    counts = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    n_trials = len(snapshot.trials)
    last = max((t.datetime_complete for t in snapshot.trials if t.datetime_complete), default=None)
    seen = f"; the last one ended on {last:%Y-%m-%d at %H:%M:%S}" if last else ""
    return f"{n_trials} trial{'s' * (n_trials != 1)}: {counts}{seen}."
