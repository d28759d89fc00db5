"""Sparse experts in the places of the plain kinds.

Shapes: `B` batch, `N` tokens, `I` input width, `O` output width.
"""

from torch import Tensor, nn

from trainers.adapters.experts import Experts


class SparseBeside(nn.Module):
    """y + scale * experts(x): LoRA and parallel adapters made of experts.

    Args:
        experts: from I to O.
        scale: factor on what they add.
    """

    def __init__(self, experts: Experts, scale: float) -> None:
        super().__init__()
        self.experts = experts
        self.scale = scale

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the adapted output; x is (B, N, I), y and the result are (B, N, O)."""
        return y + self.scale * self.experts(x)  # type: ignore[no-any-return]


class SparseBehind(nn.Module):
    """y + experts(y): a bottleneck adapter made of experts.

    Args:
        experts: from O to O.
    """

    def __init__(self, experts: Experts) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, y: Tensor) -> Tensor:
        """Return the adapted output; y and the result are (B, N, O)."""
        return y + self.experts(y)  # type: ignore[no-any-return]
