"""Which tokens run through a block that others pass by.

Shapes: `B` batch, `N` tokens, `K` tokens that run, `V` identities of tokens.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from space.adapter import TokenSkip
from trainers.explain.routing import MIN_COUNT, LikedToken
from trainers.explain.tokens import Tokens
from trainers.explain.watching import Watcher, innermost

N_SHOWN = 16
"""Tokens that are told of each side."""


@dataclass(frozen=True, kw_only=True)
class TokensKept:
    """What one block's router chose."""

    layer: int
    token_keep: float
    n_kept: int
    n_tokens: int
    by_kind: tuple[float, ...]
    """For each kind of token the share that runs through the block; NaN without tokens."""
    most: tuple[LikedToken, ...]
    """Tokens that run through it most often, with the share of their occurrences that do (here and
    in `least`)."""
    least: tuple[LikedToken, ...]
    """Those that pass by it most often."""
    rows: tuple[tuple[bool, ...], ...]
    """For each row which of its tokens run through the block."""


class KeptMeter:
    """Notes which tokens run while batches do.

    Args:
        watcher: of the model.
        tokens: what tokens are.
        n_rows: of all batches.
    """

    def __init__(self, watcher: Watcher, tokens: Tokens, n_rows: int) -> None:
        self._watcher = watcher
        self._tokens = tokens
        self._counts: dict[int, Tensor] = {}
        self._rows: dict[int, list[tuple[bool, ...]]] = {}
        self._numbers: list[int] = []
        for skip in watcher.model.spec.skips:
            self._counts[skip.layer] = torch.zeros(tokens.n_identities, 2)
            self._rows[skip.layer] = [()] * n_rows
            block = innermost(watcher.model, watcher.backbone, skip.layer)
            watcher.after(block, partial(self._note, skip.layer))

    def begin(self, numbers: list[int]) -> None:
        """Say which rows the next batch holds."""
        self._numbers = numbers

    def _note(self, layer: int, _args: Any, _kwargs: Any, _result: Any) -> None:
        batch, kept = self._watcher.batch, self._watcher.kept()
        assert kept is not None
        places, valid = kept
        runs = torch.zeros_like(batch.real).scatter(1, places, valid)  # (B, N)
        flags = torch.stack([runs, batch.real & ~runs], -1).float()  # (B, N, 2)
        self._counts[layer].index_add_(0, batch.identities.flatten(), flags.flatten(0, 1))
        for number, own, real in zip(self._numbers, runs, batch.real, strict=True):
            self._rows[layer][number] = tuple(own[real].tolist())

    def result(self) -> tuple[TokensKept, ...]:
        """Return what each router chose, lowest layer first."""
        return tuple(self._of(skip) for skip in self._watcher.model.spec.skips)

    def _of(self, skip: TokenSkip) -> TokensKept:
        counts = self._counts[skip.layer].double()
        kinds = self._tokens.kinds
        by_kind = torch.zeros(len(kinds), 2, dtype=torch.float64)
        for identity in counts.sum(1).nonzero().flatten().tolist():
            by_kind[kinds.index(self._tokens.token(identity).kind)] += counts[identity]
        n = counts.sum(1)
        often = (n >= MIN_COUNT).nonzero().flatten()
        # Beta(1, 1) beforehand: three of three is less than thirty of thirty.
        rate = (counts[often, 0] + 1) / (n[often] + 2)
        order = rate.argsort(descending=True, stable=True)
        most = [self._told(int(often[i]), counts) for i in order[:N_SHOWN].tolist()]
        least = [self._told(int(often[i]), counts) for i in order.flip(0)[:N_SHOWN].tolist()]
        return TokensKept(
            layer=skip.layer,
            token_keep=skip.token_keep,
            n_kept=int(counts[:, 0].sum()),
            n_tokens=int(counts.sum()),
            by_kind=tuple((by_kind[:, 0] / by_kind.sum(1)).tolist()),
            most=tuple(token for token in most if token.share > skip.token_keep),
            least=tuple(token for token in least if token.share < skip.token_keep),
            rows=tuple(self._rows[skip.layer]),
        )

    def _told(self, identity: int, counts: Tensor) -> LikedToken:
        token = self._tokens.token(identity)
        kept, passed = counts[identity].tolist()
        return LikedToken(
            text=token.text,
            kind=token.kind,
            count=round(kept + passed),
            share=kept / (kept + passed),
        )
