"""The table of metrics holds every metric of every task, the right way round."""

import pytest

from search.objectives import MEASURED, METRICS, SHARES, Constraint, formatted, metrics_of, title_of
from trainers.tasks import TASKS, task_of

ALL_TASKS = [*TASKS.values(), task_of("text-classification", label_separator="|")]


@pytest.mark.parametrize("task", ALL_TASKS, ids=lambda task: f"{task.name}-{task.labels}")
def test_every_metric_of_a_task_can_be_an_objective(task):
    names = metrics_of(task)
    assert set(names) <= set(METRICS) and len(set(names)) == len(names)
    assert names[: len(task.metrics)] == task.metrics
    assert {"inference_gflops", "trainable_params", *MEASURED} <= set(names)


def test_no_metric_is_without_a_task():
    assert {name for task in ALL_TASKS for name in metrics_of(task)} == set(METRICS)


@pytest.mark.parametrize("name", ["rmse", "perplexity", "validation_loss", "latency_ms"])
def test_what_is_better_the_smaller_is_minimised(name):
    assert METRICS[name].direction == "minimize"


@pytest.mark.parametrize("task", ALL_TASKS, ids=lambda task: f"{task.name}-{task.labels}")
def test_shares_of_one_are_shown_in_percent(task):
    shares = {name for name in task.metrics if name not in ("rmse", "perplexity")}
    shares -= {"validation_loss", "pearson", "spearman"}
    assert shares <= set(SHARES)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("entity_f1", 0.51234, "51.23%"),
        ("pearson", 0.51234, "0.5123"),
        ("perplexity", 123.456, "123.5"),
        ("trainable_params", 1234567.0, "1,234,567"),
        ("inference_gflops", 0.123456, "0.1235"),
    ],
)
def test_values_are_shown_in_their_units(name, value, text):
    assert formatted(name, value) == text


def test_a_bound_holds_or_tells_by_how_much_it_is_broken():
    most = Constraint(metric="rmse", bound="max", limit=0.5)
    least = Constraint(metric="pearson", bound="min", limit=0.5)
    assert (most.violation(0.75), least.violation(0.75)) == (0.25, -0.25)
    assert (most.describe(), least.describe()) == ("rmse <= 0.5", "pearson >= 0.5")


def test_an_unknown_metric_has_its_name_as_title():
    assert title_of("train_loss") == "train loss"
