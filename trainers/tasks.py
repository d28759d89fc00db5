"""The table of tasks: what is read, what the head answers for, and what it is scored by.

Plain data, without torch: a study file is checked against it at once.
"""

from dataclasses import dataclass

IGNORED = -100
"""The label of a token that is not scored: padding, special tokens, later pieces of a word."""


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
        ),
        Task(
            name="text-pair-classification",
            inputs=("text", "text_pair"),
            head="sequence",
            labels="class",
            metrics=_CLASS_METRICS,
        ),
        Task(
            name="text-regression",
            inputs=("text",),
            head="sequence",
            labels="number",
            metrics=("pearson", "spearman", "rmse", "validation_loss"),
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
        ),
        Task(
            name="image-classification",
            inputs=("image",),
            head="sequence",
            labels="class",
            metrics=_CLASS_METRICS,
        ),
        Task(
            name="causal-lm",
            inputs=("text",),
            head="lm",
            labels="none",
            metrics=("perplexity", "token_accuracy", "validation_loss"),
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
)

_PAIR_REGRESSION = Task(
    name="text-regression",
    inputs=("text", "text_pair"),
    head="sequence",
    labels="number",
    metrics=TASKS["text-regression"].metrics,
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
