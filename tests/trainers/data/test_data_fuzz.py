"""Whatever a file of rows holds: data that can be trained on, or messages that can be printed."""

import io
import json
import re

import numpy
import pandas
import pytest
from hypothesis import strategies as st
from PIL import Image

from space.errors import UserError
from tests.fuzzing import broken, check_all, inputs
from trainers.columns import Columns
from trainers.data import load_data
from trainers.image_input import ImageInput
from trainers.tasks import task_of

IMAGE = ImageInput(size=(4, 4), n_channels=3, mean=(0.5,) * 3, std=(0.5,) * 3, n_tokens=2)
N_ROWS = 14
TEXTS = [f'row {number}, of some "words" größer' for number in range(N_ROWS)]
LABELS = ["yes" if number % 2 else "no" for number in range(N_ROWS)]
FRAME = pandas.DataFrame({"text": TEXTS, "label": LABELS})
NUMBERS = FRAME.assign(label=[1.5 * number for number in range(N_ROWS)])
SEVERAL = FRAME.assign(label=["a|b" if number % 2 else "b|c" for number in range(N_ROWS)])
WORDS = FRAME.assign(
    text=[["New", "York", "is", str(n)] for n in range(N_ROWS)],
    label=[["B-LOC", "I-LOC", "O", "O"]] * N_ROWS,
)


def csv(frame, **how):
    return frame.to_csv(index=False, **how).encode()


def jsonl(frame):
    return frame.to_json(orient="records", lines=True, force_ascii=False).encode()


def parquet(frame):
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()


def conll(frame):
    rows = [zip(row.text, row.label, strict=True) for row in frame.itertuples()]
    return "\n\n".join("\n".join("\t".join(pair) for pair in row) for row in rows).encode()


def npz():
    file = io.BytesIO()
    pixels = numpy.arange(N_ROWS * 48).reshape(N_ROWS, 4, 4, 3).astype(numpy.uint8)
    numpy.savez_compressed(file, images=pixels, labels=numpy.array(LABELS))
    return file.getvalue()


def picture(form):
    file = io.BytesIO()
    Image.fromarray(numpy.arange(192).reshape(8, 8, 3).astype(numpy.uint8)).save(file, form)
    return file.getvalue()


TABLES = {
    "rows.csv": ("text-classification", csv(FRAME)),
    "rows.tsv": ("text-classification", csv(FRAME, sep="\t")),
    "rows.jsonl": ("text-classification", jsonl(FRAME)),
    "rows.parquet": ("text-classification", parquet(FRAME)),
    "numbers.csv": ("text-regression", csv(NUMBERS)),
    "numbers.parquet": ("text-regression", parquet(NUMBERS)),
    "several.jsonl": ("text-classification", jsonl(SEVERAL)),
    "texts.csv": ("causal-lm", csv(FRAME[["text"]])),
    "words.conll": ("token-classification", conll(WORDS)),
    "words.jsonl": ("token-classification", jsonl(WORDS)),
    "words.parquet": ("token-classification", parquet(WORDS)),
    "images.npz": ("image-classification", npz()),
}
PICTURES = {form: picture(form) for form in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")}


def read(path, task, separator=None):
    """Return the data, or None where they are refused as they should be."""
    columns = Columns(label_separator=separator)
    try:
        data = load_data(
            task_of(task, label_separator=separator, text_pair=None),
            source=None,
            train=path,
            validation=None,
            columns=columns,
            rows=None,
            validation_share=0.3,
            seed=0,
            image=IMAGE if task == "image-classification" else None,
        )
    except UserError as error:
        assert error.problems
        assert all(problem.strip() for problem in error.problems)
        # Nobody can mend what is told in the words of a library's insides.
        assert not re.search(r"Traceback|<class '|object at 0x", str(error))
        assert str(error).encode("utf-8")
        return None
    assert len(data.train) and len(data.validation)
    json.dumps([list(data.labels), list(data.notices)])
    assert "".join([*data.labels, *data.notices]).encode("utf-8") is not None
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def separator_of(name):
    return "|" if name.startswith("several") else None


@pytest.mark.parametrize("name", TABLES)
def test_what_is_broken_is_whole_before(folder, name):
    task, content = TABLES[name]
    path = folder / name
    path.write_bytes(content)
    assert read(path, task, separator_of(name)) is not None


@pytest.mark.parametrize("name", TABLES)
@inputs(30, 1_700)
def test_a_broken_table_is_read_or_refused(folder, name, n_inputs):
    task, whole = TABLES[name]
    path = folder / name

    def check(content):
        path.write_bytes(content)
        read(path, task, separator_of(name))

    check_all(n_inputs, broken(st.just(whole)), check)


@inputs(100, 5_000)
def test_a_broken_picture_is_read_or_refused(folder, n_inputs):
    place = folder / "pictures"
    for number in range(8):
        file = place / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(PICTURES["PNG"])
    assert read(place, "image-classification") is not None

    def check(content):
        (place / "a" / "0.png").write_bytes(content)
        read(place, "image-classification")

    check_all(n_inputs, broken(st.sampled_from(list(PICTURES.values()))), check)
