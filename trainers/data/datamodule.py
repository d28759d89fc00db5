"""The batches of a trial."""

from collections.abc import Iterator

from trainers.data.batch import Batch, Rows
from trainers.data.batches import LikeLengthBatches, sorted_batches
from trainers.data.encode import Table


class BatchLoader:
    """An iterable of ready batches; Lightning takes any iterable for a data loader.

    A batch is a gather from a flat array and takes 37 microseconds (32 rows); through torch's
    DataLoader it takes 75, and Lightning warns that the DataLoader has no workers.

    Args:
        table: the rows.
        sampler: which rows run together. Under this name Lightning looks for `set_epoch`, and
            beside it for a `batch_sampler`.
    """

    batch_sampler = None

    def __init__(self, table: Table, sampler: LikeLengthBatches | list[Rows]) -> None:
        self.sampler = sampler
        self._table: Table | None = table

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        assert self._table is not None, "it was closed"
        for rows in self.sampler:
            yield self._table.collate(rows)

    def close(self) -> None:
        """Let go of the rows."""
        self._table = None


class StudyDataModule:
    """Training batches of like length, shuffled each epoch, and validation batches in one order.

    Args:
        train: the training rows.
        validation: the validation rows.
        batch_size: rows of a training batch.
        validation_factor: of how many such rows a validation batch is.
        seed: of the order of the training batches, with the epoch.
    """

    def __init__(
        self,
        *,
        train: Table,
        validation: Table,
        batch_size: int,
        validation_factor: int,
        seed: int,
    ) -> None:
        self._train = train
        self._validation = validation
        self._batch_size = batch_size
        self._validation_factor = validation_factor
        self._seed = seed

    @property
    def n_batches(self) -> int:
        """How many training batches an epoch has."""
        return -(-len(self._train) // self._batch_size)

    @property
    def longest(self) -> int:
        """Tokens of the longest training row."""
        return int(self._train.lengths.max())

    def train_dataloader(self, after: int = 0) -> BatchLoader:
        """Return the training batches; the trainer sets their epoch.

        Args:
            after: steps that were done before; its first epoch is what is left of theirs.
        """
        epoch, n_skipped = divmod(after, self.n_batches)
        sampler = LikeLengthBatches(
            self._train.lengths,
            self._batch_size,
            self._seed,
            first_epoch=epoch,
            n_skipped=n_skipped,
        )
        return BatchLoader(self._train, sampler)

    def val_dataloader(self) -> BatchLoader:
        """Return the validation batches."""
        batches = sorted_batches(
            self._validation.lengths, self._validation_factor * self._batch_size
        )
        return BatchLoader(self._validation, batches)
