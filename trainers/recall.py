"""Blocks of the frozen prefix, and what feeds them: run, or taken from what is known of them.

All blocks below the first insertion layer give the same hidden states in every epoch and every
trial. Where those are known (see trainers/cache/), the blocks do not run.

Shapes: `B` batch, `N` tokens, `D` width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from trainers.gathering import Call, hidden_of, take_rows
from trainers.passing import Pass, is_skipped
from trainers.wrappers import Around


class Recalled(Around):
    """A frozen block whose output is looked up instead of computed, where it is known.

    Args:
        block: the frozen block, without adapters.
        layer: which it is, from 0.
        read: the boundaries that the structure reads from the frozen prefix.
        running: the model's pass.
    """

    def __init__(self, block: nn.Module, layer: int, read: tuple[int, ...], running: Pass) -> None:
        super().__init__(block)
        self.layer = layer
        self.read = read
        self.running = running
        self._is_tuple: bool | None = None
        self._beside: tuple[Any, ...] = ()

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        known = self.running.boundaries
        if is_skipped(self.layer, known, self.read):
            recalled = known.get(self.layer + 1, hidden)
            out = self._as_returned(recalled, hidden, args, kwargs)
        else:
            out = self.base(hidden, *args, **kwargs)
        if self.running.at_boundary is not None:
            self.running.at_boundary(self.layer + 1, hidden_of(out))
        return out

    @torch.no_grad()
    def _as_returned(
        self, recalled: Tensor, hidden: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return known hidden states in the form in which the block returns its own.

        What it returns beside them is seen once, on one row. T5's first block makes a position bias
        for all blocks, which depends on the number of tokens: there one row runs each time.
        """
        call = Call(self.base, args, kwargs)
        if self._is_tuple is None:
            out = _run_one_row(call, hidden)
            self._is_tuple = not isinstance(out, Tensor)
            self._beside = tuple(out[1:]) if self._is_tuple else ()
        if not self._is_tuple:
            return recalled
        if not any(isinstance(other, Tensor) for other in self._beside):
            return (recalled, *self._beside)
        bias = call.arguments.get("position_bias")
        if bias is None:
            bias = _run_one_row(call, hidden)[1]
        return (recalled, bias, *self._beside[1:])


class RecalledEmbeddings(Around):
    """The embeddings below a frozen prefix, which need not run where its outputs are known.

    What stands in for them is the lowest known boundary, of the same shape (B, N, D): blocks that
    are skipped only hand it on.

    Args:
        embeddings: the frozen module.
        read: the boundaries that the structure reads from the frozen prefix.
        running: the model's pass.
    """

    def __init__(self, embeddings: nn.Module, read: tuple[int, ...], running: Pass) -> None:
        super().__init__(embeddings)
        self.read = read
        self.running = running

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        known = self.running.boundaries
        if is_skipped(-1, known, self.read):
            return known[min(known)]
        return self.base(*args, **kwargs)


def _run_one_row(call: Call, hidden: Tensor) -> Any:
    """Return what a block returns for the first row of a batch, or for all where none is told."""
    first = torch.zeros(1, dtype=torch.long, device=hidden.device)
    try:
        return call.run(hidden[:1], take_rows(first, len(hidden)))
    except RuntimeError:  # an argument of a family of its own, which is not known by rows
        return call.run(hidden, lambda _name, value: value)
