"""A disk that fills up in the middle of a study: what has ended stays, the rest is made up for."""

import shutil

import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from safetensors.numpy import load_file

from tests.end_to_end.mlflow_runs import check_runs
from tests.end_to_end.small_disk import filled, small_disk
from tests.end_to_end.tiny_study import messages
from tests.end_to_end.worker_study import (
    check_complete,
    running,
    started,
    trials_of,
    wait_until,
    write_worker_study,
)
from tests.search.finished_study import tracking_store

N_TRIALS = 4
END_S = 300
SEARCH = ("search", "study.yaml")


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", mib=4) as folder:
        yield folder


def wait_until_trial(process, storage, number):
    """Wait until this trial trains; those before it have ended."""

    def begun():
        return any(trial.number >= number for trial in running(trials_of(storage)))

    wait_until(begun, process, f"trial {number} trains")


def search(folder):
    """Run the command to its end, which must be a good one; return what it said."""
    with started(*SEARCH, cwd=folder) as process:
        stdout, stderr = process.communicate(timeout=END_S)
    assert process.returncode == 0, stderr
    assert "The study 'topics' is finished" in stdout
    assert messages(stderr) == []
    return stdout, stderr


def check_unchanged(before, after):
    """What had ended is as it was."""
    ended = [trial for trial in before if trial.state.is_finished()]
    assert len(ended) >= 2
    for trial in ended:
        assert after[trial.number] == trial


def check_nothing_half_done(trials, weights):
    """What is called complete has its values and whole weights; no part of a file is left."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    for trial in complete:
        assert trial.user_attrs["end"] == "complete" and trial.values
        assert load_file(weights / f"trial-{trial.number:05d}" / "adapter.safetensors")
    assert all(path.suffix in ("", ".safetensors", ".lock") for path in weights.rglob("*"))
    return len(complete)


@pytest.mark.parametrize(
    ("key", "value", "weights"),
    [
        ("storage", "sqlite:///disk/paradapt.db", "paradapt-artifacts"),
        ("artifacts", "disk", "disk"),
    ],
    ids=["storage", "weights"],
)
def test_a_full_disk_ends_the_command_which_says_so_and_goes_on(
    tmp_path, disk, key, value, weights
):
    write_worker_study(tmp_path, n_trials=N_TRIALS, **{key: value})
    storage = f"sqlite:///{tmp_path / ('disk' if key == 'storage' else '') / 'paradapt.db'}"
    with started(*SEARCH, cwd=tmp_path) as process:
        wait_until_trial(process, storage, 2)
        with filled(disk):
            _, stderr = process.communicate(timeout=END_S)
            before = trials_of(storage)
    assert process.returncode == 1, stderr
    (message,) = messages(stderr)
    assert str(disk) in message and "full" in message
    assert "the same command goes on" in message and "What was done so far is kept" in message
    n_complete = check_nothing_half_done(before, tmp_path / weights / "topics")
    assert 2 <= n_complete < N_TRIALS

    search(tmp_path)
    after = trials_of(storage)
    check_complete(after, N_TRIALS)
    check_unchanged(before, after)
    check_nothing_half_done(after, tmp_path / weights / "topics")
    check_runs(MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}"), after)


def test_a_full_disk_of_the_tracking_store_costs_no_trial(tmp_path):
    with small_disk(tmp_path / "disk", mib=96) as disk:
        tracking = tracking_store(disk)
        write_worker_study(tmp_path, n_trials=N_TRIALS, tracking=tracking)
        storage = f"sqlite:///{tmp_path / 'paradapt.db'}"
        with started(*SEARCH, cwd=tmp_path) as process:
            wait_until_trial(process, storage, 1)
            with filled(disk):
                stdout, stderr = process.communicate(timeout=END_S)
        assert process.returncode == 0, stderr
        assert messages(stderr) == []
        assert stderr.count("Tracking at") == 1
        assert f"Tracking at {tracking} failed (database or disk is full). The study" in stderr
        assert "not complete; the same search command makes up for it" in stdout
        before = trials_of(storage)
        check_complete(before, N_TRIALS)

        stdout, stderr = search(tmp_path)
        assert "failed" not in stderr.replace("0 failed", "") and "not complete" not in stdout
        assert trials_of(storage) == before
        check_runs(MlflowClient(tracking), before)


def test_a_full_disk_of_the_cache_costs_only_what_it_would_have_saved(tmp_path, disk):
    """One boundary is in the cache before its disk is full, the others have no room."""
    write_worker_study(
        tmp_path,
        n_trials=N_TRIALS,
        baselines=["head_only", "lora_all", "bottleneck_all"],
        space={"depth": [2], "rank": [2, 4, 8], "insertion": ["upper_half"]},
        cache={"folder": "disk/cache", "gib": 0.01},
    )
    storage = f"sqlite:///{tmp_path / 'paradapt.db'}"
    with started(*SEARCH, cwd=tmp_path) as process:
        wait_until_trial(process, storage, 1)
        kept = sorted(path.name for path in disk.rglob("*.states"))
        with filled(disk):
            _, stderr = process.communicate(timeout=END_S)
            assert kept and sorted(path.name for path in disk.rglob("*.states")) == kept
            assert not list(disk.rglob("*.partial"))
    assert process.returncode == 0, stderr
    assert messages(stderr) == []
    assert "the frozen-prefix cache cannot be written (the disk is full)" in stderr
    trials = trials_of(storage)
    check_complete(trials, N_TRIALS)
    assert len(trials) == N_TRIALS  # none was cut off
    check_runs(MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}"), trials)
    shutil.rmtree(disk / "cache")
