"""`paradapt confirm`: train chosen points anew on several seeds, score them once on the test split.

All rows of training and validation are trained on, for the study's epochs; `data.rows` holds as in
the search. Every training that ended is kept at once in the study's storage, under a contract: what
was trained and scored, so that results of other rows are never mixed with these. Seeds are those
behind the study's own, which the search has seen.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from search.confirm_full_rate import choose_full_rate
from search.confirm_points import Point, compared_metric, marks_now, points_of, usual_marks
from search.confirm_tables import as_json as as_json_of
from search.confirm_tables import in_words
from search.confirm_tracking import ConfirmProjection
from search.confirm_training import Confirmation, open_sealed, train_point
from search.confirmed import CONFIRM, PREFIX, ConfirmedRun, confirmed
from search.context import StudyContext, prepare
from search.driver import Interrupted, interruptible
from search.objectives import formatted
from search.progress import Progress
from search.references import FULL
from search.refresh import refresh_pages
from search.report.tracked import log_report
from search.store import check_contract, load_study, only_driver
from search.study_file import StudySpec
from space.errors import TrialError, UserError
from trainers.fit import Tick
from trainers.full import FULL_RATES, full_learning

OK, FAILED, INTERRUPTED = 0, 1, 130
"""Exit statuses: all was trained; some training failed; Ctrl-C, with everything kept."""
FORMAT = 1
"""Of what is stored, and of how it came about."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for."""

    n_seeds: int
    choices: Sequence[str]
    """As `--select` takes them; none: the default ones."""
    full_fine_tuning: bool
    tfidf: bool


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """How the trainings ended."""

    interrupted: bool
    failed: tuple[str, ...]
    """A sentence for each training that failed."""
    tracked: bool
    """Whether MLflow has all of it."""


def confirm(
    study: StudySpec,
    path: Path,
    request: Request,
    progress: Progress,
    say: Callable[[str], None],
    *,
    as_json: bool = False,
) -> int:
    """Train what is not confirmed yet, say what all of it gave, and return the exit status.

    Args:
        study: the checked study file.
        path: where it is.
        request: what is confirmed, and how often.
        progress: shows how it gets on; closed before the results are said.
        say: takes the results.
        as_json: say them for scripts.

    Raises:
        UserError: no test split, no complete trial, a choice that nothing fits, or a study that
            was begun with another file.
    """
    _check_test(study)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    stored = load_study(study)
    points = points_of(
        stored,
        study,
        request.choices,
        full_fine_tuning=request.full_fine_tuning,
        tfidf=request.tfidf,
    )
    context = prepare(study, path.resolve().parent, progress.stage, progress.write)
    check_contract(stored, context)
    progress.stage("reading the test split")
    shared = open_sealed(context)
    for notice in shared.test.notices:
        progress.write(f"note: {notice}")
    with only_driver(context):
        seeds = [study.seed + 1 + place for place in range(request.n_seeds)]
        _note_setting(stored, shared, points, seeds, progress)
        ended = _train_all(stored, context, shared, points, seeds, progress)
    progress.stage("bringing MLflow up to date")
    refresh_pages(stored, study, path, progress.write)
    tracked = ended.tracked and log_report(stored, study, path, progress.write)
    if ended.interrupted:
        progress.write("interrupted: the same command goes on.")
    if not tracked:
        progress.write("note: MLflow does not have all of it; the same command makes up for it.")
    progress.close()
    say(json.dumps(as_json_of(stored), indent=2) if as_json else "\n" + in_words(stored))
    if ended.interrupted:
        return INTERRUPTED
    return FAILED if ended.failed else OK


def _check_test(study: StudySpec) -> None:
    if study.data.test is not None or study.data.test_share is not None:
        return
    file = "`data.test: FILE` with rows that it did not see, and the study goes on as it is; or "
    raise UserError(
        f"data.test: the study {study.name!r} names no test split, and rows that the search saw"
        f" confirm nothing. Write {file if study.data.train else ''}`data.test_share: 0.2`, which"
        " seals off that share of the rows, and search anew under another `name`."
    )


