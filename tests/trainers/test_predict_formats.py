"""What prediction writes, read back by others: every task, every format, every type of column."""

import csv
import datetime
import json
import math

import numpy
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from space.errors import UserError
from tests.trainers.learnable import LESSONS, rows_of
from tests.trainers.test_answers import bundle_of
from trainers import predict as predict_module
from trainers.answers import added_columns, answers_for
from trainers.entities import OUTSIDE
from trainers.predict import predict_file
from trainers.predicting.reading import open_table

FORMATS = ("csv", "jsonl", "parquet")
N_ROWS = 23
ARROW = {
    "text": pyarrow.string(),
    "number": pyarrow.float64(),
    "count": pyarrow.int64(),
    "tags": pyarrow.list_(pyarrow.string()),
}


@pytest.fixture(scope="module")
def bundles(tiny_folders):
    exits = {"exits": bundle_of("class", tiny_folders, exits=(1,))}
    config = exits["exits"].config
    object.__setattr__(config, "exit_threshold", 0.6)
    return {name: bundle_of(name, tiny_folders) for name in LESSONS} | exits


def asked(bundle, folder, name):
    """Write rows of a task with an id each; return the file and what a bundle answers for them."""
    inputs = dict(rows_of("class" if name == "exits" else name, N_ROWS, 3).inputs)
    columns = bundle.config.columns
    names = {"text": columns.text, "text_pair": columns.text_pair, "words": "text"}
    if name == "image":
        for place, image in enumerate(inputs["image"]):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{place}.png")
        given = {"image": [f"{place}.png" for place in range(N_ROWS)]}
    else:
        given = {names[key]: json.loads(json.dumps(values)) for key, values in inputs.items()}
    source = folder / "in.jsonl"
    rows = [
        {"id": place} | {key: values[place] for key, values in given.items()}
        for place in range(N_ROWS)
    ]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return source, rows, answers_for(bundle, inputs)


def read_back(path):
    """Return the rows of a file as its format's own reader gives them."""
    match path.suffix:
        case ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        case ".jsonl":
            return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return pyarrow.parquet.read_table(path).to_pylist()


def wanted(values, kind):
    if kind == "tags":
        return [[tag or OUTSIDE for tag in tags] for tags in values]
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values]


def spelled(value):
    return json.dumps(value) if isinstance(value, list) else "" if value is None else str(value)


@pytest.mark.parametrize("name", [*LESSONS, "exits"])
def test_every_task_in_every_format(tmp_path, bundles, monkeypatch, name):
    monkeypatch.setattr(predict_module, "CHUNK_ROWS", 10)
    monkeypatch.setattr(predict_module, "CHUNK_IMAGES", 10)
    bundle = bundles[name]
    source, rows, answers = asked(bundle, tmp_path, name)
    kinds = added_columns(bundle)
    for form in FORMATS:
        target = tmp_path / f"out.{form}"
        assert predict_file(bundle, source, target) == N_ROWS
        found = read_back(target)
        assert list(found[0]) == [*rows[0], *kinds]
        kept = [{key: row[key] for key in rows[0]} for row in found]
        if form == "csv":
            rows_as_text = [{key: spelled(value) for key, value in row.items()} for row in rows]
            assert kept == rows_as_text
        else:
            assert kept == rows
        for column, kind in kinds.items():
            own = [row[column] for row in found]
            expected = wanted(answers[column], kind)
            if kind == "number":
                numbers = [math.nan if v in ("", None) else float(v) for v in own]
                none = [math.nan if v is None else v for v in expected]
                numpy.testing.assert_allclose(numbers, none, rtol=2e-5, atol=2e-6)
                assert form == "csv" or all(v is None or type(v) is float for v in own)
            else:
                assert own == ([spelled(v) for v in expected] if form == "csv" else expected)
    schema = pyarrow.parquet.read_schema(tmp_path / "out.parquet")
    assert [schema.field(c).type for c in kinds] == [ARROW[kind] for kind in kinds.values()]


