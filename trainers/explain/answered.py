"""What a bundle answered for rows with labels, and how sure it was.

Shapes: `B` batch, `N` tokens, `C` labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainers.bundle import BundleConfig
from trainers.data import Batch, Split
from trainers.early_exit import confidence, taken_exits
from trainers.explain.running import Answers
from trainers.losses import next_token_sums
from trainers.tasks import IGNORED

Floats = NDArray[numpy.float64]
Indices = NDArray[numpy.int64]
Flags = NDArray[numpy.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decisions:
    """Answers that are right or wrong: one a row, one a word, or one a row and label."""

    truth: Indices
    """(decisions,): index of the label; of several labels a row 1 where it holds."""
    answer: Indices
    """The same, as answered."""
    confidence: Floats
    """(decisions,): the probability that the answer was given, 0 to 1."""

    @property
    def right(self) -> Flags:
        """(decisions,): whether the answer is the truth."""
        right: Flags = self.truth == self.answer
        return right


@dataclass(frozen=True, kw_only=True, eq=False)
class RowAnswer:
    """What was answered for one row."""

    truth: str
    answer: str
    confidence: float | None
    """Of several decisions a row the least; None where an answer has no probability."""
    wrong: bool | None
    """None where right and wrong do not exist."""
    error: float
    """How bad it is: the confidence in a wrong label, the loss of several labels, the distance of a
    number, the count of wrong words, the mean loss of a token (nats)."""
    depth: int
    """Blocks that ran."""
    marks: tuple[bool, ...] = ()
    """Of words which are tagged wrongly."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """All answers."""

    rows: tuple[RowAnswer, ...]
    decisions: Decisions | None
    """None where there are no labels."""
    numbers: tuple[Floats, Floats] | None
    """Truth and answer (rows,) in the user's units, where numbers are learned."""


def leave(answers: Answers, threshold: float | None, multi_label: bool) -> tuple[Tensor, Tensor]:
    """Return the logits of the head that answers for each row, and how many blocks ran (B,).

    Args:
        answers: of every exit and the end.
        threshold: how sure an exit must be; None: there is none.
        multi_label: whether several labels may hold at once.
    """
    depths = sorted(answers)
    if threshold is None:
        logits = answers[depths[-1]]
        return logits, torch.full((len(logits),), depths[-1])
    sure = torch.stack([confidence(answers[depth], multi_label) for depth in depths[:-1]])
    taken = taken_exits(sure, threshold)
    chosen = torch.stack([answers[depth] for depth in depths])[taken, torch.arange(len(taken))]
    return chosen, torch.tensor(depths)[taken]


