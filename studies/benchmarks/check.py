"""Is the table of curves whole, and does it still say what today's code says?

python -m studies.benchmarks.check     exit status 1, and what is wrong, if anything is
"""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas

from space.cost import BackboneShape
from studies.benchmarks.grid import GridPoint, grid_points
from studies.benchmarks.table import (
    CURVES,
    KEY,
    PARAMS,
    SUMS,
    columns_of,
    cost_model,
    read_table,
    sha256_of,
)
from studies.benchmarks.trainings import DATA_SETS, FOLDER, POINTS, SEEDS
from trainers.backbone import load_backbone

MIN_STRUCTURES = 300
"""What a table needs to stand for the space."""
_SAME = 1e-9
"""Costs that differ by a smaller share are one."""
NUMBERS = (
    "epoch",
    "accuracy",
    "validation_loss",
    "train_loss",
    "inference_gflops",
    "training_gflops",
    "gflops_so_far",
    "seconds",
)
COSTS = ("inference_gflops", "training_gflops", "trainable_params", "gflops_so_far")


def problems_in_files(folder: Path = FOLDER) -> list[str]:
    """Return what is wrong with a table and its checksum, in words, a line each."""
    sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
    if sums["sha256"] != sha256_of(folder / CURVES):
        return [f"{CURVES}: its SHA-256 is not that of {SUMS}; it was changed or cut off."]
    frame, facts = read_table(folder)
    problems = [] if len(frame) == sums["rows"] else [f"{SUMS}: says {sums['rows']} rows."]
    shape = load_backbone("minilm", folder, "text-classification").shape
    return problems + problems_in(frame, facts, shape)


def problems_in(
    frame: pandas.DataFrame, facts: Mapping[str, Any], shape: BackboneShape
) -> list[str]:
    """Return what is wrong with a table, in words, a line each.

    Args:
        frame: the table.
        facts: what its metadata say.
        shape: of the backbone, as it is today.
    """
    n_structures = frame["structure"].nunique()
    problems = []
    if n_structures < MIN_STRUCTURES:
        problems.append(f"It has {n_structures} structures; it needs {MIN_STRUCTURES}.")
    wanted = pandas.MultiIndex.from_product(
        [DATA_SETS, SEEDS, frame["structure"].unique(), POINTS], names=KEY
    )
    found = pandas.MultiIndex.from_frame(frame[list(KEY)])
    problems += _some("there twice", found[found.duplicated()])
    problems += _some("missing", wanted.difference(found))
    problems += _some("too many", found.difference(wanted))
    broken = ~frame[list(NUMBERS)].map(math.isfinite).all(axis=1)
    problems += _some("not finite", found[broken])
    problems += _some("no share", found[~frame["accuracy"].between(0, 1)])
    problems += _some("no loss", found[frame[["validation_loss", "train_loss"]].min(axis=1) < 0])
    return problems or [*_disagreeing(frame, facts, shape), *_backwards(frame)]


def _disagreeing(
    frame: pandas.DataFrame, facts: Mapping[str, Any], shape: BackboneShape
) -> list[str]:
    """Return where structure, parameters or costs are not what the code makes of them today."""
    grid = {point.spec.to_json(): point for point in grid_points()}
    strangers = [text for text in frame["structure"].unique() if text not in grid]
    if strangers:
        return [f"{text}: this structure is not in the grid." for text in strangers]
    today = pandas.DataFrame(
        [
            {"data": data, "structure": text, **columns_of(grid[text].params), **costs}
            for data, own in facts["data"].items()
            for text in frame["structure"].unique()
            for costs in [_costs(grid[text], own, shape)]
        ]
    )
    both = frame.merge(today, on=["data", "structure"], suffixes=("", " today"))
    both["gflops_so_far today"] = both["epoch_gflops"] * both["epoch"]
    problems = []
    for name in (*PARAMS, *COSTS):
        found, wanted = both[name], both[f"{name} today"]
        if name in COSTS:
            same = (found - wanted).abs() <= _SAME * found.abs()
        else:
            same = (found == wanted) | (found.isna() & wanted.isna())
        for row in both[~same].head(1).to_dict("records"):
            problems.append(
                f"{row['data']}, {row['structure']}: {name} is {row[name]!r}, and"
                f" {row[f'{name} today']!r} by today's code; so in {(~same).sum()} rows."
            )
    return problems


def _costs(point: GridPoint, facts: Mapping[str, Any], shape: BackboneShape) -> dict[str, float]:
    cost = cost_model(facts, shape)
    per_row = cost.training_gflops(point.spec)
    return {
        "inference_gflops": cost.inference_gflops(point.spec),
        "training_gflops": per_row,
        "trainable_params": cost.trainable_params(point.spec),
        "epoch_gflops": per_row * facts["rows"],
    }


def _backwards(frame: pandas.DataFrame) -> list[str]:
    """Return the trainings whose clock does not run forward."""
    ordered = frame.sort_values(list(KEY))
    steps = ordered.groupby(list(KEY[:-1]), sort=False)["seconds"].diff()
    first = ordered.groupby(list(KEY[:-1]), sort=False).cumcount() == 0
    wrong = ordered[(steps <= 0) & ~first]
    return _some("earlier than the point before", pandas.MultiIndex.from_frame(wrong[list(KEY)]))


def _some(what: str, rows: pandas.MultiIndex) -> list[str]:
    """Return how many rows are wrong in one way, and the first of them."""
    return [f"{len(rows)} rows are {what}, such as {rows[0]}."] if len(rows) else []


def main() -> int:
    """Check the table that is shipped."""
    problems = problems_in_files()
    print("\n".join(problems) or f"{CURVES}: whole, and as today's code has it.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
