"""Metrics against scikit-learn, SciPy and counts by hand."""

import math

import pytest
import torch
from scipy import stats
from sklearn import metrics as sklearn_metrics
from torch.nn import functional

from trainers.data import TargetScale
from trainers.metrics import meter_of
from trainers.tasks import IGNORED, TASKS, task_of

CLASS = TASKS["text-classification"]
CLASSES = task_of("text-classification", label_separator=",")
NUMBER = TASKS["text-regression"]
TAGS = TASKS["token-classification"]
NEXT = TASKS["causal-lm"]
SCALE = TargetScale(mean=40.0, std=12.5)
NAMES = ("O", "B-X", "I-X", "B-Y", "I-Y")


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def integers(high, *shape, seed=0):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def measured(task, logits, labels, names=(), scale=None, cuts=(7, 20)):
    """Return the metrics of rows that come in batches of various sizes."""
    meter = meter_of(task, names, scale)
    for own, right in zip(logits.tensor_split(cuts), labels.tensor_split(cuts), strict=True):
        if len(own):
            meter.update(own, right)
    return meter.compute()


BATCHES = pytest.mark.parametrize("cuts", [(), (7, 20), (1, 2, 3)])


@BATCHES
def test_classes_one_a_row(cuts):
    logits, labels = numbers(50, 4), integers(4, 50)
    found = measured(CLASS, logits, labels, "abcd", cuts=cuts)
    best = logits.argmax(1)
    assert found == pytest.approx(
        {
            "accuracy": sklearn_metrics.accuracy_score(labels, best),
            "macro_f1": sklearn_metrics.f1_score(labels, best, average="macro"),
            "validation_loss": functional.cross_entropy(logits, labels).item(),
        },
        abs=1e-6,
    )


def test_macro_f1_is_over_labels_that_occur():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]]))
    found = measured(CLASS, logits, torch.tensor([0, 1, 1]), "abc")
    # Label 0: precision 1/2, recall 1. Label 1: precision 1, recall 1/2. Label 2 never occurs.
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx(2 / 3)


def test_a_label_that_is_never_right_counts_as_zero():
    logits = torch.tensor([[9.0, 0.0], [9.0, 0.0]])
    found = measured(CLASS, logits, torch.tensor([0, 1]), "ab")
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


@BATCHES
def test_classes_several_a_row(cuts):
    logits, labels = numbers(60, 5), (numbers(60, 5, seed=1) > 0.3).float()
    found = measured(CLASSES, logits, labels, "abcde", cuts=cuts)
    held = logits > 0
    assert found == pytest.approx(
        {
            "micro_f1": sklearn_metrics.f1_score(labels, held, average="micro"),
            "macro_f1": sklearn_metrics.f1_score(labels, held, average="macro"),
            "subset_accuracy": sklearn_metrics.accuracy_score(labels, held),
            "validation_loss": functional.binary_cross_entropy_with_logits(logits, labels).item(),
        },
        abs=1e-6,
    )


def test_a_label_without_truth_and_answer_is_no_part_of_macro_f1():
    logits = torch.tensor([[3.0, -3.0, -3.0], [3.0, 3.0, -3.0]])
    found = measured(CLASSES, logits, torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]), "abc")
    assert found["macro_f1"] == pytest.approx((1 + 0) / 2)
    nothing = measured(CLASSES, torch.full((2, 3), -1.0), torch.zeros(2, 3), "abc")
    assert nothing["macro_f1"] == nothing["micro_f1"] == 0
    assert nothing["subset_accuracy"] == 1


def test_one_half_exactly_is_no_answer():
    found = measured(CLASSES, torch.zeros(1, 2), torch.tensor([[0.0, 0.0]]), "ab")
    assert found["subset_accuracy"] == 1


@BATCHES
def test_numbers_in_the_units_of_the_user(cuts):
    labels = numbers(80)
    logits = (labels + 0.7 * numbers(80, seed=1)).unsqueeze(1)
    logits, labels = (logits * 4).round() / 4, (labels * 4).round() / 4  # so that there are ties
    found = measured(NUMBER, logits, labels, scale=SCALE, cuts=cuts)
    mine, right = ((t.numpy() * SCALE.std + SCALE.mean) for t in (logits[:, 0], labels))
    assert found == pytest.approx(
        {
            "pearson": stats.pearsonr(mine, right).statistic,
            "spearman": stats.spearmanr(mine, right).statistic,
            "rmse": math.sqrt(sklearn_metrics.mean_squared_error(right, mine)),
            "validation_loss": functional.mse_loss(logits[:, 0], labels).item(),
        },
        rel=1e-5,
    )


@pytest.mark.parametrize("constant", ["answers", "labels", "both"])
def test_a_constant_has_no_correlation_and_no_warning(constant):
    logits, labels = numbers(30, 1), numbers(30, seed=1)
    if constant != "labels":
        logits = torch.full((30, 1), 0.3)
    if constant != "answers":
        labels = torch.full((30,), -0.1)
    found = measured(NUMBER, logits, labels, scale=SCALE)
    assert (found["pearson"], found["spearman"]) == (0, 0)
    assert found["rmse"] > 0


def test_a_single_row_has_no_correlation():
    found = measured(NUMBER, numbers(1, 1), numbers(1), scale=SCALE, cuts=())
    assert (found["pearson"], found["spearman"]) == (0, 0)


