"""The report among the artifacts of the study's parent run in MLflow."""

from collections.abc import Callable
from pathlib import Path

import optuna

from search.mlflow_client import find_experiment, find_study_run, new_client, reason_of
from search.report.report import report_html
from search.study_file import StudySpec
from space.redaction import redacted

ARTIFACT = "report.html"


def log_report(
    stored: optuna.Study, study: StudySpec, path: Path, warn: Callable[[str], None]
) -> bool:
    """Log the report, in English, as it would be written now; return whether it is there.

    Args:
        stored: the study in its storage.
        study: the checked study file.
        path: where it is.
        warn: called with a line where it was not logged: the store does not answer, or has no run
            of this study.
    """
    try:
        page = report_html(stored, study, "en", path.name)
        client = new_client(study.tracking)
        experiment = find_experiment(client, study.name)
        parent = experiment and find_study_run(client, experiment.experiment_id, study.name)
        if not parent:
            raise RuntimeError("it has no run of this study; `paradapt search` makes it")
        client.log_text(parent.info.run_id, page, ARTIFACT)
    except Exception as error:  # whatever is thrown: hours of search do not end in a traceback
        reason = reason_of(error)
        warn(f"{ARTIFACT} was not logged at {redacted(study.tracking)} ({reason}).")
        return False
    return True
