"""Labelling a file: every format, every column, whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy
import pandas
import pytest
import torch

from space.errors import UserError
from tests.trainers.test_bundle import config_for
from tests.trainers.tiny import everywhere, fill_randomly
from trainers import predict as predict_module
from trainers.bundle import LoadedBundle
from trainers.model import build
from trainers.predict import predict, predict_file
from trainers.predicting import writing as writing_module

TEXTS = (
    "the old hammer",
    "apple",
    "",
    "a new saw is on the small table the old wrench is on the big table",
    'pear, plum\nand "cherry"',
    "größe",
    "melon melon melon",
)
LABELS = ("fruit", "tool", "größe")


@pytest.fixture(scope="module")
def bundle(tiny_backbones) -> LoadedBundle:
    backbone = tiny_backbones["bert"]
    spec = everywhere(backbone.shape, "parallel", 3, "attention")
    model = fill_randomly(build(backbone, spec, len(LABELS), seed=0), spread=0.08)
    with torch.no_grad():
        model.head.linear.weight *= 10
        # So that no label is always the best one.
        model.head.linear.bias -= _logits(backbone, model, TEXTS).mean(0)
    return LoadedBundle(config=config_for(backbone, spec), backbone=backbone, model=model)


def frame(n_copies=1):
    texts = list(TEXTS) * n_copies
    ids = [f"{row:03d}" for row in range(len(texts))]
    return pandas.DataFrame({"id": ids, "comment": texts, "note": ["NA"] * len(texts)})


def write(folder: Path, name: str, table: pandas.DataFrame) -> Path:
    path = folder / name
    match path.suffix:
        case ".csv":
            table.to_csv(path, index=False)
        case ".tsv":
            table.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            lines = (json.dumps(row) for row in table.to_dict("records"))
            path.write_text("\n".join(lines), encoding="utf-8")
        case ".parquet":
            table.to_parquet(path)
    return path


def label_file(bundle, source, target, text=None, form=None):
    told = []
    n_rows = predict_file(
        bundle, source, target, text=text, form=form, told=lambda n, of: told.append(n)
    )
    table = pandas.read_csv(target, dtype={"id": str}, keep_default_na=False)
    return n_rows, told, table


def direct(bundle, texts):
    """Return the probabilities of each text on its own, unmerged and without padding."""
    return _logits(bundle.backbone, bundle.model, texts).softmax(-1).numpy()


def _logits(backbone, model, texts):
    rows = []
    for text in texts:
        ids = backbone.tokenizer(text, truncation=True, max_length=32)["input_ids"]
        with torch.no_grad():
            rows.append(model(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long)))
    return torch.cat(rows)


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.jsonl", "in.parquet"])
def test_every_format_is_labelled_with_its_columns_kept(tmp_path, bundle, name):
    table = frame()
    source = write(tmp_path, name, table)
    n_rows, told, found = label_file(bundle, source, tmp_path / "out.csv")
    assert n_rows == len(TEXTS) and told == [0, len(TEXTS)]
    added = ["prediction", *(f"probability_{label}" for label in LABELS)]
    assert list(found.columns) == ["id", "comment", "note", *added]
    pandas.testing.assert_frame_equal(found[["id", "comment", "note"]], table, check_dtype=False)
    probabilities = found[added[1:]].to_numpy()
    numpy.testing.assert_allclose(probabilities.sum(1), 1, atol=3e-6)
    numpy.testing.assert_allclose(probabilities, direct(bundle, TEXTS), atol=1e-5)
    assert list(found["prediction"]) == [LABELS[i] for i in probabilities.argmax(1)]
    assert len(set(found["prediction"])) > 1


def test_predictions_are_those_of_the_unmerged_model_in_the_order_of_the_rows(bundle):
    texts = [TEXTS[i % len(TEXTS)] for i in range(150)]
    found = predict(bundle, text=texts)
    assert list(found.columns) == ["prediction", *(f"probability_{label}" for label in LABELS)]
    numpy.testing.assert_allclose(found.iloc[:, 1:], direct(bundle, texts), atol=1e-5)


@pytest.mark.parametrize("n_chunk_rows", [1, 3, 7, 20])
def test_chunks_change_nothing(tmp_path, bundle, monkeypatch, n_chunk_rows):
    source = write(tmp_path, "in.csv", frame(2))
    _, _, whole = label_file(bundle, source, tmp_path / "whole.csv")
    monkeypatch.setattr(predict_module, "CHUNK_ROWS", n_chunk_rows)
    n_rows, told, parts = label_file(bundle, source, tmp_path / "parts.csv")
    assert n_rows == told[-1] == 14
    assert told == [*range(0, 14, n_chunk_rows), 14]
    pandas.testing.assert_frame_equal(parts, whole, atol=2e-6)


def test_another_column_is_read_where_it_is_named(tmp_path, bundle):
    source = write(tmp_path, "in.csv", frame().rename(columns={"comment": "body"}))
    _, _, found = label_file(bundle, source, tmp_path / "out.csv", text="body")
    numpy.testing.assert_allclose(
        found["probability_fruit"], direct(bundle, TEXTS)[:, 0], atol=1e-5
    )


def refused(bundle, folder, source, match, target=None, text=None):
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UserError, match=match):
        predict_file(
            bundle, source, target or folder / "out.csv", text=text, told=lambda n, of: None
        )
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_missing_column_is_told_with_the_nearest(tmp_path, bundle):
    source = write(tmp_path, "in.csv", frame().rename(columns={"comment": "comments"}))
    refused(
        bundle, tmp_path, source, r"no column 'comment'; it has id, comments, note\. Did you mean"
    )


def test_a_named_column_that_is_missing_is_told(tmp_path, bundle):
    source = write(tmp_path, "in.csv", frame())
    refused(bundle, tmp_path, source, r"no column 'nope'.*--text", text="nope")


def test_a_column_of_the_prediction_that_is_there_already_is_told(tmp_path, bundle):
    source = write(tmp_path, "in.csv", frame().assign(prediction="x"))
    refused(bundle, tmp_path, source, "has a column 'prediction' already")


def test_a_column_that_stands_twice_is_told(tmp_path, bundle):
    source = tmp_path / "in.csv"
    source.write_text("comment,comment\napple,saw\npear,drill\n")
    refused(bundle, tmp_path, source, "several columns 'comment'")


def test_an_output_that_exists_is_not_overwritten(tmp_path, bundle):
    source = write(tmp_path, "in.csv", frame())
    (tmp_path / "out.csv").write_text("mine")
    refused(bundle, tmp_path, source, "exists already; nothing is overwritten")
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_the_input_is_never_the_output(tmp_path, bundle):
    source = write(tmp_path, "in.csv", frame())
    before = source.read_bytes()
    refused(bundle, tmp_path, source, "exists already", target=source)
    assert source.read_bytes() == before


def test_an_output_without_a_folder_is_told(tmp_path, bundle):
    source = write(tmp_path, "in.csv", frame())
    refused(bundle, tmp_path, source, "there is no folder", target=tmp_path / "gone" / "out.csv")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("in.csv", "", "is empty"),
        ("in.csv", "comment\n", "no data rows"),
        ("in.txt", "comment\napple\n", "no known format"),
        ("in.conll", "apple\n", "no known format"),
        ("in.csv", "comment,id\napple,1\nsaw,2,3\n", "malformed in data row 2"),
    ],
)
def test_a_file_that_cannot_be_read_leaves_no_output(tmp_path, bundle, name, content, match):
    source = tmp_path / name
    source.write_text(content)
    refused(bundle, tmp_path, source, match)


def test_a_missing_input_is_told(tmp_path, bundle):
    refused(bundle, tmp_path, tmp_path / "gone.csv", "--input")


def test_a_row_that_is_malformed_far_down_leaves_no_output(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(predict_module, "CHUNK_ROWS", 2)
    source = tmp_path / "in.csv"
    source.write_text("comment\napple\nsaw\npear\nplum,drill\n")
    refused(bundle, tmp_path, source, "malformed in data row 4")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_no_output(tmp_path, bundle, error):
    source = write(tmp_path, "in.csv", frame())

    def told(n_rows, of):
        raise error

    with pytest.raises(error):
        predict_file(bundle, source, tmp_path / "out.csv", text=None, told=told)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_full_disk_is_told_and_leaves_no_output(tmp_path, bundle, monkeypatch):
    source = write(tmp_path, "in.csv", frame())

    def fail(self, kept, added):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing_module._CsvWriter, "write", fail)
    refused(bundle, tmp_path, source, "cannot be written .*No space left")


def test_long_texts_are_cut_as_in_training(tmp_path, bundle):
    long = " ".join(["hammer"] * 200)
    short = replace(bundle.config, max_length=8)
    cut = predict(replace(bundle, config=short), text=[long, "hammer " * 6])
    numpy.testing.assert_allclose(cut.iloc[0, 1:], cut.iloc[1, 1:].to_numpy(), atol=2e-6)
