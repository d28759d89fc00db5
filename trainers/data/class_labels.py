"""Labels with names: one a row, or any number of them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import pandas

from space.errors import UserError
from trainers.data.labelling import Codes, codes_of, index_of
from trainers.data.scale import TargetScale


@dataclass(frozen=True, kw_only=True)
class OneLabel:
    """One label a row."""

    column: str
    required = True
    each_side = True

    def check_values(self, frame: pandas.DataFrame, where: str) -> None:
        """Every text is a label."""

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        labels = frame["label"].unique()
        if len(labels) == 1:
            raise UserError(
                f"{where}: all {len(frame)} rows have the label `{labels[0]}`; a classifier needs"
                f" two different labels at least. Is `{self.column}` the right column for"
                " data.label?"
            )

    def strata(self, frame: pandas.DataFrame) -> Codes:
        return codes_of(frame["label"])

    def counts(self, frame: pandas.DataFrame) -> Mapping[str, int]:
        return Counter(frame["label"])

    def notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        return []

    def names(self, found: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(found))

    def scale(self, train: pandas.DataFrame) -> TargetScale | None:
        return None

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        index = index_of(names)
        return numpy.array([index[name] for name in frame["label"]], dtype=numpy.int64)


@dataclass(frozen=True, kw_only=True)
class SeveralLabels:
    """Any number of labels a row, parted by a separator; an empty value is no label."""

    column: str
    separator: str
    required = False
    each_side = False

    def check_values(self, frame: pandas.DataFrame, where: str) -> None:
        """Every text is a list of labels."""

    def check(self, frame: pandas.DataFrame, where: str) -> None:
        n_labels = len(self.counts(frame))
        if n_labels < 2:
            raise UserError(
                f"{where}: the column `{self.column}` holds {n_labels} different labels, parted by"
                f" {self.separator!r}; at least two are needed. Is data.label_separator right?"
            )

    def strata(self, frame: pandas.DataFrame) -> Codes:
        """By the rarest label of each row, if that occurs often enough to be parted."""
        sets = self._sets(frame)
        counts = self.counts(frame)
        rarest = [min(labels, key=lambda n: (counts[n], n), default="") for labels in sets]
        often = Counter(rarest)
        return codes_of(name if often[name] > 1 else "" for name in rarest)

    def counts(self, frame: pandas.DataFrame) -> Mapping[str, int]:
        return Counter(name for labels in self._sets(frame) for name in labels)

    def notices(self, frame: pandas.DataFrame, where: str) -> list[str]:
        return []

    def names(self, found: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(found))

    def scale(self, train: pandas.DataFrame) -> TargetScale | None:
        return None

    def encoded(
        self, frame: pandas.DataFrame, names: tuple[str, ...], scale: TargetScale | None
    ) -> Any:
        index = index_of(names)
        held = numpy.zeros((len(frame), len(names)), dtype=numpy.float32)
        for row, labels in enumerate(self._sets(frame)):
            held[row, [index[name] for name in labels]] = 1.0
        return held

    def _sets(self, frame: pandas.DataFrame) -> list[frozenset[str]]:
        return [
            frozenset(part.strip() for part in label.split(self.separator) if part.strip())
            for label in frame["label"]
        ]
