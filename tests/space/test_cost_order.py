"""What must cost more than what."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.adapter import TokenSkip
from space.cost import TokenStats
from space.kinds import KINDS
from tests.space.costing import COST, adapter, cost_of, spec
from tests.space.small import POOLED, SHAPE, sample, spaces

RANKED = [kind for kind in KINDS.values() if kind.ranked]
PLACES = [(kind.name, role) for kind in RANKED for role in kind.roles if role in SHAPE.roles]
STRUCTURES = st.builds(
    lambda place, rank, layer, pooling: spec(
        adapter(*place, rank=rank, layer=layer), pooling=pooling
    ),
    st.sampled_from(PLACES),
    st.integers(1, 64),
    st.integers(0, 2),
    st.sampled_from(POOLED),
)


@settings(deadline=None)
@given(STRUCTURES, st.integers(1, 8))
def test_a_greater_rank_never_costs_less(structure, more):
    (own,) = structure.adapters
    wider = replace(structure, adapters=(replace(own, rank=own.rank + more),))
    assert COST.trainable_params(wider) > COST.trainable_params(structure)
    free = own.mergeable
    before, after = (COST.inference_gflops(s) for s in (structure, wider))
    assert after == before if free else after > before
    before, after = (COST.training_gflops(s) for s in (structure, wider))
    assert after > before


@settings(deadline=None)
@given(STRUCTURES)
def test_a_greater_depth_costs_more(structure):
    deeper = replace(structure, depth=structure.depth + 1)
    for cost in (COST.inference_gflops, COST.training_gflops):
        assert cost(deeper) > cost(structure)
    assert COST.trainable_params(deeper) == COST.trainable_params(structure)


@settings(deadline=None)
@given(STRUCTURES)
def test_a_higher_insertion_layer_trains_for_less_and_answers_for_the_same(structure):
    (own,) = structure.adapters
    lower, higher = (replace(structure, adapters=(replace(own, layer=i),)) for i in (0, 2))
    assert COST.training_gflops(higher) < COST.training_gflops(lower)
    costs = [COST.inference_gflops(s) for s in (lower, higher)]
    assert costs[0] == costs[1]


@settings(deadline=None)
@given(STRUCTURES)
def test_training_costs_more_than_answering(structure):
    training = COST.training_gflops(structure)
    assert training > COST.inference_gflops(structure)


WAYS = ["concatenated", "grouped", "looped"]


@settings(deadline=None)
@given(spaces(), st.integers(0, 2**32), st.sampled_from(WAYS))
def test_of_any_structure_each_exit_costs_more_than_those_below_it(space, seed, way):
    structure, _, _ = sample(space, seed)
    cost = cost_of(way=way)
    behind = cost.gflops_behind(structure)
    assert len(behind) == len(structure.exits) + 1
    assert behind == sorted(set(behind)) and behind[0] > 0
    assert cost.inference_gflops(structure) == behind[-1]
    early = replace(structure, exits=())
    assert (cost.inference_gflops(early) < behind[-1]) == bool(structure.exits)


@settings(deadline=None)
@given(spaces(), st.integers(0, 2**32), st.sampled_from(WAYS))
def test_of_any_structure_each_adapter_is_trained_at_a_cost(space, seed, way):
    structure, _, _ = sample(space, seed)
    cost = cost_of(way=way)
    assert cost.training_gflops(structure) > cost.inference_gflops(structure)
    for own in structure.adapters:
        others = tuple(other for other in structure.adapters if other != own)
        less = replace(structure, adapters=others)
        assert cost.trainable_params(less) < cost.trainable_params(structure)
        assert cost.training_gflops(less) <= cost.training_gflops(structure)
        before, after = (cost.inference_gflops(s) for s in (less, structure))
        assert after == pytest.approx(before) if own.mergeable else after > before


@pytest.mark.parametrize("kind", KINDS)
def test_training_costs_less_the_higher_the_first_insertion_layer(kind):
    role = KINDS[kind].roles[0]
    costs = [COST.training_gflops(spec(adapter(kind, role, layer=i), depth=6)) for i in range(6)]
    assert costs == sorted(costs, reverse=True) and len(set(costs)) == 6


def test_training_costs_less_the_higher_the_first_block_that_tokens_pass_by():
    skips = [TokenSkip(layer=i, token_keep=0.5, rank=2) for i in range(6)]
    costs = [COST.training_gflops(spec(depth=6, skips=(own,))) for own in skips]
    assert costs == sorted(costs, reverse=True) and len(set(costs)) == 6
    answering = {COST.inference_gflops(spec(depth=6, skips=(own,))) for own in skips}
    assert len({round(gflops, 15) for gflops in answering}) == 1


@pytest.mark.parametrize("cost_name", ["inference_gflops", "training_gflops"])
def test_the_fewer_tokens_run_the_less_it_costs(cost_name):
    cost = cost_of(tokens=TokenStats.of([40, 60]))
    costs = [
        getattr(cost, cost_name)(spec(skips=(TokenSkip(layer=1, token_keep=keep, rank=2),)))
        for keep in (0.25, 0.5, 0.75)
    ]
    assert costs == sorted(costs) and len(set(costs)) == 3
    adapted = spec(adapter("lora", "query", layer=1))
    assert costs[1] < getattr(cost, cost_name)(adapted)


@pytest.mark.parametrize("way", WAYS)
def test_more_experts_have_more_parameters_and_cost_more_where_all_are_computed(way):
    cost = cost_of(way=way)
    few, many = (
        spec(adapter("lora", "query", experts=n, top_k=1, router="sequence")) for n in (2, 8)
    )
    assert cost.trainable_params(many) == 4 * (cost.trainable_params(few) - 44) + 44
    more = cost.inference_gflops(many) - cost.inference_gflops(few)
    router = 2 * 6 * 10 / 1e9  # once a row
    experts = 2 * 6 * 36 * 5 / 1e9 if way == "concatenated" else 0.0
    assert more == pytest.approx(router + experts)


def test_a_plain_adapter_costs_less_than_experts():
    plain = spec(adapter("parallel", "ffn"))
    for way in WAYS:
        own = spec(adapter("parallel", "ffn", experts=2, top_k=1, router="token"))
        assert cost_of(way=way).inference_gflops(own) > COST.inference_gflops(plain)


def test_longer_texts_cost_more():
    longer = cost_of(tokens=TokenStats.of([6]))
    assert longer.inference_gflops(spec()) > COST.inference_gflops(spec())
    assert longer.training_gflops(spec()) > COST.training_gflops(spec())
