"""Batches: which rows run together."""

from collections.abc import Iterator

import numpy
from numpy.typing import NDArray

from trainers.data.batch import Rows

# Batches whose rows are sorted together: many make little padding, few leave the order random.
_POOL_BATCHES = 50


class LikeLengthBatches:
    """Batches of rows of like length, in an order that each epoch shuffles anew.

    The rows are shuffled, sorted by length within pools of 50 batches and cut into batches, and
    the batches are shuffled. Each row stands in one batch an epoch. The order follows from
    `seed` and the epoch alone.

    Args:
        lengths: shape (rows,), tokens of each row.
        batch_size: rows of a batch; the last one of the last pool may have fewer.
        seed: of the order.
        first_epoch: where a training that goes on begins.
        n_skipped: batches of that epoch that were done before.
    """

    def __init__(
        self,
        lengths: NDArray[numpy.int64],
        batch_size: int,
        seed: int,
        *,
        first_epoch: int = 0,
        n_skipped: int = 0,
    ) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._first_epoch = first_epoch
        self._n_skipped = n_skipped
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of epoch `epoch`, from 0. Lightning calls this before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        n_batches = -(-len(self._lengths) // self._batch_size)
        return n_batches - (self._n_skipped if self._epoch == 0 else 0)

    def __iter__(self) -> Iterator[Rows]:
        batches = self._batches(self._first_epoch + self._epoch)
        yield from batches[self._n_skipped if self._epoch == 0 else 0 :]

    def _batches(self, epoch: int) -> list[Rows]:
        generator = numpy.random.default_rng((self._seed, epoch))
        shuffled = generator.permutation(len(self._lengths))
        pool_rows = _POOL_BATCHES * self._batch_size
        batches: list[Rows] = []
        for start in range(0, len(shuffled), pool_rows):
            pool = shuffled[start : start + pool_rows]
            pool = pool[numpy.argsort(self._lengths[pool], kind="stable")]
            batches.extend(_cut(pool, self._batch_size))
        return [batches[position] for position in generator.permutation(len(batches))]


def sorted_batches(lengths: NDArray[numpy.int64], batch_size: int) -> list[Rows]:
    """Cut all rows, sorted by length, into batches: the least padding, always the same order."""
    return _cut(numpy.argsort(lengths, kind="stable"), batch_size)


def _cut(rows: Rows, batch_size: int) -> list[Rows]:
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
