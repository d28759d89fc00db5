"""Tables of users: four formats, nothing guessed, every mistake told with its place."""

import json
import os
import tracemalloc
import warnings

import pandas
import pytest

from space.errors import UserError
from trainers.data import iterate_table, read_table

FORMATS = [".csv", ".tsv", ".jsonl", ".parquet"]


def read(path, text, label, *, where):
    wanted = {"text": text} | ({} if label is None else {"label": label})
    return read_table(path, wanted, where=where)


def message(path, text="text", label="label"):
    with pytest.raises(UserError) as caught:
        read(path, text, label, where="data.train")
    assert all(problem.startswith("data.train: ") for problem in caught.value.problems)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [*FORMATS, ".CSV"])
def test_each_format_gives_the_same_texts_and_labels(write_table, suffix, tmp_path):
    texts = ['She said "yes",\tthen left', "zwei\nZeilen", "日本語 🙂", "NA", " spaces "]
    labels = ["NA", "null", "nan", "None", "1e5"]
    path = write_table(f"t{suffix.lower()}", pandas.DataFrame({"s": texts, "x": 1, "y": labels}))
    path = path.rename(tmp_path / f"t{suffix}")
    frame = read(path, "s", "y", where="data.train")
    assert list(frame.columns) == ["text", "label", "row"]
    assert frame["text"].tolist() == texts
    assert frame["label"].tolist() == labels
    assert frame["row"].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("suffix", FORMATS)
def test_integers_keep_their_spelling(write_table, suffix):
    path = write_table(f"t{suffix}", pandas.DataFrame({"text": ["a", "b"], "label": [3, -10]}))
    assert read(path, "text", "label", where="w")["label"].tolist() == ["3", "-10"]


