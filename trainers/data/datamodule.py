"""The batches of a trial as Lightning takes them."""

from collections.abc import Iterator

from lightning.pytorch import LightningDataModule

from trainers.data.batches import Batch, LikeLengthBatches, Rows, collate, sorted_batches
from trainers.data.tokens import TokenTable

# Without a backward pass nothing is kept for it, so that larger batches fit.
_VALIDATION_FACTOR = 4


class BatchLoader:
    """An iterable of ready batches; Lightning takes any iterable for a data loader.

    A batch is a gather from a flat array and takes 37 microseconds (32 rows); through torch's
    DataLoader it takes 75, and Lightning warns that the DataLoader has no workers.

    Args:
        table: the rows.
        sampler: which rows run together. Under this name Lightning looks for `set_epoch`, and
            beside it for a `batch_sampler`.
        pad_id: the token id of padding.
    """

    batch_sampler = None

    def __init__(
        self, table: TokenTable, sampler: LikeLengthBatches | list[Rows], pad_id: int
    ) -> None:
        self.sampler = sampler
        self._table = table
        self._pad_id = pad_id

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.sampler:
            yield collate(self._table, rows, self._pad_id)


class TextDataModule(LightningDataModule):
    """Training batches of like length, shuffled each epoch, and validation batches in one order.

    Args:
        train: the training rows.
        validation: the validation rows.
        batch_size: rows of a training batch; validation takes four times as many.
        seed: of the order of the training batches, with the epoch.
        pad_id: the tokenizer's id of padding.
    """

    def __init__(
        self,
        *,
        train: TokenTable,
        validation: TokenTable,
        batch_size: int,
        seed: int,
        pad_id: int,
    ) -> None:
        super().__init__()
        self._train = train
        self._validation = validation
        self._batch_size = batch_size
        self._seed = seed
        self._pad_id = pad_id

    def train_dataloader(self) -> BatchLoader:
        """Return the training batches; the trainer sets their epoch."""
        sampler = LikeLengthBatches(self._train.lengths, self._batch_size, self._seed)
        return BatchLoader(self._train, sampler, self._pad_id)

    def val_dataloader(self) -> BatchLoader:
        """Return the validation batches."""
        batches = sorted_batches(self._validation.lengths, _VALIDATION_FACTOR * self._batch_size)
        return BatchLoader(self._validation, batches, self._pad_id)
