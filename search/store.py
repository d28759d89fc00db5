"""Optuna's storage as the truth of a study: create it, resume it, keep others out of it."""

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from search.ending import tell_end
from search.environment import environment
from search.granularity import GRANULARITY
from search.lineage import RESUMES
from search.starting_points import STARTING_POINT
from search.study_file import StudySpec
from space.errors import UserError

if TYPE_CHECKING:
    from search.context import StudyContext

CONTRACT = "contract"
"""Study attribute: all that must stay the same for trials to be comparable."""
STUDY_FILE = "study_file"
"""Study attribute: the resolved study file, as it was at the last start."""
KEPT_FOR_RETRY = (RESUMES, STARTING_POINT, GRANULARITY)
"""Trial attributes that say how a trial is to be run, and hold when it is run again."""


def open_study(context: "StudyContext") -> optuna.Study:
    """Create the study in its storage, or resume it if it is the same one.

    Raises:
        UserError: the storage cannot be opened, or holds a study of this name that differs.
    """
    study = context.study
    with _readable_errors(study.storage):
        stored = optuna.create_study(
            study_name=study.name,
            storage=study.storage,
            directions=[StudyDirection[way.upper()] for way in study.directions],
            load_if_exists=True,
        )
        if CONTRACT not in stored.user_attrs:
            _check_unused(stored, study)
            stored.set_metric_names(list(study.objective_names))
            stored.set_user_attr("labels", list(context.data.labels))
            stored.set_user_attr(CONTRACT, contract_of(context))
        check_contract(stored, context)
        stored.set_user_attr(STUDY_FILE, redacted(study).to_yaml())
        stored.set_user_attr("environment", environment())
    return stored


def _check_unused(stored: optuna.Study, study: StudySpec) -> None:
    """Raise UserError where a study of this name was not made by Paradapt."""
    ways = [way.name.lower() for way in stored.directions]
    if ways != list(study.directions) or stored.get_trials(deepcopy=False):
        raise UserError(
            f"storage: {_without_password(study.storage)} holds a study {study.name!r} that"
            " Paradapt did not begin. Change `name` (or `storage`)."
        )


def check_contract(stored: optuna.Study, context: "StudyContext") -> None:
    """Raise UserError, naming each difference, unless the study was begun with the same."""
    known, wanted = stored.user_attrs[CONTRACT], contract_of(context)
    if known != wanted:
        raise UserError(_differences(known, wanted, context.study))


def load_study(study: StudySpec) -> optuna.Study:
    """Return a study that exists, to read from.

    Raises:
        UserError: the storage cannot be opened or does not hold it.
    """
    database = make_url(study.storage).database
    missing = study.storage.startswith("sqlite") and not Path(database or "").exists()
    try:
        if missing:
            raise KeyError
        with _readable_errors(study.storage):
            return optuna.load_study(study_name=study.name, storage=study.storage)
    except KeyError as error:
        raise UserError(
            f"storage: {_without_password(study.storage)} holds no study {study.name!r} yet;"
            " run `paradapt search` on the study file first."
        ) from error


def contract_of(context: "StudyContext") -> dict[str, Any]:
    """Return, as plain data, what trials must have in common to be compared."""
    study = context.study
    contract: dict[str, Any] = _plain(
        {
            "task": study.task,
            "backbone": f"{study.backbone} {context.backbone.fingerprint}",
            "data": context.data.fingerprint,
            "data.max_length": study.data.max_length,
            "data.label_separator": study.data.label_separator,
            "objectives": [dict(objective) for objective in study.objectives],
            "constraints": [bound.describe() for bound in study.bounds],
            "budget.epochs": study.budget.epochs,
            "training.batch_size": study.training.batch_size,
            "training.exit_tolerance": study.training.exit_tolerance,
            "seed": study.seed,
            **{f"space.{key}": value for key, value in asdict(context.space).items()},
        }
    )
    return contract


def _plain(value: Any) -> Any:
    """Return a value as JSON would give it back: tuples are lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _differences(known: dict[str, Any], wanted: dict[str, Any], study: StudySpec) -> list[str]:
    differing = [key for key in {**known, **wanted} if known.get(key) != wanted.get(key)]
    return [
        f"{key}: the study {study.name!r} was begun with {_shown(known.get(key))}, but the study"
        f" file now says {_shown(wanted.get(key))}."
        for key in differing
    ] + [
        "Its trials could not be compared. Take the change back to go on with it, or begin a new"
        " study: change `name` (or `storage`)."
    ]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."


@contextmanager
def _readable_errors(storage: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    except (SQLAlchemyError, ImportError, ValueError, optuna.exceptions.OptunaError) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise UserError(
            f"storage: {_without_password(storage)} cannot be opened ({cause}). Write for example"
            " sqlite:///paradapt.db; its folder must exist and be writable."
        ) from error


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return url.rpartition("@")[2]


def redacted(study: StudySpec) -> StudySpec:
    """Return the study without the passwords of its URLs, for all that others can read."""
    return study.model_copy(
        update={
            "storage": _without_password(study.storage),
            "tracking": _without_password(study.tracking),
        }
    )


@contextmanager
def only_driver(context: "StudyContext") -> Iterator[None]:
    """Hold the study's lock, so that no second command runs trials of it on this machine.

    Raises:
        UserError: another command holds it.
    """
    path = context.weights_folder / "driver.lock"
    try:
        context.weights_folder.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+")
    except OSError as error:
        raise UserError(
            f"artifacts: {context.weights_folder} cannot be written ({error})."
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise UserError(
                f"The study {context.study.name!r} is being run by another `paradapt search` or"
                f" `paradapt confirm` (process {file.read().strip() or 'unknown'})."
                " Wait for it, or stop it first."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield  # the lock goes with the file, also when the process is killed


def recover(stored: optuna.Study, objectives: tuple[str, ...]) -> None:
    """Bring trials to an end that a killed process left running.

    One whose end was written is told so, nothing of it being lost. Any other is marked as
    interrupted, and its parameters are put in line to be run again.
    """
    for trial in stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("end", "interrupted") == "interrupted":
            interrupt(stored, trial)
        else:
            tell_end(stored, trial.number, trial.user_attrs, objectives)


def interrupt(stored: optuna.Study, trial: FrozenTrial) -> None:
    """Mark a running trial as interrupted and put its parameters in line again.

    A baseline is not put in line: those that are missing are begun anyhow.
    """
    storage = stored._storage
    storage.set_trial_user_attr(trial._trial_id, "end", "interrupted")
    storage.set_trial_user_attr(trial._trial_id, "reason", "the process ended in the middle of it")
    stored.tell(trial.number, state=TrialState.FAIL)
    if "baseline" not in trial.user_attrs and trial.params:
        kept = {k: v for k, v in trial.user_attrs.items() if k in KEPT_FOR_RETRY}
        stored.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number, **kept})
