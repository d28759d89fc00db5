"""A structure as a model: what it shares with its backbone, and what it refuses.

What holds for each kind is in test_contract.py.
"""

from dataclasses import replace

import pytest
import torch

from space.adapter import TokenSkip
from space.errors import UserError
from space.spec import POOLINGS, AdapterSpec
from tests.trainers.tiny import N_LAYERS, everywhere, fill_randomly, random_batch, structure
from trainers.backbone import fingerprint
from trainers.model import build, deploy

N_OUTPUTS = 3
POOLED = tuple(name for name in POOLINGS if name != "none")


@pytest.mark.parametrize("sublayer_kind", ["bottleneck", "parallel"])
@pytest.mark.parametrize("pooling", POOLED)
def test_all_roles_at_once_deploy_alike(tiny, sublayer_kind, pooling):
    ids, mask = random_batch(4, 9)
    spec = everywhere(tiny.shape, sublayer_kind, depth=3, pooling=pooling)
    model = fill_randomly(build(tiny, spec, N_OUTPUTS, seed=1), spread=0.05)
    torch.testing.assert_close(
        deploy(model, tiny)(ids, mask), model(ids, mask), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("pooling", POOLED)
def test_padding_changes_nothing(tiny, pooling):
    ids, mask = random_batch(5, 11)
    spec = everywhere(tiny.shape, "parallel", depth=N_LAYERS, pooling=pooling)
    model = fill_randomly(build(tiny, spec, N_OUTPUTS, seed=1), spread=0.05)
    padded = model(ids, mask)
    for row, n_tokens in enumerate(mask.sum(1).tolist()):
        alone = model(ids[row : row + 1, :n_tokens], mask[row : row + 1, :n_tokens])
        torch.testing.assert_close(padded[row : row + 1], alone, atol=1e-5, rtol=1e-5)


def test_poolings_differ_and_attention_begins_as_the_mean(tiny):
    ids, mask = random_batch(4, 9)
    by_name = {
        name: build(tiny, AdapterSpec(depth=2, pooling=name), N_OUTPUTS, seed=1)(ids, mask)
        for name in POOLED
    }
    torch.testing.assert_close(by_name["attention"], by_name["mean"], atol=1e-6, rtol=1e-5)
    assert (by_name["cls"] - by_name["mean"]).abs().max() > 1e-3


def test_models_on_one_backbone_do_not_see_each_other(tiny):
    ids, mask = random_batch(4, 9)
    first = build(tiny, structure(3, (0, 2), {"ffn": "bottleneck"}), N_OUTPUTS, seed=1)
    expected = first(ids, mask)
    second = build(tiny, everywhere(tiny.shape, "parallel", 4, "mean"), N_OUTPUTS, seed=1)
    fill_randomly(second)
    second(ids, mask)
    assert torch.equal(first(ids, mask), expected)
    fill_randomly(first)
    assert not torch.equal(first(ids, mask), expected)
    third = build(tiny, first.spec, N_OUTPUTS, seed=1)
    assert torch.equal(third(ids, mask), expected)


def test_building_never_changes_the_backbone(tiny):
    modules = [(name, id(module)) for name, module in tiny.model.named_modules()]
    n_params = tiny.n_params
    model = build(tiny, everywhere(tiny.shape, "parallel", 2, "attention"), N_OUTPUTS, seed=1)
    deploy(fill_randomly(model), tiny)
    assert [(name, id(module)) for name, module in tiny.model.named_modules()] == modules
    assert tiny.n_params == n_params
    assert fingerprint(tiny.model, tiny.family.unused) == tiny.fingerprint
    assert not any(parameter.requires_grad for parameter in tiny.model.parameters())


def test_frozen_weights_are_shared_and_not_copied(tiny):
    model = build(tiny, everywhere(tiny.shape, "bottleneck", 4, "mean"), N_OUTPUTS, seed=1)
    frozen = {id(p) for p in model.parameters()} - {id(p) for p in model.trained_parameters()}
    assert frozen <= {id(parameter) for parameter in tiny.model.parameters()}


def test_seed_alone_decides_the_new_weights(tiny_bert):
    spec = everywhere(tiny_bert.shape, "parallel", 2, "attention")
    torch.manual_seed(1)
    first = build(tiny_bert, spec, N_OUTPUTS, seed=5).trained_state()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = build(tiny_bert, spec, N_OUTPUTS, seed=5).trained_state()
    assert torch.equal(torch.get_rng_state(), state)
    other = build(tiny_bert, spec, N_OUTPUTS, seed=6).trained_state()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.linear.weight"], other["head.linear.weight"])


def test_a_block_above_the_depth_does_not_run(tiny):
    ids, mask = random_batch(2, 5)
    ran = []
    blocks = tiny.model.get_submodule(tiny.family.blocks)
    hooks = [
        block.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, block in enumerate(blocks)
    ]
    build(tiny, AdapterSpec(depth=2), N_OUTPUTS, seed=1)(ids, mask)
    for hook in hooks:
        hook.remove()
    assert ran == [0, 1]


def test_too_deep_a_structure_is_refused(tiny_bert):
    with pytest.raises(UserError, match=r"runs 5 blocks, but the backbone .* has 4"):
        build(tiny_bert, AdapterSpec(depth=5), N_OUTPUTS, seed=1)


def test_a_role_that_the_backbone_lacks_is_refused(tiny_bert):
    shapes = tuple(entry for entry in tiny_bert.shape.role_shapes if entry[0] != "key")
    lacking = replace(tiny_bert, shape=replace(tiny_bert.shape, role_shapes=shapes))
    with pytest.raises(UserError, match=r"'key' matches nothing .* it has query, value"):
        build(lacking, structure(2, (0,), {"key": "lora"}), N_OUTPUTS, seed=1)


def test_weights_of_another_structure_are_refused(tiny_bert):
    model = build(tiny_bert, structure(2, (0,), {"key": "lora"}), N_OUTPUTS, seed=1)
    other = build(tiny_bert, structure(2, (1,), {"key": "lora"}), N_OUTPUTS, seed=1)
    with pytest.raises(ValueError, match=r"adapters\.0\.key"):
        model.load_trained_state(other.trained_state())
    wider = build(tiny_bert, structure(2, (0,), {"key": "lora"}, rank=8), N_OUTPUTS, seed=1)
    with pytest.raises(ValueError, match=r"adapters\.0\.key\.down has the shape \(8, 32\)"):
        model.load_trained_state(wider.trained_state())


def test_refused_weights_leave_the_model_as_it_was(tiny_bert):
    spec = structure(2, (0,), {"key": "lora"})
    model = build(tiny_bert, spec, N_OUTPUTS, seed=1)
    before = {name: tensor.clone() for name, tensor in model.trained_state().items()}
    wrong_head = build(tiny_bert, spec, N_OUTPUTS + 1, seed=2).trained_state()
    with pytest.raises(ValueError, match="head"):
        model.load_trained_state(wrong_head)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.trained_state().items())


