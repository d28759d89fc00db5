"""The rows that a bundle is explained with: a file's, with labels that the bundle knows."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import pandas

from space.errors import UserError, close_matches
from trainers.bundle import BundleConfig, LoadedBundle
from trainers.data import Split
from trainers.data.dataset import split_of, usable_rows
from trainers.data.labelling import Labelling, one_stratum
from trainers.data.labels import labelling_of
from trainers.data.notices import in_rows
from trainers.data.stratify import sample_rows

WHERE = "--data"


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedRows:
    """Rows with their labels, as the bundle's task has them."""

    split: Split
    numbers: tuple[int, ...]
    """Of each row its number in the file, from 1."""
    names: tuple[str, ...]
    """What each image is called; none of other rows."""
    n_usable: int
    """How many rows of the file could have been taken."""
    seed: int
    """Of the sample, where not all were."""
    notices: tuple[str, ...]
    """What the user should know of the file, a sentence or two each."""

    def __len__(self) -> int:
        return len(self.split)


def explained_rows(
    bundle: LoadedBundle, path: Path, *, n_rows: int | None, seed: int
) -> ExplainedRows:
    """Read the rows of a file, or a sample of them, stratified by label.

    Args:
        bundle: whose columns and labels they have.
        path: what a study's `data.train` may be.
        n_rows: at most so many; None: all.
        seed: of the sample.

    Raises:
        UserError: the file cannot be read, lacks a column, or has a label that the bundle does not
            know.
    """
    config, task = bundle.config, bundle.config.what
    if "image" not in task.inputs and path.is_dir():
        raise UserError(f"{WHERE} {path}: is a folder; name a file of rows.")
    notices: list[str] = []
    frame = usable_rows(task, None, path, config.columns, WHERE, notices)
    labelling = labelling_of(task, config.columns)
    _check_labels(labelling, frame, config, path)
    taken = frame
    if n_rows is not None and n_rows < len(frame):
        strata = labelling.strata(frame)
        if n_rows < len(numpy.unique(strata)):
            strata = one_stratum(frame)
        taken = frame.iloc[sample_rows(strata, n_rows, seed)]
    split = split_of(
        task, labelling, taken, config.labels, config.scale, bundle.backbone.image, WHERE
    )
    return ExplainedRows(
        # Rows of a single token are kept: they have no next token to answer for, but a routing.
        split=replace(split, labelled=task.labels != "none"),
        numbers=tuple(map(int, taken["row"])),
        names=tuple(taken["name"]) if "name" in taken else (),
        n_usable=len(frame),
        seed=seed,
        notices=tuple(notices),
    )


def _check_labels(
    labelling: Labelling, frame: pandas.DataFrame, config: BundleConfig, path: Path
) -> None:
    """Raise UserError where rows have labels that the bundle has no answer for."""
    counts = labelling.counts(frame)
    problems = []
    for name in sorted(counts.keys() - set(config.labels)):
        row = next(
            int(row)
            for own, row in zip(frame["label"], frame["row"], strict=True)
            if name in _labels_of(own, config.columns.label_separator)
        )
        problems.append(
            f"{WHERE} {path}, row {row}: the bundle does not know the label {name!r}"
            f" ({in_rows(counts[name])}).{close_matches(name, config.labels)}"
        )
    if problems:
        known = ", ".join(config.labels[:20]) + (" ..." if len(config.labels) > 20 else "")
        shown = problems[:10]
        if len(problems) > len(shown):
            shown.append(f"{WHERE} {path}: {len(problems) - len(shown)} more unknown labels.")
        raise UserError([*shown, f"{WHERE} {path}: the labels of the bundle are {known}."])


def _labels_of(label: Any, separator: str | None) -> tuple[str, ...]:
    """Return the labels that a row has: one, several, or one a word."""
    if not isinstance(label, str):
        return tuple(label)
    return (label,) if separator is None else tuple(p.strip() for p in label.split(separator))
