"""What `status` says of a study, and that it says so soon where there are many trials."""

import fcntl
import json
import resource
import subprocess
import sys

import pytest
from click.testing import CliRunner

from search.cli import main
from search.front import knee, pareto_front
from search.volume import volume_so_far
from tests.search.finished_study import finished_study, finished_trials, trial_of

TRIALS = finished_trials()
MOST_S = 2.0
"""Processor seconds of the whole command with 2,000 finished trials, imports included."""


@pytest.fixture
def study_file(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: quickstart\ntask: text-classification\nbackbone: minilm\n"
        "data: {source: docstrings}\nbudget: {trials: 40}\n",
        encoding="utf-8",
    )
    return path


def status(*words):
    result = CliRunner().invoke(main, ["status", *map(str, words)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_it_tells_counts_hypervolume_and_the_front_with_units(tmp_path, study_file):
    stored = finished_study(tmp_path, TRIALS)
    text = status(study_file)
    assert "is not running: 24 of 40 trials" in text
    assert "16 complete, 7 pruned, 1 failed" in text
    assert f"hypervolume {volume_so_far(TRIALS, stored.directions):.3f}" in text
    assert "inference cost (GFLOPs per sample), lower is better" in text
    assert "left" not in text


def test_a_study_that_runs_tells_the_time_left(tmp_path, study_file):
    finished_study(tmp_path, TRIALS)
    folder = tmp_path / "paradapt-artifacts" / "quickstart"
    folder.mkdir(parents=True)
    with (folder / "driver.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = status(study_file)
        assert "is running" in text
        # 24 trials took 23.6 minutes, and 16 are left.
        assert "about 16 min left" in text
        assert json.loads(status(study_file, "--json"))["running"]


def test_json_holds_the_same(tmp_path, study_file):
    stored = finished_study(tmp_path, TRIALS)
    found = json.loads(status(study_file, "--json"))
    front = pareto_front(TRIALS, stored.directions)
    assert [point["trial"] for point in found["front"]] == [trial.number for trial in front]
    assert found["knee"] == knee(front, stored.directions).number
    assert found["hypervolume"] == pytest.approx(volume_so_far(TRIALS, stored.directions))
    assert found["trials"]["pruned"] == 7
    assert not found["running"]


@pytest.mark.parametrize("trials", [[], [trial_of(None, end="failed", n_epochs=0)]])
def test_without_a_complete_trial_it_says_so(tmp_path, study_file, trials):
    finished_study(tmp_path, trials)
    assert "No trial is complete yet." in status(study_file)
    assert json.loads(status(study_file, "--json"))["hypervolume"] == 0


@pytest.mark.slow  # Optuna takes a minute to store so many trials
def test_with_two_thousand_trials_it_answers_within_two_seconds(tmp_path, study_file):
    finished_study(tmp_path, finished_trials(2000))
    took = []
    for _ in range(3):  # the least of them: the machine may be busy
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = "from search.cli import main; main()"
        command = [sys.executable, "-c", code, "status", str(study_file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < MOST_S
