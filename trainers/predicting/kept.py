"""Rows of a user's file as they are written again beside the answers: every value as it came.

CSV knows texts alone, so that `007` stays a text. JSONL and Parquet know numbers, lists and what is
absent, and keep them where the output can hold them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow

from trainers.data.formats import as_text

_INT64 = range(-(2**63), 2**63)


class Kept(Protocol):
    """Some rows of a file, with all of their columns."""

    def __len__(self) -> int: ...

    def texts(self, name: str) -> list[str]:
        """Return the values of a column as a bundle reads them."""

    def lines(self) -> Iterator[Sequence[str]]:
        """Yield the rows for CSV."""

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows for JSONL."""

    def arrays(self) -> list[Any]:
        """Return the columns for Parquet."""


@dataclass(frozen=True, eq=False)
class TextRows:
    """Rows of texts, as CSV and TSV have them."""

    names: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, name: str) -> list[str]:
        """Return the values of a column."""
        place = self.names.index(name)
        return [row[place] for row in self.rows]

    def lines(self) -> Iterator[Sequence[str]]:
        """Yield the rows."""
        return iter(self.rows)

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows, each by the names of its columns."""
        return (dict(zip(self.names, row, strict=True)) for row in self.rows)

    def arrays(self) -> list[Any]:
        """Return columns of texts."""
        return [pyarrow.array(column, pyarrow.string()) for column in zip(*self.rows, strict=True)]


@dataclass(frozen=True, eq=False)
class JsonRows:
    """Rows of JSON objects, which need not all have the same keys."""

    types: Mapping[str, Any]
    """Of all columns of the file, as arrow_types returns them."""
    rows: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, name: str) -> list[str]:
        """Return the values of a column, spelled as JSON does where they are no texts."""
        return [as_text(row.get(name)) for row in self.rows]

    def lines(self) -> Iterator[Sequence[str]]:
        """Yield the rows as texts, what is absent as nothing."""
        return ([as_text(row.get(name)) for name in self.types] for row in self.rows)

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows."""
        return iter(self.rows)

    def arrays(self) -> list[Any]:
        """Return the columns in the types that the whole file has."""
        return [
            pyarrow.array([_fitted(row.get(name), kind) for row in self.rows], kind)
            for name, kind in self.types.items()
        ]


@dataclass(frozen=True, eq=False)
class ArrowRows:
    """Rows of a Parquet file."""

    table: Any

    def __len__(self) -> int:
        return len(self.table)

    def texts(self, name: str) -> list[str]:
        """Return the values of a column, spelled as JSON does where they are no texts."""
        return [as_text(value) for value in self.table.column(name).to_pylist()]

    def lines(self) -> Iterator[Sequence[str]]:
        """Yield the rows as texts, what is absent as nothing."""
        columns = [[as_text(v) for v in column.to_pylist()] for column in self.table.columns]
        return zip(*columns, strict=True)

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows, each by the names of its columns."""
        return iter(self.table.to_pylist())

    def arrays(self) -> list[Any]:
        """Return the columns as they are."""
        return list(self.table.columns)


@dataclass(frozen=True, eq=False)
class JsonTypes:
    """Learns from the rows of a JSONL file what type each of its columns has."""

    _seen: dict[str, set[str]] = field(default_factory=dict)

    def learn(self, record: Mapping[str, Any]) -> None:
        """Look at one more row."""
        for name, value in record.items():
            seen = self._seen.setdefault(name, set())
            if value is not None:
                seen.add(_kind_of(value))

    def arrow_types(self) -> dict[str, Any]:
        """Return the type of each column: one that all of its values fit, else text."""
        return {name: _type_of(seen) for name, seen in self._seen.items()}


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if value in _INT64 else "other"
    if isinstance(value, float):
        return "float"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "texts"
    return "other"


def _type_of(kinds: Iterable[str]) -> Any:
    match sorted(kinds):
        case ["bool"]:
            return pyarrow.bool_()
        case ["int"]:
            return pyarrow.int64()
        case ["float"] | ["float", "int"]:
            return pyarrow.float64()
        case ["texts"]:
            return pyarrow.list_(pyarrow.string())
    return pyarrow.string()


def _fitted(value: Any, kind: Any) -> Any:
    """Return a JSON value as a column of this type takes it."""
    if value is None:
        return None
    if kind == pyarrow.string():
        return as_text(value)
    return float(value) if kind == pyarrow.float64() else value
