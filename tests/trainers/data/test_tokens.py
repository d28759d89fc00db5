"""Token tables against the tokenizer itself."""

import numpy
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Tokenizer, PreTrainedTokenizerFast

from space.cost import TokenStats
from space.errors import UserError
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


def byte_pairs(**changes):
    """Return a tokenizer of single bytes to which the blank before a word is part of it."""
    parts = Tokenizer(models.BPE(vocab=ALPHABET, merges=[]))
    parts.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=parts, **changes)


ALPHABET = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
WORDS = (("New", "York", "is", "big"), ("x",))


@pytest.mark.parametrize("own_blanks", [False, True])
def test_words_are_read_as_in_running_text(own_blanks):
    tokenizer = GPT2Tokenizer(vocab=ALPHABET, merges=[], add_prefix_space=True)
    if not own_blanks:
        tokenizer = byte_pairs()
    tags = [numpy.arange(len(words)) for words in WORDS]
    table = tokenize(
        Split(inputs={"words": WORDS}, labels=tags), TASKS["token-classification"], tokenizer, 30
    )
    for row, words in enumerate(WORDS):
        own = slice(table.offsets[row], table.offsets[row + 1])
        assert table.ids[own].tolist() == tokenizer(" ".join(words))["input_ids"]
        labels = table.labels[own]
        assert labels[labels != IGNORED].tolist() == list(range(len(words)))
    assert table.notices == ()


def test_a_tokenizer_that_cannot_tell_words_apart_is_refused():
    class Slow(PreTrainedTokenizerFast):
        is_fast = False

    slow = Slow(tokenizer_object=byte_pairs().backend_tokenizer)
    split = Split(inputs={"words": WORDS}, labels=[numpy.zeros(4), numpy.zeros(1)])
    with pytest.raises(UserError, match=r"its tokenizer \(Slow\) does not tell which word"):
        tokenize(split, TASKS["token-classification"], slow, 30)


def test_words_that_are_not_read_are_counted(tokenizer):
    words = (("a", "\u200b", "b"), ("a",) * 20)
    split = Split(inputs={"words": words}, labels=[numpy.zeros(3, int), numpy.zeros(20, int)])
    (notice,) = tokenize(split, TASKS["token-classification"], tokenizer, 16).notices
    assert notice.startswith("7 of 23 words are not read")


@pytest.mark.parametrize(("n_texts", "n_special"), [(1, 2), (2, 3)])
def test_a_length_without_room_for_words_is_refused(tokenizer, n_texts, n_special):
    names = ["text", "text_pair"][:n_texts]
    task = TASKS["text-classification" if n_texts == 1 else "text-pair-classification"]
    split = Split(inputs=dict.fromkeys(names, ("a b c", "d")), labels=numpy.zeros(2))
    with pytest.raises(UserError, match=rf"data\.max_length: must be above {n_special}, .* got"):
        tokenize(split, task, tokenizer, n_special)
    assert tokenize(split, task, tokenizer, n_special + 1).lengths.max() == n_special + 1


def texts_of_a_language_model(texts, **changes):
    split = Split(inputs={"text": texts}, labels=numpy.zeros(len(texts)), **changes)
    return tokenize(split, TASKS["causal-lm"], byte_pairs(), 8)


def test_rows_without_a_next_token_are_dropped_where_they_are_to_be_learned():
    texts = ("x", "ab", "y", "abc")
    table = texts_of_a_language_model(texts)
    assert table.lengths.tolist() == [2, 3] and len(table.labels) == 5
    assert table.notices[0].startswith("2 rows of 4 with fewer than two tokens dropped")
    whole = texts_of_a_language_model(texts, labelled=False)
    assert whole.lengths.tolist() == [1, 2, 1, 3] and whole.notices == ()


def test_nothing_but_single_tokens_is_refused():
    with pytest.raises(UserError, match=r"no row has two tokens"):
        texts_of_a_language_model(("x", "y"))
    assert len(texts_of_a_language_model(("x", "y"), labelled=False)) == 2


def test_texts_are_told_apart_only_where_asked(tokenizer):
    split = Split(inputs={"text": ("a",), "text_pair": ("b",)}, labels=numpy.zeros(1))
    task = TASKS["text-pair-classification"]
    assert tokenize(split, task, tokenizer, 9).type_ids is not None
    assert tokenize(split, task, tokenizer, 9, type_ids=False).type_ids is None
