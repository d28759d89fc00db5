"""The loop of a study: it asks for trials, gives them to workers, decides, and tells their ends.

It alone writes to the storage, whoever trains: with one worker a trial after the other, with
several as many at a time.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from search.checkpoints import remove_all, returning, sweep
from search.context import StudyContext
from search.drivers import Drivers
from search.ending import End, equal_running, finish, n_trained
from search.in_process import InProcess
from search.job import Job
from search.lineage import RESUMES
from search.proposals import next_trial
from search.retries import STOPPED, give_up
from search.rungs import decide
from search.trial import Planned, begin, end
from search.workers import Ended, Listener, Lost, Workers
from trainers.reports import EpochReport

MAX_UNTRAINED = 200
"""Proposals in a row that need no training (equal, or out of bounds) before a study ends."""
PAUSE_S = 0.5
"""How long the loop rests where no worker of its own has anything to do."""


class Interrupted(Exception):
    """The user asked to stop; everything is kept."""


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Who is told what happens; both must return soon."""

    tick: Callable[[int, int, int], None]
    """(trial, steps done, steps in all), after every step."""
    ended: Callable[[optuna.Study, int, End], None]
    """(study, trial, end), after every trial."""


def run_study(
    context: StudyContext,
    stored: optuna.Study,
    observer: Observer,
    workers: Workers | None = None,
) -> str:
    """Run trials until the budget is spent; return why it ended, in words.

    Args:
        context: the study.
        stored: its storage.
        observer: is told what happens.
        workers: who trains; None: this process.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM; the running trials are put in line again.
    """
    with Drivers(context, stored) as drivers, interruptible() as stopping:
        loop = _Loop(context, stored, observer, workers or InProcess(context), drivers, stopping)
        drivers.give_up_dead(at_start=True)
        sweep(context, stored.get_trials(deepcopy=False))
        try:
            return loop.run()
        except (Interrupted, KeyboardInterrupt, OSError):
            # No fault of a structure: the trials are put in line again.
            loop.give_back()
            raise
        except SystemExit as error:
            # What Lightning makes of a second Ctrl-C.
            loop.give_back()
            raise KeyboardInterrupt from error


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A trial of this loop that has begun and not ended."""

    trial: optuna.Trial
    planned: Planned | None
    job: Job | None = None
    """None while it waits for an equal one that is running."""


class _Loop:
    def __init__(
        self,
        context: StudyContext,
        stored: optuna.Study,
        observer: Observer,
        workers: Workers,
        drivers: Drivers,
        stopping: Callable[[], bool],
    ) -> None:
        self._context = context
        self._stored = stored
        self._observer = observer
        self._workers = workers
        self._drivers = drivers
        self._stopping = stopping
        minutes = context.study.budget.minutes
        self._deadline = time.monotonic() + 60 * minutes if minutes else float("inf")
        self._n_untrained = 0
        self._own: dict[int, _Asked] = {}
        self._listener = Listener(report=self._report, tick=self._tick)

    def run(self) -> str:
        """Return why the study ended, in words."""
        while True:
            why = self._fill()
            if why is not None and not self._own and not self._others_run():
                return why
            ended = self._workers.wait(self._listener)
            if ended is not None:
                self._end(ended)  # before a wish to stop is heeded: it is not trained again
            elif not any(asked.job for asked in self._own.values()):
                time.sleep(PAUSE_S)
            self._go_on()
            self._drivers.give_up_dead()

    def give_back(self) -> None:
        """Put the trials that have not ended in line again."""
        self._workers.close()  # before its checkpoints are read
        self._give_up(self._own, STOPPED)

    def _fill(self) -> str | None:
        """Give all free workers trials; return why no more begin, None if only workers lack."""
        while self._workers.n_free:
            self._go_on()
            waiting = [number for number, asked in self._own.items() if asked.job is None]
            if any(self._begin(number) for number in waiting):
                continue
            if len(waiting) > self._workers.n_free:
                return None
            why = self._spent()
            if why is not None:
                return why
            if not self._ask():
                return None
        # A study that is finished does not wait until its workers are ready.
        return None if self._own else self._spent()

    def _spent(self) -> str | None:
        budget = self._context.study.budget
        if not self._more_to_do():
            if not self._own and not self._others_run():
                remove_all(self._context)
            return f"all {budget.trials} trials of the budget are trained"
        if time.monotonic() > self._deadline:
            return f"the {budget.minutes:g} minutes of the budget are spent"
        if self._n_untrained >= MAX_UNTRAINED:
            if not self._own and not self._others_run():
                remove_all(self._context)
            return (
                f"the last {MAX_UNTRAINED} structures proposed were known already or out of"
                " bounds: the space holds no more"
            )
        return None

    def _more_to_do(self) -> bool:
        """Whether the budget has trials left, or a stopped one has come back: it counted before."""
        trials = self._stored.get_trials(deepcopy=False)
        running = [t for t in trials if t.state == TrialState.RUNNING]
        n_counting = n_trained(trials) + sum(RESUMES not in t.user_attrs for t in running)
        if n_counting < self._context.study.budget.trials:
            return True
        in_line = [trial for trial in trials if trial.state == TrialState.WAITING]
        if in_line:
            return RESUMES in in_line[0].user_attrs
        return returning(self._context, trials) is not None

    def _ask(self) -> bool:
        """Ask for a trial and begin it; return whether there is one to be asked for."""
        with self._drivers.turn():
            asked = next_trial(self._context, self._stored, self._go_on)
            if asked is None:
                return False
            trial, planned = asked
            self._own[trial.number] = _Asked(trial=trial, planned=planned)
            self._drivers.sign(trial)
            self._go_on()
            self._begin(trial.number)
        return True

    def _begin(self, number: int) -> bool:
        """Begin a trial unless an equal one is running; return whether it began."""
        asked = self._own[number]
        try:
            begun = begin(self._context, asked.trial, asked.planned)
        except OSError:
            raise  # of the machine, not of the structure
        except Exception as error:
            self._fail(number, error)
            raise
        if isinstance(begun, End):
            self._ended(number, begun)
            return True
        if equal_running(asked.trial):
            return False
        self._own[number] = _Asked(trial=asked.trial, planned=asked.planned, job=begun)
        self._workers.start(begun)
        return True

    def _end(self, ended: Ended) -> None:
        """Write down how a trial ended; a result of one that is not running any more is dropped."""
        asked, result = self._own.get(ended.number), ended.result
        if asked is None or asked.job is None:
            return
        if isinstance(result, OSError):
            raise result
        if isinstance(result, Exception):
            self._fail(ended.number, result)
            raise result
        if isinstance(result, Lost):
            self._give_up([ended.number], result.reason)
            return
        try:
            self._ended(ended.number, end(self._context, asked.trial, asked.job, result))
        except UpdateFinishedTrialError:
            # Another driver took us for dead, and the trial is run again: this result is late.
            del self._own[ended.number]

    def _ended(self, number: int, how: End) -> None:
        del self._own[number]
        untrained = how.twin is not None or (how.kind == "infeasible" and not how.history)
        self._n_untrained = self._n_untrained + 1 if untrained else 0
        self._observer.ended(self._stored, number, how)
        sweep(self._context, self._stored.get_trials(deepcopy=False))

    def _fail(self, number: int, error: Exception) -> None:
        """End a trial for a fault of ours, or of its structure, that must not bar the next run."""
        trial = self._own.pop(number).trial
        how = End(kind="failed", reason=f"{type(error).__name__}: {error}")
        finish(self._context, trial, how)
        self.give_back()

    def _give_up(self, numbers: "dict[int, _Asked] | list[int]", why: str) -> None:
        trials = self._stored.get_trials(deepcopy=False)
        own = list(numbers)
        give_up(self._context, self._stored, [trials[number] for number in own], why)
        for number in own:
            del self._own[number]
            if why != STOPPED:
                kind = self._stored.get_trials(deepcopy=False)[number].user_attrs["end"]
                self._observer.ended(self._stored, number, End(kind=kind, reason=why))

    def _report(self, number: int, epoch: EpochReport) -> bool:
        """Decide whether a trial goes on; one that is not ours any more does not."""
        asked = self._own.get(number)
        if asked is None or asked.job is None:
            return False
        try:
            stopping = self._context.study.stopping
            return decide(self._context, asked.trial, stopping, epoch, asked.job.costs)
        except UpdateFinishedTrialError:
            return False

    def _tick(self, number: int, n_done: int, n_steps: int) -> None:
        if number in self._own:
            self._observer.tick(number, n_done, n_steps)
        self._go_on()

    def _go_on(self, *_: int) -> None:
        if self._stopping():
            raise Interrupted

    def _others_run(self) -> bool:
        """Whether other drivers run trials of the study, which may yet have to be run again."""
        running = self._stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(trial.number not in self._own for trial in running)


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
