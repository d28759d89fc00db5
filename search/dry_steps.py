"""Time a few steps of a structure, to say beforehand what a trial takes."""

import statistics
import time
from dataclasses import replace

import torch

from search.context import StudyContext
from space.spec import AdapterSpec
from trainers.data import Batch, LikeLengthBatches
from trainers.data.batch import Rows
from trainers.engine import autocast
from trainers.losses import loss_of
from trainers.memory import peak_memory_mib, reset_peak_memory

N_STEPS = 4
"""Training steps that are timed."""


def time_steps(context: StudyContext, spec: AdapterSpec) -> tuple[float, float, float]:
    """Return the seconds of a training step and of a validation row, and the peak memory."""
    task, engine = context.task, context.engine_of(spec)
    model = context.model_of(spec).train()
    loss = loss_of(task)
    optimizer = torch.optim.AdamW(model.trained_parameters())
    sampler = LikeLengthBatches(
        context.train.lengths, context.study.training.batch_size, context.study.seed
    )
    batches = [
        _with_prefix(context, spec, rows)
        for rows, _ in zip(sampler, range(N_STEPS + 1), strict=False)
    ]
    reset_peak_memory()
    steps, rows = [], []
    for batch in batches:
        began = time.perf_counter()
        with autocast(engine, model.device):
            answers = model.forward_exits(boundaries=batch.boundaries, **batch.inputs)
        losses = [loss(answer, batch.labels) for answer in answers]
        torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        steps.append(time.perf_counter() - began)
        with torch.inference_mode(), autocast(engine, model.device):
            began = time.perf_counter()
            model(boundaries=batch.boundaries, **batch.inputs)
            rows.append((time.perf_counter() - began) / len(batch.labels))
    # The first one makes room that the others find.
    return statistics.mean(steps[1:] or steps), statistics.mean(rows[1:] or rows), peak_memory_mib()


def _with_prefix(context: StudyContext, spec: AdapterSpec, rows: Rows) -> Batch:
    """Return a batch as trials have it: what comes out of the frozen prefix is known."""
    batch = context.train.collate(rows)
    if context.store is None:
        return batch
    shape = (len(rows), int(context.train.lengths[rows].max()), context.backbone.shape.width)
    dtype = context.engine_of(spec).dtype
    return replace(batch, boundaries={b: torch.zeros(shape, dtype=dtype) for b in spec.boundaries})
