"""Label the rows of a file with a bundle, chunk by chunk, so that memory stays flat."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy
import pandas
import torch
from numpy.typing import NDArray

from space.errors import UserError, close_matches
from trainers.bundle import LoadedBundle
from trainers.data import Split, collate, iterate_table, sorted_batches, tokenize
from trainers.model import deploy

CHUNK_ROWS = 2048
BATCH_SIZE = 64


def predict_file(
    bundle: LoadedBundle,
    source: Path,
    target: Path,
    *,
    text: str | None,
    told: Callable[[int], None],
) -> int:
    """Write the rows of `source` to the CSV file `target` with the columns of the prediction.

    Added are `prediction` and, for each label, `probability_<label>`.

    Args:
        bundle: the trained structure.
        source: CSV, TSV, JSONL or Parquet.
        target: must not exist; written whole or not at all.
        text: the column of the texts; None: the one of the study.
        told: is told how many rows are done.

    Returns:
        How many rows were labelled.

    Raises:
        UserError: a file cannot be read or written, or lacks the column.
    """
    if target.exists():
        raise UserError(f"--output {target}: exists already; nothing is overwritten. Name another.")
    if not target.parent.is_dir():
        raise UserError(f"--output {target}: there is no folder {target.parent}.")
    partial = target.with_name(f".{target.name}.partial")
    column = text or bundle.config.text
    n_rows = 0
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            for n_rows in _write_chunks(bundle, source, column, file):
                told(n_rows)
        partial.replace(target)
    except OSError as error:
        raise UserError(f"--output {target}: cannot be written ({error}).") from error
    finally:
        partial.unlink(missing_ok=True)
    return n_rows


def _write_chunks(bundle: LoadedBundle, source: Path, column: str, file: TextIO) -> Iterator[int]:
    n_rows = 0
    for chunk in iterate_table(source, "--input", CHUNK_ROWS):
        labelled = _label(bundle, chunk, column, source)
        labelled.to_csv(file, index=False, header=n_rows == 0, quoting=csv.QUOTE_MINIMAL)
        n_rows += len(chunk)
        yield n_rows


def _label(
    bundle: LoadedBundle, chunk: pandas.DataFrame, column: str, source: Path
) -> pandas.DataFrame:
    if column not in chunk.columns:
        raise UserError(
            f"--input {source}: has no column {column!r}; it has"
            f" {', '.join(map(str, chunk.columns))}.{close_matches(column, chunk.columns)}"
            " Name the column of the texts with --text."
        )
    if list(chunk.columns).count(column) > 1:
        raise UserError(
            f"--input {source}: has several columns {column!r}; rename all but one of them."
        )
    labels = bundle.config.labels
    added = ["prediction", *(f"probability_{label}" for label in labels)]
    clash = [name for name in added if name in chunk.columns]
    if clash:
        raise UserError(f"--input {source}: has a column {clash[0]!r} already; rename it.")
    probabilities = predict(bundle, list(chunk[column]))
    best = probabilities.argmax(1)
    columns = {"prediction": [labels[i] for i in best]} | {
        f"probability_{label}": probabilities[:, i].round(6) for i, label in enumerate(labels)
    }
    return pandas.concat([chunk, pandas.DataFrame(columns, index=chunk.index)], axis=1)


def predict(bundle: LoadedBundle, texts: Sequence[str]) -> NDArray[numpy.float64]:
    """Return the probability of each label for each text: (texts, labels)."""
    split = Split(texts=tuple(texts), labels=numpy.zeros(len(texts), dtype=numpy.int64))
    table = tokenize(split, bundle.backbone.tokenizer, bundle.config.max_length)
    model = deploy(bundle.model, bundle.backbone)
    probabilities = numpy.zeros((len(texts), len(bundle.config.labels)))
    with torch.inference_mode():
        for rows in sorted_batches(table.lengths, BATCH_SIZE):
            batch = collate(table, rows, bundle.backbone.pad_id)
            logits = model(batch.input_ids, batch.attention_mask)
            probabilities[rows] = logits.double().softmax(-1).numpy()
    return probabilities
