"""Every task from its study file to predictions: search, export and predict on tiny backbones."""

import csv
import json
import math
import re
from pathlib import Path

import optuna
import pytest
import yaml
from click.testing import CliRunner

from search.cli import main
from search.objectives import metrics_of
from search.study_file import load_study_file
from tests.end_to_end.task_studies import N_ROWS, STUDIES, write_task_study
from tests.end_to_end.tiny_study import listing, write_study
from tests.search.finished_study import tracking_store
from trainers.bundle import read_config

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    """What experts were timed at is kept in the user's cache folder: not in the tester's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def paradapt(*words):
    """Run a command in this process, which is quicker than one of its own."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def trials_of(path):
    name = yaml.safe_load(path.read_text())["name"]
    return optuna.load_study(
        study_name=name, storage=f"sqlite:///{path.parent / 'paradapt.db'}"
    ).get_trials()


def export_and_predict(path, source, choice="trial:1"):
    """Return the bundle of a trial, and the rows that it answered for."""
    bundle, answers = path.parent / "bundle", path.parent / "answers.csv"
    paradapt("export", path, "--select", choice, "--output", bundle)
    paradapt("predict", bundle, "--input", source, "--output", answers)
    with answers.open(newline="", encoding="utf-8") as file:
        return bundle, list(csv.DictReader(file))


class Finished:
    """A task's study with its three trials, one of them exported."""

    def __init__(self, name: str, folder: Path) -> None:
        self.what = STUDIES[name]
        self.path = write_task_study(name, folder)
        self.task = load_study_file(self.path).what
        tracking_store(folder)
        self.said = paradapt("search", self.path)
        self.trials = [t for t in trials_of(self.path) if "same_as" not in t.user_attrs]
        self.source = folder / self.what.file
        self.chosen = next(t for t in self.trials[1:] if t.user_attrs["end"] == "complete")
        self.bundle, self.answers = export_and_predict(
            self.path, self.source, f"trial:{self.chosen.number}"
        )


@pytest.fixture(scope="module", params=sorted(STUDIES))
def finished(request, tmp_path_factory):
    return Finished(request.param, tmp_path_factory.mktemp(request.param))


def test_the_trials_end_with_the_metrics_of_the_task(finished):
    names = finished.what.objectives
    assert [t.user_attrs["end"] for t in finished.trials] == ["complete"] * 3
    for trial in finished.trials:
        metrics = trial.user_attrs["metrics"]
        assert trial.values == [metrics[name] for name in names]
        assert set(metrics_of(finished.task)) <= set(metrics)
        assert math.isfinite(metrics["validation_loss"])
    assert "Pareto front" in finished.said.stdout


def test_the_bundle_holds_what_is_needed_to_read_and_answer(finished):
    config, what = read_config(finished.bundle), finished.what
    study = yaml.safe_load(finished.path.read_text())
    assert config.task == what.task
    assert config.columns.text == study["data"].get("text", "text")
    assert (config.scale is not None) == (what.task == "text-regression")
    assert (config.exit_threshold is not None) == ("exits" in what.space)
    assert config.spec.to_json() == finished.chosen.user_attrs["spec"]


def test_the_card_tells_labels_only_where_there_are_some(finished):
    card, config = (finished.bundle / "README.md").read_text(), read_config(finished.bundle)
    assert ("- Labels: " in card) == bool(config.labels)
    assert ("- Texts are cut at " in card) == (finished.what.task != "image-classification")
    assert ("## Early exits" in card) == ("exits" in finished.what.space)
    assert ("## Experts" in card) == ("routing" in finished.chosen.user_attrs)


def test_predict_answers_for_each_row(finished):
    first = finished.answers[0]
    assert len(finished.answers) == N_ROWS
    assert tuple(first)[-len(finished.what.columns) :] == finished.what.columns
    labels = read_config(finished.bundle).labels
    for row in finished.answers:
        if "perplexity" in row:
            assert float(row["perplexity"]) > 1
        elif finished.what.task == "text-regression":
            assert math.isfinite(float(row["prediction"]))
        elif finished.what.task == "token-classification":
            words = row["words"]
            assert len(json.loads(row["prediction"])) == len(json.loads(words))
        elif finished.what.data.get("label_separator"):
            assert set(filter(None, row["prediction"].split("|"))) <= set(labels)
        else:
            assert row["prediction"] in labels