def parquet_of_all_types(path):
    table = pyarrow.table(
        {
            "text": ["the apple", None, "old saw"],
            "small": pyarrow.array([1, 2, None], pyarrow.int8()),
            "share": [0.5, math.nan, 2.0],
            "day": pyarrow.array([datetime.date(2026, 1, d) for d in (1, 2, 3)]),
            "at": pyarrow.array([1, None, 3], pyarrow.timestamp("us", tz="UTC")),
            "kind": pyarrow.array(["a", "b", "a"]).dictionary_encode(),
            "list": [[1, 2], [], None],
            "struct": [{"a": 1}, None, {"a": 3}],
            "raw": [b"\xff", b"\x00", b""],
        }
    )
    pyarrow.parquet.write_table(table, path)
    return table


def test_parquet_keeps_the_types_of_all_columns(tmp_path, bundles, monkeypatch):
    monkeypatch.setattr(predict_module, "CHUNK_ROWS", 2)
    table = parquet_of_all_types(tmp_path / "in.parquet")
    predict_file(bundles["class"], tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).schema.equals(table.schema)
    for name in table.column_names:
        own, before = found[name].to_pylist(), table[name].to_pylist()
        assert str(own) == str(before)  # as text: NaN is not equal to itself


def test_parquet_as_jsonl_and_csv(tmp_path, bundles):
    table = parquet_of_all_types(tmp_path / "all.parquet").drop_columns(["raw"])
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    for form in ("jsonl", "csv"):
        predict_file(bundles["class"], tmp_path / "in.parquet", tmp_path / f"out.{form}")
    first, second, third = read_back(tmp_path / "out.jsonl")
    assert first["small"] == 1 and third["small"] is None and second["text"] is None
    assert first["share"] == 0.5 and second["share"] is None  # JSON has no NaN
    assert first["day"] == "2026-01-01" and first["kind"] == "a"
    assert first["list"] == [1, 2] and first["struct"] == {"a": 1}
    lines = read_back(tmp_path / "out.csv")
    assert lines[0]["list"] == "[1, 2]" and lines[2]["small"] == "" and lines[1]["text"] == ""


