"""The way back: from a structure to the parameters that the sampler chose for it."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.adapter import SCALINGS, Adapter, TokenSkip
from space.exits import EXIT_PATTERNS
from space.insertion import PATTERNS
from space.replay import params_for
from space.search_space import GRANULARITIES, Learning
from space.spec import AdapterSpec
from tests.space.small import (
    INSERTIONS,
    POOLED,
    SPACE,
    RandomTrial,
    sample,
    spaces,
    wide,
    with_roles,
)


def assert_leads_back(space, seed):
    spec, learning, _ = sample(space, seed)
    params = params_for(space, spec, learning)
    assert params is not None
    replayed = RandomTrial(random.Random(seed + 1), params)
    assert space.sample(replayed) == (spec, learning)
    # All that is asked for is given, and nothing else, so that the answers were not chance.
    assert replayed.params == params


@settings(deadline=None)
@given(spaces(), st.integers(0, 2**32))
def test_params_for_is_the_way_back_from_a_sample(space, seed):
    assert_leads_back(space, seed)


@pytest.mark.parametrize("insertion", INSERTIONS, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_sample_of_a_wide_space_leads_back(insertion, granularity):
    space = wide(
        depth=(1, 2, 3, 4, 5, 6),
        insertion=insertion,
        granularity=granularity,
        scaling=list(SCALINGS)[1],
        experts=(1, 2, 4),
        top_k=(4, 1, 2),
        skip_layers=tuple(PATTERNS),
        exits=tuple(EXIT_PATTERNS),
        pooling=POOLED,
    )
    for seed in range(60):
        assert_leads_back(space, seed)


LORA = Adapter(layer=5, role="query", kind="lora", rank=8, alpha=16.0)
FITTING = AdapterSpec(depth=6, adapters=(LORA,))
SKIP = TokenSkip(layer=5, token_keep=0.5, rank=8)
RATE = Learning(learning_rate=1e-3, head_learning_rate=SPACE.head_learning_rate)


def test_params_for_names_every_parameter():
    expected = {
        "depth": 6,
        "pooling": "mean",
        "insertion": "last",
        "learning_rate": 1e-3,
        **with_roles(query="lora"),
        "query_rank": 8,
    }
    assert params_for(SPACE, FITTING, RATE) == expected


def test_params_for_names_those_of_experts_skips_and_exits():
    sparse = replace(LORA, experts=4, top_k=2, router="sequence")
    spec = replace(FITTING, adapters=(sparse,), skips=(SKIP,), exits=(3,))
    assert params_for(wide(), spec, RATE) == {
        "depth": 6,
        "pooling": "mean",
        "insertion": "last",
        "learning_rate": 1e-3,
        **with_roles(query="lora"),
        "query_rank": 8,
        "query_experts": 4,
        "query_top_k": 2,
        "query_router": "sequence",
        "token_keep": 0.5,
        "skip_layers": "last",
        "skip_rank": 8,
        "exits": "middle",
    }


@pytest.mark.parametrize(
    ("granularity", "ranks"),
    [
        ("global", {"query_rank": 8}),
        ("group", {"query_rank_upper": 8}),
        ("layer", {"query_rank_5": 8}),
    ],
)
def test_the_rank_stands_under_its_place(granularity, ranks):
    params = params_for(replace(SPACE, granularity=granularity), FITTING, RATE)
    assert {name: value for name, value in params.items() if "_rank" in name} == ranks


@pytest.mark.parametrize(
    ("granularity", "ranks", "fits"),
    [
        ("global", (8, 8, 8, 8, 8, 8), True),
        ("global", (8, 8, 8, 8, 8, 4), False),
        ("group", (2, 2, 8, 8, 4, 4), True),
        ("group", (2, 2, 8, 8, 4, 8), False),
        ("group", (2, 4, 8, 8, 4, 4), False),
        ("layer", (2, 4, 8, 16, 32, 2), True),
        ("layer", (2, 4, 8, 16, 32, 3), False),
    ],
)
def test_ranks_differ_as_far_as_the_granularity_lets_them(granularity, ranks, fits):
    adapters = tuple(replace(LORA, layer=layer, rank=rank) for layer, rank in enumerate(ranks))
    space = replace(SPACE, granularity=granularity)
    found = params_for(space, AdapterSpec(depth=6, adapters=adapters), RATE)
    assert (found is not None) == fits


@pytest.mark.parametrize(
    ("top_k", "own", "choice"),
    [((1, 2), 2, 2), ((1, 4), 2, 4), ((8, 4), 2, 8), ((1, 4), 1, 1), ((4,), 2, None)],
)
def test_a_top_k_that_is_cut_to_the_experts_leads_back(top_k, own, choice):
    adapters = (replace(LORA, experts=2, top_k=own, router="token"),)
    space = wide(experts=(1, 2), top_k=top_k)
    params = params_for(space, replace(FITTING, adapters=adapters), RATE)
    assert params is not None
    assert params.get("query_top_k") == choice


def test_a_top_k_that_no_choice_gives_is_outside():
    adapters = (replace(LORA, experts=4, top_k=3, router="token"),)
    assert params_for(wide(), replace(FITTING, adapters=adapters), RATE) is None


@pytest.mark.parametrize(
    ("skips", "fits"),
    [
        ((SKIP,), True),
        (tuple(replace(SKIP, layer=layer) for layer in (3, 4, 5)), True),
        ((replace(SKIP, layer=4),), False),
        ((replace(SKIP, token_keep=0.75),), False),
        ((replace(SKIP, rank=7),), False),
        ((*(replace(SKIP, layer=layer) for layer in (3, 4)), replace(SKIP, rank=4)), False),
        ((*(replace(SKIP, layer=layer) for layer in (3, 4)), replace(SKIP, token_keep=0.4)), False),
    ],
    ids=["last", "upper half", "no pattern", "share", "rank", "ranks differ", "shares differ"],
)
def test_skips_are_alike_and_follow_a_pattern(skips, fits):
    assert (params_for(wide(), replace(FITTING, skips=skips), RATE) is not None) == fits


@pytest.mark.parametrize(("exits", "fits"), [((), True), ((3,), True), ((2,), False)])
def test_exits_follow_a_pattern(exits, fits):
    assert (params_for(wide(), replace(FITTING, exits=exits), RATE) is not None) == fits


def test_a_head_alone_leads_back_without_a_learning_rate():
    rate = replace(RATE, learning_rate=None)
    found = params_for(SPACE, AdapterSpec(depth=6), rate)
    assert found == {"depth": 6, "pooling": "mean", **with_roles()}
    assert params_for(SPACE, AdapterSpec(depth=6), RATE) is None


def test_a_structure_of_skips_alone_has_a_learning_rate():
    spec = AdapterSpec(depth=6, skips=(SKIP,))
    assert params_for(wide(), spec, RATE)["learning_rate"] == RATE.learning_rate
    assert params_for(wide(), spec, replace(RATE, learning_rate=None)) is None


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
        replace(FITTING, adapters=(replace(LORA, scaling="alpha/sqrt(rank)"),)),
        replace(FITTING, adapters=(replace(LORA, experts=4, router="token"),)),
        replace(FITTING, skips=(SKIP,)),
        replace(FITTING, exits=(3,)),
    ],
    ids=[
        *("rank", "alpha", "layers", "ranks differ", "layers differ", "pooling", "depth"),
        *("scaling", "experts", "skips", "exits"),
    ],
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
