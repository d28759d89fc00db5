"""Small disks for tests: each a few MiB of memory, filled up and freed again at will."""

import errno
import os
import subprocess
import threading
from contextlib import contextmanager

import pytest

CHUNKS = (2**20, 2**12)
"""Bytes that are written at a time: as large as fits, then what a file system gives at least."""


@contextmanager
def small_disk(folder, mib):
    """Make a folder a disk of its own; skip the test, and say why, where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", folder]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        # Lazily: a client of this process may still hold a database there open.
        subprocess.run(["umount", "--lazy", folder], check=True, timeout=20)


@contextmanager
def filled(disk):
    """Keep a disk full meanwhile, also where somebody frees some of it; then free it."""
    filler, freed = disk / "filler", threading.Event()
    with filler.open("wb", buffering=0) as file:
        _fill(file)

        def keep():
            while not freed.wait(0.02):
                _fill(file)

        keeper = threading.Thread(target=keep, name="filler")
        keeper.start()
        try:
            yield
        finally:
            freed.set()
            keeper.join()
    filler.unlink()


def _fill(file):
    for size in CHUNKS:
        try:
            while file.write(bytes(size)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
