"""From a structure back to the parameters that the sampler would have chosen for it."""

from collections.abc import Sequence
from typing import Any

from space.adapter import Adapter
from space.exits import EXIT_PATTERNS
from space.insertion import PATTERNS, insertion_params
from space.search_space import OFF, Learning, SearchSpace
from space.side import SIDE
from space.spec import AdapterSpec


def params_for(space: SearchSpace, spec: AdapterSpec, learning: Learning) -> dict[str, Any] | None:
    """Return the parameters of which `space.sample` makes this very structure, or None.

    None means that the structure lies outside the space.
    """
    replay = _Replay(wanted_params(space, spec, learning))
    try:
        found = space.sample(replay)
    except _OutsideSpace:
        return None
    return replay.asked if found == (spec, learning) else None


def wanted_params(space: SearchSpace, spec: AdapterSpec, learning: Learning) -> dict[str, Any]:
    """Return the values of a space's parameters that make a structure, offered there or not; None
    where the structure has no such value."""
    wanted: dict[str, Any] = {
        "depth": spec.depth,
        "pooling": spec.pooling,
        "learning_rate": learning.learning_rate,
        "token_keep": 1.0,
    }
    wanted |= {f"{role}_kind": OFF for role in space.roles}
    wanted[SIDE] = spec.side is not None
    if spec.side is not None:
        layers = tuple(boundary - 1 for boundary in spec.side.boundaries)
        wanted["side_width"] = spec.side.width
        wanted |= _fitting("side_layers", space.side_layers, PATTERNS, spec.depth, layers)
    for adapter in spec.adapters:
        role = adapter.role
        wanted[f"{role}_kind"] = adapter.kind
        wanted[space.rank_place(role, adapter.layer)] = adapter.rank
        wanted[f"{role}_experts"] = adapter.experts
        wanted[f"{role}_top_k"] = _top_k(space, adapter)
        wanted[f"{role}_router"] = adapter.router
    if spec.adapters:
        wanted |= insertion_params(space.insertion, spec.depth, spec.insertion_layers)
    if spec.skips:
        layers = tuple(skip.layer for skip in spec.skips)
        wanted |= {"token_keep": spec.skips[0].token_keep, "skip_rank": spec.skips[0].rank}
        wanted |= _fitting("skip_layers", space.skip_layers, PATTERNS, spec.depth, layers)
    return wanted | _fitting("exits", space.exits, EXIT_PATTERNS, spec.depth, spec.exits)


def _top_k(space: SearchSpace, adapter: Adapter) -> int | None:
    """Return the choice that gives this top_k: a greater one is cut to the number of experts."""
    fitting = (k for k in space.top_k if min(k, adapter.experts) == adapter.top_k)
    return next(fitting, None)


def _fitting(
    name: str, choices: tuple[str, ...], patterns: Any, depth: int, layers: tuple[int, ...]
) -> dict[str, str]:
    fitting = [choice for choice in choices if tuple(patterns[choice](depth)) == layers]
    return {name: fitting[0]} if fitting else {}


class _OutsideSpace(Exception):
    """A wanted value is not among those that the space offers."""


class _Replay:
    """A trial whose values are known beforehand; remembers which were asked for."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self.asked: dict[str, Any] = {}

    def _answer(self, name: str, fits: bool) -> Any:
        if not fits:
            raise _OutsideSpace(name)
        self.asked[name] = self._wanted[name]
        return self.asked[name]

    def suggest_int(self, name: str, low: int, high: int) -> int:
        value = self._wanted.get(name)
        return int(self._answer(name, value is not None and low <= value <= high))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value = self._wanted.get(name)
        return float(self._answer(name, value is not None and low <= value <= high))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._answer(name, self._wanted.get(name) in choices)
