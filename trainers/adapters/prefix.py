"""Prefix: learned keys and values that every token attends to.

Shapes: `P` prefix vectors, `V` heads of keys x head size.
"""

import torch
from torch import Tensor, nn


class Prefix(nn.Module):
    """Attention over [prefix, tokens] in place of attention over tokens, Li and Liang 2021
    (arXiv 2101.00190).

    A softmax has no neutral key, so that no value of the vectors leaves the backbone as it was.
    Therefore the prefix is let in: its gate grows from 0, where attention is that over the tokens
    alone, to 1, the plain prefix, in the warm-up of the training (`warm_up`).

    Args:
        rank: P.
        kv_width: V.
    """

    gate: Tensor

    def __init__(self, rank: int, kv_width: int) -> None:
        super().__init__()
        self.key = nn.Parameter(torch.randn(rank, kv_width) * 0.02)  # (P, V)
        self.value = nn.Parameter(torch.randn(rank, kv_width) * 0.02)  # (P, V)
        self.register_buffer("gate", torch.zeros(()))

    def warm_up(self, share: float) -> None:
        """Let the prefix in as far as this share, 0 to 1."""
        self.gate.fill_(min(max(share, 0.0), 1.0))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return keys and values (P, V)."""
        return self.key, self.value
