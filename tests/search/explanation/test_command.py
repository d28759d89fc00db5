"""`paradapt explain`: the page that it writes, what it logs, and what it refuses."""

import json
import shutil

import pytest
import yaml
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from search.cli import main
from search.explain_progress import ExplainProgress
from search.tracking import Projection
from tests.end_to_end.tiny_study import listing, messages, write_study
from tests.search.explanation.explained import write_case
from tests.search.finished_study import finished_trials, snapshot_of, tracking_store
from tests.trainers.test_bundle import rewrite


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    """What experts were timed at is kept in the user's cache folder: not in the tester's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    write_case(folder, "every-kind", 24)
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A folder of its own with bundle and rows."""
    for name in ("bundle", "rows.csv"):
        source = made / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


def run(place, *words, data="rows.csv", output="page.html"):
    arguments = ["--data", place / data, "--output", place / output, *words]
    return CliRunner().invoke(main, ["explain", str(place / "bundle"), *map(str, arguments)])


def refused(place, *words, **changes):
    before = listing(place)
    result = run(place, *words, **changes)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == "" and listing(place) == before
    return "\n".join(messages(result.stderr))


def test_it_writes_a_page_and_tells_how_it_gets_on(place):
    result = run(place)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"24 rows are explained in {place / 'page.html'} (")
    assert "reading the rows" in result.stderr and "integrated gradients" in result.stderr
    text = (place / "page.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "All 24 rows of" in text


def test_rows_are_a_seeded_sample(place):
    pages = []
    for number, seed in enumerate((1, 1, 2)):
        result = run(place, "--rows", 9, "--seed", seed, output=f"{number}.html")
        assert result.stdout.startswith("9 rows are explained")
        text = (place / f"{number}.html").read_text(encoding="utf-8")
        assert f"9 of the 24 rows of {place / 'rows.csv'}: a sample" in text
        pages.append(text.split("It took")[0])
    assert pages[0] == pages[1] != pages[2]


class TestRefused:
    def test_no_bundle(self, place):
        shutil.rmtree(place / "bundle")
        assert "there is no such bundle" in refused(place)

    def test_a_folder_that_is_none(self, place):
        (place / "bundle" / "SHA256SUMS").unlink()
        assert "no bundle of paradapt" in refused(place)

    def test_a_bundle_on_another_backbone(self, place):
        config = yaml.safe_load((place / "bundle" / "config.yaml").read_text())
        rewrite(place / "bundle", backbone={**config["backbone"], "fingerprint": "0" * 64})
        assert "trained on a backbone with the fingerprint" in refused(place)

    def test_a_page_that_is_there(self, place):
        (place / "page.html").write_text("mine")
        assert "exists already; nothing is overwritten" in refused(place)

    def test_a_page_in_no_folder(self, place):
        assert "there is no folder" in refused(place, output="none/page.html")

    def test_a_page_of_another_kind(self, place):
        assert "must end in .html" in refused(place, output="page.pdf")

    def test_no_data(self, place):
        assert "--data: no file" in refused(place, data="row.csv")

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("", "is empty"),
            ("text,label\n", "has no data rows"),
            ("text,topic\na,fruit\n", "has no column `label`"),
            ("text,label\na,fruit\nb,fruti\n", "row 2: the bundle does not know the label 'fruti'"),
        ],
    )
    def test_rows_without_labels_that_it_knows(self, place, text, match):
        (place / "rows.csv").write_text(text)
        found = refused(place)
        assert match in found and str(place / "rows.csv") in found

    def test_a_number_of_rows_below_one(self, place):
        result = run(place, "--rows", 0)
        assert result.exit_code == 2 and "--rows" in result.stderr

    def test_a_study_that_it_is_not_of(self, place):
        study = write_study(place, name="other")
        assert "is of the study 's', not of 'other'" in refused(place, "--study", study)

    def test_overrides_without_a_study(self, place):
        assert "name it with --study" in refused(place, "--set", "seed=1")


def study_of(place, **changes):
    """A study file of the bundle's study, on a tracking store of its own."""
    uri = tracking_store(place)
    return write_study(place, name="s", tracking=uri, **changes), uri


def test_the_page_is_logged_in_the_studys_run(place):
    study, uri = study_of(place)
    Projection(uri, "s").update(snapshot_of(finished_trials()))
    result = run(place, "--rows", 8, "--study", study)
    assert result.exit_code == 0, result.output
    assert "the artifact explain.html of the study's run" in result.stderr
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("s")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`paradapt.kind` = 'study'")
    names = [artifact.path for artifact in client.list_artifacts(parent.info.run_id)]
    assert "explain.html" in names
    path = client.download_artifacts(parent.info.run_id, "explain.html", str(place))
    logged = (place / "explain.html").read_text(encoding="utf-8")
    assert path and logged == (place / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("uri", [None, "http://127.0.0.1:9"])
def test_without_a_run_or_a_server_the_page_is_written_all_the_same(place, uri):
    study, _ = study_of(place)
    if uri:
        study = write_study(place, name="s", tracking=uri)
    result = run(place, "--rows", 8, "--study", study)
    assert result.exit_code == 0, result.output
    assert "note: " in result.stderr and "MLflow" in result.stderr
    assert (place / "page.html").exists()


def test_progress_tells_shares_and_the_time_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr("search.explain_progress.time.monotonic", lambda: now[0])
    with ExplainProgress() as progress:
        for done in range(0, 41, 10):
            progress.told("running the rows", done, 40)
            now[0] += 4.0
        progress.told("integrated gradients", 0, 7)
        progress.say("note: all is well")
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "0% running the rows",
        "50% running the rows, about 8 s left",
        "100% running the rows, about 0 s left",
        "0% integrated gradients",
        "note: all is well",
    ]
    assert json.dumps(lines)
