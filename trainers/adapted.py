"""One structure as a model: a view of the frozen backbone with its adapters, and its heads.

Shapes: `B` batch, `N` tokens, `D` width, `C` outputs.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from space.spec import AdapterSpec
from trainers.adapters import Experts, Prefix
from trainers.passing import Pass

TRAINED = ("adapters", "skips", "exits", "head")
"""The parts of a model that are trained, and all of it that is saved."""


class AdaptedModel(nn.Module):
    """The backbone to its depth with adapters, then its head; smaller heads at early exits.

    The frozen weights belong to the backbone and are shared. The backbone stays in eval mode in
    training too.
    """

    def __init__(
        self,
        *,
        spec: AdapterSpec,
        n_outputs: int,
        view: nn.Module,
        accepted: frozenset[str],
        final_norm: nn.Module,
        adapters: nn.ModuleDict,
        skips: nn.ModuleDict,
        exits: nn.ModuleDict,
        head: nn.Module,
        running: Pass,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.n_outputs = n_outputs
        self.view = view
        self.adapters = adapters
        self.skips = skips
        self.exits = exits
        self.head = head
        self.running = running
        self._accepted = accepted
        self._final_norm = (final_norm,)  # the view's own; not registered twice

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **others: Tensor | None,
    ) -> Tensor:
        """Return the answer of the last head.

        Args:
            input_ids: token ids (B, N); None where the backbone reads images.
            attention_mask: (B, N), 1 at real tokens; None: all are.
            others: token_type_ids (B, N) where there are pairs; pixel_values (B, channels,
                height, width) of images.

        Returns:
            Logits: (B, C), or (B, N, C) where the head answers for every token.
        """
        hidden = self.hidden(input_ids=input_ids, attention_mask=attention_mask, **others)
        return self.head(hidden, self._mask(hidden))  # type: ignore[no-any-return]

    def forward_exits(self, **inputs: Tensor | None) -> list[Tensor]:
        """Return the logits (B, C) of every exit, lowest first, and of the last head."""
        answers: list[Tensor] = []

        def at_exit(depth: int, hidden: Tensor) -> None:
            answers.append(self.answer_at(depth, hidden, None))

        self.running.at_exit = at_exit
        try:
            hidden = self.hidden(**inputs)
        finally:
            self.running.at_exit = None
        return [*answers, self.answer_at(None, hidden, None)]

    def hidden(self, **inputs: Tensor | None) -> Tensor:
        """Return the hidden states (B, N, D) behind the last block that runs."""
        self.running.begin(inputs.get("attention_mask"))
        given: dict[str, Any] = {
            name: value
            for name, value in inputs.items()
            if name in self._accepted and value is not None
        }
        if "use_cache" in self._accepted:
            given["use_cache"] = False  # keys and values of earlier calls, for writing text
        return self.view(**given)[0]  # type: ignore[no-any-return]

    def answer_at(self, exit_depth: int | None, hidden: Tensor, rows: Tensor | None) -> Tensor:
        """Return the logits of a head for some rows.

        Args:
            exit_depth: which exit; None: the last head.
            hidden: (B, N, D), as blocks hand them on (at an exit) or behind them all.
            rows: indices; None: all.
        """
        mask = self._mask(hidden)
        if rows is not None and len(rows) < len(hidden):
            hidden, mask = hidden.index_select(0, rows), mask.index_select(0, rows)
        if exit_depth is None:
            return self.head(hidden, mask)  # type: ignore[no-any-return]
        return self.exits[str(exit_depth)](self._final_norm[0](hidden), mask)  # type: ignore[no-any-return]

    def _mask(self, hidden: Tensor) -> Tensor:
        mask = self.running.mask
        return hidden.new_ones(hidden.shape[:2]) if mask is None else mask

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(chain(self.trained_parameters(), self.view.parameters())).device

    def train(self, mode: bool = True) -> Self:
        """Set training mode on what is trained; the backbone keeps eval mode (no dropout)."""
        self.training = mode
        for part in TRAINED:
            getattr(self, part).train(mode)
        return self

    def warm_up(self, share: float) -> None:
        """Let prefixes in as far as this share (0 to 1): they have no neutral value to start at."""
        for prefix in self._all(Prefix):
            prefix.warm_up(share)

    def balance_loss(self) -> Tensor | None:
        """Return how unevenly the experts were used in the last pass, summed over adapters."""
        losses = [experts.balance for experts in self._all(Experts)]
        known = [loss for loss in losses if loss is not None]
        return torch.stack(known).sum() if known else None

    def routing(self) -> list[dict[str, Any]]:
        """Return how each expert adapter routed tokens since the last reset."""
        return [
            {"layer": int(layer), "role": role, **experts.routing()}
            for layer, roles in self.adapters.items()
            for role, module in _items(roles)
            for experts in module.modules()
            if isinstance(experts, Experts)
        ]

    def reset_routing(self) -> None:
        """Forget how tokens were routed."""
        for experts in self._all(Experts):
            experts.reset_routing()

    def _all(self, kind: type[Any]) -> Sequence[Any]:
        return [module for module in self.adapters.modules() if isinstance(module, kind)]

    def adapter_parameters(self) -> list[nn.Parameter]:
        """Return what is trained in and beside the blocks."""
        return [*self.adapters.parameters(), *self.skips.parameters()]

    def head_parameters(self) -> list[nn.Parameter]:
        """Return what is trained in the heads."""
        return [*self.exits.parameters(), *self.head.parameters()]

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return every parameter that is trained."""
        return [*self.adapter_parameters(), *self.head_parameters()]

    def trained_state(self) -> dict[str, Tensor]:
        """Return what was trained, by name, such as `adapters.3.query.up`."""
        return {
            f"{part}.{name}": tensor
            for part in TRAINED
            for name, tensor in getattr(self, part).state_dict().items()
        }

    @torch.no_grad()
    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy trained weights in.

        Raises:
            ValueError: names or shapes are not those of this structure.
        """
        own = self.trained_state()
        if own.keys() != state.keys():
            strange = sorted(own.keys() ^ state.keys())
            raise ValueError(f"The weights do not belong to this structure: {strange[:3]} differ.")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(
                    f"The weights do not belong to this structure: {name} has the shape"
                    f" {tuple(state[name].shape)}, but the structure wants {tuple(tensor.shape)}."
                )
        for name, tensor in own.items():
            tensor.copy_(state[name])


def _items(roles: nn.Module) -> Any:
    assert isinstance(roles, nn.ModuleDict)
    return roles.items()
