"""Batches: each row once, little padding, an order that follows from seed and epoch."""

import numpy
import pytest
import torch

from trainers.data import LikeLengthBatches, Split, TokenTable, sorted_batches, tokenize
from trainers.tasks import IGNORED, TASKS


def table_of(lengths, pad_id=0, **changes):
    lengths = numpy.asarray(lengths)
    offsets = numpy.concatenate([[0], numpy.cumsum(lengths)])
    ids = numpy.arange(1, offsets[-1] + 1, dtype="int32")
    fields = {
        "ids": ids,
        "type_ids": None,
        "offsets": offsets,
        "labels": numpy.arange(len(lengths)),
        "per_token": False,
        "pad_id": pad_id,
    }
    return TokenTable(**(fields | changes))


def padding_share(lengths, batches):
    padded = sum(lengths[rows].max() * len(rows) for rows in batches)
    return 1 - lengths.sum() / padded


@pytest.fixture
def lengths():
    return numpy.random.default_rng(0).geometric(0.05, 10_007)


def test_collate_pads_to_the_longest_row_of_the_batch():
    batch = table_of([3, 1, 2, 9], pad_id=99).collate([2, 0])
    assert batch.inputs["input_ids"].tolist() == [[5, 6, 99], [1, 2, 3]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.labels.tolist() == [2, 0]
    assert {tensor.dtype for tensor in batch.inputs.values()} == {torch.int64}


def test_collate_reaches_the_last_row():
    batch = table_of([4, 1]).collate([0, 1])
    assert batch.inputs["input_ids"].tolist() == [[1, 2, 3, 4], [5, 0, 0, 0]]


def test_labels_of_tokens_are_padded_with_what_is_not_scored():
    table = table_of([1, 3], labels=numpy.array([7, 8, IGNORED, 9]), per_token=True)
    assert table.collate([0, 1]).labels.tolist() == [[7, IGNORED, IGNORED], [8, IGNORED, 9]]


def test_second_texts_are_told_apart():
    table = table_of([2, 3], type_ids=numpy.array([0, 1, 0, 1, 1], dtype="int32"))
    assert table.collate([0, 1]).inputs["token_type_ids"].tolist() == [[0, 1, 0], [0, 1, 1]]


def test_a_batch_moves_whole():
    batch = table_of([2, 3]).collate([0, 1]).to(torch.device("meta"))
    assert {tensor.device.type for tensor in (*batch.inputs.values(), batch.labels)} == {"meta"}


def test_collate_equals_the_tokenizers_own_padding(tokenizer):
    texts = ("a cat", "the quick brown fox jumps", "one more")
    split = Split(inputs={"text": texts}, labels=numpy.zeros(3, dtype="int64"))
    batch = tokenize(split, TASKS["text-classification"], tokenizer, 16).collate(range(3))
    wanted = tokenizer(list(texts), padding=True, return_tensors="pt")
    assert torch.equal(batch.inputs["input_ids"], wanted["input_ids"])
    assert torch.equal(batch.inputs["attention_mask"], wanted["attention_mask"])


@pytest.mark.parametrize("n_rows", [1, 31, 32, 33, 1600, 1601, 10_007])
def test_each_row_once_an_epoch(lengths, n_rows):
    batches = LikeLengthBatches(lengths[:n_rows], 32, seed=0)
    for epoch in range(2):
        batches.set_epoch(epoch)
        rows = list(batches)
        assert len(rows) == len(batches)
        assert sorted(numpy.concatenate(rows)) == list(range(n_rows))
        assert sum(len(batch) < 32 for batch in rows) <= 1


def test_padding_is_far_below_that_of_a_random_order(lengths):
    random = numpy.array_split(numpy.random.default_rng(1).permutation(len(lengths)), 313)
    alike = padding_share(lengths, LikeLengthBatches(lengths, 32, seed=0))
    assert alike < 0.1 < 0.6 < padding_share(lengths, random)
    assert padding_share(lengths, sorted_batches(lengths, 32)) < alike


def order(lengths, seed, epoch):
    batches = LikeLengthBatches(lengths, 32, seed)
    batches.set_epoch(epoch)
    return numpy.concatenate(list(batches)).tolist()


def test_seed_and_epoch_alone_give_the_order(lengths):
    assert order(lengths, 5, 1) == order(lengths, 5, 1)
    assert order(lengths, 5, 1) != order(lengths, 5, 2)
    assert order(lengths, 5, 1) != order(lengths, 6, 1)


def test_batches_do_not_come_in_the_order_of_length(lengths):
    means = [lengths[rows].mean() for rows in LikeLengthBatches(lengths, 32, seed=0)]
    assert abs(numpy.corrcoef(means, numpy.arange(len(means)))[0, 1]) < 0.2


def test_epochs_put_rows_together_anew(lengths):
    batches = LikeLengthBatches(lengths, 32, seed=0)
    first = {frozenset(rows.tolist()) for rows in batches}
    batches.set_epoch(1)
    assert first.isdisjoint(frozenset(rows.tolist()) for rows in batches)


def test_sorted_batches_hold_each_row_once_in_order(lengths):
    batches = sorted_batches(lengths, 128)
    rows = numpy.concatenate(batches)
    assert sorted(rows) == list(range(len(lengths)))
    assert (numpy.diff(lengths[rows]) >= 0).all()
    assert {len(batch) for batch in batches[:-1]} == {128}
