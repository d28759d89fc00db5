"""The space of structures: what may be sampled, and how one sample becomes a structure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from space.adapter import Adapter, TokenSkip
from space.exits import EXIT_PATTERNS
from space.insertion import PATTERNS, sample_insertion
from space.kinds import KINDS, kinds_for
from space.side import SIDE, Side
from space.spec import AdapterSpec
from space.suggest import Suggest

OFF = "off"
"""The choice of a role's kind that leaves the role without an adapter."""

GRANULARITIES = ("global", "group", "layer")
"""How far a role's rank may differ between insertion layers: not at all, between the lower, middle
and upper third of the blocks, or from block to block."""

COARSE_TO_FINE = "coarse-to-fine"
"""All of them in turn, as a study goes on."""

GROUPS = ("lower", "middle", "upper")


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
    insertion only where any role does, the learning rate only where there are adapters. Where
    `side` is one of several kinds, it is asked for first whether a structure is a side network:
    roles, skips and exits exist only where it is none.
    """

    depth: tuple[int, ...]
    insertion: tuple[str, ...] | str
    """Names of patterns, or `windows`, or `free` (see space/insertion.py)."""
    roles: tuple[str, ...]
    kinds: tuple[str, ...]
    """Names of space.side.SPACE_KINDS."""
    granularity: str
    """One of GRANULARITIES, or COARSE_TO_FINE."""
    rank: tuple[int, ...]
    alpha: float
    """Of every adapter that is scaled."""
    scaling: str
    """The rule of that scale, one of space.adapter.SCALINGS."""
    experts: tuple[int, ...]
    """Numbers of sparse experts in an adapter; 1 is a plain one."""
    top_k: tuple[int, ...]
    """How many experts serve a token (at most as many as there are)."""
    router: tuple[str, ...]
    token_keep: tuple[float, ...]
    """Shares of the tokens that run through a frozen block; 1 is all."""
    skip_layers: tuple[str, ...]
    """Patterns: which blocks tokens may pass by where token_keep is below 1."""
    exits: tuple[str, ...]
    """Patterns of early exits (see space/exits.py)."""
    side_width: tuple[int, ...]
    """Widths of side networks."""
    side_layers: tuple[str, ...]
    """Patterns: which blocks' outputs a side network reads."""
    pooling: tuple[str, ...]
    learning_rate: FloatRange | float
    """Of the adapters."""
    head_learning_rate: float
    """Of pooling and head, in all structures."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The granularities of a study on this space, in their order; a structure has the last's
        unless the space is taken `at` another."""
        return GRANULARITIES if self.granularity == COARSE_TO_FINE else (self.granularity,)

    def at(self, stage: str) -> "SearchSpace":
        """Return this space with the granularity of one stage."""
        return replace(self, granularity=stage)

    def sample(self, trial: Suggest) -> tuple[AdapterSpec, Learning]:
        """Return one structure and how to train it, from the values that `trial` suggests."""
        beside = self._sample_whether_beside(trial)
        depth = self._sample_depth(trial)
        if beside:
            spec = AdapterSpec(
                depth=depth,
                side=self._sample_side(trial, depth),
                pooling=_sample_one(trial, "pooling", self.pooling),
            )
        else:
            spec = self._sample_in_blocks(trial, depth)
        learning = Learning(
            learning_rate=None if spec.head_only else self._sample_learning_rate(trial),
            head_learning_rate=self.head_learning_rate,
        )
        return spec, learning

    def kind_choices(self, role: str) -> tuple[str, ...]:
        """Return the choices for a role: off, or a kind that can serve it."""
        return (OFF, *kinds_for(role, self.kinds))

    def rank_place(self, role: str, layer: int) -> str:
        """Return the name of the parameter that holds the rank of a role in a block."""
        granularity = self.stages[-1]
        if granularity == "layer":
            return f"{role}_rank_{layer}"
        if granularity == "group":
            # Thirds of the deepest structure, so that a block's group is the same at any depth.
            return f"{role}_rank_{GROUPS[layer * len(GROUPS) // max(self.depth)]}"
        return f"{role}_rank"

    def _sample_whether_beside(self, trial: Suggest) -> bool:
        """Return whether the structure is a side network."""
        if SIDE not in self.kinds:
            return False
        return set(self.kinds) == {SIDE} or bool(trial.suggest_categorical(SIDE, (True, False)))

    def _sample_side(self, trial: Suggest, depth: int) -> Side:
        pattern = _sample_one(trial, "side_layers", self.side_layers)
        return Side(
            width=_sample_one(trial, "side_width", self.side_width),
            boundaries=tuple(layer + 1 for layer in PATTERNS[pattern](depth)),
        )

    def _sample_in_blocks(self, trial: Suggest, depth: int) -> AdapterSpec:
        served: dict[str, dict[str, Any]] = {}
        for role in self.roles:
            kind = trial.suggest_categorical(f"{role}_kind", self.kind_choices(role))
            if kind != OFF:
                served[role] = self._sample_role(trial, role, kind)
        layers: tuple[int, ...] = ()
        if served:
            layers = sample_insertion(self.insertion, depth, max(self.depth), trial)
        return AdapterSpec(
            depth=depth,
            adapters=self._sample_adapters(trial, served, layers),
            skips=self._sample_skips(trial, depth),
            exits=self._sample_exits(trial, depth),
            pooling=_sample_one(trial, "pooling", self.pooling),
        )

    def _sample_depth(self, trial: Suggest) -> int:
        depths = tuple(sorted(self.depth))
        if len(depths) > 1 and depths == tuple(range(depths[0], depths[-1] + 1)):
            # An integer, not a choice, so that samplers see the order.
            return trial.suggest_int("depth", depths[0], depths[-1])
        return int(_sample_one(trial, "depth", depths))

    def _sample_role(self, trial: Suggest, role: str, kind: str) -> dict[str, Any]:
        """Return what all adapters at a role have in common."""
        fields: dict[str, Any] = {"role": role, "kind": kind}
        if KINDS[kind].scaled:
            fields |= {"alpha": self.alpha, "scaling": self.scaling}
        if KINDS[kind].ranked and self.stages[-1] == "global":
            fields["rank"] = _sample_one(trial, f"{role}_rank", self.rank)
        experts = 1
        if KINDS[kind].sparse:
            experts = _sample_one(trial, f"{role}_experts", self.experts)
        if experts > 1:
            fields["experts"] = experts
            fields["top_k"] = min(experts, _sample_one(trial, f"{role}_top_k", self.top_k))
            fields["router"] = _sample_one(trial, f"{role}_router", self.router)
        return fields

    def _sample_adapters(
        self, trial: Suggest, served: dict[str, dict[str, Any]], layers: tuple[int, ...]
    ) -> tuple[Adapter, ...]:
        ranks: dict[str, int] = {}
        adapters = []
        for layer in layers:
            for role, common in served.items():
                own: dict[str, Any] = {}
                if KINDS[common["kind"]].ranked and "rank" not in common:
                    name = self.rank_place(role, layer)
                    ranks[name] = ranks.get(name) or _sample_one(trial, name, self.rank)
                    own["rank"] = ranks[name]
                adapters.append(Adapter(layer=layer, **common, **own))
        return tuple(adapters)

    def _sample_skips(self, trial: Suggest, depth: int) -> tuple[TokenSkip, ...]:
        token_keep = _sample_one(trial, "token_keep", self.token_keep)
        if token_keep == 1:
            return ()
        pattern = _sample_one(trial, "skip_layers", self.skip_layers)
        rank = _sample_one(trial, "skip_rank", self.rank)
        return tuple(
            TokenSkip(layer=layer, token_keep=token_keep, rank=rank)
            for layer in PATTERNS[pattern](depth)
        )

    def _sample_exits(self, trial: Suggest, depth: int) -> tuple[int, ...]:
        return EXIT_PATTERNS[_sample_one(trial, "exits", self.exits)](depth)

    def _sample_learning_rate(self, trial: Suggest) -> float:
        rate = self.learning_rate
        if isinstance(rate, FloatRange):
            return trial.suggest_float("learning_rate", rate.low, rate.high, log=rate.log)
        return float(rate)


def _sample_one(trial: Suggest, name: str, choices: Sequence[Any]) -> Any:
    return choices[0] if len(choices) == 1 else trial.suggest_categorical(name, choices)
