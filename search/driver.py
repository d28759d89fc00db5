"""The loop of a study: one trial after the other until the budget is spent."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import optuna
from optuna.trial import TrialState

from search.checkpoints import remove_all, returning, sweep
from search.context import StudyContext
from search.ending import End, finish, n_trained
from search.lineage import RESUMES
from search.proposals import next_trial
from search.store import recover
from search.trial import run_trial

MAX_UNTRAINED = 200
"""Proposals in a row that need no training (equal, or out of bounds) before a study ends."""


class Interrupted(Exception):
    """The user asked to stop; everything is kept."""


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Who is told what happens; both must return soon."""

    tick: Callable[[int, int, int], None]
    """(trial, steps done, steps in all), after every step."""
    ended: Callable[[optuna.Study, int, End], None]
    """(study, trial, end), after every trial."""


def run_study(context: StudyContext, stored: optuna.Study, observer: Observer) -> str:
    """Run trials until the budget is spent; return why it ended, in words.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM; the running trial is put in line again.
    """
    budget = context.study.budget
    deadline = time.monotonic() + 60 * budget.minutes if budget.minutes else float("inf")
    recover(stored, context.study.objective_names)
    sweep(context, stored.get_trials(deepcopy=False))
    n_untrained = 0
    with interruptible() as stopping:
        while _more_to_do(context, stored):
            if time.monotonic() > deadline:
                return f"the {budget.minutes:g} minutes of the budget are spent"
            if n_untrained == MAX_UNTRAINED:
                remove_all(context)
                return (
                    f"the last {MAX_UNTRAINED} structures proposed were known already or out of"
                    " bounds: the space holds no more"
                )
            end = _one_trial(context, stored, observer, stopping)
            n_untrained = n_untrained + 1 if _untrained(end) else 0
            sweep(context, stored.get_trials(deepcopy=False))
    remove_all(context)
    return f"all {budget.trials} trials of the budget are trained"


def _more_to_do(context: StudyContext, stored: optuna.Study) -> bool:
    """Whether the budget has trials left, or a stopped one has come back: it counted before."""
    trials = stored.get_trials(deepcopy=False)
    if n_trained(trials) < context.study.budget.trials:
        return True
    in_line = [trial for trial in trials if trial.state == TrialState.WAITING]
    if in_line:
        return RESUMES in in_line[0].user_attrs
    return returning(context, trials) is not None


def _untrained(end: End) -> bool:
    return end.twin is not None or (end.kind == "infeasible" and not end.history)


def _one_trial(
    context: StudyContext,
    stored: optuna.Study,
    observer: Observer,
    stopping: Callable[[], bool],
) -> End:
    def go_on(*_: int) -> None:
        if stopping():
            raise Interrupted

    trial, planned = next_trial(context, stored, go_on)

    def tick(n_done: int, n_steps: int) -> None:
        observer.tick(trial.number, n_done, n_steps)
        go_on()

    try:
        go_on()
        end = run_trial(context, trial, planned, tick)
    except (Interrupted, KeyboardInterrupt, OSError):
        # No fault of the structure: the trial is put in line again.
        recover(stored, context.study.objective_names)
        raise
    except SystemExit as error:
        # What Lightning makes of a second Ctrl-C.
        recover(stored, context.study.objective_names)
        raise KeyboardInterrupt from error
    except Exception as error:
        # A fault of ours, or of this structure: it must not bar the way of the next run.
        finish(context, trial, End(kind="failed", reason=f"{type(error).__name__}: {error}"))
        raise
    observer.ended(stored, trial.number, end)
    return end


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a wish that is looked at between two steps.

    A write to the storage is thus never cut in two. A second one ends the process at once.
    """
    wished: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        wished.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(wished)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
