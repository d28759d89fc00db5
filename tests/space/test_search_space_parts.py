"""What a space asks for ranks, experts, skips and exits."""

from dataclasses import replace

import pytest

from space.adapter import TokenSkip
from space.exits import EXIT_PATTERNS
from space.insertion import PATTERNS
from tests.space.small import SPACE, sample, wide, with_roles


def test_experts_are_asked_for_where_a_kind_can_have_them():
    answers = with_roles(query="lora", key="ia3", attention="prefix")
    spec, _, trial = sample(wide(), **answers, query_experts=4, query_top_k=2)
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
    _, _, trial = sample(wide(), **with_roles(query="lora"), query_experts=1)
    assert not {"query_top_k", "query_router"} & set(trial.params)


@pytest.mark.parametrize(("experts", "top_k", "cut"), [(2, 4, 2), (4, 4, 4), (4, 2, 2), (8, 1, 1)])
def test_top_k_is_at_most_the_experts(experts, top_k, cut):
    space = wide(experts=(experts,), top_k=(top_k,))
    spec, _, trial = sample(space, **with_roles(query="lora"), insertion="all")
    assert {(adapter.experts, adapter.top_k) for adapter in spec.adapters} == {(experts, cut)}
    assert not {"query_experts", "query_top_k"} & set(trial.params)


def test_each_role_has_experts_of_its_own():
    answers = with_roles(query="lora", ffn="parallel", attention="bottleneck")
    wanted = {"query_experts": 4, "query_top_k": 1, "ffn_experts": 1, "attention_experts": 4}
    wanted |= {"query_router": "token", "attention_router": "sequence", "attention_top_k": 2}
    spec, _, _ = sample(wide(), **answers, **wanted, insertion="last")
    found = {a.role: (a.experts, a.top_k, a.router) for a in spec.adapters}
    assert found == {
        "query": (4, 1, "token"),
        "ffn": (1, 1, None),
        "attention": (4, 2, "sequence"),
    }


@pytest.mark.parametrize(
    ("granularity", "depth", "insertion", "asked"),
    [
        ("global", 6, "all", {"query_rank"}),
        ("global", 3, "last", {"query_rank"}),
        ("group", 6, "all", {"query_rank_lower", "query_rank_middle", "query_rank_upper"}),
        ("group", 6, "upper_half", {"query_rank_middle", "query_rank_upper"}),
        ("group", 6, "upper_third", {"query_rank_upper"}),
        # Thirds of the deepest structure: block 2 is in the middle at every depth.
        ("group", 3, "last", {"query_rank_middle"}),
        ("layer", 6, "upper_third", {"query_rank_4", "query_rank_5"}),
        ("layer", 3, "all", {"query_rank_0", "query_rank_1", "query_rank_2"}),
    ],
)
def test_a_rank_is_asked_for_at_each_place_that_is_adapted(granularity, depth, insertion, asked):
    space = replace(SPACE, granularity=granularity, insertion=("all", *SPACE.insertion[1:]))
    answers = with_roles(query="lora", key="ia3")
    spec, _, trial = sample(space, **answers, depth=depth, insertion=insertion)
    assert {name for name in trial.params if "_rank" in name} == asked
    for adapter in spec.adapters:
        place = space.rank_place("query", adapter.layer)
        assert adapter.rank == (trial.params[place] if adapter.role == "query" else None)


@pytest.mark.parametrize(
    ("insertion", "answers"),
    [
        ("windows", {"insertion_length": 3, "insertion_offset": 1}),
        ("free", {f"insert_{layer}": layer in (2, 3, 4) for layer in range(6)}),
    ],
)
@pytest.mark.parametrize(
    ("granularity", "asked"),
    [
        ("global", {"query_rank"}),
        ("group", {"query_rank_middle", "query_rank_upper"}),
        ("layer", {"query_rank_2", "query_rank_3", "query_rank_4"}),
    ],
)
def test_ranks_follow_the_layers_however_these_are_chosen(insertion, answers, granularity, asked):
    space = replace(SPACE, insertion=insertion, granularity=granularity)
    spec, _, trial = sample(space, **with_roles(query="lora"), depth=6, **answers)
    assert spec.insertion_layers == (2, 3, 4)
    assert {name for name in trial.params if "_rank" in name} == asked


def test_ranks_by_group_are_alike_within_each_third():
    wanted = {"query_rank_lower": 2, "query_rank_middle": 8, "query_rank_upper": 32}
    space = replace(SPACE, granularity="group")
    spec, _, _ = sample(space, **with_roles(query="lora"), **wanted, depth=6, insertion="all")
    assert [adapter.rank for adapter in spec.adapters] == [2, 2, 8, 8, 32, 32]


@pytest.mark.parametrize(
    ("depths", "groups"),
    [
        ((1,), "l"),
        ((2,), "lm"),
        ((3,), "lmu"),
        ((4,), "llmu"),
        ((5,), "llmmu"),
        ((6, 2), "llmmuu"),
        ((12, 4), "llllmmmmuuuu"),
    ],
)
def test_groups_are_thirds_of_the_deepest_structure(depths, groups):
    space = replace(SPACE, granularity="group", depth=depths)
    names = [space.rank_place("ffn", layer) for layer in range(max(depths))]
    long = {"l": "lower", "m": "middle", "u": "upper"}
    assert names == [f"ffn_rank_{long[group]}" for group in groups]


def test_tokens_pass_by_the_blocks_of_a_pattern():
    wanted = {"token_keep": 0.5, "skip_layers": "upper_half", "skip_rank": 4, "exits": "middle"}
    spec, learning, _ = sample(wide(), **with_roles(), depth=4, **wanted)
    assert spec.skips == tuple(TokenSkip(layer=i, token_keep=0.5, rank=4) for i in (2, 3))
    assert spec.exits == (2,)
    assert learning.learning_rate is not None


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("depth", [1, 2, 5, 6])
def test_skips_stand_in_the_blocks_of_their_pattern(pattern, depth):
    space = wide(depth=(depth,), skip_layers=tuple(PATTERNS), token_keep=(0.5,))
    spec, _, _ = sample(space, skip_layers=pattern)
    assert [skip.layer for skip in spec.skips] == list(PATTERNS[pattern](depth))


@pytest.mark.parametrize("pattern", EXIT_PATTERNS)
@pytest.mark.parametrize("depth", range(1, 7))
def test_exits_stand_where_their_pattern_says(pattern, depth):
    space = wide(depth=tuple(range(1, 7)), exits=tuple(EXIT_PATTERNS))
    spec, _, _ = sample(space, depth=depth, exits=pattern)
    assert spec.exits == EXIT_PATTERNS[pattern](depth)


def test_the_rank_beside_a_block_is_asked_for_apart_from_those_at_roles():
    wanted = {"query_rank": 32, "token_keep": 0.5, "skip_rank": 2}
    spec, _, _ = sample(wide(), **with_roles(query="lora"), **wanted)
    assert {adapter.rank for adapter in spec.adapters} == {32}
    assert {skip.rank for skip in spec.skips} == {2}


def test_where_all_tokens_run_nothing_more_is_asked():
    _, _, trial = sample(wide(), **with_roles(), token_keep=1.0)
    assert not {"skip_layers", "skip_rank"} & set(trial.params)
