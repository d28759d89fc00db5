"""CoNLL files: words and tags as they stand there, every mistake told with its line."""

import json

import numpy
import pandas
import pytest

from space.errors import UserError
from tests.trainers.data.test_dataset import SHARED as SHARED_DATA
from tests.trainers.data.test_dataset import load, shared_data
from trainers.data.conll import read_conll
from trainers.tasks import TASKS

TASK = TASKS["token-classification"]
SENTENCES = [
    (("fly", "to", "New", "York"), ("O", "O", "B-city", "I-city")),
    (("play", "Dune"), ("O", "B-movie")),
]


def conll(sentences, separator="\t"):
    return "\n\n".join(
        "\n".join(f"{word}{separator}{tag}" for word, tag in zip(*sentence, strict=True))
        for sentence in sentences
    )


def read(path):
    return [(s.words, s.tags) for s in read_conll(path, "data.train")]


@pytest.mark.parametrize("separator", ["\t", " "])
@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
def test_sentences_are_parted_by_blank_lines(write_text, separator, end):
    path = write_text("t.conll", conll(SENTENCES, separator) + end)
    assert read(path) == SENTENCES


def test_the_tag_is_in_the_last_column_and_documents_are_no_words(write_text):
    text = "-DOCSTART- -X- O\n\nNew NNP B-city\nYork NNP I-city\n"
    assert read(write_text("t.conll", text)) == [(("New", "York"), ("B-city", "I-city"))]


def test_line_ends_of_windows(write_text):
    path = write_text("t.conll", conll(SENTENCES).replace("\n", "\r\n"))
    assert read(path) == SENTENCES


def test_a_line_with_other_columns_is_told(write_text):
    path = write_text("t.conll", "New\tB-city\nYork\n")
    with pytest.raises(UserError, match=r"line 2, has 1 column, but the first has 2: 'York'"):
        read(path)


def test_what_is_not_utf8_is_told(write_text):
    path = write_text("t.conll", b"caf\xe9\tO\n")
    with pytest.raises(UserError, match=r"is not UTF-8"):
        read(path)


def many(n=20):
    return [SENTENCES[i % 2] for i in range(n)]


def test_lists_in_a_table_are_the_same_as_conll(write_text):
    lines = "\n".join(json.dumps({"text": w, "label": t}) for w, t in many())
    from_lists = load(task=TASK, train=write_text("t.jsonl", lines))
    from_conll = load(task=TASK, train=write_text("t.conll", conll(many())))
    assert from_lists.fingerprint == from_conll.fingerprint
    assert from_lists.labels == ("O", "B-city", "B-movie", "I-city")
    words, tags = from_conll.train.inputs["words"], from_conll.train.labels
    named = [tuple(from_conll.labels[tag] for tag in row) for row in tags]
    assert set(zip(words, named, strict=True)) == set(SENTENCES)
    assert {row.dtype for row in tags} == {numpy.dtype("int64")}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": ["a"], "label": ["O", "O"]}, r"row 1: 1 words, but 2 tags"),
        ({"text": "a b", "label": ["O"]}, r"row 1: `text` is a list of texts such as .* 'a b'"),
        ({"text": ["a", 1], "label": ["O", "O"]}, r"row 1: `text` is a list of texts"),
    ],
)
def test_lists_that_do_not_fit_are_told(write_text, row, message):
    path = write_text("t.jsonl", json.dumps(row) + "\n")
    with pytest.raises(UserError, match=message):
        load(task=TASK, train=path)


def test_a_file_of_words_alone_has_nothing_to_learn(write_text):
    with pytest.raises(UserError, match=r"has words, but no column of tags"):
        load(task=TASK, train=write_text("t.conll", "New\nYork\n"))


def test_one_tag_only_is_nothing_to_learn(write_text):
    with pytest.raises(UserError, match=r"all words have the tag `O`"):
        load(task=TASK, train=write_text("t.conll", "a\tO\n\n" * 9))


def test_tags_that_go_on_with_nothing_and_other_schemes_are_told(write_text):
    odd = [(("a", "b"), ("I-city", "O")), (("c", "d"), ("S-city", "O"))]
    notices = load(task=TASK, train=write_text("t.conll", conll([*many(), *odd]))).notices
    line = len(conll(many()).splitlines()) + 2
    first, second = notices[:2]
    assert f"1 tags such as I-city (line {line}) stand behind no word of the same" in first
    assert f"tags such as S-city (line {line + 3}) belong to another scheme" in second


