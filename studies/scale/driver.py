"""What the driver does for one trial, done for real and timed: ask, decide at each rung, tell.

The functions are those of the search; only the training is looked up (trainings.py).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna

from search.ending import End, finish, note_structure, twin_of
from search.objectives import known_costs
from search.proposals import next_trial
from search.rungs import decide
from search.study_file import StudySpec
from space.cost import CostModel, HeadShape, TokenStats
from space.default_space import default_space
from studies.scale.trainings import N_EPOCHS, Training, Trainings
from trainers.backbone import load_backbone
from trainers.calibration import ways
from trainers.reports import EpochReport

STEPS = ("ask", "decide", "tell")


@dataclass
class Spent:
    """Seconds of one step of one trial."""

    whole_s: float = 0.0
    storage_s: float = 0.0
    """Of these in the storage, waiting for its database included."""
    n_calls: int = 0
    """Of the storage."""


@dataclass
class TimedStorage:
    """Optuna's storage, each call of it timed."""

    storage: Any
    seconds: float = 0.0
    n_calls: int = 0
    depth: int = field(default=0, repr=False)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.storage, name)
        if not callable(found):
            return found

        def timed(*words: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return found(*words, **named)
            finally:
                self.seconds += time.perf_counter() - began
                self.n_calls += 1

        return timed


class Driver:
    """A study on a storage, whose trials are run without training."""

    def __init__(self, url: str, n_trials: int) -> None:
        self.study = StudySpec(
            name="scale",
            task="text-classification",
            backbone="minilm",
            data={"source": "docstrings"},  # type: ignore[arg-type]
            budget={"trials": n_trials, "epochs": N_EPOCHS},  # type: ignore[arg-type]
            baselines=(),
            starting_points=(),
            storage=url,
        )
        backbone = load_backbone("minilm", Path(), "text-classification")
        head = HeadShape(n_outputs=10)
        self._context: Any = SimpleNamespace(
            study=self.study,
            space=default_space(backbone.shape, head),
            backbone=backbone,
            cost=CostModel(
                shape=backbone.shape, head=head, tokens=TokenStats.of([12]), ways=ways()
            ),
        )
        self._trainings = Trainings()
        self.stored = optuna.create_study(
            study_name="scale",
            storage=url,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        self._storage = TimedStorage(self.stored._storage)
        self.stored._storage = self._storage  # type: ignore[assignment]

    def run(self) -> tuple[dict[str, Spent], Training, int]:
        """Run one trial; return what each step took, its training, and epochs until its end."""
        spent = {step: Spent() for step in STEPS}
        with self._timed(spent["ask"]):
            asked = next_trial(self._context, self.stored, lambda *_: None)
            assert asked is not None
            trial, _ = asked
            spec, learning = self._context.space.sample(trial)
            note_structure(trial, spec, learning)
            costs = known_costs(spec, self._context.cost)
            twin_of(trial)
        training = self._trainings.of(spec, trial.number)
        history: list[EpochReport] = []
        goes_on = True
        while goes_on and len(history) < N_EPOCHS:
            accuracy = training.accuracies[len(history)]
            report = EpochReport(
                epoch=len(history) + 1.0,
                time_ms=int(time.time() * 1000),
                metrics={"accuracy": accuracy, "validation_loss": 1 - accuracy, "train_loss": 0.5},
            )
            history.append(report)
            with self._timed(spent["decide"]):
                goes_on = decide(self._context, trial, self.study.stopping, report, costs)
        metrics = {**costs, **history[-1].metrics, "train_s": sum(training.epoch_s)}
        with self._timed(spent["tell"]):
            if goes_on:
                end = End(kind="complete", metrics=metrics, history=history)
            else:
                end = End.pruned(trial, metrics, history)
            finish(self._context, trial, end)
        return spent, training, len(history)

    @contextmanager
    def _timed(self, spent: Spent) -> Iterator[None]:
        began, seconds, n_calls = time.perf_counter(), self._storage.seconds, self._storage.n_calls
        yield
        spent.whole_s += time.perf_counter() - began
        spent.storage_s += self._storage.seconds - seconds
        spent.n_calls += self._storage.n_calls - n_calls
