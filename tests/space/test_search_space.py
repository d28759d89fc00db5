"""The space: what is asked for and when, and the way back from a structure to its parameters."""

import random
import warnings
from dataclasses import replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.adapter import ROUTERS, SCALINGS, Adapter, TokenSkip
from space.cost import BackboneShape, HeadShape
from space.default_space import default_space
from space.exits import EXIT_PATTERNS
from space.insertion import PATTERNS
from space.kinds import KINDS, kinds_for
from space.replay import params_for
from space.search_space import GRANULARITIES, OFF, FloatRange, Learning, SearchSpace
from space.spec import POOLINGS, AdapterSpec

SHAPE = BackboneShape(
    n_layers=6,
    width=8,
    attention_width=8,
    kv_width=8,
    block_macs=100,
    role_shapes=(
        ("query", (8, 8)),
        ("key", (8, 8)),
        ("value", (8, 8)),
        ("attention_output", (8, 8)),
        ("ffn_up", (8, 16)),
        ("ffn_down", (16, 8)),
    ),
)
HEAD = HeadShape(n_outputs=3)
SPACE = default_space(SHAPE, HEAD)
ROLES_HERE = SHAPE.roles
POOLED = tuple(name for name in POOLINGS if name != "none")
INSERTIONS = [SPACE.insertion, tuple(PATTERNS), ("upper_half",), "windows", "free"]


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
    trial = RandomTrial(random.Random(seed), wanted)
    spec, learning = space.sample(trial)
    return spec, learning, trial


def with_roles(**kinds):
    """Return answers that turn all roles off but these."""
    return {f"{role}_kind": kinds.get(role, OFF) for role in ROLES_HERE}


@st.composite
def spaces(draw):
    roles = tuple(draw(st.lists(st.sampled_from(ROLES_HERE), unique=True, min_size=1)))
    rates = st.sampled_from([0.003, FloatRange(low=1e-4, high=1e-2, log=True)])
    return SearchSpace(
        depth=tuple(draw(st.lists(st.integers(1, 6), unique=True, min_size=1))),
        insertion=draw(st.sampled_from(INSERTIONS)),
        roles=roles,
        kinds=tuple(draw(st.lists(st.sampled_from(list(KINDS)), unique=True, min_size=1))),
        rank=tuple(draw(st.lists(st.integers(1, 32), unique=True, min_size=1))),
        granularity=draw(st.sampled_from(GRANULARITIES)),
        alpha=draw(st.sampled_from([1.0, 16.0])),
        scaling=draw(st.sampled_from(list(SCALINGS))),
        experts=tuple(draw(st.lists(st.sampled_from([1, 2, 4]), unique=True, min_size=1))),
        top_k=tuple(draw(st.lists(st.sampled_from([1, 2]), unique=True, min_size=1))),
        router=tuple(draw(st.lists(st.sampled_from(ROUTERS), unique=True, min_size=1))),
        token_keep=tuple(draw(st.lists(st.sampled_from([1.0, 0.5]), unique=True, min_size=1))),
        skip_layers=tuple(draw(st.lists(st.sampled_from(list(PATTERNS)), unique=True, min_size=1))),
        exits=tuple(draw(st.lists(st.sampled_from(list(EXIT_PATTERNS)), unique=True, min_size=1))),
        pooling=tuple(draw(st.lists(st.sampled_from(POOLED), unique=True, min_size=1))),
        learning_rate=draw(rates),
        head_learning_rate=0.01,
    )


def test_rank_is_asked_only_where_its_role_is_on():
    answers = with_roles(query="lora", ffn="bottleneck")
    spec, _, trial = sample(SPACE, **answers, insertion="all")
    ranks = {name for name in trial.params if name.endswith("_rank")}
    assert ranks == {"query_rank", "ffn_rank"}
    assert {adapter.role for adapter in spec.adapters} == {"query", "ffn"}
    for adapter in spec.adapters:
        assert adapter.rank == trial.params[f"{adapter.role}_rank"]
        assert adapter.alpha == (16.0 if adapter.role == "query" else None)