def test_bytes_that_are_no_text_are_told_where_the_output_needs_texts(tmp_path, bundles):
    parquet_of_all_types(tmp_path / "in.parquet")
    for form in ("jsonl", "csv"):
        with pytest.raises(UserError, match="holds bytes that are no UTF-8 text"):
            predict_file(bundles["class"], tmp_path / "in.parquet", tmp_path / f"out.{form}")
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_jsonl_columns_get_a_type_that_all_their_values_fit(tmp_path, bundles):
    rows = [
        {"text": "apple", "n": 1, "x": 1, "yes": True, "id": "007", "odd": 1, "big": 2**70},
        {"text": "saw", "n": None, "x": 0.5, "yes": False, "odd": "a", "deep": {"a": [None]}},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    predict_file(bundles["class"], source, tmp_path / "out.parquet")
    predict_file(bundles["class"], source, tmp_path / "out.jsonl")
    schema = pyarrow.parquet.read_schema(tmp_path / "out.parquet")
    types = {name: str(schema.field(name).type) for name in schema.names}
    assert types["n"] == "int64" and types["x"] == "double" and types["yes"] == "bool"
    assert {types[name] for name in ("id", "odd", "big", "deep", "text")} == {"string"}
    first, second = read_back(tmp_path / "out.parquet")
    assert first["x"] == 1.0 and first["id"] == "007" and first["odd"] == "1"
    assert first["big"] == str(2**70) and second["id"] is None and second["deep"] == '{"a": [null]}'
    again = read_back(tmp_path / "out.jsonl")
    assert [{key: row[key] for key in own} for row, own in zip(again, rows, strict=True)] == rows
    assert "deep" not in again[0]  # what a row lacked it lacks still


def test_texts_of_a_csv_stay_texts(tmp_path, bundles):
    source = tmp_path / "in.csv"
    source.write_text('text,id,note\n"an, apple",007,NA\n"two\nlines",1e5,\n')
    for form in FORMATS:
        predict_file(bundles["class"], source, tmp_path / f"out.{form}")
        found = read_back(tmp_path / f"out.{form}")
        assert [(row["text"], row["id"], row["note"]) for row in found] == [
            ("an, apple", "007", "NA"),
            ("two\nlines", "1e5", ""),
        ]


def test_a_carriage_return_in_a_text_parts_no_row(tmp_path, bundles):
    source = tmp_path / "in.jsonl"
    texts = ["apple\rsaw", "pear", "\r", 'say "a"\r\n']
    source.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    predict_file(bundles["class"], source, tmp_path / "out.csv")
    assert [row["text"] for row in read_back(tmp_path / "out.csv")] == texts
    assert list(pandas.read_csv(tmp_path / "out.csv")["text"]) == texts


def test_the_format_is_told_by_the_name_unless_it_is_given(tmp_path, bundles):
    source = tmp_path / "in.csv"
    source.write_text("text\napple, pear\n".replace(", ", " "))
    for name, form in (("a.JSONL", None), ("b", "jsonl"), ("c.csv", "jsonl")):
        predict_file(bundles["class"], source, tmp_path / name, form=form)
        assert json.loads((tmp_path / name).read_text())["text"] == "apple pear"
    for name in ("d", "e.out", "f.csv"):
        predict_file(bundles["class"], source, tmp_path / name)
        assert (tmp_path / name).read_text().startswith("text,prediction,")
    predict_file(bundles["class"], source, tmp_path / "g.tsv")
    assert (tmp_path / "g.tsv").read_text().startswith("text\tprediction\t")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_names_that_stand_twice_are_refused_where_they_cannot_be_held(tmp_path, bundles, form):
    source = tmp_path / "in.csv"
    source.write_text("text,a,a\napple,1,2\n")
    with pytest.raises(UserError, match="several columns 'a', which"):
        predict_file(bundles["class"], source, tmp_path / f"out.{form}")
    predict_file(bundles["class"], source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("apple,1,2,")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


@pytest.mark.parametrize(
    ("content", "n_rows"),
    [
        ("text\na\nb\n", 2),
        ("text\na\nb", 2),
        ('text\n"a\n\nb"\n"""c""\n"\nd\n', 3),
        ("text\n" + '"x\ny"\n' * 300_000, 300_000),
    ],
)
def test_rows_of_a_csv_file_are_counted_beforehand(tmp_path, content, n_rows):
    (tmp_path / "in.csv").write_text(content)
    assert open_table(tmp_path / "in.csv", 10).n_rows == n_rows


def test_rows_without_anything_are_told_and_kept_in_place(tmp_path, bundles):
    source = tmp_path / "in.jsonl"
    rows = [{"text": "apple"}, {"text": " "}, {"other": 1}, {"text": "saw"}]
    source.write_text("\n".join(map(json.dumps, rows)))
    noticed = []
    predict_file(bundles["class"], source, tmp_path / "out.jsonl", noticed=noticed.append)
    found = read_back(tmp_path / "out.jsonl")
    assert [row.get("text") for row in found] == ["apple", " ", None, "saw"]
    (sentence,) = noticed
    assert sentence.startswith("2 rows hold nothing to read (row 2 first)")


def test_rows_without_a_token_have_no_answer(tmp_path, bundles, monkeypatch):
    bundle = bundles["next"]
    monkeypatch.setattr(
        bundle.backbone.tokenizer,
        "num_special_tokens_to_add",
        lambda pair=False: 0,
    )
    plain = bundle.backbone.tokenizer.__class__.__call__
    monkeypatch.setattr(
        bundle.backbone.tokenizer.__class__,
        "__call__",
        lambda self, *texts, **kw: plain(self, *texts, **kw, add_special_tokens=False),
    )
    source = tmp_path / "in.jsonl"
    texts = ["", "apple pear apple", "", "plum"]
    source.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    noticed = []
    predict_file(bundle, source, tmp_path / "out.jsonl", noticed=noticed.append)
    found = read_back(tmp_path / "out.jsonl")
    assert [row["n_tokens"] for row in found] == [0, 3, 0, 1]
    assert [row["log_likelihood"] is None for row in found] == [True, False, True, False]
    assert found[3]["perplexity"] is None and found[1]["perplexity"] > 1
    assert any("makes nothing of 2 rows" in sentence for sentence in noticed)
