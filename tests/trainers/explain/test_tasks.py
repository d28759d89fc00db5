"""Every task is explained, with whatever its structure has."""

import math

import pytest

from tests.trainers.explain.bundles import (
    ALL_KINDS,
    HEAD_ONLY,
    PLAIN,
    WITH_SIDE,
    WORDWISE,
    write_lesson_bundle,
    write_rows,
)
from tests.trainers.explain.conftest import silent
from tests.trainers.learnable import LESSONS, backbone_of
from trainers.bundle import load
from trainers.explain import explain, explained_rows

SPECS = {
    "class": HEAD_ONLY,
    "pair": WITH_SIDE,
    "classes": ALL_KINDS,
    "number": PLAIN,
    "tags": WORDWISE,
    "image": PLAIN,
    "next": WORDWISE,
}


@pytest.fixture(scope="module", params=sorted(LESSONS))
def found(request, tmp_path_factory, tiny_folders):
    name = request.param
    place = tmp_path_factory.mktemp(name)
    backbone = backbone_of(LESSONS[name], tiny_folders)
    write_lesson_bundle(place / "bundle", name, backbone, SPECS[name])
    bundle = load(place / "bundle")
    rows = explained_rows(bundle, write_rows(place, name, 24), n_rows=None, seed=0)
    return name, explain(bundle, rows, silent)


def test_every_row_is_answered(found):
    name, explained = found
    assert len(explained.answered.rows) == len(explained.rows) == len(explained.lengths) == 24
    assert set(explained.scored.metrics) == set(LESSONS[name].task.metrics)
    assert all(math.isfinite(value) for value in explained.scored.metrics.values())
    assert 0 < explained.scored.gflops <= explained.scored.most_gflops


def test_there_is_what_the_structure_has(found):
    name, explained = found
    spec = SPECS[name]
    n_experts = sum(adapter.experts > 1 for adapter in spec.adapters)
    assert len(explained.routing) == n_experts
    n_parts = len(spec.adapters) + len(spec.skips) + (spec.side is not None)
    assert len(explained.contributions) == n_parts
    assert len(explained.ablations) >= n_parts
    assert len(explained.kept) == len(spec.skips)
    assert {row.depth for row in explained.answered.rows} <= {*spec.exits, spec.depth}


def test_classes_are_those_of_the_task(found):
    name, explained = found
    if name == "next":
        assert explained.classes == ()
    elif name == "number":
        assert 2 <= len(explained.classes) <= 5
    else:
        assert explained.classes == LESSONS[name].labels
    for routing in explained.routing:
        assert len(routing.by_class) == len(explained.classes)


def test_examples_are_explained(found):
    name, explained = found
    assert 2 <= len(explained.attributions) <= 7
    for own in explained.attributions:
        total = sum(piece.score for piece in own.pieces) + sum(map(sum, own.grid))
        assert total == pytest.approx(own.value - own.baseline + own.delta, abs=1e-3)
        assert bool(own.grid) == bool(own.picture) == (name == "image")
        assert len(own.pieces) == (0 if name == "image" else explained.lengths[own.row])
        assert (own.place is not None) == (name in ("tags", "next"))
