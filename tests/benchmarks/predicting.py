"""Measure what prediction costs besides the model: the time, and the memory on a long file.

    python -m tests.benchmarks.table predict

MiniLM with LoRA, at depth 1, where everything beside the model counts most, and at full depth; the
docstrings of the quickstart, repeated, cut at 16 tokens as there. The bare loop runs the same
batches, read, tokenised and put together beforehand, through the same merged model, in turns with
the whole of `paradapt predict`: reading, tokenising, answering and writing a CSV file.
"""

import csv
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from space.spec import AdapterSpec
from tests.benchmarks.material import lora, quietly
from tests.benchmarks.rows import Found, Row, say
from tests.benchmarks.sizes import Sizes
from tests.trainers.test_bundle import config_for
from trainers import predict as predicting
from trainers.answers import BATCH_SIZE, encoded
from trainers.backbone import Backbone, load_backbone
from trainers.bundle import LoadedBundle
from trainers.data import Batch, Columns, docstring_rows, sorted_batches
from trainers.memory import peak_memory_mib, reset_peak_memory
from trainers.model import build, deploy
from trainers.predict import predict_file
from trainers.predicting.reading import open_asked

MAX_LENGTH, N_WORDS = 16, 6
MIN_SHARE, MAX_MIB = 0.9, 1536
N_TURNS = 2


def measure(sizes: Sizes) -> Found:
    """Measure the share of the bare loop's speed, and the peak of memory."""
    quietly()
    backbone = load_backbone("minilm")
    texts = list(docstring_rows()["text"])
    n_layers = backbone.shape.n_layers
    rows, details = [], {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for depth, n_rows in ((1, sizes.predict_rows), (n_layers, sizes.predict_rows // 10)):
            source = write_rows(folder / f"{depth}.csv", texts, n_rows)
            found = share_of(bundle_of(backbone, depth), source, folder / "out.csv")
            details[f"depth {depth}"] = found
            rows.append(share_row(found, depth, n_rows))
        short = [" ".join(text.split()[:N_WORDS]) for text in texts]
        source = write_rows(folder / "long.csv", short, sizes.memory_rows)
        reset_peak_memory()
        predict_file(bundle_of(backbone, 1), source, folder / "long.out.csv", told=_said())
    name = f"peak memory of predict, {sizes.memory_rows:,} short rows"
    rows.append(Row(name=name, measured=peak_memory_mib(), unit="MiB", at_most=MAX_MIB))
    return Found(rows=rows, details=details)


def share_row(found: dict[str, float], depth: int, n_rows: int) -> Row:
    """Return the row of the table for one depth."""
    return Row(
        name=f"speed of predict as a share of the bare loop, depth {depth}, {n_rows:,} rows",
        measured=found["bare_s"] / found["predict_s"],
        at_least=MIN_SHARE,
        note=f"{n_rows / found['predict_s']:.0f} and {n_rows / found['bare_s']:.0f} rows/s;"
        f" of processor time {found['bare_cpu_s'] / found['predict_cpu_s']:.3f}",
    )


def bundle_of(backbone: Backbone, depth: int) -> LoadedBundle:
    """Return LoRA at the four roles of attention in all blocks of a cut MiniLM."""
    spec: AdapterSpec = lora(depth, 0).spec
    labels = tuple(f"library {number}" for number in range(10))
    config = config_for(
        backbone, spec, labels=labels, columns=Columns(text="text"), max_length=MAX_LENGTH
    )
    model = build(backbone, spec, len(labels), seed=0)
    return LoadedBundle(config=config, backbone=backbone, model=model)


def write_rows(path: Path, texts: Sequence[str], n_rows: int) -> Path:
    """Write a CSV file of so many rows, repeating the texts; return it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(itertools.islice(itertools.cycle(texts), n_rows)))
    return path


def share_of(bundle: LoadedBundle, source: Path, target: Path) -> dict[str, float]:
    """Return the seconds, and those of the processor, that both take on a file."""
    batches = batches_of(bundle, source)
    model = deploy(bundle.model, bundle.backbone)

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                model(**batch.inputs)

    def whole() -> None:
        predict_file(bundle, source, target)
        target.unlink()

    found = dict.fromkeys(("bare_s", "bare_cpu_s", "predict_s", "predict_cpu_s"), 0.0)
    for _ in range(N_TURNS):
        for name, run in (("bare", bare), ("predict", whole)):
            seconds, cpu = _timed(run)
            found[f"{name}_s"] += seconds / N_TURNS
            found[f"{name}_cpu_s"] += cpu / N_TURNS
            say(f"{name:8} {seconds:7.1f} s, {cpu:7.1f} s of the processor")
    return found


def batches_of(bundle: LoadedBundle, source: Path) -> list[Batch]:
    """Return the batches that prediction makes of a file."""
    asked = open_asked(bundle, source, None, chunk_rows=predicting.CHUNK_ROWS, chunk_images=1)
    tables = (encoded(bundle, inputs) for _, inputs in asked.chunks)
    return [
        table.collate(rows)
        for table in tables
        for rows in sorted_batches(table.lengths, BATCH_SIZE)
    ]


def _timed(run: Callable[[], Any]) -> tuple[float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - began, time.process_time() - cpu


def _said() -> Callable[[int, int | None], None]:
    """Return what says now and then how many rows are done."""
    last = time.monotonic()

    def told(n_done: int, n_rows: int | None) -> None:
        nonlocal last
        if time.monotonic() - last > 30:
            last = time.monotonic()
            say(f"{n_done:,} of {n_rows:,} rows, peak {peak_memory_mib():.0f} MiB")

    return told
