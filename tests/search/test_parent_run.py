"""The parent run beside its child runs: data, machine, the view made ready, pages in time."""

import json

import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from search.experiment_view import VIEW, view_address
from search.pages.table import FIRST_PAGE, PAGES
from search.refresh import refresh_pages
from search.system_metrics import PREFIX, system_monitor
from search.tracking import Projection
from search.volume import volume_so_far
from tests.search.finished_study import finished_trials, snapshot_of, tracking_store, trial_of

TRIALS = finished_trials(9)
DATA = {
    "name": "tickets",
    "context": "train",
    "fingerprint": "0123456789abcdef" * 4,
    "n_rows": 30,
    "source": "/data/tickets.csv",
    "classes": {"billing": 20, "login": 10},
}


@pytest.fixture
def projection(tmp_path):
    return Projection(tracking_store(tmp_path), "quickstart")


def parent_of(projection):
    return MlflowClient(projection._tracking_uri).get_run(projection.run_id)


def test_the_data_are_inputs_with_their_fingerprint_and_logged_once(projection):
    for _ in range(2):
        projection.update(snapshot_of(TRIALS, datasets=(DATA,)))
    (entry,) = parent_of(projection).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("tickets", DATA["fingerprint"][:36])
    assert json.loads(entry.dataset.profile)["fingerprint"] == DATA["fingerprint"]
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "train")]
    note = parent_of(projection).data.tags["mlflow.note.content"]
    assert "| train | 30 | `0123456789ab` | 2: billing 20, login 10 |" in note


def test_the_hypervolume_and_the_machine_are_metrics(projection):
    snapshot = snapshot_of(TRIALS)
    projection.log_system({"system/early": 1.0})  # before there is a run: left out
    projection.update(snapshot)
    projection.log_system(system_monitor()())
    metrics = parent_of(projection).data.metrics
    assert metrics["hypervolume"] == volume_so_far(TRIALS, snapshot.directions)
    assert f"{PREFIX}cpu_utilization_percentage" in metrics
    assert f"{PREFIX}system_memory_usage_megabytes" in metrics
    assert f"{PREFIX}early" not in metrics


def test_the_view_made_ready_names_objectives_and_chart(projection):
    projection.update(snapshot_of(TRIALS))
    client = MlflowClient(projection._tracking_uri)
    experiment = client.get_experiment_by_name("quickstart")
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{VIEW}"])
    assert view["selectedColumns"][:2] == ["metrics.`accuracy`", "metrics.`inference_gflops`"]
    assert view["compareRunCharts"][0]["xaxis"]["key"] == "inference_gflops"
    assert view["compareRunCharts"][0]["yaxis"]["key"] == "accuracy"
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "accuracy"
    assert experiment.tags["mlflow.note.content"] == snapshot_of(TRIALS).question
    address = view_address(experiment.experiment_id)
    assert address in parent_of(projection).data.tags["mlflow.note.content"]


def test_a_trial_that_runs_has_a_run_which_is_filled_at_its_end(projection):
    ended = trial_of([0.7, 0.4], number=0)
    running = trial_of([0.7, 0.4], number=0)
    running.state, running.values, running.datetime_complete = TrialState.RUNNING, None, None
    del running.user_attrs["end"]
    client = MlflowClient(projection._tracking_uri)
    projection.update(snapshot_of([running], status="running"))
    experiment = client.get_experiment_by_name("quickstart").experiment_id
    (run,) = client.search_runs([experiment], "tags.`paradapt.kind` = 'trial'")
    assert (run.info.status, run.data.tags["paradapt.end"]) == ("RUNNING", "running")
    projection.update(snapshot_of([ended], status="running"))
    (run,) = client.search_runs([experiment], "tags.`paradapt.kind` = 'trial'")
    assert (run.info.status, run.data.tags["paradapt.end"]) == ("FINISHED", "complete")
    assert run.data.metrics["accuracy"] == 0.7


def test_while_a_study_runs_only_the_first_page_is_drawn_at_every_update(projection, monkeypatch):
    drawn = []
    pages = {name: lambda _, name=name: drawn.append(name) or name for name in PAGES}
    monkeypatch.setattr("search.tracking.PAGES", pages)
    projection.update(snapshot_of(TRIALS[:3], status="running"))
    assert drawn == list(PAGES)
    projection.update(snapshot_of(TRIALS[:3], status="running"))
    assert drawn == list(PAGES)  # nothing new to draw
    projection.update(snapshot_of(TRIALS[:4], status="running"))
    assert drawn == [*PAGES, FIRST_PAGE]
    projection.update(snapshot_of(TRIALS[:4]))
    assert sorted(drawn) == sorted([*PAGES, *PAGES])


def test_pages_that_are_not_there_are_not_begun_by_other_commands(tmp_path, monkeypatch):
    class Study:
        name, tracking, artifacts = "quickstart", f"sqlite:///{tmp_path / 'none.db'}", str(tmp_path)

    refresh_pages(None, Study, tmp_path / "study.yaml", print)
    assert list(tmp_path.iterdir()) == []
