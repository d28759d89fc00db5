"""The data module in Lightning's own loop."""

import logging

import numpy
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from trainers.data import Batch, StudyDataModule, TokenTable

# Lightning 2.6.6 uses a class of torch's that torch 2.13 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning")


class Recorder(LightningModule):
    """Keeps the rows that it sees: their labels are their numbers."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": {}, "validation": {}}

    def note(self, side, batch):
        assert isinstance(batch, Batch)
        self.seen[side].setdefault(self.current_epoch, []).append(batch.labels.tolist())

    def training_step(self, batch):
        self.note("train", batch)
        self.log("loss", self.weight)
        return self.weight * 1.0

    def validation_step(self, batch):
        self.note("validation", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def table(n_rows):
    lengths = numpy.random.default_rng(0).integers(1, 30, n_rows)
    offsets = numpy.concatenate([[0], numpy.cumsum(lengths)])
    return TokenTable(
        ids=numpy.ones(offsets[-1], dtype="int32"),
        type_ids=None,
        offsets=offsets,
        labels=numpy.arange(n_rows),
        per_token=False,
        pad_id=0,
    )


def seen_in_training(seed):
    module = Recorder()
    data = StudyDataModule(
        train=table(100), validation=table(50), batch_size=8, validation_factor=4, seed=seed
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data.train_dataloader(), data.val_dataloader())
    return module.seen


@pytest.fixture(scope="module")
def seen():
    return seen_in_training(seed=0)


def flat(batches):
    return [row for batch in batches for row in batch]


def test_every_epoch_holds_every_row_once(seen):
    for epoch in range(3):
        assert sorted(flat(seen["train"][epoch])) == list(range(100))
        assert sorted(flat(seen["validation"][epoch])) == list(range(50))


def test_each_epoch_has_an_order_of_its_own(seen):
    orders = [flat(seen["train"][epoch]) for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_the_orders_follow_from_the_seed(seen):
    assert seen_in_training(seed=0) == seen
    assert seen_in_training(seed=1)["train"] != seen["train"]


def test_validation_has_one_order_and_larger_batches(seen):
    first, *others = (seen["validation"][epoch] for epoch in range(3))
    assert all(other == first for other in others)
    assert [len(batch) for batch in first] == [32, 18]
    assert max(len(batch) for batch in seen["train"][0]) == 8