def test_head_alone_asks_neither_insertion_nor_learning_rate():
    spec, learning, trial = sample(SPACE, **with_roles())
    assert spec.adapters == ()
    assert set(trial.params) == {"depth", "pooling", *(f"{role}_kind" for role in ROLES_HERE)}
    assert learning == Learning(learning_rate=None, head_learning_rate=SPACE.head_learning_rate)


@pytest.mark.parametrize("name", SPACE.insertion)
def test_patterns_choose_the_layers(name):
    spec, _, _ = sample(SPACE, **with_roles(key="lora"), depth=5, insertion=name)
    expected = {
        "all": (0, 1, 2, 3, 4),
        "upper_half": (2, 3, 4),
        "upper_third": (3, 4),
        "last": (4,),
    }[name]
    assert spec.insertion_layers == expected


@pytest.mark.parametrize(
    ("depth", "length", "offset", "expected"),
    [
        (6, 2, 0, (4, 5)),
        (6, 2, 3, (1, 2)),
        (6, 6, 0, (0, 1, 2, 3, 4, 5)),
        (4, 6, 1, (0, 1, 2)),
        (3, 2, 5, (0,)),
    ],
)
def test_windows_count_from_the_top_and_are_cut_to_what_runs(depth, length, offset, expected):
    space = replace(SPACE, insertion="windows")
    spec, _, _ = sample(
        space,
        **with_roles(key="lora"),
        depth=depth,
        insertion_length=length,
        insertion_offset=offset,
    )
    assert spec.insertion_layers == expected


def test_free_asks_each_block_that_runs():
    space = replace(SPACE, insertion="free")
    wanted = {f"insert_{i}": i in (0, 3) for i in range(4)}
    spec, _, trial = sample(space, **with_roles(key="lora"), depth=4, **wanted)
    assert spec.insertion_layers == (0, 3)
    assert {name for name in trial.params if name.startswith("insert_")} == set(wanted)


def test_free_with_no_block_is_a_head_alone_without_a_learning_rate():
    space = replace(SPACE, insertion="free")
    wanted = {f"insert_{i}": False for i in range(6)}
    spec, learning, trial = sample(space, **with_roles(key="lora"), depth=6, **wanted)
    assert spec.adapters == ()
    assert learning.learning_rate is None
    assert "learning_rate" not in trial.params


def test_a_parameter_with_one_value_is_not_asked_for():
    space = SearchSpace(
        depth=(4,),
        insertion=("last",),
        roles=("query",),
        kinds=("lora",),
        granularity="global",
        rank=(8,),
        alpha=16.0,
        scaling="alpha/rank",
        experts=(1,),
        top_k=(1,),
        router=("token",),
        token_keep=(1.0,),
        skip_layers=("all",),
        exits=("none",),
        pooling=("cls",),
        learning_rate=0.002,
        head_learning_rate=0.01,
    )
    spec, learning, trial = sample(space, query_kind="lora")
    assert trial.params == {"query_kind": "lora"}
    assert spec == AdapterSpec(
        depth=4,
        pooling="cls",
        adapters=(Adapter(layer=3, role="query", kind="lora", rank=8, alpha=16.0),),
    )
    assert learning == Learning(learning_rate=0.002, head_learning_rate=0.01)


def test_neighbouring_depths_are_an_integer_and_others_a_choice():
    assert sample(SPACE)[2].ranges["depth"] == (3, 6)
    assert sample(replace(SPACE, depth=(5, 4, 6)))[2].ranges["depth"] == (4, 6)
    assert sample(replace(SPACE, depth=(6, 2, 4)))[2].ranges["depth"] == (2, 4, 6)