def _note_setting(
    stored: optuna.Study,
    shared: Confirmation,
    points: Sequence[Point],
    seeds: Sequence[int],
    progress: Progress,
) -> None:
    """Write what all trainings have in common; tell of results that it leaves behind.

    Points that were confirmed before, and are not asked for now, stay known.
    """
    context, before = shared.context, stored.user_attrs.get(CONFIRM, {})
    content = {
        "format": FORMAT,
        "test": shared.test.fingerprint,
        "data": context.data.fingerprint,
        "max_length": context.study.data.max_length,
        "epochs": context.study.budget.epochs,
        "batch_size": context.study.training.batch_size,
        "full_learning": [asdict(full_learning(rate)) for rate in FULL_RATES],
    }
    contract = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    known: dict[str, Any] = {}
    all_seeds = set(seeds)
    if before.get("contract") == contract:
        known, all_seeds = before["points"], all_seeds | set(before["seeds"])
    elif before:
        progress.write(
            "note: what was confirmed before was of other test rows or another way to train; it is"
            " left aside, and trained anew."
        )
    metric = compared_metric(context.study)
    holds = usual_marks(stored, context.study)
    both = {**known, **{point.key: point.about(metric) for point in points}}
    for key, about in both.items():
        marks = [*about["marks"], *known.get(key, about)["marks"]]
        both[key] = {**about, "marks": list(marks_now(marks, holds.get(about["trial"], ())))}
    # Chosen points come first, whoever was asked for first.
    ordered = sorted(both, key=lambda key: (not both[key]["marks"], both[key]["trial"] is None))
    stored.set_user_attr(
        CONFIRM,
        {
            "contract": contract,
            "metric": metric,
            "n_train": len(context.train),
            "n_test": len(context.validation),
            "test_fingerprint": shared.test.fingerprint,
            "seeds": sorted(all_seeds),
            "backbone_params": context.backbone.n_params,
            "points": {key: both[key] for key in ordered},
        },
    )


def _train_all(
    stored: optuna.Study,
    context: StudyContext,
    shared: Confirmation,
    points: Sequence[Point],
    seeds: Sequence[int],
    progress: Progress,
) -> _Ended:
    """Train each point on the first seed, then on the second, ..., so that all are known early."""
    done = {(c.key, run.seed) for c in confirmed(stored) for run in c.runs}
    wanted = [(point, seed) for seed in seeds for point in points]
    left = [(point, seed) for point, seed in wanted if (point.key, seed) not in done]
    n_done = len(wanted) - len(left)
    failed: list[str] = []
    tracking = ConfirmProjection(shared.context.study, progress.write)
    progress.begin_trials(n_done, "", n_trials=len(wanted))
    with interruptible() as stopping:
        for point, seed in left:
            name = f"{point.title}, seed {seed}"
            tick = _ticker(name, progress, stopping)
            try:
                with _plain_interrupt():
                    tick(0, 1)
                    if point.key == FULL and shared.full_rate is None:
                        rate = choose_full_rate(stored, context, tick, progress.write)
                        shared = replace(shared, full_rate=rate)
                    run = train_point(shared, point, seed, tick)
            except Interrupted:
                tracked = tracking.update(stored, again=True)
                return _Ended(interrupted=True, failed=tuple(failed), tracked=tracked)
            except TrialError as error:
                failed.append(f"{name} failed: {error}.")
                progress.write(failed[-1])
                continue
            _keep(stored, run)
            n_done += 1
            progress.ended(_in_words(name, run, shared.context), n_done, "")
            tracking.update(stored)
    progress.stage("bringing MLflow up to date")
    tracked = tracking.update(stored, again=True)
    return _Ended(interrupted=False, failed=tuple(failed), tracked=tracked)


def _ticker(name: str, progress: Progress, stopping: Callable[[], bool]) -> Tick:
    def tick(n_done: int, n_steps: int) -> None:
        progress.tick(name, n_done, n_steps)
        if stopping():
            raise Interrupted

    return tick


@contextmanager
def _plain_interrupt() -> Iterator[None]:
    """Turn what Lightning makes of a second Ctrl-C back into one."""
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error


def _keep(stored: optuna.Study, run: ConfirmedRun) -> None:
    contract = stored.user_attrs[CONFIRM]["contract"]
    stored.set_user_attr(f"{PREFIX}{run.key}.{run.seed}", {**run.to_json(), "contract": contract})


def _in_words(name: str, run: ConfirmedRun, context: StudyContext) -> str:
    metric = compared_metric(context.study)
    score = formatted(metric, run.metrics[metric])
    return f"{name}: {metric} {score} on the test split, trained in {run.metrics['train_s']:.0f} s"
