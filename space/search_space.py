"""The space of structures: what may be sampled, and how one sample becomes a structure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from space.cost import BackboneShape
from space.errors import close_matches
from space.insertion import PATTERNS, insertion_params, sample_insertion
from space.kinds import KINDS, kinds_for
from space.roles import ROLES
from space.spec import POOLINGS, Adapter, AdapterSpec
from space.suggest import Suggest

OFF = "off"
"""The choice of a role's kind that leaves the role without an adapter."""


@dataclass(frozen=True, kw_only=True)
class FloatRange:
    """A range of numbers, both ends included."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a structure is trained, as far as the search decides it."""

    learning_rate: float | None
    """Of the adapters; None where the structure has none."""
    head_learning_rate: float
    """Of pooling and head, which start from nothing and bear a higher rate."""


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What may be sampled. A parameter with one value is fixed and never asked for.

    The parameters are conditional: a rank exists only where its role carries an adapter, the
    insertion only where any role does, the learning rate only where there are adapters.
    """

    depth: tuple[int, ...]
    insertion: tuple[str, ...] | str
    """Names of patterns, or `windows`, or `free` (see space/insertion.py)."""
    roles: tuple[str, ...]
    kinds: tuple[str, ...]
    rank: tuple[int, ...]
    alpha: float
    """Of every adapter that is scaled (by alpha / rank)."""
    pooling: tuple[str, ...]
    learning_rate: FloatRange | float
    """Of the adapters."""
    head_learning_rate: float
    """Of pooling and head, in all structures."""

    def sample(self, trial: Suggest) -> tuple[AdapterSpec, Learning]:
        """Return one structure and how to train it, from the values that `trial` suggests."""
        depth = self._sample_depth(trial)
        chosen: dict[str, tuple[str, int]] = {}
        for role in self.roles:
            kind = trial.suggest_categorical(f"{role}_kind", self.kind_choices(role))
            if kind != OFF:
                chosen[role] = (kind, _sample_one(trial, f"{role}_rank", self.rank))
        layers: tuple[int, ...] = ()
        if chosen:
            layers = sample_insertion(self.insertion, depth, max(self.depth), trial)
        spec = AdapterSpec(
            depth=depth,
            pooling=_sample_one(trial, "pooling", self.pooling),
            adapters=self._adapters(chosen, layers),
        )
        learning = Learning(
            learning_rate=self._sample_learning_rate(trial) if spec.adapters else None,
            head_learning_rate=self.head_learning_rate,
        )
        return spec, learning

    def kind_choices(self, role: str) -> tuple[str, ...]:
        """Return the choices for a role: off, or a kind that can serve it."""
        return (OFF, *kinds_for(role, self.kinds))

    def params_for(self, spec: AdapterSpec, learning: Learning) -> dict[str, Any] | None:
        """Return the parameters of which `sample` makes this very structure, or None.

        None means that the structure lies outside the space.
        """
        wanted: dict[str, Any] = {
            "depth": spec.depth,
            "pooling": spec.pooling,
            "learning_rate": learning.learning_rate,
        }
        wanted |= {f"{role}_kind": OFF for role in self.roles}
        for adapter in spec.adapters:
            wanted[f"{adapter.role}_kind"] = adapter.kind
            wanted[f"{adapter.role}_rank"] = adapter.rank
        if spec.adapters:
            wanted |= insertion_params(self.insertion, spec.depth, spec.insertion_layers)
        replay = _Replay(wanted)
        try:
            found = self.sample(replay)
        except _OutsideSpace:
            return None
        return replay.asked if found == (spec, learning) else None

    def _sample_depth(self, trial: Suggest) -> int:
        depths = tuple(sorted(self.depth))
        if len(depths) > 1 and depths == tuple(range(depths[0], depths[-1] + 1)):
            # An integer, not a choice, so that samplers see the order.
            return trial.suggest_int("depth", depths[0], depths[-1])
        return int(_sample_one(trial, "depth", depths))

    def _sample_learning_rate(self, trial: Suggest) -> float:
        rate = self.learning_rate
        if isinstance(rate, float):
            return rate
        return trial.suggest_float("learning_rate", rate.low, rate.high, log=rate.log)

    def _adapters(
        self, chosen: dict[str, tuple[str, int]], layers: tuple[int, ...]
    ) -> tuple[Adapter, ...]:
        return tuple(
            Adapter(
                layer=layer,
                role=role,
                kind=kind,
                rank=rank,
                alpha=self.alpha if KINDS[kind].scaled else None,
            )
            for layer in layers
            for role, (kind, rank) in chosen.items()
        )


def default_space(shape: BackboneShape) -> SearchSpace:
    """Return the space that is searched where the study file names none."""
    return SearchSpace(
        depth=tuple(range(max(1, shape.n_layers // 2), shape.n_layers + 1)),
        insertion=("all", "upper_half", "upper_third", "last"),
        roles=shape.roles,
        kinds=tuple(KINDS),
        rank=(2, 4, 8, 16, 32),
        alpha=16.0,
        pooling=("mean", "cls"),
        learning_rate=FloatRange(low=3e-4, high=1e-2, log=True),
        head_learning_rate=1e-2,
    )


def problems_in(space: SearchSpace, shape: BackboneShape) -> list[str]:
    """Return what in the space does not fit the backbone or itself, one message a problem.

    Messages begin with the key of the study file, such as `space.depth`.
    """
    problems = [
        f"space.{key}: {name!r} is unknown; the names are {', '.join(known)}."
        + close_matches(name, known)
        for key, names, known in (
            ("roles", space.roles, ROLES),
            ("kinds", space.kinds, tuple(KINDS)),
            ("pooling", space.pooling, POOLINGS),
            ("insertion", _pattern_names(space.insertion), tuple(PATTERNS)),
        )
        for name in names
        if name not in known
    ]
    problems += [
        f"space.roles: the backbone has no {role!r} in its blocks; it has {', '.join(shape.roles)}."
        for role in space.roles
        if role in ROLES and role not in shape.roles
    ]
    problems += [
        f"space.depth: {depth} is not possible; the backbone has {shape.n_layers} blocks,"
        f" so a depth is 1 to {shape.n_layers}."
        for depth in space.depth
        if not 1 <= depth <= shape.n_layers
    ]
    return problems or _unused(space)


def _pattern_names(insertion: tuple[str, ...] | str) -> tuple[str, ...]:
    return () if isinstance(insertion, str) else insertion


def _unused(space: SearchSpace) -> list[str]:
    """Return kinds without a role and roles without a kind: they would be skipped silently."""
    problems = [
        f"space.kinds: {kind!r} serves none of the roles given; it serves"
        f" {', '.join(KINDS[kind].roles)}. Add one of these to space.roles or leave the kind out."
        for kind in space.kinds
        if not set(KINDS[kind].roles) & set(space.roles)
    ]
    problems += [
        f"space.roles: {role!r} is served by none of the kinds given; it is served by"
        f" {', '.join(kinds_for(role, tuple(KINDS)))}. Add one of these to space.kinds or leave"
        " the role out."
        for role in space.roles
        if not kinds_for(role, space.kinds)
    ]
    return problems


def _sample_one(trial: Suggest, name: str, choices: Sequence[Any]) -> Any:
    return choices[0] if len(choices) == 1 else trial.suggest_categorical(name, choices)


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
