"""The losses of the tasks: (logits, labels) of a batch to their mean.

Shapes: `B` batch, `N` tokens, `C` labels, `V` vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from trainers.tasks import IGNORED, Task

_LM_CHUNK_TOKENS = 1024

Loss = Callable[[Tensor, Tensor], Tensor]


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy: logits (B, C), labels (B,)."""
    return functional.cross_entropy(logits, labels)


def classes_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each label: both (B, C)."""
    return functional.binary_cross_entropy_with_logits(logits, labels)


def number_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean square error: (B, 1) against standardised numbers (B,)."""
    return functional.mse_loss(logits.squeeze(-1), labels)


def tags_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy over scored tokens: logits (B, N, C), labels (B, N).

    Zero where no token of a batch is scored.
    """
    total = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / (labels != IGNORED).sum().clamp(min=1)


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of each next token: logits (B, N, V), labels (B, N).

    Zero where no token of a batch follows another.
    """
    total, n_tokens = next_token_sums(logits, labels)
    return total / n_tokens.clamp(min=1)


def next_token_sums(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy of the next tokens, and how many there are.

    In chunks, so that no second table of the size of the logits is made for the softmax. It is the
    labels that are shifted, as the logits without their last token would be a copy of them.
    """
    targets = functional.pad(labels[:, 1:], (0, 1), value=IGNORED).flatten()  # (B * N,)
    total = logits.new_zeros((), dtype=torch.float32)
    chunks = logits.flatten(0, 1).split(_LM_CHUNK_TOKENS)  # type: ignore[no-untyped-call]
    for answers, wanted in zip(chunks, targets.split(_LM_CHUNK_TOKENS), strict=True):  # type: ignore[no-untyped-call]
        total = total + functional.cross_entropy(
            answers.float(), wanted, ignore_index=IGNORED, reduction="sum"
        )
    return total, (targets != IGNORED).sum()


LOSSES: dict[str, Loss] = {
    "class": class_loss,
    "classes": classes_loss,
    "number": number_loss,
    "tags": tags_loss,
    "none": next_token_loss,
}
"""Losses by what a row's label is."""


def loss_of(task: Task) -> Loss:
    """Return the loss that a task is trained with."""
    return LOSSES[task.labels]
