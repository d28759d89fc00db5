"""The report among the artifacts of the parent run, read back with MLflow's own client."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from search.report.tracked import log_report
from search.tracking import Projection
from tests.search.finished_study import snapshot_of, tracking_store
from tests.search.report.reported_study import measured_trials, stored_study, study_in

pytestmark = pytest.mark.filterwarnings("ignore:.*PedAnova")


def test_it_is_an_artifact_of_the_parent_run(tmp_path):
    uri = tracking_store(tmp_path)
    study = study_in(tmp_path, tracking=uri)
    Projection(uri, "quickstart").update(snapshot_of(measured_trials(3)))
    warnings = []
    assert log_report(stored_study(), study, Path("here/study.yaml"), warnings.append)
    assert warnings == []
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("quickstart")
    kind = "tags.`paradapt.kind` = 'study'"
    (parent,) = client.search_runs([experiment.experiment_id], kind)
    path = client.download_artifacts(parent.info.run_id, "report.html", str(tmp_path))
    text = Path(path).read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "paradapt confirm study.yaml" in text


def test_a_store_without_the_study_costs_a_warning(tmp_path):
    study = study_in(tmp_path, tracking=tracking_store(tmp_path))
    warnings = []
    assert not log_report(stored_study(), study, Path("study.yaml"), warnings.append)
    (warning,) = warnings
    assert "it has no run of this study" in warning


def test_a_server_that_is_down_costs_a_warning_without_its_password(tmp_path):
    study = study_in(tmp_path, tracking="http://me:secret@127.0.0.1:9")
    warnings = []
    assert not log_report(stored_study(), study, Path("study.yaml"), warnings.append)
    (warning,) = warnings
    assert "127.0.0.1:9" in warning and "secret" not in warning
