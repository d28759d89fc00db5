"""MLflow's registry: what was exported is a version, and the alias champion points to it."""

import json
from types import SimpleNamespace

import pytest

from search.mlflow_client import find_trial_runs, new_client
from search.registry import CHAMPION, REGISTERED_TAG, Registry
from search.tracking import Projection
from space.errors import UserError
from tests.search.finished_study import finished_trials, snapshot_of, tracking_store

FILES = {"MLmodel": "flavors: {}\n", "README.md": "# Card\n", "code/space.py": "x = 1\n"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of six trials with its runs in MLflow."""
    tracking = tracking_store(tmp_path_factory.mktemp("store"))
    Projection(tracking, "quickstart").update(snapshot_of(finished_trials(6)))
    return SimpleNamespace(tracking=tracking, name="quickstart")


@pytest.fixture
def export(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "export"


def test_the_last_registered_version_is_the_champion(study, export):
    client = new_client(study.tracking)
    for number, trial in enumerate((2, 4), 1):
        told = Registry(study, trial, "topics").register(export)
        assert "models:/topics@champion" in told and f"version {number} " in told
        version = client.get_model_version_by_alias("topics", CHAMPION)
        assert int(version.version) == number
        assert version.tags == {"paradapt.trial": str(trial)}
        assert version.description == FILES["README.md"]
        run = client.get_run(version.run_id)
        assert run.data.tags["paradapt.trial"] == str(trial)
        (parent,) = client.search_runs([run.info.experiment_id], "tags.`paradapt.kind` = 'study'")
        for tagged in (run, parent):
            assert tagged.data.tags[REGISTERED_TAG] == f"models:/topics/{number}"
        (output,) = run.outputs.model_outputs
        model = client.get_logged_model(output.model_id)
        assert model.artifact_location == version.source
        assert (model.source_run_id, model.status) == (version.run_id, "READY")
        linked = json.loads(model.tags["mlflow.modelVersions"])
        assert linked == [{"name": "topics", "version": version.version}]
    assert len(find_trial_runs(client, run.info.experiment_id, parent.info.run_id)) == 6


def test_its_files_are_copied_to_the_store(study, export, tmp_path):
    from mlflow.artifacts import download_artifacts

    Registry(study, 1, "files").register(export)
    version = new_client(study.tracking).get_model_version_by_alias("files", CHAMPION)
    copied = download_artifacts(
        version.source, dst_path=str(tmp_path / "copy"), tracking_uri=study.tracking
    )
    for name, text in FILES.items():
        assert (tmp_path / "copy").joinpath(copied, name).read_text() == text


def test_a_trial_without_a_run_is_refused_before_anything_is_made(study):
    with pytest.raises(UserError, match=r"--register none: .* has no run of trial 99; `paradapt"):
        Registry(study, 99, "none")
    names = [model.name for model in new_client(study.tracking).search_registered_models()]
    assert "none" not in names


@pytest.mark.parametrize("name", ["a/b", "a:1", " "])
def test_a_name_that_cannot_be_asked_for_is_refused(study, name):
    with pytest.raises(UserError, match="without / and :"):
        Registry(study, 1, name)


def test_a_store_that_does_not_answer_is_told_without_its_password():
    study = SimpleNamespace(tracking="http://me:secret@127.0.0.1:9", name="quickstart")
    with pytest.raises(UserError, match="--register topics: MLflow at") as raised:
        Registry(study, 1, "topics")
    assert "secret" not in str(raised.value)
