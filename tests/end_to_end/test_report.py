"""The report of a real small study: every number traced, in both languages, and in MLflow."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from search.cli import main
from search.study_file import load_study_file
from tests.end_to_end.tiny_study import tiny_backbone, write_rows, write_study
from tests.search.finished_study import tracking_store
from tests.search.report.reported_study import COSTS
from tests.search.report.sources import Sources
from tests.search.report.tracing import trace

pytestmark = pytest.mark.filterwarnings("ignore:.*PedAnova")


def command(name, folder, *words):
    """Run a command in this process, which has its libraries by now; it must end well."""
    done = CliRunner().invoke(main, [name, str(folder / "study.yaml"), *map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)


def artifact(folder):
    """The report on the parent run."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("topics")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`paradapt.kind` = 'study'")
    path = client.download_artifacts(parent.info.run_id, "report.html", str(folder))
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study that was searched, and whose report was read before it was confirmed."""
    folder = tmp_path_factory.mktemp("report")
    tiny_backbone(folder / "tiny")
    tracking_store(folder)
    write_rows(folder / "rows.csv", 90)
    write_rows(folder / "test.csv", 45, seed=1)
    write_study(
        folder,
        backbone="tiny",
        data={"train": "rows.csv", "test": "test.csv", "max_length": 32},
        budget={"trials": 10, "epochs": 1},
        pruner="none",
        costs=COSTS,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        command("search", folder)
        (folder / "searched.html").write_text(artifact(folder), encoding="utf-8")
        command("confirm", folder, "--seeds", 1)
    return folder


def sources(folder):
    file = folder / "study.yaml"
    resolved = load_study_file(file).to_yaml()
    return Sources("topics", f"sqlite:///{folder / 'paradapt.db'}", file, resolved)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_number_is_in_the_storage(folder, language):
    output = folder / f"{language}.html"
    command("report", folder, "--output", output, "--language", language)
    seen = trace(output.read_text(encoding="utf-8"), sources(folder))
    assert {"trial", "confirmed", "compare", "cost", "importance", "file"} <= seen


def test_the_search_leaves_a_report_and_the_confirmation_a_newer_one(folder):
    before = (folder / "searched.html").read_text(encoding="utf-8")
    assert "Nothing can be recommended yet" in before
    assert "paradapt confirm study.yaml --seeds 3" in before
    assert "Recommended:" in artifact(folder)
