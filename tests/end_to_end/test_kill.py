"""A command that is killed or interrupted in the middle of a study, and the same command again."""

import json
import signal
import sqlite3
import time
from contextlib import closing

import optuna
import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from tests.end_to_end.tiny_study import paradapt, start, tiny_backbone, write_rows, write_study
from tests.search.finished_study import tracking_store

N_TRIALS = 5


@pytest.fixture
def place(tmp_path):
    """A study whose trials take long enough to be hit, on a tiny backbone."""
    tiny_backbone(tmp_path / "tiny")
    tracking_store(tmp_path)
    write_rows(tmp_path / "rows.csv", 400)
    write_study(
        tmp_path,
        backbone="tiny",
        space={"depth": [1, 2], "rank": [2, 4, 8]},
        budget={"trials": N_TRIALS, "epochs": 8},
        training={"batch_size": 4},
        pruner="none",
    )
    return tmp_path


def trials(place):
    storage = f"sqlite:///{place / 'paradapt.db'}"
    return optuna.load_study(study_name="topics", storage=storage).get_trials()


LAST_TRIAL = """
SELECT number, state FROM trials
JOIN trial_user_attributes USING (trial_id) WHERE key = 'spec' ORDER BY number DESC LIMIT 1
"""


def wait_until_running(place, number, process):
    """Wait until a trial trains: its structure is known and it has not ended.

    The database is read directly and often: a trial that came back trains for a part of a second.
    """
    deadline = time.monotonic() + 90
    # The lock comes after the study: its tables are whole by then.
    lock = place / "paradapt-artifacts" / "topics" / "driver.lock"
    while not lock.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the study did not begin"
        time.sleep(0.05)
    with closing(sqlite3.connect(place / "paradapt.db", timeout=30)) as database:
        while time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            last = database.execute(LAST_TRIAL).fetchone() or (-1, "")
            assert last[0] <= number, f"trial {number} ended before it was seen"
            if last == (number, "RUNNING"):
                return
            time.sleep(0.005)
    pytest.fail(f"trial {number} did not begin")


def check_whole(place, before):
    """The study has what was asked for, nothing twice, and all that had ended before."""
    after = trials(place)
    trained = [
        trial
        for trial in after
        if trial.user_attrs["end"] in ("complete", "pruned") and "same_as" not in trial.user_attrs
    ]
    assert len(trained) == N_TRIALS
    keys = [(t.user_attrs["spec"], json.dumps(t.user_attrs["learning"])) for t in trained]
    assert len(set(keys)) == len(keys)
    assert all(trial.state.is_finished() for trial in after)
    for trial in before:
        if trial.state.is_finished():
            assert after[trial.number] == trial
    return after


def check_mlflow(place, after):
    """One child run for every trial, none left running."""
    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("topics").experiment_id
    runs = client.search_runs([experiment], max_results=1000)
    children = [run for run in runs if run.data.tags["paradapt.kind"] == "trial"]
    numbers = sorted(int(run.data.tags["paradapt.trial"]) for run in children)
    assert numbers == [trial.number for trial in after]
    assert len(runs) == len(children) + 1
    assert all(run.info.status != "RUNNING" for run in runs)


def check_rerun(after, number):
    """The trial that was cut off was run again with the same parameters."""
    cut = after[number]
    assert cut.state == TrialState.FAIL and cut.user_attrs["end"] == "interrupted"
    (again,) = [trial for trial in after if trial.user_attrs.get("retry_of") == number]
    assert again.params == cut.params
    assert again.user_attrs["spec"] == cut.user_attrs["spec"]
    assert again.state == TrialState.COMPLETE


def test_a_killed_study_goes_on_as_if_nothing_had_been(place):
    process = start("search", "study.yaml", cwd=place)
    wait_until_running(place, 3, process)
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    before = trials(place)
    assert [trial.state for trial in before] == [*[TrialState.COMPLETE] * 3, TrialState.RUNNING]

    result = paradapt("search", "study.yaml", cwd=place)
    assert result.returncode == 0, result.stderr
    after = check_whole(place, before)
    check_rerun(after, 3)
    check_mlflow(place, after)


def test_a_study_that_ctrl_c_interrupts_keeps_all_and_goes_on(place):
    process = start("search", "study.yaml", cwd=place)
    wait_until_running(place, 3, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The study 'topics' is interrupted: the same command goes on with it." in stdout
    assert "Pareto front" in stdout and "Traceback" not in stderr
    before = trials(place)
    assert [t.user_attrs.get("end") for t in before] == [*["complete"] * 3, "interrupted", None]
    assert before[4].state == TrialState.WAITING

    result = paradapt("search", "study.yaml", cwd=place)
    assert result.returncode == 0, result.stderr
    after = check_whole(place, before)
    check_rerun(after, 3)
    check_mlflow(place, after)


@pytest.fixture
def returning(tmp_path):
    """A study in which a stopped trial comes back, and that trial's number.

    The rung's first front is one trial, so that a stopped one goes on once others are behind it.
    """
    tiny_backbone(tmp_path / "tiny")
    write_rows(tmp_path / "rows.csv", 400)
    usual = {
        "backbone": str(tmp_path / "tiny"),
        "data": {"train": str(tmp_path / "rows.csv"), "max_length": 32},
        "space": {"depth": [1, 2], "rank": [2, 4, 8]},
        "budget": {"trials": 10, "epochs": 4},
        "training": {"batch_size": 8},
        "baselines": [],
        "sampler": "random",
        "pruner": "accuracy-halving",
        "pruning": {"min_peers": 1, "resume": True},
    }
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        tracking_store(tmp_path / name)
        write_study(tmp_path / name, **usual)
    result = paradapt("search", "study.yaml", cwd=tmp_path / "whole")
    assert result.returncode == 0, result.stderr
    back = [trial for trial in trials(tmp_path / "whole") if "resumes" in trial.user_attrs]
    assert back, "no stopped trial came back"
    longest = max(back, key=lambda trial: trial.user_attrs["history"][-1]["epoch"])
    return tmp_path / "whole", tmp_path / "killed", longest.number


def test_a_trial_that_came_back_and_is_killed_comes_back_again(returning):
    whole, killed, number = returning
    process = start("search", "study.yaml", cwd=killed)
    wait_until_running(killed, number, process)
    process.kill()
    process.communicate(timeout=30)

    result = paradapt("search", "study.yaml", cwd=killed)
    assert result.returncode == 0, result.stderr
    after = trials(killed)
    cut = after[number]
    assert cut.user_attrs["end"] == "interrupted"
    (again,) = [trial for trial in after if trial.user_attrs.get("retry_of") == number]
    assert again.user_attrs["resumes"] == cut.user_attrs["resumes"]
    # It went on from its checkpoint, and gave what it would have given.
    unhurt = trials(whole)[number]
    assert again.values == unhurt.values
    epochs = [report["epoch"] for report in again.user_attrs["history"]]
    assert epochs == [report["epoch"] for report in unhurt.user_attrs["history"]]
    assert len(set(epochs)) == len(epochs)
    check_mlflow(killed, after)
