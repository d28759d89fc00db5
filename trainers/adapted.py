"""One structure as a model: a view of the frozen backbone with its adapters, and its heads.

Shapes: `B` batch, `N` tokens, `D` width, `C` outputs.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from space.spec import AdapterSpec
from trainers.adapters import Experts, Prefix, SideNetwork
from trainers.heads import FrozenHead
from trainers.passing import Pass

TRAINED = ("adapters", "skips", "exits", "side", "head")
"""The parts of a model that are trained, and all of it that is saved; `side` where there is one."""


class AdaptedModel(nn.Module):
    """The backbone to its depth with adapters, then its head; smaller heads at early exits.

    The frozen weights belong to the backbone and are shared. The backbone stays in eval mode in
    training too, unless it is trained itself (`train_backbone`).
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
        side: SideNetwork | None,
        head: nn.Module,
        running: Pass,
        needs_no_block: bool,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.n_outputs = n_outputs
        self.view = view
        self.adapters = adapters
        self.skips = skips
        self.exits = exits
        self.side = side
        self.head = head
        self.running = running
        self._accepted = accepted
        self._final_norm = (final_norm,)  # the view's own; not registered twice
        self._needs_no_block = needs_no_block
        self._trains_backbone = False

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        boundaries: Any = None,
        **others: Tensor | None,
    ) -> Tensor:
        """Return the answer of the last head.

        Args:
            input_ids: token ids (B, N); None where the backbone reads images.
            attention_mask: (B, N), 1 at real tokens; None: all are.
            boundaries: hidden states (B, N, D) behind so many blocks of the frozen prefix, where
                they are known; what lies below them does not run.
            others: token_type_ids (B, N) where there are pairs; pixel_values (B, channels,
                height, width) of images.

        Returns:
            Logits: (B, C), or (B, N, C) where the head answers for every token.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **others}
        return self.answer_at(None, self.hidden(boundaries=boundaries, **inputs), None)

    def forward_exits(self, *, boundaries: Any = None, **inputs: Tensor | None) -> list[Tensor]:
        """Return the logits (B, C) of every exit, lowest first, and of the last head."""
        answers: list[Tensor] = []

        def at_exit(depth: int, hidden: Tensor) -> None:
            answers.append(self.answer_at(depth, hidden, None))

        self.running.at_exit = at_exit
        try:
            hidden = self.hidden(boundaries=boundaries, **inputs)
        finally:
            self.running.at_exit = None
        return [*answers, self.answer_at(None, hidden, None)]

    def hidden(self, *, boundaries: Any = None, **inputs: Tensor | None) -> Tensor:
        """Return the hidden states (B, N, D) that the last head reads.

        Raises:
            ValueError: something trained lies below a boundary that is said to be known.
        """
        cut = self.spec.first_insertion_layer
        if boundaries and max(boundaries) > cut:
            raise ValueError(
                f"Boundary {max(boundaries)} cannot be known beforehand: block {cut} of this"
                " structure is trained, and changes what lies behind it."
            )
        self.running.begin(inputs.get("attention_mask"), boundaries)
        if self.side is None:
            return self._behind_blocks(boundaries, inputs)
        found: dict[int, Tensor] = {}
        self.running.at_boundary = found.__setitem__
        try:
            last = self._behind_blocks(boundaries, inputs)
        finally:
            self.running.at_boundary = None
        # Before the final norm residual streams grow from block to block: it evens them out.
        return self.side([self._final_norm[0](found[b]) for b in self.side.boundaries], last)  # type: ignore[no-any-return]

    def _behind_blocks(self, boundaries: Any, inputs: Mapping[str, Tensor | None]) -> Tensor:
        """Return the hidden states (B, N, D) behind the last block that runs, and its norm."""
        if boundaries and self._needs_no_block and set(self.spec.boundaries) <= boundaries.keys():
            return self._recalled(boundaries)
        given: dict[str, Any] = {
            name: value
            for name, value in inputs.items()
            if name in self._accepted and value is not None
        }
        if "use_cache" in self._accepted:
            given["use_cache"] = False  # keys and values of earlier calls, for writing text
        return self.view(**given)[0]  # type: ignore[no-any-return]

    def _recalled(self, boundaries: Mapping[int, Tensor]) -> Tensor:
        """Return the last hidden states of a structure whose blocks are all frozen and known."""
        if self.running.at_exit is not None:
            for depth in self.spec.exits:
                self.running.at_exit(depth, boundaries[depth])
        if self.running.at_boundary is not None:
            for depth in self.spec.boundaries:
                self.running.at_boundary(depth, boundaries[depth])
        return self._final_norm[0](boundaries[self.spec.depth])  # type: ignore[no-any-return]

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
        head = self.head
        if exit_depth is not None:
            head, hidden = self.exits[str(exit_depth)], self._final_norm[0](hidden)
        # Heads are float32, whatever the frozen blocks run in.
        with torch.autocast(hidden.device.type, enabled=False):
            kind = next((p.dtype for p in head.parameters()), hidden.dtype)
            return head(hidden.to(kind), mask).float()  # type: ignore[no-any-return]

    def _mask(self, hidden: Tensor) -> Tensor:
        mask = self.running.mask
        return hidden.new_ones(hidden.shape[:2]) if mask is None else mask

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(chain(self.trained_parameters(), self.view.parameters())).device

    def train(self, mode: bool = True) -> Self:
        """Set training mode on what is trained; a frozen backbone keeps eval mode (no dropout)."""
        self.training = mode
        for part in self._trained_parts().values():
            part.train(mode)
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

    def forget_balance(self) -> None:
        """Let go of how unevenly the experts were used, and with it of the last pass."""
        for experts in self._all(Experts):
            experts.balance = None

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

    def train_backbone(self) -> None:
        """Train every weight that runs, from now on: full fine-tuning.

        The backbone must be this model's own copy, and the structure one without adapters.
        """
        assert self.spec.head_only
        self._trains_backbone = True
        for parameter in self._backbone_parameters():
            parameter.requires_grad_(True)

    def _backbone_parameters(self) -> list[nn.Parameter]:
        """Return the weights of the blocks and what is around them, and of the backbone's own head.

        Each once: embedding and head may be one matrix.
        """
        own = [*self.view.parameters()]
        if isinstance(self.head, FrozenHead):
            own += self.head.borrowed.parameters()
        return list({id(parameter): parameter for parameter in own}.values())

    def adapter_parameters(self) -> list[nn.Parameter]:
        """Return what is trained in and beside the blocks; in full fine-tuning the blocks."""
        side = () if self.side is None else self.side.parameters()
        blocks = self._backbone_parameters() if self._trains_backbone else ()
        return [*self.adapters.parameters(), *self.skips.parameters(), *side, *blocks]

    def head_parameters(self) -> list[nn.Parameter]:
        """Return what is trained in the heads."""
        return [*self.exits.parameters(), *self.head.parameters()]

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return every parameter that is trained."""
        return [*self.adapter_parameters(), *self.head_parameters()]

    def trained_state(self) -> dict[str, Tensor]:
        """Return what was trained, by name, such as `adapters.3.query.up`."""
        return {
            f"{name}.{inner}": tensor
            for name, part in self._trained_parts().items()
            for inner, tensor in part.state_dict().items()
        }

    def _trained_parts(self) -> dict[str, nn.Module]:
        names = (*TRAINED, "view") if self._trains_backbone else TRAINED
        parts = {name: getattr(self, name) for name in names}
        return {name: part for name, part in parts.items() if part is not None}

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
