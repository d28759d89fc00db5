"""What each adapter adds, against its formula on what it reads, one row at a time."""

import pytest
import torch
from torch.nn import functional

from tests.trainers.explain.bundles import ALL_KINDS, WITH_SIDE, write_lesson_bundle, write_rows
from tests.trainers.explain.conftest import silent
from trainers.bundle import load
from trainers.data import encode
from trainers.explain import explain, explained_rows
from trainers.explain.watching import innermost


@pytest.fixture
def batches(bundle, folder):
    rows = explained_rows(bundle, folder / "rows.csv", n_rows=None, seed=0)
    table = encode(rows.split, bundle.config.what, bundle.backbone, bundle.config.max_length)
    return [table.collate([row]) for row in range(len(table))]


def told(explained, layer, role):
    (own,) = [c for c in explained.contributions if (c.layer, c.role) == (layer, role)]
    return own


def seen(module, run):
    """The arguments and the result of each run of a module."""
    calls = []
    hook = module.register_forward_hook(lambda _m, args, out: calls.append((args, out)))
    run()
    hook.remove()
    return calls


def runner(model, batches):
    def run():
        with torch.no_grad():
            for batch in batches:
                model(**batch.inputs)

    return run


def ratio(added, base):
    return (added.norm(dim=-1) / base.norm(dim=-1)).flatten()


def experts_of(module, x, act):
    """Each token's experts one after the other, without a product over all of them."""
    experts = module.experts
    routed = x.mean(1, keepdim=True) if experts.per_sequence else x
    shares = functional.linear(routed, experts.router.weight).softmax(-1)
    out = torch.zeros(*x.shape[:2], experts.up.shape[1])
    for token in range(x.shape[1]):
        own = shares[0, min(token, shares.shape[1] - 1)]
        best = own.argsort(descending=True)[: experts.top_k]
        for e in best.tolist():
            low = experts.down[e] @ x[0, token]
            low = low if experts.down_bias is None else low + experts.down_bias[e]
            high = experts.up[e] @ act(low)
            high = high if experts.up_bias is None else high + experts.up_bias[e]
            out[0, token] += own[e] / own[best].sum() * high
    return out


FORMULAS = {
    (1, "query"): lambda m, x, y: m.scale * (x @ m.down.T @ m.up.T),
    (1, "key"): lambda m, y: y * (m.scale - 1),
    (1, "ffn"): lambda m, y: experts_of(m, y, functional.gelu),
    (2, "value"): lambda m, x, y: m.scale * experts_of(m, x, lambda v: v),
    (2, "ffn_down"): lambda m, x: x * (m.scale - 1),
    (3, "attention"): lambda m, x, y: m.scale * experts_of(m, x, functional.relu),
    (3, "ffn_up"): lambda m, x, y: m.scale * experts_of(m, x, lambda v: v),
    (3, "ffn"): lambda m, x, y: m.scale * m.up(functional.relu(m.down(x))),
}


@pytest.mark.parametrize("place", FORMULAS)
def test_an_adapter_adds_what_its_formula_says(explained, bundle, batches, place):
    module = bundle.model.adapters.get_submodule(f"{place[0]}.{place[1]}")
    calls = seen(module, runner(bundle.model, batches))
    with torch.no_grad():
        ratios = torch.cat([ratio(FORMULAS[place](module, *args), args[-1]) for args, _ in calls])
    own = told(explained, *place)
    assert own.n_tokens == len(ratios)
    assert own.mean == pytest.approx(float(ratios.mean()), rel=1e-3)
    assert own.mean > 1e-3


def test_what_passes_a_block_by(explained, bundle, batches):
    bypass = bundle.model.skips["3"].bypass
    calls = seen(bypass, runner(bundle.model, batches))
    with torch.no_grad():
        ratios = torch.cat(
            [ratio(bypass.up(functional.relu(bypass.down(x))), x) for (x, _), _ in calls]
        )
    own = told(explained, 3, "block")
    assert own.n_tokens == len(ratios) == sum(explained.lengths)
    assert own.mean == pytest.approx(float(ratios.mean()), rel=1e-3)


def test_a_prefix_adds_what_attention_over_it_changes(explained, bundle, batches):
    """Attention by hand, over [prefix, tokens] and over the tokens alone."""
    model = bundle.model
    attention = innermost(model, bundle.backbone, 2).get_submodule("attention.self")
    prefix = model.adapters.get_submodule("2.attention")
    read = {}
    for name in ("query", "key", "value"):
        getattr(attention, name).register_forward_hook(
            lambda _m, _a, out, n=name: read.__setitem__(n, out)
        )
    ratios = []
    for batch in batches:
        runner(model, [batch])()
        heads = {name: out.view(*out.shape[:2], 4, 8).transpose(1, 2) for name, out in read.items()}
        with torch.no_grad():
            own = {
                name: vectors.view(1, -1, 4, 8).transpose(1, 2)
                for name, vectors in (("key", prefix.key), ("value", prefix.value))
            }
            results = []
            for keys, values in (
                (heads["key"], heads["value"]),
                tuple(torch.cat([own[n], heads[n]], 2) for n in ("key", "value")),
            ):
                weights = (heads["query"] @ keys.transpose(2, 3) / 8**0.5).softmax(-1)
                results.append((weights @ values).transpose(1, 2).flatten(2))
        alone, with_prefix = results
        ratios.append(ratio(with_prefix - alone, alone))
    for name in ("query", "key", "value"):
        getattr(attention, name)._forward_hooks.clear()
    own = told(explained, 2, "attention")
    assert own.mean == pytest.approx(float(torch.cat(ratios).mean()), rel=1e-3)
    assert own.mean > 1e-2


def test_a_side_network_adds_to_the_last_hidden_states(tmp_path, tiny_backbones):
    folder = write_lesson_bundle(tmp_path / "b", "class", tiny_backbones["bert"], WITH_SIDE)
    bundle = load(folder)
    rows = explained_rows(bundle, write_rows(tmp_path, "class", 8), n_rows=None, seed=0)
    (own,) = explain(bundle, rows, silent).contributions
    table = encode(rows.split, bundle.config.what, bundle.backbone, bundle.config.max_length)
    alone = bundle.backbone.model
    ratios = []
    for row in range(len(table)):
        batch = table.collate([row])
        with torch.no_grad():
            last = alone(**batch.inputs, output_hidden_states=True).hidden_states[3]
            ratios.append(ratio(bundle.model.hidden(**batch.inputs) - last, last))
    assert (own.kind, own.role, own.layer) == ("side", "side", 3)
    assert own.mean == pytest.approx(float(torch.cat(ratios).mean()), rel=1e-3)


def test_nothing_listens_any_more(bundle, folder):
    rows = explained_rows(bundle, folder / "rows.csv", n_rows=8, seed=0)
    explain(bundle, rows, silent)
    modules = [*bundle.model.modules(), *bundle.backbone.model.modules()]
    assert not [m for m in modules if m._forward_hooks or m._forward_pre_hooks]
    assert len(ALL_KINDS.adapters) == len(list(bundle.model.spec.adapters))
