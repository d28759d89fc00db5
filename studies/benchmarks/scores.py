"""What a replayed study reached, and how certain its mean over many is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from studies.benchmarks.simulate import Step

_RESAMPLES = 10_000
_TOLERANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One replayed study: a value for each training, in their order."""

    gflops: list[float]
    """Spent by its end."""
    searched: list[float]
    """Hypervolume by then, a share of the whole table's."""
    checked: list[float]
    """The same with the values of the other training seed."""
    n_pruned: int

    @classmethod
    def of(cls, steps: Sequence[Step]) -> "Outcome":
        """Return what a replay gave."""
        return cls(
            gflops=[step.gflops for step in steps],
            searched=[step.searched for step in steps],
            checked=[step.checked for step in steps],
            n_pruned=sum(step.pruned for step in steps),
        )

    def at(self, gflops: float, *, checked: bool = False) -> float:
        """Return the hypervolume when so much was spent; a training counts at its end."""
        values = self.checked if checked else self.searched
        n_ended = int(np.searchsorted(self.gflops, gflops * (1 + _TOLERANCE), side="right"))
        return values[n_ended - 1] if n_ended else 0.0

    def share_to_reach(self, other: "Outcome") -> float:
        """Return what this study had spent when it first reached the other's final hypervolume.

        A share of all that the other spent. At most 1: where it was not reached with as much as the
        other spent, the whole sum is counted.
        """
        target, limit = other.searched[-1] - _TOLERANCE, other.gflops[-1]
        for gflops, value in zip(self.gflops, self.searched, strict=True):
            if value >= target and gflops <= limit:
                return gflops / limit
        return 1.0

    def share_with_foresight(self, rung: float) -> float:
        """Return what would have been enough, had a pruner known the end of each training.

        The same proposals up to the last gain; what adds nothing is stopped after the share `rung`
        of its training. No pruner with a first rung there needs less, and none knows the ends.
        """
        n_needed = next(n for n, value in enumerate(self.searched) if value >= self.end()) + 1
        spent, before, reached = 0.0, 0.0, 0.0
        for gflops, value in zip(self.gflops[:n_needed], self.searched, strict=False):
            spent += (gflops - before) * (1.0 if value > reached else rung)
            before, reached = gflops, value
        return spent / self.gflops[-1]

    def end(self, *, checked: bool = False) -> float:
        """Return the hypervolume at the end of the study."""
        return (self.checked if checked else self.searched)[-1]

    def reaches(self, other: "Outcome") -> bool:
        """Whether it reached the other's final hypervolume with at most as many FLOPs."""
        return self.at(other.gflops[-1]) >= other.searched[-1] - _TOLERANCE


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean with its 95 % interval: percentiles of the means of resampled values."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Return the mean of independent values; the resamples are the same each time."""
        array: NDArray[np.float64] = np.asarray(values, dtype=float)
        drawn = np.random.default_rng(0).integers(len(array), size=(_RESAMPLES, len(array)))
        low, high = np.percentile(array[drawn].mean(axis=1), (2.5, 97.5))
        return cls(value=float(array.mean()), low=float(low), high=float(high))


def p_of_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test of paired values; 1 where all tie."""
    differences = np.subtract(ours, theirs)
    if not np.any(np.abs(differences) > _TOLERANCE):
        return 1.0
    return float(wilcoxon(differences).pvalue)


def by_seed(outcomes: Sequence[Sequence[Outcome]], of: Callable[[int, int], float]) -> list[float]:
    """Return for each replay seed the mean over the data sets of what `of` says.

    Args:
        outcomes: for each data set its replays, by their seed.
        of: (index of the data set, seed) -> a value.
    """
    n_seeds = len(outcomes[0])
    return [
        float(np.mean([of(index, seed) for index in range(len(outcomes))]))
        for seed in range(n_seeds)
    ]
