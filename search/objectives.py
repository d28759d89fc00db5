"""The table of metrics that a study can optimise or bound."""

from collections.abc import Callable
from dataclasses import dataclass

from space.cost import (
    BackboneShape,
    TokenStats,
    adapter_mib,
    inference_gflops,
    trainable_params,
    training_gflops,
)
from space.spec import AdapterSpec


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


METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="accuracy", direction="maximize", title="validation accuracy"),
        Metric(name="macro_f1", direction="maximize", title="validation macro F1"),
        Metric(name="validation_loss", direction="minimize", title="validation loss"),
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

SHARES = ("accuracy", "macro_f1", "latency_ratio")
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


Cost = Callable[[AdapterSpec, BackboneShape, int, TokenStats], float]

_COSTS: dict[str, Cost] = {
    "inference_gflops": inference_gflops,
    "training_gflops": training_gflops,
    "trainable_params": lambda spec, shape, n_outputs, _: trainable_params(spec, shape, n_outputs),
    "adapter_mib": lambda spec, shape, n_outputs, _: adapter_mib(spec, shape, n_outputs),
}


def known_costs(
    spec: AdapterSpec, shape: BackboneShape, n_outputs: int, tokens: TokenStats
) -> dict[str, float]:
    """Return every metric that is known before training."""
    return {name: float(cost(spec, shape, n_outputs, tokens)) for name, cost in _COSTS.items()}


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
