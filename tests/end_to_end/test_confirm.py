"""`paradapt confirm` on a real small study: the sealed split, the trainings, and going on."""

import json
import signal
import sqlite3
import time

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient
from sklearn.metrics import accuracy_score

from search.cli import main
from search.confirmed import PREFIX, comparisons, confirmed
from tests.end_to_end.tiny_study import (
    rows,
    start,
    tiny_backbone,
    write_rows,
    write_study,
)
from tests.search.finished_study import tracking_store

POINTS = ("--select", "knee", "--select", "trial:2")
DATA = {"train": "rows.csv", "test": "test.csv", "max_length": 32}
N_TRAIN, N_TEST = 90, 45


def make(folder, **changes):
    tiny_backbone(folder / "tiny")
    tracking_store(folder)
    write_rows(folder / "rows.csv", N_TRAIN)
    content = {
        "backbone": "tiny",
        "data": DATA,
        "budget": {"trials": 3, "epochs": 2},
        "baselines": ["head_only", "lora_all"],
        "pruner": "none",
    }
    write_study(folder, **(content | changes))
    return folder


def command(*words, folder):
    """Run a command in this process, which has its libraries by now, to its end."""
    name, *others = words
    arguments = [name, str(folder / "study.yaml"), *map(str, others)]
    return CliRunner().invoke(main, arguments)


