"""Three ways to compute sparse experts: they give the same, at different speed.

All take the tokens as one table and add up, for each token, the gated answers of its experts. Which
is the fastest depends on the sizes and the machine (trainers/calibration.py).

Shapes: `T` tokens, `I` input width, `O` output width, `E` experts, `K` active experts, `R` rank.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from space.cost import CONCATENATED, GROUPED

LOOPED = "looped"

_ALIGNED_BYTES = 16  # of the rows of the matrices in a grouped product

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of all experts of one adapter."""

    down: Tensor
    """(E, R, I)"""
    up: Tensor
    """(E, O, R)"""
    down_bias: Tensor | None
    """(E, R)"""
    up_bias: Tensor | None
    """(E, O)"""
    activation: Activation

    def to(self, dtype: torch.dtype) -> "Weights":
        """Return them in another precision."""
        down_bias, up_bias = (
            None if bias is None else bias.to(dtype) for bias in (self.down_bias, self.up_bias)
        )
        return Weights(
            down=self.down.to(dtype),
            up=self.up.to(dtype),
            down_bias=down_bias,
            up_bias=up_bias,
            activation=self.activation,
        )


Way = Callable[[Tensor, Tensor, Tensor, Weights], Tensor]
"""(tokens (T, I), gates (T, K), chosen experts (T, K), weights) -> (T, O), all of one precision."""


def concatenated(x: Tensor, gates: Tensor, chosen: Tensor, weights: Weights) -> Tensor:
    """One product with all experts side by side; gates of those not chosen are zero."""
    n_experts, rank, d_in = weights.down.shape
    bias = None if weights.down_bias is None else weights.down_bias.flatten()
    low = functional.linear(x, weights.down.reshape(n_experts * rank, d_in), bias)  # (T, E * R)
    spread = x.new_zeros(len(x), n_experts).scatter(1, chosen, gates)  # (T, E)
    inner = weights.activation(low).view(-1, n_experts, rank) * spread.unsqueeze(-1)
    # (E, O, R) as (E * R, O): the experts' matrices below each other.
    up = weights.up.transpose(1, 2).reshape(n_experts * rank, -1)
    out = inner.flatten(1) @ up  # (T, O)
    return out if weights.up_bias is None else torch.addmm(out, spread, weights.up_bias)


def grouped(x: Tensor, gates: Tensor, chosen: Tensor, weights: Weights) -> Tensor:
    """Tokens sorted by expert, and one grouped product for each of the two matrices."""
    top_k = chosen.shape[1]
    experts, order = chosen.flatten().sort(stable=True)  # (T * K)
    tokens = order // top_k
    ends = torch.bincount(experts, minlength=len(weights.down)).cumsum(0).to(torch.int32)
    rows = _aligned(x.index_select(0, tokens), 1)  # (T * K, I)
    down, up = (_aligned(_aligned(own, 1), 2) for own in (weights.down, weights.up))
    low = functional.grouped_mm(rows, down.transpose(1, 2), offs=ends)
    if weights.down_bias is not None:
        low = low + _aligned(weights.down_bias, 1).index_select(0, experts)
    # The gate goes on the small side of the second product.
    inner = weights.activation(low) * gates.flatten().index_select(0, order).unsqueeze(1)
    own = functional.grouped_mm(inner, up.transpose(1, 2), offs=ends)  # (T * K, O)
    own = own[:, : weights.up.shape[1]]
    return _start(x, gates, chosen, weights).index_add_(0, tokens, own)


def _aligned(matrix: Tensor, dimension: int) -> Tensor:
    """Return matrices with a dimension filled up with zeros to what a grouped product wants."""
    step = _ALIGNED_BYTES // matrix.element_size()
    missing = -matrix.shape[dimension] % step
    if not missing:
        return matrix
    sides = [0, 0] * (matrix.dim() - 1 - dimension) + [0, missing]
    return functional.pad(matrix, sides)


def looped(x: Tensor, gates: Tensor, chosen: Tensor, weights: Weights) -> Tensor:
    """One expert after the other, each on the tokens that chose it."""
    flat, top_k = chosen.flatten(), chosen.shape[1]
    order = flat.argsort(stable=True)  # (T * K)
    counts = torch.bincount(flat, minlength=len(weights.down)).tolist()
    tokens = order // top_k
    by_expert = zip(
        # Gathered once and unbound: each slice of its own would cost a pass of the whole backward.
        torch.split(x.index_select(0, tokens), counts),
        torch.split(gates.flatten().index_select(0, order).unsqueeze(1), counts),
        weights.down.unbind(),
        weights.up.unbind(),
        _each(weights.down_bias, len(weights.down)),
        strict=True,
    )
    own = [
        (weights.activation(functional.linear(rows, down, bias)) * gate) @ up.t()
        for rows, gate, down, up, bias in by_expert
    ]
    return _start(x, gates, chosen, weights).index_add_(0, tokens, torch.cat(own))


def _each(bias: Tensor | None, n_experts: int) -> Iterable[Tensor | None]:
    return repeat(None, n_experts) if bias is None else bias.unbind()


def _start(x: Tensor, gates: Tensor, chosen: Tensor, weights: Weights) -> Tensor:
    """Return what the experts' products are added to: their gated upper biases, (T, O)."""
    if weights.up_bias is None:
        return x.new_zeros(len(x), weights.up.shape[1])
    # Looks the biases up, weighs and adds them in one go.
    return functional.embedding_bag(chosen, weights.up_bias, per_sample_weights=gates, mode="sum")


WAYS: dict[str, Way] = {CONCATENATED: concatenated, GROUPED: grouped, LOOPED: looped}
"""Ways by name, in the order in which near ties are decided."""


def _grouped_flops(
    a_shape: Any, b_shape: Any, *_others: Any, out_shape: Any = None, **_more: Any
) -> int:
    """Return the FLOPs of a grouped product (M, I) x (E, I, O): each row meets one matrix."""
    del out_shape
    return 2 * int(a_shape[0]) * int(b_shape[-2]) * int(b_shape[-1])


GROUPED_FLOPS = {torch.ops.aten._grouped_mm: _grouped_flops}
"""What torch's FLOP counter has to be told: by itself it counts zero."""
