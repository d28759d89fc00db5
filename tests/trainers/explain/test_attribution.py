"""Integrated gradients: complete, and what the integral by hand gives."""

import numpy
import pytest
import torch

from space.spec import AdapterSpec
from tests.trainers.explain.bundles import adapter, write_lesson_bundle, write_rows
from tests.trainers.explain.conftest import silent
from trainers.bundle import load
from trainers.data import encode
from trainers.explain import explain, explained_rows
from trainers.explain.pictures import png_of, sums_of_patches

SMOOTH = AdapterSpec(
    depth=2,
    adapters=(adapter(0, "query", "lora"), adapter(1, "ffn", "bottleneck")),
    exits=(1,),
)


@pytest.fixture(scope="module")
def smooth(tmp_path_factory, tiny_backbones):
    place = tmp_path_factory.mktemp("smooth")
    folder = write_lesson_bundle(place / "b", "class", tiny_backbones["bert"], SMOOTH)
    bundle = load(folder)
    rows = explained_rows(bundle, write_rows(place, "class", 16), n_rows=None, seed=0)
    return bundle, rows, explain(bundle, rows, silent)


def test_tokens_add_up_to_the_answer(smooth):
    _, _, explained = smooth
    assert len(explained.attributions) >= 4
    for own in explained.attributions:
        total = sum(piece.score for piece in own.pieces)
        assert abs(own.value - own.baseline) > 0.05
        assert total == pytest.approx(own.value - own.baseline, rel=0.01)
        assert own.delta == pytest.approx(total - (own.value - own.baseline), abs=1e-4)


def test_they_are_the_integral_of_the_gradient(smooth):
    """The integral by the middle rule, over embeddings that are handed in."""
    bundle, rows, explained = smooth
    table = encode(rows.split, bundle.config.what, bundle.backbone, bundle.config.max_length)
    embed = bundle.backbone.model.get_input_embeddings()
    own = explained.attributions[0]
    depth = explained.answered.rows[own.row].depth
    answer = bundle.config.labels.index(explained.answered.rows[own.row].answer)
    batch = table.collate([own.row])
    ids = batch.inputs["input_ids"]
    special = (ids == 2) | (ids == 3)
    end, start = embed(ids).detach(), embed(torch.where(special, ids, 0)).detach()
    total = torch.zeros_like(end)
    n_steps = 400
    for step in range(n_steps):
        point = (start + (end - start) * (step + 0.5) / n_steps).requires_grad_()
        inputs = {"inputs_embeds": point, "attention_mask": batch.inputs["attention_mask"]}
        first, last = bundle.model.forward_exits(**inputs)
        logits = first if depth == 1 else last
        (gradient,) = torch.autograd.grad(logits[0, answer] - logits[0, 1 - answer], point)
        total += gradient / n_steps
    expected = ((end - start) * total).sum(-1)[0]
    assert [p.score for p in own.pieces] == pytest.approx(expected.tolist(), abs=2e-3)


def test_special_tokens_stay_where_they_are(smooth):
    _, _, explained = smooth
    for own in explained.attributions:
        for piece in own.pieces:
            assert piece.special == (piece.text in ("[CLS]", "[SEP]"))
            assert not piece.special or piece.score == 0


def test_examples_are_right_wrong_and_unsure(explained):
    by_why = {}
    for own in explained.attributions:
        by_why.setdefault(own.why, []).append(explained.answered.rows[own.row])
    assert set(by_why) == {"right and sure", "wrong and sure", "least sure"}
    assert not any(row.wrong for row in by_why["right and sure"])
    assert all(row.wrong for row in by_why["wrong and sure"])
    least = min(row.confidence for row in explained.answered.rows)
    assert by_why["least sure"][0].confidence == least


def test_the_value_is_the_log_odds_of_the_answer(explained):
    for own in explained.attributions:
        confidence = explained.answered.rows[own.row].confidence
        assert own.value == pytest.approx(numpy.log(confidence / (1 - confidence)), abs=1e-3)


def test_patches_are_summed():
    scores = torch.arange(24.0).view(4, 6)
    assert sums_of_patches(scores, (2, 3)) == ((24.0, 42.0), (96.0, 114.0))


@pytest.mark.parametrize("n_channels", [1, 3])
def test_images_are_png(n_channels):
    png = png_of(numpy.zeros((n_channels, 5, 4), numpy.uint8))
    assert png.startswith(b"\x89PNG")
