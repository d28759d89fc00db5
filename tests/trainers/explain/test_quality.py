"""Scores against scikit-learn, calibration against torchmetrics."""

import numpy
import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from trainers.explain.answered import Answered as AllAnswers
from trainers.explain.answered import Decisions, RowAnswer
from trainers.explain.quality import (
    N_BINS,
    calibration,
    confusion,
    label_scores,
    residuals,
    several_label_scores,
    worst,
)

LABELS = ("a", "b", "c", "never")


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    found = torch.randn(300, 4, generator=generator) * 2
    found[:, 3] = -9  # never answered
    return found


@pytest.fixture
def decisions(logits):
    truth = torch.randint(0, 3, (300,), generator=torch.Generator().manual_seed(1))
    sure, best = logits.softmax(-1).max(-1)
    return Decisions(truth=truth.numpy(), answer=best.numpy(), confidence=sure.double().numpy())


def test_the_confusion_matrix_is_scikit_learns(decisions):
    found = confusion(decisions, LABELS)
    expected = confusion_matrix(decisions.truth, decisions.answer, labels=range(4))
    assert numpy.array_equal(found.counts, expected)
    assert found.labels == LABELS


def test_scores_of_labels_are_scikit_learns(decisions):
    expected = precision_recall_fscore_support(
        decisions.truth, decisions.answer, labels=range(4), zero_division=numpy.nan
    )
    found = label_scores(decisions, LABELS)
    for index, name in enumerate(("precision", "recall", "f1", "n")):
        own = [getattr(score, name) for score in found]
        assert own == pytest.approx(list(expected[index]), nan_ok=True)


def test_scores_of_several_labels_are_scikit_learns():
    generator = numpy.random.default_rng(0)
    truth, answer = generator.integers(0, 2, (2, 50, 3))
    decisions = Decisions(
        truth=truth.flatten(), answer=answer.flatten(), confidence=numpy.ones(150)
    )
    expected = precision_recall_fscore_support(truth, answer, average=None)
    found = several_label_scores(decisions, ("a", "b", "c"))
    for index, name in enumerate(("precision", "recall", "f1", "n")):
        assert [getattr(s, name) for s in found] == pytest.approx(list(expected[index]))


def test_the_calibration_error_is_torchmetrics(decisions, logits):
    expected = multiclass_calibration_error(
        logits.softmax(-1), torch.from_numpy(decisions.truth), num_classes=4, n_bins=N_BINS
    )
    found = calibration(decisions)
    assert found.ece == pytest.approx(float(expected), abs=1e-6)
    assert sum(own.n for own in found.bins) == 300
    assert found.accuracy == pytest.approx(decisions.right.mean())
    for own in found.bins:
        assert own.low - 1e-9 <= own.confidence <= own.high + 1e-9


def test_full_confidence_falls_into_the_last_bin():
    sure = numpy.array([1.0, 1.0, 0.5])
    decisions = Decisions(
        truth=numpy.array([0, 1, 1]), answer=numpy.array([0, 0, 1]), confidence=sure
    )
    found = calibration(decisions)
    expected = binary_calibration_error(torch.tensor(sure), torch.tensor([1, 0, 1]), n_bins=N_BINS)
    assert [own.n for own in found.bins] == [1, 2]
    assert found.ece == pytest.approx(float(expected))


def test_residuals():
    found = residuals(numpy.array([1.0, 2.0, 3.0]), numpy.array([2.0, 2.0, 1.0]))
    assert found.rmse == pytest.approx((5 / 3) ** 0.5)
    assert found.mae == pytest.approx(1.0)
    assert found.bias == pytest.approx(-1 / 3)


def row(wrong, error):
    return RowAnswer(truth="", answer="", confidence=None, wrong=wrong, error=error, depth=1)


def test_the_worst_rows_are_wrong_ones():
    rows = (row(False, 0.0), row(True, 0.3), row(True, 0.9), row(None, 0.5))
    assert worst(AllAnswers(rows=rows, decisions=None, numbers=None), 3) == [2, 3, 1]


def test_answers_are_told_as_they_are(explained):
    """Decisions and rows tell the same."""
    rows, decisions = explained.answered.rows, explained.answered.decisions
    labels = explained.config.labels
    pairs = sorted((r.truth, r.answer) for r in rows)
    told = zip(decisions.truth, decisions.answer, strict=True)
    assert pairs == sorted((labels[t], labels[a]) for t, a in told)
    assert explained.scored.metrics["accuracy"] == pytest.approx(decisions.right.mean())
    assert sorted(r.confidence for r in rows) == pytest.approx(sorted(decisions.confidence))
