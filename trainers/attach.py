"""Attach adapters to a frozen block: three ways, one for each place that a kind stands at.

Nothing frozen is changed: a view of the block is made in which the linear layers that an adapter
serves are wrapped (see trainers/graft.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor, nn

from space.cost import BackboneShape
from space.roles import SUBLAYER_ENDS
from space.spec import Adapter
from trainers.adapters import Bottleneck, Lora, Parallel
from trainers.families import Family
from trainers.graft import graft


class Mergeable(Protocol):
    """What the module of a mergeable kind offers."""

    def merged(self, weight: Tensor) -> Tensor:
        """Return the frozen weight with the adapter folded in."""


class Beside(nn.Module):
    """A linear layer with an adapter that reads the layer's input and adds to its output."""

    def __init__(self, base: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(x, self.base(x))  # type: ignore[no-any-return]


class Behind(nn.Module):
    """A layer with an adapter that reads and replaces the layer's output."""

    def __init__(self, base: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(self.base(x))  # type: ignore[no-any-return]


class Carrier:
    """Carries a sub-layer's input from its first linear layer to its last, within one pass."""

    def __init__(self) -> None:
        self._x: Tensor | None = None

    def put(self, x: Tensor) -> None:
        self._x = x

    def take(self) -> Tensor:
        x, self._x = self._x, None
        assert x is not None, "the first layer of the sub-layer did not run"
        return x


class Tapped(nn.Module):
    """The first layer of a sub-layer, whose input a parallel adapter reads."""

    def __init__(self, base: nn.Module, carrier: Carrier) -> None:
        super().__init__()
        self.base = base
        self.carrier = carrier

    def forward(self, x: Tensor) -> Tensor:
        self.carrier.put(x)
        return self.base(x)  # type: ignore[no-any-return]


class Across(nn.Module):
    """The last layer of a sub-layer, to whose output a parallel adapter adds."""

    def __init__(self, base: nn.Module, adapter: nn.Module, carrier: Carrier) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter
        self.carrier = carrier

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(self.carrier.take(), self.base(x))  # type: ignore[no-any-return]


Modules = dict[str, nn.Module]
"""Of one block: linear role -> the module that stands there, wrapped so far."""


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """How a kind becomes a module, and where in the block it is put."""

    build: Callable[[Adapter, BackboneShape], nn.Module]
    place: Callable[[Modules, str, nn.Module], None]


def _build_lora(adapter: Adapter, shape: BackboneShape) -> nn.Module:
    return Lora(*shape.widths(adapter.role), adapter.rank, adapter.scaling)


def _build_bottleneck(adapter: Adapter, shape: BackboneShape) -> nn.Module:
    return Bottleneck(shape.widths(adapter.role)[1], adapter.rank)


def _build_parallel(adapter: Adapter, shape: BackboneShape) -> nn.Module:
    return Parallel(*shape.widths(adapter.role), adapter.rank, adapter.scaling)


def _place_beside(modules: Modules, role: str, module: nn.Module) -> None:
    modules[role] = Beside(modules[role], module)


def _place_behind(modules: Modules, role: str, module: nn.Module) -> None:
    last = SUBLAYER_ENDS[role][1]
    modules[last] = Behind(modules[last], module)


def _place_across(modules: Modules, role: str, module: nn.Module) -> None:
    first, last = SUBLAYER_ENDS[role]
    carrier = Carrier()
    modules[first] = Tapped(modules[first], carrier)
    modules[last] = Across(modules[last], module, carrier)


ATTACHMENTS = {
    "lora": Attachment(build=_build_lora, place=_place_beside),
    "bottleneck": Attachment(build=_build_bottleneck, place=_place_behind),
    "parallel": Attachment(build=_build_parallel, place=_place_across),
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
    paths = dict(family.roles)
    before = {role: block.get_submodule(path) for role, path in paths.items()}
    modules = dict(before)
    for adapter, module in placed.items():
        ATTACHMENTS[adapter.kind].place(modules, adapter.role, module)
    changed = {paths[r]: m for r, m in modules.items() if m is not before[r]}
    return graft(block, changed)


def merged_block(
    block: nn.Module, family: Family, placed: Mapping[Adapter, nn.Module]
) -> nn.Module:
    """Return a view of a frozen block with adapters folded into copies of its weights.

    Every adapter is of a mergeable kind: its module has `merged(weight) -> weight`.
    """
    paths = dict(family.roles)
    changed: dict[str, nn.Module | None] = {}
    for adapter, module in placed.items():
        base = block.get_submodule(paths[adapter.role])
        assert isinstance(base, nn.Linear)
        changed[paths[adapter.role]] = _with_weight(
            base, cast(Mergeable, module).merged(base.weight)
        )
    return graft(block, changed)


def _with_weight(base: nn.Linear, weight: Tensor) -> nn.Linear:
    merged = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
    merged.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    merged.bias = base.bias
    return merged
