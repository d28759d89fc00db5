"""A structure that finds no memory left fails alone, and none that needs as much is tried again."""

import resource
import subprocess

import psutil
import pytest
from optuna.trial import TrialState

from search import cores
from tests.end_to_end.tiny_study import COMMAND, environment, messages
from tests.end_to_end.worker_study import (
    check_complete,
    check_mlflow,
    left_behind,
    trial_runs,
    trials_of,
    wait_until_gone,
    write_worker_study,
)

TO_BUILD, TO_TRAIN = 60_000_000, 2_000_000
"""Bottlenecks so wide that a weight takes more than the limit, or what a step keeps of it does."""
LIMIT_GIB = 6
"""Of address space: the libraries take less than half of it."""
ROOM_GIB = 8
"""What Ray lets its workers take beyond what the machine uses already."""
N_TRIALS = 8


def ended(trials, *ends):
    return [trial for trial in trials if trial.user_attrs["end"] in ends]


def check_ends(folder, rank, reason):
    """A structure of this rank failed for want of memory, others of it were not tried.

    Of the small ones none did, and none is barred; one that a worker was ended with is run again.
    """
    trials = trials_of(f"sqlite:///{folder / 'paradapt.db'}")
    huge = [trial for trial in trials if trial.params.get("ffn_rank") == rank]
    small = [trial for trial in trials if trial not in huge]
    failed, barred, cut = (ended(huge, end) for end in ("failed", "infeasible", "interrupted"))
    assert failed and barred and len(failed) + len(barred) + len(cut) == len(huge)
    for trial in failed:
        assert trial.state == TrialState.FAIL and trial.values is None
        assert trial.user_attrs["out_of_memory"] is True
        assert trial.user_attrs["reason"].startswith(reason)
    for trial in barred:
        assert "it needs at least as much memory as trial" in trial.user_attrs["reason"]
        assert trial.values is None and "history" not in trial.user_attrs
        assert "out_of_memory" not in trial.user_attrs
    cut += ended(small, "interrupted")
    assert len(ended(small, "complete", "interrupted")) == len(small)
    assert {trial.user_attrs["reason"] for trial in cut} <= {reason}
    check_complete(trials, N_TRIALS - len(failed))
    check_mlflow(folder, trials)
    status = {"complete": "FINISHED", "failed": "FAILED"}
    for number, run in trial_runs(folder).items():
        attributes = trials[number].user_attrs
        assert run.info.status == status.get(attributes["end"], "KILLED")
        assert run.data.tags.get("paradapt.reason") == attributes.get("reason")


def write_hungry_study(folder, rank, **changes):
    """Write a study of which every second structure has this rank, and the others are small."""
    usual = {
        "n_rows": 80,
        "space": {
            "depth": [1, 2],
            "kinds": ["bottleneck"],
            "roles": ["ffn"],
            "insertion": ["all"],
            "rank": [2, rank],
            "pooling": ["mean", "cls"],
        },
        "budget": {"trials": N_TRIALS, "epochs": 1},
        "training": {"batch_size": 64},
        "sampler": "random",
        "starting_points": [],
    }
    write_worker_study(folder, **(usual | changes))


def limited():
    """Leave a process so much address space that all runs in it but what is huge."""
    n_bytes = LIMIT_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


def searched(folder, preexec_fn=None, **variables):
    """Run the command; it must end well."""
    done = subprocess.run(
        [COMMAND, "search", "study.yaml"],
        cwd=folder,
        env=environment(**variables),
        preexec_fn=preexec_fn,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "The study 'topics' is finished" in done.stdout
    assert messages(done.stderr) == []
    return done.stdout + done.stderr


@pytest.mark.parametrize("rank", [TO_BUILD, TO_TRAIN], ids=["to build", "to train"])
def test_in_one_process_the_trial_fails_and_the_limit_is_learned(tmp_path, rank):
    write_hungry_study(tmp_path, rank)
    searched(tmp_path, limited)
    check_ends(tmp_path, rank, "no memory left (")


@pytest.mark.slow  # a minute, and gigabytes
@pytest.mark.skipif(cores.available() < 2, reason="two workers need two cores")
def test_of_two_workers_that_ray_ends_the_greedy_one_is_to_blame(tmp_path):
    """Ray watches the memory of the machine, and ends workers where it is nearly used up."""
    pytest.importorskip("ray", reason="Ray is not installed")
    memory = psutil.virtual_memory()
    if memory.available < 1.5 * ROOM_GIB * 2**30:
        pytest.skip(f"needs {1.5 * ROOM_GIB:g} GiB of free memory")
    write_hungry_study(tmp_path, TO_TRAIN, workers=2)
    used = memory.total - memory.available + ROOM_GIB * 2**30
    output = searched(
        tmp_path,
        RAY_memory_usage_threshold=f"{used / memory.total:.3f}",
        RAY_memory_monitor_refresh_ms="50",
    )
    assert "(raylet)" not in output
    wait_until_gone(lambda: left_behind(tmp_path))
    check_ends(tmp_path, TO_TRAIN, "no memory left on its machine, so that its worker was ended")
