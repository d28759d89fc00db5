"""Prefix attention: alone by its formula, and in each family against the family's own attention."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers.modeling_utils import AttentionInterface
from transformers.models.gemma2.modeling_gemma2 import Gemma2Attention

from tests.trainers.test_contract import inputs_of
from tests.trainers.tiny import N_LAYERS, fill_randomly, structure
from trainers.adapters import Prefix
from trainers.model import build
from trainers.prefix_attention import NAME, prefix_attention, with_prefix

B, H, G, N, P, SIZE = 2, 4, 2, 5, 3, 8  # batch, heads, heads of keys, tokens, prefix, head size


def prefix_at(gate, rank=P, spread=1.0):
    generator = torch.Generator().manual_seed(1)
    prefix = Prefix(rank, G * SIZE)
    with torch.no_grad():
        for vectors in prefix.parameters():
            vectors.copy_(torch.randn(vectors.shape, generator=generator) * spread)
    prefix.warm_up(gate)
    return prefix


def queries_keys_values():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(B, heads, N, SIZE, generator=generator) for heads in (H, G, G)]


def attend(prefix, query, key, value, mask=None, **others):
    return prefix_attention(SimpleNamespace(prefix=prefix), query, key, value, mask, **others)[0]


def causal_mask():
    hidden = torch.full((N, N), torch.finfo(torch.float32).min).triu(1)
    return hidden.expand(B, 1, N, N)


def by_hand(prefix, query, key, value, mask, scaling):
    """Return plain prefix attention (B, N, H, d), one query at a time."""
    out = torch.empty(B, N, H, SIZE)
    for b, h, n in torch.cartesian_prod(torch.arange(B), torch.arange(H), torch.arange(N)):
        group = h // (H // G)
        own = slice(group * SIZE, (group + 1) * SIZE)
        keys = torch.cat([prefix.key[:, own], key[b, group]])  # (P + N, d)
        values = torch.cat([prefix.value[:, own], value[b, group]])
        scores = keys @ query[b, h, n] * scaling + torch.cat([torch.zeros(P), mask[b, 0, n]])
        out[b, n, h] = (scores.exp() / scores.exp().sum()) @ values
    return out


@torch.no_grad()
def test_it_is_attention_over_prefix_and_tokens_where_queries_share_keys():
    prefix, (query, key, value) = prefix_at(1.0), queries_keys_values()
    expected = by_hand(prefix, query, key, value, causal_mask(), 0.3)
    got = attend(prefix, query, key, value, causal_mask(), scaling=0.3)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_a_given_scaling_it_is_that_of_the_head_size():
    prefix, tensors = prefix_at(1.0), queries_keys_values()
    expected = attend(prefix, *tensors, scaling=1 / math.sqrt(SIZE))
    torch.testing.assert_close(attend(prefix, *tensors), expected)


@pytest.mark.parametrize("gate", [0.0, 0.25, 0.7])
@torch.no_grad()
def test_a_gate_mixes_attention_without_and_with_the_prefix(gate):
    prefix, (query, key, value) = prefix_at(1.0), queries_keys_values()
    keys, values = (t.repeat_interleave(H // G, 1) for t in (key, value))
    alone = functional.scaled_dot_product_attention(query, keys, values, causal_mask())
    whole = attend(prefix, query, key, value, causal_mask())
    prefix.warm_up(gate)
    got = attend(prefix, query, key, value, causal_mask())
    expected = (1 - gate) * alone.transpose(1, 2) + gate * whole
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_prefix_of_zeros_takes_its_share_of_the_attention():
    prefix, (query, key, value) = prefix_at(1.0, spread=0.0), queries_keys_values()
    keys, values = (t.repeat_interleave(H // G, 1) for t in (key, value))
    alone = functional.scaled_dot_product_attention(query, keys, values).transpose(1, 2)
    tokens = (query @ keys.transpose(2, 3) / math.sqrt(SIZE)).exp().sum(-1)  # (B, H, N)
    share = tokens / (tokens + P)
    got = attend(prefix, query, key, value)
    torch.testing.assert_close(got, alone * share.transpose(1, 2)[..., None], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_prefix_that_wins_every_row_leaves_the_tokens_alone_at_gate_zero():
    prefix, (query, key, value) = prefix_at(0.0), queries_keys_values()
    prefix.key.copy_(query[0, :G, 0].flatten() * 1e4)
    expected = attend(prefix_at(0.0), query, key, value)
    torch.testing.assert_close(attend(prefix, query, key, value), expected)


@pytest.mark.parametrize("gate", [0.4, 1.0])
def test_gradients_are_those_of_differences(gate):
    prefix = prefix_at(gate).double()
    tensors = [t.double().requires_grad_() for t in queries_keys_values()]
    own = list(prefix.parameters())
    assert torch.autograd.gradcheck(lambda *t: attend(prefix, *t[:3]), (*tensors, *own))


def test_the_gate_is_kept_within_0_and_1_and_saved():
    prefix = Prefix(P, SIZE)
    assert prefix.gate == 0
    for share, gate in ((0.5, 0.5), (-1.0, 0.0), (3.0, 1.0)):
        prefix.warm_up(share)
        assert prefix.gate == gate
    again = Prefix(P, SIZE)
    again.load_state_dict(prefix.state_dict())
    assert again.gate == 1


def test_the_module_that_gets_a_prefix_is_left_as_it_is(tiny_backbones):
    attention = tiny_backbones["bert"].model.encoder.layer[0].attention.self
    before, n_modules = attention.config._attn_implementation, len(attention._modules)
    view = with_prefix(attention, Prefix(P, 32))
    assert view.config._attn_implementation == NAME != before
    assert attention.config._attn_implementation == before
    assert len(attention._modules) == n_modules == len(view._modules) - 1
    assert view.query.weight is attention.query.weight


@pytest.mark.parametrize("gate", [0.5, 1.0])
def test_torch_counts_two_products_of_prefix_and_attention_width(gate):
    def flops(rank):
        counter = FlopCounterMode(display=False)
        with counter:
            attend(prefix_at(gate, rank), *queries_keys_values())
        return counter.get_total_flops()

    macs_per_token = 2 * P * H * SIZE
    assert flops(2 * P) - flops(P) == 2 * B * N * macs_per_token


def own_attention(module, query, key, value, attention_mask, position_bias=None, **others):
    """Attend as the module's family does, once without and once with the prefix's keys."""
    eager = sys.modules[type(module).__module__].eager_attention_forward
    prefix = module.prefix

    def attended(keys, values, n_more):
        shifted = [None if t is None else functional.pad(t, (n_more, 0)) for t in added]
        biased = {} if shifted[1] is None else {"position_bias": shifted[1]}
        return eager(module, query, keys, values, shifted[0], **biased, **others)

    def with_own(vectors, tensor):
        rows, groups, _, size = tensor.shape
        split = vectors.reshape(1, -1, groups, size).expand(rows, -1, -1, -1).transpose(1, 2)
        return torch.cat([split, tensor], 2)

    added = (attention_mask, position_bias)
    alone, weights = attended(key, value, 0)
    keys, values = with_own(prefix.key, key), with_own(prefix.value, value)
    whole = attended(keys, values, len(prefix.key))[0]
    return (1 - prefix.gate) * alone + prefix.gate * whole, weights


@pytest.mark.parametrize("gate", [0.3, 1.0])
@torch.no_grad()
def test_in_each_family_it_is_the_familys_own_attention_over_more_keys(tiny_any, gate, monkeypatch):
    if not tiny_any.shape.takes_prefix:
        pytest.skip("the attention of this family takes no prefix")
    spec = structure(N_LAYERS, tuple(range(N_LAYERS)), {"attention": "prefix"}, rank=3)
    model, inputs = build(tiny_any, spec, 2, seed=0), inputs_of(tiny_any)
    fill_randomly(model, spread=0.5).warm_up(gate)
    got = model.hidden(**inputs)
    monkeypatch.setitem(AttentionInterface._global_mapping, NAME, own_attention)
    expected = model.hidden(**inputs)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-5)
    model.warm_up(0.0)
    assert (model.hidden(**inputs) - expected).abs().max() > 1e-2


@torch.no_grad()
def test_bounded_scores_are_bounded_before_they_are_masked():
    prefix, (query, key, value) = prefix_at(0.5), queries_keys_values()
    # The family's own function finds the prefix and its sharing of keys on the module.
    module = Gemma2Attention.__new__(Gemma2Attention)
    torch.nn.Module.__init__(module)
    module.prefix, module.num_key_value_groups = prefix, H // G
    arguments = {"scaling": 1.0, "softcap": 2.0, "dropout": 0.0}
    expected, _ = own_attention(module, query, key, value, causal_mask(), **arguments)
    got = attend(prefix, query, key, value, causal_mask(), **arguments)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    unbounded = attend(prefix, query, key, value, causal_mask(), scaling=1.0)
    assert (got - unbounded).abs().max() > 1e-2
