"""The space: what is asked for and when, and what an answer makes."""

import warnings
from dataclasses import replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.adapter import Adapter
from space.exits import EXIT_PATTERNS
from space.kinds import KINDS, kinds_for
from space.replay import params_for
from space.search_space import OFF, FloatRange, Learning, SearchSpace
from space.spec import AdapterSpec
from tests.space.small import INSERTIONS, SHAPE, SPACE, sample, spaces, wide, with_roles


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
    assert set(trial.params) == {"depth", "pooling", *(f"{role}_kind" for role in SHAPE.roles)}
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
        side_width=(32,),
        side_layers=("all",),
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


FULL = {
    "depth": 6,
    "query_kind": "lora",
    "query_rank": 8,
    "query_experts": 4,
    "query_top_k": 2,
    "query_router": "token",
    "insertion": "all",
    "token_keep": 0.5,
    "skip_layers": "last",
    "skip_rank": 4,
    "exits": "middle",
    "pooling": "cls",
    "learning_rate": 1e-3,
}
"""Answers with all that one role, skips and exits can ask for."""


@pytest.mark.parametrize(
    ("changes", "silent"),
    [
        ({}, set()),
        ({"depth": (6,)}, {"depth"}),
        ({"insertion": ("all",)}, {"insertion"}),
        ({"rank": (8,)}, {"query_rank", "skip_rank"}),
        ({"experts": (4,)}, {"query_experts"}),
        ({"experts": (1,)}, {"query_experts", "query_top_k", "query_router"}),
        ({"top_k": (2,)}, {"query_top_k"}),
        ({"router": ("token",)}, {"query_router"}),
        ({"token_keep": (0.5,)}, {"token_keep"}),
        ({"token_keep": (1.0,)}, {"token_keep", "skip_layers", "skip_rank"}),
        ({"skip_layers": ("last",)}, {"skip_layers"}),
        ({"exits": ("middle",)}, {"exits"}),
        ({"pooling": ("cls",)}, {"pooling"}),
        ({"learning_rate": 1e-3}, {"learning_rate"}),
    ],
    ids=lambda value: str(sorted(value)),
)
def test_what_has_one_value_falls_silent_and_nothing_else(changes, silent):
    space = replace(wide(roles=("query",)), **changes)
    _, _, trial = sample(space, **FULL)
    assert trial.params == {name: FULL[name] for name in FULL if name not in silent}


@pytest.mark.parametrize("rate", [0.002, 1])
def test_a_fixed_learning_rate_is_taken_as_it_is(rate):
    _, learning, _ = sample(replace(SPACE, learning_rate=rate), **with_roles(query="lora"))
    assert learning.learning_rate == rate


@pytest.mark.parametrize("log", [True, False])
def test_a_range_of_learning_rates_is_asked_for_as_it_is_given(log):
    space = replace(SPACE, learning_rate=FloatRange(low=1e-4, high=1e-2, log=log))
    _, learning, trial = sample(space, **with_roles(query="lora"))
    assert trial.ranges["learning_rate"] == (1e-4, 1e-2, log)
    assert learning.learning_rate == trial.params["learning_rate"]


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
    assert (learning.learning_rate is None) == spec.head_only
    assert (spec.side is not None) == (trial.params.get("side", set(space.kinds) == {"side"}))
    if spec.side is not None:
        assert spec.side.width in space.side_width
        assert not [name for name in trial.params if name.endswith("_kind")]
        return
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


@pytest.mark.parametrize("insertion", INSERTIONS, ids=str)
@pytest.mark.parametrize("depth", [(3, 4, 5, 6), (2, 4, 6), (6,)])
def test_optuna_sees_the_same_ranges_in_every_trial(insertion, depth):
    space = wide(insertion=insertion, depth=depth)
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
    assert {f"{role}_kind" for role in SHAPE.roles} <= seen.keys()


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
