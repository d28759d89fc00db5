"""How much each adapter adds: the norm of what it adds to a token's vector, relative to the norm of
what it is added to, as a mean over tokens.

Shapes: `B` batch, `N` tokens, `D` width.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from space.adapter import Adapter
from space.side import SIDE
from trainers.adapters import Prefix
from trainers.explain.watching import Watcher, innermost
from trainers.gathering import hidden_of

BYPASS = "bypass"
"""The kind of the adapter beside a block that tokens pass by."""
BLOCK = "block"
"""Its role."""


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one adapter adds."""

    layer: int
    """Of a side network, which stands beside all of them, the depth."""
    role: str
    """A role, or `block` (token_keep), or `side`."""
    kind: str
    mean: float
    """Over tokens: |added| / |what it is added to|."""
    n_tokens: int
    """How many tokens it ran for."""


@dataclass(kw_only=True)
class _Sum:
    total: float = 0.0
    n: int = 0


class ContributionMeter:
    """Sums up contributions while batches run.

    For lora, bottleneck, parallel and ia3 it is what comes out against what the frozen layer gave
    (ia3 at ffn_down: what the layer reads); for a prefix the attention's output with it against
    that without it, on the same input; for a side network the last hidden states.

    Args:
        watcher: of the model.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._sums: dict[tuple[int, str, str], _Sum] = {}
        model, spec = watcher.model, watcher.model.spec
        for adapter in spec.adapters:
            self._listen(adapter)
        for skip in spec.skips:
            key = (skip.layer, BLOCK, BYPASS)
            bypass = model.skips[str(skip.layer)].bypass
            watcher.after(bypass, partial(self._note_last, self._new(key)))  # type: ignore[arg-type]
        if model.side is not None:
            key = (spec.depth, SIDE, SIDE)
            watcher.after(model.side, partial(self._note_last, self._new(key)))

    def _listen(self, adapter: Adapter) -> None:
        watcher = self._watcher
        module = watcher.model.adapters.get_submodule(f"{adapter.layer}.{adapter.role}")
        own = self._new((adapter.layer, adapter.role, adapter.kind))
        if not isinstance(module, Prefix):
            watcher.after(module, partial(self._note_last, own))
            return
        block = innermost(watcher.model, watcher.backbone, adapter.layer)
        attention = block.get_submodule(watcher.backbone.family.attention)

        def note(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
            gate = module.gate.clone()
            module.gate.zero_()
            try:
                with watcher.deaf():
                    alone = hidden_of(attention(*args, **kwargs))
            finally:
                module.gate.copy_(gate)
            self._add(own, alone, hidden_of(result))

        watcher.after(attention, note)

    def _new(self, key: tuple[int, str, str]) -> _Sum:
        return self._sums.setdefault(key, _Sum())

    def _note_last(
        self, own: _Sum, args: tuple[Any, ...], _kwargs: dict[str, Any], result: Any
    ) -> None:
        """Take a module whose last argument is what it adds to."""
        self._add(own, args[-1], result)

    @torch.no_grad()
    def _add(self, own: _Sum, base: Tensor, result: Tensor) -> None:
        _, real, _ = self._watcher.present()
        if base.shape[:2] != real.shape:  # DeBERTa's relative positions, which are no tokens
            return
        added = (result - base).float().norm(dim=-1)  # (B, N)
        shares = added / base.float().norm(dim=-1).clamp(min=1e-12)
        own.total += float(shares[real].double().sum())
        own.n += int(real.sum())

    def result(self) -> tuple[Contribution, ...]:
        """Return the contributions, lowest layer first."""
        return tuple(
            Contribution(
                layer=layer, role=role, kind=kind, mean=own.total / max(own.n, 1), n_tokens=own.n
            )
            for (layer, role, kind), own in self._sums.items()
        )
