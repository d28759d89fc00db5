"""The structures of the tabular benchmark: a small space in which every structure is trained.

A sampler is asked for few parameters (`sample`), and whatever it answers is in the grid, so that
its whole study can be replayed from the table. Depth x insertion x kind x role set x rank x experts
on a backbone of six blocks; one learning rate for each kind.

    python -m studies.benchmarks.grid     what is in it, and what its training costs
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from space.adapter import Adapter
from space.cost import CostModel
from space.insertion import PATTERNS
from space.kinds import KINDS
from space.search_space import Learning
from space.spec import AdapterSpec
from space.suggest import Suggest

DEPTHS = (1, 2, 3, 4, 5, 6)
INSERTIONS = ("last", "upper_third")
"""Patterns of space/insertion.py that begin high: all below is read from the cache, and a training
costs one or two blocks whatever its depth. At depths 1 to 3 they are the same."""
RANKS = (2, 8)
EXPERTS = (1, 4)
"""Of several, one serves a token."""
ALPHA = 16.0
HEAD_RATE = 1e-2

ROLE_SETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "lora": {
        "qv": ("query", "value"),
        "attention": ("query", "key", "value", "attention_output"),
        "ffn": ("ffn_up", "ffn_down"),
        "all_linear": ("query", "key", "value", "attention_output", "ffn_up", "ffn_down"),
    },
    "bottleneck": {"ffn": ("ffn",), "both": ("attention", "ffn")},
    "parallel": {"ffn": ("ffn",), "both": ("attention", "ffn")},
    "ia3": {"all": ("key", "value", "ffn_down")},
    "prefix": {"attention": ("attention",)},
}
"""Kind -> named sets of roles that it serves together."""

LEARNING_RATES = {"lora": 3e-3, "bottleneck": 1e-2, "parallel": 1e-2, "ia3": 3e-2, "prefix": 3e-2}
"""Of the adapters, by kind: chosen from two or three each that were tried at depth 3."""


@dataclass(frozen=True, kw_only=True)
class GridPoint:
    """One structure of the grid."""

    params: Mapping[str, Any]
    """What a sampler answers for it; where several answers give it, those that come first."""
    spec: AdapterSpec
    learning: Learning


def sample(trial: Suggest) -> tuple[AdapterSpec, Learning]:
    """Return the structure of the grid that `trial` suggests, and how it is trained."""
    depth = trial.suggest_int("depth", DEPTHS[0], DEPTHS[-1])
    layers = PATTERNS[trial.suggest_categorical("insertion", INSERTIONS)](depth)
    kind = trial.suggest_categorical("kind", tuple(ROLE_SETS))
    sets = ROLE_SETS[kind]
    # Choices must not change within a study, so each kind has a parameter of its own.
    name = (
        next(iter(sets)) if len(sets) == 1 else trial.suggest_categorical(f"{kind}_roles", [*sets])
    )
    fields: dict[str, Any] = {"kind": kind}
    if KINDS[kind].ranked:
        fields["rank"] = trial.suggest_categorical("rank", RANKS)
    if KINDS[kind].scaled:
        fields["alpha"] = ALPHA
    experts = trial.suggest_categorical("experts", EXPERTS) if KINDS[kind].sparse else 1
    if experts > 1:
        fields |= {"experts": experts, "top_k": 1, "router": "token"}
    adapters = (
        Adapter(layer=layer, role=role, **fields) for layer in layers for role in sets[name]
    )
    spec = AdapterSpec(depth=depth, adapters=tuple(adapters))
    return spec, Learning(learning_rate=LEARNING_RATES[kind], head_learning_rate=HEAD_RATE)


@cache
def grid_points() -> tuple[GridPoint, ...]:
    """Return every structure of the grid once, cheapest depths first."""
    choices: dict[str, Sequence[Any]] = {
        "depth": DEPTHS,
        "insertion": INSERTIONS,
        "kind": tuple(ROLE_SETS),
        "rank": RANKS,
        "experts": EXPERTS,
        **{f"{kind}_roles": tuple(sets) for kind, sets in ROLE_SETS.items()},
    }
    found: dict[AdapterSpec, GridPoint] = {}
    for values in product(*choices.values()):
        point = point_of(dict(zip(choices, values, strict=True)))
        found.setdefault(point.spec, point)
    return tuple(found.values())


def point_of(params: Mapping[str, Any]) -> GridPoint:
    """Return the structure that parameters stand for; those that it has no use for are left out.

    Raises:
        KeyError: a parameter that it needs is missing.
    """
    given = _Given(params)
    spec, learning = sample(given)
    return GridPoint(params=given.asked, spec=spec, learning=learning)


class _Given:
    """A trial whose values are given; remembers which were asked for."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self.asked: dict[str, Any] = {}

    def _answer(self, name: str) -> Any:
        self.asked[name] = self._params[name]
        return self.asked[name]

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return int(self._answer(name))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._answer(name))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._answer(name)


def main() -> None:
    """Print what is in the grid, and the predicted cost of its training."""
    from studies.benchmarks.trainings import DATA_SETS, EPOCHS, POINTS, SEEDS, context_of

    points = grid_points()
    windows = Counter((p.spec.depth, p.spec.insertion_layers) for p in points)
    kinds = Counter(p.spec.adapters[0].kind for p in points)
    print(f"{len(points)} structures; in {len(windows)} windows; {dict(kinds)}")
    tflops = 0.0
    for name in DATA_SETS:
        context = context_of(name)

        def prefix(point: GridPoint, cost: CostModel = context.cost) -> float:
            return cost.prefix_gflops(point.spec)

        own = sum(
            EPOCHS * len(context.train) * (context.cost.training_gflops(p.spec) - prefix(p))
            + len(POINTS)
            * len(context.validation)
            * (context.cost.forward_gflops(p.spec) - prefix(p))
            for p in points
        )
        tflops += own * len(SEEDS) / 1e3
        print(
            f"{name}: {len(context.train)} training rows of {context.tokens.mean:.1f} tokens,"
            f" {len(context.validation)} validation rows, {len(context.data.labels)} classes;"
            f" {own / len(points):.0f} GFLOPs a training with the cache"
        )
    n_trainings = len(points) * len(DATA_SETS) * len(SEEDS)
    minutes = tflops * 1e3 / CORE_GFLOPS / 60
    print(
        f"{n_trainings} trainings: {tflops:.0f} TFLOPs, {minutes:.0f} minutes of one core at"
        f" {CORE_GFLOPS} GFLOP/s, {minutes / 2:.0f} on two cores"
    )


CORE_GFLOPS = 64
"""What one core of the machine that made the table did in a whole training, loading included; a
product of matrices ran at 80."""


if __name__ == "__main__":
    main()