class AnswerSheet:
    """Takes answers batch by batch.

    Args:
        config: of the bundle.
        split: the rows.
    """

    def __init__(self, config: BundleConfig, split: Split) -> None:
        self._config = config
        self._rows: list[RowAnswer | None] = [None] * len(split)
        self._decisions: list[tuple[Tensor, Tensor, Tensor]] = []
        self._numbers = numpy.zeros((2, len(split)))
        self._takes = {
            "class": self._class,
            "classes": self._classes,
            "number": self._number,
            "tags": self._tags,
            "none": self._next_tokens,
        }[config.what.labels]

    def take(self, rows: Sequence[int], batch: Batch, logits: Tensor, depths: Tensor) -> None:
        """Take the answers of one batch.

        Args:
            rows: which they are, of the split.
            batch: with their labels.
            logits: of the head that answers for each.
            depths: (B,), how many blocks ran.
        """
        self._takes(rows, batch, logits.detach().float(), depths.tolist())

    def result(self) -> Answered:
        """Return all answers, those of rows in the order of the rows."""
        rows = tuple(row for row in self._rows if row is not None)
        assert len(rows) == len(self._rows)
        decisions = None
        if self._decisions:
            truth, answer, sure = (torch.cat(parts) for parts in zip(*self._decisions, strict=True))
            decisions = Decisions(
                truth=truth.numpy().astype(numpy.int64),
                answer=answer.numpy().astype(numpy.int64),
                confidence=sure.double().numpy(),
            )
        is_number = self._config.what.labels == "number"
        numbers = (self._numbers[0], self._numbers[1]) if is_number else None
        return Answered(rows=rows, decisions=decisions, numbers=numbers)

    def _class(self, rows: Sequence[int], batch: Batch, logits: Tensor, depths: list[int]) -> None:
        sure, best = logits.softmax(-1).max(-1)
        self._decisions.append((batch.labels, best, sure))
        names = self._config.labels
        for i, row in enumerate(rows):
            truth, answer, own = int(batch.labels[i]), int(best[i]), float(sure[i])
            self._rows[row] = RowAnswer(
                truth=names[truth],
                answer=names[answer],
                confidence=own,
                wrong=truth != answer,
                error=own if truth != answer else 0.0,
                depth=depths[i],
            )

    def _classes(
        self, rows: Sequence[int], batch: Batch, logits: Tensor, depths: list[int]
    ) -> None:
        p, held = logits.sigmoid(), logits > 0
        truth = batch.labels > 0
        sure = torch.maximum(p, 1 - p)
        self._decisions.append((truth.flatten().long(), held.flatten().long(), sure.flatten()))
        losses = functional.binary_cross_entropy_with_logits(
            logits, batch.labels.float(), reduction="none"
        ).mean(-1)
        for i, row in enumerate(rows):
            wrong = bool((truth[i] != held[i]).any())
            self._rows[row] = RowAnswer(
                truth=self._joined(truth[i]),
                answer=self._joined(held[i]),
                confidence=float(sure[i].min()),
                wrong=wrong,
                error=float(losses[i]),
                depth=depths[i],
            )

    def _joined(self, held: Tensor) -> str:
        names = [n for n, holds in zip(self._config.labels, held.tolist(), strict=True) if holds]
        return ", ".join(names) or "(none)"

    def _number(self, rows: Sequence[int], batch: Batch, logits: Tensor, depths: list[int]) -> None:
        scale = self._config.scale
        assert scale is not None
        both = torch.stack([batch.labels.double(), logits.squeeze(-1).double()])
        both = both * scale.std + scale.mean
        for i, row in enumerate(rows):
            truth, answer = both[:, i].tolist()
            self._numbers[:, row] = truth, answer
            self._rows[row] = RowAnswer(
                truth=f"{truth:.4g}",
                answer=f"{answer:.4g}",
                confidence=None,
                wrong=None,
                error=abs(answer - truth),
                depth=depths[i],
            )

    def _tags(self, rows: Sequence[int], batch: Batch, logits: Tensor, depths: list[int]) -> None:
        sure, best = logits.softmax(-1).max(-1)  # (B, N)
        scored = batch.labels != IGNORED
        self._decisions.append((batch.labels[scored], best[scored], sure[scored]))
        for i, row in enumerate(rows):
            own = scored[i]
            wrong = (best[i] != batch.labels[i])[own].tolist()
            least = float(sure[i][own].min()) if own.any() else 1.0
            self._rows[row] = RowAnswer(
                truth=self._tagged(batch.labels[i][own]),
                answer=self._tagged(best[i][own]),
                confidence=least,
                wrong=any(wrong),
                error=float(sum(wrong)),
                depth=depths[i],
                marks=tuple(wrong),
            )

    def _tagged(self, tags: Tensor) -> str:
        return " ".join(self._config.labels[tag] for tag in tags.tolist())

    def _next_tokens(
        self, rows: Sequence[int], batch: Batch, logits: Tensor, depths: list[int]
    ) -> None:
        for i, row in enumerate(rows):
            total, n = next_token_sums(logits[i : i + 1], batch.labels[i : i + 1])
            mean = float(total) / max(int(n), 1)
            self._rows[row] = RowAnswer(
                truth="",
                answer=f"perplexity {math.exp(min(mean, 700.0)):.4g}",
                confidence=None,
                wrong=None,
                error=mean,
                depth=depths[i],
            )


def classes_of(
    config: BundleConfig, batch: Batch, cuts: Sequence[float]
) -> tuple[tuple[str, ...], Tensor]:
    """Return the classes of a batch's rows or tokens, and which belong to which.

    Labels are classes; numbers fall into ranges that hold like many of the rows; where there are no
    labels there are no classes.

    Args:
        config: of the bundle.
        batch: with its labels.
        cuts: where ranges of numbers end, in the user's units, as `ranges_of` gives them.

    Returns:
        Names, and (B, C), or (B, N, C) of words: a word's first token belongs to its tag.
    """
    kind, labels = config.what.labels, batch.labels
    n_labels = len(config.labels)
    if kind == "class":
        return config.labels, functional.one_hot(labels, n_labels).float()
    if kind == "classes":
        return config.labels, labels.float()
    if kind == "tags":
        scored = labels != IGNORED
        tags = functional.one_hot(labels.clamp(min=0), n_labels)
        return config.labels, (tags * scored.unsqueeze(-1)).float()
    if kind == "number":
        assert config.scale is not None
        numbers = labels.double() * config.scale.std + config.scale.mean
        bins = torch.bucketize(numbers, torch.tensor(cuts, dtype=torch.float64))
        return range_names(cuts), functional.one_hot(bins, len(cuts) + 1).float()
    return (), torch.zeros(len(labels), 0)


N_RANGES = 5


def ranges_of(config: BundleConfig, split: Split) -> tuple[float, ...]:
    """Return where ranges of numbers end that hold like many of the rows; none elsewhere."""
    if config.what.labels != "number":
        return ()
    assert config.scale is not None
    numbers = numpy.asarray(split.labels, dtype=numpy.float64) * config.scale.std
    levels = numpy.arange(1, N_RANGES) / N_RANGES
    cuts = numpy.unique(numpy.quantile(numbers + config.scale.mean, levels).round(6))
    return tuple(cuts.tolist())


def range_names(cuts: Sequence[float]) -> tuple[str, ...]:
    """Return what ranges of numbers are called."""
    if not cuts:
        return ("all",)
    inner = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(cuts)]
    return (f"up to {cuts[0]:.4g}", *inner, f"above {cuts[-1]:.4g}")
