"""The contract of adapter kinds: what each must hold on every backbone family.

A new kind is one entry of CASES, a new family is found by the fixture; both inherit every test.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from space.adapter import Adapter, TokenSkip
from space.cost import CostModel, HeadShape, TokenStats
from space.kinds import KINDS
from space.side import SIDE, SPACE_KINDS, Side
from space.spec import AdapterSpec
from tests.trainers.tiny import fill_randomly, random_batch
from trainers.backbone import Backbone, fingerprint
from trainers.flops import measure_gflops
from trainers.model import AdaptedModel, build, deploy

DEPTH = 3
N_OUTPUTS = 3
N_TOKENS = 11


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kind, plain or made of experts."""

    kind: str
    experts: int = 1
    top_k: int = 1
    router: str | None = None
    way: str = "concatenated"

    def __str__(self) -> str:
        return f"{self.kind}-{self.top_k}of{self.experts}-{self.router}-{self.way}"


CASES = [
    *(Case(kind=kind) for kind in SPACE_KINDS),
    *(
        Case(kind=kind, experts=4, top_k=2, router="token", way=way)
        for kind, way in (("lora", "grouped"), ("bottleneck", "looped"), ("parallel", "grouped"))
    ),
    *(Case(kind=kind, experts=3, router="sequence") for kind in ("lora", "bottleneck", "parallel")),
]


def spec_of(case: Case, backbone: Backbone) -> AdapterSpec:
    """Return the structure with this kind at every role that it serves, in two of three blocks.

    A side network serves none: it reads behind two of them.
    """
    if case.kind == SIDE:
        return AdapterSpec(depth=DEPTH, side=Side(width=6, boundaries=(1, 3)))
    kind = KINDS[case.kind]
    adapters = [
        Adapter(
            layer=layer,
            role=role,
            kind=case.kind,
            rank=4 if kind.ranked else None,
            alpha=8.0 if kind.scaled else None,
            scaling="alpha/sqrt(rank)" if kind.scaled else "alpha/rank",
            experts=case.experts,
            top_k=case.top_k,
            router=case.router,
        )
        for layer in (1, 2)
        for role in kind.roles
        if role in backbone.shape.roles
    ]
    return AdapterSpec(depth=DEPTH, adapters=tuple(adapters))


def inputs_of(backbone: Backbone, n_rows: int = 3) -> dict[str, Tensor]:
    """Return a batch of rows of various lengths, or of images."""
    if backbone.image is not None:
        size = (n_rows, backbone.image.n_channels, *backbone.image.size)
        return {"pixel_values": torch.randn(size, generator=torch.Generator().manual_seed(0))}
    ids, mask = random_batch(n_rows, N_TOKENS)
    return {"input_ids": ids, "attention_mask": mask}


def cost_of(backbone: Backbone, way: str = "concatenated", n_tokens: int = N_TOKENS) -> CostModel:
    if backbone.image is not None:
        n_tokens = backbone.image.n_tokens
    return CostModel(
        shape=backbone.shape,
        head=HeadShape(n_outputs=N_OUTPUTS),
        tokens=TokenStats.of([n_tokens]),
        ways=lambda *_: way,
    )


@pytest.fixture(params=CASES, ids=str)
def case(request, tiny_any: Backbone) -> Case:
    if request.param.kind == "prefix" and not tiny_any.shape.takes_prefix:
        pytest.skip("the attention of this family takes no prefix")
    return request.param


@pytest.fixture
def model(case: Case, tiny_any: Backbone) -> AdaptedModel:
    return build(tiny_any, spec_of(case, tiny_any), N_OUTPUTS, seed=1, ways=lambda *_: case.way)


def answers(model: AdaptedModel, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**inputs)


def let_in(model: AdaptedModel) -> AdaptedModel:
    """Give every trained weight a value, and let prefixes in."""
    fill_randomly(model)
    model.warm_up(1.0)
    return model


