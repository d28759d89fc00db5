"""`paradapt search`: from a study file to a finished study, shown and tracked on the way."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna

from search.capacity import set_threads
from search.context import StudyContext, prepare
from search.driver import Interrupted, Observer, run_study
from search.ending import End, n_trained
from search.engine import open_workers
from search.facts import facts_of
from search.history import notices
from search.progress import Progress
from search.report.tracked import log_report
from search.snapshot import FACTS, STATUS, Status, StudySnapshot, next_commands, take_snapshot
from search.status import state_in_words
from search.store import only_driver, open_study, redacted
from search.study_file import StudySpec
from search.system_metrics import system_monitor
from search.tables import counts, counts_in_words, ended_in_words, front_table
from search.tracking import Projection
from search.tracking_thread import TrackingThread
from search.turns import shared_by_drivers
from search.workers import Workers

INTERRUPTED = 130
"""Exit status after Ctrl-C; everything is kept."""


def search(study: StudySpec, path: Path, progress: Progress, say: Callable[[str], None]) -> int:
    """Run, or go on with, a study; return the exit status.

    Args:
        study: the checked study file.
        path: where it is.
        progress: shows how the study gets on; closed before the results are said.
        say: takes the results.

    Raises:
        UserError: what the study file names is wrong; nothing was written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # our own lines say what matters
    folder = path.resolve().parent
    set_threads(study)
    context = prepare(study, folder, progress.stage, progress.write)
    for notice in (*context.data.notices, *notices(study.sampler, study.budget.trials)):
        progress.write(f"note: {notice}")
    progress.stage("opening the study")
    projection = Projection(study.tracking, study.name)
    stored = open_study(context, progress.write)
    with only_driver(context, shared=shared_by_drivers(study.storage)):
        progress.stage("starting the workers")
        with open_workers(context, folder, progress.write) as workers:
            status, why, tracked = _run(context, stored, workers, path, progress, projection)
    progress.close()
    say(f"\nThe study {study.name!r} is {status}: {why}.")
    say(counts_in_words(counts(stored)) + "\n")
    say(front_table(stored.get_trials(), stored.directions, study.objective_names))
    say("\nNext:\n" + "\n".join(f"  {command}" for command in next_commands(study, path)))
    if not tracked:
        say("\nMLflow's pages are not complete; the same search command makes up for it.")
    return INTERRUPTED if status == "interrupted" else 0


def _run(
    context: StudyContext,
    stored: optuna.Study,
    workers: Workers,
    path: Path,
    progress: Progress,
    projection: Projection,
) -> tuple[Status, str, bool]:
    study = context.study
    shown = redacted(study)
    stored.set_user_attr(FACTS, facts_of(context))
    tracking = TrackingThread(projection, warn=progress.write, measure=system_monitor())

    def take(status: Status) -> Callable[[], StudySnapshot]:
        return lambda: take_snapshot(stored, shown, path, status)

    def ended(stored: optuna.Study, number: int, end: End) -> None:
        trials = stored.get_trials(deepcopy=False)
        line = ended_in_words(number, trials[number], study.objective_names)
        progress.ended(line, n_trained(trials), state_in_words(stored), number)
        tracking.submit(take("running"))

    stored.set_user_attr(STATUS, "running")
    trials = stored.get_trials(deepcopy=False)
    progress.begin_trials(n_trained(trials), state_in_words(stored))
    tracking.submit(take("running"))
    status: Status = "interrupted"
    try:
        why = run_study(context, stored, Observer(tick=progress.tick, ended=ended), workers)
        status = "finished"
    except Interrupted:
        why = "the same command goes on with it"
    except BaseException:
        with suppress(OSError):  # of a storage that cannot be written: that is what is raised
            stored.set_user_attr(STATUS, status)
        tracking.close(take(status))
        raise
    stored.set_user_attr(STATUS, status)
    progress.stage("bringing MLflow up to date")
    tracked = tracking.close(take(status)) and log_report(stored, study, path, progress.write)
    return status, why, tracked
