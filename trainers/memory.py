"""Peak memory of one trial, though all trials of a worker run in one process."""

import contextlib
import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # man 5 proc: resets the peak resident set size


def reset_peak_memory() -> None:
    """Begin a new measurement (on Linux and CUDA; elsewhere the peak is the process's)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
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
