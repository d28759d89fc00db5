"""A whole study against a plain Optuna study on the same space, rows, epochs and trials.

    make bench-study            (about half an hour on two idle cores)

The plain one is what a user writes without Paradapt: `optuna.create_study` with two directions and
no sampler named, no pruning, each trial a plain loop (tests/benchmarks/plain.py) that loads the
model, trains and validates it. Ours is `paradapt search` on the same study file, everything it
does counted: start of the command, cache, baselines, tracking. Both use all cores.

Wanted: ours has 95 % of the plain study's final hypervolume in at most a fifteenth of the time
that the plain study took.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from search.context import StudyContext
from search.front import hypervolume, trained
from search.yaml_text import parse_yaml
from space.spec import AdapterSpec
from tests.benchmarks.material import REAL_LENGTHS, ROOT, STUDY, context_of, plain_data
from tests.benchmarks.plain import run_plain
from tests.benchmarks.rows import HEADINGS, Row, say, table

SETTINGS = {
    **REAL_LENGTHS,
    "data.rows": 600,
    "budget.trials": 40,
    "budget.epochs": 3,
}
SHARE_OF_VOLUME, SHARE_OF_TIME = 0.95, 1 / 15
OUTPUT = ROOT / "benchmarks-study.json"

DEAREST = 1.5
"""Times the cost of the whole bare backbone: more than any structure of the space costs."""

Settings = Mapping[str, Any]
Results = dict[str, Any]
Curve = list[tuple[float, float, float]]
"""(seconds since the study began, accuracy, GFLOPs) of each complete trial, in that order."""


def main(words: Sequence[str] | None = None) -> int:
    """Run both, print and write what came of it; return 1 where ours is not fast enough."""
    parser = argparse.ArgumentParser(description="A whole study against a plain Optuna study.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--ours-alone", action="store_true", help="take the plain study from the output file"
    )
    given = parser.parse_args(words)
    changes = dict(text.split("=", 1) for text in given.set)
    settings = SETTINGS | {key: parse_yaml(value) for key, value in changes.items()}
    with tempfile.TemporaryDirectory() as folder:
        context = context_of(Path(folder), changes=settings)
    found: Results = {"settings": settings, "reference": reference_of(context)}
    if given.ours_alone:
        known = json.loads(given.output.read_text("utf-8"))
        found |= {key: known[key] for key in ("plain", "plain_s")}
    else:
        found |= plain_study(context)
        given.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    found |= our_study(STUDY, settings)
    found |= judged(found)
    given.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    row = row_of(found)
    say("\n" + table([row.cells()], HEADINGS))
    say(f"written to {given.output}")
    return 1 if row.holds is False else 0


def plain_study(context: StudyContext) -> Results:
    """Run the plain study; return its curve, and the seconds that it took."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curve: Curve = []
    say(f"plain study of {context.study.budget.trials} trials")
    began = time.perf_counter()
    data = plain_data(context)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        spec, learning = context.space.sample(trial)
        epochs, seed = context.study.budget.epochs, context.study.seed
        run = run_plain(data, spec, learning, epochs=epochs, seed=seed)
        cost = context.cost.inference_gflops(spec)
        curve.append((time.perf_counter() - began, run.accuracy, cost))
        say(f"  trial {trial.number}: {run.accuracy:.3f} at {cost:.3f} GFLOPs, {run.seconds:.1f} s")
        return run.accuracy, cost

    study = optuna.create_study(directions=["maximize", "minimize"])
    study.optimize(objective, n_trials=context.study.budget.trials)
    return {"plain": curve, "plain_s": time.perf_counter() - began}


def our_study(study: Path, settings: Settings) -> Results:
    """Run `paradapt search` with an empty cache; return its curve, and the seconds it took."""
    say("paradapt search")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = shutil.copy(study, folder)
        own = {**settings, "cache.folder": str(folder / "cache")}
        overrides = [word for key, value in own.items() for word in ("--set", f"{key}={value}")]
        command = [str(Path(sys.executable).with_name("paradapt")), "search", path, *overrides]
        began, began_at = time.perf_counter(), time.time()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - began
        storage = f"sqlite:///{folder / 'paradapt.db'}"
        trials = optuna.load_study(study_name=study.stem, storage=storage).get_trials()
    curve: Curve = []
    for trial in trained(trials):
        assert trial.datetime_complete is not None
        accuracy, cost = trial.values
        curve.append((trial.datetime_complete.timestamp() - began_at, accuracy, cost))
    return {"ours": sorted(curve), "ours_s": seconds, "trials": counts_of(trials)}


def counts_of(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, int]:
    """Return how many trials ended in which way."""
    return dict(Counter(str(trial.user_attrs.get("end")) for trial in trials))


def reference_of(context: StudyContext) -> tuple[float, float]:
    """Return the point that hypervolumes are measured from: guessing, at a cost that none has."""
    bare = AdapterSpec(depth=context.backbone.shape.n_layers)
    return (1 / context.n_outputs, DEAREST * context.cost.inference_gflops(bare))


def judged(found: Results) -> Results:
    """Return the hypervolumes, and when ours had enough of the plain one's."""
    reference = found["reference"]
    wanted = SHARE_OF_VOLUME * volume(found["plain"], reference)
    return {
        "plain_hypervolume": volume(found["plain"], reference),
        "ours_hypervolume": volume(found["ours"], reference),
        "reached_s": reached_s(found["ours"], wanted, reference),
    }


def volume(curve: Curve, reference: Sequence[float]) -> float:
    """Return the hypervolume of all points of a curve."""
    ways = [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
    return hypervolume([point[1:] for point in curve], reference, ways)


def reached_s(curve: Curve, wanted: float, reference: Sequence[float]) -> float | None:
    """Return after how many seconds a curve has a hypervolume; None where it never has."""
    for n, (seconds, _, _) in enumerate(curve, 1):
        if volume(curve[:n], reference) >= wanted:
            return seconds
    return None


def row_of(found: dict[str, Any]) -> Row:
    """Return the row of the table."""
    reached = found["reached_s"]
    if reached is None:
        note = f"never reached in {found['ours_s']:.0f} s"
    else:
        note = (
            f"{reached:.0f} s of {found['plain_s']:.0f} s; ours ended after {found['ours_s']:.0f}"
        )
    return Row(
        name="time of ours to 95 % of the plain study's hypervolume, share of its time",
        measured=float("inf") if reached is None else reached / found["plain_s"],
        at_most=SHARE_OF_TIME,
        note=note,
    )


if __name__ == "__main__":
    sys.exit(main())
