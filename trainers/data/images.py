"""Images of a user: a folder with one folder a label, an .npz file, or a table of paths."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy
import pandas
from numpy.typing import NDArray
from PIL import Image

from space.errors import UserError
from trainers.data.table import read_table
from trainers.image_input import ImageInput

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

Pixels = NDArray[numpy.uint8]


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """One image before it is read."""

    name: str
    """Its path as the user knows it, or its number in the file."""
    source: Path | Pixels
    label: str
    """Empty where there is none."""


def read_images(path: Path, image: str, label: str | None, where: str) -> pandas.DataFrame:
    """Return the images of a folder, an .npz file or a table, with the columns image, label, row.

    Args:
        path: the folder or file.
        image: the column of paths, where it is a table; relative ones start at its folder.
        label: the column of labels there; None where none are wanted.
        where: what the user wrote the path under, for messages.

    Raises:
        UserError: there is nothing, or not what should be there.
    """
    if path.is_dir():
        rows = list(_from_folder(path, labelled=label is not None, where=where))
    elif path.suffix.lower() == ".npz":
        rows = list(_from_npz(path, labelled=label is not None, where=where))
    else:
        rows = list(_from_table(path, image, label, where))
    frame = pandas.DataFrame(
        {
            "image": pandas.Series([row.source for row in rows], dtype="object"),
            "name": [row.name for row in rows],
            "label": [row.label for row in rows],
        }
    )
    frame["row"] = range(1, len(frame) + 1)
    return frame


def _from_folder(path: Path, *, labelled: bool, where: str) -> Iterator[ImageRow]:
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise UserError(f"{where}: `{path}` holds no images ({', '.join(SUFFIXES)}).")
    for file in files:
        parts = file.relative_to(path).parts
        if labelled and len(parts) != 2:
            raise UserError(
                f"{where}: `{file}` does not stand in a folder of its label. A folder of images has"
                f" one folder a label: {path.name}/cat/1.png, {path.name}/dog/2.png."
            )
        yield ImageRow(name="/".join(parts), source=file, label=parts[0] if labelled else "")


def _from_npz(path: Path, *, labelled: bool, where: str) -> Iterator[ImageRow]:
    if not path.is_file():
        raise UserError(f"{where}: no file `{path}`.")
    try:
        with numpy.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{where}: `{path}` is no .npz file of plain arrays ({error}).") from error
    images, labels = found.get("images"), found.get("labels")
    if images is None or images.dtype != numpy.uint8 or images.ndim not in (3, 4):
        got = ", ".join(f"{n} {a.dtype} {a.shape}" for n, a in found.items()) or "nothing"
        raise UserError(
            f"{where}: `{path}` needs an array `images` of uint8 with the shape (rows, height,"
            f" width) or (rows, height, width, channels), but it holds {got}."
        )
    if labelled and (labels is None or labels.shape != (len(images),)):
        got = "none" if labels is None else f"one of the shape {labels.shape}"
        raise UserError(
            f"{where}: `{path}` needs an array `labels` of the shape ({len(images)},), but has"
            f" {got}."
        )
    for number, pixels in enumerate(images):
        name = str(labels[number]) if labelled and labels is not None else ""
        yield ImageRow(name=str(number + 1), source=pixels, label=name)


def _from_table(path: Path, image: str, label: str | None, where: str) -> Iterator[ImageRow]:
    columns = {"image": image} | ({"label": label} if label is not None else {})
    frame = read_table(path, columns, where=where)
    for row, name, *rest in frame[["row", *columns]].itertuples(index=False):
        file = path.parent / str(name)
        if str(name).strip() and not file.is_file():
            raise UserError(
                f"{where}: `{path}`, row {row}, column `{image}`: there is no file `{file}`."
                " Relative paths start at the table's folder."
            )
        yield ImageRow(name=str(name), source=file, label=str(rest[0]) if rest else "")


def pixels_of(frame: pandas.DataFrame, image: ImageInput, where: str) -> Pixels:
    """Return the images of a frame as a backbone reads them: (rows, channels, height, width).

    Raises:
        UserError: an image cannot be opened, or is far too large.
    """
    shape = (len(frame), image.n_channels, *image.size)
    pixels = numpy.empty(shape, dtype=numpy.uint8)
    for place, (source, name) in enumerate(zip(frame["image"], frame["name"], strict=True)):
        pixels[place] = _resized(_opened(source, name, where), image)
    return pixels


def _opened(source: Path | Pixels, name: str, where: str) -> Image.Image:
    if not isinstance(source, Path):
        return Image.fromarray(source.squeeze(-1) if source.shape[-1:] == (1,) else source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=_FORMATS) as opened:
                opened.load()
                return opened.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"{where}: the image `{name}` cannot be read ({error}). Formats: {', '.join(_FORMATS)}."
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{where}: the image `{name}` is too large ({error}).") from error


def _resized(opened: Image.Image, image: ImageInput) -> Pixels:
    height, width = image.size
    converted = opened.convert(_MODES[image.n_channels])
    if converted.size != (width, height):
        converted = converted.resize((width, height), Image.Resampling.BILINEAR)
    table = numpy.asarray(converted, dtype=numpy.uint8)
    return table[None] if table.ndim == 2 else table.transpose(2, 0, 1)
