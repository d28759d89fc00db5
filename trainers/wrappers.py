"""Wrappers around frozen layers, one for each way that an adapter stands to a layer.

A fused layer computes several roles at once; an adapter then changes its role's part of the output
only.

Shapes: `B` batch, `N` tokens, `I` input width, `O` output width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainers.families import Place


def on_part(y: Tensor, place: Place, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return y (B, N, O) with the part of the output at `place` changed."""
    if place.n_parts == 1:
        return change(y)
    parts = list(y.chunk(place.n_parts, -1))
    parts[place.part] = change(parts[place.part])
    return torch.cat(parts, -1)


class Around(nn.Module):
    """A frozen module inside another; what else a model reads of it is the frozen one's own."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.base, name)


class Beside(Around):
    """A layer with an adapter that reads the layer's input and adds to its output."""

    def __init__(self, base: nn.Module, adapter: nn.Module, place: Place) -> None:
        super().__init__(base)
        self.adapter = adapter
        self.place = place

    def forward(self, x: Tensor) -> Tensor:
        return on_part(self.base(x), self.place, lambda y: self.adapter(x, y))


class Behind(Around):
    """A layer with an adapter that reads and replaces the layer's output."""

    def __init__(self, base: nn.Module, adapter: nn.Module, place: Place) -> None:
        super().__init__(base)
        self.adapter = adapter
        self.place = place

    def forward(self, x: Tensor) -> Tensor:
        return on_part(self.base(x), self.place, self.adapter)


class Before(Around):
    """A layer with an adapter that changes what the layer reads."""

    def __init__(self, base: nn.Module, adapter: nn.Module) -> None:
        super().__init__(base)
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.base(self.adapter(x))  # type: ignore[no-any-return]


class Carrier:
    """Carries a sub-layer's input from its first linear layer to its last, within one pass."""

    def __init__(self) -> None:
        self._x: Tensor | None = None

    def put(self, x: Tensor) -> None:
        if self._x is None:  # DeBERTa sends its positions through the same layer afterwards
            self._x = x

    def take(self) -> Tensor:
        x, self._x = self._x, None
        assert x is not None, "the first layer of the sub-layer did not run"
        return x


class Tapped(Around):
    """The first layer of a sub-layer, whose input a parallel adapter reads."""

    def __init__(self, base: nn.Module, carrier: Carrier) -> None:
        super().__init__(base)
        self.carrier = carrier

    def forward(self, x: Tensor) -> Tensor:
        self.carrier.put(x)
        return self.base(x)  # type: ignore[no-any-return]


class Across(Around):
    """The last layer of a sub-layer, to whose output a parallel adapter adds."""

    def __init__(self, base: nn.Module, adapter: nn.Module, carrier: Carrier) -> None:
        super().__init__(base)
        self.adapter = adapter
        self.carrier = carrier

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(self.carrier.take(), self.base(x))  # type: ignore[no-any-return]
