"""Read a user's rows in chunks: as they are written again, and what a bundle reads of them."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas
import pyarrow

from space.errors import UserError, close_matches
from trainers.bundle import LoadedBundle
from trainers.data.conll import SUFFIXES, parse_list, read_conll
from trainers.data.formats import READERS, json_records, parquet_batches, parquet_head
from trainers.data.image_rows import read_images
from trainers.data.images import pixels_of
from trainers.data.table import check_file
from trainers.predicting.kept import ArrowRows, JsonRows, JsonTypes, Kept, TextRows

WHERE = "--input"
CHUNK_CHARACTERS = 2**24
"""A chunk ends where its texts have so many, however few rows it has then."""
_BLOCK_BYTES = 2**20
_BATCH_ROWS = 1024

_T = TypeVar("_T")
Inputs = Mapping[str, Sequence[Any]]
"""For each input of a task its values, one a row."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a file."""

    types: Sequence[tuple[str, Any]]
    """Name and Arrow type of each column; a CSV file may have a name twice."""
    n_rows: int | None
    """None where it would take long to know; about so many where a CSV file has blank lines."""
    chunks: Iterator[Kept]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The rows that a bundle is to answer for."""

    types: Sequence[tuple[str, Any]]
    n_rows: int | None
    chunks: Iterator[tuple[Kept, Inputs]]


def open_asked(
    bundle: LoadedBundle, source: Path, column: str | None, *, chunk_rows: int, chunk_images: int
) -> Asked:
    """Open a user's rows for a bundle.

    The file and its columns are checked and its first rows read at once; what is wrong further
    down is raised when its chunk is reached.

    Args:
        bundle: whose task says what is read.
        source: CSV, TSV, JSONL or Parquet; words also as CoNLL; images as a folder, an .npz file
            or a table of paths.
        column: of the texts, words or images; None: the one of the study.
        chunk_rows: at most so many rows are read at once,
        chunk_images: or so many images.

    Raises:
        UserError: the file cannot be read, or lacks a column.
    """
    task, columns = bundle.config.what, bundle.config.columns
    if "image" in task.inputs:
        return _open_images(bundle, source, column or columns.image, chunk_images)
    if "words" in task.inputs and source.suffix.lower() in SUFFIXES:
        return _open_conll(source, chunk_rows)
    wanted = {task.inputs[0]: column or columns.text}
    if "text_pair" in task.inputs:
        assert columns.text_pair is not None
        wanted["text_pair"] = columns.text_pair
    rows = open_table(source, chunk_rows)
    for name, own in wanted.items():
        hint = "" if name == "text_pair" else " Name the column of the texts with --text."
        _check_column(rows, own, source, hint)
    return Asked(types=rows.types, n_rows=rows.n_rows, chunks=_inputs(rows.chunks, wanted, source))


def open_table(path: Path, chunk_rows: int) -> Rows:
    """Open a table: CSV, TSV, JSONL or Parquet.

    Raises:
        UserError: it cannot be read, or has no rows.
    """
    check_file(path, WHERE, tuple(READERS))
    openers = {".jsonl": _open_jsonl, ".parquet": _open_parquet}
    rows = openers.get(path.suffix.lower(), _open_delimited)(path, chunk_rows)
    names = [name for name, _ in rows.types]
    if not names:
        raise UserError(f"{WHERE}: `{path}` is empty. It needs named columns and rows.")
    first = next(rows.chunks, None)
    if first is None:
        raise UserError(f"{WHERE}: `{path}` has no data rows, only {', '.join(names)}.")
    chunks = itertools.chain([first], rows.chunks)
    return Rows(types=rows.types, n_rows=rows.n_rows, chunks=chunks)


def _open_delimited(path: Path, chunk_rows: int) -> Rows:
    names, rows = READERS[path.suffix.lower()](path, WHERE)
    return Rows(
        types=[(name, pyarrow.string()) for name in names],
        n_rows=_about_how_many(path),
        chunks=(
            TextRows(names, chunk)
            for chunk in _cut(rows, chunk_rows, lambda row: sum(map(len, row)))
        ),
    )


def _about_how_many(path: Path) -> int:
    """Count the line ends outside of quotes, but the header's; a file of 1 GB takes a second."""
    n_quotes = n_lines = 0
    last = b"\n"
    with path.open("rb") as file:
        for block in iter(functools.partial(file.read, _BLOCK_BYTES), b""):
            # Every second part stands between quotes.
            parts = block.split(b'"')
            n_lines += sum(part.count(b"\n") for part in parts[n_quotes % 2 :: 2])
            n_quotes += len(parts) - 1
            last = block[-1:]
    return max(1, n_lines - 1 + (last != b"\n"))


