"""What a server reads and answers: rows as a data frame, with the columns of the study."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas
from PIL import Image

from space.errors import UserError, close_matches
from trainers.answers import Deployed, answers, encoded
from trainers.bundle import BundleConfig, LoadedBundle
from trainers.data import pixels_of

Rows = pandas.DataFrame
"""Rows by column; texts are str, words lists of str, images the bytes of an image file."""

MAX_ROWS = 10_000
"""In one request; more would hold up the others for minutes."""
_WORDS = ["An", "example", "of", "eight", "words", "in", "a", "row"]
_SOLID = (200, 120, 40)


def answers_to(model: Deployed, rows: Rows) -> Rows:
    """Return the columns that trainers.predict.predict gives, one row for each of these.

    A perplexity of a single token, which is none, is None, as JSON has no NaN.

    Args:
        model: the bundle that answers.
        rows: has the columns of `columns_of`; further ones are left alone.

    Raises:
        UserError: a column is missing or there are several of it, a value is not of its kind, or
            there are too many rows.
    """
    if len(rows) > MAX_ROWS:
        raise UserError(
            f"At most {MAX_ROWS:,} rows are answered for at once, but got {len(rows):,}."
        )
    bundle = model.bundle
    inputs = {
        name: _values(bundle, name, column, rows)
        for name, column in columns_of(bundle.config).items()
    }
    found = answers(model, inputs, encoded(bundle, inputs))
    if "perplexity" in found:
        found["perplexity"] = [None if value != value else value for value in found["perplexity"]]
    # As objects: among numbers pandas would make a missing answer NaN.
    return pandas.DataFrame(found, index=rows.index, dtype=object)


def columns_of(config: BundleConfig) -> dict[str, str]:
    """Return for each input of the task the column that holds it."""
    columns = config.columns
    names = {"text": columns.text, "words": columns.text, "image": columns.image}
    if columns.text_pair is not None:
        names["text_pair"] = columns.text_pair
    return {name: names[name] for name in config.what.inputs}


def example_rows(bundle: LoadedBundle) -> Rows:
    """Return a row that can be asked for; made up, as the study's own may be private."""
    made = {
        "text": " ".join(_WORDS),
        "text_pair": "Another text",
        "words": _WORDS,
        "image": _example_image(bundle),
    }
    return pandas.DataFrame({c: [made[name]] for name, c in columns_of(bundle.config).items()})


def _example_image(bundle: LoadedBundle) -> bytes:
    if bundle.backbone.image is None:
        return b""
    height, width = bundle.backbone.image.size
    file = io.BytesIO()
    Image.new("RGB", (width, height), _SOLID).save(file, "PNG")
    return file.getvalue()


def _values(bundle: LoadedBundle, name: str, column: str, rows: Rows) -> Sequence[Any]:
    """Return the values of an input, as `predict` takes them."""
    if column not in rows.columns:
        raise UserError(
            f"The rows have no column {column!r}; they have {', '.join(map(str, rows.columns))}."
            + close_matches(column, [str(found) for found in rows.columns])
        )
    if list(rows.columns).count(column) > 1:
        raise UserError(f"The rows have several columns {column!r}; give one of them.")
    values = [
        _READERS[name](value, f"row {number}, column {column!r}")
        for number, value in enumerate(rows[column], 1)
    ]
    if name != "image":
        return values
    assert bundle.backbone.image is not None
    names = [f"row {number}" for number in range(1, len(values) + 1)]
    frame = pandas.DataFrame({"image": pandas.Series(values, dtype="object"), "name": names})
    pixels: Any = pixels_of(frame, bundle.backbone.image, f"column {column!r}")
    return pixels  # type: ignore[no-any-return]


def _text(value: Any, place: str) -> str:
    """Return a text; what is missing is an empty one, as in a file."""
    if isinstance(value, str):
        return value
    if value is None or value is pandas.NA or value != value:
        return ""
    raise UserError(f"{place}: is a text, but got {value!r}.")


def _words(value: Any, place: str) -> tuple[str, ...]:
    listed = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(listed, list | tuple) or not all(isinstance(word, str) for word in listed):
        raise UserError(
            f'{place}: is a list of texts such as ["New", "York"], but got {str(value)[:60]!r}.'
        )
    return tuple(listed)


def _image(value: Any, place: str) -> bytes:
    # Never a path: whoever may ask a server must not choose which of its files it opens.
    if not isinstance(value, bytes):
        raise UserError(
            f"{place}: is the bytes of an image file (in JSON as base64), but got a"
            f" {type(value).__name__}; paths are not opened."
        )
    return value


_READERS: Mapping[str, Any] = {
    "text": _text,
    "text_pair": _text,
    "words": _words,
    "image": _image,
}
"""By the name of an input: (value, its place for messages) -> what `predict` takes."""
