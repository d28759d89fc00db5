"""Blocks that some tokens pass by: the same as a computation written out, row by row."""

import math

import pytest
import torch
from torch import Tensor

from space.adapter import Adapter, TokenSkip
from space.spec import AdapterSpec
from tests.trainers.test_contract import inputs_of
from tests.trainers.tiny import fill_randomly
from trainers.backbone import Backbone
from trainers.model import AdaptedModel, build

KEEP = 0.5


def skipping(backbone: Backbone, layers: tuple[int, ...], pooling: str = "mean") -> AdaptedModel:
    skips = tuple(TokenSkip(layer=layer, token_keep=KEEP, rank=4) for layer in layers)
    spec = AdapterSpec(depth=3, skips=skips, pooling=pooling)
    return fill_randomly(build(backbone, spec, 3, seed=0), seed=3, spread=0.3)


@pytest.fixture
def gathering(tiny_any: Backbone) -> Backbone:
    if not tiny_any.shape.gathers_tokens:
        pytest.skip("the blocks of this family need all tokens")
    return tiny_any


def hidden_behind(backbone: Backbone, n_blocks: int, inputs: dict[str, Tensor]) -> Tensor:
    """Return what the bare backbone's first blocks give, before any last norm."""
    kept = []
    block = backbone.model.get_submodule(backbone.family.blocks)[n_blocks - 1]
    hook = block.register_forward_hook(lambda _m, _a, out: kept.append(out))
    with torch.no_grad():
        backbone.model(**inputs)
    hook.remove()
    return kept[0] if isinstance(kept[0], Tensor) else kept[0][0]


def test_the_chosen_tokens_alone_run_through_the_block(gathering):
    model = skipping(gathering, layers=(1,))
    inputs = inputs_of(gathering)
    widths = []
    inner = model.view.get_submodule(gathering.family.blocks)[1].base
    hook = inner.register_forward_pre_hook(lambda _m, args: widths.append(args[0].shape[1]))
    with torch.no_grad():
        model(**inputs)
    n_tokens = model.hidden(**inputs).shape[1]
    hook.remove()
    assert widths == 2 * [math.ceil(KEEP * n_tokens)]


def test_it_equals_running_each_row_by_itself(gathering):
    """Padding and the other rows of a batch have no say in what is chosen or computed."""
    model = skipping(gathering, layers=(1, 2))
    inputs = inputs_of(gathering)
    with torch.no_grad():
        together = model(**inputs)
        for row in range(len(together)):
            alone = {name: value[row : row + 1] for name, value in inputs.items()}
            if "attention_mask" in alone:
                n = int(alone["attention_mask"].sum())
                alone = {name: value[:, :n] for name, value in alone.items()}
            torch.testing.assert_close(
                model(**alone)[0], together[row], atol=2e-5, rtol=1e-4, msg=f"row {row}"
            )


def test_it_equals_the_formula_written_out(tiny_bert):
    """One row: the best-scored tokens through the block by themselves, the adapter beside all."""
    model = skipping(tiny_bert, layers=(1,))
    ids = torch.tensor([[2, 7, 9, 11, 6, 8, 3]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    x = hidden_behind(tiny_bert, 1, inputs)[0]
    beside = model.skips["1"]
    with torch.no_grad():
        scores = (x @ beside.router.weight.T).squeeze(-1)
        chosen = scores.topk(4).indices.sort().values
        block = tiny_bert.model.get_submodule("encoder.layer")[1]
        expected = (
            x
            + torch.relu(x @ beside.bypass.down.weight.T + beside.bypass.down.bias)
            @ (beside.bypass.up.weight.T)
            + beside.bypass.up.bias
        )
        expected[chosen] += block(x[chosen].unsqueeze(0))[0] - x[chosen]
        third = tiny_bert.model.get_submodule("encoder.layer")[2](expected.unsqueeze(0))
        torch.testing.assert_close(model.hidden(**inputs), third, atol=1e-5, rtol=1e-5)


def test_the_router_learns(gathering):
    model = skipping(gathering, layers=(1,)).train()
    model(**inputs_of(gathering)).square().sum().backward()
    assert model.skips["1"].router.weight.grad.abs().sum() > 0


def test_adapters_run_inside_a_block_that_tokens_pass_by(tiny_bert):
    adapter = Adapter(layer=1, role="ffn_up", kind="lora", rank=2, alpha=4.0)
    skip = TokenSkip(layer=1, token_keep=KEEP, rank=2)
    with_both = AdapterSpec(depth=2, adapters=(adapter,), skips=(skip,))
    model = fill_randomly(build(tiny_bert, with_both, 3, seed=0), spread=0.3)
    inputs = inputs_of(tiny_bert)
    before = model(**inputs).detach()
    with torch.no_grad():
        model.adapters["1"]["ffn_up"].up.zero_()
    assert (model(**inputs) - before).abs().max() > 1e-4


@pytest.mark.parametrize(("pooling", "place"), [("cls", 0), ("last", -1)])
def test_the_token_that_is_pooled_always_runs(tiny_bert, pooling, place):
    model = skipping(tiny_bert, layers=(1,), pooling=pooling)
    inputs = inputs_of(tiny_bert)
    around = model.view.get_submodule("encoder.layer")[1]
    hidden = hidden_behind(tiny_bert, 1, inputs)
    model.running.begin(inputs["attention_mask"])
    index, valid = around._choose(-1e3 * torch.ones(hidden.shape[:2]).cumsum(1) ** 2)
    for row, n_real in enumerate(inputs["attention_mask"].sum(1)):
        wanted = 0 if place == 0 else int(n_real) - 1
        assert wanted in index[row][valid[row]].tolist()


@pytest.mark.parametrize(("keep", "n_tokens"), [(0.3, 50), (0.6, 25), (0.5, 7), (0.7, 10)])
def test_as_many_tokens_run_as_the_cost_reckons_with(tiny_bert, keep, n_tokens):
    skip = TokenSkip(layer=0, token_keep=keep, rank=2)
    model = build(tiny_bert, AdapterSpec(depth=1, skips=(skip,)), 3, seed=0)
    around = model.view.get_submodule("encoder.layer")[0]
    model.running.begin(None)
    index, valid = around._choose(torch.randn(2, n_tokens))
    assert index.shape[1] == int(valid.sum(1)[0]) == skip.n_kept(n_tokens)
