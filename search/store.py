"""Optuna's storage as the truth of a study: create it, resume it, keep others out of it."""

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from search.environment import environment
from search.patient_storage import PatientStorage
from search.study_file import StudySpec
from search.turns import turn
from space.errors import UserError
from space.redaction import redacted as redacted_text

if TYPE_CHECKING:
    from search.context import StudyContext

CONTRACT = "contract"
"""Study attribute: all that must stay the same for trials to be comparable."""
STUDY_FILE = "study_file"
"""Study attribute: the resolved study file, as it was at the last start."""


def open_study(
    context: "StudyContext", tell: Callable[[str], None] = lambda _: None
) -> optuna.Study:
    """Create the study in its storage, or resume it if it is the same one.

    Args:
        context: the study.
        tell: takes a sentence for the user, whenever its database has to be waited for.

    Raises:
        UserError: the storage cannot be opened, or holds a study of this name that differs.
    """
    study = context.study
    with _readable_errors(study.storage), turn(study.storage, study.name):
        stored = optuna.create_study(
            study_name=study.name,
            storage=PatientStorage(study.storage, tell),
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
            f"storage: {redacted_text(study.storage)} holds a study {study.name!r} that"
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
    try:
        with _readable_errors(study.storage):
            database = make_url(study.storage).database
            if study.storage.startswith("sqlite") and not Path(database or "").exists():
                raise KeyError
            return optuna.load_study(study_name=study.name, storage=PatientStorage(study.storage))
    except KeyError as error:
        raise UserError(
            f"storage: {redacted_text(study.storage)} holds no study {study.name!r} yet;"
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
            f"storage: {redacted_text(storage)} cannot be opened ({cause}). Write for example"
            " sqlite:///paradapt.db; its folder must exist and be writable."
        ) from error


def redacted(study: StudySpec) -> StudySpec:
    """Return the study without the passwords of its URLs, for all that others can read."""
    return study.model_copy(
        update={
            "storage": redacted_text(study.storage),
            "tracking": redacted_text(study.tracking),
        }
    )


@contextmanager
def only_driver(context: "StudyContext", *, shared: bool = False) -> Iterator[None]:
    """Hold the study's locks, so that no second command runs trials of it.

    One lies with its weights, one beside an SQLite database, which stands one writer only: two
    study files may keep their weights apart.

    Args:
        context: the study.
        shared: let others in that share it too: on a storage that stands several writers.

    Raises:
        UserError: another command holds one of them.
    """
    with ExitStack() as locks:
        for key, path in _locks_of(context).items():
            locks.enter_context(_locked(context.study, key, path, shared=shared))
        yield


def _locks_of(context: "StudyContext") -> dict[str, Path]:
    """Return the lock files of a study, by the key of the study file that says where they are."""
    study, url = context.study, make_url(context.study.storage)
    locks = {"artifacts": context.weights_folder / "driver.lock"}
    if url.get_backend_name() == "sqlite" and url.database:
        locks["storage"] = Path(f"{url.database}.{study.name}.lock")
    return locks


@contextmanager
def _locked(study: StudySpec, key: str, path: Path, *, shared: bool) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+")
    except OSError as error:
        raise UserError(f"{key}: {path.parent} cannot be written ({error}).") from error
    with opened as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise UserError(
                f"The study {study.name!r} is being run by another `paradapt search` or"
                f" `paradapt confirm` (process {file.read().strip() or 'unknown'})."
                " Wait for it, or stop it first. Several searches share a study whose storage is"
                " PostgreSQL (postgresql+psycopg://...)."
            ) from error
        try:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        except OSError as error:  # a full disk: its own words do not say which
            raise OSError(error.errno, error.strerror, str(path)) from error
        yield  # the lock goes with the file, also when the process is killed
