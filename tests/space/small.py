"""A small backbone, the spaces on it, and a trial that answers at random."""

import random
from dataclasses import replace

from hypothesis import strategies as st

from space.adapter import ROUTERS, SCALINGS
from space.cost import BackboneShape, HeadShape
from space.default_space import default_space
from space.exits import EXIT_PATTERNS
from space.insertion import PATTERNS
from space.search_space import GRANULARITIES, OFF, FloatRange, SearchSpace
from space.side import SPACE_KINDS
from space.spec import POOLINGS

SHAPE = BackboneShape(
    n_layers=6,
    width=10,
    attention_width=8,
    kv_width=4,
    block_macs=1000,
    role_shapes=(
        ("query", (10, 8)),
        ("key", (10, 4)),
        ("value", (10, 4)),
        ("attention_output", (8, 10)),
        ("ffn_up", (10, 40)),
        ("ffn_down", (40, 10)),
    ),
)
"""No two widths alike that could be mistaken for each other."""

HEAD = HeadShape(n_outputs=4)
PER_TOKEN = HeadShape(n_outputs=4, per_token=True)
LANGUAGE = HeadShape(n_outputs=4, per_token=True, trained=False)

SPACE = default_space(SHAPE, HEAD)
POOLED = tuple(name for name in POOLINGS if name != "none")
INSERTIONS = [SPACE.insertion, tuple(PATTERNS), ("upper_half",), "windows", "free"]


def wide(**changes):
    """Return the default space with experts, skips and exits."""
    own = {
        "experts": (1, 4),
        "top_k": (1, 2),
        "router": ROUTERS,
        "token_keep": (1.0, 0.5),
        "skip_layers": ("upper_half", "last"),
        "exits": ("none", "middle"),
    }
    return replace(SPACE, **(own | changes))


class RandomTrial:
    """Answers at random and remembers each question with its range and its answer."""

    def __init__(self, generator: random.Random, wanted: dict[str, object] | None = None):
        self.generator = generator
        self.wanted = wanted or {}
        self.ranges: dict[str, object] = {}
        self.params: dict[str, object] = {}

    def _answer(self, name, asked, value):
        assert name not in self.ranges, f"{name} is asked for twice"
        self.ranges[name] = asked
        self.params[name] = self.wanted.get(name, value)
        return self.params[name]

    def suggest_int(self, name, low, high):
        return self._answer(name, (low, high), self.generator.randint(low, high))

    def suggest_float(self, name, low, high, *, log=False):
        return self._answer(name, (low, high, log), self.generator.uniform(low, high))

    def suggest_categorical(self, name, choices):
        return self._answer(name, tuple(choices), self.generator.choice(list(choices)))


def sample(space, seed=0, **wanted):
    """Return (structure, learning, trial) of answers that are `wanted`, or else random."""
    trial = RandomTrial(random.Random(seed), wanted)
    spec, learning = space.sample(trial)
    return spec, learning, trial


def with_roles(**kinds):
    """Return answers that turn all roles off but these."""
    return {f"{role}_kind": kinds.get(role, OFF) for role in SHAPE.roles}


def _some_of(draw, choices):
    return tuple(draw(st.lists(st.sampled_from(list(choices)), unique=True, min_size=1)))


@st.composite
def spaces(draw):
    """Any space on the small backbone whose head answers for the row."""
    rates = st.sampled_from([0.003, FloatRange(low=1e-4, high=1e-2, log=True)])
    return SearchSpace(
        depth=_some_of(draw, range(1, 7)),
        insertion=draw(st.sampled_from(INSERTIONS)),
        roles=_some_of(draw, SHAPE.roles),
        kinds=_some_of(draw, SPACE_KINDS),
        granularity=draw(st.sampled_from(GRANULARITIES)),
        rank=_some_of(draw, range(1, 33)),
        alpha=draw(st.sampled_from([1.0, 16.0])),
        scaling=draw(st.sampled_from(list(SCALINGS))),
        experts=_some_of(draw, [1, 2, 4]),
        top_k=_some_of(draw, [1, 2, 8]),
        router=_some_of(draw, ROUTERS),
        token_keep=_some_of(draw, [1.0, 0.5, 0.25]),
        skip_layers=_some_of(draw, PATTERNS),
        exits=_some_of(draw, EXIT_PATTERNS),
        side_width=_some_of(draw, [4, 8]),
        side_layers=_some_of(draw, PATTERNS),
        pooling=_some_of(draw, POOLED),
        learning_rate=draw(rates),
        head_learning_rate=0.01,
    )
