"""The closed form by hand on a small shape, and what must rise with what."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.cost import (
    BackboneShape,
    TokenStats,
    adapter_macs,
    adapter_mib,
    adapter_params,
    head_params,
    inference_gflops,
    trainable_params,
    training_gflops,
)
from space.kinds import KINDS
from space.roles import ROLES
from space.spec import POOLINGS, Adapter, AdapterSpec

SHAPE = BackboneShape(
    n_layers=3,
    width=10,
    attention_width=8,
    block_macs=1000,
    role_shapes=(
        ("query", (10, 8)),
        ("key", (10, 8)),
        ("value", (10, 8)),
        ("attention_output", (8, 10)),
        ("ffn_up", (10, 40)),
        ("ffn_down", (40, 10)),
    ),
)
TOKENS = TokenStats(mean=5.0, mean_square=30.0)


def adapter(kind, role, rank=2, layer=0):
    alpha = 4.0 if KINDS[kind].scaled else None
    return Adapter(layer=layer, role=role, kind=kind, rank=rank, alpha=alpha)


def spec(*adapters, depth=3, pooling="mean"):
    return AdapterSpec(depth=depth, adapters=adapters, pooling=pooling)


@pytest.mark.parametrize(
    ("kind", "role", "params", "macs"),
    [
        ("lora", "query", 2 * (10 + 8), 36),
        ("lora", "attention_output", 2 * (8 + 10), 36),
        ("lora", "ffn_up", 2 * (10 + 40), 100),
        ("bottleneck", "attention", 2 * 2 * 10 + 2 + 10, 40),
        ("bottleneck", "ffn", 2 * 2 * 10 + 2 + 10, 40),
        ("parallel", "attention", 2 * (10 + 10) + 2 + 10, 40),
        ("parallel", "ffn", 2 * (10 + 10) + 2 + 10, 40),
    ],
)
def test_parameters_and_macs_of_one_adapter(kind, role, params, macs):
    assert adapter_params(adapter(kind, role), SHAPE) == params
    assert adapter_macs(adapter(kind, role), SHAPE) == macs


def test_head_and_trainable_parameters():
    assert head_params(spec(), SHAPE, 4) == 10 * 4 + 4
    assert head_params(spec(pooling="attention"), SHAPE, 4) == 10 + 10 * 4 + 4
    both = spec(adapter("lora", "query"), adapter("bottleneck", "ffn", layer=2))
    assert trainable_params(both, SHAPE, 4) == 36 + 52 + 44
    assert adapter_mib(both, SHAPE, 4) == (36 + 52 + 44) * 4 / 1024**2


@pytest.mark.parametrize(
    ("structure", "macs"),
    [
        # A block: 1000 MACs a token x 5, and two products over 8 x 30.
        (spec(depth=1), 5480 + 40),
        (spec(depth=3), 3 * 5480 + 40),
        (spec(depth=1, pooling="cls"), 5480 + 40),
        (spec(depth=1, pooling="attention"), 5480 + 2 * 10 * 5 + 40),
        # What merges is free; what does not costs its MACs for each token.
        (spec(adapter("lora", "ffn_up"), depth=1), 5480 + 40),
        (spec(adapter("bottleneck", "ffn"), depth=1), 5480 + 40 * 5 + 40),
        (spec(adapter("parallel", "attention"), depth=1), 5480 + 40 * 5 + 40),
    ],
)
def test_inference_gflops(structure, macs):
    assert inference_gflops(structure, SHAPE, 4, TOKENS) == pytest.approx(2 * macs / 1e9)


@pytest.mark.parametrize(
    ("structure", "macs"),
    [
        # No adapters: the backbone forward once, the head three times.
        (spec(), 3 * 5480 + 3 * 40),
        # Backward through the blocks from the insertion layer on, attention products twice.
        (spec(adapter("lora", "query", layer=2)), 3 * 5480 + 5480 + 480 + 3 * (36 * 5 + 40)),
        (spec(adapter("lora", "query")), 3 * 5480 + 3 * (5480 + 480) + 3 * (36 * 5 + 40)),
    ],
)
def test_training_gflops(structure, macs):
    assert training_gflops(structure, SHAPE, 4, TOKENS) == pytest.approx(2 * macs / 1e9)


def test_widths_and_roles():
    assert SHAPE.roles == ROLES
    assert SHAPE.widths("attention") == (10, 10)
    assert SHAPE.widths("ffn") == (10, 10)
    lacking = replace(SHAPE, role_shapes=SHAPE.role_shapes[:4])
    assert lacking.roles == ("query", "key", "value", "attention_output", "attention")
    with pytest.raises(KeyError):
        lacking.widths("ffn")


PLACES = [(kind.name, role) for kind in KINDS.values() for role in kind.roles]
STRUCTURES = st.builds(
    lambda place, rank, layer, pooling: spec(
        adapter(*place, rank=rank, layer=layer), pooling=pooling
    ),
    st.sampled_from(PLACES),
    st.integers(1, 64),
    st.integers(0, 2),
    st.sampled_from(POOLINGS),
)


@settings(deadline=None)
@given(STRUCTURES, st.integers(1, 8))
def test_a_greater_rank_never_costs_less(structure, more):
    (own,) = structure.adapters
    wider = replace(structure, adapters=(replace(own, rank=own.rank + more),))
    assert trainable_params(wider, SHAPE, 4) > trainable_params(structure, SHAPE, 4)
    free = KINDS[own.kind].mergeable
    before, after = (inference_gflops(s, SHAPE, 4, TOKENS) for s in (structure, wider))
    assert after == before if free else after > before
    before, after = (training_gflops(s, SHAPE, 4, TOKENS) for s in (structure, wider))
    assert after > before


@settings(deadline=None)
@given(STRUCTURES)
def test_a_greater_depth_costs_more(structure):
    deeper = replace(structure, depth=structure.depth + 1)
    for cost in (inference_gflops, training_gflops):
        assert cost(deeper, SHAPE, 4, TOKENS) > cost(structure, SHAPE, 4, TOKENS)
    assert trainable_params(deeper, SHAPE, 4) == trainable_params(structure, SHAPE, 4)


@settings(deadline=None)
@given(STRUCTURES)
def test_a_higher_insertion_layer_trains_for_less_and_answers_for_the_same(structure):
    (own,) = structure.adapters
    lower, higher = (replace(structure, adapters=(replace(own, layer=i),)) for i in (0, 2))
    assert training_gflops(higher, SHAPE, 4, TOKENS) < training_gflops(lower, SHAPE, 4, TOKENS)
    costs = [inference_gflops(s, SHAPE, 4, TOKENS) for s in (lower, higher)]
    assert costs[0] == costs[1]


@settings(deadline=None)
@given(STRUCTURES)
def test_training_costs_more_than_answering(structure):
    training = training_gflops(structure, SHAPE, 4, TOKENS)
    assert training > inference_gflops(structure, SHAPE, 4, TOKENS)


def test_longer_texts_cost_more():
    longer = TokenStats(mean=6.0, mean_square=40.0)
    for cost in (inference_gflops, training_gflops):
        assert cost(spec(), SHAPE, 4, longer) > cost(spec(), SHAPE, 4, TOKENS)