@settings(deadline=None)
@given(spaces(), st.integers(0, 2**32))
def test_a_sample_lies_in_its_space(space, seed):
    spec, learning, trial = sample(space, seed)
    assert spec.depth in space.depth
    assert spec.pooling in space.pooling
    assert learning.head_learning_rate == space.head_learning_rate
    assert (learning.learning_rate is None) == (not spec.adapters and not spec.skips)
    for adapter in spec.adapters:
        assert adapter.role in space.roles
        assert adapter.kind in kinds_for(adapter.role, space.kinds)
        assert adapter.rank in ((*space.rank,) if KINDS[adapter.kind].ranked else (None,))
        assert adapter.experts in (1, *space.experts)
        assert adapter.top_k <= adapter.experts
    assert {skip.token_keep for skip in spec.skips} <= set(space.token_keep)
    assert spec.exits in {EXIT_PATTERNS[name](spec.depth) for name in space.exits}
    ranked = {
        role
        for role in space.roles
        if (kind := trial.params[f"{role}_kind"]) != OFF and KINDS[kind].ranked
    }
    if len(space.rank) > 1 and space.granularity == "global":
        asked = {name for name in trial.params if name.endswith("_rank")} - {"skip_rank"}
        assert asked == {f"{role}_rank" for role in ranked}


@settings(deadline=None)
@given(spaces(), st.integers(0, 2**32))
def test_params_for_is_the_way_back_from_a_sample(space, seed):
    spec, learning, _ = sample(space, seed)
    params = params_for(space, spec, learning)
    assert params is not None
    replayed = RandomTrial(random.Random(seed + 1), params)
    assert space.sample(replayed) == (spec, learning)
    # All that is asked for is given, and nothing else, so that the answers were not chance.
    assert replayed.params == params


def some(**changes):
    """Return a space with experts, skips and exits."""
    wide = {
        "experts": (1, 4),
        "top_k": (1, 2),
        "router": ROUTERS,
        "token_keep": (1.0, 0.5),
        "skip_layers": ("upper_half", "last"),
        "exits": ("none", "middle"),
    }
    return replace(SPACE, **{**wide, **changes})


def test_experts_are_asked_for_where_a_kind_can_have_them():
    answers = with_roles(query="lora", key="ia3", attention="prefix")
    spec, _, trial = sample(some(), **answers, query_experts=4, query_top_k=2)
    assert {n for n in trial.params if n.endswith(("_experts", "_top_k", "_router"))} == {
        "query_experts",
        "query_top_k",
        "query_router",
    }
    by_role = {adapter.role: adapter for adapter in spec.adapters}
    assert (by_role["query"].experts, by_role["query"].top_k) == (4, 2)
    assert by_role["query"].router == trial.params["query_router"]
    assert by_role["key"].rank is None


def test_a_plain_adapter_asks_for_no_router():
    _, _, trial = sample(some(), **with_roles(query="lora"), query_experts=1)
    assert not {"query_top_k", "query_router"} & set(trial.params)


def test_top_k_is_at_most_the_experts():
    space = some(experts=(2,), top_k=(4,))
    spec, _, _ = sample(space, **with_roles(query="lora"), insertion="all")
    assert {(adapter.experts, adapter.top_k) for adapter in spec.adapters} == {(2, 2)}


def test_ranks_by_group_are_alike_within_each_third():
    space = some(granularity="group", experts=(1,))
    wanted = {"query_rank_lower": 2, "query_rank_middle": 8, "query_rank_upper": 32}
    spec, _, trial = sample(
        space, **with_roles(query="lora"), **wanted, depth=6, insertion="all", token_keep=1.0
    )
    assert [adapter.rank for adapter in spec.adapters] == [2, 2, 8, 8, 32, 32]
    assert "query_rank" not in trial.params


def test_groups_are_those_of_the_deepest_structure():
    space = some(granularity="group", experts=(1,))
    _, _, trial = sample(space, **with_roles(query="lora"), depth=3, insertion="last")
    assert {name for name in trial.params if "_rank_" in name} == {"query_rank_middle"}


def test_ranks_by_layer_are_asked_for_each_layer_that_is_adapted():
    space = some(granularity="layer", experts=(1,))
    _, _, trial = sample(space, **with_roles(query="lora"), depth=6, insertion="upper_third")
    assert {n for n in trial.params if n.startswith("query_rank")} == {
        "query_rank_4",
        "query_rank_5",
    }


