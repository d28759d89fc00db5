"""Call a frozen block on a part of its rows or of its tokens.

A block gets more than hidden states: masks, positions, rotary angles. Each of them is cut to the
same part. Arguments are known by the names that transformers' blocks give them; one that is not
known and could depend on rows or tokens is refused, as guessing would give wrong answers.

Shapes: `B` batch, `N` tokens, `K` chosen tokens, `M` chosen rows, `H` heads, `D` width.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainers.wrappers import Around

Arguments = dict[str, Any]

# For each argument of a block: the dimensions that are counted over tokens; dimension 0 is rows.
_TOKEN_DIMENSIONS = {
    "attention_mask": (-2, -1),  # (B, 1, N, N)
    "position_bias": (-2, -1),  # (B, H, N, N)
    "position_embeddings": (1,),  # cosines and sines (B, N, d)
    "position_ids": (1,),  # (B, N)
}
# Depend on rows or tokens in a way that only `rows` can follow, or not at all.
_WHOLE = ("relative_pos", "rel_embeddings")


class Call:
    """A frozen block with the arguments of one call, all by name but the hidden states."""

    def __init__(self, block: nn.Module, args: tuple[Any, ...], kwargs: Arguments) -> None:
        self.block = block
        frozen = block
        while isinstance(frozen, Around):  # a wrapper takes any arguments
            frozen = frozen.base
        names = list(inspect.signature(frozen.forward).parameters)[1:]
        self.arguments = dict(zip(names, args, strict=False)) | kwargs

    def run(self, hidden: Tensor, change: Callable[[str, Tensor], Tensor]) -> Any:
        """Run the block on other hidden states, each tensor among its arguments changed."""
        return self.block(hidden, **{k: _changed(k, v, change) for k, v in self.arguments.items()})

    def whole(self, out: Any, hidden: Tensor) -> Any:
        """Return what the block would return with these hidden states for all rows."""
        if isinstance(out, Tensor):
            return hidden
        # T5 hands its position bias from block to block: the one for all rows goes on.
        bias = self.arguments.get("position_bias")
        return (hidden, *(bias if i == 0 else other for i, other in enumerate(out[1:])))


def hidden_of(out: Any) -> Tensor:
    """Return the hidden states of what a block returned, a tensor or a tuple that begins so."""
    first = out if isinstance(out, Tensor) else out[0]
    assert isinstance(first, Tensor)
    return first


def take_rows(rows: Tensor, n_rows: int) -> Callable[[str, Tensor], Tensor]:
    """Return the change that cuts arguments to some rows (M,) of a batch of `n_rows`."""

    def change(name: str, value: Tensor) -> Tensor:
        if name in _WHOLE or value.shape[0] == 1:
            return value
        _check_known(name)
        return value.index_select(0, rows)

    return change


def take_tokens(index: Tensor, n_tokens: int) -> Callable[[str, Tensor], Tensor]:
    """Return the change that cuts arguments to chosen tokens: `index` (B, K) of `n_tokens`."""

    def change(name: str, value: Tensor) -> Tensor:
        _check_known(name)
        value = value.expand(index.shape[0], *value.shape[1:])
        for dimension in _TOKEN_DIMENSIONS[name]:
            if value.shape[dimension] == n_tokens:
                value = _gather(value, dimension % value.dim(), index)
        return value

    return change


def _gather(value: Tensor, dimension: int, index: Tensor) -> Tensor:
    shape = [1] * value.dim()
    shape[0], shape[dimension] = index.shape
    wanted = list(value.shape)
    wanted[dimension] = index.shape[1]
    return value.gather(dimension, index.view(shape).expand(wanted))


def _changed(name: str, value: Any, change: Callable[[str, Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(name, value)
    if isinstance(value, (tuple, list)) and any(isinstance(inner, Tensor) for inner in value):
        return type(value)(_changed(name, inner, change) for inner in value)
    return value


def _check_known(name: str) -> None:
    if name not in _TOKEN_DIMENSIONS:
        raise RuntimeError(f"It is not known how a block's argument {name!r} is cut to a part.")


def padded_mask(mask: Tensor, valid: Tensor) -> Tensor:
    """Return an additive or boolean mask (B, 1, K, K) in which only valid (B, K) keys are seen."""
    keys = valid[:, None, None, :]
    if mask.dtype == torch.bool:
        return mask & keys
    return mask.masked_fill(~keys, torch.finfo(mask.dtype).min)
