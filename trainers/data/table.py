"""A user's table: CSV, TSV, JSONL or Parquet, checked, with every value as text."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas

from space.errors import UserError, close_matches
from trainers.data.formats import READERS, Row

_CHUNK_ROWS = 16384


def read_table(path: Path, wanted: Mapping[str, str], *, where: str) -> pandas.DataFrame:
    """Read some columns of a user's file.

    Args:
        path: a `.csv`, `.tsv`, `.jsonl` or `.parquet` file in UTF-8.
        wanted: our name (such as `text`, `label`) -> the column's name in the file.
        where: what the user wrote the path under, for messages (`data.train`).

    Returns:
        The wanted columns as texts under our names, and the integer column `row`: the number of
        the row in the file, from 1, header and blank lines not counted.

    Raises:
        UserError: the file is missing, empty, malformed or not UTF-8, or lacks a column.
    """
    table = _open_table(path, where)
    _check_columns(table.columns, wanted, path, where)
    # By position: a name may stand twice among the columns that nobody asked for.
    positions = [table.columns.index(name) for name in wanted.values()]
    chunks = [
        _frame(list(wanted), [[row[position] for position in positions] for row in rows])
        for rows in _cut(table.rows, _CHUNK_ROWS)
    ]
    frame = pandas.concat(chunks, ignore_index=True)
    frame["row"] = range(1, len(frame) + 1)
    return frame


def iterate_table(path: Path, where: str, chunk_rows: int) -> Iterator[pandas.DataFrame]:
    """Read a user's file with all of its columns, `chunk_rows` rows at a time.

    The file is checked and its first row read at once; what is wrong further down is raised when
    its chunk is reached. Arguments and errors as in `read_table`.
    """
    table = _open_table(path, where)
    return (_frame(table.columns, rows) for rows in _cut(table.rows, chunk_rows))


@dataclass(frozen=True, kw_only=True)
class _Table:
    columns: Sequence[str]
    rows: Iterator[Row]


def _open_table(path: Path, where: str) -> _Table:
    check_file(path, where, tuple(READERS))
    columns, rows = READERS[path.suffix.lower()](path, where)
    if not columns:
        raise UserError(f"{where}: `{path}` is empty. It needs named columns and rows.")
    first = next(rows, None)
    if first is None:
        raise UserError(f"{where}: `{path}` has no data rows, only {_listing(columns)}.")
    return _Table(columns=columns, rows=itertools.chain([first], rows))


def check_file(path: Path, where: str, suffixes: tuple[str, ...]) -> None:
    """Raise UserError unless there is a file that can be read, of a known format."""
    if path.is_dir():
        raise UserError(f"{where}: `{path}` is a directory. Name one file in it.")
    if not path.exists():
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{where}: no file `{path}`.{close_matches(path.name, siblings)}")
    if path.suffix.lower() not in suffixes:
        raise UserError(
            f"{where}: `{path}` is of no known format: its name must end in "
            f"{', '.join(suffixes)}, but it ends in `{path.suffix}`."
        )
    if not os.access(path, os.R_OK):
        raise UserError(f"{where}: `{path}` may not be read (permission denied).")
    if path.stat().st_size == 0:
        raise UserError(f"{where}: `{path}` is empty. It needs named columns and rows.")


def _check_columns(
    columns: Sequence[str], wanted: Mapping[str, str], path: Path, where: str
) -> None:
    problems = []
    for name in wanted.values():
        if name not in columns:
            hint = close_matches(name, columns) or _delimiter_hint(columns)
            problems.append(
                f"{where}: `{path}` has no column `{name}`; it has {_listing(columns)}.{hint}"
            )
        elif columns.count(name) > 1:
            problems.append(f"{where}: `{path}` has several columns `{name}`. Rename all but one.")
    for ours, name in wanted.items():
        first = next(other for other, same in wanted.items() if same == name)
        if first != ours:
            problems.append(f"{where}: {first} and {ours} are both read from the column `{name}`.")
    if problems:
        raise UserError(problems)


def _delimiter_hint(columns: Sequence[str]) -> str:
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        return " Are the fields parted by something else? A .csv needs commas, a .tsv tabs."
    return ""


def _listing(columns: Sequence[str]) -> str:
    shown = ", ".join(f"`{column}`" for column in columns[:20])
    more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
    return f"the column{'' if len(columns) == 1 else 's'} {shown}{more}"


def _cut(rows: Iterator[Row], chunk_rows: int) -> Iterator[list[Row]]:
    while chunk := list(itertools.islice(rows, chunk_rows)):
        yield chunk


def _frame(columns: Sequence[str], rows: Sequence[Row]) -> pandas.DataFrame:
    return pandas.DataFrame(rows, columns=list(columns), dtype="str")
