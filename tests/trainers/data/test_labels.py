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


def test_underscores_make_no_number(write_table):
    with pytest.raises(UserError, match=r"row 2, column `label`: '1_000' is not a number"):
        numbers(write_table, ["1", "1_000", *"345678"])


def test_numbers_that_no_scale_holds_are_told(write_table):
    with pytest.raises(UserError, match=r"have no standard deviation"):
        numbers(write_table, ["1e308", "-1e308"] * 5)


def test_training_rows_that_are_all_alike_are_nothing_to_learn(write_table):
    held_out = write_table("v.csv", table(["1", "2"]))
    with pytest.raises(UserError, match=r"data\.train: all 8 rows have the number 2"):
        numbers(write_table, ["2"] * 8, validation=held_out)
    # Alike only once they are sampled.
    with pytest.raises(UserError, match=r"data\.train: all 1 rows have the number"):
        numbers(write_table, list("12345678"), rows=1)


def test_the_fingerprint_sees_the_scale_of_numbers(write_table):
    values = numpy.arange(40)
    same = [numbers(write_table, [str(v) for v in values]).fingerprint for _ in range(2)]
    doubled = numbers(write_table, [str(2 * v) for v in values]).fingerprint
    assert same[0] == same[1] != doubled


@pytest.mark.parametrize("n_rows", [2, 3, 9])
def test_few_numbers_are_parted_and_sampled_at_random(write_table, n_rows):
    labels = [str(i) for i in range(60)]
    data = numbers(write_table, labels, rows=n_rows, validation_share=0.02)
    assert (len(data.train), len(data.validation)) == (n_rows, 2)


def test_labels_of_which_each_side_cannot_have_one_are_parted_at_random(write_table):
    data = several(write_table, [f"a|rare{i // 2}" for i in range(40)])
    assert (len(data.train), len(data.validation)) == (32, 8)
    again = several(write_table, [f"a|rare{i // 2}" for i in range(40)])
    assert data.fingerprint == again.fingerprint


def test_of_several_labels_too_those_that_one_side_lacks_are_told(write_table):
    once, unknown = several(write_table, [f"a|b|only{i}" for i in range(20)]).notices
    assert once.startswith("data.train: labels that occur once cannot be both learned and")
    assert unknown.startswith("data.train: labels that no training row has")
    assert unknown.count("(1 row)") == 4


@pytest.mark.parametrize(
    ("task", "labels"), [(SEVERAL, ["a|b"]), (TASKS["causal-lm"], [""])], ids=["several", "none"]
)
def test_one_row_cannot_be_parted(write_table, task, labels):
    path = write_table("t.csv", table(labels))
    with pytest.raises(UserError, match=r"data\.train: has 1 row, of which none can be kept"):
        load(task=task, train=path, columns=COLUMNS)


def test_a_share_that_leaves_a_side_empty_is_told(write_table):
    path = write_table("t.csv", table(["", "", ""]))
    with pytest.raises(UserError, match=r"each side needs a row, so at least 10 rows"):
        load(task=TASKS["causal-lm"], train=path, validation_share=0.9)


def test_the_same_pairs_on_both_sides_are_told(write_table):
    frame = table(["x", "y"] * 10).assign(other="same")
    held_out = frame.assign(text=["TEXT  3", *(f"new {i}" for i in range(19))])
    data = load(
        task=PAIRS,
        train=write_table("t.csv", frame),
        validation=write_table("v.csv", held_out),
        columns=Columns(text_pair="other"),
    )
    (notice,) = data.notices
    assert "1 row of 20 in validation with the same text and text_pair that" in notice
    assert "(row 1)" in notice
