"""The labels of each task: what is checked of them, how rows are parted by them, how they are told
to the training.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

import numpy
import pandas
from numpy.typing import NDArray

from space.errors import UserError
from trainers.columns import Columns
from trainers.data.conll import tag_notices
from trainers.data.notices import first, in_rows
from trainers.data.scale import TargetScale
from trainers.entities import OUTSIDE
from trainers.tasks import Task

Codes = NDArray[numpy.int64]

N_STRATA = 5
"""Into how many like parts numbers are cut, so that each side has small and great ones."""


class Labelling(Protocol):
    """How the labels of a task are treated."""

    required: bool
    """Whether a row without a label is dropped."""

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        """Raise UserError where nothing can be learned from the labels."""

    def strata(self, frame: pandas.DataFrame) -> Codes:
        """Return a number for each row; rows of a number are parted evenly."""

    def single_notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        """Tell of labels that cannot stand on both sides."""

    def unknown_notices(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> list[str]:
        """Tell of labels that only the validation file has."""

    def names(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> tuple[str, ...]:
        """Return all labels, sorted."""

    def scale(self, train: pandas.DataFrame) -> TargetScale | None:
        """Return the scale of numbers."""

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        """Return the labels as trainers.data.dataset.Split holds them."""


def labelling_of(task: Task, columns: Columns) -> Labelling:
    """Return how the labels of a task are treated."""
    if task.labels == "classes":
        assert columns.label_separator is not None
        return _Classes(columns.label, columns.label_separator)
    if task.labels == "number":
        return _Numbers(columns.label)
    if task.labels == "tags":
        return _Tags()
    return _Class(columns.label) if task.labels == "class" else _None()


def _codes(values: Iterable[Any]) -> Codes:
    codes, _ = pandas.factorize(pandas.Series(list(values)))
    return codes.astype(numpy.int64)


def _index(names: tuple[str, ...]) -> dict[str, int]:
    return {name: position for position, name in enumerate(names)}


class _None:
    """No labels: the next token is what is learned."""

    required = False

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        pass

    def strata(self, frame: pandas.DataFrame) -> Codes:
        return numpy.zeros(len(frame), dtype=numpy.int64)

    def single_notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        return []

    def unknown_notices(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> list[str]:
        return []

    def names(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> tuple[str, ...]:
        return ()

    def scale(self, train: pandas.DataFrame) -> TargetScale | None:
        return None

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        return numpy.zeros(len(frame), dtype=numpy.int64)


class _Class(_None):
    """One label a row."""

    required = True

    def __init__(self, column: str) -> None:
        self._column = column

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        labels = frame["label"].unique()
        if len(labels) == 1:
            raise UserError(
                f"{where}: all {len(frame)} rows have the label `{labels[0]}`; a classifier needs"
                f" two different labels at least. Is `{self._column}` the right column for"
                " data.label?"
            )

    def strata(self, frame: pandas.DataFrame) -> Codes:
        return _codes(frame["label"])

    def single_notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        counts = frame["label"].value_counts()
        single = sorted(counts.index[counts == 1])
        if not single:
            return []
        named = first([f"`{name}` (1 row)" for name in single])
        return [
            f"{where}: labels that occur once cannot be validated on and stay in training: {named}."
        ]

    def unknown_notices(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> list[str]:
        counts = validation["label"].value_counts()
        unknown = sorted(set(counts.index) - set(train["label"]))
        return _unknown([f"`{name}` ({in_rows(int(counts[name]))})" for name in unknown])

    def names(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> tuple[str, ...]:
        return tuple(sorted(set(train["label"]) | set(validation["label"])))

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        index = _index(names)
        return numpy.array([index[name] for name in frame["label"]], dtype=numpy.int64)


def _unknown(named: list[str]) -> list[str]:
    if not named:
        return []
    return [
        "data.validation: labels that no training row has, so that no model can learn them and "
        f"their rows count as errors: {first(named)}."
    ]


class _Classes(_None):
    """Any number of labels a row, parted by a separator; an empty value is no label."""

    def __init__(self, column: str, separator: str) -> None:
        self._column = column
        self._separator = separator

    def _parts(self, label: str) -> frozenset[str]:
        return frozenset(part.strip() for part in label.split(self._separator) if part.strip())

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        sets = frame["label"].map(self._parts)
        names = frozenset().union(*sets)
        if len(names) < 2:
            raise UserError(
                f"{where}: the column `{self._column}` holds {len(names)} different labels, parted"
                f" by {self._separator!r}; at least two are needed. Is data.label_separator right?"
            )

    def strata(self, frame: pandas.DataFrame) -> Codes:
        """By the rarest label of each row, if that occurs often enough to be parted."""
        sets = frame["label"].map(self._parts)
        counts = Counter(name for labels in sets for name in labels)
        rarest = [min(labels, key=lambda n: (counts[n], n), default="") for labels in sets]
        often = Counter(rarest)
        return _codes([name if often[name] > 1 else "" for name in rarest])

    def unknown_notices(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> list[str]:
        unknown = sorted(set(self.names(validation, validation)) - set(self.names(train, train)))
        return _unknown([f"`{name}`" for name in unknown])

    def names(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> tuple[str, ...]:
        sets = [*train["label"].map(self._parts), *validation["label"].map(self._parts)]
        return tuple(sorted(frozenset().union(*sets)))

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        index = _index(names)
        held = numpy.zeros((len(frame), len(names)), dtype=numpy.float32)
        for row, labels in enumerate(frame["label"].map(self._parts)):
            held[row, [index[name] for name in labels]] = 1.0
        return held


class _Numbers(_None):
    """A number a row."""

    required = True

    def __init__(self, column: str) -> None:
        self._column = column

    def _values(self, frame: pandas.DataFrame) -> NDArray[numpy.float64]:
        return frame["label"].map(float).to_numpy(dtype=numpy.float64)

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        for label, row in zip(frame["label"], frame["row"], strict=True):
            if not _is_finite_number(label):
                raise UserError(
                    f"{where}: row {row}, column `{self._column}`: {label!r} is not a number."
                    " text-regression learns numbers; write a decimal point, no thousands comma."
                )
        values = self._values(frame)
        if values.min() == values.max():
            raise UserError(
                f"{where}: all {len(frame)} rows have the number {values[0]:g}; there is nothing to"
                f" learn. Is `{self._column}` the right column for data.label?"
            )

    def strata(self, frame: pandas.DataFrame) -> Codes:
        ranks = self._values(frame).argsort(kind="stable").argsort(kind="stable")
        return (ranks * min(N_STRATA, max(1, len(ranks) // 10)) // len(ranks)).astype(numpy.int64)

    def unknown_notices(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> list[str]:
        self.check(validation, "data.validation")
        return []

    def scale(self, train: pandas.DataFrame) -> TargetScale | None:
        values = self._values(train)
        return TargetScale(mean=float(values.mean()), std=float(values.std()) or 1.0)

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        assert scale is not None
        return ((self._values(frame) - scale.mean) / scale.std).astype(numpy.float32)


def _is_finite_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


class _Tags(_None):
    """A tag a word."""

    required = True

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        found = {tag for tags in frame["label"] for tag in tags}
        if len(found) < 2:
            raise UserError(
                f"{where}: all words have the tag `{next(iter(found))}`; there is nothing to learn."
            )

    def single_notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        return tag_notices(list(frame["label"]), where)

    def unknown_notices(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> list[str]:
        unknown = sorted(set(self.names(validation, validation)) - set(self.names(train, train)))
        return _unknown([f"`{name}`" for name in unknown])

    def names(self, train: pandas.DataFrame, validation: pandas.DataFrame) -> tuple[str, ...]:
        """Return all tags, the one for no entity first."""
        found = {tag for frame in (train, validation) for tags in frame["label"] for tag in tags}
        return tuple(sorted(found, key=lambda tag: (tag != OUTSIDE, tag)))

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        index = _index(names)
        return [
            numpy.array([index[tag] for tag in tags], dtype=numpy.int64) for tags in frame["label"]
        ]
