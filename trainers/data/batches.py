"""Batches: which rows run together, and their tensors.

B batch, N tokens of the longest row in the batch.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.tokens import TokenTable

Rows = NDArray[numpy.int64]

# Batches whose rows are sorted together: many make little padding, few leave the order random.
_POOL_BATCHES = 50


class Batch(NamedTuple):
    """A batch of token ids, padded on the right. A tuple, so that Lightning can move it."""

    input_ids: Tensor  # (B, N) int64
    attention_mask: Tensor  # (B, N) int64, 1 for a token and 0 for padding
    labels: Tensor  # (B,) int64


def collate(table: TokenTable, rows: Sequence[int] | Rows, pad_id: int) -> Batch:
    """Build the batch of these rows, padded to the longest of them with `pad_id`."""
    index = numpy.asarray(rows, dtype=numpy.int64)
    starts = table.offsets[index]
    lengths = table.offsets[index + 1] - starts
    columns = numpy.arange(lengths.max())
    mask = columns < lengths[:, None]  # (B, N)
    # Padding reads past its row's end: any valid position will do, as its id is replaced.
    positions = numpy.minimum(starts[:, None] + columns, len(table.ids) - 1)
    ids = numpy.where(mask, table.ids[positions], pad_id)
    return Batch(
        input_ids=torch.from_numpy(ids.astype(numpy.int64, copy=False)),
        attention_mask=torch.from_numpy(mask.astype(numpy.int64)),
        labels=torch.from_numpy(table.labels[index]),
    )


class LikeLengthBatches:
    """Batches of rows of like length, in an order that each epoch shuffles anew.

    The rows are shuffled, sorted by length within pools of 50 batches and cut into batches, and
    the batches are shuffled. Each row stands in one batch an epoch. The order follows from
    `seed` and the epoch alone.

    Args:
        lengths: shape (rows,), tokens of each row.
        batch_size: rows of a batch; the last one of the last pool may have fewer.
        seed: of the order.
    """

    def __init__(self, lengths: NDArray[numpy.int64], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of epoch `epoch`, from 0. Lightning calls this before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._batch_size)

    def __iter__(self) -> Iterator[Rows]:
        generator = numpy.random.default_rng((self._seed, self._epoch))
        shuffled = generator.permutation(len(self._lengths))
        pool_rows = _POOL_BATCHES * self._batch_size
        batches: list[Rows] = []
        for start in range(0, len(shuffled), pool_rows):
            pool = shuffled[start : start + pool_rows]
            pool = pool[numpy.argsort(self._lengths[pool], kind="stable")]
            batches.extend(_cut(pool, self._batch_size))
        for position in generator.permutation(len(batches)):
            yield batches[position]


def sorted_batches(lengths: NDArray[numpy.int64], batch_size: int) -> list[Rows]:
    """Cut all rows, sorted by length, into batches: the least padding, always the same order."""
    return _cut(numpy.argsort(lengths, kind="stable"), batch_size)


def _cut(rows: Rows, batch_size: int) -> list[Rows]:
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
