"""Side network: a narrow ladder beside the frozen backbone, which reads the outputs of its blocks.

Shapes: `B` batch, `N` tokens, `D` width of the backbone, `W` width of the side network, `L`
boundaries that it reads.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from space.side import FFN_FACTOR, Side


class SideNetwork(nn.Module):
    """Ladder side tuning, Sung et al. 2022 (arXiv 2206.06522).

    For each boundary, lowest first: s = s + gate * (down(x) - s), then s = s + ffn(norm(s)); the
    first boundary's down(x) is the first s. At the end up(norm(s)) is added to the backbone's last
    hidden states. Starts as nothing: `up` is zero. Each token is by itself, as the backbone has
    mixed them already: padding and later tokens tell nothing.

    Args:
        side: its width, and what it reads.
        width: D.
    """

    def __init__(self, side: Side, width: int) -> None:
        super().__init__()
        n_boundaries, own = len(side.boundaries), side.width
        self.boundaries = side.boundaries
        self.down = nn.Parameter(torch.empty(n_boundaries, width, own))  # (L, D, W)
        self.down_bias = nn.Parameter(torch.zeros(n_boundaries, own))  # (L, W)
        # At zero what is new and what is there count alike.
        self.gates = nn.Parameter(torch.zeros(n_boundaries - 1)) if n_boundaries > 1 else None
        self.blocks = nn.ModuleList(_Block(own) for _ in side.boundaries)
        self.norm = nn.LayerNorm(own)
        self.up = nn.Parameter(torch.zeros(width, own))  # (D, W)
        nn.init.uniform_(self.down, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def forward(self, read: Sequence[Tensor], last: Tensor) -> Tensor:
        """Return the adapted last hidden states (B, N, D).

        Args:
            read: (B, N, D) behind so many blocks, for each boundary in order.
            last: (B, N, D) behind them all.
        """
        low = self._projected(read)  # L times (B * N, W)
        state = low[0]  # (B * N, W)
        gates = () if self.gates is None else self.gates.sigmoid().unbind()
        for index, block in enumerate(self.blocks):
            if index:
                state = torch.lerp(state, low[index], gates[index - 1])
            state = block(state)
        return last + functional.linear(self.norm(state), self.up).view_as(last)

    def _projected(self, read: Sequence[Tensor]) -> list[Tensor]:
        """Return what is read, (B * N, W) each: one product for all would copy all that is read."""
        downs = zip(read, self.down.unbind(), self.down_bias.unbind(), strict=True)
        low = [torch.addmm(bias, hidden.flatten(0, -2), down) for hidden, down, bias in downs]
        # Under autocast the sums of the ladder stay float32.
        return [own.to(self.down.dtype) for own in low]


class _Block(nn.Module):
    """s + ffn(norm(s)) for each token by itself; the ffn has a ReLU, as good as GELU and faster.

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.ffn_up = nn.Linear(width, FFN_FACTOR * width)
        self.ffn_down = nn.Linear(FFN_FACTOR * width, width)

    def forward(self, state: Tensor) -> Tensor:
        """(B * N, W) gives (B * N, W)."""
        return state + self.ffn_down(functional.relu(self.ffn_up(self.norm(state))))  # type: ignore[no-any-return]
