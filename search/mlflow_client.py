"""MLflow's client as the search needs it: quiet, without telemetry, and quick to give up.

MLflow is imported here and only when a client is asked for: the import takes seconds. Its fluent
interface (an active run, a global tracking URI) is not used anywhere.
"""

import getpass
import logging
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from space.errors import UserError
from space.redaction import redacted

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run
    from mlflow.tracking import MlflowClient

STUDY_TAG, KIND_TAG = "paradapt.study", "paradapt.kind"
TRIAL_TAG, END_TAG = "paradapt.trial", "paradapt.end"

ENVIRONMENT = {
    # With its defaults a call to a dead server blocks for 246 s. Retries are left to whoever
    # calls: each one of MLflow's prints a warning of its own.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Or it copies the user's own pyproject.toml and uv.lock into a model.
    "MLFLOW_UV_AUTO_DETECT": "false",
}
"""Set for this process wherever the user did not set them."""


def import_mlflow() -> None:
    """Import MLflow in its quiet form, so that it costs no time later."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow.tracking  # noqa: F401

    # It writes the whole traceback of what it raises, such as a full disk, where all can read it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def new_client(tracking_uri: str) -> "MlflowClient":
    """Return a client; a database is connected to and brought up to date, a server is not.

    Raises:
        mlflow.exceptions.MlflowException: the database cannot be used.
    """
    import_mlflow()
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def reason_of(error: Exception) -> str:
    """Return in one line, without passwords, why a store or a server failed."""
    # What a database says itself: MLflow's words hold the statement too.
    said = getattr(error.__cause__, "orig", None) or error
    return " ".join(redacted(str(said)).split())[:240]


def is_remote(tracking_uri: str) -> bool:
    """Whether the URI names a tracking server, which keeps the artifacts itself."""
    return tracking_uri.startswith(("http://", "https://"))


def artifact_folder(tracking_uri: str, artifact_root: Path | None) -> Path | None:
    """Return the folder for artifacts: the given one, or one beside an SQLite database.

    None for a tracking server.

    Raises:
        UserError: a database elsewhere, and no folder is given.
    """
    if is_remote(tracking_uri):
        return None
    if artifact_root is not None:
        return artifact_root.resolve()
    if tracking_uri.startswith("sqlite:///"):
        database = Path(tracking_uri.removeprefix("sqlite:///")).resolve()
        return database.parent / f"{database.stem}-artifacts"
    raise UserError(
        f"The tracking store `{redacted(tracking_uri)}` keeps no files: artifacts need a folder,"
        " or a tracking server (http://...)."
    )


def check_database_folder(tracking_uri: str) -> None:
    """Raise UserError where an SQLite database would be in a folder that is not there.

    MLflow would fail in the middle of the study, and nothing would be tracked.
    """
    if not tracking_uri.startswith("sqlite:///"):
        return
    folder = Path(tracking_uri.removeprefix("sqlite:///")).resolve().parent
    if not folder.is_dir():
        raise UserError(
            f"tracking: {redacted(tracking_uri)} cannot be opened (there is no folder {folder})."
            " Make the folder, or write for example sqlite:///mlflow.db."
        )


def common_tags(kind: str, study_name: str) -> dict[str, str]:
    """Return what every run of ours is found by, and who made it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # A container whose user id has no name.
        user = "unknown"
    mlflows = {"mlflow.user": user, "mlflow.source.name": "paradapt"}
    return mlflows | {KIND_TAG: kind, STUDY_TAG: study_name}


def to_ms(moment: datetime | None) -> int | None:
    """Return a local time as MLflow keeps times: milliseconds since 1970."""
    return None if moment is None else int(moment.timestamp() * 1000)


def find_experiment(client: "MlflowClient", study_name: str) -> "Experiment | None":
    """Return the experiment of a study, also a deleted one, or None."""
    return client.get_experiment_by_name(study_name)


def find_study_run(client: "MlflowClient", experiment_id: str, study_name: str) -> "Run | None":
    """Return the parent run of a study, the oldest where there are several, or None."""
    return next(
        iter(_runs(client, experiment_id, {KIND_TAG: "study", STUDY_TAG: study_name})), None
    )


def find_trial_runs(client: "MlflowClient", experiment_id: str, parent_id: str) -> "list[Run]":
    """Return the child runs of a study, oldest first."""
    return list(_runs(client, experiment_id, {KIND_TAG: "trial", "mlflow.parentRunId": parent_id}))


def find_runs(client: "MlflowClient", experiment_id: str, tags: dict[str, str]) -> "list[Run]":
    """Return the runs that have all these tags, oldest first."""
    return list(_runs(client, experiment_id, tags))


def _runs(client: "MlflowClient", experiment_id: str, tags: dict[str, str]) -> "Iterator[Run]":
    # A quote in a value cannot be escaped in MLflow's filters: such a value is compared here.
    terms = [f"tags.`{name}` = '{value}'" for name, value in tags.items() if "'" not in value]
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            filter_string=" and ".join(terms),
            order_by=["attributes.start_time ASC"],
            max_results=500,
            page_token=token,
        )
        yield from (run for run in page if tags.items() <= run.data.tags.items())
        token = page.token
        if not token:
            return
