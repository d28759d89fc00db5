"""Conditional computation: frozen blocks that only some tokens, or some rows, run through.

The chosen ones are really gathered, so that the time falls with their number; a mask over all of
them would save nothing.

Shapes: `B` batch, `N` tokens, `K` chosen tokens, `M` rows that still run, `D` width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from space.adapter import TokenSkip
from trainers.adapters.parallel import Parallel
from trainers.gathering import Call, hidden_of, padded_mask, take_rows, take_tokens
from trainers.passing import Pass
from trainers.wrappers import Around

PINNED = {"cls": "first", "last": "last"}
"""Poolings that read one token: it always runs through every block."""


class Skip(nn.Module):
    """What is trained beside a block that tokens pass by: the router and a parallel adapter.

    Conditional adapters, Lei et al. 2023 (arXiv 2304.04947). The adapter starts as nothing.

    Args:
        width: D.
        rank: inner width of the adapter.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, 1, bias=False)
        self.bypass = Parallel(width, width, rank, scale=1.0)
        nn.init.normal_(self.router.weight, std=0.02)


class SomeTokens(Around):
    """Runs ceil(token_keep x n) tokens of each row through the block, and all past it.

    y = x + bypass(x), and for each chosen token also gate * (block(x) - x), where the gate is 1
    and hands the gradient of its sigmoid score to the router.

    Args:
        block: the frozen block, adapters in it included.
        beside: what is trained.
        plan: how many tokens run.
        running: the model's pass.
        pinned: `first` or `last`: that token always runs.
    """

    def __init__(
        self, block: nn.Module, beside: Skip, plan: TokenSkip, running: Pass, pinned: str | None
    ) -> None:
        super().__init__(block)
        self.beside = beside
        self.plan = plan
        self.running = running
        self.pinned = pinned

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        call = Call(self.base, args, kwargs)
        scores = self.beside.router(hidden).squeeze(-1)  # (B, N)
        index, valid = self._choose(scores)  # (B, K) each
        cut = take_tokens(index, hidden.shape[1])

        def change(name: str, value: Tensor) -> Tensor:
            value = cut(name, value)
            return padded_mask(value, valid) if name == "attention_mask" else value

        spread = index.unsqueeze(-1).expand(-1, -1, hidden.shape[2])  # (B, K, D)
        chosen = hidden.gather(1, spread)
        outer, self.running.mask, self.running.tokens = self.running.mask, valid, index
        out = call.run(chosen, change)
        self.running.mask, self.running.tokens = outer, None
        score = scores.gather(1, index).sigmoid()
        gate = ((1.0 + score - score.detach()) * valid).unsqueeze(-1)  # (B, K, 1)
        passed = self.beside.bypass(hidden, hidden)
        return call.whole(out, passed.scatter_add(1, spread, gate * (hidden_of(out) - chosen)))

    @torch.no_grad()
    def _choose(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chosen tokens in their order, and which of them are not mere filling."""
        n_tokens = scores.shape[1]
        mask = self.running.mask
        real = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.bool()
        n_real = real.sum(1)
        # As space.adapter.n_kept, safe from the rounding of the product.
        kept = n_real.double() * self.plan.token_keep
        n_kept = kept.round(decimals=6).ceil().long().clamp(min=1)
        ranked = scores.masked_fill(~real, -torch.inf)
        if self.pinned is not None:
            place = torch.zeros_like(n_real) if self.pinned == "first" else n_real - 1
            ranked = ranked.scatter(1, place.unsqueeze(1), torch.inf)
        # A tensor, as a graph that is traced for an export must not hold this batch's number.
        n_most: Any = n_kept.max()
        index = ranked.topk(n_most, dim=1).indices  # (B, K), best first
        valid = torch.arange(index.shape[1], device=index.device) < n_kept.unsqueeze(1)
        order = index.masked_fill(~valid, n_tokens).argsort(dim=1)  # filling goes last
        return index.gather(1, order), valid


class SomeRows(Around):
    """Runs the block on the rows that have not left at an early exit.

    Args:
        block: the frozen block, adapters in it included.
        running: the model's pass.
    """

    def __init__(self, block: nn.Module, running: Pass) -> None:
        super().__init__(block)
        self.running = running

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        rows = self.running.rows
        if rows is None:
            return self.base(hidden, *args, **kwargs)
        if len(rows) == 0:
            beside = self.running.beside
            return hidden if beside is None else (hidden, *beside)
        call = Call(self.base, args, kwargs)
        n_rows = hidden.shape[0]
        outer = self.running.mask
        self.running.mask = None if outer is None else outer.index_select(0, rows)
        out = call.run(hidden.index_select(0, rows), take_rows(rows, n_rows))
        self.running.mask = outer
        return call.whole(out, hidden.index_copy(0, rows, hidden_of(out)))


class AtExit(Around):
    """The last block before an early exit: tells the pass what came out of it."""

    def __init__(self, block: nn.Module, depth: int, running: Pass) -> None:
        super().__init__(block)
        self.depth = depth
        self.running = running

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        out = self.base(hidden, *args, **kwargs)
        self.running.beside = None if isinstance(out, Tensor) else tuple(out[1:])
        if self.running.at_exit is not None:
            self.running.at_exit(self.depth, hidden_of(out))
        return out
