"""Write rows with their answers as CSV, JSONL or Parquet: a whole file, or none."""

import contextlib
import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow
import pyarrow.parquet

from space.errors import UserError
from trainers.answers import Columns
from trainers.predicting.kept import Kept

WHERE = "--output"
FORMATS = ("csv", "jsonl", "parquet")
_ARROW = {
    "text": pyarrow.string(),
    "number": pyarrow.float64(),
    "count": pyarrow.int64(),
    "tags": pyarrow.list_(pyarrow.string()),
}
"""Kinds of added columns as Parquet has them."""

Types = Sequence[tuple[str, Any]]
"""Name and Arrow type of each of the user's columns."""


class RowWriter(Protocol):
    """Writes chunk after chunk to one file."""

    def write(self, kept: Kept, added: Columns) -> None:
        """Write rows and the columns that are added to them."""

    def close(self) -> None:
        """Write what is left."""


def format_of(target: Path, form: str | None) -> str:
    """Return the name of a format: the one that is given, that of the file's suffix, or csv."""
    suffix = target.suffix.lower().removeprefix(".")
    return form or (suffix if suffix in FORMATS else "csv")


def check_target(target: Path) -> None:
    """Raise UserError unless a new file can stand there."""
    if target.exists():
        raise UserError(f"{WHERE} {target}: exists already; nothing is overwritten. Name another.")
    if not target.parent.is_dir():
        raise UserError(f"{WHERE} {target}: there is no folder {target.parent}.")


def check_names(types: Types, added: Mapping[str, str], form: str, source: Path) -> None:
    """Raise UserError where columns of the user and of the prediction cannot stand together."""
    names = [name for name, _ in types]
    for name in added:
        if name in names:
            raise UserError(f"--input {source}: has a column {name!r} already; rename it.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None and form != "csv":
        raise UserError(
            f"--input {source}: has several columns {twice!r}, which {form} cannot hold; rename all"
            " but one of them, or write CSV."
        )


@contextlib.contextmanager
def new_rows(
    target: Path, form: str, types: Types, added: Mapping[str, str]
) -> Iterator[RowWriter]:
    """Yield what writes a new file, which appears under its name once all of it is on the disk.

    Args:
        target: the file; must not exist.
        form: one of FORMATS.
        types: of the user's columns.
        added: name and kind of the columns of the prediction.

    Raises:
        UserError: it cannot be written.
    """
    # The process in the name: two that write to one target must not write into one file.
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with _told_of(target):
            writer = _Told(target, _opened(partial, target, form, types, added))
        try:
            yield writer
        except BaseException:
            with contextlib.suppress(Exception):  # such as a disk that is full
                writer.close()
            raise
        writer.close()
        with _told_of(target):
            _on_disk(partial)
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _told_of(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{WHERE} {target}: cannot be written ({error}).") from error


def _on_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


class _Told:
    """Tells of what cannot be written under the name that the user gave."""

    def __init__(self, target: Path, writer: RowWriter) -> None:
        self._target, self._writer = target, writer

    def write(self, kept: Kept, added: Columns) -> None:
        with _told_of(self._target):
            self._writer.write(kept, added)

    def close(self) -> None:
        with _told_of(self._target):
            self._writer.close()


def _opened(
    path: Path, target: Path, form: str, types: Types, added: Mapping[str, str]
) -> RowWriter:
    if form == "parquet":
        return _ParquetWriter(path, types, added)
    if form == "jsonl":
        return _JsonlWriter(path)
    delimiter = "\t" if target.suffix.lower() == ".tsv" else ","
    return _CsvWriter(path, [*(name for name, _ in types), *added], delimiter)


class _CsvWriter:
    """Lists stand there as JSON, what is absent as nothing."""

    def __init__(self, path: Path, names: Sequence[str], delimiter: str) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        options: dict[str, Any] = {"delimiter": delimiter, "lineterminator": "\n"}
        self._plain = csv.writer(self._file, **options)
        self._quoted = csv.writer(self._file, quoting=csv.QUOTE_ALL, **options)
        self._write([list(names)])

    def write(self, kept: Kept, added: Columns) -> None:
        columns = [_without_lists(_without_nan(values)) for values in added.values()]
        answers = zip(*columns, strict=True)
        self._write([[*line, *own] for line, own in zip(kept.lines(), answers, strict=True)])

    def _write(self, rows: list[list[Any]]) -> None:
        # Before Python 3.13 the module leaves a lone carriage return unquoted, which parts rows.
        if not any(isinstance(cell, str) and "\r" in cell for row in rows for cell in row):
            self._plain.writerows(rows)
            return
        for row in rows:
            parted = any(isinstance(cell, str) and "\r" in cell for cell in row)
            (self._quoted if parted else self._plain).writerow(row)

    def close(self) -> None:
        self._file.close()


class _JsonlWriter:
    """Numbers stand there as numbers, lists as lists, what is absent as null."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def write(self, kept: Kept, added: Columns) -> None:
        answers = zip(*map(_without_nan, added.values()), strict=True)
        self._file.writelines(
            _json_line({**record, **dict(zip(added, own, strict=True))})
            for record, own in zip(kept.records(), answers, strict=True)
        )

    def close(self) -> None:
        self._file.close()


class _ParquetWriter:
    """The user's columns keep their types; the added ones have those of _ARROW."""

    def __init__(self, path: Path, types: Types, added: Mapping[str, str]) -> None:
        own = [(name, _ARROW[kind]) for name, kind in added.items()]
        self._schema = pyarrow.schema([*types, *own])
        self._n_kept = len(types)
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)

    def write(self, kept: Kept, added: Columns) -> None:
        types = self._schema.types[self._n_kept :]
        own = [
            pyarrow.array(_without_nan(values), kind)
            for values, kind in zip(added.values(), types, strict=True)
        ]
        self._writer.write_table(pyarrow.table([*kept.arrays(), *own], schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _without_nan(values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a column, what is no number (a perplexity of one token) as absent."""
    if all(value == value for value in values):  # quick: this is looked at in every row
        return values
    return [value if value == value else None for value in values]


def _without_lists(values: Sequence[Any]) -> Sequence[Any]:
    if not isinstance(values[0], list):
        return values
    return [json.dumps(value, ensure_ascii=False) for value in values]


def _json_line(record: Mapping[str, Any]) -> str:
    try:
        line = json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:  # the user's own numbers: JSON has no NaN and no infinity
        line = json.dumps(_finite(record), ensure_ascii=False, default=_plain)
    return f"{line}\n"


def _plain(value: Any) -> str:
    """Return a Parquet value that JSON does not know, such as a date, as text."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
