"""MLflow's model registry: an export becomes a version of a name, and its champion."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.mlflow_client import (
    TRIAL_TAG,
    find_experiment,
    find_study_run,
    find_trial_runs,
    new_client,
    reason_of,
)
from search.study_file import StudySpec
from space.errors import UserError
from space.redaction import redacted

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
"""The alias that points to the version exported last."""
REGISTERED_TAG = "paradapt.registered"
"""Of a trial's run and of the study's: the model version that was made of it."""
_NOT_IN_NAMES = "/:"


class Registry:
    """The registry beside a study's runs, asked for one trial.

    Args:
        study: the checked study file.
        trial: the number of the trial that is registered.
        name: of the registered model, which is made where there is none.

    Raises:
        UserError: the store does not answer, has no run of the trial, or refuses the name.
    """

    def __init__(self, study: StudySpec, trial: int, name: str) -> None:
        if not name.strip() or set(name) & set(_NOT_IN_NAMES):
            raise UserError(
                f"--register {name!r}: a registered model has a name without / and :, which part"
                " name and version where it is asked for."
            )
        self._place = redacted(study.tracking)
        self._name, self._trial = name, trial
        try:
            self._client = new_client(study.tracking)
            found = _runs_of(self._client, study.name, trial)
        except Exception as error:  # Whatever a store or a server throws means the same here.
            raise UserError(f"--register {name}: {self._told(error)}") from error
        if found is None:
            raise UserError(
                f"--register {name}: MLflow at {self._place} has no run of trial {trial};"
                " `paradapt search` on the finished study brings MLflow up to date."
            )
        self._parent, self._run = found

    def register(self, folder: Path) -> str:
        """Make an exported model the next version and the champion; return this in words.

        Args:
            folder: of the export; its files are copied to the store of the runs.

        Raises:
            UserError: the store refuses; the export is kept.
        """
        try:
            self._make_name()
            version = self._version_of(folder)
            number = str(version.version)
            self._client.set_registered_model_alias(self._name, CHAMPION, number)
            for run in (self._run, self._parent):
                self._client.set_tag(
                    run.info.run_id, REGISTERED_TAG, f"models:/{self._name}/{number}"
                )
        except Exception as error:
            raise UserError(
                f"--register {self._name}: {folder} is written, but not registered:"
                f" {self._told(error)}"
            ) from error
        return (
            f"in MLflow's registry it is version {number} of {self._name!r} and its {CHAMPION}:"
            f" models:/{self._name}@{CHAMPION}"
        )

    def _make_name(self) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

        try:
            self._client.create_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise

    def _version_of(self, folder: Path) -> "ModelVersion":
        """Log the folder as a model that the trial's run gave, and make it a version."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

        run_id = self._run.info.run_id
        origin = {TRIAL_TAG: str(self._trial)}
        model = self._client.create_logged_model(
            self._run.info.experiment_id, self._name, source_run_id=run_id, tags=origin
        )
        self._client.log_model_artifacts(model.model_id, str(folder))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        version = self._client.create_model_version(
            self._name,
            model.artifact_location,
            run_id=run_id,
            tags=origin,
            description=(folder / "README.md").read_text(encoding="utf-8"),
            model_id=model.model_id,
        )
        # By this MLflow's pages lead from the run's model to its version.
        link = json.dumps([{"name": self._name, "version": version.version}])
        self._client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: link})
        return version

    def _told(self, error: Exception) -> str:
        reason = reason_of(error)
        return f"MLflow at {self._place} refuses or does not answer ({reason})."


def _runs_of(client: "MlflowClient", study_name: str, trial: int) -> "tuple[Run, Run] | None":
    """Return the runs of a study and of its trial, None where one of them is not there."""
    experiment: Any = find_experiment(client, study_name)
    parent = experiment and find_study_run(client, experiment.experiment_id, study_name)
    if not parent:
        return None
    runs = find_trial_runs(client, experiment.experiment_id, parent.info.run_id)
    own = next((run for run in runs if run.data.tags[TRIAL_TAG] == str(trial)), None)
    return None if own is None else (parent, own)
