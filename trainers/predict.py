"""Answer for the rows of a file with a bundle, chunk by chunk, so that memory stays flat."""

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas

from space.errors import UserError, close_matches
from trainers.answers import added_columns, answers_for
from trainers.bundle import LoadedBundle
from trainers.data import iterate_table, pixels_of, read_images
from trainers.data.conll import SUFFIXES, parse_list, read_conll
from trainers.data.table import check_file

CHUNK_ROWS = 2048
_WHERE = "--input"

Chunk = tuple[pandas.DataFrame, dict[str, Sequence[Any]]]
"""Rows as they are written again, and what the bundle reads of them."""


def predict_file(
    bundle: LoadedBundle,
    source: Path,
    target: Path,
    *,
    text: str | None,
    told: Callable[[int], None],
) -> int:
    """Write the rows of `source` to the CSV file `target` with the columns of the prediction.

    Which columns these are is said at trainers.answers.answers_for.

    Args:
        bundle: the trained structure.
        source: CSV, TSV, JSONL or Parquet; words also as CoNLL; images as a folder, an .npz file
            or a table of paths.
        target: must not exist; written whole or not at all.
        text: the column of the texts, words or images; None: the one of the study.
        told: is told how many rows are done.

    Returns:
        How many rows were answered for.

    Raises:
        UserError: a file cannot be read or written, or lacks a column.
    """
    if target.exists():
        raise UserError(f"--output {target}: exists already; nothing is overwritten. Name another.")
    if not target.parent.is_dir():
        raise UserError(f"--output {target}: there is no folder {target.parent}.")
    partial = target.with_name(f".{target.name}.partial")
    n_rows = 0
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            for n_rows in _write_chunks(bundle, source, text, file):
                told(n_rows)
        partial.replace(target)
    except OSError as error:
        raise UserError(f"--output {target}: cannot be written ({error}).") from error
    finally:
        partial.unlink(missing_ok=True)
    return n_rows


def predict(bundle: LoadedBundle, **inputs: Sequence[Any]) -> pandas.DataFrame:
    """Return the columns of the prediction for rows in memory.

    Args:
        bundle: the trained structure.
        inputs: what a row has, by the task's names: text, text_pair, or words (lists of texts).
    """
    return pandas.DataFrame(answers_for(bundle, inputs))


def _write_chunks(
    bundle: LoadedBundle, source: Path, text: str | None, file: TextIO
) -> Iterator[int]:
    n_rows = 0
    for rows, inputs in _chunks(bundle, source, text):
        clash = [name for name in added_columns(bundle) if name in rows.columns]
        if clash:
            raise UserError(f"{_WHERE} {source}: has a column {clash[0]!r} already; rename it.")
        added = pandas.DataFrame(answers_for(bundle, inputs), index=rows.index)
        answered = pandas.concat([rows, added], axis=1)
        answered.to_csv(file, index=False, header=n_rows == 0, quoting=csv.QUOTE_MINIMAL)
        n_rows += len(rows)
        yield n_rows


def _chunks(bundle: LoadedBundle, source: Path, text: str | None) -> Iterator[Chunk]:
    task = bundle.config.what
    if "image" in task.inputs:
        return _image_chunks(bundle, source, text)
    if "words" in task.inputs and source.suffix.lower() in SUFFIXES:
        return _conll_chunks(source)
    return _table_chunks(bundle, source, text)


def _table_chunks(bundle: LoadedBundle, source: Path, text: str | None) -> Iterator[Chunk]:
    task, columns = bundle.config.what, bundle.config.columns
    wanted = {task.inputs[0]: text or columns.text}
    if "text_pair" in task.inputs:
        assert columns.text_pair is not None
        wanted["text_pair"] = columns.text_pair
    n_before = 0
    for rows in iterate_table(source, _WHERE, CHUNK_ROWS):
        for column in wanted.values():
            _check_column(rows, column, source)
        inputs: dict[str, Sequence[Any]] = {
            name: list(rows[column]) for name, column in wanted.items()
        }
        if "words" in inputs:
            inputs["words"] = [
                _words(value, f"{_WHERE} {source}, row {n_before + place}")
                for place, value in enumerate(inputs["words"], 1)
            ]
        n_before += len(rows)
        yield rows, inputs


def _check_column(rows: pandas.DataFrame, column: str, source: Path) -> None:
    if column not in rows.columns:
        raise UserError(
            f"{_WHERE} {source}: has no column {column!r}; it has"
            f" {', '.join(map(str, rows.columns))}.{close_matches(column, rows.columns)}"
            " Name the column of the texts with --text."
        )
    if list(rows.columns).count(column) > 1:
        raise UserError(
            f"{_WHERE} {source}: has several columns {column!r}; rename all but one of them."
        )


def _words(value: str, place: str) -> tuple[str, ...]:
    """Return the words of a JSON list, or of a plain text parted at its blanks."""
    is_list = value.lstrip().startswith("[")
    return parse_list(value, place, "the words") if is_list else tuple(value.split())


def _conll_chunks(source: Path) -> Iterator[Chunk]:
    check_file(source, _WHERE, SUFFIXES)
    sentences = read_conll(source, _WHERE)
    while chunk := list(itertools.islice(sentences, CHUNK_ROWS)):
        words = [sentence.words for sentence in chunk]
        rows = pandas.DataFrame({"words": [json.dumps(w, ensure_ascii=False) for w in words]})
        yield rows, {"words": words}


def _image_chunks(bundle: LoadedBundle, source: Path, column: str | None) -> Iterator[Chunk]:
    assert bundle.backbone.image is not None
    frame = read_images(source, column or bundle.config.columns.image, None, _WHERE)
    for start in range(0, len(frame), CHUNK_ROWS):
        part = frame.iloc[start : start + CHUNK_ROWS]
        pixels: Any = pixels_of(part, bundle.backbone.image, _WHERE)
        yield pandas.DataFrame({"image": part["name"]}), {"image": pixels}
