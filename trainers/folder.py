"""A folder that is carried away: written whole or not at all, and checked when it is read."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from space.errors import UserError

SUMS = "SHA256SUMS"

_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<name>[^\x00-\x1f\x7f]+)")
_MAX_SUMS_BYTES = 2**20


def check_free(folder: Path) -> None:
    """Raise UserError unless a new folder can be written there without loss."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--output {folder}: exists already; nothing is overwritten. Name another.")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to, which becomes `folder` at the end: whole, or not at all.

    SHA256SUMS over all of its files is added at the end.

    Args:
        folder: new, or empty.

    Raises:
        UserError: the folder exists and is not empty, or cannot be written.
    """
    check_free(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        write_sums(partial)
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({error}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over all files of a folder, in the format of `sha256sum`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: Path, needed: Iterable[str], closed: Iterable[str] = ()) -> None:
    """Check all files of a folder against its SHA256SUMS.

    Args:
        folder: what was exported.
        needed: names of files that must be among them.
        closed: names of folders in it, if there, of which every file must be among them: what
            reads them takes what it finds.

    Raises:
        UserError: a file is missing, was changed, cannot be read, or is not listed where it must
            be, or SHA256SUMS leads out of the folder.
    """
    path = folder / SUMS
    if not path.is_file():
        raise UserError(f"{folder}: no bundle of paradapt: it has no {SUMS}.")
    try:
        sums = _sums_in(folder)
        for name in needed:
            if name not in sums:
                raise UserError(f"{path}: has no line for {name}; the bundle is incomplete.")
        for name, sha256 in sums.items():
            _check_file(folder, name, sha256)
        for part in closed:
            _check_closed(folder, part, sums)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error}).") from error


def _sums_in(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that SHA256SUMS lists."""
    path = folder / SUMS
    _check_inside(folder, SUMS)
    if path.stat().st_size > _MAX_SUMS_BYTES:
        raise UserError(f"{path}: is larger than {_MAX_SUMS_BYTES // 2**20} MiB.")
    *lines, rest = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    sums: dict[str, str] = {}
    for number, line in enumerate([*lines, rest] if rest else lines, 1):
        match = _LINE.fullmatch(line)
        # The last line too ends with a line break, or it may be half of one.
        if match is None or number > len(lines):
            raise UserError(
                f"{path}, line {number}: is not a SHA-256, two blanks and a name: it was changed or"
                " damaged since the export. Export it anew."
            )
        name = match["name"]
        if _leads_out(name):
            raise UserError(f"{path}, line {number}: {name!r} is no path inside of the folder.")
        if name in sums:
            raise UserError(f"{path}, line {number}: {name!r} stands twice.")
        sums[name] = match["sha256"]
    return sums


def _leads_out(name: str) -> bool:
    """Return whether a name may be read as a place outside, on any system."""
    parts = name.split("/")
    return "\\" in name or bool({"", ".", ".."} & {*parts}) or bool(PureWindowsPath(name).drive)


def _check_inside(folder: Path, name: str) -> None:
    """Raise UserError where links lead out of the folder; it may itself be a link."""
    place, real = os.path.realpath(folder), os.path.realpath(folder / name)
    if not Path(real).is_relative_to(place):
        raise UserError(
            f"{folder / name}: is a link that leads out of the folder, to {real}; put the file"
            " itself there."
        )


def _check_file(folder: Path, name: str, sha256: str) -> None:
    _check_inside(folder, name)
    if not (folder / name).is_file():
        raise UserError(f"{folder / name}: is missing; the bundle is incomplete.")
    if _sha256(folder / name) != sha256:
        raise UserError(
            f"{folder / name}: was changed or damaged since the export (its SHA-256 is not the"
            f" one in {SUMS}). Export it anew."
        )


def _check_closed(folder: Path, part: str, sums: Mapping[str, str]) -> None:
    for root, folders, files in os.walk(folder / part):
        # What Python itself leaves where it runs code; it is not listed, and needs not be.
        folders[:] = [name for name in folders if name != "__pycache__"]
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in [*links, *files]:
            inner = (Path(root) / name).relative_to(folder).as_posix()
            if inner not in sums:
                raise UserError(
                    f"{folder / inner}: is not listed in {SUMS}, but would be read. Take it away,"
                    " or export anew."
                )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
