"""Which rows are explained, and which are refused."""

import numpy
import pytest

from space.errors import UserError
from tests.trainers.explain.bundles import PLAIN, WORDWISE, write_lesson_bundle, write_rows
from tests.trainers.learnable import LESSONS, backbone_of
from trainers.bundle import load
from trainers.explain import explained_rows


def refused(bundle, path, match):
    with pytest.raises(UserError, match=match):
        explained_rows(bundle, path, n_rows=None, seed=0)


def write(folder, text):
    path = folder / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return path


def columns(bundle):
    return bundle.config.columns.text, bundle.config.columns.label


def test_all_rows_are_taken_with_their_numbers(bundle, folder):
    rows = explained_rows(bundle, folder / "rows.csv", n_rows=None, seed=0)
    assert rows.numbers == tuple(range(1, 41)) and rows.n_usable == 40
    assert len(explained_rows(bundle, folder / "rows.csv", n_rows=400, seed=0)) == 40


def test_a_sample_is_seeded_and_stratified(bundle, folder):
    def sample(seed):
        return explained_rows(bundle, folder / "rows.csv", n_rows=10, seed=seed)

    whole = explained_rows(bundle, folder / "rows.csv", n_rows=None, seed=0)
    share = float(numpy.mean(whole.split.labels))
    one, same, other = sample(3), sample(3), sample(4)
    assert one.numbers == same.numbers != other.numbers
    assert len(one) == 10 and one.n_usable == 40 and one.seed == 3
    assert float(numpy.mean(one.split.labels)) == pytest.approx(share, abs=0.1)
    assert list(one.split.inputs["text"]) == [
        whole.split.inputs["text"][number - 1] for number in one.numbers
    ]


def test_fewer_rows_than_labels_are_drawn_at_random(bundle, folder):
    assert len(explained_rows(bundle, folder / "rows.csv", n_rows=1, seed=0)) == 1


def test_an_unknown_label_is_refused_with_its_row(bundle, tmp_path):
    path = write(tmp_path, "text,label\na,fruit\nb,fruits\nc,fruits\nd,thing\n")
    refused(bundle, path, r"mine.csv, row 2: .* label 'fruits' \(2 rows\). Did you mean `fruit`")
    refused(bundle, path, "row 4: .* label 'thing' .1 row")
    refused(bundle, path, "the labels of the bundle are fruit, tool")


def test_a_missing_column_is_refused(bundle, tmp_path):
    refused(bundle, write(tmp_path, "text,labels\na,fruit\n"), "no column `label`.*`labels`")
    refused(bundle, write(tmp_path, "texts,label\na,fruit\n"), "no column `text`.*`texts`")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("text,label\n", "has no data rows"),
        ("text,label\n,\n ,\n", "none of its 2 rows has a text and a label"),
    ],
)
def test_an_empty_file_is_refused(bundle, tmp_path, text, match):
    refused(bundle, write(tmp_path, text), match)


def test_no_file_and_a_folder_are_refused(bundle, tmp_path):
    refused(bundle, tmp_path / "none.csv", "no file")
    refused(bundle, tmp_path, "is a folder; name a file of rows")


def test_rows_without_a_label_are_told(bundle, tmp_path):
    path = write(tmp_path, "text,label\na,fruit\nb,\nc,tool\n")
    rows = explained_rows(bundle, path, n_rows=None, seed=0)
    assert rows.numbers == (1, 3)
    assert "1 row of 3" in rows.notices[0] and "(row 2)" in rows.notices[0]


@pytest.mark.parametrize(
    ("name", "spec", "text", "match"),
    [
        ("number", PLAIN, "text,label\na,much\n", "row 1, column `label`: 'much' is not a number"),
        ("classes", PLAIN, "text,label\na,fruit|toll\n", "label 'toll' .* Did you mean `tool`"),
        ("pair", PLAIN, "text,label\na,fruit\n", "no column `second`"),
        (
            "tags",
            WORDWISE,
            'words,label\n"[""a""]","[""B-fruits""]"\n',
            "row 1: .* 'B-fruits' .* Did you mean `B-fruit`",
        ),
    ],
)
def test_labels_of_other_tasks_are_checked(tmp_path, tiny_folders, name, spec, text, match):
    backbone = backbone_of(LESSONS[name], tiny_folders)
    bundle = load(write_lesson_bundle(tmp_path / "b", name, backbone, spec))
    refused(bundle, write(tmp_path, text), match)


def test_images_are_named(tmp_path, tiny_folders):
    backbone = backbone_of(LESSONS["image"], tiny_folders)
    bundle = load(write_lesson_bundle(tmp_path / "b", "image", backbone, PLAIN))
    rows = explained_rows(bundle, write_rows(tmp_path, "image", 6), n_rows=None, seed=0)
    assert rows.names == ("1", "2", "3", "4", "5", "6")
