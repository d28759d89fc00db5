"""How good the answers are: confusions, scores of each label, calibration, residuals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from trainers.explain.answered import Answered, Decisions, Flags, Floats

N_BINS = 15
"""Of the calibration, as Guo et al. 2017 (arXiv 1706.04599)."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often each label was answered where another was true."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """A row for each true label, a column for each answer."""


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """How well one label is answered."""

    label: str
    n: int
    """How often it is true."""
    precision: float
    """NaN where it was never answered."""
    recall: float
    """NaN where it is never true."""
    f1: float
    """NaN where it is neither."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Decisions of like confidence."""

    low: float
    high: float
    n: int
    confidence: float
    """Their mean."""
    accuracy: float
    """Share of them that are right."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Whether confidence tells how often an answer is right."""

    ece: float
    """Expected calibration error: mean of |confidence - accuracy| of the bins, by their size."""
    accuracy: float
    confidence: float
    bins: tuple[Bin, ...]
    """Those that hold decisions."""


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """Answers against numbers, in the user's units."""

    truth: tuple[float, ...]
    answer: tuple[float, ...]
    rmse: float
    mae: float
    bias: float
    """Mean of answer - truth."""


def confusion(decisions: Decisions, labels: Sequence[str]) -> Confusion:
    """Return the confusion matrix of decisions between labels."""
    n = len(labels)
    flat = numpy.bincount(decisions.truth * n + decisions.answer, minlength=n * n)
    counts = tuple(tuple(row) for row in flat.reshape(n, n).tolist())
    return Confusion(labels=tuple(labels), counts=counts)


def label_scores(decisions: Decisions, labels: Sequence[str]) -> tuple[LabelScore, ...]:
    """Return the scores of each label, each against all others."""
    return tuple(
        _score(name, decisions.truth == index, decisions.answer == index)
        for index, name in enumerate(labels)
    )


def several_label_scores(decisions: Decisions, labels: Sequence[str]) -> tuple[LabelScore, ...]:
    """Return the scores of each label, where a row may have several: one decision a label."""
    truth = decisions.truth.reshape(-1, len(labels)) > 0
    answer = decisions.answer.reshape(-1, len(labels)) > 0
    return tuple(_score(name, truth[:, i], answer[:, i]) for i, name in enumerate(labels))


def _score(label: str, truth: Flags, answer: Flags) -> LabelScore:
    both, n, answered = (int(x.sum()) for x in (truth & answer, truth, answer))
    return LabelScore(
        label=label,
        n=n,
        precision=both / answered if answered else float("nan"),
        recall=both / n if n else float("nan"),
        f1=2 * both / (n + answered) if n + answered else float("nan"),
    )


def calibration(decisions: Decisions) -> Calibration:
    """Return the expected calibration error over bins of like width, with the bins."""
    sure, right = decisions.confidence, decisions.right
    edges = numpy.linspace(0, 1, N_BINS + 1)
    places = numpy.clip(numpy.digitize(sure, edges) - 1, 0, N_BINS - 1)
    bins = []
    for index in range(N_BINS):
        own = places == index
        if own.any():
            bins.append(
                Bin(
                    low=float(edges[index]),
                    high=float(edges[index + 1]),
                    n=int(own.sum()),
                    confidence=float(sure[own].mean()),
                    accuracy=float(right[own].mean()),
                )
            )
    gaps = sum(own.n * abs(own.confidence - own.accuracy) for own in bins)
    return Calibration(
        ece=gaps / max(len(sure), 1),
        accuracy=float(right.mean()),
        confidence=float(sure.mean()),
        bins=tuple(bins),
    )


def residuals(truth: Floats, answer: Floats) -> Residuals:
    """Return how far numbers are off."""
    off = answer - truth
    return Residuals(
        truth=tuple(truth.tolist()),
        answer=tuple(answer.tolist()),
        rmse=float(numpy.sqrt((off**2).mean())),
        mae=float(numpy.abs(off).mean()),
        bias=float(off.mean()),
    )


def worst(answered: Answered, n: int) -> list[int]:
    """Return the rows whose answers are the worst, worst first; right ones are none of them."""
    rows = [i for i, row in enumerate(answered.rows) if row.wrong is not False]
    return sorted(rows, key=lambda i: -answered.rows[i].error)[:n]
