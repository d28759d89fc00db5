"""Starting points: structures that often do well, tried before a sampler knows anything.

Unlike a baseline a starting point lies in the space. Like a baseline it is never stopped: between
them they span the front, which what comes later is compared with.
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
    every_depth: bool = False
    """A trial at each of the space's depths in place of one at the greatest."""


STARTING_POINTS = {
    "top_layers": StartingPoint(layers=_TOP),
    "middle_layers": StartingPoint(layers=_MIDDLE),
    "ffn_only": StartingPoint(
        layers=_ALL, roles=tuple(role for role in ROLES if role.startswith("ffn"))
    ),
    "every_depth": StartingPoint(layers=(*_TOP, *_ALL), every_depth=True),
}
"""Starting points by name: adapters in the top third of the blocks; in the middle; in the FFN
alone; and in the top third at each depth, which is a front from its cheap end to its dear one."""

DEFAULT_STARTING_POINTS: tuple[str, ...] = ("every_depth",)
"""Those of a study file that names none: what won on the tabular benchmark
(studies/benchmarks/README.md)."""

MAX_DEPTHS = 6
SHARE_OF_TRIALS = 4
"""One starting point takes at most MAX_DEPTHS trials, and one in so many of a study's."""
FIRST_KIND = "lora"
"""The kind that starting points have where the space has it: the best at each depth of the same
benchmark."""


def starting_trials(name: str, space: SearchSpace, n_trials: int) -> dict[str, dict[str, Any]]:
    """Return the parameters of the trials of a starting point, by what each is called.

    Empty where none of its kind is in the space.

    Args:
        name: of the starting point.
        space: of the study.
        n_trials: of the whole study.
    """
    point = STARTING_POINTS[name]
    if not point.every_depth:
        params = _params_at(point, max(space.depth), space)
        return {} if params is None else {name: params}
    n_depths = min(MAX_DEPTHS, max(1, n_trials // SHARE_OF_TRIALS))
    found = {
        f"{name}: {depth}": _params_at(point, depth, space)
        for depth in _spread(space.depth, n_depths)
    }
    return {title: params for title, params in found.items() if params is not None}


def _spread(depths: Sequence[int], n: int) -> list[int]:
    """Return at most so many of the depths, from the least to the greatest; of one the greatest."""
    own = sorted(set(depths))
    if n >= len(own):
        return own
    if n == 1:
        return own[-1:]
    return [own[round(place * (len(own) - 1) / (n - 1))] for place in range(n)]


def _params_at(point: StartingPoint, depth: int, space: SearchSpace) -> dict[str, Any] | None:
    """Return the parameters of a starting point at a depth, None where the space lacks it.

    One kind, the first that can, serves every role that is meant, with the rank in the middle of
    the space's.
    """
    kinds = sorted(space.kinds, key=lambda kind: kind != FIRST_KIND)
    for kind, layers in product(kinds, point.layers):
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
    """Return what is wrong with the starting points that a study file names, a line each.

    The default ones are no wish of the user's: what the space lacks of them is left out.
    """
    return [
        f"starting_points: no structure of {name!r} lies in the space. Widen the space, or leave"
        " the name out."
        for name in names
        if name not in DEFAULT_STARTING_POINTS and not starting_trials(name, space, n_trials=1)
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
