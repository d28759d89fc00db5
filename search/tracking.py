"""The MLflow projection of a study: one parent run, one child run a trial, artifacts.

Optuna's storage is the truth. A projection can be made anew or brought up to date at any time,
by any process, and as often as wished: what is there already is found by its tags and left alone.
Every logged point has the time of the epoch or trial that made it, so that a run that a killed
process left half written is completed without a second point.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

from search.child_runs import MAX_PARAM, MAX_TAG, begin_run, fill_run
from search.experiment_view import dress_experiment, view_address
from search.mlflow_client import (
    TRIAL_TAG,
    artifact_folder,
    check_database_folder,
    common_tags,
    find_experiment,
    find_study_run,
    find_trial_runs,
    import_mlflow,
    new_client,
    to_ms,
)
from search.moments import end_of
from search.note import note
from search.pages.pareto import pareto_csv
from search.pages.table import FIRST_PAGE, PAGES
from search.pages.words import trial_end
from search.snapshot import StudySnapshot
from search.volume import volume_so_far
from space.redaction import redacted

if TYPE_CHECKING:
    from mlflow.entities import Run

PAGES_EVERY_S = 24.0
"""The least time between two drawings of all pages while a study runs; the first page alone is
drawn at every update."""

_RUN_STATUS = {"running": "RUNNING", "finished": "FINISHED", "interrupted": "KILLED"}
_ENDS = ("complete", "pruned", "failed", "infeasible", "interrupted")
_MAX_DIGEST = 36  # of a data set, in MLflow


class Projection:
    """The MLflow runs of one study. Not for several threads at once.

    Args:
        tracking_uri: a tracking server (`http://...`) or a database (`sqlite:///...`).
        study_name: the study's name; the experiment has the same.
        artifact_root: the folder for artifacts of a local store; None puts it beside an SQLite
            database. A server keeps artifacts itself.

    Raises:
        UserError: a database elsewhere without a folder for artifacts, or one in a folder that
            does not exist.
    """

    def __init__(
        self, tracking_uri: str, study_name: str, artifact_root: Path | None = None
    ) -> None:
        check_database_folder(tracking_uri)
        self._folder = artifact_folder(tracking_uri, artifact_root)
        self._study_name = study_name
        self.place = redacted(tracking_uri)
        self._tracking_uri = tracking_uri
        import_mlflow()
        self._parent: Run | None = None
        self._begun: dict[int, str] = {}
        self._done: set[int] = set()
        self._written: dict[str, object] = {}
        self._drawn_s = float("-inf")

    def update(self, snapshot: StudySnapshot) -> None:
        """Bring the runs up to the snapshot; calling it again with the same changes nothing.

        Raises:
            mlflow.exceptions.MlflowException: the store or server does not answer or refuses.
        """
        try:
            if self._parent is None:
                self._client = new_client(self._tracking_uri)
                self._parent = self._make_parent(self._make_experiment(snapshot), snapshot)
            finished = [trial for trial in snapshot.trials if trial.state.is_finished()]
            self._log_trials(self._parent, snapshot)
            self._log_study(self._parent, snapshot, finished)
        except Exception:
            # What is there now is looked up again: someone may have deleted a run.
            self._parent = None
            raise

    def log_system(self, metrics: Mapping[str, float]) -> None:
        """Log what the machine does now on the parent run; nothing before the first update."""
        if self._parent is None or not metrics:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(key, value, now, now // 1000) for key, value in metrics.items()]
        self._client.log_batch(self._parent.info.run_id, metrics=points)

    @property
    def run_id(self) -> str | None:
        """The id of the parent run, None before the first update."""
        return self._parent.info.run_id if self._parent else None

    def _make_experiment(self, snapshot: StudySnapshot) -> str:
        experiment = find_experiment(self._client, self._study_name)
        if experiment is None:
            location = None if self._folder is None else self._folder.as_uri()
            self._client.create_experiment(self._study_name, location)
            experiment = find_experiment(self._client, self._study_name)
            assert experiment is not None
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        maximize = snapshot.directions[0].name == "MAXIMIZE"
        dress_experiment(
            self._client,
            experiment,
            snapshot.names,
            maximize=maximize,
            question=snapshot.question,
        )
        return str(experiment.experiment_id)

    def _make_parent(self, experiment_id: str, snapshot: StudySnapshot) -> "Run":
        run = find_study_run(self._client, experiment_id, self._study_name)
        if run is None:
            starts = [to_ms(trial.datetime_start) for trial in snapshot.trials]
            run = self._client.create_run(
                experiment_id,
                start_time=min((start for start in starts if start), default=None),
                tags=common_tags("study", self._study_name),
                run_name=self._study_name,
            )
        self._begun, self._done, self._written = {}, set(), {}
        for child in find_trial_runs(self._client, experiment_id, run.info.run_id):
            number = int(child.data.tags[TRIAL_TAG])
            self._begun[number] = child.info.run_id
            # A run that still counts as running was left half written by a killed process.
            if child.info.status != "RUNNING":
                self._done.add(number)
        return run

    def _log_trials(self, parent: "Run", snapshot: StudySnapshot) -> None:
        """Begin the runs of trials that have begun, and fill those of the ones that have ended."""
        for trial in snapshot.trials:
            if trial.number in self._done or trial.state == TrialState.WAITING:
                continue
            new = trial.number not in self._begun
            if new:
                self._begun[trial.number] = begin_run(
                    self._client,
                    parent.info.experiment_id,
                    parent.info.run_id,
                    self._study_name,
                    trial,
                )
            if trial.state.is_finished():
                run_id = self._begun[trial.number]
                fill_run(self._client, run_id, trial, snapshot.names, has_tags=new)
                self._done.add(trial.number)

    def _log_study(
        self, parent: "Run", snapshot: StudySnapshot, finished: Sequence[FrozenTrial]
    ) -> None:
        run_id = parent.info.run_id
        self._log_counts(self._client.get_run(run_id), snapshot, finished)
        self._log_files(run_id, snapshot)
        if snapshot.status == "running":
            self._client.update_run(run_id, "RUNNING")
        else:
            ends = [to_ms(end_of(trial)) for trial in finished]
            end = max((end for end in ends if end), default=None)
            self._client.set_terminated(run_id, _RUN_STATUS[snapshot.status], end)

    def _log_files(self, run_id: str, snapshot: StudySnapshot) -> None:
        """Write the artifacts that would differ; while the study runs, most pages less often."""
        shown, now = _content(snapshot), time.monotonic()
        due = now - self._drawn_s >= PAGES_EVERY_S or snapshot.status != "running"
        contents = {"study.yaml": snapshot.study_yaml, "pareto.csv": shown}
        contents |= {name: shown for name in PAGES if due or name == FIRST_PAGE}
        for name, content in contents.items():
            if self._written.get(name) == content:
                continue
            if name in PAGES:
                text = PAGES[name](snapshot)
            else:
                text = snapshot.study_yaml if name == "study.yaml" else pareto_csv(snapshot)
            self._client.log_text(run_id, text, name)
            self._written[name] = content
        if due:
            self._drawn_s = now

    def _log_counts(
        self, run: "Run", snapshot: StudySnapshot, finished: Sequence[FrozenTrial]
    ) -> None:
        """Log what differs from the run: params, data, counts at the number of trials, note."""
        from mlflow.entities import Metric, Param, RunTag

        params = {key: str(value)[:MAX_PARAM] for key, value in snapshot.params.items()}
        ends = [trial_end(trial) for trial in finished]
        counts = {f"trials_{end}": float(ends.count(end)) for end in _ENDS}
        counts["front_size"] = float(len(snapshot.front))
        counts["hypervolume"] = volume_so_far(snapshot.trials, snapshot.directions)
        text = note(snapshot, view=view_address(run.info.experiment_id))
        tags = {"mlflow.note.content": text[:MAX_TAG]}
        # A logged parameter cannot change; a resumed study may have another budget.
        tags |= {
            f"paradapt.now.{key}": value
            for key, value in params.items()
            if run.data.params.get(key, value) != value
        }
        now = int(time.time() * 1000)
        self._client.log_batch(
            run.info.run_id,
            metrics=[
                Metric(key, value, now, len(finished))
                for key, value in counts.items()
                if run.data.metrics.get(key) != value
            ],
            params=[Param(k, v) for k, v in params.items() if k not in run.data.params],
            tags=[RunTag(k, v) for k, v in tags.items() if run.data.tags.get(k) != v],
        )
        self._log_datasets(run, snapshot)

    def _log_datasets(self, run: "Run", snapshot: StudySnapshot) -> None:
        """Log the sides of the data that the run does not name yet as its inputs."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = run.inputs.dataset_inputs if run.inputs else []
        known = {item.dataset.digest for item in inputs}
        new = []
        for side in snapshot.datasets:
            digest = str(side["fingerprint"])[:_MAX_DIGEST]
            if digest in known:
                continue
            profile = {key: side[key] for key in ("n_rows", "classes", "fingerprint") if side[key]}
            dataset = Dataset(
                name=str(side["name"]),
                digest=digest,
                source_type="local",
                source=json.dumps({"uri": str(side["source"])}),
                profile=json.dumps(profile)[:MAX_PARAM],
            )
            new.append(DatasetInput(dataset, [InputTag("mlflow.data.context", side["context"])]))
        if new:
            self._client.log_inputs(run.info.run_id, new)


def _content(snapshot: StudySnapshot) -> object:
    """Return what the pages depend on, to be compared with what they were drawn from."""
    return (
        tuple((trial.number, trial.state) for trial in snapshot.trials),
        snapshot.chosen,
        tuple((point.key, len(point.runs)) for point in snapshot.confirmed),
    )
