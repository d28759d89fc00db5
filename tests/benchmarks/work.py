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
    """Return the work of a structure of adapters alone (no skips, exits or side network)."""
    bare = AdapterSpec(depth=spec.depth, pooling=spec.pooling)
    # Without adapters a step is one pass forward, and the head's products twice again.
    head = (cost.training_gflops(bare) - cost.inference_gflops(bare)) / 2
    frozen = cost.inference_gflops(bare) - head
    block = frozen / spec.depth  # all are alike
    attention = 4 * cost.shape.attention_width * cost.tokens.mean_square / 1e9
    cut = spec.first_insertion_layer
    backward = (spec.depth - cut) * (block + attention)
    trained = (cost.training_gflops(spec) - frozen - backward) / 3
    below = cut * block
    return Work(
        below=below,
        training=cost.training_gflops(spec) - below,
        validation=frozen - below + trained,
    )