def test_early_exits_are_told_with_their_curve(finished):
    for trial in finished.trials:
        attributes, spec = trial.user_attrs, json.loads(trial.user_attrs["spec"])
        assert ("exit_curve" in attributes) == ("exits" in spec)
        if "exits" not in spec:
            continue
        point = next(
            p for p in attributes["exit_curve"] if p["threshold"] == attributes["exit_threshold"]
        )
        assert trial.values == [point["value"], point["mean_gflops"]]
        n_heads = len(spec["exits"]) + 1
        assert all(len(p["shares"]) == n_heads for p in attributes["exit_curve"])


def test_experts_are_told_with_their_load(finished):
    for trial in finished.trials:
        entries = json.loads(trial.user_attrs["spec"])["adapters"]
        sparse = {(layer, e["role"]) for e in entries if "experts" in e for layer in e["layers"]}
        routing = trial.user_attrs.get("routing", [])
        assert {(adapter["layer"], adapter["role"]) for adapter in routing} == sparse
        for adapter in routing:
            assert sum(adapter["load"]) == pytest.approx(1)


def test_a_dry_run_by_the_command_begins_nothing(tmp_path):
    path = write_task_study("pairs", tmp_path)
    before = listing(tmp_path)
    said = paradapt("search", path, "--dry-run").stdout
    assert listing(tmp_path) == before
    for part in ("Backbone ", "Space: ", "Baselines, ", "One trial, ", "No study was begun."):
        assert re.search(rf"^{part}", said, re.MULTILINE), part


def test_words_that_are_not_read_are_told(tmp_path):
    path = write_task_study("tags", tmp_path, budget={"trials": 1, "epochs": 1})
    tracking_store(tmp_path)
    paradapt("search", path)
    paradapt("export", path, "--select", "trial:0", "--output", tmp_path / "bundle")
    (tmp_path / "long.conll").write_text("apple\n" * 40)
    words = ["--input", tmp_path / "long.conll", "--output", tmp_path / "out.csv"]
    said = paradapt("predict", tmp_path / "bundle", *words)
    # Of 32 tokens two are special.
    assert "note: 10 words were not read and have the tag O" in said.stderr
    assert said.stdout == f"1 rows are in {tmp_path / 'out.csv'}.\n"


def real(*parts):
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there: these data are not part of the project")
    return str(path)


def few_rows(source: str, target: Path, n_rows: int) -> Path:
    """Copy the first rows of a table, or sentences of a CoNLL file."""
    text = Path(source).read_text(encoding="utf-8")
    mark = "\n\n" if source.endswith(".conll") else "\n"
    parts = text.split(mark)[: n_rows + (mark == "\n")]
    target.write_text(mark.join(parts) + "\n", encoding="utf-8")
    return target


SMALL = {
    "backbone": "minilm",
    "space": {"depth": [2], "insertion": ["last"], "kinds": ["lora"], "rank": [4]},
    "budget": {"trials": 2, "epochs": 1},
    "baselines": ["head_only"],
}


class TestRealData:
    """Real rows on the bundled backbone; few of them, as it is the road that is tested."""

    def test_slots_of_spoken_commands(self, tmp_path):
        train = few_rows(real("snips_slots", "train.conll"), tmp_path / "train.conll", 300)
        held_out = few_rows(
            real("snips_slots", "validation.conll"), tmp_path / "validation.conll", 40
        )
        tracking_store(tmp_path)
        path = write_study(
            tmp_path,
            name="slots",
            task="token-classification",
            data={"train": train.name, "validation": held_out.name, "max_length": 32},
            **SMALL,
        )
        paradapt("search", path)
        for trial in trials_of(path):
            metrics = trial.user_attrs["metrics"]
            assert trial.values[0] == metrics["entity_f1"]
            assert metrics["token_accuracy"] > 0.4  # of 70 tags
        bundle, answers = export_and_predict(path, held_out)
        assert len(answers) == 40
        labels = set(read_config(bundle).labels)
        for row in answers:
            assert set(json.loads(row["prediction"])) <= labels

    def test_likeness_of_japanese_sentences(self, tmp_path):
        train = few_rows(real("jsts", "train.csv"), tmp_path / "train.csv", 200)
        held_out = few_rows(real("jsts", "validation.csv"), tmp_path / "validation.csv", 40)
        tracking_store(tmp_path)
        data = {"train": train.name, "validation": held_out.name, "text_pair": "text_pair"}
        path = write_study(tmp_path, name="likeness", task="text-regression", data=data, **SMALL)
        paradapt("search", path)
        for trial in trials_of(path):
            metrics = trial.user_attrs["metrics"]
            assert trial.values[0] == metrics["pearson"]
            assert metrics["rmse"] < 3  # the numbers are 0 to 5
        _, answers = export_and_predict(path, held_out)
        assert all(-2 < float(row["prediction"]) < 7 for row in answers)
