"""The MLflow projection, read back with MLflow's own client, and what a dead server costs."""

import os
from collections import Counter

import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from search.front import pareto_front
from search.mlflow_client import artifact_folder
from search.note import note
from search.pages.table import PAGES
from search.tracking import Projection
from space.adapter import Adapter
from space.errors import UserError
from space.spec import AdapterSpec
from tests.search.finished_study import finished_trials, snapshot_of, trial_of
from tests.search.read_store import ReadStore

TRIALS = finished_trials(9)
SNAPSHOT = snapshot_of(TRIALS)


@pytest.fixture
def projected(uri):
    Projection(uri, "quickstart").update(SNAPSHOT)
    return ReadStore(uri)


def test_the_experiment_opens_as_model_development_and_keeps_files_beside_the_store(projected, uri):
    experiment = projected.experiment()
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment.artifact_location == artifact_folder(uri, None).as_uri()


def test_every_trial_is_a_child_run_with_its_end(projected):
    parent, children = projected.parent(), projected.runs("trial")
    assert len(children) == len(TRIALS)
    for trial, run in zip(TRIALS, children, strict=True):
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["paradapt.end"] == trial.user_attrs["end"]
        assert tags.get("paradapt.baseline") == trial.user_attrs.get("baseline")
        assert run.info.status == ("FINISHED" if tags["paradapt.end"] == "complete" else "KILLED")
        assert run.info.start_time == int(trial.datetime_start.timestamp() * 1000)
        assert run.info.end_time == int(trial.datetime_complete.timestamp() * 1000)


def test_a_failed_trial_is_a_failed_run_with_its_reason(uri):
    failed = trial_of(None, end="failed", reason="the loss is not finite")
    Projection(uri, "quickstart").update(snapshot_of([failed]))
    (run,) = ReadStore(uri).runs("trial")
    assert (run.info.status, run.data.tags["paradapt.reason"]) == (
        "FAILED",
        failed.user_attrs["reason"],
    )


def test_params_hold_what_was_sampled_and_the_structure(projected):
    run = projected.runs("trial")[1]
    attrs = TRIALS[1].user_attrs
    spec = AdapterSpec.from_json(run.data.params["spec"])
    assert run.data.params["structure"] == spec.describe()
    assert run.data.params["depth"] == str(spec.depth)
    assert float(run.data.params["learning_rate"]) == attrs["learning"]["learning_rate"]


def test_metrics_have_a_point_an_epoch_and_end_on_the_final_value(projected):
    run, trial = projected.runs("trial")[1], TRIALS[1]
    epochs = [(e["epoch"], e["train_loss"], e["time_ms"]) for e in trial.user_attrs["history"]]
    assert projected.points(run, "train_loss") == epochs
    for name, value in trial.user_attrs["metrics"].items():
        assert run.data.metrics[name] == value


def test_rungs_within_an_epoch_have_steps_in_hundredths_of_one(uri):
    trial = trial_of([0.75, 1.0], number=0)
    for epoch, done in zip(trial.user_attrs["history"], (0.25, 0.5, 1.0), strict=True):
        epoch["epoch"] = done
    Projection(uri, "quickstart").update(snapshot_of([trial]))
    store = ReadStore(uri)
    (run,) = store.runs("trial")
    assert [step for step, _, _ in store.points(run, "train_loss")] == [25, 50, 100]


def test_a_final_value_equal_to_the_last_epochs_is_no_second_point(uri):
    kept, other = trial_of([0.75, 1.0], number=0), trial_of([0.6, 1.0], number=1)
    for trial in (kept, other):
        trial.user_attrs["history"][-1]["accuracy"] = 0.75
    Projection(uri, "quickstart").update(snapshot_of([kept, other]))
    store = ReadStore(uri)
    first, second = store.runs("trial")
    assert [step for step, _, _ in store.points(first, "accuracy")] == [1, 2, 3]
    # A better epoch than the last one was kept: its value is the run's final one.
    assert second.data.metrics["accuracy"] == 0.6


def test_values_that_are_not_finite_are_left_out(uri):
    trial = trial_of(None, end="failed", metrics={"train_loss": float("inf"), "train_s": 2.0})
    trial.user_attrs["history"][0]["macro_f1"] = float("nan")
    Projection(uri, "quickstart").update(snapshot_of([trial]))
    store = ReadStore(uri)
    (run,) = store.runs("trial")
    assert run.data.metrics["train_s"] == 2.0
    assert len(store.points(run, "train_loss")) == 3
    assert len(store.points(run, "macro_f1")) == 2


def test_the_parent_shows_params_counts_files_and_a_note(projected):
    parent = projected.parent()
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"task": "text-classification", "backbone": "minilm", "seed": "0"}
    ends = Counter(trial.user_attrs["end"] for trial in TRIALS)
    assert parent.data.metrics["trials_complete"] == ends["complete"]
    assert parent.data.metrics["trials_pruned"] == ends["pruned"]
    files = {file.path for file in projected.client.list_artifacts(parent.info.run_id)}
    assert files == {"study.yaml", "pareto.csv", *PAGES}
    text = parent.data.tags["mlflow.note.content"]
    assert "Which adapters give most accuracy" in text
    assert "paradapt export study.yaml --select knee" in text


