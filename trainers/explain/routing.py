"""Which expert serves which kind of token and which class.

A choice is one expert for one token; a token has `top_k` of them. Where the router reads the mean
of a row, all tokens of a row have the same experts.

Shapes: `B` batch, `N` tokens, `C` classes, `E` experts, `K` active experts, `V` identities of
tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainers.adapters import Experts
from trainers.explain.tokens import Tokens
from trainers.explain.watching import Watcher

N_LIKED = 12
"""Tokens that are told of each expert."""
MIN_COUNT = 3
"""A token has to occur so often to be told."""
_SHRINKAGE = 5.0  # choices at the expert's overall share that each token is given beforehand

Table = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class LikedToken:
    """A token that an expert serves more often than others."""

    text: str
    kind: str
    count: int
    """How often it occurs."""
    share: float
    """Of its occurrences, those that the expert serves."""


@dataclass(frozen=True, kw_only=True)
class Routing:
    """How one adapter of experts routed."""

    layer: int
    role: str
    kind: str
    router: str
    """`token` or `sequence`."""
    top_k: int
    load: tuple[float, ...]
    """Share of the choices, each expert."""
    entropy: float
    """Of the router, mean over what was routed, in nats: 0 where it is sure, log(experts) where it
    has no preference."""
    by_class: Table
    """For each class the share of its choices that fell on each expert; NaN without tokens."""
    by_kind: Table
    """The same for each kind of token."""
    liked: tuple[tuple[LikedToken, ...], ...]
    """For each expert the tokens that it likes most, the most liked first."""

    @property
    def n_experts(self) -> int:
        """How many experts there are."""
        return len(self.load)

    @property
    def certainty(self) -> float:
        """1 where the router is always sure, 0 where it has no preference."""
        return 1.0 - self.entropy / math.log(self.n_experts)

    @property
    def balance(self) -> float:
        """How many experts, loaded alike, would have loads of the same entropy: 1 to E."""
        return math.exp(-sum(share * math.log(share) for share in self.load if share > 0))


class _Counts:
    """Choices of one adapter, summed over batches."""

    def __init__(self, n_experts: int, n_classes: int, n_identities: int) -> None:
        self.load = torch.zeros(n_experts, dtype=torch.float64)
        self.classes = torch.zeros(n_classes, n_experts, dtype=torch.float64)
        self.identities = torch.zeros(n_identities, n_experts)
        self.entropy = 0.0
        self.n_routed = 0


class RoutingMeter:
    """Counts choices while batches run.

    Args:
        watcher: of the model.
        tokens: what tokens are.
        n_classes: C.
    """

    def __init__(self, watcher: Watcher, tokens: Tokens, n_classes: int) -> None:
        self._watcher = watcher
        self._tokens = tokens
        self._counts: dict[tuple[int, str], tuple[Experts, _Counts]] = {}
        model = watcher.model
        for adapter in model.spec.adapters:
            if adapter.experts == 1:
                continue
            module = model.adapters.get_submodule(f"{adapter.layer}.{adapter.role}")
            experts = next(m for m in module.modules() if isinstance(m, Experts))
            own = _Counts(adapter.experts, n_classes, tokens.n_identities)
            self._counts[adapter.layer, adapter.role] = (experts, own)
            watcher.after(experts, partial(self._note, experts, own))

    @torch.no_grad()
    def _note(
        self, experts: Experts, own: _Counts, args: tuple[Any, ...], _kwargs: Any, _result: Any
    ) -> None:
        identities, real, classes = self._watcher.present()
        x = args[0]
        if x.shape[:2] != real.shape:  # DeBERTa's relative positions, which are no tokens
            return
        shares, _, chosen = experts.route(x)
        counted = real[:, :1] if experts.per_sequence else real  # (B, N or 1)
        entropy = -(shares * shares.clamp(min=1e-30).log()).sum(-1)  # (B, N or 1)
        own.entropy += float(entropy[counted].double().sum())
        own.n_routed += int(counted.sum())
        choices = torch.zeros_like(shares).scatter(-1, chosen, 1.0)  # (B, N or 1, E)
        own.load += (choices * counted.unsqueeze(-1)).sum((0, 1)).double()
        # By class and by token, each token counts, whatever its router read.
        by_token = choices.expand(-1, real.shape[1], -1) * real.unsqueeze(-1)  # (B, N, E)
        pattern = "bc,bne->ce" if classes.dim() == 2 else "bnc,bne->ce"
        own.classes += torch.einsum(pattern, classes, by_token).double()
        own.identities.index_add_(0, identities.flatten(), by_token.flatten(0, 1))

    def result(self) -> tuple[Routing, ...]:
        """Return how each adapter of experts routed, lowest layer first."""
        spec = self._watcher.model.spec
        found = []
        for adapter in sorted(spec.adapters, key=lambda a: a.layer):
            if adapter.experts == 1:
                continue
            _, own = self._counts[adapter.layer, adapter.role]
            load = own.load / own.load.sum().clamp(min=1.0)
            found.append(
                Routing(
                    layer=adapter.layer,
                    role=adapter.role,
                    kind=adapter.kind,
                    router=str(adapter.router),
                    top_k=adapter.top_k,
                    load=tuple(load.tolist()),
                    entropy=own.entropy / max(own.n_routed, 1),
                    by_class=_shares(own.classes),
                    by_kind=self._by_kind(own.identities),
                    liked=self._liked(own.identities.double(), adapter.top_k),
                )
            )
        return tuple(found)

    def _by_kind(self, counts: Tensor) -> Table:
        kinds = self._tokens.kinds
        total = torch.zeros(len(kinds), counts.shape[1], dtype=torch.float64)
        for identity in counts.sum(1).nonzero().flatten().tolist():
            total[kinds.index(self._tokens.token(identity).kind)] += counts[identity]
        return _shares(total)

    def _liked(self, counts: Tensor, top_k: int) -> tuple[tuple[LikedToken, ...], ...]:
        """Return for each expert the tokens whose share of it exceeds its load the most.

        Rare tokens are pulled towards the load, so that three of three is less than thirty of
        thirty.
        """
        occurrences = counts.sum(1) / top_k  # (V,)
        often = (occurrences >= MIN_COUNT).nonzero().flatten()
        load = counts.sum(0) / counts.sum().clamp(min=1.0)  # (E,)
        own, n = counts[often], counts[often].sum(1, keepdim=True)
        pulled = (own + _SHRINKAGE * load) / (n + _SHRINKAGE)
        excess = pulled / load.clamp(min=1e-12)  # (tokens, E)
        found = []
        for expert in range(counts.shape[1]):
            order = excess[:, expert].argsort(descending=True, stable=True).tolist()
            found.append(
                tuple(
                    self._told(int(often[i]), occurrences, float(own[i, expert]))
                    for i in order[:N_LIKED]
                    if excess[i, expert] > 1 and own[i, expert] > 0
                )
            )
        return tuple(found)

    def _told(self, identity: int, occurrences: Tensor, n_served: float) -> LikedToken:
        token, n = self._tokens.token(identity), float(occurrences[identity])
        return LikedToken(text=token.text, kind=token.kind, count=round(n), share=n_served / n)


def _shares(counts: Tensor) -> Table:
    """Return each row as shares of its sum; NaN where that is zero."""
    rows: Sequence[Sequence[float]] = (counts / counts.sum(1, keepdim=True)).tolist()
    return tuple(tuple(row) for row in rows)
