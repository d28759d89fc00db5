"""What is told of a part that is off: what a structure without it, built by itself, gives."""

from dataclasses import replace

import pytest
import torch

from space.cost import CostModel, HeadShape, TokenStats
from tests.trainers.explain.bundles import ALL_KINDS
from trainers.calibration import ways
from trainers.data import encode
from trainers.early_exit import EarlyExit
from trainers.explain import explained_rows
from trainers.explain.ablation import Scored, flips
from trainers.explain.parts import parts_of
from trainers.metrics import meter_of
from trainers.model import build

PARTS = {part.name: part for part in parts_of(ALL_KINDS)}


@pytest.fixture
def table(bundle, folder):
    rows = explained_rows(bundle, folder / "rows.csv", n_rows=None, seed=0)
    return encode(rows.split, bundle.config.what, bundle.backbone, bundle.config.max_length)


def built_anew(bundle, spec):
    """A model that was never more than `spec`, with the trained weights that it has a place for."""
    model = build(bundle.backbone, spec, bundle.model.n_outputs, seed=5)
    state = bundle.model.trained_state()
    model.load_trained_state({name: state[name] for name in model.trained_state()})
    return model


@torch.no_grad()
def scored(bundle, model, table):
    """Metrics and depths, row by row, leaving early for real."""
    config = bundle.config
    meter = meter_of(config.what, config.labels, None)
    early = EarlyExit(model, config.exit_threshold)
    depths = []
    for row in range(len(table)):
        batch = table.collate([row])
        logits, exits = early(**batch.inputs)
        meter.update(logits, batch.labels)
        depths.append([*model.spec.exits, model.spec.depth][int(exits)])
    return meter.compute(), depths


@pytest.fixture(scope="module")
def once():
    """What a structure built anew gave, by the part that it lacks."""
    return {}


def scored_without(once, bundle, table, name):
    if name not in once:
        once[name] = scored(bundle, built_anew(bundle, PARTS[name].rest), table)
    return once[name]


@pytest.mark.parametrize("name", PARTS)
def test_metrics_are_those_of_a_structure_without_the_part(bundle, explained, table, once, name):
    (told,) = [a.without for a in explained.ablations if a.part.name == name]
    metrics, _ = scored_without(once, bundle, table, name)
    assert told.metrics == pytest.approx(metrics, abs=1e-4)


@pytest.mark.parametrize("name", PARTS)
def test_costs_are_those_of_the_closed_form(bundle, explained, table, once, name):
    (told,) = [a.without for a in explained.ablations if a.part.name == name]
    spec = PARTS[name].rest
    lengths = table.lengths.tolist()

    def cost(tokens):
        head = HeadShape(n_outputs=2)
        return CostModel(shape=bundle.backbone.shape, head=head, tokens=tokens, ways=ways())

    assert told.most_gflops == pytest.approx(cost(TokenStats.of(lengths)).inference_gflops(spec))
    _, depths = scored_without(once, bundle, table, name)
    each = [
        cost(TokenStats.of([n])).gflops_behind(spec)[0 if depth == spec.exits[0] else -1]
        for n, depth in zip(lengths, depths, strict=True)
    ]
    assert told.gflops == pytest.approx(sum(each) / len(each))


def test_the_whole_is_what_prediction_gives(bundle, explained, table):
    metrics, depths = scored(bundle, bundle.model, table)
    assert explained.scored.metrics == pytest.approx(metrics, abs=1e-4)
    assert [row.depth for row in explained.answered.rows] == depths
    assert len(set(depths)) == 2, "some leave early, and some do not"


@pytest.mark.parametrize("name", [n for n in PARTS if n.startswith(("lora query", "parallel ffn"))])
def test_off_is_as_if_it_added_nothing(bundle, explained, table, name):
    part = PARTS[name]
    module = bundle.model.adapters.get_submodule(f"{part.layer}.{part.role}")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    (told,) = [a.without for a in explained.ablations if a.part.name == name]
    metrics, _ = scored(bundle, bundle.model, table)
    assert told.metrics == pytest.approx(metrics, abs=1e-4)


def test_parts_are_told_once():
    names = [part.name for part in parts_of(ALL_KINDS)]
    assert len(names) == len(set(names))
    assert sum(part.what == "adapter" for part in PARTS.values()) == len(ALL_KINDS.adapters)
    assert "all 3 adapters in layer 1" in names
    assert not [n for n in names if n.endswith("adapters at query")], "there is one only"
    alone = replace(ALL_KINDS, adapters=ALL_KINDS.adapters[:1], skips=(), exits=())
    assert [part.what for part in parts_of(alone)] == ["adapter"]


def test_something_depends_on_the_parts(explained):
    losses = {a.without.metrics["validation_loss"] for a in explained.ablations}
    assert len(losses) > len(PARTS) // 2


def test_flips_are_tested_by_mcnemars_exact_test():
    def scored_as(right):
        return Scored(metrics={}, gflops=1.0, most_gflops=1.0, right=right)

    whole = scored_as((True,) * 5 + (False,) * 5)
    found = flips(whole, scored_as((False,) * 5 + (True,) + (False,) * 4))
    assert (found.n_lost, found.n_won) == (5, 1)
    assert found.p == pytest.approx(2 * (1 + 6) / 2**6)
    assert flips(whole, whole).p == 1.0
    assert flips(scored_as(()), scored_as(())) is None


def test_rows_that_are_right_are_told(explained):
    right = tuple(not row.wrong for row in explained.answered.rows)
    assert explained.scored.right == right
    for ablation in explained.ablations:
        accuracy = sum(ablation.without.right) / len(right)
        assert ablation.without.metrics["accuracy"] == pytest.approx(accuracy)