def test_dropout_stays_off_in_training_mode(tiny):
    ids, mask = random_batch(4, 9)
    spec = everywhere(tiny.shape, "parallel", depth=2, pooling="mean")
    model = fill_randomly(build(tiny, spec, N_OUTPUTS, seed=1))
    expected = model.eval()(ids, mask)
    model.train()
    frozen = [m for m in model.view.modules() if type(m).__module__.startswith("transformers")]
    assert model.training and model.head.training
    assert not any(module.training for module in frozen)
    assert torch.equal(model(ids, mask), expected)


def test_a_head_for_every_token_answers_for_each(tiny):
    ids, mask = random_batch(3, 7)
    model = build(tiny, AdapterSpec(depth=2, pooling="none"), N_OUTPUTS, seed=1, head="token")
    hidden = model.hidden(input_ids=ids, attention_mask=mask)
    linear = model.head.linear
    expected = hidden @ linear.weight.T + linear.bias
    torch.testing.assert_close(model(ids, mask), expected)
    assert model(ids, mask).shape == (3, 7, N_OUTPUTS)


def test_prefix_and_skips_are_refused_where_the_backbone_cannot(tiny_bert):
    shape = replace(tiny_bert.shape, takes_prefix=False, gathers_tokens=False)
    lacking = replace(tiny_bert, shape=shape)
    with pytest.raises(UserError, match="takes no prefix"):
        build(lacking, structure(2, (0,), {"attention": "prefix"}), N_OUTPUTS, seed=1)
    skips = (TokenSkip(layer=0, token_keep=0.5, rank=2),)
    with pytest.raises(UserError, match="part of the tokens"):
        build(lacking, AdapterSpec(depth=2, skips=skips), N_OUTPUTS, seed=1)
