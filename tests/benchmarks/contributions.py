"""What each part of the engine adds: samples a second of training steps, from the plain loop on.

    python -m tests.benchmarks.table contributions

Each line changes one thing of the line above it. All lines take one step in turn, over one epoch
of the same rows, so that a disturbance of the machine meets all of them.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search.context import StudyContext
from tests.benchmarks.material import Structure, context_of, lora, plain_data
from tests.benchmarks.plain import MAX_NORM, PlainData, Trial
from tests.benchmarks.rows import Found, Row, say, table
from tests.benchmarks.sizes import Sizes
from trainers.cache import PrefixStore, RecalledTable, Recaller
from trainers.data import Batch, LikeLengthBatches
from trainers.engine import Engine, autocast, default_device, prepared
from trainers.losses import loss_of
from trainers.model import build
from trainers.steps import make_optimizer

Steps = Iterator[int]
"""Takes a training step at each `next` and returns its rows."""

PLAIN, OURS, ALIKE, ATTENTION, CACHE = (
    "plain loop: float32, sdpa, random batches, PEFT",
    "our adapters and optimizer, the rest as before",
    "batches of like length",
    "attention {attention}, as measured here",
    "blocks below the first insertion layer from the cache",
)
BFLOAT16 = "bfloat16, frozen weights cast once"


def measure(sizes: Sizes) -> Found:
    """Measure adapters in all blocks and in the top third."""
    details: dict[str, Any] = {}
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = context_of(folder, changes={"data.rows": sizes.step_rows})
        data = plain_data(context)
        n_layers = context.backbone.shape.n_layers
        for where, first in (("all blocks", 0), ("top third", n_layers * 2 // 3)):
            found = in_turns(variants(context, data, lora(n_layers, first), folder / "cache"))
            base, last = found[PLAIN], list(found.values())[-1]
            lines = [
                (variant, f"{speed:.1f}", f"{speed / base:.2f}") for variant, speed in found.items()
            ]
            say(f"\nadapters in {where}")
            say(table(lines, ("variant", "samples/s", "times the plain loop")))
            details[where] = found
            rows.append(
                Row(
                    name=f"{where}: training steps alone, last line to the plain loop",
                    measured=last / base,
                    unit="times",
                    note=f"{base:.0f} to {last:.0f} samples/s",
                )
            )
    return Found(rows=rows, details=details)


def variants(
    context: StudyContext, data: PlainData, structure: Structure, folder: Path
) -> Mapping[str, Steps]:
    """Return the lines of the table, each with one change more."""
    batch_size = context.study.training.batch_size
    chosen = context.engine
    plain = replace(chosen, precision="float32", attention="sdpa")
    attention = replace(plain, attention=chosen.attention)

    def steps(engine: Engine, table: Any, *, alike: bool = True) -> Steps:
        return our_steps(context, structure, engine, batches(table, batch_size, alike=alike))

    found = {
        PLAIN: plain_steps(data, structure),
        OURS: steps(plain, context.train, alike=False),
        ALIKE: steps(plain, context.train),
        ATTENTION.format(attention=chosen.attention): steps(attention, context.train),
    }
    if chosen.precision != "float32":
        found[BFLOAT16] = steps(chosen, context.train)
    if structure.spec.boundaries:
        found[CACHE] = steps(chosen, recalled(context, structure, chosen, folder))
    return found


def in_turns(variants: Mapping[str, Steps]) -> dict[str, float]:
    """Return samples a second of each variant; the first step of each is not counted."""
    seconds, n_rows = dict.fromkeys(variants, 0.0), dict.fromkeys(variants, 0)
    for steps in variants.values():
        next(steps)
    running = dict(variants)
    while running:
        for name, steps in list(running.items()):
            began = time.perf_counter()
            taken = next(steps, None)
            if taken is None:
                del running[name]
                continue
            seconds[name] += time.perf_counter() - began
            n_rows[name] += taken
    return {name: n_rows[name] / seconds[name] for name in variants}


def plain_steps(data: PlainData, structure: Structure) -> Steps:
    """Take the steps of one epoch in the plain loop."""
    trial = Trial(data, structure.spec, structure.learning, epochs=1, seed=0)
    for batch in trial.train:
        n_rows = len(batch["labels"])
        trial.step(batch)
        yield n_rows


def our_steps(
    context: StudyContext, structure: Structure, engine: Engine, made: Iterator[Batch]
) -> Steps:
    """Take steps in a bare loop around our model (Lightning's own cost is not in it)."""
    device = default_device()
    backbone = prepared(context.backbone, engine)
    model = build(backbone, structure.spec, context.n_outputs, seed=0).to(device).train()
    optimizer = make_optimizer(model, structure.learning)
    loss_fn = loss_of(context.task)
    for batch in made:
        batch = batch.to(device)
        with autocast(engine, device):
            logits = model(boundaries=batch.boundaries, **batch.inputs)
        loss = loss_fn(logits, batch.labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.trained_parameters(), MAX_NORM)
        optimizer.step()
        loss.item()
        yield len(batch.labels)


def batches(table: Any, batch_size: int, *, alike: bool) -> Iterator[Batch]:
    """Make the batches of one epoch, of like length or at random."""
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
    random = [rows.numpy() for rows in order.split(batch_size)]
    for rows in LikeLengthBatches(table.lengths, batch_size, seed=0) if alike else random:
        yield table.collate(rows)


def recalled(
    context: StudyContext, structure: Structure, engine: Engine, folder: Path
) -> RecalledTable:
    """Return the training rows with what is below the cut from a cache."""
    store = PrefixStore(folder, max_bytes=2**32, tell=say)
    recaller = Recaller(backbone=prepared(context.backbone, engine), engine=engine, store=store)
    found = recaller.recall(context.train, structure.spec.boundaries, default_device())
    assert isinstance(found, RecalledTable)
    return found
