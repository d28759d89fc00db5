"""The closed form by hand on a small shape."""

from dataclasses import replace

import pytest

from space.adapter import TokenSkip
from space.cost import TokenStats, adapter_params
from space.kinds import KINDS
from space.roles import ROLES
from space.spec import AdapterSpec
from tests.space.costing import COST, adapter, cost_of, spec
from tests.space.small import SHAPE


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
        ("lora", "key", 2 * (10 + 4), 28),
        ("lora", "value", 2 * (10 + 4), 28),
        ("lora", "ffn_down", 2 * (40 + 10), 100),
        ("ia3", "value", 4, 0),
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
        (spec(adapter("ia3", "ffn_down"), depth=1), 5560 + 40),
        (spec(adapter("prefix", "attention"), depth=1), 5560 + 32 * 5 + 40),
        (spec(adapter("prefix", "attention", rank=7), depth=1), 5560 + 112 * 5 + 40),
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
        (spec(adapter("ia3", "key", layer=2)), 3 * 5560 + 5560 + 560 + 3 * 40),
        (spec(adapter("prefix", "attention", layer=2)), 4 * 5560 + 560 + 3 * (32 * 5 + 40)),
        (spec(adapter("parallel", "ffn", layer=2)), 4 * 5560 + 560 + 3 * (40 * 5 + 40)),
        (spec(adapter("bottleneck", "ffn", layer=1)), 5 * 5560 + 2 * 560 + 3 * (40 * 5 + 40)),
        (spec(pooling="attention"), 3 * 5560 + 3 * (100 + 40)),
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


def test_tokens_are_counted_by_their_lengths():
    tokens = TokenStats.of([3, 8, 3])
    assert tokens.histogram == ((3, 2), (8, 1))
    assert (tokens.mean, tokens.mean_square) == (14 / 3, 82 / 3)
    assert tokens.kept(0.5).histogram == ((2, 2), (4, 1))


SPARSE = [
    # kind, role, MACs of an expert, width that the router reads, parameters of an expert, biases
    ("lora", "query", 36, 10, 36, 0),
    ("lora", "attention_output", 36, 8, 36, 0),
    ("lora", "ffn_down", 100, 40, 100, 0),
    ("bottleneck", "ffn", 40, 10, 52, 10),
    ("parallel", "attention", 40, 10, 52, 10),
]


