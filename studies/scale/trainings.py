"""Trainings that were measured, looked up in place of a training: the simulated objective.

A sampled structure gets the curve of a measured one (studies/benchmarks/curves.parquet) of the same
depth and kind: how accurate it was after each epoch, and how many seconds that took.
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas

from space.spec import AdapterSpec

TABLE = Path(__file__).parents[1] / "benchmarks" / "curves.parquet"
N_EPOCHS = 3


@dataclass(frozen=True, kw_only=True)
class Training:
    """One measured training."""

    accuracies: tuple[float, ...]
    """After epochs 1, 2 and 3."""
    epoch_s: tuple[float, ...]
    """Seconds of each epoch on one core."""


class Trainings:
    """The measured trainings, by depth and kind of adapter."""

    def __init__(self, frame: pandas.DataFrame | None = None) -> None:
        frame = pandas.read_parquet(TABLE) if frame is None else frame
        # A machine that slept in the middle of a training took nobody's seconds.
        limit = frame.loc[frame["epoch"] == N_EPOCHS, "seconds"].quantile(0.98)
        self._by: dict[tuple[int, str], list[Training]] = defaultdict(list)
        for (_, _, structure), own in frame.groupby(["data", "seed", "structure"], sort=True):
            whole = own[own["epoch"] >= 1].sort_values("epoch")
            if whole["seconds"].iloc[-1] > limit:
                continue
            spec = AdapterSpec.from_json(str(structure))
            training = Training(
                accuracies=tuple(whole["accuracy"]),
                epoch_s=tuple(whole["seconds"].diff().fillna(whole["seconds"])),
            )
            self._by[spec.depth, _kind(spec)].append(training)

    def of(self, spec: AdapterSpec, number: int) -> Training:
        """Return the training of a structure as the trial of this number."""
        same = self._by.get((spec.depth, _kind(spec)))
        known = same or [
            t for (depth, _), own in self._by.items() if depth == spec.depth for t in own
        ]
        return random.Random(number).choice(known)  # noqa: S311

    def all(self) -> list[Training]:
        """Return every training."""
        return [training for own in self._by.values() for training in own]


def _kind(spec: AdapterSpec) -> str:
    return spec.adapters[0].kind if spec.adapters else "none"
