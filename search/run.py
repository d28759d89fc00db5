"""`paradapt search`: from a study file to a finished study, shown and tracked on the way."""

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import optuna

from search.context import StudyContext, environment, prepare
from search.driver import Interrupted, Observer, run_study
from search.ending import End, n_trained
from search.front import pareto_front
from search.progress import Progress
from search.store import STUDY_FILE, only_driver, open_study, redacted
from search.study_file import StudySpec
from search.tables import counts, counts_in_words, ended_in_words, front_table
from search.tracking import Projection, Status, StudySnapshot
from search.tracking_thread import TrackingThread

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
    context = prepare(study, path.resolve().parent, progress.stage, progress.write)
    for notice in context.data.notices:
        progress.write(f"note: {notice}")
    progress.stage("opening the study")
    projection = Projection(study.tracking, study.name)
    stored = open_study(context)
    with only_driver(context):
        status, why, tracked = _run(context, stored, path, progress, projection)
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
    path: Path,
    progress: Progress,
    projection: Projection,
) -> tuple[Status, str, bool]:
    study = context.study
    tracking = TrackingThread(projection, warn=progress.write)

    def ended(stored: optuna.Study, number: int, end: End) -> None:
        trials = stored.get_trials(deepcopy=False)
        line = ended_in_words(number, trials[number], study.objective_names)
        progress.ended(line, n_trained(trials), _state(stored))
        tracking.submit(_snapshot(context, stored, path, "running"))

    progress.begin_trials(n_trained(stored.get_trials(deepcopy=False)), _state(stored))
    tracking.submit(_snapshot(context, stored, path, "running"))
    status: Status = "finished"
    try:
        why = run_study(context, stored, Observer(tick=progress.tick, ended=ended))
    except Interrupted:
        status, why = "interrupted", "the same command goes on with it"
    except BaseException:
        tracking.close(_snapshot(context, stored, path, "interrupted"))
        raise
    progress.stage("bringing MLflow up to date")
    return status, why, tracking.close(_snapshot(context, stored, path, status))


def _state(stored: optuna.Study) -> str:
    numbers = counts(stored)
    front = pareto_front(stored.get_trials(deepcopy=False), stored.directions)
    return f"{numbers['pruned']} pruned, {numbers['failed']} failed, front of {len(front)}"


def _snapshot(
    context: StudyContext, stored: optuna.Study, path: Path, status: Status
) -> StudySnapshot:
    study = redacted(context.study)
    params = {
        "task": study.task,
        "backbone": study.backbone,
        "backbone_fingerprint": context.backbone.fingerprint,
        "data_fingerprint": context.data.fingerprint,
        "n_train": len(context.train),
        "n_validation": len(context.validation),
        "n_outputs": context.n_outputs,
        "tokens_mean": round(context.tokens.mean, 2),
        "objectives": ", ".join(
            f"{way} {name}" for o in study.objectives for way, name in o.items()
        ),
        "constraints": ", ".join(bound.describe() for bound in study.bounds) or "none",
        "sampler": study.sampler,
        "pruner": study.pruner,
        "trials": study.budget.trials,
        "epochs": study.budget.epochs,
        "seed": study.seed,
        "precision": context.engine.precision,
        "attention": context.engine.attention,
        **{f"version.{name}": value for name, value in environment().items()},
    }
    return StudySnapshot(
        study_name=study.name,
        names=study.objective_names,
        directions=tuple(stored.directions),
        trials=tuple(stored.get_trials()),
        study_yaml=stored.user_attrs[STUDY_FILE],
        params=params,
        status=status,
        question=(
            f"Which adapter structures on {study.backbone} give the best trade between"
            f" {' and '.join(study.objective_names)} for this data?"
        ),
        next_commands=next_commands(study, path),
    )


def next_commands(study: StudySpec, path: Path) -> tuple[str, ...]:
    """Return the commands that a reader would give next, ready to be pasted."""
    command = this_command()
    output = f"{study.name.replace(' ', '-')}-knee"
    sample = path.with_name(f"{study.data.source}-rows.csv")
    rows = study.data.train or (str(sample) if sample.exists() else "your-rows.csv")
    return tuple(
        shlex.join([command, *words])
        for words in (
            ["ui", str(path)],
            ["export", str(path), "--select", "knee", "--output", output],
            ["predict", output, "--input", rows, "--output", f"{output}-predictions.csv"],
        )
    )


def this_command() -> str:
    """Return how the user called us: the bare name where the shell finds it, else the path."""
    called = Path(sys.argv[0])
    if called.name != "paradapt" or shutil.which("paradapt") == str(called.absolute()):
        return "paradapt"
    return str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)
