"""Attach adapters to a frozen block: one way for each place that a kind stands at.

Nothing frozen is changed: a view of the block is made in which the layers that an adapter serves
are wrapped (see trainers/graft.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from space.adapter import Adapter
from space.cost import BackboneShape, Ways
from space.roles import SUBLAYER_ENDS
from trainers.adapters import Bottleneck, Experts, Ia3, Lora, Parallel, Prefix
from trainers.adapters.sparse import SparseBehind, SparseBeside
from trainers.families import Family, Place
from trainers.graft import graft
from trainers.passing import Pass
from trainers.prefix_attention import with_prefix
from trainers.wrappers import Across, Before, Behind, Beside, Carrier, Tapped


class Mergeable(Protocol):
    """What the module of a mergeable kind offers."""

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the frozen weight (outputs, inputs) and bias with the adapter folded in."""


class Slots:
    """The modules of one block that adapters are put at, wrapped so far.

    Args:
        block: left as it is.
        family: where its sub-modules are.
    """

    def __init__(self, block: nn.Module, family: Family) -> None:
        self.block = block
        self.family = family
        self.places = dict(family.roles)
        self.changed: dict[str, nn.Module | None] = {}

    def module(self, path: str) -> nn.Module:
        """Return what stands at a path by now."""
        module = self.changed.get(path)
        return self.block.get_submodule(path) if module is None else module

    def wrap(self, role: str, wrapper: Callable[[nn.Module, Place], nn.Module]) -> None:
        """Put a wrapper around what stands at a linear role."""
        place = self.places[role]
        self.changed[place.path] = wrapper(self.module(place.path), place)


@dataclass(frozen=True, kw_only=True)
class Materials:
    """What adapters are built of beside their own numbers."""

    shape: BackboneShape
    ways: Ways
    running: Pass


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """How a kind becomes a module, and where in the block it is put."""

    build: Callable[[Adapter, Materials], nn.Module]
    place: Callable[[Slots, str, nn.Module], None]


def _experts(adapter: Adapter, stuff: Materials, activation: str, bias: bool) -> Experts:
    d_in, d_out = stuff.shape.widths(adapter.role)
    if adapter.kind == "bottleneck":
        d_in = d_out
    assert adapter.rank is not None and adapter.router is not None
    return Experts(
        d_in,
        d_out,
        adapter.rank,
        n_experts=adapter.experts,
        top_k=adapter.top_k,
        router=adapter.router,
        activation=activation,
        bias=bias,
        way=stuff.ways(d_in, d_out, adapter.rank, adapter.experts, adapter.top_k),
        running=stuff.running,
    )


def _build_lora(adapter: Adapter, stuff: Materials) -> nn.Module:
    if adapter.experts > 1:
        return SparseBeside(_experts(adapter, stuff, "identity", bias=False), adapter.scale)
    assert adapter.rank is not None
    return Lora(*stuff.shape.widths(adapter.role), adapter.rank, adapter.scale)


def _build_bottleneck(adapter: Adapter, stuff: Materials) -> nn.Module:
    if adapter.experts > 1:
        return SparseBehind(_experts(adapter, stuff, "gelu", bias=True))
    assert adapter.rank is not None
    return Bottleneck(stuff.shape.widths(adapter.role)[1], adapter.rank)


def _build_parallel(adapter: Adapter, stuff: Materials) -> nn.Module:
    if adapter.experts > 1:
        return SparseBeside(_experts(adapter, stuff, "relu", bias=True), adapter.scale)
    assert adapter.rank is not None
    return Parallel(*stuff.shape.widths(adapter.role), adapter.rank, adapter.scale)


def _build_ia3(adapter: Adapter, stuff: Materials) -> nn.Module:
    d_in, d_out = stuff.shape.widths(adapter.role)
    side = "input" if adapter.role == "ffn_down" else "output"
    return Ia3(d_in if side == "input" else d_out, side)


