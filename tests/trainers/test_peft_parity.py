"""LoRA, IA3 and prefixes against PEFT's, on the same backbones with the same weights.

PEFT wraps a copy of the bare model. Where one layer computes queries, keys and values at once
(GPT-2), PEFT gives it one adapter, and ours has one for each role: a part of PEFT's.
"""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from space.spec import AdapterSpec
from tests.trainers.tiny import fill_randomly, random_batch, structure
from trainers.model import build

peft = pytest.importorskip("peft", reason="PEFT is an optional dependency (paradapt[peft])")

# PEFT 0.21 asks transformers 5.23 for a property by its old name.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)

QKV = ("query", "key", "value")
TINY = ("bert", "gpt2", "llama")  # separate layers, one fused Conv1D, keys shared by queries
N_OUTPUTS, N_TOKENS = 4, 9
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture
def backbone(request, tiny_backbones, minilm):
    """The backbone that a test names."""
    return minilm if request.param == "minilm" else tiny_backbones[request.param]


def wrapped_by_peft(backbone, depth, config):
    """Return PEFT's model on a copy of the backbone that is cut to a depth."""
    base = copy.deepcopy(backbone.model)
    parent, _, name = backbone.family.blocks.rpartition(".")
    blocks = base.get_submodule(backbone.family.blocks)
    setattr(base.get_submodule(parent), name, blocks[:depth])
    return peft.get_peft_model(base, config).eval()


def by_layer(model, backbone):
    """Return {path of a frozen layer: our adapters at it, in the order of its parts}."""
    places = dict(backbone.family.roles)
    served = {}
    for adapter in sorted(model.spec.adapters, key=lambda a: (a.layer, places[a.role].part)):
        path = f"{backbone.family.blocks}.{adapter.layer}.{places[adapter.role].path}"
        own = model.adapters.get_submodule(f"{adapter.layer}.{adapter.role}")
        served.setdefault(path, []).append(own)
    return served


def assert_same(model, wrapped, backbone, pairs, **others):
    """Compare hidden states at real tokens, then the gradients of one loss behind one head.

    Args:
        model: ours.
        wrapped: PEFT's.
        backbone: what both stand on.
        pairs: called after the backward pass; returns gradients (ours, PEFT's).
        others: what PEFT's model gets as well.
    """
    n_vocab = min(64, backbone.model.config.vocab_size)
    ids, mask = random_batch(4, N_TOKENS, n_vocab)
    real = mask.bool()
    mine = model.hidden(input_ids=ids, attention_mask=mask)
    theirs = wrapped(input_ids=ids, attention_mask=mask, **others)[0]
    bare = build(backbone, AdapterSpec(depth=model.spec.depth), N_OUTPUTS, seed=0)
    assert (mine - bare.hidden(input_ids=ids, attention_mask=mask))[real].abs().max() > 1e-2
    torch.testing.assert_close(mine[real], theirs[real], **CLOSE)
    for hidden in (mine, theirs):
        functional.cross_entropy(model.head(hidden, mask), torch.arange(4)).backward()
    for own, other in pairs():
        assert other.abs().max() > 1e-5
        scale = other.abs().max().item()
        torch.testing.assert_close(own / scale, other / scale, **CLOSE)


LORA_CASES = [
    ("minilm", ("query", "value"), (0, 1, 2, 3, 4, 5), 6, 8),
    ("minilm", ("query", "key", "value", "attention_output"), (2, 4), 5, 2),
    ("minilm", ("ffn_up", "ffn_down"), (3,), 4, 16),
    ("bert", (*QKV, "attention_output", "ffn_up", "ffn_down"), (0, 2), 3, 4),
    ("gpt2", (*QKV, "attention_output", "ffn_up", "ffn_down"), (1, 3), 4, 4),
    ("llama", (*QKV, "attention_output", "ffn_gate", "ffn_up", "ffn_down"), (0, 3), 4, 4),
]


