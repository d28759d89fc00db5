"""Measure an exported graph against others and against torch: quality, and time on one core."""

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy
import torch
from torch import Tensor

from trainers.answers import batch_size_of
from trainers.data import sorted_batches
from trainers.export.format import Answer, Source
from trainers.metrics import meter_of
from trainers.model import deploy

N_TURNS = 25
N_WARM_UP = 3
TORCH = "float32 torch"


def quality(source: Source, answer: Answer) -> float:
    """Return the task's first metric over all held-out rows."""
    config = source.bundle.config
    meter = meter_of(config.what, config.labels, config.scale)
    with torch.inference_mode():
        for rows in sorted_batches(source.rows.lengths, batch_size_of(source.bundle, source.rows)):
            batch = source.rows.collate(rows)
            meter.update(answer(batch.inputs), batch.labels)
    return meter.compute()[config.what.metrics[0]]


def latencies(source: Source, forms: Mapping[str, Answer]) -> dict[str, dict[str, float]]:
    """Return how long one row takes in each form, and in torch, in turns on one thread.

    It is the processor's time: that of a free core, also where others want the same one.

    Args:
        source: whose row that is nearest to the mean length is taken.
        forms: by name, each on one thread.

    Returns:
        For each form one_core_ms (median) and speedup: the median of the ratios of torch's time,
        in the same turn, to its own.
    """
    lengths = source.rows.lengths
    nearest = int(numpy.abs(lengths - source.n_tokens).argmin())
    inputs = source.rows.collate(numpy.array([nearest])).inputs
    model = deploy(source.bundle.model, source.bundle.backbone)
    all_forms: dict[str, Answer] = {TORCH: lambda given: model(**given), **forms}
    times: dict[str, list[float]] = {name: [] for name in all_forms}
    with _one_thread(), torch.inference_mode():
        for turn in range(N_WARM_UP + N_TURNS):
            for name, form in all_forms.items():
                took = _time_ms(form, inputs)
                if turn >= N_WARM_UP:
                    times[name].append(took)
    return {
        name: {
            "one_core_ms": statistics.median(own),
            "speedup": statistics.median(a / b for a, b in zip(times[TORCH], own, strict=True)),
        }
        for name, own in times.items()
    }


def latencies_in_words(source: Source, found: Mapping[str, Mapping[str, float]]) -> str:
    """Return Markdown that says what `latencies` found."""
    rows = "\n".join(
        f"| {name} | {own['one_core_ms']:.3g} | {own['speedup']:.2f} |"
        for name, own in found.items()
    )
    return f"""One row of about {source.n_tokens} tokens on one core, taken in turns in one run
on the machine that wrote this (the processor's time, which others do not lengthen):

| form | ms (median) | times as fast as {TORCH} |
|---|---|---|
{rows}"""


def _time_ms(form: Answer, inputs: Mapping[str, Tensor]) -> float:
    started = time.process_time()
    form(inputs)
    return (time.process_time() - started) * 1e3


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
