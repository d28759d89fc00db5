"""Heads: from hidden states to the task's answer.

Shapes: `B` batch, `N` tokens, `D` width, `C` outputs, `V` vocabulary.
"""

from typing import Any, Self

from torch import Tensor, nn

from trainers.pooling import build_pooling


class RowHead(nn.Module):
    """One answer a row: pooling, then a linear layer.

    Args:
        width: D.
        n_outputs: C.
        pooling: name of the pooling.
    """

    def __init__(self, width: int, n_outputs: int, pooling: str) -> None:
        super().__init__()
        self.pooling = build_pooling(pooling, width)
        self.linear = _linear(width, n_outputs)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) and a mask (B, N) of ones at real tokens give (B, C)."""
        return self.linear(self.pooling(hidden, mask))  # type: ignore[no-any-return]


class TokenHead(nn.Module):
    """One answer a token: a linear layer.

    Args:
        width: D.
        n_outputs: C.
    """

    def __init__(self, width: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = _linear(width, n_outputs)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) gives (B, N, C); the mask (B, N) is not needed."""
        return self.linear(hidden)  # type: ignore[no-any-return]


class FrozenHead(nn.Module):
    """The backbone's own language-model head: nothing of it is trained or saved.

    Args:
        module: from D to V; it belongs to the backbone.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = (module,)  # in a tuple, so that its weights do not count as ours

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # Moves to another device with the rest.
        self._module[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    @property
    def borrowed(self) -> nn.Module:
        """The backbone's own head."""
        return self._module[0]

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) gives (B, N, V); the mask (B, N) is not needed."""
        return self._module[0](hidden)  # type: ignore[no-any-return]


def _linear(width: int, n_outputs: int) -> nn.Linear:
    linear = nn.Linear(width, n_outputs)
    nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear
