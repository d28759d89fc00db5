"""A tiny study for several workers or drivers, and what plain Optuna and MLflow see of it."""

import os
import signal
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import optuna
import psutil
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from tests.end_to_end.tiny_study import start, tiny_backbone, write_rows, write_study
from tests.search.finished_study import tracking_store

SPACE = {"depth": [1, 2], "rank": [2, 4, 8]}
WAIT_S = 180


def write_worker_study(folder, *, n_trials=6, n_rows=300, **changes):
    """Write a study whose trials take long enough to be hit; return its file."""
    if not (folder / "tiny").exists():
        tiny_backbone(folder / "tiny")
        tracking_store(folder)
        write_rows(folder / "rows.csv", n_rows)
    usual = {
        "backbone": "tiny",
        "space": SPACE,
        "budget": {"trials": n_trials, "epochs": 3},
        "training": {"batch_size": 4},
        "cache": {"folder": "cache"},
        "pruner": "none",
    }
    return write_study(folder, **(usual | changes))


def trials_of(storage, name="topics", folder=None):
    """What plain Optuna sees; nothing before the study is there, which its lock tells.

    Who looks at a database before makes its tables, beside the command that makes them.
    """
    lock = Path(f"{storage.removeprefix('sqlite:///')}.{name}.lock")
    if folder is not None:
        lock = folder / "paradapt-artifacts" / name / "driver.lock"
    if not lock.exists():
        return []
    try:
        database = optuna.storages.RDBStorage(storage, engine_kwargs={"poolclass": NullPool})
    except (SQLAlchemyError, optuna.exceptions.OptunaError):
        return []  # its tables are being made
    try:
        return optuna.load_study(study_name=name, storage=database).get_trials()
    except (KeyError, optuna.exceptions.StorageInternalError):
        return []
    finally:
        database.remove_session()
        database.engine.dispose()


def wait_until(condition, process, what, wait_s=WAIT_S):
    """Wait until something holds while a command runs; return what the condition gave."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not in {wait_s} s: {what}")


def training_workers(folder):
    """The processes of Ray's workers that train a study in this folder right now."""
    return [
        process
        for process in psutil.process_iter(["cwd", "cmdline"])
        if "ray::Worker.train" in " ".join(process.info["cmdline"] or [])
        and str(folder) in (process.info["cwd"] or "")
    ]


def wait_until_gone(processes):
    """Wait until there are none of these any more: they end by themselves."""
    deadline = time.monotonic() + 60
    while processes():
        assert time.monotonic() < deadline, processes()
        time.sleep(0.2)


def running(trials, least=1):
    """The trials whose training has begun, if there are so many."""
    found = [t for t in trials if t.state == TrialState.RUNNING and "spec" in t.user_attrs]
    return found if len(found) >= least else []


def check_complete(trials, n_trials):
    """So many trainings ended well, none counts twice, nothing is open or half done."""
    own = [t for t in trials if "same_as" not in t.user_attrs]
    complete = [t for t in own if t.state == TrialState.COMPLETE]
    assert len(complete) == n_trials
    structures = Counter((t.user_attrs["spec"], str(t.user_attrs["learning"])) for t in complete)
    assert set(structures.values()) == {1}
    assert all(trial.state.is_finished() for trial in trials)
    for trial in trials:
        done = trial.user_attrs["end"] == "complete"
        assert done == (trial.state == TrialState.COMPLETE)
        if done:
            assert trial.values == [
                trial.user_attrs["metrics"][name] for name in ("accuracy", "inference_gflops")
            ]
        else:
            assert trial.values is None and trial.user_attrs["reason"]
    retries = Counter(t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs)
    assert set(retries.values()) <= {1}


def check_mlflow(folder, trials):
    """Plain MLflow sees one ended run for every trial; return these."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("topics").experiment_id
    runs = client.search_runs([experiment], max_results=50_000)
    children = [run for run in runs if run.data.tags["paradapt.kind"] == "trial"]
    numbers = sorted(int(run.data.tags["paradapt.trial"]) for run in children)
    assert numbers == [trial.number for trial in trials]
    assert all(run.info.status != "RUNNING" for run in runs)
    return children


def trial_runs(folder, name="topics"):
    """The runs of trials that plain MLflow has of a study, by the number of the trial."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name).experiment_id
    runs = client.search_runs([experiment], "tags.`paradapt.kind` = 'trial'", max_results=1000)
    return {int(run.data.tags["paradapt.trial"]): run for run in runs}


@contextmanager
def started(*words, cwd):
    """Start the real command; it is killed, if it still runs, when the test is over."""
    process = start(*words, cwd=cwd)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process)
            process.communicate()


def kill(process):
    """End a command, or a worker, as nothing can be caught."""
    os.kill(process.pid, signal.SIGKILL)


def left_behind(folder):
    """The processes of Ray's that were begun for a study in this folder and still run."""
    return [
        process
        for process in psutil.process_iter(["cwd", "cmdline"])
        if str(folder) in (process.info["cwd"] or "")
        and "ray" in " ".join(process.info["cmdline"] or [])
    ]
