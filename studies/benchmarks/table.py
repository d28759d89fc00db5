"""The table of curves: one row for each point of time of each training, kept as Parquet.

What its numbers depend on stands in the file's metadata (key `paradapt`, JSON): the study files,
the token counts of the training rows, versions, machine. `curves.json` beside it has its SHA-256.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas
import pyarrow
from pyarrow import parquet

from search.environment import environment
from space.cost import CONCATENATED, BackboneShape, CostModel, HeadShape, TokenStats
from studies.benchmarks.grid import grid_points
from studies.benchmarks.trainings import DATA_SETS, FOLDER, SEEDS, context_of

CURVES = "curves.parquet"
SUMS = "curves.json"
METADATA = b"paradapt"

PARAMS = ("depth", "insertion", "kind", "roles", "rank", "experts")
"""Columns of what the sampler answered; `roles` of all kinds in one, empty where not asked."""
KEY = ("data", "seed", "structure", "epoch")


def collect(trained: Iterable[Mapping[str, Any]], folder: Path = FOLDER) -> str:
    """Write the table and its checksum; return in words what was written.

    A structure is taken if all of its trainings ended well, so that the table has no holes.

    Raises:
        ValueError: not one structure is complete.
    """
    ended = {(k["data"], k["seed"], k["structure"]): k for k in trained if "curve" in k}
    needed = [(data, seed) for data in DATA_SETS for seed in SEEDS]
    rows = []
    n_structures = 0
    for point in grid_points():
        text = point.spec.to_json()
        if not all((*pair, text) in ended for pair in needed):
            continue
        n_structures += 1
        for data, seed in needed:
            cost = context_of(data).cost
            n_rows = len(context_of(data).train)
            training_gflops = cost.training_gflops(point.spec)
            fixed = {
                "data": data,
                "seed": seed,
                "structure": text,
                **columns_of(point.params),
                "inference_gflops": cost.inference_gflops(point.spec),
                "training_gflops": training_gflops,
                "trainable_params": cost.trainable_params(point.spec),
            }
            rows += [
                {**fixed, **at, "gflops_so_far": training_gflops * n_rows * at["epoch"]}
                for at in ended[(data, seed, text)]["curve"]
            ]
    if not rows:
        raise ValueError("No structure of the grid has all of its trainings yet.")
    frame = pandas.DataFrame(rows).astype({"rank": "Int64"})
    write_table(
        frame, {"data": {d: _facts(d) for d in DATA_SETS}, "machine": environment()}, folder
    )
    return (
        f"{folder / CURVES}: {n_structures} of {len(grid_points())} structures, {len(frame)} rows,"
        f" {(folder / CURVES).stat().st_size / 2**10:.0f} KiB"
    )


def columns_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a sampler's answers: each kind's role set is in the one of `roles`."""
    named = {name.rpartition("_")[2]: value for name, value in params.items()}
    return {name: named.get(name) for name in PARAMS}


def _facts(data: str) -> dict[str, Any]:
    context = context_of(data)
    return {
        "study": (FOLDER / f"{data}.yaml").read_text("utf-8"),
        "rows": len(context.train),
        "validation_rows": len(context.validation),
        "n_outputs": context.n_outputs,
        "engine": asdict(context.engine),
        "tokens": [list(pair) for pair in context.tokens.histogram],
    }


def write_table(frame: pandas.DataFrame, facts: Mapping[str, Any], folder: Path) -> None:
    """Write a table with its metadata, and its checksum beside it."""
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({METADATA: json.dumps(facts, sort_keys=True).encode()})
    parquet.write_table(table, folder / CURVES, compression="zstd")
    sums = {"file": CURVES, "sha256": sha256_of(folder / CURVES), "rows": len(frame)}
    (folder / SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


def read_table(folder: Path = FOLDER) -> tuple[pandas.DataFrame, dict[str, Any]]:
    """Return the table and what its metadata say."""
    table = parquet.read_table(folder / CURVES)
    return table.to_pandas(), json.loads(table.schema.metadata[METADATA])


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cost_model(facts: Mapping[str, Any], shape: BackboneShape) -> CostModel:
    """Return the cost model of a data set, from the table's metadata and a backbone alone."""
    return CostModel(
        shape=shape,
        head=HeadShape(n_outputs=facts["n_outputs"]),
        tokens=TokenStats(histogram=tuple((length, n) for length, n in facts["tokens"])),
        ways=lambda *_: CONCATENATED,
    )
