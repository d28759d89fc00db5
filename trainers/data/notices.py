"""What the user should know about the rows, in words."""

from collections.abc import Sequence

import pandas

from trainers.tasks import Task

_SHOWN = 10  # Rows or labels that a notice names.


def in_rows(number: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if number == 1 else f"{number} rows"


def first(items: Sequence[object]) -> str:
    """Return the first items, and how many more there are."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(str(item) for item in list(items)[:_SHOWN]) + more


def overlap_notices(
    task: Task, train: pandas.DataFrame, validation: pandas.DataFrame, where: str
) -> list[str]:
    """Tell of validation rows whose inputs stand in training too."""
    if "image" in task.inputs:
        return []
    known = set(_keys(task, train))
    shared = validation.loc[[key in known for key in _keys(task, validation)]]
    if shared.empty:
        return []
    what = "a text" if task.inputs == ("text",) else "the same " + " and ".join(task.inputs)
    return [
        f"{where}: {in_rows(len(shared))} of {len(validation)} in validation with {what} that"
        f" stands in training too, apart from case and spaces (row {first(list(shared['row']))}):"
        " scores will be too good."
    ]


def _keys(task: Task, frame: pandas.DataFrame) -> list[tuple[str, ...]]:
    columns = [frame[name].map(_normalised) for name in task.inputs]
    return list(zip(*columns, strict=True))


def _normalised(value: str | Sequence[str]) -> str:
    text = value if isinstance(value, str) else " ".join(value)
    return " ".join(text.split()).casefold()
