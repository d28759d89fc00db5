"""What the modules of one model need to know of the pass that is running.

Frozen blocks hand on hidden states alone. What else an adapter needs, such as which tokens are
padding, it finds here: all modules of one model hold the same object.

Shapes: `B` batch, `N` tokens, `D` width.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor


class Pass:
    """The state of one forward pass; begun anew by each."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None
        """(B, N), not zero at real tokens; None where all are."""
        self.rows: Tensor | None = None
        """Indices of the rows that still run, where others left at an early exit; None: all."""
        self.at_exit: Callable[[int, Tensor], None] | None = None
        """Is told of each exit that is reached: its depth and the hidden states (B, N, D)."""
        self.beside: tuple[Any, ...] | None = None
        """What the block before the last exit returned beside hidden states; None: nothing."""

    def begin(self, mask: Tensor | None) -> None:
        """Forget the last pass."""
        self.mask, self.rows = mask, None
