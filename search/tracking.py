"""The MLflow projection of a study: one parent run, one child run a trial, artifacts.

Optuna's storage is the truth. A projection can be made anew or brought up to date at any time,
by any process, and as often as wished: what is there already is found by its tags and left alone.
Every logged point has the time of the epoch or trial that made it, so that a run that a killed
process left half written is completed without a second point.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.baselines import baseline_title
from search.front import knee, pareto_front, structure
from search.lineage import RESUMES
from search.mlflow_client import (
    END_TAG,
    TRIAL_TAG,
    artifact_folder,
    common_tags,
    find_experiment,
    find_study_run,
    find_trial_runs,
    import_mlflow,
    new_client,
    redacted,
    to_ms,
)
from search.objectives import formatted, title_of
from search.pareto_page import pareto_csv, pareto_html
from search.starting_points import STARTING_POINT

if TYPE_CHECKING:
    from mlflow.entities import Run

Status = Literal["running", "finished", "interrupted"]

_RUN_STATUS = {"running": "RUNNING", "finished": "FINISHED", "interrupted": "KILLED"}
_END_STATUS = {"complete": "FINISHED", "failed": "FAILED"}
_ENDS = ("complete", "pruned", "failed", "infeasible", "interrupted")
_STATE_ENDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_NOTE_ROWS = 24
# MLflow's limits: characters of a value, and entries of one batch.
_MAX_PARAM, _MAX_TAG, _MAX_PARAMS, _MAX_METRICS = 6000, 8000, 100, 800


@dataclass(frozen=True, kw_only=True)
class StudySnapshot:
    """A study at one moment: all that the projection shows."""

    study_name: str
    names: tuple[str, ...]
    """The names of the objectives."""
    directions: tuple[StudyDirection, ...]
    trials: tuple[FrozenTrial, ...]
    study_yaml: str
    """The study file as it was read."""
    params: Mapping[str, object] = field(default_factory=dict)
    """What the parent run shows as its parameters: task, backbone, sampler, seed, ..."""
    status: Status
    question: str = ""
    """One sentence at the top of the parent run: what this study looks for."""
    next_commands: tuple[str, ...] = ()
    """Commands that a reader would run next."""


class Projection:
    """The MLflow runs of one study. Not for several threads at once.

    Args:
        tracking_uri: a tracking server (`http://...`) or a database (`sqlite:///...`).
        study_name: the study's name; the experiment has the same.
        artifact_root: the folder for artifacts of a local store; None puts it beside an SQLite
            database. A server keeps artifacts itself.

    Raises:
        UserError: a database elsewhere without a folder for artifacts.
    """

    def __init__(
        self, tracking_uri: str, study_name: str, artifact_root: Path | None = None
    ) -> None:
        self._folder = artifact_folder(tracking_uri, artifact_root)
        self._study_name = study_name
        self.place = redacted(tracking_uri)
        self._tracking_uri = tracking_uri
        import_mlflow()
        self._parent: Run | None = None
        self._begun: dict[int, str] = {}
        self._done: set[int] = set()
        self._written: tuple[object, ...] = ()

    def update(self, snapshot: StudySnapshot) -> None:
        """Bring the runs up to the snapshot; calling it again with the same changes nothing.

        Raises:
            mlflow.exceptions.MlflowException: the store or server does not answer or refuses.
        """
        try:
            if self._parent is None:
                self._client = new_client(self._tracking_uri)
                self._parent = self._make_parent(self._make_experiment(), snapshot)
            finished = [trial for trial in snapshot.trials if trial.state.is_finished()]
            for trial in finished:
                if trial.number not in self._done:
                    self._log_trial(self._parent, trial, snapshot.names)
                    self._done.add(trial.number)
            self._log_study(self._parent, snapshot, finished)
        except Exception:
            # What is there now is looked up again: someone may have deleted a run.
            self._parent = None
            raise

    @property
    def run_id(self) -> str | None:
        """The id of the parent run, None before the first update."""
        return self._parent.info.run_id if self._parent else None

    def _make_experiment(self) -> str:
        kind = {"mlflow.experimentKind": "custom_model_development"}
        experiment = find_experiment(self._client, self._study_name)
        if experiment is None:
            location = None if self._folder is None else self._folder.as_uri()
            return self._client.create_experiment(self._study_name, location, tags=kind)
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        # Without its kind MLflow's UI opens an experiment in its view of language model traces.
        for name in kind.keys() - experiment.tags.keys():
            self._client.set_experiment_tag(experiment.experiment_id, name, kind[name])
        return experiment.experiment_id

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
        self._begun, self._done, self._written = {}, set(), ()
        for child in find_trial_runs(self._client, experiment_id, run.info.run_id):
            number = int(child.data.tags[TRIAL_TAG])
            self._begun[number] = child.info.run_id
            # A run that still counts as running was left half written by a killed process.
            if child.info.status != "RUNNING":
                self._done.add(number)
        return run

    def _log_trial(self, parent: "Run", trial: FrozenTrial, names: Sequence[str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        if trial.number not in self._begun:
            tags = common_tags("trial", self._study_name)
            tags |= {TRIAL_TAG: str(trial.number), "mlflow.parentRunId": parent.info.run_id}
            name = f"trial {trial.number}"
            if "baseline" in trial.user_attrs:
                name += f" ({baseline_title(trial.user_attrs['baseline'])})"
            run = self._client.create_run(
                parent.info.experiment_id, to_ms(trial.datetime_start), tags, name
            )
            self._begun[trial.number] = run.info.run_id
        run_id = self._begun[trial.number]
        params = [Param(key, value) for key, value in _params(trial).items()]
        points = [Metric(*point) for point in _points(trial, names)]
        tags = _tags(trial)
        while params or points or tags:
            self._client.log_batch(
                run_id,
                metrics=points[:_MAX_METRICS],
                params=params[:_MAX_PARAMS],
                tags=[RunTag(key, value) for key, value in tags.items()],
            )
            points, params, tags = points[_MAX_METRICS:], params[_MAX_PARAMS:], {}
        status = _END_STATUS.get(trial_end(trial), "KILLED")
        self._client.set_terminated(run_id, status, to_ms(trial.datetime_complete))

    def _log_study(
        self, parent: "Run", snapshot: StudySnapshot, finished: Sequence[FrozenTrial]
    ) -> None:
        run_id = parent.info.run_id
        self._log_counts(self._client.get_run(run_id), snapshot, finished)
        shown = (snapshot.trials, snapshot.directions, snapshot.names)
        content = (snapshot.study_yaml, *(trial.number for trial in finished))
        if content != self._written:
            self._client.log_text(run_id, snapshot.study_yaml, "study.yaml")
            self._client.log_text(run_id, pareto_csv(*shown), "pareto.csv")
            self._client.log_text(run_id, pareto_html(*shown, self._study_name), "pareto.html")
            self._written = content
        if snapshot.status == "running":
            self._client.update_run(run_id, "RUNNING")
        else:
            ends = [to_ms(trial.datetime_complete) for trial in finished]
            end = max((end for end in ends if end), default=None)
            self._client.set_terminated(run_id, _RUN_STATUS[snapshot.status], end)

    def _log_counts(
        self, run: "Run", snapshot: StudySnapshot, finished: Sequence[FrozenTrial]
    ) -> None:
        """Log what differs from the run: params, counts at the number of finished trials, note."""
        from mlflow.entities import Metric, Param, RunTag

        params = {key: str(value)[:_MAX_PARAM] for key, value in snapshot.params.items()}
        ends = [trial_end(trial) for trial in finished]
        counts = {f"trials_{end}": float(ends.count(end)) for end in _ENDS}
        counts["front_size"] = float(len(pareto_front(snapshot.trials, snapshot.directions)))
        tags = {"mlflow.note.content": note(snapshot)[:_MAX_TAG]}
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


def trial_end(trial: FrozenTrial) -> str:
    """Return how a finished trial ended: the attribute, or Optuna's state where it is absent."""
    return str(trial.user_attrs.get("end", _STATE_ENDS[trial.state]))


