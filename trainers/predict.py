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
from trainers.entities import OUTSIDE

CHUNK_ROWS = 2048
CHUNK_IMAGES = 256
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
    noticed: Callable[[str], None] = lambda _: None,
) -> int:
    """Write the rows of `source` to the CSV file `target` with the columns of the prediction.

    Which columns these are is said at trainers.answers.answers_for. Lists are written as JSON, with
    the tag `O` for words that were not read. Rows of a CoNLL file get the column `words`, those of
    a folder or an .npz file the column `image`; all others keep their own.

    Args:
        bundle: the trained structure.
        source: CSV, TSV, JSONL or Parquet; words also as CoNLL; images as a folder, an .npz file
            or a table of paths.
        target: must not exist; written whole or not at all.
        text: the column of the texts, words or images; None: the one of the study.
        told: is told how many rows are done.
        noticed: is told what the user should know of the answers, in words.

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
    n_rows = n_unread = 0
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            for n_chunk, n_chunk_unread in _write_chunks(bundle, source, text, file):
                n_rows, n_unread = n_rows + n_chunk, n_unread + n_chunk_unread
                told(n_rows)
        partial.replace(target)
    except OSError as error:
        raise UserError(f"--output {target}: cannot be written ({error}).") from error
    finally:
        partial.unlink(missing_ok=True)
    if n_unread:
        noticed(
            f"{n_unread} words were not read and have the tag {OUTSIDE}: their rows were cut at"
            f" {bundle.config.max_length} tokens, or the tokenizer makes nothing of them."
        )
    return n_rows


def predict(bundle: LoadedBundle, **inputs: Sequence[Any]) -> pandas.DataFrame:
    """Return the columns of the prediction for rows in memory, as answers_for describes them.

    Args:
        bundle: the trained structure.
        inputs: what a row has, by the task's names: text, text_pair, words (lists of texts), or
            image (pixels, as trainers.data.pixels_of returns them).
    """
    return pandas.DataFrame(answers_for(bundle, inputs))


def _write_chunks(
    bundle: LoadedBundle, source: Path, text: str | None, file: TextIO
) -> Iterator[tuple[int, int]]:
    """Write chunk by chunk; yield how many rows each has, and how many words were not read."""
    for number, (rows, inputs) in enumerate(_chunks(bundle, source, text)):
        clash = [name for name in added_columns(bundle) if name in rows.columns]
        if clash:
            raise UserError(f"{_WHERE} {source}: has a column {clash[0]!r} already; rename it.")
        added = answers_for(bundle, inputs)
        n_unread = 0
        if bundle.config.what.labels == "tags":
            n_unread = sum(tag is None for tags in added["prediction"] for tag in tags)
            added["prediction"] = [
                _json([OUTSIDE if tag is None else tag for tag in tags])
                for tags in added["prediction"]
            ]
        answered = pandas.concat([rows, pandas.DataFrame(added, index=rows.index)], axis=1)
        answered.to_csv(file, index=False, header=number == 0, quoting=csv.QUOTE_MINIMAL)
        yield len(rows), n_unread


def _json(texts: Sequence[str]) -> str:
    return json.dumps(texts, ensure_ascii=False)


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
        for name, column in wanted.items():
            hint = "" if name == "text_pair" else " Name the column of the texts with --text."
            _check_column(rows, column, source, hint)
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


def _check_column(rows: pandas.DataFrame, column: str, source: Path, hint: str) -> None:
    if column not in rows.columns:
        raise UserError(
            f"{_WHERE} {source}: has no column {column!r}; it has"
            f" {', '.join(map(str, rows.columns))}.{close_matches(column, rows.columns)}{hint}"
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
        rows = pandas.DataFrame({"words": [_json(w) for w in words]})
        yield rows, {"words": words}


def _image_chunks(bundle: LoadedBundle, source: Path, column: str | None) -> Iterator[Chunk]:
    column = column or bundle.config.columns.image
    for rows, images in _image_rows(source, column):
        assert bundle.backbone.image is not None
        pixels: Any = pixels_of(images, bundle.backbone.image, _WHERE)
        yield rows, {"image": pixels}


def _image_rows(source: Path, column: str) -> Iterator[tuple[pandas.DataFrame, pandas.DataFrame]]:
    """Yield rows as they are written again, and their images as `pixels_of` takes them."""
    if source.is_dir() or source.suffix.lower() == ".npz":
        frame = read_images(source, column, None, _WHERE)
        for start in range(0, len(frame), CHUNK_IMAGES):
            images = frame.iloc[start : start + CHUNK_IMAGES]
            yield pandas.DataFrame({"image": images["name"]}), images
        return
    for rows in iterate_table(source, _WHERE, CHUNK_IMAGES):
        _check_column(rows, column, source, " Name the column of the paths with --text.")
        files = [source.parent / str(name) for name in rows[column]]
        images = pandas.DataFrame({"image": pandas.Series(files, dtype="object")})
        yield rows, images.assign(name=list(rows[column]))
