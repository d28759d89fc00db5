"""A study's data: checked, split and sampled by a seed, and every oddity told."""

from pathlib import Path

import pandas
import pytest

from space.errors import UserError
from trainers.data import Columns, load_data, sources
from trainers.tasks import TASKS

SHARED = Path(__file__).parents[4] / "shared" / "data"
shared_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the public data sets are not at {SHARED}"
)


def load(**changes):
    arguments = {
        "source": None,
        "train": None,
        "validation": None,
        "columns": Columns(),
        "rows": None,
        "validation_share": 0.2,
        "seed": 0,
    }
    task = changes.pop("task", TASKS["text-classification"])
    return load_data(task, **(arguments | changes))


def texts(side):
    return side.inputs["text"]


def frame(n=60, labels=("a", "b", "c")):
    rows = [(f"text {i}", labels[i % len(labels)]) for i in range(n)]
    return pandas.DataFrame(rows, columns=["text", "label"])


@pytest.fixture
def train(write_table):
    return write_table("train.csv", frame())


def test_clean_rows_give_no_notice(train):
    data = load(train=train)
    assert data.labels == ("a", "b", "c") and data.notices == ()
    assert len(texts(data.train)) == 48 and len(texts(data.validation)) == 12
    assert sorted(texts(data.train) + texts(data.validation)) == sorted(frame()["text"])
    for side in (data.train, data.validation):
        wanted = dict(zip(frame()["text"], frame()["label"], strict=True))
        assert [data.labels[label] for label in side.labels] == [wanted[t] for t in texts(side)]
        assert side.labels.dtype == "int64"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_the_format_makes_no_difference(write_table, train, suffix):
    other = write_table(f"other{suffix}", frame())
    assert load(train=other).fingerprint == load(train=train).fingerprint


def test_the_same_again_and_another_seed(train):
    first, again, other = (load(train=train, rows=20, seed=seed) for seed in (1, 1, 2))
    assert texts(first.train) == texts(again.train)
    assert first.fingerprint == again.fingerprint
    assert texts(first.train) != texts(other.train)
    assert texts(first.validation) != texts(other.validation)


def test_rows_samples_training_only_and_keeps_validation(train):
    whole, part = load(train=train), load(train=train, rows=20)
    assert len(texts(part.train)) == 20 and part.notices == ()
    assert texts(part.validation) == texts(whole.validation)
    assert set(part.train.labels.tolist()) == {0, 1, 2}


def test_more_rows_than_there_are(train):
    data = load(train=train, rows=500)
    assert len(texts(data.train)) == 48
    assert data.notices == ("data.rows: data.train has 48 training rows, not 500; all used.",)


def test_fewer_rows_than_labels(train):
    with pytest.raises(UserError, match=r"data\.rows: 2 rows cannot hold one of each of the 3"):
        load(train=train, rows=2)


def test_empty_texts_and_labels_are_dropped_and_told(write_table):
    rows = frame()
    rows.loc[3, "text"] = "  \t "
    rows.loc[7, "label"] = ""
    rows.loc[20:40, "text"] = ""
    data = load(train=write_table("t.csv", rows))
    assert len(texts(data.train)) + len(texts(data.validation)) == 60 - 23
    (notice,) = data.notices
    assert "data.train: 23 rows of 60 without a text or without a label dropped" in notice
    assert "(row 4, 8, 21, 22, 23, 24, 25, 26, 27, 28 and 13 more)" in notice


def test_nothing_but_empty_rows(write_table):
    path = write_table("t.csv", frame().assign(text=" "))
    with pytest.raises(UserError, match=r"data\.train: none of its 60 rows has a text and a label"):
        load(train=path)


def test_one_label_only(write_table):
    rows = frame(labels=("a",))
    rows.loc[0] = ["", "b"]
    with pytest.raises(UserError, match=r"data\.train: all 59 rows have the label `a`"):
        load(train=write_table("t.csv", rows))


def test_labels_that_occur_once_are_told_and_go_to_training(write_table):
    rows = frame()
    rows.loc[4, "label"] = "rare"
    rows.loc[9, "label"] = "odd"
    data = load(train=write_table("t.csv", rows))
    (notice,) = data.notices
    assert notice.startswith("data.train: labels that occur once")
    assert notice.endswith("stay in training: `odd` (1 row), `rare` (1 row).")
    assert {"text 4", "text 9"} <= set(texts(data.train))
    assert data.labels == ("a", "b", "c", "odd", "rare")


def test_too_few_rows_to_split(write_table):
    path = write_table("t.csv", frame(n=10))
    with pytest.raises(UserError, match=r"data\.train: 10 rows are too few .* at least 11 rows"):
        load(train=path)


