"""A worker that is an actor of Ray's: it prepares the study once and trains trial after trial."""

import time
from pathlib import Path
from typing import Any

import ray
import torch

from search import cores
from search.context import StudyContext, prepare
from search.job import Failure, Job, Outcome
from search.study_file import StudySpec
from search.trial import work
from trainers.engine import Engine
from trainers.reports import EpochReport

TICK_S = 0.5
"""How often a worker says how far it is."""


class Worker:
    """Trains structures of one study.

    Args:
        study: without passwords, which a worker does not need.
        folder: the study file's.
        engine: how the frozen blocks run, as the driver has measured it: all trials are alike.
        n_threads: cores that it runs on.
        desk: the actor that it reports to.
    """

    def __init__(
        self, study: StudySpec, folder: str, engine: Engine, n_threads: int, desk: Any
    ) -> None:
        self._cores = cores.claim(n_threads)
        torch.set_num_threads(n_threads)
        self._study, self._folder, self._engine, self._desk = study, folder, engine, desk
        self._context: StudyContext | None = None

    def prepare(self) -> None:
        """Prepare the study.

        Raises:
            UserError: what the study file names is not on this machine.
        """
        self._context = prepare(
            self._study,
            Path(self._folder),
            stage=lambda _: None,
            tell=lambda notice: self._desk.tell.remote(notice),
            engine=self._engine,
        )

    def train(self, job: Job) -> Outcome | Failure:
        """Train one structure; the loop of the study says at each rung whether it goes on."""
        assert self._context is not None, "the study is not prepared"
        told_s = float("-inf")

        def report(epoch: EpochReport) -> bool:
            return bool(ray.get(self._desk.report.remote(job.number, epoch.to_dict())))

        def tick(n_done: int, n_steps: int) -> None:
            nonlocal told_s
            now = time.monotonic()
            if now - told_s >= TICK_S:
                told_s = now
                self._desk.tick.remote(job.number, n_done, n_steps)

        return work(self._context, job, report, tick)
