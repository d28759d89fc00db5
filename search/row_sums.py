"""Metrics as functions of sums over rows, so that they can be computed of rows drawn anew.

A confirmed training keeps, for each row of the test split, a few numbers (its outcomes). Each
metric here turns them into columns, adds these up over rows, and makes the score of the totals.

Shapes: `N` rows, `K` columns.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[numpy.float64]
Outcomes = Mapping[str, NDArray[numpy.generic]]
"""For each row numbers under the names that trainers/outcomes.py gives them, shape (N,) each."""


@dataclass(frozen=True, kw_only=True)
class RowMetric:
    """How a metric comes of rows."""

    needs: tuple[str, ...]
    """Names of the outcomes that it is made of."""
    columns: Callable[[Outcomes], Floats]
    """From outcomes to what is summed up, (N, K)."""
    value: Callable[[Floats], Floats]
    """From totals (..., K) to the score (...)."""


def _column(outcomes: Outcomes, name: str) -> Floats:
    return outcomes[name].astype(numpy.float64)


def _with_ones(values: Floats) -> Floats:
    """Return what the mean is made of: the values, and how many they are."""
    columns: Floats = numpy.stack([values, numpy.ones(len(values))], axis=1)
    return columns


def _right(outcomes: Outcomes) -> Floats:
    return _with_ones((outcomes["answer"] == outcomes["label"]).astype(numpy.float64))


def _per_label(outcomes: Outcomes) -> Floats:
    """Right answers, and twice as many answers and truths halved: three columns a label."""
    answer, label = (outcomes[name].astype(numpy.int64) for name in ("answer", "label"))
    n_labels = 1 + max(answer.max(initial=0), label.max(initial=0))
    answered, true = numpy.eye(n_labels)[answer], numpy.eye(n_labels)[label]
    return numpy.concatenate([2 * answered * true, answered + true], axis=1)


def _mean_over_labels(totals: Floats) -> Floats:
    """Return the mean F1 over the labels that occur in truth or answer."""
    right, all_counts = numpy.split(totals, 2, axis=-1)
    occurs = all_counts > 0
    each = numpy.divide(right, all_counts, out=numpy.zeros_like(right), where=occurs)
    shares: Floats = each.sum(-1) / numpy.maximum(occurs.sum(-1), 1)
    return shares


def _ratio(totals: Floats) -> Floats:
    above, below = totals[..., 0], totals[..., 1]
    return numpy.divide(above, below, out=numpy.zeros_like(above), where=below > 0)


def _ratio_of(above: Mapping[str, float], below: Mapping[str, float]) -> RowMetric:
    def columns(outcomes: Outcomes) -> Floats:
        parts = [
            sum((factor * _column(outcomes, name) for name, factor in side.items()), numpy.zeros(1))
            for side in (above, below)
        ]
        return numpy.stack(parts, axis=1)

    return RowMetric(needs=(*above, *below), columns=columns, value=_ratio)


def _squares(outcomes: Outcomes) -> Floats:
    return _with_ones((_column(outcomes, "answer") - _column(outcomes, "label")) ** 2)


def _moments(x: Floats, y: Floats) -> Floats:
    # Around the mean: what is far from zero would lose its digits in the squares.
    x, y = x - x.mean(), y - y.mean()
    columns: Floats = numpy.stack([numpy.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)
    return columns


def _correlation(totals: Floats) -> Floats:
    n, x, y, xx, yy, xy = numpy.moveaxis(totals, -1, 0)
    spread = (n * xx - x * x) * (n * yy - y * y)
    root = numpy.sqrt(numpy.maximum(spread, 0))
    found: Floats = numpy.zeros(root.shape)
    numpy.divide(n * xy - x * y, root, out=found, where=root > 1e-12)
    return found


ROW_METRICS: Mapping[str, RowMetric] = {
    "accuracy": RowMetric(needs=("answer", "label"), columns=_right, value=_ratio),
    "macro_f1": RowMetric(needs=("answer", "label"), columns=_per_label, value=_mean_over_labels),
    "micro_f1": _ratio_of({"right": 2}, {"right": 2, "added": 1, "missed": 1}),
    "subset_accuracy": RowMetric(
        needs=("all_right",),
        columns=lambda o: _with_ones(_column(o, "all_right")),
        value=_ratio,
    ),
    "pearson": RowMetric(
        needs=("answer", "label"),
        columns=lambda o: _moments(_column(o, "answer"), _column(o, "label")),
        value=_correlation,
    ),
    "spearman": RowMetric(
        needs=("answer", "label"),
        columns=lambda o: _moments(rankdata(o["answer"]), rankdata(o["label"])),
        value=_correlation,
    ),
    "rmse": RowMetric(
        needs=("answer", "label"), columns=_squares, value=lambda t: numpy.sqrt(_ratio(t))
    ),
    "entity_f1": _ratio_of({"entities_right": 2}, {"entities_answered": 1, "entities_true": 1}),
    "entity_precision": _ratio_of({"entities_right": 1}, {"entities_answered": 1}),
    "entity_recall": _ratio_of({"entities_right": 1}, {"entities_true": 1}),
    "token_accuracy": _ratio_of({"tokens_right": 1}, {"tokens": 1}),
    "perplexity": RowMetric(
        needs=("loss", "tokens"),
        columns=lambda o: numpy.stack([_column(o, "loss"), _column(o, "tokens")], axis=1),
        value=lambda t: numpy.exp(_ratio(t)),
    ),
}
"""Metrics by name. Spearman's is that of the ranks among all rows, also of rows drawn anew."""
