"""The sealed test split: what `confirm` alone reads, and what the search has without it."""

import numpy as np
import pandas
import pytest

from space.errors import UserError
from tests.trainers.data.test_dataset import frame, load, texts
from trainers.data import Columns
from trainers.data.sealed import all_training_rows, load_test
from trainers.tasks import TASKS, task_of

TASK = TASKS["text-classification"]


def seal(data, task=TASK, columns=None, **changes):
    arguments = {
        "source": None,
        "train": None,
        "validation": None,
        "test": None,
        "test_share": None,
        "validation_share": 0.2,
        "seed": 0,
        "columns": columns or Columns(),
    }
    return load_test(task, data, **(arguments | changes))


@pytest.fixture
def train(write_table):
    return write_table("train.csv", frame())


def others(n, labels=("a", "b", "c")):
    rows = [(f"other {i}", labels[i % len(labels)]) for i in range(n)]
    return pandas.DataFrame(rows, columns=["text", "label"])


class TestFile:
    def test_its_rows_are_read_in_order_under_the_studys_labels(self, train, write_table):
        test = write_table("test.csv", others(7))
        sealed = seal(load(train=train), train=train, test=test)
        assert texts(sealed.split) == tuple(others(7)["text"])
        assert sealed.split.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
        assert sealed.notices == ()

    def test_a_label_that_the_study_does_not_know_is_refused_with_its_row(self, train, write_table):
        rows = others(5)
        rows.loc[3, "label"] = "zebra"
        test = write_table("test.csv", rows)
        with pytest.raises(UserError, match=r"data\.test: labels that no row .*row 4 \(`zebra`\)"):
            seal(load(train=train), train=train, test=test)

    def test_rows_that_stand_in_training_or_validation_are_told(self, train, write_table):
        data = load(train=train)
        known = [texts(data.train)[0], texts(data.validation)[0]]
        rows = others(4)
        rows["text"] = ["new", known[0].upper(), known[1], "newer"]
        test = write_table("test.csv", rows)
        (notice,) = seal(data, train=train, test=test).notices
        assert "2 rows of 4 in the test split" in notice and "(row 2, 3)" in notice

    def test_what_is_wrong_with_the_file_is_told_under_its_key(self, train, tmp_path):
        with pytest.raises(UserError, match=r"data\.test: no file"):
            seal(load(train=train), train=train, test=tmp_path / "tset.csv")

    def test_another_file_has_another_fingerprint(self, train, write_table):
        data = load(train=train)
        prints = {
            seal(data, train=train, test=write_table(f"{n}.csv", others(n))).fingerprint
            for n in (5, 6)
        }
        assert len(prints) == 2


class TestShare:
    def test_all_rows_are_parted_and_none_stands_twice(self, train):
        data = load(train=train, test_share=0.25)
        sealed = seal(data, train=train, test_share=0.25)
        sides = [texts(side) for side in (data.train, data.validation, sealed.split)]
        assert [len(side) for side in sides] == [33, 12, 15]
        assert sorted(sum(sides, ())) == sorted(frame()["text"])
        assert sealed.notices == ()
        assert np.bincount(sealed.split.labels).tolist() == [5, 5, 5]

    def test_rows_of_validation_are_the_same_with_it_and_without(self, train):
        with_share, without = load(train=train, test_share=0.25), load(train=train)
        assert texts(with_share.validation) == texts(without.validation)
        assert set(texts(with_share.train)) < set(texts(without.train))

    def test_a_sample_of_training_rows_leaves_the_sealed_ones_alone(self, train):
        data = load(train=train, test_share=0.25, rows=9)
        sealed = seal(data, train=train, test_share=0.25)
        assert texts(sealed.split) == texts(
            seal(load(train=train, test_share=0.25), train=train, test_share=0.25).split
        )
        assert not set(texts(sealed.split)) & {*texts(data.train), *texts(data.validation)}

    def test_with_a_file_for_validation_it_is_a_share_of_the_training_rows(
        self, train, write_table
    ):
        validation = write_table("validation.csv", others(6))
        data = load(train=train, validation=validation, test_share=0.25)
        sealed = seal(data, train=train, validation=validation, test_share=0.25)
        assert len(texts(data.train)) == 45 and len(texts(sealed.split)) == 15
        assert sorted(texts(data.train) + texts(sealed.split)) == sorted(frame()["text"])

    def test_a_built_in_source_has_one_too(self):
        source = {"source": "docstrings", "validation_share": 0.125}
        data = load(**source, rows=300, test_share=0.125)
        sealed = seal(data, **source, test_share=0.125)
        assert len(sealed.split) == 500
        assert not set(texts(sealed.split)) & {*texts(data.train), *texts(data.validation)}

    def test_tags_that_stand_in_sealed_rows_alone_are_labels_all_the_same(self, tmp_path):
        lines = [f"word{i} {'B-rare' if i == 7 else 'B-x' if i % 2 else 'O'}\n" for i in range(40)]
        path = tmp_path / "rows.conll"
        path.write_text("\n".join(lines), encoding="utf-8")
        task = TASKS["token-classification"]
        for seed in range(20):
            data = load(task=task, train=path, test_share=0.3, seed=seed)
            sealed = seal(data, task, train=path, test_share=0.3, seed=seed)
            assert data.labels == ("O", "B-rare", "B-x")
            assert len(sealed.split) == 12

    def test_too_few_rows_are_told_under_its_key(self, write_table):
        train = write_table("few.csv", frame(9))
        with pytest.raises(UserError, match=r"too few for a test share of .*data\.test_share"):
            load(train=train, validation_share=0.34, test_share=0.1)


def test_without_a_share_nothing_of_a_study_changes(train):
    """The fingerprint is the one that the version before sealed splits gave."""
    assert load(train=train).fingerprint == (
        "1f41706abd2f27225fbf6be76f773e04382a6fb115eecf954627320dae158507"
    )


@pytest.mark.parametrize(
    ("task", "label"),
    [
        (TASK, "a"),
        (task_of("text-classification", label_separator="|"), "a|b"),
        (TASKS["text-regression"], "1.5"),
    ],
)
def test_all_training_rows_are_those_of_training_and_validation(write_table, task, label):
    rows = frame(40, labels=(label, "b" if label != "1.5" else "3"))
    path = write_table("train.csv", rows)
    columns = Columns(label_separator="|" if task.labels == "classes" else None)
    data = load(task=task, train=path, columns=columns)
    whole = all_training_rows(data)
    assert texts(whole) == texts(data.train) + texts(data.validation)
    assert len(whole.labels) == 40
    assert (whole.labels[:32] == data.train.labels).all()
    assert (whole.labels[32:] == data.validation.labels).all()


def test_tags_and_images_are_joined_as_well(tmp_path):
    path = tmp_path / "rows.conll"
    path.write_text("\n".join(f"w{i} O\nv B-x\n" for i in range(10)), encoding="utf-8")
    data = load(task=TASKS["token-classification"], train=path)
    whole = all_training_rows(data)
    assert len(whole.inputs["words"]) == len(whole.labels) == 10
    assert all((tags == [0, 1]).all() for tags in whole.labels)