def test_without_a_label_there_is_no_label_column(write_table):
    path = write_table("t.csv", pandas.DataFrame({"text": ["a"]}))
    assert list(read(path, "text", None, where="w").columns) == ["text", "row"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_byte_order_mark_is_not_part_of_the_first_column(write_table, suffix):
    path = write_table(f"t{suffix}", pandas.DataFrame({"text": ["a"], "label": ["b"]}))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path, "text", "label", where="w")["text"].tolist() == ["a"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_and_blank_lines(write_text, newline):
    path = write_text("t.csv", newline.join(["text,label", "a,1", "", "b,2", ""]))
    frame = read(path, "text", "label", where="w")
    assert frame["text"].tolist() == ["a", "b"]
    assert frame["row"].tolist() == [1, 2]


def test_a_text_longer_than_the_csv_module_allows(write_text):
    path = write_text("t.csv", "text,label\n" + "x" * 200_000 + ",1\n")
    assert len(read(path, "text", "label", where="w")["text"][0]) == 200_000


def test_jsonl_values_of_other_types(write_text):
    lines = [
        {"text": "a", "label": True},
        {"text": "b", "label": None},
        {"text": "c"},
        {"text": "d", "label": ["x", 1]},
        {"text": "e", "label": 0.5},
    ]
    path = write_text("t.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n\n")
    labels = read(path, "text", "label", where="w")["label"].tolist()
    assert labels == ["true", "", "", '["x", 1]', "0.5"]


def test_parquet_values_of_other_types(write_table):
    frame = pandas.DataFrame(
        {
            "text": [b"a", b"b"],
            "label": pandas.Categorical(["x", None]),
            "flag": [True, False],
            "n": pandas.array([1, None], dtype="Int64"),
            "a.b": ["p", "q"],
        },
        index=[7, 9],
    )
    path = write_table("t.parquet", frame)
    (chunk,) = iterate_table(path, "--input", 10)
    assert chunk.to_dict("list") == {
        "text": ["a", "b"],
        "label": ["x", ""],
        "flag": ["true", "false"],
        "n": ["1", ""],
        "a.b": ["p", "q"],
    }


@pytest.mark.parametrize("suffix", FORMATS)
def test_iterating_keeps_all_columns_and_cuts_into_chunks(write_table, suffix):
    frame = pandas.DataFrame({"id": range(10), "text": [f"t{i}" for i in range(10)], "": "x"})
    path = write_table(f"t{suffix}", frame)
    chunks = list(iterate_table(path, "--input", 4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    whole = pandas.concat(chunks, ignore_index=True)
    assert list(whole.columns) == ["id", "text", ""]
    assert whole["id"].tolist() == [str(i) for i in range(10)]


def test_jsonl_columns_are_the_keys_of_all_lines(write_text):
    path = write_text("t.jsonl", '{"text": "a"}\n{"text": "b", "note": "late"}\n')
    first, second = iterate_table(path, "--input", 1)
    assert first.to_dict("records") == [{"text": "a", "note": ""}]
    assert second.to_dict("records") == [{"text": "b", "note": "late"}]


def test_iterating_takes_little_memory(write_table):
    path = write_table("t.csv", pandas.DataFrame({"text": ["word " * 40] * 50_000, "n": 1}))
    assert path.stat().st_size > 10_000_000
    tracemalloc.start()
    n_rows = sum(len(chunk) for chunk in iterate_table(path, "--input", 256))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_rows == 50_000
    assert peak < 3_000_000


def test_a_reader_that_is_left_early_closes_its_file(write_table):
    path = write_table("t.csv", pandas.DataFrame({"text": ["a"] * 10}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(iterate_table(path, "--input", 2))


def test_missing_file_names_a_similar_one(write_text, tmp_path):
    write_text("train.csv", "text,label\na,b\n")
    text = message(tmp_path / "trian.csv")
    assert "no file" in text and "trian.csv" in text and "`train.csv`" in text
    assert "no file" in message(tmp_path / "nowhere" / "train.csv")


def test_directory(tmp_path):
    assert "is a directory" in message(tmp_path)


@pytest.mark.parametrize("content", ["", "\ufeff", "\n\n"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_empty_file(write_text, suffix, content):
    assert "is empty" in message(write_text(f"t{suffix}", content))
    with pytest.raises(UserError, match=r"--input: .* is empty"):
        iterate_table(write_text(f"t{suffix}", content), "--input", 5)


def test_no_data_rows(write_table):
    frame = pandas.DataFrame({"text": [], "label": []}, dtype="str")
    for suffix in (".csv", ".tsv", ".parquet"):
        text = message(write_table(f"t{suffix}", frame))
        assert "no data rows, only the columns `text`, `label`" in text


def test_unknown_format(write_text):
    text = message(write_text("t.xlsx", "x"))
    assert "`.xlsx`" in text and ".csv, .tsv, .jsonl, .parquet" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(write_text):
    path = write_text("t.csv", "text,label\na,b\n")
    path.chmod(0)
    assert "permission denied" in message(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_not_utf8_names_the_byte_wherever_it_stands(write_text, suffix):
    line = {".csv": b"caf\xc3\xa9,b\n", ".jsonl": b'{"text": "caf\xc3\xa9", "label": "b"}\n'}[
        suffix
    ]
    head = b"text,label\n" if suffix == ".csv" else b""
    good = head + line * 20_000
    text = message(write_text(f"t{suffix}", good + line.replace(b"\xc3\xa9", b"\xe9")))
    place = len(good) + line.index(b"\xc3")
    number = 20_001 + bool(head)
    assert f"byte 0xe9 at offset {place} (line {number})" in text
    assert "iconv -f WINDOWS-1252 -t UTF-8" in text


def test_utf16_is_named(write_text):
    assert "iconv -f UTF-16" in message(write_text("t.csv", "text,label\na,b\n".encode("utf-16")))


def test_parquet_with_text_that_is_not_utf8(write_table):
    path = write_table("t.parquet", pandas.DataFrame({"text": [b"\xe9"], "label": ["x"]}))
    assert "not UTF-8" in message(path)


@pytest.mark.parametrize(
    ("line", "fields"), [("one,two,three", "3 fields"), ("only", "1 field, the header")]
)
def test_row_of_another_width(write_text, line, fields):
    text = message(write_text("t.csv", f'text,label\n"a\nb",x\n\n{line}\n'))
    assert "data row 2 (line 5)" in text and fields in text and "double quotes" in text


def test_quote_that_is_never_closed_does_not_swallow_the_rest(write_text):
    rows = "".join(f"row {i},x\n" for i in range(50))
    text = message(write_text("t.csv", f'text,label\na,x\n"open,x\n{rows}'))
    assert "data row 2, from line 3 on" in text


def test_quote_in_the_header(write_text):
    assert "malformed in the header" in message(write_text("t.csv", '"text,label\na,b\n'))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "a", ', "line 2 of .* is not JSON"),
        ('["a", "b"]', "line 2 of .* is a JSON list"),
        ('{"text": "\\ud83d", "label": "b"}', "line 2 of .*surrogate"),
        ("[" * 100_000, "line 2 of .* is not JSON"),
    ],
)
def test_malformed_jsonl(write_text, line, words):
    path = write_text("t.jsonl", '{"text": "a", "label": "b"}\n' + line + "\n")
    with pytest.raises(UserError, match=words):
        read(path, "text", "label", where="data.train")


def test_malformed_parquet(write_text, write_table):
    assert "not a Parquet file" in message(write_text("t.parquet", "text,label\na,b\n"))
    path = write_table("u.parquet", pandas.DataFrame({"text": ["a"] * 999, "label": "b"}))
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(bytes(content))
    assert "not a Parquet file" in message(path)


def test_missing_columns_are_told_together_with_what_there_is(write_table):
    path = write_table("t.csv", pandas.DataFrame({"Text": ["a"], "labels": ["b"]}))
    with pytest.raises(UserError) as caught:
        read(path, "text", "label", where="data.train")
    first, second = caught.value.problems
    assert "no column `text`; it has the columns `Text`, `labels`. Did you mean `Text`?" in first
    assert "no column `label`" in second and "`labels`?" in second


def test_another_delimiter_is_suspected(write_text):
    assert "parted by something else" in message(write_text("t.csv", "text;label\na;b\n"))


def test_a_column_that_stands_twice(write_text):
    path = write_text("t.csv", "text,label,text,,\na,b,c,,\n")
    assert "several columns `text`" in message(path)
    assert read(path, "label", None, where="w")["text"].tolist() == ["b"]


def test_text_and_label_from_one_column(write_table):
    path = write_table("t.csv", pandas.DataFrame({"text": ["a"]}))
    assert "both read from the column `text`" in message(path, "text", "text")


def test_many_columns_are_listed_in_part(write_table):
    path = write_table("t.csv", pandas.DataFrame({f"c{i}": ["a"] for i in range(30)}))
    assert "`c19` and 10 more" in message(path, "zzz", "c1")