def test_the_note_holds_the_front_as_a_table():
    front = pareto_front(SNAPSHOT.trials, SNAPSHOT.directions)
    rows = [line for line in note(SNAPSHOT).splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {trial.number}" for trial in front]
    assert sum("**knee**" in row for row in rows) == 1
    assert "No trial is complete yet." in note(snapshot_of([]))


def test_updating_again_from_here_or_another_process_changes_nothing(uri):
    projection = Projection(uri, "quickstart")
    projection.update(SNAPSHOT)
    before = ReadStore(uri).everything()
    projection.update(SNAPSHOT)
    Projection(uri, "quickstart").update(SNAPSHOT)
    assert ReadStore(uri).everything() == before


def test_a_running_study_grows_and_ends(uri):
    projection = Projection(uri, "quickstart")
    store = ReadStore(uri)
    projection.update(snapshot_of(TRIALS[:2], status="running"))
    assert store.parent().info.status == "RUNNING"
    projection.update(snapshot_of(TRIALS[:4], status="interrupted"))
    assert store.parent().info.status == "KILLED"
    Projection(uri, "quickstart").update(snapshot_of(TRIALS[:4], status="running"))
    assert store.parent().info.status == "RUNNING"
    projection.update(SNAPSHOT)
    assert store.parent().info.status == "FINISHED"
    assert len(store.runs("trial")) == len(TRIALS)
    assert [step for step, _, _ in store.points(store.parent(), "trials_complete")] == [2, 4, 9]


@pytest.mark.parametrize("logged", [0, 1, 7])
def test_a_run_that_a_killed_process_left_is_completed_without_a_second_point(uri, logged):
    Projection(uri, "quickstart").update(snapshot_of([]))
    store = ReadStore(uri)
    history = TRIALS[0].user_attrs["history"]
    run = store.client.create_run(
        store.experiment().experiment_id,
        tags={
            "paradapt.kind": "trial",
            "paradapt.trial": "0",
            "mlflow.parentRunId": store.parent().info.run_id,
        },
    )
    points = [
        Metric(key, entry[key], entry["time_ms"], entry["epoch"])
        for entry in history
        for key in ("accuracy", "macro_f1", "train_loss")
    ]
    store.client.log_batch(run.info.run_id, metrics=points[:logged])
    Projection(uri, "quickstart").update(SNAPSHOT)
    first, *_ = children = store.runs("trial")
    assert len(children) == len(TRIALS)
    assert (first.info.run_id, first.info.status) == (run.info.run_id, "FINISHED")
    assert len(store.points(first, "train_loss")) == len(history)


def test_a_deleted_parent_or_experiment_is_made_anew(projected, uri):
    projection = Projection(uri, "quickstart")
    projection.update(SNAPSHOT)
    projected.client.delete_run(projected.parent().info.run_id)
    with pytest.raises(Exception, match="deleted"):
        projection.update(SNAPSHOT)
    projection.update(SNAPSHOT)
    assert projected.parent().info.status == "FINISHED"
    projected.client.delete_experiment(projected.experiment().experiment_id)
    Projection(uri, "quickstart").update(SNAPSHOT)
    assert projected.experiment().lifecycle_stage == "active"


def test_a_changed_parameter_is_a_tag_since_params_cannot_change(projected, uri):
    Projection(uri, "quickstart").update(snapshot_of(TRIALS, params={"seed": 1, "trials": 30}))
    data = projected.parent().data
    assert (data.params["seed"], data.params["trials"]) == ("0", "30")
    assert data.tags["paradapt.now.seed"] == "1"


def test_a_long_structure_and_many_params_and_epochs_fit_mlflows_limits(uri):
    adapters = tuple(
        Adapter(layer=layer, role=role, kind="lora", rank=1 + layer % 40 + number, alpha=1.0)
        for layer in range(40)
        for number, role in enumerate(("query", "key", "value"))
    )
    spec = AdapterSpec(depth=40, adapters=adapters)
    many = {f"choice_{i}": i for i in range(230)}
    trial = trial_of([0.7, 1.0], spec=spec, n_epochs=400, params=many)
    Projection(uri, "quickstart").update(snapshot_of([trial]))
    store = ReadStore(uri)
    (run,) = store.runs("trial")
    assert len(spec.to_json()) > 6000
    assert "spec" not in run.data.params
    parts = [v for k, v in sorted(run.data.tags.items()) if k.startswith("paradapt.spec.")]
    assert AdapterSpec.from_json("".join(parts)) == spec
    assert run.data.params["choice_229"] == "229"
    assert len(store.points(run, "train_loss")) == 400


def test_a_study_name_with_quotes_is_found_again(uri):
    name = 'the user\'s "study"'
    for _ in range(2):
        Projection(uri, name).update(snapshot_of(TRIALS[:1], study_name=name))
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_a_database_elsewhere_needs_a_folder_for_artifacts(tmp_path):
    uri = "postgresql://me:secret@db/mlflow"
    with pytest.raises(UserError) as raised:
        Projection(uri, "quickstart")
    assert "secret" not in str(raised.value)
    assert artifact_folder(uri, tmp_path) == tmp_path
    assert artifact_folder("http://server:5000", tmp_path) is None


def test_environment_of_the_user_is_kept(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    Projection(uri, "quickstart")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
