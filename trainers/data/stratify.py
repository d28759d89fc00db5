"""Seeded, stratified choices of rows: the validation share, and a sample of a given size."""

import itertools
import math

import numpy
from numpy.typing import NDArray

from space.errors import UserError

Rows = NDArray[numpy.int64]


def split_rows(
    labels: Rows, share: float, seed: int, where: str, key: str = "data.validation_share"
) -> tuple[Rows, Rows]:
    """Part rows into training and validation rows with like shares of each label.

    A label that occurs once stays in training: one row cannot stand on both sides.

    Args:
        labels: shape (rows,), a number for the label of each row.
        share: share of the rows that go to validation, above 0 and below 1.
        seed: the same seed and labels give the same rows.
        where: what the user wrote the rows under, for messages.
        key: what the user wrote the share under.

    Returns:
        Sorted row indices of training and of validation.

    Raises:
        UserError: too few rows to give each side one row of each label.
    """
    # Imported here: what only answers must not need scikit-learn.
    from sklearn.model_selection import train_test_split

    _, inverse, counts = numpy.unique(labels, return_inverse=True, return_counts=True)
    frequent = counts[inverse] > 1
    rows = numpy.flatnonzero(frequent)
    n_labels = int((counts > 1).sum())
    if not _can_split(len(rows), n_labels, share):
        raise UserError(_too_few(len(rows), n_labels, share, where, key))
    train, validation = train_test_split(
        rows, test_size=share, random_state=seed, stratify=inverse[rows]
    )
    train = numpy.concatenate([train, numpy.flatnonzero(~frequent)])
    return numpy.sort(train), numpy.sort(validation)


def can_split(labels: Rows, share: float) -> bool:
    """Return whether `split_rows` can give each side a row of each label that occurs twice."""
    counts = numpy.unique(labels, return_counts=True)[1]
    frequent = counts[counts > 1]
    return _can_split(int(frequent.sum()), len(frequent), share)


def sample_rows(labels: Rows, n_rows: int, seed: int) -> Rows:
    """Choose `n_rows` rows with every label at least once, the rest in the labels' shares.

    Args:
        labels: as above; at least `n_rows` rows and at most `n_rows` different labels.
        n_rows: how many rows to choose.
        seed: the same seed and labels give the same rows.

    Returns:
        Sorted row indices.
    """
    _, inverse, counts = numpy.unique(labels, return_inverse=True, return_counts=True)
    assert len(counts) <= n_rows <= len(labels)
    quotas = 1 + _apportion(counts - 1, n_rows - len(counts))
    shuffled = numpy.random.default_rng(seed).permutation(len(labels))
    chosen: list[Rows] = [
        shuffled[inverse[shuffled] == index][:quota] for index, quota in enumerate(quotas)
    ]
    return numpy.sort(numpy.concatenate(chosen))


def _apportion(counts: Rows, seats: int) -> Rows:
    """Part `seats` in proportion to `counts` by largest remainders, never above a count."""
    if seats == 0:
        return numpy.zeros_like(counts)
    exact = counts * (seats / counts.sum())
    given: Rows = numpy.floor(exact).astype(numpy.int64)
    # The remainders that are zero come last, so no label gets more rows than it has.
    largest = numpy.argsort(given - exact, kind="stable")[: seats - int(given.sum())]
    given[largest] += 1
    return given


def _can_split(n_rows: int, n_labels: int, share: float) -> bool:
    n_validation = math.ceil(share * n_rows)  # As train_test_split rounds.
    return n_labels > 0 and min(n_validation, n_rows - n_validation) >= n_labels


def _too_few(n_rows: int, n_labels: int, share: float, where: str, key: str) -> str:
    held_out = key.removeprefix("data.").removesuffix("_share")
    if n_labels == 0:
        return (
            f"{where}: every label occurs once, so no row can be kept for {held_out}. "
            "Is data.label the right column?"
        )
    a_row = "a row" if n_labels == 1 else f"a row of each of {n_labels} labels"
    needed = next(n for n in itertools.count(2 * n_labels) if _can_split(n, n_labels, share))
    return (
        f"{where}: {n_rows} rows are too few for a {held_out} share of {share:g}: each side needs "
        f"{a_row}, so at least {needed} rows. Add rows, change "
        f"{key}, or name a file in data.{held_out}."
    )
