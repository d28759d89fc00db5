"""The same table on a GPU, a backbone that fills it, and several trials side by side on the card.

    python -m tests.benchmarks.table gpu

MiniLM is so small that a GPU waits for the processor that starts its kernels, whoever trains it; a
backbone of BERT-large's size, with random weights, shows what the engine saves where the GPU works.
Where there is no GPU, the rows say so.
"""

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel

from search.context import StudyContext
from tests.benchmarks import engine
from tests.benchmarks.material import context_of, lora, plain_data, sampled
from tests.benchmarks.ours import run_ours
from tests.benchmarks.plain_process import plain_process
from tests.benchmarks.rows import Found, Row
from tests.benchmarks.sizes import Sizes

WORKERS = 4
"""Trials side by side."""
WIDE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
"""Of a backbone that fills a GPU: BERT-large's sizes."""
WIDE_BATCH = 128

_worker: dict[str, Any] = {}
"""What a worker process has prepared."""


def measure(sizes: Sizes) -> Found:
    """Measure on the GPU, where there is one."""
    if not torch.cuda.is_available():
        names = (
            "the table of `engine`",
            "BERT-large's size: ours to the plain loop",
            f"{WORKERS} trials side by side on one card",
        )
        return Found(
            rows=[Row(name=f"GPU: {name}", measured=None, note="no GPU here") for name in names]
        )
    found = engine.measure(sizes)
    own = [*found.rows, *wide_rows(sizes), side_by_side(sizes, WORKERS)]
    rows = [replace(row, name=f"GPU: {row.name}", at_least=None) for row in own]
    return Found(rows=rows, details={"gpu": torch.cuda.get_device_name(), **found.details})


def wide_rows(sizes: Sizes) -> list[Row]:
    """Return how many times faster ours is than the plain loop on a backbone that fills a GPU."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = context_of(folder, changes={"data.rows": sizes.rows}).backbone
        assert small.tokenizer is not None
        BertModel(BertConfig(**WIDE)).save_pretrained(folder / "wide")
        small.tokenizer.save_pretrained(folder / "wide")
        changes = {
            "backbone": str(folder / "wide"),
            "data.rows": 3 * sizes.rows,
            "budget.epochs": sizes.named_epochs,
            "training.batch_size": WIDE_BATCH,
            "cache.folder": str(folder / "cache"),
        }
        context = context_of(folder, changes=changes)
        n_layers = WIDE["num_hidden_layers"]
        structures = [
            lora(n_layers, 0, rate=3e-4, name=engine.ALL_BLOCKS),
            lora(n_layers, n_layers * 2 // 3, rate=3e-4, name=engine.TOP_THIRD),
        ]
        with plain_process(plain_data(context)) as plain:
            pairs = [engine.pair_of(context, plain, structure) for structure in structures]
    rows = [engine.ratio_row(pair, least=None) for pair in pairs]
    return [replace(row, name=f"BERT-large's size, {row.name}") for row in rows]


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
