"""IA3 against its formula: alone, and at its three roles of a block."""

import copy

import pytest
import torch
from torch import nn

from tests.trainers.tiny import random_batch, structure
from trainers.adapters import Ia3
from trainers.model import build

D_IN, D_OUT = 5, 7


def filled(width, side):
    ia3 = Ia3(width, side)
    nn.init.normal_(ia3.scale, generator=torch.Generator().manual_seed(0))
    return ia3


@pytest.mark.parametrize("side", ["input", "output"])
def test_it_starts_as_the_identity(side):
    x = torch.randn(2, 3, D_IN)
    assert torch.equal(Ia3(D_IN, side)(x), x)


@pytest.mark.parametrize("bias", [True, False])
def test_it_merges_into_the_layer_whose_input_it_scales(bias):
    base, ia3, x = nn.Linear(D_IN, D_OUT, bias=bias), filled(D_IN, "input"), torch.randn(2, 3, D_IN)
    merged = nn.functional.linear(x, *ia3.merged(base.weight, base.bias))
    torch.testing.assert_close(merged, base(x * ia3.scale))


@pytest.mark.parametrize("bias", [True, False])
def test_it_merges_into_the_layer_whose_output_it_scales(bias):
    base, x = nn.Linear(D_IN, D_OUT, bias=bias), torch.randn(2, 3, D_IN)
    ia3 = filled(D_OUT, "output")
    merged = nn.functional.linear(x, *ia3.merged(base.weight, base.bias))
    torch.testing.assert_close(merged, base(x) * ia3.scale)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "modernbert", "t5"])
def test_keys_and_values_are_scaled_behind_their_layer_and_the_ffn_before_it(
    tiny_backbones, family
):
    """Its three roles, as weights of a copy of the backbone that are scaled by hand."""
    backbone = tiny_backbones[family]
    roles = ("key", "value", "ffn_down")
    model = build(backbone, structure(4, (1,), dict.fromkeys(roles, "ia3")), 2, seed=0)
    scales = {role: filled(len(a.scale), "input").scale for role, a in model.adapters["1"].items()}
    by_hand = copy.deepcopy(backbone.model)
    block = by_hand.get_submodule(f"{backbone.family.blocks}.1")
    with torch.no_grad():
        for role, place in backbone.family.roles:
            if role not in roles:
                continue
            model.adapters["1"][role].scale.copy_(scales[role])
            layer = block.get_submodule(place.path)
            weight = layer.weight if isinstance(layer, nn.Linear) else layer.weight.T  # (O, I)
            if role == "ffn_down":
                weight *= scales[role]
                continue
            part = slice(place.part * len(scales[role]), (place.part + 1) * len(scales[role]))
            weight[part] *= scales[role][:, None]
            if layer.bias is not None:
                layer.bias[part] *= scales[role]
    ids, mask = random_batch(3, 9)
    with torch.no_grad():
        expected = by_hand(input_ids=ids, attention_mask=mask)[0]
        before = backbone.model(input_ids=ids, attention_mask=mask)[0]
        got = model.hidden(input_ids=ids, attention_mask=mask)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert (expected - before).abs().max() > 1e-2
