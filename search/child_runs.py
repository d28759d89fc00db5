"""What a trial's child run shows: parameters, metrics, tags.

Metrics bear the names of the study file, so that a chart of MLflow's own finds an objective under
the name that its reader knows.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from search.baselines import baseline_title
from search.front import structure
from search.lineage import RESUMES
from search.mlflow_client import END_TAG, TRIAL_TAG, common_tags, to_ms
from search.moments import end_of
from search.pages.words import trial_end
from search.starting_points import STARTING_POINT

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# MLflow's limits: characters of a value, and entries of one batch.
MAX_PARAM, MAX_TAG = 6000, 8000
_MAX_PARAMS, _MAX_METRICS = 100, 800

_END_STATUS = {"complete": "FINISHED", "failed": "FAILED"}

Points = list[tuple[str, float, int, int]]
"""(key, value, time in ms, step)."""


def begin_run(
    client: "MlflowClient", experiment_id: str, parent_id: str, study_name: str, trial: FrozenTrial
) -> str:
    """Create the run of a trial, finished or not, with its tags; return its id."""
    tags = common_tags("trial", study_name) | tags_of(trial)
    tags |= {TRIAL_TAG: str(trial.number), "mlflow.parentRunId": parent_id}
    name = f"trial {trial.number}"
    if "baseline" in trial.user_attrs:
        name += f" ({baseline_title(trial.user_attrs['baseline'])})"
    run = client.create_run(experiment_id, to_ms(trial.datetime_start), tags, name)
    return str(run.info.run_id)


def fill_run(
    client: "MlflowClient",
    run_id: str,
    trial: FrozenTrial,
    names: Sequence[str],
    *,
    has_tags: bool,
) -> None:
    """Log all of a finished trial and end its run; a point that is there already is no second one.

    Args:
        client: of the store.
        run_id: the trial's run.
        trial: the finished trial.
        names: objectives.
        has_tags: whether the run was begun with the tags of its end.
    """
    from mlflow.entities import Metric, Param, RunTag

    params = [Param(key, value) for key, value in params_of(trial).items()]
    points = [Metric(*point) for point in points_of(trial, names)]
    tags = [] if has_tags else [RunTag(key, value) for key, value in tags_of(trial).items()]
    while params or points or tags:
        client.log_batch(run_id, points[:_MAX_METRICS], params[:_MAX_PARAMS], tags)
        points, params, tags = points[_MAX_METRICS:], params[_MAX_PARAMS:], []
    status = _END_STATUS.get(trial_end(trial), "KILLED")
    client.set_terminated(run_id, status, to_ms(end_of(trial)))


def tags_of(trial: FrozenTrial) -> dict[str, str]:
    """Return how the trial ended and why, its description, and a structure too long for a param."""
    attrs = trial.user_attrs
    tags = {END_TAG: trial_end(trial)}
    for name in ("reason", "baseline", "same_as", RESUMES, STARTING_POINT):
        if name in attrs:
            tags[f"paradapt.{name}"] = str(attrs[name])[:MAX_TAG]
    words = [structure(trial), str(attrs.get("reason", ""))]
    tags["mlflow.note.content"] = "\n\n".join(filter(None, words))[:MAX_TAG]
    spec = str(attrs.get("spec", ""))
    if len(spec) > MAX_PARAM:
        for part, first in enumerate(range(0, len(spec), MAX_TAG)):
            tags[f"paradapt.spec.{part}"] = spec[first : first + MAX_TAG]
    return tags


def params_of(trial: FrozenTrial) -> dict[str, str]:
    """Return what was sampled, how it was trained, and the structure."""
    attrs = trial.user_attrs
    params = trial.params | attrs.get("learning", {}) | {"structure": structure(trial)}
    if len(attrs.get("spec", "")) <= MAX_PARAM:
        params["spec"] = attrs.get("spec", "")
    return {key: str(value)[:MAX_PARAM] for key, value in params.items() if value != ""}


def points_of(trial: FrozenTrial, names: Sequence[str]) -> Points:
    """Return the points of every validation and of the final metrics.

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
    end = to_ms(end_of(trial)) or 0
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
