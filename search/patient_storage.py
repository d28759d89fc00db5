"""Optuna's storage in a database, with patience where that is away for a while."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import optuna
from optuna.storages import RDBStorage

from search.patience import Patience


class PatientStorage(RDBStorage):
    """A storage in a database whose every call waits for that to answer.

    Opening it does not: a wrong URL or password is told at once. What may be done twice where a
    database restarts between a commit and its answer is harmless: a trial that nobody runs is run
    again (search/retries.py), an attribute is written twice, and an end that was told already is
    refused by Optuna.

    Args:
        url: SQLAlchemy's, of the database.
        tell: takes sentences for the user.

    Raises:
        SQLAlchemyError: it cannot be opened.
    """

    def __init__(self, url: str, tell: Callable[[str], None] = lambda _: None) -> None:
        self.patience = Patience(url, tell)
        super().__init__(url)


def patience_of(stored: optuna.Study) -> Patience:
    """Return the patience of a study's storage."""
    backend = stored._storage._backend  # type: ignore[attr-defined]
    assert isinstance(backend, PatientStorage)
    return backend.patience


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    @wraps(method)
    def call(self: PatientStorage, *args: Any, **options: Any) -> Any:
        return self.patience.run(lambda: method(self, *args, **options))

    return call


CALLS = (
    "_create_new_trial",
    "_get_trials",
    "_set_trial_param",
    "create_new_study",
    "get_all_studies",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
)
"""What Optuna's cache, which stands before the storage, calls of it for a study."""

for _name in CALLS:
    setattr(PatientStorage, _name, _patient(_name))
