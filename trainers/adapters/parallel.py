"""Parallel adapter: from a sub-layer's input straight to its output.

Shapes: `B` batch, `N` tokens, `I` input width, `O` output width, `R` inner width.
"""

from torch import Tensor, nn
from torch.nn import functional


class Parallel(nn.Module):
    """y + scale * up(relu(down(x))), He et al. 2022 (arXiv 2110.04366).

    x is the sub-layer's input and y its output before the residual addition. Starts as the
    identity: `up` is zero.

    Args:
        d_in: I.
        d_out: O.
        rank: inner width R.
        scale: factor on what it adds.
    """

    def __init__(self, d_in: int, d_out: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Linear(d_in, rank)
        self.up = nn.Linear(rank, d_out)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the adapted output; x is (B, N, I), y and the result are (B, N, O)."""
        inner = functional.relu(self.down(x))  # (B, N, R)
        # The scale goes on the small matrix, which saves a pass over (B, N, O).
        return y + functional.linear(inner, self.up.weight * self.scale, self.up.bias * self.scale)
