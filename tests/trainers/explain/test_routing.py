"""Routing against the routers' own weights, one row at a time."""

import math

import pytest
import torch

from tests.trainers.explain.bundles import ALL_KINDS
from trainers.adapters import Experts
from trainers.data import encode
from trainers.explain import explained_rows
from trainers.explain.tokens import tokens_of

PLACES = [(a.layer, a.role) for a in ALL_KINDS.adapters if a.experts > 1]


@pytest.fixture
def by_hand(bundle, folder):
    """For each adapter of experts its choices: (row's label, token's id, experts, shares)."""
    rows = explained_rows(bundle, folder / "rows.csv", n_rows=None, seed=0)
    table = encode(rows.split, bundle.config.what, bundle.backbone, bundle.config.max_length)
    model = bundle.model
    read = {}
    for layer, role in PLACES:
        module = model.adapters.get_submodule(f"{layer}.{role}")
        experts = next(m for m in module.modules() if isinstance(m, Experts))
        experts.register_forward_pre_hook(
            lambda _m, args, place=(layer, role): read.__setitem__(place, args[0][0])
        )
    skip = model.skips["3"].router.register_forward_pre_hook(
        lambda _m, args: read.__setitem__("skip", args[0][0])
    )
    choices = {place: [] for place in PLACES}
    for row in range(len(table)):
        batch = table.collate([row])
        with torch.no_grad():
            model(**batch.inputs)
        ids, label = batch.inputs["input_ids"][0], int(batch.labels[0])
        scores = read["skip"] @ model.skips["3"].router.weight[0]
        n_kept = math.ceil(len(ids) * 0.5)
        kept = sorted(scores.argsort(descending=True)[:n_kept].tolist())
        for layer, role in PLACES:
            own = ids[kept] if layer == 3 else ids
            x = read[layer, role]
            assert len(x) == len(own)
            weight = model.adapters.get_submodule(f"{layer}.{role}").experts.router.weight
            (adapter,) = [a for a in ALL_KINDS.adapters if (a.layer, a.role) == (layer, role)]
            if adapter.router == "sequence":
                x = x.mean(0, keepdim=True)
            shares = (x @ weight.T).softmax(-1).detach()
            for place, token in enumerate(own.tolist()):
                share = shares[min(place, len(shares) - 1)]
                best = share.argsort(descending=True)[: adapter.top_k].tolist()
                choices[layer, role].append((row, label, token, best, share))
    skip.remove()
    return choices


def told(explained, place):
    (own,) = [r for r in explained.routing if (r.layer, r.role) == place]
    return own


def shares(chosen, n_experts):
    flat = [expert for experts in chosen for expert in experts]
    return [flat.count(e) / len(flat) for e in range(n_experts)]


@pytest.mark.parametrize("place", PLACES)
def test_classes_and_kinds(explained, by_hand, bundle, place):
    own, choices = told(explained, place), by_hand[place]
    for label in range(2):
        mine = [best for _, other, _, best, _ in choices if other == label]
        assert own.by_class[label] == pytest.approx(shares(mine, 3), abs=1e-6)
    tokens = tokens_of(bundle.backbone)
    for kind, row in zip(explained.kinds, own.by_kind, strict=True):
        mine = [best for _, _, token, best, _ in choices if tokens.token(token).kind == kind]
        if mine:
            assert row == pytest.approx(shares(mine, 3), abs=1e-6)
        else:
            assert all(math.isnan(share) for share in row)


@pytest.mark.parametrize("place", PLACES)
def test_load_and_entropy(explained, by_hand, place):
    own, choices = told(explained, place), by_hand[place]
    if own.router == "sequence":  # counted once a row
        choices = list({row: choice for choice in choices for row in choice[:1]}.values())
    assert own.load == pytest.approx(shares([best for *_, best, _ in choices], 3), abs=1e-6)
    entropies = [float(-(share * share.log()).sum()) for *_, share in choices]
    assert own.entropy == pytest.approx(sum(entropies) / len(entropies), rel=1e-4)
    assert own.balance == pytest.approx(
        math.exp(-sum(p * math.log(p) for p in own.load if p)), rel=1e-6
    )
    assert 0 <= own.certainty <= 1


@pytest.mark.parametrize("place", PLACES)
def test_liked_tokens(explained, by_hand, bundle, place):
    own, choices = told(explained, place), by_hand[place]
    tokens = tokens_of(bundle.backbone)
    n_liked = 0
    for expert, liked in enumerate(own.liked):
        for token in liked:
            mine = [best for _, _, t, best, _ in choices if tokens.token(t).text == token.text]
            assert token.count == len(mine) >= 3
            assert token.share == pytest.approx(sum(expert in b for b in mine) / len(mine))
            n_liked += 1
    assert n_liked


def test_it_agrees_with_what_training_keeps(explained, bundle, folder):
    rows = explained_rows(bundle, folder / "rows.csv", n_rows=None, seed=0)
    table = encode(rows.split, bundle.config.what, bundle.backbone, bundle.config.max_length)
    bundle.model.reset_routing()
    with torch.no_grad():
        bundle.model(**table.collate(range(len(table))).inputs)
    for kept in bundle.model.routing():
        own = told(explained, (kept["layer"], kept["role"]))
        assert own.load == pytest.approx(kept["load"], abs=1e-6)
        assert own.entropy == pytest.approx(kept["entropy"], rel=1e-4)


def test_tokens_that_run_are_those_of_the_highest_scores(explained, bundle, folder):
    rows = explained_rows(bundle, folder / "rows.csv", n_rows=None, seed=0)
    table = encode(rows.split, bundle.config.what, bundle.backbone, bundle.config.max_length)
    (kept,) = explained.kept
    read = []
    bundle.model.skips["3"].router.register_forward_pre_hook(lambda _m, args: read.append(args[0]))
    for row in range(len(table)):
        with torch.no_grad():
            bundle.model(**table.collate([row]).inputs)
        scores = (read.pop() @ bundle.model.skips["3"].router.weight.T)[0, :, 0]
        n_kept = math.ceil(len(scores) * 0.5)
        best = set(scores.argsort(descending=True)[:n_kept].tolist())
        assert [i for i, runs in enumerate(kept.rows[row]) if runs] == sorted(best)
    assert kept.n_tokens == sum(explained.lengths)
    assert kept.n_kept == sum(map(sum, kept.rows))
