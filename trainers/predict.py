"""Answer for the rows of a file with a bundle, chunk by chunk, so that memory stays flat."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pandas

from space.errors import UserError
from trainers.answers import (
    Columns,
    Inputs,
    added_columns,
    answers,
    answers_for,
    deployed,
    encoded,
)
from trainers.bundle import LoadedBundle
from trainers.data import Table
from trainers.entities import OUTSIDE
from trainers.predicting.kept import Kept
from trainers.predicting.reading import WHERE, Asked, open_asked
from trainers.predicting.writing import check_names, check_target, format_of, new_rows

CHUNK_ROWS = 8192
"""Rows of like length run together, out of so many."""
CHUNK_CELLS = 2**20
"""Fewer rows where each has very many answers."""
CHUNK_IMAGES = 256

_T = TypeVar("_T")
Chunk = tuple[Kept, Inputs, Table]
"""Rows as they are written again, what the bundle reads of them, and as the backbone reads it."""


def predict_file(
    bundle: LoadedBundle,
    source: Path,
    target: Path,
    *,
    text: str | None = None,
    form: str | None = None,
    told: Callable[[int, int | None], None] = lambda _done, _rows: None,
    noticed: Callable[[str], None] = lambda _: None,
) -> int:
    """Write the rows of `source`, in their order, to `target` with the columns of the prediction.

    Which columns these are is said at trainers.answers.answers_for; words that were not read have
    the tag `O`. Rows of a CoNLL file get the column `words`, those of a folder or an .npz file the
    column `image`; all others keep their own, in JSONL and Parquet with their types.

    Args:
        bundle: the trained structure.
        source: CSV, TSV, JSONL or Parquet; words also as CoNLL; images as a folder, an .npz file
            or a table of paths.
        target: must not exist; written whole or not at all.
        text: the column of the texts, words or images; None: the one of the study.
        form: csv, jsonl or parquet; None: by the suffix of `target`, else csv.
        told: is told how many rows are answered for, and of about how many (None: not known).
        noticed: is told what the user should know of the answers, in words.

    Returns:
        How many rows were answered for.

    Raises:
        UserError: a file cannot be read or written, or lacks a column.
    """
    form = format_of(target, form)
    check_target(target)
    added = added_columns(bundle)
    chunk_rows = max(1, min(CHUNK_ROWS, CHUNK_CELLS // len(added)))
    try:
        asked = open_asked(bundle, source, text, chunk_rows=chunk_rows, chunk_images=CHUNK_IMAGES)
        check_names(asked.types, added, form, source)
        notices = _Notices(bundle)
        n_rows = 0
        model = deployed(bundle)
        with (
            new_rows(target, form, asked.types, added) as writer,
            contextlib.closing(_ahead(_read(bundle, asked))) as chunks,
        ):
            told(0, asked.n_rows)
            for kept, inputs, table in chunks:
                n_before = n_rows

                def told_here(n_done: int, n_before: int = n_before) -> None:
                    told(n_before + n_done, asked.n_rows)

                columns = answers(model, inputs, table, told_here)
                notices.look(inputs, table, columns)
                writer.write(kept, columns)
                n_rows += len(kept)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{WHERE} {source}: holds bytes that are no UTF-8 text ({error}). Write its columns as"
            " texts, or leave out those that are none."
        ) from error
    for sentence in notices.sentences():
        noticed(sentence)
    return n_rows


def predict(bundle: LoadedBundle, **inputs: Sequence[Any]) -> pandas.DataFrame:
    """Return the columns of the prediction for rows in memory, as answers_for describes them.

    Args:
        bundle: the trained structure.
        inputs: what a row has, by the task's names: text, text_pair, words (lists of texts), or
            image (pixels, as trainers.data.pixels_of returns them).
    """
    return pandas.DataFrame(answers_for(bundle, inputs))


def _read(bundle: LoadedBundle, asked: Asked) -> Iterator[Chunk]:
    return ((kept, inputs, encoded(bundle, inputs)) for kept, inputs in asked.chunks)


def _ahead(items: Iterator[_T]) -> Generator[_T, None, None]:
    """Yield the same items, each made in a thread while the one before it is worked on.

    Tokenizers and torch let other threads run, so that another core reads while this one answers.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


class _Notices:
    """What the user should know of the rows that were answered for."""

    def __init__(self, bundle: LoadedBundle) -> None:
        self._config = bundle.config
        self._n_rows = self._n_blank = self._n_silent = self._n_unread = 0
        self._first_blank = 0

    def look(self, inputs: Inputs, table: Table, columns: Columns) -> None:
        """Count what is odd in a chunk; words that were not read get the tag `O`."""
        for place, empty in enumerate(_blank(inputs, len(table)), 1):
            if empty:
                self._first_blank = self._first_blank or self._n_rows + place
                self._n_blank += 1
        self._n_rows += len(table)
        self._n_silent += int((table.lengths == 0).sum())
        if self._config.what.labels == "tags":
            tags = columns["prediction"]
            self._n_unread += sum(tag is None for row in tags for tag in row)
            columns["prediction"] = [[tag or OUTSIDE for tag in row] for row in tags]

    def sentences(self) -> Iterator[str]:
        """Yield what is to be told."""
        if self._n_unread:
            yield (
                f"{self._n_unread} words were not read and have the tag {OUTSIDE}: their rows were"
                f" cut at {self._config.max_length} tokens, or the tokenizer makes nothing of them."
            )
        if self._n_blank:
            rows = "1 row holds" if self._n_blank == 1 else f"{self._n_blank} rows hold"
            yield (
                f"{rows} nothing to read (row {self._first_blank}"
                f"{' first' if self._n_blank > 1 else ''}): what is answered for an empty text"
                " means little."
            )
        if self._n_silent:
            yield (
                f"The tokenizer makes nothing of {self._n_silent} rows: their answers are empty."
            )


def _blank(inputs: Inputs, n_rows: int) -> Iterator[bool]:
    """Yield for each row whether one of its texts is blank, or it has no words."""
    columns = [values for name, values in inputs.items() if name != "image"]
    if not columns:
        return iter([False] * n_rows)
    return (
        any(not (value.strip() if isinstance(value, str) else value) for value in row)
        for row in zip(*columns, strict=True)
    )