class TestAdapterKind:
    def test_it_starts_as_the_identity(self, model, tiny_any):
        inputs = inputs_of(tiny_any)
        bare = build(tiny_any, AdapterSpec(depth=DEPTH), N_OUTPUTS, seed=0)
        bare.head.load_state_dict(model.head.state_dict())
        torch.testing.assert_close(answers(model, inputs), answers(bare, inputs), atol=2e-6, rtol=0)

    def test_trained_it_changes_the_answer(self, model, tiny_any):
        inputs = inputs_of(tiny_any)
        before = model.hidden(**inputs).detach()
        let_in(model)
        assert (model.hidden(**inputs).detach() - before).abs().max() > 1e-4

    def test_gradients_reach_what_is_trained_and_nothing_frozen(self, model, tiny_any):
        let_in(model).train()
        loss = model(**inputs_of(tiny_any)).square().sum()
        if model.balance_loss() is not None:
            loss = loss + model.balance_loss()
        loss.backward()
        trained = {id(parameter) for parameter in model.trained_parameters()}
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == (id(parameter) in trained), name
        assert all(p.grad.abs().sum() > 0 for p in model.adapter_parameters() if p.dim() > 1)

    def test_the_frozen_prefix_is_not_part_of_the_graph(self, model, tiny_any):
        seen = []
        blocks = model.view.get_submodule(tiny_any.family.blocks)
        hooks = [
            block.register_forward_hook(lambda *args: seen.append(args[2])) for block in blocks
        ]
        let_in(model)(**inputs_of(tiny_any))
        for hook in hooks:
            hook.remove()
        outputs = [out if isinstance(out, Tensor) else out[0] for out in seen]
        frozen = model.spec.first_insertion_layer
        assert [out.requires_grad for out in outputs] == [i >= frozen for i in range(DEPTH)]

    def test_saved_and_loaded_it_answers_the_same(self, model, case, tiny_any):
        inputs = inputs_of(tiny_any)
        state = {name: tensor.clone() for name, tensor in let_in(model).trained_state().items()}
        spec = AdapterSpec.from_json(model.spec.to_json())
        again = build(tiny_any, spec, N_OUTPUTS, seed=9, ways=lambda *_: case.way)
        again.load_trained_state(state)
        assert torch.equal(answers(model, inputs), answers(again, inputs))

    def test_its_cost_in_closed_form_is_what_is_measured(self, model, case, tiny_any):
        cost = cost_of(tiny_any, case.way)
        deployed = deploy(let_in(model), tiny_any)
        measured = measure_gflops(deployed, tiny_any, N_TOKENS)
        assert cost.inference_gflops(model.spec) == pytest.approx(measured, rel=0.01)
        assert cost.trainable_params(model.spec) == sum(
            parameter.numel() for parameter in model.trained_parameters()
        )

    def test_merged_it_answers_as_unmerged(self, model, tiny_any):
        inputs = inputs_of(tiny_any)
        expected = answers(let_in(model), inputs)
        deployed = deploy(model, tiny_any)
        scale = expected.abs().max().clamp(min=1.0)
        assert (answers(deployed, inputs) - expected).abs().max() / scale < 1e-5

    def test_the_backbone_stays_bit_equal_through_training(self, model, tiny_any):
        before = fingerprint(tiny_any.model)
        model.train()
        optimizer = torch.optim.AdamW(model.trained_parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            model(**inputs_of(tiny_any)).square().sum().backward()
            optimizer.step()
        assert fingerprint(tiny_any.model) == before


@pytest.mark.parametrize("keep", [0.5, 0.75])
def test_skipped_tokens_cost_what_is_measured(tiny_any, keep):
    if not tiny_any.shape.gathers_tokens:
        pytest.skip("the blocks of this family need all tokens")
    skips = tuple(TokenSkip(layer=layer, token_keep=keep, rank=4) for layer in (1, 2))
    spec = AdapterSpec(depth=DEPTH, skips=skips)
    model = fill_randomly(build(tiny_any, spec, N_OUTPUTS, seed=0))
    cost = cost_of(tiny_any)
    measured = measure_gflops(deploy(model, tiny_any), tiny_any, N_TOKENS)
    assert cost.inference_gflops(spec) == pytest.approx(measured, rel=0.01)
    assert cost.trainable_params(spec) == sum(p.numel() for p in model.trained_parameters())


def test_exits_cost_what_is_measured(tiny_any):
    spec = AdapterSpec(depth=DEPTH, exits=(1, 2))
    model = build(tiny_any, spec, N_OUTPUTS, seed=0)
    measured = measure_gflops(model, tiny_any, N_TOKENS)
    assert cost_of(tiny_any).inference_gflops(spec) == pytest.approx(measured, rel=0.01)
