"""A model's scores on sealed rows: those of the meters, and the same made of what rows answered."""

import numpy as np
import pytest
import torch

from search.row_sums import ROW_METRICS
from space.spec import AdapterSpec
from tests.trainers.learnable import LESSONS, MAX_LENGTH, backbone_of, rows_of
from trainers.data import encode
from trainers.early_exit import confidence
from trainers.engine import FLOAT32
from trainers.metrics import meter_of
from trainers.model import build
from trainers.outcomes import outcomes_of
from trainers.scoring import score

N_ROWS = 40


@pytest.fixture
def scored(tiny_folders):
    """Return a function that gives task, table, model and scores of an untrained structure."""

    def go(name, spec=None, **options):
        lesson = LESSONS[name]
        backbone = backbone_of(lesson, tiny_folders)
        n_outputs = {"number": 1}.get(name, len(lesson.labels))
        if name == "next":
            n_outputs = backbone.n_vocabulary
        model = build(backbone, spec or AdapterSpec(depth=2), n_outputs, 0, head=lesson.task.head)
        table = encode(rows_of(name, N_ROWS, 3), lesson.task, backbone, MAX_LENGTH)
        scores = score(
            model,
            table,
            lesson.task,
            labels=lesson.labels,
            scale=lesson.scale,
            engine=FLOAT32,
            batch_size=16,
            **options,
        )
        return lesson, table, model, scores

    return go


@pytest.mark.parametrize("name", LESSONS)
def test_metrics_of_the_outcomes_are_those_of_the_meter(scored, name):
    lesson, _, _, scores = scored(name)
    told = {k: v for k, v in scores.metrics.items() if k in ROW_METRICS}
    made = {
        metric: float(how.value(how.columns(scores.outcomes).sum(axis=0)))
        for metric, how in ROW_METRICS.items()
        if metric in lesson.task.metrics and set(how.needs) <= scores.outcomes.keys()
    }
    assert lesson.task.metrics[0] in made
    assert made == pytest.approx({metric: told[metric] for metric in made}, rel=1e-6, abs=1e-5)
    assert "test_loss" in scores.metrics and "validation_loss" not in scores.metrics


@pytest.mark.parametrize("name", LESSONS)
def test_outcomes_stand_in_the_order_of_the_rows(scored, name):
    lesson, table, model, scores = scored(name)
    for row in (0, 7, N_ROWS - 1):
        batch = table.collate(np.array([row]))
        with torch.inference_mode():
            logits = model(**batch.inputs)
        own = outcomes_of(lesson.task, lesson.labels, lesson.scale, logits, batch.labels)
        assert {k: float(v[row]) for k, v in scores.outcomes.items()} == pytest.approx(
            {k: float(v[0]) for k, v in own.items()}, rel=1e-4
        )


def test_rows_that_are_sure_at_an_exit_answer_there(scored):
    spec = AdapterSpec(depth=2, exits=(1,))
    lesson, table, model, _ = scored("class", spec)
    batch = table.collate(np.arange(N_ROWS))
    with torch.inference_mode():
        first, last = model.forward_exits(**batch.inputs)
    sure = confidence(first, multi_label=False)
    threshold = float(sure.median())
    _, _, _, scores = scored("class", spec, exit_threshold=threshold)
    leaves = (sure >= threshold).numpy()
    assert 0 < leaves.sum() < N_ROWS
    assert (scores.exits == np.where(leaves, 0, 1)).all()
    logits = torch.where(torch.from_numpy(leaves)[:, None], first, last)
    meter = meter_of(lesson.task, lesson.labels, None)
    meter.update(logits, batch.labels)
    assert scores.metrics["accuracy"] == meter.compute()["accuracy"]
    assert (scores.outcomes["answer"] == logits.argmax(-1).numpy()).all()


def test_without_a_threshold_no_row_leaves(scored):
    _, _, _, scores = scored("class", AdapterSpec(depth=2, exits=(1,)))
    assert scores.exits is None
