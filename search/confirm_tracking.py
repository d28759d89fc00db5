"""Confirmed results in MLflow: artifacts on the study's parent run, a child run a training.

A projection like search/tracking.py: Optuna's storage is the truth, what is there is found by its
tags, and an absent server costs a warning.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import optuna

from search.confirm_tables import as_csv, markdown
from search.confirmed import Confirmed, ConfirmedRun, confirmed, setting_of
from search.mlflow_client import (
    KIND_TAG,
    common_tags,
    find_experiment,
    find_runs,
    find_study_run,
    new_client,
    reason_of,
)
from search.study_file import StudySpec
from space.redaction import redacted

if TYPE_CHECKING:
    from mlflow.entities import Run, RunInfo
    from mlflow.tracking import MlflowClient

KIND = "confirm"
_NAMES = ("paradapt.confirm.key", "paradapt.confirm.seed", "paradapt.confirm.contract")
"""Tags that a training is found by."""


class ConfirmProjection:
    """Brings MLflow up to what is confirmed.

    Args:
        study: whose tracking store it is.
        warn: called once, with a line, if the store does not answer.
    """

    def __init__(self, study: StudySpec, warn: Callable[[str], None]) -> None:
        self._study = study
        self._warn = warn
        self._warned = False

    def update(self, stored: optuna.Study, *, again: bool = False) -> bool:
        """Log what is not there yet; return whether all of it is.

        A store that did not answer once is left alone, unless it is to be tried again: each call
        to one that is down takes seconds.
        """
        if self._warned and not again:
            return False
        try:
            _update(self._study, stored)
        except Exception as error:  # whatever a store throws: no training is lost to it
            if not self._warned:
                self._warned = True
                reason = reason_of(error)
                self._warn(
                    f"Tracking at {redacted(self._study.tracking)} failed ({reason}). The results"
                    " are kept; the same command logs them when tracking works again."
                )
            return False
        return True


def _update(study: StudySpec, stored: optuna.Study) -> None:
    client = new_client(study.tracking)
    experiment = find_experiment(client, study.name)
    parent = None
    if experiment is not None:
        parent = find_study_run(client, experiment.experiment_id, study.name)
    if parent is None:
        raise RuntimeError("it has no run of this study; `paradapt search` makes it")
    setting = setting_of(stored)
    assert setting is not None, "confirmed trainings have a setting"
    tags = {KIND_TAG: KIND, "mlflow.parentRunId": parent.info.run_id}
    known = {
        tuple(child.data.tags[name] for name in _NAMES): child.info
        for child in find_runs(client, parent.info.experiment_id, tags)
    }
    for point in confirmed(stored):
        for run in point.runs:
            names = (point.key, str(run.seed), setting["contract"])
            info = known.get(names)
            if info is None:
                info = _begun(client, parent, study, point, names)
            if info.status != "FINISHED":  # or a killed process left it half written
                _log(client, info, study, point, run)
    client.log_text(parent.info.run_id, as_csv(stored), "confirm.csv")
    client.log_text(parent.info.run_id, markdown(stored), "confirm.md")


def _begun(
    client: "MlflowClient",
    parent: "Run",
    study: StudySpec,
    point: Confirmed,
    names: tuple[str, str, str],
) -> "RunInfo":
    tags = common_tags(KIND, study.name) | dict(zip(_NAMES, names, strict=True))
    tags |= {
        "mlflow.parentRunId": parent.info.run_id,
        "mlflow.note.content": point.structure or point.title,
    }
    title = f"confirm {point.title}, seed {names[1]}"
    return client.create_run(parent.info.experiment_id, None, tags, title).info


def _log(
    client: "MlflowClient",
    info: "RunInfo",
    study: StudySpec,
    point: Confirmed,
    run: ConfirmedRun,
) -> None:
    from mlflow.entities import Metric, Param

    about = {
        "key": point.key,
        "seed": run.seed,
        "trial": point.trial,
        "baseline": point.baseline,
        "chosen_as": ", ".join(point.marks) or None,
    }
    client.log_batch(
        info.run_id,
        metrics=[
            Metric(_name(study, name), value, info.start_time, 0)
            for name, value in run.metrics.items()
            if math.isfinite(value)
        ],
        params=[Param(name, str(value)) for name, value in about.items() if value is not None],
    )
    client.set_terminated(info.run_id, "FINISHED")


def _name(study: StudySpec, metric: str) -> str:
    """Return what a metric is called: test scores must not be read as those of validation."""
    return f"test_{metric}" if metric in study.what.metrics else metric
