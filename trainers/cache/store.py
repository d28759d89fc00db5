"""Files of the frozen-prefix cache: one a boundary, checked when opened, under a size budget.

A file holds hidden states (T, D), T tokens of all rows end to end without padding. Beside it
stands what it is, with its checksum. A file is written under another name and renamed when it is
whole, so that a kill leaves nothing that looks whole; processes that want the same file wait for
the one that writes it.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from trainers.measured import cache_folder

Tell = Callable[[str], None]

_SUFFIX = ".states"
_PARTIAL = ".partial"
_CHUNK = 2**24


def default_folder() -> Path:
    """Return the folder that all studies of a user share."""
    return cache_folder() / "prefix"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One boundary of one prefix."""

    folder: Path
    """Of the prefix: its name is the key."""
    boundary: int

    @property
    def states(self) -> Path:
        """The file of hidden states."""
        return self.folder / f"{self.boundary:03d}{_SUFFIX}"

    @property
    def about(self) -> Path:
        """The file that says what they are."""
        return self.states.with_suffix(".json")

    @property
    def partial(self) -> Path:
        """Where the states are while they are being written."""
        return self.states.with_suffix(_PARTIAL)


class PrefixStore:
    """The folder of the cache.

    Args:
        folder: made when it is first written to; shared by processes of one machine.
        max_bytes: of all files together; the least recently used goes first.
        tell: is told, in a sentence, of what is broken or has no room.
    """

    def __init__(self, folder: Path, max_bytes: int, tell: Tell) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._tell = tell
        self._told: set[str] = set()

    def tell(self, what: str) -> None:
        """Tell something, once: trial after trial meets it."""
        if what not in self._told:
            self._told.add(what)
            self._tell(what)

    def entry(self, key: Mapping[str, Any], boundary: int) -> Entry:
        """Return where a boundary of the prefix with this key is, or would be."""
        text = json.dumps(key, sort_keys=True)
        return Entry(
            folder=self.folder / hashlib.sha256(text.encode()).hexdigest()[:32], boundary=boundary
        )

    def open(self, entry: Entry, shape: tuple[int, int], dtype: torch.dtype) -> Tensor | None:
        """Return hidden states (T, D), memory-mapped; None where they are not there, or not whole.

        What is not whole is taken away, and told.
        """
        try:
            about = json.loads(entry.about.read_text(encoding="utf-8"))
            if about["shape"] != list(shape) or about["dtype"] != str(dtype):
                raise ValueError("its shape is another")
            if entry.states.stat().st_size != _n_bytes(shape, dtype):
                raise ValueError("it is cut off")
            if _checksum(entry.states) != about["sha256"]:
                raise ValueError("its checksum is wrong")
            states = _mapped(entry.states, shape, dtype, shared=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.tell(
                f"the cache file {entry.states} is broken ({error}); it is taken away and computed"
                " anew."
            )
            self._remove(entry)
            return None
        with suppress(OSError):
            os.utime(entry.about)  # when it was last used
        return states

    @contextmanager
    def writing(self, folder: Path) -> Iterator[None]:
        """Hold the right to write a prefix; another process that holds it is waited for.

        Raises:
            OSError: the folder cannot be written to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            yield

    def reserve(
        self,
        entry: Entry,
        shape: tuple[int, int],
        dtype: torch.dtype,
        wanted: Iterable[Entry],
    ) -> Tensor | None:
        """Return room for hidden states (T, D) on disk, to be filled; None where there is none.

        Args:
            entry: what will be written; its prefix is being written by this process.
            shape: (T, D).
            dtype: of the states.
            wanted: entries that are not given up for it.
        """
        n_bytes = _n_bytes(shape, dtype)
        with FileLock(self.folder / "lock"):
            try:
                if not self._make_room(n_bytes, {entry.states, *(w.states for w in wanted)}):
                    self.tell(
                        f"the frozen-prefix cache has no room for boundary {entry.boundary}"
                        f" ({n_bytes / 2**30:.2f} GiB of {self.max_bytes / 2**30:.2f}); its blocks"
                        " run in every epoch. A larger `cache.gib` changes that."
                    )
                    return None
                _allocate(entry.partial, n_bytes)
                return _mapped(entry.partial, shape, dtype, shared=True)
            except OSError as error:
                with suppress(OSError):
                    entry.partial.unlink(missing_ok=True)
                why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
                self.tell(
                    f"the frozen-prefix cache cannot be written ({why}); boundary"
                    f" {entry.boundary} is computed in every epoch instead."
                )
                return None

    def commit(self, entry: Entry, shape: tuple[int, int], dtype: torch.dtype) -> None:
        """Make what was written under a reservation the entry.

        Raises:
            OSError: it cannot be.
        """
        whole = entry.about.with_suffix(f".{os.getpid()}")
        try:
            with entry.partial.open("rb+") as file:
                os.fsync(file.fileno())
            about = {"shape": list(shape), "dtype": str(dtype), "sha256": _checksum(entry.partial)}
            # The states first: they count for nothing without what says that they are whole.
            entry.partial.replace(entry.states)
            whole.write_text(json.dumps(about), encoding="utf-8")
            whole.replace(entry.about)
        except OSError:
            self._remove(entry)
            with suppress(OSError):
                whole.unlink(missing_ok=True)
            raise

    def give_up(self, entry: Entry) -> None:
        """Take back a reservation."""
        with suppress(OSError):
            entry.partial.unlink(missing_ok=True)

    def _make_room(self, n_bytes: int, kept: set[Path]) -> bool:
        """Take away what was used longest ago until `n_bytes` fit; return whether they do."""
        files = [*self.folder.glob(f"*/*{_SUFFIX}"), *self.folder.glob(f"*/*{_PARTIAL}")]
        sizes = {path: path.stat().st_size for path in files}
        free = self.max_bytes - sum(sizes.values())
        stored = sorted(
            (path for path in sizes if path.suffix == _SUFFIX and path not in kept), key=_last_use
        )
        if free + sum(sizes[path] for path in stored) < n_bytes:
            return False
        for path in stored:
            if free >= n_bytes:
                break
            self._remove(Entry(folder=path.parent, boundary=int(path.stem)))
            free += sizes[path]
        return free >= n_bytes

    def _remove(self, entry: Entry) -> None:
        # Another process that has it mapped keeps what it has mapped.
        with suppress(OSError):
            entry.about.unlink(missing_ok=True)
            entry.states.unlink(missing_ok=True)


def _last_use(states: Path) -> float:
    try:
        return states.with_suffix(".json").stat().st_mtime
    except OSError:
        return 0.0  # without what says that they are whole they are of no use


def _n_bytes(shape: tuple[int, int], dtype: torch.dtype) -> int:
    return shape[0] * shape[1] * dtype.itemsize


def _mapped(path: Path, shape: tuple[int, int], dtype: torch.dtype, *, shared: bool) -> Tensor:
    flat = torch.from_file(str(path), shared=shared, size=shape[0] * shape[1], dtype=dtype)
    return flat.view(shape)


def _allocate(path: Path, n_bytes: int) -> None:
    """Make a file of so many bytes that are really there: a full disk shows now, not in a write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, n_bytes)


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
