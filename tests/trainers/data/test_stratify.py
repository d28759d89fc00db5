"""Seeded choices of rows."""

import numpy
import pytest

from space.errors import UserError
from trainers.data.stratify import sample_rows, split_rows

LABELS = numpy.repeat(numpy.arange(4), [600, 300, 90, 10])


def test_a_split_keeps_the_shares_and_parts_all_rows():
    train, validation = split_rows(LABELS, 0.2, 0, "w")
    assert sorted([*train, *validation]) == list(range(1000))
    assert numpy.bincount(LABELS[validation]).tolist() == [120, 60, 18, 2]
    assert (numpy.diff(train) > 0).all() and (numpy.diff(validation) > 0).all()


def test_the_seed_decides():
    first, again, other = (split_rows(LABELS, 0.2, seed, "w")[1] for seed in (3, 3, 4))
    assert (first == again).all() and not (first == other).all()
    first, again, other = (sample_rows(LABELS, 100, seed) for seed in (3, 3, 4))
    assert (first == again).all() and not (first == other).all()


def test_labels_that_occur_once_stay_in_training():
    labels = numpy.array([0] * 10 + [1] * 10 + [2, 3])
    train, validation = split_rows(labels, 0.25, 0, "w")
    assert {20, 21} <= set(train) and {2, 3}.isdisjoint(labels[validation])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_the_number_of_rows_that_are_said_to_be_needed_is_right(share):
    labels = numpy.repeat(numpy.arange(5), 2)
    needed = None
    while True:
        try:
            split_rows(labels, share, 0, "data.train")
            break
        except UserError as error:
            assert needed is None or f"at least {needed} rows" in str(error)
            needed = int(str(error).split("at least ")[1].split()[0])
        labels = numpy.append(labels, len(labels) % 5)
    assert needed in (None, len(labels))


def test_nothing_but_single_labels():
    with pytest.raises(UserError, match=r"every label occurs once.*data\.label"):
        split_rows(numpy.arange(20), 0.2, 0, "data.train")


@pytest.mark.parametrize("n_rows", [4, 5, 50, 101, 999, 1000])
def test_a_sample_has_every_label_and_like_shares(n_rows):
    rows = sample_rows(LABELS, n_rows, 0)
    counts = numpy.bincount(LABELS[rows], minlength=4)
    assert len(set(rows)) == n_rows and (counts >= 1).all()
    assert numpy.abs(counts - numpy.array([0.6, 0.3, 0.09, 0.01]) * n_rows).max() <= 3