def _open_jsonl(path: Path, chunk_rows: int) -> Rows:
    known, n_rows = JsonTypes(), 0
    for record in json_records(path, WHERE):
        known.learn(record)
        n_rows += 1
    types = known.arrow_types()
    records = json_records(path, WHERE)
    return Rows(
        types=list(types.items()),
        n_rows=n_rows,
        chunks=(JsonRows(types, chunk) for chunk in _cut(records, chunk_rows, _size_of_record)),
    )


def _size_of_record(record: Mapping[str, Any]) -> int:
    return sum(len(value) for value in record.values() if isinstance(value, str | list | dict))


def _open_parquet(path: Path, chunk_rows: int) -> Rows:
    schema, n_rows = parquet_head(path, WHERE)
    batches = parquet_batches(path, WHERE, min(chunk_rows, _BATCH_ROWS))
    # A chunk ends on a whole batch, so that no batch need be cut.
    groups = _cut(batches, max(1, chunk_rows // _BATCH_ROWS), lambda batch: int(batch.nbytes))
    return Rows(
        types=list(zip(schema.names, schema.types, strict=True)),
        n_rows=n_rows,
        chunks=(ArrowRows(pyarrow.Table.from_batches(group)) for group in groups),
    )


def _cut(items: Iterator[_T], n_items: int, size: Callable[[_T], int]) -> Iterator[list[_T]]:
    """Yield lists of at most `n_items`, cut sooner where they grow too large."""
    chunk: list[_T] = []
    total = 0
    for item in items:
        chunk.append(item)
        total += size(item)
        if len(chunk) == n_items or total >= CHUNK_CHARACTERS:
            yield chunk
            chunk, total = [], 0
    if chunk:
        yield chunk


def _check_column(rows: Rows, column: str, source: Path, hint: str) -> None:
    names = [name for name, _ in rows.types]
    if column not in names:
        raise UserError(
            f"{WHERE} {source}: has no column {column!r}; it has {', '.join(names)}."
            f"{close_matches(column, names)}{hint}"
        )
    if names.count(column) > 1:
        raise UserError(
            f"{WHERE} {source}: has several columns {column!r}; rename all but one of them."
        )


def _inputs(
    chunks: Iterator[Kept], wanted: Mapping[str, str], source: Path
) -> Iterator[tuple[Kept, Inputs]]:
    n_before = 0
    for kept in chunks:
        inputs: dict[str, Sequence[Any]] = {
            name: kept.texts(column) for name, column in wanted.items()
        }
        if "words" in inputs:
            inputs["words"] = [
                _words(value, f"{WHERE} {source}, row {n_before + place}")
                for place, value in enumerate(inputs["words"], 1)
            ]
        n_before += len(kept)
        yield kept, inputs


def _words(value: str, place: str) -> tuple[str, ...]:
    """Return the words of a JSON list, or of a plain text parted at its blanks."""
    is_list = value.lstrip().startswith("[")
    return parse_list(value, place, "the words") if is_list else tuple(value.split())


def _open_conll(source: Path, chunk_rows: int) -> Asked:
    check_file(source, WHERE, SUFFIXES)
    types = {"words": pyarrow.list_(pyarrow.string())}
    words = (sentence.words for sentence in read_conll(source, WHERE))
    chunks = _cut(words, chunk_rows, lambda sentence: sum(map(len, sentence)))
    return Asked(
        types=list(types.items()),
        n_rows=None,
        chunks=(
            (JsonRows(types, [{"words": list(w)} for w in chunk]), {"words": chunk})
            for chunk in chunks
        ),
    )


def _open_images(bundle: LoadedBundle, source: Path, column: str, chunk_rows: int) -> Asked:
    if source.is_dir() or source.suffix.lower() == ".npz":
        frame = read_images(source, column, None, WHERE)
        types = [("image", pyarrow.string())]
        parts = (
            frame.iloc[start : start + chunk_rows] for start in range(0, len(frame), chunk_rows)
        )
        found = ((TextRows(["image"], [[name] for name in part["name"]]), part) for part in parts)
        return Asked(types=types, n_rows=len(frame), chunks=_pixels(bundle, found))
    rows = open_table(source, chunk_rows)
    _check_column(rows, column, source, " Name the column of the paths with --text.")
    named = ((kept, _image_files(kept.texts(column), source)) for kept in rows.chunks)
    return Asked(types=rows.types, n_rows=rows.n_rows, chunks=_pixels(bundle, named))


def _image_files(names: Sequence[str], source: Path) -> pandas.DataFrame:
    files = pandas.Series([source.parent / name for name in names], dtype="object")
    return pandas.DataFrame({"image": files, "name": list(names)})


def _pixels(
    bundle: LoadedBundle, found: Iterator[tuple[Kept, pandas.DataFrame]]
) -> Iterator[tuple[Kept, Inputs]]:
    for kept, images in found:
        assert bundle.backbone.image is not None
        pixels: Any = pixels_of(images, bundle.backbone.image, WHERE)
        yield kept, {"image": pixels}
