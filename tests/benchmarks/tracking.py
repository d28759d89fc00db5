"""What tracking costs a study of many short trials, and how old its pages get meanwhile.

The real driver, storage, thread and projection run a study whose trials are made up: each burns
a fixed number of processor seconds in products of matrices, as a training does, and ends as a
real one, with a history and metrics. Wanted: tracking takes less than 2 % of the processor time
of the study, and no page of a running study is older than 30 s. MLflow's database is there: it is
made once for all studies of a folder, and what that takes is told apart.
"""

import random
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import torch

from search import driver, in_process
from search.context import StudyContext, prepare
from search.facts import facts_of
from search.job import Job, Outcome
from search.mlflow_client import new_client
from search.pages.table import FIRST_PAGE, PAGES
from search.snapshot import FACTS, take_snapshot
from search.store import open_study
from search.study_file import load_study_file
from search.system_metrics import system_monitor
from search.tracking import Projection
from search.tracking_thread import TrackingThread
from tests.benchmarks.rows import Found, Row, say
from tests.benchmarks.sizes import QUICK, Sizes
from tests.end_to_end.tiny_study import tiny_backbone, write_rows, write_study
from trainers.fit import EpochReport

N_TRIALS, N_QUICK = 200, 8
TRIAL_S, QUICK_S = 2.0, 0.5
"""Processor seconds of a trial. Those of the quickstart take about four times as long."""
EPOCHS = 4
MAX_SHARE, MAX_AGE_S = 0.02, 30.0


def measure(sizes: Sizes) -> Found:
    """Run the study and return what tracking took of it."""
    n_trials, trial_s = (N_QUICK, QUICK_S) if sizes == QUICK else (N_TRIALS, TRIAL_S)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        found = _run(_context(Path(name), n_trials), Path(name), n_trials, trial_s)
    ages = found["ages_s"]
    rows = [
        Row(
            name=f"processor time of tracking, of {n_trials} trials of {trial_s:g} s",
            measured=100 * found["share"],
            unit="%",
            at_most=100 * MAX_SHARE,
        ),
        Row(name="making MLflow's database, once", measured=found["database_s"], unit="s"),
        Row(
            name="oldest that the first page of a running study was",
            measured=max(ages[FIRST_PAGE], default=None),
            unit="s",
            at_most=MAX_AGE_S,
        ),
        Row(
            name="oldest that any other page was",
            measured=max((age for name in PAGES for age in ages[name]), default=None),
            unit="s",
            at_most=MAX_AGE_S,
        ),
    ]
    return Found(rows=rows, details=found)


def _context(folder: Path, n_trials: int) -> StudyContext:
    tiny_backbone(folder / "backbone")
    write_rows(folder / "rows.csv", 60)
    path = write_study(
        folder,
        backbone=str(folder / "backbone"),
        budget={"trials": n_trials, "epochs": EPOCHS},
        space={"depth": [1, 2], "rank": [2, 4, 8, 16]},
        pruner="none",
        sampler="random",  # what a sampler takes is no matter of tracking
        cache={"gib": 0},
    )
    return prepare(load_study_file(path), folder, stage=lambda _: None)


def _run(context: StudyContext, folder: Path, n_trials: int, trial_s: float) -> dict[str, Any]:
    began_cpu = time.process_time()
    new_client(context.study.tracking)
    database_s = time.process_time() - began_cpu
    stored = open_study(context)
    stored.set_user_attr(FACTS, facts_of(context))
    projection = _Watched(context.study.tracking, context.study.name)
    thread = TrackingThread(projection, warn=say, measure=system_monitor())
    draw = random.Random(0)

    def made_up(context: StudyContext, job: Job, report: Any, tick: Any) -> Outcome:
        history = [_epoch(number, draw, trial_s, tick) for number in range(1, EPOCHS + 1)]
        metrics = {**job.costs, **history[-1].metrics, "train_s": trial_s, "peak_memory_mib": 512.0}
        return Outcome(metrics=metrics, history=history, stopped=False, attributes={})

    def take(status: Any) -> Any:
        return lambda: take_snapshot(stored, context.study, folder / "study.yaml", status)

    before = in_process.work
    in_process.work = made_up
    began, began_cpu = time.monotonic(), time.process_time()
    thread.submit(take("running"))
    try:
        observer = driver.Observer(
            tick=lambda *_: None, ended=lambda *_: thread.submit(take("running"))
        )
        driver.run_study(context, stored, observer)
        ended = time.monotonic()
        complete = thread.close(take("finished"))
    finally:
        in_process.work = before
    assert complete, "the projection is not complete"
    cpu_s = time.process_time() - began_cpu
    return {
        "share": thread.busy_s / cpu_s,
        "tracking_s": thread.busy_s,
        "study_s": cpu_s,
        "wall_s": time.monotonic() - began,
        "database_s": database_s,
        "updates": projection.n_updates,
        "ages_s": {name: _gaps(began, at, ended) for name, at in projection.drawn_at.items()},
    }


class _Watched(Projection):
    """A projection that notes when each page was written."""

    def __init__(self, tracking_uri: str, study_name: str) -> None:
        super().__init__(tracking_uri, study_name)
        self.n_updates = 0
        self.drawn_at: dict[str, list[float]] = {name: [] for name in PAGES}

    def update(self, snapshot: Any) -> None:
        """Update, and note which pages were written while the study ran."""
        before = dict(self._written)
        super().update(snapshot)
        self.n_updates += 1
        for name, times in self.drawn_at.items():
            if snapshot.status == "running" and before.get(name) != self._written.get(name):
                times.append(time.monotonic())


def _gaps(began: float, drawn_at: list[float], ended: float) -> list[float]:
    """Seconds between drawings, from the study's start to its end."""
    within = [moment for moment in drawn_at if moment < ended]
    return [later - earlier for earlier, later in pairwise([began, *within, ended])]


def _epoch(number: int, draw: random.Random, trial_s: float, tick: Any) -> EpochReport:
    until = time.thread_time() + trial_s / EPOCHS
    left, right = torch.ones(256, 256), torch.ones(256, 256)
    while time.thread_time() < until:
        left @ right
        tick(0, 1)
    accuracy = 0.5 + 0.1 * number + 0.1 * draw.random()
    metrics = {
        "accuracy": accuracy,
        "macro_f1": accuracy - 0.02,
        "validation_loss": 1 - accuracy,
        "train_loss": 0.9 - accuracy,
        "seconds": trial_s / EPOCHS,
    }
    return EpochReport(epoch=number, time_ms=int(time.time() * 1000), metrics=metrics)
