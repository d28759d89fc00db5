"""How much arithmetic a trial is, in closed form: above the frozen prefix, and below."""

from dataclasses import dataclass

from space.cost import CostModel
from space.spec import AdapterSpec


@dataclass(frozen=True, kw_only=True)
class Work:
    """GFLOPs of one structure per row, at real lengths; blocks below the cut kept apart."""

    below: float
    """Forward through the frozen prefix."""
    training: float
    """Forward and backward above it."""
    validation: float
    """Forward above it."""

    def trial_gflops(self, n_train: int, n_validation: int, epochs: int, *, cached: bool) -> float:
        """Return the work of a trial: with the prefix in every epoch, or without it."""
        again = 0.0 if cached else self.below
        return epochs * (
            n_train * (again + self.training) + n_validation * (again + self.validation)
        )

    def fill_gflops(self, n_train: int, n_validation: int) -> float:
        """Return the work of the one pass that fills the cache."""
        return (n_train + n_validation) * self.below


def work_of(cost: CostModel, spec: AdapterSpec) -> Work:
    """Return the work of a structure; without a cached prefix nothing lies below."""
    below = cost.prefix_gflops(spec)
    return Work(
        below=below,
        training=cost.training_gflops(spec) - below,
        validation=cost.forward_gflops(spec) - below,
    )
