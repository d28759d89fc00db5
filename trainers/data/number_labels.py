"""Labels that are numbers, standardised by the training rows; and no labels at all."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import pandas
from numpy.typing import NDArray

from space.errors import UserError
from trainers.data.labelling import Codes, one_stratum
from trainers.data.scale import TargetScale

N_STRATA = 5
"""Into how many like parts numbers are cut, so that each side has small and great ones."""

_ROWS_A_STRATUM = 10


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A number a row."""

    column: str
    required = True
    each_side = False

    def check_values(self, frame: pandas.DataFrame, where: str) -> None:
        for label, row in zip(frame["label"], frame["row"], strict=True):
            if not _is_finite_number(label):
                raise UserError(
                    f"{where}: row {row}, column `{self.column}`: {label!r} is not a number."
                    " text-regression learns numbers; write a decimal point, no thousands comma."
                )

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        values = _values(frame)
        if values.min() == values.max():
            raise UserError(
                f"{where}: all {len(frame)} rows have the number {values[0]:g}; there is nothing to"
                f" learn. Is `{self.column}` the right column for data.label?"
            )
        with numpy.errstate(over="ignore", invalid="ignore"):
            std = values.std()
        if not 0 < std < math.inf:
            raise UserError(
                f"{where}: the numbers in `{self.column}`, from {values.min():g} to"
                f" {values.max():g}, have no standard deviation that a computer's numbers can hold;"
                " scale them first."
            )

    def strata(self, frame: pandas.DataFrame) -> Codes:
        ranks = _values(frame).argsort(kind="stable").argsort(kind="stable")
        n_strata = min(N_STRATA, max(1, len(ranks) // _ROWS_A_STRATUM))
        return (ranks * n_strata // len(ranks)).astype(numpy.int64)

    def counts(self, frame: pandas.DataFrame) -> Mapping[str, int]:
        return {}

    def notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        return []

    def names(self, found: Iterable[str]) -> tuple[str, ...]:
        return ()

    def scale(self, train: pandas.DataFrame) -> TargetScale | None:
        values = _values(train)
        return TargetScale(mean=float(values.mean()), std=float(values.std()))

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        assert scale is not None
        return ((_values(frame) - scale.mean) / scale.std).astype(numpy.float32)


def _values(frame: pandas.DataFrame) -> NDArray[numpy.float64]:
    return frame["label"].map(float).to_numpy(dtype=numpy.float64)


def _is_finite_number(text: str) -> bool:
    if "_" in text:  # Python alone reads 1_000 as a thousand.
        return False
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class NoLabels:
    """No labels: the next token is what is learned."""

    required = False
    each_side = False

    def check_values(self, frame: pandas.DataFrame, where: str) -> None:
        """There are none."""

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        """Every text can be learned from."""

    def strata(self, frame: pandas.DataFrame) -> Codes:
        return one_stratum(frame)

    def counts(self, frame: pandas.DataFrame) -> Mapping[str, int]:
        return {}

    def notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        return []

    def names(self, found: Iterable[str]) -> tuple[str, ...]:
        return ()

    def scale(self, train: pandas.DataFrame) -> TargetScale | None:
        return None

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        return numpy.zeros(len(frame), dtype=numpy.int64)
