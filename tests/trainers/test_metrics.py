"""Metrics by hand."""

import math

import pytest
import torch

from trainers.metrics import classification_metrics


def test_are_those_counted_by_hand():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]]))
    found = classification_metrics(logits, torch.tensor([0, 1, 1]))
    # Label 0: precision 1/2, recall 1. Label 1: precision 1, recall 1/2. Label 2 never occurs.
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx(2 / 3)
    expected = -(math.log(0.7) + math.log(0.3) + math.log(0.8)) / 3
    assert found["validation_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_label_that_is_never_right_counts_as_zero():
    logits = torch.tensor([[9.0, 0.0], [9.0, 0.0]])
    found = classification_metrics(logits, torch.tensor([0, 1]))
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
