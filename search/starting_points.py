"""Starting points: structures that often do well, tried before a sampler knows anything.

Unlike a baseline a starting point lies in the space, and is an ordinary trial: it may be stopped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any

from search.baselines import baseline_learning
from space.adapter import Adapter
from space.kinds import KINDS, kinds_for
from space.replay import params_for
from space.roles import ROLES
from space.search_space import SearchSpace
from space.spec import AdapterSpec

STARTING_POINT = "starting_point"
"""Trial attribute: the name of the starting point that a trial is."""

Layers = Callable[[int], range]
"""Depth -> the blocks that carry adapters."""


# A space of patterns may lack the blocks that are meant: the nearest come next.
_TOP: tuple[Layers, ...] = (
    lambda depth: range(depth - ceil(depth / 3), depth),
    lambda depth: range(depth - ceil(depth / 2), depth),
    lambda depth: range(depth - 1, depth),
)
_MIDDLE: tuple[Layers, ...] = (
    lambda depth: range(depth // 3, depth - depth // 3),
    lambda depth: range(depth // 4, depth - depth // 4),
)
_ALL: tuple[Layers, ...] = (lambda depth: range(depth),)


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """What a starting point is in every space."""

    layers: tuple[Layers, ...]
    """Which blocks carry adapters, the best choice first."""
    roles: tuple[str, ...] = ROLES
    """At which of them, as far as the space has them."""
    depth: Callable[[Sequence[int]], int] = max
    """Which of the space's depths."""


STARTING_POINTS = {
    "top_layers": StartingPoint(layers=_TOP),
    "middle_layers": StartingPoint(layers=_MIDDLE),
    "ffn_only": StartingPoint(
        layers=_ALL, roles=tuple(role for role in ROLES if role.startswith("ffn"))
    ),
    "shallow": StartingPoint(layers=(*_ALL, *_TOP), depth=min),
}
"""Starting points by name: adapters in the top third of the blocks; in the middle; in the FFN
alone; and in all of as few blocks as may run, which is the cheap end of the front."""

DEFAULT_STARTING_POINTS: tuple[str, ...] = ()
"""Those of a study file that names none."""


def starting_params(name: str, space: SearchSpace) -> dict[str, Any] | None:
    """Return the parameters of a starting point, None where none of its kind is in the space.

    One kind, the first that can, serves every role that is meant, with the rank in the middle of
    the space's.
    """
    point = STARTING_POINTS[name]
    depth = point.depth(space.depth)
    for kind, layers in product(space.kinds, point.layers):
        roles = [role for role in space.roles if role in point.roles and kinds_for(role, (kind,))]
        if not roles:
            continue
        adapters = (
            usual_adapter(space, kind, layer, role) for layer in layers(depth) for role in roles
        )
        spec = AdapterSpec(depth=depth, pooling=space.pooling[0], adapters=tuple(adapters))
        params = params_for(space, spec, baseline_learning(spec, space))
        if params is not None:
            return params
    return None


def misfits(names: Sequence[str], space: SearchSpace) -> list[str]:
    """Return what is wrong with the starting points that a study file names, a line each."""
    return [
        f"starting_points: no structure of {name!r} lies in the space. Widen the space, or leave"
        " the name out."
        for name in names
        if starting_params(name, space) is None
    ]


def usual_adapter(space: SearchSpace, kind: str, layer: int, role: str) -> Adapter:
    """Return an adapter of the space with the rank in the middle and the fewest experts."""
    fields: dict[str, Any] = {}
    if KINDS[kind].scaled:
        fields |= {"alpha": space.alpha, "scaling": space.scaling}
    if KINDS[kind].ranked:
        fields["rank"] = sorted(space.rank)[len(space.rank) // 2]
    experts = min(space.experts) if KINDS[kind].sparse else 1
    if experts > 1:
        top_k = min(experts, *space.top_k)
        fields |= {"experts": experts, "top_k": top_k, "router": space.router[0]}
    return Adapter(layer=layer, role=role, kind=kind, **fields)
