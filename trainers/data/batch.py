"""A batch, as every task and backbone takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[numpy.int64]


@dataclass(frozen=True)
class Batch:
    """Inputs by the name that the backbone gives them, and labels."""

    inputs: dict[str, Tensor]
    labels: Tensor
    boundaries: Mapping[int, Tensor] = field(default_factory=dict)
    """Hidden states (B, N, D) behind so many blocks of the frozen prefix, where they are known."""

    def to(self, device: torch.device, **options: Any) -> "Batch":
        """Return the batch on a device; by this method Lightning moves it."""
        return Batch(
            inputs={name: tensor.to(device, **options) for name, tensor in self.inputs.items()},
            labels=self.labels.to(device, **options),
            boundaries={b: tensor.to(device, **options) for b, tensor in self.boundaries.items()},
        )
