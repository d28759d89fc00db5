"""Two workers of one machine, for real: they share a study, and what dies costs no trial."""

import subprocess
import sys

import pytest

from search import cores
from tests.end_to_end.tiny_study import environment
from tests.end_to_end.worker_study import (
    check_complete,
    check_mlflow,
    kill,
    left_behind,
    running,
    started,
    training_workers,
    trials_of,
    wait_until,
    wait_until_gone,
    write_worker_study,
)

END_S = 400
LOST = "its worker was lost: the process or its machine died"
pytest.importorskip("ray", reason="Ray is not installed")
needs_two_cores = pytest.mark.skipif(cores.available() < 2, reason="two workers need two cores")


@pytest.fixture
def folder(tmp_path):
    write_worker_study(tmp_path, workers=2)
    return tmp_path


def storage(folder):
    return f"sqlite:///{folder / 'paradapt.db'}"


@needs_two_cores
def test_a_killed_worker_costs_no_trial_and_leaves_nothing_behind(folder):
    def both():
        found = running(trials_of(storage(folder)), least=2)
        return found if len(training_workers(folder)) == 2 else []

    with started("search", "study.yaml", cwd=folder) as process:
        wait_until(both, process, "two trials side by side")
        kill(training_workers(folder)[0])
        stdout, stderr = process.communicate(timeout=END_S)
    assert process.returncode == 0, stderr
    assert "The study 'topics' is finished" in stdout
    assert "Traceback" not in stderr and "(raylet)" not in stdout + stderr
    trials = trials_of(storage(folder))
    check_complete(trials, 6)
    (cut,) = [t for t in trials if t.user_attrs["end"] == "interrupted"]
    assert cut.user_attrs["reason"] == LOST
    (again,) = [t for t in trials if t.user_attrs.get("retry_of") == cut.number]
    assert again.params == cut.params and again.user_attrs["losses"] == 1
    check_mlflow(folder, trials)
    wait_until_gone(lambda: left_behind(folder))


@pytest.mark.slow  # three minutes: Ray takes its time to see that a driver is gone
@needs_two_cores
def test_a_killed_driver_takes_its_workers_with_it_and_the_command_goes_on(folder):
    def one_done():
        trials = trials_of(storage(folder))
        ended = [trial for trial in trials if trial.values]
        return trials if ended and running(trials, least=2) else []

    with started("search", "study.yaml", cwd=folder) as process:
        before = wait_until(one_done, process, "two trials side by side, and one that has ended")
        kill(process)
        process.communicate()
    wait_until_gone(lambda: training_workers(folder))
    with started("search", "study.yaml", cwd=folder) as again:
        _, stderr = again.communicate(timeout=END_S)
    assert again.returncode == 0, stderr
    trials = trials_of(storage(folder))
    check_complete(trials, 6)
    for trial in before:
        if trial.state.is_finished():
            assert trials[trial.number] == trial
    check_mlflow(folder, trials)
    wait_until_gone(lambda: left_behind(folder))


@needs_two_cores
def test_a_wish_to_stop_ends_workers_at_once_and_keeps_all(folder):
    with started("search", "study.yaml", cwd=folder) as process:
        wait_until(lambda: running(trials_of(storage(folder)), least=2), process, "two trials")
        process.terminate()
        stdout, stderr = process.communicate(timeout=END_S)
    assert process.returncode == 130, stderr
    assert "The study 'topics' is interrupted: the same command goes on with it." in stdout
    assert "Traceback" not in stderr
    wait_until_gone(lambda: left_behind(folder))
    trials = trials_of(storage(folder))
    assert not running(trials)
    assert all("losses" not in trial.user_attrs for trial in trials)


def test_one_worker_needs_no_ray(tmp_path):
    write_worker_study(tmp_path, n_trials=2, n_rows=40, tracking="sqlite:///mlflow.db")
    code = "import sys\nfrom search.cli import main\n"
    code += "try:\n    main(['search', 'study.yaml'])\nexcept SystemExit as end:\n"
    code += "    print('status', end.code, 'ray' in sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1] == "status 0 False", done.stderr


def test_without_ray_several_workers_are_refused_with_the_way_out(monkeypatch):
    from search import ray_cluster
    from search.capacity import Share
    from space.errors import UserError

    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    share = Share(cores=1, gpus=0.0, memory_mib=None)
    with (
        pytest.raises(UserError, match=r'pip install "paradapt\[ray\]"'),
        ray_cluster.on_this_machine(2, share),
    ):
        pytest.fail("there is no Ray")
