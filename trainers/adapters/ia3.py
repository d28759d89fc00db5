"""IA3: a learned factor for each channel.

Shapes: `B` batch, `N` tokens, `D` width, `I` input width, `O` output width.
"""

import torch
from torch import Tensor, nn


class Ia3(nn.Module):
    """t * scale, Liu et al. 2022 (arXiv 2205.05638): of what a layer reads, or of what it gives.

    Starts as the identity: `scale` is one.

    Args:
        width: D: I on the side of the input, O on that of the output.
        side: `input` or `output` of the layer.
    """

    def __init__(self, width: int, side: str) -> None:
        super().__init__()
        self.side = side
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, t: Tensor) -> Tensor:
        """Return the scaled tensor; both are (B, N, D)."""
        return t * self.scale

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the frozen weight (O, I) and bias with this adapter folded in."""
        if self.side == "input":
            return weight * self.scale, bias
        return weight * self.scale[:, None], None if bias is None else bias * self.scale
