"""What MLflow's projection takes: a run for each trial, and the pages of a long study."""

import time
from pathlib import Path

import optuna

from search.pages.table import FIRST_PAGE, PAGES
from search.snapshot import take_snapshot
from search.study_file import StudySpec
from search.tracking import Projection

N_RUNS = 40
"""Trials whose runs are timed."""


def run_s(stored: optuna.Study, study: StudySpec, folder: Path) -> float:
    """Return the seconds that the run of one more trial takes, in a new SQLite store."""
    from dataclasses import replace

    whole = take_snapshot(stored, study, Path("study.yaml"), "running")
    projection = Projection(f"sqlite:///{folder / 'mlflow.db'}", study.name)
    ended = [trial for trial in whole.trials if trial.state.is_finished()]
    projection.update(replace(whole, trials=tuple(ended[:5])))
    began = time.perf_counter()
    projection.update(replace(whole, trials=tuple(ended[: 5 + N_RUNS])))
    return (time.perf_counter() - began) / N_RUNS


def pages_s(stored: optuna.Study, study: StudySpec) -> tuple[float, float]:
    """Return the seconds that the first page takes, and all pages together."""
    snapshot = take_snapshot(stored, study, Path("study.yaml"), "running")
    seconds = {}
    for name, page in PAGES.items():
        began = time.perf_counter()
        page(snapshot)
        seconds[name] = time.perf_counter() - began
    return seconds[FIRST_PAGE], sum(seconds.values())
