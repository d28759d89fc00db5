"""Metrics of text classification, from logits."""

import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy, macro F1 and mean cross-entropy.

    Macro F1 is the mean over the labels that occur in truth or prediction.

    Args:
        logits: (rows, labels).
        labels: (rows,) indices of the true labels.
    """
    predicted = logits.argmax(-1)
    return {
        "accuracy": (predicted == labels).to(torch.float64).mean().item(),
        "macro_f1": float(
            f1_score(labels.numpy(), predicted.numpy(), average="macro", zero_division=0.0)
        ),
        "validation_loss": functional.cross_entropy(logits, labels).item(),
    }
