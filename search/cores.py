"""Cores of a machine, shared out among workers so that no two of them run on one.

A worker claims its cores by locks in a folder of the machine: they hold across workers, studies and
commands, and go with the process that has them, however it ends.
"""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO


def available() -> int:
    """Return how many cores this process may use."""
    return len(_allowed())


def claim(n_cores: int, folder: Path | None = None) -> list[IO[str]]:
    """Run this thread, and those that it begins, on so many cores that nobody has claimed.

    Where there are not so many left, the system shares out what there is, as it would without us.

    Args:
        n_cores: how many.
        folder: of the locks; None: the machine's own, one for each user.

    Returns:
        what holds the claim: it goes when these are closed.
    """
    if not hasattr(os, "sched_setaffinity"):  # not on a Mac
        return []
    folder = folder or Path(tempfile.gettempdir()) / f"paradapt-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    held: dict[int, IO[str]] = {}
    for core in sorted(_allowed()):
        if len(held) == n_cores:
            break
        lock = (folder / str(core)).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        held[core] = lock
    if len(held) == n_cores:
        os.sched_setaffinity(0, held)
        return list(held.values())
    for claimed in held.values():
        claimed.close()
    return []


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
