"""A long study whose workers are killed again and again: nothing is lost, nothing counts twice."""

from collections import Counter

import pytest

from search import cores
from search.retries import MAX_RETRIES
from tests.end_to_end.soaking import Soak, command, watch
from tests.end_to_end.worker_study import (
    check_complete,
    check_mlflow,
    left_behind,
    trials_of,
    wait_until_gone,
    write_worker_study,
)
from trainers.weights import FILE_NAME, read_tensors, trial_folder

pytest.importorskip("ray", reason="Ray is not installed")

LOST = "its worker was lost: the process or its machine died"
STATUS_OF = {"complete": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
SPACE = {
    "depth": [1, 2],
    "insertion": ["all", "last", "lower_half"],
    "roles": ["query", "value", "ffn"],
    "kinds": ["lora", "bottleneck", "parallel", "ia3"],
    "rank": [2, 4, 8, 16],
    "pooling": ["mean", "cls"],
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
}
"""Few samples of it are equal: those without adapters, which have no learning rate."""
N_ROWS = 360
"""A trial then takes about a second, so that 2,000 of them outlast the kills."""
SHORT = Soak(n_trials=60, kills_s=40, end_s=400, growth_mib=60, growth_mib_1000=0)
LONG = Soak(n_trials=2000, kills_s=20 * 60, end_s=75 * 60, growth_mib=20, growth_mib_1000=30)


@pytest.mark.skipif(cores.available() < 2, reason="two workers need two cores")
@pytest.mark.parametrize(
    "soak",
    [
        pytest.param(SHORT, marks=pytest.mark.slow, id="short"),
        pytest.param(LONG, marks=pytest.mark.soak, id="long"),
    ],
)
def test_a_study_whose_workers_are_killed_for_long_ends_complete(tmp_path, capsys, soak):
    write_worker_study(
        tmp_path,
        n_rows=N_ROWS,
        workers=2,
        space=SPACE,
        budget={"trials": soak.n_trials, "epochs": 1},
        starting_points=[],
        sampler="random",
    )
    with command(tmp_path) as process:
        seen = watch(process, tmp_path, soak)
    errors = (tmp_path / "err.txt").read_text()
    trials = trials_of(f"sqlite:///{tmp_path / 'paradapt.db'}")
    with capsys.disabled():
        print("\n" + table(trials, seen))
    assert process.returncode == 0, errors[-2000:]
    assert "Traceback" not in errors and "(raylet)" not in errors
    assert "The study 'topics' is finished" in (tmp_path / "out.txt").read_text()
    assert seen.kills_s and seen.wall_s > seen.kills_s[0] + soak.kills_s, "over before the kills"
    n_failed = sum(trial.user_attrs["end"] == "failed" for trial in trials)
    check_complete(trials, soak.n_trials - n_failed)
    check_losses(trials, len(seen.kills_s))
    check_weights(tmp_path, trials)
    check_runs(tmp_path, trials)
    check_memory(trials, seen, soak)
    wait_until_gone(lambda: left_behind(tmp_path))


def check_losses(trials, n_kills):
    """What was cut off says why and was run again, as it was, until it was lost too often."""
    again = {t.user_attrs["retry_of"]: t for t in trials if "retry_of" in t.user_attrs}
    ends = Counter(trial.user_attrs["end"] for trial in trials)
    assert set(ends) <= {"complete", "interrupted", "failed"}
    # A kill between two trials costs none, or the one that is begun on the dead worker.
    assert n_kills / 2 <= ends["interrupted"] + ends["failed"] <= n_kills
    cut = [trial for trial in trials if trial.user_attrs["end"] == "interrupted"]
    assert set(again) == {trial.number for trial in cut}
    for trial in cut:
        assert trial.user_attrs["reason"] == LOST
        later = again[trial.number]
        assert later.number > trial.number and later.params == trial.params
        assert later.user_attrs["spec"] == trial.user_attrs["spec"]
        lost_again = later.user_attrs["end"] != "complete"
        assert later.user_attrs["losses"] == trial.user_attrs["losses"] + lost_again
    for trial in trials:
        losses = trial.user_attrs.get("losses", 0)
        assert losses == MAX_RETRIES + 1 or trial.user_attrs["end"] != "failed"
        if trial.user_attrs["end"] == "failed":
            assert trial.user_attrs["reason"] == f"{LOST}, {losses} times; it is not run again"
        elif "retry_of" not in trial.user_attrs:
            assert losses == (trial.user_attrs["end"] == "interrupted")


def check_weights(folder, trials):
    """Whatever was trained to its end has weights that can be read."""
    place = folder / "paradapt-artifacts" / "topics"
    for trial in trials:
        if trial.user_attrs["end"] == "complete" and "same_as" not in trial.user_attrs:
            assert read_tensors(trial_folder(place, trial.number) / FILE_NAME)
    assert not (place / "checkpoints").exists()


def check_runs(folder, trials):
    """MLflow says of every trial what Optuna says."""
    for run in check_mlflow(folder, trials):
        trial = trials[int(run.data.tags["paradapt.trial"])]
        end = trial.user_attrs["end"]
        assert run.data.tags["paradapt.end"] == end and run.info.status == STATUS_OF[end]
        if trial.values:
            assert run.data.metrics["accuracy"] == trial.values[0]


def check_memory(trials, seen, soak):
    """The driver's memory grows by what it keeps of each trial, and by nothing else."""
    allowed = soak.growth_mib + soak.growth_mib_1000 * seen.n_ended_between(trials) / 1000
    assert seen.rss_mib[3] - seen.rss_mib[1] <= allowed, seen.rss_mib


def table(trials, seen):
    """What a soak did, in a few lines."""
    ends = Counter(trial.user_attrs.get("end", "open") for trial in trials)
    growth, n_ended = seen.rss_mib[3] - seen.rss_mib[1], seen.n_ended_between(trials)
    rows = {
        "trials": len(trials),
        "complete": ends["complete"],
        "of them equal to another": sum("same_as" in trial.user_attrs for trial in trials),
        "kills": len(seen.kills_s),
        "cut off and run again": ends["interrupted"],
        "lost too often": ends["failed"],
        "wall time": f"{seen.wall_s:.0f} s",
        "driver's memory, by quarters": ", ".join(f"{rss:.0f}" for rss in seen.rss_mib) + " MiB",
        "from the second to the last": f"{growth:+.1f} MiB for {n_ended:.0f} trials",
    }
    return "\n".join(f"{name:<30} {value}" for name, value in rows.items())