@pytest.mark.parametrize("scaling", ["alpha/rank", "alpha/sqrt(rank)"])
@pytest.mark.parametrize(
    ("backbone", "roles", "layers", "depth", "rank"), LORA_CASES, indirect=["backbone"]
)
def test_lora_answers_and_learns_as_pefts(backbone, roles, layers, depth, rank, scaling):
    spec = structure(depth, layers, dict.fromkeys(roles, "lora"), rank=rank)
    spec = replace(spec, adapters=tuple(replace(a, scaling=scaling) for a in spec.adapters))
    model = fill_randomly(build(backbone, spec, N_OUTPUTS, seed=0), spread=0.05)
    ours = by_layer(model, backbone)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=spec.adapters[0].alpha,
        use_rslora=scaling == "alpha/sqrt(rank)",
        target_modules=list(ours),
        fan_in_fan_out=backbone.family.model_type == "gpt2",
    )
    wrapped = wrapped_by_peft(backbone, depth, config)
    peers = {path: wrapped.base_model.model.get_submodule(path) for path in ours}
    with torch.no_grad():
        for path, own in ours.items():
            for part in own:
                part.down.copy_(own[0].down)
            peers[path].lora_A["default"].weight.copy_(own[0].down)
            peers[path].lora_B["default"].weight.copy_(torch.cat([part.up for part in own]))

    def gradients():
        for path, own in ours.items():
            down, up = (
                getattr(peers[path], name)["default"].weight for name in ("lora_A", "lora_B")
            )
            yield torch.stack([part.down.grad for part in own]).sum(0), down.grad
            yield torch.cat([part.up.grad for part in own]), up.grad

    assert_same(model, wrapped, backbone, gradients)


@pytest.mark.parametrize("backbone", [*TINY, "minilm"], indirect=True)
def test_ia3_answers_and_learns_as_pefts(backbone):
    depth, layers = 4, (0, 2, 3)
    served = dict.fromkeys(("key", "value", "ffn_down"), "ia3")
    model = build(backbone, structure(depth, layers, served), N_OUTPUTS, seed=0)
    with torch.no_grad():
        for scale in model.adapter_parameters():
            scale += 0.3 * torch.randn(scale.shape, generator=torch.Generator().manual_seed(0))
    ours = by_layer(model, backbone)
    inputs = [path for path, own in ours.items() if own[0].side == "input"]
    config = peft.IA3Config(
        target_modules=list(ours),
        feedforward_modules=inputs,
        fan_in_fan_out=backbone.family.model_type == "gpt2",
    )
    wrapped = wrapped_by_peft(backbone, depth, config)
    peers = {p: wrapped.base_model.model.get_submodule(p).ia3_l["default"] for p in ours}

    def ours_of(vector, own):
        """Return what of PEFT's vector is ours: not the queries of a fused layer, which stay 1."""
        return vector.flatten()[-sum(len(part.scale) for part in own) :]

    with torch.no_grad():
        for path, own in ours.items():
            ours_of(peers[path], own).copy_(torch.cat([part.scale for part in own]))

    def gradients():
        for path, own in ours.items():
            yield torch.cat([part.scale.grad for part in own]), ours_of(peers[path].grad, own)

    assert_same(model, wrapped, backbone, gradients)


@pytest.mark.parametrize("n_prefix", [1, 5])
@pytest.mark.parametrize("backbone", [*TINY, "minilm"], indirect=True)
def test_a_prefix_answers_and_learns_as_pefts(backbone, n_prefix):
    n_layers = backbone.shape.n_layers
    layers = tuple(range(n_layers))  # PEFT's prefix stands in all of them
    spec = structure(n_layers, layers, {"attention": "prefix"}, rank=n_prefix)
    model = fill_randomly(build(backbone, spec, N_OUTPUTS, seed=0), spread=0.5)
    model.warm_up(1.0)
    prefixes = [model.adapters.get_submodule(f"{layer}.attention") for layer in layers]
    config = peft.PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=n_prefix)
    wrapped = wrapped_by_peft(backbone, n_layers, config)
    vectors = wrapped.prompt_encoder["default"].embedding.weight  # (P, layers x (key, value) x V)

    def in_pefts_order(tensors):
        return torch.stack(tensors, 1).flatten(1)

    with torch.no_grad():
        vectors.copy_(in_pefts_order([t for p in prefixes for t in (p.key, p.value)]))
    # PEFT counts the tokens' positions from P on and adds it to given ones; ours leaves them.
    positions = torch.arange(N_TOKENS).expand(4, -1) - n_prefix

    def gradients():
        own = in_pefts_order([t.grad for p in prefixes for t in (p.key, p.value)])
        return [(own, vectors.grad)]

    assert_same(model, wrapped, backbone, gradients, position_ids=positions)
