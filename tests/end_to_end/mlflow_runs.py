"""What plain MLflow has of a study, whatever its server or its disk went through."""

import math

from optuna.trial import TrialState


def check_runs(client, trials, name="topics"):
    """Every trial has one run, ended as the trial did, with all of its metrics; so has the study.

    Args:
        client: MLflow's own, of a database or of a server.
        trials: the finished study's, as plain Optuna reads them.
        name: the study's.
    """
    experiment = client.get_experiment_by_name(name).experiment_id
    runs = client.search_runs([experiment], max_results=1000)
    children = [run for run in runs if run.data.tags["paradapt.kind"] == "trial"]
    (parent,) = [run for run in runs if run.data.tags["paradapt.kind"] == "study"]
    children.sort(key=lambda run: int(run.data.tags["paradapt.trial"]))
    assert [int(run.data.tags["paradapt.trial"]) for run in children] == [
        trial.number for trial in trials
    ]
    for run, trial in zip(children, trials, strict=True):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        _check_run(client, run, trial)
    assert parent.info.status == "FINISHED"
    n_complete = sum(trial.state == TrialState.COMPLETE for trial in trials)
    assert parent.data.metrics["trials_complete"] == n_complete
    files = {file.path: file for file in client.list_artifacts(parent.info.run_id)}
    assert {"study.yaml", "pareto.csv", "pareto.html", "report.html"} <= set(files)
    assert all(file.file_size for file in files.values())


def _check_run(client, run, trial):
    complete = trial.state == TrialState.COMPLETE
    assert run.info.status == ("FINISHED" if complete else "KILLED")
    for metric, value in trial.user_attrs["metrics"].items() if complete else ():
        assert not math.isfinite(value) or run.data.metrics[metric] == value, metric
    for metric in ("train_loss", "validation_loss"):
        points = client.get_metric_history(run.info.run_id, metric)
        assert [point.step for point in points] == [
            epoch["epoch"] for epoch in trial.user_attrs.get("history", [])
        ]
