"""Memory of one trial, though all trials of a worker run in one process: its peak, its want."""

import contextlib
import ctypes
import errno
import functools
import gc
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from space.errors import OutOfMemory

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # man 5 proc: resets the peak resident set size
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h: parameters of mallopt
_NEVER = 2**31 - 1
_WANTING = ("can't allocate memory", "cannot allocate memory")
"""What torch says, in a RuntimeError, where the processor's memory is at an end."""


@functools.cache
def keep_freed_memory() -> None:
    """Let this process use again what it frees, rather than hand it back and ask for it anew.

    Every step of a training frees tensors of the same sizes as the last one's. The C library gives
    such large ones back to the system at once, which clears each page again before the next step
    has it: 3 to 6 % of a step on a processor. What is kept goes back between trials
    (`reset_peak_memory`, `release_memory`). Where the C library is not GNU's, nothing is done.
    """
    library = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        library.mallopt(_MMAP_THRESHOLD, _NEVER)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)


def _give_back() -> None:
    """Hand back to the system what the C library keeps though nobody uses it."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak_memory() -> None:
    """Begin a new measurement (on Linux and CUDA; elsewhere the peak is the process's)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    _give_back()  # what an earlier trial needed is not this one's
    with contextlib.suppress(OSError):
        _RESET.write_text(_RESET_PEAK)


def peak_memory_mib() -> float:
    """Return the peak since the last reset in MiB: of the GPU where one is used, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@contextlib.contextmanager
def want_of_memory_told() -> Iterator[None]:
    """Turn what Python, torch and the system raise for want of memory into OutOfMemory.

    Raises:
        OutOfMemory: no memory left.
    """
    try:
        yield
    except Exception as error:
        if not _is_want_of_memory(error):
            raise
        raise OutOfMemory(f"no memory left ({error})") from error


def release_memory() -> None:
    """Give back what nobody uses any more, so that the next trial finds it.

    Parts of a model know each other: they would stay, with their optimizer, until Python's own
    collector happens to come by, and might leave the next trial too little.
    """
    gc.collect()
    _give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _is_want_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _WANTING)
