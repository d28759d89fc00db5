"""How keys of the study file depend on its task: defaults, and what does not go with it."""

from collections.abc import Iterable
from typing import Any

from search.objectives import METRICS, metrics_of
from search.study_sections import Data
from trainers.tasks import TASKS, Task, task_of

_KEYS_OF_TASKS = {
    "text_pair": ("text-pair-classification", "text-regression"),
    "image": ("image-classification",),
    "label_separator": ("text-classification",),
    "text": tuple(name for name in TASKS if name != "image-classification"),
    "max_length": tuple(name for name in TASKS if name != "image-classification"),
    "label": tuple(name for name in TASKS if name != "causal-lm"),
}
"""Keys of `data` that only some tasks have."""


def default_objectives(raw: dict[str, Any]) -> tuple[dict[str, str], ...] | None:
    """Return the objectives of a study file that names none, or None where its task is wrong."""
    name, data = raw.get("task"), raw.get("data")
    if not isinstance(name, str) or name not in TASKS:
        return None
    separator = data.get("label_separator") if isinstance(data, dict) else None
    first = METRICS[task_of(name, label_separator=separator).metrics[0]]
    return ({first.direction: first.name}, {"minimize": "inference_gflops"})


def misplaced_keys(name: str, data: Data) -> list[str]:
    """Return what is wrong with keys of `data` that the task of this name does not have.

    A key at its default may stand, as it does in every resolved study file.
    """
    fields = Data.model_fields
    return [
        f"`{key}` goes with {', '.join(tasks)}, but the task is {name}. Leave it out."
        for key, tasks in _KEYS_OF_TASKS.items()
        if getattr(data, key) != fields[key].default and name not in tasks
    ]


def not_given(task: Task, names: Iterable[str]) -> list[str]:
    """Return what is wrong with metrics that the trials of a task do not end with."""
    given = metrics_of(task)
    return [
        f"{name!r} is not given by the task {task.name}; it gives {', '.join(given)}."
        for name in names
        if name not in given
    ]
