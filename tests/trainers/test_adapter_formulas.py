"""The kinds that PEFT has not, against their formulas by hand in a block of MiniLM."""

import math

import pytest
import torch
from torch.nn import functional

from tests.trainers.tiny import fill_randomly, random_batch, structure
from trainers.adapters import Lora
from trainers.model import build

N_OUTPUTS = 4


def attention_by_hand(block, x, mask):
    """Return the output (B, N, D) of a BERT block's attention, before the residual addition."""
    own = block.attention.self
    n_rows, n_tokens, width = x.shape
    n_heads = own.num_attention_heads
    size = width // n_heads

    def heads(linear):
        y = x @ linear.weight.T + linear.bias
        return y.view(n_rows, n_tokens, n_heads, size).transpose(1, 2)  # (B, heads, N, size)

    scores = heads(own.query) @ heads(own.key).transpose(-1, -2) / math.sqrt(size)
    scores = scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
    mixed = (scores.softmax(-1) @ heads(own.value)).transpose(1, 2).reshape(x.shape)
    dense = block.attention.output.dense
    return mixed @ dense.weight.T + dense.bias


def ffn_by_hand(block, x):
    """Return the output (B, N, D) of a BERT block's FFN, before the residual addition."""
    up, down = block.intermediate.dense, block.output.dense
    return functional.gelu(x @ up.weight.T + up.bias) @ down.weight.T + down.bias


def norm_by_hand(norm, x):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias


def bottleneck_by_hand(adapter, x, y):
    inner = functional.gelu(y @ adapter.down.weight.T + adapter.down.bias)
    return y + inner @ adapter.up.weight.T + adapter.up.bias


def parallel_by_hand(scaling):
    def adapted(adapter, x, y):
        inner = functional.relu(x @ adapter.down.weight.T + adapter.down.bias)
        return y + scaling * (inner @ adapter.up.weight.T + adapter.up.bias)

    return adapted


@pytest.mark.parametrize(
    ("kind", "adapted"), [("bottleneck", bottleneck_by_hand), ("parallel", parallel_by_hand(2.0))]
)
@pytest.mark.parametrize("roles", [("attention",), ("ffn",), ("attention", "ffn")])
def test_sublayer_adapters_follow_their_formula(minilm, kind, adapted, roles):
    spec = structure(2, (1,), dict.fromkeys(roles, kind), rank=8)
    assert all(a.scale == (2.0 if kind == "parallel" else 1.0) for a in spec.adapters)
    model = fill_randomly(build(minilm, spec, N_OUTPUTS, seed=0))
    ids, mask = random_batch(3, 12, n_vocab=1000)
    hidden = minilm.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    x = hidden.hidden_states[1]  # into the second block
    block = minilm.model.encoder.layer[1]
    own = model.adapters["1"]

    with torch.no_grad():
        y = attention_by_hand(block, x, mask)
        if "attention" in roles:
            y = adapted(own["attention"], x, y)
        x = norm_by_hand(block.attention.output.LayerNorm, x + y)
        y = ffn_by_hand(block, x)
        if "ffn" in roles:
            y = adapted(own["ffn"], x, y)
        x = norm_by_hand(block.output.LayerNorm, x + y)
        weights = mask[..., None].float()
        pooled = (x * weights).sum(1) / weights.sum(1)
        expected = pooled @ model.head.linear.weight.T + model.head.linear.bias
        logits = model(ids, mask)
        frozen = build(minilm, structure(2, (), {}), N_OUTPUTS, seed=0)
        frozen.head.load_state_dict(model.head.state_dict())
        assert (logits - frozen(ids, mask)).abs().max() > 1e-2
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def test_lora_follows_its_formula_and_merges_into_the_weight():
    torch.manual_seed(0)
    lora = Lora(5, 7, 2, 0.5)
    base = torch.nn.Linear(5, 7)
    torch.nn.init.normal_(lora.up)
    x = torch.randn(2, 3, 5)
    expected = base(x) + 0.5 * (x @ lora.down.T @ lora.up.T)
    torch.testing.assert_close(lora(x, base(x)), expected, atol=1e-6, rtol=1e-6)
    merged = functional.linear(x, *lora.merged(base.weight, base.bias))
    torch.testing.assert_close(merged, expected, atol=1e-6, rtol=1e-6)
