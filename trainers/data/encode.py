"""From rows to what a backbone reads."""

import inspect
from typing import Any, Protocol

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

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of how the rows are read, a sentence or two each."""

    def __len__(self) -> int: ...

    def __hash__(self) -> int: ...

    def collate(self, rows: Rows) -> Batch:
        """Build the batch of these rows."""


def encode(split: Split, task: Task, backbone: Backbone, max_length: int) -> Table:
    """Return the rows of a split as a backbone reads them.

    Args:
        split: texts, words or images.
        task: what is learned.
        backbone: whose tokenizer or size of images it is.
        max_length: texts are cut at so many tokens.

    Raises:
        UserError: nothing of the rows can be read so.
    """
    if backbone.image is not None:
        return image_table(split, backbone.image)
    assert backbone.tokenizer is not None
    pairs = tells_texts_apart(backbone.model)
    return tokenize(split, task, backbone.tokenizer, max_length, type_ids=pairs)


def tells_texts_apart(model: Any) -> bool:
    """Return whether a model takes the ids that tell two texts apart, 0 and 1."""
    accepted = inspect.signature(model.forward).parameters
    # RoBERTa's kind takes them, but knows the 0 alone.
    return "token_type_ids" in accepted and getattr(model.config, "type_vocab_size", 2) > 1


def token_stats(table: Table) -> TokenStats:
    """Return what the cost model needs: how many rows have how many tokens."""
    return TokenStats.of(table.lengths.tolist())
