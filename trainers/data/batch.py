"""A batch, as every task and backbone takes it."""

from dataclasses import dataclass
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

    def to(self, device: torch.device, **options: Any) -> "Batch":
        """Return the batch on a device; by this method Lightning moves it."""
        inputs = {name: tensor.to(device, **options) for name, tensor in self.inputs.items()}
        return Batch(inputs=inputs, labels=self.labels.to(device, **options))
