"""A tracking server that is killed in the middle of a study: MLflow is made up for, no trial lost.

The server is MLflow's own, the study is read back by plain Optuna and by plain MLflow over HTTP.
"""

import os
import signal
import sys
from contextlib import contextmanager
from itertools import pairwise

import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from search.local_server import free_port, running_server
from tests.end_to_end.mlflow_runs import check_runs
from tests.end_to_end.tiny_study import messages
from tests.end_to_end.worker_study import (
    check_complete,
    started,
    trials_of,
    wait_until,
    write_worker_study,
)
from tests.search.finished_study import tracking_store

SEARCH = ("search", "study.yaml")
END_S = 300
START_S = 90.0
WAITED_S = 8.0
"""Between the end of a trial and the beginning of the next: a call that waits takes 10 s."""


class TrackingServer:
    """`mlflow server` with a database in a folder, always on the same port of this machine."""

    def __init__(self, folder):
        folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            "MLFLOW_BACKEND_STORE_URI": tracking_store(folder),
            "MLFLOW_ARTIFACTS_DESTINATION": (folder / "artifacts").as_uri(),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }

    @contextmanager
    def up(self):
        """Run it; what is given kills it, and all of its children, as nothing can be caught."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        health = f"{self.url}/health"
        with running_server(command, self._environment, health, start_s=START_S) as server:

            def kill():
                os.killpg(server.pid, signal.SIGKILL)
                server.wait(20)

            yield kill


class Said:
    """What a command has said so far on its standard error, read while it runs."""

    def __init__(self, process):
        self._number = process.stderr.fileno()
        os.set_blocking(self._number, False)
        self._bytes = b""

    def text(self):
        try:
            while chunk := os.read(self._number, 2**16):
                self._bytes += chunk
        except BlockingIOError:
            pass
        return self._bytes.decode(errors="replace")


@pytest.fixture
def server(tmp_path):
    return TrackingServer(tmp_path / "server")


def n_ended(storage):
    return sum(trial.state.is_finished() for trial in trials_of(storage))


def check_never_waited(trials):
    """No trial began late because somebody waited for the server."""
    for before, trial in pairwise(trials):
        waited = (trial.datetime_start - before.datetime_complete).total_seconds()
        assert waited < WAITED_S, trial.number


@pytest.mark.slow  # a minute
def test_a_server_that_comes_back_in_the_middle_has_all_at_the_end(tmp_path, server):
    n_trials = 16
    write_worker_study(tmp_path, n_trials=n_trials, n_rows=400, tracking=server.url)
    storage = f"sqlite:///{tmp_path / 'paradapt.db'}"
    with server.up() as kill, started(*SEARCH, cwd=tmp_path) as process:
        said = Said(process)
        wait_until(lambda: n_ended(storage) >= 2, process, "two trials")
        kill()
        away_from = n_ended(storage)
        wait_until(lambda: "Tracking at" in said.text(), process, "a call that fails")
        wait_until(lambda: n_ended(storage) >= away_from + 3, process, "three trials meanwhile")
        before = trials_of(storage)
        # It sleeps while the server starts, which takes longer than all of its trials may.
        os.kill(process.pid, signal.SIGSTOP)
        assert n_ended(storage) < n_trials - 1
        with server.up():
            os.kill(process.pid, signal.SIGCONT)
            stderr = said.text()
            stdout, rest = process.communicate(timeout=END_S)
            stderr += rest
            assert process.returncode == 0, stderr
            after = trials_of(storage)
            check_complete(after, n_trials)
            assert len(after) == n_trials  # none was cut off
            check_runs(MlflowClient(server.url), after)
    assert "The study 'topics' is finished" in stdout and "not complete" not in stdout
    assert messages(stderr) == []
    assert stderr.count(f"Tracking at {server.url} failed") == 1 and "The study goes on" in stderr
    assert all(after[t.number] == t for t in before if t.state.is_finished())
    check_never_waited(before)


def test_a_server_that_stays_away_is_made_up_for_by_the_same_command(tmp_path, server):
    n_trials = 4
    write_worker_study(tmp_path, n_trials=n_trials, n_rows=400, tracking=server.url)
    storage = f"sqlite:///{tmp_path / 'paradapt.db'}"
    with server.up() as kill, started(*SEARCH, cwd=tmp_path) as process:
        wait_until(lambda: n_ended(storage) >= 2, process, "two trials")
        kill()
        stdout, stderr = process.communicate(timeout=END_S)
    assert process.returncode == 0, stderr
    assert "The study 'topics' is finished" in stdout
    assert "MLflow's pages are not complete; the same search command makes up for it" in stdout
    assert messages(stderr) == []
    assert stderr.count(f"Tracking at {server.url} failed") == 1
    before = trials_of(storage)
    check_complete(before, n_trials)
    check_never_waited(before)
    assert all(trial.state == TrialState.COMPLETE for trial in before)

    with server.up():
        with started(*SEARCH, cwd=tmp_path) as process:
            stdout, stderr = process.communicate(timeout=END_S)
        assert process.returncode == 0, stderr
        assert "not complete" not in stdout and "failed (" not in stderr
        assert messages(stderr) == []
        assert trials_of(storage) == before  # nothing was trained
        check_runs(MlflowClient(server.url), before)
