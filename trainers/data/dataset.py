"""The data of a study: training and validation texts with labels, checked and fixed by a seed."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import pandas
from numpy.typing import NDArray

from space.errors import UserError, close_matches
from trainers.data.docstrings import docstring_rows
from trainers.data.stratify import sample_rows, split_rows
from trainers.data.table import read_table

SOURCES: Mapping[str, Callable[[], pandas.DataFrame]] = {
    "docstrings": docstring_rows,
}

_SHOWN = 10  # Rows or labels that a notice names.


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """The rows of one side of the data."""

    texts: tuple[str, ...]
    labels: NDArray[numpy.int64]
    """Shape (rows,): indices into `TextData.labels`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextData:
    """What a study trains on and validates on."""

    train: Split
    validation: Split
    labels: tuple[str, ...]
    """All labels of training and validation, sorted."""
    notices: tuple[str, ...]
    """What the user should know about the rows, one sentence or two each."""
    fingerprint: str
    """SHA-256 over texts, labels, their order and their side."""


def load_text_data(
    *,
    source: str | None,
    train: Path | None,
    validation: Path | None,
    text: str,
    label: str,
    rows: int | None,
    validation_share: float,
    seed: int,
) -> TextData:
    """Load, check, split and sample the data of a text classification study.

    Args:
        source: a built-in source (a key of `SOURCES`), or None with `train`.
        train: a CSV, TSV, JSONL or Parquet file, or None with `source`.
        validation: a file of the same kind; None takes a stratified share of the training rows.
        text: the column of the texts in the files.
        label: the column of the labels in the files.
        rows: how many training rows to sample after the split, None for all.
        validation_share: share of the rows to validate on where `validation` is None.
        seed: of the split and the sample.

    Raises:
        UserError: what the user gave cannot be read or cannot be trained on.
    """
    notices: list[str] = []
    where = "data.train" if source is None else f"data.source {source}"
    frame = _drop_empty(_read(source, train, text, label, where), where, notices)
    _check_labels(frame, label, where)
    if validation is None:
        notices.extend(_single_label_notices(frame, where))
        kept, held_out = split_rows(_codes(frame), validation_share, seed, where)
        sides = frame.iloc[kept], frame.iloc[held_out]
    else:
        other = read_table(validation, text, label, where="data.validation")
        sides = frame, _drop_empty(other, "data.validation", notices)
        notices.extend(_unknown_label_notices(*sides))
    labels = tuple(sorted(set(sides[0]["label"]) | set(sides[1]["label"])))
    training = _sample(sides[0], rows, seed, where, notices)
    notices.extend(_overlap_notices(training, sides[1], where, validation))
    data = TextData(
        train=_split(training, labels),
        validation=_split(sides[1], labels),
        labels=labels,
        notices=tuple(notices),
        fingerprint="",
    )
    return replace(data, fingerprint=_fingerprint(data))


def _read(
    source: str | None, train: Path | None, text: str, label: str, where: str
) -> pandas.DataFrame:
    if source is None:
        assert train is not None, "the study file names a source or a training file"
        return read_table(train, text, label, where=where)
    assert train is None, "the study file names a source or a training file, not both"
    if source not in SOURCES:
        raise UserError(
            f"data.source: no built-in source `{source}`.{close_matches(source, SOURCES)} "
            f"There is: {', '.join(sorted(SOURCES))}. Your own file goes into data.train."
        )
    frame = SOURCES[source]()
    return frame.assign(row=range(1, len(frame) + 1))


def _drop_empty(frame: pandas.DataFrame, where: str, notices: list[str]) -> pandas.DataFrame:
    empty = (frame["text"].str.strip() == "") | (frame["label"].str.strip() == "")
    if empty.all():
        raise UserError(f"{where}: none of its {len(frame)} rows has both a text and a label.")
    if empty.any():
        notices.append(
            f"{where}: {_rows(empty.sum())} of {len(frame)} without a text or without a label "
            f"dropped (row {_first(list(frame.loc[empty, 'row']))})."
        )
    return frame.loc[~empty]


def _check_labels(frame: pandas.DataFrame, label: str, where: str) -> None:
    labels = frame["label"].unique()
    if len(labels) == 1:
        raise UserError(
            f"{where}: all {len(frame)} rows have the label `{labels[0]}`; a classifier needs two "
            f"different labels at least. Is `{label}` the right column for data.label?"
        )


def _single_label_notices(frame: pandas.DataFrame, where: str) -> list[str]:
    counts = frame["label"].value_counts()
    single = sorted(counts.index[counts == 1])
    if not single:
        return []
    named = _first([f"`{name}` (1 row)" for name in single])
    return [
        f"{where}: labels that occur once cannot be validated on and stay in training: {named}."
    ]


def _unknown_label_notices(train: pandas.DataFrame, validation: pandas.DataFrame) -> list[str]:
    counts = validation["label"].value_counts()
    unknown = sorted(set(counts.index) - set(train["label"]))
    if not unknown:
        return []
    named = _first([f"`{name}` ({_rows(counts[name])})" for name in unknown])
    return [
        f"data.validation: labels that no training row has, so that no model can learn them and "
        f"their rows count as errors: {named}."
    ]


def _sample(
    frame: pandas.DataFrame, rows: int | None, seed: int, where: str, notices: list[str]
) -> pandas.DataFrame:
    if rows is None:
        return frame
    n_labels = frame["label"].nunique()
    if rows < n_labels:
        raise UserError(
            f"data.rows: {rows} rows cannot hold one of each of the {n_labels} labels in {where}; "
            f"at least {n_labels} are needed."
        )
    if rows > len(frame):
        notices.append(f"data.rows: {where} has {len(frame)} training rows, not {rows}; all used.")
        return frame
    return frame.iloc[sample_rows(_codes(frame), rows, seed)]


def _overlap_notices(
    train: pandas.DataFrame, validation: pandas.DataFrame, where: str, file: Path | None
) -> list[str]:
    known = set(train["text"].map(_normalised))
    shared = validation.loc[validation["text"].map(_normalised).isin(known)]
    if shared.empty:
        return []
    place = where if file is None else "data.validation"
    return [
        f"{place}: {_rows(len(shared))} of {len(validation)} in validation with a text that stands"
        " in training too, apart from case and spaces"
        f" (row {_first(list(shared['row']))}): scores will be too good."
    ]


def _codes(frame: pandas.DataFrame) -> NDArray[numpy.int64]:
    codes, _ = pandas.factorize(frame["label"])
    return codes.astype(numpy.int64)


def _normalised(text: str) -> str:
    return " ".join(text.split()).casefold()


def _split(frame: pandas.DataFrame, labels: tuple[str, ...]) -> Split:
    index = {name: position for position, name in enumerate(labels)}
    return Split(
        texts=tuple(frame["text"]),
        labels=numpy.array([index[name] for name in frame["label"]], dtype=numpy.int64),
    )


def _fingerprint(data: TextData) -> str:
    digest = hashlib.sha256()
    for side in (data.train, data.validation):
        digest.update(f"{len(side.texts)}\n".encode())
        for text, label in zip(side.texts, side.labels, strict=True):
            for part in (text.encode(), data.labels[label].encode()):
                # With its length before it, no two sequences of parts are the same bytes.
                digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


def _first(items: Sequence[object]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(str(item) for item in list(items)[:_SHOWN]) + more
