"""A side network against its formula, and what it may read of the backbone."""

import pytest
import torch
from torch import Tensor, nn

from space.search_space import Learning
from space.side import Side
from space.spec import AdapterSpec
from tests.trainers.test_contract import N_OUTPUTS, inputs_of
from tests.trainers.tiny import CAUSAL_FAMILIES, fill_randomly
from trainers.adapters import SideNetwork
from trainers.engine import Engine, autocast, prepared
from trainers.model import build
from trainers.steps import parameter_groups

SPEC = AdapterSpec(depth=3, side=Side(width=6, boundaries=(1, 3)))


def side_model(backbone, spec=SPEC):
    return fill_randomly(build(backbone, spec, N_OUTPUTS, seed=0))


def states_of(backbone, inputs, depth=3):
    """Return the hidden states behind each block, as transformers gives them."""
    seen: dict[int, Tensor] = {}
    blocks = backbone.model.get_submodule(backbone.family.blocks)
    hooks = [
        block.register_forward_hook(
            lambda _m, _i, out, b=i + 1: seen.__setitem__(
                b, out if isinstance(out, Tensor) else out[0]
            )
        )
        for i, block in enumerate(blocks)
    ]
    with torch.no_grad():
        backbone.model(**inputs)
    for hook in hooks:
        hook.remove()
    return {boundary: seen[boundary] for boundary in range(1, depth + 1)}


def test_it_computes_its_formula(tiny_any):
    model, inputs = side_model(tiny_any), inputs_of(tiny_any)
    states = states_of(tiny_any, inputs)
    name = tiny_any.family.final_norm
    norm = tiny_any.model.get_submodule(name) if name else nn.Identity()
    weights = {k.removeprefix("side."): v for k, v in model.trained_state().items()}

    def normed(x, prefix):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
        return x * weights[f"{prefix}.weight"] + weights[f"{prefix}.bias"]

    def low(place, boundary):
        read = norm(states[boundary])
        return read @ weights["down"][place] + weights["down_bias"][place]

    def block(s, place):
        x = normed(s, f"blocks.{place}.norm") @ weights[f"blocks.{place}.ffn_up.weight"].t()
        x = x + weights[f"blocks.{place}.ffn_up.bias"]
        x = x.clamp(min=0) @ weights[f"blocks.{place}.ffn_down.weight"].t()
        return s + x + weights[f"blocks.{place}.ffn_down.bias"]

    gate = 1 / (1 + torch.exp(-weights["gates"][0]))
    s = block(low(0, 1), 0)
    s = block((1 - gate) * s + gate * low(1, 3), 1)
    expected = norm(states[3]) + normed(s, "norm") @ weights["up"].t()
    torch.testing.assert_close(model.hidden(**inputs), expected, atol=2e-5, rtol=1e-4)


def test_given_what_it_reads_no_block_runs_and_the_answer_is_the_same(tiny_any):
    model, inputs = side_model(tiny_any), inputs_of(tiny_any)
    states = states_of(tiny_any, inputs)
    expected = model(**inputs)
    ran = []
    blocks = tiny_any.model.get_submodule(tiny_any.family.blocks)
    hooks = [block.register_forward_hook(lambda *_: ran.append(1)) for block in blocks]
    known = {boundary: states[boundary] for boundary in model.spec.boundaries}
    torch.testing.assert_close(model(**inputs, boundaries=known), expected, atol=1e-5, rtol=1e-5)
    for hook in hooks:
        hook.remove()
    assert ran == []


@pytest.mark.parametrize("known", [(1,), (2,), (1, 2), (3,), (1, 2, 3)], ids=str)
def test_given_a_part_of_it_the_answer_is_the_same(tiny_any, known):
    model, inputs = side_model(tiny_any), inputs_of(tiny_any)
    states = states_of(tiny_any, inputs)
    answer = model(**inputs, boundaries={boundary: states[boundary] for boundary in known})
    torch.testing.assert_close(answer, model(**inputs), atol=1e-5, rtol=1e-5)


def test_padding_tells_nothing(tiny):
    model, inputs = side_model(tiny), inputs_of(tiny)
    together = model(**inputs)
    for row, length in enumerate(inputs["attention_mask"].sum(1).tolist()):
        alone = {name: values[row : row + 1, :length] for name, values in inputs.items()}
        torch.testing.assert_close(model(**alone)[0], together[row], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_beside_a_causal_backbone_no_token_sees_later_ones(tiny_backbones, family):
    backbone = tiny_backbones[family]
    model, inputs = side_model(backbone), inputs_of(backbone)
    inputs = {name: values[-1:] for name, values in inputs.items()}
    other = inputs | {"input_ids": inputs["input_ids"].clone()}
    other["input_ids"][:, 6:] = 9
    before, after = model.hidden(**inputs), model.hidden(**other)
    torch.testing.assert_close(before[:, :6], after[:, :6], atol=1e-5, rtol=1e-5)
    assert (before[:, 6:] - after[:, 6:]).abs().max() > 1e-3


def test_one_boundary_has_nothing_to_gate(tiny_bert):
    spec = AdapterSpec(depth=3, side=Side(width=6, boundaries=(2,)))
    model = side_model(tiny_bert, spec).train()
    assert "side.gates" not in model.trained_state()
    model(**inputs_of(tiny_bert)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.trained_parameters())


def test_biases_norms_and_gates_do_not_decay(tiny_bert):
    model = side_model(tiny_bert)
    groups = parameter_groups(model, Learning(learning_rate=1e-3, head_learning_rate=1e-2))
    still = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    names = {name for name, p in model.side.named_parameters() if id(p) in still}
    assert names == {
        "down_bias",
        "gates",
        *(f"blocks.{i}.{name}" for i in (0, 1) for name in ("norm.weight", "norm.bias")),
        *(f"blocks.{i}.{name}.bias" for i in (0, 1) for name in ("ffn_up", "ffn_down")),
        "norm.weight",
        "norm.bias",
    }


def test_beside_a_backbone_in_bfloat16_it_trains_in_float32(tiny_any):
    engine = Engine(precision="bfloat16", attention="eager")
    model, inputs = side_model(prepared(tiny_any, engine)), inputs_of(tiny_any)
    with autocast(engine, model.device):
        answer = model.train()(**inputs)
    answer.square().sum().backward()
    for name, parameter in model.side.named_parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name
    with torch.no_grad():
        exact = side_model(tiny_any)(**inputs)
    assert (answer - exact).abs().max() < 0.1 * exact.abs().max().clamp(min=1.0)


def test_its_first_step_is_one_of_the_last_product_alone():
    side = SideNetwork(Side(width=4, boundaries=(1, 2)), 8)
    read = [torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    assert torch.equal(side(read, read[-1]), read[-1])
    side(read, read[-1]).square().sum().backward()
    moved = {name for name, p in side.named_parameters() if p.grad.abs().sum() > 0}
    assert moved == {"up"}
