"""Two commands on one study: refused on SQLite, side by side on PostgreSQL."""

import pytest

from tests.end_to_end.tiny_study import messages
from tests.end_to_end.worker_study import (
    check_complete,
    kill,
    running,
    started,
    trials_of,
    wait_until,
    write_worker_study,
)
from tests.postgres_server import PASSWORD, postgres

__all__ = ["postgres"]
END_S = 400


def test_a_second_driver_on_sqlite_is_refused_with_the_way_out(tmp_path):
    write_worker_study(tmp_path, n_rows=900)
    storage = f"sqlite:///{tmp_path / 'paradapt.db'}"
    # Its weights elsewhere, so that the lock beside the database alone can stop it.
    elsewhere = ("search", "study.yaml", "--set", "artifacts=elsewhere")
    with started("search", "study.yaml", cwd=tmp_path) as first:
        wait_until(lambda: running(trials_of(storage)), first, "a trial")
        with started(*elsewhere, cwd=tmp_path) as second:
            _, stderr = second.communicate(timeout=END_S)
            assert second.returncode == 2
        (message,) = messages(stderr)
        assert f"(process {first.pid}). Wait for it, or stop it first." in message
        assert message.endswith("whose storage is PostgreSQL (postgresql+psycopg://...).")
        kill(first)
        first.communicate()
    with started(*elsewhere, "--set", "budget.trials=1", cwd=tmp_path) as third:
        _, stderr = third.communicate(timeout=END_S)
        assert third.returncode == 0, stderr  # the lock went with the process


@pytest.fixture
def shared(tmp_path, postgres):
    """A study on PostgreSQL that two drivers track apart, and where it is."""
    name = f"topics {tmp_path.name}"[:90]
    write_worker_study(tmp_path, n_trials=8, name=name, storage=postgres.url)
    return tmp_path, postgres.url, name


FIRST = ("search", "study.yaml")
SECOND = (*FIRST, "--set", "tracking=sqlite:///second.db")


def test_two_drivers_on_postgresql_share_a_study(shared):
    folder, storage, name = shared
    with started(*FIRST, cwd=folder) as first, started(*SECOND, cwd=folder) as second:
        outputs = [process.communicate(timeout=END_S) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert PASSWORD not in str(outputs)
    trials = trials_of(storage, name, folder)
    check_complete(trials, 8)
    assert len({trial.user_attrs["driver"] for trial in trials}) == 2
    baselines = [t.user_attrs["baseline"] for t in trials if "baseline" in t.user_attrs]
    assert sorted(baselines) == ["bottleneck_all", "head_only", "lora_all"]


@pytest.mark.slow
def test_what_a_killed_driver_ran_the_other_runs_again(shared):
    folder, storage, name = shared

    def who():
        found = running(trials_of(storage, name, folder), least=2)
        return {t.user_attrs["driver"] for t in found if "driver" in t.user_attrs}

    with started(*FIRST, cwd=folder) as first, started(*SECOND, cwd=folder) as second:
        wait_until(lambda: len(who()) == 2, first, "a trial of each driver")
        kill(first)
        first.communicate()
        _, stderr = second.communicate(timeout=END_S)
    assert second.returncode == 0, stderr
    trials = trials_of(storage, name, folder)
    check_complete(trials, 8)
    cut = [t for t in trials if t.user_attrs["end"] == "interrupted"]
    assert [t.user_attrs["reason"] for t in cut] == ["the process ended in the middle of it"]
