"""The proof of an export: what was written is loaded again and compared with the trained model."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from space.errors import UserError
from trainers.data import Batch
from trainers.export.format import Answer, Source
from trainers.flops import measure_gflops
from trainers.model import deploy

N_ROWS = 64
"""How many held-out rows are answered for by both."""
BATCH_SIZE = 16
N_TURNS = 15
_MIB = 2**20


def prove(
    source: Source, folder: Path, answer: Answer, *, tolerance: float | None
) -> dict[str, Any]:
    """Compare a written export with the trained model, and measure it.

    Args:
        source: the trained model and its held-out rows.
        folder: what was written.
        answer: the export as its users load it.
        tolerance: the largest difference of a logit that is allowed, as a share of the logit where
            it is above 1, so that rounding alone does not count; None: any.

    Returns:
        n_rows and largest_difference (of a logit at a real token), tolerance, same_decisions (the
        share of rows, or of tokens, with the same best label), gflops (of the deployed form at the
        mean length), latency_ms (median, batch 1, at the mean length) and its latency_iqr_ms,
        n_tokens, size_mib.

    Raises:
        UserError: the difference is above the tolerance.
    """
    differences, shares, same, n_rows = [], [], [], 0
    for batch in _batches(source):
        wanted, found = _logits(source, batch), answer(batch.inputs)
        real = batch.inputs["attention_mask"].bool() if wanted.dim() == 3 else ...
        apart = (wanted[real] - found[real]).abs()
        differences.append(apart.max().item())
        shares.append((apart / wanted[real].abs().clamp(min=1.0)).max().item())
        same.extend((_decision(wanted[real]) == _decision(found[real])).flatten().tolist())
        n_rows += len(wanted)
    largest = max(differences)
    # `not <=`: a difference that is no number must not pass.
    if tolerance is not None and not all(share <= tolerance for share in shares):
        raise UserError(
            f"The export answers otherwise than the trained model: logits differ by up to"
            f" {largest:.2g} on {n_rows} held-out rows, and {tolerance:.0e} is allowed. Nothing was"
            " written. Please report this with the study file."
        )
    model = deploy(source.bundle.model, source.bundle.backbone)
    return {
        "n_rows": n_rows,
        "largest_difference": largest,
        "tolerance": tolerance,
        "same_decisions": statistics.fmean(same),
        "gflops": measure_gflops(model, source.bundle.backbone, source.n_tokens),
        **_latency(source, answer),
        "n_tokens": source.n_tokens,
        "size_mib": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / _MIB,
    }


def _batches(source: Source) -> Iterator[Batch]:
    """Yield batches of the first held-out rows; short and long ones together, so that some pad."""
    n_rows = min(N_ROWS, len(source.rows))
    for start in range(0, n_rows, BATCH_SIZE):
        yield source.rows.collate(numpy.arange(start, min(start + BATCH_SIZE, n_rows)))


def _logits(source: Source, batch: Batch) -> Tensor:
    with torch.inference_mode():
        return source.bundle.model(**batch.inputs)  # type: ignore[no-any-return]


def _decision(logits: Tensor) -> Tensor:
    # A single output is a number, which decides nothing: its sign stands in for it.
    return logits.argmax(-1) if logits.shape[-1] > 1 else logits.sign()


def _latency(source: Source, answer: Answer) -> dict[str, float]:
    lengths = source.rows.lengths
    nearest = min(range(len(lengths)), key=lambda row: abs(int(lengths[row]) - source.n_tokens))
    inputs = source.rows.collate(numpy.array([nearest])).inputs
    times = []
    for turn in range(2 + N_TURNS):
        started = time.perf_counter()
        answer(inputs)
        if turn >= 2:
            times.append((time.perf_counter() - started) * 1e3)
    quarters = statistics.quantiles(times, n=4)
    return {
        "latency_ms": statistics.median(times),
        "latency_iqr_ms": quarters[2] - quarters[0],
    }