def _build_prefix(adapter: Adapter, stuff: Materials) -> nn.Module:
    assert adapter.rank is not None
    return Prefix(adapter.rank, stuff.shape.kv_width)


def _place_beside(slots: Slots, role: str, module: nn.Module) -> None:
    slots.wrap(role, lambda base, place: Beside(base, module, place))


def _place_behind(slots: Slots, role: str, module: nn.Module) -> None:
    slots.wrap(SUBLAYER_ENDS[role][1], lambda base, place: Behind(base, module, place))


def _place_across(slots: Slots, role: str, module: nn.Module) -> None:
    first, last = SUBLAYER_ENDS[role]
    carrier = Carrier()
    slots.wrap(first, lambda base, _: Tapped(base, carrier))
    slots.wrap(last, lambda base, _: Across(base, module, carrier))


def _place_scale(slots: Slots, role: str, module: nn.Module) -> None:
    assert isinstance(module, Ia3)
    if module.side == "input":
        slots.wrap(role, lambda base, _: Before(base, module))
    else:
        slots.wrap(role, lambda base, place: Behind(base, module, place))


def _place_prefix(slots: Slots, _role: str, module: nn.Module) -> None:
    assert isinstance(module, Prefix)
    path = slots.family.attention
    slots.changed[path] = with_prefix(slots.module(path), module)


ATTACHMENTS = {
    "lora": Attachment(build=_build_lora, place=_place_beside),
    "bottleneck": Attachment(build=_build_bottleneck, place=_place_behind),
    "parallel": Attachment(build=_build_parallel, place=_place_across),
    "ia3": Attachment(build=_build_ia3, place=_place_scale),
    "prefix": Attachment(build=_build_prefix, place=_place_prefix),
}
"""For each adapter kind how it is built and where it is put."""


def adapted_block(
    block: nn.Module, family: Family, placed: Mapping[Adapter, nn.Module]
) -> nn.Module:
    """Return a view of a frozen block with adapters in it.

    Args:
        block: left as it is.
        family: where its sub-modules are.
        placed: the adapters of this block with their modules, in canonical order, so that
            sub-layers are wrapped after the linear layers that end them.
    """
    slots = Slots(block, family)
    for adapter, module in placed.items():
        ATTACHMENTS[adapter.kind].place(slots, adapter.role, module)
    return graft(block, slots.changed)


def merged_block(
    block: nn.Module, family: Family, placed: Mapping[Adapter, nn.Module]
) -> nn.Module:
    """Return a view of a frozen block with adapters folded into copies of its weights.

    Every adapter is mergeable: its module has `merged(weight, bias)`.
    """
    slots = Slots(block, family)
    for adapter, module in placed.items():
        slots.wrap(adapter.role, lambda base, place, m=module: _merged(base, place, m))  # type: ignore[misc]
    return graft(block, slots.changed)


@torch.no_grad()
def _merged(base: nn.Module, place: Place, module: nn.Module) -> nn.Linear:
    """Return a layer whose part at `place` has the adapter folded in."""
    weight, bias = _as_linear(base)
    size = weight.shape[0] // place.n_parts
    part = slice(place.part * size, (place.part + 1) * size)
    own_bias = None if bias is None else bias[part]
    weight[part], new_bias = cast(Mergeable, module).merged(weight[part], own_bias)
    if bias is not None and new_bias is not None:
        bias[part] = new_bias
    merged = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    merged.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        merged.bias = nn.Parameter(bias, requires_grad=False)
    return merged


def _as_linear(base: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return copies of a layer's weight (outputs, inputs) and bias."""
    assert isinstance(base, (nn.Linear, Conv1D))
    weight = base.weight if isinstance(base, nn.Linear) else base.weight.t()
    bias = base.bias
    return weight.detach().clone(memory_format=torch.contiguous_format), (
        None if bias is None else bias.detach().clone()
    )
