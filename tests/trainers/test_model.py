"""The contract of an adapted model: over every kind, family and depth."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from space.errors import UserError
from space.kinds import KINDS
from space.spec import POOLINGS, Adapter, AdapterSpec
from tests.trainers.tiny import N_LAYERS, everywhere, fill_randomly, random_batch, structure
from trainers.backbone import Backbone, fingerprint
from trainers.model import AdaptedModel, build, deploy

N_OUTPUTS = 3
PLACES = [(kind, role) for kind in KINDS for role in KINDS[kind].roles]


def frozen_twin(model: AdaptedModel, backbone: Backbone) -> AdaptedModel:
    """Return the structure without its adapters, with the same pooling and head."""
    spec = AdapterSpec(depth=model.spec.depth, pooling=model.spec.pooling)
    twin = build(backbone, spec, model.n_outputs, seed=99)
    twin.pooling.load_state_dict(model.pooling.state_dict())
    twin.head.load_state_dict(model.head.state_dict())
    return twin


def train_a_little(model: AdaptedModel, n_steps: int = 4) -> None:
    ids, mask = random_batch(6, 9)
    labels = torch.arange(6) % N_OUTPUTS
    optimizer = torch.optim.AdamW(model.trained_parameters(), lr=0.02)
    model.train()
    for _ in range(n_steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(ids, mask), labels).backward()
        optimizer.step()
    model.eval()


class AdaptedModelContract:
    """What holds for every kind on every family; a subclass says where the kind stands."""

    kind: str
    served: tuple[tuple[str, ...], ...]
    """Sets of roles, each of which makes a structure."""

    @pytest.fixture(params=[(1, (0,)), (3, (0, 2)), (N_LAYERS, (3,)), (N_LAYERS, (0, 1, 2, 3))])
    def place(self, request):
        return request.param

    def specs(self, place, pooling="mean"):
        depth, layers = place
        return [
            structure(depth, layers, dict.fromkeys(roles, self.kind), pooling=pooling)
            for roles in self.served
        ]

    def test_is_the_frozen_model_at_the_start(self, tiny, place):
        ids, mask = random_batch(4, 9)
        for spec in self.specs(place):
            model = build(tiny, spec, N_OUTPUTS, seed=1)
            expected = frozen_twin(model, tiny)(ids, mask)
            torch.testing.assert_close(model(ids, mask), expected, atol=1e-6, rtol=0)

    def test_answers_otherwise_once_any_one_adapter_is_filled(self, tiny, place):
        ids, mask = random_batch(4, 9)
        for spec in self.specs(place):
            model = build(tiny, spec, N_OUTPUTS, seed=1)
            start = model(ids, mask).detach()
            for adapter in spec.adapters:
                up = model.trained_state()[_up(adapter)]
                # A constant would vanish in the norm behind the sub-layer.
                up.copy_(torch.linspace(-0.1, 0.2, up.numel()).view(up.shape))
                assert (model(ids, mask) - start).abs().max() > 1e-4, adapter
                up.zero_()
            torch.testing.assert_close(model(ids, mask), start, atol=0, rtol=0)

    def test_gradient_reaches_what_is_trained_and_nothing_else(self, tiny, place):
        ids, mask = random_batch(6, 9)
        for spec in self.specs(place, pooling="attention"):
            model = build(tiny, spec, N_OUTPUTS, seed=1)
            functional.cross_entropy(model(ids, mask), torch.arange(6) % N_OUTPUTS).backward()
            trained = {id(parameter) for parameter in model.trained_parameters()}
            for parameter in model.parameters():
                assert (parameter.grad is not None) == (id(parameter) in trained)
            assert all(parameter.grad is None for parameter in tiny.model.parameters())
            for adapter in spec.adapters:
                up = model.get_parameter(_up(adapter))
                assert up.grad.abs().max() > 0, adapter
            model.zero_grad()

    def test_only_trained_weights_require_gradients(self, tiny, place):
        for spec in self.specs(place):
            model = build(tiny, spec, N_OUTPUTS, seed=1)
            wanting = {id(p) for p in model.parameters() if p.requires_grad}
            assert wanting == {id(p) for p in model.trained_parameters()}

    def test_training_leaves_the_backbone_bit_equal(self, tiny, place):
        for spec in self.specs(place):
            model = build(tiny, spec, N_OUTPUTS, seed=1)
            before = {name: tensor.clone() for name, tensor in model.trained_state().items()}
            train_a_little(model)
            assert fingerprint(tiny.model, tiny.family.unused) == tiny.fingerprint
            after = model.trained_state()
            assert all(not torch.equal(before[name], after[name]) for name in before)

    def test_trained_state_moves_to_a_new_model(self, tiny, place):
        ids, mask = random_batch(4, 9)
        for spec in self.specs(place):
            model = fill_randomly(build(tiny, spec, N_OUTPUTS, seed=1))
            other = build(tiny, spec, N_OUTPUTS, seed=2)
            assert not torch.equal(other(ids, mask), model(ids, mask))
            other.load_trained_state(model.trained_state())
            assert torch.equal(other(ids, mask), model(ids, mask))

    def test_deployed_form_answers_alike(self, tiny, place):
        ids, mask = random_batch(4, 9)
        for spec in self.specs(place):
            model = fill_randomly(build(tiny, spec, N_OUTPUTS, seed=1))
            expected = model(ids, mask)
            assert (expected - frozen_twin(model, tiny)(ids, mask)).abs().max() > 1e-3
            torch.testing.assert_close(deploy(model, tiny)(ids, mask), expected, atol=1e-5, rtol=0)
            assert torch.equal(model(ids, mask), expected)

    def test_dropout_stays_off_in_training_mode(self, tiny, place):
        ids, mask = random_batch(4, 9)
        for spec in self.specs(place):
            model = fill_randomly(build(tiny, spec, N_OUTPUTS, seed=1))
            expected = model.eval()(ids, mask)
            model.train()
            assert model.training and model.head.training
            assert not any(module.training for module in _of_the_backbone(model))
            assert torch.equal(model(ids, mask), expected)
            assert torch.equal(model(ids, mask), expected)


class TestLora(AdaptedModelContract):
    kind = "lora"
    served = (
        *((role,) for role in KINDS["lora"].roles),
        KINDS["lora"].roles,
    )


class TestBottleneck(AdaptedModelContract):
    kind = "bottleneck"
    served = (("attention",), ("ffn",), ("attention", "ffn"))


class TestParallel(AdaptedModelContract):
    kind = "parallel"
    served = (("attention",), ("ffn",), ("attention", "ffn"))


def test_every_kind_has_a_contract():
    assert {contract.kind for contract in AdaptedModelContract.__subclasses__()} == set(KINDS)


@pytest.mark.parametrize("sublayer_kind", ["bottleneck", "parallel"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_all_roles_at_once_deploy_alike(tiny, sublayer_kind, pooling):
    ids, mask = random_batch(4, 9)
    spec = everywhere(tiny.shape, sublayer_kind, depth=3, pooling=pooling)
    model = fill_randomly(build(tiny, spec, N_OUTPUTS, seed=1), spread=0.05)
    torch.testing.assert_close(
        deploy(model, tiny)(ids, mask), model(ids, mask), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("pooling", POOLINGS)
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
        for name in POOLINGS
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
    assert not torch.equal(first["head.weight"], other["head.weight"])


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


def test_all_places_of_the_table_are_covered():
    contracts = AdaptedModelContract.__subclasses__()
    covered = itertools.chain.from_iterable(
        [(contract.kind, role) for roles in contract.served for role in roles]
        for contract in contracts
    )
    assert set(covered) == set(PLACES)


def _up(adapter: Adapter) -> str:
    name = f"adapters.{adapter.layer}.{adapter.role}.up"
    return name if adapter.kind == "lora" else f"{name}.weight"


def _of_the_backbone(model: AdaptedModel) -> list[torch.nn.Module]:
    return [m for m in model.view.modules() if type(m).__module__.startswith("transformers")]
