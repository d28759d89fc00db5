"""Rows with hidden states of the frozen prefix beside their tokens.

`T` tokens of all rows, `B` batch, `N` tokens of the longest row in the batch, `D` width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.batch import Batch, Rows
from trainers.data.encode import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class RecalledTable:
    """A table whose batches carry known boundaries."""

    table: Table
    boundaries: Mapping[int, Tensor]
    """Hidden states (T, D) behind so many blocks, rows end to end, without padding."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """Shape (rows,): tokens of each row."""
        return self.table.lengths

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know of how the rows are read."""
        return self.table.notices

    def collate(self, rows: Rows) -> Batch:
        """Build the batch of these rows, with hidden states (B, N, D) for each boundary."""
        batch = self.table.collate(rows)
        places = token_places(self.lengths, numpy.asarray(rows, dtype=numpy.int64))
        index = torch.from_numpy(places.ravel())
        known = {
            boundary: states.index_select(0, index).view(*places.shape, -1)
            for boundary, states in self.boundaries.items()
        }
        return replace(batch, boundaries=known)


def token_places(lengths: NDArray[numpy.int64], rows: Rows) -> NDArray[numpy.int64]:
    """Return where the tokens of some rows stand, rows end to end: (B, N).

    In the place of padding stands the row's own last token: a batch mixes no rows.
    """
    ends = numpy.cumsum(lengths)[rows]
    own = lengths[rows]
    columns = numpy.arange(own.max())
    return (ends - own)[:, None] + numpy.minimum(columns, own[:, None] - 1)
