"""The closed form by hand on a small shape, and what must rise with what."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.adapter import Adapter, TokenSkip
from space.cost import BackboneShape, CostModel, HeadShape, TokenStats, adapter_params
from space.kinds import KINDS
from space.roles import ROLES
from space.spec import POOLINGS, AdapterSpec

SHAPE = BackboneShape(
    n_layers=3,
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
TOKENS = TokenStats.of([5 + 5, 0, 5, 5, 5])  # mean 5, mean square 35
POOLED = tuple(name for name in POOLINGS if name != "none")


def cost_of(shape=SHAPE, tokens=TOKENS, way="grouped", **head):
    head = HeadShape(n_outputs=4, **head)
    return CostModel(shape=shape, head=head, tokens=tokens, ways=lambda *_: way)


COST = cost_of()


def adapter(kind, role, rank=2, layer=0, **more):
    return Adapter(
        layer=layer,
        role=role,
        kind=kind,
        rank=rank if KINDS[kind].ranked else None,
        alpha=4.0 if KINDS[kind].scaled else None,
        **more,
    )


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
        ("ia3", "key", 4, 0),
        ("ia3", "ffn_down", 40, 0),
        ("prefix", "attention", 2 * 2 * 4, 2 * 2 * 8),
    ],
)
def test_parameters_and_macs_of_one_adapter(kind, role, params, macs):
    own = adapter(kind, role)
    assert adapter_params(own, SHAPE) == params
    assert KINDS[kind].macs(SHAPE.site(role), own.rank or 0) == macs


def test_trainable_parameters():
    assert COST.trainable_params(spec()) == 10 * 4 + 4
    assert COST.trainable_params(spec(pooling="attention")) == 10 + 10 * 4 + 4
    both = spec(adapter("lora", "query"), adapter("bottleneck", "ffn", layer=2))
    assert COST.trainable_params(both) == 36 + 52 + 44
    assert COST.adapter_mib(both) == (36 + 52 + 44) * 4 / 1024**2


def test_what_else_is_trained():
    skips = (TokenSkip(layer=1, token_keep=0.5, rank=3),)
    beside = 10 + 2 * 3 * 10 + 3 + 10  # router, matrices, biases
    assert COST.trainable_params(AdapterSpec(depth=3, skips=skips)) == beside + 44
    assert COST.trainable_params(AdapterSpec(depth=3, exits=(1, 2))) == 3 * 44
    sparse = spec(adapter("lora", "query", experts=4, top_k=2, router="token"))
    assert COST.trainable_params(sparse) == 4 * 36 + 4 * 10 + 44
    assert cost_of(trained=False).trainable_params(spec(adapter("lora", "query"))) == 36


@pytest.mark.parametrize(
    ("structure", "macs"),
    [
        # A block: 1000 MACs a token x 5, and two products over 8 x 35.
        (spec(depth=1), 5560 + 40),
        (spec(depth=3), 3 * 5560 + 40),
        (spec(depth=1, pooling="cls"), 5560 + 40),
        (spec(depth=1, pooling="attention"), 5560 + 2 * 10 * 5 + 40),
        # What merges is free; what does not costs its MACs for each token.
        (spec(adapter("lora", "ffn_up"), depth=1), 5560 + 40),
        (spec(adapter("bottleneck", "ffn"), depth=1), 5560 + 40 * 5 + 40),
        (spec(adapter("parallel", "attention"), depth=1), 5560 + 40 * 5 + 40),
    ],
)
def test_inference_gflops(structure, macs):
    assert COST.inference_gflops(structure) == pytest.approx(2 * macs / 1e9)


@pytest.mark.parametrize(
    ("structure", "macs"),
    [
        # No adapters: the backbone forward once, the head three times.
        (spec(), 3 * 5560 + 3 * 40),
        # Backward through the blocks from the insertion layer on, attention products twice.
        (spec(adapter("lora", "query", layer=2)), 3 * 5560 + 5560 + 560 + 3 * (36 * 5 + 40)),
        (spec(adapter("lora", "query")), 3 * 5560 + 3 * (5560 + 560) + 3 * (36 * 5 + 40)),
    ],
)
def test_training_gflops(structure, macs):
    assert COST.training_gflops(structure) == pytest.approx(2 * macs / 1e9)


def test_widths_and_roles():
    assert SHAPE.roles == tuple(role for role in ROLES if role != "ffn_gate")
    assert SHAPE.widths("attention") == (10, 10)
    assert SHAPE.widths("ffn") == (10, 10)
    lacking = replace(SHAPE, role_shapes=SHAPE.role_shapes[:4])
    assert lacking.roles == ("query", "key", "value", "attention_output", "attention")
    with pytest.raises(KeyError):
        lacking.widths("ffn")


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


def test_longer_texts_cost_more():
    longer = cost_of(tokens=TokenStats.of([6]))
    assert longer.inference_gflops(spec()) > COST.inference_gflops(spec())
    assert longer.training_gflops(spec()) > COST.training_gflops(spec())


def test_tokens_are_counted_by_their_lengths():
    tokens = TokenStats.of([3, 8, 3])
    assert tokens.histogram == ((3, 2), (8, 1))
    assert (tokens.mean, tokens.mean_square) == (14 / 3, 82 / 3)
    assert tokens.kept(0.5).histogram == ((2, 2), (4, 1))


@pytest.mark.parametrize(
    ("way", "router", "macs"),
    [
        # 36 a token and expert; the router 4 x 10 a token, or once a row.
        ("grouped", "token", 2 * 36 * 5 + 40 * 5),
        ("looped", "sequence", 2 * 36 * 5 + 40),
        ("concatenated", "token", 4 * 36 * 5 + 40 * 5),
    ],
)
def test_experts_cost_as_they_are_computed(way, router, macs):
    own = adapter("lora", "query", experts=4, top_k=2, router=router)
    cost = cost_of(way=way)
    found = cost.inference_gflops(spec(own)) - cost.inference_gflops(spec())
    assert found == pytest.approx(2 * macs / 1e9)


def test_biases_of_concatenated_experts_are_a_product():
    own = adapter("bottleneck", "ffn", experts=4, top_k=2, router="token")
    cost = cost_of(way="concatenated")
    found = cost.inference_gflops(spec(own)) - cost.inference_gflops(spec())
    assert found == pytest.approx(2 * 5 * (4 * (40 + 10) + 4 * 10) / 1e9)


def test_a_block_that_tokens_pass_by_costs_what_runs():
    cost = cost_of(tokens=TokenStats.of([5]))
    skips = (TokenSkip(layer=0, token_keep=0.5, rank=3),)
    skipping = AdapterSpec(
        depth=1, skips=skips, adapters=(adapter("bottleneck", "ffn"),), pooling="cls"
    )
    # Three of five tokens; the router and the adapter beside for all of them.
    macs = 1000 * 3 + 2 * 8 * 9 + 40 * 3 + (10 + 2 * 3 * 10) * 5 + 40
    assert cost.inference_gflops(skipping) == pytest.approx(2 * macs / 1e9)
    assert skipping.first_insertion_layer == 0


def test_each_exit_costs_the_blocks_and_heads_before_it():
    found = COST.gflops_behind(AdapterSpec(depth=3, exits=(1, 2)))
    assert found == pytest.approx([2 * (n * 5560 + n * 40) / 1e9 for n in (1, 2, 3)])
    assert COST.inference_gflops(AdapterSpec(depth=3, exits=(1, 2))) == found[-1]


def test_a_head_for_every_token_is_counted_for_each():
    cost = cost_of(per_token=True)
    bare = spec(depth=1, pooling="none")
    assert cost.inference_gflops(bare) == pytest.approx(2 * (5560 + 40 * 5) / 1e9)


def test_what_stands_before_the_blocks_counts():
    cost = cost_of(shape=replace(SHAPE, embedding_macs=7.0))
    assert cost.inference_gflops(spec()) - COST.inference_gflops(spec()) == pytest.approx(70e-9)


def test_relative_positions_pass_queries_and_keys_too():
    cost = cost_of(shape=replace(SHAPE, position_tokens=6))
    more = cost.inference_gflops(spec()) - COST.inference_gflops(spec())
    assert more == pytest.approx(2 * 3 * 6 * (80 + 40) / 1e9)
    own = spec(adapter("lora", "query", experts=4, top_k=1, router="sequence"))
    more = cost.inference_gflops(own) - cost.inference_gflops(spec())
    assert more == pytest.approx(2 * (36 * (5 + 6) + 40) / 1e9)
