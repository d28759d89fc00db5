"""The table of tasks: what is read, what the head answers for, how it is trained and scored."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""The label of a token that is not scored: padding, special tokens, later pieces of a word."""

_LM_CHUNK_TOKENS = 1024


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


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of thing to learn."""

    name: str
    inputs: tuple[str, ...]
    """What a row has: `text`, `text_pair`, `words`, `image`."""
    head: str
    """What the head answers for: `sequence` (the row), `token`, or `lm` (the next token)."""
    labels: str
    """What a row's label is: a `class`, `classes` (any number of them), a `number`, `tags` (one a
    word), or `none`."""
    metrics: tuple[str, ...]
    """What it is scored by; the first is the objective where the study file names none."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """(logits, labels) -> mean loss of a batch."""

    @property
    def named_labels(self) -> bool:
        """Whether labels are names out of a fixed set."""
        return self.labels in ("class", "classes", "tags")

    @property
    def multi_label(self) -> bool:
        """Whether several labels may hold at once."""
        return self.labels == "classes"


_CLASS_METRICS = ("accuracy", "macro_f1", "validation_loss")

TASKS = {
    task.name: task
    for task in (
        Task(
            name="text-classification",
            inputs=("text",),
            head="sequence",
            labels="class",
            metrics=_CLASS_METRICS,
            loss=class_loss,
        ),
        Task(
            name="text-pair-classification",
            inputs=("text", "text_pair"),
            head="sequence",
            labels="class",
            metrics=_CLASS_METRICS,
            loss=class_loss,
        ),
        Task(
            name="text-regression",
            inputs=("text",),
            head="sequence",
            labels="number",
            metrics=("pearson", "spearman", "rmse", "validation_loss"),
            loss=number_loss,
        ),
        Task(
            name="token-classification",
            inputs=("words",),
            head="token",
            labels="tags",
            metrics=(
                "entity_f1",
                "entity_precision",
                "entity_recall",
                "token_accuracy",
                "validation_loss",
            ),
            loss=tags_loss,
        ),
        Task(
            name="image-classification",
            inputs=("image",),
            head="sequence",
            labels="class",
            metrics=_CLASS_METRICS,
            loss=class_loss,
        ),
        Task(
            name="causal-lm",
            inputs=("text",),
            head="lm",
            labels="none",
            metrics=("perplexity", "token_accuracy", "validation_loss"),
            loss=next_token_loss,
        ),
    )
}
"""Tasks by the name that the study file gives."""

_MULTI_LABEL = Task(
    name="text-classification",
    inputs=("text",),
    head="sequence",
    labels="classes",
    metrics=("micro_f1", "macro_f1", "subset_accuracy", "validation_loss"),
    loss=classes_loss,
)

_PAIR_REGRESSION = Task(
    name="text-regression",
    inputs=("text", "text_pair"),
    head="sequence",
    labels="number",
    metrics=TASKS["text-regression"].metrics,
    loss=number_loss,
)


def task_of(name: str, *, label_separator: str | None = None, text_pair: str | None = None) -> Task:
    """Return the task of a study.

    Args:
        name: a key of TASKS.
        label_separator: what parts the labels of a row, where it may have several.
        text_pair: the column of second texts, where there is one.
    """
    if name == "text-classification" and label_separator is not None:
        return _MULTI_LABEL
    if name == "text-regression" and text_pair is not None:
        return _PAIR_REGRESSION
    return TASKS[name]
