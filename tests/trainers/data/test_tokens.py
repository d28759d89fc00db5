"""Token tables against the tokenizer itself."""

import numpy
import pytest

from space.cost import TokenStats
from trainers.data import Split, token_stats, tokenize, tokens

TEXTS = ("a cat", "the quick brown fox jumps over the lazy dog " * 5, "日本語 🙂", "one")


@pytest.fixture
def split():
    return Split(texts=TEXTS, labels=numpy.array([0, 1, 1, 0]))


def test_rows_are_what_the_tokenizer_gives(split, tokenizer):
    table = tokenize(split, tokenizer, 16)
    assert table.ids.dtype == "int32" and table.offsets.dtype == "int64" and len(table) == 4
    for index, text in enumerate(TEXTS):
        row = table.ids[table.offsets[index] : table.offsets[index + 1]]
        assert row.tolist() == tokenizer(text, truncation=True, max_length=16)["input_ids"]
    assert table.lengths.tolist()[1] == 16 and table.lengths.max() == 16
    assert table.labels.tolist() == [0, 1, 1, 0]


def test_chunks_make_no_difference(split, tokenizer, monkeypatch):
    whole = tokenize(split, tokenizer, 16)
    monkeypatch.setattr(tokens, "_CHUNK_TEXTS", 3)
    parts = tokenize(split, tokenizer, 16)
    assert (whole.ids == parts.ids).all() and (whole.offsets == parts.offsets).all()


def test_stats(split, tokenizer):
    table = tokenize(split, tokenizer, 16)
    lengths = table.lengths.tolist()
    assert token_stats(table) == TokenStats(
        mean=sum(lengths) / 4, mean_square=sum(length**2 for length in lengths) / 4
    )


def test_no_rows(tokenizer):
    table = tokenize(Split(texts=(), labels=numpy.array([], dtype="int64")), tokenizer, 16)
    assert len(table) == 0 and table.offsets.tolist() == [0]
