"""What the data needs to know of a task's labels, whatever they are."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy
import pandas
from numpy.typing import NDArray

from trainers.data.notices import first, in_rows
from trainers.data.scale import TargetScale

Codes = NDArray[numpy.int64]


class Labelling(Protocol):
    """How the labels of a task are treated. Frames have the columns `label` and `row`."""

    @property
    def required(self) -> bool:
        """Whether a row without a label is dropped."""

    @property
    def each_side(self) -> bool:
        """Whether training and validation must each have a row of each stratum; where not, rows
        that are too few for it are parted at random."""

    def check_values(self, frame: pandas.DataFrame, where: str) -> None:
        """Raise UserError where a label is none of this task."""

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        """Raise UserError where nothing can be learned from the labels."""

    def strata(self, frame: pandas.DataFrame) -> Codes:
        """Return a number for each row; rows of a number are parted evenly."""

    def counts(self, frame: pandas.DataFrame) -> Mapping[str, int]:
        """Return how many rows have each label; none where labels have no names."""

    def notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        """Tell what is odd about the labels of a file."""

    def names(self, found: Iterable[str]) -> tuple[str, ...]:
        """Return the labels in the order in which the head answers for them."""

    def scale(self, train: pandas.DataFrame) -> TargetScale | None:
        """Return the scale of numbers."""

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        """Return the labels as trainers.data.dataset.Split holds them."""


def single_notices(labelling: Labelling, frame: pandas.DataFrame, where: str) -> list[str]:
    """Tell of labels that cannot stand on both sides."""
    single = sorted(name for name, n_rows in labelling.counts(frame).items() if n_rows == 1)
    if not single:
        return []
    named = first([f"`{name}` (1 row)" for name in single])
    fate = "cannot be validated on and stay in training"
    if not labelling.each_side:
        fate = "cannot be both learned and validated on"
    return [f"{where}: labels that occur once {fate}: {named}."]


def unknown_notices(
    labelling: Labelling, train: pandas.DataFrame, validation: pandas.DataFrame, where: str
) -> list[str]:
    """Tell of labels that validation rows have and no training row has."""
    counts = labelling.counts(validation)
    unknown = sorted(counts.keys() - labelling.counts(train).keys())
    if not unknown:
        return []
    named = first([f"`{name}` ({in_rows(counts[name])})" for name in unknown])
    return [
        f"{where}: labels that no training row has, so that no model can learn them and their"
        f" validation rows count as errors: {named}."
    ]


def index_of(names: tuple[str, ...]) -> dict[str, int]:
    """Return the position of each label."""
    return {name: position for position, name in enumerate(names)}


def codes_of(values: Iterable[Any]) -> Codes:
    """Return a number for each value, equal where values are."""
    codes, _ = pandas.factorize(pandas.Series(list(values)))
    return codes.astype(numpy.int64)


def one_stratum(frame: pandas.DataFrame) -> Codes:
    """Return the strata of rows that are parted at random."""
    return numpy.zeros(len(frame), dtype=numpy.int64)