def stored_in(folder):
    return optuna.load_study(study_name="topics", storage=f"sqlite:///{folder / 'paradapt.db'}")


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A study that was searched while there was no readable test file at all."""
    folder = make(tmp_path_factory.mktemp("confirm"))
    # Whoever opened it would fail: it is a folder, with a file that is no table.
    (folder / "test.csv").mkdir()
    (folder / "test.csv" / "sealed").write_bytes(b"\x00\xff")
    result = command("search", folder=folder)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def done(searched):
    """The same study, confirmed on two seeds."""
    (searched / "test.csv" / "sealed").unlink()
    (searched / "test.csv").rmdir()
    write_rows(searched / "test.csv", N_TEST, seed=7)
    result = command("confirm", "--seeds", 2, *POINTS, folder=searched)
    assert result.exit_code == 0, result.stderr
    return searched, result


def test_the_search_needs_no_test_file(searched):
    trials = stored_in(searched).get_trials()
    assert [trial.user_attrs["end"] for trial in trials] == ["complete"] * 3


def test_it_names_all_points_and_what_they_gave(done):
    folder, result = done
    points = {point.key: point for point in confirmed(stored_in(folder))}
    assert {"head_only", "lora_all", "full_fine_tuning", "tfidf"} <= points.keys()
    for point in points.values():
        assert [run.seed for run in point.runs] == [1, 2]  # the study's own is 0
        assert f"{point.mean('accuracy'):.2%}" in result.stdout
        assert point.title in result.stdout
    assert f"{N_TEST} sealed test rows, trained on {N_TRAIN} rows" in result.stdout
    assert "Winner's curse" in result.stdout
    assert all(
        comparison.in_words in result.stdout for comparison in comparisons(stored_in(folder))
    )
    assert "trainings" in result.stderr and "Traceback" not in result.stderr


def test_scores_are_those_of_the_rows_of_the_test_file(done):
    folder, _ = done
    labels = sorted({row["label"] for row in rows(N_TEST, seed=7)})
    truth = [labels.index(row["label"]) for row in rows(N_TEST, seed=7)]
    for point in confirmed(stored_in(folder)):
        for run in point.runs:
            assert run.outcomes["label"].tolist() == truth
            score = accuracy_score(truth, run.outcomes["answer"])
            assert run.metrics["accuracy"] == pytest.approx(score, abs=1e-6)


def test_costs_are_those_of_the_search_and_times_were_measured(done):
    folder, _ = done
    stored = stored_in(folder)
    trials = stored.get_trials()
    for point in confirmed(stored):
        if point.trial is None:
            continue
        told = trials[point.trial].user_attrs["metrics"]
        for name in ("inference_gflops", "training_gflops", "trainable_params", "adapter_mib"):
            assert point.values(name) == [told[name]] * 2
        for name in ("train_s", "latency_ms", "latency_ratio", "throughput", "peak_memory_mib"):
            assert min(point.values(name)) > 0
        assert point.search_score == told["accuracy"]


def test_full_fine_tuning_trains_all_that_runs(done):
    folder, _ = done
    (full,) = [p for p in confirmed(stored_in(folder)) if p.key == "full_fine_tuning"]
    (head,) = [p for p in confirmed(stored_in(folder)) if p.key == "head_only"]
    n_params = full.mean("trainable_params")
    # Embeddings and blocks of the tiny BERT, and the same head; its pooler never runs.
    assert n_params > 20_000 + head.mean("trainable_params")
    assert full.mean("inference_gflops") == head.mean("inference_gflops")
    assert full.mean("training_gflops") == pytest.approx(3 * full.mean("inference_gflops"))
    assert full.mean("adapter_mib") == pytest.approx(4 * n_params / 2**20)


def test_mlflow_has_the_trainings_and_the_tables(done):
    folder, _ = done
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("topics").experiment_id
    runs = client.search_runs([experiment], max_results=1000)
    (parent,) = [run for run in runs if run.data.tags["paradapt.kind"] == "study"]
    children = [run for run in runs if run.data.tags["paradapt.kind"] == "confirm"]
    points = confirmed(stored_in(folder))
    assert len(children) == 2 * len(points)
    assert all(run.info.status == "FINISHED" for run in children)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    told = {(run.data.params["key"], int(run.data.params["seed"])): run for run in children}
    for point in points:
        for run in point.runs:
            metrics = told[point.key, run.seed].data.metrics
            assert metrics["test_accuracy"] == run.metrics["accuracy"]
            assert metrics["train_s"] == run.metrics["train_s"]
            assert "accuracy" not in metrics  # that name is the search's
    assert {"confirm.csv", "confirm.md"} <= {
        artifact.path for artifact in client.list_artifacts(parent.info.run_id)
    }


def test_the_same_command_again_trains_nothing_and_a_search_leaves_it_alone(done):
    folder, first = done
    before = {k: v for k, v in stored_in(folder).user_attrs.items() if k.startswith(PREFIX)}
    again = command("confirm", "--seeds", 2, "--json", *POINTS, folder=folder)
    assert again.exit_code == 0, again.stderr
    assert "seed" not in again.stderr
    content = json.loads(again.stdout)
    assert {point["key"] for point in content["points"]} == {
        point.key for point in confirmed(stored_in(folder))
    }
    result = command("search", folder=folder)
    assert result.exit_code == 0, result.stderr
    after = {k: v for k, v in stored_in(folder).user_attrs.items() if k.startswith(PREFIX)}
    assert after == before
    assert first.stdout


class TestAnotherTestFile:
    """These change the test file, and so come last."""

    def test_what_was_confirmed_is_left_aside(self, done):
        folder, _ = done
        write_rows(folder / "other.csv", 30, seed=8)
        words = ("--set", "data.test=other.csv", "--no-full-fine-tuning", "--no-tfidf")
        result = command("confirm", "--seeds", 1, *words, folder=folder)
        assert result.exit_code == 0, result.stderr
        assert "it is left aside, and trained anew" in result.stderr
        assert "30 sealed test rows" in result.stdout
        points = confirmed(stored_in(folder))
        assert {len(point.runs) for point in points} == {1}
        assert not {"full_fine_tuning", "tfidf"} & {point.key for point in points}

    def test_a_study_that_differs_is_refused(self, done):
        folder, _ = done
        result = command("confirm", "--set", "budget.epochs=3", folder=folder)
        assert result.exit_code == 2
        assert "budget.epochs: the study 'topics' was begun with 2" in result.stderr


@pytest.fixture
def slow(tmp_path):
    """A study, searched, whose trainings take long enough to be hit; it seals rows by itself."""
    folder = make(
        tmp_path,
        data={"train": "rows.csv", "test_share": 0.4, "max_length": 32},
        budget={"trials": 2, "epochs": 4},
        training={"batch_size": 4},
    )
    result = command("search", folder=folder)
    assert result.exit_code == 0, result.stderr
    return folder


def n_confirmed(folder):
    with sqlite3.connect(folder / "paradapt.db") as database:
        found = database.execute(
            "select count(*) from study_user_attributes where key like 'confirmed.%'"
        )
        return int(found.fetchone()[0])


def wait_for(folder, process, number):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if n_confirmed(folder) >= number:
            return
        time.sleep(0.05)
    pytest.fail(f"training {number} did not end")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_after_ctrl_c_or_a_kill_the_same_command_goes_on(slow, how):
    words = ("confirm", "study.yaml", "--seeds", 2, "--no-tfidf")
    process = start(*words, cwd=slow)
    wait_for(slow, process, 2)
    process.send_signal(how)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in stderr
    if how == signal.SIGINT:
        assert "interrupted: the same command goes on" in stderr
        assert "Confirmed on 36 sealed test rows, trained on 54 rows" in stdout
    before = {k: v for k, v in stored_in(slow).user_attrs.items() if k.startswith(PREFIX)}
    assert 2 <= len(before) < 6

    result = command(words[0], *words[2:], folder=slow)
    assert result.exit_code == 0, result.stderr
    after = {k: v for k, v in stored_in(slow).user_attrs.items() if k.startswith(PREFIX)}
    assert len(after) == 6  # head only, LoRA and full fine-tuning on two seeds
    assert before.items() <= after.items()
    client = MlflowClient(f"sqlite:///{slow / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("topics").experiment_id
    runs = client.search_runs([experiment], filter_string="tags.`paradapt.kind` = 'confirm'")
    assert len(runs) == 6 and {run.info.status for run in runs} == {"FINISHED"}


def test_the_rows_of_a_share_are_neither_trained_on_nor_seen_by_the_search(slow):
    result = command("confirm", "--seeds", 1, "--no-full-fine-tuning", folder=slow)
    assert result.exit_code == 0, result.stderr
    (point, *_) = confirmed(stored_in(slow))
    assert np.bincount(point.runs[0].outcomes["label"]).tolist() == [12, 12, 12]
