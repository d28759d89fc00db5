"""The data of a study: training and validation rows with labels, checked and fixed by a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pandas

from space.errors import UserError
from trainers.columns import Columns
from trainers.data.fingerprint import fingerprint
from trainers.data.images import pixels_of
from trainers.data.labelling import Labelling, unknown_notices
from trainers.data.labels import labelling_of
from trainers.data.notices import first, image_overlap_notices, in_rows, overlap_notices
from trainers.data.parting import parted, sampled, sealed_off
from trainers.data.scale import TargetScale
from trainers.data.sources import read_source
from trainers.image_input import ImageInput
from trainers.tasks import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """The rows of one side of the data."""

    inputs: Mapping[str, Sequence[Any]]
    """For each input of the task its values: texts, tuples of words, or pixels (rows, channels,
    height, width)."""
    labels: Any
    """class: (rows,) int64; classes: (rows, labels) float32; number: (rows,) float32, standardised;
    tags: for each row (words,) int64; none: (rows,) zeros."""
    labelled: bool = True
    """False where the rows are to be answered for, so that all of them are kept."""

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskData:
    """What a study trains on and validates on."""

    train: Split
    validation: Split
    labels: tuple[str, ...]
    """All labels of training and validation, sorted; none where rows have no named ones."""
    scale: TargetScale | None
    """Of the numbers, where they are what is learned."""
    notices: tuple[str, ...]
    """What the user should know about the rows, one sentence or two each."""
    fingerprint: str
    """SHA-256 over inputs, labels, their order and their side."""


def load_data(
    task: Task,
    *,
    source: str | None,
    train: Path | None,
    validation: Path | None,
    columns: Columns,
    rows: int | None,
    validation_share: float,
    seed: int,
    image: ImageInput | None = None,
    test_share: float | None = None,
) -> TaskData:
    """Load, check, split and sample the data of a study.

    Args:
        task: what is learned.
        source: a built-in source, or None with `train`.
        train: a file or folder of rows, or None with `source`.
        validation: the same for validation; None takes a share of the training rows, stratified by
            their labels where they have any.
        columns: where in the file what is.
        rows: how many training rows to sample after the split, None for all.
        validation_share: share of the rows to validate on where `validation` is None.
        seed: of the split and the sample.
        image: what images the backbone reads, where the task is one of images.
        test_share: share of the rows of `train` or `source` that are sealed off as the test split
            (see trainers/data/sealed.py), parted after validation and before the sample.

    Raises:
        UserError: what the user gave cannot be read or cannot be trained on.
    """
    where = where_trained(source)
    place = where if validation is None else "data.validation"
    labelling = labelling_of(task, columns)
    notices: list[str] = []
    frame = usable_rows(task, source, train, columns, where, notices)
    labelling.check(frame, where)
    if validation is None:
        sides = parted(labelling, frame, validation_share, seed, where, notices)
    else:
        sides = frame, usable_rows(task, None, validation, columns, place, notices)
    training = sides[0]
    if test_share is not None:
        training, _ = sealed_off(labelling, training, test_share, len(frame), seed, where)
    training = sampled(labelling, training, rows, seed, where, notices)
    labelling.check(training, where)
    notices.extend(unknown_notices(labelling, training, sides[1], place))
    # The sealed rows of the same file give no more than the names of their labels.
    known = (training, sides[1], *([] if test_share is None else [frame]))
    labels = labelling.names({name for side in known for name in labelling.counts(side)})
    scale = labelling.scale(training)
    data = TaskData(
        train=split_of(task, labelling, training, labels, scale, image, where),
        validation=split_of(task, labelling, sides[1], labels, scale, image, place),
        labels=labels,
        scale=scale,
        notices=(),
        fingerprint="",
    )
    notices.extend(_overlap_notices(task, data, training, sides[1], place))
    return replace(
        data,
        notices=tuple(notices),
        fingerprint=fingerprint(
            [(split.inputs, split.labels) for split in (data.train, data.validation)], labels, scale
        ),
    )


def where_trained(source: str | None) -> str:
    """Return what the user wrote the training rows under, for messages."""
    return "data.train" if source is None else f"data.source {source}"


def usable_rows(
    task: Task,
    source: str | None,
    path: Path | None,
    columns: Columns,
    where: str,
    notices: list[str],
) -> pandas.DataFrame:
    """Read rows; return those that have all their inputs and a label, checked.

    Arguments and errors as in trainers.data.sources.read_source.
    """
    labelling = labelling_of(task, columns)
    frame = read_source(task, source, path, columns, where, notices)
    empty = pandas.Series(False, index=frame.index)
    for name in task.inputs:
        empty |= frame[name].map(_is_empty)
    if labelling.required:
        empty |= frame["label"].map(_is_empty)
    what = " and ".join(_spelled(name) for name in task.inputs)
    if empty.all():
        also = " and a label" if labelling.required else ""
        raise UserError(f"{where}: none of its {len(frame)} rows has {what}{also}.")
    if empty.any():
        also = " or without a label" if labelling.required else ""
        notices.append(
            f"{where}: {in_rows(int(empty.sum()))} of {len(frame)} without {what}{also}"
            f" dropped (row {first(list(frame.loc[empty, 'row']))})."
        )
    usable = frame.loc[~empty]
    labelling.check_values(usable, where)
    notices.extend(labelling.notices(usable, where))
    return usable


def _is_empty(value: Any) -> bool:
    """Return whether a text is blank, words are none, or an image is not there."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, tuple) and not value


def _spelled(name: str) -> str:
    return {"text": "a text", "text_pair": "a second text", "words": "words"}.get(name, "an image")


def split_of(
    task: Task,
    labelling: Labelling,
    frame: pandas.DataFrame,
    labels: tuple[str, ...],
    scale: TargetScale | None,
    image: ImageInput | None,
    where: str,
) -> Split:
    """Return rows as a split: inputs, and labels in the order of `labels`."""
    inputs: dict[str, Sequence[Any]] = {}
    for name in task.inputs:
        if name == "image":
            assert image is not None, "a task of images has a backbone that reads them"
            inputs[name] = pixels_of(frame, image, where)  # type: ignore[assignment]
        else:
            inputs[name] = tuple(frame[name])
    return Split(inputs=inputs, labels=labelling.encoded(frame, labels, scale))


def _overlap_notices(
    task: Task,
    data: TaskData,
    training: pandas.DataFrame,
    validation: pandas.DataFrame,
    where: str,
) -> list[str]:
    if "image" not in task.inputs:
        return overlap_notices(task, training, validation, where)
    own: Any = data.train.inputs["image"]
    others: Any = data.validation.inputs["image"]
    return image_overlap_notices(own, others, list(validation["row"]), where)


def unlabelled(task: Task, inputs: Mapping[str, Sequence[Any]]) -> Split:
    """Return rows without labels as a split, for prediction.

    In place of its tag each word has its number in the row, so that tokens tell whose they are.
    """
    n_rows = len(next(iter(inputs.values())))
    labels: Any = numpy.zeros(n_rows, numpy.int64)
    if task.labels == "tags":
        labels = [numpy.arange(len(words), dtype=numpy.int64) for words in inputs["words"]]
    return Split(inputs=inputs, labels=labels, labelled=False)
