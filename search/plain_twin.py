"""The plain counterpart of a structure with experts: as many parameters, nothing sparse.

What experts are worth is read against it: the same places and kinds, one part each, with the rank
that makes the parameters most nearly equal.
"""

from dataclasses import replace

from space.adapter import Adapter
from space.cost import BackboneShape, adapter_params
from space.spec import AdapterSpec

SUFFIX = "-plain"
"""Ends the key of a plain counterpart: `trial-12-plain`."""


def has_experts(spec: AdapterSpec) -> bool:
    """Whether a structure has a plain counterpart at all."""
    return any(adapter.experts > 1 for adapter in spec.adapters)


def plain_twin(spec: AdapterSpec, shape: BackboneShape) -> AdapterSpec:
    """Return the counterpart of a structure with experts."""
    return replace(spec, adapters=tuple(_plain(adapter, shape) for adapter in spec.adapters))


def _plain(adapter: Adapter, shape: BackboneShape) -> Adapter:
    if adapter.experts == 1:
        return adapter
    wanted = adapter_params(adapter, shape)
    ranks = range(1, max(2, adapter.experts * (adapter.rank or 1) * 2))

    def one_part(rank: int) -> Adapter:
        return replace(adapter, experts=1, top_k=1, router=None, rank=rank)

    return min(map(one_part, ranks), key=lambda own: abs(adapter_params(own, shape) - wanted))
