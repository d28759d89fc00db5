"""Metrics of each task, summed up over batches.

Shapes: `B` batch, `N` tokens, `C` labels, `V` vocabulary.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelStatScores,
)
from torchmetrics.functional.regression import pearson_corrcoef
from torchmetrics.regression import MeanSquaredError, PearsonCorrCoef

from trainers.data.scale import TargetScale
from trainers.entities import EntityCounts
from trainers.losses import loss_of, next_token_sums
from trainers.tasks import IGNORED, Task


class Meter(Protocol):
    """What sums up metrics over batches."""

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take one batch, on any device."""

    def compute(self) -> dict[str, float]:
        """Return the metrics of all batches."""


def meter_of(task: Task, labels: Sequence[str], scale: TargetScale | None) -> Meter:
    """Return a new meter of a task.

    Args:
        task: whose metrics are told.
        labels: names of the labels, where the task has them.
        scale: of the numbers, where they are what is learned.
    """
    if task.labels == "class":
        return ClassMeter(task, len(labels))
    if task.labels == "classes":
        return ClassesMeter(task, len(labels))
    if task.labels == "number":
        assert scale is not None
        return NumberMeter(task, scale)
    if task.labels == "tags":
        return TagsMeter(task, labels)
    return NextTokenMeter()


class _LossMean:
    """The mean of the task's loss over rows, from means over batches."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._total = 0.0
        self._n = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        n = int((labels != IGNORED).sum()) if self._task.labels == "tags" else len(labels)
        if n:
            self._total += loss_of(self._task)(logits, labels).item() * n
            self._n += n

    def compute(self) -> float:
        return self._total / max(self._n, 1)


class ClassMeter:
    """Accuracy, macro F1 (over the labels that occur in truth or answer), and the loss."""

    def __init__(self, task: Task, n_labels: int) -> None:
        self._loss = _LossMean(task)
        self._scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(n_labels, average="micro"),
                "macro_f1": MulticlassF1Score(n_labels, average="macro"),
            }
        )

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take logits (B, C) and labels (B,)."""
        logits, labels = logits.float().cpu(), labels.cpu()
        self._loss.update(logits, labels)
        self._scores.update(logits.argmax(-1), labels)

    def compute(self) -> dict[str, float]:
        """Return the metrics of all batches."""
        return {**_shares(self._scores.compute()), "validation_loss": self._loss.compute()}


class ClassesMeter:
    """Micro and macro F1 (over the labels that occur in truth or answer), the share of rows with
    all labels right, and the loss. A label is answered where its probability is above one half.
    """

    def __init__(self, task: Task, n_labels: int) -> None:
        self._loss = _LossMean(task)
        self._scores = MetricCollection(
            {
                "micro_f1": MultilabelF1Score(n_labels, average="micro"),
                "subset_accuracy": MultilabelExactMatch(n_labels),
            }
        )
        self._counts = MultilabelStatScores(n_labels, average="none")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take logits and labels (B, C)."""
        logits, labels = logits.float().cpu(), labels.cpu()
        self._loss.update(logits, labels)
        answered = (logits > 0).int()
        self._scores.update(answered, labels.int())
        self._counts.update(answered, labels.int())

    def compute(self) -> dict[str, float]:
        """Return the metrics of all batches."""
        right, added, _, missed, _ = self._counts.compute().double().unbind(-1)
        all_counts = 2 * right + added + missed
        each_f1 = (2 * right / all_counts)[all_counts > 0]
        return {
            **_shares(self._scores.compute()),
            "macro_f1": float(each_f1.mean()) if len(each_f1) else 0.0,
            "validation_loss": self._loss.compute(),
        }


class NumberMeter:
    """Pearson's and Spearman's correlation, the root mean square error in the user's units."""

    def __init__(self, task: Task, scale: TargetScale) -> None:
        self._loss = _LossMean(task)
        self._scale = scale
        self._scores = MetricCollection(
            {"pearson": PearsonCorrCoef(), "rmse": MeanSquaredError(squared=False)}
        )
        self._scores.set_dtype(torch.float64)
        self._answers: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take logits (B, 1) and standardised numbers (B,)."""
        logits, labels = logits.float().cpu(), labels.float().cpu()
        self._loss.update(logits, labels)
        answers, labels = logits.squeeze(-1).double(), labels.double()
        self._scores.update(answers, labels)
        self._answers.append(answers)
        self._labels.append(labels)

    def compute(self) -> dict[str, float]:
        """Return the metrics; a correlation with a constant is none, 0."""
        ranks = [_ranks(torch.cat(parts)) for parts in (self._answers, self._labels)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a variance is close to zero
            found = self._scores.compute()
            correlations = {"pearson": found["pearson"], "spearman": pearson_corrcoef(*ranks)}
        return {
            **{name: float(r) if r.isfinite() else 0.0 for name, r in correlations.items()},
            "rmse": float(found["rmse"]) * self._scale.std,
            "validation_loss": self._loss.compute(),
        }


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of each value from 1, that of equal ones being their mean.

    The Spearman correlation of torchmetrics 1.9 adds ranks as 32-bit integers, which run over
    where tens of thousands of rows are equal.
    """
    _, groups, sizes = torch.unique(values, return_inverse=True, return_counts=True)
    means: Tensor = sizes.cumsum(0).double() - (sizes - 1) / 2
    return means[groups]


class TagsMeter:
    """Entity-level precision, recall and F1, the share of words tagged right, and the loss."""

    def __init__(self, task: Task, labels: Sequence[str]) -> None:
        self._loss = _LossMean(task)
        self._labels = labels
        self._entities = EntityCounts()
        self._n_right = self._n = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take logits (B, N, C) and labels (B, N)."""
        logits, labels = logits.float().cpu(), labels.cpu()
        self._loss.update(logits, labels)
        best, scored = logits.argmax(-1), labels != IGNORED
        self._n_right += int((best == labels)[scored].sum())
        self._n += int(scored.sum())
        self._entities.update(
            (self._names(row[kept]) for row, kept in zip(best, scored, strict=True)),
            (self._names(row[kept]) for row, kept in zip(labels, scored, strict=True)),
        )

    def _names(self, tags: Tensor) -> list[str]:
        return [self._labels[tag] for tag in tags.tolist()]

    def compute(self) -> dict[str, float]:
        """Return the metrics of all batches."""
        return {
            **self._entities.compute(),
            "token_accuracy": self._n_right / max(self._n, 1),
            "validation_loss": self._loss.compute(),
        }


_GREATEST = 700.0
"""A loss whose perplexity is still a number of 64 bits."""


class NextTokenMeter:
    """Perplexity, the share of next tokens that are guessed, and the loss."""

    def __init__(self) -> None:
        self._total = 0.0
        self._n_right = self._n = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take logits (B, N, V) and labels (B, N); nothing of their size is kept."""
        total, n_tokens = next_token_sums(logits, labels)
        self._total += float(total)
        self._n += int(n_tokens)
        self._n_right += int((logits.argmax(-1)[:, :-1] == labels[:, 1:]).sum())

    def compute(self) -> dict[str, float]:
        """Return the metrics of all batches."""
        loss = self._total / max(self._n, 1)
        return {
            "perplexity": math.exp(min(loss, _GREATEST)) if math.isfinite(loss) else loss,
            "token_accuracy": self._n_right / max(self._n, 1),
            "validation_loss": loss,
        }


def _shares(found: dict[str, Tensor]) -> dict[str, float]:
    # torchmetrics counts in float32: what is beyond its seven digits is no part of the value.
    return {name: round(float(value), 7) for name, value in found.items()}