@pytest.mark.parametrize(("kind", "role", "macs", "width", "params", "biases"), SPARSE)
@pytest.mark.parametrize(("router", "n_routed"), [("token", 5), ("sequence", 1)])
@pytest.mark.parametrize("way", ["concatenated", "grouped", "looped"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_experts_cost_as_they_are_computed(
    kind, role, macs, width, params, biases, router, n_routed, way, top_k
):
    own = spec(adapter(kind, role, experts=4, top_k=top_k, router=router))
    # All experts at once, and their biases as a product; or the chosen ones only, where a grouped
    # product fills the rank of 2 up to 4.
    served = {
        "concatenated": 4 * (macs + biases),
        "grouped": top_k * 2 * macs,
        "looped": top_k * macs,
    }
    expected = served[way] * 5 + 4 * width * n_routed
    cost = cost_of(way=way)
    found = cost.inference_gflops(own) - cost.inference_gflops(spec())
    assert found == pytest.approx(2 * expected / 1e9)
    # The whole block is behind the first insertion layer.
    backward = 3 * (5560 + 560)
    found = cost.training_gflops(own) - cost.training_gflops(spec())
    assert found == pytest.approx(2 * (3 * expected + backward) / 1e9)
    assert cost.trainable_params(own) == 4 * params + 4 * width + 44


def test_the_way_is_asked_for_with_the_sizes_of_the_experts():
    asked = []
    ways = lambda *sizes: asked.append(sizes) or "grouped"  # noqa: E731
    own = [
        adapter("lora", "ffn_up", rank=3, experts=4, top_k=2, router="token"),
        adapter("bottleneck", "ffn", rank=5, experts=8, top_k=1, router="token"),
        adapter("lora", "query"),
    ]
    replace(COST, ways=ways).inference_gflops(spec(*own))
    assert asked == [(10, 40, 3, 4, 2), (10, 10, 5, 8, 1)]


def skip(layer, token_keep=0.5, rank=3):
    return TokenSkip(layer=layer, token_keep=token_keep, rank=rank)


BESIDE = 10 + 2 * 3 * 10
"""MACs per token of the router and the adapter beside a block."""


@pytest.mark.parametrize(
    ("lengths", "token_keep", "mean", "square"),
    [
        ([5], 0.5, 3, 9),
        ([4], 0.5, 2, 4),
        ([5, 7], 0.5, 3.5, 12.5),
        ([1, 9], 0.25, 2, 5),
        ([10, 10, 20], 0.7, 28 / 3, 98),
        ([100], 0.07, 7, 49),
        ([3, 4, 10], 0.5, 3, 11),  # two lengths of which as many run
    ],
)
def test_a_block_that_tokens_pass_by_costs_what_runs(lengths, token_keep, mean, square):
    tokens = TokenStats.of(lengths)
    assert tokens.kept(token_keep).mean == pytest.approx(mean)
    assert tokens.kept(token_keep).mean_square == pytest.approx(square)
    skipping = spec(skips=(skip(0, token_keep),), depth=1)
    macs = 1000 * mean + 16 * square + BESIDE * tokens.mean + 40
    assert cost_of(tokens=tokens).inference_gflops(skipping) == pytest.approx(2 * macs / 1e9)


@pytest.mark.parametrize(
    ("own", "macs"),
    [
        (adapter("bottleneck", "ffn"), 40 * 3),
        (adapter("prefix", "attention"), 32 * 3),
        (adapter("lora", "query"), 0),
        (adapter("lora", "query", experts=4, top_k=2, router="token"), 2 * 36 * 3 + 40 * 3),
        (adapter("lora", "query", experts=4, top_k=2, router="sequence"), 2 * 36 * 3 + 40),
        # In the block above all tokens run.
        (adapter("bottleneck", "ffn", layer=1), 40 * 5),
    ],
)
def test_adapters_in_such_a_block_serve_the_tokens_that_run(own, macs):
    cost = cost_of(tokens=TokenStats.of([5]))
    bare = spec(skips=(skip(0),))
    adapted = replace(bare, adapters=(own,))
    found = cost.inference_gflops(adapted) - cost.inference_gflops(bare)
    assert found == pytest.approx(2 * macs / 1e9, abs=1e-15)


def test_training_of_a_block_that_tokens_pass_by():
    cost = cost_of(tokens=TokenStats.of([5]))
    whole, part = 5000 + 16 * 25, 3000 + 16 * 9
    # Forward through all, backward from the block that tokens pass by, what is trained thrice.
    macs = 2 * whole + part + (part + 16 * 9) + (whole + 16 * 25) + 3 * (BESIDE * 5 + 40)
    found = cost.training_gflops(spec(skips=(skip(1),)))
    assert found == pytest.approx(2 * macs / 1e9)
    own = spec(adapter("lora", "query", layer=1), skips=(skip(1),))
    assert cost.training_gflops(own) == pytest.approx(2 * (macs + 3 * 36 * 3) / 1e9)


@pytest.mark.parametrize(
    ("pooling", "head"), [("mean", 40), ("cls", 40), ("attention", 40 + 2 * 10 * 5)]
)
@pytest.mark.parametrize("exits", [(), (1,), (2,), (1, 2)])
def test_each_exit_costs_the_blocks_and_heads_before_it(exits, pooling, head):
    own = spec(exits=exits, pooling=pooling)
    behind = [2 * (depth * 5560 + (i + 1) * head) / 1e9 for i, depth in enumerate((*exits, 3))]
    assert COST.gflops_behind(own) == pytest.approx(behind)
    assert COST.inference_gflops(own) == COST.gflops_behind(own)[-1]
    training = 3 * 5560 + 3 * len(behind) * head
    assert COST.training_gflops(own) == pytest.approx(2 * training / 1e9)


def test_an_exit_costs_the_adapters_below_it_only():
    own = [adapter("bottleneck", "ffn", layer=layer) for layer in (0, 2)]
    bare, adapted = (COST.gflops_behind(spec(*some, exits=(1, 2))) for some in ([], own))
    more = [2 * n * 40 * 5 / 1e9 for n in (1, 1, 2)]
    assert [b - a for a, b in zip(bare, adapted, strict=True)] == pytest.approx(more)


@pytest.mark.parametrize(
    ("head", "macs"),
    [
        # Forward; with gradients of states and weights; a frozen head has no gradient of weights.
        ({}, (40, 3 * 40)),
        ({"per_token": True}, (40 * 5, 3 * 40 * 5)),
        ({"per_token": True, "trained": False}, (40 * 5, 2 * 40 * 5)),
    ],
    ids=["row", "token", "language"],
)
def test_a_head_for_every_token_is_counted_for_each(head, macs):
    cost = cost_of(**head)
    own = spec(adapter("lora", "query", layer=2), pooling="none" if head else "mean")
    answering, training = macs
    assert cost.inference_gflops(own) == pytest.approx(2 * (3 * 5560 + answering) / 1e9)
    body = 3 * 5560 + 5560 + 560 + 3 * 36 * 5
    assert cost.training_gflops(own) == pytest.approx(2 * (body + training) / 1e9)
    assert cost.trainable_params(own) == 36 + (44 if head.get("trained", True) else 0)


@pytest.mark.parametrize("cost_name", ["inference_gflops", "training_gflops"])
def test_what_stands_before_the_blocks_runs_forward_once(cost_name):
    before = cost_of(shape=replace(SHAPE, embedding_macs=7.0))
    own = spec(adapter("lora", "query"), exits=(1,))
    found = getattr(before, cost_name)(own) - getattr(COST, cost_name)(own)
    assert found == pytest.approx(2 * 7 * 5 / 1e9)
    assert before.trainable_params(own) == COST.trainable_params(own)


def test_relative_positions_pass_queries_and_keys_too():
    cost = cost_of(shape=replace(SHAPE, position_tokens=6))
    more = cost.inference_gflops(spec()) - COST.inference_gflops(spec())
    assert more == pytest.approx(2 * 3 * 6 * (80 + 40) / 1e9)
    own = spec(adapter("lora", "query", experts=4, top_k=1, router="sequence"))
    more = cost.inference_gflops(own) - cost.inference_gflops(spec())
    assert more == pytest.approx(2 * (36 * (5 + 6) + 40) / 1e9)


def test_grouped_experts_are_computed_with_their_rank_filled_up():
    def own(rank, way):
        sparse = adapter("lora", "query", rank=rank, experts=4, top_k=2, router="token")
        return cost_of(way=way).inference_gflops(spec(sparse))

    assert own(3, "grouped") == own(4, "grouped") == pytest.approx(own(4, "looped"))
    assert own(3, "looped") < own(4, "looped")
