"""A folder that is carried away: written whole or not at all, and checked when it is read."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from space.errors import UserError

SUMS = "SHA256SUMS"


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
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: Path, needed: Iterable[str]) -> None:
    """Check all files of a folder against its SHA256SUMS.

    Args:
        folder: what was exported.
        needed: names of files that must be among them.

    Raises:
        UserError: a file is missing or was changed.
    """
    path = folder / SUMS
    if not path.is_file():
        raise UserError(f"{folder}: no bundle of paradapt: it has no {SUMS}.")
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        sha256, _, name = line.partition("  ")
        sums[name] = sha256
    for name in needed:
        if name not in sums:
            raise UserError(f"{path}: has no line for {name}; the bundle is incomplete.")
    for name, sha256 in sums.items():
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: is missing; the bundle is incomplete.")
        if _sha256(folder / name) != sha256:
            raise UserError(
                f"{folder / name}: was changed or damaged since the export (its SHA-256 is not the"
                f" one in {SUMS}). Export it anew."
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