def test_tokens_pass_by_the_blocks_of_a_pattern():
    wanted = {"token_keep": 0.5, "skip_layers": "upper_half", "skip_rank": 4, "exits": "middle"}
    spec, learning, _ = sample(some(), **with_roles(), depth=4, **wanted)
    assert spec.skips == tuple(TokenSkip(layer=i, token_keep=0.5, rank=4) for i in (2, 3))
    assert spec.exits == (2,)
    assert learning.learning_rate is not None


def test_where_all_tokens_run_nothing_more_is_asked():
    _, _, trial = sample(some(), **with_roles(), token_keep=1.0)
    assert not {"skip_layers", "skip_rank"} & set(trial.params)


LORA = Adapter(layer=5, role="query", kind="lora", rank=8, alpha=16.0)
FITTING = AdapterSpec(depth=6, adapters=(LORA,))
RATE = Learning(learning_rate=1e-3, head_learning_rate=SPACE.head_learning_rate)


def test_params_for_names_every_parameter():
    assert params_for(SPACE, FITTING, RATE) == {
        "depth": 6,
        "pooling": "mean",
        "insertion": "last",
        "learning_rate": 1e-3,
        **with_roles(query="lora"),
        "query_rank": 8,
    }


@pytest.mark.parametrize(
    "spec",
    [
        replace(FITTING, adapters=(replace(LORA, rank=7),)),
        replace(FITTING, adapters=(replace(LORA, alpha=8.0),)),
        replace(FITTING, adapters=(replace(LORA, layer=2),)),
        replace(FITTING, adapters=(LORA, replace(LORA, layer=4, rank=4))),
        replace(FITTING, adapters=(LORA, replace(LORA, role="key", layer=4))),
        replace(FITTING, pooling="attention"),
        AdapterSpec(depth=2),
    ],
    ids=["rank", "alpha", "layers", "ranks differ", "layers differ", "pooling", "depth"],
)
def test_params_for_of_what_lies_outside_is_none(spec):
    rate = RATE if spec.adapters else replace(RATE, learning_rate=None)
    assert params_for(SPACE, FITTING, RATE) is not None
    assert params_for(SPACE, spec, rate) is None


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": 0.5}, {"learning_rate": None}, {"head_learning_rate": 0.5}],
)
def test_params_for_of_another_training_is_none(changes):
    assert params_for(SPACE, FITTING, replace(RATE, **changes)) is None


def test_params_for_of_a_role_or_kind_outside_is_none():
    ffn_only = replace(SPACE, roles=("ffn",))
    assert params_for(ffn_only, FITTING, RATE) is None
    no_lora = replace(SPACE, kinds=("bottleneck",))
    assert params_for(no_lora, FITTING, RATE) is None


def test_params_for_of_windows_with_a_gap_is_none():
    space = replace(SPACE, insertion="windows")
    gap = AdapterSpec(depth=6, adapters=(replace(LORA, layer=1), replace(LORA, layer=3)))
    assert params_for(space, gap, RATE) is None
    assert params_for(replace(SPACE, insertion="free"), gap, RATE) is not None


@pytest.mark.parametrize("insertion", INSERTIONS, ids=str)
@pytest.mark.parametrize("depth", [(3, 4, 5, 6), (2, 4, 6), (6,)])
def test_optuna_sees_the_same_ranges_in_every_trial(insertion, depth):
    space = some(insertion=insertion, depth=depth)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: dict[str, optuna.distributions.BaseDistribution] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(200):
            trial = study.ask()
            spec, learning = space.sample(trial)
            for name, distribution in trial.distributions.items():
                assert seen.setdefault(name, distribution) == distribution, name
            assert params_for(space, spec, learning) is not None
            study.tell(trial, float(len(spec.adapters)))
    assert len(study.trials) == 200
    assert {f"{role}_kind" for role in ROLES_HERE} <= seen.keys()


@pytest.mark.parametrize("insertion", ["windows", "free", SPACE.insertion], ids=str)
def test_optuna_replays_enqueued_parameters(insertion):
    space = replace(SPACE, insertion=insertion)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for seed in range(20):
        spec, learning, _ = sample(space, seed)
        study.enqueue_trial(params_for(space, spec, learning))
        trial = study.ask()
        assert space.sample(trial) == (spec, learning)
        study.tell(trial, 0.0)
