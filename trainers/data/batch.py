"""A batch, as every task and backbone takes it."""

from typing import NamedTuple

import numpy
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[numpy.int64]


class Batch(NamedTuple):
    """Inputs by the name that the backbone gives them, and labels.

    A tuple, so that Lightning can move it.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
