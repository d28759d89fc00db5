"""The table of metrics that a study can optimise or bound."""

from dataclasses import dataclass

from space.cost import CostModel
from space.spec import AdapterSpec
from trainers.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that every trial ends with."""

    name: str
    direction: str
    """`maximize` or `minimize`: which way is better."""
    title: str
    """What it is, with its unit, for axes and tables."""
    known: bool = False
    """Whether it is known before training (closed form), and so costs nothing to bound."""


VALIDATION_LOSS = "validation_loss"
"""What every task gives: the loss that is trained, on the validation rows."""

METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="accuracy", direction="maximize", title="validation accuracy"),
        Metric(name="macro_f1", direction="maximize", title="validation macro F1"),
        Metric(name="micro_f1", direction="maximize", title="validation micro F1"),
        Metric(
            name="subset_accuracy",
            direction="maximize",
            title="validation rows with all labels right",
        ),
        Metric(name="pearson", direction="maximize", title="validation Pearson correlation"),
        Metric(name="spearman", direction="maximize", title="validation Spearman correlation"),
        Metric(name="rmse", direction="minimize", title="validation root mean square error"),
        Metric(name="entity_f1", direction="maximize", title="validation entity F1"),
        Metric(name="entity_precision", direction="maximize", title="validation entity precision"),
        Metric(name="entity_recall", direction="maximize", title="validation entity recall"),
        Metric(name="token_accuracy", direction="maximize", title="validation token accuracy"),
        Metric(name="perplexity", direction="minimize", title="validation perplexity"),
        Metric(name=VALIDATION_LOSS, direction="minimize", title="validation loss"),
        Metric(
            name="inference_gflops",
            direction="minimize",
            title="inference cost (GFLOPs per sample)",
            known=True,
        ),
        Metric(
            name="training_gflops",
            direction="minimize",
            title="training cost (GFLOPs per sample and epoch)",
            known=True,
        ),
        Metric(
            name="trainable_params",
            direction="minimize",
            title="trainable parameters",
            known=True,
        ),
        Metric(
            name="adapter_mib",
            direction="minimize",
            title="adapter size (MiB)",
            known=True,
        ),
        Metric(name="train_s", direction="minimize", title="training time (s)"),
        Metric(name="peak_memory_mib", direction="minimize", title="peak memory (MiB)"),
        Metric(name="latency_ms", direction="minimize", title="latency, batch 1 (ms)"),
        Metric(
            name="latency_ratio",
            direction="minimize",
            title="latency as a share of the bare backbone's",
        ),
    )
}
"""Metrics by name."""

SHARES = (
    "accuracy",
    "macro_f1",
    "micro_f1",
    "subset_accuracy",
    "entity_f1",
    "entity_precision",
    "entity_recall",
    "token_accuracy",
    "latency_ratio",
)
"""Metrics that are shares of one, shown in percent."""


def title_of(name: str) -> str:
    """Return what a metric measures, with its unit, for people."""
    return METRICS[name].title if name in METRICS else name.replace("_", " ")


def formatted(name: str, value: float) -> str:
    """Return a metric's value for people: shares in percent, counts in full, else 4 digits."""
    if name in SHARES:
        return f"{value:.2%}"
    if name.endswith("_params"):
        return f"{value:,.0f}"
    return f"{value:.4g}"


MEASURED = ("train_s", "peak_memory_mib", "latency_ms", "latency_ratio")
"""Metrics that every task gives beside its own and those known before training."""


def metrics_of(task: Task) -> tuple[str, ...]:
    """Return the metrics that the trials of a task end with."""
    known = tuple(metric.name for metric in METRICS.values() if metric.known)
    return (*task.metrics, *known, *MEASURED)


def known_costs(spec: AdapterSpec, cost: CostModel) -> dict[str, float]:
    """Return every metric that is known before training.

    Of a structure with early exits inference_gflops is the most that a row can cost.
    """
    return {
        "inference_gflops": cost.inference_gflops(spec),
        "training_gflops": cost.training_gflops(spec),
        "trainable_params": float(cost.trainable_params(spec)),
        "adapter_mib": cost.adapter_mib(spec),
    }


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A bound that a structure must hold: a metric at most, or at least, some value."""

    metric: str
    bound: str
    """`max` or `min`."""
    limit: float

    def violation(self, value: float) -> float:
        """Return by how much `value` breaks the bound; zero or less where it holds."""
        return value - self.limit if self.bound == "max" else self.limit - value

    def describe(self) -> str:
        """Return the bound in words, such as `latency_ms <= 8`."""
        return f"{self.metric} {'<=' if self.bound == 'max' else '>='} {self.limit:g}"
