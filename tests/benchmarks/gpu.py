"""The same table on a GPU, and several trials side by side on the one card.

    python -m tests.benchmarks.table gpu

Where there is none, the rows say so.
"""

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from search.context import StudyContext
from tests.benchmarks import engine
from tests.benchmarks.material import context_of, sampled
from tests.benchmarks.ours import run_ours
from tests.benchmarks.rows import Found, Row
from tests.benchmarks.sizes import Sizes

WORKERS = 4
"""Trials side by side."""

_worker: dict[str, Any] = {}
"""What a worker process has prepared."""


def measure(sizes: Sizes) -> Found:
    """Measure on the GPU, where there is one."""
    if not torch.cuda.is_available():
        names = ("the table of `engine`", f"{WORKERS} trials side by side on one card")
        return Found(
            rows=[Row(name=f"GPU: {name}", measured=None, note="no GPU here") for name in names]
        )
    found = engine.measure(sizes)
    beside = side_by_side(sizes, WORKERS)
    name = torch.cuda.get_device_name()
    rows = [replace(row, name=f"GPU: {row.name}") for row in [*found.rows, beside]]
    return Found(rows=rows, details={"gpu": name, **found.details})


def side_by_side(sizes: Sizes, n_workers: int) -> Row:
    """Return how many times faster so many workers are than one, on the sampled structures."""
    with tempfile.TemporaryDirectory() as folder:
        alone_s, together_s = (all_of_them_s(sizes, folder, n) for n in (1, n_workers))
    return Row(
        name=f"{n_workers} trials side by side, to one after the other",
        measured=alone_s / together_s,
        unit="times faster",
        note=f"{alone_s:.1f} s to {together_s:.1f} s for {sizes.n_structures} trials",
    )


def all_of_them_s(sizes: Sizes, folder: str, n_workers: int) -> float:
    """Return the seconds in which workers train all sampled structures, all being warm."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        n_workers, spawn, initializer=prepare_worker, initargs=(sizes, folder)
    ) as pool:
        meeting = spawn.Manager().Barrier(n_workers)
        # Each of them waits for the others, so that every worker has one.
        list(pool.map(warm_up, [meeting] * n_workers))
        began = time.perf_counter()
        list(pool.map(train, range(sizes.n_structures)))
        return time.perf_counter() - began


def prepare_worker(sizes: Sizes, folder: str) -> None:
    """Make what a worker needs."""
    torch.set_num_threads(1)
    _worker["context"] = worker_context(sizes, Path(tempfile.mkdtemp(dir=folder)), Path(folder))


def worker_context(sizes: Sizes, own: Path, shared: Path) -> StudyContext:
    """Return the study with a cache that all workers share."""
    changes = {
        "data.rows": sizes.rows,
        "budget.epochs": sizes.epochs,
        "cache.folder": str(shared / "cache"),
    }
    return context_of(own, changes=changes)


def warm_up(meeting: Any) -> None:
    """Train each structure once, so that cache and kernels are there, then wait for the others."""
    train(0)
    meeting.wait()


def train(index: int) -> float:
    """Train one of the sampled structures in a worker; return its accuracy."""
    return run_ours(_worker["context"], sampled()[index]).accuracy