def test_many_equal_numbers_are_ranked():
    labels = numbers(100_000)
    logits = (labels + numbers(100_000, seed=1)).round(decimals=2).unsqueeze(1)
    labels[numbers(100_000, seed=2) < 0.6] = -3.0
    found = measured(NUMBER, logits, labels, scale=SCALE)
    expected = stats.spearmanr(logits[:, 0].numpy(), labels.numpy()).statistic
    assert found["spearman"] == pytest.approx(expected, rel=1e-6)


def spans(tags):
    """Return the entities of a row of tag names, for tags as they are made below."""
    found, start = [], None
    for place, tag in enumerate([*tags, "O"]):
        goes_on = start is not None and tag == f"I-{tags[start][2:]}"
        if start is not None and not goes_on:
            found.append((start, place, tags[start][2:]))
            start = None
        if tag != "O" and not goes_on:
            start = place
    return set(found)


@BATCHES
def test_tags_are_scored_by_entities_and_by_words(cuts):
    labels = integers(5, 40, 9)
    labels[numbers(40, 9) > 0.5] = IGNORED
    logits = numbers(40, 9, 5) + 2 * functional.one_hot(labels.clamp(min=0), 5)
    found = measured(TAGS, logits, labels, NAMES, cuts=cuts)
    n_right = n_found = n_wanted = 0
    words, answers = [], []
    for row, best in zip(labels, logits.argmax(-1), strict=True):
        scored = row != IGNORED
        wanted, own = row[scored].tolist(), best[scored].tolist()
        words += wanted
        answers += own
        wanted_spans, own_spans = (spans([NAMES[t] for t in tags]) for tags in (wanted, own))
        n_right += len(wanted_spans & own_spans)
        n_found += len(own_spans)
        n_wanted += len(wanted_spans)
    precision, recall = n_right / n_found, n_right / n_wanted
    assert 0.1 < precision < 0.95
    assert found == pytest.approx(
        {
            "entity_f1": 2 * precision * recall / (precision + recall),
            "entity_precision": precision,
            "entity_recall": recall,
            "token_accuracy": sklearn_metrics.accuracy_score(words, answers),
            "validation_loss": functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED
            ).item(),
        },
        rel=1e-5,
    )


@BATCHES
def test_next_tokens(cuts):
    logits, labels = numbers(25, 8, 12), integers(12, 25, 8)
    lengths = torch.arange(25) % 8 + 1
    labels[torch.arange(8) >= lengths[:, None]] = IGNORED
    logits[:, :-1] += 2 * functional.one_hot(labels[:, 1:].clamp(min=0), 12)
    found = measured(NEXT, logits, labels, cuts=cuts)
    wanted, own = labels[:, 1:].flatten(), logits[:, :-1].flatten(0, 1)
    loss = functional.cross_entropy(own, wanted, ignore_index=IGNORED).item()
    kept = wanted != IGNORED
    right = (own.argmax(-1) == wanted)[kept].double().mean().item()
    expected = {"perplexity": math.exp(loss), "token_accuracy": right, "validation_loss": loss}
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_perplexity_beyond_all_numbers_stays_one():
    logits = torch.tensor([[[2000.0, 0.0], [0.0, 0.0]]])
    found = measured(NEXT, logits, torch.tensor([[0, 1]]), cuts=())
    assert math.isfinite(found["perplexity"]) and found["perplexity"] > 1e300


@pytest.mark.parametrize(
    ("task", "shape", "labels"),
    [
        (CLASS, (3, 2), torch.tensor([0, 1, 1])),
        (CLASSES, (3, 2), torch.ones(3, 2)),
        (NUMBER, (3, 1), torch.tensor([0.1, 0.2, 0.4])),
        (TAGS, (3, 2, 5), torch.ones(3, 2, dtype=torch.long)),
        (NEXT, (3, 2, 5), torch.ones(3, 2, dtype=torch.long)),
    ],
)
def test_answers_that_are_not_numbers_show_in_the_loss(task, shape, labels):
    names = NAMES if task is TAGS else "ab"
    found = measured(task, torch.full(shape, math.nan), labels, names, SCALE, cuts=())
    assert math.isnan(found["validation_loss"])


@pytest.mark.parametrize("task", [*TASKS.values(), CLASSES])
def test_the_metrics_are_those_that_the_table_names(task):
    shape = {"sequence": (4, 1 if task.labels == "number" else 5)}.get(task.head, (4, 3, 5))
    labels = {
        "class": torch.arange(4),
        "classes": torch.ones(4, 5),
        "number": numbers(4),
        "tags": torch.ones(4, 3, dtype=torch.long),
        "none": torch.ones(4, 3, dtype=torch.long),
    }[task.labels]
    found = measured(task, numbers(*shape), labels, NAMES, SCALE, cuts=())
    assert found.keys() == set(task.metrics)
    assert all(isinstance(value, float) for value in found.values())


def test_a_meter_of_next_tokens_keeps_no_logits():
    meter = meter_of(NEXT, (), None)
    meter.update(numbers(2, 3, 5), integers(5, 2, 3))
    assert all(isinstance(value, int | float) for value in vars(meter).values())


def test_batches_of_half_precision_are_counted_in_full():
    logits, labels = numbers(64, 3).bfloat16(), integers(3, 64)
    found = measured(CLASS, logits, labels, "abc")
    expected = functional.cross_entropy(logits.float(), labels).item()
    assert found["validation_loss"] == pytest.approx(expected, rel=1e-6)
