"""The plain loop in a process of its own, where nothing that ours sets for its process helps it."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from space.search_space import Learning
from space.spec import AdapterSpec
from tests.benchmarks.material import quietly
from tests.benchmarks.plain import PlainData, PlainRun, Trial, run_plain

RunPlain = Callable[..., PlainRun]
"""`run_plain` without its first argument."""

_known: dict[str, PlainData] = {}


@contextmanager
def plain_process(data: PlainData) -> Iterator[RunPlain]:
    """Start the process, with as many threads as this one has; give what runs a trial in it."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        1, spawn, initializer=_begin, initargs=(data, torch.get_num_threads())
    ) as pool:

        def run(spec: AdapterSpec, learning: Learning, **how: Any) -> PlainRun:
            return pool.submit(_run, spec, learning, how).result()

        yield run


def _begin(data: PlainData, n_threads: int) -> None:
    torch.set_num_threads(n_threads)
    quietly()
    _known["data"] = data
    # What is imported for the first model would count in the first trial.
    learning = Learning(learning_rate=None, head_learning_rate=1e-2)
    Trial(data, AdapterSpec(depth=1), learning, epochs=1, seed=0)


def _run(spec: AdapterSpec, learning: Learning, how: dict[str, Any]) -> PlainRun:
    return run_plain(_known["data"], spec, learning, **how)
