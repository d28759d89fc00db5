"""What the modules of one model need to know of the pass that is running.

Frozen blocks hand on hidden states alone. What else an adapter needs, such as which tokens are
padding, it finds here: all modules of one model hold the same object.

Shapes: `B` batch, `N` tokens, `D` width.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor


class Pass:
    """The state of one forward pass; begun anew by each."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None
        """(B, N), not zero at real tokens; None where all are."""
        self.tokens: Tensor | None = None
        """(B, K): places in their rows of the tokens that run through the present block, where
        others pass it by; None: all run. The mask is then theirs."""
        self.rows: Tensor | None = None
        """Indices of the rows that still run, where others left at an early exit; None: all."""
        self.at_exit: Callable[[int, Tensor], None] | None = None
        """Is told of each exit that is reached: its depth and the hidden states (B, N, D)."""
        self.beside: tuple[Any, ...] | None = None
        """What the block before the last exit returned beside hidden states; None: nothing."""
        self.boundaries: Mapping[int, Tensor] = {}
        """Hidden states (B, N, D) behind so many blocks, where they are known without a run."""
        self.at_boundary: Callable[[int, Tensor], None] | None = None
        """Is told of the hidden states (B, N, D) behind each block of the frozen prefix that ran or
        was known."""

    def begin(self, mask: Tensor | None, boundaries: Mapping[int, Tensor] | None = None) -> None:
        """Forget the last pass."""
        self.mask, self.tokens, self.rows = mask, None, None
        self.boundaries = boundaries or {}


def is_skipped(layer: int, known: Mapping[int, Any], read: Sequence[int]) -> bool:
    """Return whether a block of the frozen prefix need not run.

    Its output is known, or nothing reads what lies between it and the next known boundary.

    Args:
        layer: the block, from 0; its output is boundary `layer + 1`.
        known: boundaries whose hidden states are known.
        read: the boundaries that a structure reads.
    """
    above = [boundary for boundary in (*read, *known) if boundary > layer]
    return bool(above) and min(above) in known
