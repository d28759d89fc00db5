"""Measure what a second worker is worth: whole studies, by the real command, on the same trials.

    python -m tests.benchmarks.table workers

Two workers of one thread, one worker of one thread, and one of two threads each run a study of 24
trials, one after the other on the two cores that the machine must have free. The structures are
random, so that all three train the same ones; all epochs are trained; the cache is warm in all. The
time is that of the trials, from the beginning of the first to the end of the last, as any client of
Optuna can read it: starting Ray and loading the backbone are told apart, for they do not grow with
a study.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from tests.benchmarks.material import STUDY
from tests.benchmarks.rows import Found, Row, say
from tests.benchmarks.sizes import Sizes

N_TRIALS, N_QUICK = 24, 6
ALONE, TOGETHER, THREADED = "one of one thread", "two of one thread", "one of two threads"
SETTINGS = {
    ALONE: ("workers=1", "engine.cores=1"),
    TOGETHER: ("workers=2", "engine.cores=1"),
    THREADED: ("workers=1", "engine.cores=2"),
}
_COMMON = ("sampler=random", "pruner=none", "budget.minutes=null")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One study."""

    trials_s: float
    """From the beginning of the first trial to the end of the last."""
    command_s: float
    """Of the whole command."""
    n_trials: int


def measure(sizes: Sizes) -> Found:
    """Run the studies, and shorter ones before them that fill the cache.

    Raises:
        RuntimeError: a command fails.
    """
    if len(os.sched_getaffinity(0)) < 2:
        row = Row(name="two workers", measured=None, note="two free cores are needed")
        return Found(rows=[row])
    with tempfile.TemporaryDirectory() as folder:
        n_trials = N_TRIALS if sizes.rows > 500 else N_QUICK
        rows = f"data.rows={sizes.rows}"
        for name in (ALONE, THREADED):  # what is fastest, and so what is kept, may differ
            settings = (*SETTINGS[name], rows, "budget.epochs=1")
            _run(Path(folder), f"cache-{SETTINGS[name][1][-1]}", settings, n_trials)
        runs = {
            name: _run(Path(folder), f"run-{place}", (*settings, rows), n_trials)
            for place, (name, settings) in enumerate(SETTINGS.items())
        }
    return Found(rows=_rows(runs), details={name: vars(run) for name, run in runs.items()})


def _rows(runs: dict[str, Run]) -> list[Row]:
    together = runs[TOGETHER].trials_s
    ready_s = runs[TOGETHER].command_s - together - (runs[ALONE].command_s - runs[ALONE].trials_s)
    bounds = ((ALONE, 1.7), (THREADED, 1.3))
    return [
        *(
            Row(
                name=f"workers: {TOGETHER}, to {other}",
                measured=runs[other].trials_s / together,
                unit="times as fast",
                at_least=least,
                note=f"{runs[other].n_trials} trials: {runs[other].trials_s:.0f} s and"
                f" {together:.0f} s",
            )
            for other, least in bounds
        ),
        Row(
            name="workers: what starting two of them adds to a command", measured=ready_s, unit="s"
        ),
    ]


def _run(folder: Path, name: str, settings: tuple[str, ...], n_trials: int) -> Run:
    storage = f"sqlite:///{folder / name}.db"
    places = (
        f"name={name}",
        f"storage={storage}",
        f"tracking=sqlite:///{folder / name}-mlflow.db",
        f"artifacts={folder / 'weights'}",
        f"cache.folder={folder / 'prefix'}",
    )
    words: list[Any] = [Path(sys.executable).with_name("paradapt"), "search", STUDY]
    for setting in (*places, *_COMMON, *settings, f"budget.trials={n_trials}"):
        words += ["--set", setting]
    threads = next(s for s in settings if s.startswith("engine.cores=")).rpartition("=")[2]
    say(f"{name}: {', '.join(settings)}")
    began = time.monotonic()
    done = subprocess.run(
        words,
        env=os.environ | {"OMP_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    command_s = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"{name} ended with status {done.returncode}:\n{done.stdout}")
    trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    starts = [trial.datetime_start for trial in trials if trial.datetime_start]
    ends = [trial.datetime_complete for trial in trials if trial.datetime_complete]
    return Run(
        trials_s=(max(ends) - min(starts)).total_seconds(),
        command_s=command_s,
        n_trials=len(trials),
    )
