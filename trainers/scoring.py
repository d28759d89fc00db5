"""Score a trained model once on rows that it never saw: metrics, and what became of each row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data import Table, TargetScale, sorted_batches
from trainers.early_exit import confidence, taken_exits
from trainers.engine import Engine, autocast
from trainers.metrics import meter_of
from trainers.model import AdaptedModel
from trainers.outcomes import Outcomes, in_row_order, outcomes_of
from trainers.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a model made of the rows of a table."""

    metrics: dict[str, float]
    """Of the task; the loss is `test_loss`."""
    outcomes: Outcomes
    """For each row, in the table's order."""
    exits: NDArray[numpy.int64] | None
    """The index of each row's exit, the end the last; None: no row leaves early."""


class Scorer:
    """Sums up metrics and outcomes over batches in any order.

    Args:
        task: what is learned.
        labels: names of the labels, where the task has them.
        scale: of numbers, where they are learned.
    """

    def __init__(self, task: Task, labels: Sequence[str], scale: TargetScale | None) -> None:
        self._task = task
        self._labels = labels
        self._scale = scale
        self._meter = meter_of(task, labels, scale)
        self._parts: list[tuple[NDArray[numpy.int64], Outcomes]] = []

    def update(self, rows: NDArray[numpy.int64], logits: Tensor, truth: Tensor) -> None:
        """Take the answers for some rows, on any device."""
        self._meter.update(logits, truth)
        own = outcomes_of(self._task, self._labels, self._scale, logits, truth)
        self._parts.append((rows, own))

    def scores(self, exits: NDArray[numpy.int64] | None = None) -> Scores:
        """Return the scores of all rows; `exits` is handed on."""
        metrics = self._meter.compute()
        metrics["test_loss"] = metrics.pop("validation_loss")
        return Scores(metrics=metrics, outcomes=in_row_order(self._parts), exits=exits)


@torch.inference_mode()
def score(
    model: AdaptedModel,
    table: Table,
    task: Task,
    *,
    labels: Sequence[str],
    scale: TargetScale | None,
    engine: Engine,
    batch_size: int,
    exit_threshold: float | None = None,
) -> Scores:
    """Score a trained model on all rows of a table.

    Args:
        model: as it was trained.
        table: the rows, with known boundaries or without.
        task: what is learned.
        labels: names of the labels, where the task has them.
        scale: of numbers, where they are learned.
        engine: how the frozen blocks run.
        batch_size: rows that run together.
        exit_threshold: how sure an early exit must be to answer; None: the last head answers.
    """
    model.eval()
    scorer = Scorer(task, labels, scale)
    exits = numpy.zeros(len(table), numpy.int64)
    for rows in sorted_batches(table.lengths, batch_size):
        batch = table.collate(rows).to(model.device)
        with autocast(engine, model.device):
            answers = model.forward_exits(boundaries=batch.boundaries, **batch.inputs)
        logits = answers[-1]
        if exit_threshold is not None:
            logits, exits[rows] = _left_early(answers, exit_threshold, task.multi_label)
        scorer.update(rows, logits, batch.labels)
    return scorer.scores(None if exit_threshold is None else exits)


def _left_early(
    answers: Sequence[Tensor], threshold: float, multi_label: bool
) -> tuple[Tensor, NDArray[numpy.int64]]:
    """Return each row's logits at the exit that it leaves at, and which that is."""
    sure = torch.stack([confidence(logits, multi_label) for logits in answers[:-1]])
    taken = taken_exits(sure, threshold)
    rows = torch.arange(len(taken), device=taken.device)
    return torch.stack(list(answers))[taken, rows], taken.cpu().numpy()
