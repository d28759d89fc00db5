"""What a task does not have is refused, with what it has."""

import pytest

from search.objectives import METRICS, metrics_of
from trainers.tasks import TASKS


@pytest.mark.parametrize(
    ("task", "data", "key", "tasks"),
    [
        (
            "text-classification",
            {"text_pair": "b"},
            "text_pair",
            "text-pair-classification, text-regression",
        ),
        ("causal-lm", {"label": "topic"}, "label", "text-classification, text-pair-"),
        ("text-regression", {"image": "file"}, "image", "image-classification"),
        ("text-regression", {"label_separator": ";"}, "label_separator", "text-classification"),
        (
            "image-classification",
            {"text": "body"},
            "text",
            "text-classification, text-pair-classification, text-regression,"
            " token-classification, causal-lm",
        ),
        ("image-classification", {"max_length": 32}, "max_length", "text-classification, "),
    ],
)
def test_a_key_that_goes_with_other_tasks(problems, task, data, key, tasks):
    (found,) = problems(task=task, data={"train": "a.csv"} | data)
    assert found.startswith(f"data: `{key}` goes with {tasks}")
    assert found.endswith(f", but the task is {task}. Leave it out.")


def test_all_such_keys_are_told_at_once(problems):
    data = {"train": "a", "text": "body", "max_length": 32, "label_separator": "|"}
    found = problems(task="image-classification", data=data)
    assert [line.split("`")[1] for line in found] == ["label_separator", "text", "max_length"]


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_metric_of_another_task(problems, task):
    others = {name for other in TASKS.values() for name in other.metrics}
    other = sorted(others - set(TASKS[task].metrics))[0]
    (found,) = problems(
        task=task,
        objectives=[{METRICS[other].direction: other}, {"minimize": "inference_gflops"}],
    )
    assert found == (
        f"objectives: {other!r} is not given by the task {task}; it gives"
        f" {', '.join(metrics_of(TASKS[task]))}."
    )


def test_a_bound_on_a_metric_of_another_task(problems):
    (found,) = problems(task="causal-lm", constraints=[{"accuracy": {"min": 0.5}}])
    assert found.startswith("constraints: 'accuracy' is not given by the task causal-lm; it")
    assert "perplexity" in found


def test_several_labels_have_metrics_of_their_own(problems):
    (found,) = problems(
        data={"train": "a.csv", "label_separator": "|"},
        objectives=[{"maximize": "accuracy"}, {"minimize": "inference_gflops"}],
    )
    assert "it gives micro_f1, macro_f1, subset_accuracy, " in found


@pytest.mark.parametrize("task", [["a"], {"a": 1}, None, 3])
def test_a_task_that_is_no_text_is_refused_alone(problems, task):
    (found,) = problems(task=task)
    assert found.startswith("task: must be a text, but got ")
