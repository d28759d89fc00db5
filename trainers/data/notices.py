"""What the user should know about the rows, in words."""

import hashlib
from collections.abc import Sequence

import numpy
import pandas
from numpy.typing import NDArray

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
    """Tell of validation rows whose texts or words stand in training too."""
    what = "a text" if task.inputs == ("text",) else "the same " + " and ".join(task.inputs)
    return _overlap(
        _keys(task, train),
        _keys(task, validation),
        list(validation["row"]),
        f"{what} that stands in training too, apart from case and spaces",
        where,
    )


def image_overlap_notices(
    train: NDArray[numpy.uint8], validation: NDArray[numpy.uint8], rows: Sequence[int], where: str
) -> list[str]:
    """Tell of validation images that stand in training too, pixel by pixel as they are read.

    Args:
        train: (rows, channels, height, width).
        validation: the same.
        rows: numbers of the validation rows.
        where: what the user wrote the validation rows under.
    """
    what = "an image that stands in training too"
    return _overlap(_digests(train), _digests(validation), rows, what, where)


def _overlap(
    train: Sequence[object],
    validation: Sequence[object],
    rows: Sequence[int],
    what: str,
    where: str,
) -> list[str]:
    known = set(train)
    shared = [row for row, key in zip(rows, validation, strict=True) if key in known]
    if not shared:
        return []
    return [
        f"{where}: {in_rows(len(shared))} of {len(rows)} in validation with {what}"
        f" (row {first(shared)}): scores will be too good."
    ]


def _digests(images: NDArray[numpy.uint8]) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]


def _keys(task: Task, frame: pandas.DataFrame) -> list[tuple[str, ...]]:
    columns = [frame[name].map(_normalised) for name in task.inputs]
    return list(zip(*columns, strict=True))


def _normalised(value: str | Sequence[str]) -> str:
    text = value if isinstance(value, str) else " ".join(value)
    return " ".join(text.split()).casefold()
