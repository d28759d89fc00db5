"""From rows to what a backbone reads."""

from typing import Protocol

import numpy
from numpy.typing import NDArray

from space.cost import TokenStats
from trainers.backbone import Backbone
from trainers.data.batch import Batch, Rows
from trainers.data.dataset import Split
from trainers.data.pixels import image_table
from trainers.data.tokens import tokenize
from trainers.tasks import Task


class Table(Protocol):
    """Rows ready to be made into batches."""

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """Shape (rows,): tokens of each row."""

    def __len__(self) -> int: ...

    def collate(self, rows: Rows) -> Batch:
        """Build the batch of these rows."""


def encode(split: Split, task: Task, backbone: Backbone, max_length: int) -> Table:
    """Return the rows of a split as a backbone reads them.

    Args:
        split: texts, words or images.
        task: what is learned.
        backbone: whose tokenizer or size of images it is.
        max_length: texts are cut at so many tokens.
    """
    if backbone.image is not None:
        return image_table(split, backbone.image)
    assert backbone.tokenizer is not None
    return tokenize(split, task, backbone.tokenizer, max_length)


def token_stats(table: Table) -> TokenStats:
    """Return what the cost model needs: how many rows have how many tokens."""
    return TokenStats.of(table.lengths.tolist())
