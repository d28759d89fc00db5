"""Token tables against the tokenizer itself."""

import numpy
import pytest

from space.cost import TokenStats
from trainers.data import Split, token_stats, tokenize, tokens
from trainers.tasks import IGNORED, TASKS, task_of

CLASSES = TASKS["text-classification"]
TEXTS = ("a cat", "the quick brown fox jumps over the lazy dog " * 5, "日本語 🙂", "one")


@pytest.fixture
def split():
    return Split(inputs={"text": TEXTS}, labels=numpy.array([0, 1, 1, 0]))


def test_rows_are_what_the_tokenizer_gives(split, tokenizer):
    table = tokenize(split, CLASSES, tokenizer, 16)
    assert table.ids.dtype == "int32" and table.offsets.dtype == "int64" and len(table) == 4
    for index, text in enumerate(TEXTS):
        row = table.ids[table.offsets[index] : table.offsets[index + 1]]
        assert row.tolist() == tokenizer(text, truncation=True, max_length=16)["input_ids"]
    assert table.lengths.tolist()[1] == 16 and table.lengths.max() == 16
    assert table.labels.tolist() == [0, 1, 1, 0]


def test_chunks_make_no_difference(split, tokenizer, monkeypatch):
    whole = tokenize(split, CLASSES, tokenizer, 16)
    monkeypatch.setattr(tokens, "_CHUNK_TEXTS", 3)
    parts = tokenize(split, CLASSES, tokenizer, 16)
    assert (whole.ids == parts.ids).all() and (whole.offsets == parts.offsets).all()


def test_stats(split, tokenizer):
    table = tokenize(split, CLASSES, tokenizer, 16)
    lengths = table.lengths.tolist()
    assert token_stats(table) == TokenStats.of(lengths)


def test_no_rows(tokenizer):
    empty = Split(inputs={"text": ()}, labels=numpy.array([], dtype="int64"))
    table = tokenize(empty, CLASSES, tokenizer, 16)
    assert len(table) == 0 and table.offsets.tolist() == [0]


def test_pairs_are_what_the_tokenizer_gives(tokenizer):
    first, second = ("a cat", "one two three four five"), ("a dog runs", "six seven")
    split = Split(inputs={"text": first, "text_pair": second}, labels=numpy.zeros(2))
    table = tokenize(split, TASKS["text-pair-classification"], tokenizer, 9)
    for row in range(2):
        own = slice(table.offsets[row], table.offsets[row + 1])
        wanted = tokenizer(first[row], second[row], truncation="longest_first", max_length=9)
        assert table.ids[own].tolist() == wanted["input_ids"]
        assert table.type_ids[own].tolist() == wanted["token_type_ids"]


def test_a_words_tag_stands_at_its_first_piece(tokenizer):
    words = (("Empire", "antidisestablishmentarianism", "!"), ("a",) * 20)
    tags = [numpy.array([1, 2, 0]), numpy.arange(20)]
    table = tokenize(
        Split(inputs={"words": words}, labels=tags), TASKS["token-classification"], tokenizer, 16
    )
    pieces = [len(tokenizer.tokenize(word)) for word in words[0]]
    rest = [IGNORED] * (pieces[1] - 1)
    own = table.labels[table.offsets[0] : table.offsets[1]]
    assert pieces[1] > 1
    assert own.tolist() == [IGNORED, 1, 2, *rest, 0, IGNORED]
    # Of the second row only what fits is kept.
    assert table.labels[table.offsets[1] :].tolist() == [IGNORED, *range(14), IGNORED]


def test_where_the_next_token_is_learned_tokens_are_labels(split, tokenizer):
    table = tokenize(split, TASKS["causal-lm"], tokenizer, 16)
    batch = table.collate([0, 1])
    real = batch.inputs["attention_mask"].bool()
    assert (batch.labels[real] == batch.inputs["input_ids"][real]).all()
    assert (batch.labels[~real] == IGNORED).all()


def test_a_number_of_a_pair_is_a_task_of_its_own():
    assert task_of("text-regression", text_pair="other").inputs == ("text", "text_pair")
    assert task_of("text-regression").inputs == ("text",)