def note(snapshot: StudySnapshot) -> str:
    """Return the parent run's description in Markdown: the question, the front, what next."""
    front = pareto_front(snapshot.trials, snapshot.directions)
    parts = [snapshot.question] if snapshot.question else []
    if front:
        best = knee(front, snapshot.directions)
        head = ["trial", *map(title_of, snapshot.names), "structure", ""]
        rows = [head, ["---"] * len(head)]
        for trial in front[:_NOTE_ROWS]:
            values = map(formatted, snapshot.names, trial.values)
            baseline = trial.user_attrs.get("baseline", "")
            mark = "**knee**" if trial is best else baseline and baseline_title(baseline)
            rows.append([str(trial.number), *values, structure(trial)[:160], mark])
        lines = ("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)
        parts.append("\n".join(lines))
        if len(front) > _NOTE_ROWS:
            parts.append(f"... and {len(front) - _NOTE_ROWS} more, see `pareto.csv`.")
    else:
        parts.append("No trial is complete yet.")
    if snapshot.next_commands:
        parts.append("Next:\n\n```\n" + "\n".join(snapshot.next_commands) + "\n```")
    return "\n\n".join(parts)


def _tags(trial: FrozenTrial) -> dict[str, str]:
    attrs = trial.user_attrs
    tags = {END_TAG: trial_end(trial)}
    for name in ("reason", "baseline", "same_as", RESUMES, STARTING_POINT):
        if name in attrs:
            tags[f"paradapt.{name}"] = str(attrs[name])[:_MAX_TAG]
    words = [structure(trial), str(attrs.get("reason", ""))]
    tags["mlflow.note.content"] = "\n\n".join(filter(None, words))[:_MAX_TAG]
    spec = str(attrs.get("spec", ""))
    if len(spec) > _MAX_PARAM:
        for part, first in enumerate(range(0, len(spec), _MAX_TAG)):
            tags[f"paradapt.spec.{part}"] = spec[first : first + _MAX_TAG]
    return tags


def _params(trial: FrozenTrial) -> dict[str, str]:
    attrs = trial.user_attrs
    params = trial.params | attrs.get("learning", {}) | {"structure": structure(trial)}
    if len(attrs.get("spec", "")) <= _MAX_PARAM:
        params["spec"] = attrs.get("spec", "")
    return {key: str(value)[:_MAX_PARAM] for key, value in params.items() if value != ""}


def _points(trial: FrozenTrial, names: Sequence[str]) -> list[tuple[str, float, int, int]]:
    """Return (key, value, time in ms, step) of every validation and of the final metrics.

    A final metric stands at the last epoch, with the time of the trial's end; it is left out
    where the last epoch has logged the same value. Values that are not finite are left out.
    """
    history: list[dict[str, Any]] = trial.user_attrs.get("history", [])
    # MLflow's steps are whole numbers: epochs, or hundredths of one where a rung lies within it.
    unit = 1 if all(float(epoch["epoch"]).is_integer() for epoch in history) else 100
    points = [
        (key, value, int(epoch["time_ms"]), round(unit * epoch["epoch"]))
        for epoch in history
        for key, value in epoch.items()
        if key not in ("epoch", "time_ms")
    ]
    last: dict[str, Any] = history[-1] if history else {}
    final = trial.user_attrs.get("metrics", {}) | dict(zip(names, trial.values or (), strict=False))
    end = to_ms(trial.datetime_complete) or 0
    points += [
        (key, value, end, round(unit * last.get("epoch", 0)))
        for key, value in final.items()
        if last.get(key) != value
    ]
    return [
        (key, float(value), ms, step)
        for key, value, ms, step in points
        if isinstance(value, int | float) and math.isfinite(value)
    ]