def test_tags_of_the_validation_file_alone_are_told(write_text):
    new = [(("x",), ("B-new",)), (("y", "z"), ("O", "O"))]
    data = load(
        task=TASK,
        train=write_text("t.conll", conll(many())),
        validation=write_text("v.conll", conll(new)),
    )
    assert any("labels that no training row has" in n and "`B-new`" in n for n in data.notices)


def test_empty_sentences_are_dropped(write_text):
    rows = [*({"text": w, "label": t} for w, t in many()), {"text": [], "label": []}]
    path = write_text("t.jsonl", "\n".join(map(json.dumps, rows)))
    data = load(task=TASK, train=path)
    assert len(data.train) + len(data.validation) == 20
    assert any("1 row of 21 without words" in notice for notice in data.notices)


def test_a_parquet_file_of_lists(tmp_path):
    path = tmp_path / "t.parquet"
    words, tags = zip(*((list(w), list(t)) for w, t in many()), strict=True)
    pandas.DataFrame({"text": words, "label": tags}).to_parquet(path)
    assert len(load(task=TASK, train=path).labels) == 4


@shared_data
@pytest.mark.parametrize(("name", "n_rows"), [("wnut17", 3394), ("snips_slots", 6000)])
def test_real_files(name, n_rows):
    folder = SHARED_DATA / name
    data = load(task=TASK, train=folder / "train.conll", validation=folder / "validation.conll")
    assert len(data.train) == n_rows
    assert data.labels[0] == "O"


@pytest.mark.parametrize(
    ("line", "message"),
    [("York\t", r"line 2, has an empty tag: 'York'"), ("\tO", r"line 2, has an empty word")],
)
def test_an_empty_column_is_told(write_text, line, message):
    with pytest.raises(UserError, match=message):
        read(write_text("t.conll", f"New\tB-city\n{line}\n"))


def test_a_blank_that_is_not_ascii_is_part_of_a_word(write_text):
    text = "10\u00a0km B-length\n\u3000x O\n"
    assert read(write_text("t.conll", text)) == [(("10\u00a0km", "\u3000x"), ("B-length", "O"))]


def test_each_sentence_knows_its_row_and_line(write_text):
    text = "-DOCSTART- O\n\na O\nb O\n-DOCSTART- O\nc O\n\n\nd O"
    found = read_conll(write_text("t.conll", text), "data.train")
    assert [(s.row, s.line, s.words[0]) for s in found] == [(1, 3, "a"), (2, 6, "c"), (3, 9, "d")]


@pytest.mark.parametrize("words", ['["\\ud800"]', "[" * 100_000, '{"a": 1}', "null"])
def test_a_cell_that_holds_no_list_of_words_is_told(write_table, words):
    frame = pandas.DataFrame({"text": [words] * 9, "label": ['["O"]'] * 9})
    with pytest.raises(UserError, match=r"t\.csv`, row 1: `text`"):
        load(task=TASK, train=write_table("t.csv", frame))


def test_an_empty_tag_in_a_list_is_told_with_its_row(write_text):
    rows = [{"text": w, "label": t} for w, t in many()]
    rows[4] = {"text": ["a", "b"], "label": ["O", ""]}
    path = write_text("t.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=r"data\.train: row 5: a word has an empty tag"):
        load(task=TASK, train=path)


def test_tags_of_the_validation_file_are_looked_at_too(write_text):
    odd = [(("a", "b"), ("I-city", "x_city")), (("c",), ("B-movie",))]
    data = load(
        task=TASK,
        train=write_text("t.conll", conll(many())),
        validation=write_text("v.conll", conll(odd)),
    )
    orphan, prefix, unknown = data.notices
    assert orphan.startswith("data.validation: 1 tags such as I-city (line 1) stand behind no word")
    assert "1 tags such as x_city (line 2) begin with neither B- nor I-" in prefix
    assert "labels that no training row has" in unknown and "`x_city` (1 row)" in unknown


@pytest.mark.parametrize("tags", [("NOUN", "VERB"), ("B-a", "I-a"), ("B", "O"), ("B-a", "B-b")])
def test_tags_by_the_book_and_plain_ones_give_no_notice(write_text, tags):
    sentences = [((f"word{i}", f"other{i}"), tags) for i in range(9)]
    assert load(task=TASK, train=write_text("t.conll", conll(sentences))).notices == ()


def test_another_kind_of_file_is_told_with_all_that_there_are(write_text):
    with pytest.raises(UserError, match=r"must end in \.conll, \.txt, \.csv"):
        load(task=TASK, train=write_text("t.xml", "<a/>"))
