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
    task: Task,
    train: pandas.DataFrame,
    held_out: pandas.DataFrame,
    where: str,
    side: str = "validation",
) -> list[str]:
    """Tell of rows of a side that was held out whose texts or words stand in training too."""
    what = "a text" if task.inputs == ("text",) else "the same " + " and ".join(task.inputs)
    return _overlap(
        _keys(task, train),
        _keys(task, held_out),
        list(held_out["row"]),
        f"{side} with {what} that stands in training too, apart from case and spaces",
        where,
    )


def image_overlap_notices(
    train: NDArray[numpy.uint8],
    held_out: NDArray[numpy.uint8],
    rows: Sequence[int],
    where: str,
    side: str = "validation",
) -> list[str]:
    """Tell of images of a side that stand in training too, pixel by pixel as they are read.

    Args:
        train: (rows, channels, height, width).
        held_out: the same.
        rows: numbers of the rows held out.
        where: what the user wrote these rows under.
        side: what they are held out for.
    """
    what = f"{side} with an image that stands in training too"
    return _overlap(_digests(train), _digests(held_out), rows, what, where)


def _overlap(
    train: Sequence[object],
    held_out: Sequence[object],
    rows: Sequence[int],
    what: str,
    where: str,
) -> list[str]:
    known = set(train)
    shared = [row for row, key in zip(rows, held_out, strict=True) if key in known]
    if not shared:
        return []
    return [
        f"{where}: {in_rows(len(shared))} of {len(rows)} in {what}"
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