def test_own_validation_file(write_table, train):
    held_out = write_table("v.jsonl", frame(n=6).assign(text=[f"other {i}" for i in range(6)]))
    data = load(train=train, validation=held_out)
    assert len(texts(data.train)) == 60 and data.notices == ()
    assert texts(data.validation) == tuple(f"other {i}" for i in range(6))


def test_validation_labels_that_training_lacks(write_table, train):
    rows = frame(n=6).assign(text=[f"other {i}" for i in range(6)])
    rows.loc[[1, 2], "label"] = "zoo"
    data = load(train=train, validation=write_table("v.csv", rows))
    (notice,) = data.notices
    assert notice.startswith("data.validation: labels that no training row has")
    assert "`zoo` (2 rows)" in notice
    assert data.labels == ("a", "b", "c", "zoo")


def test_texts_on_both_sides_are_told(write_table, train):
    rows = frame(n=6).assign(text=["new 1", " TEXT   5 ", "new 2", "text 7", "new 3", "new 4"])
    (notice,) = load(train=train, validation=write_table("v.csv", rows)).notices
    assert notice.startswith("data.validation: 2 rows of 6 in validation with a text")
    assert "(row 2, 4)" in notice


def test_equal_texts_that_the_split_parts_are_told(write_table):
    path = write_table("t.csv", frame().assign(text="always the same"))
    (notice,) = load(train=path).notices
    assert notice.startswith("data.train: 12 rows of 12 in validation")


def test_problems_of_the_validation_file_name_its_key(write_table, train, tmp_path):
    with pytest.raises(UserError, match=r"data\.validation: no file"):
        load(train=train, validation=tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"data\.validation: none of its 3 rows"):
        load(train=train, validation=write_table("v.csv", frame(n=3).assign(label="")))


def test_unknown_source():
    with pytest.raises(UserError, match=r"no built-in source `docstring`. Did you mean `docstrin"):
        load(source="docstring")


def test_a_built_in_source_goes_the_same_way(monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", {"tiny": frame})
    data = load(source="tiny", rows=100)
    assert data.labels == ("a", "b", "c")
    assert data.notices == ("data.rows: data.source tiny has 48 training rows, not 100; all used.",)


def test_the_fingerprint_sees_every_change(write_table):
    training, held_out = frame(n=9), frame(n=6).assign(text=[f"other {i}" for i in range(6)])

    def fingerprint(first, second):
        return load(
            train=write_table("t.csv", first), validation=write_table("v.csv", second)
        ).fingerprint

    text, label, moved = training.copy(), training.copy(), held_out.copy()
    text.loc[8, "text"] = "text 8."
    label.loc[8, "label"] = "b"
    moved.loc[5, "label"] = "a"
    variants = [
        (training, held_out),
        (text, held_out),
        (label, held_out),
        (training, moved),
        (training.iloc[::-1], held_out),
        (training.iloc[:-1], held_out),
        (training, held_out.iloc[:-1]),
        (held_out, training),
        (pandas.concat([training, held_out.iloc[:1]]), held_out.iloc[1:]),
        (training.replace({"label": {"a": "A"}}), held_out.replace({"label": {"a": "A"}})),
    ]
    assert len({fingerprint(*variant) for variant in variants}) == len(variants)
    assert fingerprint(training, held_out) == fingerprint(training, held_out)
    assert len(fingerprint(training, held_out)) == 64


def test_docstrings_as_a_study_reads_them():
    data = load(source="docstrings", validation_share=0.25)
    assert len(data.labels) == 10 and data.notices == ()
    assert len(texts(data.train)) == 3000 and len(texts(data.validation)) == 1000


@shared_data
def test_banking77():
    folder = SHARED / "banking77"
    data = load(train=folder / "train.csv", validation=folder / "validation.csv")
    assert len(data.labels) == 77 and "reverted_card_payment?" in data.labels
    assert len(texts(data.train)) == 8999 and len(texts(data.validation)) == 1000
    assert data.notices == ()
    part = load(train=folder / "train.csv", rows=500, validation_share=0.1)
    assert len(texts(part.train)) == 500 and len(set(part.train.labels.tolist())) == 77


@shared_data
def test_sms_spam():
    data = load(train=SHARED / "sms_spam" / "train.csv", validation_share=0.1)
    assert data.labels == ("ham", "spam")
    assert len(texts(data.train)) == 4013 and len(texts(data.validation)) == 446
    (notice,) = data.notices  # Its source repeats some messages.
    assert "with a text that stands in training too" in notice
