"""The part of the benchmarks on workers: its ratios, and what it runs."""

import subprocess
from types import SimpleNamespace

import pytest

from tests.benchmarks import workers
from tests.benchmarks.sizes import QUICK
from tests.benchmarks.workers import ALONE, THREADED, TOGETHER, Run


def test_a_ratio_is_of_the_time_of_the_trials():
    runs = {
        ALONE: Run(trials_s=100.0, command_s=110.0, n_trials=24),
        TOGETHER: Run(trials_s=50.0, command_s=75.0, n_trials=24),
        THREADED: Run(trials_s=80.0, command_s=90.0, n_trials=24),
    }
    rows = workers._rows(runs)
    assert [row.measured for row in rows] == [2.0, 1.6, 15.0]
    assert [row.at_least for row in rows] == [1.7, 1.3, None]


def test_without_two_cores_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: {0})
    (row,) = workers.measure(QUICK).rows
    assert row.measured is None and row.note == "two free cores are needed"


def test_a_command_that_fails_is_told(monkeypatch, tmp_path):
    asked = []

    def run(words, **_):
        asked.append([str(word) for word in words])
        return SimpleNamespace(returncode=2, stdout="no such study")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RuntimeError, match=r"a ended with status 2:\nno such study"):
        workers._run(tmp_path, "a", workers.SETTINGS[TOGETHER], 24)
    (words,) = asked
    assert {"workers=2", "engine.cores=1", "budget.trials=24", "pruner=none"} <= set(words)
