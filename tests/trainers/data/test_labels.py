"""Labels of each task: several a row, numbers, none; what is checked and what is told."""

import numpy
import pandas
import pytest

from space.errors import UserError
from tests.trainers.data.test_dataset import SHARED as SHARED_DATA
from tests.trainers.data.test_dataset import load, shared_data, texts
from trainers.data import Columns
from trainers.tasks import TASKS, task_of

SEVERAL = task_of("text-classification", label_separator="|")
COLUMNS = Columns(label_separator="|")
PAIRS = TASKS["text-pair-classification"]
NUMBERS = TASKS["text-regression"]


def table(labels):
    rows = [f"text {i}" for i in range(len(labels))]
    return pandas.DataFrame({"text": rows, "label": labels})


def several(write_table, labels):
    return load(task=SEVERAL, train=write_table("t.csv", table(labels)), columns=COLUMNS)


def test_a_row_may_have_several_labels_or_none(write_table):
    data = several(write_table, ["a|b", "b", "", " a | c "] * 5)
    assert data.labels == ("a", "b", "c")
    by_text = dict(zip(texts(data.train), data.train.labels.tolist(), strict=True))
    by_text |= dict(zip(texts(data.validation), data.validation.labels.tolist(), strict=True))
    assert [by_text[f"text {i}"] for i in range(4)] == [
        [1.0, 1.0, 0.0],
        [0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0],
        [1.0, 0.0, 1.0],
    ]
    assert data.train.labels.dtype == numpy.float32


def test_rare_labels_are_on_both_sides_where_they_can(write_table):
    data = several(write_table, ["a|b"] * 40 + ["a|rare"] * 10)
    rare = data.labels.index("rare")
    assert data.train.labels[:, rare].sum() == 8 and data.validation.labels[:, rare].sum() == 2


@pytest.mark.parametrize("labels", [["a"] * 20, [""] * 20])
def test_fewer_than_two_labels_are_nothing_to_learn(write_table, labels):
    with pytest.raises(UserError, match=r"different labels, parted by '\|'; at least two"):
        several(write_table, labels)


def numbers(write_table, labels, **changes):
    return load(task=NUMBERS, train=write_table("t.csv", table(labels)), **changes)


def test_numbers_are_standardised_by_the_training_rows(write_table):
    data = numbers(write_table, [str(i / 4) for i in range(40)])
    assert data.labels == ()
    values = data.train.labels * data.scale.std + data.scale.mean
    own = [float(text.split()[1]) / 4 for text in texts(data.train)]
    numpy.testing.assert_allclose(values, own, rtol=1e-5, atol=1e-5)
    assert abs(data.train.labels.mean()) < 1e-6
    assert data.train.labels.std() == pytest.approx(1, abs=1e-5)


def test_small_and_great_numbers_stand_on_both_sides(write_table):
    data = numbers(write_table, [str(i) for i in range(100)])
    values = data.validation.labels * data.scale.std + data.scale.mean
    assert len(values) == 20
    counts, _ = numpy.histogram(values.round(), bins=5, range=(0, 100))
    assert counts.tolist() == [4] * 5


@pytest.mark.parametrize("wrong", ["3,5", "n/a", "nan", "inf", "1e999"])
def test_what_is_no_number_is_told_with_its_row(write_table, wrong):
    with pytest.raises(UserError, match=r"row 3, column `label`: .* is not a number"):
        numbers(write_table, ["1", "2", wrong, *"456789"])


def test_a_number_of_the_validation_file_is_checked_too(write_table):
    held_out = write_table("v.csv", table(["1", "two"]))
    with pytest.raises(UserError, match=r"data\.validation: row 2, column `label`: 'two'"):
        numbers(write_table, list("123456"), validation=held_out)


def test_one_number_only_is_nothing_to_learn(write_table):
    with pytest.raises(UserError, match=r"all 9 rows have the number 2;"):
        numbers(write_table, ["2", "2.0", "2"] * 3)


def test_pairs_have_two_texts(write_table):
    frame = table(["x", "y"] * 10).assign(other=[f"other {i}" for i in range(20)])
    frame.loc[3, "other"] = " "
    data = load(task=PAIRS, train=write_table("t.csv", frame), columns=Columns(text_pair="other"))
    for first, second in zip(*data.train.inputs.values(), strict=True):
        assert second == first.replace("text", "other")
    assert "1 row of 20 without a text and a second text" in data.notices[0]


def test_a_missing_second_column_is_told(write_table):
    path = write_table("t.csv", table(["x", "y"] * 10))
    with pytest.raises(UserError, match=r"has no column `text_pair`; it has the columns `text`"):
        load(task=PAIRS, train=path, columns=Columns(text_pair="text_pair"))


def test_a_language_model_needs_texts_alone(write_table):
    path = write_table("t.csv", pandas.DataFrame({"text": [f"text {i}" for i in range(20)]}))
    data = load(task=TASKS["causal-lm"], train=path)
    assert (len(data.train), len(data.validation), data.labels) == (16, 4, ())


def test_a_built_in_source_goes_with_one_label_a_text_only():
    with pytest.raises(UserError, match=r"does not go with the task text-regression"):
        load(task=NUMBERS, source="docstrings")


@shared_data
def test_real_pairs_and_numbers():
    jnli, jsts = SHARED_DATA / "jnli", SHARED_DATA / "jsts"
    columns = Columns(text_pair="text_pair")
    pairs = load(task=PAIRS, train=jnli / "train.csv", columns=columns)
    assert pairs.labels == ("contradiction", "entailment", "neutral")
    task = task_of("text-regression", text_pair="text_pair")
    numbers = load(task=task, train=jsts / "train.csv", columns=columns, rows=500)
    assert len(numbers.train) == 500 and 2 < numbers.scale.mean < 3
