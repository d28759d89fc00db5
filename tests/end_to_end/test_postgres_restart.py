"""PostgreSQL restarts in the middle of a study: the trials wait for it, and none is lost."""

import subprocess
import sys
import time

import pytest

from tests.end_to_end.tiny_study import environment
from tests.end_to_end.worker_study import (
    check_complete,
    check_mlflow,
    running,
    started,
    trials_of,
    wait_until,
    write_worker_study,
)
from tests.postgres_server import PASSWORD, postgres_server

N_TRIALS = 6
AWAY_S = 6.0
END_S = 200


def begun(url, folder, process, number):
    """Wait until a trial trains; return the trials of that moment."""

    def found():
        trials = running(trials_of(url, folder=folder))
        return trials if any(trial.number >= number for trial in trials) else []

    wait_until(found, process, f"trial {number} trains")
    return trials_of(url, folder=folder)


def test_a_restart_in_the_middle_costs_no_trial(tmp_path):
    with postgres_server() as server:
        write_worker_study(tmp_path, n_trials=N_TRIALS, storage=server.url)
        with started("search", "study.yaml", cwd=tmp_path) as process:
            before = begun(server.url, tmp_path, process, 1)
            server.stop("immediate")  # as a crash: whatever was in a transaction is undone
            time.sleep(AWAY_S)
            assert process.poll() is None
            server.start()
            begun(server.url, tmp_path, process, 3)
            server.stop()
            server.start()
            stdout, stderr = process.communicate(timeout=END_S)
        assert process.returncode == 0, stderr
        assert "The study 'topics' is finished" in stdout
        assert "Traceback" not in stderr and PASSWORD not in stdout + stderr
        assert "the database does not answer" in stderr
        after = trials_of(server.url, folder=tmp_path)
        check_complete(after, N_TRIALS)
        # What trained meanwhile went on: nothing was run again.
        assert len(after) == N_TRIALS
        for trial in before:
            if trial.state.is_finished():
                assert after[trial.number] == trial
        check_mlflow(tmp_path, after)


def impatient(folder):
    """Start the same command, which waits for a database for three seconds only."""
    code = "import sys; from search import patience; patience.PATIENCE_S = 3.0\n"
    code += "from search.cli import main; main(['search', 'study.yaml'])\n"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow  # a minute
def test_one_that_stays_away_ends_the_command_and_the_same_goes_on(tmp_path):
    with postgres_server() as server:
        write_worker_study(tmp_path, n_trials=3, storage=server.url)
        with impatient(tmp_path) as process:
            before = begun(server.url, tmp_path, process, 1)
            server.stop("immediate")
            _, stderr = process.communicate(timeout=END_S)
        assert process.returncode == 1, stderr
        assert "Traceback" not in stderr and PASSWORD not in stderr
        last = stderr.strip().splitlines()[-1]
        assert last.startswith("paradapt: ") and "storage: postgresql+psycopg://" in last
        assert "the same command goes on" in last and last.endswith("is kept.")
        server.start()
        with started("search", "study.yaml", cwd=tmp_path) as again:
            _, stderr = again.communicate(timeout=END_S)
        assert again.returncode == 0, stderr
        after = trials_of(server.url, folder=tmp_path)
        check_complete(after, 3)
        for trial in before:
            if trial.state.is_finished():
                assert after[trial.number] == trial
        check_mlflow(tmp_path, after)
