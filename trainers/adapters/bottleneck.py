"""Serial bottleneck adapter behind a sub-layer.

Shapes: `B` batch, `N` tokens, `D` width, `R` inner width.
"""

from torch import Tensor, nn
from torch.nn import functional


class Bottleneck(nn.Module):
    """y + up(gelu(down(y))), Houlsby et al. 2019 (arXiv 1902.00751).

    y is the sub-layer's output before the residual addition. Starts as the identity: `up` is
    zero.

    Args:
        width: D.
        rank: inner width R.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, y: Tensor) -> Tensor:
        """Return the adapted output; y and the result are (B, N, D)."""
        inner = functional.gelu(self.down(y))  # (B, N, R)
        return y + functional.linear(inner, self.up.weight, self.up.bias)
