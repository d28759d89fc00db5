"""The sealed test split, which `confirm` alone reads, and all rows to train on for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pandas

from space.errors import UserError
from trainers.columns import Columns
from trainers.data.dataset import Split, TaskData, split_of, usable_rows, where_trained
from trainers.data.fingerprint import fingerprint
from trainers.data.labelling import Labelling
from trainers.data.labels import labelling_of
from trainers.data.notices import first, image_overlap_notices, overlap_notices
from trainers.data.parting import parted, sealed_off
from trainers.image_input import ImageInput
from trainers.tasks import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class TestData:
    """The sealed rows."""

    __test__ = False  # no test of pytest's

    split: Split
    notices: tuple[str, ...]
    """What the user should know about the rows, one sentence or two each."""
    fingerprint: str
    """SHA-256 over inputs, labels and their order."""


def load_test(
    task: Task,
    data: TaskData,
    *,
    source: str | None,
    train: Path | None,
    validation: Path | None,
    test: Path | None,
    test_share: float | None,
    columns: Columns,
    validation_share: float,
    seed: int,
    image: ImageInput | None = None,
) -> TestData:
    """Load and check the sealed rows.

    Args:
        task: what is learned.
        data: what the study trains and validates on, from `load_data` with the same arguments.
        source: a built-in source, or None with `train`.
        train: a file or folder of rows, or None with `source`.
        validation: the same for validation, or None.
        test: the same for the test split, or None with `test_share`.
        test_share: share of the rows of `train` or `source` that was sealed off.
        columns: where in a file what is.
        validation_share: as `load_data` took it.
        seed: of the splits.
        image: what images the backbone reads, where the task is one of images.

    Raises:
        UserError: the rows cannot be read, or hold a label that the study does not know.
    """
    assert (test is None) != (test_share is None), "the study file names the one or the other"
    labelling = labelling_of(task, columns)
    where = "data.test" if test is not None else where_trained(source)
    notices: list[str] = []
    if test_share is None:
        frame = usable_rows(task, None, test, columns, where, notices)
        _check_labels(labelling, frame, data.labels, where)
    else:
        whole = usable_rows(task, source, train, columns, where, [])
        rest = whole
        if validation is None:
            rest, _ = parted(labelling, whole, validation_share, seed, where, [])
        _, frame = sealed_off(labelling, rest, test_share, len(whole), seed, where)
    split = split_of(task, labelling, frame, data.labels, data.scale, image, where)
    notices.extend(_overlap_notices(task, data, split, frame, where))
    return TestData(
        split=split,
        notices=tuple(notices),
        fingerprint=fingerprint([(split.inputs, split.labels)], data.labels, data.scale),
    )


def all_training_rows(data: TaskData) -> Split:
    """Return the training and the validation rows of a study as one split."""
    return _joined(data.train, data.validation)


def _check_labels(
    labelling: Labelling, frame: pandas.DataFrame, labels: tuple[str, ...], where: str
) -> None:
    unknown = labelling.counts(frame).keys() - set(labels)
    if not unknown:
        return
    found = [
        f"row {row} (`{name}`)"
        for place, row in enumerate(frame["row"])
        for name in sorted(labelling.counts(frame.iloc[[place]]).keys() & unknown)
    ]
    raise UserError(
        f"{where}: labels that no row of training or validation has, so that nothing could answer"
        f" with them: {first(found)}. The labels are {first(labels)}."
    )


def _overlap_notices(
    task: Task, data: TaskData, test: Split, frame: pandas.DataFrame, where: str
) -> list[str]:
    """Tell of test rows that stand in training or validation too."""
    rows = all_training_rows(data)
    if "image" in task.inputs:
        own: Any = rows.inputs["image"]
        sealed: Any = test.inputs["image"]
        return image_overlap_notices(own, sealed, list(frame["row"]), where, "the test split")
    trained = pandas.DataFrame({name: pandas.Series(rows.inputs[name]) for name in task.inputs})
    return overlap_notices(task, trained, frame, where, "the test split")


def _joined(first_rows: Split, second: Split) -> Split:
    inputs: dict[str, Any] = {
        name: _end_to_end(values, second.inputs[name]) for name, values in first_rows.inputs.items()
    }
    return Split(inputs=inputs, labels=_end_to_end(first_rows.labels, second.labels))


def _end_to_end(values: Any, more: Any) -> Any:
    if isinstance(values, numpy.ndarray):
        return numpy.concatenate([values, more])
    return type(values)([*values, *more])
