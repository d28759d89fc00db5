"""The closed form of the cost against what torch counts in the live model."""

import itertools

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from space.cost import CostModel, HeadShape, TokenStats
from space.kinds import KINDS
from space.spec import POOLINGS, AdapterSpec
from tests.trainers.tiny import everywhere, structure
from trainers.flops import measure_gflops
from trainers.model import build, concatenated, deploy

N_OUTPUTS = 5
N_TOKENS = 20
EXACT = 1e-9


POOLED = tuple(name for name in POOLINGS if name != "none")


def cost_of(shape, n_tokens=N_TOKENS):
    return CostModel(
        shape=shape,
        head=HeadShape(n_outputs=N_OUTPUTS),
        tokens=TokenStats.of([n_tokens]),
        ways=concatenated,
    )


def structures(shape, depths):
    """Yield structures over all kinds, roles, depths, ranks and poolings."""
    for kind in KINDS.values():
        for role, depth in itertools.product(kind.roles, depths):
            if role not in shape.roles or (kind.name == "prefix" and not shape.takes_prefix):
                continue
            yield structure(depth, (0, depth - 1) if depth > 1 else (0,), {role: kind.name}, rank=8)
    for kind, depth, pooling in itertools.product(("bottleneck", "parallel"), depths, POOLED):
        yield everywhere(shape, kind, depth, pooling)
    for depth, pooling in itertools.product(depths, POOLED):
        yield AdapterSpec(depth=depth, pooling=pooling)


def uncounted_gflops(spec, shape):
    """Return what torch's counter passes over: the scores of attention pooling, a matrix-vector."""
    return 2 * shape.width * N_TOKENS / 1e9 if spec.pooling == "attention" else 0.0


def live_gflops(model, backbone):
    return measure_gflops(model, backbone, N_TOKENS) + uncounted_gflops(model.spec, backbone.shape)


def test_inference_gflops_are_those_counted_in_the_deployed_tiny_models(tiny):
    for spec in structures(tiny.shape, (1, 2, 4)):
        deployed = deploy(build(tiny, spec, N_OUTPUTS, seed=0), tiny)
        expected = cost_of(tiny.shape).inference_gflops(spec)
        assert live_gflops(deployed, tiny) == pytest.approx(expected, rel=EXACT), spec


def test_inference_gflops_are_those_counted_in_the_deployed_minilm(minilm):
    for spec in structures(minilm.shape, (1, 6)):
        deployed = deploy(build(minilm, spec, N_OUTPUTS, seed=0), minilm)
        expected = cost_of(minilm.shape).inference_gflops(spec)
        assert live_gflops(deployed, minilm) == pytest.approx(expected, rel=EXACT), spec


def test_forward_gflops_are_those_counted_before_anything_is_merged(tiny):
    for spec in structures(tiny.shape, (1, 3)):
        model = build(tiny, spec, N_OUTPUTS, seed=0)
        expected = cost_of(tiny.shape).forward_gflops(spec)
        assert live_gflops(model, tiny) == pytest.approx(expected, rel=EXACT), spec


def test_trainable_params_are_those_of_the_live_model(tiny, minilm):
    for backbone in (tiny, minilm):
        for spec in structures(backbone.shape, (1, 3)):
            model = build(backbone, spec, N_OUTPUTS, seed=0)
            live = sum(p.numel() for p in model.parameters() if p.requires_grad)
            assert cost_of(backbone.shape).trainable_params(spec) == live, spec


def counted_training_gflops(model, n_tokens):
    ids = torch.full((1, n_tokens), 7)
    counter = FlopCounterMode(display=False)
    with counter:
        logits = model(ids, torch.ones_like(ids))
        functional.cross_entropy(logits, torch.zeros(1, dtype=torch.long)).backward()
    return counter.get_total_flops() / 1e9


TRAINED = {
    "lora at query and value": {"query": "lora", "value": "lora"},
    "lora at key": {"key": "lora"},
    "lora at ffn_down": {"ffn_down": "lora"},
    "bottlenecks": {"attention": "bottleneck", "ffn": "bottleneck"},
    "parallel at ffn": {"ffn": "parallel"},
}


@pytest.mark.parametrize("layers", [(0, 1, 2, 3, 4, 5), (0,), (3, 4, 5), (4, 5)])
@pytest.mark.parametrize("served", TRAINED.values(), ids=TRAINED)
def test_training_gflops_are_those_counted_in_a_step(minilm, served, layers):
    spec = structure(6, layers, served, rank=8)
    model = build(minilm, spec, N_OUTPUTS, seed=0)
    closed = cost_of(minilm.shape, 128).training_gflops(spec)
    counted = counted_training_gflops(model, 128)
    assert closed == pytest.approx(counted, rel=0.15)


def test_training_counts_at_most_one_block_too_much(minilm):
    whole = cost_of(minilm.shape, 128).inference_gflops(AdapterSpec(depth=6)) / 6
    for layer, served in itertools.product(range(6), TRAINED.values()):
        spec = structure(6, (layer,), served, rank=8)
        model = build(minilm, spec, N_OUTPUTS, seed=0)
        closed = cost_of(minilm.shape, 128).training_gflops(spec)
        above = closed - counted_training_gflops(model, 128)
        assert 0 < above < 1.1 * whole, (layer, served)


def test_head_alone_needs_no_backward_through_the_backbone(minilm):
    spec = AdapterSpec(depth=6, pooling="attention")
    model = build(minilm, spec, N_OUTPUTS, seed=0)
    closed = cost_of(minilm.shape, 128).training_gflops(spec)
    assert closed == pytest.approx(counted_training_gflops(model, 128), rel=0.01)


def test_a_counter_that_counts_wrongly_is_not_trusted(tiny_bert, monkeypatch):
    monkeypatch.setattr(FlopCounterMode, "get_total_flops", lambda self: 0)
    with pytest.raises(RuntimeError, match="counts 0 FLOPs for a layer with 420"):
        measure_gflops(build(tiny_bert, AdapterSpec(depth=1), 2, seed=0), tiny_bert, 4)
