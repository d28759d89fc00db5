"""LoRA: a low-rank addition to a frozen linear layer.

Shapes: `B` batch, `N` tokens, `I` input width, `O` output width, `R` rank.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Lora(nn.Module):
    """y = W x + scale * up(down(x)), Hu et al. 2021 (arXiv 2106.09685).

    Starts as the identity: `up` is zero.

    Args:
        d_in: input width I.
        d_out: output width O.
        rank: R.
        scale: factor on what it adds.
    """

    def __init__(self, d_in: int, d_out: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Parameter(torch.empty(rank, d_in))  # (R, I)
        self.up = nn.Parameter(torch.zeros(d_out, rank))  # (O, R)
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return y + scale * up(down(x)); x is (B, N, I), y and the result are (B, N, O)."""
        low = functional.linear(x, self.down)  # (B, N, R)
        # The scale goes on the small matrix, and the sum into the product: one pass over (B, N, O).
        up = (self.up * self.scale).t()  # (R, O)
        total = torch.addmm(y.flatten(0, -2), low.flatten(0, -2), up)  # (B * N, O)
        return total.view_as(y)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the frozen weight (O, I) with this adapter folded in, and the bias as it is."""
        return weight + self.scale * (self.up @ self.down), bias
