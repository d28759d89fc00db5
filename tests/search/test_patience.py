"""Databases that are away for a while, or full."""

import inspect
import re
import sqlite3
import threading

import optuna
import pytest
from optuna.storages import RDBStorage, _CachedStorage
from sqlalchemy.exc import IntegrityError, OperationalError

from search import patience
from search.patience import Patience
from search.patient_storage import CALLS, PatientStorage, patience_of

POSTGRES = "postgresql+psycopg://me:secret@host/base"


def failing(reason, kind=OperationalError):
    return kind("SELECT 1", {}, Exception(reason))


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only in pauses."""
    now = [0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        patience.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    return now


class TestPatience:
    def test_it_waits_says_so_once_and_gives_what_the_call_gives(self, clock):
        told, left = [], [failing("server closed the connection\nmore of it")] * 5

        def call():
            if left:
                raise left.pop()
            return "answer"

        assert Patience(POSTGRES, told.append).run(call) == "answer"
        (line,) = told
        assert "does not answer (server closed the connection)" in line
        assert clock[0] == 5 * patience.PAUSE_S

    def test_it_ends_and_then_waits_no_more(self, clock):
        patient = Patience(POSTGRES)

        def call():
            raise failing("no answer from postgresql://me:secret@host/base")

        with pytest.raises(OSError, match=r"does not answer for 60[01] s") as caught:
            patient.run(call)
        assert "secret" not in str(caught.value) and "the same command goes on" in str(caught.value)
        ended = clock[0]
        with pytest.raises(OSError, match="does not answer"):
            patient.run(call)
        assert clock[0] == ended

    @pytest.mark.parametrize(
        ("storage", "error"),
        [
            (POSTGRES, failing("duplicate key", IntegrityError)),
            (POSTGRES, optuna.exceptions.UpdateFinishedTrialError()),
            ("sqlite:///a.db", failing("no such table: trials")),
            (POSTGRES, optuna.exceptions.StorageInternalError("of something else")),
        ],
    )
    def test_what_does_not_pass_is_raised_at_once(self, clock, storage, error):
        def call():
            raise error

        with pytest.raises(type(error)) as caught:
            Patience(storage).run(call)
        assert caught.value is error and clock[0] == 0

    def test_a_full_disk_is_told_at_once(self, clock):
        def call():
            try:
                raise failing("database or disk is full")
            except OperationalError as error:
                raise optuna.exceptions.StorageInternalError("While committing") from error

        with pytest.raises(OSError, match=r"the disk of sqlite:///a.db is full") as caught:
            Patience("sqlite:///a.db").run(call)
        assert clock[0] == 0 and isinstance(caught.value.__cause__.__cause__, OperationalError)


class TestPatientStorage:
    def test_all_that_optunas_cache_calls_for_a_study_is_patient(self):
        called = set(re.findall(r"_backend\.(\w+)", inspect.getsource(_CachedStorage)))
        unused = {
            "_get_best_trial_id",  # of studies with one objective
            "_get_stale_trial_ids",  # heartbeats are not used
            "delete_study",
            "get_heartbeat_interval",
            "get_heartbeat_stale_trial_callback",
            "record_heartbeat",
        }
        assert called - unused == set(CALLS)
        for name in CALLS:
            assert getattr(PatientStorage, name) is not getattr(RDBStorage, name)

    def test_a_database_that_another_program_locks_is_waited_for(self, tmp_path):
        told = []
        url = f"sqlite:///{tmp_path / 'a.db'}"
        stored = optuna.create_study(
            storage=PatientStorage(url, told.append), directions=["maximize", "minimize"]
        )
        assert patience_of(stored)._storage == url
        other = sqlite3.connect(tmp_path / "a.db", check_same_thread=False)
        other.execute("BEGIN EXCLUSIVE")
        timer = threading.Timer(6.5, other.rollback)  # SQLite itself waits for five seconds
        timer.start()
        trial = stored.ask()
        stored.tell(trial, [1.0, 2.0])
        timer.join()
        other.close()
        assert "database is locked" in told[0]
        seen = optuna.load_study(study_name=stored.study_name, storage=url).get_trials()
        assert [found.values for found in seen] == [[1.0, 2.0]]
