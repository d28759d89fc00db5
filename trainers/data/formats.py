"""The file formats of a user's table: each read row by row, every value as text.

A reader takes the path and the place to name in messages (`data.train`), and returns the names
of the columns and an iterator over the rows, so that a file of any size is read in little memory.
Nothing is guessed: `NA` stays `NA`, 3 becomes "3", and only a value that is really absent (a JSON
or Parquet null) becomes the empty text.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow
import pyarrow.parquet

from space.errors import UserError

Row = Sequence[str]
Reader = Callable[[Path, str], tuple[list[str], Iterator[Row]]]

_PARQUET_BATCH_ROWS = 4096
_CSV_FIELD_CHARACTERS = 2**31 - 1
# pandas stores the index of a frame as such a column; it is no column of the user's.
_INDEX = re.compile(r"__index_level_\d+__")


def read_csv(path: Path, where: str) -> tuple[list[str], Iterator[Row]]:
    """Read comma-separated values with a header."""
    return _read_delimited(path, where, ",")


def read_tsv(path: Path, where: str) -> tuple[list[str], Iterator[Row]]:
    """Read tab-separated values with a header, quoted like CSV."""
    return _read_delimited(path, where, "\t")


def read_jsonl(path: Path, where: str) -> tuple[list[str], Iterator[Row]]:
    """Read one JSON object a line; the columns are the keys of all lines, in order of appearance.

    The keys take a pass of their own: a later line may hold a key that the first one lacks.
    """
    columns = list(dict.fromkeys(key for record in json_records(path, where) for key in record))
    rows = (
        [as_text(record.get(column)) for column in columns] for record in json_records(path, where)
    )
    return columns, rows


def read_parquet(path: Path, where: str) -> tuple[list[str], Iterator[Row]]:
    """Read a Parquet file, one batch of rows in memory at a time."""
    schema, _ = parquet_head(path, where)
    return schema.names, _parquet_rows(path, where)


def parquet_head(path: Path, where: str) -> tuple[Any, int]:
    """Return the schema of a Parquet file, without a stored index, and how many rows it has."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow.remove_metadata()
            n_rows = file.metadata.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise _malformed_parquet(path, where, error) from error
    return pyarrow.schema([schema.field(place) for place in _positions(schema)]), n_rows


def parquet_batches(path: Path, where: str, n_rows: int) -> Iterator[Any]:
    """Yield the record batches of a Parquet file, of at most so many rows, without its index."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            positions = _positions(file.schema_arrow)
            for batch in file.iter_batches(batch_size=n_rows):
                yield batch.select(positions).replace_schema_metadata(None)
    except (pyarrow.ArrowException, OSError) as error:
        raise _malformed_parquet(path, where, error) from error


def _positions(schema: Any) -> list[int]:
    names = schema.names
    return [position for position, name in enumerate(names) if not _INDEX.fullmatch(name)]


READERS: Mapping[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}


def _read_delimited(path: Path, where: str, delimiter: str) -> tuple[list[str], Iterator[Row]]:
    records = _csv_records(path, where, delimiter)
    _, header = next(records, (0, []))
    return header, _csv_rows(path, where, records, len(header))


def _csv_rows(
    path: Path, where: str, records: Iterator[tuple[int, list[str]]], width: int
) -> Iterator[Row]:
    for row, (line, fields) in enumerate(records, 1):
        if len(fields) != width:
            raise UserError(
                f"{where}: `{path}` is malformed in data row {row} (line {line}): it has "
                f"{_count(len(fields), 'field')}, the header has {width}. A field that holds the "
                'delimiter must stand in double quotes: "like, this".'
            )
        yield fields


def _csv_records(path: Path, where: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line that it ends on; blank lines are no records."""
    # The module's own limit of 131,072 characters a field is less than a long document.
    csv.field_size_limit(_CSV_FIELD_CHARACTERS)
    with _open_text(path, newline="") as file:
        # strict: an unclosed quote must not swallow the rest of the file in silence.
        records = csv.reader(file, delimiter=delimiter, strict=True)
        start, row = 1, 0
        try:
            for fields in records:
                if fields:
                    yield records.line_num, fields
                    row += 1
                start = records.line_num + 1
        except csv.Error as error:
            place = f"data row {row}" if row else "the header"
            raise UserError(
                f"{where}: `{path}` is malformed in {place}, from line {start} on: {error}. "
                'A double quote inside a quoted field is written twice: "he said ""yes""".'
            ) from error
        except UnicodeDecodeError as error:
            raise not_utf8(path, where) from error


def json_records(path: Path, where: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a JSONL file, one a line, with their values as they are."""
    with _open_text(path, newline="\n") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _json_object(line, f"{where}: line {number} of `{path}`")
        except UnicodeDecodeError as error:
            raise not_utf8(path, where) from error


def _json_object(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{place} is not JSON: {error}. A JSONL file holds one whole JSON object a line."
        ) from error
    if not isinstance(record, dict):
        raise UserError(
            f"{place} is a JSON {type(record).__name__}, not an object such as "
            '{"text": "...", "label": "..."}.'
        )
    for key, value in record.items():
        if not is_unicode(key + as_text(value)):
            raise UserError(
                f"{place}, key {key!a}: half of a surrogate pair (a \\ud800 to \\udfff escape "
                "without its other half) is no character; write the character itself."
            )
    return record


def _parquet_rows(path: Path, where: str) -> Iterator[Row]:
    try:
        for batch in parquet_batches(path, where, _PARQUET_BATCH_ROWS):
            columns = [column.to_pylist() for column in batch.columns]
            values = [[as_text(value) for value in column] for column in columns]
            yield from zip(*values, strict=True)
    except UnicodeDecodeError as error:
        raise not_utf8_parquet(path, where, error) from error


def not_utf8_parquet(path: Path, where: str, error: UnicodeDecodeError) -> UserError:
    """Say that a Parquet file holds bytes where texts should be."""
    return UserError(
        f"{where}: `{path}` holds text that is not UTF-8 ({error}). Write its text columns as "
        "strings, for instance with pandas.DataFrame.to_parquet."
    )


def as_text(value: Any) -> str:
    """Spell a JSON or Parquet value: text as it is, null as nothing, the rest as JSON does."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _open_text(path: Path, newline: str) -> TextIO:
    """Open for reading as UTF-8, with or without a byte order mark."""
    return path.open(encoding="utf-8-sig", newline=newline)


def is_unicode(text: str) -> bool:
    """Return whether a text is one of whole characters, without halves of surrogate pairs."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def not_utf8(path: Path, where: str) -> UserError:
    """Name the first byte that is not UTF-8; a decoder's own offset counts from its last buffer."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                encoding = "UTF-16" if line[:2] in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
                return UserError(
                    f"{where}: `{path}` is not UTF-8: byte 0x{line[error.start]:02x} at offset "
                    f"{offset + error.start} (line {number}). Convert it first: "
                    f"iconv -f {encoding} -t UTF-8 {path.name} > utf8_{path.name} "
                    f"(with the file's real encoding in place of {encoding})."
                )
            offset += len(line)
    raise AssertionError("the file decoded as UTF-8 the second time")


def _malformed_parquet(path: Path, where: str, error: Exception) -> UserError:
    return UserError(f"{where}: `{path}` is not a Parquet file that can be read: {error}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
