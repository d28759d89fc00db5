"""Metrics as functions of sums over rows: right on all rows, and on any rows drawn from them."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, root_mean_squared_error

from search.objectives import METRICS
from search.row_sums import ROW_METRICS
from trainers.tasks import TASKS, task_of

N_ROWS = 300


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def value_of(name, outcomes, rows=slice(None)):
    metric = ROW_METRICS[name]
    assert set(metric.needs) <= outcomes.keys()
    return float(metric.value(metric.columns(outcomes)[rows].sum(axis=0)))


def classes(draw):
    label = draw.integers(5, size=N_ROWS)
    answer = np.where(draw.random(N_ROWS) < 0.6, label, draw.integers(6, size=N_ROWS))
    return {"answer": answer.astype(np.uint8), "label": label.astype(np.uint8)}


def numbers(draw):
    label = 1000 + 20 * draw.standard_normal(N_ROWS)
    return {"answer": label + 15 * draw.standard_normal(N_ROWS), "label": label}


@pytest.mark.parametrize("drawn", [False, True])
def test_accuracy_and_macro_f1_are_sklearns(draw, drawn):
    outcomes = classes(draw)
    rows = draw.integers(N_ROWS, size=N_ROWS) if drawn else np.arange(N_ROWS)
    pair = outcomes["label"][rows], outcomes["answer"][rows]
    assert value_of("accuracy", outcomes, rows) == pytest.approx(accuracy_score(*pair))
    assert value_of("macro_f1", outcomes, rows) == pytest.approx(f1_score(*pair, average="macro"))


@pytest.mark.parametrize("drawn", [False, True])
def test_pearson_and_rmse_are_scipys_and_sklearns(draw, drawn):
    outcomes = numbers(draw)
    rows = draw.integers(N_ROWS, size=N_ROWS) if drawn else np.arange(N_ROWS)
    pair = outcomes["label"][rows], outcomes["answer"][rows]
    assert value_of("pearson", outcomes, rows) == pytest.approx(pearsonr(*pair).statistic)
    assert value_of("rmse", outcomes, rows) == pytest.approx(root_mean_squared_error(*pair))


def test_spearman_is_scipys_and_close_to_it_on_rows_drawn_anew(draw):
    outcomes = numbers(draw)
    pair = outcomes["label"], outcomes["answer"]
    assert value_of("spearman", outcomes) == pytest.approx(spearmanr(*pair).statistic)
    rows = draw.integers(N_ROWS, size=N_ROWS)
    theirs = spearmanr(*(side[rows] for side in pair)).statistic
    assert value_of("spearman", outcomes, rows) == pytest.approx(theirs, abs=0.02)


def test_a_constant_answer_has_no_correlation(draw):
    outcomes = numbers(draw) | {"answer": np.full(N_ROWS, 3.0)}
    assert value_of("pearson", outcomes) == value_of("spearman", outcomes) == 0.0


def test_labels_of_a_row_are_sklearns(draw):
    true, answered = draw.random((2, N_ROWS, 4)) < 0.4
    outcomes = {
        "right": (true & answered).sum(1),
        "added": (~true & answered).sum(1),
        "missed": (true & ~answered).sum(1),
        "all_right": (true == answered).all(1),
    }
    assert value_of("micro_f1", outcomes) == pytest.approx(
        f1_score(true, answered, average="micro")
    )
    assert value_of("subset_accuracy", outcomes) == pytest.approx(accuracy_score(true, answered))


def test_entities_and_tokens_are_counted_over_all_rows():
    outcomes = {
        "entities_right": np.array([1, 0, 2]),
        "entities_answered": np.array([1, 2, 2]),
        "entities_true": np.array([2, 1, 3]),
        "tokens_right": np.array([4, 5, 6]),
        "tokens": np.array([5, 5, 10]),
        "loss": np.array([10.0, 5.0, 5.0]),
    }
    assert value_of("entity_precision", outcomes) == 3 / 5
    assert value_of("entity_recall", outcomes) == 3 / 6
    assert value_of("entity_f1", outcomes) == pytest.approx(2 * 3 / (5 + 6))
    assert value_of("token_accuracy", outcomes) == 15 / 20
    assert value_of("perplexity", outcomes) == pytest.approx(np.e)


def test_no_entity_at_all_gives_zero():
    nothing = np.zeros(3)
    outcomes = {f"entities_{name}": nothing for name in ("right", "answered", "true")}
    assert value_of("entity_f1", outcomes) == 0.0


@pytest.mark.parametrize(
    "task", [*TASKS.values(), task_of("text-classification", label_separator="|")]
)
def test_the_first_metric_of_every_task_can_be_tested(task):
    assert task.metrics[0] in ROW_METRICS


def test_every_metric_of_rows_is_a_metric():
    assert set(ROW_METRICS) <= set(METRICS)
