"""Images of a user: a folder with one folder a label, an .npz file, or a table of paths."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pandas
from numpy.typing import NDArray

from space.errors import UserError
from trainers.data.formats import READERS
from trainers.data.images import SUFFIXES, Pixels
from trainers.data.notices import first
from trainers.data.table import check_file, read_table

ARRAYS = ".npz"
_CHANNELS = (1, 2, 3, 4)  # grey or coloured, without or with transparency


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """One image before it is read."""

    name: str
    """What messages call it: its path as the user knows it, or its number in the file."""
    source: Path | Pixels | None
    """None where the row names no file."""
    label: str
    """Empty where there is none."""


def read_images(path: Path, image: str, label: str | None, where: str) -> pandas.DataFrame:
    """Return the images of a folder, an .npz file or a table.

    Hidden files and folders (a dot before the name) are passed over.

    Args:
        path: the folder or file.
        image: the column of paths, where it is a table; relative ones start at its folder.
        label: the column of labels there; None where none are wanted.
        where: what the user wrote the path under, for messages.

    Returns:
        The columns image (a path, an array, or None where the row names none), name, label and row,
        from 1.

    Raises:
        UserError: there is nothing, or not what should be there.
    """
    if path.is_dir():
        rows = list(_from_folder(path, labelled=label is not None, where=where))
    else:
        check_file(path, where, (ARRAYS, *READERS))
        if path.suffix.lower() == ARRAYS:
            rows = list(_from_arrays(path, labelled=label is not None, where=where))
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


def other_files_notices(path: Path, where: str) -> list[str]:
    """Tell of files in a folder of images that are not read, as their names are of no image."""
    others = [_spelled(path, f) for f in _files(path) if f.suffix.lower() not in SUFFIXES]
    if not others:
        return []
    n_files = "1 file" if len(others) == 1 else f"{len(others)} files"
    return [
        f"{where}: {n_files} of no known kind of image ({', '.join(SUFFIXES)}) not read:"
        f" {first(others)}."
    ]


def _files(path: Path) -> list[Path]:
    """Return all files below a folder that are not hidden."""
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
    )


def _spelled(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix()


def _from_folder(path: Path, *, labelled: bool, where: str) -> Iterator[ImageRow]:
    files = _files(path)
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        raise UserError(f"{where}: `{path}` holds no images ({', '.join(SUFFIXES)}).")
    if labelled:
        _check_folders(path, files, images, where)
    for file in images:
        label = file.relative_to(path).parts[0] if labelled else ""
        yield ImageRow(name=_spelled(path, file), source=file, label=label)


def _check_folders(path: Path, files: list[Path], images: list[Path], where: str) -> None:
    for file in images:
        if len(file.relative_to(path).parts) != 2:
            raise UserError(
                f"{where}: `{file}` does not stand in a folder of its label. A folder of images has"
                f" one folder a label: {path.name}/cat/1.png, {path.name}/dog/2.png."
            )
    labels = {file.relative_to(path).parts[0] for file in images}
    for file in files:
        label, *rest = file.relative_to(path).parts
        if rest and label not in labels:
            raise UserError(
                f"{where}: the folder `{path / label}` holds no image of a known kind"
                f" ({', '.join(SUFFIXES)}), but `{file.name}`; convert its images, or take it away."
            )


def _from_arrays(path: Path, *, labelled: bool, where: str) -> Iterator[ImageRow]:
    found = _load(path, where)
    images, labels = found.get("images"), found.get("labels")
    if images is None or not _are_images(images):
        got = ", ".join(f"`{n}` of {a.dtype} {a.shape}" for n, a in found.items()) or "neither"
        raise UserError(
            f"{where}: `{path}` needs an array `images` of uint8 with the shape (rows, height,"
            " width) or (rows, height, width, channels), with up to 4 channels; of `images` and"
            f" `labels` it holds {got}."
        )
    if len(images) == 0:
        raise UserError(f"{where}: `{path}` has no rows.")
    names = _label_names(labels, len(images), path, where) if labelled else [""] * len(images)
    for number, (pixels, name) in enumerate(zip(images, names, strict=True), 1):
        yield ImageRow(name=str(number), source=pixels, label=name)


def _load(path: Path, where: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of our names; a pickled one, which could run code, is not read."""
    try:
        # Opened here: numpy leaves a file open where its zip is broken.
        with path.open("rb") as file, numpy.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("images", "labels") if name in arrays.files}
    # The zip, the compression and the header may be broken each in its own way.
    except Exception as error:
        reason = "pickled objects are not read" if "pickle" in str(error) else error
        raise UserError(
            f"{where}: `{path}` is no .npz file of plain arrays ({reason}). Write it with"
            " numpy.savez(path, images=..., labels=...)."
        ) from error


def _are_images(images: NDArray[Any]) -> bool:
    return (
        images.dtype == numpy.uint8
        and (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in _CHANNELS))
        and 0 not in images.shape[1:]
    )


def _label_names(labels: NDArray[Any] | None, n_rows: int, path: Path, where: str) -> list[str]:
    if labels is None or labels.shape != (n_rows,) or labels.dtype.kind not in "iuU":
        got = "none" if labels is None else f"one of {labels.dtype} with the shape {labels.shape}"
        raise UserError(
            f"{where}: `{path}` needs an array `labels` of integers or texts with the shape"
            f" ({n_rows},), but has {got}."
        )
    return [str(label) for label in labels]


def _from_table(path: Path, image: str, label: str | None, where: str) -> Iterator[ImageRow]:
    columns = {"image": image} | ({"label": label} if label is not None else {})
    frame = read_table(path, columns, where=where)
    for row, name, *rest in frame[["row", *columns]].itertuples(index=False):
        file = path.parent / name if name.strip() else None
        if file is not None and not _is_file(file):
            raise UserError(
                f"{where}: `{path}`, row {row}, column `{image}`: there is no file `{file}`."
                " Relative paths start at the table's folder."
            )
        yield ImageRow(name=f"{name}, row {row}", source=file, label=str(rest[0]) if rest else "")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name
        return False
