"""Bring a study's MLflow pages up to date after a command that trains no trial."""

from collections.abc import Callable
from pathlib import Path

import optuna

from search.mlflow_client import reason_of
from search.snapshot import STATUS, Status, take_snapshot
from search.status import is_running
from search.store import redacted
from search.study_file import StudySpec
from search.tracking import Projection
from space.redaction import redacted as without_password


def refresh_pages(
    stored: optuna.Study, study: StudySpec, path: Path, tell: Callable[[str], None]
) -> None:
    """Draw the pages anew from the storage, where there are any.

    A search that runs meanwhile does so itself.

    Args:
        stored: the study in its storage.
        study: the checked study file.
        path: where it is.
        tell: is told, in a sentence, where the tracking store does not answer.
    """
    if is_running(study) or not _is_there(study.tracking):
        return
    finished = stored.user_attrs.get(STATUS) == "finished"
    status: Status = "finished" if finished else "interrupted"
    try:
        projection = Projection(study.tracking, study.name)
        projection.update(take_snapshot(stored, redacted(study), path, status))
    except (
        Exception
    ) as error:  # Whatever a store or a server throws: the command has done its work.
        reason = reason_of(error)
        tell(f"MLflow's pages at {without_password(study.tracking)} are not up to date ({reason}).")


def _is_there(tracking_uri: str) -> bool:
    file = tracking_uri.removeprefix("sqlite:///")
    return file == tracking_uri or Path(file).exists()
